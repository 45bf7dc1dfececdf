//! What a lock that is awaited counts, and which tasks have it.
//!
//! The same counts as those of a watched lock that blocks, and the same sampling of times: see
//! [`watch`](crate::watch). What is written here is written between going in and going out, so by one alone
//! where the lock is held by one alone.

use crate::watch::{Access, LockStats, Origin, Site, State, TaskHold};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Record {
    state: State,
}

impl Record {
    pub(super) const fn new(level: &'static str, site: Site) -> Self {
        let origin = Origin { name: Some(level), rank: None, class: None, is_ordered: false };
        Self { state: State::new(origin, site) }
    }

    /// A task has gone in.
    pub(super) fn enter(&self, task: u64, access: Access, site: Site) {
        let nth = match access {
            Access::Exclusive => self.state.count_exclusive(),
            Access::Shared => self.state.count_shared(),
        };
        let is_timed = nth.is_looked_at && self.state.look();
        let since = is_timed.then(Instant::now);
        self.state.cold().tasks.enter(TaskHold { task, access, site, since, is_timed });
    }

    /// A task is about to go out.
    pub(super) fn leave(&self, task: u64) {
        match self.state.cold().tasks.leave(task) {
            Some(TaskHold { since: Some(since), site, is_timed: true, .. }) => {
                self.state.held_since(since, site);
            }
            Some(TaskHold { since: Some(since), site, .. }) => {
                self.state.cold().held_at_least(since.elapsed(), site);
            }
            _ => {}
        }
    }

    pub(super) fn downgrade(&self, task: u64) {
        self.state.cold().tasks.downgrade(task);
    }

    pub(super) fn stats(&self) -> LockStats {
        self.state.stats()
    }
}

/// A task that is on its way in. Dropped before its [end](Self::end), it has given up.
pub(super) struct Waiting<'r> {
    record: &'r Record,
    since: Option<Instant>,
}

impl<'r> Waiting<'r> {
    pub(super) fn of(record: &'r Record) -> Self {
        Self { record, since: None }
    }

    /// It is in the queue.
    pub(super) fn waits(&mut self) {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            self.record.state.cold().tasks.are_waited_for(now);
        }
    }

    /// It is in.
    pub(super) fn end(mut self) {
        if let Some(since) = self.since.take() {
            self.record.state.waited(since.elapsed());
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.record.state.gave_up();
            self.record.state.waited(since.elapsed());
        }
    }
}
