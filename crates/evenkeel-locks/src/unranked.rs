//! Locks without a rank, whose order is learnt.
//!
//! All locks that are made at one place are a class, or all that are given one
//! [`Class`]. In what order classes are taken is remembered; that two were taken both ways round is
//! found the first time that both ways were gone, by whatever locks of those classes, and before
//! any two threads meet on them. Two locks of one class at once are found too: nothing orders them.
//!
//! ```
//! use evenkeel_locks::unranked::Mutex;
//! use evenkeel_locks::watch::{Event, OnViolation, on_violation, take_events};
//!
//! on_violation(OnViolation::Report);
//! let (rooms, guests) = (Mutex::named("rooms", 1), Mutex::named("guests", 2));
//! {
//!     let _rooms = rooms.lock();
//!     let _guests = guests.lock();
//! }
//! let _guests = guests.lock();
//! let _rooms = rooms.lock();
//! let [Event::Violation(violation)] = &take_events()[..] else { panic!() };
//! println!("{violation}"); // who wants what, where; what is held since where; and where it was the other way
//! ```

use crate::watch;
pub use crate::watch::{Class, Condvar, Learnt};

/// A mutex whose order is learnt.
pub type Mutex<T> = watch::Mutex<Learnt, T>;
/// Locked.
pub type MutexGuard<'l, T> = watch::MutexGuard<'l, Learnt, T>;
/// A lock of many readers or one writer, whose order is learnt.
pub type RwLock<T> = watch::RwLock<Learnt, T>;
/// Locked for reading.
pub type RwLockReadGuard<'l, T> = watch::RwLockReadGuard<'l, Learnt, T>;
/// Locked for writing.
pub type RwLockWriteGuard<'l, T> = watch::RwLockWriteGuard<'l, Learnt, T>;
