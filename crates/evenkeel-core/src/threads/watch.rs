//! Which thread is dead, stuck or runs away.

use crate::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// A watched thread: whatever number the caller gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What is expected of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// How long it may be busy without a beat.
    pub heartbeat: Duration,
    /// Most CPU time it may use over a whole heartbeat, in thousandths of one core; `None`: all of it.
    pub cpu_share_max: Option<u16>,
}

/// What a thread looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Since when it does what it does; `None` while it waits for work, and cannot be stuck.
    pub busy_since: Option<Mono>,
    /// When it last said that it goes on.
    pub last_beat: Mono,
    /// How often it did.
    pub beats: u64,
    /// CPU time of the thread since it began, if it could be read.
    pub cpu: Option<Duration>,
}

/// What was found out about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thread.
    pub id: WatchId,
    /// What it is.
    pub kind: FindingKind,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Busy without a beat, and mostly not on the CPU: it waits for something.
    Stuck {
        /// Time since its last beat, or since it became busy.
        silent_for: Duration,
        /// CPU time that it used of it, if known.
        cpu: Option<Duration>,
    },
    /// On the CPU more than it may be: without a beat, for more than half of the
    /// time; or more than its share over a whole heartbeat, even if it beats.
    Runaway {
        /// The time that was looked at: since its last beat, or of the measurement.
        over: Duration,
        /// CPU time that it used of it.
        cpu: Duration,
        /// Whether it did not beat; otherwise it used more than its share.
        is_silent: bool,
    },
    /// What was found before is over.
    Recovered {
        /// How long it had lasted.
        after: Duration,
    },
    /// Its thread ended without having been asked to.
    Died,
}

/// Watches threads; see the module's head.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    threads: BTreeMap<WatchId, WatchSpec>,
}

impl Watch {
    /// One that watches nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches a thread from now on.
    pub fn watch(&mut self, _now: Mono, id: WatchId, spec: WatchSpec) {
        self.threads.insert(id, spec);
    }

    /// Watches it no longer. Returns whether it was watched.
    pub fn forget(&mut self, id: WatchId) -> bool {
        self.threads.remove(&id).is_some()
    }

    /// Takes in what a thread looks like; appends to `out` what is new about it.
    pub fn sample(&mut self, _now: Mono, _id: WatchId, _sample: Sample, _out: &mut Vec<Finding>) {}

    /// A thread ended without having been asked to: it is watched no longer. `None` if it was not watched.
    pub fn died(&mut self, _now: Mono, id: WatchId) -> Option<Finding> {
        self.forget(id).then_some(Finding { id, kind: FindingKind::Died })
    }

    /// When to look at all threads again; `None` when none is watched.
    pub fn next_look(&self, now: Mono) -> Option<Mono> {
        self.threads.values().map(|spec| now.plus(spec.heartbeat)).min()
    }
}
