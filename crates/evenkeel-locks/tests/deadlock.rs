//! Real deadlocks: told in full to who waited with a limit, while the others go on.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::events;
use evenkeel_locks::unranked::{Mutex, RwLock};
use evenkeel_locks::watch::{Access, Because, Cycle, Event, OnViolation, WaitError, on_violation};
use evenkeel_locks::{Condvar, WaitOutcome, lock_order, watched, with_root};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long the one that finds out waits. Longer than the others need to block.
const PATIENCE: Duration = Duration::from_millis(250);
/// The report comes within this after the limit.
const LATENESS_MAX: Duration = Duration::from_millis(100);
/// So often is tried what a busy machine delays: a report that is always late fails each time.
const TRIES: usize = 40;

/// A deadlock of so many threads: each holds one lock and wants the next one's, the last one with a limit.
/// With `reads`, the first lock is held by reading it, by the first and by one who is not concerned.
fn deadlock(parties: usize, reads: bool) -> (WaitError, Duration) {
    on_violation(OnViolation::Count);
    let shared = RwLock::new(0);
    let locks: Vec<Mutex<usize>> = (0..parties).map(Mutex::new).collect();
    let all_hold = Barrier::new(parties);
    let name = |at: usize| format!("{parties} {reads} party {at}");
    thread::scope(|threads| {
        let spawn = |at: usize| thread::Builder::new().name(name(at));
        for at in 0..parties - 1 {
            let (shared, locks, all_hold) = (&shared, &locks, &all_hold);
            let body = move || {
                let read = (at == 0 && reads).then(|| shared.read());
                let held = (at > 0 || !reads).then(|| locks[at].lock());
                all_hold.wait();
                drop(locks[at + 1].lock()); // goes on when the last one has given up
                drop((read, held));
            };
            spawn(at).spawn_scoped(threads, body).unwrap();
        }
        let last = || {
            let held = locks[parties - 1].lock();
            all_hold.wait();
            let began = Instant::now();
            let error = if reads {
                shared.write_for(PATIENCE).map(drop).unwrap_err()
            } else {
                locks[0].lock_for(PATIENCE).map(drop).unwrap_err()
            };
            drop(held);
            (error, began.elapsed())
        };
        spawn(parties - 1).spawn_scoped(threads, last).unwrap().join().unwrap()
    })
}

fn check(parties: usize, reads: bool) {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        took.push(check_report(parties, reads));
        if took.last().is_some_and(|took| *took < PATIENCE + LATENESS_MAX) {
            return;
        }
    }
    panic!("told after {took:?}");
}

/// How long it took until the report was there, which is whole.
fn check_report(parties: usize, reads: bool) -> Duration {
    let (error, took) = deadlock(parties, reads);
    let cycle: &Cycle = error.cycle.as_ref().unwrap();
    let names: Vec<_> = cycle.parties.iter().map(|party| party.thread.clone()).collect();
    let expected: Vec<_> =
        (0..parties).map(|at| format!("{parties} {reads} party {}", (at + parties - 1) % parties)).collect();
    assert_eq!(names, expected);
    let first = &cycle.parties[0];
    assert_eq!(first.because, Because::Holds(if reads { Access::Shared } else { Access::Exclusive }));
    for party in &cycle.parties {
        assert!(
            party.wanted_at.file().ends_with("deadlock.rs") && party.since.file().ends_with("deadlock.rs")
        );
        assert_ne!(party.wanted_at.line(), party.since.line());
    }
    let said = error.to_string();
    assert!(said.contains("deadlock:") && expected.iter().all(|name| said.contains(name)), "{said}");
    took
}

// REQ T3
#[test]
fn two_that_wait_for_each_other_are_told() {
    for _ in 0..TRIES {
        check(2, false);
        // The one that had no limit was told of too, if it had time to look before the other gave up.
        let told = events(|event| match event {
            Event::LongWait { thread, holders, .. } if thread.starts_with("2 false") => Some(holders.len()),
            _ => None,
        });
        if told.contains(&1) {
            return;
        }
    }
    panic!("nobody was told of a long wait");
}

// REQ T3
#[test]
fn three_that_wait_for_each_other_are_told() {
    check(3, false);
}

// REQ T3
#[test]
fn four_that_wait_for_each_other_are_told() {
    check(4, false);
}

// REQ T3
#[test]
fn a_deadlock_through_a_read_lock_is_told() {
    check(2, true);
    check(4, true);
}

// REQ T3
#[test]
fn a_deadlock_without_limits_is_an_event() {
    on_violation(OnViolation::Count);
    // Two threads that nothing ends: they stay until the process goes.
    let locks: &'static _ = Box::leak(Box::new([Mutex::new(0), Mutex::new(1)]));
    let both_hold: &'static _ = Box::leak(Box::new(Barrier::new(2)));
    for at in 0..2 {
        let body = move || {
            let _held = locks[at].lock();
            both_hold.wait();
            drop(locks[1 - at].lock());
        };
        thread::Builder::new().name(format!("for ever {at}")).spawn(body).unwrap();
    }
    let told = || {
        events(|event| match event {
            Event::Deadlock(cycle) if cycle.parties[0].thread.starts_with("for ever") => Some(cycle.clone()),
            _ => None,
        })
    };
    let patience = Instant::now() + Duration::from_secs(20);
    while told().is_empty() && Instant::now() < patience {
        // sleep: until the two have waited for 50 ms; there is nothing to be notified of without a watch.
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(told()[0].parties.len(), 2);
}

// REQ T3
#[test]
fn who_waits_for_a_busy_lock_is_told_who_holds_it_and_of_no_deadlock() {
    let lock = RwLock::new(0);
    let (holds, held) = mpsc::channel();
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|threads| {
        let lock = &lock;
        let holder = move || {
            let _read = lock.read();
            holds.send(()).unwrap();
            over.recv().unwrap();
        };
        thread::Builder::new().name("reader".to_owned()).spawn_scoped(threads, holder).unwrap();
        held.recv().unwrap();
        let error = lock.write_for(Duration::from_millis(60)).map(drop).unwrap_err();
        assert_eq!(error.cycle, None);
        let [holder] = &error.holders[..] else { panic!("{error}") };
        assert_eq!((&holder.thread[..], holder.access), ("reader", Access::Shared));
        assert!(error.to_string().contains("thread `reader` reads it since"), "{error}");
        assert!(lock.read_until(Instant::now()).is_ok());
        done.send(()).unwrap();
    });
    assert!(lock.stats().longest_hold.is_some_and(|(held, _)| held > Duration::from_millis(10)));
}

// REQ T3
#[test]
fn who_waits_for_itself_is_told_at_once() {
    on_violation(OnViolation::Count);
    let lock = Mutex::new(0);
    let held = lock.lock();
    let error = lock.lock_for(Duration::from_secs(3600)).map(drop).unwrap_err();
    assert_eq!(error.cycle.as_ref().unwrap().parties.len(), 1);
    drop(held);
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = lock.lock();
        drop(lock.lock());
    }));
    assert!(again.is_err());
    assert!(lock.try_lock().is_some());
}

// REQ T3
#[test]
fn a_reader_behind_a_writer_that_waits_for_it_is_told() {
    on_violation(OnViolation::Count);
    let lock = RwLock::new(0);
    let (ready, waits) = mpsc::channel();
    thread::scope(|threads| {
        let read = lock.read();
        threads.spawn(|| {
            let ready = ready;
            ready.send(()).unwrap();
            *lock.write() += 1;
        });
        waits.recv().unwrap();
        // The writer shuts out new readers as soon as it waits.
        while let Some(read) = lock.try_read() {
            drop(read);
            thread::yield_now();
        }
        // Every so often the writer lets readers pass; then there is no deadlock to tell of.
        match lock.read_for(Duration::from_millis(30)) {
            Ok(again) => drop(again),
            Err(error) => {
                let cycle = error.cycle.unwrap();
                let why: Vec<_> = cycle.parties.iter().map(|party| party.because).collect();
                assert_eq!(why, [Because::IsFirst, Because::Holds(Access::Shared)]);
            }
        }
        drop(read);
    });
    assert_eq!(lock.into_inner(), 1);
}

lock_order! { Level; }

// REQ T3
#[test]
fn a_watched_lock_on_a_level_is_in_the_report() {
    on_violation(OnViolation::Count);
    let (level, other) = (watched::Mutex::<Level, _>::new(0), Mutex::new(0));
    let both_hold = Barrier::new(2);
    thread::scope(|threads| {
        threads.spawn(|| {
            let held = other.lock();
            both_hold.wait();
            with_root(|root| drop(level.lock(root)));
            drop(held);
        });
        with_root(|root| {
            let held = level.lock(root);
            both_hold.wait();
            let error = other.lock_for(PATIENCE).map(drop).unwrap_err();
            assert_eq!(error.cycle.unwrap().parties[1].lock, "Level");
            drop(held);
        });
    });
}

#[test]
fn a_condition_outcome_says_whether_it_timed_out() {
    assert!(WaitOutcome::TimedOut.timed_out() && !WaitOutcome::Woken.timed_out());
    assert!(!Condvar::new().notify_one());
}
