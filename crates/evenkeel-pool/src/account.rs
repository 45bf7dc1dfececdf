//! Who may have how much: channels, and the components in them.
//!
//! A buffer is counted three times: as bytes of its component, as pages of its channel, and as a slot of its tier.
//!
//! Invariants:
//! 1. On the way in the slot's quota is entered before the pages', on the way out it is left after them, and the slot
//!    itself lies where others find it before that: whoever has a slot's quota finds the pages that go with it,
//!    where bytes are limited to what the slots have together, and whoever has both finds a slot.
//! 2. Who was denied keeps nothing; what it had for a moment it says, since somebody may have been denied that.

use crate::core::Mark;
use crate::leaks::Patience;
use crate::patterns::Habits;
use crate::quota::{Denied as ShareDenied, Share, Surplus};
use crate::sync::Ordering;
use crate::sync::figure::{AtomicU32, AtomicU64};
use std::sync::Arc;

/// A page, in which bytes are counted.
pub(crate) const PAGE: u64 = 4096;

/// So many pages have room for so many bytes; at most as many as can be counted.
pub(crate) fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PAGE)).unwrap_or(u32::MAX).min(crate::quota::UNITS_MAX)
}

/// Why an account was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The component has as many bytes as it may have.
    Component,
    /// Its channel has as many slots of the tier as it may have.
    Channel,
    /// Its channel has its reserve of the tier, and the surplus is lent.
    Surplus,
    /// Its channel has as many bytes as it may have.
    ChannelBytes,
    /// Its channel has its reserve of bytes, and those that are left are too few.
    PoolBytes,
    /// Its channel has its reserve of bytes, and of those that can be lent as many as it may have.
    ShareOfBytes,
}

impl Denied {
    /// Whether it was for want of bytes, which are counted over all tiers.
    pub(crate) const fn is_of_bytes(self) -> bool {
        !matches!(self, Self::Channel | Self::Surplus)
    }

    /// Of slots, or of units that are counted beside the memory.
    pub(crate) const fn of_units(denied: ShareDenied) -> Self {
        match denied {
            ShareDenied::Cap => Self::Channel,
            ShareDenied::Surplus | ShareDenied::Share => Self::Surplus,
        }
    }

    const fn of_bytes(denied: ShareDenied) -> Self {
        match denied {
            ShareDenied::Cap => Self::ChannelBytes,
            ShareDenied::Surplus => Self::PoolBytes,
            ShareDenied::Share => Self::ShareOfBytes,
        }
    }
}

/// How somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Whether it may borrow slots: nobody else waits for them.
    pub(crate) borrows_slots: bool,
    /// Whether it may borrow bytes.
    pub(crate) borrows_bytes: bool,
    /// Whether limits in bytes are not looked at.
    pub(crate) is_beyond: bool,
}

/// A slot to be entered for, and what is nobody's of the tier and of the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) tier: usize,
    pub(crate) bytes: u64,
    pub(crate) slots: &'a Surplus,
    pub(crate) pages: &'a Surplus,
}

impl Wanted<'_> {
    fn page_count(&self) -> u32 {
        pages(self.bytes)
    }
}

/// What all components of a channel have together.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) name: String,
    /// Which of the pool's it is.
    pub(crate) number: u32,
    /// One for each tier.
    pub(crate) shares: Box<[Share]>,
    /// Of the pool's bytes, in pages.
    pub(crate) pages: Share,
    /// One for each kind that the pool counts beside its memory.
    pub(crate) counted: Box<[Share]>,
    /// Whether it has more than it may.
    pub(crate) over: Mark,
    /// Whether it was let go.
    is_closed: AtomicU32,
}

impl ChannelState {
    pub(crate) fn new(
        name: String,
        number: u32,
        shares: Box<[Share]>,
        pages: Share,
        counted: Box<[Share]>,
    ) -> Self {
        Self { name, number, shares, pages, counted, over: Mark::default(), is_closed: AtomicU32::new(0) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn has_closed(&self) {
        self.is_closed.store(1, Ordering::Relaxed);
    }
}

/// A component's books, or a channel's own.
#[derive(Debug)]
pub(crate) struct AccountState {
    pub(crate) name: String,
    pub(crate) channel: Arc<ChannelState>,
    bytes_max: AtomicU64,
    bytes: AtomicU64,
    /// Requests that went without, as their callers chose.
    shed: AtomicU64,
    /// Whether it has more than it may.
    pub(crate) over: Mark,
    /// How it takes from each tier.
    pub(crate) habits: Habits,
    /// For how long it may hold a buffer before that is told.
    pub(crate) patience: Patience,
    /// The same of what is counted beside the memory.
    pub(crate) counted_patience: Patience,
}

impl AccountState {
    pub(crate) fn new(name: String, channel: Arc<ChannelState>, bytes_max: u64) -> Self {
        let (bytes_max, bytes, shed) = (AtomicU64::new(bytes_max), AtomicU64::new(0), AtomicU64::new(0));
        let (habits, over) = (Habits::of_tiers(channel.shares.len()), Mark::default());
        let (patience, counted_patience) = (Patience::default(), Patience::default());
        Self { name, channel, bytes_max, bytes, shed, over, habits, patience, counted_patience }
    }

    /// Bytes that are counted as its: what is held, and what waits for it in magazines.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that it may hold.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// No more than so many, whoever else lowers or raises it at the same time.
    pub(crate) fn lower_bytes_max(&self, bytes: u64) {
        self.bytes_max.fetch_min(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    pub(crate) fn has_shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets one more slot in. With the answer whether it had something for a moment that it gave back.
    pub(crate) fn enter(&self, wanted: Wanted<'_>, terms: Terms) -> (Result<(), Denied>, bool) {
        let max = if terms.is_beyond { u64::MAX } else { self.bytes_max() };
        let within = |bytes: u64| bytes.checked_add(wanted.bytes).filter(|bytes| *bytes <= max);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return (Err(Denied::Component), false);
        }
        let (entered, gave_back) = self.enter_channel(wanted, terms);
        if entered.is_err() {
            self.bytes.fetch_sub(wanted.bytes, Ordering::Relaxed);
        }
        // Others of the component may have been denied meanwhile.
        (entered, gave_back || entered.is_err())
    }

    fn enter_channel(&self, wanted: Wanted<'_>, terms: Terms) -> (Result<(), Denied>, bool) {
        let Wanted { tier, slots, pages, .. } = wanted;
        let (channel, count) = (&self.channel, wanted.page_count());
        // First a look: who is short of bytes should not have slots for a moment that others want.
        let looked =
            if terms.is_beyond { Ok(()) } else { channel.pages.admits(count, pages, terms.borrows_bytes) };
        if let Err(denied) = looked {
            return (Err(Denied::of_bytes(denied)), false);
        }
        let gave_back = match channel.shares[tier].enter(1, slots, terms.borrows_slots) {
            Ok(gave_back) => gave_back,
            Err(denied) => return (Err(Denied::of_units(denied)), false),
        };
        if terms.is_beyond {
            channel.pages.enter_beyond(count, pages);
            return (Ok(()), gave_back);
        }
        match channel.pages.enter(count, pages, terms.borrows_bytes) {
            Ok(again) => (Ok(()), gave_back || again),
            Err(denied) => {
                channel.shares[tier].leave(1, slots);
                (Err(Denied::of_bytes(denied)), true)
            }
        }
    }

    /// So many have gone, and their slots are where others find them.
    pub(crate) fn leave(&self, wanted: Wanted<'_>, count: u32) {
        self.channel.pages.leave(wanted.page_count() * count, wanted.pages);
        self.channel.shares[wanted.tier].leave(count, wanted.slots);
        let bytes = wanted.bytes * u64::from(count);
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "invariant: only what is held is given back");
    }

    /// Whether a slot can be had at all, when everything is given back; or whose limit it is that it cannot.
    pub(crate) fn can_ever(&self, wanted: Wanted<'_>) -> Result<(), Denied> {
        self.channel.shares[wanted.tier].can_ever(1, wanted.slots).map_err(Denied::of_units)?;
        self.can_ever_hold(wanted.bytes, wanted.pages)
    }

    /// The same of so many bytes, in whatever slots.
    pub(crate) fn can_ever_hold(&self, bytes: u64, free: &Surplus) -> Result<(), Denied> {
        if bytes > self.bytes_max() {
            return Err(Denied::Component);
        }
        self.channel.pages.can_ever(pages(bytes), free).map_err(Denied::of_bytes)
    }
}
