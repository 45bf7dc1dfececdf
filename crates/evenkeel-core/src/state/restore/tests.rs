//! What only a defect of this library could bring about.

use super::super::{COMPONENT, ComponentState, Limits, Machine};
use super::*;

fn machine() -> Machine<ComponentState> {
    let now = Mono::from_nanos(0);
    let mut machine = Machine::new(&COMPONENT, Limits::default(), now);
    for to in [ComponentState::Initialising, ComponentState::Running] {
        let proposal = machine.propose(now, to, "test").unwrap();
        let _ = machine.commit(now, proposal).unwrap();
    }
    machine
}

// REQ S9
#[test]
fn a_machine_that_is_not_where_its_changes_lead_is_found() {
    let mut machine = machine();
    assert_eq!(machine.check(), Ok(()));
    machine.state = ComponentState::Stopped;
    let error = machine.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "component: its changes lead to Running at change 2, not to Stopped at change 2"
    );
}

// REQ S9
#[test]
fn a_step_that_the_table_does_not_allow_is_found() {
    let mut machine = machine();
    let (from, to) = (ComponentState::Running, ComponentState::Registered);
    machine.points.push(Step { sequence: 3, from, to, is_mark: false });
    let error = machine.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "component, change 3: Running cannot become Registered; allowed: Degraded, Draining, Stopping, Failed"
    );
}
