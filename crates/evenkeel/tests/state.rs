//! State machines that threads share: rules, turns, observers, the journal, the registry.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

#[path = "state/crowd.rs"]
mod crowd;
#[path = "state/journalled.rs"]
mod journalled;
#[path = "state/model.rs"]
mod model;
#[path = "state/observers.rs"]
mod observers;
#[path = "state/overlap.rs"]
mod overlap;
#[path = "state/registry.rs"]
mod registry;
#[path = "state/remembered.rs"]
mod remembered;
#[path = "state/turns.rs"]
mod turns;

use evenkeel::state::{
    ChangeError, ChangeKind, Outcome, Point, StateEvent, StateWhat, States, Table, TakeBackError,
    state_table, states,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

states! {
    /// A lamp.
    pub(crate) enum Lamp { Off, On, Bright, Broken }
}

pub(crate) static LAMP: Table<Lamp> = state_table! {
    Lamp, "lamp", version 1, initial Off, final [Broken],
    Off -> On: "push",
    On -> Off: "push",
    On -> Bright: "turn",
    Bright -> On: "turn",
    Bright -> Off: "push",
    On -> Broken: "hammer",
    Broken -> Off: "repair",
};

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// What a registry tells besides changes.
pub(crate) fn events_of(all: &States) -> Receiver<StateEvent> {
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    all.on_event(move |event| {
        let _ = sender.lock().unwrap().send(event.clone());
    });
    events
}

/// Waits until something is so.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "it never came");
        thread::yield_now();
    }
}

// REQ S2, REQ S3, REQ S5
#[test]
fn what_guards_and_invariants_refuse_never_shows_and_stands_in_history() {
    let all = States::default();
    let events = events_of(&all);
    let seen_inside: Arc<Mutex<Vec<Lamp>>> = Arc::default();
    let reader = Arc::new(OnceLock::<evenkeel::state::StateReader<Lamp>>::new());
    let (seen, read) = (seen_inside.clone(), reader.clone());
    let lamp = all
        .machine(&LAMP, "lamp")
        .guard("child", |change| match &**change.cause {
            "a child" => Err("not without a grown-up".to_owned()),
            "a ghost" => panic!("boo"),
            _ => Ok(()),
        })
        .invariant("fuse", move |change| {
            seen.lock().unwrap().push(read.get().unwrap().state());
            if change.to == Lamp::Bright { Err("too much".to_owned()) } else { Ok(()) }
        })
        .build()
        .unwrap();
    assert!(reader.set(lamp.reader()).is_ok());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let _watched = lamp.observe("log", move |change| tells.lock().unwrap().push(change.to)).unwrap();

    let refused = lamp.change(Lamp::On, "a child").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "lamp stays Off: guard child does not let it become On: not without a grown-up"
    );
    let haunted = lamp.change(Lamp::On, "a ghost").unwrap_err();
    assert!(haunted.to_string().contains("it panicked: boo"), "{haunted}");
    lamp.change(Lamp::On, "me").unwrap();
    let burnt = lamp.change(Lamp::Bright, "me").unwrap_err();
    assert_eq!(burnt.to_string(), "lamp stays On: as Bright it would break fuse: too much");
    let unknown = lamp.change(Lamp::On, "me").unwrap_err();
    assert_eq!(unknown.to_string(), "lamp: lamp is On and cannot become On; allowed: Off, Bright, Broken");

    assert_eq!((lamp.state(), lamp.sequence(), told.lock().unwrap().clone()), (Lamp::On, 1, vec![Lamp::On]));
    // The invariant was asked while everybody still saw the state before.
    assert_eq!(*seen_inside.lock().unwrap(), [Lamp::Off, Lamp::On]);
    let outcomes: Vec<Outcome> = lamp.history().into_iter().map(|entry| entry.outcome).collect();
    assert!(
        matches!(
            &outcomes[..],
            [
                Outcome::GuardRefused { .. },
                Outcome::GuardRefused { .. },
                Outcome::Done,
                Outcome::InvariantFailed { .. }
            ]
        ),
        "{outcomes:?}"
    );
    let bys: Vec<&str> = events
        .try_iter()
        .map(|event| match event.what {
            StateWhat::Refused { by, .. } => by,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bys, ["guard", "guard", "invariant", "table"]);
    let off_on =
        lamp.metrics().into_iter().find(|edge| (edge.from, edge.to) == (Lamp::Off, Lamp::On)).unwrap();
    assert_eq!((off_on.done, off_on.guard_refused), (1, 2));
}

// REQ S7
#[test]
fn changes_wait_their_turn_and_who_is_inside_is_refused() {
    let all = States::default();
    let machine = Arc::new(OnceLock::<evenkeel::state::StateMachine<Lamp>>::new());
    let inside = machine.clone();
    let lamp = all
        .machine(&LAMP, "lamp")
        .guard("asks again", move |change| {
            let again = inside.get().unwrap().change(Lamp::On, "from inside").unwrap_err();
            assert!(matches!(again, ChangeError::Inside { other, .. } if other == change.to), "{again}");
            Ok(())
        })
        .build()
        .unwrap();
    assert!(machine.set(lamp.clone()).is_ok());
    let pending = lamp.propose(Lamp::On, "first").unwrap();
    let waits = lamp.clone();
    let (called, is_called) = channel();
    let second = thread::spawn(move || {
        called.send(()).unwrap();
        waits.change_within(Lamp::Bright, "second", LONG).map(|changed| changed.sequence)
    });
    is_called.recv_timeout(LONG).unwrap();
    let elsewhere = lamp.clone();
    let tried = thread::spawn(move || {
        let at_once = elsewhere.try_change(Lamp::On, "at once").unwrap_err();
        let soon = elsewhere.change_within(Lamp::On, "soon", Duration::from_millis(5)).unwrap_err();
        (at_once.to_string(), soon.to_string())
    });
    let (at_once, soon) = tried.join().unwrap();
    assert!(at_once.contains("under way") || at_once.contains("about to make it"), "{at_once}");
    assert!(soon.contains("its turn did not come within"), "{soon}");
    assert_eq!(lamp.state(), Lamp::Off);
    assert_eq!(pending.commit().unwrap().sequence, 1);
    assert_eq!(second.join().unwrap().unwrap(), 2);
    assert_eq!(lamp.state(), Lamp::Bright);
    machine.get().unwrap().change(Lamp::Off, "the end").unwrap();
}

// REQ S7, REQ E5
#[test]
fn a_thread_that_dies_in_the_middle_leaves_nothing_under_way() {
    let lamp = States::default().machine(&LAMP, "lamp").build().unwrap();
    let dies = lamp.clone();
    let died = thread::spawn(move || {
        let _pending = dies.propose(Lamp::On, "before the end").unwrap();
        panic!("the end");
    });
    assert!(died.join().is_err());
    assert_eq!(lamp.try_change(Lamp::On, "after").unwrap().sequence, 1);
    assert_eq!(lamp.history()[0].outcome, Outcome::Abandoned);
}

// REQ S7, REQ S8
#[test]
fn a_guard_that_hangs_is_given_up_and_told_of_when_others_wait() {
    let all = States::default();
    let events = events_of(&all);
    let (release, hangs) = channel::<()>();
    let (hangs, has_hung) = (Mutex::new(hangs), AtomicBool::new(false));
    let (entered, is_inside) = channel();
    let entered: Mutex<Sender<()>> = Mutex::new(entered);
    let lamp = all
        .machine(&LAMP, "lamp")
        .rules_within(Duration::from_millis(20))
        .guard("hangs once", move |_| {
            if !has_hung.swap(true, Ordering::SeqCst) {
                entered.lock().unwrap().send(()).unwrap();
                let _ = hangs.lock().unwrap().recv();
            }
            Ok(())
        })
        .build()
        .unwrap();
    let hung = lamp.clone();
    let hung = thread::spawn(move || hung.change(Lamp::On, "hung").unwrap_err());
    is_inside.recv_timeout(LONG).unwrap();
    lamp.change(Lamp::On, "another").unwrap();
    release.send(()).unwrap();
    let lapsed = hung.join().unwrap();
    assert!(matches!(lapsed, ChangeError::Lapsed { .. }), "{lapsed}");
    assert_eq!((lamp.state(), lamp.sequence()), (Lamp::On, 1));
    let told = events.recv_timeout(LONG).unwrap();
    assert!(matches!(told.what, StateWhat::GivenUp { from: "Off", to: "On", .. }), "{told}");
}

// REQ S4, REQ S9
#[test]
fn a_way_back_undoes_in_reverse_tells_what_failed_and_is_rehearsed_without_a_trace() {
    let all = States::default();
    let events = events_of(&all);
    let undone: Arc<Mutex<Vec<(u64, Lamp)>>> = Arc::default();
    let machine = Arc::new(OnceLock::<evenkeel::state::StateMachine<Lamp>>::new());
    let (first, second, inside) = (undone.clone(), undone.clone(), machine.clone());
    let lamp = all
        .machine(&LAMP, "lamp")
        .compensate(Lamp::Off, Lamp::On, "switch off", move |undo| {
            first.lock().unwrap().push((undo.sequence, inside.get().unwrap().state()));
            let within = inside.get().unwrap().change(Lamp::Off, "from inside").unwrap_err();
            assert!(matches!(within, ChangeError::Inside { .. }), "{within}");
            Ok(())
        })
        .compensate(Lamp::On, Lamp::Bright, "dim", move |undo| {
            second.lock().unwrap().push((undo.sequence, Lamp::Bright));
            if undo.sequence == 2 { Err("the knob is stuck".to_owned()) } else { panic!("no knob") }
        })
        .build()
        .unwrap();
    assert!(machine.set(lamp.clone()).is_ok());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = told.clone();
    let _log = lamp.observe("log", move |change| tells.lock().unwrap().push((change.sequence, change.kind)));
    let begin = lamp.checkpoint();
    for to in [Lamp::On, Lamp::Bright, Lamp::On, Lamp::Bright] {
        lamp.change(to, "up").unwrap();
    }
    let before = (lamp.snapshot(), lamp.history());
    let plan = lamp.rehearse(begin).unwrap();
    assert_eq!(plan.steps().iter().map(|undo| undo.sequence).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!((lamp.snapshot(), lamp.history()), before, "a rehearsal changes nothing");
    assert!(undone.lock().unwrap().is_empty());

    let failed = lamp.take_back(begin, "enough").unwrap_err();
    let TakeBackError::Failed(back) = &failed else { panic!("{failed}") };
    let failures: Vec<String> = back.failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        failures,
        [
            "change 4, from On to Bright: dim: it panicked: no knob",
            "change 2, from On to Bright: dim: the knob is stuck"
        ]
    );
    // The newest first, all of them; and while they ran, everybody saw the state before.
    assert_eq!(*undone.lock().unwrap(), [(4, Lamp::Bright), (2, Lamp::Bright), (1, Lamp::Bright)]);
    assert_eq!((lamp.state(), lamp.sequence(), back.sequence), (Lamp::Off, 5, 5));
    let rollback = ChangeKind::Rollback { to: Point::after(0), failed: 2 };
    assert_eq!(told.lock().unwrap().last(), Some(&(5, rollback)));
    assert_eq!(events.try_iter().count(), 2);
    let twice = lamp.take_back(Point::after(3), "again").unwrap_err();
    assert!(twice.to_string().contains("was itself rolled back"), "{twice}");
    lamp.change(Lamp::On, "after all").unwrap();
    assert!(all.check().is_sound());
}

// REQ S10
#[test]
fn a_machine_that_goes_to_and_fro_is_told_of_once_and_seen() {
    let all = States::default();
    let events = events_of(&all);
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    for _ in 0..20 {
        lamp.change(Lamp::On, "to").unwrap();
        lamp.change(Lamp::Off, "fro").unwrap();
    }
    let told: Vec<StateEvent> = events.try_iter().collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(told[0].what, StateWhat::Flapping { returns: 6, .. }), "{}", told[0]);
    assert!(all.list()[0].is_flapping);
}
