//! Opening sources, and who reads them.

use super::StartError;
use crate::capture::{Capture, Pollable, can_be_waited_for};
use crate::config::{ChannelConfig, Source};
use crate::file::{self, FileReader};
use crate::hub::{Hub, Numbering, Reading};
use evenkeel_log::SourcePosition;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;

/// An open source.
pub(super) enum Opened {
    /// Read by `ek-capture` when bytes are there.
    Pollable(OwnedFd),
    /// Read by a thread of its own.
    File(File),
}

/// A source with all that reading it needs.
pub(super) struct Reader<'a> {
    pub(super) channel: &'a ChannelConfig,
    pub(super) opened: Opened,
    pub(super) numbering: Numbering,
    /// Where an earlier run left it.
    pub(super) committed: Option<SourcePosition>,
}

/// A thread that reads.
pub(super) struct Task {
    name: String,
    channels: Vec<usize>,
    read: Box<dyn FnOnce() + Send>,
}

pub(super) fn open(channel: &ChannelConfig) -> Result<Opened, StartError> {
    let opened = match &channel.source {
        Source::Stdin => io::stdin().as_fd().try_clone_to_owned().and_then(|fd| {
            Ok(if can_be_waited_for(&fd)? { Opened::Pollable(fd) } else { Opened::File(fd.into()) })
        }),
        Source::File(path) => File::open(path).and_then(|file| {
            if file.metadata()?.is_dir() {
                Err(io::ErrorKind::IsADirectory.into())
            } else {
                Ok(Opened::File(file))
            }
        }),
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    opened.map_err(|source| cannot_open(channel, source))
}

fn cannot_open(channel: &ChannelConfig, source: io::Error) -> StartError {
    StartError::Source { channel: channel.name.clone(), source_name: channel.source.describe(), source }
}

/// One task for all that can be waited for, one for each file.
pub(super) fn prepare(hub: &Arc<Hub>, readers: Vec<Reader<'_>>) -> Result<Vec<Task>, StartError> {
    let (mut tasks, mut pollables, mut polled) = (Vec::new(), Vec::new(), Vec::new());
    for Reader { channel, opened, numbering, committed } in readers {
        let at = numbering.channel;
        match opened {
            Opened::Pollable(fd) => {
                polled.push(at);
                pollables.push(Pollable::new(fd, numbering, channel.framing));
            }
            Opened::File(mut file) => {
                let position = match channel.source {
                    Source::File(_) => file::resume(&mut file, committed.as_ref())
                        .map_err(|source| cannot_open(channel, source))?,
                    _ => None,
                };
                let reader = FileReader::new(hub.clone(), file, numbering, channel.framing, position);
                let read = Box::new(move || reader.run());
                tasks.push(Task { name: format!("ek-file-{at}"), channels: vec![at], read });
            }
        }
    }
    if !pollables.is_empty() {
        let capture = Capture::new(hub.clone(), pollables).map_err(StartError::Thread)?;
        let read = Box::new(move || capture.run());
        tasks.push(Task { name: "ek-capture".to_owned(), channels: polled, read });
    }
    Ok(tasks)
}

/// Starts all tasks. Every channel counts as read before the first one runs:
/// else the first to end would seem to be the last.
pub(super) fn start(hub: &Arc<Hub>, tasks: Vec<Task>) -> Result<(), StartError> {
    let reading = |task: Task| (Reading::begin(hub.clone(), task.channels), task.name, task.read);
    let all: Vec<_> = tasks.into_iter().map(reading).collect();
    for (reading, name, read) in all {
        spawn(name, move || {
            let _reading = reading;
            read();
        })?;
    }
    Ok(())
}

/// Starts a thread that nobody joins.
pub(super) fn spawn(name: String, task: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let started = thread::Builder::new().name(name).stack_size(512 << 10).spawn(task);
    started.map(drop).map_err(StartError::Thread)
}
