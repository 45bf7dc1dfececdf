//! What happens where there is nothing left: it fails, waits or is shed, for buffers, chains and counted units.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![cfg(not(miri))]

use evenkeel_pool::{Account, Limits, Pool, Refused, Short, Tier, WhenExhausted};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn pool() -> Pool {
    let tiers = [Tier { bytes: 4096, slots: 4 }, Tier { bytes: 16_384, slots: 4 }];
    Pool::builder().tiers(tiers).counted("threads", 4).build().unwrap()
}

fn account(pool: &Pool, name: &str, limits: &Limits) -> Account {
    pool.channel(name, limits).unwrap().component("all", 1 << 40).unwrap()
}

// REQ R5
#[test]
fn what_is_shed_is_no_error_and_counted() {
    let pool = pool();
    let one = account(&pool, "one", &Limits::default());
    let all = one.take_chain(4 * 20_480).unwrap();
    assert!(one.take_or(1, WhenExhausted::Shed).unwrap().given().is_none());
    assert!(one.take_chain_or(1, WhenExhausted::Shed).unwrap().given().is_none());
    assert!(one.take_or(1, WhenExhausted::Fail).is_err());
    assert!(one.take_chain_or(1, WhenExhausted::Fail).is_err());
    assert!(one.take_or(1, WhenExhausted::WaitUntil(Instant::now())).is_err());
    let threads = one.count("threads", 4).unwrap();
    assert!(one.count_or("threads", 1, WhenExhausted::Shed).unwrap().given().is_none());
    assert_eq!(one.shed(), 3);
    drop((all, threads));
    assert!(one.take_or(1, WhenExhausted::Shed).unwrap().given().is_some());
    assert_eq!(one.shed(), 3);
}

// REQ R3, REQ R8
#[test]
fn a_chain_is_had_whole_or_not_at_all() {
    let pool = pool();
    let one = account(&pool, "one", &Limits { bytes_max: Some(40_960), ..Limits::default() });
    let refused = one.take_chain(40_961).unwrap_err();
    assert_eq!(refused.short(), Short::ChannelBytes { held: (0, 40_960), allowed: 40_960 });
    let chain = one.take_chain(40_960).unwrap();
    assert_eq!(chain.capacity(), 40_960);
    assert!(pool.holders().iter().map(|holder| holder.bytes).sum::<u64>() == 40_960);
}

// REQ R5: whoever waits for much gets all of it at once, though others would take each crumb, and holds nothing meanwhile.
#[test]
fn who_waits_for_much_is_not_starved_by_those_who_want_little() {
    let pool = pool();
    let hog = account(&pool, "hog", &Limits::default());
    let (much, little) =
        (account(&pool, "much", &Limits::default()), account(&pool, "little", &Limits::default()));
    let mut held: Vec<_> = (0..4).map(|_| hog.take(4096).unwrap()).collect();
    held.extend((0..4).map(|_| hog.take(16_384).unwrap()));
    let until = WhenExhausted::WaitUntil(Instant::now() + SOON);
    let served = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let chain = much.take_chain_or(4 * 20_480, until).unwrap().given().unwrap();
            served.store(1, Ordering::SeqCst);
            chain.capacity()
        });
        // It waits when others are refused what is free.
        drop(held.pop());
        while little.take(4096).is_ok() || little.take(16_384).is_ok() {
            std::thread::yield_now();
        }
        for buffer in held {
            assert_eq!(served.load(Ordering::SeqCst), 0);
            drop(buffer);
        }
        assert_eq!(waits.join().unwrap(), 4 * 20_480);
    });
}

// REQ R5: who waits for what it can never have is told at once, and who is at its own limit holds up nobody.
#[test]
fn who_can_never_be_served_does_not_wait() {
    let pool = pool();
    let small = account(&pool, "small", &Limits { max: vec![1, 0], ..Limits::default() });
    let never = WhenExhausted::WaitUntil(Instant::now() + Duration::from_secs(3600));
    assert!(small.take_or(16_384, never).is_err());
    assert!(small.take_chain_or(8192, never).is_err());
    assert!(small.count_or("threads", 5, never).is_err());
    let own = small.take(4096).unwrap();
    let (other, begun) = (account(&pool, "other", &Limits::default()), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begun.store(1, Ordering::SeqCst);
            drop(small.take_or(4096, WhenExhausted::WaitUntil(Instant::now() + SOON)).unwrap());
        });
        while begun.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..10_000 {
            drop(other.take(4096).unwrap());
        }
        drop(own);
    });
}

// REQ R3, REQ R10
#[test]
fn what_is_counted_has_reserves_limits_and_holders() {
    let pool = pool();
    let counted =
        |reserve, max| Limits { counted: vec![("threads".to_owned(), reserve, max)], ..Limits::default() };
    let (one, two) = (account(&pool, "one", &counted(1, 2)), account(&pool, "two", &counted(0, 4)));
    let all = two.count("threads", 3).unwrap();
    let short = two.count("threads", 1).unwrap_err();
    assert_eq!(short.short(), Short::LentUnits { held: (0, 3), reserve: 0, free: 0 });
    let own = one.count("threads", 1).unwrap();
    let holders = pool.counted_holders();
    let names: Vec<_> = holders.iter().map(|holder| (&*holder.channel, holder.units)).collect();
    assert_eq!(names, [("two", 3), ("one", 1)]);
    assert!(holders[0].site.contains("tests/exhausted.rs"), "{holders:?}");
    drop(all);
    let more = one.count("threads", 1).unwrap();
    let short = one.count("threads", 1).unwrap_err();
    assert_eq!(short.short(), Short::ChannelUnits { held: (1, 1), allowed: 2 });
    assert_eq!(one.count("files", 1).unwrap_err().short(), Short::Kind);
    let unknown = Limits { counted: vec![("files".to_owned(), 0, 1)], ..Limits::default() };
    assert!(matches!(pool.channel("three", &unknown), Err(Refused::Kind { .. })));
    drop((own, more));
    assert!(pool.counted_holders().is_empty());
    let units = two.count("threads", 3).unwrap();
    std::thread::scope(|scope| {
        let waits =
            scope.spawn(|| two.count_or("threads", 1, WhenExhausted::WaitUntil(Instant::now() + SOON)));
        drop(units);
        assert_eq!(waits.join().unwrap().unwrap().given().unwrap().units(), 1);
    });
}

// REQ R3: of what can be lent a channel has at most so much for each byte that stays free: one flood leaves a fifth.
#[test]
fn a_flood_takes_four_fifths_and_leaves_a_fifth_to_who_comes_next() {
    let tiers = [Tier { bytes: 4096, slots: 1000 }];
    let pool = Pool::builder().tiers(tiers).bytes_max(510 * 4096).borrow_share(4).build().unwrap();
    let limits = Limits { bytes_reserve: 5 * 4096, ..Limits::default() };
    let (flood, next) = (account(&pool, "flood", &limits), account(&pool, "next", &limits));
    let all = |account: &Account| std::iter::from_fn(|| account.take(4096).ok()).collect::<Vec<_>>();
    let held = all(&flood);
    assert_eq!(held.len(), 5 + 400);
    let refused = flood.take(1).unwrap_err();
    let expected = Short::PoolBytes {
        held: (5 * 4096, 400 * 4096),
        reserve: 5 * 4096,
        free: 100 * 4096,
        share: Some(4),
    };
    assert_eq!(refused.short(), expected);
    assert_eq!(all(&next).len(), 5 + 80);
}
