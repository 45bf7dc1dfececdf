//! How buffers are taken, as the pool tells it, beside what was really done.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Histogram, LeakMode, Limits, Pattern, Per, Pool, Tier};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Instant;

const MANY_BYTES: u64 = 1 << 30;
const SIZES: [usize; 2] = [4096, 16_384];

fn small() -> Pool {
    let tiers = SIZES.map(|bytes| Tier { bytes, slots: 40 });
    Pool::builder().tiers(tiers).build().unwrap()
}

fn account(pool: &Pool, name: &str) -> Account {
    pool.channel(name, &Limits::default()).unwrap().component("all", MANY_BYTES).unwrap()
}

fn of<'a>(all: &'a [Pattern], channel: &str, slot_bytes: u64) -> &'a Pattern {
    all.iter().find(|pattern| pattern.channel == channel && pattern.slot_bytes == slot_bytes).unwrap()
}

// REQ R11: whoever takes and from whichever thread, each take is counted once, with whom it was.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn takes_are_counted_exactly() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let pool = small();
        let channels: Vec<_> =
            (0..3).map(|name| pool.channel(&format!("c{name}"), &Limits::default()).unwrap()).collect();
        let accounts: Vec<_> = (0..6)
            .map(|at| channels[at / 2].component(["mic", "disk"][at % 2], MANY_BYTES).unwrap())
            .collect();
        let modes =
            [LeakMode::Off, LeakMode::Sites, LeakMode::Sampled { one_in: NonZeroU32::new(9).unwrap() }];
        let mut wanted: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
        for _ in 0..8 {
            pool.set_leaks(modes[rng.usize(..3)]);
            let work: Vec<_> = (0..6).map(|_| (rng.usize(..6), rng.usize(..2), rng.u64(1..900))).collect();
            for (who, tier, takes) in &work {
                let name =
                    (format!("c{}", who / 2), ["mic", "disk"][who % 2].to_owned(), SIZES[*tier] as u64);
                *wanted.entry(name).or_default() += takes;
            }
            std::thread::scope(|scope| {
                for part in work.chunks(3) {
                    let accounts = &accounts;
                    scope.spawn(move || {
                        for (who, tier, takes) in part {
                            (0..*takes).for_each(|_| drop(accounts[*who].take(SIZES[*tier]).unwrap()));
                        }
                    });
                }
            });
            let found: BTreeMap<_, _> = (pool.patterns(Per::Component).into_iter())
                .map(|pattern| ((pattern.channel, pattern.component, pattern.slot_bytes), pattern.takes))
                .collect();
            assert_eq!(found, wanted, "seed {seed}");
        }
        let sum = |patterns: Vec<Pattern>| patterns.iter().map(|pattern| pattern.takes).sum::<u64>();
        let all: u64 = wanted.values().sum();
        assert_eq!([Per::Component, Per::Channel, Per::Tier].map(|per| sum(pool.patterns(per))), [all; 3]);
        assert_eq!(pool.patterns(Per::Tier).len(), 2);
    }
}

fn places(histogram: &Histogram) -> Vec<usize> {
    (0..histogram.buckets.len()).filter(|at| histogram.buckets[*at] > 0).collect()
}

// REQ R11: what is drawn is like the rest, also where takes have a rhythm.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn what_is_sampled_is_like_the_rest() {
    let pool = small();
    let (left, right) = (account(&pool, "left"), account(&pool, "right"));
    // Every fourth is large and full, the others are small and a quarter full: 64 is a multiple of that.
    for round in 0..1_600_000 {
        let is_fourth = round % 4 == 0;
        let (asked, filled) = if is_fourth { (3_000, 2_900) } else { (600, 150) };
        let mut buffer = left.take(asked).unwrap();
        buffer.fill_from(&[1; 4096][..filled]);
        if round % 3 == 0 {
            let whole = buffer.freeze();
            drop((whole.slice(..10), whole));
        }
        if is_fourth {
            drop(right.take(5_000).unwrap());
        }
    }
    let patterns = pool.patterns(Per::Channel);
    let pattern = of(&patterns, "left", 4096);
    assert_eq!((pattern.takes, of(&patterns, "right", 16_384).takes), (1_600_000, 400_000));
    assert!((600..1_000).contains(&pattern.samples), "{}", pattern.samples);
    assert_eq!(pattern.samples, pattern.samples_back);
    assert_eq!((pattern.asked.count(), pattern.lifetimes.count()), (pattern.samples, pattern.samples_back));
    assert_eq!(places(&pattern.asked), [9, 11], "600 and 3,000 bytes");
    assert_eq!((pattern.asked.below(0.5), pattern.asked.below(0.99)), (Some(1_024), Some(4_096)));
    let (asked, filled) = ((3_000.0 + 3.0 * 600.0) / 4.0 / 4096.0, (2_900.0 + 3.0 * 150.0) / 4.0 / 4096.0);
    assert!((pattern.asked_share().unwrap() - asked).abs() < 0.05, "{pattern:?}");
    assert!((pattern.efficiency().unwrap() - filled).abs() < 0.05, "{pattern:?}");
    assert_eq!(of(&patterns, "right", 16_384).efficiency(), Some(0.0));
    assert_eq!(Pattern::default().efficiency(), None);
}

// REQ R11: lifetimes are between what can be and what was measured around them.
#[cfg_attr(miri, ignore = "thousands of rounds, or a clock")]
#[test]
fn lifetimes_are_within_what_was_measured_outside() {
    let pool = small();
    let left = account(&pool, "left");
    let mut held = std::collections::VecDeque::new();
    let (mut longest, mut rounds) = (0, 0);
    // Held for as long as the next seven takes last.
    while rounds < 320_000 {
        held.push_back((left.take(10).unwrap(), Instant::now()));
        if held.len() > 7 {
            let (buffer, since) = held.pop_front().unwrap();
            drop(buffer);
            longest = longest.max(since.elapsed().as_nanos() as u64);
        }
        rounds += 1;
    }
    let patterns = pool.patterns(Per::Tier);
    let pattern = &patterns[0];
    assert!(pattern.samples_back > 80, "{pattern:?}");
    // A take begins before the clock outside is read, if only by moments.
    let most = 2 * longest.next_power_of_two();
    assert!(pattern.lifetimes.below(1.0).unwrap() <= 2 * most, "{longest}: {pattern:?}");
    assert!(pattern.lifetime_nanos().unwrap() > 50.0, "seven takes last longer: {pattern:?}");
}

// REQ R11
#[test]
fn rates_are_of_whole_windows() {
    let pool = small();
    let left = account(&pool, "left");
    let takes = |count: u32| (0..count).for_each(|_| drop(left.take(10).unwrap()));
    let rates = || {
        let patterns = pool.patterns(Per::Channel);
        (of(&patterns, "left", 4096).takes_a_second, of(&patterns, "left", 4096).takes_a_second_max)
    };
    takes(70);
    // The clock may stand anywhere when it is told first: what was before is in no window.
    pool.tick(1_000);
    assert_eq!(rates(), (0.0, 0.0));
    takes(300);
    (1_001..1_010).for_each(|second| pool.tick(second));
    assert_eq!(rates(), (0.0, 0.0), "it is not whole yet");
    pool.tick(1_010);
    assert_eq!(rates(), (30.0, 30.0));
    takes(40);
    pool.tick(1_030);
    assert_eq!(rates(), (2.0, 30.0), "twenty seconds were one window");
    pool.tick(1_040);
    assert_eq!(rates(), (0.0, 30.0));
}

// REQ R8: what is asked for beside what is held for it; chains leave little.
#[test]
fn what_is_held_in_vain_is_known_exactly() {
    let pool = small();
    let left = account(&pool, "left");
    assert_eq!(pool.fragmentation().share(), 0.0);
    let (one, two) = (left.take(1_000).unwrap(), left.take(10_000).unwrap().freeze());
    let found = pool.fragmentation();
    assert_eq!((found.asked_bytes, found.held_bytes), (11_000, 4_096 + 16_384));
    drop(two);
    assert_eq!(pool.fragmentation().asked_bytes, 1_000);
    let chain = left.take_chain(20_000).unwrap();
    let found = pool.fragmentation();
    assert_eq!((found.asked_bytes, found.held_bytes), (21_000, 2 * 4_096 + 16_384));
    drop((one, chain));
    assert_eq!(pool.fragmentation().held_bytes, 0);
}

// REQ R8: the two ways to ask the system agree, and both see what was used.
#[cfg_attr(miri, ignore = "the system is asked")]
#[test]
fn what_the_system_says_grows_with_what_is_used() {
    let resident = || {
        let detail = evenkeel_pool::resident_in_detail().unwrap();
        (evenkeel_pool::resident().unwrap(), detail.used())
    };
    let before = resident();
    let pool = Pool::builder().build().unwrap();
    let all = account(&pool, "all");
    let mut large: Vec<_> = (0..64).map(|_| all.take(1 << 20).unwrap()).collect();
    large.iter_mut().for_each(|buffer| buffer.spare_mut().fill(1));
    let after = resident();
    // Others of this process may give some back meanwhile.
    assert!(after.0 > before.0 + (60 << 20) && after.1 > before.1 + (60 << 20), "{before:?} {after:?}");
    drop(large);
}
