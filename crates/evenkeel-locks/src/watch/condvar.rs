//! Waiting for a change of what a watched mutex guards.

use super::holding::Holding;
use super::mutex::MutexGuard;
use super::order::{self, Order};
use super::sys::Site;
use crate::WaitOutcome;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

/// A condition variable for watched mutexes.
///
/// While it waits, the thread does not hold the mutex; that it takes it again is checked against what
/// else it holds, before it waits. A thread that was woken and waits for the mutex is in no deadlock
/// report.
///
/// ```
/// use evenkeel_locks::{unranked::Mutex, watch::Condvar};
///
/// static READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
///
/// std::thread::scope(|threads| {
///     threads.spawn(|| CHANGED.wait_while(&mut READY.lock(), |ready| !*ready));
///     *READY.lock() = true;
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

    /// Waits until notified; another thread may have come first.
    ///
    /// # Panics
    /// When others wait on it with another mutex, and when the order is violated.
    pub fn wait<O: Order, T: ?Sized>(&self, guard: &mut MutexGuard<'_, O, T>) {
        paused(guard, |raw| self.raw.wait(raw));
    }

    /// Waits as long as a condition holds, which is asked before each wait, with the mutex locked.
    ///
    /// # Panics
    /// When others wait on it with another mutex, and when the order is violated.
    pub fn wait_while<O: Order, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, O, T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) {
        while holds(guard) {
            self.wait(guard);
        }
    }

    /// Waits until notified, so long at most.
    ///
    /// # Panics
    /// When others wait on it with another mutex, and when the order is violated.
    pub fn wait_for<O: Order, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, O, T>,
        patience: Duration,
    ) -> WaitOutcome {
        WaitOutcome::of(paused(guard, |raw| self.raw.wait_for(raw, patience)))
    }

    /// Waits until notified, or until a point in time.
    ///
    /// # Panics
    /// When others wait on it with another mutex, and when the order is violated.
    pub fn wait_until<O: Order, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, O, T>,
        deadline: Instant,
    ) -> WaitOutcome {
        WaitOutcome::of(paused(guard, |raw| self.raw.wait_until(raw, deadline)))
    }

    /// Waits as long as a condition holds, so long at most in all. Timed out means that it still held.
    ///
    /// ```
    /// use evenkeel_locks::unranked::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (ready, changed) = (Mutex::new(false), Condvar::new());
    /// let mut guard = ready.lock();
    /// let outcome = changed.wait_while_for(&mut guard, |ready| !*ready, Duration::from_millis(5));
    /// assert!(outcome.timed_out());
    /// ```
    ///
    /// # Panics
    /// When others wait on it with another mutex, and when the order is violated.
    pub fn wait_while_for<O: Order, T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, O, T>,
        mut holds: impl FnMut(&mut T) -> bool,
        patience: Duration,
    ) -> WaitOutcome {
        let deadline = Instant::now().checked_add(patience);
        while holds(guard) {
            match deadline {
                None => self.wait(guard),
                // What was waited for may have come as the time ended.
                Some(deadline) if self.wait_until(guard, deadline).timed_out() => {
                    return if holds(guard) { WaitOutcome::TimedOut } else { WaitOutcome::Woken };
                }
                Some(_) => {}
            }
        }
        WaitOutcome::Woken
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

/// Waits with the mutex not among what the thread holds.
fn paused<'l, O: Order, T: ?Sized, R>(
    guard: &mut MutexGuard<'l, O, T>,
    wait: impl FnOnce(&mut parking_lot::MutexGuard<'l, T>) -> R,
) -> R {
    /// Takes it in again even when the wait panics.
    struct Resume<'g, 'l, O: Order>(&'g mut Holding<'l, O>, Site);
    impl<O: Order> Drop for Resume<'_, '_, O> {
        fn drop(&mut self) {
            self.0.resume(self.1);
        }
    }
    let MutexGuard { holding, raw, .. } = guard;
    let site = holding.pause().unwrap_or(Location::caller());
    let resume = Resume(holding, site);
    order::check::<O>(resume.0.thread(), resume.0.state(), resume.0.state().tag(), site);
    wait(raw)
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
