//! Supervision step by step, and a storm of 10 000 faults in a second, in virtual time.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::Mono;
use evenkeel_core::fault::{Code, Fault, FaultClass, Measure, Name, Severity};
use evenkeel_core::supervision::{
    Action, BreakerState, ChannelId, ComponentId, ComponentSpec, Condition, Event, FaultId, Intensity,
    Limits, Policies, Reason, RecoveryStep, Supervisor, Tree, Who,
};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A house: `left` and `right`, each with a microphone; a writer that both need; a meter that needs the left microphone.
struct House {
    supervisor: Supervisor,
    left: ChannelId,
    mic: ComponentId,
    meter: ComponentId,
    writer: ComponentId,
    right_mic: ComponentId,
    now: Mono,
    faults: u64,
    out: Vec<Action>,
}

impl House {
    fn new(policies: Policies, limits: Limits, is_essential: bool) -> Self {
        let mut tree = Tree::default();
        let (left, right) =
            (tree.add_channel(name("left")).unwrap(), tree.add_channel(name("right")).unwrap());
        let spec = ComponentSpec { is_essential, ..ComponentSpec::new(name("writer")) };
        let writer = tree.add_component(spec.channel(left).channel(right)).unwrap();
        let mut of = |text, channel, need| {
            tree.add_component(ComponentSpec::new(name(text)).channel(channel).needs(need)).unwrap()
        };
        let (mic, right_mic) = (of("mic", left, writer), of("mic", right, writer));
        let meter = of("meter", right, mic);
        let supervisor = Supervisor::new(tree, policies, limits, 7);
        let (now, faults, out) = (Mono::from_nanos(0), 0, Vec::new());
        Self { supervisor, left, mic, meter, writer, right_mic, now, faults, out }
    }

    fn fault(&mut self, channel: Option<&str>, component: Option<&str>, code: Code, severity: Severity) {
        let fault = Fault {
            channel: channel.map(name),
            component: component.map(name),
            ..Fault::new(code, severity, self.now)
        };
        self.faults += 1;
        let trouble = self.supervisor.tree().trouble(FaultId(self.faults), &fault);
        self.handle(Event::Fault(trouble));
    }

    fn handle(&mut self, event: Event) {
        self.supervisor.handle(self.now, event, &mut self.out);
    }

    /// What was to be done since the last call; if nothing was, goes to the next thing that is due.
    fn next(&mut self) -> Vec<Action> {
        if !self.out.is_empty() {
            return self.so_far();
        }
        self.now = self.supervisor.next_deadline().expect("something is to come");
        self.handle(Event::Tick);
        self.so_far()
    }

    /// Goes on until one of these is to be done.
    fn until(&mut self, is_it: impl Fn(&Action) -> bool) -> Action {
        for _ in 0..1_000 {
            if let Some(found) = self.next().into_iter().find(&is_it) {
                return found;
            }
        }
        panic!("it never came");
    }

    fn so_far(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }
}

fn plain() -> House {
    House::new(Policies::default(), Limits::default(), false)
}

fn told(actions: &[Action]) -> Vec<(ComponentId, ComponentId, Condition)> {
    let told = |action: &Action| match action {
        Action::TellDependent { dependent, on, condition, .. } => Some((*dependent, *on, *condition)),
        _ => None,
    };
    actions.iter().filter_map(told).collect()
}

// REQ E2
#[test]
fn who_needs_what_failed_is_told_and_siblings_that_do_not_are_not() {
    let mut house = plain();
    house.fault(Some("left"), Some("mic"), Code::PANIC, Severity::Error);
    let actions = house.so_far();
    assert_eq!(told(&actions), [(house.meter, house.mic, Condition::Down)]);
    assert!(matches!(actions[1..], [Action::Tell { who: Who::Component(who), .. }] if who == house.mic));
    let restart = house.until(|action| matches!(action, Action::RestartComponent { .. }));
    assert_eq!(restart.measure(), Some((FaultId(1), Measure::RestartComponent { after_ns: 0 })));
    house.handle(Event::RestartDone { component: house.mic, is_up: true });
    assert_eq!(told(&house.so_far()), [(house.meter, house.mic, Condition::Up)]);

    // Of a shared one, all who need it, and only those.
    house.fault(None, Some("writer"), Code::PANIC, Severity::Error);
    let both = [house.mic, house.right_mic].map(|dependent| (dependent, house.writer, Condition::Down));
    assert_eq!(told(&house.so_far()), both);
}

// REQ E3, REQ E4
#[test]
fn a_crash_loop_ends_in_isolation_and_what_is_released_too_early_is_isolated_for_longer() {
    let mut house = plain();
    let limits = Limits::default();
    let (mut restarts, mut recoveries, mut isolated) = (0, 0, Vec::new());
    house.fault(Some("left"), Some("mic"), Code::PANIC, Severity::Error);
    while isolated.len() < 4 {
        for action in house.next() {
            match action {
                Action::RestartComponent { component, level, .. } => {
                    restarts += 1;
                    assert_eq!((component, level), (house.mic, restarts));
                    house.handle(Event::RestartDone { component, is_up: true });
                    house.fault(Some("left"), Some("mic"), Code::PANIC, Severity::Error);
                }
                Action::RecoverChannel { channel, step, .. } => {
                    assert_eq!(channel, house.left);
                    recoveries += u32::from(step == RecoveryStep::StopCapture);
                    house.handle(Event::RecoveryStep { channel, step, is_ok: true });
                    if step == RecoveryStep::Verify {
                        house.fault(Some("left"), Some("mic"), Code::PANIC, Severity::Error);
                    }
                }
                Action::IsolateChannel { channel, until, cause } => {
                    assert_eq!((channel, cause.reason), (house.left, Reason::RecoveriesUsedUp));
                    assert!(house.supervisor.is_isolated(channel));
                    isolated.push(until.unwrap().since(house.now));
                }
                _ => {}
            }
        }
        assert!(house.now < Mono::from_nanos(4 * 3_600 * SECOND));
    }
    assert_eq!(restarts, limits.restarts.max);
    assert!(recoveries >= limits.recoveries.max);
    assert!(isolated[0] == limits.isolation && isolated[1] == 2 * limits.isolation, "{isolated:?}");
}

// REQ E3
#[test]
fn a_channel_is_recovered_part_by_part_and_begun_anew_however_its_capture_stopped() {
    let mut house = plain();
    house.fault(Some("left"), None, Code::STORAGE, Severity::Error);
    assert!(matches!(
        house.so_far()[..],
        [Action::TellDependent { .. }, Action::Tell { measure: Measure::RecoverChannel { .. }, .. }]
    ));
    let steps =
        [RecoveryStep::StopCapture, RecoveryStep::Flush, RecoveryStep::Reinitialise, RecoveryStep::Verify];
    let mut actions = house.next();
    for (at, step) in steps.into_iter().enumerate() {
        assert!(matches!(actions[..], [Action::RecoverChannel { step: which, .. }] if which == step));
        // What is answered twice, or was not asked for, is passed over.
        house.handle(Event::RecoveryStep { channel: house.left, step: steps[(at + 1) % 4], is_ok: true });
        assert!(house.so_far().is_empty());
        house.handle(Event::RecoveryStep { channel: house.left, step, is_ok: at > 0 });
        actions = house.so_far();
    }
    assert_eq!(told(&actions), [(house.meter, house.mic, Condition::Up)]);
    house.now = house.now.plus(Duration::from_secs(60));
    house.handle(Event::Tick);
    assert!(house.supervisor.is_calm() && house.supervisor.next_deadline().is_none());
}

// REQ E3
#[test]
fn a_breach_isolates_its_channel_at_once_until_a_person_releases_it_and_no_other() {
    for code in [Code::SECURITY, Code::ISOLATION] {
        let mut house = plain();
        // Through the writer that both share, by the left one.
        house.fault(Some("left"), Some("writer"), code, Severity::Error);
        let actions = house.so_far();
        let is_left = |action: &Action| match action {
            Action::IsolateChannel { channel, until, .. } => *channel == house.left && until.is_none(),
            Action::TellDependent { dependent, on, .. } => *dependent == house.meter && *on == house.mic,
            Action::Tell { .. } => true,
            _ => false,
        };
        assert!(actions.len() == 3 && actions.iter().all(is_left), "{actions:?}");
        house.now = Mono::from_nanos(100 * 3_600 * SECOND);
        house.handle(Event::Tick);
        assert!(house.supervisor.is_isolated(house.left) && house.supervisor.next_deadline().is_none());
        house.handle(Event::Release { channel: house.left });
        for step in [RecoveryStep::Reinitialise, RecoveryStep::Verify] {
            assert!(house.supervisor.is_isolated(house.left));
            house.handle(Event::RecoveryStep { channel: house.left, step, is_ok: true });
        }
        assert!(house.so_far().iter().any(|action| matches!(action, Action::ReleaseChannel { .. })));
        assert!(!house.supervisor.is_isolated(house.left));
    }
}

// REQ E3, REQ E4
#[test]
fn what_is_shared_stops_the_system_only_if_it_is_essential_or_the_policy_says_so() {
    for is_essential in [true, false] {
        let mut house = House::new(Policies::default(), Limits::default(), is_essential);
        let mut restarts = Vec::new();
        house.fault(None, Some("writer"), Code::PANIC, Severity::Critical);
        let stop = loop {
            let actions = house.next();
            if let Some(Action::StopSystem { cause }) = actions.last() {
                break Some(*cause);
            }
            for action in actions {
                assert!(!matches!(action, Action::RecoverChannel { .. } | Action::IsolateChannel { .. }));
                if let Action::RestartComponent { component, .. } = action {
                    restarts.push(house.now);
                    house.handle(Event::RestartDone { component, is_up: false });
                }
            }
            if let Some(Action::StopSystem { cause }) = house.out.last() {
                break Some(*cause);
            }
            if restarts.len() == 20 {
                break None;
            }
        };
        assert_eq!(stop.map(|cause| cause.reason), is_essential.then_some(Reason::RestartsUsedUp));
        assert_eq!(restarts.len(), if is_essential { 3 } else { 20 });
        let Intensity { forgiven_every, .. } = Limits::default().restarts;
        assert!(
            restarts[3.min(restarts.len() - 1)..]
                .windows(2)
                .all(|two| two[1].since(two[0]) >= forgiven_every / 2)
        );
        house.so_far();
        if is_essential {
            house.fault(Some("left"), Some("mic"), Code::PANIC, Severity::Error);
            assert!(house.so_far().is_empty() && house.supervisor.next_deadline().is_none());
        }
    }
    for is_marked in [true, false] {
        let mut policies = Policies::default();
        policies[FaultClass::Storage].stops_system_when_critical = is_marked;
        let mut house = House::new(policies, Limits::default(), false);
        house.fault(Some("left"), Some("mic"), Code::STORAGE_FULL, Severity::Error);
        assert!(!house.so_far().iter().any(|action| matches!(action, Action::StopSystem { .. })));
        house.fault(Some("left"), Some("mic"), Code::STORAGE_FULL, Severity::Critical);
        assert_eq!(
            house.so_far().iter().any(|action| matches!(action, Action::StopSystem { .. })),
            is_marked
        );
    }
}

// REQ E4
#[test]
fn a_restart_that_is_not_answered_is_not_begun_again_and_its_channel_stays_cut_off_until_it_is() {
    let mut house = plain();
    house.fault(Some("left"), Some("mic"), Code::EXITED, Severity::Critical);
    house.until(|action| matches!(action, Action::RestartComponent { .. }));
    let action =
        house.until(|action| !matches!(action, Action::Breaker { .. } | Action::TellDependent { .. }));
    let Action::IsolateChannel { cause, .. } = action else { panic!("{action:?}") };
    assert_eq!(cause.reason, Reason::StillUnderWay);
    for _ in 0..10 {
        assert_eq!(house.next(), [], "nothing is begun beside what may still be under way");
    }
    house.handle(Event::RestartDone { component: house.mic, is_up: true });
    assert!(matches!(house.next()[..], [Action::RecoverChannel { step: RecoveryStep::Reinitialise, .. }]));
}

// REQ E3, REQ E4
#[test]
fn what_is_missing_is_tried_for_ever_but_ever_more_seldom_and_restarts_nobody() {
    let mut house = plain();
    let mut tries = Vec::new();
    house.fault(Some("left"), Some("mic"), Code::DEPENDENCY, Severity::Error);
    while tries.len() < 60 {
        for action in house.next() {
            match action {
                Action::Retry { .. } => {
                    tries.push(house.now);
                    house.fault(Some("left"), Some("mic"), Code::DEPENDENCY, Severity::Error);
                }
                Action::Tell { .. } | Action::TellDependent { .. } | Action::Breaker { .. } => {}
                action => panic!("{action:?}"),
            }
        }
    }
    let last = &tries[40..];
    assert!(last.windows(2).all(|two| two[1].since(two[0]) >= Limits::default().breaker.pause_max));
    assert_eq!(house.supervisor.breaker(house.mic), BreakerState::Open);
    // It is there again: one trial, and all is well.
    house.so_far();
    house.until(|action| matches!(action, Action::Retry { .. }));
    assert_eq!(house.supervisor.breaker(house.mic), BreakerState::HalfOpen);
    house.handle(Event::Succeeded { component: house.mic });
    assert_eq!(told(&house.so_far()), [(house.meter, house.mic, Condition::Up)]);
    assert_eq!(house.supervisor.breaker(house.mic), BreakerState::Closed);
}

// REQ E3
#[test]
fn each_class_begins_as_its_policy_says_and_what_is_mild_is_only_told() {
    for class in FaultClass::ALL {
        for severity in Severity::ALL {
            let mut house = plain();
            house.fault(Some("left"), Some("mic"), Code::of_class(class), severity);
            let Some(Action::Tell { measure, .. }) = house.so_far().pop() else { panic!("not told") };
            let begins_as_it_must = match (class, severity) {
                (_, Severity::Notice | Severity::Warning) | (FaultClass::Registration, _) => {
                    measure == Measure::Noted
                }
                (FaultClass::Security | FaultClass::Isolation, _) => measure == Measure::IsolateChannel,
                (FaultClass::Dependency, _) => matches!(measure, Measure::Retry { .. }),
                (FaultClass::Panic, _) | (_, Severity::Critical) => {
                    matches!(measure, Measure::RestartComponent { .. })
                }
                _ => matches!(measure, Measure::Retry { .. }),
            };
            assert!(begins_as_it_must, "{class} {severity}: {measure:?}");
        }
    }
}

/// How long each of a thousand waits until it is tried again, when all fail at once.
fn waits(seed: u64) -> Vec<u64> {
    let mut tree = Tree::default();
    let channel = tree.add_channel(name("left")).unwrap();
    for at in 0..1_000 {
        let spec = ComponentSpec::new(name(&format!("part-{at}")));
        tree.add_component(spec.channel(channel)).unwrap();
    }
    let limits = Limits { tells_max: 1_000, ..Limits::default() };
    let mut supervisor = Supervisor::new(tree, Policies::default(), limits, seed);
    let (now, mut out) = (Mono::from_nanos(0), Vec::new());
    for at in 0..1_000 {
        let fault = Fault {
            channel: Some(name("left")),
            component: Some(name(&format!("part-{at}"))),
            ..Fault::new(Code::EXECUTION, Severity::Error, now)
        };
        let trouble = supervisor.tree().trouble(FaultId(at), &fault);
        supervisor.handle(now, Event::Fault(trouble), &mut out);
    }
    let wait = |action: &Action| match action {
        Action::Tell { measure: Measure::Retry { after_ns }, .. } => *after_ns,
        action => panic!("{action:?}"),
    };
    out.iter().map(wait).collect()
}

// REQ E3
#[test]
fn who_fails_together_is_tried_again_evenly_apart_and_by_the_seed() {
    let drawn = waits(1);
    assert_eq!(drawn, waits(1));
    assert_ne!(drawn, waits(2));
    let most = Policies::default()[FaultClass::Execution].backoff.first.as_nanos() as u64;
    for part in 0..10 {
        let range = part * most / 10..(part + 1) * most / 10;
        let inside = drawn.iter().filter(|wait| range.contains(wait)).count();
        assert!((60..140).contains(&inside), "{inside} of 1000 in tenth {part}");
    }
}

/// Fifty channels, one fault in each of the others; with or without 10 000 in the first, in one second.
fn fifty_channels(has_storm: bool) -> (Vec<(Mono, Action)>, usize) {
    let mut tree = Tree::default();
    let mut sources = Vec::new();
    for at in 0..50 {
        let channel = tree.add_channel(name(&format!("channel-{at}"))).unwrap();
        sources.push(tree.add_component(ComponentSpec::new(name("source")).channel(channel)).unwrap());
    }
    let mut supervisor = Supervisor::new(tree, Policies::default(), Limits::default(), 3);
    let (mut done, mut out, mut fault) = (Vec::new(), Vec::new(), 0);
    let mut bytes_max = 0;
    for at in 0..10_000_u64 {
        let now = Mono::from_nanos(at * SECOND / 10_000);
        while let Some(due) = supervisor.next_deadline().filter(|due| *due <= now) {
            supervisor.handle(due, Event::Tick, &mut out);
            done.extend(out.drain(..).map(|action| (due, action)));
        }
        // The others' have the same numbers with and without.
        for (of, is_one) in [(0, has_storm), (1 + at as usize / 200, at % 200 == 7 && at / 200 < 49)] {
            fault += 1;
            let class = FaultClass::ALL[[1, 2, 6, 7][at as usize % 4]];
            let known = Fault {
                channel: Some(name(&format!("channel-{of}"))),
                component: Some(name("source")),
                ..Fault::new(Code::of_class(class), Severity::Error, now)
            };
            if is_one {
                let trouble = supervisor.tree().trouble(FaultId(fault), &known);
                supervisor.handle(now, Event::Fault(trouble), &mut out);
            }
            done.extend(out.drain(..).map(|action| (now, action)));
        }
        bytes_max = bytes_max.max(format!("{supervisor:?}").len() * usize::from(at % 1_000 == 999));
    }
    while let Some(due) = supervisor.next_deadline().filter(|due| *due < Mono::from_nanos(60 * SECOND)) {
        supervisor.handle(due, Event::Tick, &mut out);
        done.extend(out.drain(..).map(|action| (due, action)));
    }
    (done, bytes_max)
}

/// Whose an action is.
fn channel_of(action: &Action) -> usize {
    match action {
        Action::Retry { component, .. }
        | Action::RestartComponent { component, .. }
        | Action::Breaker { component, .. }
        | Action::Tell { who: Who::Component(component), .. } => component.index(),
        Action::RecoverChannel { channel, .. }
        | Action::IsolateChannel { channel, .. }
        | Action::Summarise { who: Who::Channel(channel), .. } => channel.index(),
        action => panic!("{action:?}"),
    }
}

// REQ E4
#[test]
fn ten_thousand_faults_in_a_second_are_few_words_and_the_other_49_channels_do_not_feel_them() {
    let ((storm, bytes_in_storm), (quiet, bytes_in_quiet)) = (fifty_channels(true), fifty_channels(false));
    let of = |done: &[(Mono, Action)], is_it: fn(usize) -> bool| -> Vec<_> {
        done.iter().filter(|(_, action)| is_it(channel_of(action))).copied().collect()
    };
    let others = of(&storm, |channel| channel > 0);
    assert_eq!(others, of(&quiet, |channel| channel > 0), "the same, at the same moments");
    assert!(others.len() >= 2 * 49, "each was told and tried again: {}", others.len());

    let sick = of(&storm, |channel| channel == 0);
    let tells = sick.iter().filter(|(_, action)| matches!(action, Action::Tell { .. })).count();
    let summaries: Vec<_> = sick
        .iter()
        .filter_map(
            |(_, action)| if let Action::Summarise { summary, .. } = action { Some(summary) } else { None },
        )
        .collect();
    assert_eq!(tells, Limits::default().tells_max as usize);
    let [summary] = summaries[..] else { panic!("{summaries:?}") };
    assert_eq!((summary.count, summary.by_class.iter().sum::<u64>()), (9_990, 9_990));
    // The first ten were told; of the numbers, every second one is of this channel.
    assert_eq!((summary.first.0, summary.last.0), (FaultId(21), FaultId(19_999)));
    assert_eq!(summary.first.1, Mono::from_nanos(10 * SECOND / 10_000));
    assert_eq!([1, 2, 6, 7].map(|class| summary.by_class[class] / 100), [24; 4]);
    assert!(sick.len() < 40, "{}", sick.len());
    // What it keeps does not grow with the faults: a few failures, one summary, the digits of numbers.
    assert!(bytes_in_storm < bytes_in_quiet + 4_000, "{bytes_in_storm} {bytes_in_quiet}");
}

// REQ E3
#[test]
fn who_cannot_be_tried_again_is_restarted_and_who_cannot_be_restarted_has_its_channel_recovered() {
    let measure = |has_retry, has_restart, code| {
        let mut tree = Tree::default();
        let left = tree.add_channel(name("left")).unwrap();
        let spec = ComponentSpec { has_retry, has_restart, ..ComponentSpec::new(name("mic")) };
        let mic = tree.add_component(spec.channel(left)).unwrap();
        let fault = Fault {
            channel: Some(name("left")),
            component: Some(name("mic")),
            ..Fault::new(code, Severity::Error, Mono::from_nanos(0))
        };
        let trouble = tree.trouble(FaultId(1), &fault);
        let mut supervisor = Supervisor::new(tree, Policies::default(), Limits::default(), 1);
        assert!(supervisor.is_up(mic));
        let mut out = Vec::new();
        supervisor.handle(Mono::from_nanos(0), Event::Fault(trouble), &mut out);
        assert!(!supervisor.is_up(mic));
        let told = out.iter().find_map(|action| match action {
            Action::Tell { measure, .. } => Some(*measure),
            _ => None,
        });
        told.unwrap()
    };
    assert!(matches!(measure(true, true, Code::EXECUTION), Measure::Retry { .. }));
    assert!(matches!(measure(false, true, Code::EXECUTION), Measure::RestartComponent { .. }));
    assert!(matches!(measure(false, false, Code::EXECUTION), Measure::RecoverChannel { .. }));
    assert!(matches!(measure(true, false, Code::PANIC), Measure::RecoverChannel { .. }));
    // Nothing harsher than its policy: what it needs is not there, and comes back by itself.
    assert!(matches!(measure(false, false, Code::DEPENDENCY), Measure::Retry { .. }));
}

// REQ E2, REQ E3
#[test]
fn what_others_see_to_is_told_and_counted_and_stops_the_system_only_where_its_policy_says_so() {
    let mut policies = Policies::default();
    policies[FaultClass::Storage].stops_system_when_critical = true;
    let mut house = House::new(policies, Limits::default(), false);
    let mut noted = |code, severity| {
        let fault = Fault {
            channel: Some(name("left")),
            component: Some(name("mic")),
            ..Fault::new(code, severity, Mono::from_nanos(0))
        };
        let trouble = house.supervisor.tree().trouble(FaultId(1), &fault);
        house.handle(Event::Noted(trouble));
        house.so_far()
    };
    for code in [Code::PANIC, Code::SECURITY, Code::STORAGE] {
        let out = noted(code, Severity::Error);
        assert!(matches!(out[..], [Action::Tell { measure: Measure::Noted, .. }]), "{out:?}");
    }
    let out = noted(Code::STORAGE, Severity::Critical);
    assert!(matches!(out[..], [Action::StopSystem { .. }]), "{out:?}");
}
