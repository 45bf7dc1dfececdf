//! What needs to be done to a slot that no handle allows.

use super::*;
use crate::beside::POISON;
use crate::{Finding, Limits, Pool, Tier};

fn pool() -> Pool {
    Pool::builder().tiers([Tier { bytes: 4096, slots: 2 }]).poison().build().unwrap()
}

// REQ R6
#[test]
fn a_slot_that_was_just_taken_is_not_seen_with_the_time_of_the_one_before() {
    let pool = Pool::builder().tiers([Tier { bytes: 4096, slots: 1 }]).build().unwrap();
    let left = pool.channel("left", &Limits::default()).unwrap().component("mic", 1 << 20).unwrap();
    left.set_held_max(Some(10));
    let memory = pool.root().memory();
    for second in [1_000, 2_000] {
        pool.tick(second);
        // It is taken, for the first time or again, and nothing of that is noted yet.
        let slot = memory.core.take(0, left.number(), memory).unwrap();
        assert!(pool.findings().is_empty());
        assert_eq!(pool.leaks(&LeakQuery { older_than: 1, ..LeakQuery::default() }).buffers, 0);
        assert!(pool.leaks(&LeakQuery::default()).held.iter().all(|held| held.seconds.is_none()));
        let _ = memory.core.give(0, slot, left.number());
        drop(left.take(1).unwrap());
    }
}

// REQ R6
#[test]
fn a_slot_that_another_has_just_taken_is_not_held_by_the_one_before() {
    let pool = Pool::builder().tiers([Tier { bytes: 4096, slots: 1 }]).build().unwrap();
    let account =
        |name: &str| pool.channel(name, &Limits::default()).unwrap().component("mic", 8192).unwrap();
    let (left, right) = (account("left"), account("right"));
    for mode in [LeakMode::Sites, LeakMode::Off, LeakMode::Full] {
        pool.set_leaks(mode);
        drop(left.take(1).unwrap());
        // It is taken by another, and nothing of that is noted yet.
        let memory = pool.root().memory();
        let slot = memory.core.take(0, right.number(), memory).unwrap();
        assert_eq!((left.finish().buffers, pool.holders(), pool.findings().len()), (0, vec![], 0));
        let _ = memory.core.give(0, slot, right.number());
        let held = right.take(1).unwrap();
        assert_eq!(pool.holders().first().map(|holder| holder.channel.as_str()), Some("right"));
        drop(held);
        assert!(pool.holders().is_empty());
    }
}

// REQ R6, REQ R4
#[test]
fn what_is_written_after_it_was_given_back_is_told_with_who_had_it() {
    for (at, byte) in [(0, 0), (10, b'x'), (99, POISON + 1), (100, 1), (4_095, POISON)] {
        let pool = pool();
        let channel = pool.channel("left", &Limits::default()).unwrap();
        let (mic, disk) =
            (channel.component("mic", 1 << 20).unwrap(), channel.component("disk", 1 << 20).unwrap());
        pool.tick(7);
        let mut buffer = mic.take(100).unwrap();
        buffer.fill_from(&[b'm'; 100]);
        let slot = buffer.lease().number();
        drop(buffer);
        assert!(pool.findings().is_empty());
        pool.root().scribble(0, slot, at, byte);
        // Whoever takes it goes on; the next time it is whole.
        let again: Vec<_> = (0..2).map(|_| disk.take(100).unwrap()).collect();
        let found = pool.findings();
        let [Finding::WrittenAfterReturn(damage)] = found.as_slice() else { panic!("{at}: {found:?}") };
        assert_eq!(
            (damage.channel.as_str(), damage.component.as_str(), damage.at),
            ("left", "mic", at as u64)
        );
        assert!(damage.site.as_ref().unwrap().contains("leaks/tests.rs"), "{damage}");
        drop(again);
        drop((0..2).map(|_| disk.take(100).unwrap()).collect::<Vec<_>>());
        assert!(pool.findings().is_empty());
        // Nothing of it is seen by another channel.
        let right = pool.channel("right", &Limits::default()).unwrap().component("mic", 1 << 20).unwrap();
        let mut all: Vec<_> = (0..2).map(|_| right.take(100).unwrap()).collect();
        assert!(all.iter_mut().all(|buffer| buffer.spare_mut().iter().all(|byte| *byte == 0)));
    }
}

// REQ R6: whatever is done with buffers in the ways that there are is no damage.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn nothing_is_told_of_those_who_keep_to_their_buffers() {
    let pool = pool();
    let left = pool.channel("left", &Limits::default()).unwrap().component("mic", 1 << 20).unwrap();
    let right = pool.channel("right", &Limits::default()).unwrap().component("mic", 1 << 20).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..200 {
        let mut buffer = if rng.bool() { &left } else { &right }.take(rng.usize(..4_096)).unwrap();
        assert!(buffer.spare_mut().iter().all(|byte| [0, POISON].contains(byte)));
        match rng.u8(..5) {
            0 => buffer.spare_mut().fill(rng.u8(..)),
            1 => drop(buffer.fill_from(&vec![7; rng.usize(..9_000)])),
            2 => drop(buffer.freeze().slice(0..0)),
            3 => drop(pool.shrink()),
            _ => {}
        }
    }
    assert!(pool.findings().is_empty());
}

// REQ R6: nobody asks, and memory is bounded all the same.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn damages_and_backtraces_are_bounded() {
    let pool = Pool::builder().tiers([Tier { bytes: 4096, slots: 1 }]).poison().build().unwrap();
    let left = pool.channel("left", &Limits::default()).unwrap().component("mic", 1 << 20).unwrap();
    drop(left.take(1).unwrap());
    for _ in 0..watch::DAMAGES_MAX + 5 {
        pool.root().scribble(0, 0, 4_000, 1);
        left.take(1).unwrap().spare_mut().fill(0);
    }
    let found = pool.findings();
    assert_eq!(found.len(), watch::DAMAGES_MAX + 1);
    assert!(matches!(found.last(), Some(Finding::Untold { findings: 5 })), "{:?}", found.last());
    assert!(pool.findings().is_empty());
    let watch = &pool.root().memory().watch;
    let slots = watch::TRACES_MAX as u32;
    assert!((0..slots).all(|slot| watch.trace(0, slot)));
    assert!(!watch.trace(0, slots));
    watch.untrace(0, 7);
    assert!(watch.trace(0, slots));
}
