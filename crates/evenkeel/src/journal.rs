//! The durable, hash-chained sequence of everything that matters.
//!
//! A journal is a log of its own ([`evenkeel_log`]), beside the data, with files
//! and syncs of its own: a flood of data cannot delay it. One channel, `journal`;
//! its message `n` is entry `n`, counted from 1 for ever, over all runs. Each
//! entry names the hash of what stood before it, and every commit record holds
//! the hash of what it covers; the bytes of an entry stand in `journal/entry.rs`.
//!
//! ```text
//! append (any thread) -- number, time, hash --> queue --> ek-journal: append, commit, fdatasync
//!                                                              |
//!          wait_durable, durable_through, on_durable <---------+
//! ```
//!
//! Invariants:
//! 1. Number, time and hash of an entry are fixed at [`Journal::append`], under one
//!    short mutex: [`Journal::head`] is right at once, and order is numbering.
//! 2. `append` never waits for the disk, nor does anything that holds the mutex.
//! 3. What [`Journal::durable_through`] says survives any crash of the medium.
//! 4. The queue is bounded, and notes are shed before records ([`Weight`]). What does not
//!    fit is refused, counted, and told by an entry `journal-gap` as soon as there is
//!    room; a refused entry has no number.
//! 5. Observers run on `ek-journal`, outside every lock; their panics are caught
//!    and told by an entry. Sources of snapshots run beside it: nothing waits for them.
//!
//! How it fails: while the disk is full or fails, entries wait in memory and the
//! log tries again ([`Journal::trouble`] says so); nothing that was reported
//! durable is at stake. What was not durable when the process dies is gone, and
//! the next [`Journal::open`] declares so with a gap in the log.

mod checkpoint;
mod draft;
mod entry;
mod keeper;
mod queue;
mod restore;
mod retention;
mod shared;
mod snapshot;
mod sources;
mod time;
mod verify;
mod weight;

use crate::clock::{self, stamp as now};
use crate::threads::{Class, ThreadCoordinator};
use checkpoint::Checkpoints;
pub use checkpoint::{CHECKPOINT_KIND, Checkpoint, NoKey, SigningKey, VerifyingKey, verify_against};
pub(crate) use draft::Draft;
use entry::ZERO;
pub use entry::{ENTRY_BYTES_MAX, Entry};
use evenkeel_hierarchy::{After, Cap, JournalQueue, Level, with_root};
use evenkeel_log::storage::Storage;
use evenkeel_log::{LogOptions, LogWriter, Recovery, recover};
use keeper::Keeper;
pub use queue::Refused;
pub use restore::{Glimpse, RestoreSummary, Restored, restore};
use retention::Removals;
pub use retention::{ANCHOR_KIND, JournalRetention};
use serde::Serialize;
use serde_json::{Map, Value};
pub use shared::{GAP_KIND, OBSERVER_PANIC_KIND};
use shared::{Order, Shared, deadline};
use snapshot::Snapshots;
pub use snapshot::{MACHINES, SNAPSHOT_KIND};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use verify::{JournalVerification, entries, verify};
pub use weight::Weight;

/// Name of the journal's channel in its log; its topic is `/journal`.
pub const CHANNEL: &str = "journal";
/// Name of the directory of a journal in the directory that it belongs to.
pub const DIR_NAME: &str = "journal";
/// A journal that is dropped is waited for no longer than this.
const DROP_GRACE: Duration = Duration::from_secs(1);

/// Bounds of a journal; `Default` has the documented values.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Random, different in every run; zeroes (the default) to have it chosen.
    pub run_id: [u8; 16],
    /// Entries that may wait for the disk: 4096.
    pub queue_entries_max: usize,
    /// Bytes of entries that may wait for the disk: 1 MiB. An empty queue takes any entry.
    pub queue_bytes_max: usize,
    /// A segment is rotated at this length in bytes: 4 MiB.
    pub segment_bytes: u64,
    /// A segment that has entries is rotated at this age in nanoseconds: a day.
    pub segment_ns: u64,
    /// Disk kept free for the journal's end: 64 KiB.
    pub ballast_bytes: u64,
    /// A snapshot is taken after so many entries: 8192. Each segment begins with one as well.
    pub snapshot_entries: u64,
    /// And after so many bytes of entries: 2 MiB.
    pub snapshot_bytes: u64,
    /// A source of a snapshot that has not answered for so long is told of, once, and waited for further: 5 s.
    pub snapshot_patience: Duration,
    /// What is kept of it: all.
    pub retention: JournalRetention,
    /// What checkpoints are signed with: nothing, so that there are none.
    pub signing: Option<SigningKey>,
    /// With a key, a checkpoint is appended after so many entries, and at the end: 8192.
    pub checkpoint_entries: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            run_id: [0; 16],
            queue_entries_max: 4096,
            queue_bytes_max: 1 << 20,
            segment_bytes: 4 << 20,
            segment_ns: 86_400_000_000_000,
            ballast_bytes: 64 << 10,
            snapshot_entries: 8192,
            snapshot_bytes: 2 << 20,
            snapshot_patience: Duration::from_secs(5),
            retention: JournalRetention::default(),
            signing: None,
            checkpoint_entries: 8192,
        }
    }
}

impl JournalOptions {
    fn log(&self) -> io::Result<LogOptions> {
        let mut run_id = self.run_id;
        if run_id == [0; 16] {
            std::fs::File::open("/dev/urandom")?.read_exact(&mut run_id)?;
        }
        Ok(LogOptions {
            segment_bytes: self.segment_bytes,
            segment_ns: self.segment_ns,
            ballast_bytes: self.ballast_bytes,
            // What may wait in memory has to fit too when the disk is full.
            ballast_wanted_bytes: self.ballast_bytes + 2 * self.queue_bytes_max as u64,
            run_id,
            ..LogOptions::default()
        })
    }
}

/// Where an entry was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub entry: u64,
    /// The hash before it, 64 hexadecimal digits.
    pub prev: String,
}

/// The end of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 before the first.
    pub entry: u64,
    /// The hash after it, 64 hexadecimal digits.
    pub hash: String,
}

/// Why a journal was not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk did not take it in time; it may still.
    #[error("the journal was not ended in time: of {head} entries {durable} are on disk")]
    TimedOut {
        /// Number of the last entry on disk.
        durable: u64,
        /// Number of the last entry.
        head: u64,
    },
    /// The disk refused it.
    #[error("the journal could not be ended: {reason}; of {head} entries {durable} are on disk")]
    Unwritten {
        /// What the disk said.
        reason: String,
        /// Number of the last entry on disk.
        durable: u64,
        /// Number of the last entry.
        head: u64,
    },
    /// Everything is on disk, but a segment that failed on the way is not sealed.
    #[error("the journal has a segment that is not sealed, which `recover` mends: {reason}")]
    Unsealed {
        /// The segment, and what was wrong.
        reason: String,
    },
    /// The journal's thread is gone by a fault of its own.
    #[error("the journal's thread died")]
    Died,
}

/// A handle of an open journal. Clones share it; when the last is gone, what was
/// queued is written and committed (waited for at most a second), without an end.
///
/// ```
/// use evenkeel::journal::{Journal, JournalOptions, verify};
/// use evenkeel_log::{Outcome, storage::DirStorage};
/// use serde_json::json;
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let storage = Arc::new(DirStorage::create(dir.path())?);
/// let (journal, _recovery) = Journal::open(storage.clone(), JournalOptions::default())?;
/// let intent = journal.append("step-intent", Some("left"), json!({ "step": "flush" })).expect("there is room");
/// assert!(journal.wait_durable(intent.entry, Duration::from_secs(10)));
/// journal.finish(Duration::from_secs(10))?;
/// journal.verify_last()?;
/// assert_eq!(verify(&*storage, false)?.outcome, Outcome::Intact);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    signing: Option<SigningKey>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Who dropped it cannot be told more; the next opening declares what is not there.
        let _ = self.shared.end(Order::Leave, DROP_GRACE);
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("head", &self.head())
            .field("durable", &self.durable_through())
            .finish()
    }
}

impl Journal {
    /// Recovers what a crash left, begins a segment, and starts the thread
    /// `ek-journal`, which owns the log from then on. Blocks on the disk.
    ///
    /// Nobody else may write to the storage meanwhile: hold its lock.
    ///
    /// # Errors
    /// What the storage or the system says; `InvalidData` when the log there is no journal.
    pub fn open(storage: Arc<dyn Storage>, options: JournalOptions) -> io::Result<(Self, Recovery)> {
        Self::open_on(&ThreadCoordinator::default(), storage, options)
    }

    /// The same, with its thread among those of a coordinator.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(
        threads: &ThreadCoordinator,
        storage: Arc<dyn Storage>,
        options: JournalOptions,
    ) -> io::Result<(Self, Recovery)> {
        let recovery = recover(&storage, now())?;
        let mut resume = recovery.resume.clone();
        let last = resume.channels.get(CHANNEL).map_or(0, |state| state.last_sequence);
        if resume.chain.is_none() && resume.channels.values().any(|state| state.last_sequence > 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the log there is no journal: it has no chain",
            ));
        }
        if last == u64::MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the journal says that no number is left",
            ));
        }
        let chain = resume.chain.unwrap_or(ZERO);
        resume.chain = Some(chain);
        resume.opening.insert(CHANNEL.to_owned());
        let stamp = now();
        let mut writer = LogWriter::create(storage.clone(), options.log()?, resume, stamp)?;
        let channel = writer.channel(CHANNEL, "json");
        for gap in recovery.undeclared.iter().filter(|gap| gap.channel == CHANNEL) {
            writer.declare(gap, stamp);
        }
        let stream = writer.stream(channel, &[("opened", &stamp.wall_ns.to_string())]);
        let shared = Arc::new(Shared::new(last, chain, options.queue_entries_max, options.queue_bytes_max));
        let keeper = Keeper {
            shared: shared.clone(),
            storage: storage.clone(),
            writer,
            channel,
            stream,
            next_entry: last + 1,
            spare: Vec::new(),
            ballast_at: Instant::now(),
            has_entries: false,
            sync_takes: Duration::ZERO,
            removals: Removals::new(options.retention),
            checkpoints: Checkpoints::new(options.signing, options.checkpoint_entries.max(1)),
            written: (last, chain),
            snapshots: Snapshots::new(
                options.snapshot_entries,
                options.snapshot_bytes,
                options.snapshot_patience,
                threads.asides(),
            ),
        };
        let thread = threads.thread("ek-journal").class(Class::System).kept();
        thread.start(move |pulse| keeper.run(pulse))?;
        Ok((Self(Arc::new(Handle { shared, storage, signing: options.signing })), recovery))
    }

    /// Of use as long as somebody has a handle, and no handle itself.
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + Sync + use<> {
        let handle = Arc::downgrade(&self.0);
        move || handle.upgrade().map(Self)
    }

    /// Numbers, chains and queues an entry; never waits for the disk. A body that
    /// makes the entry longer than [`ENTRY_BYTES_MAX`] is replaced by its length
    /// and hash. What it weighs is that of its kind: see [`Weight::of`].
    ///
    /// `None`: refused, because the queue is full (told later by an entry of kind
    /// [`GAP_KIND`]) or the journal is closed.
    #[must_use = "a refused entry is in no journal"]
    #[expect(clippy::needless_pass_by_value, reason = "bodies are made for their entry")]
    pub fn append(&self, kind: &str, channel: Option<&str>, body: Value) -> Option<Appended> {
        self.record(kind, channel, None, &body)
    }

    /// The same about a component of the channel, with a body that is written as it is: without
    /// a [`Value`] on the way. One that has no JSON form leaves why.
    ///
    /// ```
    /// use evenkeel::journal::{Journal, JournalOptions};
    /// use evenkeel_log::storage::DirStorage;
    /// use std::sync::Arc;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Change<'a> {
    ///     from: &'a str,
    ///     to: &'a str,
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let (journal, _) = Journal::open(Arc::new(DirStorage::create(dir.path())?), JournalOptions::default())?;
    /// let change = Change { from: "Ready", to: "Running" };
    /// assert!(journal.record("state", Some("left"), Some("writer"), &change).is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a refused entry is in no journal"]
    pub fn record(
        &self,
        kind: &str,
        channel: Option<&str>,
        component: Option<&str>,
        body: &(impl Serialize + ?Sized),
    ) -> Option<Appended> {
        let draft = Draft::of(kind, channel, component, body);
        with_root(|house| self.append_draft(house, &draft))
    }

    /// The same for who must not go on without: waits until there is room, at most `timeout`. What it
    /// weighs is said, whatever its kind. Not to be called by an observer, for which it does not wait.
    #[must_use = "a refused entry is in no journal"]
    pub fn append_within(
        &self,
        weight: Weight,
        kind: &str,
        (channel, component): (Option<&str>, Option<&str>),
        body: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Option<Appended> {
        let draft = Draft::of(kind, channel, component, body).weighing(weight);
        self.0.shared.append_until(&draft, deadline(timeout))
    }

    /// The same, with the hash before this entry put into the body as `field`:
    /// for what is the last word on all before it.
    #[must_use = "a refused entry is in no journal"]
    pub fn append_with_head(&self, kind: &str, body: Map<String, Value>, field: &str) -> Option<Appended> {
        let draft = Draft::with_head(kind, body, field);
        with_root(|house| self.append_draft(house, &draft))
    }

    /// The same for an entry that is drawn up already, under what is held.
    pub(crate) fn append_draft<Held: Level>(&self, held: &mut Cap<Held>, draft: &Draft) -> Option<Appended>
    where
        JournalQueue: After<Held>,
    {
        self.0.shared.append(held, draft)
    }

    /// The end of the chain over everything appended so far, durable or not.
    pub fn head(&self) -> Head {
        self.0.shared.head()
    }

    /// Signs what is on disk, to be kept elsewhere: [`verify_against`] finds with it what the journal
    /// alone does not tell. `None` without a key.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let (entry, hash) = self.0.shared.durable_chain();
        Some(self.0.signing?.sign(entry, &hash, clock::wall_ns()))
    }

    /// Number of the last entry that is on disk: its `fdatasync` returned.
    pub fn durable_through(&self) -> u64 {
        self.0.shared.durable_through()
    }

    /// Has `f` called by `ek-journal` with [`durable_through`](Journal::durable_through)
    /// after each sync that moved it, from now on. What it does delays the next
    /// sync: let it be short. It is dropped when the journal ends; one that holds a
    /// handle of the journal keeps it open until [`finish`](Journal::finish).
    pub fn on_durable(&self, f: impl Fn(u64) + Send + Sync + 'static) {
        self.0.shared.observe(Box::new(f));
    }

    /// Has `ask` called for a part of each snapshot from now on, under a name of its own; the source
    /// [`MACHINES`] answers with the list of the state machines. A snapshot is taken after the first
    /// entry of each segment and as the options say. Whoever changes what a source answers appends the
    /// entry that tells of it while the change can be seen already, or under one lock with it: then the
    /// snapshot has all that is told up to its `from_entry`.
    ///
    /// It is called on `ek-snapshot`, a thread that is there while sources are asked, one after the other:
    /// the journal goes on meanwhile, and appends the snapshot when all have answered. One that does not
    /// within [`JournalOptions::snapshot_patience`] is told once, and waited for as long as the journal is
    /// open, by no other: until it answers there is no further snapshot, and so no removal of what the last
    /// one needs. A panic is told once, and the snapshot is not taken. It is dropped when the journal ends,
    /// or when the name is given again; while it is being asked, when it has answered.
    pub fn on_snapshot(&self, name: &str, ask: impl Fn() -> Value + Send + Sync + 'static) {
        self.0.shared.sources.add(name, Box::new(ask));
    }

    /// Keeps everything from `entry` on, under a name of its own, until the name says a later one; in
    /// this run. `u64::MAX` lets go. Of use where [`JournalOptions::retention`] has limits.
    ///
    /// Two names let entries go as well that retention never takes otherwise, because they are read
    /// back from the beginning: `child`, those of commands (`child..`, `leftover-..`), and `retention`,
    /// those of what was removed of a recording.
    pub fn keep_from(&self, name: &str, entry: u64) {
        self.0.shared.keep_from(name, entry);
    }

    /// Waits until an entry is on disk; `false` when the time is over first, or
    /// the journal has ended without it. An observer is answered at once.
    pub fn wait_durable(&self, entry: u64, timeout: Duration) -> bool {
        self.0.shared.wait_durable(entry, timeout)
    }

    /// Why the journal cannot be written now, or that it is refusing entries.
    pub fn trouble(&self) -> Option<String> {
        self.0.shared.trouble()
    }

    /// Entries refused so far because the queue was full.
    pub fn refused(&self) -> u64 {
        self.0.shared.refused().total()
    }

    /// The same by weight.
    pub fn refused_by_weight(&self) -> Refused {
        self.0.shared.refused()
    }

    /// Closes the journal, writes everything, ends and seals the log. Waits at most
    /// `timeout`; call it again to wait longer. Once it has ended, it answers the same.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn finish(&self, timeout: Duration) -> Result<(), JournalError> {
        self.0.shared.end(Order::Finish, timeout)
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.storage
    }
}
