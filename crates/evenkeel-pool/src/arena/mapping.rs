//! The memory of one tier: one mapping, in slots of one size.
//!
//! Address space is reserved when it is made; a page of it takes memory once it is touched, and is zeroes until then.
//!
//! Invariants: the mapping lives as long as its `Arena`; slots do not overlap; the arena itself reads and writes
//! nothing of a slot that somebody has, so who has the right to a slot has the right to its bytes.
#![allow(unsafe_code, reason = "memory from the system, handed out in parts")]

use std::io;
use std::ptr::NonNull;

/// A page of memory.
pub(crate) const PAGE_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    bytes: usize,
    slot_bytes: usize,
}

// SAFETY: an arena is an address range; nothing is read or written through it without the right to a slot.
unsafe impl Send for Arena {}
// SAFETY: as above: its methods only compute addresses.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves room for so many slots of so many bytes, a multiple of the page.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn reserve(slot_bytes: usize, slots: usize) -> io::Result<Self> {
        assert!(slot_bytes.is_multiple_of(PAGE_BYTES), "invariant: slots are whole pages");
        let bytes = slot_bytes.checked_mul(slots).ok_or(io::ErrorKind::OutOfMemory)?;
        let base = if bytes == 0 { NonNull::dangling() } else { system::map(bytes)? };
        Ok(Self { base, bytes, slot_bytes })
    }

    /// Where a slot begins.
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> NonNull<u8> {
        let at = slot as usize * self.slot_bytes;
        assert!(at < self.bytes, "invariant: a slot is one of the arena's");
        // SAFETY: within the mapping, by the check.
        unsafe { self.base.add(at) }
    }

    /// Gives the memory of a slot back to the system: zeroes from then on. Answers whether that did it.
    ///
    /// # Safety
    /// Nobody else has the right to the slot meanwhile.
    pub(crate) unsafe fn give_back(&self, slot: u32) -> bool {
        // SAFETY: a slot of our own mapping, the caller's alone.
        unsafe { system::give_back(self.slot(slot), self.slot_bytes) }
    }

    /// Has the system find memory for a slot.
    ///
    /// # Safety
    /// Nobody else has the right to the slot meanwhile.
    pub(crate) unsafe fn prefault(&self, slot: u32) {
        let base = self.slot(slot);
        for page in (0..self.slot_bytes).step_by(PAGE_BYTES) {
            // SAFETY: within the slot, the caller's alone. It is written as it is: a page takes memory once it is written.
            unsafe {
                let at = base.add(page);
                at.write_volatile(at.read_volatile());
            }
        }
    }

    /// Bytes that are in memory, as the system says.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        if self.bytes == 0 { Ok(0) } else { system::resident_bytes(self.base, self.bytes) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: our own mapping; the pool drops its arenas when no buffer is left.
            unsafe { system::unmap(self.base, self.bytes) };
        }
    }
}

#[cfg(not(miri))]
mod system {
    use super::PAGE_BYTES;
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    use std::io;
    use std::ptr::{NonNull, null_mut};

    pub(super) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address that the system chooses overlaps nothing.
        let base = unsafe { mmap_anonymous(null_mut(), bytes, access, flags) }?;
        // A huge page would be resident for slots that nobody uses. A system that knows none refuses, and has none.
        // SAFETY: the mapping is ours, and its bytes stay as they are.
        let _ = unsafe { madvise(base, bytes, Advice::LinuxNoHugepage) };
        NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: a mapping of `map`, which nobody uses any more, says the caller.
        let unmapped = unsafe { munmap(base.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "our own mapping cannot be unmapped");
    }

    pub(super) unsafe fn give_back(at: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: whole pages of a private mapping of `map`, the caller's alone: they read as zeroes after it.
        unsafe { madvise(at.as_ptr().cast(), bytes, Advice::LinuxDontNeed) }.is_ok()
    }

    pub(super) fn resident_bytes(base: NonNull<u8>, bytes: usize) -> io::Result<u64> {
        /// Pages that are asked for at once.
        const PAGES: usize = 4096;
        let mut resident = 0;
        for from in (0..bytes).step_by(PAGES * PAGE_BYTES) {
            let length = (bytes - from).min(PAGES * PAGE_BYTES);
            let mut pages = [0; PAGES];
            // SAFETY: a part of a mapping of `map`, which is not touched, and a byte for each of its pages.
            let told = unsafe { libc::mincore(base.add(from).as_ptr().cast(), length, pages.as_mut_ptr()) };
            if told != 0 {
                return Err(io::Error::last_os_error());
            }
            let pages = &pages[..length / PAGE_BYTES];
            resident += pages.iter().filter(|page| **page & 1 != 0).count() * PAGE_BYTES;
        }
        Ok(resident as u64)
    }
}

/// For Miri, which makes no system calls: memory of the allocator, of which nothing is known.
#[cfg(miri)]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::io;
    use std::ptr::NonNull;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, super::PAGE_BYTES).expect("invariant: tests ask for little")
    }

    pub(super) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
        // SAFETY: more than nothing.
        let base = unsafe { alloc_zeroed(layout(bytes)) };
        NonNull::new(base).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: of `map`, which nobody uses any more, says the caller.
        unsafe { dealloc(base.as_ptr(), layout(bytes)) };
    }

    pub(super) unsafe fn give_back(at: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: the caller's alone.
        unsafe { at.write_bytes(0, bytes) };
        true
    }

    pub(super) fn resident_bytes(_: NonNull<u8>, _: usize) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
