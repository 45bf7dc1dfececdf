//! What is noted of buffers: what that costs whoever takes them, and whoever looks.

use crate::contender::{AGAIN, OURS};
use crate::pair::{batches, times};
use crate::together::doubled;
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use evenkeel_pool::{Account, LeakMode, LeakQuery, Limits, Pool};
use std::time::Instant;

const BYTES: usize = 4096;
/// What is within it is not told from noise.
const RATIO_MAX: f64 = 1.05;
/// Looks of a round.
const LOOKS: usize = 20;

/// Samples of one of them.
type Turn<'a> = &'a dyn Fn(&Account) -> Vec<f64>;

fn account(mode: LeakMode) -> Account {
    let pool = Pool::builder().leaks(mode).build().unwrap();
    let limits = Limits { reserve: vec![16], ..Limits::default() };
    pool.channel("channel", &limits).unwrap().component("component", 1 << 40).unwrap()
}

/// Taking and giving back, without touching, where holder, place and second are noted, and where they are not.
pub(crate) fn sites(suite: &mut Suite) {
    let (noted, again, off) = (account(LeakMode::Sites), account(LeakMode::Sites), account(LeakMode::Off));
    let pair = |account: &Account| drop(std::hint::black_box(account.take(BYTES).unwrap()));
    let one = |account: &Account| batches(times(BYTES), None, || pair(account));
    let two = |account: &Account| doubled(|together| batches(times(BYTES), Some(together), || pair(account)));
    let ways: [(&str, Turn<'_>); 2] = [("one", &one), ("two", &two)];
    for (name, turn) in ways {
        let samples = Race::new()
            .with_samples(OURS, || turn(&noted))
            .with_samples(AGAIN, || turn(&again))
            .with_samples("off", || turn(&off))
            .run();
        let figure = Figure::of(format!("sites/{name}"), "ns", &samples, OURS, 0.5);
        suite.add(figure.goal(Goal::RatioAtMost("off", RATIO_MAX)));
    }
}

/// Microseconds of one look, several times.
fn looks<T>(mut look: impl FnMut() -> T) -> Vec<f64> {
    let one = |_| {
        let began = Instant::now();
        std::hint::black_box(look());
        ns(began.elapsed()) / 1e3
    };
    (0..LOOKS).map(one).collect()
}

/// All buffers of a pool are held: is any held for too long, and which are held.
pub(crate) fn leaks(suite: &mut Suite) {
    let pool = Pool::builder().build().unwrap();
    let channel = pool.channel("channel", &Limits::default()).unwrap();
    let account = channel.component("component", u64::MAX / 2).unwrap();
    let mut held = Vec::new();
    for tier in pool.tiers() {
        held.extend((0..tier.slots).map(|_| account.take(tier.bytes).unwrap()));
    }
    pool.tick(1);
    assert_eq!(pool.leaks(&LeakQuery::default()).buffers as usize, held.len());
    assert!(pool.findings().is_empty());
    let samples = Race::new()
        .with_samples("too long", || looks(|| pool.findings()))
        .with_samples("held", || looks(|| pool.leaks(&LeakQuery::default())))
        .run();
    for name in ["too long", "held"] {
        suite.add(Figure::lower(format!("leaks/{name}"), "us", samples.quantile(name, 0.5).expect("it ran")));
    }
}
