//! Which free slots have memory, and how much all of them may have.
//!
//! A slot is cold until it is taken for the first time, and once its memory was given back to the system: it is zeroes then.
//! Whoever takes one gives it memory, and has that of free slots given back first, the largest first, where all together
//! would have more than they may.
//!
//! Invariants:
//! 1. `bytes` is what all slots have that are not cold, and is at most `bytes_max`, as long as nobody took
//!    beyond what the pool lends, and the system takes back what it is given: what the pool lends is not more than
//!    `bytes_max`, so that what is free makes room.
//! 2. A slot on its way between warm and cold is not paid for: who was let in meanwhile, and finds no other, waits for
//!    it, as long as the system takes to free it.

use super::Core;
use crate::sync::figure::{AtomicU32, AtomicU64};
use crate::sync::{Ordering, pause};

/// Beside the number of a slot that has no memory.
pub(super) const COLD: u32 = 1 << 31;

/// Where the memory of slots comes from.
pub(crate) trait Backing {
    /// Gives the memory of a free slot back to the system; whether that did it.
    fn give_back(&self, tier: usize, slot: u32) -> bool;
    /// Has the system find memory for all of a free slot.
    fn prefault(&self, tier: usize, slot: u32);
}

/// Bytes of slots that have memory.
#[derive(Debug)]
pub(crate) struct Warmth {
    bytes: AtomicU64,
    bytes_max: u64,
    /// Whether the system did not take back what it was last given.
    is_refused: AtomicU32,
}

impl Warmth {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max, is_refused: AtomicU32::new(0) }
    }

    /// Bytes of slots that have memory, or had it when they were used.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self, bytes: u64) -> bool {
        let within = |warm: u64| Some(warm + bytes).filter(|warm| *warm <= self.bytes_max);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, within).is_ok()
    }
}

impl Core {
    /// A slot that was popped, and may be without memory, from now on with it.
    pub(super) fn with_memory(&self, tier: usize, slot: u32, backing: &impl Backing) -> u32 {
        if slot & COLD == 0 {
            return slot;
        }
        let bytes = self.tiers[tier].slot_bytes;
        let mut turn = 0;
        while !self.warmth.has_room(bytes) {
            if self.cool_largest(backing).is_some() {
                continue;
            }
            // It is on its way in another thread's hands, unless somebody took beyond what the pool lends, or the
            // system takes nothing back.
            if self.pages.free() < 0 || self.warmth.is_refused.load(Ordering::Relaxed) != 0 {
                self.warmth.bytes.fetch_add(bytes, Ordering::AcqRel);
                break;
            }
            pause(turn);
            turn += 1;
        }
        slot & !COLD
    }

    /// Gives the memory of one free slot back, of the largest that there are; how much that was.
    fn cool_largest(&self, backing: &impl Backing) -> Option<u64> {
        (0..self.tiers.len()).rev().find_map(|tier| self.cool(tier, backing))
    }

    fn cool(&self, tier: usize, backing: &impl Backing) -> Option<u64> {
        let state = &self.tiers[tier];
        let slot = state.warm.pop()?;
        let is_refused = !backing.give_back(tier, slot);
        self.warmth.is_refused.store(u32::from(is_refused), Ordering::Relaxed);
        if is_refused {
            state.warm.push(slot);
            return None;
        }
        self.warmth.bytes.fetch_sub(state.slot_bytes, Ordering::AcqRel);
        state.cold.push(slot);
        Some(state.slot_bytes)
    }

    /// Gives all memory of free slots back to the system: of how many slots.
    pub(crate) fn cool_all(&self, backing: &impl Backing) -> u32 {
        self.empty_all();
        let mut cooled = 0;
        for (tier, state) in self.tiers.iter().enumerate() {
            // At most once each: others give back meanwhile.
            let once = 0..state.held.len();
            cooled += once.map_while(|_| self.cool(tier, backing)).count() as u32;
        }
        cooled
    }

    /// Has free slots without memory get it, as many as the account might take now: how many.
    pub(crate) fn prefault(&self, tier: usize, account: u32, slots: u32, backing: &impl Backing) -> u32 {
        let state = &self.tiers[tier];
        let one = |_: &u32| {
            let terms = self.terms(tier, false);
            // It pays for it meanwhile, so that whoever else is let in finds another.
            if self.account(account).enter(self.wanted(tier), terms).0.is_err() {
                return false;
            }
            let found = state.cold.pop();
            // Without room it stays as it is: what another free one would lose for it is no gain.
            let has_memory = found.is_some() && self.warmth.has_room(state.slot_bytes);
            match found {
                Some(slot) if has_memory => {
                    backing.prefault(tier, slot);
                    state.warm.push(slot);
                }
                Some(slot) => state.cold.push(slot),
                None => {}
            }
            self.leave(tier, account, 1);
            has_memory
        };
        let done = (0..slots).take_while(one).count() as u32;
        self.serve_who_calls();
        done
    }
}
