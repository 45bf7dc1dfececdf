//! The one root of a thread: nothing is held.
//!
//! A flag of the thread says that its root is lent. It has no destructor, so that it can be asked
//! while a thread ends, and it is cleared on unwind too.

use super::{Cap, Level};
use crate::RootTaken;
use std::cell::Cell;

thread_local! {
    static IS_LENT: Cell<bool> = const { Cell::new(false) };
}

/// The level before all others: nothing is held.
#[derive(Debug)]
pub enum Root {}

impl Level for Root {
    const NAME: &'static str = "Root";
    const RANK: u32 = 0;
}

/// Sets the flag for as long as it lives, to what it says, and back.
struct Lent;

impl Lent {
    fn take() -> Option<Self> {
        (!IS_LENT.replace(true)).then_some(Self)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        IS_LENT.set(false);
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
/// [`try_with_root`] and [`Cap::outside`].
#[inline]
#[track_caller]
pub fn with_root<R>(work: impl FnOnce(&mut Cap<Root>) -> R) -> R {
    let Some(_lent) = Lent::take() else { taken() };
    work(&mut Cap::new())
}

/// The same as [`with_root`], with an error where that panics.
///
/// # Errors
/// [`RootTaken`] inside of itself; `work` was not called.
#[inline]
pub fn try_with_root<R>(work: impl FnOnce(&mut Cap<Root>) -> R) -> Result<R, RootTaken> {
    let _lent = Lent::take().ok_or(RootTaken)?;
    Ok(work(&mut Cap::new()))
}

#[cold]
#[track_caller]
fn taken() -> ! {
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
        struct Again;
        impl Drop for Again {
            fn drop(&mut self) {
                IS_LENT.set(true);
            }
        }
        let _again = Again;
        IS_LENT.set(false);
        work()
    }
}
