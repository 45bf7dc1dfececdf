//! What it costs to be watched, and to look.

use crate::OURS;
use crate::pool::coordinator;
use evenkeel::threads::ThreadCoordinator;
use evenkeel_bench::{Figure, Race, Suite, ns};
use std::sync::mpsc::channel;
use std::time::Instant;

const BEATS: u32 = 1_000_000;
const THREADS: usize = 16;
const SNAPSHOTS: usize = 20;

pub(crate) fn beat(suite: &mut Suite) {
    let threads = coordinator(1);
    let turn = || {
        let job = threads.job("beats").run(|pulse| {
            let began = Instant::now();
            (0..BEATS).for_each(|_| pulse.beat());
            ns(began.elapsed()) / f64::from(BEATS)
        });
        job.unwrap().wait().unwrap()
    };
    suite.add(Figure::of("beat", "ns", &Race::new().with(OURS, turn).run(), OURS, 0.5));
}

pub(crate) fn snapshot(suite: &mut Suite) {
    let threads = ThreadCoordinator::builder().threads_max(THREADS + 1).build();
    let waiting = (0..THREADS).map(|at| {
        let (over, ends) = channel::<()>();
        let (begun, begins) = channel();
        let thread = threads.thread(format!("waits-{at}")).start(move |pulse| {
            begun.send(()).unwrap();
            pulse.waiting(|| _ = ends.recv());
        });
        begins.recv().unwrap();
        (over, thread.unwrap())
    });
    let waiting: Vec<_> = waiting.collect();
    let turn = || {
        let began = Instant::now();
        let seen: usize = (0..SNAPSHOTS).map(|_| threads.snapshot().threads.len()).sum();
        ns(began.elapsed()) / seen as f64 / 1e3
    };
    suite.add(Figure::of("snapshot", "us/thread", &Race::new().with(OURS, turn).run(), OURS, 0.5));
    for (over, thread) in waiting {
        drop(over);
        thread.join().unwrap();
    }
}
