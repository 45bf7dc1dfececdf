//! What is known of one thread, written by itself and read by all.
//!
//! Invariant: only the thread itself says whether it is busy and that it is alive; others ask it to
//! end, and say that they have given it up. No lock is taken: who beats may hold some.

use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::Class;
use evenkeel_hierarchy::SiteCell;
use rustix::thread::gettid;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A place in a program's source.
pub(super) type Site = &'static Location<'static>;

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Runs jobs, one after the other.
    Worker,
    /// Does one thing for as long as it lives.
    Dedicated,
    /// Watches the others, to their end.
    Watch,
    /// Like a dedicated one, but others end it: a termination leaves it alone.
    Kept,
    /// Belongs to a stop, which no limit holds up.
    Stop,
}

/// One thread.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) class: Class,
    pub(super) kind: Kind,
    /// Its number of the system; 0 until it runs.
    tid: AtomicI32,
    /// Since when it is at work, monotonic nanoseconds; 0 while it waits.
    busy_since: AtomicU64,
    last_beat: AtomicU64,
    beats: AtomicU64,
    site: SiteCell,
    should_stop: AtomicBool,
    /// The last beat of it before it was given up; 0: it was not.
    given_up_after: AtomicU64,
}

impl Slot {
    pub(super) fn new(id: u64, name: String, class: Class, kind: Kind, site: Site) -> Self {
        let seen = SiteCell::new();
        seen.store(site);
        Self {
            id,
            name,
            class,
            kind,
            tid: AtomicI32::new(0),
            busy_since: AtomicU64::new(0),
            last_beat: AtomicU64::new(clock::mono().as_nanos()),
            beats: AtomicU64::new(0),
            site: seen,
            should_stop: AtomicBool::new(false),
            given_up_after: AtomicU64::new(0),
        }
    }

    /// The thread that calls this is the one.
    pub(super) fn enter(&self) {
        self.tid.store(gettid().as_raw_nonzero().get(), Relaxed);
    }

    /// Its number of the system, once it runs.
    pub(super) fn tid(&self) -> Option<i32> {
        Some(self.tid.load(Relaxed)).filter(|tid| *tid != 0)
    }

    /// It works from now on.
    pub(super) fn busy(&self, now: Mono) {
        self.last_beat.store(now.as_nanos(), Relaxed);
        self.busy_since.store(now.as_nanos().max(1), Relaxed);
    }

    /// It waits from now on, and cannot be late.
    pub(super) fn waits(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// It is alive, and here.
    fn beat(&self, site: Site) {
        self.last_beat.store(clock::mono().as_nanos(), Relaxed);
        // Only this thread counts.
        self.beats.store(self.beats.load(Relaxed) + 1, Relaxed);
        self.at(site);
    }

    /// It is here.
    pub(super) fn at(&self, site: Site) {
        self.site.store(site);
    }

    /// Where it was last.
    pub(super) fn site(&self) -> Site {
        self.site.load().expect("invariant: a thread has a place from the first")
    }

    pub(super) fn busy_since(&self) -> Option<Mono> {
        Some(self.busy_since.load(Relaxed)).filter(|since| *since != 0).map(Mono::from_nanos)
    }

    pub(super) fn last_beat(&self) -> Mono {
        Mono::from_nanos(self.last_beat.load(Relaxed))
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// Asks it to end.
    pub(super) fn ask_to_stop(&self) {
        self.should_stop.store(true, Relaxed);
    }

    pub(super) fn should_stop(&self) -> bool {
        self.should_stop.load(Relaxed)
    }

    /// Whether it was late and has not been heard of since.
    pub(super) fn is_given_up(&self) -> bool {
        let after = self.given_up_after.load(Relaxed);
        after != 0 && after == self.last_beat.load(Relaxed) && self.busy_since().is_some()
    }

    /// It is heard of again. For how long it was not, if it was given up; answered once.
    pub(super) fn take_back(&self) -> Option<Duration> {
        let after = Some(self.given_up_after.swap(0, Relaxed)).filter(|after| *after != 0)?;
        Some(clock::mono().since(Mono::from_nanos(after)))
    }

    /// It was late after this beat: that is so until it is heard of again.
    pub(super) fn give_up(&self, after: Mono) {
        self.given_up_after.store(after.as_nanos(), Relaxed);
    }
}

/// A job's share of a [`Pulse`].
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Nobody wants its answer any more.
    pub(super) is_cancelled: AtomicBool,
    /// When it should be done.
    pub(super) deadline: Option<Mono>,
}

impl Control {
    pub(super) fn new(deadline: Option<Mono>) -> Self {
        Self { is_cancelled: AtomicBool::new(false), deadline }
    }
}

/// What a thread, or a job on one, says of itself, and is asked.
///
/// It belongs to its thread: another cannot say for it that it is alive.
///
/// ```
/// use evenkeel::threads::ThreadCoordinator;
///
/// let threads = ThreadCoordinator::default();
/// let job = threads.job("count").run(|pulse| {
///     let mut sum = 0_u64;
///     for part in 0..10 {
///         if pulse.should_stop() {
///             break;
///         }
///         pulse.beat(); // at least once a heartbeat
///         sum += part;
///     }
///     sum
/// })?;
/// assert_eq!(job.wait()?, 45);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pulse<'a> {
    slot: &'a Slot,
    job: Option<&'a Control>,
    of_this_thread: PhantomData<*const ()>,
}

impl<'a> Pulse<'a> {
    pub(super) fn new(slot: &'a Slot, job: Option<&'a Control>) -> Self {
        Self { slot, job, of_this_thread: PhantomData }
    }

    /// Lends `work` one that nobody watches, on the thread that calls: to test what takes one.
    ///
    /// ```
    /// use evenkeel::threads::Pulse;
    /// assert!(!Pulse::unwatched(|pulse| pulse.should_stop()));
    /// ```
    #[track_caller]
    pub fn unwatched<T>(work: impl FnOnce(&Pulse<'_>) -> T) -> T {
        let name = "unwatched".to_owned();
        work(&Pulse::new(&Slot::new(0, name, Class::Processing, Kind::Kept, Location::caller()), None))
    }

    /// Says that the thread is alive and gets on, here. Some 40 ns.
    ///
    /// Who works longer than a heartbeat without one is reported as stuck, with the place of the last one.
    #[track_caller]
    pub fn beat(&self) {
        self.slot.beat(Location::caller());
    }

    /// Waits for something, for however long: meanwhile the thread is not expected to beat. A wait inside of
    /// a wait is a part of it.
    #[track_caller]
    pub fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        /// Also when the wait panics: what then runs is work.
        struct Again<'a>(&'a Slot);
        impl Drop for Again<'_> {
            fn drop(&mut self) {
                self.0.busy(clock::mono());
            }
        }
        self.slot.at(Location::caller());
        if self.slot.busy_since().is_none() {
            return wait();
        }
        self.slot.waits();
        let _again = Again(self.slot);
        wait()
    }

    /// Whether to end: the thread is being terminated, or the job was cancelled or is past its deadline.
    pub fn should_stop(&self) -> bool {
        let job_is_over = |job: &Control| {
            job.is_cancelled.load(Relaxed) || job.deadline.is_some_and(|deadline| clock::mono() >= deadline)
        };
        self.slot.should_stop() || self.job.is_some_and(job_is_over)
    }

    /// When the job should be done, on the clock of [`clock::mono`].
    pub fn deadline(&self) -> Option<Mono> {
        self.job.and_then(|job| job.deadline)
    }

    /// The thread's name.
    pub fn thread(&self) -> &str {
        &self.slot.name
    }
}
