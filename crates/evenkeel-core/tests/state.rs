//! Tables, refusals, patterns and replay, one by one; the diagrams in the docs.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_core::Mono;
use evenkeel_core::cleanup::Phase;
use evenkeel_core::state::{
    CLEANUP, COMPONENT, Cause, Change, CleanupState, ComponentState, Edge, FlappingLimits, Limits, Machine,
    Point, RECOVERY, RecoveryState, Refused, Rejection, RestoreError, RollbackError, State, Table,
    TableError, diagrams,
};
use std::time::Duration;

evenkeel_core::states! {
    enum Lamp { Off, On, Broken }
}

static LAMP: Table<Lamp> = evenkeel_core::state_table! {
    Lamp, "lamp", version 3, initial Off, final [Broken],
    Off -> On: "switch",
    On -> Off: "switch",
    On -> Broken: "",
};

/// The same with another edge.
static MENDED: Table<Lamp> = evenkeel_core::state_table! {
    Lamp, "lamp", version 3, initial Off, final [Broken],
    Off -> On: "switch",
    On -> Off: "switch",
    On -> Broken: "",
    Broken -> Off: "mend",
};

static NEWER: Table<Lamp> = evenkeel_core::state_table! {
    Lamp, "lamp", version 4, initial Off, final [Broken],
    Off -> On: "switch",
    On -> Off: "switch",
    On -> Broken: "",
};

fn at(millis: u64) -> Mono {
    Mono::from_nanos(millis * 1_000_000)
}

fn go<S: State>(machine: &mut Machine<S>, millis: u64, to: S) -> Change<S> {
    let proposal = machine.propose(at(millis), to, "test").unwrap();
    machine.commit(at(millis), proposal).unwrap()
}

fn lamp() -> Machine<Lamp> {
    Machine::new(&LAMP, Limits::default(), at(0))
}

const fn edge(from: u8, to: u8) -> Edge {
    Edge { from, to, cause: "" }
}

// REQ S1
#[test]
fn a_table_that_is_not_sound_is_refused_by_the_names_of_its_states() {
    let new = |initial, finals: &[u8], edges: &[Edge]| {
        Table::<Lamp>::new("lamp", 1, initial, finals, edges.to_vec().leak()).unwrap_err()
    };
    let table = "lamp";
    let cases = [
        (new(0, &[], &[edge(0, 1), edge(1, 2)]), TableError::DeadEnd { table, state: "Broken" }),
        (
            new(0, &[], &[edge(0, 1), edge(1, 0)]),
            TableError::Unreachable { table, state: "Broken", initial: "Off" },
        ),
        (
            new(0, &[2], &[edge(0, 1), edge(1, 2), edge(0, 1)]),
            TableError::Duplicate { table, from: "Off", to: "On" },
        ),
        (new(0, &[2], &[edge(0, 1), edge(1, 1)]), TableError::Loop { table, state: "On" }),
        (new(0, &[2], &[edge(0, 3)]), TableError::Unknown { table, position: 3, last: "Broken" }),
        (new(0, &[2], &[edge(7, 0)]), TableError::Unknown { table, position: 7, last: "Broken" }),
        (new(9, &[2], &[edge(0, 1)]), TableError::Unknown { table, position: 9, last: "Broken" }),
        (new(0, &[64], &[edge(0, 1)]), TableError::Unknown { table, position: 64, last: "Broken" }),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    assert_eq!(
        new(0, &[], &[edge(0, 1), edge(1, 2)]).to_string(),
        "table lamp: no edge leaves Broken: add one, or call it final"
    );
}

// REQ S1
#[test]
fn names_that_cannot_stand_in_a_diagram_are_refused() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Odd<const CASE: usize>;
    impl<const CASE: usize> State for Odd<CASE> {
        const ALL: &'static [Self] = match CASE {
            0..3 => &[Self; 2],
            3 => &[Self; 65],
            _ => &[],
        };
        const NAMES: &'static [&'static str] = match CASE {
            0 => &["A", "b c"],
            1 => &["A", "A"],
            2 => &["A"],
            3 => &["A"; 65],
            _ => &[],
        };
        fn index(self) -> usize {
            0
        }
    }
    fn new<const CASE: usize>() -> TableError {
        Table::<Odd<CASE>>::new("odd", 1, 0, &[1], &[]).unwrap_err()
    }
    let table = "odd";
    assert_eq!(new::<0>(), TableError::Name { table, name: "b c" });
    assert_eq!(new::<1>(), TableError::SameName { table, name: "A" });
    assert_eq!(new::<2>(), TableError::Size { table, found: 2, names: 1 });
    assert_eq!(new::<3>(), TableError::Size { table, found: 65, names: 65 });
    assert_eq!(new::<4>(), TableError::Size { table, found: 0, names: 0 });
}

// REQ S1
#[test]
fn sixty_four_states_are_allowed_and_every_edge_is_told_from_every_other() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Many(u8);
    const fn all() -> [Many; 64] {
        let (mut all, mut at) = ([Many(0); 64], 0);
        while at < 64 {
            all[at] = Many(at as u8);
            at += 1;
        }
        all
    }
    const TWO_LETTERS: &[u8; 128] = b"s0s1s2s3s4s5s6s7s8s9sasbscsdsesfsgshsisjskslsmsnsospsqsrssst\
        susvswsxsyszsAsBsCsDsEsFsGsHsIsJsKsLsMsNsOsPsQsRsSsTsUsVsWsXsYsZs_t_";
    const fn names() -> [&'static str; 64] {
        let (mut names, mut at) = ([""; 64], 0);
        while at < 64 {
            let bytes = TWO_LETTERS.split_at(at * 2).1.split_at(2).0;
            names[at] = match str::from_utf8(bytes) {
                Ok(name) => name,
                Err(_) => "",
            };
            at += 1;
        }
        names
    }
    impl State for Many {
        const ALL: &'static [Self] = &all();
        const NAMES: &'static [&'static str] = &names();
        fn index(self) -> usize {
            self.0.into()
        }
    }
    let pairs = (0..64).flat_map(|from| (0..64).map(move |to| edge(from, to)));
    let edges: Vec<Edge> = pairs.filter(|edge| edge.from != edge.to).collect();
    let table = Table::<Many>::new("many", 1, 0, &[], edges.leak()).unwrap();
    assert_eq!(table.edges().count(), 64 * 63);
    let table: &'static Table<Many> = Box::leak(Box::new(table));
    let mut machine = Machine::new(table, Limits::default(), at(0));
    let _ = go(&mut machine, 1, Many(63));
    let _ = go(&mut machine, 2, Many(62));
    let taken = machine.metrics().into_iter().filter(|edge| edge.done == 1);
    assert_eq!(taken.map(|edge| (edge.from.0, edge.to.0)).collect::<Vec<_>>(), [(0, 63), (63, 62)]);
}

// REQ S1 C18
#[test]
fn the_fingerprint_is_that_of_states_and_edges_and_not_of_their_order() {
    let edges =
        |edges: &[Edge]| Table::<Lamp>::new("lamp", 3, 0, &[2], edges.to_vec().leak()).unwrap().fingerprint();
    assert_eq!(edges(&[edge(1, 2), edge(1, 0), edge(0, 1)]), LAMP.fingerprint());
    assert_eq!(NEWER.fingerprint(), LAMP.fingerprint());
    assert_ne!(MENDED.fingerprint(), LAMP.fingerprint());
    let all = [edge(0, 1), edge(1, 0), edge(1, 2), edge(2, 0)];
    let other = |name, initial, finals: &[u8]| {
        Table::<Lamp>::new(name, 3, initial, finals, all.to_vec().leak()).unwrap().fingerprint()
    };
    let numbers =
        [MENDED.fingerprint(), other("lamps", 0, &[2]), other("lamp", 1, &[2]), other("lamp", 0, &[])];
    let different: std::collections::BTreeSet<u64> = numbers.into();
    assert_eq!(different.len(), 4);
}

// REQ S2
#[test]
fn what_is_refused_names_from_to_and_what_is_allowed() {
    let mut machine = lamp();
    let refused = machine.propose(at(1), Lamp::Broken, "drop").unwrap_err();
    assert_eq!(refused.to_string(), "lamp is Off and cannot become Broken; allowed: On");
    let first = machine.propose(at(1), Lamp::On, "switch").unwrap();
    let refused = machine.propose(at(2), Lamp::On, "again").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "lamp is Off, and attempt 1 is about to make it On: it goes to On after that, or when that is abandoned"
    );
    assert!(machine.abandon(at(3), first.ticket()));
    let second = machine.propose(at(4), Lamp::On, "again").unwrap();
    assert!(!machine.abandon(at(4), first.ticket()), "it is the second that is under way");
    let lapsed = machine.commit(at(5), first).unwrap_err();
    assert_eq!(
        lapsed.to_string(),
        "lamp: attempt 1, from Off to On, is no longer under way; the machine is Off: propose it again"
    );
    let _ = machine.commit(at(6), second).unwrap();
    let _ = go(&mut machine, 7, Lamp::Broken);
    let refused = machine.propose(at(8), Lamp::On, "mend").unwrap_err();
    assert_eq!(refused.to_string(), "lamp is Broken and cannot become On; allowed: none");
    assert_eq!(machine.refused(), 3);
}

// REQ S3
#[test]
fn a_state_whose_invariant_fails_never_shows() {
    let mut machine = lamp();
    let proposal = machine.propose(at(1), Lamp::On, "switch").unwrap();
    assert_eq!(machine.state(), Lamp::Off);
    machine.reject(at(4), proposal, Rejection::Invariant("no current".into())).unwrap();
    assert_eq!((machine.state(), machine.sequence(), machine.since()), (Lamp::Off, 0, at(0)));
    let entry = machine.history().next_back().unwrap();
    assert_eq!((entry.took, entry.sequence), (Duration::from_millis(3), 0));
    assert_eq!(
        machine.plan_rollback(Point::after(1)).unwrap_err().to_string(),
        "lamp is Off since change 0: there was no change 1 yet"
    );
}

// REQ S4
#[test]
fn what_was_rolled_back_is_not_compensated_twice() {
    let mut machine = lamp();
    let _ = go(&mut machine, 1, Lamp::On);
    let _ = go(&mut machine, 2, Lamp::Off);
    let plan = machine.plan_rollback(Point::after(1)).unwrap();
    let mut undoing = machine.begin_rollback(at(3), plan.clone(), "test").unwrap();
    undoing.compensation_failed("no hands");
    let change = machine.finish_rollback(at(4), &undoing).unwrap();
    assert_eq!((change.sequence, change.from, change.to), (3, Lamp::Off, Lamp::On));
    let told: Vec<_> = undoing.failures().map(|failure| (failure.undo.sequence, failure.why)).collect();
    assert_eq!(told, [(2, "no hands")]);

    let undone: Vec<_> =
        machine.plan_rollback(Point::after(0)).unwrap().steps().iter().map(|u| u.sequence).collect();
    assert_eq!(undone, [1]);
    let error = machine.plan_rollback(Point::after(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "lamp is On, and change 2 was itself rolled back: there is no way to do it again"
    );
    assert!(matches!(machine.plan_rollback(Point::after(3)), Err(RollbackError::NothingToUndo { .. })));
    let error = machine.begin_rollback(at(5), plan, "late").unwrap_err();
    assert_eq!(
        error.to_string(),
        "lamp was Off at change 2 when the rollback to On was planned, and is On at change 3: plan again"
    );
}

// REQ S4
#[test]
fn a_point_that_is_no_longer_kept_is_refused_with_the_oldest() {
    let mut machine = Machine::new(&LAMP, Limits { points_max: 2, ..Limits::default() }, at(0));
    for (time, to) in [Lamp::On, Lamp::Off, Lamp::On].into_iter().enumerate() {
        let _ = go(&mut machine, time as u64, to);
    }
    let error = machine.plan_rollback(Point::after(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "lamp is On, and change 0 is no longer kept: change 1, where it was On, is the oldest"
    );
    assert_eq!(machine.plan_rollback(Point::after(1)).unwrap().steps().len(), 2);
}

// REQ S9
#[test]
fn a_rehearsal_changes_nothing() {
    let mut machine = lamp();
    let _ = go(&mut machine, 1, Lamp::On);
    let before = format!("{machine:?}");
    let plan = machine.plan_rollback(Point::after(0)).unwrap();
    assert_eq!((plan.from(), plan.to()), (Lamp::On, Lamp::Off));
    assert_eq!(format!("{machine:?}"), before);
}

// REQ S10
#[test]
fn flapping_is_told_once_until_it_was_calm_for_a_window() {
    let flapping = FlappingLimits { returns_max: 2, window: Duration::from_millis(100), is_refused: false };
    let mut machine = Machine::new(&LAMP, Limits { flapping, ..Limits::default() }, at(0));
    let switch = |machine: &mut Machine<Lamp>, millis| {
        let to = if machine.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
        go(machine, millis, to).flapping
    };
    // Returns to Off at 20, 40, 60; to On at 30, 50.
    for millis in [10, 20, 30, 40, 50] {
        assert_eq!(switch(&mut machine, millis), None);
    }
    let found = switch(&mut machine, 60).unwrap();
    assert_eq!((found.state, found.other, found.returns), (Lamp::Off, Lamp::On, 3));
    assert_eq!(found.within, Duration::from_millis(40));
    for millis in (70..300).step_by(10) {
        assert_eq!(switch(&mut machine, millis), None, "at {millis} ms");
    }
    // Calm for more than a window; then the same again.
    let again: Vec<_> = (500..600).step_by(10).filter_map(|millis| switch(&mut machine, millis)).collect();
    assert_eq!(again.len(), 1);
    // Slow to and fro is none.
    assert!((1_000..9_000).step_by(60).all(|millis| switch(&mut machine, millis).is_none()));
}

// REQ S10
#[test]
fn a_flapping_machine_can_be_refused_until_it_is_calm() {
    let flapping = FlappingLimits { returns_max: 1, window: Duration::from_millis(100), is_refused: true };
    let mut machine = Machine::new(&LAMP, Limits { flapping, ..Limits::default() }, at(0));
    for (millis, to) in [(10, Lamp::On), (20, Lamp::Off), (30, Lamp::On)] {
        assert_eq!(go(&mut machine, millis, to).flapping, None);
    }
    assert!(go(&mut machine, 40, Lamp::Off).flapping.is_some());
    let refused = machine.propose(at(140), Lamp::On, "again").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "lamp flaps between Off and On: it stays Off until it was calm for 100 ms"
    );
    let Refused::Flapping { until, .. } = refused else { panic!("{refused}") };
    let proposal = machine.propose(until, Lamp::On, "calm").unwrap();
    assert_eq!(machine.commit(until, proposal).unwrap().flapping, None);
    // What is no return goes.
    let _ = go(&mut machine, 200, Lamp::Broken);
}

// REQ S10
#[test]
fn what_follows_a_rollback_is_no_return_and_what_follows_an_abandoned_one_may_be() {
    let flapping = FlappingLimits { returns_max: 1, ..FlappingLimits::default() };
    let mut machine = Machine::new(&COMPONENT, Limits { flapping, ..Limits::default() }, at(0));
    let _ = go(&mut machine, 0, ComponentState::Initialising);
    let point = machine.checkpoint();
    for _ in 0..4 {
        let ways: [&[ComponentState]; 2] = [
            &[ComponentState::Running, ComponentState::Failed, ComponentState::Initialising],
            &[ComponentState::Failed],
        ];
        for way in ways {
            for to in way {
                assert_eq!(go(&mut machine, 1, *to).flapping, None);
            }
            let plan = machine.plan_rollback(point).unwrap();
            let undoing = machine.begin_rollback(at(1), plan, "test").unwrap();
            let _ = machine.finish_rollback(at(1), &undoing).unwrap();
        }
    }
    let mut told = 0;
    for to in [ComponentState::Running, ComponentState::Degraded].repeat(2) {
        told += u32::from(go(&mut machine, 2, to).flapping.is_some());
        let undoing = machine.begin_rollback(at(2), machine.plan_rollback(point).unwrap(), "test").unwrap();
        assert!(machine.abandon(at(2), undoing.ticket()));
    }
    told += u32::from(go(&mut machine, 2, ComponentState::Running).flapping.is_some());
    assert_eq!(told, 1);
}

// REQ S5
#[test]
fn history_never_goes_back_in_time() {
    let mut machine = lamp();
    let _ = go(&mut machine, 5, Lamp::On);
    for millis in [4, 3] {
        let proposal = machine.propose(at(millis), Lamp::Off, "late").unwrap();
        assert!(machine.abandon(at(millis - 2), proposal.ticket()));
        let proposal = machine.propose(at(millis), Lamp::Off, "late").unwrap();
        machine.reject(at(millis), proposal, Rejection::Guard("no".into())).unwrap();
    }
    let _ = go(&mut machine, 1, Lamp::Off);
    assert_eq!(machine.history().len(), 6);
    assert!(machine.history().all(|entry| (entry.at, entry.took) == (at(5), Duration::ZERO)));
}

// REQ S10
#[test]
fn every_edge_has_its_counts_and_durations() {
    let mut machine = lamp();
    for took in [Duration::from_nanos(255), Duration::from_nanos(256), Duration::from_secs(3_600)] {
        let begin = at(10_000_000 * (machine.sequence() + 1));
        let proposal = machine.propose(begin, Lamp::On, "test").unwrap();
        let _ = machine.commit(begin.plus(took), proposal).unwrap();
        let proposal = machine.propose(begin.plus(took), Lamp::Off, "test").unwrap();
        let _ = machine.commit(begin.plus(took), proposal).unwrap();
    }
    let proposal = machine.propose(at(90_000_000), Lamp::On, "test").unwrap();
    machine.reject(at(90_000_000), proposal, Rejection::Guard("no".into())).unwrap();
    let edges = machine.metrics();
    assert_eq!(
        edges.iter().map(|e| (e.from, e.to)).collect::<Vec<_>>(),
        LAMP.edges().map(|e| (e.0, e.1)).collect::<Vec<_>>()
    );
    assert_eq!((edges[0].done, edges[0].guard_refused, edges[1].done, edges[2].done), (3, 1, 3, 0));
    let took: Vec<_> = edges[0].took.buckets().filter(|(_, count)| *count > 0).collect();
    assert_eq!(took, [(Duration::from_nanos(256), 1), (Duration::from_nanos(512), 1), (Duration::MAX, 1)]);
    assert_eq!(edges[0].took.quantile(0.5), Some(Duration::from_nanos(512)));
    assert_eq!(edges[2].took.quantile(0.5), None);
}

// REQ S5
#[test]
fn history_keeps_the_newest_and_is_bounded_in_bytes_too() {
    let mut machine = Machine::new(&LAMP, Limits { history_max: 3, ..Limits::default() }, at(0));
    for (time, to) in [Lamp::On, Lamp::Off, Lamp::On, Lamp::Off].into_iter().enumerate() {
        let proposal = machine.propose(at(time as u64), to, "é".repeat(200)).unwrap();
        let _ = machine.commit(at(time as u64 + 1), proposal).unwrap();
    }
    let kept: Vec<_> = machine.history().map(|e| (e.sequence, e.cause.len(), e.at)).collect();
    assert_eq!(kept, [(2, 256, at(2)), (3, 256, at(3)), (4, 256, at(4))]);
    assert_eq!(Cause::from(format!("a{}", "é".repeat(200))).len(), 255);
}

fn restored(
    edit: impl FnOnce(&mut evenkeel_core::state::Snapshot, &mut Vec<evenkeel_core::state::SavedChange>),
) -> RestoreError {
    let mut machine = lamp();
    let _ = go(&mut machine, 1, Lamp::On);
    let mut snapshot = machine.snapshot();
    let mut tail = vec![go(&mut machine, 2, Lamp::Off).saved(), go(&mut machine, 3, Lamp::On).saved()];
    assert!(Machine::restore(&LAMP, Limits::default(), at(4), &snapshot, &tail).is_ok());
    edit(&mut snapshot, &mut tail);
    Machine::restore(&LAMP, Limits::default(), at(4), &snapshot, &tail).unwrap_err()
}

// REQ C18 S6
#[test]
fn what_another_table_saved_is_refused() {
    let snapshot = lamp().snapshot();
    let error = Machine::restore(&NEWER, Limits::default(), at(0), &snapshot, []).unwrap_err();
    assert!(matches!(error, RestoreError::Version { expected: 4, found: 3, .. }), "{error}");
    let error = Machine::restore(&MENDED, Limits::default(), at(0), &snapshot, []).unwrap_err();
    assert!(matches!(error, RestoreError::Fingerprint { version: 3, .. }), "{error}");
    let error = Machine::restore(&CLEANUP, Limits::default(), at(0), &snapshot, []).unwrap_err();
    assert_eq!(error.to_string(), "a machine of table lamp was saved, not of cleanup");
}

// REQ S6
#[test]
fn what_is_saved_is_read_under_the_bound_that_it_was_made_under() {
    let limits = |points_max| Limits { points_max, ..Limits::default() };
    let mut machine = Machine::new(&LAMP, limits(4), at(0));
    let snapshot = machine.snapshot();
    let mut tail: Vec<_> =
        [Lamp::On, Lamp::Off, Lamp::On, Lamp::Off].map(|to| go(&mut machine, 1, to).saved()).into();
    let plan = machine.plan_rollback(Point::after(1)).unwrap();
    let undoing = machine.begin_rollback(at(2), plan, "test").unwrap();
    tail.push(machine.finish_rollback(at(2), &undoing).unwrap().saved());
    assert_eq!((tail[4].back_to, tail[4].failed), (Some(1), 3));
    for (points_max, expected) in [(1, &[1, 5][..]), (4, &[0, 1, 5]), (64, &[0, 1, 5])] {
        let again = Machine::restore(&LAMP, limits(points_max), at(3), &snapshot, &tail).unwrap();
        assert_eq!(again.points().map(|(point, _)| point.sequence()).collect::<Vec<_>>(), expected);
        assert_eq!(again.state(), Lamp::On);
    }
}

// REQ S2
#[test]
fn what_belongs_to_another_machine_is_not_taken() {
    let (mut machine, mut other) = (lamp(), lamp());
    let _ = go(&mut machine, 1, Lamp::On);
    let _ = go(&mut other, 1, Lamp::On);
    let (ours, theirs) = (
        machine.propose(at(2), Lamp::Off, "ours").unwrap(),
        other.propose(at(2), Lamp::Broken, "theirs").unwrap(),
    );
    assert_eq!(ours.ticket(), theirs.ticket());
    assert!(machine.commit(at(3), theirs).is_err());
    assert_eq!(machine.commit(at(3), ours).unwrap().to, Lamp::Off);
    assert!(other.abandon(at(3), other.under_way().unwrap().0));
    let _ = go(&mut other, 4, Lamp::Broken);
    let plan = other.plan_rollback(Point::after(0)).unwrap();
    assert!(matches!(machine.begin_rollback(at(5), plan, "theirs"), Err(RollbackError::Stale { .. })));
}

// REQ C18 S6
#[test]
fn a_saved_change_that_cannot_be_is_refused_and_named() {
    let texts = [
        (
            restored(|_, tail| drop(tail.remove(0))),
            "lamp is On at change 1, and change 3, from Off to On, cannot follow",
        ),
        (
            restored(|_, tail| tail[1] = tail[0].clone()),
            "lamp is Off at change 2, and change 2, from On to Off, cannot follow",
        ),
        (
            restored(|_, tail| tail[1].to = "Broken".into()),
            "lamp, change 3: Off cannot become Broken; allowed: On",
        ),
        (
            restored(|_, tail| tail[1].from = "On".into()),
            "lamp, change 3: it leads from On to On, and the machine was Off",
        ),
        (
            restored(|_, tail| tail[0].to = "Dim".into()),
            "lamp, change 2: there is no state \"Dim\"; there are Off, On, Broken",
        ),
        (
            restored(|_, tail| tail[1].back_to = Some(0)),
            "lamp, change 3: back from Off to On, but at change 0 it was Off",
        ),
        (
            restored(|_, tail| tail[1].back_to = Some(7)),
            "lamp, change 3: back from Off to On, but at change 7 it was unknown",
        ),
        (
            restored(|_, tail| (tail[1].back_to, tail[1].from) = (Some(1), "On".into())),
            "lamp, change 3: it leads from On to On, and the machine was Off",
        ),
        (
            restored(|saved, _| saved.state = "Off".into()),
            "lamp: its changes lead to On at change 1, not to Off at change 1",
        ),
        (
            restored(|saved, _| saved.sequence = 9),
            "lamp: its changes lead to On at change 1, not to On at change 9",
        ),
        (
            restored(|saved, _| saved.steps[0].sequence = 0),
            "lamp is Off at change 0, and change 0, from Off to On, cannot follow",
        ),
        (
            restored(|saved, _| saved.steps[0].is_rollback = true),
            "lamp, change 1: back from Off to On, but at change 0 it was Off",
        ),
        (
            restored(|saved, _| saved.oldest_state = "Broken".into()),
            "lamp, change 1: it leads from Off to On, and the machine was Broken",
        ),
    ];
    for (error, expected) in texts {
        assert_eq!(error.to_string(), expected);
    }
}

// REQ S1
#[test]
fn the_phases_of_a_cleanup_are_a_way_through_its_table() {
    let mut machine = Machine::new(&CLEANUP, Limits::default(), at(0));
    for phase in Phase::ALL {
        let to = CleanupState::from(phase);
        assert_eq!(to.name(), phase.name());
        let _ = go(&mut machine, 1, to);
        assert!(machine.allowed().contains(CleanupState::Failed));
    }
    let _ = go(&mut machine, 2, CleanupState::Completed);
    assert!(machine.is_final() && machine.allowed().is_empty());
}

// REQ S1
#[test]
fn a_channel_recovers_in_its_order_and_can_fail_at_every_step() {
    let mut machine = Machine::new(&RECOVERY, Limits::default(), at(0));
    let working = &RecoveryState::ALL[1..7];
    for to in working {
        let _ = go(&mut machine, 1, *to);
        assert_eq!(machine.allowed().len(), 2);
        assert!(machine.allowed().contains(RecoveryState::Failed));
    }
    let _ = go(&mut machine, 2, RecoveryState::Completed);
    let _ = go(&mut machine, 3, RecoveryState::Idle);
}

// REQ S1
#[test]
fn a_component_that_is_at_work_can_stop_fail_and_begin_anew() {
    for from in [ComponentState::Registered, ComponentState::Running, ComponentState::Degraded] {
        assert!(
            COMPONENT.allows(from, ComponentState::Stopping)
                && COMPONENT.allows(from, ComponentState::Failed)
        );
    }
    for from in COMPONENT.finals().iter() {
        assert_eq!(COMPONENT.followers(from).to_string(), "Initialising");
    }
}

// REQ S1
#[test]
fn the_diagrams_in_the_docs_are_those_of_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/states.md");
    if std::env::var_os("EVENKEEL_REWRITE").is_some() {
        std::fs::write(path, diagrams()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == diagrams(), "docs/states.md differs: EVENKEEL_REWRITE=1 rewrites it");
    assert_eq!(
        LAMP.mermaid(),
        "stateDiagram-v2\n    [*] --> Off\n    Off --> On : switch\n    On --> Off : switch\n    On --> Broken\n    \
         Broken --> [*]\n"
    );
}
