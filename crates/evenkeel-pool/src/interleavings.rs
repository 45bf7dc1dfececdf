//! Every order in which a few threads can do a few things, by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg evenkeel_pool_loom" cargo test -p evenkeel-pool --release --lib interleavings
//! ```

use crate::account::{AccountState, ChannelState};
use crate::core::{Core, Given, TierCore};
use crate::gate::own::Gate;
use crate::quota::Share;
use crate::seat::sit;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::time::Instant;

/// A pool of one tier, and an account for each of the channels: (reserve, most).
fn pool(slots: u32, channels: &[(u32, u32)]) -> Core {
    let core = Core::new(Box::new([TierCore::new(4096, slots)]), channels.len());
    for (reserve, max) in channels {
        core.tiers[0].surplus.set_aside(*reserve).expect("the reserves fit");
        let number = core.channel_number();
        let shares = Box::new([Share::new(*reserve, *max)]);
        let channel = std::sync::Arc::new(ChannelState { name: String::new(), number, shares });
        let account = AccountState::new(String::new(), channel, u64::MAX);
        core.admit(std::sync::Arc::new(account)).expect("there is room");
    }
    core
}

/// All slots are in the depot when all magazines are empty, and nobody is charged for any.
fn all_is_back(core: &Core, slots: u32) {
    core.empty_all();
    assert_eq!(core.tiers[0].depot.free(), slots);
    for account in core.accounts() {
        assert_eq!((account.bytes(), account.channel.shares[0].held()), (0, (0, 0)));
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
            if let Ok(slot) = other.take(0, 1) {
                assert!(other.take(0, 1).is_err(), "it took what is reserved");
                assert_eq!(other.give(0, slot, 1), Given::Back);
            }
        });
        let slot = core.take(0, 0).expect("what is reserved is there");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        let again = core.take(0, 0).expect("what is reserved is there");
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
            let slot = other.take_until(0, 1, Instant::now()).expect("it is given back in the end");
            assert_eq!(other.give(0, slot, 1), Given::Back);
        });
        let slot = core.take_until(0, 0, Instant::now()).expect("it is given back in the end");
        assert_eq!(core.give(0, slot, 0), Given::Back);
        waits.join().unwrap();
        all_is_back(&core, 1);
    });
}

// REQ R4: a slot is with one at a time, also where both threads use the same magazine.
#[test]
fn a_slot_is_with_one_at_a_time() {
    loom::model(|| {
        let core = Arc::new(pool(1, &[(0, 1)]));
        let holders = Arc::new(AtomicU32::new(0));
        let use_it = |core: Arc<Core>, holders: Arc<AtomicU32>| {
            if let Ok(slot) = core.take(0, 0) {
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
        let (first, second) = (core.take(0, 0).unwrap(), core.take(0, 0).unwrap());
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
