//! Performs what a [`Run`] asks for, and tells it what came of it.
//!
//! Nothing that a user wrote runs on the executor's own thread, and nothing here
//! waits for it: closures go to worker threads, futures to the embedder's
//! runtime, and their answers come back through the [`Inbox`].

use super::future::{Abort, Answer, Answering, BoxFuture, Spawn, drive};
use super::step::Step;
use super::work::{Work, Works, contained};
use super::workers::Workers;
use crate::clock::mono;
use crate::journal::Journal;
use crate::wake::Wake;
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{Action, Event, Outcome, Run, StepId, Verdict};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// Where events come in, from any thread.
pub(crate) struct Inbox {
    events: Mutex<Vec<Event>>,
    pub(crate) wake: Wake,
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { events: Mutex::default(), wake: Wake::new()? })
    }

    pub(crate) fn post(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.wake.signal();
    }

    fn take(&self) -> Vec<Event> {
        self.wake.clear();
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is under way of a step.
struct Live {
    step: Step,
    abort: Option<Box<dyn Abort>>,
    begun: Arc<AtomicBool>,
}

/// What the executor needs of the house.
pub(crate) struct Means {
    pub(crate) workers: Workers,
    pub(crate) runtime: Option<Arc<dyn Spawn>>,
    pub(crate) journal: Option<Journal>,
}

/// What whoever drives the executor may want to do at an action, before it is performed.
pub(crate) trait Watch {
    /// An action is about to be performed.
    fn before(&mut self, run: &Run, action: &Action);
}

pub(crate) struct Executor {
    pub(crate) run: Run,
    works: Vec<Works>,
    live: HashMap<StepId, Live>,
    means: Means,
    inbox: Arc<Inbox>,
    /// Entries of intents that are not durable yet.
    intents: VecDeque<(u64, StepId)>,
}

impl Executor {
    /// `works` has the closures of each step of the plan, by position.
    pub(crate) fn new(run: Run, works: Vec<Works>, means: Means, inbox: Arc<Inbox>) -> Self {
        assert_eq!(run.plan().steps().len(), works.len(), "invariant: every step has its closures");
        let run = if means.journal.is_some() { run } else { run.without_journal() };
        Self { run, works, live: HashMap::new(), means, inbox, intents: VecDeque::new() }
    }

    /// When [`Executor::turn`] is to be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.run.next_deadline()
    }

    /// Takes in one event, then all that has come in, and does what follows.
    pub(crate) fn turn(&mut self, event: Event, watch: &mut dyn Watch) {
        let mut events = VecDeque::from([event]);
        events.extend(self.inbox.take());
        events.extend(self.durable_intents());
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            let extended = if let Event::Extend { step, .. } = &event { Some(*step) } else { None };
            self.run.handle(mono(), event, &mut actions);
            if let Some((step, live)) = extended.and_then(|step| Some((step, self.live.get(&step)?))) {
                live.step.set_deadline(self.run.time_limit(step));
            }
            for action in actions.drain(..) {
                watch.before(&self.run, &action);
                if let Some(event) = self.perform(&action) {
                    events.push_back(event);
                }
            }
        }
    }

    /// Intents that have become durable since the last call.
    fn durable_intents(&mut self) -> Vec<Event> {
        let through = self.means.journal.as_ref().map_or(0, Journal::durable_through);
        let mut events = Vec::new();
        while let Some((_, step)) = self.intents.front().copied().filter(|(entry, _)| *entry <= through) {
            self.intents.pop_front();
            events.push(Event::Journalled { step });
        }
        events
    }

    /// Does what an action says; answers with an event where the answer is known at once.
    fn perform(&mut self, action: &Action) -> Option<Event> {
        match *action {
            Action::Intent { step, attempt } => self.intend(step, attempt),
            Action::Run { step, attempt, deadline } => {
                let work = self.works[step.index()].run.clone();
                self.begin(step, attempt, deadline, &work, |step, outcome| Event::Ran { step, outcome })
            }
            Action::Verify { step, deadline } => {
                let work = self.works[step.index()].verify.clone();
                let attempt = self.run.attempts(step);
                self.begin(step, attempt, deadline, &work?, |step, outcome| Event::Checked { step, outcome })
            }
            Action::Compensate { step, deadline } => {
                let work = self.works[step.index()].compensate.clone();
                let attempt = self.run.attempts(step);
                let event = |step, outcome| Event::Compensated { step, outcome };
                self.begin(step, attempt, deadline, &work?, event)
            }
            Action::Cancel { step } => {
                self.cancel(step);
                None
            }
            Action::Ended { step } => {
                self.ended(step);
                None
            }
            Action::PhaseBegan(_) | Action::PhaseEnded(_) | Action::Finished(_) => None,
        }
    }

    fn intend(&mut self, step: StepId, attempt: u32) -> Option<Event> {
        let journal = self.means.journal.as_ref()?;
        let spec = self.run.plan().step(step);
        let body = json!({
            "step": spec.name, "phase": spec.phase, "attempt": attempt, "idempotent": spec.is_idempotent,
        });
        // What the journal refuses is never durable; the run knows what that means.
        let appended = journal.append("step-intent", spec.channel.as_deref(), body)?;
        self.intents.push_back((appended.entry, step));
        None
    }

    fn ended(&mut self, step: StepId) {
        let verdict = self.run.verdict(step);
        match verdict {
            Some(Verdict::Abandoned) => self.cancel(step),
            Some(Verdict::TimedOutStillRunning) => {}
            _ => drop(self.live.remove(&step)),
        }
        let Some(journal) = self.means.journal.as_ref() else { return };
        let spec = self.run.plan().step(step);
        let body = json!({
            "step": spec.name, "phase": spec.phase, "verdict": verdict,
            "attempts": self.run.attempts(step), "detail": self.run.detail(step),
        });
        // The report says it too; it tells of a journal that refused it.
        let _ = journal.append("step-outcome", spec.channel.as_deref(), body);
    }

    fn cancel(&mut self, step: StepId) {
        if let Some(live) = self.live.get(&step) {
            live.step.cancel();
            if let Some(abort) = &live.abort {
                abort.abort();
            }
        }
    }

    /// Whether a step was given to a runtime, or to a thread, that never began it.
    pub(crate) fn never_begun(&self, step: StepId) -> bool {
        self.live.get(&step).is_some_and(|live| !live.begun.load(Ordering::Acquire))
    }

    /// Starts a closure of a step.
    fn begin(
        &mut self,
        id: StepId,
        attempt: u32,
        deadline: Mono,
        work: &Work,
        event: fn(StepId, Outcome) -> Event,
    ) -> Option<Event> {
        let inbox = self.inbox.clone();
        let extend = Box::new(move |by| inbox.post(Event::Extend { step: id, by }));
        let step = Step::new(self.run.plan().step(id).name.clone(), attempt, deadline, extend);
        let inbox = self.inbox.clone();
        let answer: Answer = Box::new(move |outcome| inbox.post(event(id, outcome)));
        let begun = Arc::new(AtomicBool::new(false));
        let (abort, failed) = match work {
            Work::Blocking(work) => {
                let (work, step, begun) = (work.clone(), step.clone(), begun.clone());
                let task = move || {
                    begun.store(true, Ordering::Release);
                    let outcome = contained(|| work(step));
                    // The closure goes before its answer: its drop is a user's code too.
                    drop(work);
                    answer(outcome);
                };
                (None, self.means.workers.run(Box::new(task)).err())
            }
            Work::Async(work) => {
                // The closure itself may block: it is called where the future runs.
                let (work, given) = (work.clone(), step.clone());
                let future: BoxFuture<Outcome> = Box::pin(async move { work(given).await });
                let future = Answering::new(future, answer, begun.clone());
                self.start_future(future, &step)
            }
        };
        self.live.insert(id, Live { step, abort, begun });
        failed.map(|e| event(id, Outcome::Failed(format!("no thread could be started: {e}"))))
    }

    fn start_future(
        &self,
        future: Answering,
        step: &Step,
    ) -> (Option<Box<dyn Abort>>, Option<std::io::Error>) {
        if let Some(runtime) = &self.means.runtime {
            return (Some(runtime.spawn(Box::pin(future))), None);
        }
        let thread = Arc::new(OnceLock::new());
        let (theirs, step) = (thread.clone(), step.clone());
        let task = move || {
            let _ = theirs.set(std::thread::current());
            drive(std::pin::pin!(future), || step.is_cancelled());
        };
        let failed = self.means.workers.run(Box::new(task)).err();
        (Some(Box::new(OnThread(thread))), failed)
    }
}

/// Ends a future that is driven on a thread of its own.
struct OnThread(Arc<OnceLock<Thread>>);

impl Abort for OnThread {
    fn abort(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}
