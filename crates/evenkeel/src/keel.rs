//! The front door: wires everything, hands out channels, and stops.
//!
//! The wiring has one order, and each constructor needs what the one before it
//! made: the monitoring creates the resource pool; the components and the buffers
//! are given it; whoever wants resources asks the monitoring.

mod build;
mod entry;
mod faults;
mod release;
mod resources;
mod threads;

use crate::buffers::BufferManager;
use crate::cleanup::{CleanupCoordinator, StepBuilder};
use crate::components::{Component, ComponentCoordinator, ComponentError};
use crate::faults::{FaultCoordinator, Supervision};
use crate::journal::Journal;
use crate::monitoring::MonitoringCoordinator;
use crate::state::{CleanupState, MachineBuilder, State, StateReader, States, Table};
use crate::stop::{Request, Shared, Stopped, close_journal};
use crate::threads::ThreadCoordinator;
pub use build::{BuildError, Builder};
pub use entry::main;
use evenkeel_core::cleanup::{
    Forecast, Plan, PlanError, PlanOptions, Report, StepSpec, forecast, worst_case,
};
use evenkeel_core::{NameError, check_name};
use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long the drop of the last handle waits for the stop that it asks for.
const DROP_GRACE: Duration = Duration::from_secs(1);

struct Inner {
    name: String,
    shared: Arc<Shared>,
    cleanup: CleanupCoordinator,
    monitoring: MonitoringCoordinator,
    components: ComponentCoordinator,
    states: States,
    stop_state: StateReader<CleanupState>,
    buffers: BufferManager,
    threads: ThreadCoordinator,
    faults: FaultCoordinator,
    journal: Option<Journal>,
    grace: Duration,
    concurrency_max: usize,
}

/// A service on an even keel. Cheap to clone; all clones are one.
///
/// Dropping the last one without a stop asks for one and waits a second for it.
#[derive(Clone)]
pub struct Keel(Arc<Inner>);

impl fmt::Debug for Keel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keel").field("name", &self.0.name).field("cleanup", &self.0.cleanup).finish()
    }
}

impl Keel {
    /// Begins to describe a service.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A handle to a channel, which can only touch that channel.
    ///
    /// # Errors
    /// [`NameError`]: `[a-z0-9][a-z0-9_-]{0,62}` is allowed.
    pub fn channel(&self, name: &str) -> Result<Channel, NameError> {
        check_name(name)?;
        Ok(Channel { keel: self.clone(), name: name.to_owned(), supervision: OnceLock::new() })
    }

    /// Describes a step of the stop that belongs to no channel.
    pub fn cleanup(&self, name: impl Into<String>) -> StepBuilder {
        StepBuilder::new(self.0.cleanup.clone(), name.into(), None)
    }

    /// The same for a step that is described already. Whether it is verified or
    /// compensated follows from what it is given.
    pub fn cleanup_as(&self, spec: StepSpec) -> StepBuilder {
        StepBuilder::of(self.0.cleanup.clone(), spec)
    }

    /// Takes in a component that all channels share.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn component(&self, name: &str) -> Result<Component, ComponentError> {
        self.0.components.register(None, name)
    }

    /// The monitoring, which owns the resources.
    pub fn monitoring(&self) -> &MonitoringCoordinator {
        &self.0.monitoring
    }

    /// All components.
    pub fn components(&self) -> &ComponentCoordinator {
        &self.0.components
    }

    /// All state machines.
    pub fn states(&self) -> &States {
        &self.0.states
    }

    /// How far the stop is, to read and observe. Who observes is told by jobs, and holds up no stop.
    pub fn stop_state(&self) -> &StateReader<CleanupState> {
        &self.0.stop_state
    }

    /// Buffer space by channel.
    pub fn buffers(&self) -> &BufferManager {
        &self.0.buffers
    }

    /// Threads and jobs.
    pub fn threads(&self) -> &ThreadCoordinator {
        &self.0.threads
    }

    /// The journal, if one is kept.
    pub fn journal(&self) -> Option<&Journal> {
        self.0.journal.as_ref()
    }

    /// The steps of a stop that would begin now, in a plan.
    ///
    /// # Panics
    /// Never: what is registered is a sound plan.
    pub fn plan(&self) -> Plan {
        let plan =
            plan_of(self.0.cleanup.steps(), self.0.journal.is_some(), self.0.grace, self.0.concurrency_max);
        plan.expect("invariant: what is registered is a sound plan")
    }

    /// What a stop that begins now is expected to take.
    pub fn forecast(&self) -> Forecast {
        forecast(&self.plan())
    }

    /// What a stop that begins now takes if every step needs all of its time.
    pub fn worst_case(&self) -> Forecast {
        worst_case(&self.plan())
    }

    /// From now on a stop may begin; for a service that was built
    /// [deferred](Builder::deferred).
    pub fn arm(&self) {
        self.0.shared.arm();
    }

    /// Asks for a stop, and returns at once. The first to ask gives the reason.
    pub fn request_stop(&self, reason: impl Into<String>, by: impl Into<String>) {
        self.0.shared.request(Request::of_program(reason.into(), by.into()));
    }

    /// Ends everything at once, naming what was abandoned.
    pub fn force(&self, by: impl Into<String>) {
        self.0.shared.force(by.into());
    }

    /// Whether the stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.0.shared.has_begun()
    }

    /// Stops in order, and waits for the end. The stop lasts its grace period at most.
    pub fn stop(&self, reason: impl Into<String>, by: impl Into<String>) -> Report {
        self.request_stop(reason, by);
        self.wait().report.clone()
    }

    /// Stops what there is of a service that could not start: its exit code is 3.
    pub fn stop_unstarted(&self, why: impl Into<String>, by: impl Into<String>) -> Report {
        self.0.shared.not_started();
        self.request_stop(why, by);
        self.arm();
        self.wait().report.clone()
    }

    /// Waits until a signal or somebody has stopped the service. From inside a step
    /// that would be its own end, and lasts until the step is given up.
    ///
    /// # Panics
    /// Never: a wait without a limit ends only with an answer.
    pub fn wait(&self) -> Arc<Stopped> {
        self.0.shared.wait(None).expect("invariant: a wait without a limit ends with an answer")
    }

    /// The same, for a while.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Arc<Stopped>> {
        self.0.shared.wait(Some(timeout))
    }

    /// Runs until a signal or somebody has stopped the service. Dropping the future
    /// changes nothing: the stop is not the caller's to cancel.
    pub fn run_until_signal(&self) -> RunUntilSignal {
        RunUntilSignal { ticket: self.0.shared.ticket(), shared: self.0.shared.clone() }
    }

    /// A descriptor that becomes readable when the stop is over.
    pub fn over(&self) -> BorrowedFd<'_> {
        self.0.shared.over().as_fd()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.shared.stopped().is_none() {
            self.shared.forsake();
            self.shared.arm();
            let reason = "its last handle was dropped".to_owned();
            self.shared.request(Request::of_program(reason, self.name.clone()));
            self.shared.wait(Some(DROP_GRACE));
        }
    }
}

/// The plan of a stop with these steps, as a service with or without a journal,
/// and with this grace period, would make it.
///
/// # Errors
/// [`PlanError`], naming the steps.
pub fn plan_of(
    mut steps: Vec<StepSpec>,
    has_journal: bool,
    grace: Duration,
    concurrency_max: usize,
) -> Result<Plan, PlanError> {
    if has_journal {
        let last = close_journal(&steps);
        steps.push(last);
    }
    let budget = crate::stop::budget(grace);
    Plan::new(steps, PlanOptions { budget, concurrency_max, ..PlanOptions::default() })
}

/// The future of [`Keel::run_until_signal`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct RunUntilSignal {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Drop for RunUntilSignal {
    fn drop(&mut self) {
        self.shared.wait_no_more(self.ticket);
    }
}

impl fmt::Debug for RunUntilSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunUntilSignal")
    }
}

impl Future for RunUntilSignal {
    type Output = Arc<Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.stopped_or_wake(self.ticket, context.waker()) {
            Some(stopped) => Poll::Ready(stopped),
            None => Poll::Pending,
        }
    }
}

/// A channel: everything that is made through it belongs to it.
#[derive(Clone, Debug)]
pub struct Channel {
    keel: Keel,
    name: String,
    /// What supervision knows of it, once something is reported or asked.
    supervision: OnceLock<Supervision>,
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Describes a step of the stop that belongs to this channel.
    pub fn cleanup(&self, name: impl Into<String>) -> StepBuilder {
        StepBuilder::new(self.keel.0.cleanup.clone(), name.into(), Some(self.name.clone()))
    }

    /// Describes a state machine of this channel.
    pub fn machine<S: State>(&self, table: &'static Table<S>, name: &str) -> MachineBuilder<S> {
        self.keel.0.states.machine_of(Some(&self.name), None, table, name)
    }

    /// Takes in a component of this channel.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn component(&self, name: &str) -> Result<Component, ComponentError> {
        self.keel.0.components.register(Some(&self.name), name)
    }
}
