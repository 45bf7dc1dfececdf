//! The one root of a thread: nothing is held.
//!
//! A variable of the thread says that its root is lent. It has no destructor, so that it can be asked
//! while a thread ends, and it is cleared on unwind too.
//!
//! A realm has a root beside it. What holds of several: a thread takes the root of a realm inside of whatever
//! it holds of others, and who lends it never runs what is others' under it. So all locks of the caller
//! come before all of the realm, and no circle goes through both.

use super::{Cap, Level};
use crate::RootTaken;
use std::cell::Cell;
use std::marker::PhantomData;
use std::thread::LocalKey;

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

/// An order with a root of its own: [`lock_order!`](crate::lock_order) with a line `root NAME;` declares one.
///
/// For a library. Its locks are taken inside calls from others, who may hold locks of their own
/// orders then, and have their own root lent. It owes them one thing: nothing that is theirs is called while
/// a lock of it is held, but through [`Cap::outside`].
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, with_root};
///
/// mod library {
///     use evenkeel_locks::{Mutex, lock_order, with_root_of};
///
///     lock_order! { root House; pub Books; }
///     static BOOKS: Mutex<Books, u32> = Mutex::new(0);
///     pub fn count() -> u32 {
///         with_root_of::<House, _>(|house| {
///             let mut books = BOOKS.lock(house);
///             *books += 1;
///             *books
///         })
///     }
/// }
///
/// lock_order! { Mine; }
/// static LOCK: Mutex<Mine, ()> = Mutex::new(());
/// with_root(|root| {
///     let _guard = LOCK.lock(root);
///     assert_eq!(library::count(), 1); // with the one root of the thread it would panic
/// });
/// ```
pub trait Realm: Level {
    /// Whether its root is lent, in this thread. The macro's, and nobody else's.
    #[doc(hidden)]
    fn lent() -> &'static LocalKey<IsLent>;
}

/// Whether the root of a realm is lent. Only this module asks, and says.
#[derive(Debug)]
pub struct IsLent(Cell<bool>);

impl IsLent {
    /// It is not.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "the macro's, and nobody else's")]
    pub const fn new() -> Self {
        Self(Cell::new(false))
    }
}

/// Has a realm say that its root is lent, or that it is not, and then what it said before.
struct RealmLent<R: Realm> {
    before: bool,
    realm: PhantomData<fn(R) -> R>,
}

impl<R: Realm> RealmLent<R> {
    #[inline]
    fn set(lent: bool) -> Self {
        Self { before: R::lent().with(|is| is.0.replace(lent)), realm: PhantomData }
    }
}

impl<R: Realm> Drop for RealmLent<R> {
    #[inline]
    fn drop(&mut self) {
        R::lent().with(|is| is.0.set(self.before));
    }
}

/// Lends `work` the root of a realm, whatever of other orders the thread holds.
///
/// # Panics
/// Inside of itself, of the same realm: see [`with_root`].
#[inline]
#[track_caller]
pub fn with_root_of<R: Realm, T>(work: impl FnOnce(&mut Cap<R>) -> T) -> T {
    if R::lent().with(|is| is.0.get()) {
        taken()
    }
    let _lent = RealmLent::<R>::set(true);
    work(&mut Cap::new())
}

/// The same as [`with_root_of`], with an error where that panics.
///
/// # Errors
/// [`RootTaken`] inside of itself; `work` was not called.
#[inline]
pub fn try_with_root_of<R: Realm, T>(work: impl FnOnce(&mut Cap<R>) -> T) -> Result<T, RootTaken> {
    if R::lent().with(|is| is.0.get()) {
        return Err(RootTaken);
    }
    let _lent = RealmLent::<R>::set(true);
    Ok(work(&mut Cap::new()))
}

impl<R: Realm> Cap<R> {
    /// Runs what is somebody else's, a callback, with proof that nothing of this realm is held: inside, its root
    /// may be taken again.
    pub fn outside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let _again = RealmLent::<R>::set(false);
        work()
    }
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
