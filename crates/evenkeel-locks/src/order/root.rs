//! The one root of a thread: nothing is held.
//!
//! A variable of the thread says that its root is lent. It has no destructor, so that it can be asked
//! while a thread ends, and it is cleared on unwind too.

use super::{Cap, Level};
use crate::RootTaken;
use std::cell::Cell;

thread_local! {
    static NOW: Cell<Now> = const { Cell::new(Now::Free) };
}

/// What the thread does, as far as it concerns what it may lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Now {
    /// Its root is to be had.
    Free,
    /// Its root is lent, or what comes after a lock that a task holds: it may hold locks.
    Lent,
    /// It polls the task of this number, which has a root of its own: the thread holds nothing itself.
    Polls(u64),
}

/// The level before all others: nothing is held.
#[derive(Debug)]
pub enum Root {}

impl Level for Root {
    const NAME: &'static str = "Root";
    const RANK: u32 = 0;
    // Everything comes after it.
    const IS_ASYNC: bool = true;
}

/// What this thread does.
pub(crate) fn now() -> Now {
    NOW.get()
}

/// Has the thread say what it does for as long as it lives, and then what it was before.
#[derive(Debug)]
pub(crate) struct Lent {
    before: Now,
}

impl Lent {
    /// `None` unless the thread does one of these.
    #[inline]
    pub(crate) fn take(now: Now, instead_of: &[Now]) -> Option<Self> {
        let before = NOW.get();
        instead_of.contains(&before).then(|| {
            NOW.set(now);
            Self { before }
        })
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        NOW.set(self.before);
    }
}

/// Lends `work` the root of this thread.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, with_root};
///
/// lock_order! { Only; }
/// let lock = Mutex::<Only, _>::new(5);
/// assert_eq!(with_root(|root| *lock.lock(root)), 5);
/// ```
///
/// # Panics
/// Inside of itself: the outer one may hold locks. Hand on the capability, or see
/// [`try_with_root`] and [`Cap::outside`]. In a destructor that may run while the thread unwinds, which a
/// second panic would end the process from, ask with [`try_with_root`].
#[inline]
#[track_caller]
pub fn with_root<R>(work: impl FnOnce(&mut Cap<Root>) -> R) -> R {
    let Some(_lent) = Lent::take(Now::Lent, &[Now::Free]) else { taken() };
    work(&mut Cap::new())
}

/// The same as [`with_root`], with an error where that panics.
///
/// # Errors
/// [`RootTaken`] inside of itself; `work` was not called.
#[inline]
pub fn try_with_root<R>(work: impl FnOnce(&mut Cap<Root>) -> R) -> Result<R, RootTaken> {
    let _lent = Lent::take(Now::Lent, &[Now::Free]).ok_or(RootTaken)?;
    Ok(work(&mut Cap::new()))
}

#[cold]
#[track_caller]
pub(crate) fn taken() -> ! {
    panic!("{RootTaken}")
}

impl Cap<Root> {
    /// Runs what is somebody else's, a callback, with proof that nothing is held: inside, the thread
    /// may take its root again.
    ///
    /// ```
    /// use evenkeel_locks::{Cap, Root, with_root};
    ///
    /// fn tell(root: &mut Cap<Root>, observer: &dyn Fn()) {
    ///     root.outside(observer);
    /// }
    ///
    /// with_root(|root| tell(root, &|| with_root(|_| ())));
    /// ```
    pub fn outside<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let _again = Lent::take(Now::Free, &[Now::Lent]);
        work()
    }
}
