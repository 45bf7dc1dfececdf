//! How much memory a pool has from the system, and giving it back.

use crate::arena::Memory;
use crate::pool::{Account, Pool};
use std::io;

/// What [`Pool::shrink`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclaimed {
    /// Buffers whose memory was given back to the system.
    pub slots: u32,
    /// Bytes by which resident memory fell, as the system says.
    pub bytes: u64,
    /// Bytes that were resident before, as the system says.
    pub resident_before: u64,
    /// Bytes that are resident since.
    pub resident_after: u64,
}

impl Pool {
    /// Gives the memory of all buffers that nobody holds back to the system, those also that lie ready in
    /// threads. What it did is measured: it is what the system says of the pool's memory, before and after.
    ///
    /// Who takes a buffer meanwhile may wait for as long as the system takes to free one.
    ///
    /// # Errors
    /// What the system says when it is asked what is resident.
    pub fn shrink(&self) -> io::Result<Reclaimed> {
        let memory = self.0.memory();
        let resident_before = memory.resident_bytes()?;
        let slots = memory.core.cool_all(memory);
        let resident_after = memory.resident_bytes()?;
        let bytes = resident_before.saturating_sub(resident_after);
        Ok(Reclaimed { slots, bytes, resident_before, resident_after })
    }

    /// Bytes of the buffers, held or not, that are in memory, as the system says.
    ///
    /// # Errors
    /// What the system says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.0.memory().resident_bytes()
    }

    /// Bytes of all buffers that were used since their memory was last given back. What is [resident](Self::resident_bytes)
    /// is no more than that, and less where buffers were not filled.
    pub fn warm_bytes(&self) -> u64 {
        self.0.memory().core.warmth.bytes()
    }
}

impl Account {
    /// Has the system find memory now for so many free buffers of the tier that fits so many bytes, so that nobody waits for
    /// it later; for how many it did. Fewer where the account could not take one now, or all have memory already.
    pub fn prefault(&self, bytes: usize, slots: u32) -> u32 {
        let memory: &Memory = self.root.memory();
        self.tier_for(bytes).map_or(0, |tier| memory.core.prefault(tier, self.number, slots, memory))
    }
}
