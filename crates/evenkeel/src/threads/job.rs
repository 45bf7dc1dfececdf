//! One job, from being queued to its answer.
//!
//! ```text
//! Queued -> Running -> Over(answer) -> Taken
//!    `------------------^  cancelled, expired, ended before it ran
//! ```
//!
//! Invariants:
//! 1. The closure is called once at most, and its answer is given once at most.
//! 2. The closure, its answer and a waker are a user's: they are called and dropped outside of the lock,
//!    and a panic in them stays here.

use super::slot::{Control, Pulse, Site, Slot};
use crate::callback::{call, contained, message};
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::Class;
use evenkeel_hierarchy::{Condvar, Mutex, MutexGuard, ThreadJob, with_root};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It panicked.
    #[error("{job} panicked: {message}")]
    Panicked {
        /// The job, or the thread.
        job: String,
        /// What the panic said.
        message: String,
    },
    /// It was cancelled before it ran.
    #[error("{job} was cancelled before it ran")]
    Cancelled {
        /// The job.
        job: String,
    },
    /// Its deadline came before its turn: it did not run.
    #[error("{job} did not run: it waited {waited:?}, and its deadline was after {deadline:?}")]
    Expired {
        /// The job.
        job: String,
        /// How long it had waited.
        waited: Duration,
        /// How long after it was given its deadline was.
        deadline: Duration,
    },
    /// It was accepted while a worker was being started, and the system had no thread for that: it did not run.
    #[error("{job} did not run: there is no worker, and the system has no thread for one")]
    NoWorker {
        /// The job.
        job: String,
    },
    /// The threads were terminated before its turn: it did not run.
    #[error("{job} did not run: the threads were terminated")]
    Ended {
        /// The job.
        job: String,
    },
}

/// Where a job stands. The truth at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running {
        /// On which thread.
        thread: String,
        /// For how long.
        running_for: Duration,
        /// Its deadline has passed; it was told by [`Pulse::should_stop`].
        is_late: bool,
    },
    /// It runs, and has not beaten for a heartbeat or more.
    Stuck {
        /// On which thread.
        thread: String,
        /// For how long it has been silent.
        silent_for: Duration,
    },
    /// It is done, and its answer there or taken.
    Done,
    /// It has no answer.
    Failed(JobError),
}

/// What is known of a job beside its closure.
#[derive(Debug)]
pub(super) struct Meta {
    /// What it is called in messages: a job, or a thread.
    pub(super) noun: &'static str,
    pub(super) name: Cow<'static, str>,
    pub(super) class: Class,
    pub(super) channel: Option<Arc<str>>,
    pub(super) site: Site,
    pub(super) given: Mono,
    pub(super) control: Control,
}

impl Meta {
    /// Its name, as it is told of.
    fn who(&self) -> String {
        match &self.channel {
            Some(channel) => format!("{} {} of channel {channel}", self.noun, self.name),
            None => format!("{} {}", self.noun, self.name),
        }
    }

    /// That it did not run in time.
    pub(super) fn expired(&self) -> JobError {
        let deadline = self.control.deadline.unwrap_or(self.given).since(self.given);
        JobError::Expired { job: self.who(), waited: clock::mono().since(self.given), deadline }
    }

    /// That nobody wanted it any more.
    pub(super) fn cancelled(&self) -> JobError {
        JobError::Cancelled { job: self.who() }
    }

    /// That there is nobody to run it.
    pub(super) fn without_worker(&self) -> JobError {
        JobError::NoWorker { job: self.who() }
    }

    /// That there are no threads any more.
    pub(super) fn ended(&self) -> JobError {
        JobError::Ended { job: self.who() }
    }
}

/// A job, from the side that runs it.
pub(super) trait Runnable: Send + Sync {
    fn meta(&self) -> &Meta;
    /// Runs it, unless it is over already; answers what a panic of it said.
    fn run(&self, slot: &Arc<Slot>) -> Option<String>;
    /// It is not to run any more, or who ran it is gone. What has an answer keeps it.
    fn give_up(&self, why: JobError) -> Remains;
}

/// What is left of a job that was given up, and has its answer: a closure that was not called, and who is
/// to be woken. Both are a user's.
#[must_use = "somebody may wait to be woken"]
pub(super) struct Remains {
    work: Option<Box<dyn Send>>,
    waker: Option<Waker>,
}

impl Remains {
    /// Wakes and drops. It may hang, as what users wrote may.
    pub(super) fn clear(self) {
        if let Some(waker) = self.waker {
            contained(|| waker.wake());
        }
        contained(|| drop(self.work));
    }
}

/// A job, from the side that waits for it.
pub(super) trait Answer<T>: Send + Sync {
    fn state(&self) -> JobState;
    fn cancel(&self);
    /// The answer, once, until a time at most.
    fn take(&self, until: Option<Instant>) -> Option<Result<T, JobError>>;
    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>>;
}

enum Stage<F, T> {
    Queued(F),
    Running { slot: Arc<Slot>, since: Mono },
    Over(Result<T, JobError>),
    Taken,
}

struct Inside<F, T> {
    stage: Stage<F, T>,
    waker: Option<Waker>,
}

pub(super) struct Task<F, T> {
    meta: Meta,
    inside: Mutex<ThreadJob, Inside<F, T>>,
    over: Condvar,
}

impl<F, T> Task<F, T>
where
    F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    pub(super) fn new(meta: Meta, work: F) -> Arc<Self> {
        let inside = Inside { stage: Stage::Queued(work), waker: None };
        Arc::new(Self { meta, inside: Mutex::new(inside), over: Condvar::new() })
    }

    fn with<R>(&self, look: impl FnOnce(&mut MutexGuard<'_, ThreadJob, Inside<F, T>>) -> R) -> R {
        with_root(|house| look(&mut self.inside.lock(house)))
    }

    /// The closure, if it is still to be called.
    fn begin(&self, slot: &Arc<Slot>) -> Option<F> {
        // Its thread has said so just before.
        let since = slot.busy_since().unwrap_or_else(clock::mono);
        let running = Stage::Running { slot: slot.clone(), since };
        self.with(|inside| match std::mem::replace(&mut inside.stage, running) {
            Stage::Queued(work) => Some(work),
            before => {
                inside.stage = before;
                None
            }
        })
    }

    fn end(&self, answer: Result<T, JobError>) {
        let waker = self.with(|inside| {
            // What stood there holds nothing of a user's: the closure is gone.
            inside.stage = Stage::Over(answer);
            inside.waker.take()
        });
        self.over.notify_all();
        if let Some(waker) = waker {
            contained(|| waker.wake());
        }
    }

    fn answer(inside: &mut Inside<F, T>) -> Option<Result<T, JobError>> {
        match std::mem::replace(&mut inside.stage, Stage::Taken) {
            Stage::Over(answer) => Some(answer),
            before => {
                inside.stage = before;
                None
            }
        }
    }
}

impl<F, T> Runnable for Task<F, T>
where
    F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn run(&self, slot: &Arc<Slot>) -> Option<String> {
        let work = self.begin(slot)?;
        if self.meta.control.is_cancelled.load(Relaxed) {
            contained(|| drop(work));
            self.end(Err(self.meta.cancelled()));
            return None;
        }
        let pulse = Pulse::new(slot, Some(&self.meta.control));
        let answer = with_root(|house| call(house, || work(&pulse))).map_err(message);
        let panic = answer.as_ref().err().cloned();
        self.end(answer.map_err(|message| JobError::Panicked { job: self.meta.who(), message }));
        panic
    }

    fn give_up(&self, why: JobError) -> Remains {
        let remains = self.with(|inside| match std::mem::replace(&mut inside.stage, Stage::Over(Err(why))) {
            Stage::Queued(work) => (Some(work), inside.waker.take()),
            Stage::Running { .. } => (None, inside.waker.take()),
            before => {
                inside.stage = before;
                (None, None)
            }
        });
        self.over.notify_all();
        let (work, waker) = remains;
        Remains { work: work.map(|work| Box::new(work) as Box<dyn Send>), waker }
    }
}

impl<F, T> Answer<T> for Task<F, T>
where
    F: FnOnce(&Pulse<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    fn state(&self) -> JobState {
        let now = clock::mono();
        self.with(|inside| match &inside.stage {
            Stage::Queued(_) => JobState::Queued,
            Stage::Running { slot, .. } if slot.is_given_up() => {
                JobState::Stuck { thread: slot.name.clone(), silent_for: now.since(slot.last_beat()) }
            }
            Stage::Running { slot, since } => JobState::Running {
                thread: slot.name.clone(),
                running_for: now.since(*since),
                is_late: self.meta.control.deadline.is_some_and(|deadline| now >= deadline),
            },
            Stage::Over(Err(why)) => JobState::Failed(why.clone()),
            Stage::Over(Ok(_)) | Stage::Taken => JobState::Done,
        })
    }

    fn cancel(&self) {
        self.meta.control.is_cancelled.store(true, Relaxed);
    }

    fn take(&self, until: Option<Instant>) -> Option<Result<T, JobError>> {
        self.with(|inside| {
            while !matches!(inside.stage, Stage::Over(_) | Stage::Taken) {
                match until {
                    None => self.over.wait(inside),
                    Some(until) if self.over.wait_until(inside, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            Self::answer(inside)
        })
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<T, JobError>> {
        // Both are the caller's: made and dropped outside, in its own poll.
        let mine = waker.clone();
        let (answer, before) = self.with(|inside| match Self::answer(inside) {
            Some(answer) => (Poll::Ready(answer), inside.waker.take().or(Some(mine))),
            None => (Poll::Pending, inside.waker.replace(mine)),
        });
        drop(before);
        answer
    }
}
