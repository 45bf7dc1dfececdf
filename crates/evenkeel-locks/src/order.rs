//! Levels and their order, known to the compiler alone.
//!
//! What holds:
//! * Whoever can name a `&mut Cap<L>` holds no lock but those up to the level `L`: the root's is
//!   lent by [`with_root`], once a thread at a time, and every other by the guard of a lock.
//! * Nobody ever has a `Cap` itself, only a `&mut` of one, so it cannot be kept, moved or made up.
//! * A lock of level `L` is taken with a `&mut Cap<O>` where `L: After<O>`, and the guard keeps it
//!   borrowed. The relation is transitive and has no cycle, so no two threads wait for each other.
//! * Levels are told apart exactly: nothing here is variant in its level, so no subtype passes for another.
//! * A relation that somebody writes by hand must still go upwards in [`Level::RANK`]: two that
//!   contradict each other fail as soon as one of them is used.

pub(crate) mod graph;
mod macros;
pub(crate) mod relation;
pub(crate) mod root;

pub use relation::After;
pub(crate) use relation::{assert_blocks, assert_order, give_up};
pub(crate) use root::{Lent, Now, now, taken};
pub use root::{Realm, Root, try_with_root, try_with_root_of, with_root, with_root_of};

use std::fmt;
use std::marker::PhantomData;

/// A level of an order; [`lock_order!`](crate::lock_order) declares them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no level of a lock order",
    note = "declare levels with `lock_order! {{ pub First < Second; }}`"
)]
pub trait Level: Sized + 'static {
    /// Its name, for reports.
    const NAME: &'static str;
    /// Greater than the ranks of all levels before it.
    const RANK: u32;
    /// Its locks are awaited: those of [`r#async`](mod@crate::async), and no others. All such levels come
    /// before all that are not.
    const IS_ASYNC: bool = false;
}

/// The capability to lock what comes after the level `L`: proof that nothing beyond it is held.
///
/// Of no size, and neither `Send` nor `Sync`. It is always borrowed from [`with_root`] or from a guard.
///
/// ```
/// use evenkeel_locks::{Cap, Mutex, lock_order, with_root};
///
/// lock_order! { Outer < Inner; }
///
/// /// May be called while `Outer` is held, and by nobody who holds more.
/// fn count(held: &mut Cap<Outer>, counter: &Mutex<Inner, u64>) -> u64 {
///     let mut counter = counter.lock(held);
///     *counter += 1;
///     *counter
/// }
///
/// let (outer, counter) = (Mutex::<Outer, _>::new(()), Mutex::new(0));
/// assert_eq!(with_root(|root| count(outer.lock(root).cap(), &counter)), 1);
/// ```
pub struct Cap<L> {
    // Takes and gives: of two levels that are types of which one is a subtype, one is none of the other.
    level: PhantomData<fn(L) -> L>,
    of_this_thread: PhantomData<*const ()>,
}

impl<L> Cap<L> {
    /// One more. Whoever calls this states that nothing beyond `L` is held by the thread.
    pub(crate) const fn new() -> Self {
        Self { level: PhantomData, of_this_thread: PhantomData }
    }
}

impl<L: Level> fmt::Debug for Cap<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cap<{}>", L::NAME)
    }
}
