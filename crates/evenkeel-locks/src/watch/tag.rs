//! What a lock is known by, in one word: its number, its place in the order, how it is held. A hold
//! has one flag more.

/// How a lock is held or wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By one alone: a mutex, or a lock for writing.
    Exclusive,
    /// By all who read.
    Shared,
}

/// Nodes of the order that are ranks: the rank itself.
pub(crate) const RANKS: u16 = 63;

/// The node of locks that are in no order that is checked at run time.
pub(crate) const NO_NODE: u16 = 0x7fff;

const IN_PANIC: u64 = 1 << 16;

/// A lock's number, from 1, its node in the order, and how it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// Of a lock that is not known yet.
    pub(crate) const UNKNOWN: Self = Self(0);

    pub(crate) fn new(number: u32, node: u16, access: Access) -> Self {
        Self(u64::from(number) << 32 | u64::from(node) << 1 | u64::from(access == Access::Shared))
    }

    #[inline]
    pub(crate) const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The same lock, held or wanted like this.
    #[inline]
    pub(crate) fn with(self, access: Access) -> Self {
        Self(self.0 & !1 | u64::from(access == Access::Shared))
    }

    #[inline]
    pub(crate) fn access(self) -> Access {
        if self.0 & 1 == 0 { Access::Exclusive } else { Access::Shared }
    }

    #[inline]
    pub(crate) fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn node(self) -> u16 {
        (self.0 >> 1) as u16 & 0x7fff
    }

    /// The hold began while the thread was unwinding.
    pub(crate) fn is_in_panic(self) -> bool {
        self.0 & IN_PANIC != 0
    }

    pub(crate) fn in_panic(self) -> Self {
        Self(self.0 | IN_PANIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_all_its_parts() {
        let tag = Tag::new(u32::MAX, NO_NODE, Access::Exclusive);
        assert_eq!((tag.number(), tag.node(), tag.access()), (u32::MAX, NO_NODE, Access::Exclusive));
        let shared = tag.with(Access::Shared);
        assert_eq!((shared.number(), shared.node(), shared.access()), (u32::MAX, NO_NODE, Access::Shared));
        assert!(!tag.is_in_panic());
        let flagged = tag.in_panic();
        assert!(flagged.is_in_panic());
        assert_eq!(
            (flagged.number(), flagged.node(), flagged.access()),
            (u32::MAX, NO_NODE, Access::Exclusive)
        );
    }
}
