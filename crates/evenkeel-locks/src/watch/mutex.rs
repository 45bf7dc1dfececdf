//! A watched mutex.

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

/// A mutex that is watched: [`ranked::Mutex`](crate::ranked::Mutex),
/// [`unranked::Mutex`](crate::unranked::Mutex) or [`watched::Mutex`](crate::watched::Mutex).
///
/// It is not poisoned: a panic lets go of it and leaves it tainted.
///
/// ```
/// use evenkeel_locks::unranked::Mutex;
/// use std::panic::{AssertUnwindSafe, catch_unwind};
///
/// let pair = Mutex::new((1, 1));
/// let _ = catch_unwind(AssertUnwindSafe(|| {
///     let mut pair = pair.lock();
///     pair.0 = 2;
///     panic!("before the other one is 2");
/// }));
/// assert!(pair.is_tainted());
/// pair.repair(|pair| pair.1 = pair.0);
/// assert!(!pair.is_tainted());
/// assert_eq!(*pair.lock(), (2, 2));
/// ```
pub struct Mutex<O, T: ?Sized> {
    order: PhantomData<fn(O) -> O>,
    pub(super) state: State,
    raw: parking_lot::Mutex<T>,
}

impl<T> Mutex<Ranked, T> {
    /// A mutex of a rank.
    #[track_caller]
    pub const fn new(rank: Rank, value: T) -> Self {
        Self::with(rank.origin(), Location::caller(), value)
    }
}

impl<T> Mutex<Learnt, T> {
    /// A mutex of the class of all that are made at this place.
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

    /// A mutex of a class that was declared.
    #[track_caller]
    pub const fn of(class: &'static Class, value: T) -> Self {
        Self::with(class.origin(), Location::caller(), value)
    }
}

impl<L: Level, T> Mutex<OnLevel<L>, T> {
    /// A mutex on a level.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        const { assert_blocks::<L>() };
        let origin = Origin { name: Some(L::NAME), rank: None, class: None, is_ordered: false };
        Self::with(origin, Location::caller(), value)
    }
}

impl<O, T> Mutex<O, T> {
    const fn with(origin: Origin, site: Site, value: T) -> Self {
        Self { order: PhantomData, state: State::new(origin, site), raw: parking_lot::Mutex::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.raw.into_inner()
    }
}

impl<O: AtRunTime, T: ?Sized> Mutex<O, T> {
    /// Locks, and waits as long as it takes.
    ///
    /// # Panics
    /// When this thread holds it already; and when its order is violated, unless
    /// [`on_violation`](crate::watch::on_violation) says otherwise.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, O, T> {
        self.take(Location::caller())
    }

    /// Locks if it is free. The order does not matter to who does not wait.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, O, T>> {
        self.try_take(Location::caller())
    }

    /// Locks, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread holds it already.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn lock_for(&self, patience: Duration) -> Result<MutexGuard<'_, O, T>, WaitError> {
        self.take_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`], at once if this thread holds it already.
    ///
    /// # Panics
    /// When its order is violated, unless [`on_violation`](crate::watch::on_violation) says otherwise.
    #[track_caller]
    pub fn lock_until(&self, deadline: Instant) -> Result<MutexGuard<'_, O, T>, WaitError> {
        self.take_until(Some(deadline), Location::caller())
    }

    /// Locks, lets `work` make the value whole, and takes the taint from it unless that panics.
    #[track_caller]
    pub fn repair<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut guard = self.take(Location::caller());
        let done = work(&mut guard);
        self.state.clear_taint();
        done
    }
}

impl<L: Level, T: ?Sized> Mutex<OnLevel<L>, T> {
    /// Locks, after what `held` says is held.
    #[inline]
    #[track_caller]
    pub fn lock<'g, Held: Level>(&'g self, held: &'g mut Cap<Held>) -> MutexGuard<'g, OnLevel<L>, T>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take(Location::caller())
    }

    /// Locks if it is free.
    #[inline]
    #[track_caller]
    pub fn try_lock<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
    ) -> Option<MutexGuard<'g, OnLevel<L>, T>>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.try_take(Location::caller())
    }

    /// Locks, and gives up after so long.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn lock_for<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        patience: Duration,
    ) -> Result<MutexGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_until(Instant::now().checked_add(patience), Location::caller())
    }

    /// Locks, and gives up at a point in time.
    ///
    /// # Errors
    /// [`WaitError`] when it was not free in time.
    #[track_caller]
    pub fn lock_until<'g, Held: Level>(
        &'g self,
        held: &'g mut Cap<Held>,
        deadline: Instant,
    ) -> Result<MutexGuard<'g, OnLevel<L>, T>, WaitError>
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        self.take_until(Some(deadline), Location::caller())
    }

    /// Locks, lets `work` make the value whole, and takes the taint from it unless that panics.
    #[track_caller]
    pub fn repair<Held: Level, R>(&self, held: &mut Cap<Held>, work: impl FnOnce(&mut T) -> R) -> R
    where
        L: After<Held>,
    {
        give_up::<L, Held>(held);
        let mut guard = self.take(Location::caller());
        let done = work(&mut guard);
        self.state.clear_taint();
        done
    }
}

impl<O: Order, T: ?Sized> Mutex<O, T> {
    #[inline(always)]
    fn take(&self, site: Site) -> MutexGuard<'_, O, T> {
        let me = thread::current();
        let tag = self.state.tag();
        if is_plain::<O>(me, tag)
            && let Some(raw) = self.raw.try_lock()
        {
            let holding = Holding::plain(&self.state, me, tag, site, self.state.count_exclusive());
            return MutexGuard { holding, raw, lent: O::lent() };
        }
        self.take_closely(site)
    }

    #[inline(never)]
    fn take_closely(&self, site: Site) -> MutexGuard<'_, O, T> {
        self.take_until(None, site).unwrap_or_else(|error| wait::waits_for_itself(&error))
    }

    fn try_take(&self, site: Site) -> Option<MutexGuard<'_, O, T>> {
        let raw = self.raw.try_lock()?;
        Some(self.guard(thread::current(), site, raw))
    }

    /// Without a deadline that can be told, as long as it takes.
    fn take_until(&self, deadline: Option<Instant>, site: Site) -> Result<MutexGuard<'_, O, T>, WaitError> {
        let me = thread::current();
        let request = Request { me, state: &self.state, access: Access::Exclusive, site, deadline };
        let raw = wait::take::<O, _>(request, |patience| match patience {
            None => self.raw.try_lock(),
            Some(patience) => self.raw.try_lock_for(patience),
        })?;
        Ok(self.guard(me, site, raw))
    }

    fn guard<'g>(
        &'g self,
        me: &'static Thread,
        site: Site,
        raw: parking_lot::MutexGuard<'g, T>,
    ) -> MutexGuard<'g, O, T> {
        let nth = self.state.count_exclusive();
        let holding = Holding::new(&self.state, me, self.state.tag(), site, nth);
        MutexGuard { holding, raw, lent: O::lent() }
    }
}

impl<O, T: ?Sized> Mutex<O, T> {
    /// A panic let go of it since it was last repaired.
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

impl<O, T: ?Sized> fmt::Debug for Mutex<O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not shown: that would need the lock.
        f.debug_struct("Mutex").field("is_locked", &self.raw.is_locked()).finish_non_exhaustive()
    }
}

/// A locked [`Mutex`].
#[must_use = "dropped at once it guards nothing"]
pub struct MutexGuard<'l, O: Order, T: ?Sized> {
    // Dropped before the lock is let go.
    pub(super) holding: Holding<'l, O>,
    pub(super) raw: parking_lot::MutexGuard<'l, T>,
    lent: O::Lent,
}

impl<L: Level, T: ?Sized> MutexGuard<'_, OnLevel<L>, T> {
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

impl<O: Order, T: ?Sized> Deref for MutexGuard<'_, O, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.raw
    }
}

impl<O: Order, T: ?Sized> DerefMut for MutexGuard<'_, O, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.raw
    }
}

impl<O: Order, T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, O, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
