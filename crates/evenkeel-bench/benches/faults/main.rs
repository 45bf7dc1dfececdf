//! The suite `faults`: what a report costs, and how soon something is done about it.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod act;
mod house;
mod report;

use evenkeel_bench::{Arguments, Suite};

/// Ours in every race.
const OURS: &str = "evenkeel";

const WORKLOAD: &str = "\
Eleven rounds after one that warms up; medians, of quantiles the median of the rounds' own. A service with a journal on \
disk. `report`: a fault with component, an error with a cause of its own, place and both clocks, from before the call to \
after it; `idle`: `ek-faults` sleeps before each, and is woken by it; `storm`: 10000 by one thread without a pause, a \
report. `begin`: from before a report of severity error to the first instruction of the component's restart, without a \
backoff. `told`: from the last instruction before a panic of a job to the first of an observer. `storm/looked at`: from \
the first of 10000 reports to when none of them waits any more.";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("faults", WORKLOAD, arguments);
    suite.part("report", report::measure);
    suite.part("storm", report::storm);
    suite.part("begin", act::begin);
    suite.part("told", act::told);
    suite.skip("peers: none of them tells of faults with their context");
    println!("{}", suite.text());
}
