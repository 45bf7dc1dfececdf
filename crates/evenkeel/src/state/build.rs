//! Describing a machine.

use super::inner::{Inner, Options};
use super::rules::{Compensation, Proposed, Rule, Rules};
use super::view::AnyMachine;
use super::{
    Limits, MachineError, MachineName, PastMachine, Snapshot, State, StateMachine, States, Table, Undo,
};
use crate::callback::{call, message};
use crate::clock;
use evenkeel_core::check_name;
use evenkeel_core::state::Machine;
use evenkeel_hierarchy::with_root;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

type Migration<S> = Box<dyn FnOnce(&Snapshot) -> Result<S, String> + Send>;

/// Describes a machine; see [`States::machine`] and [`Channel::machine`](crate::Channel::machine).
#[must_use = "a machine that is not built is none"]
pub struct MachineBuilder<S: State> {
    states: States,
    table: &'static Table<S>,
    name: MachineName,
    limits: Limits,
    rules: Rules<S>,
    options: Options,
    migration: Option<Migration<S>>,
}

impl<S: State> fmt::Debug for MachineBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineBuilder")
            .field("name", &self.name)
            .field("table", &self.table.name())
            .finish_non_exhaustive()
    }
}

impl<S: State> MachineBuilder<S> {
    pub(super) fn new(states: States, table: &'static Table<S>, name: MachineName) -> Self {
        Self {
            states,
            table,
            name,
            limits: Limits::default(),
            rules: Rules::default(),
            options: Options::default(),
            migration: None,
        }
    }

    /// How much it keeps, and when it flaps.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Asks before each change whether it may be made. What it panics with refuses the change.
    pub fn guard(
        mut self,
        name: impl Into<Cow<'static, str>>,
        ask: impl Fn(&Proposed<'_, S>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.rules.guards.push(Rule { name: name.into(), ask: Box::new(ask) });
        self
    }

    /// Asks after the guards whether all is well as it would be then. What fails or panics takes the change back before
    /// anybody sees it.
    pub fn invariant(
        mut self,
        name: impl Into<Cow<'static, str>>,
        ask: impl Fn(&Proposed<'_, S>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.rules.invariants.push(Rule { name: name.into(), ask: Box::new(ask) });
        self
    }

    /// Undoes a change along this edge when the machine is taken back. The last one given for an edge counts.
    pub fn compensate(
        mut self,
        from: S,
        to: S,
        name: impl Into<Cow<'static, str>>,
        undo: impl Fn(&Undo<S>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        // The first that is found counts.
        self.rules
            .compensations
            .insert(0, Compensation { from, to, name: name.into(), undo: Box::new(undo) });
        self
    }

    /// How long a change waits for its turn. 5 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.options.patience = patience;
        self
    }

    /// How long guards and invariants of one change may take while others wait: then it is given up. 30 s.
    pub fn rules_within(mut self, within: Duration) -> Self {
        self.options.rules_within = within;
        self
    }

    /// An observer that takes longer gets a mailbox of its own. 1 ms. One that has not come back after ten times
    /// that no longer keeps the others from being told.
    pub fn slow_after(mut self, slow_after: Duration) -> Self {
        self.options.slow_after = slow_after;
        self
    }

    /// Changes that may wait in the mailbox of an observer; with one more it is detached, and that is told. 1,024; at
    /// least 1.
    pub fn mailbox(mut self, changes_max: usize) -> Self {
        self.options.mailbox_max = changes_max.max(1);
        self
    }

    /// Changes that may wait while observers are told of others; then changes wait for room. 1,024; at least 1.
    pub fn outbox(mut self, changes_max: usize) -> Self {
        self.options.outbox_max = changes_max.max(1);
        self
    }

    /// Makes a change even if the journal does not take it. The next entry tells where it stood.
    pub fn best_effort(mut self) -> Self {
        self.options.is_best_effort = true;
        self
    }

    /// Keeps it out of the journal.
    pub fn unjournalled(mut self) -> Self {
        self.options.is_journalled = false;
        self
    }

    /// Every observer has a mailbox from the beginning: nothing of theirs runs in the thread that changes the machine.
    pub fn observers_aside(mut self) -> Self {
        self.options.is_aside = true;
        self
    }

    /// Begins in the table's initial state, whatever the journal knows of it.
    pub fn anew(mut self) -> Self {
        self.options.begins_anew = true;
        self
    }

    /// Says where to begin when the journal has it with another table, or not whole. Its points are gone then.
    pub fn migrate(mut self, migrate: impl FnOnce(&Snapshot) -> Result<S, String> + Send + 'static) -> Self {
        self.migration = Some(Box::new(migrate));
        self
    }

    /// The machine, where the journal says it was, or in its table's initial state.
    ///
    /// # Errors
    /// [`MachineError`]: its name, or what the journal has of it.
    pub fn build(self) -> Result<StateMachine<S>, MachineError> {
        let Self { states, table, name, limits, rules, options, migration } = self;
        check_name(name.name())?;
        let registry = states.registry();
        let claim = registry.claim(&name, options.begins_anew)?;
        let (machine, is_untold) = match &claim.past {
            None => (Machine::new(table, limits, clock::mono()), false),
            Some(known) => restore(table, limits, &name, known, migration)?,
        };
        let bounds = (options, limits.clamped().points_max);
        let inner = Arc::new(Inner::new(name.clone(), machine, rules, bounds, registry.clone()));
        inner.with(|core| core.is_untold = is_untold);
        let weak: Weak<dyn AnyMachine> = Arc::downgrade(&inner) as Weak<dyn AnyMachine>;
        claim.enter(weak);
        Ok(StateMachine::new(inner))
    }
}

/// The machine of the past, or of a migration; and whether the journal is still to be told where it stands.
fn restore<S: State>(
    table: &'static Table<S>,
    limits: Limits,
    name: &MachineName,
    past: &PastMachine,
    migration: Option<Migration<S>>,
) -> Result<(Machine<S>, bool), MachineError> {
    let now = clock::mono();
    let machine = name.clone();
    let refused = match past.whole() {
        Ok((snapshot, tail)) => match Machine::restore(table, limits, now, snapshot, tail) {
            Ok(restored) => return Ok((restored, past.is_untold)),
            Err(source) => MachineError::Restore { machine, source },
        },
        Err(why) => MachineError::Past { machine, why: why.to_owned() },
    };
    let Some(migrate) = migration else { return Err(refused) };
    let last = past.newest();
    let said = with_root(|house| call(house, || migrate(&last)));
    let machine = name.clone();
    let state = match said {
        Ok(Ok(state)) => state,
        Ok(Err(why)) => return Err(MachineError::Migration { machine, why }),
        Err(panic) => {
            let why = format!("it panicked: {}", message(panic));
            return Err(MachineError::Migration { machine, why });
        }
    };
    let snapshot = Snapshot::at(table, last.sequence, state);
    let restored = Machine::restore(table, limits, now, &snapshot, []);
    Ok((restored.map_err(|source| MachineError::Restore { machine, source })?, true))
}
