//! Leases of slots: each leads to its pool without counting, and the pool's memory stays as long as one is there.
//!
//! Invariants:
//! 1. A [`Root`] is what all handles of a pool share; with the last one the core is closed. A [`Lease`] is one slot
//!    that is held in the core's books. The memory goes with the last of both, which the core's
//!    [`Given::Last`](crate::core::Given) names once.
//! 2. The bytes of a slot are its lease's alone: `bytes_mut` needs it for itself, `bytes` lends them for reading.
#![allow(unsafe_code, reason = "a pool outlives its last buffer without a counter that all threads write")]

use super::Arena;
use crate::books::{Books, Note};
use crate::core::{Core, Given};
use evenkeel_locks::watch::Site;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

/// What is given back is filled with, where the pool was asked to: no text, no small number, no address.
const POISON: u8 = 0xDB;

/// What a pool consists of.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) core: Core,
    pub(crate) arenas: Box<[Arena]>,
    /// What is noted of each slot.
    pub(crate) books: Books,
}

/// The pool, for whoever takes from it.
pub(crate) struct Root(NonNull<Memory>);

// SAFETY: a `Memory` is shared between threads as `&Memory`.
unsafe impl Send for Root {}
// SAFETY: as above.
unsafe impl Sync for Root {}

impl Root {
    pub(crate) fn new(core: Core, arenas: Box<[Arena]>, books: Books) -> Self {
        Self(NonNull::from(Box::leak(Box::new(Memory { core, arenas, books }))))
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        // SAFETY: it stays until the core was closed, which this root does when it is dropped.
        unsafe { self.0.as_ref() }
    }

    /// The lease of a slot that the core has just given to an account. What another channel left in it is wiped.
    #[inline]
    pub(crate) fn lease(&self, tier: u32, slot: u32, account: u32, channel: u32, site: Site) -> Lease {
        let memory = self.memory();
        let at = memory.arenas[tier as usize].slot(slot);
        let note = memory.books.note(tier as usize, slot);
        let written = note.dirty_bytes.load(Ordering::Relaxed);
        let mut lease = Lease { memory: self.0, at, tier, slot, account, written };
        if written > 0 && note.bytes_of.load(Ordering::Relaxed) != channel {
            lease.wipe();
        }
        note.bytes_of.store(channel, Ordering::Relaxed);
        note.taken(account, site, memory.books.tick.load(Ordering::Relaxed));
        lease
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.memory().core.close() == Given::Last {
            // SAFETY: made by `Box::leak`; no lease is left, and this was the root.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// A slot that is held.
pub(crate) struct Lease {
    memory: NonNull<Memory>,
    at: NonNull<u8>,
    pub(crate) tier: u32,
    pub(crate) slot: u32,
    pub(crate) account: u32,
    /// How many bytes of it, from its beginning, may be other than zero.
    written: u32,
}

// SAFETY: the slot's bytes are the lease's alone, and the memory is shared between threads as `&Memory`.
unsafe impl Send for Lease {}
// SAFETY: a shared lease only lends its bytes for reading.
unsafe impl Sync for Lease {}

impl Lease {
    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        // SAFETY: it stays until this lease was given back.
        unsafe { self.memory.as_ref() }
    }

    #[cold]
    fn wipe(&mut self) {
        let written = std::mem::take(&mut self.written) as usize;
        self.bytes_mut()[..written].fill(0);
    }

    /// So many bytes of it, from its beginning, may be other than zero from now on.
    #[inline]
    pub(crate) fn is_written(&mut self, bytes: usize) {
        self.written = self.written.max(bytes as u32);
    }

    /// Channel and component that hold it.
    pub(crate) fn holder(&self) -> (&str, &str) {
        let account = self.memory().core.account(self.account);
        (&account.channel.name, &account.name)
    }

    /// What is noted of the slot.
    #[inline]
    pub(crate) fn note(&self) -> &Note {
        self.memory().books.note(self.tier as usize, self.slot)
    }

    /// Bytes of the slot.
    #[inline]
    pub(crate) fn slot_bytes(&self) -> usize {
        self.memory().core.tiers[self.tier as usize].slot_bytes as usize
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: whole slot within its arena, zeroes or written before: always initialised; nobody else writes.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.slot_bytes()) }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and nobody else reads: the lease is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.slot_bytes()) }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let (tier, slot, account) = (self.tier as usize, self.slot, self.account);
        if self.memory().books.poisons {
            let written = self.written as usize;
            self.bytes_mut()[..written].fill(POISON);
        }
        self.note().dirty_bytes.store(self.written, Ordering::Relaxed);
        if self.memory().core.give(tier, slot, account) == Given::Last {
            // SAFETY: made by `Box::leak`; the root is gone, and this was the last lease.
            drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
        }
    }
}

/// A lease that several share, for reading; counted in the slot's note.
pub(crate) struct Shared(ManuallyDrop<Lease>);

/// More slices of one slot than any program has: going on would lose count.
const SLICES_MAX: u32 = u32::MAX / 2;

impl Shared {
    pub(crate) fn new(lease: Lease) -> Self {
        lease.note().slices.store(1, Ordering::Relaxed);
        Self(ManuallyDrop::new(lease))
    }

    #[inline]
    pub(crate) fn lease(&self) -> &Lease {
        &self.0
    }

    /// The lease, if nobody else shares it.
    pub(crate) fn into_lease(self) -> Result<Lease, Self> {
        // Acquire: what others read of it, they read before.
        if self.0.note().slices.load(Ordering::Acquire) != 1 {
            return Err(self);
        }
        let mut this = ManuallyDrop::new(self);
        // SAFETY: taken out once: the shell around it is never dropped.
        Ok(unsafe { ManuallyDrop::take(&mut this.0) })
    }
}

impl Clone for Shared {
    #[inline]
    fn clone(&self) -> Self {
        let before = self.0.note().slices.fetch_add(1, Ordering::Relaxed);
        if before >= SLICES_MAX {
            std::process::abort();
        }
        let Lease { memory, at, tier, slot, account, written } = *self.0;
        Self(ManuallyDrop::new(Lease { memory, at, tier, slot, account, written }))
    }
}

impl Drop for Shared {
    #[inline]
    fn drop(&mut self) {
        if self.0.note().slices.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last of those that share it, and dropped once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root")
    }
}
