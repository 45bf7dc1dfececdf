//! The suite `journal`: what an entry costs, and how fast many become durable.
#![expect(clippy::print_stdout, reason = "a suite prints its figures")]
#![expect(clippy::unwrap_used, reason = "a suite that cannot run ends at once")]

mod group;
mod ours;
mod reopen;
mod restore;
mod theirs;

use evenkeel_bench::{Arguments, Suite};

/// Ours in every race.
const OURS: &str = "evenkeel";
/// A file that is appended to.
const RAW: &str = "raw";
#[cfg(feature = "peers")]
const REDB: &str = "redb";

fn workload() -> String {
    format!(
        "Intents of steps, {} bytes each as they stand in the journal, on the disk of the repository. Eleven rounds \
         in turns after one that warms up; medians, of quantiles the median of the rounds' own. `append`: the call, \
         the clock's reading included, while the disk is not waited for. `lone`: from the call until the entry is \
         durable, one at a time. `group/N`: from the first call until the last of N is durable. `sustained`: one \
         thread appends, at most {} entries ahead of the disk; the others write groups of {}. `raw` writes as \
         many bytes as the entries have with one write and one fdatasync; redb inserts them by number in one \
         transaction of immediate durability. Neither numbers, stamps, hashes or chains them. `verify` and `open` \
         read {} entries, from the page cache; `open` ends with a new segment that is durable. `left open`: by a \
         process that is gone without having ended the journal. `restore/N` restores {} state machines out of \
         a journal of N of their changes, ended, from the page cache: the newest snapshot, found from the end \
         of the journal on, and the changes after it.",
        ours::payload_bytes(),
        group::AHEAD_MAX,
        group::SUSTAINED_GROUP,
        reopen::ENTRIES,
        restore::MACHINES_COUNT,
    )
}

fn main() {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut suite = Suite::new("journal", workload(), arguments);
    suite.part("append", group::append);
    suite.part("lone", group::lone);
    suite.part("group", group::groups);
    suite.part("sustained", group::sustained);
    suite.part("verify", reopen::verify);
    suite.part("open", reopen::open);
    suite.part("restore", restore::restoring);
    if cfg!(not(feature = "peers")) {
        suite.skip(evenkeel_bench::NO_PEERS);
    }
    println!("{}", suite.text());
}
