//! Describing a job, and its handle.

use super::channel::JobChannel;
use super::core::{Core, Work};
use super::error::JobRefused;
use super::instant_after;
use super::job::{Answer, JobError, JobState, Meta, Task};
use super::slot::{Control, Pulse};
use crate::clock;
use evenkeel_core::threads::{Class, JobId};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Describes a job; see [`ThreadCoordinator::job`](super::ThreadCoordinator::job).
#[must_use = "a job that is not run does nothing"]
pub struct JobBuilder {
    core: Arc<Core>,
    name: Cow<'static, str>,
    class: Class,
    channel: Option<JobChannel>,
    deadline: Option<Duration>,
}

impl fmt::Debug for JobBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobBuilder")
            .field("name", &self.name)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

impl JobBuilder {
    pub(super) fn new(core: Arc<Core>, name: Cow<'static, str>) -> Self {
        Self { core, name, class: Class::Processing, channel: None, deadline: None }
    }

    pub(super) fn of(mut self, channel: JobChannel) -> Self {
        self.channel = Some(channel);
        self
    }

    /// Its class: who goes first. Processing, if nothing is said.
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// How long after it was given it should be done. If its turn comes later, it does not run; while it
    /// runs, [`Pulse::should_stop`] tells it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Queues it. It runs whether or not its handle is kept.
    ///
    /// A wait for another job inside of a job takes a worker from the others, and one for a job of the same
    /// channel never ends.
    ///
    /// # Errors
    /// [`JobRefused`]: there is no place in the queue, no worker, or the threads are being terminated. `work` is
    /// dropped then.
    #[track_caller]
    pub fn run<T, F>(self, work: F) -> Result<JobHandle<T>, JobRefused>
    where
        F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
        T: Send + 'static,
    {
        let Self { core, name, class, channel, deadline } = self;
        let given = clock::mono();
        let control = Control::new(deadline.map(|deadline| given.plus(deadline)));
        let of = channel.as_ref().map(|channel| channel.0.name.clone());
        let meta = Meta { noun: "job", name, class, channel: of, site: Location::caller(), given, control };
        let task = Task::new(meta, work);
        let id = core.submit(Work { task: task.clone(), channel: channel.map(|channel| channel.0) })?;
        Ok(JobHandle { task, core, id })
    }
}

/// A job, from outside. Dropping it leaves the job alone.
///
/// It is a future too, for any runtime: this is how blocking work is awaited. Dropping the future
/// leaves the job alone as well; [`cancel`](Self::cancel) does not.
pub struct JobHandle<T> {
    task: Arc<dyn Answer<T>>,
    core: Arc<Core>,
    id: JobId,
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id).field("state", &self.task.state()).finish()
    }
}

impl<T> JobHandle<T> {
    /// How it stands.
    pub fn state(&self) -> JobState {
        self.task.state()
    }

    /// Whether it is over: its answer is there, or there will be none.
    pub fn is_over(&self) -> bool {
        matches!(self.task.state(), JobState::Done | JobState::Failed(_))
    }

    /// Has it not run, if it has not begun; one that runs is told so by [`Pulse::should_stop`].
    pub fn cancel(&self) {
        self.task.cancel();
        self.core.cancel(self.id);
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// [`JobError`]: it panicked, or did not run.
    ///
    /// # Panics
    /// When the answer was taken before, by [`wait_for`](Self::wait_for) or as a future.
    pub fn wait(self) -> Result<T, JobError> {
        self.task.take(None).expect("the answer of a job is given once")
    }

    /// Waits for its answer, for so long at most; `None` when it is not over then, or was answered before.
    pub fn wait_for(&mut self, patience: Duration) -> Option<Result<T, JobError>> {
        self.task.take(Some(instant_after(patience)))
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, JobError>;

    /// # Panics
    /// Never; polled after its answer it is pending for ever.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll(context.waker())
    }
}
