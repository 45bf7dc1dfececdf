//! Locks with a rank, which is checked when they are taken.
//!
//! While a lock is held, only those of greater ranks may be waited for. They may be let go in any
//! order.
//!
//! ```
//! use evenkeel_locks::ranked::{Mutex, Rank, RwLock};
//!
//! const INDEX: Rank = Rank::new(1, "index");
//! const PAGE: Rank = Rank::new(2, "page");
//!
//! static FIRST: RwLock<Vec<usize>> = RwLock::new(INDEX, Vec::new());
//! static SECOND: Mutex<u32> = Mutex::new(PAGE, 0);
//!
//! let index = FIRST.read();
//! *SECOND.lock() += index.len() as u32;
//! ```
//!
//! What is taken against the order panics in debug builds, before it waits:
//!
//! ```should_panic
//! use evenkeel_locks::ranked::{Mutex, Rank};
//! # use evenkeel_locks::watch::{OnViolation, on_violation};
//! # on_violation(OnViolation::Panic);
//! let (index, page) = (Mutex::new(Rank::new(1, "index"), 0), Mutex::new(Rank::new(2, "page"), 0));
//! let page = page.lock();
//! let index = index.lock(); // wants `index` and holds `page`, both with their places
//! ```

use crate::watch;
pub use crate::watch::{Condvar, Rank, Ranked};

/// A mutex with a rank.
pub type Mutex<T> = watch::Mutex<Ranked, T>;
/// Locked.
pub type MutexGuard<'l, T> = watch::MutexGuard<'l, Ranked, T>;
/// A lock of many readers or one writer, with a rank.
pub type RwLock<T> = watch::RwLock<Ranked, T>;
/// Locked for reading.
pub type RwLockReadGuard<'l, T> = watch::RwLockReadGuard<'l, Ranked, T>;
/// Locked for writing.
pub type RwLockWriteGuard<'l, T> = watch::RwLockWriteGuard<'l, Ranked, T>;
