//! A component: retried, restarted, on probation.
//!
//! ```text
//! Up --fault--> Waiting --timer--> Restarting --is up--> Probation --well--> Up
//!  ^              | ^  \--timer, retry------------------^   |
//!  +--recovered---+ +------------------------fault----------+
//! ```
//!
//! A breaker is open only while its component waits or is held; who waits has the timer that makes the trial, unless
//! it waits for a restart that was not answered.

use super::super::BreakerState;
use super::super::message::{Action, Cause, Reason};
use super::super::policy::Rung;
use super::super::tree::ComponentId;
use super::{Key, State, Supervisor, nanos};
use crate::Mono;
use crate::fault::Measure;

impl Supervisor {
    /// A fault of it, that is not its channel's already.
    pub(super) fn component_failed(
        &mut self,
        id: ComponentId,
        rung: Rung,
        cause: Cause,
        out: &mut Vec<Action>,
    ) -> Measure {
        let rung = if self.tree.owner(id).is_none() { rung.min(Rung::Restart) } else { rung };
        let last = self.policies[cause.code.class()].last;
        match self.component(id).state {
            State::Held => Measure::InHand,
            State::Restarting if rung <= Rung::Restart => Measure::InHand,
            State::Restarting => self.climb(id, rung, cause, out),
            State::Waiting(waits_for) => {
                self.count_failure(id, out);
                if rung > waits_for {
                    return self.climb(id, rung, cause, out);
                }
                self.not_before_the_trial(id);
                self.tell_dependents(id, out);
                Measure::InHand
            }
            State::Up => {
                self.count_failure(id, out);
                self.climb(id, rung, cause, out)
            }
            State::Probation(from) => {
                self.count_failure(id, out);
                let from = from.min(last);
                let reason = if from >= rung { Reason::OnProbation } else { Reason::Policy };
                self.climb(id, rung.max(from), Cause { reason, ..cause }, out)
            }
        }
    }

    pub(super) fn succeeded(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        let component = self.component(id);
        let is_well = match component.state {
            State::Probation(_) => true,
            // It came back by itself; or nothing else can bring it back.
            State::Waiting(rung) => match component.timer {
                Some(_) => rung == Rung::Retry && component.breaker.state() == BreakerState::Closed,
                None => !component.is_restarting,
            },
            State::Up | State::Restarting | State::Held => false,
        };
        if is_well {
            self.is_well(id, out);
        }
    }

    pub(super) fn restart_done(&mut self, id: ComponentId, is_up: bool, out: &mut Vec<Action>) {
        let component = &mut self.components[id.index()];
        if !std::mem::take(&mut component.is_restarting) {
            return;
        }
        let (state, timer, cause) = (component.state, component.timer, component.cause);
        if let Some(channel) = self.tree.owner(id) {
            self.channels[channel.index()].restarting -= 1;
            self.no_restart_is_under_way(channel, out);
        }
        match state {
            State::Restarting => {}
            // It was given up, and nothing was begun since.
            State::Waiting(Rung::Restart) if timer.is_none() => {}
            _ => return,
        }
        if is_up {
            self.on_probation(id, Rung::Restart, out);
        } else if let Some(cause) = cause {
            self.count_failure(id, out);
            self.climb(id, Rung::Restart, Cause { reason: Reason::DidNotHelp, ..cause }, out);
        }
    }

    pub(super) fn component_is_due(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        let (state, cause) = (self.component(id).state, self.component(id).cause);
        let Some(cause) = cause else { return };
        match state {
            State::Waiting(Rung::Retry) => {
                self.begin_trial(id, out);
                let level = self.components[id.index()].retries.take(&self.limits.retries, self.now);
                out.push(Action::Retry { component: id, level, cause });
                self.on_probation(id, Rung::Retry, out);
            }
            State::Waiting(_) => self.restart(id, cause, out),
            State::Restarting => {
                self.count_failure(id, out);
                self.climb(id, Rung::Restart, Cause { reason: Reason::DidNotHelp, ..cause }, out);
            }
            State::Probation(_) => self.is_well(id, out),
            State::Up | State::Held => {}
        }
    }

    fn restart(&mut self, id: ComponentId, cause: Cause, out: &mut Vec<Action>) {
        self.begin_trial(id, out);
        let component = &mut self.components[id.index()];
        assert!(!component.is_restarting, "invariant: no restart is begun while one may be under way");
        let level = component.restarts.take(&self.limits.restarts, self.now);
        (component.state, component.is_restarting) = (State::Restarting, true);
        if let Some(channel) = self.tree.owner(id) {
            self.channels[channel.index()].restarting += 1;
        }
        self.set_timer(Key::Component(id), Some(self.now.plus(self.limits.restart_timeout)));
        out.push(Action::RestartComponent { component: id, level, cause });
        self.tell_dependents(id, out);
    }

    /// Begins at `rung`, and goes to the first one that has room.
    fn climb(&mut self, id: ComponentId, rung: Rung, cause: Cause, out: &mut Vec<Action>) -> Measure {
        let policy = self.policies[cause.code.class()];
        let (mut rung, mut cause) = (rung, cause);
        let (has_retry, has_restart) =
            (self.tree.component(id).has_retry, self.tree.component(id).has_restart);
        if rung == Rung::Retry && !has_retry && policy.last > Rung::Retry {
            (rung, cause.reason) = (Rung::Restart, Reason::NoProcedure);
        }
        if rung == Rung::Retry {
            let component = &mut self.components[id.index()];
            match component.retries.free_at(&self.limits.retries, self.now) {
                Some(at) if at <= self.now => return self.wait_for(id, Rung::Retry, at, cause, out),
                at if policy.last <= Rung::Retry => return self.wait_open(id, Rung::Retry, at, cause, out),
                _ => (rung, cause.reason) = (Rung::Restart, Reason::RetriesUsedUp),
            }
        }
        let owner = self.tree.owner(id);
        if rung == Rung::Restart && !has_restart && owner.is_some() && policy.last > Rung::Restart {
            (rung, cause.reason) = (Rung::RecoverChannel, Reason::NoProcedure);
        }
        if rung == Rung::Restart {
            let component = &mut self.components[id.index()];
            let at = component.restarts.free_at(&self.limits.restarts, self.now);
            let is_free = at.is_some_and(|at| at <= self.now);
            if !component.is_restarting && is_free {
                return self.wait_for(id, Rung::Restart, self.now, cause, out);
            }
            let is_hung = component.is_restarting;
            let reason = if is_hung { Reason::StillUnderWay } else { Reason::RestartsUsedUp };
            if owner.is_none() && self.tree.component(id).is_essential {
                return self.stop(Cause { reason, ..cause }, out);
            }
            if owner.is_none() || policy.last <= Rung::Restart {
                return self.wait_open(id, Rung::Restart, at.filter(|_| !is_hung), cause, out);
            }
            cause.reason = reason;
            rung = if is_hung { Rung::IsolateChannel } else { Rung::RecoverChannel };
        }
        let channel = owner.expect("invariant: what is shared goes no further than a restart");
        self.components[id.index()].cause = Some(cause);
        match rung {
            Rung::RecoverChannel => self.recover(channel, cause, out),
            _ => self.isolate(channel, cause, out),
        }
    }

    /// After its backoff, and not before the trial of an open breaker.
    fn wait_for(
        &mut self,
        id: ComponentId,
        rung: Rung,
        at: Mono,
        cause: Cause,
        out: &mut Vec<Action>,
    ) -> Measure {
        let component = &mut self.components[id.index()];
        let level = match rung {
            Rung::Retry => component.retries.level(&self.limits.retries, self.now),
            _ => component.restarts.level(&self.limits.restarts, self.now),
        };
        let wait = component.jitter.wait(self.policies[cause.code.class()].backoff, level + 1);
        self.waits(id, rung, Some(at.max(self.now).plus(wait)), cause, out)
    }

    /// There is no room, and no further rung: its breaker opens, and it is tried when there is room; with `None`, when
    /// what is under way has ended or it reports success.
    fn wait_open(
        &mut self,
        id: ComponentId,
        rung: Rung,
        at: Option<Mono>,
        cause: Cause,
        out: &mut Vec<Action>,
    ) -> Measure {
        if self.components[id.index()].breaker.open(&self.limits.breaker, self.now) {
            out.push(Action::Breaker { component: id, state: BreakerState::Open });
        }
        match at {
            Some(at) => self.wait_for(id, rung, at, cause, out),
            None => self.waits(id, rung, None, cause, out),
        }
    }

    fn waits(
        &mut self,
        id: ComponentId,
        rung: Rung,
        at: Option<Mono>,
        cause: Cause,
        out: &mut Vec<Action>,
    ) -> Measure {
        let component = &mut self.components[id.index()];
        (component.state, component.cause) = (State::Waiting(rung), Some(cause));
        self.set_timer(Key::Component(id), at);
        self.not_before_the_trial(id);
        self.tell_dependents(id, out);
        let at = self.component(id).timer.unwrap_or(Mono::from_nanos(u64::MAX));
        let after_ns = nanos(at.since(self.now));
        match rung {
            Rung::Retry => Measure::Retry { after_ns },
            _ => Measure::RestartComponent { after_ns },
        }
    }

    fn not_before_the_trial(&mut self, id: ComponentId) {
        let component = self.component(id);
        if let (Some(timer), Some(until)) = (component.timer, component.breaker.open_until())
            && timer < until
        {
            self.set_timer(Key::Component(id), Some(until));
        }
    }

    pub(super) fn on_probation(&mut self, id: ComponentId, from: Rung, out: &mut Vec<Action>) {
        self.begin_trial(id, out);
        self.components[id.index()].state = State::Probation(from);
        self.set_timer(Key::Component(id), Some(self.now.plus(self.limits.settle)));
        self.tell_dependents(id, out);
    }

    fn is_well(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        self.components[id.index()].state = State::Up;
        self.set_timer(Key::Component(id), None);
        if self.components[id.index()].breaker.close() {
            out.push(Action::Breaker { component: id, state: BreakerState::Closed });
        }
        self.tell_dependents(id, out);
    }

    fn begin_trial(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        if self.components[id.index()].breaker.trial() {
            out.push(Action::Breaker { component: id, state: BreakerState::HalfOpen });
        }
    }

    fn count_failure(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        if self.components[id.index()].breaker.failed(&self.limits.breaker, self.now) {
            out.push(Action::Breaker { component: id, state: BreakerState::Open });
        }
    }

    /// Its channel is being recovered, or isolated.
    pub(super) fn hold(&mut self, id: ComponentId, cause: Cause, out: &mut Vec<Action>) {
        let component = &mut self.components[id.index()];
        component.state = State::Held;
        component.cause = Some(cause);
        self.set_timer(Key::Component(id), None);
        self.tell_dependents(id, out);
    }
}
