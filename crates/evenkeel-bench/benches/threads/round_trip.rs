//! Giving a job and waiting for its answer.

use crate::OURS;
use crate::pool::{Pool, race};
use evenkeel_bench::{Figure, Suite, ns};
use std::time::Instant;

const TIMES: usize = 2_000;

/// Microseconds of each.
fn turn(pool: &impl Pool) -> Vec<f64> {
    let one = |_| {
        let began = Instant::now();
        pool.ask();
        ns(began.elapsed()) / 1e3
    };
    (0..TIMES).map(one).collect()
}

pub(crate) fn measure(suite: &mut Suite) {
    let samples = race!(|pool: &_| turn(pool)).run();
    suite.add(Figure::of("round-trip/p50", "us", &samples, OURS, 0.5));
    suite.add(Figure::of("round-trip/p99", "us", &samples, OURS, 0.99));
}
