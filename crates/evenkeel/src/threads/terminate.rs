//! The end of all threads, within a deadline, and the names of those that did not stop.

use super::ThreadCoordinator;
use super::core::Core;
use super::events::Doing;
use super::instant_after;
use super::slot::{Kind, Slot};
use evenkeel_core::threads::Class;
use std::fmt;
use std::time::{Duration, Instant};

/// A thread that did not stop in time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NotStopped {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// For how long it has been at work on the same thing; `None` if it waits for something.
    pub busy_for: Option<Duration>,
    /// What it does.
    pub doing: Doing,
}

impl fmt::Display for NotStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} did not stop ({}", self.name, self.doing)?;
        match self.busy_for {
            Some(time) => write!(f, ", busy for {time:.1?})"),
            None => write!(f, ", waiting)"),
        }
    }
}

/// What became of all threads. Its text says it in a line each.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use = "says what did not stop"]
pub struct Termination {
    /// Threads that have ended.
    pub stopped: usize,
    /// Threads that have not. They are not waited for any more.
    pub left: Vec<NotStopped>,
    /// Jobs that had not begun, and will not: their handles say so.
    pub given_up_jobs: usize,
}

impl Termination {
    /// All have stopped, and all jobs have run.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.given_up_jobs == 0
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} threads stopped", self.stopped)?;
        if self.given_up_jobs > 0 {
            write!(f, "; {} jobs did not run", self.given_up_jobs)?;
        }
        self.left.iter().try_for_each(|left| write!(f, "; {left}"))
    }
}

/// What is kept of the deadline for those that are told to end, so that one that listens does: a tenth, and
/// 100 ms at most, as for the steps of a stop.
const LAST_MAX: Duration = Duration::from_millis(100);

impl ThreadCoordinator {
    /// Ends all threads within a time: nothing new is accepted, queued jobs still run, threads of their own are
    /// asked to stop. Shortly before the time is over what still runs is asked too, and what has not begun
    /// is given up. Called again it waits again for those that are left. Threads that are
    /// [kept](super::ThreadBuilder::kept), and those of a stop, are left alone.
    ///
    /// Called on one of the threads it does not wait for that one, and names it.
    pub fn terminate(&self, within: Duration) -> Termination {
        let core = self.core();
        let over_at = instant_after(within);
        let told_at = over_at - (within / 10).min(LAST_MAX);
        let before = core.book.slots().iter().filter(|slot| ends(slot)).count();
        core.close();
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        // `ek-watch` too may be the one that calls, in a hook.
        let is_other = |slot: &Slot| slot.tid() != Some(own);
        let is_watch = |slot: &Slot| slot.kind == Kind::Watch && is_other(slot);
        let others = |slot: &Slot| ends(slot) && slot.kind != Kind::Watch && is_other(slot);
        let mut given_up_jobs = 0;
        if !core.book.wait_gone(others, told_at) {
            given_up_jobs = core.give_up_queued();
            core.book.wait_gone(others, over_at);
        }
        // Jobs of no worker: none could be started for them.
        given_up_jobs += core.give_up_queued();
        core.book.wait_gone(is_watch, over_at.max(Instant::now() + Duration::from_millis(20)));
        let left = self.not_stopped();
        Termination { stopped: before.saturating_sub(left.len()), left, given_up_jobs }
    }

    /// Threads that a termination would have ended, and that are there.
    pub fn not_stopped(&self) -> Vec<NotStopped> {
        let slots = self.core().book.slots();
        slots.iter().filter(|slot| ends(slot)).map(|slot| not_stopped(self.core(), slot)).collect()
    }
}

/// Whether a termination ends it.
fn ends(slot: &Slot) -> bool {
    matches!(slot.kind, Kind::Worker | Kind::Dedicated | Kind::Watch)
}

fn not_stopped(core: &Core, slot: &Slot) -> NotStopped {
    let info = super::ThreadInfo::of(core, slot);
    NotStopped { name: info.name, class: info.class, busy_for: info.busy_for, doing: info.doing }
}
