//! The stop, on a thread of its own: `ek-stop`.
//!
//! It sleeps until a signal or somebody of the program asks for a stop; runs
//! the plan; writes the report; and sees to it that the process goes. It needs
//! no runtime, waits for nothing without a deadline, and runs nothing that a
//! user wrote.
//!
//! ```text
//! signals, Keel::stop --> ek-stop --> steps (ek-step threads, runtime) --> inbox --> ek-stop
//!                            |--> journal (ek-journal)
//!                            |--> progress (ek-tell)
//!                            `--> report file, waiters, exit
//! ```

mod ending;
mod others;
mod shared;
mod tell;

use crate::callback::{call_alone, message};
use crate::cleanup::executor::{Executor, Means, Watch};
use crate::cleanup::{CLOSE_JOURNAL, CleanupCoordinator, Spawn, Workers, Works};
use crate::clock;
use crate::faults::FaultCoordinator;
use crate::journal::Journal;
use crate::signals::{Arrived, Signals};
use crate::state::{CLEANUP, Cause, CleanupState, StateMachine, States};
use crate::threads::{Class, Pulse, ThreadCoordinator};
use ending::Closing;
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{
    Action, ChannelReport, Event, Phase, Plan, PlanOptions, Report, Run, StepSpec, exit,
};
use evenkeel_hierarchy::{Cap, House, with_root};
use others::Others;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
pub(crate) use shared::Shared;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub use tell::Progress;
pub(crate) use tell::Tell;

/// What that step may take.
const CLOSE_JOURNAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Kept of the grace period for writing the report: a tenth, at most this.
const TAIL_MAX: Duration = Duration::from_millis(500);

/// What it may take to write down the faults that were reported until the journal is closed.
const SUM_PATIENCE: Duration = Duration::from_millis(100);

/// Why a stop was asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) reason: String,
    pub(crate) by: String,
}

impl Request {
    pub(crate) fn of_program(reason: String, by: String) -> Self {
        Self { reason, by }
    }
}

impl From<&Arrived> for Request {
    fn from(signal: &Arrived) -> Self {
        Self::of_program(format!("signal {}", signal.name), signal.sender.clone())
    }
}

/// A stop that is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// What was done.
    pub report: Report,
    /// Why the report could not be written to its file, if it could not.
    pub report_fault: Option<String>,
}

impl Stopped {
    /// What the process should exit with: the report's, but not 0 when the report could not be written.
    pub fn exit_code(&self) -> u8 {
        match (self.report.exit_code, &self.report_fault) {
            (exit::CLEAN, Some(_)) => exit::NOT_CLEAN,
            (code, _) => code,
        }
    }

    /// What there is to say when the stop itself has died.
    fn died(panic: &str) -> Self {
        let report = Report {
            version: evenkeel_core::cleanup::REPORT_VERSION,
            clean: false,
            complete: false,
            exit_code: exit::NOT_CLEAN,
            reason: format!("the stop itself panicked: {panic}"),
            initiated_by: "evenkeel".to_owned(),
            started: clock::rfc3339(clock::wall_ns()),
            duration_ms: 0.0,
            grace_ms: 0,
            phases: Vec::new(),
            channels: Vec::new(),
            abandoned: Vec::new(),
            journal_head: None,
        };
        Self { report, report_fault: Some("the stop died before it was written".to_owned()) }
    }
}

/// Asks the program what became of each channel: the reports, and whether they are complete.
pub(crate) type AskChannels = Arc<dyn Fn() -> (Vec<ChannelReport>, bool) + Send + Sync>;

/// What a stop is made with.
pub(crate) struct Setup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) coordinator: CleanupCoordinator,
    pub(crate) signals: Option<Signals>,
    pub(crate) journal: Option<Journal>,
    pub(crate) runtime: Option<Arc<dyn Spawn>>,
    pub(crate) grace: Duration,
    pub(crate) concurrency_max: usize,
    pub(crate) report_path: Option<PathBuf>,
    pub(crate) channels: Option<AskChannels>,
    /// Whether a drop makes the exit code 1.
    pub(crate) strict: bool,
    pub(crate) tell: Option<Tell>,
    pub(crate) may_exit: bool,
    pub(crate) threads: ThreadCoordinator,
    /// How far the stop is, for who looks. Its observers have mailboxes: none runs here.
    pub(crate) state: StateMachine<CleanupState>,
    pub(crate) faults: Option<FaultCoordinator>,
}

/// Name of the machine that says how far the stop is.
const STATE: &str = "cleanup";

/// The machine that says how far a stop is. The journal has the phases, and at its end the report: it is not in it.
pub(crate) fn cleanup_state(states: &States) -> StateMachine<CleanupState> {
    let machine = states.machine(&CLEANUP, STATE).unjournalled().anew().observers_aside().build();
    machine.expect("invariant: it is the first of a registry, under a name that can be one")
}

/// Where a stop came to, once its report is written.
fn come_to_an_end(state: &StateMachine<CleanupState>, stopped: &Stopped) {
    let is_cut = matches!(stopped.report.exit_code, exit::FORCED | exit::OUT_OF_TIME);
    let reason = stopped.report.reason.clone();
    if is_cut || state.try_change(CleanupState::Completed, reason.clone()).is_err() {
        // It says what it can: a stop waits for no turn.
        let _ = state.try_change(CleanupState::Failed, reason);
    }
}

impl Setup {
    /// Starts `ek-stop`.
    pub(crate) fn start(self) -> io::Result<()> {
        let (shared, may_exit, threads) = (self.shared.clone(), self.may_exit, self.threads.clone());
        let live = move |pulse: &Pulse<'_>| {
            let lived = catch_unwind(AssertUnwindSafe(|| self.live(pulse)));
            let Err(panic) = lived else { return };
            // A bug of ours. Nobody may wait for an answer for ever, and nobody hears
            // signals any more: better gone than deaf.
            let was_over = shared.stopped().is_some();
            let wakers = shared.publish(Stopped::died(&message(panic)));
            with_root(|house| wake(house, wakers));
            if may_exit && !was_over {
                ending::end_process(exit::NOT_CLEAN);
            }
        };
        threads.thread("ek-stop").class(Class::System).of_a_stop().start(live)?;
        Ok(())
    }

    fn live(mut self, pulse: &Pulse<'_>) {
        let request = pulse.waiting(|| self.wait_for_request());
        let began = clock::mono();
        let over_at = began.plus(self.grace);
        let others = Others::enter(over_at);
        let (stopped, executor) = self.stop(pulse, &request, began);
        self.leave(&stopped, over_at, &others);
        // From here on it is a user's code that may hang here: nobody is deaf by it.
        drop((self.signals.take(), others));
        with_root(|house| {
            call_alone(house, || drop(executor));
            call_alone(house, || drop(self));
        });
    }

    /// Waits until somebody asks for a stop.
    fn wait_for_request(&mut self) -> Request {
        loop {
            self.poll(None);
            self.shared.inbox.wake.clear();
            if let Some(request) = self.shared.begin() {
                return request;
            }
        }
    }

    /// Waits for signals or the wake, until a time at most. Answers whether there was a signal.
    fn poll(&mut self, until: Option<Mono>) -> bool {
        let timeout = until.map(|until| until.since(clock::mono()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.shared.inbox.wake, PollFlags::IN)];
        if let Some(signals) = &self.signals {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
        }
        // An interruption is looked at like a wake: everything is looked at anyway.
        let _ = poll(&mut fds, timeout.as_ref());
        let signals = self.signals.as_mut().map(Signals::pending).unwrap_or_default();
        let has_begun = self.shared.has_begun();
        let is_first = self.shared.hear(&signals);
        if let (true, true, Some(journal), Some(signal)) =
            (has_begun, is_first, &self.journal, signals.first())
        {
            // It asks for what is under way already.
            let body = json!({ "signal": signal.name, "from": signal.sender });
            let _ = journal.append("signal", None, body);
        }
        !signals.is_empty()
    }

    /// The whole stop, up to its publication.
    fn stop(&mut self, pulse: &Pulse<'_>, request: &Request, began: Mono) -> (Stopped, Executor) {
        let started_ns = clock::wall_ns();
        self.tell(Progress::Stopping { reason: request.reason.clone(), by: request.by.clone() });
        if let Some(faults) = &self.faults {
            faults.stop_begins();
        }
        let (specs, works) = self.coordinator.close();
        if let Some(journal) = &self.journal {
            let body = json!({
                "reason": request.reason, "initiated_by": request.by,
                "grace_ms": self.grace.as_millis() as u64, "steps": specs.len(),
            });
            let _ = journal.append("stop", None, body);
        }
        let closing = Closing::new(self, request, started_ns, began);
        // What it took to get here is gone.
        let budget = budget(self.grace).saturating_sub(clock::mono().since(began)).max(LEAST_BUDGET);
        let mut executor = self.executor(specs, works, budget, &closing);
        let (tell, journal, state) = (self.tell.clone(), self.journal.clone(), self.state.clone());
        let (faults, reason) = (self.faults.clone(), request.reason.clone().into());
        let mut watch = Told { tell, faults, journal, state, reason, closing };
        // Who forces before anything has begun wants nothing to begin.
        let first = self.shared.forced().map_or(Event::Begin, |by| Event::Force { by });
        executor.turn(first, &mut watch);
        while let Some(deadline) = executor.next_deadline() {
            pulse.waiting(|| self.poll(Some(deadline)));
            executor.turn(Event::Tick, &mut watch);
            if let Some(by) = self.shared.forced() {
                executor.turn(Event::Force { by }, &mut watch);
            }
        }
        let workers = watch.closing.workers.clone();
        let stopped = watch.closing.end(&executor, self);
        come_to_an_end(&self.state, &stopped);
        self.tell(Progress::Stopped(Box::new(stopped.clone())));
        wake_all(self.shared.publish(stopped.clone()), &workers);
        (stopped, executor)
    }

    fn executor(
        &self,
        mut specs: Vec<StepSpec>,
        mut works: Vec<Works>,
        budget: Duration,
        closing: &Closing,
    ) -> Executor {
        if let Some(journal) = &self.journal {
            let last = close_journal(&specs);
            specs.push(last);
            works.push(closing.works(journal));
        }
        let options = PlanOptions { budget, concurrency_max: self.concurrency_max, ..PlanOptions::default() };
        let plan = Plan::new(specs, options).expect("invariant: what is registered is a sound plan");
        let means = Means {
            workers: closing.workers.clone(),
            runtime: self.runtime.clone(),
            journal: self.journal.clone(),
        };
        Executor::new(Run::new(plan), works, means, self.shared.inbox.clone())
    }

    fn tell(&self, progress: Progress) {
        if let Some(tell) = &self.tell {
            tell.tell(progress);
        }
    }

    /// Sees to it that the process goes: at once when the stop was forced or out of
    /// time, at the end of the grace period when a signal asked for the stop. A stop
    /// that the program asked for and that left nothing behind leaves it alone. Other
    /// services of this process that are stopping have until the end of theirs.
    fn leave(&mut self, stopped: &Stopped, over_at: Mono, others: &Others) {
        others.over(stopped.exit_code());
        let gone_wrong = stopped.report.exit_code > exit::NOT_CLEAN;
        let leftovers = !stopped.report.abandoned.is_empty();
        if !self.may_exit || !(self.shared.has_heard_signal() || gone_wrong || leftovers) {
            return;
        }
        let now = clock::mono();
        let until = match stopped.report.exit_code {
            exit::FORCED => now.plus(FORCED_PATIENCE),
            _ => over_at.max(now.plus(EXIT_PATIENCE)),
        };
        let mut has_signal = false;
        loop {
            let (now, others_until) = (clock::mono(), others.until());
            // Another signal asks for more haste, and no other service has to pay for it.
            let mine = if has_signal { now } else { until };
            if now >= mine.max(others_until.unwrap_or(mine)) {
                break;
            }
            let look_again = others_until.map_or(mine, |_| now.plus(LOOK_AGAIN));
            has_signal |= self.poll(Some(look_again));
            self.shared.inbox.wake.clear();
        }
        if !self.shared.is_forsaken() || self.shared.has_heard_signal() {
            ending::end_process(others.exit_code(stopped.exit_code()));
        }
    }
}

/// Wakes whoever waits, on a thread that what they wrote may block.
fn wake_all(wakers: Vec<std::task::Waker>, workers: &Workers) {
    if wakers.is_empty() {
        return;
    }
    if let Err(refused) = workers.run(Box::new(move |house: &mut Cap<House>| wake(house, wakers))) {
        with_root(refused.task);
    }
}

fn wake(house: &mut Cap<House>, wakers: Vec<std::task::Waker>) {
    wakers.into_iter().for_each(|waker| call_alone(house, || waker.wake()));
}

/// While other services of this process are stopping: how often it is looked whether they are done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What a plan has at least.
const LEAST_BUDGET: Duration = Duration::from_nanos(1);
/// How long the program has to leave by itself, if its grace period leaves it less.
const EXIT_PATIENCE: Duration = Duration::from_millis(250);
/// How long it has when the stop was forced; a third signal makes it shorter.
const FORCED_PATIENCE: Duration = Duration::from_secs(1);

/// What the steps of a stop have of its grace period: the rest is for the report.
pub(crate) fn budget(grace: Duration) -> Duration {
    grace.saturating_sub((grace / 10).min(TAIL_MAX))
}

/// The step that ends the journal: after everything else, with the report as its last entry.
pub(crate) fn close_journal(others: &[StepSpec]) -> StepSpec {
    let mut spec = StepSpec::new(CLOSE_JOURNAL, Phase::ClosingLogs).verified().idempotent();
    for other in others.iter().filter(|other| other.phase == Phase::ClosingLogs) {
        spec = spec.follows(&other.name);
    }
    spec.limits.timeout = CLOSE_JOURNAL_TIMEOUT;
    spec.limits.expected = Duration::from_millis(5);
    spec
}

/// Watches the actions: tells people, writes phases into the journal, and the
/// report before the journal is closed.
struct Told {
    tell: Option<Tell>,
    faults: Option<FaultCoordinator>,
    journal: Option<Journal>,
    state: StateMachine<CleanupState>,
    reason: Cause,
    closing: Closing,
}

impl Told {
    fn phase(&self, phase: Phase, state: &str) {
        if let Some(journal) = &self.journal {
            let _ = journal.append("phase", None, json!({ "phase": phase, "state": state }));
        }
    }
}

impl Watch for Told {
    fn before(&mut self, run: &Run, action: &Action) {
        match *action {
            Action::PhaseBegan(phase) => {
                self.phase(phase, "began");
                let _ = self.state.try_change(phase.into(), self.reason.clone());
                if let Some(tell) = &self.tell {
                    tell.tell(Progress::PhaseBegan(phase));
                }
            }
            Action::PhaseEnded(phase) => self.phase(phase, "ended"),
            Action::Run { step, .. } if run.plan().step(step).name == CLOSE_JOURNAL => {
                if let Some(faults) = &self.faults {
                    faults.sum_up(SUM_PATIENCE);
                }
                self.closing.prepare(run, step);
            }
            Action::Ended { step } => {
                if let Some((faults, verdict)) = self.faults.as_ref().zip(run.verdict(step)) {
                    let spec = run.plan().step(step);
                    let of = (&*spec.name, spec.channel.as_deref(), spec.phase);
                    faults.step_ended(of, verdict, run.detail(step));
                }
                if let Some((tell, verdict)) = self.tell.as_ref().zip(run.verdict(step)) {
                    let spec = run.plan().step(step);
                    tell.tell(Progress::StepEnded {
                        name: spec.name.clone(),
                        phase: spec.phase,
                        verdict,
                        detail: run.detail(step).map(str::to_owned),
                    });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;

    // REQ C5
    #[test]
    fn a_stop_that_dies_leaves_nobody_waiting() {
        let shared = Shared::new().unwrap();
        let coordinator = CleanupCoordinator::default();
        coordinator.break_it();
        let setup = Setup {
            shared: shared.clone(),
            coordinator,
            strict: false,
            signals: None,
            journal: None,
            runtime: None,
            grace: Duration::from_secs(20),
            concurrency_max: 1,
            report_path: None,
            channels: None,
            tell: None,
            may_exit: false,
            threads: ThreadCoordinator::default(),
            state: cleanup_state(&States::default()),
            faults: None,
        };
        setup.start().unwrap();
        shared.arm();
        shared.request(Request::of_program("enough".to_owned(), "the test".to_owned()));
        let stopped = shared.wait(Some(Duration::from_secs(60))).expect("it waits for ever");
        assert_eq!((stopped.exit_code(), stopped.report.clean), (1, false));
        assert!(stopped.report.reason.contains("every step has its closures"), "{}", stopped.report.reason);
    }
}
