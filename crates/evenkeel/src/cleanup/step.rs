//! Building a step, and what its closures are given.

use super::coordinator::{CleanupCoordinator, CleanupHandle, RegisterError};
use super::future::BoxFuture;
use super::work::{Work, Works};
use crate::clock::mono;
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{Backoff, Outcome, Phase, StepSpec};
use evenkeel_hierarchy::{Condvar, Mutex, StepTold, with_root};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a step's closures are given: how much time there is, whether to stop.
#[derive(Clone)]
pub struct Step(Arc<Inner>);

struct Inner {
    name: String,
    attempt: u32,
    deadline: AtomicU64,
    has_begun: AtomicBool,
    cancelled: AtomicBool,
    /// Who waits to be told waits with the lock; what is told is `cancelled`, which is read without.
    told: (Mutex<StepTold, ()>, Condvar),
    /// Until when it wants time, in nanoseconds, not yet heard; 0 when there is no such wish.
    lease: AtomicU64,
    /// Says that there is such a wish.
    extend: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.0.name).field("attempt", &self.0.attempt).finish()
    }
}

impl Step {
    pub(crate) fn new(
        name: String,
        attempt: u32,
        deadline: Mono,
        extend: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            attempt,
            deadline: AtomicU64::new(deadline.as_nanos()),
            has_begun: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            told: (Mutex::new(()), Condvar::new()),
            lease: AtomicU64::new(0),
            extend,
        }))
    }

    /// The step's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Time until the step is told to stop, as it was when it began or was last extended.
    pub fn remaining(&self) -> Duration {
        self.deadline().since(mono())
    }

    /// When the step is told to stop, monotonic.
    pub fn deadline(&self) -> Mono {
        Mono::from_nanos(self.0.deadline.load(Ordering::Acquire))
    }

    /// Whether the step was told to stop: its time is up, or the stop is forced.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Waits for `timeout`, or less when the step is told to stop; answers whether it was.
    pub fn wait_cancelled(&self, timeout: Duration) -> bool {
        let (lock, told) = &self.0.told;
        with_root(|house| {
            let _ = told.wait_while_for(&mut lock.lock(house), |()| !self.is_cancelled(), timeout);
        });
        self.is_cancelled()
    }

    /// Says that there is progress, and asks for `by` from now on. It is a lease,
    /// to be renewed while there is progress, and ends with the budget of its phase.
    pub fn extend(&self, by: Duration) {
        let until = mono().plus(by).as_nanos().max(1);
        // One wish waits to be heard at most, however often it is said.
        if !self.is_cancelled() && self.0.lease.fetch_max(until, Ordering::AcqRel) == 0 {
            (self.0.extend)();
        }
    }

    /// The wish for time that has not been heard yet, from now on.
    pub(crate) fn take_lease(&self) -> Option<Duration> {
        let until = self.0.lease.swap(0, Ordering::AcqRel);
        (until > 0).then(|| Mono::from_nanos(until).since(mono()))
    }

    /// Begins it, unless it was told to stop before.
    pub(crate) fn begin(&self) -> bool {
        let may_begin = !self.is_cancelled();
        if may_begin {
            self.0.has_begun.store(true, Ordering::Release);
        }
        may_begin
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Acquire)
    }

    pub(crate) fn set_deadline(&self, deadline: Mono) {
        self.0.deadline.store(deadline.as_nanos(), Ordering::Release);
    }

    pub(crate) fn cancel(&self) {
        let (lock, told) = &self.0.told;
        with_root(|house| {
            let _guard = lock.lock(house);
            self.0.cancelled.store(true, Ordering::Release);
        });
        told.notify_all();
    }
}

/// What a step's closure may answer: nothing, whether, or why not.
pub trait StepOutput {
    /// As an outcome.
    fn into_outcome(self) -> Outcome;
}

impl StepOutput for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Done
    }
}

impl StepOutput for bool {
    fn into_outcome(self) -> Outcome {
        if self { Outcome::Done } else { Outcome::Failed("it said no".to_owned()) }
    }
}

impl<T: StepOutput, E: Into<Box<dyn Error + Send + Sync>>> StepOutput for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(output) => output.into_outcome(),
            Err(error) => Outcome::Failed(chain(&*error.into())),
        }
    }
}

/// An error and its causes, in words.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// A step that is being described. Nothing happens before [`StepBuilder::register`].
///
/// ```
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let left = keel.channel("left")?;
/// left.cleanup("flush/left")
///     .phase(Phase::FlushingStorage)
///     .timeout(5.seconds())
///     .run(|step| async move {
///         assert!(step.remaining() <= 5.seconds());
///     })
///     .verify(|_| async { true })
///     .register()?;
///
/// let report = keel.stop("the example is over", "the example");
/// assert!(report.clean);
/// # Ok(())
/// # }
/// ```
#[must_use = "a step that is not registered does not run"]
pub struct StepBuilder {
    coordinator: CleanupCoordinator,
    spec: StepSpec,
    run: Option<Work>,
    verify: Option<Work>,
    compensate: Option<Work>,
}

impl fmt::Debug for StepBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StepBuilder").field(&self.spec).finish()
    }
}

impl StepBuilder {
    pub(crate) fn new(coordinator: CleanupCoordinator, name: String, channel: Option<String>) -> Self {
        Self::of(coordinator, StepSpec { channel, ..StepSpec::new(name, Phase::ReleasingResources) })
    }

    pub(crate) fn of(coordinator: CleanupCoordinator, spec: StepSpec) -> Self {
        Self { coordinator, spec, run: None, verify: None, compensate: None }
    }

    /// Its phase; [`Phase::ReleasingResources`] if nothing else is said.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.spec.phase = phase;
        self
    }

    /// The component that it belongs to.
    pub fn component(mut self, name: impl Into<String>) -> Self {
        self.spec.component = Some(name.into());
        self
    }

    /// Runs only after `name` has succeeded; it has to be registered already.
    pub fn after(mut self, name: impl AsRef<str>) -> Self {
        self.spec = self.spec.needs(name.as_ref());
        self
    }

    /// Runs only when `name` is over, however it ended; it has to be registered already.
    pub fn follows(mut self, name: impl AsRef<str>) -> Self {
        self.spec = self.spec.follows(name.as_ref());
        self
    }

    /// Of several that could run, the higher goes first; 0 if nothing else is said.
    pub fn priority(mut self, priority: i32) -> Self {
        self.spec.priority = priority;
        self
    }

    /// What it may take in all: attempts, the waits between them, verification. 5 s
    /// if nothing else is said; the budget may leave it less.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.limits.timeout = timeout;
        self
    }

    /// Attempts after the first, and the waits between them. None if nothing else is said.
    pub fn retries(mut self, retries: u32, backoff: Backoff) -> Self {
        (self.spec.limits.retries, self.spec.limits.backoff) = (retries, backoff);
        self
    }

    /// What it is expected to take, for plans and forecasts.
    pub fn expected(mut self, expected: Duration) -> Self {
        self.spec.limits.expected = expected;
        self
    }

    /// It can be run twice without harm: it does not wait until its intent is durable.
    pub fn idempotent(mut self) -> Self {
        self.spec = self.spec.idempotent();
        self
    }

    /// What it does, as a future. It is given to the embedder's runtime where there
    /// is one, to a thread of its own otherwise. When its time is up it is dropped.
    pub fn run<F, R>(mut self, work: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: StepOutput,
    {
        self.run = Some(future(work));
        self
    }

    /// What it does, on a thread that it may block. Told to stop, it should look at
    /// [`Step::is_cancelled`]; if it does not, it is named and left behind.
    pub fn run_blocking<R: StepOutput>(mut self, work: impl Fn(Step) -> R + Send + Sync + 'static) -> Self {
        self.run = Some(blocking(work));
        self
    }

    /// Whether everything is as it should be after it, as a future. Runs after an
    /// error too: what it finds decides.
    pub fn verify<F, R>(mut self, work: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: StepOutput,
    {
        self.verify = Some(future(work));
        self
    }

    /// The same on a thread that it may block.
    pub fn verify_blocking<R: StepOutput>(
        mut self,
        work: impl Fn(Step) -> R + Send + Sync + 'static,
    ) -> Self {
        self.verify = Some(blocking(work));
        self
    }

    /// What is to be done when it has failed for good, as a future.
    pub fn compensate<F, R>(mut self, work: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send + 'static,
        R: StepOutput,
    {
        self.compensate = Some(future(work));
        self
    }

    /// The same on a thread that it may block.
    pub fn compensate_blocking<R: StepOutput>(
        mut self,
        work: impl Fn(Step) -> R + Send + Sync + 'static,
    ) -> Self {
        self.compensate = Some(blocking(work));
        self
    }

    /// Puts it into the plan of the stop.
    ///
    /// # Errors
    /// [`RegisterError`]: what is wrong with it, or that the stop has begun.
    pub fn register(mut self) -> Result<CleanupHandle, RegisterError> {
        let Some(run) = self.run.take() else {
            return Err(RegisterError::NothingToRun { step: self.spec.name });
        };
        self.spec.is_verified = self.verify.is_some();
        self.spec.is_compensated = self.compensate.is_some();
        let works = Works { run, verify: self.verify.take(), compensate: self.compensate.take() };
        self.coordinator.register(self.spec, works)
    }
}

fn future<F, R>(work: impl Fn(Step) -> F + Send + Sync + 'static) -> Work
where
    F: Future<Output = R> + Send + 'static,
    R: StepOutput,
{
    Work::Async(Arc::new(move |step| -> BoxFuture<Outcome> {
        let future = work(step);
        Box::pin(async move { future.await.into_outcome() })
    }))
}

fn blocking<R: StepOutput>(work: impl Fn(Step) -> R + Send + Sync + 'static) -> Work {
    Work::Blocking(Arc::new(move |step| work(step).into_outcome()))
}
