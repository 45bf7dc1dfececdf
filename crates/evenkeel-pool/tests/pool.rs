//! Buffers, quotas and waiting, from outside.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Buffer, Limits, Pool, Short, Tier};
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MANY_BYTES: u64 = 1 << 30;

fn small(slots: u32) -> Pool {
    Pool::builder()
        .tiers([Tier { bytes: 4096, slots }, Tier { bytes: 16_384, slots: slots / 2 }])
        .build()
        .unwrap()
}

fn account(pool: &Pool, name: &str, reserve: u32, max: u32) -> Account {
    let limits = Limits { reserve: vec![reserve], max: vec![max], ..Limits::default() };
    pool.channel(name, &limits).unwrap().component("all", MANY_BYTES).unwrap()
}

// REQ R4
#[test]
fn a_buffer_shows_nothing_of_another_channels() {
    let pool = small(2);
    let (left, right) = (account(&pool, "left", 0, 2), account(&pool, "right", 0, 2));
    let mut secret = left.take(4096).unwrap();
    secret.spare_mut().fill(b's');
    drop(secret);
    // Its own channel may see what it left: no time is spent on wiping.
    assert!(left.take(4096).unwrap().spare_mut().iter().all(|byte| *byte == b's'));
    for _ in 0..4 {
        let mut taken: Vec<_> = (0..2).map(|_| right.take(4096).unwrap()).collect();
        assert!(taken.iter_mut().all(|buffer| buffer.spare_mut().iter().all(|byte| *byte == 0)));
    }
}

// REQ R2
#[test]
fn what_another_thread_gives_back_its_taker_has_again() {
    let pool = small(64);
    let account = account(&pool, "left", 0, 64);
    for _ in 0..100 {
        let mut buffer = account.take(4096).unwrap();
        let at = buffer.spare_mut().as_ptr();
        std::thread::scope(|scope| scope.spawn(|| drop(buffer)).join().unwrap());
        // It lies with the thread that took it, and not with the one that is gone.
        assert_eq!(account.take(4096).unwrap().spare_mut().as_ptr(), at);
    }
}

// REQ R3, REQ R4, REQ R5
#[test]
fn who_is_refused_is_told_whose_limit_it_was_and_who_holds_most() {
    let pool = small(8);
    let (left, right) = (account(&pool, "left", 2, 4), account(&pool, "right", 1, 8));
    let hog: Vec<_> = (0..6).map(|_| right.take(100).unwrap()).collect();
    let refused = right.take(100).unwrap_err();
    assert_eq!(refused.short(), Short::Lent { held: (1, 5), reserve: 1 });
    assert_eq!((refused.holders()[0].channel.as_str(), refused.holders()[0].buffers), ("right", 6));
    assert!(refused.to_string().contains("tests/pool.rs"), "{refused}");
    // What is reserved is there.
    let own: Vec<_> = (0..2).map(|_| left.take(100).unwrap()).collect();
    assert!(left.take(100).is_err());
    drop(hog);
    let more: Vec<_> = (0..2).map(|_| left.take(100).unwrap()).collect();
    assert_eq!(left.take(100).unwrap_err().short(), Short::Channel { held: (2, 2), allowed: 4 });
    drop((own, more));

    let modest = pool.channel("modest", &Limits::default()).unwrap().component("c", 5_000).unwrap();
    let held = modest.take(4096).unwrap();
    let refused = modest.take(1).unwrap_err();
    assert_eq!(refused.short(), Short::Component { held: 4096, allowed: 5_000 });
    assert!(refused.to_string().contains("declare a higher limit"), "{refused}");
    drop(held);
    assert!(modest.take(16_384).is_err(), "a buffer that is larger than the component's limit");
    assert_eq!(left.take(16_385).unwrap_err().short(), Short::Size { largest: 16_384 });
}

// REQ R6
#[test]
fn what_is_held_is_named_with_its_place_and_age() {
    let pool = small(8);
    let (left, right) = (account(&pool, "left", 0, 8), account(&pool, "right", 0, 8));
    pool.tick(100);
    let kept: Vec<_> = (0..3).map(|_| left.take(10).unwrap()).collect();
    pool.tick(130);
    let large = right.take(10_000).unwrap();
    drop(left.take(10).unwrap());
    let found: Vec<_> = (pool.holders().into_iter())
        .map(|holder| (holder.channel, holder.buffers, holder.bytes, holder.oldest_seconds))
        .collect();
    assert_eq!(found, [("right".to_owned(), 1, 16_384, 0), ("left".to_owned(), 3, 12_288, 30)]);
    drop((kept, large));
    assert!(pool.holders().is_empty());
}

// REQ R2
#[test]
fn buffers_outlive_their_pool_and_are_cut_without_copying() {
    let pool = small(4);
    let left = account(&pool, "left", 0, 4);
    let mut buffer = left.take(4096).unwrap();
    assert_eq!(buffer.fill_from(b"one two three"), 13);
    let whole = buffer.freeze();
    let parts: Vec<_> = [whole.slice(..3), whole.slice(4..7), whole.slice(8..)].into();
    let at = whole.as_ptr();
    drop((whole, left, pool));
    let threads: Vec<_> = parts
        .into_iter()
        .zip(["one", "two", "three"])
        .map(|(part, expected)| {
            std::thread::spawn(move || {
                assert_eq!(&*part, expected.as_bytes());
                part
            })
        })
        .collect();
    let mut parts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(parts[0].as_ptr(), at);
    assert!(parts[0].clone().into_buffer().is_err(), "others share it");
    parts.truncate(1);
    let again = parts.pop().unwrap().into_buffer().unwrap();
    assert_eq!((&*again, again.holder()), (&b"one"[..], ("left", "all")));
}

// REQ R8
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn chains_waste_less_than_a_buffer_of_the_smallest_tier() {
    let pool = Pool::builder().build().unwrap();
    let all = pool.channel("all", &Limits::default()).unwrap().component("c", MANY_BYTES).unwrap();
    let mut rng = Rng::with_seed(7);
    let (mut asked, mut given) = (0, 0);
    for _ in 0..2_000 {
        let bytes = 256.0 * 4096.0_f64.powf(rng.f64());
        let bytes = bytes as usize;
        let chain = all.take_chain(bytes).unwrap();
        assert!(chain.capacity() >= bytes && chain.capacity() - bytes < 4096, "{bytes}");
        (asked, given) = (asked + bytes, given + chain.capacity());
    }
    let waste = 1.0 - asked as f64 / given as f64;
    assert!(waste < 0.05, "{waste}");
    let mut chain = all.take_chain(70_000).unwrap();
    let text: Vec<u8> = (0..70_000u32).map(|n| n as u8).collect();
    assert_eq!(chain.fill_from(&text), 70_000);
    assert_eq!(chain.io_slices().iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>(), text);
}

/// What a channel may have, told naively.
struct Model {
    reserve: u32,
    max: u32,
    held: u32,
}

// REQ R3, REQ R4: whatever is taken and given back, in whatever order, each answer is the naive model's.
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn quotas_are_what_the_naive_model_says() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let slots = rng.u32(3..40);
        let pool = small(slots);
        let mut models = Vec::new();
        let mut left = slots;
        let mut accounts = Vec::new();
        for name in 0..rng.usize(1..5) {
            let reserve = rng.u32(0..=left / 2);
            let max = reserve + rng.u32(0..=slots);
            left -= reserve;
            accounts.push(account(&pool, &format!("c{name}"), reserve, max));
            models.push(Model { reserve, max, held: 0 });
        }
        let mut held: Vec<VecDeque<Buffer>> = accounts.iter().map(|_| VecDeque::new()).collect();
        for _ in 0..400 {
            let who = rng.usize(..accounts.len());
            if rng.u32(..5) < 3 {
                let lent: u32 = models.iter().map(|m| m.held.saturating_sub(m.reserve)).sum();
                let model = &mut models[who];
                let is_allowed = model.held < model.max && (model.held < model.reserve || lent < left);
                let taken = accounts[who].take(10);
                assert_eq!(taken.is_ok(), is_allowed, "seed {seed}: {:?}", taken.err());
                model.held += u32::from(is_allowed);
                held[who].extend(taken);
            } else {
                let gone = if rng.bool() { held[who].pop_front() } else { held[who].pop_back() };
                models[who].held -= u32::from(gone.is_some());
                if rng.bool() {
                    // From another thread.
                    std::thread::scope(|scope| scope.spawn(move || drop(gone)).join().unwrap());
                }
            }
        }
    }
}

// REQ R4: one hoards, one floods, one gives back elsewhere; every other gets its reserve at every request.
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn whoever_floods_every_reserve_is_there_at_every_request() {
    let pool = small(64);
    let quiet: Vec<_> = (0..4).map(|n| account(&pool, &format!("quiet{n}"), 4, 8)).collect();
    let greedy = account(&pool, "greedy", 0, 64);
    let leaking = account(&pool, "leaking", 0, 20);
    let (over, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let barrier = Barrier::new(quiet.len() + 2);
    std::thread::scope(|scope| {
        let (over, requests, barrier) = (&over, &requests, &barrier);
        let flood = scope.spawn(move || {
            barrier.wait();
            let mut held = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match greedy.take(10) {
                    Ok(buffer) => held.push(buffer),
                    Err(_) => drop(held.drain(..held.len() / 2)),
                }
            }
        });
        let leak = scope.spawn(move || {
            barrier.wait();
            let mut held = Vec::new();
            while !over.load(Ordering::Relaxed) {
                held.extend(leaking.take(10));
            }
            drop(held);
        });
        let quiet: Vec<_> = (quiet.iter())
            .map(|account| {
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..3_000 {
                        let all: Vec<_> = (0..4).map(|_| account.take(10)).collect();
                        assert!(
                            all.iter().all(Result::is_ok),
                            "{:?}",
                            all.iter().find_map(|a| a.as_ref().err())
                        );
                        requests.fetch_add(4, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = quiet.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        leak.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    assert_eq!(requests.load(Ordering::Relaxed), 4 * 4 * 3_000);
    // Everything is back: one that may have all gets all.
    let all = account(&pool, "all", 0, 64);
    assert_eq!((0..48).map_while(|_| all.take(10).ok()).collect::<Vec<_>>().len(), 48);
}

// REQ R5: who waits gets what is given back, in turn.
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn those_who_wait_are_served_channel_by_channel() {
    let pool = small(2);
    let hog = account(&pool, "hog", 0, 2);
    let held: Vec<_> = (0..2).map(|_| hog.take(10).unwrap()).collect();
    let (many, one) = (account(&pool, "many", 0, 2), account(&pool, "one", 0, 2));
    assert!(many.take_until(10, Instant::now()).is_err());
    let until = Instant::now() + Duration::from_secs(60);
    let (sent, served) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let waits = |account: &Account, name: &'static str| {
            let (account, sent) = (account.clone(), sent.clone());
            scope.spawn(move || {
                let buffer = account.take_until(10, until).unwrap();
                sent.send(name).unwrap();
                drop(buffer);
            });
        };
        for _ in 0..6 {
            waits(&many, "many");
        }
        waits(&one, "one");
        drop(held);
        let order: Vec<_> = served.iter().take(7).collect();
        assert_eq!(order.iter().filter(|name| **name == "many").count(), 6);
    });
}
