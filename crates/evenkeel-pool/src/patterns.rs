//! Who takes what, how often, for how long, and how much of it is used.
//!
//! How many takes there were is exact. What they were for, how long they lasted and how much was filled is known of about one
//! in 2,048, drawn by chance, so that who takes and gives back reads no clock and writes to no line that others write.

use crate::arena::Memory;
use crate::pool::Pool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Powers of two of bytes that are told apart: a buffer has 2 GiB at most.
const SIZES: usize = 32;
/// Powers of two of nanoseconds that are told apart: 39 hours and above are one.
const TIMES: usize = 48;
/// Seconds over which takes are counted for a rate.
pub(crate) const WINDOW_SECONDS: u32 = 10;

/// How many values lay between which powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many values were at least 2 to the power of the place and less than twice that; a 0 is at place 0, and
    /// the last place has all that are larger.
    pub buckets: Vec<u64>,
}

impl Histogram {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A bound that so large a share of the values is below: a power of two, so that it may be up to twice what it would be
    /// exactly. None where there was no value.
    pub fn below(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.map(|at| 2_u64.saturating_pow(at as u32 + 1))
    }

    fn add(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(own, more)| *own += more);
    }
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each component, and of it each tier.
    Component,
    /// Each channel, and of it each tier.
    Channel,
    /// Each tier.
    Tier,
}

/// How buffers of a tier are taken.
///
/// ```
/// use evenkeel_pool::{Limits, Per, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder().build()?;
/// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
/// for _ in 0..10_000 {
///     left.take(4096)?.fill_from(b"little");
/// }
/// let patterns = pool.patterns(Per::Channel);
/// assert_eq!((patterns[0].channel.as_str(), patterns[0].slot_bytes, patterns[0].takes), ("left", 4096, 10_000));
/// assert!(patterns[0].efficiency().is_some_and(|share| share < 0.01));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    /// The channel; empty where it is all of them.
    pub channel: String,
    /// The component in it; empty where it is all of them.
    pub component: String,
    /// Bytes of a buffer of the tier.
    pub slot_bytes: u64,
    /// How many were taken in all: exact, unless somebody takes one at this moment.
    pub takes: u64,
    /// Takes a second, over the last ten seconds that are whole by the pool's [tick](crate::Pool::tick).
    pub takes_a_second: f64,
    /// The same, of those ten seconds in which it was most; of several components the sum of what was most of each.
    pub takes_a_second_max: f64,
    /// How many takes are known more closely.
    pub samples: u64,
    /// Bytes that these were for, together.
    pub asked_bytes: u64,
    /// Bytes that each was for.
    pub asked: Histogram,
    /// How many of these were given back.
    pub samples_back: u64,
    /// Nanoseconds that those were held, together.
    pub held_nanos: u64,
    /// Nanoseconds that each was held.
    pub lifetimes: Histogram,
    /// Bytes that were filled in those when they were given back, together.
    pub filled_bytes: u64,
}

impl Pattern {
    /// What share of the memory that was given out was filled when it was given back, from 0 to 1; none where nothing is known.
    pub fn efficiency(&self) -> Option<f64> {
        self.share(self.filled_bytes, self.samples_back)
    }

    /// What share of the memory that was given out was asked for, from 0 to 1; none where nothing is known.
    pub fn asked_share(&self) -> Option<f64> {
        self.share(self.asked_bytes, self.samples)
    }

    /// Nanoseconds that a buffer is held, in the mean; none where nothing is known.
    pub fn lifetime_nanos(&self) -> Option<f64> {
        (self.samples_back > 0).then(|| self.held_nanos as f64 / self.samples_back as f64)
    }

    fn share(&self, bytes: u64, of: u64) -> Option<f64> {
        (of > 0).then(|| bytes as f64 / (of as f64 * self.slot_bytes as f64))
    }

    fn add(&mut self, other: &Self) {
        self.takes += other.takes;
        self.takes_a_second += other.takes_a_second;
        self.takes_a_second_max += other.takes_a_second_max;
        self.samples += other.samples;
        self.asked_bytes += other.asked_bytes;
        self.asked.add(&other.asked);
        self.samples_back += other.samples_back;
        self.held_nanos += other.held_nanos;
        self.lifetimes.add(&other.lifetimes);
        self.filled_bytes += other.filled_bytes;
    }
}

impl Pool {
    /// How buffers were taken: of those who took any, the smallest tier first.
    pub fn patterns(&self, per: Per) -> Vec<Pattern> {
        patterns(self.root().memory(), per)
    }
}

/// How one account takes from each tier.
#[derive(Debug)]
pub(crate) struct Habits(Box<[Habit]>);

/// How one account takes from one tier.
#[derive(Debug)]
pub(crate) struct Habit {
    takes: AtomicU64,
    samples: AtomicU64,
    asked_bytes: AtomicU64,
    asked: [AtomicU64; SIZES],
    samples_back: AtomicU64,
    held_nanos: AtomicU64,
    lifetimes: [AtomicU64; TIMES],
    filled_bytes: AtomicU64,
    window: Window,
}

/// Written by whoever counts seconds, one at a time.
#[derive(Debug, Default)]
struct Window {
    /// Takes when it began.
    takes: AtomicU64,
    /// Takes and seconds of the last that is whole.
    last: (AtomicU64, AtomicU32),
    /// Of that in which there were most a second.
    most: (AtomicU64, AtomicU32),
}

fn raise(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Between which powers of two a value lies.
fn place(value: u64, places: usize) -> usize {
    (value.max(1).ilog2() as usize).min(places - 1)
}

impl Habits {
    pub(crate) fn of_tiers(tiers: usize) -> Self {
        let none = |_| Habit {
            takes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            asked_bytes: AtomicU64::new(0),
            asked: std::array::from_fn(|_| AtomicU64::new(0)),
            samples_back: AtomicU64::new(0),
            held_nanos: AtomicU64::new(0),
            lifetimes: std::array::from_fn(|_| AtomicU64::new(0)),
            filled_bytes: AtomicU64::new(0),
            window: Window::default(),
        };
        Self((0..tiers).map(none).collect())
    }

    #[inline]
    pub(crate) fn of(&self, tier: u8) -> &Habit {
        &self.0[tier as usize]
    }
}

impl Habit {
    pub(crate) fn took(&self, takes: u64) {
        raise(&self.takes, takes);
    }

    pub(crate) fn asked(&self, bytes: u32) {
        raise(&self.samples, 1);
        raise(&self.asked_bytes, u64::from(bytes));
        raise(&self.asked[place(u64::from(bytes), SIZES)], 1);
    }

    pub(crate) fn gave_back(&self, held_nanos: u64, filled: u32) {
        raise(&self.samples_back, 1);
        raise(&self.held_nanos, held_nanos);
        raise(&self.lifetimes[place(held_nanos, TIMES)], 1);
        raise(&self.filled_bytes, u64::from(filled));
    }

    fn pattern(&self, uncounted: u64) -> Pattern {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = |buckets: &[AtomicU64]| Histogram { buckets: buckets.iter().map(read).collect() };
        Pattern {
            takes: read(&self.takes) + uncounted,
            takes_a_second: rate(&self.window.last),
            takes_a_second_max: rate(&self.window.most),
            samples: read(&self.samples),
            asked_bytes: read(&self.asked_bytes),
            asked: all(&self.asked),
            samples_back: read(&self.samples_back),
            held_nanos: read(&self.held_nanos),
            lifetimes: all(&self.lifetimes),
            filled_bytes: read(&self.filled_bytes),
            ..Pattern::default()
        }
    }

    /// A window of so many seconds is whole; with 0 seconds the first begins.
    fn roll(&self, uncounted: u64, seconds: u32) {
        let takes = self.takes.load(Ordering::Relaxed) + uncounted;
        // What was on its way from a slot to its account when it was looked at may be missing for once.
        let within = takes.saturating_sub(self.window.takes.swap(takes, Ordering::Relaxed));
        let set = |place: &(AtomicU64, AtomicU32)| {
            place.0.store(within, Ordering::Relaxed);
            place.1.store(seconds, Ordering::Relaxed);
        };
        if seconds == 0 {
            return;
        }
        set(&self.window.last);
        if within as f64 / f64::from(seconds) > rate(&self.window.most) {
            set(&self.window.most);
        }
    }
}

fn rate((takes, seconds): &(AtomicU64, AtomicU32)) -> f64 {
    let seconds = seconds.load(Ordering::Relaxed);
    if seconds == 0 { 0.0 } else { takes.load(Ordering::Relaxed) as f64 / f64::from(seconds) }
}

/// Takes of each account and tier that stand with the slots, where there are any.
fn uncounted(memory: &Memory) -> BTreeMap<(u32, usize), u64> {
    let mut found = BTreeMap::new();
    for (tier, slots) in memory.slots.iter().enumerate() {
        for (slot, beside) in slots.iter().zip(&memory.beside[tier]) {
            let account = slot.account.load(Ordering::Relaxed);
            if memory.core.known(account).is_some() {
                *found.entry((account, tier)).or_insert(0) += beside.uncounted(slot);
            }
        }
    }
    found
}

/// A window of so many seconds is whole.
pub(crate) fn roll(memory: &Memory, seconds: u32) {
    let uncounted = uncounted(memory);
    for (number, account) in memory.core.all_accounts() {
        for (tier, habit) in account.habits.0.iter().enumerate() {
            habit.roll(uncounted.get(&(number, tier)).copied().unwrap_or(0), seconds);
        }
    }
}

/// How buffers were taken, of those who took any; the smallest tier first, and in it who came first.
fn patterns(memory: &Memory, per: Per) -> Vec<Pattern> {
    let uncounted = uncounted(memory);
    let mut found: BTreeMap<(usize, u32), Pattern> = BTreeMap::new();
    for (number, account) in memory.core.all_accounts() {
        for (tier, habit) in account.habits.0.iter().enumerate() {
            let pattern = habit.pattern(uncounted.get(&(number, tier)).copied().unwrap_or(0));
            if pattern.takes == 0 {
                continue;
            }
            let (channel, component) = (&account.channel.name, &account.name);
            let (number, channel, component) = match per {
                Per::Component => (number, channel.as_str(), component.as_str()),
                Per::Channel => (account.channel.number, channel.as_str(), ""),
                Per::Tier => (0, "", ""),
            };
            let of_all = found.entry((tier, number)).or_insert_with(|| Pattern {
                channel: channel.to_owned(),
                component: component.to_owned(),
                slot_bytes: memory.core.tiers[tier].slot_bytes,
                ..Pattern::default()
            });
            of_all.add(&pattern);
        }
    }
    found.into_values().collect()
}
