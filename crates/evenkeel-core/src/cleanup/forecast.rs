//! What a plan would take: the same engine, driven with estimates.

use super::{Action, Event, Outcome, Phase, Plan, Run, StepId};
use crate::Mono;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::Duration;

/// When a step would run, from the beginning of the cleanup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The step.
    pub step: StepId,
    /// When it begins.
    pub begins: Duration,
    /// When it has its verdict.
    pub ends: Duration,
}

/// A cleanup that has not happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What it takes in all.
    pub total: Duration,
    /// Every step that would run, in the order in which they begin.
    pub spans: Vec<Span>,
    /// The steps that the total hangs on, first to last: each begins when the one
    /// before it ends.
    pub critical_path: Vec<StepId>,
    /// Most steps that run at once.
    pub concurrency: usize,
}

/// The cleanup in which every step takes what it is expected to.
pub fn forecast(plan: &Plan) -> Forecast {
    drive(plan, |_, expected, _| expected)
}

/// The cleanup in which every step takes all the time that it is given, and succeeds with it.
pub fn worst_case(plan: &Plan) -> Forecast {
    drive(plan, |now, _, deadline| deadline.since(now).saturating_sub(Duration::from_nanos(1)))
}

fn drive(plan: &Plan, takes: impl Fn(Mono, Duration, Mono) -> Duration) -> Forecast {
    let mut run = Run::new(plan.clone()).without_journal();
    let (mut actions, mut now) = (Vec::new(), Mono::default());
    let mut answers: BinaryHeap<Reverse<(Mono, u64, StepId)>> = BinaryHeap::new();
    let mut spans: Vec<Option<Span>> = vec![None; plan.steps().len()];
    let (mut began, mut running, mut concurrency) = (Vec::new(), 0usize, 0);
    run.handle(now, Event::Begin, &mut actions);
    loop {
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Run { step, deadline, .. } => {
                    let took = takes(now, plan.step(step).limits.expected, deadline);
                    answers.push(Reverse((now.plus(took), answers.len() as u64, step)));
                    spans[step.index()] =
                        Some(Span { step, begins: since_start(now), ends: since_start(now) });
                    began.push(step);
                    running += 1;
                    concurrency = concurrency.max(running);
                }
                // Its time is part of what the step is expected to take.
                Action::Verify { step, .. } => {
                    run.handle(now, Event::Checked { step, outcome: Outcome::Done }, &mut actions);
                }
                Action::Ended { step } => {
                    if let Some(span) = &mut spans[step.index()] {
                        span.ends = since_start(now);
                        running -= 1;
                    }
                }
                _ => {}
            }
        }
        if !actions.is_empty() {
            continue;
        }
        let Some(deadline) = run.next_deadline() else { break };
        match answers.peek().copied() {
            Some(Reverse((at, _, step))) if at <= deadline => {
                answers.pop();
                now = at;
                run.handle(now, Event::Ran { step, outcome: Outcome::Done }, &mut actions);
            }
            _ => {
                now = deadline;
                run.handle(now, Event::Tick, &mut actions);
            }
        }
    }
    let spans: Vec<Span> = began.into_iter().filter_map(|id| spans[id.index()]).collect();
    let critical_path = critical_path(plan, &spans);
    Forecast { total: run.duration(), spans, critical_path, concurrency }
}

fn since_start(now: Mono) -> Duration {
    now.since(Mono::default())
}

/// Walks back from the step that ends last to whatever ended when it began: what
/// it waits for first, else whatever it had to wait for in line or in the phase before.
fn critical_path(plan: &Plan, spans: &[Span]) -> Vec<StepId> {
    // Each begins before the one behind it: every group of one end is looked at once.
    let mut ending: HashMap<Duration, Vec<&Span>> = HashMap::new();
    for span in spans {
        ending.entry(span.ends).or_default().push(span);
    }
    let mut path = Vec::new();
    let mut at = spans.iter().max_by_key(|span| (span.ends, Reverse(span.begins))).copied();
    while let Some(span) = at {
        path.push(span.step);
        let waits_for: HashSet<StepId> = plan.dependencies(span.step).map(|(on, _)| on).collect();
        let phase = |other: &Span| -> Phase { plan.step(other.step).phase };
        let before = || {
            let ended = ending.get(&span.begins).into_iter().flatten();
            ended.filter(|other| other.step != span.step && other.begins < span.begins).copied()
        };
        let in_line = before().find(|other| phase(other) == phase(&span));
        let needed = before().find(|other| waits_for.contains(&other.step));
        at = needed.or(in_line).or_else(|| before().max_by_key(|o| phase(o))).copied();
    }
    path.reverse();
    path
}
