//! Why there is no queue, and why something is not in one.

use evenkeel_core::NameError;
use std::fmt;
use std::sync::Arc;

/// Why queues are not made, or one is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There are queues of that name.
    #[error("there are queues {name:?} already")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Somebody puts into the queue of that channel already: their handle can be cloned.
    #[error("the queue of channel {channel} in {queues} is open already")]
    Open {
        /// The queues.
        queues: String,
        /// The channel.
        channel: String,
    },
    /// Nothing more is taken in.
    #[error("the queues {queues} are closed")]
    Closed {
        /// The queues.
        queues: String,
    },
    /// There were too many.
    #[error("{name} would be one more than the {allowed} that there may be")]
    TooMany {
        /// What was refused.
        name: String,
        /// How many there may be.
        allowed: usize,
    },
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Its queue is full, and was until the time was over.
    Full,
    /// It is more than the queue may hold.
    TooLarge,
    /// The queue is closed.
    Closed,
}

/// An item that was not taken: it is the caller's again.
pub struct NotPut<T> {
    /// The item.
    pub item: T,
    /// Why it was not taken.
    pub why: Why,
    pub(super) queues: Arc<str>,
    pub(super) channel: Arc<str>,
}

impl<T> fmt::Display for NotPut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, channel, .. } = self;
        match self.why {
            Why::Full => write!(f, "the queue of channel {channel} in {queues} is full"),
            Why::TooLarge => write!(
                f,
                "an item is more than the whole queue of channel {channel} in {queues} may hold; \
                 cut it up, or allow the queue more"
            ),
            Why::Closed => write!(f, "the queue of channel {channel} in {queues} is closed"),
        }
    }
}

impl<T> fmt::Debug for NotPut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, queues, channel, .. } = self;
        f.debug_struct("NotPut").field("why", why).field("queues", queues).field("channel", channel).finish()
    }
}

impl<T> std::error::Error for NotPut<T> {}
