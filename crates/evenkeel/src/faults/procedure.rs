//! What users said how to do about faults, and the doing: on jobs, with time limits, an answer for each.
//!
//! Invariants: a procedure never runs on `ek-faults`, nor under a lock; each that was begun is answered once, also when
//! its job was refused, came too late for its turn or panicked; a panic in it is a fault.

use super::Inner;
use super::inbox::News;
use super::report::Whose;
use crate::callback::{call, message};
use crate::threads::{Class, Pulse, ThreadCoordinator};
use evenkeel_core::fault::{Causes, Code, Severity, Text};
use evenkeel_core::supervision::{Cause, ChannelId, ComponentId, FaultId, Reason, RecoveryStep};
use evenkeel_hierarchy::with_root;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a procedure is given: what it is for, and how it says that it gets on.
///
/// ```
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let left = keel.channel("left")?;
/// left.supervise("mic")
///     .restart(|attempt| {
///         // A long one says now and then that it is alive, and looks whether anybody still waits for it.
///         attempt.beat();
///         if attempt.should_stop() { Err("it took too long") } else { Ok(()) }
///     })
///     .register()?;
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Attempt<'a> {
    pub(super) pulse: &'a Pulse<'a>,
    pub(super) cause: Cause,
    pub(super) level: u32,
}

impl Attempt<'_> {
    /// The fault that led to it.
    pub fn fault(&self) -> FaultId {
        self.cause.fault
    }

    /// That fault's code.
    pub fn code(&self) -> Code {
        self.cause.code
    }

    /// Why this is done and nothing milder.
    pub fn reason(&self) -> Reason {
        self.cause.reason
    }

    /// How many of these count at the moment, this one included; 1 for what is not counted.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Says that it is alive and gets on; see [`Pulse::beat`].
    #[track_caller]
    pub fn beat(&self) {
        self.pulse.beat();
    }

    /// Whether its time is over, or the threads are being terminated: it counts as failed already.
    pub fn should_stop(&self) -> bool {
        self.pulse.should_stop()
    }
}

/// A procedure of a user's.
pub(super) type Procedure = Arc<dyn Fn(&Attempt<'_>) -> Result<(), Causes> + Send + Sync>;

/// Makes one of what a user gives.
pub(super) fn procedure<E: Into<Box<dyn Error + Send + Sync>>>(
    work: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
) -> Procedure {
    Arc::new(move |attempt| work(attempt).map_err(|error| Causes::of(&*error.into())))
}

/// What a job of ours does.
pub(super) type Job = Box<dyn FnOnce(&Pulse<'_>) + Send>;
/// Runs a job of this name somewhere, within a time if one is said; drops one that it cannot run.
pub(super) type Run = Arc<dyn Fn(String, Option<Duration>, Job) + Send + Sync>;

/// Jobs on a coordinator of threads.
pub(super) fn on_threads(threads: ThreadCoordinator) -> Run {
    Arc::new(move |name, limit, job| {
        let builder = threads.job(name).class(Class::System);
        let builder = match limit {
            Some(limit) => builder.deadline(limit),
            None => builder,
        };
        // One that is refused is dropped, and answers by that.
        let _ = builder.run(job);
    })
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Task {
    /// Nobody waits for the answer but the component's state.
    Retry(ComponentId),
    Restart(ComponentId),
    Part(ChannelId, RecoveryStep),
}

/// How a procedure ended. The text is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It worked; or there was nothing to do, for this reason.
    Done(Option<&'static str>),
    /// It did not; whether that is a fault that was told already.
    Failed { causes: Causes, is_told: bool },
}

impl Outcome {
    /// It did not, for this reason.
    pub(super) fn failed(why: &str) -> Self {
        Self::Failed { causes: Causes::text(Text::from(why)), is_told: false }
    }

    /// Why, where there is something to say.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::Done(why) => why.map(str::to_owned),
            Self::Failed { causes, .. } => {
                let texts: Vec<&str> = causes.texts().iter().map(Text::as_str).collect();
                Some(texts.join(": "))
            }
        }
    }
}

/// The one answer of a procedure.
pub(super) struct Answer {
    inner: Arc<Inner>,
    task: Task,
    outcome: Option<Outcome>,
}

impl Answer {
    pub(super) fn new(inner: &Arc<Inner>, task: Task) -> Self {
        Self { inner: inner.clone(), task, outcome: None }
    }

    /// Gives it.
    pub(super) fn give(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let never = || Outcome::failed("there was no thread for it in its time");
        let outcome = self.outcome.take().unwrap_or_else(never);
        self.inner.inbox.post(News::Answer(self.task, outcome));
    }
}

/// Calls procedures one after the other, until one fails.
pub(super) fn run_all(
    inner: &Arc<Inner>,
    whose: &Whose,
    procedures: &[Procedure],
    attempt: &Attempt<'_>,
) -> Outcome {
    for procedure in procedures {
        match with_root(|house| call(house, || procedure(attempt))) {
            Ok(Ok(())) => {}
            Ok(Err(causes)) => return Outcome::Failed { causes, is_told: false },
            Err(panic) => {
                let causes = Causes::text(message(panic));
                // A fault of its own, beside the one that it was for.
                inner.fault(whose, Code::PANIC, Severity::Error).causes(causes.clone()).report();
                return Outcome::Failed { causes, is_told: true };
            }
        }
    }
    Outcome::Done(None)
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("task", &self.task).finish()
    }
}
