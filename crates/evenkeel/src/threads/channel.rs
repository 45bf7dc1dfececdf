//! A channel of jobs: they run one after the other, on one worker while that keeps up.

use super::core::Core;
use super::error::ChannelRefused;
use super::{JobBuilder, ThreadCoordinator};
use crate::clock;
use evenkeel_core::threads::ChannelId;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

pub(super) struct Inner {
    core: Arc<Core>,
    pub(super) name: Arc<str>,
    pub(super) id: ChannelId,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.with(|state| {
            state.schedule.close(self.id);
            // A channel of that name may have been opened anew since the last handle went.
            if state.channels.get(&*self.name).is_some_and(|other| other.strong_count() == 0) {
                state.channels.remove(&*self.name);
            }
        });
    }
}

/// A channel of jobs. Cheap to clone; all clones, and all of one name, are one: for as long as somebody has it, or
/// a job of it waits or runs.
///
/// Its jobs run one at a time, in the order in which they were given within their class, on one worker;
/// on another when that one is dead, stuck or does not keep up. A job that is stuck no longer holds
/// up the ones behind it: they may run beside it.
///
/// ```
/// use evenkeel::threads::ThreadCoordinator;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use std::sync::Arc;
///
/// let threads = ThreadCoordinator::default();
/// let left = threads.channel("left")?;
/// let sum = Arc::new(AtomicU32::new(0));
/// let jobs = (1..=3).map(|frame| {
///     let sum = sum.clone();
///     // No two run at once: nothing is lost between load and store.
///     left.job("add").run(move |_| sum.store(sum.load(Relaxed) * 10 + frame, Relaxed))
/// });
/// for job in jobs.collect::<Vec<_>>() {
///     job?.wait()?;
/// }
/// assert_eq!(sum.load(Relaxed), 123);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JobChannel(pub(super) Arc<Inner>);

impl fmt::Debug for JobChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JobChannel").field(&self.0.name).finish()
    }
}

impl JobChannel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Describes a job of this channel.
    pub fn job(&self, name: impl Into<Cow<'static, str>>) -> JobBuilder {
        JobBuilder::new(self.0.core.clone(), name.into()).of(self.clone())
    }
}

impl ThreadCoordinator {
    /// The channel of this name.
    ///
    /// # Errors
    /// [`ChannelRefused`]: there are as many as there may be, or the threads are being terminated.
    pub fn channel(&self, name: &str) -> Result<JobChannel, ChannelRefused> {
        let core = self.core();
        core.with(|state| {
            if let Some(known) = state.channels.get(name).and_then(Weak::upgrade) {
                return Ok(JobChannel(known));
            }
            let opened = state.schedule.channel(clock::mono());
            let id = opened.map_err(|source| ChannelRefused { name: name.to_owned(), source })?;
            let inner = Arc::new(Inner { core: core.clone(), name: name.into(), id });
            let weak = Arc::downgrade(&inner);
            state.channels.insert(name.to_owned(), weak);
            Ok(JobChannel(inner))
        })
    }
}
