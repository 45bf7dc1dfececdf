//! Loom over what a thread holds: whatever the order of events, nobody sees a lock with the site of another.

use super::held::{Held, Sorted};
use super::sys::Site;
use super::tag::{Access, Tag};
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One rank, so that all have the same slot.
fn tag(number: u32) -> Tag {
    Tag::new(number, 3, Access::Exclusive)
}

#[track_caller]
fn here() -> Site {
    Location::caller()
}

#[test]
fn a_hold_that_is_seen_is_one_that_was() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    loom::model(|| {
        RUNS.fetch_add(1, Ordering::Relaxed);
        let held = loom::sync::Arc::new(Held::new());
        let (first, second) = (here(), here());
        let kept = held.push::<Sorted>(1, 1, tag(1), first);
        let reader = {
            let held = held.clone();
            loom::thread::spawn(move || {
                for hold in held.holds() {
                    SEEN.fetch_max(hold.lock, Ordering::Relaxed);
                    let expected = if hold.lock == 1 { first } else { second };
                    assert!(std::ptr::eq(hold.site, expected), "lock {} at {}", hold.lock, hold.site);
                    assert_eq!(hold.tag.number() as usize, hold.lock);
                }
            })
        };
        // Both are the first acquisition of their lock, so that only the places tell them apart.
        held.let_go::<Sorted>(kept);
        let _ = held.push_usual::<Sorted>(2, 1, tag(2), second);
        reader.join().unwrap();
        let now: Vec<_> = held.holds().map(|hold| hold.lock).collect();
        assert_eq!(now, [2]);
    });
    assert_eq!(SEEN.load(Ordering::Relaxed), 2, "a reader came after the writer");
    assert!(RUNS.load(Ordering::Relaxed) > 100, "{RUNS:?} runs");
}
