//! The recorder: wiring, start and the parts of a stop.

use crate::acks::Acks;
use crate::capture::{Capture, Pollable, can_be_waited_for};
use crate::config::{ChannelConfig, Config, Framing, Source};
use crate::disk::{read_back, start_disk, start_readback};
use crate::file::{self, FileReader};
use crate::hub::{ChannelCounts, Hub, Numbering, Order, budget_bytes};
use crate::log::LogThread;
use evenkeel_log::storage::{DirLock, DirStorage, LockError, Storage};
use evenkeel_log::{ChannelId, LogWriter, OCTETS, Recovery, TEXT, recover, seal_given_up};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// Why a recorder could not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The directory is held by another process, or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory or the log in it cannot be used.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The recording directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A source cannot be opened.
    #[error("channel {channel}: {source_name}: {source}")]
    Source {
        /// The channel.
        channel: String,
        /// The source, in the words of the command line.
        source_name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
}

/// How a recording ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Whether everything accepted is stored or declared, sealed, and was read back.
    pub clean: bool,
    /// Whether nothing had to be dropped.
    pub complete: bool,
    /// What went wrong, in words.
    pub faults: Vec<String>,
    /// Each channel's counts.
    pub channels: Vec<ChannelCounts>,
}

/// A running recorder. Dropping it abandons: what is acknowledged stays, the
/// end is not written.
pub struct Recorder {
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    recovery: Recovery,
    _lock: DirLock,
}

enum Opened {
    Pollable(OwnedFd),
    File(File),
}

impl Recorder {
    /// Recovers the directory where that is needed, opens every source, and starts to record.
    ///
    /// # Errors
    /// [`StartError`]; sources are opened before anything is created but the directory.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let sources = config.channels.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let dir_error = |source| StartError::Directory { path: config.dir.clone(), source };
        let storage = DirStorage::create(&config.dir).map_err(dir_error)?;
        let lock = DirLock::acquire(&config.dir)?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let recovery = recover(&storage, crate::now()).map_err(dir_error)?;

        let names: Vec<String> = config.channels.iter().map(|c| c.name.clone()).collect();
        let hub = Arc::new(Hub::new(&names, config.log.chunk_bytes).map_err(StartError::Thread)?);
        let stamp = crate::now();
        let mut resume = recovery.resume.clone();
        resume.opening = names.iter().cloned().collect();
        let mut options = config.log.clone();
        // Room for what may wait in memory too: then a stop on a full disk loses nothing accepted.
        options.ballast_wanted_bytes = options.ballast_bytes + budget_bytes(names.len()) as u64;
        let mut writer = LogWriter::create(storage.clone(), options, resume, stamp).map_err(dir_error)?;
        let mut ids = Vec::new();
        let mut readers = Vec::new();
        for (at, (channel, source)) in config.channels.iter().zip(sources).enumerate() {
            let id = open_channel(&mut writer, channel, &recovery, stamp);
            hub.set_before(at, writer.state(id));
            if recovery.undeclared.iter().any(|gap| gap.channel == channel.name) {
                hub.note_gap(at);
            }
            let opened = stamp.wall_ns.to_string();
            let pairs = [("peer", &*channel.source.describe()), ("opened", &opened)];
            let stream = writer.stream(id, &pairs);
            let next_sequence = writer.state(id).last_sequence + 1;
            let numbering = Numbering { channel: at, stream, next_sequence, last_time_ns: 0 };
            readers.push((channel, source, numbering, writer.state(id).position.clone()));
            ids.push(id);
        }
        let tasks = prepare(&hub, readers)?;
        let acks = config.acks.map(Acks::start).transpose().map_err(StartError::Thread)?;
        let log = LogThread {
            hub: hub.clone(),
            writer,
            ids,
            commit_ns: config.commit_ns,
            acks,
            disk: Some(start_disk(hub.clone()).map_err(StartError::Thread)?),
            readback: Some(start_readback(hub.clone(), storage.clone()).map_err(StartError::Thread)?),
            under_way: 0,
            last_commit_ns: 0,
            ballast_at_ns: 0,
            attempts: 0,
        };
        let recorder = Self { hub, storage, recovery, _lock: lock };
        recorder.hub.set_readers(tasks.len());
        spawn("ek-log".to_owned(), move || log.run())?;
        for (name, task) in tasks {
            let hub = recorder.hub.clone();
            spawn(name, move || {
                task();
                hub.reader_gone();
            })?;
        }
        Ok(recorder)
    }

    /// What recovery found when it started.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Readable when every source has ended by itself, or the log cannot go on.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.hub.ended_fd().as_fd()
    }

    /// Whether every source has ended by itself, or the log cannot go on.
    pub fn has_ended(&self) -> bool {
        self.hub.wait_until(0, |state| state.readers() == 0 || state.log().gone)
    }

    /// Each channel's counts now.
    pub fn channels(&self) -> Vec<ChannelCounts> {
        self.hub.counts()
    }

    /// Why the log cannot be written now, if it cannot.
    pub fn trouble(&self) -> Option<String> {
        self.hub.log_status().trouble
    }

    /// Reads what has arrived, then no more; `false` when the time is over first.
    pub fn stop_capture(&self, until_ns: u64) -> bool {
        self.hub.give_order(Order::StopCapture);
        self.hub.wait_until(until_ns, |state| state.readers() == 0)
    }

    /// Writes everything accepted and the end, durable; `false` when the time is over first.
    pub fn finish(&self, until_ns: u64) -> bool {
        self.hub.give_order(Order::Finish);
        self.hub.wait_until(until_ns, |state| state.log().gone) && self.hub.log_status().finished
    }

    /// Reads the last segment back.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn verify_last(&self) -> Result<(), String> {
        match self.hub.log_status().last_sealed {
            Some(name) => read_back(&*self.storage, &name),
            None => Err("no segment was sealed".to_owned()),
        }
    }

    /// Seals what the log had to give up on the way; answers what could not be.
    pub fn seal_given_up(&self) -> Vec<String> {
        let seal = |number: u64| match seal_given_up(&self.storage, number, crate::now()) {
            Ok(sealed) if sealed.losses.is_empty() => None,
            Ok(sealed) => {
                let places = sealed.losses.len();
                Some(format!("segment {number} was given up, and {places} places of it are damaged"))
            }
            Err(e) => Some(format!("segment {number} was given up and cannot be sealed: {e}")),
        };
        self.hub.log_status().given_up.into_iter().filter_map(seal).collect()
    }

    /// The whole stop, in order, until `until_ns` (monotonic) at the latest.
    pub fn stop(&self, until_ns: u64) -> Ending {
        let mut faults = Vec::new();
        if !self.stop_capture(until_ns) {
            faults.push("some sources could not be read to their end in time".to_owned());
        }
        if !self.finish(until_ns) {
            faults.push("the log could not be ended".to_owned());
        } else if let Err(fault) = self.verify_last() {
            faults.push(fault);
        }
        faults.extend(self.seal_given_up());
        let status = self.hub.log_status();
        faults.extend(status.faults);
        let channels = self.channels();
        let source_faults =
            channels.iter().filter_map(|c| Some(format!("{}: {}", c.name, c.fault.as_ref()?)));
        faults.extend(source_faults);
        for c in &channels {
            let told = c.committed_records + c.dropped_records;
            if c.accepted_records != told {
                let accepted = c.accepted_records;
                faults.push(format!(
                    "{}: {accepted} records accepted, {told} stored or declared dropped",
                    c.name
                ));
            }
        }
        let complete = faults.is_empty() && channels.iter().all(|c| c.dropped_records == 0 && c.gaps == 0);
        Ending { clean: faults.is_empty(), complete, faults, channels }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.hub.give_order(Order::Abandon);
    }
}

fn open(channel: &ChannelConfig) -> Result<Opened, StartError> {
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
    };
    opened.map_err(|source| StartError::Source {
        channel: channel.name.clone(),
        source_name: channel.source.describe(),
        source,
    })
}

fn open_channel(
    writer: &mut LogWriter,
    channel: &ChannelConfig,
    recovery: &Recovery,
    stamp: evenkeel_log::Stamp,
) -> ChannelId {
    let encoding = match channel.framing {
        Framing::Chunk => OCTETS,
        Framing::Lines => TEXT,
    };
    let id = writer.channel(&channel.name, encoding);
    for gap in recovery.undeclared.iter().filter(|gap| gap.channel == channel.name) {
        writer.declare(gap, stamp);
    }
    id
}

type Task = (String, Box<dyn FnOnce() + Send>);
type Reader<'a> = (&'a ChannelConfig, Opened, Numbering, Option<evenkeel_log::SourcePosition>);

/// One task for all that can be waited for, one for each file.
fn prepare(hub: &Arc<Hub>, readers: Vec<Reader<'_>>) -> Result<Vec<Task>, StartError> {
    let (mut tasks, mut pollables): (Vec<Task>, Vec<Pollable>) = (Vec::new(), Vec::new());
    for (channel, opened, numbering, position) in readers {
        match opened {
            Opened::Pollable(fd) => pollables.push(Pollable::new(fd, numbering, channel.framing)),
            Opened::File(mut file) => {
                let resumed = match channel.source {
                    Source::File(_) => file::resume(&mut file, position.as_ref()).map(Some),
                    Source::Stdin => Ok(None),
                };
                let position = resumed.map_err(|source| StartError::Source {
                    channel: channel.name.clone(),
                    source_name: channel.source.describe(),
                    source,
                })?;
                let name = format!("ek-file-{}", numbering.channel);
                let reader = FileReader::new(hub.clone(), file, numbering, channel.framing, position);
                tasks.push((name, Box::new(move || reader.run())));
            }
        }
    }
    if !pollables.is_empty() {
        let capture = Capture::new(hub.clone(), pollables).map_err(StartError::Thread)?;
        tasks.push(("ek-capture".to_owned(), Box::new(move || capture.run())));
    }
    Ok(tasks)
}

fn spawn(name: String, task: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let started = thread::Builder::new().name(name).stack_size(512 << 10).spawn(task);
    started.map(drop).map_err(StartError::Thread)
}
