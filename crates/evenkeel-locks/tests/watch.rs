//! What is counted and told while a program runs; panics; a hog.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_locks::ranked::{self, Rank};
use evenkeel_locks::unranked::{Class, Condvar, Mutex, RwLock};
use evenkeel_locks::watch::{self, Event, Watch};
use evenkeel_locks::{lock_order, watched, with_root};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// REQ T4
#[test]
#[cfg_attr(miri, ignore = "thousands of rounds")]
fn every_acquisition_is_counted_and_read_while_the_program_runs() {
    static COUNTED: Class = Class::new("counted");
    const ROUNDS: u64 = 10_000;
    let (mutex, lock) = (Mutex::of(&COUNTED, 0), RwLock::named("counted too", 0));
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                let now = mutex.stats().acquisitions;
                assert!(now >= last, "{now} after {last}");
                last = now;
                drop(watch::snapshot().to_string());
            }
        });
        let workers = [0, 1].map(|_| {
            threads.spawn(|| {
                for _ in 0..ROUNDS {
                    *mutex.lock() += 1;
                    *lock.write() += 1;
                    let _ = *lock.read();
                }
            })
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let stats = mutex.stats();
    assert_eq!((stats.acquisitions, stats.name.as_str()), (2 * ROUNDS, "counted"));
    assert_eq!(lock.stats().acquisitions, 4 * ROUNDS);
    assert!(stats.contended <= stats.acquisitions && stats.waits.count() <= stats.contended);
    let holds = stats.holds.count();
    assert!((2 * ROUNDS / 600..ROUNDS / 4).contains(&holds), "{holds} holds timed");
    drop(mutex);
    let class = watch::snapshot().classes.into_iter().find(|class| class.name == "counted").unwrap();
    assert_eq!((class.acquisitions, class.locks), (2 * ROUNDS, 0));
}

#[test]
#[cfg_attr(miri, ignore = "thousands of rounds")]
fn a_snapshot_lags_by_64_at_most_and_forgets_locks_that_are_gone() {
    let lock = Mutex::named("lags", 0);
    for round in 1..2_000_u64 {
        drop(lock.lock());
        let seen = watch::snapshot().locks.into_iter().find(|lock| lock.name == "lags").unwrap();
        assert!(seen.acquisitions <= round && seen.acquisitions + 64 >= round);
    }
    drop(lock);
    assert!(!watch::snapshot().locks.iter().any(|lock| lock.name == "lags"));
}

// REQ T4
#[test]
#[cfg_attr(miri, ignore = "waits for real time")]
fn a_wait_is_measured_and_the_longest_hold_has_its_site() {
    let lock = ranked::Mutex::new(Rank::new(1, "waited for"), 0);
    let both = Barrier::new(2);
    let line = line!() + 3;
    thread::scope(|threads| {
        threads.spawn(|| {
            let held = lock.lock();
            both.wait();
            // sleep: a long hold is what is looked at.
            thread::sleep(Duration::from_millis(40));
            drop(held);
        });
        both.wait();
        drop(lock.lock());
    });
    let stats = lock.stats();
    assert_eq!((stats.contended, stats.waits.count()), (1, 1));
    assert!(stats.longest_wait >= Duration::from_millis(5));
    let (held, site) = stats.longest_hold.unwrap();
    assert!(held >= Duration::from_millis(20), "{held:?}");
    assert_eq!(site.line(), line);
    let table = watch::snapshot().to_string();
    assert!(table.contains("waited for") && table.contains("tests/watch.rs"), "{table}");
}

// REQ T9
#[test]
#[cfg_attr(miri, ignore = "waits for real time")]
fn a_long_hold_is_told_while_it_lasts_by_a_thread_that_may_lock() {
    let held_for_long = Mutex::named("held for long", 0);
    let told_of = Mutex::named("what is told", 0_u32);
    static TOLD: Mutex<u32> = Mutex::new(0);
    static CHANGED: Condvar = Condvar::new();
    let watch = Watch::start(Duration::from_millis(20), move |event| {
        *told_of.lock() += 1;
        if let Event::LongHold { held, at_least, .. } = &event
            && held.lock == "held for long"
        {
            assert!(*at_least >= Duration::from_millis(20) && held.site.is_some());
            *TOLD.lock() += 1;
            CHANGED.notify_all();
            panic!("planted: the next event is told all the same");
        }
    });
    let watch = watch.unwrap();
    for round in 1..=2 {
        let held = held_for_long.lock();
        let mut told = TOLD.lock();
        CHANGED.wait_while(&mut told, |told| *told < round);
        drop(told);
        drop(held);
    }
    drop(watch);
    assert_eq!(*TOLD.lock(), 2);
    assert!(held_for_long.stats().longest_hold.unwrap().0 >= Duration::from_millis(20));
}

/// Past the first acquisitions, each of which is looked at closely: so that the usual way is taken.
const MANY: usize = if cfg!(miri) { 150 } else { 1_000 };
/// Of so many one after the other one at most is looked at then.
const SOME: usize = if cfg!(miri) { 2 } else { 5 };

// REQ E5
#[test]
fn a_panic_taints_what_is_held_in_the_usual_way() {
    let (mutex, lock) = (Mutex::new(0), ranked::RwLock::new(Rank::new(1, "warm"), 0));
    for _ in 0..MANY {
        *mutex.lock() += 1;
        *lock.write() += 1;
    }
    for _ in 0..SOME {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _lock = lock.write();
            let _mutex = mutex.lock();
            panic!("planted");
        }));
        assert!(panicked.is_err() && mutex.is_tainted() && lock.is_tainted());
        mutex.repair(|_| ());
        lock.repair(|_| ());
    }
}

// REQ E5
#[test]
fn a_panic_taints_what_it_held_for_writing_and_nothing_else() {
    let (mutex, lock, untouched) = (Mutex::new(1), RwLock::new(1), RwLock::new(1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _mutex = mutex.lock();
        let _lock = lock.write();
        let _untouched = untouched.read();
        panic!("planted");
    }));
    assert!(panicked.is_err());
    assert!(mutex.is_tainted() && lock.is_tainted() && !untouched.is_tainted());
    assert!(mutex.tainted_at().unwrap().file().ends_with("watch.rs"));
    assert_eq!(*mutex.lock(), 1);
    // A repair that panics repairs nothing.
    assert!(catch_unwind(AssertUnwindSafe(|| mutex.repair(|_| panic!("planted")))).is_err());
    assert!(mutex.is_tainted());
    assert_eq!(mutex.repair(|value| std::mem::replace(value, 5)), 1);
    lock.repair(|value| *value = 5);
    assert!(!mutex.is_tainted() && !lock.is_tainted());
    assert_eq!((*mutex.lock(), *lock.read()), (5, 5));
}

// REQ E5
#[test]
fn what_is_locked_only_while_a_panic_unwinds_is_not_tainted() {
    struct CountsItsEnd<'l>(&'l Mutex<u32>);
    impl Drop for CountsItsEnd<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }
    let ends = Mutex::new(0);
    let panics = || {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _counts = CountsItsEnd(&ends);
            panic!("planted");
        }));
        assert!(panicked.is_err());
    };
    panics();
    assert_eq!((*ends.lock(), ends.is_tainted()), (1, false));
    (0..MANY).for_each(|_| drop(ends.lock()));
    for _ in 0..SOME {
        panics();
        assert!(!ends.is_tainted());
    }
}

lock_order! { Outer < Inner; }

#[test]
fn watched_locks_on_levels_count_and_are_repaired() {
    let (outer, inner) = (watched::Mutex::<Outer, _>::new(0), watched::RwLock::<Inner, _>::new(0));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        with_root(|root| {
            let mut outer = outer.lock(root);
            let mut inner = inner.write(outer.cap());
            *inner = 1;
            panic!("planted");
        })
    }));
    assert!(panicked.is_err() && outer.is_tainted() && inner.is_tainted());
    with_root(|root| {
        outer.repair(root, |value| *value = 1);
        inner.repair(root, |value| *value = 1);
        let mut outer = outer.try_lock(root).unwrap();
        let (value, held) = outer.parts();
        let mut inner = inner.write_for(held, Duration::from_secs(1)).unwrap();
        *value += *inner;
        *inner.parts().0 += 1;
        assert_eq!(*inner.downgrade(), 2);
    });
    assert_eq!((outer.stats().acquisitions, inner.stats().acquisitions), (3, 3));
}

// REQ T4
#[test]
#[cfg_attr(miri, ignore = "busy loops")]
fn a_hog_does_not_keep_others_out() {
    let lock = Mutex::new(0_u64);
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut held = lock.lock();
                let until = Instant::now() + Duration::from_micros(20);
                while Instant::now() < until {
                    *held += 1;
                }
            }
        });
        for _ in 0..300 {
            // A lock without fairness keeps one out for a second; the figure is the benchmark's.
            drop(lock.lock_for(Duration::from_secs(20)).unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

// REQ T3
#[test]
fn a_condition_is_waited_for_so_long_in_all_and_what_came_is_no_time_out() {
    const SHORT: Duration = Duration::from_millis(5);
    let (lock, changed) = (Mutex::new(0), Condvar::new());
    let mut held = lock.lock();
    let mut asked = 0;
    let outcome = changed.wait_while_for(
        &mut held,
        |_| {
            asked += 1;
            true
        },
        SHORT,
    );
    assert!(outcome.timed_out() && asked >= 2, "asked {asked} times");
    // It holds when the wait begins, and no more when the time is over.
    let mut asked = 0;
    let outcome = changed.wait_while_for(
        &mut held,
        |_| {
            asked += 1;
            asked < 2
        },
        SHORT,
    );
    assert!(!outcome.timed_out());
    assert!(!changed.wait_while_for(&mut held, |_| false, Duration::ZERO).timed_out());
    drop(held);
    thread::scope(|threads| {
        let (waits, waiting) = mpsc::channel();
        let (lock, changed) = (&lock, &changed);
        let waiter = threads.spawn(move || {
            let mut held = lock.lock();
            waits.send(()).unwrap();
            let outcome = changed.wait_while_for(&mut held, |value| *value < 3, Duration::MAX);
            (*held, outcome.timed_out())
        });
        waiting.recv().unwrap();
        for value in 1..=3 {
            // Woken too early it goes on waiting.
            *lock.lock() = value;
            changed.notify_one();
        }
        assert_eq!(waiter.join().unwrap(), (3, false));
    });
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_watched_condition_lets_go_of_its_mutex() {
    let (lock, changed) = (Mutex::new(0), Condvar::new());
    let (waits, waiting) = mpsc::channel();
    thread::scope(|threads| {
        let waiter = threads.spawn(|| {
            let waits = waits;
            let mut held = lock.lock();
            waits.send(()).unwrap();
            changed.wait_while(&mut held, |value| *value == 0);
            assert!(changed.wait_until(&mut held, Instant::now()).timed_out());
            *held
        });
        waiting.recv().unwrap();
        // The waiter sent with the mutex locked.
        *lock.lock() = 3;
        changed.notify_one();
        assert_eq!(waiter.join().unwrap(), 3);
    });
}
