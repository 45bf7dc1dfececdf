//! One change, alone and watched.

use crate::OURS;
use crate::lamp::{LAMP, guarded};
use crate::peers;
use evenkeel::state::States;
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const TIMES: usize = 20_000;
const PLAIN: &str = "evenkeel, plain";

/// Nanoseconds of each of many.
pub(crate) fn each(times: usize, mut work: impl FnMut()) -> Vec<f64> {
    let one = |_| {
        let began = Instant::now();
        work();
        ns(began.elapsed())
    };
    (0..times).map(one).collect()
}

pub(crate) fn measure(suite: &mut Suite) {
    let all = States::default();
    let lamp = guarded(&all);
    let plain = all.machine(&LAMP, "plain").build().unwrap();
    let race = Race::new()
        .with_samples(OURS, || each(TIMES, || _ = black_box(lamp.change(lamp.state().other(), "push"))))
        .with_samples(PLAIN, || each(TIMES, || _ = black_box(plain.change(plain.state().other(), "push"))));
    let samples = peers::enter(race, TIMES).run();
    let python = peers::transitions(suite);
    for (part, quantile, goal) in [("p50", 0.5, 300.0), ("p99", 0.99, 1_000.0)] {
        let of = |name| samples.quantile(name, quantile).expect("ours ran");
        let others = samples.peers(OURS, quantile).filter(|(name, _)| *name != PLAIN);
        let python = python.map(|both| (peers::TRANSITIONS, if quantile == 0.5 { both.0 } else { both.1 }));
        let figure = Figure::lower(format!("change/{part}"), "ns", of(OURS)).goal(Goal::Below(goal));
        suite.add(figure.beside(others.chain(python)));
        suite.add(Figure::lower(format!("change/plain/{part}"), "ns", of(PLAIN)));
    }
}

pub(crate) fn observers(suite: &mut Suite) {
    let all = States::default();
    let lamp = guarded(&all);
    let seen: Arc<AtomicU64> = Arc::default();
    for at in 0..10 {
        let seen = seen.clone();
        let observed = lamp.observe(format!("observer {at}"), move |change| {
            seen.fetch_add(black_box(change.sequence), Ordering::Relaxed);
        });
        observed.unwrap().keep();
    }
    let timed = || each(TIMES, || _ = black_box(lamp.change(lamp.state().other(), "push")));
    let samples = Race::new().with_samples(OURS, timed).run();
    for (part, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let us = samples.quantile(OURS, quantile).expect("ours ran") / 1e3;
        suite.add(Figure::lower(format!("observers/10/{part}"), "us", us).goal(Goal::Below(5.0)));
    }
    let all_seen: u64 = (1..=lamp.sequence()).sum::<u64>() * 10;
    assert_eq!(
        seen.load(Ordering::Relaxed),
        all_seen,
        "every observer has seen every change when it returns"
    );
}

pub(crate) fn read(suite: &mut Suite) {
    const READS: u32 = 1_000_000;
    let lamp = guarded(&States::default());
    let turn = || {
        let began = Instant::now();
        (0..READS).for_each(|_| _ = black_box(black_box(&lamp).state_and_sequence()));
        ns(began.elapsed()) / f64::from(READS)
    };
    let samples = Race::new().with(OURS, turn).run();
    suite.add(Figure::of("read", "ns", &samples, OURS, 0.5));
}
