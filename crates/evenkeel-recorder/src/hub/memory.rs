//! Where the batches' memory comes from: a pool with tiers that fit them.
//!
//! What a channel may have is the budget's to say; the pool has a buffer for whatever that grants, keeps the memory
//! of one channel from the eyes of another, and knows who holds what. A message alone that is short would leave most
//! of a page empty: it has memory of the allocator's, as has what a pool that others use too has no buffer for.

use super::budget::{LARGE_BYTES, MEDIUM_BYTES, QUARTER_BYTES, SURPLUS_BYTES};
use super::budget_bytes;
use evenkeel_log::Memory;
use evenkeel_pool::{Account, BuildError, Limits, Pool, Refused, Tier};

/// Lengths of pooled buffers: for some short messages, for one of full length, for two, for a quarter of a chunk, for a chunk.
pub(crate) const LENGTHS: [usize; 6] =
    [4 << 10, 16 << 10, MEDIUM_BYTES, pages(2), QUARTER_BYTES, LARGE_BYTES];
/// What is shorter is the allocator's.
const SHORT_BYTES: usize = 3 << 10;
/// Buffers of the shortest lengths: each is known to the pool one by one, and more are the allocator's.
const SHORT_SLOTS: usize = 512;

/// Whole pages for so many messages of full length.
pub(super) const fn pages(messages: usize) -> usize {
    (messages * evenkeel_log::Batch::bytes_for(evenkeel_log::PAYLOAD_BYTES_MAX)).next_multiple_of(4096)
}

/// The tiers that so many channels record with.
pub fn tiers(channels: usize) -> Vec<Tier> {
    let slots = |bytes: usize| {
        let all = budget_bytes(channels) / bytes;
        let some = if bytes < MEDIUM_BYTES { all.min(SHORT_SLOTS) } else { all };
        u32::try_from(some).unwrap_or(u32::MAX)
    };
    LENGTHS.map(|bytes| Tier { bytes, slots: slots(bytes) }).to_vec()
}

/// A pool for so many channels that nobody else takes from.
pub(crate) fn pool(channels: usize) -> Result<Pool, BuildError> {
    Pool::builder().tiers(tiers(channels)).build()
}

/// The memory of one channel.
#[derive(Debug)]
pub(crate) struct ChannelMemory(Account);

impl ChannelMemory {
    /// Has a pool set a message of full length aside for the channel, where it has such buffers.
    pub(crate) fn open(pool: &Pool, name: &str) -> Result<Self, Refused> {
        let reserve = pool.tiers().iter().map(|tier| u32::from(tier.bytes == MEDIUM_BYTES)).collect();
        let channel = pool.channel(name, &Limits { reserve, ..Limits::default() })?;
        let bytes_max = (SURPLUS_BYTES * 2 + MEDIUM_BYTES) as u64;
        Ok(Self(channel.component("recorder", bytes_max)?))
    }

    /// Memory of exactly so many bytes, which the budget has granted.
    #[track_caller]
    pub(crate) fn take(&self, bytes: usize) -> Memory {
        if bytes >= SHORT_BYTES
            && let Ok(buffer) = self.0.take(bytes)
            && buffer.capacity() == bytes
        {
            return buffer.into();
        }
        vec![0; bytes].into()
    }
}
