//! The monitoring: owns the resources, and is asked for them.

use crate::resources::{
    Account, BuildError, HOUSE, HasResources, Limits, PoolOptions, Refused, ResourcePool, ResourceView,
};

/// Creates the [`ResourcePool`], and is whom components ask for resources: nobody shares theirs with another. What it sees
/// as a [`ResourceManager`](crate::resources::ResourceManager) is all of the pool.
#[derive(Debug)]
pub struct MonitoringCoordinator {
    pool: ResourcePool,
}

impl MonitoringCoordinator {
    /// Creates the pool. First of all coordinators: the others are given its pool.
    ///
    /// # Errors
    /// [`BuildError`]: what is wrong with the tiers, or what the system says.
    pub fn new(options: PoolOptions) -> Result<Self, BuildError> {
        Ok(Self { pool: ResourcePool::new(options)? })
    }

    /// The pool, to be handed to the coordinators that work on it.
    pub fn pool(&self) -> &ResourcePool {
        &self.pool
    }

    /// The account of a component in a channel, or of one that all channels share: made when it is first asked for.
    ///
    /// # Errors
    /// [`Refused`]: the name of either cannot be one, as those of the service's own channels cannot; there are too many, or
    /// what is reserved for its channel is more than is left.
    pub fn account(&self, channel: Option<&str>, component: &str) -> Result<Account, Refused> {
        self.pool.account(channel, component, None)
    }

    /// The account of a part of the service itself, which sees to it that what it holds is released.
    ///
    /// # Errors
    /// [`Refused`]: there are too many.
    pub fn account_of_service(&self, part: &str) -> Result<Account, Refused> {
        self.pool.account_of_service(HOUSE, part, None)
    }

    /// The account of a part of the service that has memory for one channel, of so many bytes at most, and sees itself to
    /// it that what it holds is released.
    ///
    /// # Errors
    /// [`Refused`]: there are too many, or what is reserved for the channel is more than is left.
    pub fn account_of_service_in(
        &self,
        channel: &str,
        part: &str,
        bytes_max: u64,
    ) -> Result<Account, Refused> {
        self.pool.account_of_service(channel, part, Some(bytes_max))
    }

    /// What a component may hold in bytes from now on, more or less than before, in place of what it declared. The component
    /// itself can only [lower](Account::lower_bytes_max) that. Whoever waits for more than that is told.
    ///
    /// # Errors
    /// [`Refused`]: as of [`account`](Self::account), which is made if there is none.
    pub fn set_component_bytes_max(
        &self,
        channel: Option<&str>,
        component: &str,
        bytes_max: u64,
    ) -> Result<(), Refused> {
        self.pool.set_component_bytes_max(channel, component, bytes_max)
    }

    /// What a channel may have from now on, and what is its alone; of [`SHARED`](crate::resources::SHARED) what components
    /// have that all channels share.
    ///
    /// # Errors
    /// [`Refused`]: the name cannot be a channel's, the limits contradict each other or name what there is not, or its
    /// reserves are more than is left.
    pub fn set_limits(&self, channel: &str, limits: &Limits) -> Result<(), Refused> {
        self.pool.set_limits(channel, limits)
    }
}

impl HasResources for MonitoringCoordinator {
    fn resource_view(&self) -> ResourceView {
        ResourceView::all(self.pool.clone(), "the monitoring")
    }
}
