//! A watched lock of many readers or one writer.

use super::holding::{Holding, is_plain};
use super::order::{AtRunTime, Class, Learnt, OnLevel, Order, Origin, Rank, Ranked};
use super::state::State;
use super::stats::LockStats;
use super::sys::Site;
use super::tag::Access;
use super::thread::{self, Thread};
use super::wait::{self, Request, WaitError};
use crate::order::{After, Cap, Level, assert_blocks, give_up};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::{Duration, Instant};

/// A watched lock that many may read or one may write: [`ranked::RwLock`](crate::ranked::RwLock),
/// [`unranked::RwLock`](crate::unranked::RwLock) or [`watched::RwLock`](crate::watched::RwLock).
///
/// To read it twice on one thread violates its order: a writer that comes between waits for the first,
/// and the second waits for the writer. Only who wrote leaves it tainted by a panic.
///
/// ```
/// use evenkeel_locks::unranked::RwLock;
/// use std::time::Duration;
///
/// static ROUTES: RwLock<Vec<&str>> = RwLock::new(Vec::new());
/// ROUTES.write().push("left");
/// let routes = ROUTES.read_for(Duration::from_secs(1))?;
/// assert_eq!(routes.len(), 1);
/// # Ok::<(), evenkeel_locks::watch::WaitError>(())
/// ```
pub struct RwLock<O, T: ?Sized> {
    order: PhantomData<fn(O) -> O>,
    state: State,
    raw: parking_lot::RwLock<T>,
}

impl<T> RwLock<Ranked, T> {
    /// A lock of a rank.
    #[track_caller]
    pub const fn new(rank: Rank, value: T) -> Self {
        Self::with(rank.origin(), Location::caller(), value)
    }
}

impl<T> RwLock<Learnt, T> {
    /// A lock of the class of all that are made at this place.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        let origin = Origin { name: None, rank: None, class: None, is_ordered: true };
        Self::with(origin, Location::caller(), value)
    }

    /// The same, with a name for reports.
    #[track_caller]
    pub const fn named(name: &'static str, value: T) -> Self {
        let origin = Origin { name: Some(name), rank: None, class: None, is_ordered: true };
        Self::with(origin, Location::caller(), value)
    }

    /// A lock of a class that was declared.
    #[track_caller]
    pub const fn of(class: &'static Class, value: T) -> Self {
        Self::with(class.origin(), Location::caller(), value)
    }
}

impl<L: Level, T> RwLock<OnLevel<L>, T> {
    /// A lock on a level.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        const { assert_blocks::<L>() };
        let origin = Origin { name: Some(L::NAME), rank: None, class: None, is_ordered: false };
        Self::with(origin, Location::caller(), value)
    }
}

impl<O, T> RwLock<O, T> {
    const fn with(origin: Origin, site: Site, value: T) -> Self {
        Self { order: PhantomData, state: State::new(origin, site), raw: parking_lot::RwLock::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.raw.into_inner()
    }
}

impl<O: AtRunTime, T: ?Sized> RwLock<O, T> {
    /// Locks for reading, and waits as long as it takes.
    ///
    /// # Panics
    /// When this thread is in its own way; and when its order is violated, unless
    /// [`on_violation`](crate::watch::on_violation) says otherwise.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, O, T> {
        self.take_read(Location::caller())
    }

    /// Locks for reading if that is free. The order does not matter to who does not wait.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, O, T>> {
        self.try_take_read(Location::caller())
    }

    /// Locks for reading, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread is in its own way.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn read_for(&self, patience: Duration) -> Result<RwLockReadGuard<'_, O, T>, WaitError> {
        self.take_read_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks for reading, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread is in its own way.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn read_until(&self, deadline: Instant) -> Result<RwLockReadGuard<'_, O, T>, WaitError> {
        self.take_read_until(Some(deadline), Location::caller())
    }

    /// Locks for writing, and waits as long as it takes.
    ///
    /// # Panics
    /// When this thread is in its own way; and when its order is violated, unless
    /// [`on_violation`](crate::watch::on_violation) says otherwise.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, O, T> {
        self.take_write(Location::caller())
    }

    /// Locks for writing if that is free. The order does not matter to who does not wait.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, O, T>> {
        self.try_take_write(Location::caller())
    }

    /// Locks for writing, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread is in its own way.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn write_for(&self, patience: Duration) -> Result<RwLockWriteGuard<'_, O, T>, WaitError> {
        self.take_write_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks for writing, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread is in its own way.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn write_until(&self, deadline: Instant) -> Result<RwLockWriteGuard<'_, O, T>, WaitError> {
        self.take_write_until(Some(deadline), Location::caller())
    }

    /// Locks for writing, lets `work` make the value whole, and takes the taint from it unless that panics.
    #[track_caller]
    pub fn repair<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut guard = self.take_write(Location::caller());
        let done = work(&mut guard);
        self.state.clear_taint();
        done
    }
}

impl<L: Level, T: ?Sized> RwLock<OnLevel<L>, T> {
    /// Locks for reading, after what `held` says is held.
    #[inline]
    #[track_caller]
    pub fn read<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> RwLockReadGuard<'g, OnLevel<L>, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_read(Location::caller())
    }

    /// Locks for reading if that is free.
    #[inline]
    #[track_caller]
    pub fn try_read<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
    ) -> Option<RwLockReadGuard<'g, OnLevel<L>, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.try_take_read(Location::caller())
    }

    /// Locks for reading, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn read_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<RwLockReadGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_read_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks for reading, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn read_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<RwLockReadGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_read_until(Some(deadline), Location::caller())
    }

    /// Locks for writing, after what `held` says is held.
    #[inline]
    #[track_caller]
    pub fn write<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> RwLockWriteGuard<'g, OnLevel<L>, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_write(Location::caller())
    }

    /// Locks for writing if that is free.
    #[inline]
    #[track_caller]
    pub fn try_write<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
    ) -> Option<RwLockWriteGuard<'g, OnLevel<L>, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.try_take_write(Location::caller())
    }

    /// Locks for writing, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn write_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<RwLockWriteGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_write_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks for writing, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn write_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<RwLockWriteGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_write_until(Some(deadline), Location::caller())
    }

    /// Locks for writing, lets `work` make the value whole, and takes the taint from it unless that panics.
    #[track_caller]
    pub fn repair<Held: Level, R>(&self, held: &mut Cap<Held>, work: impl FnOnce(&mut T) -> R) -> R
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        let mut guard = self.take_write(Location::caller());
        let done = work(&mut guard);
        self.state.clear_taint();
        done
    }
}

impl<O: Order, T: ?Sized> RwLock<O, T> {
    #[inline(always)]
    fn take_read(&self, site: Site) -> RwLockReadGuard<'_, O, T> {
        let me = thread::current();
        let tag = self.state.tag().with(Access::Shared);
        if is_plain::<O>(me, tag)
            && let Some(raw) = self.raw.try_read()
        {
            let holding = Holding::plain(&self.state, me, tag, site, self.state.count_shared());
            return RwLockReadGuard { _holding: holding, raw, lent: O::lent() };
        }
        self.take_read_closely(site)
    }

    #[inline(never)]
    fn take_read_closely(&self, site: Site) -> RwLockReadGuard<'_, O, T> {
        self.take_read_until(None, site).unwrap_or_else(|error| wait::waits_for_itself(&error))
    }

    fn try_take_read(&self, site: Site) -> Option<RwLockReadGuard<'_, O, T>> {
        let raw = self.raw.try_read()?;
        Some(self.read_guard(thread::current(), site, raw))
    }

    /// Without a deadline that can be told, as long as it takes.
    fn take_read_until(
        &self,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<RwLockReadGuard<'_, O, T>, WaitError> {
        let me = thread::current();
        let request = Request { me, state: &self.state, access: Access::Shared, site, deadline };
        let raw = wait::take::<O, _>(request, |patience| match patience {
            None => self.raw.try_read(),
            Some(patience) => self.raw.try_read_for(patience),
        })?;
        Ok(self.read_guard(me, site, raw))
    }

    fn read_guard<'g>(
        &'g self,
        me: &'static Thread,
        site: Site,
        raw: parking_lot::RwLockReadGuard<'g, T>,
    ) -> RwLockReadGuard<'g, O, T> {
        let tag = self.state.tag().with(Access::Shared);
        let holding = Holding::new(&self.state, me, tag, site, self.state.count_shared());
        RwLockReadGuard { _holding: holding, raw, lent: O::lent() }
    }

    #[inline(always)]
    fn take_write(&self, site: Site) -> RwLockWriteGuard<'_, O, T> {
        let me = thread::current();
        let tag = self.state.tag();
        if is_plain::<O>(me, tag)
            && let Some(raw) = self.raw.try_write()
        {
            let holding = Holding::plain(&self.state, me, tag, site, self.state.count_exclusive());
            return RwLockWriteGuard { holding, raw, lent: O::lent() };
        }
        self.take_write_closely(site)
    }

    #[inline(never)]
    fn take_write_closely(&self, site: Site) -> RwLockWriteGuard<'_, O, T> {
        self.take_write_until(None, site).unwrap_or_else(|error| wait::waits_for_itself(&error))
    }

    fn try_take_write(&self, site: Site) -> Option<RwLockWriteGuard<'_, O, T>> {
        let raw = self.raw.try_write()?;
        Some(self.write_guard(thread::current(), site, raw))
    }

    /// Without a deadline that can be told, as long as it takes.
    fn take_write_until(
        &self,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<RwLockWriteGuard<'_, O, T>, WaitError> {
        let me = thread::current();
        let request = Request { me, state: &self.state, access: Access::Exclusive, site, deadline };
        let raw = wait::take::<O, _>(request, |patience| match patience {
            None => self.raw.try_write(),
            Some(patience) => self.raw.try_write_for(patience),
        })?;
        Ok(self.write_guard(me, site, raw))
    }

    fn write_guard<'g>(
        &'g self,
        me: &'static Thread,
        site: Site,
        raw: parking_lot::RwLockWriteGuard<'g, T>,
    ) -> RwLockWriteGuard<'g, O, T> {
        let tag = self.state.tag();
        let holding = Holding::new(&self.state, me, tag, site, self.state.count_exclusive());
        RwLockWriteGuard { holding, raw, lent: O::lent() }
    }
}

impl<O, T: ?Sized> RwLock<O, T> {
    /// A panic let go of it while it was written, since it was last repaired.
    pub fn is_tainted(&self) -> bool {
        self.state.tainted_at().is_some()
    }

    /// Where it was taken by whoever panicked last.
    pub fn tainted_at(&self) -> Option<Site> {
        self.state.tainted_at()
    }

    /// What it counted until now.
    pub fn stats(&self) -> LockStats {
        self.state.stats()
    }

    /// The value, of which there is no other user.
    pub fn get_mut(&mut self) -> &mut T {
        self.raw.get_mut()
    }
}

impl<O, T: ?Sized> fmt::Debug for RwLock<O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("RwLock").field("is_locked", &self.raw.is_locked()).finish_non_exhaustive()
    }
}

/// An [`RwLock`] that is locked for reading.
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockReadGuard<'l, O: Order, T: ?Sized> {
    // Dropped before the lock is let go.
    _holding: Holding<'l, O>,
    raw: parking_lot::RwLockReadGuard<'l, T>,
    lent: O::Lent,
}

impl<L: Level, T: ?Sized> RwLockReadGuard<'_, OnLevel<L>, T> {
    /// The capability to lock what comes after this level.
    #[inline]
    pub fn cap(&mut self) -> &mut Cap<L> {
        &mut self.lent
    }

    /// The value, and the capability beside it.
    #[inline]
    pub fn parts(&mut self) -> (&T, &mut Cap<L>) {
        (&self.raw, &mut self.lent)
    }
}

impl<O: Order, T: ?Sized> Deref for RwLockReadGuard<'_, O, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<O: Order, T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// An [`RwLock`] that is locked for writing.
#[must_use = "dropped at once it guards nothing"]
pub struct RwLockWriteGuard<'l, O: Order, T: ?Sized> {
    // Dropped before the lock is let go.
    holding: Holding<'l, O>,
    raw: parking_lot::RwLockWriteGuard<'l, T>,
    lent: O::Lent,
}

impl<L: Level, T: ?Sized> RwLockWriteGuard<'_, OnLevel<L>, T> {
    /// The capability to lock what comes after this level.
    #[inline]
    pub fn cap(&mut self) -> &mut Cap<L> {
        &mut self.lent
    }

    /// The value, and the capability beside it.
    #[inline]
    pub fn parts(&mut self) -> (&mut T, &mut Cap<L>) {
        (&mut self.raw, &mut self.lent)
    }
}

impl<'l, O: Order, T: ?Sized> RwLockWriteGuard<'l, O, T> {
    /// Lets others read, and goes on reading; no writer comes between.
    pub fn downgrade(self) -> RwLockReadGuard<'l, O, T> {
        let Self { mut holding, raw, lent } = self;
        holding.downgrade();
        RwLockReadGuard { _holding: holding, raw: parking_lot::RwLockWriteGuard::downgrade(raw), lent }
    }
}

impl<O: Order, T: ?Sized> Deref for RwLockWriteGuard<'_, O, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<O: Order, T: ?Sized> DerefMut for RwLockWriteGuard<'_, O, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.raw
    }
}

impl<O: Order, T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
