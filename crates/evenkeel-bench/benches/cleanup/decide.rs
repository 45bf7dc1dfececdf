//! Deciding: a run that is answered at once.

use crate::OURS;
use crate::graph;
use evenkeel_bench::{Figure, Goal, Race, Suite, mean_ns};
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{Action, Event, Outcome, Plan, PlanOptions, Run};
use std::collections::VecDeque;

const STEPS: usize = 10_000;
const RUNS: usize = 3;
/// Between two events.
const TICK_NS: u64 = 1_000;

pub(crate) fn measure(suite: &mut Suite) {
    let plan = Plan::new(graph::steps(STEPS), PlanOptions::default()).unwrap();
    let per_step = |begin: fn(Plan) -> Run| {
        let samples = Race::new()
            .with(OURS, || mean_ns(RUNS, |_| plan.clone(), |plan| drive(begin(plan))) / STEPS as f64);
        samples.run()
    };
    let ids = [
        ("decide/10000", per_step(|plan| Run::new(plan).without_journal())),
        ("decide/10000 with intents", per_step(Run::new)),
    ];
    for (id, samples) in ids {
        suite.add(Figure::of(id, "ns/step", &samples, OURS, 0.5).goal(Goal::Below(2_000.0)));
    }
}

/// Answers everything that the run asks for, in its order; everything goes well.
fn drive(mut run: Run) -> Run {
    let (mut asked, mut out, mut now_ns) = (VecDeque::new(), Vec::new(), 0);
    let mut next = Some(Event::Begin);
    loop {
        if let Some(event) = next.take() {
            now_ns += TICK_NS;
            run.handle(Mono::from_nanos(now_ns), event, &mut out);
            asked.extend(out.drain(..));
        }
        let Some(action) = asked.pop_front() else { break };
        next = match action {
            Action::Intent { step, .. } => Some(Event::Journalled { step }),
            Action::Run { step, .. } => Some(Event::Ran { step, outcome: Outcome::Done }),
            Action::Verify { step, .. } => Some(Event::Checked { step, outcome: Outcome::Done }),
            _ => None,
        };
    }
    assert!(run.is_clean(), "every step was verified");
    run
}
