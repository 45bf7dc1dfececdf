//! The suite `state`: changing a machine, telling its observers, looking at all, the way back.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod all;
mod change;
mod durable;
mod lamp;
mod peers;

use evenkeel_bench::{Arguments, Suite};

/// Ours in every race.
const OURS: &str = "evenkeel";

const WORKLOAD: &str = "\
Eleven rounds in turns after one that warms up; medians, of quantiles the median of the rounds' own. A lamp \
goes on and off, with one guard that looks at a flag. Ours also asks an invariant, keeps history, figures by \
edge, points to go back to and the machine for any thread, and looks for one that flaps; each change is taken \
alone, with a clock read before and after. `statig` is a hierarchical machine of one owner: it hands an event to \
the state's function, and has no history, no lock, no way back. `match` is an enum and a flag under a mutex of \
std, and nothing else. `transitions` is Python's: conditions and a change of an attribute, measured by Python's \
own clock. `change`: one change of a machine that nobody watches; `change/plain` without guard and invariant. \
`observers/10`: ten observers, from before the change until all have seen it. `read`: state and sequence. \
`check/1000`: 1000 components, all of them. `back`: 8 changes are taken back, with a compensation each; \
`rehearse`: the same, not done. `durable`: a change that is on disk when it returns, of one thread. \
`recover/100k`: what a journal says of machines after 100000 changes of ten, out of the page cache.";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("state", WORKLOAD, arguments);
    suite.part("change", change::measure);
    suite.part("observers", change::observers);
    suite.part("read", change::read);
    suite.part("check", all::check);
    suite.part("back", all::back);
    suite.part("durable", durable::change);
    suite.part("recover", durable::recover);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
