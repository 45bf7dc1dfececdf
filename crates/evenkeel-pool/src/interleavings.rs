//! Every order in which a few threads can do a few things, by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg evenkeel_pool_loom" cargo test -p evenkeel-pool --release --lib interleavings
//! ```

use crate::account::{AccountState, ChannelState, Denied};
use crate::core::{Backing, Core, Counter, Given, Settings, TierCore};
use crate::depot::Depot;
use crate::gate::own::Gate;
use crate::quota::{Share, Surplus};
use crate::seat::sit;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::time::Instant;

/// Nothing stands behind the slots.
struct Nothing;

impl Backing for Nothing {
    fn give_back(&self, _: usize, _: u32) -> bool {
        true
    }

    fn prefault(&self, _: usize, _: u32) {}
}

/// Pages that are lent or reserved, slots that may have memory.
#[derive(Clone, Copy)]
struct Most {
    pages: u32,
    warm: u64,
}

const ALL: Most = Most { pages: 100, warm: 100 };

/// A pool of one tier, and an account for each of the channels: (reserve, most), of slots and of pages. It counts one
/// unit beside them, which is nobody's.
fn pool_with(slots: u32, most: Most, channels: &[((u32, u32), (u32, u32))]) -> Core {
    let counter = Counter { kind: String::new(), units: 1, surplus: Surplus::new(1, None) };
    let settings = Settings {
        pages_max: most.pages,
        borrow_share: None,
        resident_max: most.warm * 4096,
        counters: Box::new([counter]),
        accounts_max: channels.len(),
    };
    let core = Core::new(Box::new([TierCore::new(4096, slots)]), settings);
    for ((reserve, max), (pages_reserve, pages_max)) in channels {
        core.tiers[0].surplus.set_aside(*reserve).expect("the reserves fit");
        core.pages.set_aside(*pages_reserve).expect("the reserves fit");
        let number = core.channel_number();
        let shares = Box::new([Share::new(*reserve, *max)]);
        let (pages, counted) = (Share::new(*pages_reserve, *pages_max), Box::new([Share::new(0, 1)]));
        let channel = ChannelState::new(String::new(), number, shares, pages, counted);
        let account = AccountState::new(String::new(), std::sync::Arc::new(channel), u64::MAX);
        core.admit(std::sync::Arc::new(account)).expect("there is room");
    }
    core
}

/// The same, with bytes for all slots.
fn pool(slots: u32, channels: &[(u32, u32)]) -> Core {
    let channels: Vec<_> = channels.iter().map(|of_slots| (*of_slots, *of_slots)).collect();
    pool_with(slots, ALL, &channels)
}

/// All slots are free when all magazines are empty, and nobody is charged for any.
fn all_is_back(core: &Core, slots: u32) {
    core.empty_all();
    let tier = &core.tiers[0];
    assert_eq!(tier.warm.free() + tier.cold.free(), slots);
    assert_eq!(core.warmth.bytes(), u64::from(tier.warm.free()) * 4096);
    for account in core.accounts() {
        let channel = &account.channel;
        assert_eq!((account.bytes(), channel.shares[0].held(), channel.pages.held()), (0, (0, 0), (0, 0)));
    }
}

// REQ R4: whoever has a reserve gets it, at whatever moment, and nobody has more than there is.
#[test]
fn a_reserve_is_there_whatever_others_do() {
    loom::model(|| {
        let core = Arc::new(pool(2, &[(1, 2), (0, 2)]));
        let other = core.clone();
        let greedy = thread::spawn(move || {
            sit(1);
            if let Ok(slot) = other.take(0, 1, &Nothing) {
                assert!(other.take(0, 1, &Nothing).is_err(), "it took what is reserved");
                assert_eq!(other.give(0, slot, 1), Given::Back);
            }
        });
        let slot = core.take(0, 0, &Nothing).expect("what is reserved is there");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        let again = core.take(0, 0, &Nothing).expect("what is reserved is there");
        assert_eq!(core.give(0, again, 0), Given::Back);
        greedy.join().unwrap();
        all_is_back(&core, 2);
    });
}

// REQ R5: no wake-up is lost: who waits for the one buffer gets it when it is given back.
#[test]
fn who_waits_is_served() {
    loom::model(|| {
        let core = Arc::new(pool(1, &[(0, 1), (0, 1)]));
        let other = core.clone();
        let waits = thread::spawn(move || {
            sit(1);
            let slot = other.take_until(0, 1, Instant::now(), &Nothing).expect("it is given back in the end");
            assert_eq!(other.give(0, slot, 1), Given::Back);
        });
        let slot = core.take_until(0, 0, Instant::now(), &Nothing).expect("it is given back in the end");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        waits.join().unwrap();
        all_is_back(&core, 1);
    });
}

// REQ R4: a slot is with one at a time, also where both threads use the same magazine.
#[test]
fn a_slot_is_with_one_at_a_time() {
    let mut fewer = loom::model::Builder::new();
    // With four it takes minutes: who finds nothing looks through everything.
    fewer.preemption_bound = Some(3);
    fewer.check(|| {
        let core = Arc::new(pool(1, &[(0, 1)]));
        let holders = Arc::new(AtomicU32::new(0));
        let use_it = |core: Arc<Core>, holders: Arc<AtomicU32>| {
            if let Ok(slot) = core.take(0, 0, &Nothing) {
                assert_eq!(holders.fetch_add(1, Ordering::AcqRel), 0, "two have it");
                holders.fetch_sub(1, Ordering::AcqRel);
                assert_eq!(core.give(0, slot, 0), Given::Back);
            }
        };
        let (second, third) = (core.clone(), holders.clone());
        let other = thread::spawn(move || use_it(second, third));
        use_it(core.clone(), holders);
        other.join().unwrap();
        all_is_back(&core, 1);
    });
}

// REQ R2: the memory goes once, with the last: the pool's handle, or a buffer in another thread.
#[test]
fn the_last_is_named_once() {
    loom::model(|| {
        let core = Arc::new(pool(2, &[(0, 2)]));
        let (first, second) = (core.take(0, 0, &Nothing).unwrap(), core.take(0, 0, &Nothing).unwrap());
        let other = core.clone();
        let gives = thread::spawn(move || {
            sit(1);
            u32::from(other.give(0, first, 0) == Given::Last)
        });
        let closes = u32::from(core.close() == Given::Last);
        let last = u32::from(core.give(0, second, 0) == Given::Last);
        assert_eq!(gives.join().unwrap() + closes + last, 1);
    });
}

// REQ R2, REQ R4: what one thread took and another gives back lies where the first finds it, or where whoever is denied it does.
#[test]
fn what_goes_back_to_its_taker_is_found() {
    loom::model(|| {
        let core = Arc::new(pool(2, &[(0, 1), (0, 2)]));
        let slot = core.take(0, 0, &Nothing).expect("there is one");
        let other = core.clone();
        let gives = thread::spawn(move || {
            sit(1);
            // To the first thread's magazine, or to its own where that one looks into it.
            assert_eq!(other.give(0, slot, 0), Given::Back);
        });
        // Denied as long as it is held, and only then.
        let again = core.take(0, 0, &Nothing);
        gives.join().unwrap();
        let again = again.or_else(|_| core.take(0, 0, &Nothing)).expect("it was given back");
        assert_eq!(core.give(0, again, 0), Given::Back);
        let both = [core.take(0, 1, &Nothing), core.take(0, 1, &Nothing)];
        for slot in both {
            assert_eq!(core.give(0, slot.expect("nobody holds any"), 1), Given::Back);
        }
        all_is_back(&core, 2);
    });
}

// REQ R2: the memory goes once, with the last, also where that goes to the magazine of a thread which is gone.
#[test]
fn the_last_may_go_back_to_who_is_gone() {
    loom::model(|| {
        let core = Arc::new(pool(2, &[(0, 2)]));
        let other = core.clone();
        let takes = thread::spawn(move || {
            sit(1);
            other.take(0, 0, &Nothing).expect("there is one")
        });
        let slot = takes.join().unwrap();
        let other = core.clone();
        let gives = thread::spawn(move || u32::from(other.give(0, slot, 0) == Given::Last));
        let closes = u32::from(core.close() == Given::Last);
        assert_eq!(gives.join().unwrap() + closes, 1);
    });
}

// REQ R2, REQ R4: slots that are pushed out of a magazine together are each found once.
#[test]
fn slots_that_go_together_are_found_once() {
    loom::model(|| {
        let depot = Arc::new(Depot::empty(4));
        let other = depot.clone();
        let pushes = thread::spawn(move || other.push_all(&[0, 1, 2]));
        depot.push(3);
        let first = depot.pop().expect("one is there");
        pushes.join().unwrap();
        let mut all = vec![first];
        all.extend(std::iter::from_fn(|| depot.pop()));
        let order: Vec<_> = all.iter().copied().filter(|slot| *slot < 3).collect();
        assert!(first == 3 || first == 2, "the last of them lies on top");
        assert!(order == [2, 1, 0], "they stay in order");
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
    });
}

// REQ R2: who is in a gate is alone, and sees what was done in it before.
#[test]
fn one_is_in_a_gate_at_a_time() {
    loom::model(|| {
        let both = Arc::new((Gate::default(), AtomicU32::new(0)));
        let work = |(gate, count): &(Gate, AtomicU32)| {
            let Some(_entered) = gate.try_enter() else { return 0 };
            let seen = count.load(Ordering::Relaxed);
            count.store(seen + 1, Ordering::Relaxed);
            1
        };
        let other = both.clone();
        let second = thread::spawn(move || work(&other) + work(&other));
        let done = work(&both) + work(&both) + second.join().unwrap();
        assert_eq!(both.1.load(Ordering::Relaxed), done);
    });
}

// REQ R3, REQ R5: a page that lies in another thread's magazine is called in, and no wake-up is lost.
#[test]
fn who_waits_for_bytes_is_served() {
    loom::model(|| {
        let one = Most { pages: 1, ..ALL };
        let core = Arc::new(pool_with(2, one, &[((0, 2), (0, 2)), ((0, 2), (0, 2))]));
        let other = core.clone();
        let waits = thread::spawn(move || {
            sit(1);
            let slot = other.take_until(0, 1, Instant::now(), &Nothing).expect("it is given back in the end");
            assert_eq!(other.give(0, slot, 1), Given::Back);
        });
        let slot = core.take_until(0, 0, Instant::now(), &Nothing).expect("it is given back in the end");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        waits.join().unwrap();
        all_is_back(&core, 2);
    });
}

// REQ R3, REQ R4: bytes that are reserved are there, whatever others do, and the others never have more than the rest.
#[test]
fn reserved_bytes_are_there_whatever_others_do() {
    loom::model(|| {
        let two = Most { pages: 2, ..ALL };
        let core = Arc::new(pool_with(3, two, &[((1, 3), (1, 2)), ((0, 3), (0, 2))]));
        let other = core.clone();
        let greedy = thread::spawn(move || {
            sit(1);
            if let Ok(slot) = other.take(0, 1, &Nothing) {
                assert!(other.take(0, 1, &Nothing).is_err(), "it took what is reserved");
                assert_eq!(other.give(0, slot, 1), Given::Back);
            }
        });
        let slot = core.take(0, 0, &Nothing).expect("what is reserved is there");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        greedy.join().unwrap();
        all_is_back(&core, 3);
    });
}

// REQ R8: while one takes another gives memory back; nobody misses a slot, and all together never have more than they may.
#[test]
fn a_slot_is_warm_or_cold() {
    loom::model(|| {
        let core = Arc::new(pool_with(2, Most { pages: 1, warm: 1 }, &[((0, 2), (0, 1)), ((0, 2), (0, 1))]));
        let other = core.clone();
        let slot = core.take(0, 0, &Nothing).expect("there is one");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        let cools = thread::spawn(move || {
            sit(1);
            other.cool_all(&Nothing);
        });
        // The slot of before has memory, if it is not on its way, or without; the other would need its.
        let slot = core.take(0, 1, &Nothing).expect("nobody has any");
        assert!(core.warmth.bytes() <= 4096);
        assert_eq!(core.give(0, slot, 1), Given::Back);
        cools.join().unwrap();
        all_is_back(&core, 2);
    });
}

// REQ R10: no wake-up is lost among those who wait for what is counted beside the memory.
#[test]
fn who_waits_for_a_unit_is_served() {
    loom::model(|| {
        let core = Arc::new(pool(1, &[(0, 1), (0, 1)]));
        let other = core.clone();
        let waits = thread::spawn(move || {
            other.count_until(0, 1, 1, Instant::now()).expect("it is given back in the end");
            other.uncount(0, 1, 1);
        });
        core.count_until(0, 0, 1, Instant::now()).expect("it is given back in the end");
        core.uncount(0, 0, 1);
        waits.join().unwrap();
        assert_eq!(core.counters[0].surplus.free(), 1);
    });
}

// REQ R3: while limits change nobody gets in by the old ones, and no unit is lost.
#[test]
fn limits_change_at_one_moment() {
    loom::model(|| {
        let both = Arc::new((Surplus::new(2, None), Share::new(0, 2)));
        let other = both.clone();
        let takes = thread::spawn(move || {
            let (surplus, share) = &*other;
            let got = u32::from(share.enter(1, surplus, true).is_ok());
            let more = u32::from(share.enter(1, surplus, true).is_ok());
            if got > 0 {
                share.leave(1, surplus);
            }
            (got + more).saturating_sub(1)
        });
        let (surplus, share) = &*both;
        share.set(1, 1, surplus).expect("at most one was borrowed that it does not have itself then");
        let seen = share.held();
        share.set(0, 1, surplus).expect("a reserve can be lowered");
        assert!(seen.0 <= 1);
        let held = takes.join().unwrap();
        assert_eq!(share.held(), (0, held));
        assert_eq!(surplus.free(), 2 - i64::from(held));
    });
}

// REQ R3: who was over its limits and has given back all is so no more, whichever came first: nobody looks for it for ever.
#[test]
fn who_has_nothing_is_over_no_limit() {
    loom::model(|| {
        let core = Arc::new(pool(1, &[(0, 1)]));
        let slot = core.take(0, 0, &Nothing).expect("it is free");
        let other = core.clone();
        let limits = thread::spawn(move || {
            sit(1);
            let account = other.account(0);
            account.set_bytes_max(0);
            other.mark(account);
        });
        // While somebody calls, nothing is put into magazines.
        core.calling(|| assert_eq!(core.give(0, slot, 0), Given::Back));
        limits.join().unwrap();
        assert_eq!(core.marks(), 0);
        all_is_back(&core, 1);
    });
}

// REQ R5, REQ R3: who waits for what limits do not allow any more is told, whichever came first, the limits or the waiting.
#[test]
fn who_waits_in_vain_is_told() {
    let changes: [(Denied, fn(&Core)); 2] = [
        (Denied::Component, |core| core.account(1).set_bytes_max(0)),
        (Denied::Channel, |core| {
            core.channels.with(|_| assert!(core.account(1).channel.shares[0].shut()));
        }),
    ];
    for (why, change) in changes {
        loom::model(move || {
            let core = Arc::new(pool(1, &[(0, 1), (0, 1)]));
            let slot = core.take(0, 0, &Nothing).expect("it is free");
            let other = core.clone();
            let waits = thread::spawn(move || {
                sit(1);
                assert_eq!(other.take_until(0, 1, Instant::now(), &Nothing), Err(why));
            });
            change(&core);
            core.limits_changed();
            waits.join().unwrap();
            assert_eq!(core.give(0, slot, 0), Given::Back);
            all_is_back(&core, 1);
        });
    }
}
