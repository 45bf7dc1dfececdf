//! Two locks of one level that guard different types, taken at once.

use super::Mutex;
use super::all::Patience;
use crate::order::{After, Cap, Level, give_up};
use crate::{Duplicate, NotAll};
use parking_lot::MutexGuard;
use std::time::{Duration, Instant};

/// Locks two of one level that guard different types; tell them apart by place, not by order.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, lock_pair, with_root};
///
/// lock_order! { Peer < Log; }
/// let (name, age, log) = (Mutex::<Peer, _>::new("a"), Mutex::<Peer, _>::new(1), Mutex::<Log, _>::new(0));
///
/// with_root(|root| {
///     lock_pair(root, &age, &name, |age, name, held| {
///         *age += name.len();
///         *log.lock(held) += 1;
///     })
/// })
/// .unwrap();
/// ```
///
/// # Errors
/// [`Duplicate`] when both are the same lock; nothing was locked or called.
pub fn lock_pair<L, Held, A, B, R>(
    held: &mut Cap<Held>,
    first: &Mutex<L, A>,
    second: &Mutex<L, B>,
    work: impl FnOnce(&mut A, &mut B, &mut Cap<L>) -> R,
) -> Result<R, Duplicate>
where
    L: After<Held>,
    Held: Level,
    A: ?Sized,
    B: ?Sized,
{
    give_up::<L, Held>(held);
    take(first, second, Patience::Endless).map(|pair| pair.lend(work)).map_err(NotAll::into_duplicate)
}

/// [`lock_pair`], if both are free.
///
/// # Errors
/// [`NotAll`] when both are the same lock or one is not free; none is locked then, and nothing was called.
pub fn try_lock_pair<L, Held, A, B, R>(
    held: &mut Cap<Held>,
    first: &Mutex<L, A>,
    second: &Mutex<L, B>,
    work: impl FnOnce(&mut A, &mut B, &mut Cap<L>) -> R,
) -> Result<R, NotAll>
where
    L: After<Held>,
    Held: Level,
    A: ?Sized,
    B: ?Sized,
{
    give_up::<L, Held>(held);
    take(first, second, Patience::Nil).map(|pair| pair.lend(work))
}

/// [`lock_pair`], which gives up when it has waited so long in all. `work` may take as long as it likes.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_order, lock_pair_for, with_root};
/// use std::time::Duration;
///
/// lock_order! { Peer; }
/// let (name, age) = (Mutex::<Peer, _>::new("a"), Mutex::<Peer, _>::new(1));
/// with_root(|root| {
///     lock_pair_for(root, &age, &name, Duration::from_millis(50), |age, name, _| *age += name.len())
/// })?;
/// # Ok::<(), evenkeel_locks::NotAll>(())
/// ```
///
/// # Errors
/// [`NotAll`] when both are the same lock or one was not free in time; none is locked then, and nothing was
/// called.
pub fn lock_pair_for<L, Held, A, B, R>(
    held: &mut Cap<Held>,
    first: &Mutex<L, A>,
    second: &Mutex<L, B>,
    patience: Duration,
    work: impl FnOnce(&mut A, &mut B, &mut Cap<L>) -> R,
) -> Result<R, NotAll>
where
    L: After<Held>,
    Held: Level,
    A: ?Sized,
    B: ?Sized,
{
    give_up::<L, Held>(held);
    take(first, second, Patience::until(Instant::now().checked_add(patience))).map(|pair| pair.lend(work))
}

/// [`lock_pair`], which gives up at a point in time. `work` may take as long as it likes.
///
/// # Errors
/// [`NotAll`] when both are the same lock or one was not free in time; none is locked then, and nothing was
/// called.
pub fn lock_pair_until<L, Held, A, B, R>(
    held: &mut Cap<Held>,
    first: &Mutex<L, A>,
    second: &Mutex<L, B>,
    deadline: Instant,
    work: impl FnOnce(&mut A, &mut B, &mut Cap<L>) -> R,
) -> Result<R, NotAll>
where
    L: After<Held>,
    Held: Level,
    A: ?Sized,
    B: ?Sized,
{
    give_up::<L, Held>(held);
    take(first, second, Patience::until(Some(deadline))).map(|pair| pair.lend(work))
}

/// Both, locked.
struct Pair<'g, A: ?Sized, B: ?Sized> {
    first: MutexGuard<'g, A>,
    second: MutexGuard<'g, B>,
}

impl<A: ?Sized, B: ?Sized> Pair<'_, A, B> {
    fn lend<L, R>(mut self, work: impl FnOnce(&mut A, &mut B, &mut Cap<L>) -> R) -> R {
        work(&mut self.first, &mut self.second, &mut Cap::new())
    }
}

fn take<'g, L: Level, A: ?Sized, B: ?Sized>(
    first: &'g Mutex<L, A>,
    second: &'g Mutex<L, B>,
    patience: Patience,
) -> Result<Pair<'g, A, B>, NotAll> {
    if first.address() == second.address() {
        return Err(Duplicate { first: 0, second: 1 }.into());
    }
    let lock_first = || first.lock_of_group(patience).ok_or_else(|| patience.not_free::<L>(0));
    let lock_second = || second.lock_of_group(patience).ok_or_else(|| patience.not_free::<L>(1));
    if first.address() < second.address() {
        let first = lock_first()?;
        Ok(Pair { first, second: lock_second()? })
    } else {
        let second = lock_second()?;
        Ok(Pair { first: lock_first()?, second })
    }
}
