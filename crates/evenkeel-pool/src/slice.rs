//! A slice: bytes that nobody writes any more, cheap to clone and to cut.

use crate::arena::{Lease, Shared};
use crate::buffer::Buffer;
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};

/// A part of a frozen [`Buffer`]. Clones and parts share the memory, which goes back with the last of them: a short
/// slice keeps all of its buffer, so copy out what is short and stays.
#[derive(Clone)]
pub struct Slice {
    shared: Shared,
    from: usize,
    bytes: usize,
}

impl Slice {
    pub(crate) const fn new(shared: Shared, from: usize, bytes: usize) -> Self {
        Self { shared, from, bytes }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If the range is not within it.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.bytes,
        };
        assert!(from <= to && to <= self.bytes, "{from}..{to} is not within {} bytes", self.bytes);
        Self { shared: self.shared.clone(), from: self.from + from, bytes: to - from }
    }

    /// What lies before a place, and what behind it.
    ///
    /// # Panics
    /// If the place is behind its end.
    pub fn split_at(&self, at: usize) -> (Self, Self) {
        (self.slice(..at), self.slice(at..))
    }

    /// A buffer again, filled with the slice, if nothing else shares its memory and it begins where that does.
    ///
    /// # Errors
    /// The slice as it is.
    pub fn into_buffer(self) -> Result<Buffer, Self> {
        if self.from != 0 {
            return Err(self);
        }
        let Self { shared, from, bytes } = self;
        match shared.into_lease() {
            Ok(lease) => Ok(Buffer::of(lease, bytes)),
            Err(shared) => Err(Self { shared, from, bytes }),
        }
    }

    pub(crate) fn lease(&self) -> &Lease {
        self.shared.lease()
    }

    /// Bytes of memory that it keeps.
    pub fn capacity(&self) -> usize {
        self.shared.lease().slot_bytes()
    }

    /// Who holds it: channel and component.
    pub fn holder(&self) -> (&str, &str) {
        self.shared.lease().holder()
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.shared.lease().bytes()[self.from..self.from + self.bytes]
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, component) = self.holder();
        write!(f, "Slice({} bytes, of {channel}/{component})", self.bytes)
    }
}
