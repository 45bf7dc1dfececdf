//! Why a change, a rollback, an observer or a machine is refused.

use super::{Lapsed, MachineName, Refused, RollbackError, State, TakenBack};
use evenkeel_core::NameError;
use evenkeel_core::state::RestoreError;
use std::time::Duration;

/// Why a machine was not changed. It is where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError<S: State> {
    /// Its table does not allow it, another change is under way, or it flaps.
    #[error("{machine}: {source}")]
    Refused {
        /// The machine.
        machine: MachineName,
        /// Why, and what is allowed.
        source: Box<Refused<S>>,
    },
    /// A guard does not let it.
    #[error("{machine} stays {}: guard {guard} does not let it become {}: {why}", .from.name(), .to.name())]
    Guard {
        /// The machine.
        machine: MachineName,
        /// The guard.
        guard: String,
        /// Where it is.
        from: S,
        /// Where it was to go.
        to: S,
        /// What the guard said.
        why: String,
    },
    /// An invariant would not hold.
    #[error("{machine} stays {}: as {} it would break {invariant}: {why}", .from.name(), .to.name())]
    Invariant {
        /// The machine.
        machine: MachineName,
        /// The invariant.
        invariant: String,
        /// Where it is.
        from: S,
        /// Where it was to go.
        to: S,
        /// What the invariant said.
        why: String,
    },
    /// The journal did not take it.
    #[error("{machine} stays {}: the journal does not take that it becomes {}: {why}", .from.name(), .to.name())]
    Journal {
        /// The machine.
        machine: MachineName,
        /// Where it is.
        from: S,
        /// Where it was to go.
        to: S,
        /// Why.
        why: String,
    },
    /// Its turn did not come in time.
    #[error("{machine} could not become {}: its turn did not come within {waited:?}; {ahead}", .to.name())]
    TimedOut {
        /// The machine.
        machine: MachineName,
        /// Where it was to go.
        to: S,
        /// How long it waited.
        waited: Duration,
        /// What is before it.
        ahead: String,
    },
    /// It was asked for from inside of a guard, an invariant or a compensation of the same machine.
    #[error(
        "{machine} cannot become {} now: who asks is inside of its change to {}; ask when that is over, or from an observer",
        .to.name(), .other.name()
    )]
    Inside {
        /// The machine.
        machine: MachineName,
        /// Where it was to go.
        to: S,
        /// Where the change leads that is under way.
        other: S,
    },
    /// So many changes wait to be seen by observers that this one has no place.
    #[error("{machine} cannot become {}: {waiting} changes wait to be seen by its observers", .to.name())]
    Crowded {
        /// The machine.
        machine: MachineName,
        /// Where it was to go.
        to: S,
        /// How many wait.
        waiting: usize,
    },
    /// Its guards took longer than they may, and others were let past.
    #[error("{machine}: its guards and invariants took too long; {source}")]
    Lapsed {
        /// The machine.
        machine: MachineName,
        /// What lapsed.
        source: Box<Lapsed<S>>,
    },
    /// It was made, and is not known to be on disk: see [`Changed::wait_durable`](super::Changed::wait_durable).
    #[error("{machine} is {} as change {sequence}, and that was not on disk within {waited:?}", .to.name())]
    NotDurable {
        /// The machine.
        machine: MachineName,
        /// Where it is.
        to: S,
        /// The change.
        sequence: u64,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Why a machine was not taken back. It is where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeBackError<S: State> {
    /// There is no way back to that point, or no way now.
    #[error("{machine}: {source}")]
    Refused {
        /// The machine.
        machine: MachineName,
        /// Why.
        source: Box<RollbackError<S>>,
    },
    /// Its turn did not come.
    #[error(transparent)]
    Turn(#[from] ChangeError<S>),
    /// It was abandoned from elsewhere; what its compensations undid by then stays undone.
    #[error("{machine}: {source}; of its compensations {tried} were tried")]
    Lapsed {
        /// The machine.
        machine: MachineName,
        /// What lapsed.
        source: Box<Lapsed<S>>,
        /// How many compensations were tried.
        tried: usize,
    },
    /// It was taken back, and compensations failed.
    #[error("{} is back, and {} of its compensations failed: {}", .0.machine, .0.failures.len(), .0.failures_text())]
    Failed(Box<TakenBack<S>>),
}

/// Why there is no such machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one of that name.
    #[error("there is a machine {machine} already")]
    Duplicate {
        /// Its name.
        machine: MachineName,
    },
    /// As many as there may be.
    #[error("machine {machine} is refused: there are {most} already")]
    TooMany {
        /// Its name.
        machine: MachineName,
        /// Most of them.
        most: usize,
    },
    /// What the journal has of it is not of this table, and nobody says what it means.
    #[error("machine {machine} is not restored: {source}; give it a migration, or let it begin anew")]
    Restore {
        /// Its name.
        machine: MachineName,
        /// Why.
        source: RestoreError,
    },
    /// What the journal has of it is not whole.
    #[error("machine {machine} is not restored: {why}; give it a migration, or let it begin anew")]
    Past {
        /// Its name.
        machine: MachineName,
        /// Why.
        why: String,
    },
    /// The migration did not know either.
    #[error("machine {machine} is not restored: its migration failed: {why}")]
    Migration {
        /// Its name.
        machine: MachineName,
        /// What it said.
        why: String,
    },
    /// There is one of that name, with another table.
    #[error("machine {machine} has table {found}, not {expected}")]
    Table {
        /// Its name.
        machine: MachineName,
        /// What was asked for.
        expected: &'static str,
        /// What it has.
        found: &'static str,
    },
    /// There is none.
    #[error("there is no machine {machine}")]
    Unknown {
        /// The name.
        machine: MachineName,
    },
}

/// Why an observer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// As many as there may be.
    #[error("{machine} has {most} observers already: observer {observer:?} is refused")]
    TooMany {
        /// The machine.
        machine: MachineName,
        /// The observer.
        observer: String,
        /// Most of them.
        most: usize,
    },
}
