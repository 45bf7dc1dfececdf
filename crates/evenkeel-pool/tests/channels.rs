//! Fifty channels with reserves: one greedy, one that leaks, one that is stuck, and 47 that are owed what is theirs.
//!
//! Short, it runs with fixed counts. `cargo xtask soak channels` runs it for as long as it is told, in release, by
//! `EVENKEEL_SOAK_SECONDS`.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
#![allow(clippy::print_stdout, reason = "what was found is shown to whoever asked for it")]

use evenkeel_pool::{Account, Buffer, Limits, Pool};
use fastrand::Rng;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Channels that are owed their reserve.
const NORMAL: usize = 47;
/// Threads that work for them, each for all.
const WORKERS: u64 = 6;
/// Of each tier, each channel's alone: 50 times that leaves 100, 50 and 25 to be lent.
const RESERVE: [u32; 3] = [8, 4, 2];
/// Requests of each channel where nobody says for how long.
const REQUESTS: u64 = 60;
/// What it asks for beyond its reserve, and may be refused.
const BEYOND: usize = 3;
const MANY_BYTES: u64 = 1 << 40;

/// One of the 47: the account, what it holds now, and how many requests it has made.
struct Work {
    number: u8,
    account: Account,
    held: Vec<Buffer>,
    requests: u64,
}

#[derive(Default)]
struct Counted {
    requests: AtomicU64,
    /// Of what is reserved.
    granted: AtomicU64,
    refused: AtomicU64,
    /// Of what is lent.
    lent: AtomicU64,
    not_lent: AtomicU64,
    slowest_us: AtomicU64,
    first_refusal: Mutex<Option<String>>,
}

struct Scene {
    pool: Pool,
    sizes: Vec<usize>,
    work: Mutex<VecDeque<Work>>,
    ended: AtomicUsize,
    /// Until when it goes on, instead of so many requests.
    until: Option<Instant>,
    is_over: AtomicBool,
    counted: Counted,
}

/// Who does not behave: its name, and the line at which it takes.
struct Culprit {
    name: &'static str,
    account: Account,
    line: AtomicU32,
}

impl Culprit {
    fn new(pool: &Pool, name: &'static str) -> Self {
        Self { name, account: account(pool, name), line: AtomicU32::new(0) }
    }

    fn is_named_in(&self, holders: &[evenkeel_pool::Holder]) -> bool {
        let site = format!("tests/channels.rs:{}:", self.line.load(Ordering::Relaxed));
        holders.iter().any(|holder| {
            let is_its = (holder.channel.as_str(), holder.component.as_str()) == (self.name, "worker");
            is_its && holder.site.contains(&site) && holder.buffers > 0
        })
    }
}

fn account(pool: &Pool, name: &str) -> Account {
    let limits = Limits { reserve: RESERVE.to_vec(), ..Limits::default() };
    pool.channel(name, &limits).unwrap().component("worker", MANY_BYTES).unwrap()
}

impl Scene {
    fn is_last(&self, work: &Work) -> bool {
        self.until.map_or(work.requests >= REQUESTS, |until| Instant::now() >= until)
    }

    /// All that is its alone, in any order; then more, which it may be refused.
    fn request(&self, work: &mut Work, rng: &mut Rng) {
        let mut wanted: Vec<usize> =
            (0..RESERVE.len()).flat_map(|at| vec![at; RESERVE[at] as usize]).collect();
        rng.shuffle(&mut wanted);
        let counted = &self.counted;
        let began = Instant::now();
        for at in wanted {
            match self.take(work, at, rng) {
                Ok(()) => _ = counted.granted.fetch_add(1, Ordering::Relaxed),
                Err(refusal) => {
                    counted.refused.fetch_add(1, Ordering::Relaxed);
                    counted.first_refusal.lock().unwrap().get_or_insert(refusal);
                }
            }
        }
        counted.slowest_us.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        counted.requests.fetch_add(1, Ordering::Relaxed);
        work.requests += 1;
        for _ in 0..rng.usize(..=BEYOND) {
            let lent = self.take(work, rng.usize(..RESERVE.len()), rng);
            let count = if lent.is_ok() { &counted.lent } else { &counted.not_lent };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self, work: &mut Work, at: usize, rng: &mut Rng) -> Result<(), String> {
        let least = at.checked_sub(1).map_or(1, |below| self.sizes[below] + 1);
        let taken = work.account.take(rng.usize(least..=self.sizes[at]));
        let mut buffer = taken.map_err(|refusal| refusal.to_string())?;
        buffer.fill_from(&[work.number; 16]);
        work.held.push(buffer);
        Ok(())
    }

    /// Gives all back, whole or cut to pieces; each still has what its channel wrote.
    fn give_back(work: &mut Work, rng: &mut Rng) {
        rng.shuffle(&mut work.held);
        for buffer in work.held.drain(..) {
            assert_eq!(&*buffer, &[work.number; 16], "another wrote in it");
            if rng.bool() {
                let whole = buffer.freeze();
                let (first, rest) = whole.split_at(7);
                drop(whole);
                assert_eq!((first[0], rest[8]), (work.number, work.number));
            }
        }
    }

    /// Works for all channels in turn: what one thread took another gives back.
    fn work(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        while self.ended.load(Ordering::Relaxed) < NORMAL {
            let next = self.work.lock().unwrap().pop_front();
            let Some(mut work) = next else {
                thread::yield_now();
                continue;
            };
            if !work.held.is_empty() {
                Self::give_back(&mut work, &mut rng);
            } else if self.is_last(&work) {
                self.ended.fetch_add(1, Ordering::Relaxed);
                continue;
            } else {
                self.request(&mut work, &mut rng);
            }
            self.work.lock().unwrap().push_back(work);
        }
    }

    /// Takes all that it can get, and keeps it.
    fn greedy(&self, culprit: &Culprit, settled: &Barrier) {
        let mut held = Vec::new();
        self.misbehave(settled, || {
            for bytes in &self.sizes {
                let (line, taken) = (line!(), culprit.account.take(*bytes));
                culprit.line.store(line, Ordering::Relaxed);
                held.extend(taken);
            }
        });
    }

    /// Takes one after the other, and forgets to give them back.
    fn leaking(&self, culprit: &Culprit, settled: &Barrier) {
        let (mut rng, mut lost) = (Rng::with_seed(50), Vec::new());
        self.misbehave(settled, || {
            let bytes = rng.usize(1..=self.sizes[RESERVE.len() - 1]);
            let (line, taken) = (line!(), culprit.account.take(bytes));
            culprit.line.store(line, Ordering::Relaxed);
            lost.extend(taken);
        });
    }

    /// Takes what is its own, and stops.
    fn stuck(&self, culprit: &Culprit, settled: &Barrier) {
        let mut held = Vec::new();
        let (line, taken) = (line!(), self.sizes.iter().map(|bytes| culprit.account.take(*bytes)));
        held.extend(taken.map(Result::unwrap));
        culprit.line.store(line, Ordering::Relaxed);
        self.misbehave(settled, thread::yield_now);
    }

    fn misbehave(&self, settled: &Barrier, mut again: impl FnMut()) {
        again();
        settled.wait();
        while !self.is_over.load(Ordering::Relaxed) {
            again();
            thread::yield_now();
        }
    }

    /// Looks who holds what, again and again, until the 47 have done: how often all culprits were named.
    fn watch(&self, culprits: &[Culprit; 3]) -> u32 {
        let (began, mut looks) = (Instant::now(), 0);
        while self.ended.load(Ordering::Relaxed) < NORMAL {
            looks += 1;
            let seconds = self.until.map_or(looks, |_| began.elapsed().as_secs() as u32);
            self.pool.tick(seconds);
            let holders = self.pool.holders();
            for culprit in culprits {
                assert!(culprit.is_named_in(&holders), "{} is not among {holders:?}", culprit.name);
            }
            // sleep: looking costs the others nothing but the processor, which is theirs.
            thread::sleep(Duration::from_millis(1));
        }
        looks
    }

    fn said(&self, looks: u32) -> String {
        let counted = &self.counted;
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut said = String::new();
        for (what, count) in [
            ("requests for a whole reserve", figure(&counted.requests)),
            ("buffers of reserves given", figure(&counted.granted)),
            ("buffers of reserves refused", figure(&counted.refused)),
            ("buffers lent beyond", figure(&counted.lent)),
            ("buffers not lent", figure(&counted.not_lent)),
            ("slowest request, us", figure(&counted.slowest_us)),
            ("looks at who holds what", u64::from(looks)),
        ] {
            writeln!(said, "{what:<32} {count:>12}").unwrap();
        }
        for holder in self.pool.holders() {
            let age = holder.oldest_seconds;
            writeln!(said, "named: {holder}, {} bytes, for {age} s", holder.bytes).unwrap();
        }
        said
    }
}

/// For how long, where `cargo xtask soak` says so.
fn until() -> Option<Instant> {
    let seconds = std::env::var("EVENKEEL_SOAK_SECONDS").ok()?;
    Some(Instant::now() + Duration::from_secs(seconds.parse().unwrap()))
}

fn scene(pool: &Pool) -> Scene {
    let work = |number: usize| Work {
        number: number as u8,
        account: account(pool, &format!("channel-{number}")),
        held: Vec::new(),
        requests: 0,
    };
    Scene {
        pool: pool.clone(),
        sizes: pool.tiers().iter().map(|tier| tier.bytes).collect(),
        work: Mutex::new((0..NORMAL).map(work).collect()),
        ended: AtomicUsize::new(0),
        until: until(),
        is_over: AtomicBool::new(false),
        counted: Counted::default(),
    }
}

// REQ R4, REQ R6
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn whoever_misbehaves_every_other_channel_has_its_reserve_at_every_request() {
    let pool = Pool::builder().build().unwrap();
    let culprits = ["greedy", "leaking", "stuck"].map(|name| Culprit::new(&pool, name));
    let scene = scene(&pool);
    let settled = Barrier::new(culprits.len() + 1);
    let said = thread::scope(|threads| {
        let (scene, settled, [greedy, leaking, stuck]) = (&scene, &settled, &culprits);
        threads.spawn(|| scene.greedy(greedy, settled));
        threads.spawn(|| scene.leaking(leaking, settled));
        threads.spawn(|| scene.stuck(stuck, settled));
        settled.wait();
        let workers: Vec<_> = (0..WORKERS).map(|seed| threads.spawn(move || scene.work(seed))).collect();
        // Whatever fails, the others are let go: then the threads end, and it is told.
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.watch(&culprits)));
        let worked: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let said = watched.map(|looks| scene.said(looks));
        let holding: BTreeSet<_> = pool.holders().into_iter().map(|holder| holder.channel).collect();
        scene.is_over.store(true, Ordering::Relaxed);
        assert!(worked.iter().all(Result::is_ok));
        let said = said.unwrap();
        assert_eq!(holding, culprits.iter().map(|culprit| culprit.name.to_owned()).collect(), "\n{said}");
        said
    });
    println!("{said}");
    let counted = scene.counted;
    let (refused, requests) = (counted.refused.into_inner(), counted.requests.into_inner());
    assert_eq!(refused, 0, "{:?}\n{said}", counted.first_refusal);
    let owed = requests * u64::from(RESERVE.iter().sum::<u32>());
    assert_eq!((counted.granted.into_inner(), requests >= NORMAL as u64), (owed, true), "{said}");
    assert!(pool.holders().is_empty(), "all is back: {:?}", pool.holders());
}
