//! Figures of a schedule.

use super::ids::Class;
use std::time::Duration;

/// Figures of one class since the beginning.
///
/// Every job accepted is in exactly one of `queued`, `running`, `done`, `cancelled`,
/// `expired`, `drained` and `lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Jobs that wait.
    pub queued: u64,
    /// Jobs that run on a worker that is not lost.
    pub running: u64,
    /// Jobs that ended, however they did.
    pub done: u64,
    /// Jobs cancelled before they began.
    pub cancelled: u64,
    /// Jobs that had not begun before their deadline.
    pub expired: u64,
    /// Jobs given back at termination.
    pub drained: u64,
    /// Jobs whose worker was lost while it ran them, and has not come back.
    pub lost: u64,
    /// Longest time from submission to beginning, of those that began.
    pub longest_wait: Duration,
    /// Jobs that began on another worker than the job of their channel before.
    pub moves: u64,
    /// Jobs that began on the same worker as the job of their channel before.
    pub same_worker: u64,
}

/// Figures of a [`Schedule`](super::Schedule), by class.
///
/// ```
/// use evenkeel_core::threads::{Class, Counts};
/// assert_eq!(Counts::default().of(Class::System).done, 0);
/// assert_eq!(Counts::default().affinity(), 1.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    classes: [ClassCounts; 3],
}

impl Counts {
    /// Those of one class.
    pub const fn of(&self, class: Class) -> &ClassCounts {
        &self.classes[class.index()]
    }

    pub(super) const fn at(&mut self, class: Class) -> &mut ClassCounts {
        &mut self.classes[class.index()]
    }

    /// All classes together; `longest_wait` is the longest of them.
    pub fn total(&self) -> ClassCounts {
        self.classes.iter().fold(ClassCounts::default(), |a, b| ClassCounts {
            queued: a.queued + b.queued,
            running: a.running + b.running,
            done: a.done + b.done,
            cancelled: a.cancelled + b.cancelled,
            expired: a.expired + b.expired,
            drained: a.drained + b.drained,
            lost: a.lost + b.lost,
            longest_wait: a.longest_wait.max(b.longest_wait),
            moves: a.moves + b.moves,
            same_worker: a.same_worker + b.same_worker,
        })
    }

    /// Share of jobs that began on the same worker as the one of their channel
    /// before, among those that had one before: 0 to 1, and 1 without any.
    pub fn affinity(&self) -> f64 {
        let total = self.total();
        let all = total.moves + total.same_worker;
        if all == 0 { 1.0 } else { total.same_worker as f64 / all as f64 }
    }
}
