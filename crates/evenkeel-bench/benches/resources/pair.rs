//! Taken, touched and given back by the same thread.

use crate::contender::{Source, TIERS, add, race};
use crate::sys::touch;
use crate::together::{Together, doubled};
use evenkeel_bench::{Suite, ns};
use std::time::Instant;

/// A quota, a site and accounting included.
const SMALL_NS_MAX: f64 = 25.0;
const BATCHES: usize = 100;

/// How often a thing is done with buffers of so many bytes, so that a batch takes some ten microseconds or more.
pub(crate) const fn times(bytes: usize) -> usize {
    match bytes {
        0..=16_384 => 500,
        16_385..=131_072 => 100,
        _ => 16,
    }
}

/// Nanoseconds of each, by batches, which begin together with another thread's where there is one.
pub(crate) fn batches(times: usize, beside: Option<&Together<'_>>, mut each: impl FnMut()) -> Vec<f64> {
    let batch = |_| {
        if let Some(together) = beside {
            together.meet();
        }
        let began = Instant::now();
        (0..times).for_each(|_| each());
        ns(began.elapsed()) / times as f64
    };
    (0..BATCHES).map(batch).collect()
}

fn pairs<S: Source>(source: &S, bytes: usize, beside: Option<&Together<'_>>) -> Vec<f64> {
    batches(times(bytes), beside, || S::touch(&mut source.take()))
}

fn alone(bytes: usize, beside: Option<&Together<'_>>) -> Vec<f64> {
    let mut memory = vec![0; bytes];
    batches(times(bytes), beside, || touch(&mut memory))
}

pub(crate) fn one(suite: &mut Suite) {
    for tier in TIERS {
        let bytes = tier.1;
        let samples = race!(bytes, |source: &_| pairs(source, bytes, None), || alone(bytes, None));
        add(suite, "one", tier, &samples, Some(SMALL_NS_MAX));
    }
}

pub(crate) fn two(suite: &mut Suite) {
    for tier in TIERS {
        let bytes = tier.1;
        let samples =
            race!(bytes, |source: &_| doubled(|together| pairs(source, bytes, Some(together))), || doubled(
                |together| alone(bytes, Some(together))
            ));
        add(suite, "two", tier, &samples, Some(SMALL_NS_MAX));
    }
}
