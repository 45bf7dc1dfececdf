//! Single turns of a run; `tests/cleanup.rs` has the random ones.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::*;
use crate::cleanup::{PlanOptions, StepSpec};

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Mono {
    Mono::from_nanos(ms * 1_000_000)
}

fn run_of(steps: Vec<StepSpec>) -> Run {
    Run::new(Plan::new(steps, PlanOptions::default()).unwrap())
}

fn id(run: &Run, name: &str) -> StepId {
    run.plan().find(name).unwrap()
}

fn tell(run: &mut Run, now: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    run.handle(at(now), event, &mut out);
    out
}

fn flush(name: &str) -> StepSpec {
    StepSpec::new(name, Phase::FlushingStorage).idempotent()
}

fn ran(step: StepId, outcome: Outcome) -> Event {
    Event::Ran { step, outcome }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed(why.to_owned())
}

// REQ C7
#[test]
fn a_failure_skips_what_needs_it_and_names_the_chain() {
    let mut run =
        run_of(vec![flush("a"), flush("b").needs("a"), flush("c").needs("b"), flush("d").follows("b")]);
    let (a, b, c, d) = (id(&run, "a"), id(&run, "b"), id(&run, "c"), id(&run, "d"));
    tell(&mut run, 0, Event::Begin);
    let actions = tell(&mut run, 1, ran(a, failed("the disk is gone")));
    assert_eq!(run.verdict(a), Some(Verdict::Failed));
    assert_eq!(run.verdict(b), Some(Verdict::SkippedBecause));
    assert_eq!(run.detail(b), Some("it needs a, which is Failed: the disk is gone"));
    assert_eq!(
        run.detail(c),
        Some("it needs b, which is SkippedBecause: it needs a, which is Failed: the disk is gone")
    );
    assert!(actions.iter().any(|action| matches!(action, Action::Run { step, .. } if *step == d)));
    assert_eq!(run.verdict(d), None);
}

// REQ C5
#[test]
fn a_failing_step_is_tried_again_after_growing_waits() {
    let mut spec = flush("a");
    spec.limits.retries = 2;
    let mut run = run_of(vec![spec]);
    let a = id(&run, "a");
    tell(&mut run, 0, Event::Begin);
    tell(&mut run, 1, ran(a, failed("one")));
    assert_eq!(run.next_deadline(), Some(at(11)));
    let actions = tell(&mut run, 11, Event::Tick);
    assert!(matches!(actions[..], [Action::Intent { attempt: 2, .. }, Action::Run { attempt: 2, .. }]));
    tell(&mut run, 12, ran(a, failed("two")));
    assert_eq!(run.next_deadline(), Some(at(32)));
    tell(&mut run, 32, Event::Tick);
    tell(&mut run, 33, ran(a, failed("three")));
    assert_eq!((run.verdict(a), run.attempts(a), run.detail(a)), (Some(Verdict::Failed), 3, Some("three")));
}

// REQ C6
#[test]
fn the_verification_decides_not_the_way_there() {
    let mut run = run_of(vec![flush("a").verified(), flush("b").verified()]);
    let (a, b) = (id(&run, "a"), id(&run, "b"));
    tell(&mut run, 0, Event::Begin);
    let actions = tell(&mut run, 1, ran(a, failed("close said no")));
    assert!(matches!(actions[..], [Action::Verify { .. }]));
    tell(&mut run, 2, Event::Checked { step: a, outcome: Outcome::Done });
    assert_eq!(run.verdict(a), Some(Verdict::Verified));
    assert_eq!(run.detail(a), Some("it failed, and was verified all the same: close said no"));
    tell(&mut run, 2, ran(b, Outcome::Done));
    tell(&mut run, 3, Event::Checked { step: b, outcome: failed("3 records are missing") });
    assert_eq!(run.verdict(b), Some(Verdict::Failed));
    assert_eq!(run.detail(b), Some("not verified: 3 records are missing"));
}

// REQ C5, REQ C7
#[test]
fn a_step_that_does_not_stop_is_named_and_the_rest_goes_on() {
    let mut run = run_of(vec![flush("a"), StepSpec::new("close", Phase::ClosingLogs).idempotent()]);
    let (a, close) = (id(&run, "a"), id(&run, "close"));
    tell(&mut run, 0, Event::Begin);
    assert_eq!(run.next_deadline(), Some(at(4900)));
    assert_eq!(tell(&mut run, 4900, Event::Tick), [Action::Cancel { step: a }]);
    assert_eq!(run.next_deadline(), Some(at(5000)));
    let actions = tell(&mut run, 5000, Event::Tick);
    assert_eq!(run.verdict(a), Some(Verdict::TimedOutStillRunning));
    assert_eq!(run.detail(a), Some("still running after 5000 ms"));
    assert!(actions.contains(&Action::PhaseEnded(Phase::FlushingStorage)));
    assert_eq!(run.abandoned(), ["a"]);
    // It ends late, and the report says so, but its verdict stands.
    tell(&mut run, 5007, ran(a, Outcome::Done));
    assert_eq!(run.detail(a), Some("still running after 5000 ms; it ended 7 ms after its time"));
    assert_eq!(run.verdict(a), Some(Verdict::TimedOutStillRunning));
    assert!(run.abandoned().is_empty());
    tell(&mut run, 5008, ran(close, Outcome::Done));
    assert_eq!(run.ending(), Some(&Ending::Completed));
    assert!(!run.is_clean());
}

// REQ C5
#[test]
fn a_step_that_stops_when_told_has_failed() {
    let mut run = run_of(vec![flush("a")]);
    let a = id(&run, "a");
    tell(&mut run, 0, Event::Begin);
    tell(&mut run, 4900, Event::Tick);
    tell(&mut run, 4901, ran(a, Outcome::Cancelled));
    assert_eq!(run.verdict(a), Some(Verdict::Failed));
    assert_eq!(run.detail(a), Some("took longer than 4901 ms and was cancelled"));
    assert!(run.abandoned().is_empty());
}

// REQ C5
#[test]
fn progress_buys_time_within_the_budget() {
    let mut run = run_of(vec![flush("a")]);
    let a = id(&run, "a");
    tell(&mut run, 0, Event::Begin);
    tell(&mut run, 4000, Event::Extend { step: a, by: 3000 * MS });
    assert_eq!(run.next_deadline(), Some(at(4900)), "the old time is looked at in passing");
    assert!(tell(&mut run, 4900, Event::Tick).is_empty());
    assert_eq!(run.next_deadline(), Some(at(7000)));
    tell(&mut run, 5000, Event::Extend { step: a, by: Duration::MAX });
    assert!(run.next_deadline() <= Some(at(7000)));
    tell(&mut run, 7000, Event::Tick);
    assert!(run.next_deadline() < Some(at(20_000)));
}

// REQ C9
#[test]
fn a_step_that_cannot_be_repeated_waits_for_its_intent() {
    let slow = StepSpec::new("slow", Phase::FlushingStorage);
    let mut run = run_of(vec![slow.clone(), StepSpec { name: "quick".to_owned(), ..slow }]);
    let (slow, quick) = (id(&run, "slow"), id(&run, "quick"));
    let actions = tell(&mut run, 0, Event::Begin);
    assert!(!actions.iter().any(|action| matches!(action, Action::Run { .. })));
    let actions = tell(&mut run, 10, Event::Journalled { step: quick });
    assert!(matches!(actions[..], [Action::Run { step, .. }] if step == quick));
    tell(&mut run, 250, Event::Tick);
    assert_eq!(run.verdict(slow), Some(Verdict::SkippedBecause));
    assert!(run.detail(slow).unwrap().starts_with("journal"));
    // Durable after all, too late: it must not run now.
    assert!(tell(&mut run, 260, Event::Journalled { step: slow }).is_empty());
    assert_eq!(run.attempts(slow), 0);
}

// REQ C8
#[test]
fn a_compensation_follows_a_failure() {
    let mut spec = flush("a");
    spec.is_compensated = true;
    let other = StepSpec { name: "b".to_owned(), ..spec.clone() };
    let mut run = run_of(vec![spec, other]);
    let (a, b) = (id(&run, "a"), id(&run, "b"));
    tell(&mut run, 0, Event::Begin);
    let actions = tell(&mut run, 1, ran(a, Outcome::Panicked("boom".to_owned())));
    assert!(matches!(actions[..], [Action::Compensate { .. }]));
    tell(&mut run, 2, Event::Compensated { step: a, outcome: Outcome::Done });
    assert_eq!((run.verdict(a), run.detail(a)), (Some(Verdict::Compensated), Some("boom")));
    tell(&mut run, 2, ran(b, failed("no")));
    tell(&mut run, 3, Event::Compensated { step: b, outcome: failed("neither") });
    assert_eq!(run.verdict(b), Some(Verdict::CompensationFailed));
    assert_eq!(run.detail(b), Some("no; its compensation failed: neither"));
}

// REQ C16
#[test]
fn force_ends_all_at_once() {
    let mut run = run_of(vec![flush("a"), flush("b").needs("a")]);
    let (a, b) = (id(&run, "a"), id(&run, "b"));
    tell(&mut run, 0, Event::Begin);
    let actions = tell(&mut run, 5, Event::Force { by: "a second SIGTERM".to_owned() });
    assert_eq!(actions.last(), Some(&Action::Finished(Ending::Forced { by: "a second SIGTERM".to_owned() })));
    assert_eq!((run.verdict(a), run.verdict(b)), (Some(Verdict::Abandoned), Some(Verdict::SkippedBecause)));
    assert_eq!(run.abandoned(), ["a"]);
    assert_eq!(crate::cleanup::exit_code(run.ending().unwrap(), run.is_clean()), 4);
    assert!(tell(&mut run, 6, ran(a, Outcome::Done)).is_empty());
    assert_eq!(run.verdict(a), Some(Verdict::Abandoned));
}

// REQ C2
#[test]
fn a_run_without_steps_goes_through_every_phase() {
    let mut run = run_of(Vec::new());
    let actions = tell(&mut run, 0, Event::Begin);
    assert_eq!(actions.len(), 11);
    assert_eq!(actions[0], Action::PhaseBegan(Phase::Initiating));
    assert_eq!(actions[10], Action::Finished(Ending::Completed));
    assert!(run.is_clean());
}

// REQ C5
#[test]
fn a_lease_that_ends_is_not_the_budgets_end() {
    let mut run = run_of(vec![flush("a")]);
    let a = id(&run, "a");
    tell(&mut run, 0, Event::Begin);
    for now in [4000, 4100, 4200] {
        tell(&mut run, now, Event::Extend { step: a, by: 1000 * MS });
        assert_eq!(run.timers.len(), 1, "one timer serves all leases");
    }
    let mut now = 4200;
    while run.ending().is_none() {
        now += 50;
        tell(&mut run, now, Event::Tick);
    }
    assert!(now > 5200);
    assert_eq!(run.verdict(a), Some(Verdict::TimedOutStillRunning));
    assert_eq!(run.ending(), Some(&Ending::Completed), "there was time, and it did not ask for it");

    let mut run = run_of(vec![flush("a")]);
    tell(&mut run, 0, Event::Begin);
    tell(&mut run, 4000, Event::Extend { step: a, by: 60_000 * MS });
    while let Some(next) = run.next_deadline() {
        tell(&mut run, next.as_nanos() / 1_000_000 + 1, Event::Tick);
    }
    assert_eq!(run.ending(), Some(&Ending::OutOfTime), "it asked for more than there was");
}

// REQ C16
#[test]
fn a_force_before_the_beginning_begins_nothing() {
    let mut run = run_of(vec![flush("a")]);
    let actions = tell(&mut run, 0, Event::Force { by: "x".to_owned() });
    assert!(!actions.iter().any(|action| matches!(action, Action::Run { .. } | Action::PhaseBegan(_))));
    assert!(tell(&mut run, 1, Event::Begin).is_empty() && run.next_deadline().is_none());
    assert_eq!(run.verdict(id(&run, "a")), Some(Verdict::SkippedBecause));
}
