//! A world that does to a run what its seed says, and checks all it asks for.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; a failure is the test's"
)]

use evenkeel_core::Mono;
use evenkeel_core::cleanup::{
    Action, Backoff, Dependency, Ending, Event, Outcome, Phase, Plan, PlanOptions, Run, StepId, StepSpec,
    Verdict,
};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A random sound plan: dependencies inside and across phases, limits of all kinds.
pub fn plan(rng: &mut Rng, steps: usize) -> Plan {
    let mut phases: Vec<Phase> = (0..steps).map(|_| Phase::ALL[rng.usize(..5)]).collect();
    phases.sort();
    let mut specs: Vec<StepSpec> = Vec::new();
    for (at, phase) in phases.iter().enumerate() {
        let mut spec = StepSpec::new(format!("s{at}"), *phase);
        if at > 0 {
            for _ in 0..rng.usize(..4) {
                let name = format!("s{}", rng.usize(..at));
                spec.dependencies.push(Dependency { name, must_succeed: rng.bool() });
            }
        }
        spec.channel = rng.bool().then(|| format!("c{}", rng.u8(..3)));
        spec.priority = rng.i32(-2..3);
        spec.limits.timeout = Duration::from_millis(rng.u64(1..6000));
        spec.limits.retries = rng.u32(..4);
        spec.limits.backoff = Backoff { first: Duration::from_millis(rng.u64(..50)), ..Backoff::default() };
        spec.is_verified = rng.bool();
        spec.is_compensated = rng.u8(..4) == 0;
        spec.is_idempotent = rng.bool();
        specs.push(spec);
    }
    rng.shuffle(&mut specs);
    let budget = Duration::from_millis(rng.u64(1..30_000));
    let options = PlanOptions { budget, concurrency_max: rng.usize(1..8), ..PlanOptions::default() };
    Plan::new(specs, options).unwrap()
}

/// How late the world's clock may ring.
const LATE_MS_MAX: u64 = 400;

/// What happened to a step, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Intended,
    Durable,
    Began,
    Ran(End),
    Checking,
    Checked(End),
    Compensating,
    Compensated(End),
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Good,
    Bad,
    Panic,
    Gone,
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            Self::Good => Outcome::Done,
            Self::Bad => Outcome::Failed("bad".to_owned()),
            Self::Panic => Outcome::Panicked("boom".to_owned()),
            Self::Gone => Outcome::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Journal,
    Run,
    Check,
    Compensate,
}

/// When an answer comes, and its serial number.
type Key = (Mono, u64);

pub struct World {
    pub run: Run,
    pub diary: Vec<Vec<Fact>>,
    rng: Rng,
    hostility: u32,
    everything_hangs: bool,
    now: Mono,
    answers: BTreeMap<Key, (StepId, Part, End)>,
    serial: u64,
    /// What is under way of each step, and the key of its answer, if there will be one.
    under_way: Vec<Option<(Part, Option<Key>)>>,
    ended: Vec<bool>,
    phase: Option<Phase>,
    force_at: Option<Mono>,
    finished: Option<Ending>,
}

impl World {
    pub fn new(plan: Plan, mut rng: Rng, hostility: u32) -> Self {
        let steps = plan.steps().len();
        let forced = rng.u32(..100) < hostility / 4;
        let force_at = forced.then(|| Mono::default().plus(plan.options().budget.mul_f64(rng.f64() * 1.1)));
        Self {
            run: Run::new(plan),
            diary: vec![Vec::new(); steps],
            rng,
            hostility,
            everything_hangs: false,
            now: Mono::default(),
            answers: BTreeMap::new(),
            serial: 0,
            under_way: vec![None; steps],
            ended: vec![false; steps],
            phase: None,
            force_at,
            finished: None,
        }
    }

    pub fn where_everything_hangs(mut self) -> Self {
        (self.everything_hangs, self.force_at) = (true, None);
        self
    }

    fn is_hostile(&mut self) -> bool {
        self.rng.u32(..100) < self.hostility
    }

    /// Drives the run until nothing more can happen, late answers included.
    pub fn run_to_the_end(&mut self) {
        let budget = self.run.plan().options().budget;
        self.give(Event::Begin);
        while self.finished.is_none() {
            let deadline = self.run.next_deadline().expect("a run that has not ended says when to call");
            let answer = self.answers.first_key_value().map(|(key, _)| *key);
            let force = self.force_at.filter(|at| *at <= deadline);
            if let Some(at) = force.filter(|at| answer.is_none_or(|(when, _)| *at <= when)) {
                self.force_at = None;
                self.now = self.now.max(at);
                self.give(Event::Force { by: "the world".to_owned() });
            } else if let Some(key) = answer.filter(|(at, _)| *at <= deadline) {
                self.answer(key);
            } else {
                let is_late = !self.everything_hangs && self.is_hostile() && self.rng.u8(..8) == 0;
                let late = if is_late { self.rng.u64(..LATE_MS_MAX) } else { 0 };
                self.now = self.now.max(deadline.plus(Duration::from_millis(late)));
                self.give(Event::Tick);
            }
            let latest = budget + Duration::from_millis(LATE_MS_MAX);
            assert!(self.now.since(Mono::default()) <= latest, "it goes on past its budget");
            assert!(self.finished.is_some() || self.now.since(Mono::default()) < budget);
        }
        assert!(self.run.next_deadline().is_none());
        while let Some((key, _)) = self.answers.first_key_value() {
            self.answer(*key);
        }
    }

    fn answer(&mut self, key: Key) {
        let (step, part, end) = self.answers.remove(&key).unwrap();
        self.now = self.now.max(key.0);
        let diary = &mut self.diary[step.index()];
        if part == Part::Journal {
            diary.push(Fact::Durable);
            return self.give(Event::Journalled { step });
        }
        self.under_way[step.index()] = None;
        let outcome = end.outcome();
        let event = match part {
            Part::Run => {
                diary.push(Fact::Ran(end));
                Event::Ran { step, outcome }
            }
            Part::Check => {
                diary.push(Fact::Checked(end));
                Event::Checked { step, outcome }
            }
            _ => {
                diary.push(Fact::Compensated(end));
                Event::Compensated { step, outcome }
            }
        };
        self.give(event);
    }

    fn give(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.run.handle(self.now, event, &mut actions);
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            assert!(self.finished.is_none(), "{action:?} after the end");
            self.act(action);
        }
        let busy = self.under_way.iter().enumerate().filter(|(at, w)| w.is_some() && !self.ended[*at]);
        assert!(busy.count() <= self.run.plan().options().concurrency_max, "too many run at once");
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::PhaseBegan(phase) => {
                assert_eq!(phase.index(), self.phase.map_or(0, |p| p.index() + 1));
                let earlier = |at: usize| self.run.plan().steps()[at].phase < phase;
                assert!((0..self.ended.len()).all(|at| !earlier(at) || self.ended[at]));
                self.phase = Some(phase);
            }
            Action::PhaseEnded(phase) => assert_eq!(Some(phase), self.phase),
            Action::Intent { step, attempt } => self.intend(step, attempt),
            Action::Run { step, attempt, deadline } => self.begin(step, attempt, deadline),
            Action::Verify { step, deadline } => {
                assert!(self.run.plan().step(step).is_verified);
                assert!(matches!(self.diary[step.index()].last(), Some(Fact::Ran(_))));
                self.diary[step.index()].push(Fact::Checking);
                self.part(step, Part::Check, deadline);
            }
            Action::Compensate { step, deadline } => {
                assert!(self.run.plan().step(step).is_compensated);
                self.diary[step.index()].push(Fact::Compensating);
                self.part(step, Part::Compensate, deadline);
            }
            Action::Cancel { step } => self.cancel(step),
            Action::Ended { step } => {
                assert!(!std::mem::replace(&mut self.ended[step.index()], true), "two verdicts");
                assert!(self.run.verdict(step).is_some());
            }
            Action::Finished(ending) => {
                assert!(self.ended.iter().all(|e| *e), "an end without all verdicts");
                self.finished = Some(ending);
            }
        }
    }

    fn intend(&mut self, step: StepId, attempt: u32) {
        assert!(!self.ended[step.index()]);
        let diary = &mut self.diary[step.index()];
        diary.push(Fact::Intended);
        let intents = diary.iter().filter(|f| **f == Fact::Intended).count();
        assert_eq!(intents, attempt as usize);
        let sick = self.is_hostile() && self.rng.u8(..4) == 0;
        if !sick {
            let took = Duration::from_millis(self.rng.u64(..if self.hostility > 50 { 300 } else { 20 }));
            self.later(step, Part::Journal, took, End::Good);
        }
    }

    fn begin(&mut self, step: StepId, attempt: u32, deadline: Mono) {
        let plan = self.run.plan();
        let spec = plan.step(step);
        assert_eq!(Some(spec.phase), self.phase, "{} runs outside its phase", spec.name);
        for (on, must_succeed) in plan.dependencies(step) {
            assert!(self.ended[on.index()], "{} runs before {}", spec.name, plan.step(on).name);
            let verdict = self.run.verdict(on).unwrap();
            assert!(!must_succeed || verdict.is_success(), "{} needs what is {verdict:?}", spec.name);
        }
        assert!(attempt <= spec.limits.retries + 1);
        let diary = &self.diary[step.index()];
        let began = diary.iter().filter(|f| **f == Fact::Began).count();
        assert_eq!(began + 1, attempt as usize);
        let durable = diary.iter().rev().find(|f| matches!(f, Fact::Durable | Fact::Intended));
        assert!(spec.is_idempotent || durable == Some(&Fact::Durable), "{} runs unjournalled", spec.name);
        self.diary[step.index()].push(Fact::Began);
        self.part(step, Part::Run, deadline);
    }

    /// Something of a step begins; its fate is drawn.
    fn part(&mut self, step: StepId, part: Part, deadline: Mono) {
        assert!(!self.ended[step.index()], "begun after its verdict");
        assert!(self.under_way[step.index()].is_none(), "it runs twice at once");
        assert!(deadline > self.now, "it has no time at all");
        let hangs = self.everything_hangs || (self.is_hostile() && self.rng.u8(..4) == 0);
        if hangs {
            self.under_way[step.index()] = Some((part, None));
            return;
        }
        let end = match self.rng.u8(..6) {
            0 if self.is_hostile() => End::Panic,
            1 | 2 if self.is_hostile() => End::Bad,
            _ => End::Good,
        };
        let slow = self.is_hostile();
        let took = Duration::from_micros(self.rng.u64(..if slow { 8_000_000 } else { 20_000 }));
        let key = self.later(step, part, took, end);
        self.under_way[step.index()] = Some((part, Some(key)));
        if self.is_hostile() && part != Part::Compensate && self.rng.bool() {
            let by = Duration::from_millis(self.rng.u64(..9000));
            self.give(Event::Extend { step, by });
        }
    }

    fn later(&mut self, step: StepId, part: Part, took: Duration, end: End) -> Key {
        self.serial += 1;
        let key = (self.now.plus(took), self.serial);
        self.answers.insert(key, (step, part, end));
        key
    }

    /// It is told to stop: it may do so soon, or not listen.
    fn cancel(&mut self, step: StepId) {
        let (part, key) = self.under_way[step.index()].expect("only what runs is told to stop");
        self.diary[step.index()].push(Fact::Cancelled);
        let listens = !self.everything_hangs && self.rng.bool();
        if listens {
            if let Some(key) = key {
                self.answers.remove(&key);
            }
            let soon = Duration::from_millis(self.rng.u64(..150));
            let key = self.later(step, part, soon, End::Gone);
            self.under_way[step.index()] = Some((part, Some(key)));
        }
    }

    /// Every verdict has to be what the diary says.
    pub fn check_verdicts(&self) {
        for (at, diary) in self.diary.iter().enumerate() {
            let id = self.run.plan().order().iter().find(|id| id.index() == at).unwrap();
            let (verdict, spec) = (self.run.verdict(*id).unwrap(), self.run.plan().step(*id));
            let last = diary.iter().rev().find(|f| !matches!(f, Fact::Cancelled | Fact::Durable));
            let began = diary.contains(&Fact::Began);
            let told = format!("{}: {verdict:?}, but {diary:?}", spec.name);
            match verdict {
                Verdict::Verified => assert_eq!(last, Some(&Fact::Checked(End::Good)), "{told}"),
                Verdict::DoneUnverified => {
                    assert_eq!(last, Some(&Fact::Ran(End::Good)), "{told}");
                    let late = self.run.detail(*id) == Some("no time was left to verify it");
                    assert!(!spec.is_verified || late, "{told}");
                }
                Verdict::Failed => {
                    let bad = matches!(
                        last,
                        Some(
                            Fact::Ran(End::Bad | End::Gone)
                                | Fact::Checked(End::Bad | End::Panic | End::Gone)
                                | Fact::Intended
                        )
                    );
                    assert!(bad && !spec.is_compensated, "{told}");
                }
                Verdict::Panicked => assert_eq!(last, Some(&Fact::Ran(End::Panic)), "{told}"),
                Verdict::SkippedBecause => assert!(!began, "{told}"),
                Verdict::Compensated => assert_eq!(last, Some(&Fact::Compensated(End::Good)), "{told}"),
                Verdict::CompensationFailed => assert!(spec.is_compensated && began, "{told}"),
                Verdict::TimedOutStillRunning => assert!(diary.contains(&Fact::Cancelled), "{told}"),
                Verdict::Abandoned => {
                    assert!(began && self.finished != Some(Ending::Completed), "{told}");
                }
            }
        }
        let clean = self.run.is_clean();
        let ran_out = self.run.plan().order().iter().any(|id| {
            let detail = self.run.detail(*id).unwrap_or_default();
            detail.contains("no time was left for it") || detail.contains("the grace period ran out")
        });
        assert!(!ran_out || matches!(self.finished, Some(Ending::OutOfTime | Ending::Forced { .. })));
        let all = self.run.plan().order().iter().all(|id| self.run.verdict(*id) == Some(Verdict::Verified));
        assert_eq!(clean, all && self.finished == Some(Ending::Completed));
    }
}
