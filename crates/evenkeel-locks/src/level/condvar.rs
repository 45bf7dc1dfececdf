//! Waiting for a change of what a mutex on a level guards.

use super::MutexGuard;
use std::fmt;
use std::time::{Duration, Instant};

/// Whether a wait was ended by its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "says whether what was waited for can be there"]
pub enum WaitOutcome {
    /// Somebody notified, or nobody did: look again.
    Woken,
    /// The time limit came first.
    TimedOut,
}

impl WaitOutcome {
    /// The time limit came first.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self == Self::TimedOut
    }

    pub(crate) fn of(raw: parking_lot::WaitTimeoutResult) -> Self {
        if raw.timed_out() { Self::TimedOut } else { Self::Woken }
    }
}

/// A condition variable for mutexes of any level.
///
/// While it waits, the thread lets go of the one mutex and keeps what it held before it; no lock that
/// comes after can be held then.
///
/// ```
/// use evenkeel_locks::{Condvar, Mutex, lock_order, with_root};
///
/// lock_order! { Ready; }
/// static READY: Mutex<Ready, bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
///
/// std::thread::scope(|threads| {
///     threads.spawn(|| with_root(|root| CHANGED.wait_while(&mut READY.lock(root), |ready| !*ready)));
///     with_root(|root| *READY.lock(root) = true);
///     CHANGED.notify_all();
/// });
/// ```
pub struct Condvar {
    raw: parking_lot::Condvar,
}

impl Condvar {
    /// One that nobody waits on.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: parking_lot::Condvar::new() }
    }

    /// Waits until notified. There is no spurious wake-up that a notification did not cause, but
    /// another thread may have come first: see [`wait_while`](Self::wait_while).
    ///
    /// # Panics
    /// When others wait on it with another mutex.
    pub fn wait<L, T: ?Sized>(&self, guard: &mut MutexGuard<'_, L, T>) {
        self.raw.wait(&mut guard.raw);
    }

    /// Waits as long as a condition holds, which is asked before each wait, with the mutex locked.
    ///
    /// # Panics
    /// When others wait on it with another mutex.
    pub fn wait_while<L, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, L, T>,
        holds: impl FnMut(&mut T) -> bool,
    ) {
        self.raw.wait_while(&mut guard.raw, holds);
    }

    /// Waits until notified, so long at most.
    ///
    /// # Panics
    /// When others wait on it with another mutex.
    pub fn wait_for<L, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, L, T>,
        patience: Duration,
    ) -> WaitOutcome {
        WaitOutcome::of(self.raw.wait_for(&mut guard.raw, patience))
    }

    /// Waits until notified, or until a point in time.
    ///
    /// # Panics
    /// When others wait on it with another mutex.
    pub fn wait_until<L, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, L, T>,
        deadline: Instant,
    ) -> WaitOutcome {
        WaitOutcome::of(self.raw.wait_until(&mut guard.raw, deadline))
    }

    /// Waits as long as a condition holds, so long at most in all. Timed out means that it still held.
    ///
    /// # Panics
    /// When others wait on it with another mutex.
    pub fn wait_while_for<L, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, L, T>,
        holds: impl FnMut(&mut T) -> bool,
        patience: Duration,
    ) -> WaitOutcome {
        WaitOutcome::of(self.raw.wait_while_for(&mut guard.raw, holds, patience))
    }

    /// Wakes one that waits, and says whether there was one.
    pub fn notify_one(&self) -> bool {
        self.raw.notify_one()
    }

    /// Wakes all that wait, and says how many.
    pub fn notify_all(&self) -> usize {
        self.raw.notify_all()
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
