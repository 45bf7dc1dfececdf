//! Whoever runs jobs, in one shape; ours, and the plainest there is.

use evenkeel::threads::{JobChannel, Limits, ThreadCoordinator};
use std::sync::mpsc::{Sender, channel};

/// Workers of every pool, where nothing else is said.
pub(crate) const WORKERS: usize = 2;
/// Jobs that may be queued: more than any part gives at once.
const QUEUED_MAX: usize = 1 << 17;

/// Runs jobs on threads of its own.
pub(crate) trait Pool {
    fn new(workers: usize) -> Self;
    /// Gives it a job, and waits for nothing.
    fn give(&self, job: impl FnOnce() + Send + 'static);
    /// Gives it an empty job and waits for its answer.
    fn ask(&self) {
        let (answer, answers) = channel();
        self.give(move || _ = answer.send(()));
        answers.recv().unwrap();
    }
}

/// One of ours, of so many workers.
pub(crate) fn coordinator(workers: usize) -> ThreadCoordinator {
    let limits = Limits { queued_max: QUEUED_MAX, ..Limits::default() };
    ThreadCoordinator::builder().workers_max(workers).limits(limits).build()
}

pub(crate) struct Ours(ThreadCoordinator);

impl Pool for Ours {
    fn new(workers: usize) -> Self {
        Self(coordinator(workers))
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.0.job("job").run(|_| job()).unwrap());
    }

    fn ask(&self) {
        self.0.job("job").run(|_| ()).unwrap().wait().unwrap();
    }
}

/// A channel of ours.
pub(crate) struct OfChannel(
    JobChannel,
    #[expect(dead_code, reason = "its channel's jobs run on it")] ThreadCoordinator,
);

impl Pool for OfChannel {
    fn new(workers: usize) -> Self {
        let threads = coordinator(workers);
        Self(threads.channel("channel").unwrap(), threads)
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.0.job("job").run(|_| job()).unwrap());
    }

    fn ask(&self) {
        self.0.job("job").run(|_| ()).unwrap().wait().unwrap();
    }
}

/// A thread that takes closures from a channel: always one.
pub(crate) struct Plain(Sender<Box<dyn FnOnce() + Send>>);

impl Pool for Plain {
    fn new(_: usize) -> Self {
        let (give, given) = channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || given.into_iter().for_each(|job| job()));
        Self(give)
    }

    fn give(&self, job: impl FnOnce() + Send + 'static) {
        self.0.send(Box::new(job)).unwrap();
    }
}

/// A turn over a pool that lives as long as the race.
pub(crate) fn entrant<P: Pool + 'static>(
    turn: impl Fn(&P) -> Vec<f64> + 'static,
) -> impl FnMut() -> Vec<f64> + 'static {
    let pool = P::new(WORKERS);
    move || turn(&pool)
}

/// A race of ours, `std channel` and the peers: `$turn` is given each one's pool.
macro_rules! race {
    ($turn:expr) => {{
        use crate::pool::{Ours, Plain, entrant};
        let race = evenkeel_bench::Race::new()
            .with_samples(crate::OURS, entrant::<Ours>(|pool| $turn(pool)))
            .with_samples("std channel", entrant::<Plain>(|pool| $turn(pool)));
        #[cfg(feature = "peers")]
        let race = race
            .with_samples("rayon", entrant::<crate::peers::Rayon>(|pool| $turn(pool)))
            .with_samples("threadpool", entrant::<crate::peers::Threadpool>(|pool| $turn(pool)))
            .with_samples("tokio spawn_blocking", entrant::<crate::peers::Tokio>(|pool| $turn(pool)));
        race
    }};
}
pub(crate) use race;
