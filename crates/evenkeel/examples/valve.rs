//! A valve whose state survives the process, and a sensor that fails and is restarted.
//!
//! Run it twice: the second time the valve is where the first run left it.
//!
//! ```text
//! cargo run -p evenkeel --example valve
//! cargo run -p evenkeel --example valve
//! ```
#![allow(clippy::print_stdout, reason = "an example talks")]

use evenkeel::Keel;
use evenkeel::faults::{Attempt, Code, Severity};
use evenkeel::prelude::*;
use evenkeel::state::{Table, state_table, states};
use std::error::Error;
use std::io;

states! {
    /// A valve.
    pub enum Valve {
        /// Nothing flows.
        Shut,
        /// All flows.
        Open,
        /// It does not move.
        Stuck,
    }
}

static VALVE: Table<Valve> = state_table! {
    Valve, "valve", version 1, initial Shut, final [Stuck],
    Shut -> Open: "open",
    Open -> Shut: "shut",
    Shut -> Stuck: "jam",
    Open -> Stuck: "jam",
};

fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::temp_dir().join("evenkeel-valve");
    let keel = Keel::builder("valve").journal(place.join("journal")).grace(5.seconds()).build()?;
    let left = keel.channel("left")?;

    let valve = left.machine(&VALVE, "inlet").guard("pressure", |_| Ok(())).build()?;
    println!("the valve was left {}, by change {}", valve.state(), valve.sequence());
    valve.observe("print", |change| println!("{} -> {}: {}", change.from, change.to, change.cause))?.keep();
    let other = if valve.state() == Valve::Shut { Valve::Open } else { Valve::Shut };
    valve.change_durable(other, "the operator", 1.seconds())?;
    if let Err(refused) = valve.change(other, "once more") {
        println!("{refused}");
    }

    let (told, restarted) = std::sync::mpsc::channel();
    let restart = move |_: &Attempt<'_>| -> io::Result<()> { told.send(()).map_err(io::Error::other) };
    let sensor = left.supervise("sensor").restart(restart).register()?;
    keel.faults().on_fault(|fault| println!("{fault}"));
    let error = io::Error::other("no answer on /dev/ttyS1");
    sensor.fault(Code::PANIC, Severity::Error).cause(&error).report();
    restarted.recv_timeout(10.seconds())?;
    println!("the sensor was restarted");

    let report = keel.stop("the example is over", "the example");
    println!("stopped {}", if report.clean { "clean" } else { "not clean" });
    Ok(())
}
