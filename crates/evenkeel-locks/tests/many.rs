//! More classes than the order has room for.

mod common;

use common::class;
use evenkeel_locks::unranked::Mutex;
use evenkeel_locks::watch::{OnViolation, on_violation, snapshot};

#[test]
fn classes_beyond_the_limit_lock_without_an_order_and_that_is_said() {
    on_violation(OnViolation::Panic);
    let first = Mutex::of(class("first"), 0);
    let held = first.lock();
    assert!(!snapshot().has_too_many_classes);
    for _ in 0..5_000 {
        *Mutex::of(class("one of many"), 0).lock() += 1;
    }
    drop(held);
    assert!(snapshot().has_too_many_classes);
    let late = Mutex::of(class("late"), 0);
    for _ in 0..2 {
        let held = late.lock();
        drop(first.lock());
        drop(held);
        let held = first.lock();
        drop(late.lock());
        drop(held);
    }
}
