//! What happens to machines besides changes: told to hooks, and noted in the journal.

use super::inner::Inner;
use super::{MachineName, State};
use evenkeel_hierarchy::{Cap, House};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened to a machine, and is no change. Its text is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateEvent {
    /// The machine.
    pub machine: MachineName,
    /// What happened.
    pub what: StateWhat,
}

/// What happened; states by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateWhat {
    /// A guard, an invariant or the journal refused a change, or it would have flapped.
    Refused {
        /// Where it is.
        from: &'static str,
        /// Where it was to go.
        to: &'static str,
        /// Who refused it: `table`, `guard`, `invariant`, `flapping` or `journal`.
        by: &'static str,
        /// Which, and why.
        why: String,
    },
    /// Guards took too long while others waited: the change was given up.
    GivenUp {
        /// Where it is.
        from: &'static str,
        /// Where it was to go.
        to: &'static str,
        /// How long it had been under way.
        took: Duration,
    },
    /// It goes to and fro.
    Flapping {
        /// The state that it comes back to.
        state: &'static str,
        /// The state that it comes back from.
        other: &'static str,
        /// How often it came back, at least.
        returns: u32,
        /// In what time, at most.
        within: Duration,
    },
    /// A compensation failed.
    CompensationFailed {
        /// The change that it was to undo.
        sequence: u64,
        /// Where that began.
        from: &'static str,
        /// Where it led.
        to: &'static str,
        /// Which, and why.
        why: String,
    },
    /// An observer took so long that it is told through a mailbox from now on.
    ObserverSlow {
        /// The observer.
        observer: Arc<str>,
        /// How long it took, so far.
        took: Duration,
    },
    /// An observer panicked. Told the first time, the second, the fourth and so on.
    ObserverPanicked {
        /// The observer.
        observer: Arc<str>,
        /// How often in a row.
        panics: u32,
        /// What it said.
        text: String,
    },
    /// An observer is told nothing any more.
    ObserverDetached {
        /// The observer.
        observer: Arc<str>,
        /// The last change that it was told of.
        after: u64,
        /// Why.
        why: String,
    },
}

impl fmt::Display for StateEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.machine)?;
        match &self.what {
            StateWhat::Refused { from, to, by, why } => {
                write!(f, "it stays {from} and does not become {to}, by its {by}: {why}")
            }
            StateWhat::GivenUp { from, to, took } => {
                write!(f, "it stays {from}: its guards had not let it become {to} after {took:.1?}")
            }
            StateWhat::Flapping { state, other, returns, within } => {
                write!(f, "it went back from {other} to {state} {returns} times within {within:.1?}")
            }
            StateWhat::CompensationFailed { sequence, from, to, why } => {
                write!(f, "change {sequence}, from {from} to {to}, was not undone: {why}")
            }
            StateWhat::ObserverSlow { observer, took } => {
                write!(f, "observer {observer} took {took:.1?}, and has a mailbox now")
            }
            StateWhat::ObserverPanicked { observer, panics, text } => {
                write!(f, "observer {observer} panicked ({panics} in a row): {text}")
            }
            StateWhat::ObserverDetached { observer, after, why } => {
                write!(f, "observer {observer} is told nothing after change {after}: {why}")
            }
        }
    }
}

impl<S: State> Inner<S> {
    /// Tells hooks and journal. With nothing held.
    pub(super) fn told(&self, house: &mut Cap<House>, what: StateWhat) {
        self.note(house, &what);
        self.registry.tell(house, &self.name, what);
    }

    /// Tells what was found under the lock.
    pub(super) fn tell_untold(&self, house: &mut Cap<House>) {
        let untold = std::mem::take(&mut self.core.lock(house).untold);
        untold.into_iter().for_each(|what| self.told(house, what));
    }
}
