//! One thread holds a mutex nearly always; another one wants it.

use crate::contender::{Pair, figures, race};
use evenkeel_bench::{Goal, Suite};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const HOLD: Duration = Duration::from_micros(20);
const ROUND: Duration = Duration::from_millis(500);
const WAIT_MS_MAX: f64 = 5.0;

/// Waits in milliseconds.
fn turn<P: Pair>(pair: &P) -> Vec<f64> {
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let milliseconds = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    thread::scope(|threads| {
        let victim = threads.spawn(|| {
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let wants = Instant::now();
                let mut waited = 0.0;
                pair.hold(|| waited = milliseconds(wants));
                waits.push(waited);
                // sleep: it does something else, so that the hog has the lock again.
                thread::sleep(Duration::from_micros(200));
            }
            waits
        });
        while began.elapsed() < ROUND {
            pair.hold(|| {
                let held = Instant::now();
                while held.elapsed() < HOLD {}
            });
        }
        is_over.store(true, Ordering::Relaxed);
        victim.join().unwrap()
    })
}

pub(crate) fn measure(suite: &mut Suite) {
    let samples = race!(|pair: &_| turn(pair));
    let goal = Some(Goal::Below(WAIT_MS_MAX));
    let goals = [("typed", goal), ("ranked", goal), ("unranked", goal), ("watched", goal)];
    figures(suite, "hog/p99", "ms", &samples, 0.99, &goals);
}
