//! The monitoring: owns the resources, and is asked for them.

use crate::resources::{Exhausted, PoolLimits, Reservation, ResourcePool};

/// Creates the [`ResourcePool`], and is whom components ask for resources.
#[derive(Debug)]
pub struct MonitoringCoordinator {
    pool: ResourcePool,
}

impl MonitoringCoordinator {
    /// Creates the pool. First of all coordinators: the others are given its pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self { pool: ResourcePool::new(limits) }
    }

    /// The pool, to be handed to the coordinators that work on it.
    pub fn pool(&self) -> &ResourcePool {
        &self.pool
    }

    /// Takes `bytes` for a component or a channel.
    ///
    /// # Errors
    /// [`Exhausted`], naming the limit.
    pub fn request(&self, holder: &str, bytes: usize) -> Result<Reservation, Exhausted> {
        self.pool.reserve(holder, bytes)
    }
}
