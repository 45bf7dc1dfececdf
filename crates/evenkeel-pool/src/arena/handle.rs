//! Leases of slots: one word that leads to all that is known of a slot, and to its pool, without counting.
//!
//! Invariants:
//! 1. A [`Root`] is what all handles of a pool share; with the last one the core is closed. A [`Lease`] is one slot that is
//!    held in the core's books. The memory goes with the last of all these, which the core's [`Given::Last`] names once.
//! 2. The bytes of a slot are its lease's alone: `bytes_mut` needs it for itself, `bytes` lends them for reading.
//! 3. What a [`Slot`] notes is written by whoever holds its lease, so that plain moves do; others read it at any
//!    time, to tell people.
//!
//! A lease is a word, so that a buffer goes through registers: copied through memory, its parts written one by one and read
//! together, it costs more than all the rest of taking it.
#![allow(unsafe_code, reason = "a pool outlives its last buffer without a counter that all threads write")]

use super::Arena;
use crate::core::{Backing, Core, Given};
use evenkeel_locks::watch::{Site, SiteCell};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// What is given back is filled with, where the pool was asked to: no text, no small number, no address.
const POISON: u8 = 0xDB;
/// More slices of one slot than any program has: going on would lose count.
const SLICES_MAX: u32 = u32::MAX / 2;

/// One slot; on a line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    memory: NonNull<Memory>,
    at: NonNull<u8>,
    bytes: usize,
    tier: u32,
    number: u32,
    /// Where it was taken.
    pub(crate) site: SiteCell,
    /// The pool's tick when it was taken.
    pub(crate) since: AtomicU32,
    /// The account that took it last.
    pub(crate) account: AtomicU32,
    /// The channel whose bytes are in it.
    bytes_of: AtomicU32,
    /// How many bytes of it, from its beginning, may be other than zero.
    written: AtomicU32,
    /// How many slices of it there are, once it is frozen.
    slices: AtomicU32,
}

// SAFETY: what is not atomic is never written once the slot can be seen; the pointers are only followed by leases.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// What a pool consists of.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) core: Core,
    /// Of each tier its slots.
    pub(crate) slots: Box<[Box<[Slot]>]>,
    /// Seconds that somebody counts.
    pub(crate) tick: AtomicU32,
    /// Whether what is given back is filled with a pattern.
    poisons: bool,
    /// Goes last: the slots lead there.
    arenas: Box<[Arena]>,
}

impl Memory {
    /// Bytes of all slots that are in memory, as the system says.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.arenas.iter().map(Arena::resident_bytes).sum()
    }
}

impl Backing for Memory {
    fn give_back(&self, tier: usize, slot: u32) -> bool {
        // SAFETY: the core gives back free slots alone, each by one thread: nobody has a lease of it.
        let is_zero = unsafe { self.arenas[tier].give_back(slot) };
        if is_zero {
            self.slots[tier][slot as usize].written.store(0, Ordering::Relaxed);
        }
        is_zero
    }

    fn prefault(&self, tier: usize, slot: u32) {
        // SAFETY: as above.
        unsafe { self.arenas[tier].prefault(slot) };
    }
}

/// The pool, for whoever takes from it.
pub(crate) struct Root(NonNull<Memory>);

// SAFETY: a `Memory` is shared between threads as `&Memory`, and is `Sync`.
unsafe impl Send for Root {}
// SAFETY: as above.
unsafe impl Sync for Root {}

impl Root {
    pub(crate) fn new(core: Core, arenas: Box<[Arena]>, poisons: bool) -> Self {
        let memory = Memory { core, slots: Box::default(), tick: AtomicU32::new(0), poisons, arenas };
        let memory = NonNull::from(Box::leak(Box::new(memory)));
        // SAFETY: just made, and nobody else knows of it.
        let known = unsafe { memory.as_ref() };
        let slot = |(tier, bytes, number): (usize, usize, u32)| Slot {
            memory,
            at: known.arenas[tier].slot(number),
            bytes,
            tier: tier as u32,
            number,
            site: SiteCell::default(),
            since: AtomicU32::new(0),
            account: AtomicU32::new(0),
            bytes_of: AtomicU32::new(0),
            written: AtomicU32::new(0),
            slices: AtomicU32::new(0),
        };
        let tier = |(at, tier): (usize, &crate::core::TierCore)| {
            (0..tier.held.len() as u32).map(|number| slot((at, tier.slot_bytes as usize, number))).collect()
        };
        let slots = known.core.tiers.iter().enumerate().map(tier).collect();
        // SAFETY: nobody else knows of it, and what was lent of it above is not used any more.
        unsafe { (*memory.as_ptr()).slots = slots };
        Self(memory)
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        // SAFETY: it stays until the core was closed, which this root does when it is dropped.
        unsafe { self.0.as_ref() }
    }

    /// The lease of a slot that the core has just given to an account. What another channel left in it is wiped.
    #[inline]
    pub(crate) fn lease(&self, tier: usize, number: u32, account: u32, channel: u32, site: Site) -> Lease {
        let memory = self.memory();
        let slot = &memory.slots[tier][number as usize];
        let mut lease = Lease(NonNull::from(slot));
        if slot.written.load(Ordering::Relaxed) > 0 && slot.bytes_of.load(Ordering::Relaxed) != channel {
            lease.wipe();
        }
        slot.bytes_of.store(channel, Ordering::Relaxed);
        slot.site.store(site);
        slot.since.store(memory.tick.load(Ordering::Relaxed), Ordering::Relaxed);
        slot.account.store(account, Ordering::Relaxed);
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
pub(crate) struct Lease(NonNull<Slot>);

// SAFETY: the slot's bytes are the lease's alone, and the slot is shared between threads as `&Slot`, which is `Sync`.
unsafe impl Send for Lease {}
// SAFETY: a shared lease only lends its bytes for reading.
unsafe impl Sync for Lease {}

impl Lease {
    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: a slot stays as long as its pool's memory, and that until this lease was given back.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn memory(&self) -> &Memory {
        // SAFETY: it stays until this lease was given back.
        unsafe { self.slot().memory.as_ref() }
    }

    #[cold]
    fn wipe(&mut self) {
        let written = self.slot().written.swap(0, Ordering::Relaxed) as usize;
        self.bytes_mut()[..written].fill(0);
    }

    /// So many bytes of it, from its beginning, may be other than zero from now on.
    #[inline]
    pub(crate) fn is_written(&mut self, bytes: usize) {
        let written = &self.slot().written;
        if written.load(Ordering::Relaxed) < bytes as u32 {
            written.store(bytes as u32, Ordering::Relaxed);
        }
    }

    /// Channel and component that hold it.
    pub(crate) fn holder(&self) -> (&str, &str) {
        let account = self.memory().core.account(self.slot().account.load(Ordering::Relaxed));
        (&account.channel.name, &account.name)
    }

    /// Bytes of the slot.
    #[inline]
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot().bytes
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let slot = self.slot();
        // SAFETY: whole slot within its arena, zeroes or written before: always initialised; nobody else writes.
        unsafe { std::slice::from_raw_parts(slot.at.as_ptr(), slot.bytes) }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let slot = self.slot();
        // SAFETY: as in `bytes`, and nobody else reads: the lease is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(slot.at.as_ptr(), slot.bytes) }
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        let Slot { memory, tier, number, .. } = *self.slot();
        let account = self.slot().account.load(Ordering::Relaxed);
        if self.memory().poisons {
            let written = self.slot().written.load(Ordering::Relaxed) as usize;
            self.bytes_mut()[..written].fill(POISON);
        }
        // SAFETY: it stays until this lease was given back.
        if unsafe { memory.as_ref() }.core.give(tier as usize, number, account) == Given::Last {
            // SAFETY: made by `Box::leak`; the root is gone, and this was the last lease.
            drop(unsafe { Box::from_raw(memory.as_ptr()) });
        }
    }
}

/// A lease that several share, for reading; counted in its slot.
pub(crate) struct Shared(ManuallyDrop<Lease>);

impl Shared {
    pub(crate) fn new(lease: Lease) -> Self {
        lease.slot().slices.store(1, Ordering::Relaxed);
        Self(ManuallyDrop::new(lease))
    }

    #[inline]
    pub(crate) fn lease(&self) -> &Lease {
        &self.0
    }

    /// The lease, if nobody else shares it.
    pub(crate) fn into_lease(self) -> Result<Lease, Self> {
        // Acquire: what others read of it, they read before.
        if self.0.slot().slices.load(Ordering::Acquire) != 1 {
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
        if self.0.slot().slices.fetch_add(1, Ordering::Relaxed) >= SLICES_MAX {
            std::process::abort();
        }
        Self(ManuallyDrop::new(Lease(self.0.0)))
    }
}

impl Drop for Shared {
    #[inline]
    fn drop(&mut self) {
        if self.0.slot().slices.fetch_sub(1, Ordering::Release) == 1 {
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
