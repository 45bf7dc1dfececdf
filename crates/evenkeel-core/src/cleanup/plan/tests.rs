//! What a plan refuses, and how it orders the rest.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::*;

fn step(name: &str, phase: Phase) -> StepSpec {
    StepSpec::new(name, phase)
}

fn refused(steps: Vec<StepSpec>) -> String {
    Plan::new(steps, PlanOptions::default()).unwrap_err().to_string()
}

// REQ C3
#[test]
fn what_is_wrong_is_refused_by_name() {
    use Phase::{ClosingLogs, FlushingStorage, StoppingCapture};
    let two = vec![step("a", StoppingCapture), step("a", FlushingStorage)];
    assert_eq!(
        refused(two),
        "there are two steps \"a\", in StoppingCapture and in FlushingStorage; a name is given once"
    );
    let unknown = vec![step("flush/left", FlushingStorage), step("close", ClosingLogs).needs("flush/lefr")];
    assert_eq!(
        refused(unknown),
        "step \"close\" waits for \"flush/lefr\", and there is no such step; did you mean \"flush/left\"?"
    );
    let later = vec![step("a", StoppingCapture).needs("b"), step("b", FlushingStorage)];
    assert!(refused(later).contains("comes later"));
    let cycle = vec![
        step("x", FlushingStorage).needs("c"),
        step("a", FlushingStorage).needs("b"),
        step("b", FlushingStorage).follows("c"),
        step("c", FlushingStorage).needs("a"),
    ];
    let told = refused(cycle);
    let ways = ["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c"];
    assert!(ways.iter().any(|way| told.ends_with(way)), "{told}");
    assert!(refused(vec![step("a", FlushingStorage).needs("a")]).ends_with("a -> a"));
    for name in ["", "a\nb", &"x".repeat(201)] {
        assert!(refused(vec![step(name, FlushingStorage)]).contains("no step name"));
    }
    let mut none = step("a", FlushingStorage);
    none.limits.timeout = Duration::ZERO;
    assert!(refused(vec![none]).contains("timeout of zero"));
}

// REQ C3, REQ C4
#[test]
fn the_order_is_by_phase_then_dependency_then_priority() {
    let mut urgent = step("urgent", Phase::FlushingStorage);
    urgent.priority = 7;
    let steps = vec![
        step("close", Phase::ClosingLogs),
        step("second", Phase::FlushingStorage).needs("first"),
        step("first", Phase::FlushingStorage),
        urgent,
        step("stop", Phase::StoppingCapture),
    ];
    let plan = Plan::new(steps, PlanOptions::default()).unwrap();
    let names: Vec<&str> = plan.order().iter().map(|id| plan.step(*id).name.as_str()).collect();
    assert_eq!(names, ["stop", "urgent", "first", "second", "close"]);
}

// REQ C12
#[test]
fn a_scope_keeps_its_steps_and_the_dependencies_among_them() {
    let of = |name: &str, channel: &str| StepSpec {
        channel: Some(channel.to_owned()),
        ..step(name, Phase::FlushingStorage)
    };
    let steps = vec![
        of("left/a", "left"),
        of("left/b", "left").needs("left/a").needs("right/a"),
        of("right/a", "right"),
    ];
    let scope = Scope::Channel("left".to_owned());
    let plan = Plan::new(steps, PlanOptions { scope, ..PlanOptions::default() }).unwrap();
    assert_eq!(plan.steps().len(), 2);
    let b = plan.find("left/b").unwrap();
    assert_eq!(plan.dependencies(b).collect::<Vec<_>>(), [(plan.find("left/a").unwrap(), true)]);
}

// REQ C3
#[test]
fn what_is_named_twice_counts_once() {
    let steps = vec![
        step("a", Phase::FlushingStorage),
        step("b", Phase::FlushingStorage).follows("a").needs("a").follows("a"),
    ];
    let plan = Plan::new(steps, PlanOptions::default()).unwrap();
    let b = plan.find("b").unwrap();
    assert_eq!(plan.dependencies(b).collect::<Vec<_>>(), [(plan.find("a").unwrap(), true)]);
}
