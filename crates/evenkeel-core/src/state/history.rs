//! What was tried and what came of it: a bounded list, of which the oldest goes.

use super::{Cause, Point, State, Ticket};
use crate::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// One attempt at a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<S> {
    /// The attempt; each has its own.
    pub ticket: Ticket,
    /// Changes that the machine had made when the attempt had ended: the number of this one, if it was made.
    pub sequence: u64,
    /// Where the machine was.
    pub from: S,
    /// Where it was to go.
    pub to: S,
    /// Why.
    pub cause: Cause,
    /// When it ended.
    pub at: Mono,
    /// From its proposal to its end.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The change was made.
    Done,
    /// A guard refused it; the state did not change.
    GuardRefused {
        /// Which, and why.
        why: Cause,
    },
    /// An invariant did not hold after it; the state did not change.
    InvariantFailed {
        /// Which, and why.
        why: Cause,
    },
    /// The journal did not take it; the state did not change.
    NotJournalled {
        /// Why.
        why: Cause,
    },
    /// Nobody said what came of it; the state did not change.
    Abandoned,
    /// The machine was taken back.
    RolledBack {
        /// Where to.
        to: Point,
        /// How many compensations failed or were not tried.
        failed: usize,
    },
}

/// Never grows once made.
#[derive(Clone, Debug)]
pub(super) struct History<S> {
    entries: VecDeque<Entry<S>>,
    entries_max: usize,
}

impl<S: State> History<S> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::with_capacity(entries_max), entries_max }
    }

    pub(super) fn push(&mut self, entry: Entry<S>) {
        if self.entries.len() == self.entries_max {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry<S>> + ExactSizeIterator {
        self.entries.iter()
    }
}
