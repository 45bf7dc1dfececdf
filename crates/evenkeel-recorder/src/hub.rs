//! Where all threads of a recorder meet: queues, budget, counts, orders.
//!
//! One mutex, held for moves of a few words, never across input or output.
//! Readers put batches in and wait for budget ([`intake`]); the log thread takes
//! batches out and gives budget back ([`outlet`]); whoever stops gives orders and
//! waits ([`owner`]).
//!
//! ```text
//! Run --> StopCapture --> Finish --> Abandon      (only forward, any may be skipped)
//!         read what has   the intake is closed:
//!         arrived         what comes is refused
//! ```

mod budget;
mod counts;
mod intake;
mod memory;
mod outlet;
mod owner;
mod queue;
mod reports;

#[cfg(test)]
use budget::RESERVE_BYTES;
pub(crate) use budget::{LARGE_BYTES, MEDIUM_BYTES, QUARTER_BYTES, Refused, SURPLUS_BYTES};
pub use budget::{budget_bytes, quota_bytes_min};
pub use counts::{ChannelCounts, Condition};
pub(crate) use intake::{Define, Dropped, Item, Lane, Reading};
pub use memory::pool_options;
pub(crate) use memory::{LENGTHS, RecorderMemory, SHORT_BYTES};
pub(crate) use outlet::{InMemory, Waiting};
pub(crate) use reports::Trouble;

use crate::config::{Durability, OnFull};
use evenkeel::buffers::Queues;
use evenkeel::faults::{FaultCoordinator, FaultId};
use evenkeel_hierarchy::{Condvar, Mutex, RecorderHub, with_root};
use evenkeel_log::JobDone;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// How far a stop has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Record.
    #[default]
    Run,
    /// Read what has arrived, then no more.
    StopCapture,
    /// Accept nothing more, write the end, seal.
    Finish,
    /// Stop at once.
    Abandon,
}

#[derive(Default)]
struct Channel {
    /// But for what its queue counts.
    counts: ChannelCounts,
    /// Records and bytes that were in its queue when the recorder was abandoned.
    abandoned: (u64, u64),
    on_full: OnFull,
    /// The fault that was reported last, for what is done about it.
    fault: Option<FaultId>,
    durability: Durability,
    /// Bytes of memory that it may have, where that is limited.
    quota: Option<usize>,
    /// Records and bytes of the whole recording before this run.
    before: (u64, u64),
    /// Last sequence accepted, and the last one that was acknowledged as in the queue.
    last_sequence: u64,
    told_sequence: u64,
}

struct State {
    channels: Vec<Channel>,
    /// Of each channel one, under its number.
    queues: Queues<Item>,
    /// Whether a channel drops what finds no room.
    drops: bool,
    /// Negative when the end of a stop had to take more than there was.
    surplus_free: isize,
    /// The least that it was since somebody last asked.
    surplus_low: isize,
    queued_items: usize,
    queued_bytes: usize,
    done: Vec<JobDone>,
    order: Order,
    /// Whether a reader of `ek-capture` waits for budget.
    capture_blocked: bool,
    /// When the log's thread last asked for work.
    seen_at_work_ns: u64,
    log: LogStatus,
}

/// What the log thread tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogStatus {
    /// Whether the end is written and durable.
    pub(crate) finished: bool,
    /// Whether the thread has let go of the log.
    pub(crate) gone: bool,
    /// Why the log cannot write now.
    pub(crate) trouble: Option<String>,
    /// Why no new segment can be begun now; the log goes on in the old one.
    pub(crate) rotation_trouble: Option<String>,
    /// What went wrong for good.
    pub(crate) faults: Vec<String>,
    /// Number of the newest sealed segment.
    pub(crate) last_sealed: Option<u64>,
    /// What was said last of the removal of old segments: what was removed, or why nothing can be.
    pub(crate) retention: Option<Result<String, String>>,
    /// Sealed segments, but for the run's last, that are not read back yet.
    pub(crate) unread: u64,
    /// Segments that the log gave up on the way, by number; told when it is gone.
    pub(crate) given_up: BTreeMap<u64, Sealing>,
}

/// How far a segment that was given up has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sealing {
    /// As the log left it.
    Unsealed,
    /// Somebody is at it.
    UnderWay,
    /// Done; what is wrong with it, if anything is.
    Done(Option<String>),
}

/// The meeting place; see the head of this module.
pub(crate) struct Hub {
    memory: RecorderMemory,
    state: Mutex<RecorderHub, State>,
    log_wakes: Condvar,
    budget_returns: Condvar,
    progress: Condvar,
    /// Wakes the capture thread out of its poll.
    capture_wakes: OwnedFd,
    /// Readable when every source has ended, or the log is gone.
    ended: OwnedFd,
    /// Readable from the first order on.
    ordered: OwnedFd,
    chunk_bytes: usize,
    /// Who looks after faults, if anybody does.
    faults: OnceLock<FaultCoordinator>,
}

impl Hub {
    /// A hub with a pool of its own.
    #[cfg(test)]
    pub(crate) fn new(names: &[String], chunk_bytes: usize) -> io::Result<Self> {
        Self::on(RecorderMemory::own(names)?, names, chunk_bytes)
    }

    /// A hub with this memory for channels of these names.
    pub(crate) fn on(memory: RecorderMemory, names: &[String], chunk_bytes: usize) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let channel = |name: &String| Channel {
            counts: ChannelCounts { name: name.clone(), ..ChannelCounts::default() },
            ..Channel::default()
        };
        let mut state = State {
            channels: names.iter().map(channel).collect(),
            queues: Queues::new(LARGE_BYTES as u64),
            drops: false,
            surplus_free: budget::SURPLUS_BYTES.cast_signed(),
            surplus_low: 0,
            queued_items: 0,
            queued_bytes: 0,
            done: Vec::new(),
            order: Order::Run,
            capture_blocked: false,
            seen_at_work_ns: 0,
            log: LogStatus::default(),
        };
        for at in 0..names.len() {
            let number = state.queues.add(queue::UNBOUNDED);
            assert_eq!(number, at, "invariant: a queue has its channel's number");
        }
        Ok(Self {
            memory,
            state: Mutex::new(state),
            log_wakes: Condvar::new(),
            budget_returns: Condvar::new(),
            progress: Condvar::new(),
            capture_wakes: eventfd(0, flags)?,
            ended: eventfd(0, flags)?,
            ordered: eventfd(0, flags)?,
            chunk_bytes,
            faults: OnceLock::new(),
        })
    }

    /// A look or a move of a few words. Nothing in it can panic half-way: the state is always whole.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    pub(crate) fn capture_wakes(&self) -> &OwnedFd {
        &self.capture_wakes
    }

    pub(crate) fn ordered_fd(&self) -> &OwnedFd {
        &self.ordered
    }

    pub(crate) fn ended_fd(&self) -> &OwnedFd {
        &self.ended
    }

    pub(crate) fn wake_capture(&self) {
        self.signal(&self.capture_wakes);
    }

    fn signal(&self, fd: &OwnedFd) {
        // It can only fail when it is signalled already.
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}

impl State {
    /// Channels whose source is still read.
    fn readers(&self) -> usize {
        self.channels.iter().filter(|c| c.counts.reading).count()
    }

    /// Whether the intake is closed.
    fn is_closed(&self) -> bool {
        self.order >= Order::Finish
    }
}

#[cfg(test)]
mod tests;
