//! The recorder: wiring and start; its stop is in [`stop`].

mod commands;
mod sources;
mod stop;

pub(crate) use stop::KILL_AFTER_NS;
pub use stop::{Ending, Held, StillHeld};

use crate::acks::Acks;
use crate::config::{ChannelConfig, Config, Framing, Retention};
use crate::disk::Disk;
use crate::hub::{ChannelCounts, Hub, Lane, RecorderMemory, budget_bytes};
use crate::log::LogThread;
use crate::readback::Readback;
use crate::retention::Keeper;
use commands::Commands;
use evenkeel::MonitoringCoordinator;
use evenkeel::faults::FaultCoordinator;
use evenkeel::journal::Journal;
use evenkeel::resources;
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::storage::{DirLock, DirStorage, LockError, Storage};
use evenkeel_log::{ChannelId, LogWriter, OCTETS, Recovery, Stamp, TEXT, recover};
use sources::{CaptureMeans, Opened, Reader};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

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

/// A running recorder. Dropping it abandons: what is acknowledged stays, the
/// end is not written; it waits half a second at most for the log to let go.
pub struct Recorder {
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    recovery: Recovery,
    listening: Vec<(String, String)>,
    leftovers: Vec<String>,
    commands: Commands,
    retention: Option<Arc<Keeper>>,
    threads: ThreadCoordinator,
    /// Shared with the log's thread, which may outlive this.
    _lock: Option<Arc<DirLock>>,
}

impl Recorder {
    /// Recovers the directory where that is needed, opens every source, and starts to record.
    ///
    /// # Errors
    /// [`StartError`]; sources are opened before anything is created but the directory.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::prepare(config)?.start(None)
    }

    /// The first half of [`Recorder::start`]: opens every source, then creates and
    /// locks the directory. Nothing is read yet.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn prepare(config: Config) -> Result<Prepared, StartError> {
        let opened = open_all(&config)?;
        let dir_error = |source| StartError::Directory { path: config.dir.clone(), source };
        let storage = DirStorage::create(&config.dir).map_err(dir_error)?;
        let lock = DirLock::acquire(&config.dir)?;
        Ok(Prepared { storage: Arc::new(storage), lock, config, opened, of: (None, None) })
    }

    /// Like [`Recorder::start`], over any storage. `lock` is held until nothing of
    /// the recorder touches the storage any more; of [`Config::dir`] only messages speak.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start_on(
        storage: Arc<dyn Storage>,
        lock: Option<DirLock>,
        config: Config,
    ) -> Result<Self, StartError> {
        let opened = open_all(&config)?;
        Self::start_opened(storage, lock, config, (opened, None, (None, None)))
    }

    /// Like [`Recorder::start_on`], with a journal.
    #[cfg(test)]
    pub(crate) fn start_journalled(
        storage: Arc<dyn Storage>,
        config: Config,
        journal: Option<Journal>,
    ) -> Result<Self, StartError> {
        let opened = open_all(&config)?;
        Self::start_opened(storage, None, config, (opened, journal, (None, None)))
    }

    fn start_opened(
        storage: Arc<dyn Storage>,
        lock: Option<DirLock>,
        config: Config,
        (opened, journal, (faults, memory)): (Vec<Opened>, Option<Journal>, Of),
    ) -> Result<Self, StartError> {
        let dir_error = |source| StartError::Directory { path: config.dir.clone(), source };
        let lock = lock.map(Arc::new);
        let recovery = recover(&storage, crate::now()).map_err(dir_error)?;
        let threads = config.threads.clone();
        let names: Vec<String> = config.channels.iter().map(|c| c.name.clone()).collect();
        let memory = memory.map_or_else(|| RecorderMemory::own(&names), Ok).map_err(StartError::Thread)?;
        let hub = Hub::on(memory, &names, config.log.chunk_bytes).map_err(StartError::Thread)?;
        let hub = Arc::new(hub);
        faults.into_iter().for_each(|faults| hub.report_to(faults));
        let stamp = crate::now();
        let mut resume = recovery.resume.clone();
        resume.opening = names.iter().cloned().collect();
        let retention = start_retention(&hub, &storage, &config, (journal.clone(), lock.clone()))?;
        let mut options = config.log.clone();
        // Room for what may wait in memory too: then a stop on a full disk loses nothing accepted.
        options.ballast_wanted_bytes = options.ballast_bytes + budget_bytes(names.len()) as u64;
        let mut writer = LogWriter::create(storage.clone(), options, resume, stamp).map_err(dir_error)?;
        let (mut ids, mut readers, mut listening) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (channel, opened)) in config.channels.iter().zip(opened).enumerate() {
            let id = open_channel(&mut writer, channel, &recovery, stamp);
            hub.set_before(at, writer.state(id), (channel.durability, channel.on_full));
            hub.set_quota(at, channel.quota);
            listening.extend(opened.address().map(|address| (channel.name.clone(), address.to_owned())));
            if recovery.undeclared.iter().any(|gap| gap.channel == channel.name) {
                hub.note_gap(at);
            }
            readers.push(reader(&mut writer, id, at, channel, opened, stamp));
            ids.push(id);
        }
        let (commands, (arrivals, arriving)) = (Commands::default(), commands::arrivals(names.len()));
        let ending = commands.clone();
        let output_ended = Box::new(move |child| ending.output_ended(child));
        let means = CaptureMeans { arrivals: arriving, output_ended };
        let tasks = sources::prepare(&hub, readers, means)?;
        let acks =
            config.acks.map(|acks| Acks::start(&threads, acks)).transpose().map_err(StartError::Thread)?;
        let log = LogThread {
            hub: hub.clone(),
            writer,
            told: vec![0; ids.len()],
            ids,
            levels: config.channels.iter().map(|c| c.durability).collect(),
            commit_ns: config.commit_ns,
            acks,
            disk: Disk::start(&threads, hub.clone()).map_err(StartError::Thread)?,
            readback: Readback::start(&threads, hub.clone(), storage.clone(), retention.clone())
                .map_err(StartError::Thread)?,
            lock: lock.clone(),
            under_way: 0,
            last_commit_ns: 0,
            ballast_at_ns: 0,
            attempts: 0,
        };
        sources::spawn(&threads, "ek-log".to_owned(), move |pulse| log.run(pulse))?;
        let leftovers = Vec::new();
        let recorder =
            Self { hub, storage, recovery, listening, leftovers, commands, retention, threads, _lock: lock };
        let run = (journal, config.log.run_id);
        let tasks = sources::count(&recorder.hub, tasks);
        recorder.commands.start(&recorder.threads, &recorder.hub, &config.channels, run, arrivals)?;
        sources::start(&recorder.threads, tasks)?;
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
        self.hub.wait_until(0, |state| Some(state.readers() == 0 || state.log().gone))
    }

    /// Where channels listen: name and address, with the port that the system chose
    /// where 0 was asked for.
    pub fn listening(&self) -> &[(String, String)] {
        &self.listening
    }

    /// What an earlier run had left running, and what became of it; for people.
    pub fn leftovers(&self) -> &[String] {
        &self.leftovers
    }

    /// When the thread that writes the log was last seen at work, monotonic nanoseconds.
    /// While it is well, it is seen every second at least.
    pub fn seen_at_work_ns(&self) -> u64 {
        self.hub.seen_at_work_ns()
    }

    /// Each channel's counts now.
    pub fn channels(&self) -> Vec<ChannelCounts> {
        self.hub.counts()
    }

    /// What was said last of the removal of old segments: what was removed, or why nothing can be.
    pub fn retention(&self) -> Option<Result<String, String>> {
        self.hub.log_status().retention
    }

    /// The same as [`Recorder::trouble`] without what the system said of it, which may name what is private.
    pub fn public_trouble(&self) -> Option<&'static str> {
        self.trouble().map(|trouble| crate::log::in_public(&trouble))
    }

    /// Why the log cannot be written now, if it cannot, or no new segment can be begun.
    pub fn trouble(&self) -> Option<String> {
        let log = self.hub.log_status();
        log.trouble.or(log.rotation_trouble)
    }
}

/// A recorder that has its sources and its directory, and has not begun.
pub struct Prepared {
    storage: Arc<dyn Storage>,
    lock: DirLock,
    config: Config,
    opened: Vec<Opened>,
    of: Of,
}

/// What of a service a recorder uses: who looks after faults, and the memory.
type Of = (Option<FaultCoordinator>, Option<RecorderMemory>);

impl Prepared {
    /// Has what goes wrong reported there, too; see [`evenkeel::faults`]. The recorder sees to its sources itself.
    #[must_use]
    pub fn reporting_to(mut self, faults: FaultCoordinator) -> Self {
        self.of.0 = Some(faults);
        self
    }

    /// Has its buffers taken from the pool of a service, which [`pool_options`](crate::pool_options) describe. Without, it
    /// has a pool of its own.
    ///
    /// # Errors
    /// [`Refused`](resources::Refused): there is no room for its channels.
    pub fn taking_from(mut self, monitoring: &MonitoringCoordinator) -> Result<Self, resources::Refused> {
        let names: Vec<String> = self.config.channels.iter().map(|c| c.name.clone()).collect();
        self.of.1 = Some(RecorderMemory::of(monitoring, &names)?);
        Ok(self)
    }

    /// Recovers the directory where that is needed, and starts to record. What
    /// happens to commands goes into the journal.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self, journal: Option<Journal>) -> Result<Recorder, StartError> {
        let left = |journal| commands::end_those_left(&self.config.dir, journal);
        let leftovers = journal.as_ref().map(left).unwrap_or_default();
        let opened = (self.opened, journal, self.of);
        let mut recorder = Recorder::start_opened(self.storage, Some(self.lock), self.config, opened)?;
        recorder.leftovers = leftovers;
        Ok(recorder)
    }
}

/// Starts what removes old segments, where any are to be removed. It has the lock for as long as it lives.
fn start_retention(
    hub: &Arc<Hub>,
    storage: &Arc<dyn Storage>,
    config: &Config,
    (journal, lock): (Option<Journal>, Option<Arc<DirLock>>),
) -> Result<Option<Arc<Keeper>>, StartError> {
    if config.retention == Retention::default() {
        return Ok(None);
    }
    let told_to = hub.clone();
    let told = move |said| {
        let _ = &lock;
        told_to.update_log(|log| log.retention = Some(said));
    };
    let keeper = Keeper::start(&config.threads, storage.clone(), config.retention, journal, told);
    Ok(Some(Arc::new(keeper.map_err(StartError::Thread)?)))
}

fn open_all(config: &Config) -> Result<Vec<Opened>, StartError> {
    config.channels.iter().map(sources::open).collect()
}

fn open_channel(
    writer: &mut LogWriter,
    channel: &ChannelConfig,
    recovery: &Recovery,
    stamp: Stamp,
) -> ChannelId {
    let encoding = match channel.framing {
        Framing::Chunk | Framing::Datagram | Framing::LengthU32be => OCTETS,
        Framing::Lines => TEXT,
    };
    let id = writer.channel(&channel.name, encoding);
    for gap in recovery.undeclared.iter().filter(|gap| gap.channel == channel.name) {
        writer.declare(gap, stamp);
    }
    id
}

fn reader<'a>(
    writer: &mut LogWriter,
    id: ChannelId,
    at: usize,
    channel: &'a ChannelConfig,
    opened: Opened,
    stamp: Stamp,
) -> Reader<'a> {
    let opened_ns = stamp.wall_ns.to_string();
    let metadata = [("peer", &*channel.source.describe()), ("opened", &opened_ns)];
    let stream = (!opened.opens_streams()).then(|| writer.stream(id, &metadata));
    let state = writer.state(id);
    let next_sequence = state.last_sequence + 1;
    let committed = state.position.clone();
    let lane = Lane { channel: at, next_sequence, last_time_ns: 0, on_full: channel.on_full };
    Reader { channel, opened, lane, id, stream, ids: writer.stream_ids(), committed }
}

#[cfg(test)]
mod tests;
