//! The suite `locks`: taking a lock alone, against another thread, and against a hog.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod contended;
mod contender;
mod hog;
mod uncontended;

use evenkeel_bench::{Arguments, Suite};

/// What ours stand on, and are held to.
const PARKING_LOT: &str = "parking_lot 0.12";

const WORKLOAD: &str = "\
Eleven rounds in turns after one that warms up; medians. `typed` is a mutex on a level, whose order the \
compiler checks; `ranked` and `unranked` are checked when they are taken and know holder, place, counts \
and times; `watched` is a typed one that knows them too. parking_lot 0.12 is what ours stand on; \
parking_lot 0.11 looks for deadlocks (its feature `deadlock_detection`), in a version of its own. \
`single`: one thread takes one free mutex and adds to a number; `nested`: it takes a second one inside of \
the first; per turn of a million. `read`: it reads a free read-write lock. `root`: taking the root of a \
thread. `contended`: two threads add to one number, with about 200 ns of other work between; per \
acquisition of each. `hog`: one thread holds the mutex for 20 us and takes it again at once; how long \
another one waits for it, 99th percentile of what it gets in half a second a round (one that never gets it \
counts as that half second).";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("locks", WORKLOAD, arguments);
    suite.part("single", uncontended::single);
    suite.part("nested", uncontended::nested);
    suite.part("read", uncontended::read);
    suite.part("root", uncontended::root);
    suite.part("contended", contended::measure);
    suite.part("hog", hog::measure);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
