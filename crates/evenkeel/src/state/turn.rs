//! Whose turn it is to change a machine.
//!
//! ```text
//! free? --no--> line --> front and free --> under way --> committed, rejected, abandoned: the next of the line
//! ```
//!
//! The line is first come, first served. Who waits looks after who is before: a change whose guards hang is given up,
//! and observers that hang lose the turn to tell.

use super::deliver::Turn;
use super::inner::{Core, Inner, Locked, me};
use super::told::StateWhat;
use super::{Cause, ChangeError, State};
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::state::{Proposal, Snapshot};
use evenkeel_hierarchy::with_root;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who waits for room looks so often whether an observer hangs.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A change that is under way. Dropped, it is abandoned.
pub(super) struct Pending<'a, S: State> {
    pub(super) inner: &'a Arc<Inner<S>>,
    pub(super) proposal: Option<Proposal<S>>,
    /// What the journal lacks: where the machine stood before.
    pub(super) base: Option<Box<Snapshot>>,
    pub(super) sequence: u64,
    pub(super) since: Mono,
}

impl<S: State> Drop for Pending<'_, S> {
    fn drop(&mut self) {
        if let Some(proposal) = self.proposal.take() {
            self.inner.abandon(proposal.ticket());
        }
    }
}

/// Somebody who wants a turn.
pub(super) struct Wait {
    /// In the line.
    place: Option<u64>,
    since: Mono,
    until: Mono,
    /// Whether it gave up another change, which is still to be told.
    has_given_up: bool,
}

impl Wait {
    pub(super) fn new(patience: Duration) -> Self {
        let since = clock::mono();
        Self { place: None, since, until: since.plus(patience), has_given_up: false }
    }
}

/// What came of wanting a turn.
pub(super) enum Outcome<T, S: State> {
    /// It is there.
    Got(T),
    No(ChangeError<S>),
    /// First what an observer that hangs keeps from the others is to be told.
    Relieve(Turn<S>),
}

impl<S: State> Inner<S> {
    /// Begins a change when its turn has come.
    pub(super) fn begin(
        self: &Arc<Self>,
        to: S,
        cause: &Cause,
        patience: Duration,
    ) -> Result<Pending<'_, S>, ChangeError<S>> {
        let mut wait = Wait::new(patience);
        let wants_base = self.journal().is_some();
        self.when_free(to, &mut wait, |core, now| {
            let (sequence, base) = (core.machine.sequence() + 1, wants_base && core.is_untold);
            match core.machine.propose(now, to, cause.clone()) {
                Ok(proposal) => {
                    core.owner = me();
                    let base = base.then(|| Box::new(core.machine.snapshot()));
                    Ok(Pending { inner: self, proposal: Some(proposal), base, sequence, since: now })
                }
                Err(refused) => Err(self.refused(refused)),
            }
        })
    }

    pub(super) fn refused(&self, refused: super::Refused<S>) -> ChangeError<S> {
        ChangeError::Refused { machine: self.name.clone(), source: Box::new(refused) }
    }

    /// Does something when the machine is free and nobody was before; under the lock.
    pub(super) fn when_free<T>(
        self: &Arc<Self>,
        to: S,
        wait: &mut Wait,
        mut act: impl FnMut(&mut Core<S>, Mono) -> Result<T, ChangeError<S>>,
    ) -> Result<T, ChangeError<S>> {
        let result = loop {
            let outcome = with_root(|house| self.await_turn(&mut self.core.lock(house), to, wait, &mut act));
            match outcome {
                Outcome::Got(got) => break Ok(got),
                Outcome::No(refused) => break Err(refused),
                Outcome::Relieve(turn) => self.tell(turn),
            }
        };
        if wait.has_given_up {
            with_root(|house| self.tell_untold(house));
        }
        result
    }

    fn await_turn<T>(
        &self,
        core: &mut Locked<'_, S>,
        to: S,
        wait: &mut Wait,
        act: &mut impl FnMut(&mut Core<S>, Mono) -> Result<T, ChangeError<S>>,
    ) -> Outcome<T, S> {
        let mut now = wait.since;
        loop {
            if self.is_free(core) && core.line.front() == wait.place.as_ref() {
                if wait.place.take().is_some() {
                    core.line.pop_front();
                    now = clock::mono();
                }
                let got = act(core, now);
                return got.map_or_else(
                    |refused| {
                        self.let_next(core);
                        Outcome::No(refused)
                    },
                    Outcome::Got,
                );
            }
            now = clock::mono();
            if let Some(refused) = self.own_fault(core, to) {
                self.leave_line(core, wait);
                return Outcome::No(refused);
            }
            if core.outbox.len() >= self.options.outbox_max
                && let Some(turn) = self.take_over(core, now)
            {
                // While it tells, it is not in the way of what those who are told change.
                self.leave_line(core, wait);
                return Outcome::Relieve(turn);
            }
            if self.give_up_hung(core, now) {
                wait.has_given_up = true;
                continue;
            }
            if now >= wait.until {
                self.leave_line(core, wait);
                // Who would not wait is told what is under way. Only then it is asked for: it must not begin.
                let asks = wait.until == wait.since && core.machine.under_way().is_some();
                let refused = if asks { act(core, now).err() } else { None };
                return Outcome::No(
                    refused.unwrap_or_else(|| self.timed_out(core, to, now.since(wait.since))),
                );
            }
            self.wait_in_line(core, wait, now);
        }
    }

    fn is_free(&self, core: &Core<S>) -> bool {
        core.owner == 0 && core.outbox.len() < self.options.outbox_max
    }

    /// What this thread would wait for itself for.
    fn own_fault(&self, core: &Core<S>, to: S) -> Option<ChangeError<S>> {
        let machine = self.name.clone();
        if core.owner == me() {
            let other = core.machine.under_way().map_or(to, |(_, other, _)| other);
            return Some(ChangeError::Inside { machine, to, other });
        }
        let waiting = core.outbox.len();
        let is_told_by_me = core.delivering.as_ref().is_some_and(|told| told.thread == me());
        (is_told_by_me && waiting >= self.options.outbox_max).then_some(ChangeError::Crowded {
            machine,
            to,
            waiting,
        })
    }

    fn timed_out(&self, core: &Core<S>, to: S, waited: Duration) -> ChangeError<S> {
        let machine = self.name.clone();
        let waiting = core.outbox.len();
        if waiting >= self.options.outbox_max {
            return ChangeError::Crowded { machine, to, waiting };
        }
        let ahead = match core.machine.under_way() {
            Some((ticket, other, _)) => format!("{ticket}, to {}, is under way", other.name()),
            None => format!("{} wait before it", core.line.len()),
        };
        ChangeError::TimedOut { machine, to, waited, ahead }
    }

    fn wait_in_line(&self, core: &mut Locked<'_, S>, wait: &mut Wait, now: Mono) {
        if wait.place.is_none() {
            core.line_next += 1;
            let place = core.line_next;
            core.line.push_back(place);
            wait.place = Some(place);
        }
        let mut until = wait.until;
        if let Some((_, _, since)) = core.machine.under_way() {
            until = until.min(since.plus(self.options.rules_within).max(now.plus(LOOK_AGAIN)));
        }
        if core.outbox.len() >= self.options.outbox_max {
            until = until.min(now.plus(LOOK_AGAIN));
        }
        let _ = self.turn.wait_until(core, Instant::now() + until.since(now));
    }

    fn leave_line(&self, core: &mut Core<S>, wait: &mut Wait) {
        if let Some(place) = wait.place.take() {
            core.line.retain(|other| *other != place);
            self.let_next(core);
        }
    }

    /// Wakes who is next, if there is one.
    pub(super) fn let_next(&self, core: &Core<S>) {
        if !core.line.is_empty() {
            self.turn.notify_all();
        }
    }

    /// Gives up a change whose guards take too long.
    fn give_up_hung(&self, core: &mut Core<S>, now: Mono) -> bool {
        let Some((ticket, to, since)) = core.machine.under_way().filter(|_| !core.is_undoing) else {
            return false;
        };
        if now.since(since) < self.options.rules_within || !core.machine.abandon(now, ticket) {
            return false;
        }
        core.owner = 0;
        let (from, took) = (core.machine.state().name(), now.since(since));
        core.untold.push(StateWhat::GivenUp { from, to: to.name(), took });
        true
    }

    /// Ends what is under way by this ticket; the state is as it was.
    pub(super) fn abandon(&self, ticket: evenkeel_core::state::Ticket) {
        self.with(|core| {
            if core.machine.abandon(clock::mono(), ticket) {
                self.set_free(core);
            }
        });
    }

    /// Nothing is under way any more.
    pub(super) fn set_free(&self, core: &mut Core<S>) {
        core.owner = 0;
        core.is_undoing = false;
        self.let_next(core);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::super::{COMPONENT, ChangeError, ComponentState, States};
    use std::thread;

    // REQ S7
    #[test]
    fn who_comes_when_it_is_free_again_does_not_get_past_who_waits() {
        for _ in 0..20 {
            let machine = States::default().machine(&COMPONENT, "power").build().unwrap();
            let first = machine.propose(ComponentState::Initialising, "first").unwrap();
            let waits = machine.clone();
            let waits = thread::spawn(move || waits.change(ComponentState::Initialising, "waits").unwrap());
            while machine.0.0.with(|core| core.line.len()) == 0 {
                thread::yield_now();
            }
            drop(first);
            let late = machine.try_change(ComponentState::Initialising, "late").unwrap_err();
            assert!(matches!(late, ChangeError::TimedOut { .. } | ChangeError::Refused { .. }), "{late}");
            assert_eq!(waits.join().unwrap().sequence, 1);
        }
    }
}
