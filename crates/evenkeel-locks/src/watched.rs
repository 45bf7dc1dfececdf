//! Locks on a level that are watched too: the order is the compiler's, the rest is counted.
//!
//! ```
//! use evenkeel_locks::watched::Mutex;
//! use evenkeel_locks::{lock_order, with_root};
//!
//! lock_order! { Queue < Disk; }
//! let (queue, disk) = (Mutex::<Queue, _>::new(1), Mutex::<Disk, _>::new(0));
//! with_root(|root| {
//!     let mut queue = queue.lock(root);
//!     let (jobs, held) = queue.parts();
//!     *disk.lock(held) += *jobs;
//! });
//! assert_eq!(disk.stats().acquisitions, 1);
//! ```

use crate::watch;
pub use crate::watch::{Condvar, OnLevel};

/// A watched mutex on a level.
pub type Mutex<L, T> = watch::Mutex<OnLevel<L>, T>;
/// Locked.
pub type MutexGuard<'l, L, T> = watch::MutexGuard<'l, OnLevel<L>, T>;
/// A watched lock of many readers or one writer, on a level.
pub type RwLock<L, T> = watch::RwLock<OnLevel<L>, T>;
/// Locked for reading.
pub type RwLockReadGuard<'l, L, T> = watch::RwLockReadGuard<'l, OnLevel<L>, T>;
/// Locked for writing.
pub type RwLockWriteGuard<'l, L, T> = watch::RwLockWriteGuard<'l, OnLevel<L>, T>;
