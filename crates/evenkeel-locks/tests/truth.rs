//! What is counted and told is so: names, shares, sums, and each deadlock once.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::events;
use evenkeel_locks::unranked::{Class, Mutex};
use evenkeel_locks::watch::{self, Event, OnViolation, on_violation};
use evenkeel_locks::{Level, lock_order, watched};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

lock_order! { First < Second; }

fn made_in_one_place<L: Level>() -> watched::Mutex<L, u32> {
    watched::Mutex::new(0)
}

// REQ T4
#[test]
fn levels_made_in_one_place_keep_their_names() {
    let (first, second) = (made_in_one_place::<First>(), made_in_one_place::<Second>());
    assert_eq!((first.stats().name.as_str(), second.stats().name.as_str()), ("First", "Second"));
}

// REQ T4
#[test]
fn what_a_class_counted_never_shrinks_while_its_locks_come_and_go() {
    static COMES_AND_GOES: Class = Class::new("comes and goes");
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let lock = Mutex::of(&COMES_AND_GOES, 0);
                    for _ in 0..3 {
                        *lock.lock() += 1;
                    }
                }
            });
        }
        let mut last = 0;
        for _ in 0..20_000 {
            let classes = watch::snapshot().classes;
            let now =
                classes.iter().find(|class| class.name == "comes and goes").map_or(0, |c| c.acquisitions);
            if now < last {
                is_over.store(true, Ordering::Relaxed);
                panic!("{now} after {last}");
            }
            last = now;
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

// REQ T3
#[test]
fn a_deadlock_that_stays_is_told_once() {
    on_violation(OnViolation::Count);
    let locks: &'static _ = Box::leak(Box::new([Mutex::new(0), Mutex::new(1)]));
    let both_hold: &'static _ = Box::leak(Box::new(Barrier::new(2)));
    for at in 0..2 {
        let body = move || {
            let _held = locks[at].lock();
            both_hold.wait();
            drop(locks[1 - at].lock());
        };
        thread::Builder::new().name(format!("stays {at}")).spawn(body).unwrap();
    }
    // sleep: past the looks at 50, 200 and 800 ms of both.
    thread::sleep(Duration::from_millis(1_300));
    let told = events(|event| match event {
        Event::Deadlock(cycle) if cycle.parties[0].thread.starts_with("stays") => Some(()),
        _ => None,
    });
    assert_eq!(told.len(), 1);
}

// REQ T4
#[test]
fn waits_in_vain_are_no_share_of_the_acquisitions() {
    let lock = Mutex::new(0);
    let held = lock.lock();
    thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..5 {
                assert!(lock.lock_for(Duration::from_millis(1)).is_err());
            }
        });
    });
    drop(held);
    let stats = lock.stats();
    assert_eq!((stats.acquisitions, stats.contended), (1, 5));
    assert!(stats.contention() <= 1.0, "{}", stats.contention());
}
