//! A lock that is awaited, of many readers or one writer.

use super::gate::Gate;
use super::record::Record;
use super::task::{Door, TaskCap};
use crate::order::{After, Level, assert_order};
use crate::watch::{Access, LockStats};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;

/// A lock on an `async` level that many may read or one may write, in the order in which they came.
///
/// ```
/// use evenkeel_locks::r#async::{TaskCap, RwLock};
/// use evenkeel_locks::{Root, lock_order};
///
/// lock_order! { async Routes; }
///
/// async fn add(routes: &RwLock<Routes, Vec<u32>>, root: &mut TaskCap<Root>) -> usize {
///     let mut routes = routes.write(root).await;
///     routes.push(8);
///     routes.downgrade().len()
/// }
/// ```
pub struct RwLock<L, T> {
    level: PhantomData<fn(L) -> L>,
    gate: Gate,
    record: Record,
    /// One for the lock, which is not there while it is written, and one for each that reads.
    value: parking_lot::Mutex<Option<Arc<T>>>,
}

impl<L: Level, T> RwLock<L, T> {
    /// A lock around a value.
    #[track_caller]
    pub fn new(value: T) -> Self {
        const { assert!(L::IS_ASYNC, "a lock that is awaited needs a level of an `async` line of `lock_order!`") };
        let value = parking_lot::Mutex::new(Some(Arc::new(value)));
        let record = Record::new(L::NAME, Location::caller());
        Self { level: PhantomData, gate: Gate::new(), record, value }
    }

    /// Locks for reading, after what `held` says is held.
    ///
    /// Cancel-safe. In the queue from the first poll on.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn read<'g, Held: Level>(
        &'g self,
        held: &'g mut TaskCap<Held>,
    ) -> impl Future<Output = RwLockReadGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let site = Location::caller();
        async move { self.read_guard(held.enter(self.door(), Access::Shared, site).await) }
    }

    /// Locks for writing, after what `held` says is held.
    ///
    /// Cancel-safe. In the queue from the first poll on.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn write<'g, Held: Level>(
        &'g self,
        held: &'g mut TaskCap<Held>,
    ) -> impl Future<Output = RwLockWriteGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let site = Location::caller();
        async move { self.write_guard(held.enter(self.door(), Access::Exclusive, site).await) }
    }

    /// Locks for reading if nobody writes or waits.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn try_read<'g, Held: Level>(
        &'g self,
        held: &'g mut TaskCap<Held>,
    ) -> Option<RwLockReadGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let task = held.try_enter(self.door(), Access::Shared, Location::caller())?;
        Some(self.read_guard(task))
    }

    /// Locks for writing if it is free and nobody waits for it.
    ///
    /// # Panics
    /// Elsewhere than in the task that `held` is of.
    #[track_caller]
    pub fn try_write<'g, Held: Level>(
        &'g self,
        held: &'g mut TaskCap<Held>,
    ) -> Option<RwLockWriteGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        const { assert_order::<L, Held>() };
        let task = held.try_enter(self.door(), Access::Exclusive, Location::caller())?;
        Some(self.write_guard(task))
    }

    /// What it counted until now, and who has it.
    pub fn stats(&self) -> LockStats {
        self.record.stats()
    }

    fn door(&self) -> Door<'_> {
        Door { gate: &self.gate, record: &self.record }
    }

    fn read_guard(&self, task: u64) -> RwLockReadGuard<'_, L, T> {
        let value = self.value.lock().clone();
        assert!(value.is_some(), "one reads while one writes");
        RwLockReadGuard { cap: TaskCap::of(task), inside: Inside { lock: self, task, value } }
    }

    fn write_guard(&self, task: u64) -> RwLockWriteGuard<'_, L, T> {
        let value = self.value.lock().take();
        assert!(value.is_some(), "two write");
        RwLockWriteGuard { cap: TaskCap::of(task), inside: Inside { lock: self, task, value } }
    }
}

impl<L, T> fmt::Debug for RwLock<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("RwLock").field("is_locked", &self.gate.is_entered()).finish_non_exhaustive()
    }
}

/// One that went in through the gate, and goes out when dropped.
struct Inside<'g, L, T> {
    lock: &'g RwLock<L, T>,
    task: u64,
    /// There until it is dropped.
    value: Option<Arc<T>>,
}

/// Named where a guard has no value.
const THERE: &str = "a guard has its value until it is dropped";
/// Named where a writer shares its value.
const ALONE: &str = "who writes has the only reference";

impl<L, T> Inside<'_, L, T> {
    fn value(&self) -> &T {
        self.value.as_ref().expect(THERE)
    }

    fn value_mut(&mut self) -> &mut T {
        Arc::get_mut(self.value.as_mut().expect(THERE)).expect(ALONE)
    }
}

impl<L, T> Drop for Inside<'_, L, T> {
    fn drop(&mut self) {
        let ours = self.value.take();
        {
            let mut value = self.lock.value.lock();
            match value.is_none() {
                // A writer puts back what it took.
                true => *value = ours,
                // The lock has one too, so the value is not dropped here. This one goes before the next are
                // let in: who writes has the only reference.
                false => drop(ours),
            }
        }
        self.lock.record.leave(self.task);
        self.lock.gate.leave();
    }
}

/// An [`RwLock`] that is locked for reading, and the capability to lock what comes after it.
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockReadGuard<'g, L, T> {
    cap: TaskCap<L>,
    inside: Inside<'g, L, T>,
}

impl<L: Level, T> RwLockReadGuard<'_, L, T> {
    /// The capability to lock what comes after this level.
    pub fn cap(&mut self) -> &mut TaskCap<L> {
        &mut self.cap
    }

    /// The value, and the capability beside it.
    pub fn parts(&mut self) -> (&T, &mut TaskCap<L>) {
        (self.inside.value(), &mut self.cap)
    }
}

impl<L, T> Deref for RwLockReadGuard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inside.value()
    }
}

impl<L, T: fmt::Debug> fmt::Debug for RwLockReadGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// An [`RwLock`] that is locked for writing, and the capability to lock what comes after it.
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockWriteGuard<'g, L, T> {
    cap: TaskCap<L>,
    inside: Inside<'g, L, T>,
}

impl<'g, L: Level, T> RwLockWriteGuard<'g, L, T> {
    /// The capability to lock what comes after this level.
    pub fn cap(&mut self) -> &mut TaskCap<L> {
        &mut self.cap
    }

    /// The value, and the capability beside it.
    pub fn parts(&mut self) -> (&mut T, &mut TaskCap<L>) {
        (self.inside.value_mut(), &mut self.cap)
    }

    /// Lets others read, and goes on reading; no writer comes between.
    pub fn downgrade(self) -> RwLockReadGuard<'g, L, T> {
        let Self { cap, inside } = self;
        inside.lock.value.lock().clone_from(&inside.value);
        inside.lock.record.downgrade(inside.task);
        inside.lock.gate.downgrade();
        RwLockReadGuard { cap, inside }
    }
}

impl<L, T> Deref for RwLockWriteGuard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inside.value()
    }
}

impl<L, T> DerefMut for RwLockWriteGuard<'_, L, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inside.value_mut()
    }
}

impl<L, T: fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::r#async::with_task;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    crate::lock_order! { async Routes; }
    static SEEN: AtomicUsize = AtomicUsize::new(0);

    /// Looks, when woken, at how many have a reference.
    struct Looks(Arc<RwLock<Routes, u32>>);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let count = self.0.value.lock().as_ref().map(Arc::strong_count);
            SEEN.store(count.unwrap_or_default(), Ordering::Relaxed);
        }
    }

    #[test]
    fn who_is_let_in_to_write_has_the_only_reference() {
        let lock = Arc::new(RwLock::<Routes, _>::new(0));
        let poll = |future: std::pin::Pin<&mut dyn Future<Output = ()>>, waker: &Waker| {
            future.poll(&mut Context::from_waker(waker)).is_ready()
        };
        let mut read = Box::pin(with_task(async |root| {
            let _read = lock.read(root).await;
            std::future::pending::<()>().await;
        }));
        let mut write = pin!(with_task(async |root| *lock.write(root).await += 1));
        let waker = Waker::from(Arc::new(Looks(lock.clone())));
        assert!(!poll(read.as_mut(), Waker::noop()) && !poll(write.as_mut(), &waker));
        drop(read);
        assert_eq!(SEEN.load(Ordering::Relaxed), 1);
        assert!(poll(write, Waker::noop()));
    }
}
