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
mod tell;

use crate::cleanup::executor::{Executor, Inbox, Means, Watch};
use crate::cleanup::{CleanupCoordinator, Registered, Spawn, Work, Works};
use crate::clock;
use crate::journal::Journal;
use crate::signals::{Arrived, Signals};
use crate::wake::Wake;
use ending::Closing;
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{
    Action, ChannelReport, Event, Outcome, Phase, Plan, PlanOptions, Report, Run, StepSpec,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
pub use tell::Progress;
pub(crate) use tell::Tell;

/// Name of the step that ends the journal.
pub(crate) const CLOSE_JOURNAL: &str = "close-journal";
/// What that step may take.
const CLOSE_JOURNAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Kept of the grace period for writing the report: a tenth, at most this.
const TAIL_MAX: Duration = Duration::from_millis(500);

/// Why a stop was asked for, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) reason: String,
    pub(crate) by: String,
    pub(crate) is_signal: bool,
}

impl From<&Arrived> for Request {
    fn from(signal: &Arrived) -> Self {
        Self { reason: format!("signal {}", signal.name), by: signal.sender.clone(), is_signal: true }
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
            (0, Some(_)) => 1,
            (code, _) => code,
        }
    }
}

#[derive(Default)]
struct State {
    request: Option<Request>,
    force: Option<String>,
    /// Whether a stop may begin; until then requests are kept.
    is_armed: bool,
    has_begun: bool,
    stopped: Option<Arc<Stopped>>,
    wakers: Vec<Waker>,
    /// Nobody is left who could want the process to go.
    is_forsaken: bool,
}

/// What `ek-stop` and everybody else share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    inbox: Arc<Inbox>,
    /// Readable once the stop is over.
    over: Wake,
}

impl Shared {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let inbox = Arc::new(Inbox::new()?);
        Ok(Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), inbox, over: Wake::new()? }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a stop; the first to ask gives the reason.
    pub(crate) fn request(&self, request: Request) {
        self.lock().request.get_or_insert(request);
        self.inbox.wake.signal();
    }

    /// Asks for an end at once.
    pub(crate) fn force(&self, by: String) {
        let mut state = self.lock();
        let reason = "forced".to_owned();
        state.request.get_or_insert(Request { reason, by: by.clone(), is_signal: false });
        state.force.get_or_insert(by);
        drop(state);
        self.inbox.wake.signal();
    }

    /// From now on a stop may begin.
    pub(crate) fn arm(&self) {
        self.lock().is_armed = true;
        self.inbox.wake.signal();
    }

    /// The journal has made something durable, or the like: look again.
    pub(crate) fn nudge(&self) {
        self.inbox.wake.signal();
    }

    pub(crate) fn forsake(&self) {
        self.lock().is_forsaken = true;
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    pub(crate) fn stopped(&self) -> Option<Arc<Stopped>> {
        self.lock().stopped.clone()
    }

    pub(crate) fn over(&self) -> &Wake {
        &self.over
    }

    /// The answer, or a promise to wake `waker` when there is one.
    pub(crate) fn stopped_or_wake(&self, waker: &Waker) -> Option<Arc<Stopped>> {
        let mut state = self.lock();
        if state.stopped.is_none() && !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        state.stopped.clone()
    }

    /// Waits for the end of the stop, for ever without a timeout.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<Arc<Stopped>> {
        let until = timeout.map(|timeout| std::time::Instant::now() + timeout);
        let mut state = self.lock();
        loop {
            if let Some(stopped) = &state.stopped {
                return Some(stopped.clone());
            }
            let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => match self.changed.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
    }

    fn publish(&self, stopped: Stopped) {
        let mut state = self.lock();
        state.stopped = Some(Arc::new(stopped));
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        self.over.signal();
        wakers.into_iter().for_each(Waker::wake);
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
    pub(crate) tell: Option<Tell>,
    pub(crate) may_exit: bool,
}

impl Setup {
    /// Starts `ek-stop`.
    pub(crate) fn start(self) -> io::Result<()> {
        let may_exit = self.may_exit;
        let live = move || {
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.live()));
            if lived.is_err() && may_exit {
                // A bug of ours. Nobody hears signals any more: better gone than deaf.
                ending::exit(1);
            }
        };
        std::thread::Builder::new().name("ek-stop".to_owned()).spawn(live).map(drop)
    }

    fn live(mut self) {
        let request = self.wait_for_request();
        self.shared.lock().has_begun = true;
        let began = clock::mono();
        let stopped = self.stop(&request);
        let over_at = began.plus(self.grace);
        self.leave(&request, &stopped, over_at);
    }

    /// Waits until somebody asks for a stop.
    fn wait_for_request(&mut self) -> Request {
        loop {
            let signals = self.poll(None);
            let mut state = self.shared.lock();
            for signal in &signals {
                if state.request.is_none() {
                    state.request = Some(Request::from(signal));
                } else {
                    state.force.get_or_insert_with(|| second(signal));
                }
            }
            let may_begin = state.is_armed || state.force.is_some();
            if let Some(request) = state.request.clone().filter(|_| may_begin) {
                return request;
            }
        }
    }

    /// Waits for signals or the wake, until a time at most.
    fn poll(&mut self, until: Option<Mono>) -> Vec<Arrived> {
        let timeout = until.map(|until| until.since(clock::mono()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.shared.inbox.wake, PollFlags::IN)];
        if let Some(signals) = &self.signals {
            fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
        }
        // An interruption is looked at like a wake: everything is looked at anyway.
        let _ = poll(&mut fds, timeout.as_ref());
        if !self.shared.has_begun() {
            self.shared.inbox.wake.clear();
        }
        self.signals.as_mut().map(Signals::pending).unwrap_or_default()
    }

    /// The whole stop, up to its publication.
    fn stop(&mut self, request: &Request) -> Stopped {
        let started_ns = clock::wall_ns();
        self.tell(Progress::Stopping { reason: request.reason.clone(), by: request.by.clone() });
        let steps = self.coordinator.close();
        let budget = budget(self.grace);
        if let Some(journal) = &self.journal {
            let body = json!({
                "reason": request.reason, "initiated_by": request.by,
                "grace_ms": self.grace.as_millis() as u64, "steps": steps.len(),
            });
            let _ = journal.append("stop", None, body);
        }
        let closing = Closing::new(self, request, started_ns);
        let mut executor = self.executor(steps, budget, &closing);
        let mut watch = Told { tell: self.tell.clone(), journal: self.journal.clone(), closing };
        executor.turn(Event::Begin, &mut watch);
        while let Some(deadline) = executor.next_deadline() {
            let signals = self.poll(Some(deadline));
            executor.turn(Event::Tick, &mut watch);
            if let Some(by) = self.forced(&signals) {
                executor.turn(Event::Force { by }, &mut watch);
            }
        }
        let stopped = watch.closing.end(&executor);
        self.tell(Progress::Stopped(Box::new(stopped.clone())));
        self.shared.publish(stopped.clone());
        stopped
    }

    /// Who wants an end at once, if anybody does.
    fn forced(&self, signals: &[Arrived]) -> Option<String> {
        signals.first().map(second).or_else(|| self.shared.lock().force.clone())
    }

    fn executor(&self, steps: Vec<Registered>, budget: Duration, closing: &Closing) -> Executor {
        let (mut specs, mut works): (Vec<StepSpec>, Vec<Works>) =
            steps.into_iter().map(|step| (step.spec, step.works)).unzip();
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
    /// that the program asked for and that left nothing behind leaves it alone.
    fn leave(mut self, request: &Request, stopped: &Stopped, over_at: Mono) {
        let gone_wrong = stopped.report.exit_code > 1;
        let leftovers = !stopped.report.abandoned.is_empty();
        if !self.may_exit || !(request.is_signal || gone_wrong || leftovers) {
            return;
        }
        let now = clock::mono();
        let until = match stopped.report.exit_code {
            FORCED => now.plus(FORCED_PATIENCE),
            _ => over_at.max(now.plus(EXIT_PATIENCE)),
        };
        while clock::mono() < until {
            self.shared.inbox.wake.clear();
            if !self.poll(Some(until)).is_empty() {
                break;
            }
        }
        if !self.shared.lock().is_forsaken || request.is_signal {
            ending::exit(stopped.exit_code());
        }
    }
}

/// How long the program has to leave by itself, if its grace period leaves it less.
const EXIT_PATIENCE: Duration = Duration::from_millis(250);
/// How long it has when the stop was forced; a third signal makes it shorter.
const FORCED_PATIENCE: Duration = Duration::from_secs(1);
/// Exit code of a stop that was forced.
const FORCED: u8 = 4;

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
    journal: Option<Journal>,
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
                if let Some(tell) = &self.tell {
                    tell.tell(Progress::PhaseBegan(phase));
                }
            }
            Action::PhaseEnded(phase) => self.phase(phase, "ended"),
            Action::Run { step, .. } if run.plan().step(step).name == CLOSE_JOURNAL => {
                self.closing.write_pending(run, step);
            }
            Action::Ended { step } => {
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

fn second(signal: &Arrived) -> String {
    format!("a second signal, {} from {}", signal.name, signal.sender)
}

/// A closure of ours as a step's.
fn ours(work: impl Fn(crate::cleanup::Step) -> Result<(), String> + Send + Sync + 'static) -> Work {
    Work::Blocking(Arc::new(move |step| match work(step) {
        Ok(()) => Outcome::Done,
        Err(why) => Outcome::Failed(why),
    }))
}
