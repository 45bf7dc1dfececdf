//! The suite `resources`: buffers taken, touched and given back; waiting; what is looked at, wiped and refused.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod across;
mod burst;
mod contender;
mod noted;
mod pair;
#[cfg(feature = "peers")]
mod peers;
mod queue;
mod refused;
mod sys;
mod tail;
mod together;
mod waiting;
mod whole;
mod wiped;

use evenkeel_bench::{Arguments, Suite};

const WORKLOAD: &str = "\
Eleven rounds in turns after one that warms up; medians, of quantiles the median of the rounds' own. A buffer of \
a tier is taken, a byte of each of its pages is written, each at another place, and it is given back. Ours checks the limits of component \
and channel, notes holder, place and second of each, keeps what one channel wrote from the others, and serves who \
waits; the peers know none of these. `itself again` is ours a second time, under another name: what is between the \
two is noise. `touching alone` writes to one buffer that stays. `malloc` (glibc), `mimalloc` and `jemalloc` are \
called by their allocating functions and are not the program's allocator; `object-pool`, `opool` and `ArrayQueue` \
(crossbeam's) keep boxes and check nothing. `one`, `two`: that many threads do it at once, medians of batches that begin when both have a processor. \
`across`: one thread takes and touches, and another gives back; between them is a channel of std with room for 32, \
which is tried and not slept on, and whose own cost is in `touching alone`. `p99.9`: of single calls, taking \
and giving back together without the touching between; two readings of the clock are taken off, of each the median. \
`burst`: as many as fit, then all are given back: past what a thread keeps for itself. `wiped`: taking \
a buffer that another channel has written all over, beside taking its own again, and beside zeroing memory of \
that size. `waits`: from before a buffer is dropped until the thread that waits for it has it, 50 us into the wait; \
`condvar` is a vector under a mutex and a condition variable of std. `denied`: until the answer, with whose limit it is and \
who holds most. `holders`: of 875 buffers that eight components hold. `whole`: all 875 are given back, which is \
what release means; `and pool gone`: then its memory, 142 MiB of touched pages, is the system's again, whose time that is. \
`sites`: taking and giving back 4 KiB, by one thread and by two, where place and second are noted, as by default, and where \
they are not. `leaks`: 875 are held; whether any is so for too long, and which are held. `queue`: an item into a channel's \
queue of the BufferManager and out again, by one thread; one at a time, and 64 before they are taken out at once. Items and bytes \
are limited and counted; `engine alone` is the same without the lock; `std mpsc` is its bounded channel.";

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("resources", WORKLOAD, arguments);
    suite.part("one", pair::one);
    suite.part("two", pair::two);
    suite.part("across", across::measure);
    suite.part("tail", tail::measure);
    suite.part("burst", burst::measure);
    suite.part("wiped", wiped::measure);
    suite.part("waits", waiting::measure);
    suite.part("denied", refused::denied);
    suite.part("holders", refused::holders);
    suite.part("whole", whole::measure);
    suite.part("sites", noted::sites);
    suite.part("leaks", noted::leaks);
    suite.part("queue", queue::measure);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
