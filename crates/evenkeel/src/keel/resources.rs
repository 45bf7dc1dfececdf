//! The resources of a channel: its own slice, its limits, its queues, its components' accounts.

use super::Channel;
use crate::buffers::{BufferError, BufferQueues, Inlet, QueueLimits};
use crate::components::{Component, ComponentError, ComponentOptions};
use crate::resources::{Account, HasResources, Limits, Refused, ResourceView, Usage};

impl HasResources for Channel {
    /// What is this channel's.
    fn resource_view(&self) -> ResourceView {
        ResourceView::of_channel(self.keel.0.monitoring.pool().clone(), &self.name)
    }
}

impl Channel {
    /// The account of a component of this channel, as the monitoring gives it: of one that is registered with what it declared.
    ///
    /// # Errors
    /// [`Refused`]: there are too many, or what is reserved for this channel is more than is left.
    pub fn account(&self, component: &str) -> Result<Account, Refused> {
        self.keel.0.monitoring.account(Some(&self.name), component)
    }

    /// What this channel may have of the pool from now on, and what is its alone, whatever others do.
    ///
    /// # Errors
    /// [`Refused`]: the limits contradict each other, or its reserves are more than is left.
    pub fn set_resource_limits(&self, limits: &Limits) -> Result<(), Refused> {
        self.keel.0.monitoring.set_limits(&self.name, limits)
    }

    /// What it has of the pool, and may have; none before it takes something first.
    pub fn resource_usage(&self) -> Option<Usage> {
        self.keel.0.monitoring.pool().usage(&self.name)
    }

    /// Takes in a component of this channel that needs others, or more memory than others.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn component_with(&self, name: &str, options: ComponentOptions) -> Result<Component, ComponentError> {
        self.keel.0.components.register_with(Some(&self.name), name, options)
    }

    /// Opens the queue of this channel, among queues of one kind.
    ///
    /// # Errors
    /// [`BufferError`]: it is open, or nothing more is taken in.
    pub fn inlet<T: Send>(
        &self,
        queues: &BufferQueues<T>,
        limits: QueueLimits,
    ) -> Result<Inlet<T>, BufferError> {
        queues.open(&self.name, limits)
    }
}
