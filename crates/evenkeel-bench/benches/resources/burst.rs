//! Many are taken and touched, then all are given back.

use crate::contender::{Source, TIERS, add, race};
use crate::sys::touch;
use evenkeel_bench::{Suite, ns};
use std::time::Instant;

const BURSTS: usize = 30;

/// How many at once, of a tier's.
const fn at_once(bytes: usize) -> usize {
    if bytes < 1 << 20 { 100 } else { 20 }
}

fn bursts<S: Source>(source: &S, bytes: usize) -> Vec<f64> {
    let count = at_once(bytes);
    let mut held = Vec::with_capacity(count);
    let burst = |_| {
        let began = Instant::now();
        for _ in 0..count {
            held.push(source.take());
            held.last_mut().into_iter().for_each(S::touch);
        }
        held.clear();
        ns(began.elapsed()) / count as f64
    };
    (0..BURSTS).map(burst).collect()
}

fn alone(bytes: usize) -> impl Fn() -> Vec<f64> {
    move || {
        let count = at_once(bytes);
        let mut memory = vec![vec![0; bytes]; count];
        let burst = |_| {
            let began = Instant::now();
            memory.iter_mut().for_each(|bytes| touch(bytes));
            ns(began.elapsed()) / count as f64
        };
        (0..BURSTS).map(burst).collect()
    }
}

pub(crate) fn measure(suite: &mut Suite) {
    for tier in TIERS {
        let bytes = tier.1;
        let samples = race!(bytes, |source: &_| bursts(source, bytes), alone(bytes));
        add(suite, "burst", tier, &samples, None);
    }
}
