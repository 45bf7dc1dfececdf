//! Who may have how much: channels, and the components in them.

use crate::leaks::Patience;
use crate::patterns::Habits;
use crate::quota::{Denied as ShareDenied, Share, Surplus};
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// Why an account was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The component has as many bytes as it may have.
    Component,
    /// Its channel has as many slots of the tier as it may have.
    Channel,
    /// Its channel has its reserve of the tier, and the surplus is lent.
    Surplus,
}

/// What all components of a channel have together.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) name: String,
    /// Which of the pool's it is.
    pub(crate) number: u32,
    /// One for each tier.
    pub(crate) shares: Box<[Share]>,
}

/// A component's books, or a channel's own.
#[derive(Debug)]
pub(crate) struct AccountState {
    pub(crate) name: String,
    pub(crate) channel: Arc<ChannelState>,
    pub(crate) bytes_max: u64,
    bytes: AtomicU64,
    /// How it takes from each tier.
    pub(crate) habits: Habits,
    /// For how long it may hold a buffer before that is told.
    pub(crate) patience: Patience,
}

impl AccountState {
    pub(crate) fn new(name: String, channel: Arc<ChannelState>, bytes_max: u64) -> Self {
        let habits = Habits::of_tiers(channel.shares.len());
        Self { name, channel, bytes_max, bytes: AtomicU64::new(0), habits, patience: Patience::default() }
    }

    /// Bytes that are counted as its: what is held, and what waits for it in magazines.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets one more slot of a tier in.
    pub(crate) fn enter(
        &self,
        tier: usize,
        slot_bytes: u64,
        surplus: &Surplus,
        may_borrow: bool,
    ) -> Result<(), Denied> {
        let within = |bytes: u64| Some(bytes + slot_bytes).filter(|bytes| *bytes <= self.bytes_max);
        let counted = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        counted.map_err(|_| Denied::Component)?;
        self.channel.shares[tier].enter(surplus, may_borrow).map_err(|denied| {
            self.bytes.fetch_sub(slot_bytes, Ordering::Relaxed);
            match denied {
                ShareDenied::Cap => Denied::Channel,
                ShareDenied::Surplus => Denied::Surplus,
            }
        })
    }

    /// One has gone, and its slot is where others find it.
    pub(crate) fn leave(&self, tier: usize, slot_bytes: u64, surplus: &Surplus) {
        self.channel.shares[tier].leave(surplus);
        let before = self.bytes.fetch_sub(slot_bytes, Ordering::Relaxed);
        assert!(before >= slot_bytes, "invariant: only what is held is given back");
    }
}
