//! Allocators, called by their own functions, while the program's stays what it is; and writing to memory.
#![allow(
    unsafe_code,
    reason = "an allocator's functions are asked for memory, which is written to and given back"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::NonNull;

const ALIGN: usize = 16;
const PAGE_BYTES: usize = 4096;
const LINE_BYTES: usize = 64;

/// Writes a byte of each page.
#[inline]
pub(crate) fn touch(bytes: &mut [u8]) {
    let (at, bytes) = (NonNull::from(&mut *bytes).cast(), bytes.len());
    // SAFETY: what was lent for writing.
    unsafe { write(at, bytes) };
}

/// The same for all: a byte of each page, each at another place in it, so that caches which keep only a few lines with the
/// same place in a page are not what is measured.
///
/// # Safety
/// So many bytes are there, and nobody else's.
#[inline]
unsafe fn write(at: NonNull<u8>, bytes: usize) {
    for page in 0..bytes / PAGE_BYTES {
        let place = page * PAGE_BYTES + page * LINE_BYTES % PAGE_BYTES;
        // SAFETY: within a page that the caller has.
        unsafe { at.add(place).write(1) };
    }
    black_box(at);
}

/// An allocator that is there by itself.
pub(crate) trait Allocator: GlobalAlloc + Send + Sync {
    const IT: Self;
}

impl Allocator for std::alloc::System {
    const IT: Self = Self;
}

/// Memory of an allocator, given back when dropped.
pub(crate) struct Block<'a, A: Allocator> {
    at: NonNull<u8>,
    layout: Layout,
    of: &'a A,
}

// SAFETY: the memory is the block's alone, and an allocator takes it back from any thread.
unsafe impl<A: Allocator> Send for Block<'_, A> {}

impl<'a, A: Allocator> Block<'a, A> {
    #[inline]
    pub(crate) fn of(of: &'a A, bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).unwrap();
        // SAFETY: more than no bytes.
        let at = NonNull::new(unsafe { of.alloc(layout) }).expect("the system has memory");
        Self { at, layout, of }
    }

    /// Writes a byte of each page.
    #[inline]
    pub(crate) fn touch(&mut self) {
        // SAFETY: the block's memory, which is ours alone.
        unsafe { write(self.at, self.layout.size()) };
    }
}

impl<A: Allocator> Drop for Block<'_, A> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: of this allocator and layout, and given back once.
        unsafe { self.of.dealloc(self.at.as_ptr(), self.layout) };
    }
}
