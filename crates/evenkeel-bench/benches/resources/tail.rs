//! Single calls: what the slowest in a thousand take.

use crate::contender::{OURS, Source, TIERS, race};
use crate::sys::touch;
use crate::together::{Together, doubled};
use evenkeel_bench::{Figure, Goal, Suite, ns};
use std::hint::black_box;
use std::time::Instant;

const NS_MAX: f64 = 200.0;
const BATCH: usize = 100;

const fn times(bytes: usize) -> usize {
    if bytes < 1 << 20 { 20_000 } else { 5_000 }
}

/// What reading the clock once adds to what lies between two readings: the median.
fn clock_ns() -> f64 {
    let mut between: Vec<f64> = (0..1001).map(|_| ns(Instant::now().elapsed())).collect();
    between.sort_by(f64::total_cmp);
    between[between.len() / 2]
}

/// Singles, a hundred of them begun together with another thread's where there is one.
fn each(bytes: usize, beside: Option<&Together<'_>>, mut single: impl FnMut() -> f64) -> Vec<f64> {
    let mut samples = Vec::with_capacity(times(bytes));
    while samples.len() < times(bytes) {
        if let Some(together) = beside {
            together.meet();
        }
        samples.extend((0..BATCH).map(|_| single()));
    }
    samples
}

/// Nanoseconds of taking and giving back, without the touching between.
fn singles<S: Source>(source: &S, bytes: usize, beside: Option<&Together<'_>>) -> Vec<f64> {
    let clock = clock_ns();
    let single = || {
        let began = Instant::now();
        let mut held = black_box(source.take());
        let taken = began.elapsed();
        S::touch(&mut held);
        let began = Instant::now();
        drop(black_box(held));
        (ns(taken) + ns(began.elapsed()) - 2.0 * clock).max(0.0)
    };
    each(bytes, beside, single)
}

/// The clock alone, and the touching between.
fn alone(bytes: usize, beside: Option<&Together<'_>>) -> Vec<f64> {
    let clock = clock_ns();
    let mut memory = vec![0; bytes];
    let single = || {
        let began = Instant::now();
        let taken = began.elapsed();
        touch(&mut memory);
        let began = Instant::now();
        (ns(taken) + ns(began.elapsed()) - 2.0 * clock).max(0.0)
    };
    each(bytes, beside, single)
}

pub(crate) fn measure(suite: &mut Suite) {
    for (name, bytes) in TIERS {
        let one = race!(bytes, |source: &_| singles(source, bytes, None), || alone(bytes, None));
        let figure = Figure::of(format!("one/{name}/p99.9"), "ns", &one, OURS, 0.999);
        suite.add(figure.goal(Goal::Below(NS_MAX)));
        let two = race!(
            bytes,
            |source: &_| doubled(|together| singles(source, bytes, Some(together))),
            || doubled(|together| alone(bytes, Some(together)))
        );
        let figure = Figure::of(format!("two/{name}/p99.9"), "ns", &two, OURS, 0.999);
        suite.add(figure.goal(Goal::Below(NS_MAX)));
    }
}
