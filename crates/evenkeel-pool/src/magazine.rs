//! What a thread gave back a moment ago, and is likely to want again: a few slots, paid for.
//!
//! A slot in a magazine is still counted as its owner's, so that taking it back asks no quota: one
//! exchange and a few plain moves. Whoever misses it, for want of slots, of surplus or of its own quota, empties the
//! magazines of all threads: nothing is stranded.
//!
//! Invariants:
//! 1. What a magazine has is read and written by whoever has its lock, which is held for moves of a few words,
//!    never across a call to anything that waits.
//! 2. A slot is in one magazine, in the depot, or held: never two of these, but on its way in one thread's hands.
//! 3. Who gives back under a lock that was taken after somebody called for slots sees the call.

use crate::gate::{Entered, Gate};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Most slots that a magazine has.
pub(crate) const ROOM: usize = 6;

/// A slot, and the account that pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) account: u32,
}

impl Entry {
    const fn word(self) -> u64 {
        (self.account as u64) << 32 | self.slot as u64
    }

    const fn of(word: u64) -> Self {
        Self { slot: word as u32, account: (word >> 32) as u32 }
    }
}

/// One line of a processor's cache: threads do not disturb each other.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Magazine {
    gate: Gate,
    len: AtomicU32,
    entries: [AtomicU64; ROOM],
}

/// A magazine, for one thread alone.
pub(crate) struct Opened<'a>(
    &'a Magazine,
    #[expect(dead_code, reason = "it is left when it is dropped")] Entered<'a>,
);

impl Default for Magazine {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            len: AtomicU32::new(0),
            entries: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Magazine {
    #[inline]
    pub(crate) fn try_open(&self) -> Option<Opened<'_>> {
        self.gate.try_enter().map(|entered| Opened(self, entered))
    }

    #[inline]
    pub(crate) fn open(&self) -> Opened<'_> {
        Opened(self, self.gate.enter())
    }
}

/// The oldest slots of a magazine, which one account pays for.
pub(crate) struct Oldest {
    pub(crate) account: u32,
    slots: [u32; ROOM],
    count: usize,
}

impl Oldest {
    /// The oldest first.
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots[..self.count]
    }
}

impl Opened<'_> {
    #[inline]
    fn filled(&self) -> &[AtomicU64] {
        let len = self.0.len.load(Ordering::Relaxed) as usize;
        self.0.entries.get(..len).unwrap_or(&self.0.entries)
    }

    #[inline]
    fn set_len(&self, len: usize) {
        self.0.len.store(len as u32, Ordering::Relaxed);
    }

    /// The newest slot, if it is an account's.
    #[inline]
    pub(crate) fn take_top(&mut self, account: u32) -> Option<u32> {
        let (top, below) = self.filled().split_last()?;
        let top = Entry::of(top.load(Ordering::Relaxed));
        if top.account != account {
            return None;
        }
        self.set_len(below.len());
        Some(top.slot)
    }

    /// The newest slot of an account.
    pub(crate) fn take(&mut self, account: u32) -> Option<u32> {
        let filled = self.filled();
        let entry = |at: usize| Entry::of(filled[at].load(Ordering::Relaxed));
        let at = (0..filled.len()).rfind(|at| entry(*at).account == account)?;
        let found = entry(at);
        self.close_gap(at, 1);
        Some(found.slot)
    }

    /// Takes out so many from one on. The order of the others stays: the oldest is at the bottom.
    fn close_gap(&mut self, at: usize, count: usize) {
        let filled = self.filled();
        for later in at + count..filled.len() {
            let moved = filled[later].load(Ordering::Relaxed);
            filled[later - count].store(moved, Ordering::Relaxed);
        }
        self.set_len(filled.len() - count);
    }

    /// Puts a slot on top, if there is room.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry, room: u32) -> bool {
        let len = self.0.len.load(Ordering::Relaxed);
        if len >= room {
            return false;
        }
        let Some(place) = self.0.entries.get(len as usize) else { return false };
        place.store(entry.word(), Ordering::Relaxed);
        self.0.len.store(len + 1, Ordering::Relaxed);
        true
    }

    /// Takes the oldest, up to so many that belong to one account; nothing if it has none.
    pub(crate) fn push_out(&mut self, most: u32) -> Option<Oldest> {
        let account = Entry::of(self.filled().first()?.load(Ordering::Relaxed)).account;
        let mut oldest = Oldest { account, slots: [0; ROOM], count: 0 };
        for place in self.filled().iter().take(most as usize) {
            let entry = Entry::of(place.load(Ordering::Relaxed));
            if entry.account != account {
                break;
            }
            oldest.slots[oldest.count] = entry.slot;
            oldest.count += 1;
        }
        self.close_gap(0, oldest.count);
        Some(oldest)
    }

    /// Takes the newest, whoever's.
    #[inline]
    pub(crate) fn take_any(&mut self) -> Option<Entry> {
        let (top, below) = self.filled().split_last()?;
        let top = Entry::of(top.load(Ordering::Relaxed));
        self.set_len(below.len());
        Some(top)
    }
}

#[cfg(all(test, not(evenkeel_pool_loom)))]
mod tests {
    use super::*;

    // REQ R2, REQ R3: whatever is done with it, a magazine has what a plain list has: nothing is lost, doubled, or
    // charged to another.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of rounds")]
    fn a_magazine_is_like_a_list() {
        let mut rng = fastrand::Rng::with_seed(5);
        for room in 0..=ROOM {
            let (magazine, mut list) = (Magazine::default(), Vec::new());
            for slot in 0..20_000 {
                let mut opened = magazine.open();
                let account = rng.u32(..2);
                match rng.u32(..8) {
                    0..4 => {
                        let entry = Entry { slot, account };
                        let has_room = list.len() < room;
                        assert_eq!(opened.put(entry, room as u32), has_room);
                        list.extend(has_room.then_some(entry));
                    }
                    4 => {
                        let top = list.pop_if(|top: &mut Entry| top.account == account);
                        assert_eq!(opened.take_top(account), top.map(|top| top.slot));
                    }
                    5 => {
                        let newest = list.iter().rposition(|entry| entry.account == account);
                        assert_eq!(opened.take(account), newest.map(|at| list.remove(at).slot));
                    }
                    6 => {
                        let most = rng.u32(1..=ROOM as u32);
                        let Some(first) = list.first().copied() else {
                            assert!(opened.push_out(most).is_none());
                            continue;
                        };
                        let same = list.iter().take(most as usize).take_while(|e| e.account == first.account);
                        let count = same.count();
                        let gone: Vec<_> = list.drain(..count).map(|entry| entry.slot).collect();
                        let oldest = opened.push_out(most).expect("it has some");
                        assert_eq!((oldest.account, oldest.slots()), (first.account, &gone[..]));
                    }
                    _ => assert_eq!(opened.take_any(), list.pop()),
                }
            }
        }
    }
}
