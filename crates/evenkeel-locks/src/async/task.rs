//! What a task holds, as the compiler sees it: the same as of a thread, but it goes from thread to thread.
//!
//! * A task has one root at a time: while it is polled, its thread says so, and gives out no other.
//! * A capability knows its task, and opens nothing but while that is polled, by the thread that polls it.
//!   So nobody joins what two tasks hold in one hand, where the compiler sees no order between them.
//! * While a task is polled, the thread itself holds nothing on a level: it is not polled inside of
//!   [`with_root`](crate::with_root), and what it locks in [`TaskCap::sync`] is let go before that returns.

use super::gate::Gate;
use super::record::{Record, Waiting};
use crate::order::{Lent, Now, now, taken};
use crate::watch::{Access, Site};
use crate::{Level, Root};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};

/// The capability of a task to lock what comes after the level `L`.
///
/// `Send`, as its task is, and of use to that task alone. It is always borrowed from [`with_task`] or from a
/// guard.
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
    task: u64,
    // Takes and gives: no subtype of a level passes for it.
    level: PhantomData<fn(L) -> L>,
}

/// Where a lock is gone into, and what is written there.
#[derive(Clone, Copy)]
pub(super) struct Door<'l> {
    pub(super) gate: &'l Gate,
    pub(super) record: &'l Record,
}

impl<L> TaskCap<L> {
    /// One more. Whoever calls this states that nothing beyond `L` is held by the task.
    pub(super) const fn of(task: u64) -> Self {
        Self { task, level: PhantomData }
    }

    /// The task that it is of.
    pub(super) const fn task(&self) -> u64 {
        self.task
    }

    /// Waits at a gate, and says for which task.
    pub(super) async fn enter(&self, door: Door<'_>, access: Access, site: Site) -> u64 {
        let mut enter = door.gate.enter(access);
        let mut waiting = Waiting::of(door.record);
        poll_fn(|context| {
            self.assert_own();
            let polled = Pin::new(&mut enter).poll(context);
            if polled.is_pending() {
                waiting.waits();
            }
            polled
        })
        .await;
        waiting.end();
        door.record.enter(self.task, access, site);
        self.task
    }

    /// Goes through a gate if that is free, and says for which task.
    pub(super) fn try_enter(&self, door: Door<'_>, access: Access, site: Site) -> Option<u64> {
        self.assert_own();
        door.gate.try_enter(access).then(|| {
            door.record.enter(self.task, access, site);
            self.task
        })
    }

    fn assert_own(&self) {
        assert!(
            now() == Now::Polls(self.task),
            "the capability of a task is of use to that task alone, while it is polled"
        );
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
    /// Elsewhere than in its task.
    #[track_caller]
    pub fn sync<R>(&mut self, work: impl FnOnce(&mut crate::Cap<L>) -> R) -> R {
        self.assert_own();
        let _lent = Lent::take(Now::Lent, &[Now::Polls(self.task)]);
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
    static LAST: AtomicU64 = AtomicU64::new(0);
    let task = LAST.fetch_add(1, Ordering::Relaxed);
    let mut root = TaskCap::of(task);
    let mut work = pin!(work(&mut root));
    poll_fn(|context| {
        let Some(_lent) = Lent::take(Now::Polls(task), &[Now::Free]) else { taken() };
        work.as_mut().poll(context)
    })
    .await
}
