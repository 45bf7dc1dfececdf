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

pub use evenkeel_locks::{Cap, Condvar, Level, Mutex, MutexGuard, RootTaken, WaitOutcome};
use evenkeel_locks::{lock_order, try_with_root_of, with_root_of};

lock_order! {
    /// Nothing of the house is locked.
    root pub House;

    // The documented orders, and theirs among each other: cleanup drives components, components use
    // buffers, and all of them change their state. A level without a lock says why it needs none.
    pub CleanupShutdown < CleanupPhase < CleanupSteps < CleanupStatus;
    pub Component < ComponentResource < ComponentHistory < ComponentCallback < ComponentThread;
    pub BufferCleanup < BufferState < BufferComponent < BufferUpdate;
    pub MachineCallbacks < MachineState < MachineHistory < MachineInvariants < MachineValidators;
    also CleanupStatus < Component;
    also ComponentThread < BufferCleanup;
    also BufferUpdate < MachineCallbacks;

    // Threads: which job is next; what became of one; who is told; which threads there are.
    pub ThreadSchedule;
    pub ThreadJob;
    pub ThreadEvents;
    pub ThreadBook;
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
