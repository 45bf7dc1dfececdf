//! Several locks of one level, taken at once.
//!
//! All who take several sort them by address, so no two wait for each other. There is one capability
//! for all of them: two would let the locks after them be taken in two orders. Who gives up has none.

use super::Mutex;
use crate::order::{After, Cap, Level, give_up};
use crate::{Duplicate, NotAll};
use std::fmt;
use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

/// Locks all of these, whatever order they are named in.
///
/// ```
/// use evenkeel_locks::{Mutex, lock_all, lock_order, with_root};
///
/// lock_order! { Account; }
/// let accounts: Vec<Mutex<Account, u64>> = vec![Mutex::new(100), Mutex::new(0), Mutex::new(5)];
///
/// with_root(|root| {
///     let mut both = lock_all(root, [&accounts[1], &accounts[0]])?;
///     both[1] -= 30;
///     both[0] += 30;
///     drop(both);
///     assert!(lock_all(root, [&accounts[2], &accounts[2]]).is_err());
///     assert_eq!(*accounts[0].lock(root), 70);
///     Ok::<(), evenkeel_locks::Duplicate>(())
/// })
/// # .unwrap();
/// ```
///
/// # Errors
/// [`Duplicate`] when two of them are the same lock; nothing was locked.
pub fn lock_all<'g, L, Held, T>(
    held: &'g mut Cap<Held>,
    locks: impl IntoIterator<Item = &'g Mutex<L, T>>,
) -> Result<Guards<'g, L, T>, Duplicate>
where
    L: After<Held>,
    Held: Level,
    T: ?Sized + 'g,
{
    give_up::<L, Held>(held);
    take(locks, Patience::Endless).map_err(NotAll::into_duplicate)
}

/// [`lock_all`], if all of them are free.
///
/// # Errors
/// [`NotAll`] when two of them are the same lock or one is not free; none is locked then.
pub fn try_lock_all<'g, L, Held, T>(
    held: &'g mut Cap<Held>,
    locks: impl IntoIterator<Item = &'g Mutex<L, T>>,
) -> Result<Guards<'g, L, T>, NotAll>
where
    L: After<Held>,
    Held: Level,
    T: ?Sized + 'g,
{
    give_up::<L, Held>(held);
    take(locks, Patience::Nil)
}

/// [`lock_all`], which gives up when it has waited so long for all of them together.
///
/// ```
/// use evenkeel_locks::{Mutex, NotAll, lock_all_for, lock_order, with_root};
/// use std::time::Duration;
///
/// lock_order! { Account; }
/// let accounts: [Mutex<Account, u64>; 2] = [Mutex::new(100), Mutex::new(0)];
///
/// with_root(|root| match lock_all_for(root, &accounts, Duration::from_millis(50)) {
///     Ok(mut both) => {
///         both[0] -= 30;
///         both[1] += 30;
///     }
///     Err(NotAll::NotFree { at, .. }) => eprintln!("account {at} is busy, and neither is held"),
///     Err(other) => panic!("{other}"),
/// });
/// ```
///
/// # Errors
/// [`NotAll`] when two of them are the same lock or one was not free in time; none is locked then.
pub fn lock_all_for<'g, L, Held, T>(
    held: &'g mut Cap<Held>,
    locks: impl IntoIterator<Item = &'g Mutex<L, T>>,
    patience: Duration,
) -> Result<Guards<'g, L, T>, NotAll>
where
    L: After<Held>,
    Held: Level,
    T: ?Sized + 'g,
{
    give_up::<L, Held>(held);
    take(locks, Patience::until(Instant::now().checked_add(patience)))
}

/// [`lock_all`], which gives up at a point in time.
///
/// # Errors
/// [`NotAll`] when two of them are the same lock or one was not free in time; none is locked then.
pub fn lock_all_until<'g, L, Held, T>(
    held: &'g mut Cap<Held>,
    locks: impl IntoIterator<Item = &'g Mutex<L, T>>,
    deadline: Instant,
) -> Result<Guards<'g, L, T>, NotAll>
where
    L: After<Held>,
    Held: Level,
    T: ?Sized + 'g,
{
    give_up::<L, Held>(held);
    take(locks, Patience::until(Some(deadline)))
}

/// How long a group of locks is waited for, all together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Nil,
    Until {
        began: Instant,
        deadline: Instant,
    },
    /// And no clock is read.
    Endless,
}

impl Patience {
    /// Until a point in time that can be told, or for ever.
    pub(super) fn until(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Endless, |deadline| Self::Until { began: Instant::now(), deadline })
    }

    /// It was not enough for the lock that was named there.
    pub(super) fn not_free<L: Level>(self, at: usize) -> NotAll {
        let waited = match self {
            Self::Until { began, .. } => began.elapsed(),
            Self::Nil | Self::Endless => Duration::ZERO,
        };
        NotAll::NotFree { at, level: L::NAME, waited }
    }
}

/// All of them, by address. What was taken until one is not had is let go when this returns.
fn take<'g, L: Level, T: ?Sized + 'g>(
    locks: impl IntoIterator<Item = &'g Mutex<L, T>>,
    patience: Patience,
) -> Result<Guards<'g, L, T>, NotAll> {
    let locks: Vec<_> = locks.into_iter().collect();
    let mut sorted: Vec<usize> = (0..locks.len()).collect();
    sorted.sort_by_key(|at| locks[*at].address());
    refuse_duplicates(&sorted, |at| locks[at].address())?;
    let mut guards: Vec<_> = locks.iter().map(|_| None).collect();
    for at in sorted {
        let guard = locks[at].lock_of_group(patience).ok_or_else(|| patience.not_free::<L>(at))?;
        guards[at] = Some(guard);
    }
    Ok(Guards { cap: Cap::new(), guards: guards.into_iter().flatten().collect() })
}

/// Neighbours in the sorted order that are the same lock.
fn refuse_duplicates(sorted: &[usize], address: impl Fn(usize) -> usize) -> Result<(), Duplicate> {
    let same = sorted.windows(2).find(|pair| address(pair[0]) == address(pair[1]));
    // Sorting is stable: of two that are the same, the one that was named first is first.
    same.map_or(Ok(()), |pair| Err(Duplicate { first: pair[0], second: pair[1] }))
}

/// Several locked mutexes of one level, numbered as they were named, and one capability for all.
#[must_use = "dropped at once they guard nothing"]
pub struct Guards<'g, L, T: ?Sized> {
    cap: Cap<L>,
    guards: Vec<parking_lot::MutexGuard<'g, T>>,
}

impl<L: Level, T: ?Sized> Guards<'_, L, T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.guards.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// The capability to lock what comes after this level.
    pub fn cap(&mut self) -> &mut Cap<L> {
        &mut self.cap
    }

    /// All the values.
    pub fn values(&mut self) -> impl Iterator<Item = &mut T> {
        self.guards.iter_mut().map(|guard| &mut **guard)
    }

    /// The values, as they were named, and the capability beside them.
    pub fn parts(&mut self) -> (Vec<&mut T>, &mut Cap<L>) {
        (self.guards.iter_mut().map(|guard| &mut **guard).collect(), &mut self.cap)
    }
}

impl<L, T: ?Sized> Index<usize> for Guards<'_, L, T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.guards[at]
    }
}

impl<L, T: ?Sized> IndexMut<usize> for Guards<'_, L, T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.guards[at]
    }
}

impl<L, T: ?Sized + fmt::Debug> fmt::Debug for Guards<'_, L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.guards.iter().map(|guard| &**guard)).finish()
    }
}
