//! Observers: each sees every change once and in order, whatever it or another does.

use super::{LAMP, LONG, Lamp, events_of, until};
use evenkeel::state::{ChangeError, Observation, StateEvent, StateMachine, StateWhat, States};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What an observer has seen.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<u64>>>);

impl Seen {
    pub(crate) fn add(&self, sequence: u64) {
        self.0.lock().unwrap().push(sequence);
    }

    pub(crate) fn all(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn observe(&self, lamp: &StateMachine<Lamp>) -> Observation<Lamp> {
        let seen = self.clone();
        lamp.observe("seen", move |change| seen.add(change.sequence)).unwrap()
    }
}

pub(crate) fn flip(lamp: &StateMachine<Lamp>) {
    let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
    lamp.change(to, "flip").unwrap();
}

// REQ S7, REQ S8
#[test]
fn one_that_panics_is_told_of_harms_nobody_and_is_detached_in_the_end() {
    let all = States::default();
    let events = events_of(&all);
    // A panic takes its time, and that is not what is tried here.
    let lamp = all.machine(&LAMP, "lamp").slow_after(LONG).build().unwrap();
    let (before, after, tries) = (Seen::default(), Seen::default(), Arc::new(AtomicU64::new(0)));
    let _before = before.observe(&lamp);
    let counts = tries.clone();
    let panics = lamp.observe("panics", move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
        panic!("as always")
    });
    let panics = panics.unwrap();
    let _after = after.observe(&lamp);
    for _ in 0..150 {
        flip(&lamp);
    }
    let expected: Vec<u64> = (1..=150).collect();
    assert_eq!((before.all(), after.all()), (expected.clone(), expected));
    assert_eq!(
        tries.load(Ordering::SeqCst),
        100,
        "it is told until it has panicked a hundred times in a row"
    );
    assert!(panics.status().is_detached);
    let told: Vec<String> = events.try_iter().map(|event| event.to_string()).collect();
    let panicked = told.iter().filter(|text| text.contains("panicked (")).count();
    assert_eq!(panicked, 7, "the 1st, 2nd, 4th .. 64th: {told:?}");
    let last = "lamp: observer panics is told nothing after change 100: it panicked 100 times in a row";
    assert!(told.iter().any(|text| text == last), "{told:?}");
}

// REQ S7
#[test]
fn one_may_change_the_machine_and_leave_from_inside() {
    let lamp = States::default().machine(&LAMP, "lamp").build().unwrap();
    let (first, last) = (Seen::default(), Seen::default());
    let _first = first.observe(&lamp);
    let inside = lamp.clone();
    let _again = lamp.observe("again", move |change| {
        if change.to == Lamp::On {
            inside.change(Lamp::Bright, "more").unwrap();
            assert!(!inside.settled(LONG), "it would wait for itself");
        }
    });
    let own: Arc<Mutex<Option<Observation<Lamp>>>> = Arc::default();
    let (leaves, calls) = (own.clone(), Seen::default());
    let called = calls.clone();
    let leaving = lamp.observe("leaves", move |change| {
        called.add(change.sequence);
        drop(leaves.lock().unwrap().take());
    });
    *own.lock().unwrap() = Some(leaving.unwrap());
    let _last = last.observe(&lamp);
    lamp.change(Lamp::On, "begin").unwrap();
    // The change from inside was told after the one it came of, to those after it too.
    assert_eq!((first.all(), last.all()), (vec![1, 2], vec![1, 2]));
    assert_eq!((lamp.state(), calls.all()), (Lamp::Bright, vec![1]));
    assert!(lamp.settled(LONG));
    assert_eq!(lamp.observers().len(), 3);
}

// REQ S7, REQ S8
#[test]
fn one_that_is_slow_gets_a_mailbox_and_misses_nothing() {
    let all = States::default();
    let events = events_of(&all);
    let lamp = all.machine(&LAMP, "lamp").slow_after(Duration::from_millis(50)).build().unwrap();
    let (quick, slow) = (Seen::default(), Seen::default());
    let _quick = quick.observe(&lamp);
    let sees = slow.clone();
    let is_first = AtomicBool::new(true);
    let slow_one = lamp.observe("slow", move |change| {
        if is_first.swap(false, Ordering::SeqCst) {
            // sleep: to be slow is what is tried here.
            thread::sleep(Duration::from_millis(80));
        }
        sees.add(change.sequence);
    });
    let slow_one = slow_one.unwrap();
    for _ in 0..600 {
        flip(&lamp);
    }
    assert_eq!(quick.all().len(), 600);
    assert!(lamp.settled(LONG));
    assert_eq!(slow.all(), (1..=600).collect::<Vec<u64>>());
    assert!(slow_one.status().is_aside && !slow_one.status().is_detached);
    let slow_told = events.try_iter().filter(|event| matches!(event.what, StateWhat::ObserverSlow { .. }));
    assert_eq!(slow_told.count(), 1);
}

/// An observer that hangs on its first change until it is released.
fn hanging(lamp: &StateMachine<Lamp>, seen: &Seen) -> (Observation<Lamp>, Sender<()>) {
    let (release, hangs) = channel::<()>();
    let (hangs, has_hung, sees) = (Mutex::new(hangs), AtomicBool::new(false), seen.clone());
    let observed = lamp.observe("hangs", move |change| {
        if !has_hung.swap(true, Ordering::SeqCst) {
            let _ = hangs.lock().unwrap().recv();
        }
        sees.add(change.sequence);
    });
    (observed.unwrap(), release)
}

// REQ S7, REQ S8
#[test]
fn one_that_hangs_keeps_nothing_from_the_others_and_misses_nothing() {
    let all = States::default();
    let events = events_of(&all);
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    let (before, hung, after) = (Seen::default(), Seen::default(), Seen::default());
    let _before = before.observe(&lamp);
    let (_hanging, release) = hanging(&lamp, &hung);
    let _after = after.observe(&lamp);
    let stuck = lamp.clone();
    let stuck = thread::spawn(move || flip(&stuck));
    until(|| before.all().len() == 1);
    for _ in 0..5 {
        flip(&lamp);
    }
    // Who waits for all of them finds the one that hangs, and tells the others.
    assert!(!lamp.settled(Duration::from_millis(50)));
    until(|| after.all().len() == 6);
    assert_eq!((before.all(), after.all(), hung.all()), ((1..=6).collect(), (1..=6).collect(), vec![]));
    assert!(events.try_iter().any(|event| matches!(event.what, StateWhat::ObserverSlow { .. })));
    release.send(()).unwrap();
    stuck.join().unwrap();
    flip(&lamp);
    assert!(lamp.settled(LONG));
    assert_eq!(hung.all(), (1..=7).collect::<Vec<u64>>());
}

// REQ S7, REQ S8
#[test]
fn one_whose_mailbox_is_full_is_detached_and_that_is_told() {
    let all = States::default();
    let events = events_of(&all);
    let lamp = all.machine(&LAMP, "lamp").observers_aside().mailbox(8).build().unwrap();
    let (seen, well) = (Seen::default(), Seen::default());
    let (hanging, release) = hanging(&lamp, &seen);
    let _well = well.observe(&lamp);
    for _ in 0..20 {
        flip(&lamp);
        until(|| well.all().len() as u64 == lamp.sequence());
    }
    assert!(hanging.status().is_detached);
    let detached = |event: &StateEvent| matches!(event.what, StateWhat::ObserverDetached { .. });
    let told: Vec<String> = events.try_iter().filter(detached).map(|event| event.to_string()).collect();
    assert_eq!(told, ["lamp: observer hangs is told nothing after change 0: 8 changes waited for it"]);
    assert!(lamp.settled(LONG), "nobody waits for who is told nothing");
    assert_eq!(well.all(), (1..=20).collect::<Vec<u64>>());
    release.send(()).unwrap();
}

// REQ S7
#[test]
fn what_waits_to_be_told_is_bounded_and_who_would_wait_for_itself_is_refused() {
    let lamp = States::default().machine(&LAMP, "lamp").outbox(4).build().unwrap();
    let refused: Arc<Mutex<Vec<String>>> = Arc::default();
    let (inside, notes, seen) = (lamp.clone(), refused.clone(), Seen::default());
    let sees = seen.clone();
    let _floods = lamp.observe("floods", move |change| {
        sees.add(change.sequence);
        for _ in 0..10 {
            if change.sequence > 1 {
                break;
            }
            let to = if inside.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
            if let Err(error) = inside.change(to, "flood") {
                assert!(matches!(error, ChangeError::Crowded { waiting: 4, .. }), "{error}");
                notes.lock().unwrap().push(error.to_string());
            }
        }
    });
    flip(&lamp);
    assert_eq!((seen.all(), refused.lock().unwrap().len()), (vec![1, 2, 3, 4, 5], 6));
    // From another thread it waits for room, and gets it.
    flip(&lamp);
    assert_eq!(seen.all().len(), 6);
}

// REQ S7
#[test]
fn one_sees_what_came_after_it_and_nothing_before() {
    let lamp = States::default().machine(&LAMP, "lamp").build().unwrap();
    flip(&lamp);
    let seen = Seen::default();
    let one = seen.observe(&lamp);
    assert_eq!(one.since(), (Lamp::On, 1));
    flip(&lamp);
    drop(one);
    flip(&lamp);
    assert_eq!(seen.all(), [2]);
    seen.observe(&lamp).keep();
    flip(&lamp);
    assert_eq!(seen.all(), [2, 4]);
}
