//! What goes between a machine and its shell.

use super::{Cause, Flapping, Point, State, StateSet};
use crate::Mono;
use std::fmt;
use std::time::Duration;

/// An attempt at a change. Each attempt at one machine has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    /// The attempt's number, from 1.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {}", self.0)
    }
}

/// A change that the table allows and that nobody has seen yet.
///
/// It keeps all others out until it is committed or rejected, or its ticket is given to
/// [`Machine::abandon`](super::Machine::abandon).
#[derive(Debug)]
#[must_use = "it keeps all other changes out until it is committed, rejected or abandoned"]
pub struct Proposal<S> {
    pub(super) ticket: Ticket,
    pub(super) from: S,
    pub(super) to: S,
    pub(super) cause: Cause,
}

impl<S: State> Proposal<S> {
    /// What it is abandoned by.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Where the machine is.
    pub fn from(&self) -> S {
        self.from
    }

    /// Where it is to go.
    pub fn to(&self) -> S {
        self.to
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }
}

/// Why a proposal is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A guard refused it: which, and why.
    Guard(Cause),
    /// An invariant did not hold after it: which, and why.
    Invariant(Cause),
    /// The journal did not take it: why.
    Journal(Cause),
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "observers are to be told of it"]
pub struct Change<S> {
    /// Its number, one more than that of the change before; the first is 1.
    pub sequence: u64,
    /// Where the machine was.
    pub from: S,
    /// Where it is.
    pub to: S,
    /// Why.
    pub cause: Cause,
    /// When.
    pub at: Mono,
    /// From its proposal, or the beginning of the rollback.
    pub took: Duration,
    /// Forward or back.
    pub kind: ChangeKind,
    /// What it shows of a pattern; told once, until all is calm again.
    pub flapping: Option<Flapping<S>>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// Along an edge of the table.
    Edge,
    /// Back to a point.
    Rollback {
        /// The point.
        to: Point,
        /// How many compensations failed or were not tried.
        failed: usize,
    },
}

/// Why a change is not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused<S: State> {
    /// The table has no such edge.
    #[error("{table} is {} and cannot become {}; allowed: {allowed}", .from.name(), .to.name())]
    NotAllowed {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        from: S,
        /// Where it was to go.
        to: S,
        /// What may follow.
        allowed: StateSet<S>,
    },
    /// Another change is under way.
    #[error(
        "{table} is {}, and {ticket} is about to make it {}: it goes to {} after that, or when that is abandoned",
        .from.name(), .other.name(), .to.name()
    )]
    UnderWay {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        from: S,
        /// Where it was to go.
        to: S,
        /// Where the other change leads.
        other: S,
        /// The other change.
        ticket: Ticket,
        /// When that began.
        since: Mono,
    },
    /// It goes to and fro, and is not to.
    #[error(
        "{table} flaps between {} and {}: it stays {} until it was calm for {} ms",
        .from.name(), .to.name(), .from.name(), .window.as_millis()
    )]
    Flapping {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        from: S,
        /// Where it was to go.
        to: S,
        /// How long it has to be calm.
        window: Duration,
        /// When it may go at the earliest.
        until: Mono,
    },
}

/// A change is no longer under way: it was committed, rejected or abandoned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{table}: {ticket}, from {} to {}, is no longer under way; the machine is {}: propose it again",
    .from.name(), .to.name(), .state.name()
)]
pub struct Lapsed<S: State> {
    /// The table.
    pub table: &'static str,
    /// The attempt.
    pub ticket: Ticket,
    /// Where it began.
    pub from: S,
    /// Where it was to lead.
    pub to: S,
    /// Where the machine is now.
    pub state: S,
}
