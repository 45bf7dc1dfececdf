//! The supervisor: events in, actions out.
//!
//! Whoever changes a component's state is `engine/component.rs`, a channel's `engine/channel.rs`; here is what
//! both stand on: the tree, the timers, who is told. Each component, channel and period of telling has one timer at most.

use super::BreakerState;
use super::breaker::Breaker;
use super::bucket::Bucket;
use super::message::{Action, Cause, Condition, Event, Reason, RecoveryStep, Trouble, Who};
use super::policy::{Limits, Policies, Rung};
use super::tell::Window;
use super::tree::{ChannelId, ComponentId, ComponentSpec, Tree, TreeError};
use crate::Mono;
use crate::cleanup::Backoff;
use crate::fault::{Measure, Name};
use std::collections::BTreeSet;
use std::time::Duration;

mod channel;
mod component;

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// It is retried or restarted when its timer rings; without one, when what is under way has ended.
    Waiting(Rung),
    Restarting,
    /// Tried again, from this rung.
    Probation(Rung),
    /// Its channel is being recovered, or is isolated.
    Held,
}

#[derive(Clone, Debug)]
struct Component {
    state: State,
    timer: Option<Mono>,
    breaker: Breaker,
    jitter: Jitter,
    retries: Bucket,
    restarts: Bucket,
    /// A restart that was not answered, however long ago.
    is_restarting: bool,
    is_told_down: bool,
    /// What is done about it is done for this.
    cause: Option<Cause>,
}

/// How a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelState {
    Up,
    /// It is recovered when its timer rings; then, if a restart in it is under way, when that has ended.
    Waiting {
        is_due: bool,
    },
    Recovering {
        step: RecoveryStep,
        /// To be released if it works.
        is_release: bool,
    },
    Isolated,
}

#[derive(Clone, Debug)]
struct Channel {
    state: ChannelState,
    timer: Option<Mono>,
    recoveries: Bucket,
    jitter: Jitter,
    /// A part of a recovery that was not answered, however long ago.
    under_way: Option<RecoveryStep>,
    /// Restarts of its components that were not answered.
    restarting: u32,
    /// Isolations in a row, and when it was last released.
    isolations: u32,
    released: Option<Mono>,
    /// Whether it is released by itself.
    releases_by_itself: bool,
    cause: Option<Cause>,
    window: Window,
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Component(ComponentId),
    Channel(ChannelId),
    /// The period of telling of a channel, or of the system.
    Telling(Option<ChannelId>),
}

/// Decides what is done about faults; see the [module](super).
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::fault::{Code, Fault, Name, Severity};
/// use evenkeel_core::supervision::{Action, ComponentSpec, Event, FaultId, Limits, Policies, Supervisor, Tree};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut tree = Tree::default();
/// let left = tree.add_channel(Name::new("left")?)?;
/// let mic = tree.add_component(ComponentSpec::new(Name::new("mic")?).channel(left))?;
/// let mut supervisor = Supervisor::new(tree, Policies::default(), Limits::default(), 1);
///
/// let now = Mono::from_nanos(0);
/// let panic = Fault {
///     channel: Some(Name::new("left")?),
///     component: Some(Name::new("mic")?),
///     ..Fault::new(Code::PANIC, Severity::Error, now)
/// };
/// let (trouble, mut actions) = (supervisor.tree().trouble(FaultId(1), &panic), Vec::new());
/// supervisor.handle(now, Event::Fault(trouble), &mut actions);
/// // It is told at once what will be done; that is done after a wait.
/// let at = supervisor.next_deadline().unwrap();
/// supervisor.handle(at, Event::Tick, &mut actions);
/// assert!(actions.iter().any(|action| matches!(action, Action::RestartComponent { component, .. } if *component == mic)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Supervisor {
    tree: Tree,
    policies: Policies,
    limits: Limits,
    components: Vec<Component>,
    channels: Vec<Channel>,
    /// For what is no one channel's.
    window: Window,
    timers: BTreeSet<(Mono, Key)>,
    seed: u64,
    now: Mono,
    is_stopped: bool,
}

impl Supervisor {
    /// One in whose tree all is well. Its waits are drawn from `seed`. Times of the limits under 1 ms count as 1 ms.
    pub fn new(tree: Tree, policies: Policies, limits: Limits, seed: u64) -> Self {
        let (channels, components) = (tree.channels(), tree.components());
        let mut supervisor = Self {
            tree,
            policies,
            limits: clamped(limits),
            components: Vec::new(),
            channels: Vec::new(),
            window: Window::default(),
            timers: BTreeSet::new(),
            seed,
            now: Mono::default(),
            is_stopped: false,
        };
        supervisor.channels = (0..channels).map(|at| new_channel(seed, at)).collect();
        supervisor.components = (0..components).map(|at| new_component(seed, at)).collect();
        supervisor
    }

    /// Who is supervised.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Supervises another channel.
    ///
    /// # Errors
    /// As [`Tree::add_channel`].
    pub fn add_channel(&mut self, name: Name) -> Result<ChannelId, TreeError> {
        let id = self.tree.add_channel(name)?;
        self.channels.push(new_channel(self.seed, id.index()));
        Ok(id)
    }

    /// Supervises another component. In a channel that is isolated or being recovered, it takes part when that is over.
    ///
    /// # Errors
    /// As [`Tree::add_component`].
    pub fn add_component(&mut self, spec: ComponentSpec) -> Result<ComponentId, TreeError> {
        let id = self.tree.add_component(spec)?;
        let is_held =
            self.tree.owner(id).is_some_and(|channel| self.channel(channel).state != ChannelState::Up);
        let state = if is_held { State::Held } else { State::Up };
        self.components.push(Component {
            state,
            is_told_down: is_held,
            ..new_component(self.seed, id.index())
        });
        Ok(id)
    }

    /// Whether a component may be used.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn breaker(&self, component: ComponentId) -> BreakerState {
        self.component(component).breaker.state()
    }

    /// Whether nothing is being done about a component, and it is not on probation.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn is_up(&self, component: ComponentId) -> bool {
        self.component(component).state == State::Up
    }

    /// What may be done how often and how long, as it is kept to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is done about faults of each class.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Whether a channel is cut off; also while it is tried whether it can be released.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn is_isolated(&self, channel: ChannelId) -> bool {
        let state = self.channel(channel).state;
        matches!(state, ChannelState::Isolated | ChannelState::Recovering { is_release: true, .. })
    }

    /// Whether nothing is being done about anybody, and nobody is on probation.
    pub fn is_calm(&self) -> bool {
        let up = |component: &Component| component.state == State::Up;
        let is_up = |channel: &Channel| channel.state == ChannelState::Up;
        self.components.iter().all(up) && self.channels.iter().all(is_up) && !self.is_stopped
    }

    /// When to call with [`Event::Tick`] at the latest; `None`: nothing is to come.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes an event in; appends to `out` what follows from it, in the order in which it is to be done. `now` never
    /// goes back. What is of another tree is passed over.
    pub fn handle(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        self.expire(out);
        match event {
            _ if self.is_stopped => {}
            Event::Fault(trouble) if self.tree.has(trouble.component, trouble.channel) => {
                self.fault(&trouble, true, out);
            }
            Event::Noted(trouble) if self.tree.has(trouble.component, trouble.channel) => {
                self.fault(&trouble, false, out);
            }
            Event::Succeeded { component } if self.tree.has(Some(component), None) => {
                self.succeeded(component, out);
            }
            Event::RestartDone { component, is_up } if self.tree.has(Some(component), None) => {
                self.restart_done(component, is_up, out);
            }
            Event::RecoveryStep { channel, step, is_ok } if self.tree.has(None, Some(channel)) => {
                self.recovery_step(channel, step, is_ok, out);
            }
            Event::Release { channel } if self.tree.has(None, Some(channel)) => {
                self.try_release(channel, out);
            }
            _ => {}
        }
        self.expire(out);
    }

    /// Ends all periods of telling now, also after the system was stopped: of what was not told by itself, the sums are
    /// appended to `out`.
    pub fn sum_up(&mut self, out: &mut Vec<Action>) {
        let channels = 0..self.channels.len();
        let all = channels.map(|at| Some(ChannelId(at as u32))).chain([None]);
        for channel in all {
            self.set_timer(Key::Telling(channel), None);
            self.end_telling(channel, out);
        }
    }

    fn end_telling(&mut self, channel: Option<ChannelId>, out: &mut Vec<Action>) {
        if let Some(summary) = self.window_mut(channel).end() {
            out.push(Action::Summarise { who: channel.map_or(Who::System, Who::Channel), summary });
        }
    }

    fn expire(&mut self, out: &mut Vec<Action>) {
        while let Some((at, key)) = self.timers.first().copied() {
            if at > self.now || self.is_stopped {
                break;
            }
            self.set_timer(key, None);
            match key {
                Key::Component(id) => self.component_is_due(id, out),
                Key::Channel(id) => self.channel_is_due(id, out),
                Key::Telling(channel) => self.end_telling(channel, out),
            }
        }
    }

    fn fault(&mut self, trouble: &Trouble, is_ours: bool, out: &mut Vec<Action>) {
        let concerned = self.tree.concerned(trouble);
        let rung = self.policies[trouble.code.class()].rung(trouble.severity);
        let rung = if is_ours || rung == Rung::StopSystem { rung } else { Rung::Note };
        let measure = self.answer(trouble, concerned, rung, out);
        if self.is_stopped {
            return;
        }
        let (limits, now) = (self.limits, self.now);
        let window = self.window_mut(concerned);
        let begins = window.ends.is_none();
        let is_told = window.admits(&limits, now, trouble);
        if begins && let Some(ends) = window.ends {
            self.timers.insert((ends, Key::Telling(concerned)));
        }
        if is_told {
            let component = trouble.component.map(Who::Component);
            let who = component.or(concerned.map(Who::Channel)).unwrap_or(Who::System);
            out.push(Action::Tell { who, fault: trouble.fault, measure });
        }
    }

    /// What is done about a fault: by whom it is, it goes to the component or to the channel.
    fn answer(
        &mut self,
        trouble: &Trouble,
        concerned: Option<ChannelId>,
        rung: Rung,
        out: &mut Vec<Action>,
    ) -> Measure {
        let cause = Cause { fault: trouble.fault, code: trouble.code, reason: Reason::Policy };
        let is_shared = trouble.component.is_some_and(|id| self.tree.owner(id).is_none());
        match (rung, concerned, trouble.component) {
            (Rung::Note, ..) => Measure::Noted,
            (Rung::StopSystem, ..) => self.stop(cause, out),
            (Rung::IsolateChannel, Some(channel), _) => self.isolate(channel, cause, out),
            (_, Some(channel), _) if !is_shared && self.channel(channel).state != ChannelState::Up => {
                Measure::InHand
            }
            (_, _, Some(component)) => self.component_failed(component, rung, cause, out),
            (_, Some(channel), None) => self.recover(channel, cause, out),
            (_, None, None) => Measure::Noted,
        }
    }

    fn stop(&mut self, cause: Cause, out: &mut Vec<Action>) -> Measure {
        self.is_stopped = true;
        self.timers.clear();
        out.push(Action::StopSystem { cause });
        Measure::StopSystem
    }

    /// Tells whoever needs a component if it went down or came up.
    fn tell_dependents(&mut self, id: ComponentId, out: &mut Vec<Action>) {
        let component = &self.components[id.index()];
        let is_down = component.breaker.state() != BreakerState::Closed
            || matches!(component.state, State::Waiting(Rung::Restart) | State::Restarting | State::Held);
        if is_down == component.is_told_down {
            return;
        }
        let fault = component.cause.map(|cause| cause.fault).unwrap_or_default();
        self.components[id.index()].is_told_down = is_down;
        let condition = if is_down { Condition::Down } else { Condition::Up };
        for dependent in self.tree.dependents(id) {
            out.push(Action::TellDependent { dependent: *dependent, on: id, condition, fault });
        }
    }

    fn set_timer(&mut self, key: Key, at: Option<Mono>) {
        let timer = match key {
            Key::Component(id) => &mut self.components[id.index()].timer,
            Key::Channel(id) => &mut self.channels[id.index()].timer,
            Key::Telling(channel) => &mut self.window_mut(channel).ends,
        };
        let before = std::mem::replace(timer, at);
        if let Some(before) = before {
            self.timers.remove(&(before, key));
        }
        if let Some(at) = at {
            self.timers.insert((at, key));
        }
    }

    fn component(&self, id: ComponentId) -> &Component {
        &self.components[id.index()]
    }

    fn channel(&self, id: ChannelId) -> &Channel {
        &self.channels[id.index()]
    }

    fn window_mut(&mut self, channel: Option<ChannelId>) -> &mut Window {
        match channel {
            Some(id) => &mut self.channels[id.index()].window,
            None => &mut self.window,
        }
    }
}

/// Draws waits. Everybody has their own, so that nobody's waits depend on what happens to others.
#[derive(Clone, Debug)]
struct Jitter(u64);

impl Jitter {
    fn new(seed: u64, kind: u64, at: usize) -> Self {
        let mut jitter = Self(seed ^ (kind << 32 | at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(jitter.next())
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A wait before attempt number `attempt`, from 1: even between zero and what the backoff says.
    fn wait(&mut self, backoff: Backoff, attempt: u32) -> Duration {
        let most = nanos(backoff.after(attempt));
        Duration::from_nanos(((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u64)
    }
}

/// For the trail: a wait in nanoseconds.
fn nanos(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}

/// No time so short that something would be begun twice at one moment.
fn clamped(mut limits: Limits) -> Limits {
    let times = [
        &mut limits.settle,
        &mut limits.restart_timeout,
        &mut limits.recovery_step_timeout,
        &mut limits.isolation,
        &mut limits.tell_period,
        &mut limits.breaker.pause,
    ];
    for time in times {
        *time = (*time).max(Duration::from_millis(1));
    }
    limits.isolation_max = limits.isolation_max.max(limits.isolation);
    limits.breaker.pause_max = limits.breaker.pause_max.max(limits.breaker.pause);
    limits
}

fn new_component(seed: u64, at: usize) -> Component {
    Component {
        jitter: Jitter::new(seed, 1, at),
        state: State::Up,
        timer: None,
        breaker: Breaker::default(),
        retries: Bucket::default(),
        restarts: Bucket::default(),
        is_restarting: false,
        is_told_down: false,
        cause: None,
    }
}

fn new_channel(seed: u64, at: usize) -> Channel {
    Channel {
        jitter: Jitter::new(seed, 2, at),
        state: ChannelState::Up,
        timer: None,
        recoveries: Bucket::default(),
        under_way: None,
        restarting: 0,
        isolations: 0,
        released: None,
        releases_by_itself: true,
        cause: None,
        window: Window::default(),
    }
}
