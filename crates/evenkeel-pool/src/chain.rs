//! A request served by several buffers, so that little of them is wasted.

use crate::buffer::Buffer;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};

/// Buffers one behind the other.
#[derive(Default)]
pub struct Chain(Vec<Buffer>);

impl Chain {
    pub(crate) fn of(buffers: Vec<Buffer>) -> Self {
        Self(buffers)
    }

    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.0
    }

    /// Bytes that are filled.
    pub fn len(&self) -> usize {
        self.0.iter().map(|buffer| buffer.len()).sum()
    }

    /// Whether nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|buffer| buffer.is_empty())
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.0.iter().map(Buffer::capacity).sum()
    }

    /// Copies as much as there is room for; how much that was.
    pub fn fill_from(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        for buffer in &mut self.0 {
            done += buffer.fill_from(&bytes[done..]);
        }
        done
    }

    /// The filled parts, for a vectored write.
    pub fn io_slices(&self) -> Vec<IoSlice<'_>> {
        self.0.iter().filter(|buffer| !buffer.is_empty()).map(|buffer| IoSlice::new(buffer)).collect()
    }

    /// What is behind the filled parts, for a vectored read; then [`advance`](Chain::advance).
    pub fn spare_slices(&mut self) -> Vec<IoSliceMut<'_>> {
        let spare = self.0.iter_mut().map(Buffer::spare_mut).filter(|spare| !spare.is_empty());
        spare.map(IoSliceMut::new).collect()
    }

    /// So many more bytes are filled, from the first that has room.
    ///
    /// # Panics
    /// If there is not so much room.
    pub fn advance(&mut self, mut bytes: usize) {
        for buffer in &mut self.0 {
            let here = bytes.min(buffer.capacity() - buffer.len());
            buffer.advance(here);
            bytes -= here;
        }
        assert!(bytes == 0, "{bytes} bytes are more than there was room for");
    }

    /// Its buffers, the first first.
    pub fn into_buffers(self) -> Vec<Buffer> {
        self.0
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// Which buffers serve so many bytes, the largest first; `take` is asked for each, by its tier. A tier that is
/// denied is not asked again. What is left over is less than a buffer of the smallest tier that was given.
pub(crate) fn compose<E>(
    bytes: usize,
    sizes: &[usize],
    mut take: impl FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = bytes;
    for (tier, size) in sizes.iter().copied().enumerate().rev() {
        let is_smallest = tier == 0;
        while left >= size || is_smallest && left > 0 {
            match take(tier) {
                Ok(()) => left = left.saturating_sub(size),
                Err(denied) if is_smallest => return Err(denied),
                Err(_) => break,
            }
        }
    }
    Ok(())
}
