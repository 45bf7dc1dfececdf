//! A mutex that is awaited.

use super::gate::Gate;
use super::record::Record;
use super::task::{Door, TaskCap};
use crate::order::{After, Level, assert_order};
use crate::watch::{Access, LockStats};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

/// A mutex on an `async` level.
///
/// The value moves into the guard and back, so a great one goes into a box. See [`r#async`](mod@crate::async).
///
/// ```
/// use evenkeel_locks::r#async::{TaskCap, Mutex};
/// use evenkeel_locks::{Root, lock_order};
///
/// lock_order! { async Session; }
/// static SESSION: Mutex<Session, Vec<u32>> = Mutex::new(Vec::new());
///
/// async fn push(root: &mut TaskCap<Root>) {
///     SESSION.lock(root).await.push(1);
/// }
/// ```
pub struct Mutex<L, T> {
    level: PhantomData<fn(L) -> L>,
    gate: Gate,
    record: Record,
    /// Not there while it is locked. Who went in through the gate is the only one here.
    value: parking_lot::Mutex<Option<T>>,
}

impl<L: Level, T> Mutex<L, T> {
    /// A mutex around a value.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        const { assert!(L::IS_ASYNC, "a lock that is awaited needs a level of an `async` line of `lock_order!`") };
        let record = Record::new(L::NAME, Location::caller());
        Self { level: PhantomData, gate: Gate::new(), record, value: parking_lot::Mutex::new(Some(value)) }
    }

    /// Locks, after what `held` says is held.
    ///
    /// Cancel-safe. In the queue from the first poll on.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn lock<'g, Held: Level>(
        &'g self,
        held: &'g mut TaskCap<Held>,
    ) -> impl Future<Output = MutexGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let site = Location::caller();
        async move { self.guard(held.enter(self.door(), Access::Exclusive, site).await) }
    }

    /// Locks if it is free and nobody waits for it.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn try_lock<'g, Held: Level>(&'g self, held: &'g mut TaskCap<Held>) -> Option<MutexGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let task = held.try_enter(self.door(), Access::Exclusive, Location::caller())?;
        Some(self.guard(task))
    }

    /// What it counted until now, and who has it.
    pub fn stats(&self) -> LockStats {
        self.record.stats()
    }

    fn door(&self) -> Door<'_> {
        Door { gate: &self.gate, record: &self.record }
    }

    /// Of one that went in.
    fn guard(&self, task: u64) -> MutexGuard<'_, L, T> {
        let value = self.value.lock().take();
        assert!(value.is_some(), "two have gone in");
        MutexGuard { cap: TaskCap::of(task), lock: self, value }
    }
}

impl<L, T> fmt::Debug for Mutex<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("Mutex").field("is_locked", &self.gate.is_entered()).finish_non_exhaustive()
    }
}

/// A locked [`Mutex`], and the capability to lock what comes after it. It goes with its task.
#[must_use = "dropped at once it guards nothing"]
pub struct MutexGuard<'g, L, T> {
    cap: TaskCap<L>,
    lock: &'g Mutex<L, T>,
    /// There until it is dropped.
    value: Option<T>,
}

/// Named where a guard has no value.
const THERE: &str = "a guard has its value until it is dropped";

impl<L: Level, T> MutexGuard<'_, L, T> {
    /// The capability to lock what comes after this level.
    pub fn cap(&mut self) -> &mut TaskCap<L> {
        &mut self.cap
    }

    /// The value, and the capability beside it.
    pub fn parts(&mut self) -> (&mut T, &mut TaskCap<L>) {
        (self.value.as_mut().expect(THERE), &mut self.cap)
    }
}

impl<L, T> Deref for MutexGuard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect(THERE)
    }
}

impl<L, T> DerefMut for MutexGuard<'_, L, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(THERE)
    }
}

impl<L, T> Drop for MutexGuard<'_, L, T> {
    fn drop(&mut self) {
        *self.lock.value.lock() = self.value.take();
        self.lock.record.leave(self.cap.task());
        self.lock.gate.leave();
    }
}

impl<L, T: fmt::Debug> fmt::Debug for MutexGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
