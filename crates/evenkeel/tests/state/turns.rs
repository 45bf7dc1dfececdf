//! Turns: what is refused is not made, and nobody waits for itself.

use super::observers::{Seen, flip};
use super::{LAMP, LONG, Lamp, until};
use evenkeel::journal::{Journal, JournalOptions, entries};
use evenkeel::state::{ChangeError, Observation, Past, Point, StateMachine, States};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::sim::SimStorage;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// An observer that waits inside of its first change until it is released.
fn gate(lamp: &StateMachine<Lamp>) -> (Observation<Lamp>, Sender<()>, Receiver<()>) {
    let ((release, waits), (entered, is_inside)) = (channel::<()>(), channel());
    let (waits, entered, has_waited) = (Mutex::new(waits), Mutex::new(entered), AtomicBool::new(false));
    let observed = lamp.observe("gate", move |_| {
        if !has_waited.swap(true, Ordering::SeqCst) {
            let _ = entered.lock().unwrap().send(());
            let _ = waits.lock().unwrap().recv();
        }
    });
    (observed.unwrap(), release, is_inside)
}

// REQ S1, REQ S7
#[test]
fn who_is_refused_for_want_of_room_has_changed_nothing() {
    for has_guard in [false, true] {
        let mut builder = States::default().machine(&LAMP, "lamp").outbox(1).slow_after(LONG);
        if has_guard {
            builder = builder.guard("lets all", |_| Ok(()));
        }
        let lamp = builder.build().unwrap();
        let seen = Seen::default();
        let _seen = seen.observe(&lamp);
        let (_gate, release, is_inside) = gate(&lamp);
        let first = lamp.clone();
        let first = thread::spawn(move || flip(&first));
        is_inside.recv_timeout(LONG).unwrap();
        flip(&lamp);
        // What waits has its bound: whoever comes now is refused, at once or after a time.
        let at_once = lamp.try_change(Lamp::On, "at once").unwrap_err();
        let soon = lamp.change_within(Lamp::On, "soon", Duration::from_millis(5)).unwrap_err();
        for refused in [at_once, soon] {
            assert!(matches!(refused, ChangeError::Crowded { waiting: 1, .. }), "{refused}");
        }
        assert_eq!(lamp.state_and_sequence(), (Lamp::Off, 2));
        release.send(()).unwrap();
        first.join().unwrap();
        flip(&lamp);
        assert!(lamp.settled(LONG));
        assert_eq!(seen.all(), [1, 2, 3]);
    }
}

// REQ S7
#[test]
fn slow_may_mean_never() {
    let lamp = States::default().machine(&LAMP, "lamp").slow_after(Duration::MAX).build().unwrap();
    let seen = Seen::default();
    let (gate, release, is_inside) = gate(&lamp);
    let _seen = seen.observe(&lamp);
    let first = lamp.clone();
    let first = thread::spawn(move || flip(&first));
    is_inside.recv_timeout(LONG).unwrap();
    flip(&lamp);
    assert!(!lamp.settled(Duration::from_millis(5)));
    release.send(()).unwrap();
    first.join().unwrap();
    assert!(lamp.settled(LONG) && !gate.status().is_aside);
    assert_eq!(seen.all(), [1, 2]);
}

// REQ S7
#[test]
fn who_tells_others_while_it_waits_does_not_stand_in_the_way_of_what_they_change() {
    let builder = States::default().machine(&LAMP, "lamp").outbox(1).patience(LONG);
    let lamp = builder.slow_after(Duration::from_millis(20)).build().unwrap();
    let (_gate, release, is_inside) = gate(&lamp);
    let (inside, answers) = (lamp.clone(), Mutex::new(None));
    let (answers, answer) = {
        let (sender, receiver) = channel();
        *answers.lock().unwrap() = Some(sender);
        (answers, receiver)
    };
    let _again = lamp.observe("again", move |change| {
        if change.sequence == 2 {
            let made = inside.change_within(Lamp::On, "from inside", Duration::from_secs(2));
            answers.lock().unwrap().take().unwrap().send(made.map(|made| made.sequence)).unwrap();
        }
    });
    let first = lamp.clone();
    let first = thread::spawn(move || flip(&first));
    is_inside.recv_timeout(LONG).unwrap();
    flip(&lamp);
    // Waits for room, finds the one that hangs, and tells the other in its place.
    let waits = lamp.clone();
    let waits = thread::spawn(move || waits.change(Lamp::Broken, "waited"));
    let made = answer.recv_timeout(LONG).unwrap();
    assert_eq!(made.map_err(|error| error.to_string()), Ok(3));
    waits.join().unwrap().unwrap();
    release.send(()).unwrap();
    first.join().unwrap();
    until(|| lamp.settled(LONG));
    assert_eq!(lamp.state_and_sequence(), (Lamp::Broken, 4));
}

/// A guard that waits inside, whenever the cause is one of these, until that is released.
fn keeper(all: &States, causes: [&'static str; 2]) -> (StateMachine<Lamp>, [Sender<bool>; 2], Receiver<()>) {
    let ((first, wait_first), (second, wait_second)) = (channel::<bool>(), channel::<bool>());
    let (entered, is_inside) = channel();
    let (waits, entered) = ([Mutex::new(wait_first), Mutex::new(wait_second)], Mutex::new(entered));
    let builder = all.machine(&LAMP, "lamp").rules_within(Duration::from_millis(400)).patience(LONG);
    let lamp = builder.guard("keeper", move |change| {
        let Some(at) = causes.iter().position(|cause| *cause == &**change.cause) else { return Ok(()) };
        let _ = entered.lock().unwrap().send(());
        let lets = waits[at].lock().unwrap().recv().unwrap_or(true);
        if lets { Ok(()) } else { Err("no".to_owned()) }
    });
    (lamp.build().unwrap(), [first, second], is_inside)
}

// REQ S7
#[test]
fn a_guard_that_says_no_after_it_was_given_up_ends_nobody_elses_change() {
    let (lamp, [first, second], is_inside) = keeper(&States::default(), ["first", "second"]);
    let (hung, other) = (lamp.clone(), lamp.clone());
    let hung = thread::spawn(move || hung.change(Lamp::On, "first").unwrap_err());
    is_inside.recv_timeout(LONG).unwrap();
    let other = thread::spawn(move || other.change(Lamp::On, "second").map(|made| made.sequence));
    is_inside.recv_timeout(LONG).unwrap();
    first.send(false).unwrap();
    assert!(matches!(hung.join().unwrap(), ChangeError::Guard { .. }));
    // The second is under way all the same, and who comes waits for its turn.
    let third = lamp.change_within(Lamp::On, "third", Duration::from_millis(5)).unwrap_err();
    assert!(matches!(third, ChangeError::TimedOut { .. }), "{third}");
    let pending = lamp.history();
    assert_eq!(pending.len(), 1, "{pending:?}");
    second.send(true).unwrap();
    assert_eq!(other.join().unwrap().unwrap(), 1);
    assert_eq!(lamp.state_and_sequence(), (Lamp::On, 1));
}

// REQ S6, REQ S7
#[test]
fn what_was_given_up_does_not_get_into_the_journal_when_its_guard_comes_back() {
    let storage = SimStorage::new();
    let journal = Journal::open(Arc::new(storage.clone()), JournalOptions::default()).unwrap().0;
    let all = States::new(ThreadCoordinator::default(), Some(journal.clone()), Past::default());
    let (lamp, [first, _], is_inside) = keeper(&all, ["first", "second"]);
    let hung = lamp.clone();
    let hung = thread::spawn(move || hung.change(Lamp::On, "first").unwrap_err());
    is_inside.recv_timeout(LONG).unwrap();
    lamp.change(Lamp::On, "another").unwrap();
    first.send(true).unwrap();
    assert!(matches!(hung.join().unwrap(), ChangeError::Lapsed { .. }));
    flip(&lamp);
    journal.finish(LONG).unwrap();
    let mut causes = Vec::new();
    entries(&storage, false, &mut |entry| {
        let cause = entry.body["cause"].as_str().unwrap_or_default().to_owned();
        causes.extend((entry.kind == "state").then_some(cause));
        Ok(())
    })
    .unwrap();
    assert_eq!(causes, ["another", "flip"]);
}

// REQ S4, REQ S7
#[test]
fn a_way_back_that_takes_long_is_not_given_up_for_who_waits() {
    let (release, waits) = channel::<()>();
    let (entered, is_inside) = channel();
    let (waits, entered) = (Mutex::new(waits), Mutex::new(entered));
    let builder = States::default().machine(&LAMP, "lamp").rules_within(Duration::ZERO);
    let builder = builder.compensate(Lamp::Off, Lamp::On, "slowly", move |_| {
        let _ = entered.lock().unwrap().send(());
        let _ = waits.lock().unwrap().recv();
        Ok(())
    });
    let lamp = builder.build().unwrap();
    flip(&lamp);
    let back = lamp.clone();
    let back = thread::spawn(move || back.take_back(Point::after(0), "back").map(|back| back.sequence));
    is_inside.recv_timeout(LONG).unwrap();
    let meanwhile = lamp.change_within(Lamp::Off, "meanwhile", Duration::from_millis(30)).unwrap_err();
    assert!(matches!(meanwhile, ChangeError::TimedOut { .. }), "{meanwhile}");
    assert!(lamp.try_change(Lamp::Off, "at once").is_err());
    release.send(()).unwrap();
    assert_eq!(back.join().unwrap().unwrap(), 2);
    assert_eq!(lamp.state_and_sequence(), (Lamp::Off, 2));
}
