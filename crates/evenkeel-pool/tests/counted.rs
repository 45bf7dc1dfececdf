//! What is counted beside the memory and held for too long, from outside.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Counted, Finding, LeakMode, Limits, Pool, Tier};
use fastrand::Rng;
use std::collections::BTreeMap;

fn pool() -> Pool {
    let tiers = [Tier { bytes: 4096, slots: 4 }];
    Pool::builder().tiers(tiers).counted("files", 5_000).counted("threads", 20).build().unwrap()
}

fn account(pool: &Pool, name: &str) -> Account {
    pool.channel(name, &Limits::default()).unwrap().component("all", 1 << 20).unwrap()
}

// REQ R6, REQ R10
#[test]
fn what_is_counted_and_held_too_long_is_told_once_and_when_that_doubles() {
    let pool = pool();
    let (left, right) = (account(&pool, "left"), account(&pool, "right"));
    left.set_counted_held_max(Some(10));
    // What it may hold of buffers is another matter, in both.
    left.set_held_max(None);
    right.set_held_max(Some(1));
    right.set_counted_held_max(None);
    pool.tick(1_000);
    let (none, patient) = (left.count("files", 0).unwrap(), right.count("threads", 1).unwrap());
    let (three, line) = (left.count("files", 3).unwrap(), line!());
    let (mut held, mut told) = (Some(three), Vec::new());
    for second in 1_001..1_100 {
        pool.tick(second);
        if second == 1_085 {
            assert_eq!(pool.counted_holders()[0].oldest_seconds, 85);
            held = None;
        }
        for finding in pool.findings() {
            let (word, of) = match finding {
                Finding::UnitsHeldTooLong(of) => ("too long", of),
                Finding::UnitsReturned(of) => ("back", of),
                other => panic!("{other:?}"),
            };
            assert_eq!((of.channel.as_str(), of.component.as_str()), ("left", "all"));
            assert_eq!((of.kind.as_str(), of.units), ("files", 3));
            assert!(of.site.contains(&format!("tests/counted.rs:{line}:")), "{of}");
            assert!(of.to_string().contains("3 files held by left/all for "), "{of}");
            told.push((word, of.seconds));
        }
    }
    assert_eq!(told, [("too long", 10), ("too long", 20), ("too long", 40), ("too long", 80), ("back", 85)]);
    drop((none, patient, held));
}

// REQ R6: what is taken while nothing is noted has no time, and is not held too long whatever time it is.
#[test]
fn what_has_no_time_is_not_held_too_long() {
    let pool = pool();
    let left = account(&pool, "left");
    left.set_counted_held_max(Some(1));
    pool.set_leaks(LeakMode::Off);
    let first = left.count("files", 1).unwrap();
    pool.set_leaks(LeakMode::Sites);
    let second = left.count("files", 2).unwrap();
    pool.tick(1_000);
    let found = pool.findings();
    assert!(matches!(found.as_slice(), [Finding::UnitsHeldTooLong(held)] if held.units == 2), "{found:?}");
    assert_eq!(pool.counted_holders().iter().map(|holder| holder.units).sum::<u64>(), 3);
    drop((first, second));
}

// REQ R6: a flood is told in part, the others are counted, and buffers are told of all the same.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn a_flood_of_units_is_counted_and_hides_no_buffer() {
    let pool = pool();
    let left = account(&pool, "left");
    let (many, buffer) =
        ((0..3_000).map(|_| left.count("files", 1).unwrap()).collect::<Vec<_>>(), left.take(1));
    pool.tick(300);
    let found = pool.findings();
    let units = found.iter().filter(|finding| matches!(finding, Finding::UnitsHeldTooLong(_))).count();
    let untold: u64 = found
        .iter()
        .map(|finding| if let Finding::Untold { findings } = finding { *findings } else { 0 })
        .sum();
    assert!(units > 0 && units as u64 + untold == 3_000, "{units} and {untold}");
    assert!(found.iter().any(|finding| matches!(finding, Finding::HeldTooLong(_))));
    assert!(pool.findings().is_empty());
    drop((many, buffer));
}

struct Known {
    since: u32,
    told_at: Option<u32>,
    counted: Counted,
}

// REQ R6: whatever is taken and given back, each finding is the naive model's.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn findings_of_units_are_what_the_naive_model_says() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let pool = pool();
        let patience = [3, 12, 40];
        let accounts = [0, 1, 2].map(|who| account(&pool, &format!("c{who}")));
        for (account, seconds) in accounts.iter().zip(patience) {
            account.set_counted_held_max(Some(seconds));
        }
        let (mut now, mut known) = (0, Vec::<(usize, Known)>::new());
        for _ in 0..150 {
            let mut wanted: BTreeMap<(&str, usize, u32, u32), u32> = BTreeMap::new();
            for _ in 0..rng.u32(..4) {
                if known.is_empty() || rng.u32(..5) < 3 {
                    let who = rng.usize(..3);
                    let counted = accounts[who].count("files", rng.u32(1..4)).unwrap();
                    known.push((who, Known { since: now, told_at: None, counted }));
                } else {
                    let (who, gone) = known.swap_remove(rng.usize(..known.len()));
                    if gone.told_at.is_some() {
                        *wanted.entry(("back", who, gone.since, gone.counted.units())).or_default() += 1;
                    }
                }
            }
            now += rng.u32(..4);
            pool.tick(now);
            for (who, held) in &mut known {
                let age = now - held.since;
                if age >= patience[*who] && held.told_at.is_none_or(|told| age >= 2 * told) {
                    held.told_at = Some(age);
                    *wanted.entry(("too long", *who, held.since, held.counted.units())).or_default() += 1;
                }
            }
            let mut told: BTreeMap<(&str, usize, u32, u32), u32> = BTreeMap::new();
            for finding in pool.findings() {
                let (word, of) = match &finding {
                    Finding::UnitsHeldTooLong(of) => ("too long", of),
                    Finding::UnitsReturned(of) => ("back", of),
                    other => panic!("seed {seed}: {other:?}"),
                };
                let who = of.channel[1..].parse().unwrap();
                *told.entry((word, who, now - of.seconds, of.units)).or_default() += 1;
            }
            assert_eq!(told, wanted, "seed {seed}, second {now}");
        }
        let held: u32 = known.iter().map(|(_, known)| known.counted.units()).sum();
        assert_eq!(pool.counted_holders().iter().map(|holder| holder.units).sum::<u64>(), u64::from(held));
    }
}
