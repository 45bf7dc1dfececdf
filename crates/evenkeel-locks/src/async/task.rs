//! What a task holds, as the compiler sees it: the same as of a thread, but it goes from thread to thread.
//!
//! * A task has one root at a time: while it is polled, its thread says so, and gives out no other.
//! * While a task is polled, the thread itself holds nothing on a level: it is not polled inside of
//!   [`with_root`](crate::with_root), and what it locks in [`TaskCap::sync`] is let go before that returns.

use crate::order::{Lent, Now, taken};
use crate::{Level, Root};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;

/// The capability of a task to lock what comes after the level `L`.
///
/// Of no size, and `Send`. It is always borrowed from [`with_task`] or from a guard.
///
/// ```
/// use evenkeel_locks::r#async::{TaskCap, Mutex};
/// use evenkeel_locks::lock_order;
///
/// lock_order! { async Session < Request; }
///
/// /// May be called while a session is locked, and by nobody who holds more.
/// async fn count(held: &mut TaskCap<Session>, requests: &Mutex<Request, u64>) {
///     *requests.lock(held).await += 1;
/// }
/// ```
pub struct TaskCap<L> {
    // Takes and gives: no subtype of a level passes for it.
    level: PhantomData<fn(L) -> L>,
}

impl<L> TaskCap<L> {
    /// One more. Whoever calls this states that nothing beyond `L` is held by the task.
    pub(crate) const fn new() -> Self {
        Self { level: PhantomData }
    }
}

impl<L: Level> TaskCap<L> {
    /// Lends `work` the capability to take locks that block. All are let go when it is over.
    ///
    /// ```
    /// use evenkeel_locks::r#async::TaskCap;
    /// use evenkeel_locks::{Mutex, Root, lock_order};
    ///
    /// lock_order! { async Session; pub Counters; }
    /// static SERVED: Mutex<Counters, u64> = Mutex::new(0);
    ///
    /// fn served(held: &mut TaskCap<Session>) -> u64 {
    ///     held.sync(|held| *SERVED.lock(held))
    /// }
    /// ```
    ///
    /// # Panics
    /// Where the thread has a root, or is in here, for another task: it may hold locks.
    #[track_caller]
    pub fn sync<R>(&mut self, work: impl FnOnce(&mut crate::Cap<L>) -> R) -> R {
        let Some(_lent) = Lent::take(Now::Lent, &[Now::Polls, Now::Free]) else { taken() };
        work(&mut crate::Cap::new())
    }
}

impl<L: Level> fmt::Debug for TaskCap<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskCap<{}>", L::NAME)
    }
}

/// Lends `work` the root of a task.
///
/// The future is `Send` if that of `work` is.
///
/// # Panics
/// When it is polled inside of itself, or of [`with_root`](crate::with_root): the outer one may hold locks.
pub async fn with_task<R>(work: impl AsyncFnOnce(&mut TaskCap<Root>) -> R) -> R {
    let mut root = TaskCap::new();
    let mut work = pin!(work(&mut root));
    poll_fn(|context| {
        let Some(_lent) = Lent::take(Now::Polls, &[Now::Free]) else { taken() };
        work.as_mut().poll(context)
    })
    .await
}
