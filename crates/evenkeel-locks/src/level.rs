//! Locks on a level: parking_lot's, and a capability of no size.
//!
//! Nothing here adds an instruction to what parking_lot does. Who holds such a lock, and how long,
//! nobody knows: for that there are the watched ones.

mod all;
mod condvar;
mod mutex;
mod pair;
mod rwlock;

pub use all::{Guards, lock_all, lock_all_for, lock_all_until, try_lock_all};
pub use condvar::{Condvar, WaitOutcome};
pub use mutex::{Mutex, MutexGuard};
pub use pair::{lock_pair, lock_pair_for, lock_pair_until, try_lock_pair};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
