//! The order that is checked at run time. All tests here report, none panics.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{class, violations};
use evenkeel_locks::ranked::{self, Rank};
use evenkeel_locks::unranked::{self, Mutex};
use evenkeel_locks::watch::{self, OnViolation, ViolationKind, on_violation};
use evenkeel_locks::{lock_order, watched, with_root};
use std::panic::Location;
use std::thread;
use std::time::Duration;

const LOW: Rank = Rank::new(3, "low");
const HIGH: Rank = Rank::new(5, "high");

fn report() {
    on_violation(OnViolation::Report);
}

/// The line of a place, and that it is in this file.
fn line(site: Option<&Location<'_>>) -> u32 {
    let site = site.unwrap();
    assert!(site.file().ends_with("tests/order.rs"), "{site}");
    site.line()
}

// REQ T2
#[test]
fn a_lesser_rank_is_reported_with_both_sites() {
    report();
    let (low, high) =
        (ranked::Mutex::new(Rank::new(10, "ten"), ()), ranked::RwLock::new(Rank::new(20, "twenty"), ()));
    let fine = low.lock();
    drop(high.write());
    drop(fine);
    let held_line = line!() + 1;
    let held = high.read();
    let wanted_line = line!() + 1;
    let wanted = low.lock();
    drop((held, wanted));
    let [violation] = &violations("ten")[..] else { panic!() };
    assert_eq!(violation.kind, ViolationKind::Rank);
    assert_eq!((&violation.wanted.lock[..], &violation.held.lock[..]), ("ten", "twenty"));
    assert_eq!((line(violation.wanted.site), line(violation.held.site)), (wanted_line, held_line));
    let said = violation.to_string();
    assert!(said.contains("wants `ten` at ") && said.contains("holds `twenty` at "), "{said}");
}

#[test]
fn who_lets_go_out_of_order_is_not_taken_for_one_who_holds() {
    report();
    let locks = [30, 31, 32, 33].map(|at| ranked::Mutex::new(Rank::new(at, "out of order"), ()));
    let (first, second) = (locks[0].lock(), locks[1].lock());
    drop(first);
    let third = locks[2].lock();
    drop(second);
    drop(third);
    drop(locks[0].lock());
    let all: Vec<_> = locks.iter().map(|lock| lock.lock()).collect();
    drop(all);
    assert_eq!(violations("out of order"), []);
}

#[test]
fn one_rank_twice_and_one_lock_twice_are_reported() {
    report();
    let locks = [0, 1].map(|_| ranked::RwLock::new(Rank::new(40, "forty"), ()));
    let one = locks[0].read();
    drop(locks[1].read());
    drop(one);
    assert!(matches!(&violations("forty")[..], [only] if only.kind == ViolationKind::Rank));
    let again = ranked::RwLock::new(Rank::new(41, "again"), ());
    let once = again.read();
    drop(again.read());
    drop(once);
    assert!(matches!(&violations("again")[..], [only] if only.kind == ViolationKind::Recursive));
}

#[test]
fn who_tries_does_not_wait_but_holds() {
    report();
    let (low, high) =
        (ranked::Mutex::new(Rank::new(50, "tried"), ()), ranked::Mutex::new(Rank::new(52, "above"), ()));
    let middle = ranked::Mutex::new(Rank::new(51, "middle"), ());
    let held = high.lock();
    let tried = low.try_lock().unwrap();
    assert_eq!(violations("tried"), []);
    drop(held);
    drop(middle.lock());
    assert_eq!(violations("middle"), []);
    let again = high.lock();
    drop(tried);
    drop(middle.lock_for(Duration::from_secs(1)).unwrap());
    drop(again);
    assert_eq!(violations("middle").len(), 1);
}

// REQ T2
#[test]
fn an_inversion_is_found_across_instances_and_threads_with_all_sites() {
    report();
    let (rooms, guests) = (class("rooms"), class("guests"));
    let first_held = line!() + 4;
    thread::scope(|threads| {
        let earlier = || {
            let (room, guest) = (Mutex::of(rooms, 1), Mutex::of(guests, 1));
            let room = room.lock();
            let guest = guest.lock();
            drop((room, guest));
        };
        thread::Builder::new().name("earlier".to_owned()).spawn_scoped(threads, earlier).unwrap();
    });
    assert_eq!(violations("rooms"), []);
    let (room, guest) = (Mutex::of(rooms, 2), Mutex::of(guests, 2));
    for _ in 0..2 {
        let held = guest.lock();
        drop(room.lock());
        drop(held);
    }
    // Once, though it happened twice.
    let [violation] = &violations("rooms")[..] else { panic!() };
    let ViolationKind::Order { earlier } = &violation.kind else { panic!("{violation}") };
    assert_eq!((earlier.len(), earlier[0].thread.as_deref()), (1, Some("earlier")));
    assert_eq!((line(earlier[0].held.site), line(earlier[0].wanted.site)), (first_held, first_held + 1));
    assert!(violation.to_string().contains("thread `earlier` held `rooms` at "), "{violation}");
    assert!(watch::snapshot().found.violations >= 2);
}

// REQ T2
#[test]
fn a_circle_of_three_classes_is_found_with_each_step() {
    report();
    let locks = ["one of three", "two of three", "three of three"].map(|name| Mutex::of(class(name), ()));
    for (held, wanted) in [(0, 1), (1, 2)] {
        let held = locks[held].lock();
        drop(locks[wanted].lock());
        drop(held);
    }
    assert_eq!(violations("one of three"), []);
    let held = locks[2].lock();
    drop(locks[0].lock());
    drop(held);
    let [violation] = &violations("one of three")[..] else { panic!() };
    let ViolationKind::Order { earlier } = &violation.kind else { panic!("{violation}") };
    let steps: Vec<_> = earlier.iter().map(|step| (&step.held.lock[..], &step.wanted.lock[..])).collect();
    assert_eq!(steps, [("one of three", "two of three"), ("two of three", "three of three")]);
}

#[test]
fn an_outer_lock_counts_even_when_one_between_is_gone() {
    report();
    let [a, b, c] = ["gap a", "gap b", "gap c"].map(|name| Mutex::of(class(name), ()));
    let (held_a, held_b) = (a.lock(), b.lock());
    drop(held_b);
    drop(c.lock());
    drop(held_a);
    let held_c = c.lock();
    drop(a.lock());
    drop(held_c);
    assert_eq!(violations("gap a").len(), 1);
}

// REQ T2
#[test]
fn a_lock_between_counts_even_when_the_outer_one_is_in_order() {
    report();
    let [outer, between, inner] =
        ["outer, in order", "between", "inner, in order"].map(|name| Mutex::of(class(name), 0));
    {
        let _outer = outer.lock();
        drop(inner.lock());
        drop(between.lock());
    }
    {
        let _inner = inner.lock();
        drop(between.lock());
    }
    assert_eq!(violations("between"), []);
    let _outer = outer.lock();
    let _between = between.lock();
    let _inner = inner.lock();
    let found = violations("between");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].held.lock.as_str(), found[0].wanted.lock.as_str()), ("between", "inner, in order"));
}

#[test]
fn two_of_one_class_are_reported() {
    report();
    let locks: Vec<_> = (0..2).map(|_| unranked::RwLock::named("a class by its place", ())).collect();
    let one = locks[0].write();
    drop(locks[1].write());
    drop(one);
    assert!(
        matches!(&violations("a class by its place")[..], [only] if only.kind == ViolationKind::SameClass)
    );
}

#[test]
fn a_rank_and_a_class_are_in_one_order() {
    report();
    let (low, high) = (ranked::Mutex::new(LOW, ()), ranked::Mutex::new(HIGH, ()));
    let class = Mutex::of(class("between ranks"), ());
    let held = high.lock();
    drop(class.lock());
    drop(held);
    let held = class.lock();
    drop(low.lock()); // low < high by rank, high < class as seen
    drop(held);
    let [violation] = &violations("between ranks")[..] else { panic!() };
    let ViolationKind::Order { earlier } = &violation.kind else { panic!("{violation}") };
    assert_eq!(earlier.len(), 2, "{violation}");
    assert!(earlier[0].thread.is_none() && violation.to_string().contains("by rank `low` is before `high`"));
}

lock_order! { Outer < Inner; }

#[test]
fn locks_on_levels_are_in_no_order_that_is_checked_again() {
    report();
    let (outer, inner) = (watched::Mutex::<Outer, _>::new(0), watched::RwLock::<Inner, _>::new(0));
    let class = Mutex::of(class("beside levels"), ());
    with_root(|root| {
        let mut outer = outer.lock(root);
        let held = class.lock();
        *inner.write(outer.cap()) += 1;
        drop(held);
        drop(inner.read_for(outer.cap(), Duration::from_secs(1)).unwrap());
    });
    let held = class.lock();
    with_root(|root| drop(outer.lock(root)));
    drop(held);
    assert_eq!(violations("beside levels"), []);
}

#[test]
fn a_condition_that_is_waited_for_under_a_greater_rank_is_reported() {
    report();
    let (low, high) =
        (ranked::Mutex::new(Rank::new(11, "waits"), ()), ranked::Mutex::new(Rank::new(12, "stays"), ()));
    let mut low = low.lock();
    let held = high.lock();
    let waited = ranked::Condvar::new().wait_for(&mut low, Duration::from_millis(1));
    assert!(waited.timed_out());
    drop(held);
    assert_eq!(violations("waits").len(), 1);
    // The mutex is held again, and let go at its end.
    drop(low);
    drop(high.lock());
    assert_eq!(violations("stays").len(), 1);
}
