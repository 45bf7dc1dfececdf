//! A lock of many readers or one writer, on a level.

use crate::TimedOut;
use crate::order::{After, Cap, Level, assert_blocks, give_up};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// A lock on the level `L` that many may read or one may write.
///
/// Reading it twice on one thread, which deadlocks as soon as a writer comes between, does not
/// compile. It is not poisoned.
///
/// ```
/// use evenkeel_locks::{RwLock, lock_order, with_root};
///
/// lock_order! { pub Settings; }
/// static SETTINGS: RwLock<Settings, (u32, u32)> = RwLock::new((1, 2));
///
/// with_root(|root| {
///     SETTINGS.write(root).0 = 7;
///     assert_eq!(*SETTINGS.read(root), (7, 2));
/// });
/// ```
pub struct RwLock<L, T: ?Sized> {
    level: PhantomData<fn(L) -> L>,
    raw: parking_lot::RwLock<T>,
}

impl<L, T> RwLock<L, T> {
    /// A lock around a value.
    pub const fn new(value: T) -> Self
    where
        L: Level,
    {
        const { assert_blocks::<L>() };
        Self { level: PhantomData, raw: parking_lot::RwLock::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.raw.into_inner()
    }
}

impl<L: Level, T: ?Sized> RwLock<L, T> {
    /// Locks for reading, after what `held` says is held.
    #[inline]
    pub fn read<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> RwLockReadGuard<'g, L, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        RwLockReadGuard { cap: Cap::new(), raw: self.raw.read() }
    }

    /// Locks for writing, after what `held` says is held.
    #[inline]
    pub fn write<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> RwLockWriteGuard<'g, L, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        RwLockWriteGuard { cap: Cap::new(), raw: self.raw.write() }
    }

    /// Locks for reading if nobody writes or waits to.
    #[inline]
    pub fn try_read<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> Option<RwLockReadGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.raw.try_read().map(|raw| RwLockReadGuard { cap: Cap::new(), raw })
    }

    /// Locks for writing if it is free.
    #[inline]
    pub fn try_write<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> Option<RwLockWriteGuard<'g, L, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.raw.try_write().map(|raw| RwLockWriteGuard { cap: Cap::new(), raw })
    }

    /// Locks for reading, and gives up after so long.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn read_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<RwLockReadGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        let raw = self.raw.try_read_for(patience).ok_or(TimedOut { level: L::NAME, waited: patience });
        Ok(RwLockReadGuard { cap: Cap::new(), raw: raw? })
    }

    /// Locks for writing, and gives up after so long.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn write_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<RwLockWriteGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        let raw = self.raw.try_write_for(patience).ok_or(TimedOut { level: L::NAME, waited: patience });
        Ok(RwLockWriteGuard { cap: Cap::new(), raw: raw? })
    }

    /// Locks for reading, and gives up at a point in time.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn read_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<RwLockReadGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        self.read_for(held, deadline.saturating_duration_since(Instant::now()))
    }

    /// Locks for writing, and gives up at a point in time.
    ///
    /// # Errors
    /// [`TimedOut`] when it was not free in time.
    pub fn write_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<RwLockWriteGuard<'g, L, T>, TimedOut>
    where
        L: After<Held>,
    {
        self.write_for(held, deadline.saturating_duration_since(Instant::now()))
    }

    /// The value, of which there is no other user.
    pub fn get_mut(&mut self) -> &mut T {
        self.raw.get_mut()
    }
}

impl<L: Level, T: Default> Default for RwLock<L, T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<L: Level, T> From<T> for RwLock<L, T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<L: Level, T: ?Sized> fmt::Debug for RwLock<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("RwLock").field("level", &L::NAME).field("is_locked", &self.raw.is_locked()).finish()
    }
}

/// An [`RwLock`] that is locked for reading, and the capability to lock what comes after it.
///
/// ```
/// use evenkeel_locks::{Mutex, RwLock, lock_order, with_root};
///
/// lock_order! { Routes < Peer; }
/// let (routes, peer) = (RwLock::<Routes, _>::new(vec![7]), Mutex::<Peer, _>::new(0));
/// with_root(|root| {
///     let mut routes = routes.read(root);
///     let (routes, held) = routes.parts();
///     *peer.lock(held) = routes[0];
/// });
/// ```
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockReadGuard<'g, L, T: ?Sized> {
    cap: Cap<L>,
    raw: parking_lot::RwLockReadGuard<'g, T>,
}

impl<L: Level, T: ?Sized> RwLockReadGuard<'_, L, T> {
    /// The capability to lock what comes after this level.
    #[inline]
    pub fn cap(&mut self) -> &mut Cap<L> {
        &mut self.cap
    }

    /// The value, and the capability beside it.
    #[inline]
    pub fn parts(&mut self) -> (&T, &mut Cap<L>) {
        (&self.raw, &mut self.cap)
    }
}

impl<L, T: ?Sized> Deref for RwLockReadGuard<'_, L, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<L, T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// An [`RwLock`] that is locked for writing, and the capability to lock what comes after it.
///
/// ```
/// use evenkeel_locks::{RwLock, lock_order, with_root};
///
/// lock_order! { Routes; }
/// let routes = RwLock::<Routes, _>::new(vec![7]);
/// with_root(|root| {
///     let mut routes = routes.write(root);
///     routes.push(8);
///     let routes = routes.downgrade(); // others may read by now, and none has written since
///     assert_eq!(routes.len(), 2);
/// });
/// ```
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockWriteGuard<'g, L, T: ?Sized> {
    cap: Cap<L>,
    raw: parking_lot::RwLockWriteGuard<'g, T>,
}

impl<'g, L: Level, T: ?Sized> RwLockWriteGuard<'g, L, T> {
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

    /// Lets others read, and goes on reading; no writer comes between.
    pub fn downgrade(self) -> RwLockReadGuard<'g, L, T> {
        let raw = parking_lot::RwLockWriteGuard::downgrade(self.raw);
        RwLockReadGuard { cap: self.cap, raw }
    }
}

impl<L, T: ?Sized> Deref for RwLockWriteGuard<'_, L, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<L, T: ?Sized> DerefMut for RwLockWriteGuard<'_, L, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.raw
    }
}

impl<L, T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
