//! The suite `threads`: handing over jobs, starting threads, and what being watched costs.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod handover;
#[cfg(feature = "peers")]
mod peers;
mod pool;
mod round_trip;
mod start;
mod throughput;
mod watched;

use evenkeel_bench::{Arguments, Suite};

/// Ours in every race.
const OURS: &str = "evenkeel";

const WORKLOAD: &str = "\
Eleven rounds in turns after one that warms up; medians, of quantiles the median of the rounds' own. Every \
pool has two workers. Ours knows of each job its name, class, place, times and answer, and watches its \
workers; `std channel` is one plain thread that takes closures from a channel of std, and knows nothing. \
`handover`: from before the call that gives a job to the job's first instruction; `idle`: the giver sleeps \
for a millisecond before each, and so do the workers; `hot`: each is given as soon as the one before has \
begun; `channel`: the jobs of one channel, which stay on its worker. `round-trip`: a job is given and its \
answer waited for, one after the other: by its handle, by tokio's `block_on`, by a channel of std \
otherwise. `start/thread`: from before the call to the new thread's first instruction, stacks of 2 MiB. \
`start/first job`: a pool of one worker is made and given its first job, to that one's first instruction. \
`throughput`: one thread gives 100000 jobs that count down, to the end of the last, per job; \
`200 channels`: of 200 channels and three classes in turn. `beat`: a beat of a job. `snapshot`: of sixteen \
threads that wait, per thread.";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("threads", WORKLOAD, arguments);
    suite.part("handover", handover::measure);
    suite.part("round-trip", round_trip::measure);
    suite.part("start", start::measure);
    suite.part("throughput", throughput::measure);
    suite.part("beat", watched::beat);
    suite.part("snapshot", watched::snapshot);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
