//! What a thread holds, written by it and read by whoever looks for the holders of a lock.
//!
//! The thread writes only into what is its own: a lock that many read costs no more for being watched.
//!
//! What holds:
//! * A slot whose bit is set is of a lock that the thread holds: it is filled, and its bit set, after the
//!   lock was taken, and the bit is cleared before it is let go. Nobody has to let go in reverse.
//! * The slot of a lock with a rank is that of its rank, and its bit is in `ranks`. All others, and a
//!   second lock of a rank, have a slot from [`MIXED`] on and their bit in `mixed`.
//! * Beyond [`MIXED_MAX`] of those nothing is kept; such a hold is not checked against and is in no report.

use super::sync::{AtomicU64, AtomicUsize};
use super::sys::{Site, SiteCell};
use super::tag::Tag;
use std::array;
use std::sync::atomic::Ordering;

/// The first slot that is not of a rank.
const MIXED: usize = 64;

/// Locks without a rank that a thread can hold with their places known.
const MIXED_MAX: usize = 32;

/// Where a hold is kept that found no slot.
pub(crate) const NOWHERE: usize = 0xffff;

/// Beside the place of a hold that is timed.
const TIMED: usize = 1 << 16;

/// What a thread holds.
#[derive(Debug)]
pub(crate) struct Held {
    ranks: AtomicU64,
    mixed: AtomicU64,
    slots: [Slot; MIXED + MIXED_MAX],
}

/// One lock that is held.
#[derive(Debug)]
struct Slot {
    lock: AtomicUsize,
    /// Which acquisition of the lock it is.
    nth: AtomicU64,
    tag: AtomicU64,
    site: SiteCell,
}

/// One lock that a thread held when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) lock: usize,
    pub(crate) nth: u64,
    pub(crate) tag: Tag,
    pub(crate) site: Site,
}

/// Whether a kind of lock has ranks, known when the program is compiled.
pub trait Kind {
    #[doc(hidden)]
    const HAS_RANK: bool;
}

/// With a rank.
#[derive(Debug)]
pub enum Sorted {}

/// Without a rank.
#[derive(Debug)]
pub enum Mixed {}

impl Kind for Sorted {
    const HAS_RANK: bool = true;
}

impl Kind for Mixed {
    const HAS_RANK: bool = false;
}

/// Where a hold is kept, as whoever has the lock remembers it.
///
/// A usual one is the change that it made to the word of its kind: as long as the word is `after`, putting
/// `before` there takes the hold out. No word is ever [`UNUSUAL`](Self::UNUSUAL): with that as `after`, and its
/// place in `before`, a hold is always looked at closely.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    before: u64,
    after: u64,
}

impl Kept {
    const UNUSUAL: u64 = u64::MAX;

    fn unusual(at: usize) -> Self {
        Self { before: at as u64, after: Self::UNUSUAL }
    }

    /// The slot, or [`NOWHERE`].
    pub(crate) fn place<K: Kind>(self) -> usize {
        match (self.after, self.before as usize & !TIMED) {
            (Self::UNUSUAL, at) => at,
            _ if K::HAS_RANK => (self.before ^ self.after).trailing_zeros() as usize,
            _ => MIXED + (self.before ^ self.after).trailing_zeros() as usize,
        }
    }

    /// The same, of a hold that is timed.
    pub(crate) fn timed<K: Kind>(self) -> Self {
        Self::unusual(self.place::<K>() | TIMED)
    }

    pub(crate) fn is_timed(self) -> bool {
        self.after == Self::UNUSUAL && self.before & TIMED as u64 != 0
    }
}

impl Held {
    pub(crate) fn new() -> Self {
        let slots = array::from_fn(|_| Slot::new());
        Self { ranks: AtomicU64::new(0), mixed: AtomicU64::new(0), slots }
    }

    /// Whether all that is held has a rank less than this.
    #[inline(always)]
    pub(crate) fn is_below(&self, rank: u16) -> bool {
        self.ranks.load(Ordering::Relaxed).wrapping_shr(rank.into()) | self.mixed.load(Ordering::Relaxed) == 0
    }

    /// Nothing is held that has a rank, and all that is held is as `holds` says. Only for the thread itself.
    #[inline(always)]
    pub(crate) fn is_without_rank(&self, holds: impl Fn(Tag) -> bool) -> bool {
        let mut bits = self.mixed.load(Ordering::Relaxed);
        while bits != 0 {
            let Some(tag) = self.tag(MIXED + bits.trailing_zeros() as usize) else { return false };
            if !holds(tag) {
                return false;
            }
            bits &= bits - 1;
        }
        self.ranks.load(Ordering::Relaxed) == 0
    }

    /// Nothing is held that is known of.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.is_below(0)
    }

    /// Takes in a lock that was just taken, and says where it is kept. Only for the thread itself.
    pub(crate) fn push<K: Kind>(&self, lock: usize, nth: u64, tag: Tag, site: Site) -> Kept {
        if K::HAS_RANK && self.ranks.load(Ordering::Relaxed) & (1 << rank_slot(tag)) != 0 {
            return self.push_again(lock, nth, tag, site);
        }
        self.push_usual::<K>(lock, nth, tag, site)
    }

    /// The same of one whose rank is not held already.
    #[inline(always)]
    pub(crate) fn push_usual<K: Kind>(&self, lock: usize, nth: u64, tag: Tag, site: Site) -> Kept {
        if !K::HAS_RANK {
            return self.push_mixed(lock, nth, tag, site);
        }
        let at = rank_slot(tag);
        let ranks = self.ranks.load(Ordering::Relaxed);
        self.slots[at].fill(lock, nth, tag, site);
        let kept = Kept { before: ranks, after: ranks | 1 << at };
        self.ranks.store(kept.after, Ordering::Release);
        kept
    }

    /// A second lock of a rank.
    #[cold]
    fn push_again(&self, lock: usize, nth: u64, tag: Tag, site: Site) -> Kept {
        let kept = self.push_mixed(lock, nth, tag, site);
        Kept::unusual(kept.place::<Mixed>())
    }

    #[inline(always)]
    fn push_mixed(&self, lock: usize, nth: u64, tag: Tag, site: Site) -> Kept {
        let mixed = self.mixed.load(Ordering::Relaxed);
        let free = mixed.trailing_ones() as usize;
        let at = MIXED + free;
        let Some(slot) = self.slots.get(at) else { return Kept::unusual(NOWHERE) };
        slot.fill(lock, nth, tag, site);
        let kept = Kept { before: mixed, after: mixed | 1 << free };
        self.mixed.store(kept.after, Ordering::Release);
        kept
    }

    /// Takes out a usual hold that is the last one of its kind that began, before the lock is let go. Says
    /// whether it was that; otherwise [`pop`](Self::pop) takes it out. Only for the thread itself.
    #[inline(always)]
    pub(crate) fn pop_last<K: Kind>(&self, kept: Kept) -> bool {
        let word = if K::HAS_RANK { &self.ranks } else { &self.mixed };
        let is_last = word.load(Ordering::Relaxed) == kept.after;
        if is_last {
            word.store(kept.before, Ordering::Release);
        }
        is_last
    }

    /// Takes out what is kept there, before the lock is let go. Only for the thread itself.
    pub(crate) fn pop(&self, at: usize) {
        if at < MIXED {
            self.ranks.store(self.ranks.load(Ordering::Relaxed) & !(1 << at), Ordering::Release);
        } else if at != NOWHERE {
            self.mixed.store(self.mixed.load(Ordering::Relaxed) & !(1 << (at - MIXED)), Ordering::Release);
        }
    }

    /// Takes out whatever was kept like this.
    #[cfg(test)]
    pub(crate) fn let_go<K: Kind>(&self, kept: Kept) {
        if !self.pop_last::<K>(kept) {
            self.pop(kept.place::<K>());
        }
    }

    /// How the lock is held that is kept there; nothing of one that is kept nowhere.
    #[inline(always)]
    pub(crate) fn tag(&self, at: usize) -> Option<Tag> {
        Some(Tag::of_bits(self.slots.get(at)?.tag.load(Ordering::Relaxed)))
    }

    /// Where the lock was taken that is kept there.
    pub(crate) fn site(&self, at: usize) -> Option<Site> {
        self.slots.get(at)?.site.load()
    }

    /// Changes how the lock that is kept there is held.
    pub(crate) fn retag(&self, at: usize, tag: Tag) {
        if let Some(slot) = self.slots.get(at) {
            slot.tag.store(tag.bits(), Ordering::Relaxed);
        }
    }

    /// The slots that are in use.
    fn used(&self) -> impl Iterator<Item = usize> {
        let words = [(&self.ranks, 0), (&self.mixed, MIXED)];
        words.into_iter().flat_map(|(word, first)| {
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let at = (bits != 0).then(|| first + bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                at
            })
        })
    }

    fn is_used(&self, at: usize) -> bool {
        let (word, bit) = if at < MIXED { (&self.ranks, at) } else { (&self.mixed, at - MIXED) };
        word.load(Ordering::Acquire) & (1 << bit) != 0
    }

    /// Gives `look` each lock that this thread holds: which, as what, and where it is kept. Only for the
    /// thread itself.
    #[inline(always)]
    pub(crate) fn each_own(&self, mut look: impl FnMut(usize, Tag, usize)) {
        for (word, first) in [(&self.mixed, MIXED), (&self.ranks, 0)] {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let at = first + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let slot = &self.slots[at];
                look(slot.lock.load(Ordering::Relaxed), Tag::of_bits(slot.tag.load(Ordering::Relaxed)), at);
            }
        }
    }

    /// What is kept there, if anything is.
    pub(crate) fn hold(&self, at: usize) -> Option<Hold> {
        let slot = self.slots.get(at)?;
        // Between the two looks it is found to be in use: what was seen half made is seen otherwise after.
        let first = slot.look()?;
        (self.is_used(at) && slot.look() == Some(first)).then_some(first)
    }

    /// What is held.
    ///
    /// Exact for the thread itself, and for others as long as the thread waits; otherwise each was held at
    /// some moment during the look.
    pub(crate) fn holds(&self) -> impl Iterator<Item = Hold> {
        self.used().filter_map(|at| self.hold(at))
    }
}

/// The slot of a lock with a rank.
#[inline(always)]
fn rank_slot(tag: Tag) -> usize {
    usize::from(tag.node()) % MIXED
}

impl Slot {
    fn new() -> Self {
        Self {
            lock: AtomicUsize::new(0),
            nth: AtomicU64::new(0),
            tag: AtomicU64::new(0),
            site: SiteCell::new(),
        }
    }

    #[inline(always)]
    fn fill(&self, lock: usize, nth: u64, tag: Tag, site: Site) {
        // Release, each: who sees one of these sees that the slot was empty before.
        self.lock.store(lock, Ordering::Release);
        self.nth.store(nth, Ordering::Release);
        self.tag.store(tag.bits(), Ordering::Release);
        self.site.store(site);
    }

    fn look(&self) -> Option<Hold> {
        let lock = self.lock.load(Ordering::Acquire);
        let nth = self.nth.load(Ordering::Acquire);
        let tag = Tag::of_bits(self.tag.load(Ordering::Acquire));
        Some(Hold { lock, nth, tag, site: self.site.load()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tag::{Access, NO_NODE};
    use std::panic::Location;

    fn tag(rank: u16) -> Tag {
        Tag::new(rank.into(), rank, Access::Exclusive)
    }

    fn held(held: &Held) -> Vec<usize> {
        let mut locks: Vec<_> = held.holds().map(|hold| hold.lock).collect();
        locks.sort_unstable();
        locks
    }

    #[test]
    fn locks_are_let_go_in_any_order() {
        let (all, here) = (Held::new(), Location::caller());
        let slots: Vec<_> = (1..=3).map(|at| all.push::<Sorted>(at, 0, tag(at as u16), here)).collect();
        assert!(all.is_below(4) && !all.is_below(3));
        all.let_go::<Sorted>(slots[0]);
        assert_eq!(held(&all), [2, 3]);
        let again = all.push::<Sorted>(9, 0, tag(4), here);
        all.let_go::<Sorted>(slots[2]);
        all.let_go::<Sorted>(again);
        assert_eq!(held(&all), [2]);
        assert!(all.is_below(3) && !all.is_below(2));
        all.let_go::<Sorted>(slots[1]);
        assert!(all.is_empty());
    }

    #[test]
    fn one_rank_twice_stays_until_both_are_gone() {
        let (all, here) = (Held::new(), Location::caller());
        let (one, two) = (all.push::<Sorted>(1, 0, tag(7), here), all.push::<Sorted>(2, 0, tag(7), here));
        assert_eq!(held(&all), [1, 2]);
        all.let_go::<Sorted>(one);
        assert!(!all.is_below(60));
        all.let_go::<Sorted>(two);
        assert!(all.is_empty());
    }

    #[test]
    fn more_than_there_are_slots_is_held_without_a_report() {
        let (all, here) = (Held::new(), Location::caller());
        let mixed = Tag::new(1, NO_NODE, Access::Shared);
        let slots: Vec<_> = (1..=MIXED_MAX + 3).map(|lock| all.push::<Mixed>(lock, 0, mixed, here)).collect();
        assert_eq!(held(&all).len(), MIXED_MAX);
        assert_eq!(all.tag(slots[MIXED_MAX].place::<Mixed>()), None);
        for slot in slots.into_iter().rev() {
            assert!(!all.is_empty());
            all.let_go::<Mixed>(slot);
        }
        assert!(all.is_empty());
    }

    /// Against a list of what is held.
    #[test]
    fn whatever_the_order_what_is_held_is_there() {
        let (all, here) = (Held::new(), Location::caller());
        let mut model: Vec<(Kept, usize, u16)> = Vec::new();
        let mut random = 1_u64;
        for lock in 1..if cfg!(miri) { 80 } else { 20_000 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = (random >> 33) as usize;
            if model.len() < 6 && pick.is_multiple_of(2) {
                let node = if pick.is_multiple_of(5) { NO_NODE } else { (pick / 8 % 8) as u16 };
                let kept = match node {
                    NO_NODE => all.push::<Mixed>(lock, 0, tag(node), here),
                    _ if model.iter().any(|(_, _, held)| *held == node) => {
                        all.push::<Sorted>(lock, 0, tag(node), here)
                    }
                    _ => all.push_usual::<Sorted>(lock, 0, tag(node), here),
                };
                model.push((kept, lock, node));
            } else if !model.is_empty() {
                let (kept, lock, node) = model.swap_remove(pick / 2 % model.len());
                let found = if node == NO_NODE { kept.place::<Mixed>() } else { kept.place::<Sorted>() };
                assert_eq!(all.hold(found).map(|hold| hold.lock), Some(lock));
                if node == NO_NODE { all.let_go::<Mixed>(kept) } else { all.let_go::<Sorted>(kept) }
            }
            let mut locks: Vec<_> = model.iter().map(|(_, lock, _)| *lock).collect();
            locks.sort_unstable();
            assert_eq!(held(&all), locks);
            assert_eq!(all.is_empty(), model.is_empty());
            // Nothing is overlooked; that a closer look is needed may be a false alarm.
            let rank = (pick % 8) as u16;
            assert!(!all.is_below(rank) || model.iter().all(|(_, _, node)| *node < rank));
        }
    }
}
