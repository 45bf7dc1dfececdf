//! The one order of all locks of the house, at a glance.
//!
//! A lock is taken after those to its left, and while one is held, nothing to its left can be: that does
//! not compile. Levels that no line relates cannot be held together. Which locks there are, and why there
//! is no way without them, stands in `ARCHITECTURE.md`.
//!
//! What holds:
//! * Every lock of the house is one of these, on a level that is named here.
//! * No closure, observer or value of a user's is called or dropped while one is held: who calls it takes
//!   a `&mut Cap<House>`, which nobody has who holds a lock.
//! * The order has a root of its own, so that whoever calls the house may hold locks of theirs: those come
//!   before all of the house's.
//! * Recovery goes the same way: there is no second order for when things fail.
//!
//! ```
//! use evenkeel_hierarchy::{BufferState, Component, Mutex, with_root};
//!
//! static STATES: Mutex<Component, u32> = Mutex::new(1);
//! static BOOKS: Mutex<BufferState, u32> = Mutex::new(2);
//!
//! let both = with_root(|house| {
//!     let mut states = STATES.lock(house);
//!     let (states, held) = states.parts();
//!     *states + *BOOKS.lock(held)
//! });
//! assert_eq!(both, 3);
//! ```
//!
//! What calls callbacks takes a capability that nobody has under a lock:
//!
//! ```
//! use evenkeel_hierarchy::{Cap, House, with_root};
//!
//! fn tell(house: &mut Cap<House>, observer: &dyn Fn()) {
//!     house.outside(observer);
//! }
//!
//! // The observer may come back.
//! with_root(|house| tell(house, &|| with_root(|_| ())));
//! ```
//!
//! ```compile_fail,E0308
//! # use evenkeel_hierarchy::{BufferState, Cap, House, Mutex, with_root};
//! # static BOOKS: Mutex<BufferState, u32> = Mutex::new(2);
//! # fn tell(house: &mut Cap<House>, observer: &dyn Fn()) {
//! #     house.outside(observer);
//! # }
//! with_root(|house| tell(BOOKS.lock(house).cap(), &|| ()));
//! ```

pub use evenkeel_locks::watch::SiteCell;
pub use evenkeel_locks::{After, Cap, Condvar, Level, Mutex, MutexGuard, RootTaken, WaitOutcome};
use evenkeel_locks::{lock_order, try_with_root_of, with_root_of};

lock_order! {
    /// Nothing of the house is locked.
    root pub House;

    // The documented orders, and theirs among each other: cleanup drives components, components use
    // buffers, and all of them change their state. A level without a lock says why it needs none.

    /// Whether the service is to stop and how it ended (`stop/shared.rs`).
    pub CleanupShutdown <
        /// No lock: the phase is the run's, a value of `ek-stop` alone.
        CleanupPhase <
        /// The registry of the steps and their closures, until the stop takes them (`cleanup/coordinator.rs`).
        CleanupSteps <
        /// What becomes of the report in the journal (`stop/ending.rs`).
        CleanupStatus;

    /// Where each component stands (`components.rs`).
    pub Component <
        /// Who has an account in the pool (`resources.rs`). Taking from it needs none of these locks: the pool's books are its own.
        ComponentResource <
        /// No lock: what a component went through stands in the journal.
        ComponentHistory <
        /// No lock: nothing of a user's is called when a component changes its state.
        ComponentCallback <
        /// No lock: a component has no thread of its own; those of the house are below, `Thread*`.
        ComponentThread;

    /// Which queues there are: whoever cleans up goes through all of them (`buffers.rs`).
    pub BufferCleanup <
        /// What waits in the queues of one kind, and who waits for them (`buffers/set.rs`).
        BufferState <
        /// No lock: which component holds what stands in the pool's books.
        BufferComponent <
        /// What was seen of the pool so far (`resources/watch.rs`); what changes in it asks for none of these locks.
        BufferUpdate;

    // A state machine. Its callbacks are handed out as a snapshot, and called with nothing held.

    /// What waits for one observer (`state/mailbox.rs`).
    pub MachineCallbacks <
        /// One machine: its state, what is under way, whom it tells. What is read often is an atomic beside it
        /// (`state/inner.rs`).
        MachineState <
        /// No lock: bounded, and a part of the machine.
        MachineHistory <
        /// No lock: fixed when it is made.
        MachineInvariants <
        /// No lock: fixed when it is made.
        MachineValidators;

    also CleanupStatus < Component;
    also ComponentThread < BufferCleanup;
    also BufferUpdate < MachineCallbacks;

    /// Which machines there are (`state/registry.rs`).
    pub MachineBook;

    // Threads and jobs; each alone.

    /// Which job is next, and the workers (`threads/core.rs`).
    pub ThreadSchedule;
    /// What became of one job (`threads/job.rs`).
    pub ThreadJob;
    /// Who is told of threads, and what waits for them; that `ek-watch` is to look (`threads/events.rs`,
    /// `threads/watcher.rs`).
    pub ThreadEvents;
    /// Which threads there are (`threads/book.rs`).
    pub ThreadBook;

    // Faults; each alone.

    /// Who is supervised, and what is being done about whom (`faults/book.rs`).
    pub FaultBook;
    /// Faults of one channel, on their way to `ek-faults` (`faults/lane.rs`).
    pub FaultLane;
    /// Answers of procedures, on their way to `ek-faults` (`faults/inbox.rs`).
    pub FaultInbox;
    /// What waits to be told to one who wants to know (`faults/mailbox.rs`).
    pub FaultTells;

    // The stop, beside the documented orders: each alone, but for the last entry.

    /// The stops of this process (`stop/others.rs`).
    pub StopBook;
    /// Who hears signals; registering one is under it, a system call (`signals.rs`).
    pub StopSignals;
    /// What came of the steps, on its way to the run (`cleanup/executor.rs`).
    pub StepEvents;
    /// Threads of steps that wait for work (`cleanup/workers.rs`).
    pub StepThreads;
    /// Nothing: who waits to be told to stop waits with it (`cleanup/step.rs`).
    pub StepTold;

    /// The head of the chain and what is queued (`journal/shared.rs`).
    pub JournalQueue;
    /// Who is told what is durable (`journal/shared.rs`), who is asked for a snapshot (`journal/snapshot.rs`).
    pub JournalObservers;
    // Whether the report was appended, and that it is appended once.
    also CleanupStatus < JournalQueue;
    // A change of state and its entry are one: numbered in the order of the changes.
    also MachineState < JournalQueue;

    // The log.

    /// Length and last block of a file that grows. It is what puts appends one after the other: the write is
    /// under it (`storage/file.rs`).
    pub LogFile;
    /// Memory that appends are put together in (`storage/staging.rs`).
    pub LogStaging;
    /// What was read ahead of a file (`storage/medium.rs`).
    pub LogWindow;
    /// Who has which id of a stream (`writer/streams.rs`).
    pub LogStreams;
    /// The medium in memory, for tests (`sim.rs`).
    pub LogSim;

    // The recorder.

    /// Queues, budget, counts, orders (`hub.rs`).
    pub RecorderHub;
    /// The newest that is acknowledged (`acks.rs`).
    pub RecorderAcks;
    /// What is wanted of `ek-retention` (`retention/keeper.rs`).
    pub RecorderRetention;
    /// What is wanted of `ek-exec` (`children.rs`).
    pub ChildOrders;
    /// The groups of commands. Nobody is signalled and nobody reaped but under it: `kill` and `waitid` are
    /// under it, which do not wait (`children/groups.rs`).
    pub ChildGroups;
    /// The reader of an embedder's, until it is taken (`config.rs`).
    pub RecorderReader;

    // The program.

    /// What waits to be written for people (`screen.rs`).
    pub Screen;
    /// What waits to be sent to the service manager (`systemd.rs`).
    pub Manager;
}

/// Lends `work` the root of the house: nothing of it is held.
///
/// # Panics
/// Inside of itself: hand on the capability. Where that cannot be known, as in the drop of a value
/// that users have, nothing of the house is held either: nothing of theirs is dropped under a lock.
#[inline]
#[track_caller]
pub fn with_root<T>(work: impl FnOnce(&mut Cap<House>) -> T) -> T {
    with_root_of(work)
}

/// The same, with an error where that panics.
///
/// # Errors
/// [`RootTaken`] inside of itself; `work` was not called.
#[inline]
pub fn try_with_root<T>(work: impl FnOnce(&mut Cap<House>) -> T) -> Result<T, RootTaken> {
    try_with_root_of(work)
}
