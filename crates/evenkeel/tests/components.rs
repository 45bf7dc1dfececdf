//! What components take. Alone in its process: others would be measured too.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::ComponentState;
use evenkeel::prelude::*;

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

// REQ P5
#[test]
fn a_component_takes_less_than_four_kilobytes() {
    const COUNT: usize = 8_000;
    let keel = Keel::builder("states").without_signals().keep_process().build().unwrap();
    let left = keel.channel("left").unwrap();
    let before = resident_bytes();
    let all: Vec<_> = (0..COUNT).map(|at| left.component(&format!("component-{at}")).unwrap()).collect();
    for component in &all {
        for to in [ComponentState::Initialising, ComponentState::Running, ComponentState::Degraded] {
            component.enter(to).unwrap();
        }
    }
    let each = (resident_bytes() - before) / COUNT;
    assert!(each < 4096, "{each} bytes each");
    assert_eq!(keel.states().check().machines, COUNT + 1);
    keel.stop("enough", "the test");
}
