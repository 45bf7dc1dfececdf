//! All machines of a service: found, looked at, checked; components and the stop among them.

use super::{LAMP, LONG, Lamp, until};
use evenkeel::prelude::*;
use evenkeel::state::{CLEANUP, CleanupState, MachineError, MachineName, States};
use evenkeel::{ComponentError, ComponentState};
use std::sync::{Arc, Mutex};

fn keel() -> Keel {
    Keel::builder("states").without_signals().keep_process().build().unwrap()
}

// REQ S1
#[test]
fn names_are_of_one_machine_and_free_when_it_is_gone() {
    let all = States::default();
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    let twice = all.machine(&LAMP, "lamp").build().unwrap_err();
    assert_eq!(twice.to_string(), "there is a machine lamp already");
    assert!(matches!(all.machine(&LAMP, "Lamp!").build(), Err(MachineError::Name(_))));
    let reader = all.reader(lamp.name(), &LAMP).unwrap();
    let other = all.reader(lamp.name(), &CLEANUP).unwrap_err();
    assert_eq!(other.to_string(), "machine lamp has table lamp, not cleanup");
    lamp.change(Lamp::On, "push").unwrap();
    assert_eq!((reader.state(), all.len()), (Lamp::On, 1));
    let view = all.view(lamp.name()).unwrap();
    assert!(view.history()[0].starts_with("change 1: Off -> On, push ("), "{:?}", view.history());
    assert_eq!(view.figures()[0].done, 1);
    drop((lamp, reader, view));
    assert!(all.is_empty() && all.list().is_empty());
    assert_eq!(all.machine(&LAMP, "lamp").build().unwrap().state(), Lamp::Off);
    assert!(all.reader(&MachineName::new(None, None, "lamp"), &LAMP).is_err());
}

// REQ S1, REQ P1, REQ P3
#[test]
fn components_and_the_stop_are_machines_among_the_others() {
    let keel = keel();
    let left = keel.channel("left").unwrap();
    let mic = left.component("mic").unwrap();
    let lamp = left.machine(&LAMP, "lamp").build().unwrap();
    let told: Arc<Mutex<Vec<CleanupState>>> = Arc::default();
    let tells = told.clone();
    let observed = keel.stop_state().observe("log", move |change| tells.lock().unwrap().push(change.to));
    observed.unwrap().keep();
    mic.enter_because(ComponentState::Running, "plugged in").unwrap();
    let refused = mic.enter(ComponentState::Registered).unwrap_err();
    assert!(matches!(refused, ComponentError::Transition { from: ComponentState::Running, .. }), "{refused}");
    let names: Vec<String> =
        keel.states().list().iter().map(|info| format!("{} = {}", info.name, info.state)).collect();
    assert_eq!(names, ["cleanup = NotStarted", "left: lamp = Off", "left/mic: state = Running"]);
    assert_eq!(&*mic.state_machine().history()[0].cause, "plugged in");
    assert!(keel.stop("enough", "the test").clean);
    assert_eq!(keel.stop_state().state(), CleanupState::Completed);
    until(|| told.lock().unwrap().len() == 6);
    assert_eq!(told.lock().unwrap()[0], CleanupState::Initiating);
    drop(lamp);
    let forced = self::keel();
    forced.cleanup("hangs").run(|_| std::future::pending::<()>()).register().unwrap();
    forced.request_stop("enough", "the test");
    until(|| forced.stop_state().state() != CleanupState::NotStarted);
    forced.force("the test");
    forced.wait();
    assert_eq!(forced.stop_state().state(), CleanupState::Failed);
}

// REQ S6, REQ S9
#[test]
fn a_service_that_is_started_again_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let builder = Keel::builder("states").without_signals().keep_process();
        builder.journal(dir.path().join("journal")).build().unwrap()
    };
    let keel = start();
    let left = keel.channel("left").unwrap();
    let lamp = left.machine(&LAMP, "lamp").build().unwrap();
    let mic = left.component("mic").unwrap();
    mic.enter(ComponentState::Running).unwrap();
    let begin = lamp.checkpoint();
    lamp.change_durable(Lamp::On, "push", LONG).unwrap();
    assert!(keel.stop("enough", "the test").clean);
    let keel = start();
    let left = keel.channel("left").unwrap();
    let lamp = left.machine(&LAMP, "lamp").build().unwrap();
    // A component is of one run; what is a user's goes on.
    assert_eq!(left.component("mic").unwrap().state(), ComponentState::Registered);
    assert_eq!((lamp.state(), lamp.sequence()), (Lamp::On, 1));
    lamp.take_back(begin, "as it was").unwrap();
    assert_eq!(lamp.state(), Lamp::Off);
    assert!(keel.states().check().is_sound());
    keel.stop("enough", "the test");
}
