//! What a schedule answers.

use super::ids::{ChannelId, Class, JobId, WorkerId, Workers};
use crate::Mono;
use std::fmt;
use std::time::Duration;

/// A job was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a worker may have to be woken"]
pub struct Submitted {
    /// Its name.
    pub id: JobId,
    /// The worker to wake.
    pub wake: Option<WorkerId>,
    /// Whether its deadline is now the earliest: whoever waits until
    /// [`Schedule::next_deadline`](super::Schedule::next_deadline) is to ask again.
    pub is_next_deadline: bool,
}

/// Why a job was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// All places that the class may use are taken.
    #[error(
        "{queued} jobs wait, and class {class} may use {queued_max} places: submit less, or wait a little"
    )]
    Full {
        /// The job's class.
        class: Class,
        /// Jobs of all classes that wait.
        queued: usize,
        /// Places that this class may use.
        queued_max: usize,
    },
    /// There is no such channel, or not any more.
    #[error("there is no channel {0} (any more): open one first")]
    UnknownChannel(ChannelId),
    /// The channel takes nothing more; what it has is still run.
    #[error("channel {0} is closed: what it had is run, nothing is added")]
    ChannelClosed(ChannelId),
    /// The schedule takes nothing more.
    #[error("no jobs are accepted any more: the threads are terminating")]
    IntakeClosed,
}

/// A job that was not accepted, with its payload.
pub struct Refused<J> {
    /// Why.
    pub reason: Reason,
    /// What was submitted.
    pub payload: J,
}

impl<J> fmt::Debug for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Refused<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl<J> std::error::Error for Refused<J> {}

/// Why there is no new channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// As many as there may be are open, or closed and not yet empty.
    #[error("{channels_max} channels are open: close some, or raise `channels_max`")]
    TooMany {
        /// Most channels at once.
        channels_max: usize,
    },
    /// The schedule takes nothing more.
    #[error("no channels are opened any more: the threads are terminating")]
    IntakeClosed,
}

/// What a worker is to do.
#[derive(Debug)]
#[must_use = "it may carry a job, or a worker to wake"]
pub enum Next<J> {
    /// Run this, then ask again.
    Run {
        /// The job's name.
        id: JobId,
        /// Its channel.
        channel: Option<ChannelId>,
        /// Its class.
        class: Class,
        /// What was submitted.
        payload: J,
        /// Time since it was submitted.
        waited: Duration,
        /// Whether the job of its channel before began on another worker.
        moved: bool,
        /// Another worker to wake.
        wake: Option<WorkerId>,
    },
    /// This job has not begun before its deadline: tell whom it concerns, then ask again.
    Expired(Removed<J>),
    /// Sleep until woken, and at the latest until `look_again`; then ask again.
    Idle {
        /// When to ask again without being woken.
        look_again: Option<Mono>,
    },
    /// The worker was declared lost, or never started: it has nothing to take
    /// until [`worker_returned`](super::Schedule::worker_returned) takes it back.
    Lost,
}

/// A job that left without having run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed<J> {
    /// Its name.
    pub id: JobId,
    /// Its channel.
    pub channel: Option<ChannelId>,
    /// Its class.
    pub class: Class,
    /// What was submitted.
    pub payload: J,
}

/// A job while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub id: JobId,
    /// Its channel.
    pub channel: Option<ChannelId>,
    /// Its class.
    pub class: Class,
    /// When it began.
    pub since: Mono,
}

/// How a worker was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its thread ended. Its number is free.
    Dead,
    /// Its thread does not go on, and may come back. Its number is taken until then.
    Stuck,
}

/// What a lost worker leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "workers may have to be woken"]
pub struct Lost {
    /// What it was running. It holds its channel no longer.
    pub running: Option<Running>,
    /// Channels with queued jobs that went to other workers, or wait for one to start.
    pub moved: usize,
    /// Workers to wake.
    pub wake: Workers,
}
