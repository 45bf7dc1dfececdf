//! Where the batches' memory comes from: a pool with tiers that fit them.
//!
//! What a channel may have is the budget's to say; the pool has a buffer for whatever that grants, keeps the memory
//! of one channel from the eyes of another, and knows who holds what. A message alone that is short would leave most
//! of a page empty: it has memory of the allocator's, as has what a pool that others use too has no buffer for.

use super::budget::{LARGE_BYTES, MEDIUM_BYTES, QUARTER_BYTES};
use super::budget_bytes;
use evenkeel::resources::{Account, Limits, PoolBuilder, Reclaimed, Refused, Tier};
use evenkeel::{MonitoringCoordinator, PoolOptions, ResourcePool};
use evenkeel_log::Memory;
use std::io;

/// Lengths of pooled buffers: for some short messages, for one of full length, for two, for a quarter of a chunk, for a chunk.
pub(crate) const LENGTHS: [usize; 8] =
    [4 << 10, 8 << 10, 16 << 10, 32 << 10, MEDIUM_BYTES, pages(2), QUARTER_BYTES, LARGE_BYTES];
/// What is shorter is the allocator's.
pub(crate) const SHORT_BYTES: usize = 3 << 10;
/// Buffers of the shortest lengths: each is known to the pool one by one, and more are the allocator's.
const SHORT_SLOTS: usize = 256;

/// Whole pages for so many messages of full length.
pub(super) const fn pages(messages: usize) -> usize {
    (messages * evenkeel_log::Batch::bytes_for(evenkeel_log::PAYLOAD_BYTES_MAX)).next_multiple_of(4096)
}

/// The tiers that so many channels record with.
fn tiers(channels: usize) -> impl Iterator<Item = Tier> {
    LENGTHS.into_iter().map(move |bytes| {
        let all = budget_bytes(channels) / bytes;
        let some = if bytes < MEDIUM_BYTES { all.min(SHORT_SLOTS) } else { all };
        Tier { bytes, slots: u32::try_from(some).unwrap_or(u32::MAX) }
    })
}

/// The pool of a service that records so many channels: each has a message of full length set aside, and all buffers,
/// those that are free too, have no more memory from the system than the channels may hold.
pub fn pool_options(channels: usize) -> PoolOptions {
    let memory = PoolBuilder::default().tiers(tiers(channels)).resident_max(budget_bytes(channels) as u64);
    let reserve = LENGTHS.iter().map(|bytes| u32::from(*bytes == MEDIUM_BYTES)).collect();
    PoolOptions::default().memory(memory).channel(Limits { reserve, ..Limits::default() })
}

/// Where the memory of all channels comes from.
#[derive(Debug)]
pub(crate) struct RecorderMemory {
    pool: ResourcePool,
    /// Of each channel.
    accounts: Vec<Account>,
}

impl RecorderMemory {
    /// Memory of the pool of a service, as its monitoring gives it.
    ///
    /// # Errors
    /// [`Refused`]: there is no room for the channels.
    pub(crate) fn of(monitoring: &MonitoringCoordinator, names: &[String]) -> Result<Self, Refused> {
        // What each holds is bounded by the budget, and by what the pool has.
        let account = |name: &String| monitoring.account_of_service_in(name, "recorder", u64::MAX);
        let accounts = names.iter().map(account).collect::<Result<_, _>>()?;
        Ok(Self { pool: monitoring.pool().clone(), accounts })
    }

    /// Memory of a pool of its own.
    pub(crate) fn own(names: &[String]) -> io::Result<Self> {
        let monitoring = MonitoringCoordinator::new(pool_options(names.len())).map_err(io::Error::other)?;
        Self::of(&monitoring, names).map_err(io::Error::other)
    }

    /// Takes nothing of the pool from now on, and gives what is free back to the system, which says how much that was;
    /// bytes that are still held, by channel.
    pub(crate) fn close(&self) -> (Vec<(usize, u64)>, io::Result<Reclaimed>) {
        self.accounts.iter().for_each(|account| account.lower_bytes_max(0));
        let reclaimed = self.pool.shrink();
        let held = self.accounts.iter().map(Account::bytes).enumerate();
        (held.filter(|(_, bytes)| *bytes > 0).collect(), reclaimed)
    }

    /// Bytes of the pool's buffers that are in memory, as the system says.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.pool.resident_bytes()
    }

    /// Memory of exactly so many bytes, which the budget has granted.
    #[track_caller]
    pub(crate) fn take(&self, channel: usize, bytes: usize) -> Memory {
        if bytes >= SHORT_BYTES
            && let Ok(buffer) = self.accounts[channel].take(bytes)
            && buffer.capacity() == bytes
        {
            return buffer.into();
        }
        vec![0; bytes].into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hub, RESERVE_BYTES, Refused};
    use super::*;

    fn used(hub: &Hub, bytes: usize) -> Option<Memory> {
        let mut memory = hub.buffer(0, &[bytes], Refused::Wait)?;
        match &mut memory {
            Memory::Own(bytes) => bytes.fill(1),
            Memory::Pooled(buffer) => buffer.spare_mut().fill(1),
        }
        Some(memory)
    }

    // REQ R7
    #[test]
    fn memory_is_the_systems_again_when_a_recorder_lets_go() {
        let hub = Hub::new(&["x".to_owned(), "y".to_owned()], 1 << 20).unwrap();
        let (kept, short) = (used(&hub, QUARTER_BYTES).unwrap(), used(&hub, LARGE_BYTES).unwrap());
        hub.return_buffer(0, short);
        assert_eq!(hub.resident_bytes().unwrap(), (QUARTER_BYTES + LARGE_BYTES) as u64);
        let (held, reclaimed) = hub.free_buffers();
        assert_eq!(held, [(0, QUARTER_BYTES as u64)], "it is named with what it holds");
        assert_eq!(reclaimed.unwrap().resident_after, QUARTER_BYTES as u64);
        hub.return_buffer(0, kept);
        assert_eq!(hub.free_buffers().0, []);
        assert_eq!(hub.resident_bytes().unwrap(), 0);
        // Who is late has memory all the same, which is not the pool's.
        assert!(matches!(used(&hub, LARGE_BYTES), Some(Memory::Own(_))));
    }

    // REQ R8, REQ R9
    #[test]
    fn what_is_kept_makes_room_for_what_is_held() {
        let hub = Hub::new(&["x".to_owned()], 1 << 20).unwrap();
        let resident = || hub.resident_bytes().unwrap() as usize;
        for bytes in [RESERVE_BYTES, QUARTER_BYTES, LARGE_BYTES, 4 << 10, RESERVE_BYTES] {
            let held: Vec<Memory> = std::iter::from_fn(|| used(&hub, bytes)).collect();
            let pooled = held.iter().filter(|memory| matches!(memory, Memory::Pooled(_))).count();
            assert!(pooled > 4 && resident() <= budget_bytes(1), "{bytes}: {}", resident());
            assert!(resident() >= pooled * bytes);
            held.into_iter().for_each(|memory| hub.return_buffer(0, memory));
        }
    }
}
