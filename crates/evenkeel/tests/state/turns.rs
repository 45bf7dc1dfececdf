//! Turns: what is refused is not made, and nobody waits for itself.

use super::observers::{Seen, flip};
use super::{LAMP, LONG, Lamp, until};
use evenkeel::state::{ChangeError, Observation, StateMachine, States};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// An observer that waits inside of its first change until it is released.
fn gate(lamp: &StateMachine<Lamp>) -> (Observation<Lamp>, Sender<()>, std::sync::mpsc::Receiver<()>) {
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
