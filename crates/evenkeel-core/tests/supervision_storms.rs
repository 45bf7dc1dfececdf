//! Random fault storms over random trees, in virtual time: what must hold for each action, and at the end.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::Mono;
use evenkeel_core::fault::{Code, FaultClass, Name, Severity};
use evenkeel_core::supervision::{
    Action, BreakerState, Cause, ChannelId, ComponentId, ComponentSpec, Condition, Event, FaultId, Intensity,
    Limits, Policies, Reason, RecoveryStep, Summary, Supervisor, Tree, Trouble, Who,
};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

const MS: u64 = 1_000_000;
/// Until then there are faults, in milliseconds.
const STORM: u64 = 180_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Fault { component: Option<usize>, channel: Option<usize>, class: usize, severity: usize },
    Well(usize),
    Restarted { component: usize, is_up: bool },
    Step { channel: usize, step: RecoveryStep, is_ok: bool },
}

/// What the test has seen of a component.
#[derive(Clone, Debug, Default)]
struct Seen {
    retries: Vec<Mono>,
    restarts: Vec<Mono>,
    is_restarting: bool,
    breaker: BreakerState,
    breakers: u64,
    told: BTreeMap<ComponentId, bool>,
}

/// What the test has seen of a channel, or of the system.
#[derive(Clone, Debug, Default)]
struct SeenChannel {
    faults: u64,
    tells: Vec<Mono>,
    summarised: u64,
    summaries: Vec<Mono>,
    recoveries: Vec<Mono>,
    under_way: Option<RecoveryStep>,
    expects: Option<RecoveryStep>,
    is_isolated: bool,
    needs_a_person: bool,
    isolations: u64,
    releases: Vec<Mono>,
}

struct World {
    random: fastrand::Rng,
    supervisor: Supervisor,
    limits: Limits,
    policies: Policies,
    components: Vec<ComponentId>,
    channels: Vec<ChannelId>,
    events: BinaryHeap<std::cmp::Reverse<(u64, u64, Happens)>>,
    order: u64,
    now: Mono,
    faults: Vec<(Trouble, Option<usize>)>,
    seen: Vec<Seen>,
    /// By channel, and last the system.
    seen_channels: Vec<SeenChannel>,
    actions: u64,
    is_stopped: bool,
    reasons: BTreeSet<Reason>,
    released: u64,
}

fn name(prefix: &str, at: usize) -> Name {
    Name::new(&format!("{prefix}{at}")).unwrap()
}

fn random_tree(random: &mut fastrand::Rng) -> (Tree, Vec<ChannelId>, Vec<ComponentId>) {
    let mut tree = Tree::default();
    let channels: Vec<_> =
        (0..random.usize(1..7)).map(|at| tree.add_channel(name("ch", at)).unwrap()).collect();
    let mut components: Vec<ComponentId> = Vec::new();
    for at in 0..random.usize(1..16) {
        let mut spec = ComponentSpec::new(name("co", at));
        spec.is_essential = random.u32(0..20) == 0;
        for _ in 0..[0, 1, 1, 1, 1, 2][random.usize(0..6)] {
            spec = spec.channel(channels[random.usize(0..channels.len())]);
        }
        for _ in 0..random.usize(0..3) {
            if !components.is_empty() {
                spec = spec.needs(components[random.usize(0..components.len())]);
            }
        }
        components.push(tree.add_component(spec).unwrap());
    }
    (tree, channels, components)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (tree, channels, components) = random_tree(&mut random);
        let (mut policies, limits) = (Policies::default(), Limits::default());
        policies[FaultClass::Storage].stops_system_when_critical = random.u32(0..8) == 0;
        let mut world = Self {
            supervisor: Supervisor::new(tree, policies.clone(), limits, seed),
            limits,
            policies,
            events: BinaryHeap::new(),
            order: 0,
            now: Mono::from_nanos(0),
            faults: Vec::new(),
            seen: vec![Seen::default(); components.len()],
            seen_channels: vec![SeenChannel::default(); channels.len() + 1],
            components,
            channels,
            actions: 0,
            is_stopped: false,
            reasons: BTreeSet::new(),
            released: 0,
            random,
        };
        world.brew();
        world
    }

    /// Some are sick, with some kinds of faults, often or seldom.
    fn brew(&mut self) {
        for _ in 0..self.random.usize(1..4) {
            let component = (self.random.u32(0..8) != 0).then(|| self.random.usize(0..self.components.len()));
            let with_channel = component.is_none() || self.random.bool();
            let channel = with_channel.then(|| self.random.usize(0..self.channels.len()));
            let classes = [self.random.usize(0..10), self.random.usize(0..10)];
            let every = [50, 1_000, 11_000][self.random.usize(0..3)];
            let mut ms = self.random.u64(0..5_000);
            while ms < STORM {
                let class = classes[self.random.usize(0..2)];
                // What a person must see to is rarer.
                let class = if (4..6).contains(&class) && self.random.u32(0..200) != 0 { 1 } else { class };
                let severity = [0, 1, 2, 2, 2, 2, 2, 3][self.random.usize(0..8)];
                self.at(ms, Happens::Fault { component, channel, class, severity });
                ms += self.random.u64(1..2 * every);
            }
        }
    }

    fn at(&mut self, ms: u64, happens: Happens) {
        self.order += 1;
        self.events.push(std::cmp::Reverse((ms, self.order, happens)));
    }

    fn later(&mut self, ms: u64, happens: Happens) {
        self.at(self.now.as_nanos() / MS + ms, happens);
    }

    fn run(&mut self) {
        loop {
            let event = self.events.peek().map(|event| event.0.0 * MS);
            let timer = self.supervisor.next_deadline().map(Mono::as_nanos);
            let Some(now) = event.into_iter().chain(timer).min() else { break };
            assert!(now >= self.now.as_nanos());
            self.now = Mono::from_nanos(now);
            let mut out = Vec::new();
            if event == Some(now) {
                let happens = self.events.pop().unwrap().0.2;
                // What is due first is due without the event too.
                self.supervisor.handle(self.now, Event::Tick, &mut out);
                self.take(&mut out);
                let event = self.event(happens);
                self.supervisor.handle(self.now, event, &mut out);
            } else {
                self.supervisor.handle(self.now, Event::Tick, &mut out);
            }
            self.take(&mut out);
            assert!(self.supervisor.next_deadline().is_none_or(|at| at > self.now), "what is due is done");
        }
    }

    fn event(&mut self, happens: Happens) -> Event {
        match happens {
            Happens::Fault { component, channel, class, severity } => {
                let trouble = Trouble {
                    fault: FaultId(self.faults.len() as u64),
                    component: component.map(|at| self.components[at]),
                    channel: channel.map(|at| self.channels[at]),
                    code: Code::of_class(FaultClass::ALL[class]),
                    severity: Severity::ALL[severity],
                };
                let of = component
                    .map_or(&[][..], |at| &self.supervisor.tree().component(self.components[at]).channels);
                let concerned = match of {
                    [] => trouble.channel,
                    [owner] => Some(*owner),
                    several => trouble.channel.filter(|channel| several.contains(channel)),
                };
                let concerned = concerned.map(ChannelId::index);
                if !self.is_stopped {
                    self.seen_channels[concerned.unwrap_or(self.channels.len())].faults += 1;
                }
                self.faults.push((trouble, concerned));
                Event::Fault(trouble)
            }
            Happens::Well(at) => Event::Succeeded { component: self.components[at] },
            Happens::Restarted { component, is_up } => {
                self.seen[component].is_restarting = false;
                Event::RestartDone { component: self.components[component], is_up }
            }
            Happens::Step { channel, step, is_ok } => {
                self.seen_channels[channel].under_way = None;
                Event::RecoveryStep { channel: self.channels[channel], step, is_ok }
            }
        }
    }

    fn take(&mut self, out: &mut Vec<Action>) {
        for action in out.drain(..) {
            assert!(!self.is_stopped, "{action:?} after the stop");
            self.actions += 1;
            self.check(&action);
        }
    }

    fn check(&mut self, action: &Action) {
        match *action {
            Action::Retry { component, cause, .. } => {
                self.caused(cause, Some(component), None);
                let now = self.now;
                self.may_run(component).retries.push(now);
                if self.random.u32(0..3) == 0 {
                    let wait = self.random.u64(1..2_000);
                    self.later(wait, Happens::Well(component.index()));
                }
            }
            Action::RestartComponent { component, cause, .. } => {
                self.caused(cause, Some(component), None);
                if cause.reason == Reason::RetriesUsedUp {
                    self.used_up(&self.seen[component.index()].retries, self.limits.retries);
                }
                let now = self.now;
                let seen = self.may_run(component);
                assert!(!std::mem::replace(&mut seen.is_restarting, true), "a restart is under way");
                seen.restarts.push(now);
                let (wait, is_up) = self.answer();
                self.later(wait, Happens::Restarted { component: component.index(), is_up });
            }
            Action::RecoverChannel { channel, step, cause } => self.recovers(channel, step, cause),
            Action::IsolateChannel { channel, until, cause } => self.isolates(channel, until, cause),
            Action::ReleaseChannel { channel, cause } => {
                self.caused(cause, None, Some(channel));
                let seen = &mut self.seen_channels[channel.index()];
                assert!(std::mem::replace(&mut seen.is_isolated, false) && seen.under_way.is_none());
                self.released += 1;
            }
            Action::StopSystem { cause } => self.stops(cause),
            Action::Tell { who, fault, .. } => self.tells(who, fault),
            Action::Summarise { who, summary } => self.summarises(who, summary),
            Action::TellDependent { dependent, on, condition, fault } => {
                assert!(self.supervisor.tree().component(dependent).needs.contains(&on));
                self.is_about(fault, Some(on), None);
                let told = self.seen[on.index()].told.entry(dependent).or_default();
                let is_down = condition == Condition::Down;
                assert_ne!(std::mem::replace(told, is_down), is_down, "told the same twice");
            }
            Action::Breaker { component, state } => {
                let seen = &mut self.seen[component.index()];
                let allowed = match seen.breaker {
                    BreakerState::Closed => state == BreakerState::Open,
                    BreakerState::Open => state == BreakerState::HalfOpen,
                    BreakerState::HalfOpen => state != BreakerState::HalfOpen,
                };
                assert!(allowed, "{:?} -> {state:?}", seen.breaker);
                (seen.breaker, seen.breakers) = (state, seen.breakers + 1);
                assert_eq!(self.supervisor.tree().components(), self.components.len());
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn isolates(&mut self, channel: ChannelId, until: Option<Mono>, cause: Cause) {
        self.caused(cause, None, Some(channel));
        if cause.reason == Reason::RecoveriesUsedUp {
            self.used_up(&self.seen_channels[channel.index()].recoveries, self.limits.recoveries);
        }
        let seen = &mut self.seen_channels[channel.index()];
        assert!(
            !seen.is_isolated
                || until.is_none()
                || seen.expects.is_some()
                || seen.under_way.is_some()
                || cause.reason == Reason::DidNotHelp,
            "isolated twice"
        );
        (seen.is_isolated, seen.needs_a_person) = (true, until.is_none());
        seen.expects = None;
        seen.isolations += 1;
    }

    fn tells(&mut self, who: Who, fault: FaultId) {
        let (trouble, concerned) = self.faults[fault.0 as usize];
        let whose = trouble.component.map(Who::Component);
        let channel = concerned.map(|at| Who::Channel(self.channels[at]));
        assert_eq!(who, whose.or(channel).unwrap_or(Who::System));
        assert_eq!(fault.0 as usize, self.faults.len() - 1);
        self.seen_channels[concerned.unwrap_or(self.channels.len())].tells.push(self.now);
    }

    fn summarises(&mut self, who: Who, summary: Summary) {
        let at = if let Who::Channel(id) = who { id.index() } else { self.channels.len() };
        let seen = &mut self.seen_channels[at];
        assert_eq!(summary.by_class.iter().sum::<u64>(), summary.count);
        assert!(summary.count > 0 && summary.first <= summary.last);
        seen.summarised += summary.count;
        seen.summaries.push(self.now);
    }

    /// A retry or a restart: not through an open breaker, not in an isolated channel or one that is being recovered.
    fn may_run(&mut self, component: ComponentId) -> &mut Seen {
        if let Some(owner) = self.supervisor.tree().owner(component) {
            let seen = &self.seen_channels[owner.index()];
            assert!(!seen.is_isolated && seen.under_way.is_none(), "{component:?} is held");
        }
        let seen = &mut self.seen[component.index()];
        assert_ne!(seen.breaker, BreakerState::Open);
        seen
    }

    fn recovers(&mut self, channel: ChannelId, step: RecoveryStep, cause: Cause) {
        self.caused(cause, None, Some(channel));
        for owned in self.supervisor.tree().owned(channel) {
            assert!(!self.seen[owned.index()].is_restarting, "{owned:?} is being restarted");
        }
        let (now, storm_is_over) = (self.now, self.now.as_nanos() > STORM * MS);
        let seen = &mut self.seen_channels[channel.index()];
        assert_eq!(seen.under_way, None, "a part of a recovery is under way");
        match (step, cause.reason) {
            (RecoveryStep::Reinitialise, Reason::Calm) => {
                assert!(seen.is_isolated);
                seen.releases.push(now);
            }
            (RecoveryStep::StopCapture, _) => {
                assert!(!seen.is_isolated);
                seen.recoveries.push(now);
            }
            _ => assert_eq!(seen.expects, Some(step)),
        }
        seen.under_way = Some(step);
        seen.expects = match step {
            RecoveryStep::StopCapture => Some(RecoveryStep::Flush),
            RecoveryStep::Flush => Some(RecoveryStep::Reinitialise),
            RecoveryStep::Reinitialise => Some(RecoveryStep::Verify),
            RecoveryStep::Verify => None,
        };
        let (wait, is_ok) = self.answer();
        let is_ok = is_ok || storm_is_over;
        self.later(wait, Happens::Step { channel: channel.index(), step, is_ok });
    }

    /// How long something takes, and whether it works: in the storm, some things hang for long.
    fn answer(&mut self) -> (u64, bool) {
        if self.now.as_nanos() > STORM * MS {
            return (self.random.u64(1..1_000), true);
        }
        match self.random.u32(0..20) {
            0 => (self.random.u64(30_000..120_000), self.random.bool()),
            1..5 => (self.random.u64(1..5_000), false),
            _ => (self.random.u64(1..5_000), true),
        }
    }

    /// There was such a fault, bad enough, of just these.
    fn caused(&mut self, cause: Cause, component: Option<ComponentId>, channel: Option<ChannelId>) {
        self.reasons.insert(cause.reason);
        let trouble = self.faults[cause.fault.0 as usize].0;
        assert!(trouble.severity >= Severity::Error && trouble.code == cause.code);
        self.is_about(cause.fault, component, channel);
    }

    fn is_about(&self, fault: FaultId, component: Option<ComponentId>, channel: Option<ChannelId>) {
        let (trouble, concerned) = self.faults[fault.0 as usize];
        let owner = component.and_then(|id| self.supervisor.tree().owner(id));
        let channel = channel.or(owner).map(ChannelId::index);
        let is_its_own = component.is_some() && trouble.component == component;
        assert!(is_its_own || (channel.is_some() && concerned == channel), "{trouble:?} is not its fault");
    }

    /// As many were made as may be, and they were not forgiven long ago.
    fn used_up(&self, times: &[Mono], limit: Intensity) {
        // The longest wait between the decision and what is seen of it.
        let slack = Duration::from_secs(90) + limit.forgiven_every * limit.max;
        let recent = times.iter().filter(|at| self.now.since(**at) <= slack).count();
        assert!(recent >= limit.max as usize, "{recent} of {limit:?} at {:?}", self.now);
    }

    fn stops(&mut self, cause: Cause) {
        self.reasons.insert(cause.reason);
        self.is_stopped = true;
        let trouble = self.faults[cause.fault.0 as usize].0;
        let is_marked = self.policies[trouble.code.class()].stops_system_when_critical;
        let component = trouble.component.map(|id| (id, self.supervisor.tree().component(id)));
        match cause.reason {
            Reason::Policy => assert!(trouble.severity == Severity::Critical && is_marked),
            reason => {
                let (id, spec) = component.unwrap();
                assert!(spec.is_essential && spec.channels.len() != 1);
                let seen = &self.seen[id.index()];
                match reason {
                    Reason::StillUnderWay => assert!(seen.is_restarting),
                    _ => self.used_up(&seen.restarts, self.limits.restarts),
                }
            }
        }
    }

    fn check_end(&mut self) {
        self.check_intensity();
        if self.is_stopped {
            return;
        }
        self.now = self.now.max(Mono::from_nanos((STORM + 1) * MS));
        for (at, seen) in self.seen_channels.clone().iter().enumerate() {
            assert_eq!(
                seen.tells.len() as u64 + seen.summarised,
                seen.faults,
                "each fault is told or counted"
            );
            if seen.is_isolated {
                assert!(seen.needs_a_person, "after calm what is released by itself is released");
                let (mut out, now, channel) = (Vec::new(), self.now, self.channels[at]);
                self.supervisor.handle(now, Event::Release { channel }, &mut out);
                self.take(&mut out);
            }
        }
        self.run();
        assert!(self.supervisor.is_calm());
        for (at, seen) in self.seen.iter().enumerate() {
            assert_eq!(self.supervisor.breaker(self.components[at]), BreakerState::Closed);
            assert_eq!(seen.breaker, BreakerState::Closed);
            assert!(seen.told.values().all(|is_down| !is_down));
        }
        assert!(self.actions <= self.actions_max(), "{} > {}", self.actions, self.actions_max());
    }

    fn check_intensity(&self) {
        let keeps = |times: &[Mono], limit: Intensity| {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    assert!(
                        ((last - first) as u64) < limit.at_most_in(to.since(*from)),
                        "{limit:?} {times:?}"
                    );
                }
            }
        };
        for seen in &self.seen {
            keeps(&seen.retries, self.limits.retries);
            keeps(&seen.restarts, self.limits.restarts);
        }
        for seen in &self.seen_channels {
            keeps(&seen.recoveries, self.limits.recoveries);
            let period = self.limits.tell_period;
            for (at, tell) in seen.tells.iter().enumerate() {
                let in_period = seen.tells[at..].iter().take_while(|then| then.since(*tell) < period).count();
                assert!(in_period <= 2 * self.limits.tells_max as usize);
            }
            assert!(seen.summaries.windows(2).all(|two| two[1].since(two[0]) >= period));
        }
    }

    /// In a time `t`, with X = retries + restarts + recoveries + isolations that the intensities and pauses allow: each
    /// of a component moves its breaker and its dependents' word at most three times, and one more at the end.
    fn actions_max(&self) -> u64 {
        let time = self.now.since(Mono::from_nanos(0));
        let limits = &self.limits;
        let releases = 2 + (time.as_nanos() / limits.isolation.as_nanos()) as u64;
        // By a person once, and each isolation may become one that needs a person.
        let isolations = 2 * releases + 2;
        let recoveries = limits.recoveries.at_most_in(time);
        let of_component = |id: &ComponentId| {
            let tries = limits.retries.at_most_in(time) + limits.restarts.at_most_in(time);
            let turns = tries + recoveries + isolations + 1;
            tries + 3 * turns * (1 + self.supervisor.tree().dependents(*id).len() as u64)
        };
        let periods = 1 + (time.as_nanos() / limits.tell_period.as_nanos()) as u64;
        let telling = periods * (u64::from(limits.tells_max) + 1);
        let of_channel = 4 * recoveries + 3 * releases + isolations + telling;
        self.components.iter().map(of_component).sum::<u64>()
            + of_channel * self.channels.len() as u64
            + telling
    }
}

// REQ E2, REQ E3, REQ E4
#[test]
fn whatever_storms_come_measures_are_explained_bounded_and_never_anothers_and_calm_comes_back() {
    let mut reasons = BTreeSet::new();
    let (mut stops, mut releases, mut isolations) = (0, 0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run();
            world.check_end();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
        reasons.append(&mut world.reasons);
        stops += u32::from(world.is_stopped);
        releases += world.released;
        isolations += world.seen_channels.iter().map(|seen| seen.isolations).sum::<u64>();
    }
    // It has been everywhere.
    assert_eq!(reasons.len(), 8, "{reasons:?}");
    assert!(stops > 5 && releases > 50 && isolations > 100, "{stops} {releases} {isolations}");
}
