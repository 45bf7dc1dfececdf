//! Locks that cannot deadlock where the compiler can see the order, and locks that are watched where it
//! cannot.
//!
//! ```
//! use evenkeel_locks::{Mutex, lock_order, with_root};
//!
//! lock_order! { pub Accounts < Journal; }
//!
//! static ACCOUNTS: Mutex<Accounts, [u64; 2]> = Mutex::new([100, 0]);
//! static JOURNAL: Mutex<Journal, Vec<String>> = Mutex::new(Vec::new());
//!
//! with_root(|root| {
//!     let mut accounts = ACCOUNTS.lock(root);
//!     let (accounts, held) = accounts.parts();
//!     accounts[0] -= 10;
//!     accounts[1] += 10;
//!     JOURNAL.lock(held).push("10 moved".to_owned()); // the other way round does not compile
//! });
//! ```
//!
//! * [`lock_order!`] declares the levels of a program and their order, in one place.
//! * [`Mutex`] and [`RwLock`] stand on a level. Locking borrows what is held, a [`Cap`], and the
//!   guard lends the next one: a wrong order, the same level twice, a guard that outlives its
//!   scope do not compile. At run time nothing of it is left.
//! * [`lock_all`] takes several locks of one level, in an order of its own; [`lock_all_for`] within a time limit.
//! * [`Condvar`] waits on a mutex of any level.
//! * [`watched`] are the same locks with who holds them, for how long, and how often they were waited for.
//! * [`ranked`] and [`unranked`] locks need no capability: their order is checked when they are taken.
//! * [`mod@async`] locks are awaited, by any runtime; they come before all others.
//! * [`watch`] is what is known of all three, while the program runs.
//!
//! No callback, no wait for something else belongs under a lock. Who calls callbacks can ask for a
//! `&mut Cap<Root>`, which nobody has who holds a lock on a level, and calls them through [`Cap::outside`].
//!
//! No scheme covers a guard that is given to [`std::mem::forget`] or leaked otherwise, nor a thread that is joined
//! while a lock is held that it needs.

pub mod r#async;
mod error;
mod level;
mod order;
pub mod ranked;
pub mod unranked;
pub mod watch;
pub mod watched;

pub use error::{Duplicate, NotAll, RootTaken, TimedOut};
pub use level::{
    Condvar, Guards, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitOutcome, lock_all,
    lock_all_for, lock_all_until, lock_pair, lock_pair_for, lock_pair_until, try_lock_all, try_lock_pair,
};
/// The examples of the page that people see first.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
enum Readme {}

pub use order::{After, Cap, Level, Root, try_with_root, with_root};

/// What [`lock_order!`] expands to. Nobody else's.
#[doc(hidden)]
pub mod __order {
    pub use crate::order::graph::Graph;
    pub use crate::order::relation::{Holds, Relation};
}
