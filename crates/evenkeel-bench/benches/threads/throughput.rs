//! Very many jobs that do nothing, given by one thread.

use crate::OURS;
use crate::pool::{Pool, WORKERS, coordinator, race};
use evenkeel::threads::{Class, JobChannel, ThreadCoordinator};
use evenkeel_bench::{Figure, Race, Suite, ns};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

const JOBS: usize = 100_000;
const CHANNELS: usize = 200;

/// Counts down; the last one wakes who waits for all.
struct Left(AtomicUsize, Thread);

impl Left {
    fn one_less(&self) {
        if self.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.1.unpark();
        }
    }
}

/// Nanoseconds a job, of jobs that `give` gives.
fn turn(mut give: impl FnMut(usize, Arc<Left>)) -> f64 {
    let left = Arc::new(Left(AtomicUsize::new(JOBS), thread::current()));
    let began = Instant::now();
    for at in 0..JOBS {
        give(at, left.clone());
    }
    while left.0.load(Ordering::Acquire) > 0 {
        thread::park();
    }
    ns(began.elapsed()) / JOBS as f64
}

fn plain(pool: &impl Pool) -> Vec<f64> {
    vec![turn(|_, left| pool.give(move || left.one_less()))]
}

/// All channels and classes in turn.
fn mixed(threads: &ThreadCoordinator, channels: &[JobChannel]) -> f64 {
    assert_eq!(threads.jobs().total().queued, 0, "the turn before is over");
    turn(|at, left| {
        let job = channels[at % channels.len()].job("job").class(Class::ALL[at % Class::ALL.len()]);
        drop(job.run(move |_| left.one_less()).unwrap());
    })
}

pub(crate) fn measure(suite: &mut Suite) {
    let samples = race!(|pool: &_| plain(pool)).run();
    suite.add(Figure::of("throughput", "ns/job", &samples, OURS, 0.5));

    let threads = coordinator(WORKERS);
    let channels: Vec<_> =
        (0..CHANNELS).map(|at| threads.channel(&format!("channel-{at}")).unwrap()).collect();
    let samples = Race::new().with(OURS, || mixed(&threads, &channels)).run();
    suite.add(Figure::of("throughput/200 channels", "ns/job", &samples, OURS, 0.5));
}
