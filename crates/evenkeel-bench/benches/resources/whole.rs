//! The whole pool comes back, and goes.

use crate::sys::touch;
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use evenkeel_pool::{Limits, Pool};
use std::time::Instant;

const MS_MAX: f64 = 10.0;

/// Milliseconds to give back all buffers of a pool, each written to, and to give its memory back to the system.
fn release() -> (f64, f64) {
    let pool = Pool::builder().build().unwrap();
    let channel = pool.channel("channel", &Limits::default()).unwrap();
    let account = channel.component("component", u64::MAX / 2).unwrap();
    let mut held = Vec::new();
    for tier in pool.tiers() {
        held.extend((0..tier.slots).map(|_| account.take(tier.bytes).unwrap()));
    }
    held.iter_mut().for_each(|buffer| touch(buffer.spare_mut()));
    let began = Instant::now();
    drop(held);
    let returned = ns(began.elapsed()) / 1e6;
    let began = Instant::now();
    drop((account, channel, pool));
    (returned, ns(began.elapsed()) / 1e6)
}

pub(crate) fn measure(suite: &mut Suite) {
    let samples = Race::new().with("returned", || release().0).with("gone", || release().1).run();
    let median = |name| samples.quantile(name, 0.5).expect("both ran");
    let (returned, gone) = (median("returned"), median("gone"));
    suite.add(Figure::lower("whole/returned", "ms", returned).goal(Goal::Below(MS_MAX)));
    // Release is that all are back. How long the system takes for pages that were touched is not ours to promise.
    suite.add(Figure::lower("whole/and pool gone", "ms", returned + gone));
}
