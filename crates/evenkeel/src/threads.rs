//! Threads: jobs by class and channel, threads of their own, and who watches them.
//!
//! ```text
//! job --> Schedule (evenkeel-core) --> worker --> answer --> handle
//!                                        |
//! thread ------------------------------- slot: busy? last beat, where   <-- ek-watch --> events
//! ```
//!
//! * A **job** has a class; system goes before processing before monitoring, and none starves. Jobs of one
//!   **channel** run one after the other, on one worker while that keeps up.
//! * A **thread** of its own does one thing for as long as it lives.
//! * Both **beat** while they work. Who does not for a heartbeat is told of, with where it was last; a worker's
//!   jobs go to others then.
//! * There are at most [`threads_max`](Builder::threads_max) of them, workers and `ek-watch` included.
//! * [`terminate`](ThreadCoordinator::terminate) names what did not stop.
//!
//! Which job is next and who is late is decided in [`evenkeel_core::threads`]; here it is done.

mod aside;
mod book;
mod channel;
mod core;
mod dedicated;
mod error;
mod events;
mod handle;
mod job;
mod place;
mod rounds;
mod slot;
mod terminate;
mod usage;
mod watcher;
mod worker;

pub use self::channel::JobChannel;
use self::core::Core;
use crate::callback::contained;
use crate::resources::Account;
pub(crate) use aside::Asides;
pub use dedicated::{ThreadBuilder, ThreadHandle};
pub use error::{ChannelRefused, JobRefused, ThreadError};
pub use evenkeel_core::threads::{Class, Counts, Limits};
pub use events::{Doing, Subject, Subscription, ThreadEvent, What};
pub use handle::{JobBuilder, JobHandle};
pub use job::{JobError, JobState};
pub use slot::{Kind, Pulse};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
pub use terminate::{NotStopped, Termination};
pub use usage::{InKernel, Usage};

/// Most threads unless something else is said.
pub const THREADS_MAX: usize = 20;
/// How often the watch looks at most.
const HEARTBEAT_MIN: Duration = Duration::from_millis(1);

/// Now and so long; a year, when that is further away than the clock goes.
fn instant_after(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// Bounds and defaults.
#[derive(Clone, Debug)]
struct Options {
    threads_max: usize,
    workers_max: usize,
    heartbeat: Duration,
    stack_bytes: [usize; 3],
    nice: [Option<i32>; 3],
    limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        // The system is asked once: it reads files for it.
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(2, usize::from));
        Self {
            threads_max: THREADS_MAX,
            workers_max: cores.clamp(4, 16),
            heartbeat: Duration::from_secs(5),
            stack_bytes: [512 << 10, 2 << 20, 256 << 10],
            nice: [None; 3],
            limits: Limits::default(),
        }
    }
}

/// Describes a coordinator; see [`ThreadCoordinator::builder`].
#[derive(Debug, Default)]
#[must_use = "a coordinator that is not built has no threads"]
pub struct Builder {
    options: Options,
}

impl Builder {
    /// Most threads at once, `ek-watch` and workers included; at least 2. 20 if nothing is said; more stands
    /// in every [`Snapshot`].
    pub fn threads_max(mut self, threads: usize) -> Self {
        self.options.threads_max = threads.max(2);
        self
    }

    /// Most threads that run jobs, 1 to 64. As many as there are processors, 4 to 16, if nothing is said. Each
    /// begins when there is something for it to do.
    pub fn workers_max(mut self, workers: usize) -> Self {
        self.options.workers_max = workers.clamp(1, evenkeel_core::threads::WORKERS_MAX);
        self
    }

    /// How often a thread beats at least while it works, 1 ms or more. 5 s if nothing is said.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.options.heartbeat = heartbeat.max(HEARTBEAT_MIN);
        self
    }

    /// Bytes of stack of a thread of this class: 512 KiB for system, 2 MiB for processing, 256 KiB for
    /// monitoring, if nothing is said. Workers serve all classes, and have the largest.
    pub fn stack_bytes(mut self, class: Class, bytes: usize) -> Self {
        self.options.stack_bytes[class.index()] = bytes;
        self
    }

    /// Nice value of threads of this class, but for workers, which serve all.
    pub fn nice(mut self, class: Class, nice: i32) -> Self {
        self.options.nice[class.index()] = Some(nice);
        self
    }

    /// Turns, patience and bounds of the queue.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// The coordinator. It starts no thread before there is something to do.
    pub fn build(self) -> ThreadCoordinator {
        ThreadCoordinator(Arc::new(Owner(Arc::new(Core::new(self.options)))))
    }
}

/// The last of its handles ends what it began.
struct Owner(Arc<Core>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
        self.0.give_up_queued();
        let hooks = self.0.tellers.unhook();
        if !hooks.is_empty() {
            self.0.aside(move || drop(hooks));
        }
    }
}

/// All threads of a service. Cheap to clone; all clones are one.
///
/// Dropping the last one asks all of them to end, gives up jobs that have not begun, and waits for nothing.
///
/// ```
/// use evenkeel::threads::{Class, ThreadCoordinator};
///
/// let threads = ThreadCoordinator::default();
/// let sum = threads.job("sum").class(Class::System).run(|_pulse| (1..=10).sum::<u32>())?;
/// assert_eq!(sum.wait()?, 55);
///
/// let ended = threads.terminate(std::time::Duration::from_secs(5));
/// assert!(ended.is_clean(), "{ended}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ThreadCoordinator(Arc<Owner>);

impl Default for ThreadCoordinator {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for ThreadCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadCoordinator").field("threads", &self.core().book.counted()).finish()
    }
}

impl ThreadCoordinator {
    /// Begins to describe one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.0
    }

    /// Describes a job that belongs to no channel.
    pub fn job(&self, name: impl Into<Cow<'static, str>>) -> JobBuilder {
        JobBuilder::new(self.core().clone(), name.into())
    }

    /// Events from now on: threads that are stuck, run away, die or are back, jobs that panic.
    pub fn subscribe(&self) -> Subscription {
        self.core().tellers.subscribe()
    }

    /// Has `f` called with every event from now on, on a thread of its own: what it does delays the next one. A
    /// panic in it ends with it. It is dropped with the coordinator; one that holds a handle of that keeps it.
    pub fn on_event(&self, f: impl Fn(&ThreadEvent) + Send + Sync + 'static) {
        self.core().tellers.hook(Arc::new(f));
    }

    /// The same for what is ours and short: on the thread that found it, before anybody else.
    pub(crate) fn on_event_at_once(&self, f: impl Fn(&ThreadEvent) + Send + Sync + 'static) {
        self.core().tellers.hook_own(Arc::new(f));
    }

    /// Figures of all jobs.
    pub fn jobs(&self) -> Counts {
        self.core().with(|state| state.schedule.counts())
    }

    /// Most threads at once.
    pub fn threads_max(&self) -> usize {
        self.core().book.threads_max()
    }

    /// Counts threads in the books of a pool too, from now on: of the first that asks.
    pub(crate) fn count_in(&self, account: &Account) {
        self.core().book.count_in(account);
    }

    /// All threads now, with what the system knows of each: some 30 us a thread.
    pub fn snapshot(&self) -> Snapshot {
        let core = self.core();
        let mut threads: Vec<ThreadInfo> =
            core.book.slots().iter().map(|slot| ThreadInfo::of(core, slot)).collect();
        threads.sort_by_key(|thread| thread.class);
        Snapshot { threads, threads_max: core.book.threads_max() }
    }
}

/// All threads at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Each of them, system first.
    pub threads: Vec<ThreadInfo>,
    /// Most of them at once, but for those of a stop.
    pub threads_max: usize,
}

impl Snapshot {
    /// Whether there may be more than the 20 that are the default.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.threads_max > THREADS_MAX
    }

    /// Time that all of them spent on a processor.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.threads.iter().filter_map(|thread| thread.usage).map(|usage| usage.cpu).sum()
    }
}

/// One thread at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// Its name, which is the system's too.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// What it is there for.
    pub kind: Kind,
    /// Its number of the system, once it runs.
    pub tid: Option<i32>,
    /// For how long it has been at work; `None` while it waits.
    pub busy_for: Option<Duration>,
    /// For how long nothing has been heard of it while it worked, if that is longer than it may.
    pub silent_for: Option<Duration>,
    /// What it does, or did last.
    pub doing: Doing,
    /// How often it has beaten.
    pub beats: u64,
    /// What it has used.
    pub usage: Option<Usage>,
}

impl ThreadInfo {
    fn of(core: &Core, slot: &slot::Slot) -> Self {
        let now = crate::clock::mono();
        let job = core.with(|state| state.job_of(slot));
        let info = Self {
            name: slot.name.clone(),
            class: slot.class,
            kind: slot.kind,
            tid: slot.tid(),
            busy_for: slot.busy_since().map(|since| now.since(since)),
            silent_for: slot.is_given_up().then(|| now.since(slot.last_beat())),
            doing: Core::doing(slot, job.as_ref().map(|job| job.meta())),
            beats: slot.beats(),
            usage: slot.tid().and_then(Usage::of),
        };
        // It may have ended meanwhile, and its answer goes with this.
        contained(|| drop(job));
        info
    }
}

#[cfg(test)]
mod tests;
