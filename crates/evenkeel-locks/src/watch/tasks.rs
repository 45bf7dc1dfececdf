//! The tasks that hold a lock that is awaited, kept with the lock: a task has no record of its own.
//!
//! A hold has a beginning when it is timed, or from the moment when somebody first waits for it: so the longest
//! hold is known of those that were in somebody's way, and no clock is read for the others.

use super::cycle::Holder;
use super::sys::Site;
use super::tag::Access;
use parking_lot::Mutex;
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Tasks {
    holds: Mutex<Vec<TaskHold>>,
}

/// One task that holds the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskHold {
    pub(crate) task: u64,
    pub(crate) access: Access,
    pub(crate) site: Site,
    /// It lasts since then at least.
    pub(crate) since: Option<Instant>,
    /// It began then.
    pub(crate) is_timed: bool,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { holds: Mutex::new(Vec::new()) }
    }

    pub(crate) fn enter(&self, hold: TaskHold) {
        self.holds.lock().push(hold);
    }

    /// Takes out what the task held.
    pub(crate) fn leave(&self, task: u64) -> Option<TaskHold> {
        let mut holds = self.holds.lock();
        let at = holds.iter().position(|hold| hold.task == task)?;
        Some(holds.swap_remove(at))
    }

    /// The task goes on as one of those that read.
    pub(crate) fn downgrade(&self, task: u64) {
        if let Some(hold) = self.holds.lock().iter_mut().find(|hold| hold.task == task) {
            hold.access = Access::Shared;
        }
    }

    /// Somebody waits since now.
    pub(crate) fn are_waited_for(&self, now: Instant) {
        for hold in self.holds.lock().iter_mut() {
            hold.since.get_or_insert(now);
        }
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        let holds = self.holds.lock();
        let holder = |hold: &TaskHold| Holder {
            thread: hold.task.to_string(),
            is_task: true,
            access: hold.access,
            site: hold.site,
        };
        holds.iter().map(holder).collect()
    }
}
