//! Leases of slots: one word that leads to all that is known of a slot, and to its pool, without counting.
//!
//! Invariants:
//! 1. A [`Root`] is what all handles of a pool share; with the last one the core is closed. A [`Lease`] is one slot that is
//!    held in the core's books. The memory goes with the last of all these, which the core's [`Given::Last`] names once.
//! 2. The bytes of a slot are its lease's alone: `bytes_mut` needs it for itself, `bytes` lends them for reading.
//! 3. What a [`Slot`] notes is written by whoever holds its lease, so that plain moves do; others read it at any
//!    time, to tell people.
//! 4. A slot's [turn](Slot::turn) is another at every take, so that two holdings of it are told apart.
//!
//! What is done at few takes, or in few modes, stands in [`Beside`](crate::beside::Beside), away from the way of the others: a
//! slot's countdown, the pool's tick and the slot's last account say at once whether there is any of it.
//!
//! A lease is a word, so that a buffer goes through registers: copied through memory, its parts written one by one and read
//! together, it costs more than all the rest of taking it.
#![allow(unsafe_code, reason = "a pool outlives its last buffer without a counter that all threads write")]

use super::Arena;
use crate::beside::{ATTEND, Beside, FREE, Marks, NOBODY, OFF, Taking};
use crate::core::{Backing, Core, Given};
use crate::leaks::Watch;
use evenkeel_locks::watch::SiteCell;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// More slices of one slot than any program has: going on would lose count.
const SLICES_MAX: u32 = u32::MAX / 2;

/// One slot; on a line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    memory: NonNull<Memory>,
    at: NonNull<u8>,
    bytes: u32,
    pub(crate) number: u32,
    pub(crate) tier: u8,
    /// What is to be done when it is given back.
    pub(crate) marks: AtomicU8,
    /// Where it was taken.
    pub(crate) site: SiteCell,
    /// The pool's tick when it was taken.
    pub(crate) since: AtomicU32,
    /// The account that took it last.
    pub(crate) account: AtomicU32,
    /// The channel whose bytes are in it: that of the account.
    pub(crate) bytes_of: AtomicU32,
    /// How many bytes of it, from its beginning, may be other than zero.
    pub(crate) written: AtomicU32,
    /// In the lower half counts takes down until the next that is looked at; in the upper half counts those.
    pub(crate) turn: AtomicU32,
    /// Bytes that it was taken for.
    pub(crate) asked: AtomicU32,
    /// How many slices of it there are, once it is frozen.
    slices: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is one line");

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
    /// Of each tier, for each slot, what is known beside.
    pub(crate) beside: Box<[Box<[Beside]>]>,
    /// Seconds that somebody counts; or that none are noted, or that each take is looked at.
    pub(crate) tick: AtomicU32,
    /// Who is told what of it.
    pub(crate) watch: Watch,
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
    pub(crate) fn new(core: Core, arenas: Box<[Arena]>, watch: Watch) -> Self {
        let beside =
            core.tiers.iter().enumerate().map(|(at, tier)| Beside::all(at, tier.held.len())).collect();
        let tick = AtomicU32::new(watch.tick());
        let memory = Memory { core, slots: Box::default(), beside, tick, watch, arenas };
        let memory = NonNull::from(Box::leak(Box::new(memory)));
        // SAFETY: just made, and nobody else knows of it.
        let known = unsafe { memory.as_ref() };
        let slot = |(tier, bytes, number): (usize, usize, u32)| Slot {
            memory,
            at: known.arenas[tier].slot(number),
            bytes: bytes as u32,
            tier: tier as u8,
            number,
            marks: AtomicU8::new(0),
            site: SiteCell::default(),
            since: AtomicU32::new(FREE),
            account: AtomicU32::new(NOBODY),
            bytes_of: AtomicU32::new(0),
            written: AtomicU32::new(0),
            turn: AtomicU32::new(known.beside[tier][number as usize].first_turn()),
            asked: AtomicU32::new(0),
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

    /// Whether both are of one pool.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    #[inline]
    pub(crate) fn memory(&self) -> &Memory {
        // SAFETY: it stays until the core was closed, which this root does when it is dropped.
        unsafe { self.0.as_ref() }
    }

    /// Writes to a slot without a lease of it, as what is unsound would.
    #[cfg(test)]
    pub(crate) fn scribble(&self, tier: usize, slot: u32, at: usize, byte: u8) {
        let slot = &self.memory().slots[tier][slot as usize];
        assert!(at < slot.bytes as usize);
        // SAFETY: within the slot; the test that calls this has no lease of it.
        unsafe { slot.at.add(at).write(byte) };
    }

    /// The lease of a slot that the core has just given to an account. What another channel left in it is wiped.
    #[inline]
    pub(crate) fn lease(&self, tier: usize, number: u32, taking: Taking) -> Lease {
        let memory = self.memory();
        let slot = &memory.slots[tier][number as usize];
        let lease = Lease(NonNull::from(slot));
        let turn = slot.turn.load(Ordering::Relaxed).wrapping_sub(1);
        slot.turn.store(turn, Ordering::Relaxed);
        let tick = memory.tick.load(Ordering::Relaxed);
        if turn as u16 == 0 || tick == ATTEND || slot.account.load(Ordering::Relaxed) != taking.account {
            return lease.begin(taking);
        }
        slot.asked.store(taking.bytes, Ordering::Relaxed);
        if tick != OFF {
            slot.site.store(taking.site);
        }
        // Its time was taken away when it was given back. Release: who sees it sees the place.
        slot.since.store(tick, Ordering::Release);
        lease
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.memory().core.close() == Given::Last {
            // SAFETY: no lease is left, and this was the root.
            unsafe { let_go(self.0) };
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

    /// What a take may bring with it, but seldom does.
    #[cold]
    #[inline(never)]
    fn begin(mut self, taking: Taking) -> Self {
        let (memory, slot) = (self.memory(), self.slot());
        let beside = &memory.beside[slot.tier as usize][slot.number as usize];
        if memory.watch.poisons() {
            beside.inspect(memory, slot, self.bytes());
        }
        if beside.passes_on(memory, slot, taking) {
            self.wipe();
        }
        let (memory, slot) = (self.memory(), self.slot());
        memory.beside[slot.tier as usize][slot.number as usize].note(memory, slot, taking);
        self
    }

    /// What a take brought with it is brought to an end.
    #[cold]
    #[inline(never)]
    fn end(&mut self) {
        let marks = Marks(self.slot().marks.swap(0, Ordering::Relaxed));
        if marks.has(Marks::POISONED) {
            let written = self.slot().written.load(Ordering::Relaxed) as usize;
            self.bytes_mut()[..written].fill(crate::beside::POISON);
        }
        let (memory, slot) = (self.memory(), self.slot());
        memory.beside[slot.tier as usize][slot.number as usize].end(memory, slot, marks);
    }

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

    /// So many bytes of it are filled.
    #[inline]
    pub(crate) fn is_filled(&mut self, bytes: usize) {
        self.is_written(bytes);
        if self.slot().marks.load(Ordering::Relaxed) != 0 {
            let slot = self.slot();
            self.memory().beside[slot.tier as usize][slot.number as usize].is_filled(bytes);
        }
    }

    #[cfg(test)]
    pub(crate) fn number(&self) -> u32 {
        self.slot().number
    }

    /// Whether it is of this pool.
    pub(crate) fn is_of(&self, root: &Root) -> bool {
        self.slot().memory == root.0
    }

    /// Which of its pool's channels holds it.
    pub(crate) fn channel(&self) -> u32 {
        self.slot().bytes_of.load(Ordering::Relaxed)
    }

    /// Channel and component that hold it.
    pub(crate) fn holder(&self) -> (&str, &str) {
        let account = self.memory().core.account(self.slot().account.load(Ordering::Relaxed));
        (&account.channel.name, &account.name)
    }

    /// Bytes of the slot.
    #[inline]
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot().bytes as usize
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let slot = self.slot();
        // SAFETY: whole slot within its arena, zeroes or written before: always initialised; nobody else writes.
        unsafe { std::slice::from_raw_parts(slot.at.as_ptr(), slot.bytes as usize) }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let slot = self.slot();
        // SAFETY: as in `bytes`, and nobody else reads: the lease is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(slot.at.as_ptr(), slot.bytes as usize) }
    }
}

impl Lease {
    /// Gives the slot back. Not to be called twice, and nothing else after it.
    #[inline(always)]
    fn give(&self) {
        let Slot { memory, tier, number, .. } = *self.slot();
        let account = self.slot().account.load(Ordering::Relaxed);
        // Who takes it next and has not noted so yet must not be seen as this one.
        self.slot().since.store(FREE, Ordering::Relaxed);
        // SAFETY: it stays until this lease was given back.
        if unsafe { memory.as_ref() }.core.give(tier as usize, number, account) == Given::Last {
            // SAFETY: the root is gone, and this was the last lease.
            unsafe { let_go(memory) };
        }
    }

    #[cold]
    #[inline(never)]
    fn end_and_give(&mut self) {
        self.end();
        self.give();
    }
}

/// Gives all memory of a pool back to the system.
///
/// # Safety
/// There is no root and no lease of it any more, and nobody has called this before.
#[cold]
#[inline(never)]
unsafe fn let_go(memory: NonNull<Memory>) {
    // SAFETY: made by `Box::leak`, and the caller's alone.
    drop(unsafe { Box::from_raw(memory.as_ptr()) });
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if self.slot().marks.load(Ordering::Relaxed) == 0 {
            self.give();
        } else {
            self.end_and_give();
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
