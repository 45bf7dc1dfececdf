//! What users say of changes: guards, invariants, compensations. Called with no lock held.

use super::{Cause, State, Undo};
use crate::callback::{call, call_alone, message};
use evenkeel_hierarchy::{Cap, House, with_root};
use std::borrow::Cow;

/// A change that nobody has seen yet, as guards and invariants are asked about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Proposed<'a, S> {
    /// Where the machine is.
    pub from: S,
    /// Where it is to go.
    pub to: S,
    /// Why.
    pub cause: &'a Cause,
}

type Ask<S> = Box<dyn Fn(&Proposed<'_, S>) -> Result<(), String> + Send + Sync>;
type Undoes<S> = Box<dyn Fn(&Undo<S>) -> Result<(), String> + Send + Sync>;

pub(super) struct Rule<S> {
    pub(super) name: Cow<'static, str>,
    pub(super) ask: Ask<S>,
}

pub(super) struct Compensation<S> {
    pub(super) from: S,
    pub(super) to: S,
    pub(super) name: Cow<'static, str>,
    pub(super) undo: Undoes<S>,
}

/// Fixed when the machine is made. They are users', so their drop is too.
pub(super) struct Rules<S> {
    pub(super) guards: Vec<Rule<S>>,
    pub(super) invariants: Vec<Rule<S>>,
    pub(super) compensations: Vec<Compensation<S>>,
}

impl<S> Default for Rules<S> {
    fn default() -> Self {
        Self { guards: Vec::new(), invariants: Vec::new(), compensations: Vec::new() }
    }
}

impl<S> Drop for Rules<S> {
    fn drop(&mut self) {
        if self.guards.is_empty() && self.invariants.is_empty() && self.compensations.is_empty() {
            return;
        }
        // Each alone: one that panics keeps no other from its drop.
        let (guards, invariants) = (std::mem::take(&mut self.guards), std::mem::take(&mut self.invariants));
        let compensations = std::mem::take(&mut self.compensations);
        with_root(|house| {
            for rule in guards.into_iter().chain(invariants) {
                call_alone(house, || drop(rule));
            }
            for compensation in compensations {
                call_alone(house, || drop(compensation));
            }
        });
    }
}

/// The first of them that says no: its position and why.
pub(super) fn ask<S: State>(
    house: &mut Cap<House>,
    rules: &[Rule<S>],
    proposed: &Proposed<'_, S>,
) -> Result<(), (usize, String)> {
    for (at, rule) in rules.iter().enumerate() {
        match call(house, || (rule.ask)(proposed)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err((at, why)),
            Err(panic) => return Err((at, format!("it panicked: {}", message(panic)))),
        }
    }
    Ok(())
}

impl<S: State> Rules<S> {
    /// Whether nobody is asked before a change.
    pub(super) fn is_free(&self) -> bool {
        self.guards.is_empty() && self.invariants.is_empty()
    }

    /// Undoes one change, if there is something to undo; why it failed, if it did.
    pub(super) fn undo(&self, house: &mut Cap<House>, undo: Undo<S>) -> Result<(), String> {
        let is_it = |known: &&Compensation<S>| (known.from, known.to) == (undo.from, undo.to);
        let Some(compensation) = self.compensations.iter().find(is_it) else { return Ok(()) };
        let failed = match call(house, || (compensation.undo)(&undo)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(panic) => format!("it panicked: {}", message(panic)),
        };
        Err(format!("{}: {failed}", compensation.name))
    }
}
