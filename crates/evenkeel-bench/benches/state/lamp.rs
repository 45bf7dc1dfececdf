//! What is changed: a lamp.

use evenkeel::state::{StateMachine, States, Table, state_table, states};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

states! {
    /// A lamp.
    pub(crate) enum Lamp { Off, On }
}

pub(crate) static LAMP: Table<Lamp> = state_table! {
    Lamp, "lamp", version 1, initial Off, final [],
    Off -> On: "push",
    On -> Off: "push",
};

impl Lamp {
    pub(crate) fn other(self) -> Self {
        if self == Self::Off { Self::On } else { Self::Off }
    }
}

/// One with a guard that looks at a flag, and an invariant.
pub(crate) fn guarded(all: &States) -> StateMachine<Lamp> {
    let has_power = Arc::new(AtomicBool::new(true));
    let holds = has_power.clone();
    let ask = |is: bool| if is { Ok(()) } else { Err("no power".to_owned()) };
    // Who loses its processor for a millisecond is not slow: here all stay in the thread that changes.
    let builder = all.machine(&LAMP, "lamp").slow_after(std::time::Duration::from_secs(1));
    let builder = builder.guard("power", move |_| ask(has_power.load(Ordering::Relaxed)));
    builder.invariant("power", move |_| ask(holds.load(Ordering::Relaxed))).build().unwrap()
}
