//! A buffer: memory of a slot that is somebody's alone, filled from its beginning.

use crate::arena::{Lease, Shared};
use crate::slice::Slice;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Memory from a pool, taken by one component and given back by dropping, in any thread.
///
/// It reads as its filled part. What lies behind is [`spare_mut`](Buffer::spare_mut), which holds zeroes or what its
/// own channel left there, and nothing of another's.
///
/// ```
/// use evenkeel_pool::{Limits, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder().build()?;
/// let left = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
/// let mut buffer = left.take(4096)?;
/// buffer.fill_from(b"some sound");
/// let whole = buffer.freeze();
/// let (first, rest) = whole.split_at(4);
/// drop(whole);
/// assert_eq!((&*first, &*rest), (&b"some"[..], &b" sound"[..]));
/// # Ok(())
/// # }
/// ```
pub struct Buffer {
    lease: Lease,
    filled: usize,
}

impl Buffer {
    #[inline]
    pub(crate) const fn of(lease: Lease, filled: usize) -> Self {
        Self { lease, filled }
    }

    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.lease.slot_bytes()
    }

    /// Bytes behind the filled part, to be written and then [counted](Buffer::advance).
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let (filled, capacity) = (self.filled, self.capacity());
        self.lease.is_written(capacity);
        &mut self.lease.bytes_mut()[filled..]
    }

    /// The first so many of these, or all there are: the rest counts as untouched, and is not wiped before another
    /// channel has the memory.
    pub fn spare_first_mut(&mut self, bytes: usize) -> &mut [u8] {
        let to = self.capacity().min(self.filled.saturating_add(bytes));
        self.lease.is_written(to);
        &mut self.lease.bytes_mut()[self.filled..to]
    }

    /// So many more bytes are filled.
    ///
    /// # Panics
    /// If there are not so many behind the filled part.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        let spare = self.capacity() - self.filled;
        assert!(bytes <= spare, "{bytes} bytes are more than the {spare} that are spare");
        self.filled += bytes;
        self.lease.is_filled(self.filled);
    }

    /// Copies as much as there is room for; how much that was.
    pub fn fill_from(&mut self, bytes: &[u8]) -> usize {
        let filled = self.filled;
        let spare = &mut self.lease.bytes_mut()[filled..];
        let taken = bytes.len().min(spare.len());
        spare[..taken].copy_from_slice(&bytes[..taken]);
        self.advance(taken);
        taken
    }

    /// Fewer bytes are filled; as many as there are where that is more.
    pub fn truncate(&mut self, bytes: usize) {
        self.filled = self.filled.min(bytes);
        self.lease.is_filled(self.filled);
    }

    /// Nobody writes it any more: cheap to clone and to cut.
    pub fn freeze(self) -> Slice {
        Slice::new(Shared::new(self.lease), 0, self.filled)
    }

    /// Who holds it: channel and component.
    pub fn holder(&self) -> (&str, &str) {
        self.lease.holder()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.lease.bytes()[..self.filled]
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.lease.bytes_mut()[..filled]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, component) = self.holder();
        write!(f, "Buffer({} of {} bytes, of {channel}/{component})", self.filled, self.capacity())
    }
}
