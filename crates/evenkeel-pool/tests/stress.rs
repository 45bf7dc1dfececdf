//! Many threads at once: limits hold at every moment, and nothing is lost or doubled.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![cfg(not(miri))]

use evenkeel_pool::{Account, Buffer, Channel, Limits, Pool, Tier, Used, WhenExhausted};
use fastrand::Rng;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const TIERS: [Tier; 2] = [Tier { bytes: 4096, slots: 48 }, Tier { bytes: 16_384, slots: 12 }];
const POOL_BYTES: u64 = 60 * 4096;
const CHANNELS: usize = 4;
const CHANNEL_BYTES: u64 = 30 * 4096;
const RESERVE_BYTES: u64 = 6 * 4096;
const ROUNDS: u32 = 20_000;

/// What is held, counted by the test itself: more than is held at no time.
#[derive(Default)]
struct Tally {
    all: AtomicU64,
    of: [AtomicU64; CHANNELS],
}

impl Tally {
    fn add(&self, who: usize, bytes: u64) {
        let all = self.all.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let own = self.of[who].fetch_add(bytes, Ordering::SeqCst) + bytes;
        assert!(all <= POOL_BYTES, "the pool lends {POOL_BYTES} bytes, and {all} are held");
        assert!(own <= CHANNEL_BYTES, "{who} may have {CHANNEL_BYTES} bytes, and has {own}");
    }

    fn remove(&self, who: usize, bytes: u64) {
        self.all.fetch_sub(bytes, Ordering::SeqCst);
        self.of[who].fetch_sub(bytes, Ordering::SeqCst);
    }
}

/// A buffer with its holder's mark in it, and counted.
struct Held<'a> {
    buffer: Buffer,
    who: usize,
    mark: u8,
    tally: &'a Tally,
}

impl<'a> Held<'a> {
    fn new(mut buffer: Buffer, who: usize, mark: u8, tally: &'a Tally) -> Self {
        tally.add(who, buffer.capacity() as u64);
        let pages = buffer.capacity() / 4096;
        let spare = buffer.spare_mut();
        (0..pages).for_each(|page| spare[page * 4096] = mark);
        buffer.advance(pages * 4096);
        Self { buffer, who, mark, tally }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        assert!(self.buffer.iter().step_by(4096).all(|byte| *byte == self.mark), "two have it");
        self.tally.remove(self.who, self.buffer.capacity() as u64);
    }
}

fn channels(pool: &Pool) -> Vec<(Channel, Account)> {
    let limits = Limits {
        reserve: vec![6],
        bytes_reserve: RESERVE_BYTES,
        bytes_max: Some(CHANNEL_BYTES),
        ..Limits::default()
    };
    let one = |who: usize| {
        let channel = pool.channel(&format!("c{who}"), &limits).unwrap();
        let account = channel.component("all", 1 << 40).unwrap();
        (channel, account)
    };
    (0..CHANNELS).map(one).collect()
}

fn holds(used: Used) {
    assert!(used.own <= used.reserve && used.held() <= used.max, "{used:?}");
}

/// Takes and gives back in all ways; some of it elsewhere.
fn works<'a>(account: &Account, who: usize, mark: u8, tally: &'a Tally, sent: &mpsc::SyncSender<Held<'a>>) {
    let mut rng = Rng::with_seed(u64::from(mark));
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        match rng.u32(..16) {
            0..7 => {
                let taken = account.take(if rng.u32(..4) == 0 { 16_384 } else { 4096 });
                held.extend(taken.ok().map(|buffer| Held::new(buffer, who, mark, tally)));
            }
            7 => {
                let soon = Instant::now() + Duration::from_micros(200);
                let taken = account.take_or(4096, WhenExhausted::WaitUntil(soon));
                let taken = taken.ok().and_then(evenkeel_pool::Taken::given);
                held.extend(taken.map(|buffer| Held::new(buffer, who, mark, tally)));
            }
            8 => {
                let chain = account.take_chain(rng.usize(1..40_000)).ok();
                let buffers = chain.into_iter().flat_map(evenkeel_pool::Chain::into_buffers);
                held.extend(buffers.map(|buffer| Held::new(buffer, who, mark, tally)));
            }
            9 if !held.is_empty() => drop(sent.try_send(held.swap_remove(rng.usize(..held.len())))),
            10 => held.clear(),
            _ if !held.is_empty() => drop(held.swap_remove(rng.usize(..held.len()))),
            _ => {}
        }
    }
}

// REQ R3, REQ R4: with many threads at work nobody is ever over a limit, who has a reserve gets it at every request, no buffer
// is with two, resident memory stays bounded, and in the end everything is back.
#[test]
fn under_load_limits_hold_and_nothing_is_lost() {
    let pool = Pool::builder().tiers(TIERS).resident_max(POOL_BYTES).build().unwrap();
    let (all, tally, over) = (channels(&pool), Tally::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (sent, given) = mpsc::sync_channel(8);
        let (tally, over, pool, all) = (&tally, &over, &pool, &all);
        // The last channel is quiet: it has its reserve at every request.
        let workers: Vec<_> = (0..2 * (CHANNELS - 1))
            .map(|n| {
                let sent = sent.clone();
                scope.spawn(move || works(&all[n / 2].1, n / 2, b'a' + n as u8, tally, &sent))
            })
            .collect();
        drop(sent);
        scope.spawn(move || given.into_iter().for_each(drop));
        scope.spawn(move || {
            let quiet = &all[CHANNELS - 1].1;
            while !over.load(Ordering::Relaxed) {
                let taken: Vec<_> = (0..6).map(|_| quiet.take(4096)).collect();
                assert!(taken.iter().all(Result::is_ok), "{:?}", taken.iter().find_map(|t| t.as_ref().err()));
            }
        });
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                assert!(pool.warm_bytes() <= POOL_BYTES, "{} bytes are warm", pool.warm_bytes());
                for (channel, _) in all {
                    let usage = channel.usage();
                    usage.tiers.iter().copied().chain([usage.bytes]).for_each(holds);
                }
                if fastrand::u32(..8) == 0 {
                    pool.shrink().unwrap();
                }
            }
        });
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    assert_eq!(tally.all.load(Ordering::SeqCst), 0);
    // The system looks at one page after the other: while slots warm and cool, what it says is of no one moment.
    assert!(pool.resident_bytes().unwrap() <= POOL_BYTES);
    all.iter().for_each(|(channel, _)| channel.close().unwrap());
    // All that there is can be one channel's alone.
    let limits = Limits { bytes_reserve: POOL_BYTES, ..Limits::default() };
    let last = pool.channel("last", &limits).unwrap().component("all", 1 << 40).unwrap();
    assert_eq!(last.take_chain(POOL_BYTES as usize).unwrap().capacity() as u64, POOL_BYTES);
}
