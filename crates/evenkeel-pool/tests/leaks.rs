//! What is held too long, never given back, or written afterwards, from outside.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Account, Buffer, Finding, LeakMode, LeakQuery, Limits, Pool, PoolBuilder, Slice, Tier};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MANY_BYTES: u64 = 1 << 30;

fn small() -> PoolBuilder {
    Pool::builder().tiers([Tier { bytes: 4096, slots: 40 }, Tier { bytes: 16_384, slots: 20 }])
}

fn account(pool: &Pool, name: &str) -> Account {
    pool.channel(name, &Limits::default()).unwrap().component("all", MANY_BYTES).unwrap()
}

#[inline(never)]
fn takes_one(account: &Account) -> Buffer {
    account.take(10).unwrap()
}

fn sampled(one_in: u32) -> LeakMode {
    LeakMode::Sampled { one_in: NonZeroU32::new(one_in).unwrap() }
}

// REQ R6
#[test]
fn each_mode_notes_what_it_says() {
    let pool = small().leaks(LeakMode::Off).build().unwrap();
    let left = account(&pool, "left");
    left.set_held_max(Some(1));
    pool.tick(100);
    let mut kept = vec![takes_one(&left)];
    pool.set_leaks(LeakMode::Sites);
    kept.push(takes_one(&left));
    pool.set_leaks(LeakMode::Full);
    kept.push(takes_one(&left));
    pool.set_leaks(LeakMode::Off);
    // A slot that was noted before shows nothing of that.
    drop(kept.remove(1));
    kept.push(takes_one(&left));
    pool.set_leaks(LeakMode::Sites);
    pool.tick(107);
    let found = pool.leaks(&LeakQuery::default());
    assert_eq!((found.buffers, found.bytes), (3, 3 * 4096));
    assert!(
        found.held.iter().all(|held| (held.channel.as_str(), held.component.as_str()) == ("left", "all"))
    );
    let noted: Vec<_> =
        found.held.iter().map(|held| (held.site.is_some(), held.seconds, held.trace.is_some())).collect();
    assert_eq!(noted, [(true, Some(7), true), (false, None, false), (false, None, false)]);
    assert!(found.held[0].site.as_ref().unwrap().contains("tests/leaks.rs"));
    // What has no time is not held too long, whatever time it was.
    assert_eq!(pool.findings().len(), 1);
    assert_eq!(pool.holders().iter().map(|holder| holder.buffers).sum::<u32>(), 3);
    assert!(pool.holders().iter().any(|holder| holder.site == "unknown"));
    assert_eq!(pool.leaks(&LeakQuery { older_than: 5, ..LeakQuery::default() }).buffers, 1);
    assert_eq!(pool.leaks(&LeakQuery { named_max: 1, ..LeakQuery::default() }).held.len(), 1);
    drop(kept);
    assert!(pool.leaks(&LeakQuery::default()).is_empty());
}

// REQ R6
#[cfg_attr(miri, ignore = "names of functions are looked up")]
#[test]
fn a_backtrace_names_who_asked_and_goes_with_its_buffer() {
    let pool = small().leaks(LeakMode::Full).build().unwrap();
    let left = account(&pool, "left");
    let first = takes_one(&left);
    let found = pool.leaks(&LeakQuery::default());
    let trace = found.held[0].trace.clone().unwrap();
    assert!(trace.to_string().contains("takes_one"), "{trace}");
    pool.set_leaks(LeakMode::Sites);
    drop(first);
    let again = takes_one(&left);
    assert!(
        pool.leaks(&LeakQuery::default()).held[0].trace.is_none(),
        "its slot's trace went with the one before"
    );
    drop(again);
}

// REQ R6: one in n, whatever the rhythm of who takes.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn one_in_so_many_has_a_backtrace() {
    for one_in in [1, 5, 300, 1_000] {
        let pool = small().leaks(sampled(one_in)).build().unwrap();
        let left = account(&pool, "left");
        let takes = 400 * one_in.min(500);
        // Every other take is here: their share is the same.
        let (mut here, mut there) = (0, 0);
        for _ in 0..takes / 2 {
            let buffer = takes_one(&left);
            here += u32::from(pool.leaks(&LeakQuery::default()).held[0].trace.is_some());
            drop(buffer);
            let buffer = left.take(10).unwrap();
            there += u32::from(pool.leaks(&LeakQuery::default()).held[0].trace.is_some());
            drop(buffer);
        }
        let wanted = f64::from(takes / 2) / f64::from(one_in);
        let (fewest, most) = (wanted - 4.5 * wanted.sqrt(), wanted + 4.5 * wanted.sqrt());
        for found in [here, there] {
            assert!(
                (fewest..=most).contains(&f64::from(found)),
                "one in {one_in}: {here}, {there} of {wanted}"
            );
        }
    }
}

/// What a finding is of, in a word.
fn words(findings: &[Finding]) -> Vec<(&'static str, Option<u32>)> {
    let word = |finding: &Finding| match finding {
        Finding::HeldTooLong(held) => ("too long", held.seconds),
        Finding::NeverReturned(held) => ("never", held.seconds),
        Finding::Returned(held) => ("back", held.seconds),
        Finding::WrittenAfterReturn(_) => ("written", None),
        Finding::UnitsHeldTooLong(held) => ("units too long", Some(held.seconds)),
        Finding::UnitsReturned(held) => ("units back", Some(held.seconds)),
        Finding::Untold { .. } => ("untold", None),
        _ => ("other", None),
    };
    findings.iter().map(word).collect()
}

// REQ R6: frozen parts are held too.
#[test]
fn what_is_held_too_long_is_told_once_and_when_that_doubles() {
    let pool = small().build().unwrap();
    let (left, right) = (account(&pool, "left"), account(&pool, "right"));
    left.set_held_max(Some(10));
    right.set_held_max(None);
    pool.tick(1_000);
    let mut part: Option<Slice> = Some(takes_one(&left).freeze().slice(0..0));
    let _patient = takes_one(&right);
    let mut told = Vec::new();
    for second in 1_001..1_100 {
        pool.tick(second);
        if second == 1_050 {
            part = None;
        }
        if second == 1_060 {
            // The same slot, held anew.
            part = Some(takes_one(&left).freeze());
        }
        told.extend(words(&pool.findings()).into_iter().map(|word| (second, word)));
    }
    let wanted = [
        (1_010, ("too long", Some(10))),
        (1_020, ("too long", Some(20))),
        (1_040, ("too long", Some(40))),
        (1_050, ("back", Some(50))),
        (1_070, ("too long", Some(10))),
        (1_080, ("too long", Some(20))),
    ];
    assert_eq!(told, wanted);
    drop(part);
}

// REQ R6, REQ R7
#[test]
fn what_is_held_when_its_component_channel_or_pool_has_finished_is_told() {
    let pool = small().build().unwrap();
    let channel = pool.channel("left", &Limits::default()).unwrap();
    let (mic, disk) =
        (channel.component("mic", MANY_BYTES).unwrap(), channel.component("disk", MANY_BYTES).unwrap());
    let right = account(&pool, "right");
    let (of_mic, of_disk, of_right) = (takes_one(&mic), takes_one(&disk).freeze(), takes_one(&right));
    let found = mic.finish();
    assert_eq!((found.buffers, found.held[0].component.as_str()), (1, "mic"));
    assert!(
        found.to_string().contains("left/mic") && found.to_string().contains("tests/leaks.rs"),
        "{found}"
    );
    assert_eq!(channel.finish().buffers, 2);
    assert_eq!(words(&pool.findings()), [("never", Some(0)); 2], "the mic's was told of already");
    assert_eq!(pool.finish().buffers, 3);
    assert_eq!(words(&pool.findings()), [("never", Some(0))]);
    drop((of_mic, of_disk, of_right));
    assert_eq!(words(&pool.findings()), [("back", Some(0)); 3]);
    assert!(pool.finish().is_empty() && mic.finish().is_empty() && pool.findings().is_empty());
}

// REQ R6: memory is bounded however many are held too long, and none is forgotten.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn what_finds_no_room_is_counted_and_told_when_there_is_some() {
    let pool = Pool::builder().tiers([Tier { bytes: 4096, slots: 1_500 }]).build().unwrap();
    let left = account(&pool, "left");
    left.set_held_max(Some(1));
    let mut held: Vec<_> = (0..1_500).map(|_| takes_one(&left)).collect();
    pool.tick(1);
    let found = pool.findings();
    assert_eq!(words(&found).iter().filter(|(word, _)| *word == "too long").count(), 1_024);
    assert!(matches!(found.last(), Some(Finding::Untold { findings: 476 })), "{:?}", found.last());
    assert!(pool.findings().is_empty());
    held.truncate(400);
    pool.tick(2);
    let found = words(&pool.findings());
    let count = |wanted| found.iter().filter(|(word, _)| *word == wanted).count();
    assert_eq!(count("untold"), 0);
    assert_eq!(count("back") + 400, 1_024 + count("too long") - count_doubled(&found));
}

/// Those of two seconds are told for the second time.
fn count_doubled(found: &[(&str, Option<u32>)]) -> usize {
    found.iter().filter(|found| **found == ("too long", Some(2))).count()
}

/// One that the naive model knows to be held.
struct Known {
    buffer: Buffer,
    since: u32,
    told_at: Option<u32>,
}

// REQ R6: whatever is taken, kept and given back, what is told is what the naive model says.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn findings_are_what_the_naive_model_says() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let mode = [LeakMode::Sites, LeakMode::Full, sampled(3)][rng.usize(..3)];
        let pool = small().leaks(mode).build().unwrap();
        let accounts: Vec<_> = (0..3).map(|name| account(&pool, &format!("c{name}"))).collect();
        let patience: Vec<_> = (0..3).map(|_| rng.u32(1..12)).collect();
        accounts.iter().zip(&patience).for_each(|(account, seconds)| account.set_held_max(Some(*seconds)));
        let mut known: Vec<(usize, Known)> = Vec::new();
        let mut now = 0;
        for _ in 0..300 {
            let mut wanted: BTreeMap<(&str, usize, u32), u32> = BTreeMap::new();
            for _ in 0..rng.usize(..4) {
                let who = rng.usize(..3);
                if rng.bool() && known.len() < 30 {
                    let buffer = takes_one(&accounts[who]);
                    known.push((who, Known { buffer, since: now, told_at: None }));
                } else if !known.is_empty() {
                    let (who, gone) = known.swap_remove(rng.usize(..known.len()));
                    if gone.told_at.is_some() {
                        *wanted.entry(("back", who, gone.since)).or_default() += 1;
                    }
                    drop(gone.buffer);
                }
            }
            now += rng.u32(..4);
            pool.tick(now);
            for (who, held) in &mut known {
                let age = now - held.since;
                if age >= patience[*who] && held.told_at.is_none_or(|told| age >= 2 * told) {
                    held.told_at = Some(age);
                    *wanted.entry(("too long", *who, held.since)).or_default() += 1;
                }
            }
            let mut told: BTreeMap<(&str, usize, u32), u32> = BTreeMap::new();
            for finding in pool.findings() {
                let (word, held) = match &finding {
                    Finding::HeldTooLong(held) => ("too long", held),
                    Finding::Returned(held) => ("back", held),
                    other => panic!("seed {seed}: {other:?}"),
                };
                let who = held.channel[1..].parse().unwrap();
                *told.entry((word, who, now - held.seconds.unwrap())).or_default() += 1;
            }
            assert_eq!(told, wanted, "seed {seed}, second {now}");
        }
        let holders: u32 = pool.holders().iter().map(|holder| holder.buffers).sum();
        assert_eq!(holders as usize, known.len());
    }
}

/// Waits until each of these has gone on by two: what they do now they began after this was asked.
fn all_have_gone_on(turns: &[AtomicU64]) {
    let seen: Vec<_> = turns.iter().map(|turn| turn.load(Ordering::SeqCst)).collect();
    for (turn, seen) in turns.iter().zip(seen) {
        while turn.load(Ordering::SeqCst) < seen + 2 {
            std::thread::yield_now();
        }
    }
}

// REQ R6: nothing false is told while others take and give back as fast as they can, and modes change.
#[cfg_attr(miri, ignore = "thousands of rounds")]
#[test]
fn nothing_false_is_told_while_all_are_at_work() {
    let pool = small().build().unwrap();
    let (leaking, busy) = (account(&pool, "leaking"), account(&pool, "busy"));
    leaking.set_held_max(Some(5));
    busy.set_held_max(Some(5));
    let kept: Vec<_> = (0..3).map(|_| takes_one(&leaking)).collect();
    let (over, turns) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    let (mut leaks, mut falsely) = (0, Vec::new());
    std::thread::scope(|scope| {
        for turn in &turns {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    // Now and then slots that nobody has had for long.
                    let count = if turn.fetch_add(1, Ordering::SeqCst) % 50 == 0 { 12 } else { 1 };
                    drop((0..count).map(|_| busy.take(10).unwrap()).collect::<Vec<_>>());
                }
            });
        }
        for hour in 0..200 {
            pool.set_leaks(
                [LeakMode::Sites, LeakMode::Full, LeakMode::Off, sampled(7)][hour as usize / 7 % 4],
            );
            // An hour goes by at once: who is seen with the time of one before is seen to be late.
            pool.tick(hour * 3_600);
            for finding in pool.findings() {
                match finding {
                    Finding::HeldTooLong(held) if held.channel == "leaking" => leaks += 1,
                    Finding::HeldTooLong(held) if held.seconds > Some(3_600) => falsely.push((hour, held)),
                    _ => {}
                }
            }
            all_have_gone_on(&turns);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(falsely.is_empty(), "{} of them, first {}", falsely.len(), falsely[0].1);
    // Told of after an hour, two, four and so on, three each time.
    assert_eq!(leaks, 3 * 8);
    drop(kept);
}
