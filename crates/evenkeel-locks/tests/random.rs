//! Random programs over ten locks, on eight threads.
//!
//! A program takes locks in one order, each thread some of them at a time. With an inversion planted,
//! one thread takes two of them the other way round, and must be found out in the first program that
//! touches both ways, whichever threads go them and whether they meet or not.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{class, violations};
use evenkeel_locks::unranked::{Class, Mutex, RwLock};
use evenkeel_locks::watch::{OnViolation, ViolationKind, on_violation, snapshot};
use std::sync::Barrier;
use std::thread;

const LOCKS: usize = 10;
const THREADS: usize = 8;
const STEPS: usize = 4;

/// A generator that needs no other crate: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// Ten locks, some of them to read and write, made anew for each program.
struct Locks {
    mutexes: Vec<Mutex<u64>>,
    locks: Vec<RwLock<u64>>,
}

impl Locks {
    fn of(classes: &[&'static Class]) -> Self {
        let (mutexes, locks) = classes.split_at(LOCKS / 2);
        Self {
            mutexes: mutexes.iter().map(|class| Mutex::of(class, 0)).collect(),
            locks: locks.iter().map(|class| RwLock::of(class, 0)).collect(),
        }
    }

    /// Takes these, one inside of the other, and lets go of them in reverse.
    fn nest(&self, order: &[usize], is_written: bool) {
        let Some((first, rest)) = order.split_first() else { return };
        match self.mutexes.get(*first) {
            Some(mutex) => {
                let mut guard = mutex.lock();
                *guard += 1;
                self.nest(rest, is_written);
            }
            None if is_written => {
                let mut guard = self.locks[first - LOCKS / 2].write();
                *guard += 1;
                self.nest(rest, is_written);
            }
            None => {
                let _guard = self.locks[first - LOCKS / 2].read();
                self.nest(rest, is_written);
            }
        }
    }
}

/// A sorted choice of locks.
fn choice(random: &mut Random) -> Vec<usize> {
    (0..LOCKS).filter(|_| random.below(3) == 0).collect()
}

fn classes(name: &'static str) -> Vec<&'static Class> {
    (0..LOCKS).map(|_| class(name)).collect()
}

// REQ T2
#[test]
fn ten_thousand_programs_in_order_report_nothing() {
    on_violation(OnViolation::Report);
    let classes = classes("in order");
    let programs = 10_000 / THREADS;
    // The threads stay; each has its own programs and all have the same classes, so that what one
    // learns holds for all. Every eighth program is one of all threads on the same locks.
    let (together, shared) = (Barrier::new(THREADS), Locks::of(&classes));
    thread::scope(|threads| {
        for thread in 0..THREADS {
            let (classes, together, shared) = (&classes, &together, &shared);
            threads.spawn(move || {
                let mut random = Random(thread as u64);
                for program in 0..programs {
                    let own = Locks::of(classes);
                    let locks = if program % 8 == 0 { shared } else { &own };
                    if program % 8 == 0 {
                        together.wait();
                    }
                    for _ in 0..STEPS {
                        locks.nest(&choice(&mut random), random.below(2) == 0);
                    }
                }
            });
        }
    });
    assert_eq!(violations("in order"), []);
    assert_eq!(snapshot().found.deadlocks, 0);
}

// REQ T2
#[test]
fn a_planted_inversion_is_reported_in_the_first_program_that_touches_both_ways() {
    on_violation(OnViolation::Report);
    for seed in 0..200 {
        let mut random = Random(1_000 + seed);
        let name: &'static str = Box::leak(format!("planted {seed}").into_boxed_str());
        // Classes are new for each, so that no program knows what another learnt.
        let locks = Locks::of(&classes(name));
        let (low, high) = (random.below(4), 5 + random.below(5));
        let (culprit, witness) = (random.below(THREADS), random.below(THREADS));
        let whole = std::sync::Mutex::new(());
        thread::scope(|threads| {
            for thread in 0..THREADS {
                let (locks, whole) = (&locks, &whole);
                let mut random = Random(seed << 8 | thread as u64);
                threads.spawn(move || {
                    // One at a time: the planted inversion would really deadlock otherwise, and it must be
                    // found without.
                    for _ in 0..STEPS {
                        let _alone = whole.lock().unwrap();
                        locks.nest(&choice(&mut random), random.below(2) == 0);
                    }
                    let _alone = whole.lock().unwrap();
                    if thread == witness {
                        locks.nest(&[low, high], true);
                    }
                    if thread == culprit {
                        locks.nest(&[high, low], true);
                    }
                });
            }
        });
        let found = violations(name);
        assert!(!found.is_empty(), "seed {seed}: {low} and {high} were taken both ways");
        for violation in &found {
            let ViolationKind::Order { earlier } = &violation.kind else { panic!("{violation}") };
            assert!(violation.wanted.site.is_some() && violation.held.site.is_some());
            assert!(!earlier.is_empty());
            assert!(earlier.iter().all(|step| step.held.site.is_some() && step.wanted.site.is_some()));
        }
    }
}
