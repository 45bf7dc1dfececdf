//! The changes that count: what led to the current state, without what was rolled back.
//!
//! Invariants:
//! 1. Numbers rise; each step begins where the one before led; the last leads to the machine's state and
//!    has its newest number.
//! 2. A rollback takes the steps after its point away and leaves a mark with its own number, which leads from the
//!    point's state to itself: so that its number is a point too, and nothing is compensated twice.
//! 3. A number that is not among the steps, nor the base, is no point: its changes were undone, or are too old.

use super::State;
use std::collections::VecDeque;
use std::fmt;

/// A moment that a machine can be taken back to: how many changes it had made.
///
/// ```
/// use evenkeel_core::state::Point;
/// assert_eq!(Point::after(3).to_string(), "change 3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(u64);

impl Point {
    /// The moment after the change of this number; 0 is the beginning.
    pub const fn after(sequence: u64) -> Self {
        Self(sequence)
    }

    /// The number of the last change before it.
    pub const fn sequence(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change {}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step<S> {
    pub(super) sequence: u64,
    pub(super) from: S,
    pub(super) to: S,
    /// The mark of a rollback.
    pub(super) is_mark: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Points<S> {
    /// Where the oldest step begins.
    base: (u64, S),
    steps: VecDeque<Step<S>>,
    steps_max: usize,
}

impl<S: State> Points<S> {
    pub(super) fn new(base: (u64, S), steps_max: usize) -> Self {
        Self { base, steps: VecDeque::with_capacity(steps_max), steps_max }
    }

    pub(super) fn base(&self) -> (u64, S) {
        self.base
    }

    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = &Step<S>> {
        self.steps.iter()
    }

    pub(super) fn steps_max(&self) -> usize {
        self.steps_max
    }

    /// The newest number and where it led.
    pub(super) fn newest(&self) -> (u64, S) {
        self.steps.back().map_or(self.base, |step| (step.sequence, step.to))
    }

    pub(super) fn push(&mut self, step: Step<S>) {
        if self.steps.len() == self.steps_max
            && let Some(oldest) = self.steps.pop_front()
        {
            self.base = (oldest.sequence, oldest.to);
        }
        self.steps.push_back(step);
    }

    /// Where the machine was at a point, and how many steps remain up to it; `None` if it is no point.
    pub(super) fn find(&self, point: Point) -> Option<(S, usize)> {
        if point.sequence() == self.base.0 {
            return Some((self.base.1, 0));
        }
        let at = self.steps.binary_search_by_key(&point.sequence(), |step| step.sequence).ok()?;
        Some((self.steps[at].to, at + 1))
    }

    /// What is to be undone, the newest first, when so many steps remain.
    pub(super) fn undone(&self, remaining: usize) -> impl Iterator<Item = &Step<S>> {
        self.steps.range(remaining..).rev().filter(|step| !step.is_mark)
    }

    /// Takes the steps after a point away and leaves a mark; where that leads, if it is a point.
    pub(super) fn roll_back(&mut self, point: Point, sequence: u64) -> Option<S> {
        let (state, remaining) = self.find(point)?;
        self.steps.truncate(remaining);
        self.push(Step { sequence, from: state, to: state, is_mark: true });
        Some(state)
    }

    /// The same with another bound: the oldest go.
    pub(super) fn bounded(self, steps_max: usize) -> Self {
        let mut new = Self::new(self.base, steps_max);
        self.steps.into_iter().for_each(|step| new.push(step));
        new
    }
}
