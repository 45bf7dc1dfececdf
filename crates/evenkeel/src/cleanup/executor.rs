//! Performs what a [`Run`] asks for, and tells it what came of it.
//!
//! Nothing that a user wrote runs on the executor's own thread, and nothing here
//! waits for it: closures go to worker threads, futures to the embedder's
//! runtime, and their answers come back through the [`Inbox`].

use super::future::{Abort, Answering, BoxFuture, Spawn, drive};
use super::step::Step;
use super::work::{Work, Works, contained};
use super::workers::{Refused, Task, Workers};
use crate::callback::{call, call_alone, message};
use crate::clock::mono;
use crate::journal::Journal;
use crate::wake::Wake;
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{Action, Event, Outcome, Run, StepId, Verdict};
use evenkeel_hierarchy::{Cap, House, Mutex, StepEvents, with_root};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// Where events come in, from any thread.
pub(crate) struct Inbox {
    events: Mutex<StepEvents, Vec<Event>>,
    pub(crate) wake: Wake,
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { events: Mutex::default(), wake: Wake::new()? })
    }

    pub(crate) fn post(&self, house: &mut Cap<House>, event: Event) {
        let mut events = self.events.lock(house);
        events.push(event);
        // Whoever takes takes all: what is not the first is taken with the first.
        let is_first = events.len() == 1;
        drop(events);
        if is_first {
            self.wake.signal();
        }
    }

    fn take(&self) -> Vec<Event> {
        self.wake.clear();
        with_root(|house| std::mem::take(&mut *self.events.lock(house)))
    }
}

/// The one answer to what was asked of a step: what is given after the first is dropped.
#[derive(Clone)]
pub(crate) struct Answer {
    inbox: Arc<Inbox>,
    step: StepId,
    event: fn(StepId, Outcome) -> Event,
    is_given: Arc<AtomicBool>,
}

impl Answer {
    pub(crate) fn give(&self, house: &mut Cap<House>, outcome: Outcome) {
        if !self.is_given.swap(true, Ordering::AcqRel) {
            self.inbox.post(house, (self.event)(self.step, outcome));
        }
    }

    /// Puts another in the place of one that says only that the future is gone.
    fn correct(&self, house: &mut Cap<House>, outcome: Outcome) {
        let mut events = self.inbox.events.lock(house);
        let gone = (self.event)(self.step, Outcome::Cancelled);
        if let Some(event) = events.iter_mut().rev().find(|event| **event == gone) {
            *event = (self.event)(self.step, outcome);
        }
    }
}

/// What is under way of a step.
struct Live {
    step: Step,
    abort: Option<Box<dyn Abort>>,
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
            match event {
                Event::Extend { step, .. } => self.extend(step, &mut actions),
                event => self.run.handle(mono(), event, &mut actions),
            }
            for action in actions.drain(..) {
                watch.before(&self.run, &action);
                self.perform(&action);
            }
        }
    }

    /// A step wants more time; how much, it knows itself.
    fn extend(&mut self, id: StepId, actions: &mut Vec<Action>) {
        let Some(live) = self.live.get(&id) else { return };
        if let Some(by) = live.step.take_lease() {
            self.run.handle(mono(), Event::Extend { step: id, by }, actions);
            live.step.set_deadline(self.run.time_limit(id));
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

    /// Does what an action says.
    fn perform(&mut self, action: &Action) {
        match *action {
            Action::Intent { step, attempt } => self.intend(step, attempt),
            Action::Run { step, attempt, deadline } => {
                let work = self.works[step.index()].run.clone();
                self.begin(step, attempt, deadline, &work, |step, outcome| Event::Ran { step, outcome });
            }
            Action::Verify { step, deadline } => {
                let work = self.works[step.index()].verify.clone();
                let work = work.expect("invariant: what is to be verified has a verification");
                let attempt = self.run.attempts(step);
                self.begin(step, attempt, deadline, &work, |step, outcome| Event::Checked { step, outcome });
            }
            Action::Compensate { step, deadline } => {
                let work = self.works[step.index()].compensate.clone();
                let work = work.expect("invariant: what is to be compensated has a compensation");
                let attempt = self.run.attempts(step);
                let event = |step, outcome| Event::Compensated { step, outcome };
                self.begin(step, attempt, deadline, &work, event);
            }
            Action::Cancel { step } => self.cancel(step),
            Action::Ended { step } => self.ended(step),
            Action::PhaseBegan(_) | Action::PhaseEnded(_) | Action::Finished(_) => {}
        }
    }

    fn intend(&mut self, step: StepId, attempt: u32) {
        let Some(journal) = self.means.journal.as_ref() else { return };
        let spec = self.run.plan().step(step);
        let body = json!({
            "step": spec.name, "phase": spec.phase, "attempt": attempt, "idempotent": spec.is_idempotent,
        });
        // What the journal refuses is never durable; the run knows what that means.
        if let Some(appended) = journal.append("step-intent", spec.channel.as_deref(), body) {
            self.intents.push_back((appended.entry, step));
        }
    }

    fn ended(&mut self, step: StepId) {
        let verdict = self.run.verdict(step);
        match verdict {
            Some(Verdict::Abandoned) => self.cancel(step),
            Some(Verdict::TimedOutStillRunning) => {}
            _ => {
                let gone = self.live.remove(&step);
                with_root(|house| call_alone(house, || drop(gone)));
            }
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
                with_root(|house| call_alone(house, || abort.abort()));
            }
        }
    }

    /// Whether a step was given to a runtime, or to a thread, that never began it.
    pub(crate) fn never_begun(&self, step: StepId) -> bool {
        self.live.get(&step).is_some_and(|live| !live.step.has_begun())
    }

    /// Starts a closure of a step.
    fn begin(
        &mut self,
        id: StepId,
        attempt: u32,
        deadline: Mono,
        work: &Work,
        event: fn(StepId, Outcome) -> Event,
    ) {
        let inbox = self.inbox.clone();
        let extend = Box::new(move || {
            with_root(|house| inbox.post(house, Event::Extend { step: id, by: Duration::ZERO }));
        });
        let step = Step::new(self.run.plan().step(id).name.clone(), attempt, deadline, extend);
        let answer = Answer { inbox: self.inbox.clone(), step: id, event, is_given: Arc::default() };
        let abort = match work {
            Work::Blocking(work) => {
                let (work, step, theirs) = (work.clone(), step.clone(), answer.clone());
                let task = move |house: &mut Cap<House>| {
                    let may_begin = step.begin();
                    let outcome =
                        if may_begin { contained(house, || work(step)) } else { Outcome::Cancelled };
                    // The closure goes before its answer: its drop is a user's code too.
                    call_alone(house, || drop(work));
                    theirs.give(house, outcome);
                };
                self.start_thread(Box::new(task), &answer);
                None
            }
            Work::Async(work) => {
                // The closure itself may block: it is called where the future runs.
                let (work, given) = (work.clone(), step.clone());
                let future: BoxFuture<Outcome> = Box::pin(async move { work(given).await });
                self.start_future(Answering::new(future, answer.clone(), step.clone()), &step, &answer)
            }
        };
        let before = self.live.insert(id, Live { step, abort });
        with_root(|house| call_alone(house, || drop(before)));
    }

    fn start_thread(&self, task: Task, answer: &Answer) {
        if let Err(Refused { why, task }) = self.means.workers.run(task) {
            with_root(|house| {
                answer.give(house, Outcome::Failed(format!("no thread could be started: {why}")));
                call_alone(house, || drop(task));
            });
        }
    }

    fn start_future(&self, future: Answering, step: &Step, answer: &Answer) -> Option<Box<dyn Abort>> {
        if let Some(runtime) = &self.means.runtime {
            return with_root(|house| {
                let spawned = call(house, || runtime.spawn(Box::pin(future)));
                let failed = |panic| {
                    let why = Outcome::Failed(format!("the runtime panicked: {}", message(panic)));
                    answer.correct(house, why.clone());
                    answer.give(house, why);
                };
                spawned.map_err(failed).ok()
            });
        }
        let thread = Arc::new(OnceLock::new());
        let (theirs, step) = (thread.clone(), step.clone());
        let task = move |house: &mut Cap<House>| {
            let _ = theirs.set(std::thread::current());
            call_alone(house, || {
                drive(std::pin::pin!(future), || step.is_cancelled());
            });
        };
        self.start_thread(Box::new(task), answer);
        Some(Box::new(OnThread(thread)))
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

#[cfg(test)]
mod tests;
