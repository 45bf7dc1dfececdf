//! The edges of what may be asked: nothing at all, far too much, at the very moment at which something ends.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Limits, Pool, Refused, Tier, WhenExhausted};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn pool(slots: u32) -> Pool {
    Pool::builder().tiers([Tier { bytes: 4096, slots }]).counted("files", 10).build().unwrap()
}

fn account(pool: &Pool, channel: &str) -> Account {
    pool.channel(channel, &Limits::default()).unwrap().component("mic", u64::MAX).unwrap()
}

// REQ R5: units of which there are none are given back as often as they were taken, beside others of the same place.
#[test]
fn no_units_are_counted_as_none() {
    let pool = pool(1);
    let mic = account(&pool, "left");
    let mut held: Vec<_> = [0, 0, 3, 0].iter().map(|units| mic.count("files", *units).unwrap()).collect();
    assert_eq!(pool.counted_holders().iter().map(|holder| holder.units).sum::<u64>(), 3);
    drop(held.remove(2));
    drop(held);
    assert!(pool.counted_holders().is_empty());
}

// REQ R1: memory is found for so many buffers as there may be memory for, and it is told for how many.
#[test]
fn no_more_is_prefaulted_than_may_be_in_memory() {
    let pool =
        Pool::builder().tiers([Tier { bytes: 4096, slots: 8 }]).resident_max(16 << 10).build().unwrap();
    let mic = account(&pool, "left");
    assert_eq!(mic.prefault(4096, 8), 4);
    assert_eq!(pool.warm_bytes(), 16 << 10);
    assert_eq!(mic.prefault(4096, 8), 0, "there is no more room");
    let held: Vec<_> = (0..4).map(|_| mic.take(1).unwrap()).collect();
    assert_eq!(pool.warm_bytes(), 16 << 10);
    drop(held);
}

// REQ R3: reserves that are more than can be counted are refused, however large the buffers.
#[test]
fn reserves_beyond_all_bounds_are_refused() {
    let tiers = [2, 1, 0].map(|pages| Tier { bytes: (1 << 31) - pages * 4096, slots: 1 });
    let pool = Pool::builder().tiers(tiers).build().unwrap();
    let all = vec![u32::MAX; 3];
    let limits = Limits { reserve: all.clone(), max: all, bytes_max: Some(u64::MAX), ..Limits::default() };
    assert!(matches!(pool.channel("left", &limits), Err(Refused::Reserve { .. })));
}

// REQ R3: limits that name what there is not, or something twice, are refused, and what is allowed is said.
#[test]
fn limits_name_what_there_is_and_each_once() {
    let tiers = [4096, 8192].map(|bytes| Tier { bytes, slots: 2 });
    let pool = Pool::builder().tiers(tiers).counted("files", 10).counted("threads", 2).build().unwrap();
    let left = pool.channel("left", &Limits::default()).unwrap();
    let refused = |limits: Limits| {
        let before = left.usage();
        let (new, own) =
            (pool.channel("new", &limits).unwrap_err().to_string(), left.set_limits(&limits).unwrap_err());
        assert_eq!((left.usage(), new.replace("new", "left")), (before, own.to_string()));
        own.to_string()
    };
    assert_eq!(
        refused(Limits { reserve: vec![0, 0, 0], ..Limits::default() }),
        "channel left names 3 tiers in `reserve`: the pool has 2, the smallest is the first"
    );
    assert_eq!(
        refused(Limits { max: vec![2; 9], ..Limits::default() }),
        "channel left names 9 tiers in `max`: the pool has 2, the smallest is the first"
    );
    let counted = |kinds: [&str; 2]| {
        let counted = kinds.map(|kind| (kind.to_owned(), 0, 1)).to_vec();
        Limits { counted, ..Limits::default() }
    };
    assert_eq!(
        refused(counted(["files", "files"])),
        "channel left names files twice: the pool counts files, threads, and each is named once at most"
    );
    assert!(refused(counted(["files", "pages"])).contains("cannot have pages"));
    left.set_limits(&counted(["threads", "files"])).unwrap();
}

// REQ R1: who was let go takes no component in, which would only use up a number.
#[test]
fn a_channel_that_was_let_go_takes_nobody_in() {
    let pool = pool(1);
    let left = pool.channel("left", &Limits::default()).unwrap();
    left.close().unwrap();
    for _ in 0..5_000 {
        assert_eq!(left.component("mic", 4096).unwrap_err(), Refused::Closed { channel: "left".to_owned() });
    }
    let again = pool.channel("left", &Limits::default()).unwrap();
    drop(again.component("mic", 4096).unwrap().take(1).unwrap());
}

thread_local! {
    static KEPT: RefCell<Vec<evenkeel_pool::Buffer>> = const { RefCell::new(Vec::new()) };
    static COUNTED: RefCell<Vec<evenkeel_pool::Counted>> = const { RefCell::new(Vec::new()) };
}

// REQ R2: what a thread keeps until it ends is given back when it does, also while somebody waits for it.
#[test]
fn what_a_thread_keeps_is_given_back_when_it_ends() {
    let pool = pool(1);
    let mic = account(&pool, "left");
    let keeps = mic.clone();
    let (taken, is_taken) = std::sync::mpsc::channel();
    let (goes, may_go) = std::sync::mpsc::channel::<()>();
    let ends = thread::spawn(move || {
        KEPT.with_borrow_mut(|kept| kept.push(keeps.take(1).unwrap()));
        COUNTED.with_borrow_mut(|kept| kept.push(keeps.count("files", 10).unwrap()));
        taken.send(()).unwrap();
        let _ = may_go.recv();
    });
    is_taken.recv().unwrap();
    let until = Instant::now() + Duration::from_secs(100);
    let waits = mic.clone();
    let waiter = thread::spawn(move || waits.take_until(1, until).map(|_| ()));
    drop(goes);
    waiter.join().unwrap().unwrap();
    ends.join().unwrap();
    assert!(mic.count_or("files", 10, WhenExhausted::WaitUntil(until)).unwrap().given().is_some());
}

// REQ R10: whoever waits for units of a channel that is not let go, since it holds something, is served as if nobody had tried.
#[test]
fn a_channel_that_is_not_let_go_notices_nothing_of_it() {
    let pool =
        Pool::builder().tiers([Tier { bytes: 4096, slots: 1 }]).counted("files", 1).counted("threads", 1);
    let pool = pool.build().unwrap();
    let (left, right) = (pool.channel("left", &Limits::default()).unwrap(), account(&pool, "right"));
    let mic = left.component("mic", 4096).unwrap();
    let _thread = mic.count("threads", 1).unwrap();
    let (is_over, until) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(20));
    let waits = |account: &Account| {
        let one = || account.count_or("files", 1, WhenExhausted::WaitUntil(until)).map(drop);
        std::iter::from_fn(|| (!is_over.load(Ordering::Relaxed)).then(one)).find(Result::is_err)
    };
    thread::scope(|scope| {
        let (own, others) = (scope.spawn(|| waits(&mic)), scope.spawn(|| waits(&right)));
        for _ in 0..20_000 {
            assert!(matches!(left.close(), Err(Refused::Holds { buffers: 0, counted: 1 | 2, .. })));
        }
        is_over.store(true, Ordering::Relaxed);
        let refused = own.join().unwrap().or(others.join().unwrap());
        assert!(refused.is_none(), "somebody was refused what is there: {refused:?}");
    });
}

// REQ R1: a part that ends behind the last number there is is not within anything.
#[test]
#[should_panic(expected = "is not within 4 bytes")]
fn no_part_ends_behind_all_numbers() {
    let mut buffer = account(&pool(1), "left").take(4).unwrap();
    buffer.fill_from(b"four");
    let _ = buffer.freeze().slice(..=usize::MAX);
}
