//! Where the bytes of a batch are: in memory of the allocator's, or in a buffer of a pool.

use evenkeel_pool::Buffer;

/// Memory that a [`Batch`](crate::Batch) is written into, from its beginning to its end.
#[derive(Debug)]
pub enum Memory {
    /// The allocator's, of which the whole length can be used; its content does not matter.
    Own(Vec<u8>),
    /// A pool's, of which the whole capacity can be used.
    Pooled(Buffer),
}

impl Memory {
    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::Pooled(buffer) => buffer.capacity(),
        }
    }

    /// The allocator's memory, if it is that.
    pub fn into_vec(self) -> Option<Vec<u8>> {
        match self {
            Self::Own(bytes) => Some(bytes),
            Self::Pooled(_) => None,
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Self::Pooled(buffer) = self {
            buffer.truncate(0);
        }
    }

    /// What was written, up to a place behind which nothing was.
    pub(crate) fn written(&self, end: usize) -> &[u8] {
        match self {
            Self::Own(bytes) => &bytes[..end],
            Self::Pooled(buffer) => buffer,
        }
    }

    /// Behind what was written, as much as there is of so many bytes.
    pub(crate) fn behind_mut(&mut self, end: usize, bytes: usize) -> &mut [u8] {
        match self {
            Self::Own(all) => {
                let to = all.len().min(end + bytes);
                &mut all[end..to]
            }
            Self::Pooled(buffer) => buffer.spare_first_mut(bytes),
        }
    }

    /// So many bytes more are written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        if let Self::Pooled(buffer) = self {
            buffer.advance(bytes);
        }
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes)
    }
}

impl From<Buffer> for Memory {
    fn from(buffer: Buffer) -> Self {
        Self::Pooled(buffer)
    }
}
