//! A channel: recovered, isolated, released.
//!
//! ```text
//! Up --> Waiting --> Recovering: stop capture, flush, reinitialise, verify --ok--> Up
//!  \        \             |    ^                                       \-- fails: Waiting, while there is room
//!   \        \            v    | is_release: reinitialise, verify
//!    +--------+-------> Isolated --timer, or a person--> ... --ok--> Up, ReleaseChannel
//! ```
//!
//! Flushing follows capture, and beginning anew flushing, however these ended: what was taken in is to be stored, and
//! whether all is well is found by the verification.

use super::super::message::{Action, Cause, Reason, RecoveryStep};
use super::super::policy::Rung;
use super::super::tree::ChannelId;
use super::{ChannelState, Key, Supervisor, nanos};
use crate::cleanup::Backoff;
use crate::fault::Measure;

impl Supervisor {
    /// Recovers it after a wait; if that was done too often, isolates it, or waits longer where the policy ends here.
    pub(super) fn recover(&mut self, id: ChannelId, cause: Cause, out: &mut Vec<Action>) -> Measure {
        let (limit, now, policy) = (self.limits.recoveries, self.now, self.policies[cause.code.class()]);
        let channel = &mut self.channels[id.index()];
        let at = match channel.recoveries.free_at(&limit, now) {
            Some(at) if at <= now || policy.last <= Rung::RecoverChannel => at,
            _ => return self.isolate(id, Cause { reason: Reason::RecoveriesUsedUp, ..cause }, out),
        };
        let level = channel.recoveries.level(&limit, now);
        let at = at.plus(channel.jitter.wait(policy.backoff, level + 1));
        (channel.state, channel.cause) = (ChannelState::Waiting { is_due: false }, Some(cause));
        self.set_timer(Key::Channel(id), Some(at));
        self.hold_all(id, cause, out);
        Measure::RecoverChannel { after_ns: nanos(at.since(now)) }
    }

    /// Cuts it off. Returns that it was already, if so.
    pub(super) fn isolate(&mut self, id: ChannelId, cause: Cause, out: &mut Vec<Action>) -> Measure {
        let releases = self.policies[cause.code.class()].releases_by_itself;
        let now = self.now;
        let channel = &mut self.channels[id.index()];
        if channel.state == ChannelState::Isolated && (releases || !channel.releases_by_itself) {
            return Measure::InHand;
        }
        let Backoff { first, max } = Backoff { first: self.limits.isolation, max: self.limits.isolation_max };
        let pause = Backoff { first, max }.after(channel.isolations.max(1));
        if channel.released.is_some_and(|at| now.since(at) > pause) {
            channel.isolations = 0;
        }
        channel.isolations = channel.isolations.saturating_add(1);
        channel.released = None;
        let pause = Backoff { first, max }.after(channel.isolations);
        let until = releases.then(|| now.plus(pause));
        (channel.state, channel.cause) = (ChannelState::Isolated, Some(cause));
        channel.releases_by_itself = releases;
        self.set_timer(Key::Channel(id), until);
        out.push(Action::IsolateChannel { channel: id, until, cause });
        self.hold_all(id, cause, out);
        Measure::IsolateChannel
    }

    pub(super) fn channel_is_due(&mut self, id: ChannelId, out: &mut Vec<Action>) {
        let channel = self.channel(id);
        let Some(cause) = channel.cause else { return };
        let is_busy = channel.restarting > 0 || channel.under_way.is_some();
        match channel.state {
            ChannelState::Waiting { is_due: false } if is_busy => {
                self.channels[id.index()].state = ChannelState::Waiting { is_due: true };
                self.set_timer(Key::Channel(id), Some(self.now.plus(self.limits.restart_timeout)));
            }
            ChannelState::Waiting { .. } if is_busy => {
                self.isolate(id, Cause { reason: Reason::StillUnderWay, ..cause }, out);
            }
            ChannelState::Waiting { .. } => self.begin_recovery(id, cause, out),
            ChannelState::Recovering { .. } => {
                self.isolate(id, Cause { reason: Reason::StillUnderWay, ..cause }, out);
            }
            ChannelState::Isolated => self.try_release(id, out),
            ChannelState::Up => {}
        }
    }

    fn begin_recovery(&mut self, id: ChannelId, cause: Cause, out: &mut Vec<Action>) {
        self.channels[id.index()].recoveries.take(&self.limits.recoveries, self.now);
        self.do_step(id, RecoveryStep::StopCapture, false, cause, out);
    }

    /// A recovery that waits for the restarts in its channel begins when none is under way.
    pub(super) fn no_restart_is_under_way(&mut self, id: ChannelId, out: &mut Vec<Action>) {
        let channel = self.channel(id);
        let waits = channel.state == ChannelState::Waiting { is_due: true } && channel.under_way.is_none();
        if let Some(cause) = channel.cause.filter(|_| waits && channel.restarting == 0) {
            self.begin_recovery(id, cause, out);
        }
    }

    /// Tries whether an isolated channel works again; later, while something in it is still under way.
    pub(super) fn try_release(&mut self, id: ChannelId, out: &mut Vec<Action>) {
        let channel = self.channel(id);
        let (ChannelState::Isolated, Some(cause)) = (channel.state, channel.cause) else { return };
        if channel.restarting > 0 || channel.under_way.is_some() {
            self.set_timer(Key::Channel(id), Some(self.now.plus(self.limits.isolation)));
            return;
        }
        self.do_step(id, RecoveryStep::Reinitialise, true, Cause { reason: Reason::Calm, ..cause }, out);
    }

    fn do_step(
        &mut self,
        id: ChannelId,
        step: RecoveryStep,
        is_release: bool,
        cause: Cause,
        out: &mut Vec<Action>,
    ) {
        let channel = &mut self.channels[id.index()];
        (channel.state, channel.under_way) = (ChannelState::Recovering { step, is_release }, Some(step));
        self.set_timer(Key::Channel(id), Some(self.now.plus(self.limits.recovery_step_timeout)));
        out.push(Action::RecoverChannel { channel: id, step, cause });
    }

    pub(super) fn recovery_step(
        &mut self,
        id: ChannelId,
        done: RecoveryStep,
        is_ok: bool,
        out: &mut Vec<Action>,
    ) {
        let channel = &mut self.channels[id.index()];
        if channel.under_way != Some(done) {
            return;
        }
        channel.under_way = None;
        let (ChannelState::Recovering { is_release, .. }, Some(cause)) = (channel.state, channel.cause)
        else {
            return;
        };
        let failed = Cause { reason: Reason::DidNotHelp, ..cause };
        match done.next() {
            _ if !is_ok && done >= RecoveryStep::Reinitialise => {
                let _ =
                    if is_release { self.isolate(id, failed, out) } else { self.recover(id, failed, out) };
            }
            Some(next) => self.do_step(id, next, is_release, cause, out),
            None => self.is_recovered(id, is_release, cause, out),
        }
    }

    fn is_recovered(&mut self, id: ChannelId, is_release: bool, cause: Cause, out: &mut Vec<Action>) {
        self.channels[id.index()].state = ChannelState::Up;
        self.set_timer(Key::Channel(id), None);
        if is_release {
            self.channels[id.index()].released = Some(self.now);
            out.push(Action::ReleaseChannel { channel: id, cause });
        }
        for at in 0..self.tree.owned(id).len() {
            let component = self.tree.owned(id)[at];
            self.on_probation(component, Rung::RecoverChannel, out);
        }
    }

    fn hold_all(&mut self, id: ChannelId, cause: Cause, out: &mut Vec<Action>) {
        for at in 0..self.tree.owned(id).len() {
            let component = self.tree.owned(id)[at];
            self.hold(component, cause, out);
        }
    }
}
