//! One thread at a time inside of an observer, whoever has the turn to tell.

use super::observers::flip;
use super::{LAMP, LONG, Lamp, until};
use evenkeel::state::{StateWhat, States};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

// REQ S7, REQ S8
#[test]
fn who_takes_the_turn_and_stands_still_lets_nobody_call_one_that_still_is_inside() {
    let all = States::default();
    let (go_on, held_up) = channel::<()>();
    let held_up = Mutex::new(held_up);
    let (entered, is_held_up) = channel();
    let entered = Mutex::new(entered);
    all.on_event(move |event| {
        if matches!(event.what, StateWhat::Flapping { .. }) {
            let _ = entered.lock().unwrap().send(());
            let _ = held_up.lock().unwrap().recv();
        }
    });
    let lamp = all.machine(&LAMP, "lamp").slow_after(Duration::from_millis(2)).build().unwrap();
    for _ in 0..5 {
        flip(&lamp);
        flip(&lamp);
    }
    // The eleventh goes in and stays there; the next change is the one too many to and fro.
    let (release, hangs) = channel::<()>();
    let hangs = Mutex::new(hangs);
    let (went_in, is_in) = channel();
    let went_in = Mutex::new(went_in);
    let (inside, most) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (sees, saw_most) = (seen.clone(), most.clone());
    let _hangs = lamp.observe("hangs", move |change| {
        saw_most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if change.sequence == 11 {
            let _ = went_in.lock().unwrap().send(());
            let _ = hangs.lock().unwrap().recv();
        }
        sees.lock().unwrap().push(change.sequence);
        inside.fetch_sub(1, Ordering::SeqCst);
    });
    let first = lamp.clone();
    let first = thread::spawn(move || flip(&first));
    is_in.recv_timeout(LONG).unwrap();
    let stand = |since: Instant| until(|| since.elapsed() > Duration::from_millis(40));
    stand(Instant::now());
    // It takes the turn, and is held up by a hook before it tells anybody.
    let second = lamp.clone();
    let second = thread::spawn(move || flip(&second));
    is_held_up.recv_timeout(LONG).unwrap();
    stand(Instant::now());
    flip(&lamp);
    flip(&lamp);
    assert_eq!(most.load(Ordering::SeqCst), 1, "two were inside at once");
    release.send(()).unwrap();
    first.join().unwrap();
    go_on.send(()).unwrap();
    second.join().unwrap();
    flip(&lamp);
    assert!(lamp.settled(LONG));
    assert_eq!((seen.lock().unwrap().clone(), most.load(Ordering::SeqCst)), ((11..=15).collect(), 1));
}

// REQ S7
#[test]
fn from_inside_of_an_observer_nobody_waits_for_all_to_have_seen_it() {
    for is_aside in [false, true] {
        let mut builder = States::default().machine(&LAMP, "lamp");
        if is_aside {
            builder = builder.observers_aside();
        }
        let lamp = builder.build().unwrap();
        let (inside, (answers, answer)) = (lamp.clone(), channel());
        let answers = Mutex::new(answers);
        let _waits = lamp.observe("waits", move |_| {
            let began = Instant::now();
            let settled = inside.settled(Duration::from_secs(2));
            let _ = answers.lock().unwrap().send((settled, began.elapsed() < Duration::from_secs(1)));
        });
        lamp.change(Lamp::On, "push").unwrap();
        assert_eq!(answer.recv_timeout(LONG).unwrap(), (false, true), "aside: {is_aside}");
    }
}
