//! The memory of one tier: one mapping, in slots of one size.
//!
//! Address space is reserved when it is made; a page of it takes memory once it is touched, and is zeroes until then.
//!
//! Invariants: the mapping lives as long as its `Arena`; slots do not overlap; the arena itself reads and writes
//! nothing, so who has the right to a slot has the right to its bytes.
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
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::io;
    use std::ptr::{NonNull, null_mut};

    pub(super) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address that the system chooses overlaps nothing.
        let base = unsafe { mmap_anonymous(null_mut(), bytes, access, flags) }?;
        NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: a mapping of `map`, which nobody uses any more, says the caller.
        let unmapped = unsafe { munmap(base.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "our own mapping cannot be unmapped");
    }
}

/// For Miri, which makes no system calls: memory of the allocator.
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
}
