//! Slots of one tier that nobody holds and no magazine has: a stack of numbers, without a lock. A tier has two, for those
//! that have memory and for those that have none.
//!
//! Last in, first out: what was used last is still in the processor's caches. The head carries a tag
//! that every change raises, so that a slot which went and came back is not taken for one that stayed.

#[cfg(evenkeel_pool_loom)]
use crate::sync::figure;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Depot {
    /// Tag in the upper half, number of the top slot in the lower.
    head: AtomicU64,
    /// What lies under each slot.
    below: Box<[AtomicU32]>,
    #[cfg(evenkeel_pool_loom)]
    free: figure::AtomicU32,
}

const fn head(tag: u32, slot: u32) -> u64 {
    (tag as u64) << 32 | slot as u64
}

const fn parts(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

impl Depot {
    /// All of so many slots, the first on top.
    pub(crate) fn full(slots: u32) -> Self {
        let below = (1..=slots).map(|next| AtomicU32::new(if next == slots { NONE } else { next }));
        Self {
            head: AtomicU64::new(head(0, if slots == 0 { NONE } else { 0 })),
            below: below.collect(),
            #[cfg(evenkeel_pool_loom)]
            free: figure::AtomicU32::new(slots),
        }
    }

    /// None of so many slots.
    pub(crate) fn empty(slots: u32) -> Self {
        Self {
            head: AtomicU64::new(head(0, NONE)),
            below: (0..slots).map(|_| AtomicU32::new(NONE)).collect(),
            #[cfg(evenkeel_pool_loom)]
            free: figure::AtomicU32::new(0),
        }
    }

    /// How many there are, about.
    #[cfg(evenkeel_pool_loom)]
    pub(crate) fn free(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }

    pub(crate) fn pop(&self) -> Option<u32> {
        let mut seen = self.head.load(Ordering::Acquire);
        loop {
            let (tag, top) = parts(seen);
            let below = self.below.get(top as usize)?.load(Ordering::Relaxed);
            let new = head(tag.wrapping_add(1), below);
            match self.head.compare_exchange_weak(seen, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    #[cfg(evenkeel_pool_loom)]
                    self.free.fetch_sub(1, Ordering::Relaxed);
                    return Some(top);
                }
                Err(now) => seen = now,
            }
        }
    }

    pub(crate) fn push(&self, slot: u32) {
        self.push_all(&[slot]);
    }

    /// The last of them on top, by one exchange.
    pub(crate) fn push_all(&self, slots: &[u32]) {
        let (Some(bottom), Some(top)) = (slots.first(), slots.last()) else { return };
        #[cfg(evenkeel_pool_loom)]
        self.free.fetch_add(slots.len() as u32, Ordering::Relaxed);
        for pair in slots.windows(2) {
            self.below[pair[1] as usize].store(pair[0], Ordering::Relaxed);
        }
        let mut seen = self.head.load(Ordering::Relaxed);
        loop {
            let (tag, below) = parts(seen);
            self.below[*bottom as usize].store(below, Ordering::Relaxed);
            let new = head(tag.wrapping_add(1), *top);
            match self.head.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}
