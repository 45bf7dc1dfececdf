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

impl Opened<'_> {
    #[inline]
    fn entry(&self, at: u32) -> &AtomicU64 {
        &self.0.entries[at as usize]
    }

    /// The newest slot of an account.
    #[inline]
    pub(crate) fn take(&mut self, account: u32) -> Option<u32> {
        let len = self.0.len.load(Ordering::Relaxed);
        for at in (0..len).rev() {
            let found = Entry::of(self.entry(at).load(Ordering::Relaxed));
            if found.account == account {
                // The order of the others stays: the oldest is at the bottom.
                for later in at + 1..len {
                    let moved = self.entry(later).load(Ordering::Relaxed);
                    self.entry(later - 1).store(moved, Ordering::Relaxed);
                }
                self.0.len.store(len - 1, Ordering::Relaxed);
                return Some(found.slot);
            }
        }
        None
    }

    /// Puts a slot on top; answers the oldest where there was no room.
    #[inline]
    pub(crate) fn put(&mut self, entry: Entry, room: u32) -> Option<Entry> {
        let mut len = self.0.len.load(Ordering::Relaxed);
        let mut pushed_out = None;
        if len >= room {
            if room == 0 {
                return Some(entry);
            }
            pushed_out = Some(Entry::of(self.entry(0).load(Ordering::Relaxed)));
            for later in 1..len {
                let moved = self.entry(later).load(Ordering::Relaxed);
                self.entry(later - 1).store(moved, Ordering::Relaxed);
            }
            len -= 1;
        }
        self.entry(len).store(entry.word(), Ordering::Relaxed);
        self.0.len.store(len + 1, Ordering::Relaxed);
        pushed_out
    }

    /// Takes the newest, whoever's.
    pub(crate) fn take_any(&mut self) -> Option<Entry> {
        let len = self.0.len.load(Ordering::Relaxed).checked_sub(1)?;
        self.0.len.store(len, Ordering::Relaxed);
        Some(Entry::of(self.entry(len).load(Ordering::Relaxed)))
    }
}
