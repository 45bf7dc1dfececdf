//! Appending: the call, one entry, groups, and a long row of them.

use crate::ours::{Ours, intend, intend_all, until_durable};
use crate::theirs::Raw;
#[cfg(feature = "peers")]
use crate::theirs::Redb;
use crate::{OURS, RAW};
use evenkeel_bench::{Figure, Goal, Race, Samples, Suite, ns};
use std::time::Instant;

/// Entries that may wait for the disk in `sustained`: half of what the journal's queue takes.
pub(crate) const AHEAD_MAX: u64 = 2_048;
/// Entries in a group of those that write whole groups.
pub(crate) const SUSTAINED_GROUP: usize = 1_000;
/// Entries of a turn.
const SUSTAINED: usize = 50_000;
/// Goal of everything that is measured beside a raw file.
const RATIO_MAX: f64 = 1.3;

pub(crate) fn append(suite: &mut Suite) {
    const APPENDS: usize = 2_000;
    let ours = Ours::new();
    let samples = Race::new().with_samples(OURS, || {
        let mut last = 0;
        let mut took = Vec::with_capacity(APPENDS);
        for _ in 0..APPENDS {
            let began = Instant::now();
            let appended = intend(&ours.journal);
            took.push(ns(began.elapsed()));
            last = appended.expect("there is room").entry;
        }
        until_durable(&ours.journal, last);
        took
    });
    let samples = samples.run();
    suite.add(Figure::of("append/p50", "ns", &samples, OURS, 0.5));
    suite.add(Figure::of("append/p99", "ns", &samples, OURS, 0.99));
}

/// Microseconds of so many groups a turn, each durable before the next.
fn race(groups: usize, count: usize) -> Samples {
    let timed = move |group: &mut dyn FnMut()| {
        let samples = (0..groups).map(|_| {
            let began = Instant::now();
            group();
            ns(began.elapsed()) / 1e3
        });
        samples.collect::<Vec<f64>>()
    };
    let (ours, mut raw) = (Ours::new(), Raw::new(count));
    let race = Race::new()
        .with_samples(OURS, move || {
            timed(&mut || until_durable(&ours.journal, intend_all(&ours.journal, count)))
        })
        .with_samples(RAW, move || timed(&mut || raw.group()));
    #[cfg(feature = "peers")]
    let race = {
        let mut redb = Redb::new(count);
        race.with_samples(crate::REDB, move || timed(&mut || redb.group()))
    };
    race.run()
}

pub(crate) fn lone(suite: &mut Suite) {
    let samples = race(200, 1);
    for (id, quantile) in [("lone/p50", 0.5), ("lone/p99", 0.99)] {
        let figure = Figure::of(id, "us", &samples, OURS, quantile);
        suite.add(figure.goal(Goal::RatioAtMost(RAW, RATIO_MAX)));
    }
}

pub(crate) fn groups(suite: &mut Suite) {
    for count in [100, 1_000] {
        let figure = Figure::of(format!("group/{count}"), "us", &race(20, count), OURS, 0.5);
        suite.add(figure.goal(Goal::RatioAtMost(RAW, RATIO_MAX)));
    }
}

pub(crate) fn sustained(suite: &mut Suite) {
    let rate = |append: &mut dyn FnMut()| {
        let began = Instant::now();
        append();
        SUSTAINED as f64 / began.elapsed().as_secs_f64()
    };
    let (ours, mut raw) = (Ours::new(), Raw::new(SUSTAINED_GROUP));
    let race = Race::new()
        .with(OURS, || {
            rate(&mut || {
                let journal = &ours.journal;
                let mut last = 0;
                for _ in 0..SUSTAINED {
                    last = intend(journal).expect("there is room").entry;
                    if last.is_multiple_of(AHEAD_MAX / 4) {
                        until_durable(journal, last.saturating_sub(AHEAD_MAX * 3 / 4));
                    }
                }
                until_durable(journal, last);
            })
        })
        .with(RAW, || rate(&mut || (0..SUSTAINED / SUSTAINED_GROUP).for_each(|_| raw.group())));
    #[cfg(feature = "peers")]
    let race = {
        let mut redb = Redb::new(SUSTAINED_GROUP);
        race.with(crate::REDB, move || {
            rate(&mut || (0..SUSTAINED / SUSTAINED_GROUP).for_each(|_| redb.group()))
        })
    };
    let figure = Figure::of("sustained", "entries/s", &race.run(), OURS, 0.5);
    suite.add(figure.where_higher_is_better().goal(Goal::AtLeast(100_000.0)));
}
