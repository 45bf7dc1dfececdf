//! One change: guards and invariants, then the journal, then the machine, then the observers.

use super::inner::{Core, Inner};
use super::record::Recorded;
use super::rules::{Proposed, ask};
use super::turn::Pending;
use super::{Cause, Change, ChangeError, Lapsed, MachineName, State, StateWhat};
use crate::clock;
use crate::journal::{Appended, Journal};
use evenkeel_core::state::{Proposal, Refused, Rejection};
use evenkeel_hierarchy::{Cap, MachineState, with_root};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A change that was made.
///
/// ```
/// use evenkeel::state::{COMPONENT, ComponentState, States};
///
/// let power = States::default().machine(&COMPONENT, "power").build()?;
/// let changed = power.change(ComponentState::Running, "plugged in")?;
/// assert_eq!((changed.sequence, changed.from), (1, ComponentState::Registered));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Changed<S: State> {
    change: Change<S>,
    name: MachineName,
    entry: Option<(Journal, u64)>,
}

impl<S: State> Deref for Changed<S> {
    type Target = Change<S>;

    fn deref(&self) -> &Change<S> {
        &self.change
    }
}

impl<S: State> Changed<S> {
    pub(super) fn new(inner: &Inner<S>, change: Change<S>, appended: Option<Appended>) -> Self {
        let entry = inner.journal().cloned().zip(appended.map(|appended| appended.entry));
        Self { change, name: inner.name.clone(), entry }
    }

    /// The number of its entry, if it is in a journal.
    pub fn entry(&self) -> Option<u64> {
        self.entry.as_ref().map(|(_, entry)| *entry)
    }

    /// Waits until it is on disk: a crash from then on does not undo it. Without a journal, or where that did not take
    /// it, it never is.
    ///
    /// # Errors
    /// [`ChangeError::NotDurable`]; it is made all the same, and may be on disk later.
    pub fn wait_durable(&self, timeout: Duration) -> Result<(), ChangeError<S>> {
        if self.entry.as_ref().is_some_and(|(journal, entry)| journal.wait_durable(*entry, timeout)) {
            return Ok(());
        }
        let (machine, to, sequence) = (self.name.clone(), self.change.to, self.change.sequence);
        Err(ChangeError::NotDurable { machine, to, sequence, waited: timeout })
    }
}

/// Why a change that was under way was not made.
enum Unmade<S: State> {
    Journal(Proposal<S>),
    Lapsed(Lapsed<S>),
}

impl<S: State> Inner<S> {
    /// A whole change.
    pub(super) fn change(
        self: &Arc<Self>,
        to: S,
        cause: &Cause,
        patience: Duration,
    ) -> Result<Changed<S>, ChangeError<S>> {
        if self.rules.is_free() && self.journal().is_none() {
            return self.change_at_once(to, cause, patience);
        }
        let begun = self.begin(to, cause, patience);
        match begun {
            Ok(mut pending) => {
                self.ask_guards(&mut pending)?;
                self.commit(pending)
            }
            Err(refused) => Err(self.tell_refused(refused)),
        }
    }

    /// The same where nobody is asked: under one lock.
    fn change_at_once(
        self: &Arc<Self>,
        to: S,
        cause: &Cause,
        patience: Duration,
    ) -> Result<Changed<S>, ChangeError<S>> {
        let mut wait = super::turn::Wait::new(patience);
        let made = self.when_free(to, &mut wait, |core, now| {
            let proposal = core.machine.propose(now, to, cause.clone()).map_err(|no| self.refused(no))?;
            let change = core.machine.commit(now, proposal);
            let change = change.expect("invariant: nothing comes between a proposal and its commit");
            let turn = self.made(core, &change);
            Ok((change, turn))
        });
        let (change, turn) = made.map_err(|refused| self.tell_refused(refused))?;
        Ok(self.tell_made(change, None, turn))
    }

    /// Asks the guards; a change that they refuse is over.
    pub(super) fn ask_guards(&self, pending: &mut Pending<'_, S>) -> Result<(), ChangeError<S>> {
        let Some(proposal) = &pending.proposal else { return Ok(()) };
        let Err((at, why)) = self.ask(proposal, &self.rules.guards) else { return Ok(()) };
        let (from, to) = (proposal.from(), proposal.to());
        let guard = self.rules.guards[at].name.to_string();
        self.reject(pending, Rejection::Guard(format!("{guard}: {why}").into()));
        let error = ChangeError::Guard { machine: self.name.clone(), guard, from, to, why };
        Err(self.tell_refused(error))
    }

    fn ask_invariants(&self, pending: &mut Pending<'_, S>) -> Result<(), ChangeError<S>> {
        let Some(proposal) = &pending.proposal else { return Ok(()) };
        let Err((at, why)) = self.ask(proposal, &self.rules.invariants) else { return Ok(()) };
        let (from, to) = (proposal.from(), proposal.to());
        let invariant = self.rules.invariants[at].name.to_string();
        self.reject(pending, Rejection::Invariant(format!("{invariant}: {why}").into()));
        let error = ChangeError::Invariant { machine: self.name.clone(), invariant, from, to, why };
        Err(self.tell_refused(error))
    }

    fn ask(&self, proposal: &Proposal<S>, rules: &[super::rules::Rule<S>]) -> Result<(), (usize, String)> {
        if rules.is_empty() {
            return Ok(());
        }
        let proposed = Proposed { from: proposal.from(), to: proposal.to(), cause: proposal.cause() };
        with_root(|house| ask(house, rules, &proposed))
    }

    fn reject(&self, pending: &mut Pending<'_, S>, why: Rejection) {
        let Some(proposal) = pending.proposal.take() else { return };
        self.with(|core| {
            // Given up meanwhile, it is over too.
            if core.machine.reject(clock::mono(), proposal, why).is_ok() {
                self.set_free(core);
            }
        });
    }

    /// Makes a change that the guards let through.
    pub(super) fn commit(
        self: &Arc<Self>,
        mut pending: Pending<'_, S>,
    ) -> Result<Changed<S>, ChangeError<S>> {
        self.ask_invariants(&mut pending)?;
        let proposal = pending.proposal.take().expect("invariant: what is pending has its proposal");
        let (from, to) = (proposal.from(), proposal.to());
        let draft = self.journal().map(|_| {
            let took = clock::mono().since(pending.since);
            let (sequence, base) = (pending.sequence, pending.base.as_deref());
            let cause = proposal.cause();
            self.draft_change(&Recorded { sequence, from, to, cause, back: None, took, base })
        });
        let made = with_root(|house| {
            let mut locked = self.core.lock(house);
            let (core, held) = locked.parts();
            self.commit_locked(core, held, proposal, draft.as_ref())
        });
        let machine = self.name.clone();
        let error = match made {
            Ok((change, appended, turn)) => return Ok(self.tell_made(change, appended, turn)),
            Err(Unmade::Lapsed(lapsed)) => ChangeError::Lapsed { machine, source: Box::new(lapsed) },
            Err(Unmade::Journal(proposal)) => {
                let why = self.why_not_journalled();
                pending.proposal = Some(proposal);
                self.reject(&mut pending, Rejection::Journal(why.clone().into()));
                ChangeError::Journal { machine, from, to, why }
            }
        };
        Err(self.tell_refused(error))
    }

    #[expect(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn commit_locked(
        &self,
        core: &mut Core<S>,
        held: &mut Cap<MachineState>,
        proposal: Proposal<S>,
        draft: Option<&crate::journal::Draft>,
    ) -> Result<(Change<S>, Option<Appended>, Option<super::deliver::Turn<S>>), Unmade<S>> {
        let is_ours = core.machine.under_way().is_some_and(|(ticket, _, _)| ticket == proposal.ticket());
        // One that lapsed must not get into the journal.
        let appended = if is_ours { self.append(core, held, draft) } else { Ok(None) };
        let Ok(appended) = appended else { return Err(Unmade::Journal(proposal)) };
        let change = core.machine.commit(clock::mono(), proposal).map_err(Unmade::Lapsed)?;
        let turn = self.made(core, &change);
        Ok((change, appended, turn))
    }

    /// Shows a change and puts it where observers get it; the turn to tell them, if nobody has it. Under the lock.
    pub(super) fn made(&self, core: &mut Core<S>, change: &Change<S>) -> Option<super::deliver::Turn<S>> {
        self.show(core);
        let turn = self.post(core, change, change.at);
        self.set_free(core);
        turn
    }

    /// What follows a change, with nothing held.
    pub(super) fn tell_made(
        self: &Arc<Self>,
        change: Change<S>,
        appended: Option<Appended>,
        turn: Option<super::deliver::Turn<S>>,
    ) -> Changed<S> {
        if let Some(flapping) = change.flapping {
            let (state, other) = (flapping.state.name(), flapping.other.name());
            let (returns, within) = (flapping.returns, flapping.within);
            with_root(|house| self.told(house, StateWhat::Flapping { state, other, returns, within }));
        }
        if let Some(turn) = turn {
            self.tell(turn);
        }
        Changed::new(self, change, appended)
    }

    fn why_not_journalled(&self) -> String {
        let trouble = self.journal().and_then(Journal::trouble);
        trouble.unwrap_or_else(|| "it has no room, or is closed".to_owned())
    }

    /// Tells of a refusal that somebody may look for, and of what was found on the way to it.
    pub(super) fn tell_refused(&self, error: ChangeError<S>) -> ChangeError<S> {
        let by = |from: S, to: S, by, why: String| StateWhat::Refused {
            from: from.name(),
            to: to.name(),
            by,
            why,
        };
        let what = match &error {
            ChangeError::Guard { from, to, guard, why, .. } => {
                Some(by(*from, *to, "guard", format!("{guard}: {why}")))
            }
            ChangeError::Invariant { from, to, invariant, why, .. } => {
                Some(by(*from, *to, "invariant", format!("{invariant}: {why}")))
            }
            ChangeError::Journal { from, to, why, .. } => Some(by(*from, *to, "journal", why.clone())),
            ChangeError::Refused { source, .. } => match &**source {
                Refused::NotAllowed { from, to, .. } => Some(by(*from, *to, "table", source.to_string())),
                Refused::Flapping { from, to, .. } => Some(by(*from, *to, "flapping", source.to_string())),
                _ => None,
            },
            _ => None,
        };
        if let Some(what) = what {
            with_root(|house| self.told(house, what));
        }
        error
    }
}
