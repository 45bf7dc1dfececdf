//! One thread alone.

use crate::PARKING_LOT;
use crate::contender::{figures, race};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use evenkeel_locks::ranked::{self, Rank};
use evenkeel_locks::{RwLock, lock_order, with_root};
use std::hint::black_box;
use std::time::Instant;

const TIMES: u32 = 1_000_000;

fn timed(work: impl FnOnce(u32)) -> Vec<f64> {
    let began = Instant::now();
    work(TIMES);
    vec![ns(began.elapsed()) / f64::from(TIMES)]
}

fn ratio(most: f64) -> Option<Goal> {
    Some(Goal::RatioAtMost(PARKING_LOT, most))
}

pub(crate) fn single(suite: &mut Suite) {
    let samples = race!(|pair: &_| timed(|times| Pair::single(pair, times)));
    let goals = [("typed", ratio(1.03)), ("ranked", ratio(1.2)), ("unranked", ratio(1.5)), ("watched", None)];
    figures(suite, "single", "ns", &samples, 0.5, &goals);
}

pub(crate) fn nested(suite: &mut Suite) {
    let samples = race!(|pair: &_| timed(|times| Pair::nested(pair, times)));
    let goals =
        [("typed", ratio(1.03)), ("ranked", ratio(1.35)), ("unranked", ratio(1.5)), ("watched", None)];
    figures(suite, "nested", "ns", &samples, 0.5, &goals);
}

lock_order! { Table; }

pub(crate) fn read(suite: &mut Suite) {
    let typed = RwLock::<Table, _>::new(1_u64);
    let ranked = ranked::RwLock::new(Rank::new(1, "table"), 1_u64);
    let std = std::sync::RwLock::new(1_u64);
    let race = Race::new()
        .with_samples("typed", || {
            with_root(|root| {
                timed(|times| (0..times).for_each(|_| _ = black_box(*black_box(&typed).read(root))))
            })
        })
        .with_samples("ranked", || {
            timed(|times| (0..times).for_each(|_| _ = black_box(*black_box(&ranked).read())))
        })
        .with_samples("std", || {
            timed(|times| (0..times).for_each(|_| _ = black_box(*black_box(&std).read().unwrap())))
        });
    #[cfg(feature = "peers")]
    let peer = parking_lot::RwLock::new(1_u64);
    #[cfg(feature = "peers")]
    let race = race.with_samples(PARKING_LOT, || {
        timed(|times| (0..times).for_each(|_| _ = black_box(*black_box(&peer).read())))
    });
    figures(suite, "read", "ns", &race.run(), 0.5, &[("typed", ratio(1.03)), ("ranked", None)]);
}

pub(crate) fn root(suite: &mut Suite) {
    let take = || timed(|times| (0..times).for_each(|_| with_root(|root| _ = black_box(root))));
    let samples = Race::new().with_samples("evenkeel", take).run();
    suite.add(Figure::of("root", "ns", &samples, "evenkeel", 0.5));
}
