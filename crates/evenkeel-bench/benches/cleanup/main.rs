//! The suite `cleanup`: planning, deciding, and whole stops.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod decide;
mod graph;
#[cfg(feature = "peers")]
mod peers;
mod plan;
mod stop;

use evenkeel_bench::{Arguments, Suite};

/// Ours in every race.
const OURS: &str = "evenkeel";

const WORKLOAD: &str = "\
Eleven rounds in turns after one that warms up; medians. `plan`: steps in five phases with up to three \
dependencies each, given by name; ours checks names, phases and cycles, orders by priority too, and \
divides the budget, where petgraph orders a graph made of the same names, or, `toposort alone`, one made \
before. `decide`: the run alone, no shell, no clock, every step run and verified. `stop/N`: from the \
call to the report, of N steps that do nothing, in one phase, at most 16 at once; per step. Ours plans, \
starts each step and then its verification with a time limit of its own, and reports each; with a \
journal it writes an intent and an outcome of each, chains them, syncs, seals and reads the last segment \
back; `unrepeatable` steps also wait, each, until their intents are durable. `refused` and `unverified` \
count all rounds: entries that found the journal's queue full while the disk did not answer, and steps \
that were not verified for it. The peers wake N tasks that are already waiting and end as soon as they \
are told, and wait for them: no order, no verification, no report of each. `futures` run on the tokio \
runtime (two threads) that the peers use, `threads` block threads of ours. `empty`: a stop without \
steps, by its five phases.";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("cleanup", WORKLOAD, arguments);
    suite.part("plan", plan::measure);
    suite.part("decide", decide::measure);
    suite.part("register", stop::register);
    suite.part("empty", stop::empty);
    suite.part("stop", stop::whole);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
