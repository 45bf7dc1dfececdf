//! Why there is no thread.

use evenkeel_core::threads::{ChannelError, Reason};
use std::io;

/// A thread could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// A name that the system would not show whole.
    #[error("a thread's name has 1 to 15 bytes and none of them 0, which {name:?} is not")]
    Name {
        /// The name.
        name: String,
    },
    /// As many run as there may be.
    #[error(
        "thread {name}: {threads_max} threads run already; the limit is `threads_max` of `threads::Builder`"
    )]
    TooMany {
        /// The thread that was wanted.
        name: String,
        /// Most threads at once.
        threads_max: usize,
    },
    /// The threads were terminated.
    #[error("thread {name}: the threads are being terminated, and none is started any more")]
    Ended {
        /// The thread that was wanted.
        name: String,
    },
    /// The system has none.
    #[error("thread {name} could not be started: {source}")]
    System {
        /// The thread that was wanted.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<ThreadError> for io::Error {
    fn from(error: ThreadError) -> Self {
        match error {
            ThreadError::System { source, .. } => source,
            other => Self::other(other),
        }
    }
}

/// A job was not accepted. It did not run, and is dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobRefused {
    /// The queue.
    #[error("job {job}: {reason}")]
    Queue {
        /// The job.
        job: String,
        /// Why.
        reason: Reason,
    },
    /// There is no worker, and none could be started.
    #[error("job {job}: {source}")]
    NoWorker {
        /// The job.
        job: String,
        /// Why.
        source: ThreadError,
    },
}

/// A channel of jobs could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("channel {name}: {source}")]
pub struct ChannelRefused {
    /// Its name.
    pub name: String,
    /// Why.
    pub source: ChannelError,
}
