//! Who waits for what it can never have any more is told at once, and why: its channel was let go, or limits changed.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![cfg(not(miri))]

use evenkeel_pool::{Account, Channel, Exhausted, Limits, Pool, Short, Tier, WhenExhausted};
use std::thread;
use std::time::{Duration, Instant};

/// Who is not told fails much later, by another error.
const LATE: Duration = Duration::from_secs(100);

fn pool() -> Pool {
    Pool::builder().tiers([Tier { bytes: 4096, slots: 4 }]).counted("files", 4).build().unwrap()
}

fn channel(pool: &Pool, name: &str) -> Channel {
    pool.channel(name, &Limits::default()).unwrap()
}

type Ask = fn(&Account, WhenExhausted) -> Result<(), Exhausted>;

const BUFFER: Ask = |account, when| account.take_or(4096, when).map(drop);
const CHAIN: Ask = |account, when| account.take_chain_or(2 * 4096, when).map(drop);
const UNITS: Ask = |account, when| account.count_or("files", 2, when).map(drop);

/// Lets somebody of a channel wait for what another has, does something, and answers what the one who waits was told.
fn told(ask: Ask, act: impl FnOnce(&Pool, &Channel, &Account)) -> Short {
    let pool = pool();
    let (left, other) = (channel(&pool, "left"), channel(&pool, "other").component("all", u64::MAX).unwrap());
    let mic = left.component("mic", 1 << 20).unwrap();
    let held = (other.take_chain(4 * 4096).unwrap(), other.count("files", 4).unwrap());
    let until = Instant::now() + LATE;
    let short = thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&mic, WhenExhausted::WaitUntil(until)).unwrap_err().short());
        while pool.waiting() == 0 {
            thread::yield_now();
        }
        act(&pool, &left, &mic);
        waits.join().unwrap()
    });
    assert!(Instant::now() < until, "it waited in vain");
    drop(held);
    assert_eq!(pool.waiting(), 0);
    short
}

// REQ R5, REQ R3
#[test]
fn who_waits_in_a_channel_that_is_let_go_is_told() {
    for ask in [BUFFER, CHAIN, UNITS] {
        assert_eq!(told(ask, |_, left, _| left.close().unwrap()), Short::Closed);
    }
}

// REQ R5, REQ R3
#[test]
fn who_waits_for_more_than_new_limits_allow_is_told_whose_they_are() {
    let limits = |channel: &Channel, limits: Limits| channel.set_limits(&limits).unwrap();
    let none = |left: &Channel| limits(left, Limits { max: vec![0], ..Limits::default() });
    let no_bytes = |left: &Channel| limits(left, Limits { bytes_max: Some(0), ..Limits::default() });
    let no_files =
        Limits { counted: vec![("files".to_owned(), 0, 1)], bytes_max: Some(1 << 20), ..Limits::default() };
    for ask in [BUFFER, CHAIN] {
        let short = told(ask, |_, left, _| none(left));
        assert_eq!(short, Short::Channel { held: (0, 0), allowed: 0 });
        let short = told(ask, |_, left, _| no_bytes(left));
        assert_eq!(short, Short::ChannelBytes { held: (0, 0), allowed: 0 });
        let short = told(ask, |_, _, mic| mic.lower_bytes_max(0));
        assert_eq!(short, Short::Component { held: 0, allowed: 0 });
        let short = told(ask, |_, left, mic| left.set_component_bytes_max(mic, 4095).unwrap());
        assert_eq!(short, Short::Component { held: 0, allowed: 4095 });
    }
    let short = told(UNITS, |_, left, _| limits(left, no_files.clone()));
    assert_eq!(short, Short::ChannelUnits { held: (0, 0), allowed: 1 });
}

// REQ R5, REQ R3: what others reserve is lent to nobody any more.
#[test]
fn who_waits_for_what_others_reserve_from_now_on_is_told() {
    let short = told(CHAIN, |pool, left, _| {
        let other = Limits { bytes_max: Some(8192), ..Limits::default() };
        left.set_limits(&other).unwrap();
        assert_eq!(pool.waiting(), 1, "that much it may have");
        left.set_limits(&Limits { bytes_max: Some(4096), ..Limits::default() }).unwrap();
    });
    assert_eq!(short, Short::ChannelBytes { held: (0, 0), allowed: 4096 });
    let pool = pool();
    let (left, right) = (channel(&pool, "left"), channel(&pool, "right"));
    let (mic, other) = (left.component("mic", u64::MAX).unwrap(), right.component("all", u64::MAX).unwrap());
    let held = other.take(1).unwrap();
    let until = WhenExhausted::WaitUntil(Instant::now() + LATE);
    thread::scope(|scope| {
        let waits = scope.spawn(|| mic.take_chain_or(4 * 4096, until).unwrap_err().short());
        while pool.waiting() == 0 {
            thread::yield_now();
        }
        let taken_in = pool.channel("new", &Limits { reserve: vec![1], ..Limits::default() }).unwrap();
        assert_eq!(waits.join().unwrap(), Short::Lent { held: (0, 0), reserve: 0 });
        drop(taken_in);
    });
    drop(held);
}

// REQ R5: those who stand behind somebody who can never be served are served, and not only when that one gives up.
#[test]
fn who_can_never_be_served_holds_up_nobody() {
    let pool = pool();
    let (left, right) = (channel(&pool, "left"), channel(&pool, "right"));
    let (much, little) =
        (left.component("mic", u64::MAX).unwrap(), right.component("mic", u64::MAX).unwrap());
    let held = channel(&pool, "other").component("all", u64::MAX).unwrap().take_chain(2 * 4096).unwrap();
    let until = WhenExhausted::WaitUntil(Instant::now() + LATE);
    thread::scope(|scope| {
        let waits = scope.spawn(|| much.take_chain_or(4 * 4096, until).unwrap_err().short());
        while pool.waiting() == 0 {
            thread::yield_now();
        }
        let behind = scope.spawn(|| little.take_or(4096, until).unwrap().given().is_some());
        while pool.waiting() < 2 {
            thread::yield_now();
        }
        left.close().unwrap();
        assert_eq!(waits.join().unwrap(), Short::Closed);
        assert!(behind.join().unwrap());
    });
    drop(held);
}

// REQ R5: a limit that still allows it, and one of somebody else, make nobody give up.
#[test]
fn who_can_still_be_served_waits_on() {
    let pool = pool();
    let (left, right) = (channel(&pool, "left"), channel(&pool, "right"));
    let (mic, all) = (left.component("mic", u64::MAX).unwrap(), right.component("all", u64::MAX).unwrap());
    let held = all.take_chain(4 * 4096).unwrap();
    let until = WhenExhausted::WaitUntil(Instant::now() + LATE);
    thread::scope(|scope| {
        let waits = scope.spawn(|| mic.take_or(4096, until).map(|taken| taken.given().is_some()));
        while pool.waiting() == 0 {
            thread::yield_now();
        }
        mic.lower_bytes_max(4096);
        left.set_limits(&Limits { max: vec![1], bytes_max: Some(4096), ..Limits::default() }).unwrap();
        all.lower_bytes_max(0);
        right.set_limits(&Limits { max: vec![0], bytes_max: Some(0), ..Limits::default() }).unwrap();
        channel(&pool, "third").close().unwrap();
        assert_eq!(pool.waiting(), 1);
        drop(held);
        assert!(waits.join().unwrap().unwrap());
    });
}
