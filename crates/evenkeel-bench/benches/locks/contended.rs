//! Two threads, one mutex, and something else to do.

use crate::PARKING_LOT;
use crate::contender::{Pair, figures, race};
use evenkeel_bench::{Goal, Suite, ns};
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

const TIMES: u32 = 50_000;
const BETWEEN_NS: f64 = 200.0;

/// Work that does nothing to memory.
fn spin(rounds: u32) {
    let mut number = 1_u64;
    for _ in 0..rounds {
        number = black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// Rounds of [`spin`] that take as long as is wanted.
fn rounds() -> u32 {
    const SAMPLE: u32 = 1_000_000;
    let began = Instant::now();
    spin(SAMPLE);
    (BETWEEN_NS / (ns(began.elapsed()) / f64::from(SAMPLE))) as u32
}

fn turn<P: Pair>(pair: &P, rounds: u32) -> Vec<f64> {
    let both = Barrier::new(2);
    let run = || {
        both.wait();
        let began = Instant::now();
        pair.spaced(TIMES, || spin(rounds));
        ns(began.elapsed()) / f64::from(TIMES)
    };
    thread::scope(|threads| {
        let other = threads.spawn(run);
        vec![(run() + other.join().unwrap()) / 2.0]
    })
}

pub(crate) fn measure(suite: &mut Suite) {
    let rounds = rounds();
    let samples = race!(|pair: &_| turn(pair, rounds));
    let goal = Some(Goal::RatioAtMost(PARKING_LOT, 1.1));
    let goals = [("typed", goal), ("ranked", goal), ("unranked", goal), ("watched", None)];
    figures(suite, "contended", "ns", &samples, 0.5, &goals);
}
