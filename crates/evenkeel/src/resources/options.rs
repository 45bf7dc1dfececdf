//! Describing the pool of a service.

use super::Limits;
use evenkeel_pool::PoolBuilder;

/// What a service's pool has, and what whoever asks may have of it if nothing else is said.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub(super) tiers_of: PoolBuilder,
    pub(super) component_bytes_max: u64,
    pub(super) channel: Limits,
    pub(super) files_max: u32,
    pub(super) threads_max: u32,
    pub(super) outside_bytes_max: u64,
}

impl Default for PoolOptions {
    /// Tiers of 500 buffers of 4 KiB, 250 of 64 KiB and 125 of 1 MiB, whose memory is used once it is touched; 500,000 bytes for a
    /// component; nothing reserved for a channel, and no limit of its own; 1,024 files; 20 threads; 256 MiB outside the pool.
    fn default() -> Self {
        Self {
            tiers_of: PoolBuilder::default(),
            component_bytes_max: 500_000,
            channel: Limits::default(),
            files_max: 1024,
            threads_max: 20,
            outside_bytes_max: 256 << 20,
        }
    }
}

impl PoolOptions {
    /// The memory: tiers, limits, what is noted of each buffer. What else is counted is added to it.
    pub fn memory(mut self, builder: PoolBuilder) -> Self {
        self.tiers_of = builder;
        self
    }

    /// Bytes that a component may hold that declares nothing else when it is registered.
    pub fn component_bytes_max(mut self, bytes: u64) -> Self {
        self.component_bytes_max = bytes;
        self
    }

    /// What a channel may have for which nothing else is said; also components that all channels share. Reserves are set
    /// aside when it takes something first. What no channel could have is refused when the pool is created.
    pub fn channel(mut self, limits: Limits) -> Self {
        self.channel = limits;
        self
    }

    /// Open files and the like, as whoever opens them counts them.
    pub fn files_max(mut self, files: u32) -> Self {
        self.files_max = files;
        self
    }

    /// Bytes of memory outside the pool, as whoever has it counts it.
    pub fn outside_bytes_max(mut self, bytes: u64) -> Self {
        self.outside_bytes_max = bytes;
        self
    }

    /// Threads: those of the coordinator that the service has.
    pub(crate) fn threads_max(mut self, threads: usize) -> Self {
        self.threads_max = u32::try_from(threads).unwrap_or(u32::MAX);
        self
    }
}
