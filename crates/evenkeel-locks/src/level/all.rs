//! Several locks of one level, taken at once.
//!
//! All who take several sort them by address, so no two wait for each other. There is one capability
//! for all of them: two would let the locks after them be taken in two orders.

use super::Mutex;
use crate::Duplicate;
use crate::order::{After, Cap, Level, give_up};
use std::fmt;
use std::ops::{Index, IndexMut};

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
    let locks: Vec<_> = locks.into_iter().collect();
    let mut sorted: Vec<usize> = (0..locks.len()).collect();
    sorted.sort_by_key(|at| locks[*at].address());
    refuse_duplicates(&sorted, |at| locks[at].address())?;
    let mut guards: Vec<_> = locks.iter().map(|_| None).collect();
    for at in sorted {
        guards[at] = Some(locks[at].lock_of_group());
    }
    Ok(Guards { cap: Cap::new(), guards: guards.into_iter().flatten().collect() })
}

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
    if first.address() == second.address() {
        return Err(Duplicate { first: 0, second: 1 });
    }
    let (mut a, mut b);
    if first.address() < second.address() {
        a = first.lock_of_group();
        b = second.lock_of_group();
    } else {
        b = second.lock_of_group();
        a = first.lock_of_group();
    }
    Ok(work(&mut a, &mut b, &mut Cap::new()))
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
