//! Resident memory: bounded, given back and measured; and never another channel's bytes in it.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![cfg(not(miri))]

use evenkeel_pool::{Account, Buffer, Limits, Pool, Tier};
use fastrand::Rng;

const TIERS: [Tier; 2] = [Tier { bytes: 4096, slots: 64 }, Tier { bytes: 65_536, slots: 16 }];

fn account(pool: &Pool, name: &str) -> Account {
    pool.channel(name, &Limits::default()).unwrap().component("all", 1 << 40).unwrap()
}

fn filled(account: &Account, bytes: usize) -> Buffer {
    let mut buffer = account.take(bytes).unwrap();
    buffer.spare_mut().fill(b'x');
    buffer
}

// REQ R7, REQ R8: what is given back is measured by the system's own figures.
#[test]
fn shrinking_gives_memory_back_and_shows_it() {
    let pool = Pool::builder().tiers(TIERS).build().unwrap();
    assert_eq!(pool.resident_bytes().unwrap(), 0, "nothing is touched before it is used");
    let one = account(&pool, "one");
    let mut held: Vec<_> = (0..16).map(|_| filled(&one, 65_536)).collect();
    held.truncate(1);
    assert_eq!(pool.resident_bytes().unwrap(), 16 * 65_536);
    let done = pool.shrink().unwrap();
    assert_eq!((done.slots, done.bytes), (15, 15 * 65_536));
    assert_eq!((done.resident_before, done.resident_after), (16 * 65_536, 65_536));
    assert!(held[0].spare_mut().iter().all(|byte| *byte == b'x'), "what is held stays");
    assert_eq!(pool.warm_bytes(), 65_536);
    // What was given back is zeroes, for its own channel too.
    let mut again: Vec<_> = (0..15).map(|_| one.take(65_536).unwrap()).collect();
    assert!(again.iter_mut().all(|buffer| buffer.spare_mut().iter().all(|byte| *byte == 0)));
}

// REQ R2: memory is found before it is needed, where somebody asks.
#[test]
fn memory_is_found_beforehand_on_request() {
    let pool = Pool::builder().tiers(TIERS).build().unwrap();
    let one = account(&pool, "one");
    assert_eq!(one.prefault(65_536, 10), 10);
    assert_eq!((pool.resident_bytes().unwrap(), pool.warm_bytes()), (10 * 65_536, 10 * 65_536));
    let held: Vec<_> = (0..16).map(|_| one.take(65_536).unwrap()).collect();
    assert_eq!(one.prefault(65_536, 10), 0, "it might not take one");
    drop(held);
    assert_eq!(one.prefault(1 << 20, 1), 0, "there is no such tier");
    assert_eq!(one.prefault(1, 100), 64);
}

// REQ R3, REQ R4, REQ R8: whatever is taken and given back, all of it together is never more than was configured, by the
// system's figures; and no channel sees a byte of another's.
#[test]
fn resident_memory_is_bounded_and_shows_nothing_of_others() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let most = rng.u64(20..200) * 4096;
        let pool = Pool::builder().tiers(TIERS).resident_max(most).build().unwrap();
        let accounts: Vec<_> = (0..3).map(|n| account(&pool, &format!("c{n}"))).collect();
        let mut held: Vec<Vec<Buffer>> = accounts.iter().map(|_| Vec::new()).collect();
        for _ in 0..300 {
            let who = rng.usize(..accounts.len());
            let mark = b'a' + who as u8;
            if rng.u32(..5) < 3 {
                let Ok(mut buffer) = accounts[who].take(TIERS[rng.usize(..2)].bytes) else { continue };
                let spare = buffer.spare_mut();
                assert!(spare.iter().all(|byte| *byte == 0 || *byte == mark), "seed {seed}");
                let some = rng.usize(..=spare.len());
                spare[..some].fill(mark);
                held[who].push(buffer);
            } else if !held[who].is_empty() {
                let at = rng.usize(..held[who].len());
                held[who].swap_remove(at);
            } else if rng.u32(..10) == 0 {
                pool.shrink().unwrap();
            }
            let (warm, resident) = (pool.warm_bytes(), pool.resident_bytes().unwrap());
            assert!(resident <= warm && warm <= most, "seed {seed}: {resident} {warm} {most}");
        }
    }
}

// REQ R3: what is taken beyond limits is had all the same, and missing to borrowers until it is back.
#[test]
fn the_last_bytes_of_a_source_are_had_beyond_limits() {
    let pool = Pool::builder().tiers(TIERS).resident_max(2 * 65_536).build().unwrap();
    let (one, two) = (account(&pool, "one"), account(&pool, "two"));
    let held = [filled(&one, 65_536), filled(&one, 65_536)];
    assert!(one.take(1).is_err() && two.take(1).is_err());
    let mut last = two.take_beyond(60_000).unwrap();
    last.spare_mut().fill(b'l');
    assert_eq!(pool.warm_bytes(), 3 * 65_536);
    drop(held);
    // One of the three is beyond; when that is back, too, the two are there.
    let first = one.take(65_536).unwrap();
    assert!(one.take(65_536).is_err());
    drop(last);
    let second = one.take(65_536).unwrap();
    assert_eq!((pool.shrink().unwrap().resident_after, pool.warm_bytes()), (2 * 65_536, 2 * 65_536));
    drop((first, second));
}
