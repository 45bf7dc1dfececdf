//! What a thread holds, written by it and read by whoever looks for the holders of a lock.
//!
//! The thread writes only into what is its own: a lock that many read costs no more for being watched.
//!
//! What holds:
//! * A slot whose `lock` is not 0 names a lock that the thread holds: it is filled after the lock was
//!   taken and emptied before it is let go.
//! * `mask` has the bits of all slots that are filled; bit [`MIXED`] stands for every lock without a
//!   rank.
//! * All slots from `len` on are empty. Those before it may be: nobody has to let go in reverse.
//! * Beyond [`SLOTS`] nothing is kept but the number; such a hold is checked against what is kept and
//!   is in no report.

use super::sys::{Site, SiteCell};
use super::tag::Tag;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Locks that a thread can hold with their sites known.
pub(crate) const SLOTS: usize = 48;

/// The bit of all locks that have no rank.
pub(crate) const MIXED: u32 = 63;

/// Where a hold is kept that found no slot.
const NOWHERE: usize = usize::MAX;

/// What a thread holds.
#[derive(Debug)]
pub(crate) struct Held {
    mask: AtomicU64,
    len: AtomicUsize,
    /// Slots filled when their bit was set already.
    again: AtomicU32,
    slots: [Slot; SLOTS],
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

impl Held {
    pub(crate) const fn new() -> Self {
        Self {
            mask: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            again: AtomicU32::new(0),
            slots: [const { Slot::new() }; SLOTS],
        }
    }

    /// The bits of what is held.
    #[inline]
    pub(crate) fn mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }

    /// Takes in a lock that was just taken, and says where it is kept. Only for the thread itself.
    #[inline]
    pub(crate) fn push(&self, lock: usize, nth: u64, tag: Tag, site: Site) -> usize {
        let at = self.len.load(Ordering::Relaxed);
        let Some(slot) = self.slots.get(at) else { return self.push_nowhere(tag) };
        slot.nth.store(nth, Ordering::Relaxed);
        slot.tag.store(tag.bits(), Ordering::Relaxed);
        slot.site.store(site);
        slot.lock.store(lock, Ordering::Release);
        self.len.store(at + 1, Ordering::Relaxed);
        self.raise(tag.bit());
        at
    }

    #[inline]
    fn raise(&self, bit: u64) {
        let mask = self.mask.load(Ordering::Relaxed);
        if mask & bit != 0 {
            self.again.store(self.again.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        self.mask.store(mask | bit, Ordering::Relaxed);
    }

    #[cold]
    fn push_nowhere(&self, tag: Tag) -> usize {
        self.raise(tag.bit());
        NOWHERE
    }

    /// Takes out what was kept there, before the lock is let go. Only for the thread itself.
    #[inline]
    pub(crate) fn pop(&self, at: usize, tag: Tag) {
        if let Some(slot) = self.slots.get(at) {
            slot.lock.store(0, Ordering::Release);
            if at + 1 == self.len.load(Ordering::Relaxed) {
                self.shrink(at);
            }
        }
        if self.again.load(Ordering::Relaxed) == 0 {
            self.mask.store(self.mask.load(Ordering::Relaxed) & !tag.bit(), Ordering::Relaxed);
        } else {
            self.recount();
        }
    }

    #[inline]
    fn shrink(&self, mut len: usize) {
        while len > 0 && self.slots[len - 1].lock.load(Ordering::Relaxed) == 0 {
            len -= 1;
        }
        self.len.store(len, Ordering::Relaxed);
    }

    /// The mask anew, from the slots. What was kept nowhere is let out of it.
    #[cold]
    fn recount(&self) {
        self.mask.store(0, Ordering::Relaxed);
        self.again.store(0, Ordering::Relaxed);
        for hold in self.holds() {
            self.raise(hold.tag.bit());
        }
    }

    /// Changes how the lock that is kept there is held.
    pub(crate) fn retag(&self, at: usize, tag: Tag) {
        if let Some(slot) = self.slots.get(at) {
            slot.tag.store(tag.bits(), Ordering::Relaxed);
        }
    }

    /// What is held, oldest first.
    ///
    /// Exact for the thread itself, and for others as long as the thread waits; otherwise what was held at
    /// some moment during the look, each by itself.
    pub(crate) fn holds(&self) -> impl Iterator<Item = Hold> {
        let len = self.len.load(Ordering::Acquire).min(SLOTS);
        self.slots[..len].iter().filter_map(Slot::look)
    }

    /// Nothing is held that is known of.
    pub(crate) fn is_empty(&self) -> bool {
        self.mask() == 0 && self.len.load(Ordering::Relaxed) == 0
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            lock: AtomicUsize::new(0),
            nth: AtomicU64::new(0),
            tag: AtomicU64::new(0),
            site: SiteCell::new(),
        }
    }

    fn look(&self) -> Option<Hold> {
        let lock = self.lock.load(Ordering::Acquire);
        let nth = self.nth.load(Ordering::Acquire);
        let tag = Tag::of_bits(self.tag.load(Ordering::Acquire));
        let site = self.site.load()?;
        // All loads above acquire, so that this one comes after them.
        let is_same = self.lock.load(Ordering::Acquire) == lock && self.nth.load(Ordering::Relaxed) == nth;
        (lock != 0 && is_same).then_some(Hold { lock, nth, tag, site })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tag::Access;
    use std::panic::Location;

    fn tag(rank: u16) -> Tag {
        Tag::new(rank.into(), rank, Access::Exclusive)
    }

    fn held(held: &Held) -> Vec<usize> {
        held.holds().map(|hold| hold.lock).collect()
    }

    #[test]
    fn locks_are_let_go_in_any_order() {
        let (all, here) = (Held::new(), Location::caller());
        let slots: Vec<_> = (1..=3).map(|at| all.push(at, 0, tag(at as u16), here)).collect();
        assert_eq!(all.mask(), 0b1110);
        all.pop(slots[0], tag(1));
        assert_eq!((held(&all), all.mask()), (vec![2, 3], 0b1100));
        let again = all.push(9, 0, tag(4), here);
        all.pop(slots[2], tag(3));
        all.pop(again, tag(4));
        assert_eq!((held(&all), all.mask()), (vec![2], 0b0100));
        all.pop(slots[1], tag(2));
        assert!(all.is_empty());
        assert_eq!(all.push(5, 0, tag(5), here), 0);
    }

    #[test]
    fn one_rank_twice_stays_until_both_are_gone() {
        let (all, here) = (Held::new(), Location::caller());
        let (one, two) = (all.push(1, 0, tag(7), here), all.push(2, 0, tag(7), here));
        all.pop(one, tag(7));
        assert_eq!(all.mask(), 1 << 7);
        all.pop(two, tag(7));
        assert!(all.is_empty());
    }

    #[test]
    fn more_than_there_are_slots_is_held_without_a_report() {
        let (all, here) = (Held::new(), Location::caller());
        let slots: Vec<_> = (1..=SLOTS + 3).map(|at| all.push(at, 0, tag(5), here)).collect();
        assert_eq!(held(&all).len(), SLOTS);
        for slot in slots.into_iter().rev() {
            assert_eq!(all.mask(), 1 << 5);
            all.pop(slot, tag(5));
        }
        assert!(all.is_empty());
    }
}
