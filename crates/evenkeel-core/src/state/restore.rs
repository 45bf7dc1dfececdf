//! Out of the journal and back: a machine as text, and the same machine again, or a refusal. Never misread.
//!
//! A shell writes a [`Snapshot`] first and now and then, and a [`SavedChange`] for each change. States are
//! saved by name. What is restored are state, numbers, points and the history of the changes that came after the snapshot;
//! metrics and patterns begin anew, and what was under way is not.

use super::points::{Points, Step};
use super::{Change, ChangeKind, Entry, Limits, Machine, Outcome, Point, State, Table, Ticket, states};
use crate::Mono;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A machine as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The table's name.
    pub table: String,
    /// Its version.
    pub version: u32,
    /// Its fingerprint, in hexadecimal digits.
    pub fingerprint: String,
    /// The number of the last change.
    pub sequence: u64,
    /// Where the machine is.
    pub state: String,
    /// Most changes that could be rolled back: what follows is read under the bound that it was made under.
    pub points_max: usize,
    /// The oldest point.
    pub oldest: u64,
    /// Where it was then.
    pub oldest_state: String,
    /// The changes since then that count.
    pub steps: Vec<SavedStep>,
}

/// A change that can be rolled back, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStep {
    /// Its number.
    pub sequence: u64,
    /// Where it began.
    pub from: String,
    /// Where it led.
    pub to: String,
    /// The mark of a rollback: it leads from a state to itself.
    pub is_rollback: bool,
}

/// A change as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedChange {
    /// Its number.
    pub sequence: u64,
    /// Where it began.
    pub from: String,
    /// Where it led.
    pub to: String,
    /// Why.
    pub cause: String,
    /// The point, of a rollback.
    pub back_to: Option<u64>,
    /// How many compensations failed or were not tried, of a rollback.
    pub failed: usize,
}

/// Why a machine is not restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It is one of another table.
    #[error("a machine of table {found} was saved, not of {expected}")]
    Table {
        /// The table.
        expected: &'static str,
        /// What was saved.
        found: String,
    },
    /// It was saved by another version.
    #[error(
        "{table} was saved by version {found} of its table, and this is version {expected}: use the program that saved it, or begin anew"
    )]
    Version {
        /// The table.
        table: &'static str,
        /// Its version.
        expected: u32,
        /// What was saved.
        found: u32,
    },
    /// The table was changed, and its version was not.
    #[error(
        "{table} was saved by another table of the same version {version} ({found}, not {expected}): raise the version"
    )]
    Fingerprint {
        /// The table.
        table: &'static str,
        /// Its version.
        version: u32,
        /// Its fingerprint.
        expected: String,
        /// What was saved.
        found: String,
    },
    /// There is no such state.
    #[error("{table}, change {sequence}: there is no state {name:?}; there are {known}")]
    UnknownState {
        /// The table.
        table: &'static str,
        /// The change.
        sequence: u64,
        /// The name.
        name: String,
        /// Every state.
        known: String,
    },
    /// Changes are missing, or come twice.
    #[error("{table} is {state} at change {newest}, and change {found}, from {from} to {to}, cannot follow")]
    Gap {
        /// The table.
        table: &'static str,
        /// Where the machine was.
        state: &'static str,
        /// The last change that was read.
        newest: u64,
        /// The next one.
        found: u64,
        /// Where that begins.
        from: &'static str,
        /// Where it leads.
        to: &'static str,
    },
    /// A change begins where the machine was not.
    #[error("{table}, change {sequence}: it leads from {from} to {to}, and the machine was {state}")]
    Broken {
        /// The table.
        table: &'static str,
        /// The change.
        sequence: u64,
        /// Where it begins.
        from: &'static str,
        /// Where it leads.
        to: &'static str,
        /// Where the machine was.
        state: &'static str,
    },
    /// The table has no such edge.
    #[error("{table}, change {sequence}: {from} cannot become {to}; allowed: {allowed}")]
    NotAllowed {
        /// The table.
        table: &'static str,
        /// The change.
        sequence: u64,
        /// Where it begins.
        from: &'static str,
        /// Where it leads.
        to: &'static str,
        /// What may follow.
        allowed: String,
    },
    /// A rollback to what is no point, or was another state.
    #[error("{table}, change {sequence}: back from {from} to {to}, but at {point} it was {found}")]
    Rollback {
        /// The table.
        table: &'static str,
        /// The change.
        sequence: u64,
        /// Where it begins.
        from: &'static str,
        /// Where it leads.
        to: &'static str,
        /// The point.
        point: Point,
        /// Where the machine was then; `unknown` if that is no point.
        found: &'static str,
    },
    /// The changes do not lead to the state.
    #[error("{table}: its changes lead to {found} at change {newest}, not to {state} at change {sequence}")]
    State {
        /// The table.
        table: &'static str,
        /// The number of the last change.
        sequence: u64,
        /// Where the machine is said to be.
        state: &'static str,
        /// The last change that was read.
        newest: u64,
        /// Where that led.
        found: &'static str,
    },
}

/// A machine is not what its own changes say: a defect of this library.
pub type Inconsistent = RestoreError;

impl<S: State> Change<S> {
    /// The change as text, for a journal.
    pub fn saved(&self) -> SavedChange {
        let (back_to, failed) = match self.kind {
            ChangeKind::Edge => (None, 0),
            ChangeKind::Rollback { to, failed } => (Some(to.sequence()), failed),
        };
        let (from, to) = (self.from.name().to_owned(), self.to.name().to_owned());
        SavedChange { sequence: self.sequence, from, to, cause: self.cause.to_string(), back_to, failed }
    }
}

impl<S: State> Machine<S> {
    /// The machine as text, for a journal.
    ///
    /// ```
    /// use evenkeel_core::Mono;
    /// use evenkeel_core::state::{CLEANUP, CleanupState, Limits, Machine};
    ///
    /// let now = Mono::from_nanos(0);
    /// let mut machine = Machine::new(&CLEANUP, Limits::default(), now);
    /// let first = machine.snapshot();
    /// let proposal = machine.propose(now, CleanupState::Initiating, "SIGTERM").unwrap();
    /// let change = machine.commit(now, proposal).unwrap().saved();
    ///
    /// let again = Machine::restore(&CLEANUP, Limits::default(), now, &first, [&change]).unwrap();
    /// assert_eq!((again.state(), again.sequence()), (CleanupState::Initiating, 1));
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        let save = |step: &Step<S>| SavedStep {
            sequence: step.sequence,
            from: step.from.name().to_owned(),
            to: step.to.name().to_owned(),
            is_rollback: step.is_mark,
        };
        let (oldest, oldest_state) = self.points.base();
        Snapshot {
            table: self.table.name().to_owned(),
            version: self.table.version(),
            fingerprint: fingerprint(self.table),
            sequence: self.sequence,
            state: self.state.name().to_owned(),
            points_max: self.points.steps_max(),
            oldest,
            oldest_state: oldest_state.name().to_owned(),
            steps: self.points.steps().map(save).collect(),
        }
    }

    /// The machine that was saved, and the changes after that, in order. What is in history of them has the time `now`
    /// and took no time.
    ///
    /// # Errors
    /// [`RestoreError`], if the table is not the one that saved it, or does not allow what was saved.
    pub fn restore<'a>(
        table: &'static Table<S>,
        limits: Limits,
        now: Mono,
        snapshot: &Snapshot,
        tail: impl IntoIterator<Item = &'a SavedChange>,
    ) -> Result<Self, RestoreError> {
        check_table(table, snapshot)?;
        let oldest_state = named(table, snapshot.oldest, &snapshot.oldest_state)?;
        let bound = Limits { points_max: snapshot.points_max, ..limits }.clamped().points_max;
        let mut points = Points::new((snapshot.oldest, oldest_state), bound);
        for saved in &snapshot.steps {
            let SavedStep { sequence, is_rollback: is_mark, .. } = *saved;
            let (from, to) = (named(table, sequence, &saved.from)?, named(table, sequence, &saved.to)?);
            let step = Step { sequence, from, to, is_mark };
            follows(table, points.newest(), step)?;
            points.push(step);
        }
        let state: S = named(table, snapshot.sequence, &snapshot.state)?;
        leads_to(table, points.newest(), (snapshot.sequence, state))?;
        let mut entries = std::collections::VecDeque::new();
        for saved in tail {
            if entries.len() == limits.clamped().history_max {
                entries.pop_front();
            }
            entries.push_back(again(table, now, &mut points, saved)?);
        }
        let mut machine = Self::with_points(table, limits, now, points.bounded(limits.clamped().points_max));
        entries.into_iter().for_each(|entry| machine.history.push(entry));
        Ok(machine)
    }

    /// Whether its points and its state are what its table allows and lead to one another.
    ///
    /// # Errors
    /// [`Inconsistent`], naming the first change that is not.
    pub fn check(&self) -> Result<(), Inconsistent> {
        let mut at = self.points.base();
        for step in self.points.steps() {
            follows(self.table, at, *step)?;
            at = (step.sequence, step.to);
        }
        leads_to(self.table, at, (self.sequence, self.state))
    }
}

fn fingerprint<S: State>(table: &Table<S>) -> String {
    format!("{:016x}", table.fingerprint())
}

fn check_table<S: State>(table: &Table<S>, snapshot: &Snapshot) -> Result<(), RestoreError> {
    let (name, version) = (table.name(), table.version());
    if snapshot.table != name {
        return Err(RestoreError::Table { expected: name, found: snapshot.table.clone() });
    }
    if snapshot.version != version {
        return Err(RestoreError::Version { table: name, expected: version, found: snapshot.version });
    }
    let (expected, found) = (fingerprint(table), snapshot.fingerprint.clone());
    if expected != found {
        return Err(RestoreError::Fingerprint { table: name, version, expected, found });
    }
    Ok(())
}

fn named<S: State>(table: &Table<S>, sequence: u64, name: &str) -> Result<S, RestoreError> {
    states::named(name).ok_or_else(|| RestoreError::UnknownState {
        table: table.name(),
        sequence,
        name: name.to_owned(),
        known: S::NAMES.join(", "),
    })
}

/// Whether a step that counts may come after another.
fn follows<S: State>(table: &Table<S>, newest: (u64, S), step: Step<S>) -> Result<(), RestoreError> {
    let Step { sequence, from, to, is_mark } = step;
    let (number, state) = newest;
    let (name, from_name, to_name) = (table.name(), from.name(), to.name());
    if sequence <= number {
        let (newest, state) = (number, state.name());
        return Err(RestoreError::Gap {
            table: name,
            state,
            newest,
            found: sequence,
            from: from_name,
            to: to_name,
        });
    }
    if from != state {
        let state = state.name();
        return Err(RestoreError::Broken { table: name, sequence, from: from_name, to: to_name, state });
    }
    if is_mark && from != to {
        let (point, found) = (Point::after(number), state.name());
        return Err(RestoreError::Rollback {
            table: name,
            sequence,
            from: from_name,
            to: to_name,
            point,
            found,
        });
    }
    if is_mark || table.allows(from, to) {
        return Ok(());
    }
    let allowed = table.followers(from).to_string();
    Err(RestoreError::NotAllowed { table: name, sequence, from: from_name, to: to_name, allowed })
}

fn leads_to<S: State>(table: &Table<S>, found: (u64, S), saved: (u64, S)) -> Result<(), RestoreError> {
    if found == saved {
        return Ok(());
    }
    let (sequence, state) = (saved.0, saved.1.name());
    Err(RestoreError::State { table: table.name(), sequence, state, newest: found.0, found: found.1.name() })
}

/// Does a saved change again; its entry.
fn again<S: State>(
    table: &Table<S>,
    now: Mono,
    points: &mut Points<S>,
    saved: &SavedChange,
) -> Result<Entry<S>, RestoreError> {
    let sequence = saved.sequence;
    let (from, to): (S, S) = (named(table, sequence, &saved.from)?, named(table, sequence, &saved.to)?);
    let (newest, state) = points.newest();
    let (name, from_name, to_name) = (table.name(), from.name(), to.name());
    if newest.checked_add(1) != Some(sequence) {
        let (state, found) = (state.name(), sequence);
        return Err(RestoreError::Gap { table: name, state, newest, found, from: from_name, to: to_name });
    }
    let outcome = match saved.back_to.map(Point::after) {
        None => {
            let step = Step { sequence, from, to, is_mark: false };
            follows(table, (newest, state), step)?;
            points.push(step);
            Outcome::Done
        }
        Some(_) if from != state => {
            let state = state.name();
            return Err(RestoreError::Broken { table: name, sequence, from: from_name, to: to_name, state });
        }
        Some(point) => {
            let found = points.find(point).map(|(state, _)| state);
            if found != Some(to) {
                let found = found.map_or("unknown", S::name);
                return Err(RestoreError::Rollback {
                    table: name,
                    sequence,
                    from: from_name,
                    to: to_name,
                    point,
                    found,
                });
            }
            points.roll_back(point, sequence);
            Outcome::RolledBack { to: point, failed: saved.failed }
        }
    };
    let (ticket, cause, took) = (Ticket(sequence), saved.cause.clone().into(), Duration::ZERO);
    Ok(Entry { ticket, sequence, from, to, cause, at: now, took, outcome })
}

#[cfg(test)]
mod tests;
