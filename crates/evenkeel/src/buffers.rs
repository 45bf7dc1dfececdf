//! Buffer space by channel, taken from the pool.

mod limits;
mod queues;

pub use limits::{OnFull, QueueCounts, QueueLimits, Queued};
pub use queues::{Pushed, Queues};

use crate::resources::{Exhausted, Reservation, ResourcePool};

/// Gives channels their buffer space.
#[derive(Debug)]
pub struct BufferManager {
    pool: ResourcePool,
}

impl BufferManager {
    /// Works on the pool that the monitoring created.
    pub fn new(pool: ResourcePool) -> Self {
        Self { pool }
    }

    /// Takes a channel's buffer space; it comes back when the answer is dropped.
    ///
    /// # Errors
    /// [`Exhausted`], naming the limit.
    pub fn open(&self, channel: &str, bytes: usize) -> Result<Reservation, Exhausted> {
        self.pool.reserve(channel, bytes)
    }

    /// Checks that nobody holds buffer space any more; names whoever does.
    ///
    /// # Errors
    /// Holders and their bytes, in words.
    pub fn verify_empty(&self) -> Result<(), String> {
        let holders = self.pool.holders();
        if holders.is_empty() {
            return Ok(());
        }
        let held: Vec<String> = holders.iter().map(|(name, bytes)| format!("{name} {bytes} bytes")).collect();
        Err(format!("still held: {}", held.join(", ")))
    }
}
