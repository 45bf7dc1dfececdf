//! The one order of all locks of the house, at a glance.
//!
//! A lock is taken after those to its left, and while one is held, nothing to its left can be: that does
//! not compile. Levels that no line relates cannot be held together. Which locks there are, and why there
//! is no way without them, stands in `ARCHITECTURE.md`.
//!
//! What holds:
//! * Every lock of the house is one of [`evenkeel_locks`], on a level that is named here.
//! * No closure, observer or value of a user's is called or dropped while one is held: who calls it takes
//!   a `&mut Cap<Root>`, which nobody has who holds a lock.
//! * Recovery goes the same way: there is no second order for when things fail.

use evenkeel_locks::lock_order;

lock_order! {
    // The documented orders, and theirs among each other: cleanup drives components, components use
    // buffers, and all of them change their state. A level without a lock says why it needs none.
    pub CleanupShutdown < CleanupPhase < CleanupSteps < CleanupStatus;
    pub Component < ComponentResource < ComponentHistory < ComponentCallback < ComponentThread;
    pub BufferCleanup < BufferState < BufferComponent < BufferUpdate;
    pub MachineCallbacks < MachineState < MachineHistory < MachineInvariants < MachineValidators;
    also CleanupStatus < Component;
    also ComponentThread < BufferCleanup;
    also BufferUpdate < MachineCallbacks;

    // Threads: which job is next; what became of one; who is told.
    pub ThreadSchedule;
    pub ThreadJob;
    pub ThreadEvents;
    pub ThreadBook;
}
