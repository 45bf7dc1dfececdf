//! Opening sources, and who reads them.

use super::StartError;
use crate::capture::{
    Arrival, Capture, CaptureLane, CaptureSource, Datagrams, Listener, Opening, Pollable, can_be_waited_for,
};
use crate::config::{ChannelConfig, Source};
use crate::file::{self, FileReader};
use crate::framing::Stream;
use crate::hub::{Hub, Lane, Reading};
use crate::listen::{self, Listening};
use crate::tail::{self, Tail};
use evenkeel::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_log::{ChannelId, SourcePosition, StreamId, StreamIds};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// An open source.
pub(super) enum Opened {
    /// Read by `ek-capture` when bytes are there.
    Pollable(OwnedFd),
    /// Read by a thread of its own.
    File(File),
    /// The same, for what an embedder has.
    Reader(Box<dyn Read + Send>),
    /// A file as it grows, once it is there; the same.
    Tail(PathBuf),
    /// Others connect to it.
    Listening(Listening),
    /// Others send to it.
    Datagrams(Listening),
    /// Run when recording begins.
    Command,
}

/// A source with all that reading it needs.
pub(super) struct Reader<'a> {
    pub(super) channel: &'a ChannelConfig,
    pub(super) opened: Opened,
    pub(super) lane: Lane,
    pub(super) id: ChannelId,
    /// The stream of this run; of what opens streams on the way, none.
    pub(super) stream: Option<StreamId>,
    pub(super) ids: StreamIds,
    /// Where an earlier run left it.
    pub(super) committed: Option<SourcePosition>,
}

/// What a thread does for as long as it lives.
type Life = Box<dyn FnOnce(&Pulse<'_>) + Send>;

/// A thread that reads.
pub(super) struct Task {
    name: String,
    channels: Vec<usize>,
    read: Life,
}

pub(super) fn open(channel: &ChannelConfig) -> Result<Opened, StartError> {
    let opened = match &channel.source {
        Source::Stdin => io::stdin().as_fd().try_clone_to_owned().and_then(polled_or_read),
        Source::File(path) => open_file(path),
        Source::Tail(path) => tail::check(path).map(|()| Opened::Tail(path.clone())),
        Source::Exec(_) => Ok(Opened::Command),
        Source::Tcp(address) => listen::tcp(*address).map(Opened::Listening),
        Source::Unix(path) => listen::unix(path).map(Opened::Listening),
        Source::Udp(address) => listen::udp(*address).map(Opened::Datagrams),
        Source::Reader(reader) => {
            let taken = || io::Error::other("another recorder has taken this reader");
            reader.take().map(Opened::Reader).ok_or_else(taken)
        }
    };
    opened.map_err(|source| cannot_open(channel, source))
}

/// Opens a file. Opening a FIFO waits for nobody, and a stop of it neither.
fn open_file(path: &Path) -> io::Result<Opened> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?;
    if kind.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else if kind.is_file() {
        Ok(Opened::File(file))
    } else {
        polled_or_read(file.into())
    }
}

/// What can be waited for is; the rest is read by a thread that may block.
fn polled_or_read(fd: OwnedFd) -> io::Result<Opened> {
    if can_be_waited_for(fd.as_fd())? {
        return Ok(Opened::Pollable(fd));
    }
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
    }
    Ok(Opened::File(fd.into()))
}

fn cannot_open(channel: &ChannelConfig, source: io::Error) -> StartError {
    StartError::Source { channel: channel.name.clone(), source_name: channel.source.describe(), source }
}

impl Opened {
    /// Where it listens.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Listening(socket) | Self::Datagrams(socket) => Some(&socket.address),
            _ => None,
        }
    }

    /// Whether its streams begin on the way, each with its first byte.
    pub(super) fn opens_streams(&self) -> bool {
        matches!(self, Self::Listening(_) | Self::Command)
    }
}

/// What the pipes of all channels are to hold together, and one of them at least and at most.
/// A stop reads all of it.
const PIPES_BYTES: usize = 16 << 20;
const PIPE_BYTES_LEAST: usize = 64 << 10;
const PIPE_BYTES_MOST: usize = 1 << 20;

/// What `ek-capture` needs beside its sources.
pub(super) struct CaptureMeans {
    pub(super) arrivals: Receiver<Arrival>,
    pub(super) output_ended: Box<dyn Fn(u64) + Send>,
}

/// One task for all that can be waited for, one for each of the rest.
pub(super) fn prepare(
    hub: &Arc<Hub>,
    readers: Vec<Reader<'_>>,
    means: CaptureMeans,
) -> Result<Vec<Task>, StartError> {
    let (mut tasks, mut lanes, mut polled) = (Vec::new(), Vec::new(), Vec::new());
    let pipe_bytes = (PIPES_BYTES / readers.len().max(1)).clamp(PIPE_BYTES_LEAST, PIPE_BYTES_MOST);
    for reader in readers {
        let at = reader.lane.channel;
        // Of a command, whoever runs it says when it is over.
        let is_polled =
            !matches!(reader.opened, Opened::File(_) | Opened::Reader(_) | Opened::Tail(_) | Opened::Command);
        if is_polled {
            polled.push(at);
        }
        if is_polled || matches!(reader.opened, Opened::Command) {
            lanes.push(capture_lane(reader, pipe_bytes));
        } else {
            let name = if matches!(reader.opened, Opened::Tail(_)) { "ek-tail" } else { "ek-file" };
            let read = blocking(hub, reader)?;
            tasks.push(Task { name: format!("{name}-{at}"), channels: vec![at], read });
        }
    }
    if !lanes.is_empty() {
        let capture = Capture::new(hub.clone(), lanes, means.arrivals, means.output_ended);
        let capture = capture.map_err(StartError::Thread)?;
        let read = Box::new(move |pulse: &Pulse<'_>| capture.run(pulse));
        tasks.push(Task { name: "ek-capture".to_owned(), channels: polled, read });
    }
    Ok(tasks)
}

impl Reader<'_> {
    /// The stream of this run.
    fn known(&self) -> Stream {
        self.stream.map(Stream::Open).expect("invariant: whatever opens no streams on the way has one")
    }
}

/// What `ek-capture` reads.
fn capture_lane(reader: Reader<'_>, pipe_bytes: usize) -> CaptureLane {
    let framing = reader.channel.framing;
    let opening = Opening {
        ids: reader.ids.clone(),
        id: reader.id,
        framing,
        peer: reader.channel.source.describe(),
        pipe_bytes,
    };
    let stream = (!reader.opened.opens_streams()).then(|| reader.known());
    let source = match (reader.opened, stream) {
        (Opened::Pollable(fd), Some(stream)) => {
            CaptureSource::Stream(Pollable::new(fd, stream, framing, pipe_bytes))
        }
        (Opened::Datagrams(socket), Some(stream)) => {
            CaptureSource::Datagrams(Datagrams::new(socket.fd, stream))
        }
        (Opened::Listening(socket), _) => CaptureSource::Listener(Listener::new(socket), opening),
        _ => CaptureSource::Command(opening),
    };
    CaptureLane { lane: reader.lane, source }
}

/// What a thread of its own reads.
fn blocking(hub: &Arc<Hub>, reader: Reader<'_>) -> Result<Life, StartError> {
    let (hub, framed) = (hub.clone(), (reader.known(), reader.channel.framing));
    let reading = match reader.opened {
        Opened::Reader(read) => FileReader::of_reader(hub, read, reader.lane, framed),
        Opened::File(mut file) => {
            let position = match reader.channel.source {
                Source::File(_) => file::resume(&mut file, reader.committed.as_ref())
                    .map_err(|source| cannot_open(reader.channel, source))?,
                _ => None,
            };
            FileReader::of_file(hub, file, reader.lane, framed, position)
                .map_err(|source| cannot_open(reader.channel, source))?
        }
        Opened::Tail(path) => {
            let tail = Tail::new(hub, path, reader.lane, framed, reader.committed);
            return Ok(Box::new(move |pulse: &Pulse<'_>| pulse.waiting(|| tail.run())));
        }
        _ => unreachable!("invariant: everything else is polled"),
    };
    // A source may say nothing for ever: who reads it is not expected to beat.
    Ok(Box::new(move |pulse: &Pulse<'_>| pulse.waiting(|| reading.run())))
}

/// Every channel counts as read before the first one is, and before the first command
/// runs: else the first to end would seem to be the last.
pub(super) fn count(hub: &Arc<Hub>, tasks: Vec<Task>) -> Vec<(Reading, Task)> {
    let reading = |mut task: Task| (Reading::begin(hub.clone(), std::mem::take(&mut task.channels)), task);
    tasks.into_iter().map(reading).collect()
}

/// Starts all tasks.
pub(super) fn start(threads: &ThreadCoordinator, tasks: Vec<(Reading, Task)>) -> Result<(), StartError> {
    for (reading, Task { name, read, .. }) in tasks {
        spawn(threads, name, move |pulse| {
            let _reading = reading;
            read(pulse);
        })?;
    }
    Ok(())
}

/// Starts a thread that nobody joins.
pub(super) fn spawn(
    threads: &ThreadCoordinator,
    name: String,
    task: impl FnOnce(&Pulse<'_>) + Send + 'static,
) -> Result<(), StartError> {
    let started = threads.thread(name).class(Class::System).kept().start(task);
    started.map(drop).map_err(|e| StartError::Thread(e.into()))
}
