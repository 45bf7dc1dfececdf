//! What tests of watched locks share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![allow(unreachable_pub, reason = "shared by test files")]

use evenkeel_locks::unranked::Class;
use evenkeel_locks::watch::{Event, Violation, take_events};
use std::sync::Mutex;

/// Events that were taken, whoever wants them: tests of one process share the queue.
static TAKEN: Mutex<Vec<Event>> = Mutex::new(Vec::new());

/// What `pick` finds among all events until now.
pub fn events<T>(pick: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
    let mut taken = TAKEN.lock().unwrap();
    taken.extend(take_events());
    taken.iter().filter_map(pick).collect()
}

/// The violations in which a lock of this name is wanted or held.
pub fn violations(of: &str) -> Vec<Violation> {
    events(|event| match event {
        Event::Violation(found) if found.wanted.lock == of || found.held.lock == of => Some(found.clone()),
        _ => None,
    })
}

/// A class of its own.
pub fn class(name: &'static str) -> &'static Class {
    Box::leak(Box::new(Class::new(name)))
}
