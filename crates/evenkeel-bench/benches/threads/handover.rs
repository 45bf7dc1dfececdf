//! From giving a job to its first instruction.

use crate::OURS;
use crate::pool::{OfChannel, Pool, entrant, race};
use evenkeel_bench::{Figure, Goal, Samples, Suite, ns};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const IDLE_TIMES: usize = 150;
const HOT_TIMES: usize = 2_000;
/// How long who waits for a job keeps its processor.
const HOT_SPIN_NS: f64 = 5e3;
/// How long the workers have slept.
const PAUSE: Duration = Duration::from_millis(1);
/// Ours of a channel, in the same race.
const CHANNEL: &str = "evenkeel, one channel";
const GOAL_US: f64 = 10.0;

/// When a job began, told to who gave it.
#[derive(Clone, Default)]
struct Begun(Arc<AtomicU64>);

impl Begun {
    /// Gives a job that tells how long ago that was.
    fn give(&self, pool: &impl Pool) {
        self.0.store(0, Ordering::Relaxed);
        let (begun, gives) = (self.0.clone(), Instant::now());
        pool.give(move || {
            let took = gives.elapsed();
            begun.store((took.as_nanos() as u64).max(1), Ordering::Release);
        });
    }

    /// Microseconds from giving to beginning, once it has begun.
    fn us(&self) -> Option<f64> {
        Some(self.0.load(Ordering::Acquire)).filter(|took| *took != 0).map(|took| took as f64 / 1e3)
    }
}

/// Each given after a pause in which giver and workers sleep.
fn idle(pool: &impl Pool) -> Vec<f64> {
    let begun = Begun::default();
    let one = |_| {
        // sleep: the figure is of a pool that sleeps.
        thread::sleep(PAUSE);
        begun.give(pool);
        loop {
            // sleep: who gave it is not in the way of who runs it.
            thread::sleep(PAUSE);
            if let Some(us) = begun.us() {
                return us;
            }
        }
    };
    (0..IDLE_TIMES).map(one).collect()
}

/// Each given as soon as the one before has begun.
fn hot(pool: &impl Pool) -> Vec<f64> {
    let begun = Begun::default();
    let one = |_| {
        begun.give(pool);
        let gave = Instant::now();
        loop {
            if let Some(us) = begun.us() {
                return us;
            }
            // A worker that was woken on the same processor needs it.
            if ns(gave.elapsed()) < HOT_SPIN_NS { std::hint::spin_loop() } else { thread::yield_now() }
        }
    };
    (0..HOT_TIMES).map(one).collect()
}

pub(crate) fn measure(suite: &mut Suite) {
    let samples = race!(|pool: &_| idle(pool)).with_samples(CHANNEL, entrant::<OfChannel>(idle)).run();
    figures(suite, "idle", &samples);
    let samples = race!(|pool: &_| hot(pool)).with_samples(CHANNEL, entrant::<OfChannel>(hot)).run();
    figures(suite, "hot", &samples);
}

/// Median and 99th percentile, of any job and of a channel's.
fn figures(suite: &mut Suite, when: &str, samples: &Samples) {
    for (part, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let held = |figure: Figure| if quantile == 0.5 { figure.goal(Goal::Below(GOAL_US)) } else { figure };
        let peers = samples.peers(OURS, quantile).filter(|(name, _)| *name != CHANNEL);
        let of = |name| samples.quantile(name, quantile).expect("ours ran");
        suite.add(held(Figure::lower(format!("handover/{when}/{part}"), "us", of(OURS)).beside(peers)));
        suite.add(held(Figure::lower(format!("handover/channel {when}/{part}"), "us", of(CHANNEL))));
    }
}
