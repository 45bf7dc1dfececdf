//! A mutex on a level.

use super::all::Patience;
use crate::TimedOut;
use crate::order::{After, Cap, Level, assert_blocks, give_up};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A mutex on the level `L`.
///
/// It is not poisoned: a panic lets go of it, and the next one finds the value as it was left.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, with_root};
/// use std::time::Duration;
///
/// lock_order! { pub Queue; }
/// static QUEUE: Mutex<Queue, Vec<u32>> = Mutex::new(Vec::new());
///
/// with_root(|root| {
///     QUEUE.lock(root).push(1);
///     assert!(QUEUE.try_lock(root).is_some());
///     assert!(QUEUE.lock_for(root, Duration::from_millis(5)).is_ok());
/// });
/// ```
pub struct Mutex<L, T: ?Sized> {
    level: PhantomData<fn(L) -> L>,
    raw: parking_lot::Mutex<T>,
}

impl<L, T> Mutex<L, T> {
    /// A mutex around a value.
    pub const fn new(value: T) -> Self
    where
        L: Level,
    {
        const { assert_blocks::<L>() };
        Self { level: PhantomData, raw: parking_lot::Mutex::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.raw.into_inner()
    }
}

impl<L: Level, T: ?Sized> Mutex<L, T> {
    /// Locks, after what `held` says is held.
    #[inline]
    pub fn lock<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> MutexGuard<'g, L, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.guard(self.raw.lock())
    }

    /// Locks if it is free.
    #[inline]
    pub fn try_lock<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> Option<MutexGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.raw.try_lock().map(|raw| self.guard(raw))
    }

    /// Locks, and gives up after so long.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn lock_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<MutexGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        let raw = self.raw.try_lock_for(patience).ok_or(TimedOut { level: L::NAME, waited: patience });
        Ok(self.guard(raw?))
    }

    /// Locks, and gives up at a point in time.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn lock_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<MutexGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        self.lock_for(held, deadline.saturating_duration_since(Instant::now()))
    }

    /// The value, of which there is no other user.
    pub fn get_mut(&mut self) -> &mut T {
        self.raw.get_mut()
    }

    /// Where it stands, which is what [`lock_all`](crate::lock_all) sorts by.
    pub(super) fn address(&self) -> usize {
        (&raw const self.raw).cast::<()>().addr()
    }

    #[inline]
    fn guard<'g>(&'g self, raw: parking_lot::MutexGuard<'g, T>) -> MutexGuard<'g, L, T> {
        MutexGuard { cap: Cap::new(), raw }
    }

    /// Locks what a group of locks gives its capability for.
    pub(super) fn lock_of_group(&self, patience: Patience) -> Option<parking_lot::MutexGuard<'_, T>> {
        match patience {
            Patience::Nil => self.raw.try_lock(),
            Patience::Until { deadline, .. } => self.raw.try_lock_until(deadline),
            Patience::Endless => Some(self.raw.lock()),
        }
    }
}

impl<L: Level, T: Default> Default for Mutex<L, T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<L: Level, T> From<T> for Mutex<L, T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<L: Level, T: ?Sized> fmt::Debug for Mutex<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("Mutex").field("level", &L::NAME).field("is_locked", &self.raw.is_locked()).finish()
    }
}

/// A locked [`Mutex`], and the capability to lock what comes after it.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, with_root};
///
/// lock_order! { Outer < Inner; }
/// let (outer, inner) = (Mutex::<Outer, _>::new(1), Mutex::<Inner, _>::new(2));
/// with_root(|root| {
///     let mut guard = outer.lock(root);
///     let (outer, held) = guard.parts();
///     *outer += *inner.lock(held);
///     assert_eq!(*guard, 3);
/// });
/// ```
#[must_use = "dropped at once it guards nothing"]
pub struct MutexGuard<'g, L, T: ?Sized> {
    cap: Cap<L>,
    pub(super) raw: parking_lot::MutexGuard<'g, T>,
}

impl<L: Level, T: ?Sized> MutexGuard<'_, L, T> {
    /// The capability to lock what comes after this level.
    #[inline]
    pub fn cap(&mut self) -> &mut Cap<L> {
        &mut self.cap
    }

    /// The value, and the capability beside it.
    #[inline]
    pub fn parts(&mut self) -> (&mut T, &mut Cap<L>) {
        (&mut self.raw, &mut self.cap)
    }
}

impl<L, T: ?Sized> Deref for MutexGuard<'_, L, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<L, T: ?Sized> DerefMut for MutexGuard<'_, L, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.raw
    }
}

impl<L, T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
