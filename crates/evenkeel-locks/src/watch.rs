//! Locks that are watched: who holds them, in what order they were taken, how long they were waited
//! for; and what is found.
//!
//! * The order of what is taken is checked before it is waited for: see [`ranked`](crate::ranked) and
//!   [`unranked`](crate::unranked). [`on_violation`] says what is done.
//! * A wait that lasts is looked at: past 5 ms it is told of, past 50 ms it is looked for a deadlock. Who
//!   gave a time limit gets a [`WaitError`] with the whole [`Cycle`].
//! * [`snapshot`] says what every lock counted, while the program runs.
//! * A [`Watch`] calls the user with every [`Event`], from a thread that holds nothing; without one they
//!   are kept for [`take_events`], 256 at most.
//! * A panic lets go of a lock and leaves it tainted, until it is repaired.
//!
//! A hog does not starve the others: the lock is handed over to one that waited, about every half
//! millisecond, by the lock underneath.

#![allow(unexpected_cfgs, reason = "only the tests under loom set `evenkeel_loom`")]

mod alarm;
mod condvar;
mod cycle;
mod event;
mod graph;
mod held;
mod histogram;
mod holding;
#[cfg(all(test, evenkeel_loom))]
mod interleavings;
mod mutex;
mod order;
mod registry;
mod rwlock;
mod state;
mod stats;
mod sync;
mod sys;
mod tag;
mod tasks;
mod thread;
mod wait;

pub use alarm::Watch;
pub use condvar::Condvar;
pub use cycle::{Because, Cycle, Holder, Party};
pub use event::{
    Earlier, Event, Found, OnViolation, Place, Violation, ViolationKind, on_violation, take_events,
};
pub use histogram::Histogram;
pub use mutex::{Mutex, MutexGuard};
pub(crate) use order::Origin;
pub use order::{AtRunTime, Class, Learnt, OnLevel, Order, Rank, Ranked};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use state::State;
pub use stats::{ClassStats, LockStats, Snapshot, Totals, snapshot};
pub use sys::Site;
pub use tag::Access;
pub(crate) use tasks::TaskHold;
pub use wait::WaitError;
