//! Starting threads, and pools.

use crate::OURS;
use crate::pool::{Ours, Plain, Pool, coordinator};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 50;
const POOLS: usize = 10;
/// What a processing thread of ours has.
const STACK_BYTES: usize = 2 << 20;
const GOAL_US: f64 = 100.0;

fn us_since(began: Instant) -> f64 {
    ns(began.elapsed()) / 1e3
}

pub(crate) fn measure(suite: &mut Suite) {
    let threads = coordinator(1);
    let ours = move || {
        let gives = Instant::now();
        let thread = threads.thread("x").stack_bytes(STACK_BYTES).start(move |_| us_since(gives));
        thread.unwrap().join().unwrap()
    };
    let std = || {
        let gives = Instant::now();
        let thread = thread::Builder::new().name("x".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || us_since(gives)).unwrap().join().unwrap()
    };
    let samples = Race::new()
        .with_samples(OURS, move || (0..THREADS).map(|_| ours()).collect())
        .with_samples("std", move || (0..THREADS).map(|_| std()).collect())
        .run();
    suite.add(Figure::of("start/thread/p50", "us", &samples, OURS, 0.5).goal(Goal::Below(GOAL_US)));
    suite.add(Figure::of("start/thread/p99", "us", &samples, OURS, 0.99));

    let race = Race::new().with_samples(OURS, pools::<Ours>).with_samples("std channel", pools::<Plain>);
    #[cfg(feature = "peers")]
    let race = race
        .with_samples("rayon", pools::<crate::peers::Rayon>)
        .with_samples("threadpool", pools::<crate::peers::Threadpool>)
        .with_samples("tokio spawn_blocking", pools::<crate::peers::Tokio>);
    suite.add(Figure::of("start/first job", "us", &race.run(), OURS, 0.5));
}

/// Microseconds from making a pool to its first job.
fn pools<P: Pool>() -> Vec<f64> {
    let one = |_| {
        let (answer, answers) = channel();
        let makes = Instant::now();
        let pool = P::new(1);
        pool.give(move || _ = answer.send(us_since(makes)));
        let us = answers.recv().unwrap();
        drop(pool);
        // sleep: its threads end, which no pool lets us wait for, before the next one is made.
        thread::sleep(Duration::from_millis(2));
        us
    };
    (0..POOLS).map(one).collect()
}
