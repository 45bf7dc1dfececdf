//! The doing of a plan: events in, actions out.
//!
//! ```text
//!            +-- retry after a wait --------------------------+
//!            v                                                |
//! Waiting -> Ready -> (Intent) -> Running --> Verifying --> Failed? --> Compensating --> Ended
//!    |                   |           |            |                                        ^
//!    +-- a need failed --+-----------+-- Cancelling (time is up) --------------------------+
//! ```
//!
//! Invariants:
//! 1. A step begins only after all that it waits for has ended, and after every
//!    step of the phases before.
//! 2. A step never runs twice at once; one that may still be running is never
//!    begun again.
//! 3. Every step has exactly one verdict at the end, and nothing is begun after it.
//! 4. Everything ends by the budget's end, whatever the shell reports or fails to
//!    report, as long as it calls when [`Run::next_deadline`] says.
//! 5. A failure ends only what needs the failed step; the rest goes on.

use super::budget::Standing;
use super::{Phase, PhaseReport, Plan, StepId, StepReport, Verdict};
use crate::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

mod ending;
mod message;
mod report;

pub use message::{Action, Ending, Event, Outcome};

/// How long a step that cannot be run twice waits for its intent to be durable.
const INTENT_PATIENCE: Duration = Duration::from_millis(250);
/// How long a step that was told to stop has to do so, at most.
const CANCEL_PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ready,
    Intending,
    Running,
    Verifying,
    BackingOff,
    Compensating,
    Ended,
}

/// A step while it lives.
#[derive(Clone, Debug)]
struct Live {
    state: State,
    /// Dependencies that have not ended.
    missing: u32,
    attempt: u32,
    /// Whether it was given its time.
    has_begun: bool,
    /// When the step is given up; set when it begins.
    deadline: Mono,
    /// When it is told to stop, a little before.
    until: Mono,
    cancelled: bool,
    /// The budget gave it less than its own timeout.
    is_short: bool,
    /// When it is to be looked at, and which of the timers does that: a lease moves only the first.
    timer: Mono,
    rings: Mono,
    /// Beginning of what it does now.
    mark: Mono,
    run: Duration,
    verify: Duration,
    /// What the last attempt failed with.
    error: Option<String>,
    verdict: Option<Verdict>,
    detail: Option<String>,
    journalled: bool,
    /// The shell has not answered what it was asked for.
    under_way: bool,
}

/// One cleanup; see the module's head.
#[derive(Clone, Debug)]
pub struct Run {
    plan: Plan,
    has_journal: bool,
    steps: Vec<Live>,
    ready: BinaryHeap<(i32, Reverse<StepId>)>,
    timers: BinaryHeap<Reverse<(Mono, StepId)>>,
    begun: Option<Mono>,
    end: Mono,
    now: Mono,
    phase: Option<Phase>,
    /// Steps without a verdict, by phase.
    open: [usize; 5],
    /// Steps that have not begun, by phase.
    waiting: [usize; 5],
    phases: [(Mono, Mono); 5],
    /// Steps that hold a place among those that run at once.
    busy: usize,
    /// Some step wanted more time than the budget had.
    ran_out: bool,
    ending: Option<Ending>,
}

impl Run {
    /// A cleanup that keeps a journal.
    pub fn new(plan: Plan) -> Self {
        let live = |at: usize| Live {
            state: State::Waiting,
            missing: u32::try_from(plan.before(super::plan::id(at)).len()).unwrap_or(u32::MAX),
            attempt: 0,
            has_begun: false,
            deadline: Mono::default(),
            until: Mono::default(),
            cancelled: false,
            is_short: false,
            timer: Mono::default(),
            rings: Mono::default(),
            mark: Mono::default(),
            run: Duration::ZERO,
            verify: Duration::ZERO,
            error: None,
            verdict: None,
            detail: None,
            journalled: false,
            under_way: false,
        };
        let steps: Vec<Live> = (0..plan.steps().len()).map(live).collect();
        let mut open = [0; 5];
        for step in plan.steps() {
            open[step.phase.index()] += 1;
        }
        Self {
            plan,
            has_journal: true,
            steps,
            ready: BinaryHeap::new(),
            timers: BinaryHeap::new(),
            begun: None,
            end: Mono::from_nanos(u64::MAX),
            now: Mono::default(),
            phase: None,
            waiting: open,
            open,
            phases: [(Mono::default(), Mono::default()); 5],
            busy: 0,
            ran_out: false,
            ending: None,
        }
    }

    /// The same without a journal: no intents are asked for.
    #[must_use]
    pub fn without_journal(mut self) -> Self {
        self.has_journal = false;
        self
    }

    /// The plan it does.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How it ended, if it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// How it ended, or would end if nothing more went wrong.
    pub fn ending_so_far(&self) -> Ending {
        let so_far = if self.ran_out { Ending::OutOfTime } else { Ending::Completed };
        self.ending.clone().unwrap_or(so_far)
    }

    /// The phase it is in.
    pub fn phase(&self) -> Option<Phase> {
        self.phase.filter(|_| self.ending.is_none())
    }

    /// A step's verdict, if it has one.
    pub fn verdict(&self, step: StepId) -> Option<Verdict> {
        self.steps[step.index()].verdict
    }

    /// What is to be said of a step's verdict.
    pub fn detail(&self, step: StepId) -> Option<&str> {
        self.steps[step.index()].detail.as_deref()
    }

    /// Attempts at a step so far.
    pub fn attempts(&self, step: StepId) -> u32 {
        self.steps[step.index()].attempt
    }

    /// When a step that has begun is told to stop.
    pub fn time_limit(&self, step: StepId) -> Mono {
        self.steps[step.index()].until
    }

    /// When to call with [`Event::Tick`] at the latest; `None` before the beginning and after the end.
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.begun.is_none() || self.ending.is_some() {
            return None;
        }
        let timer = self.timers.peek().map_or(self.end, |Reverse((at, _))| *at);
        Some(timer.min(self.end))
    }

    /// Takes an event in; appends to `out` what follows from it, in the order in
    /// which it is to be done. `now` never goes back.
    pub fn handle(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Begin if self.begun.is_none() && self.ending.is_none() => self.begin(),
            Event::Begin | Event::Tick => {}
            Event::Journalled { step } => self.journalled(step, out),
            Event::Ran { step, outcome } => self.answered(step, State::Running, outcome, out),
            Event::Checked { step, outcome } => self.answered(step, State::Verifying, outcome, out),
            Event::Compensated { step, outcome } => self.answered(step, State::Compensating, outcome, out),
            Event::Extend { step, by } => self.extend(step, by),
            Event::Force { by } => self.finish(Ending::Forced { by }, out),
        }
        if self.begun.is_some() && self.ending.is_none() {
            self.expire(out);
        }
        if self.begun.is_some() && self.ending.is_none() {
            self.advance(out);
        }
    }

    fn begin(&mut self) {
        self.begun = Some(self.now);
        self.end = self.now.plus(self.plan.options().budget);
    }

    /// Deals with every time that is up.
    fn expire(&mut self, out: &mut Vec<Action>) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > self.now {
                break;
            }
            self.timers.pop();
            let step = &mut self.steps[id.index()];
            if step.state == State::Ended || step.rings != at {
                continue;
            }
            if step.timer > at {
                // It was given more time since.
                let timer = step.timer;
                self.set_timer(id, timer);
            } else {
                self.time_is_up(id, out);
            }
        }
        if self.now >= self.end {
            self.finish(Ending::OutOfTime, out);
        }
    }

    fn time_is_up(&mut self, id: StepId, out: &mut Vec<Action>) {
        let step = &mut self.steps[id.index()];
        match step.state {
            State::BackingOff => self.queue(id),
            State::Intending => {
                step.attempt -= 1;
                let why = "journal: its intent was not durable within 250 ms".to_owned();
                self.not_begun(id, why, out);
            }
            State::Running | State::Verifying | State::Compensating if !step.cancelled => {
                step.cancelled = true;
                self.ran_out |= step.is_short;
                let deadline = step.deadline;
                out.push(Action::Cancel { step: id });
                self.set_timer(id, deadline);
            }
            State::Running | State::Verifying | State::Compensating => self.outlived(id, out),
            State::Waiting | State::Ready | State::Ended => {}
        }
    }

    /// A step that was told to stop and did not.
    fn outlived(&mut self, id: StepId, out: &mut Vec<Action>) {
        self.busy -= 1;
        let step = &mut self.steps[id.index()];
        let part = self.now.since(step.mark);
        let (what, verdict) = match step.state {
            State::Running => ("", Verdict::TimedOutStillRunning),
            State::Verifying => ("its verification: ", Verdict::TimedOutStillRunning),
            _ => ("its compensation: ", Verdict::CompensationFailed),
        };
        match step.state {
            State::Verifying => step.verify += part,
            _ => step.run += part,
        }
        let mut why = format!("{what}still running after {} ms", part.as_millis());
        if step.is_short {
            why.push_str("; the rest of the grace period is kept for what comes after it");
        }
        if let Some(error) = step.error.take() {
            why = format!("{error}; {why}");
        }
        self.verdict_is(id, verdict, Some(why), out);
    }

    fn set_timer(&mut self, id: StepId, at: Mono) {
        let step = &mut self.steps[id.index()];
        (step.timer, step.rings) = (at, at);
        self.timers.push(Reverse((at, id)));
    }

    fn queue(&mut self, id: StepId) {
        self.steps[id.index()].state = State::Ready;
        self.ready.push((self.plan.step(id).priority, Reverse(id)));
    }

    /// Starts what can be started, and goes on to the next phase.
    fn advance(&mut self, out: &mut Vec<Action>) {
        loop {
            while self.busy < self.plan.options().concurrency_max {
                let Some((_, Reverse(id))) = self.ready.pop() else { break };
                if self.steps[id.index()].state == State::Ready {
                    self.start(id, out);
                }
            }
            let over = match self.phase {
                None => Some(Phase::Initiating),
                Some(phase) if self.open[phase.index()] == 0 => {
                    self.phases[phase.index()].1 = self.now;
                    out.push(Action::PhaseEnded(phase));
                    let next = Phase::ALL.get(phase.index() + 1).copied();
                    if next.is_none() {
                        return self.finish(self.ending_so_far(), out);
                    }
                    next
                }
                Some(_) => return,
            };
            if let Some(next) = over {
                self.enter(next, out);
            }
        }
    }

    fn enter(&mut self, phase: Phase, out: &mut Vec<Action>) {
        self.phase = Some(phase);
        self.phases[phase.index()] = (self.now, self.now);
        out.push(Action::PhaseBegan(phase));
        for at in 0..self.steps.len() {
            let id = super::plan::id(at);
            let step = &self.steps[at];
            if step.state == State::Waiting && step.missing == 0 && self.plan.step(id).phase == phase {
                self.queue(id);
            }
        }
    }

    /// Begins an attempt at a step.
    fn start(&mut self, id: StepId, out: &mut Vec<Action>) {
        let spec = self.plan.step(id);
        let phase = spec.phase.index();
        if !self.steps[id.index()].has_begun {
            self.steps[id.index()].has_begun = true;
            self.waiting[phase] -= 1;
            let standing = Standing { end: self.end, now: self.now, waiting: self.waiting[phase] };
            let deadline = self.plan.budget().deadline(id, spec, standing);
            self.give_time(id, deadline);
        }
        self.busy += 1;
        let step = &mut self.steps[id.index()];
        if step.until <= self.now {
            self.ran_out = true;
            return self.not_begun(id, "no time was left for it".to_owned(), out);
        }
        step.attempt += 1;
        let (attempt, until) = (step.attempt, step.until);
        if self.has_journal {
            out.push(Action::Intent { step: id, attempt });
            if !self.plan.step(id).is_idempotent {
                self.steps[id.index()].state = State::Intending;
                return self.set_timer(id, self.now.plus(INTENT_PATIENCE).min(until));
            }
        }
        self.run(id, out);
    }

    /// An attempt could not begin: the first is skipped, of a later one the failure before it stands.
    fn not_begun(&mut self, id: StepId, why: String, out: &mut Vec<Action>) {
        match self.steps[id.index()].error.take() {
            Some(error) => self.failed(id, Verdict::Failed, format!("{error}; not tried again: {why}"), out),
            None => {
                self.busy -= 1;
                self.verdict_is(id, Verdict::SkippedBecause, Some(why), out);
            }
        }
    }

    /// Sets the deadline, and a little before it the time to tell the step.
    fn give_time(&mut self, id: StepId, deadline: Mono) {
        let time = deadline.since(self.now);
        let patience = (time / 10).min(CANCEL_PATIENCE);
        let timeout = self.plan.step(id).limits.timeout;
        let step = &mut self.steps[id.index()];
        step.is_short = time < timeout;
        (step.deadline, step.until, step.cancelled) = (deadline, deadline.minus(patience), false);
    }

    fn run(&mut self, id: StepId, out: &mut Vec<Action>) {
        let (attempt, deadline) = self.part(id, State::Running);
        out.push(Action::Run { step: id, attempt, deadline });
    }

    /// Begins a part of a step that the shell has to answer.
    fn part(&mut self, id: StepId, state: State) -> (u32, Mono) {
        let now = self.now;
        let step = &mut self.steps[id.index()];
        (step.state, step.mark, step.under_way) = (state, now, true);
        let (attempt, until) = (step.attempt, step.until);
        self.set_timer(id, until);
        (attempt, until)
    }

    fn journalled(&mut self, id: StepId, out: &mut Vec<Action>) {
        let step = &mut self.steps[id.index()];
        step.journalled = true;
        if step.state == State::Intending && self.ending.is_none() && self.now < step.timer {
            self.run(id, out);
        }
    }

    fn extend(&mut self, id: StepId, by: Duration) {
        let step = &self.steps[id.index()];
        let runs = matches!(step.state, State::Running | State::Verifying) && !step.cancelled;
        if !runs || self.ending.is_some() {
            return;
        }
        let latest = self.plan.budget().latest(self.plan.step(id), self.end);
        let wanted = self.now.plus(by.saturating_add(CANCEL_PATIENCE));
        let deadline = wanted.min(latest);
        if deadline > step.deadline {
            self.give_time(id, deadline);
            let step = &mut self.steps[id.index()];
            // A lease that ends is the step's own doing, unless the budget made it shorter.
            step.is_short = wanted > latest;
            // Whatever rings before sees that it is too early: one timer serves all leases.
            step.timer = step.timer.max(step.until);
        }
    }

    /// The shell has answered; `part` is what it was asked for.
    fn answered(&mut self, id: StepId, part: State, outcome: Outcome, out: &mut Vec<Action>) {
        let now = self.now;
        let step = &mut self.steps[id.index()];
        step.under_way = false;
        if step.state != part || self.ending.is_some() {
            return self.came_late(id);
        }
        let took = now.since(step.mark);
        match part {
            State::Verifying => step.verify += took,
            _ => step.run += took,
        }
        if step.cancelled && outcome == Outcome::Cancelled {
            return self.cancelled(id, part, took, out);
        }
        match part {
            State::Running => self.ran(id, outcome, out),
            State::Verifying => self.checked(id, outcome, out),
            _ => self.compensated(id, outcome, out),
        }
    }

    /// A step whose verdict is that it was still running has ended after all.
    fn came_late(&mut self, id: StepId) {
        let now = self.now;
        let step = &mut self.steps[id.index()];
        let running = matches!(
            step.verdict,
            Some(Verdict::TimedOutStillRunning | Verdict::Abandoned | Verdict::CompensationFailed)
        );
        if running && let Some(detail) = &mut step.detail {
            let late = now.since(step.deadline).as_millis();
            detail.push_str(&format!("; it ended {late} ms after its time"));
        }
    }

    fn cancelled(&mut self, id: StepId, part: State, took: Duration, out: &mut Vec<Action>) {
        let what = match part {
            State::Running => "",
            State::Verifying => "its verification ",
            _ => "its compensation ",
        };
        let error = format!("{what}took longer than {} ms and was cancelled", took.as_millis());
        if part == State::Compensating {
            self.compensated(id, Outcome::Failed(error), out);
        } else {
            self.failed(id, Verdict::Failed, error, out);
        }
    }

    fn ran(&mut self, id: StepId, outcome: Outcome, out: &mut Vec<Action>) {
        let spec_verified = self.plan.step(id).is_verified;
        let has_time = !self.steps[id.index()].cancelled && self.now < self.steps[id.index()].until;
        match outcome {
            Outcome::Done if spec_verified && has_time => self.verify(id, out),
            Outcome::Done => {
                self.busy -= 1;
                let late = spec_verified.then(|| "no time was left to verify it".to_owned());
                self.verdict_is(id, Verdict::DoneUnverified, late, out);
            }
            Outcome::Panicked(message) => self.failed(id, Verdict::Panicked, message, out),
            Outcome::Failed(_) | Outcome::Cancelled => {
                let error = match outcome {
                    Outcome::Failed(error) => error,
                    _ => "it was cancelled from outside".to_owned(),
                };
                self.steps[id.index()].error = Some(error.clone());
                // The state decides, not the way there.
                if spec_verified && has_time { self.verify(id, out) } else { self.again(id, error, out) }
            }
        }
    }

    fn verify(&mut self, id: StepId, out: &mut Vec<Action>) {
        let (_, deadline) = self.part(id, State::Verifying);
        out.push(Action::Verify { step: id, deadline });
    }

    fn checked(&mut self, id: StepId, outcome: Outcome, out: &mut Vec<Action>) {
        let error = self.steps[id.index()].error.take();
        let wrong = match outcome {
            Outcome::Done => {
                self.busy -= 1;
                let detail = error.map(|e| format!("it failed, and was verified all the same: {e}"));
                return self.verdict_is(id, Verdict::Verified, detail, out);
            }
            Outcome::Failed(wrong) => wrong,
            Outcome::Panicked(message) => format!("its verification panicked: {message}"),
            Outcome::Cancelled => "its verification was cancelled from outside".to_owned(),
        };
        let error = match error {
            Some(error) => format!("{error}; not verified: {wrong}"),
            None => format!("not verified: {wrong}"),
        };
        self.again(id, error, out);
    }

    /// Another attempt, if there is one left and time for it.
    fn again(&mut self, id: StepId, error: String, out: &mut Vec<Action>) {
        let limits = self.plan.step(id).limits;
        let step = &mut self.steps[id.index()];
        let at = self.now.plus(limits.backoff.after(step.attempt));
        if step.attempt > limits.retries || at >= step.until || step.cancelled {
            return self.failed(id, Verdict::Failed, error, out);
        }
        step.error = Some(error);
        step.state = State::BackingOff;
        self.busy -= 1;
        self.set_timer(id, at);
    }

    /// A step has failed for good: it is compensated, or that is its verdict.
    fn failed(&mut self, id: StepId, verdict: Verdict, error: String, out: &mut Vec<Action>) {
        let spec = self.plan.step(id);
        if !spec.is_compensated {
            self.busy -= 1;
            return self.verdict_is(id, verdict, Some(error), out);
        }
        let waiting = self.waiting[spec.phase.index()];
        let standing = Standing { end: self.end, now: self.now, waiting };
        let deadline = self.plan.budget().deadline(id, spec, standing);
        self.give_time(id, deadline);
        if self.steps[id.index()].until <= self.now {
            self.busy -= 1;
            self.ran_out = true;
            let why = format!("{error}; no time was left to compensate it");
            return self.verdict_is(id, Verdict::CompensationFailed, Some(why), out);
        }
        self.steps[id.index()].error = Some(error);
        let (_, deadline) = self.part(id, State::Compensating);
        out.push(Action::Compensate { step: id, deadline });
    }

    fn compensated(&mut self, id: StepId, outcome: Outcome, out: &mut Vec<Action>) {
        self.busy -= 1;
        let error = self.steps[id.index()].error.take().unwrap_or_default();
        let (verdict, why) = match outcome {
            Outcome::Done => (Verdict::Compensated, error),
            Outcome::Failed(wrong) => {
                (Verdict::CompensationFailed, format!("{error}; its compensation failed: {wrong}"))
            }
            Outcome::Panicked(message) => {
                (Verdict::CompensationFailed, format!("{error}; its compensation panicked: {message}"))
            }
            Outcome::Cancelled => {
                (Verdict::CompensationFailed, format!("{error}; its compensation was cancelled"))
            }
        };
        self.verdict_is(id, verdict, Some(why), out);
    }
}

#[cfg(test)]
mod tests;
