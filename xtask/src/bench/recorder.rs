//! Suite `recorder`: the whole program against others that write a pipe to disk.
//!
//! Lines go through a pipe into each program in turns, for several rounds. Ours
//! runs with its defaults, so that everything is on disk and verified when it
//! exits; the peers leave it to the kernel. The first round also exports what we
//! recorded and compares it with what was sent.

mod data;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::goal::Goal;
use super::meter::{self, Took};
use super::report::{Better, Measured, median, report};
use crate::process;
use data::{LINE_BYTES, verify_export, write_input};
use programs::{CHUNK, LINES, Program, S6_LOG};

struct Options {
    bytes: u64,
    rounds: u32,
    evenkeel: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { bytes: 2_000_000_000, rounds: 9, evenkeel: None };
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            let value = process::option_value(option, &mut rest)?;
            let bad = |error: std::num::ParseIntError| format!("`{option} {value}`: {error}");
            match option.as_str() {
                "--bytes" => options.bytes = value.parse().map_err(bad)?,
                "--rounds" => options.rounds = value.parse().map_err(bad)?,
                "--evenkeel" => options.evenkeel = Some(value.into()),
                _ => return Err(format!("suite recorder has no option `{option}`")),
            }
        }
        if options.bytes < LINE_BYTES || options.rounds == 0 {
            return Err("at least one line and one round".to_owned());
        }
        Ok(options)
    }
}

/// Runs the suite and returns its JSON.
///
/// # Errors
/// When a program fails or what was recorded is not what was sent.
pub(super) fn run(args: &[String]) -> Result<Value, String> {
    let options = Options::parse(args)?;
    let evenkeel = process::evenkeel(options.evenkeel.as_deref())?;
    let place = Place::make().map_err(|error| format!("target/bench-tmp: {error}"))?;
    let line_count = options.bytes / LINE_BYTES;
    write_input(&place.input(), line_count)
        .map_err(|error| format!("{}: {error}", place.input().display()))?;

    let (mut programs, mut skipped) = programs::all(&evenkeel);
    let mut runs: BTreeMap<&'static str, Vec<Took>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for program in &programs {
            let took = place.measure(program, &evenkeel, round == 1)?;
            println!("round {round}: {}: {:.2} s", program.name, took.elapsed.as_secs_f64());
            runs.entry(program.name).or_default().push(took);
        }
        programs.rotate_left(1); // nobody always follows the same one
    }
    if !meter::measures_memory() {
        skipped.push("rss: GNU time is not installed".to_owned());
    }
    let bytes = line_count * LINE_BYTES;
    let workload = format!(
        "{:.3} GB of {LINE_BYTES}-byte lines through a pipe, {} rounds; medians, of memory the most",
        bytes as f64 / 1e9,
        options.rounds
    );
    Ok(report("recorder", &workload, &results(&runs, bytes), &skipped))
}

/// The suite's directory, on the file system of the workspace. Goes when dropped.
struct Place {
    root: PathBuf,
}

impl Place {
    fn make() -> io::Result<Self> {
        let root = process::root().join("target/bench-tmp");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn input(&self) -> PathBuf {
        self.root.join("input")
    }

    /// One run with a fresh output directory, on a disk with nothing left to write.
    fn measure(&self, program: &Program, evenkeel: &Path, verify: bool) -> Result<Took, String> {
        let output = self.root.join("output");
        fs::create_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
        process::run(&mut Command::new("sync"))?;
        let took = meter::measure(&program.start(&output), &self.input(), &self.root);
        let recording = programs::recording(&output);
        if took.is_ok() && verify && recording.exists() {
            verify_export(evenkeel, &recording, &self.input())?;
        }
        fs::remove_dir_all(&output).map_err(|error| format!("{}: {error}", output.display()))?;
        took
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

/// The figures of the suite from all runs.
fn results(runs: &BTreeMap<&'static str, Vec<Took>>, bytes: u64) -> Vec<Measured<'static>> {
    let megabytes = bytes as f64 / 1e6;
    let throughput = Figures::of(runs, |took| Some(megabytes / took.elapsed.as_secs_f64()));
    let cpu = Figures::of(runs, |took| Some(took.cpu.as_secs_f64() / (megabytes / 1e3)));
    let higher = |id, ours, peers, goal| throughput.measured(id, "MB/s", Better::Higher, ours, peers, goal);
    let lower = |id, ours, peers, goal| cpu.measured(id, "s/GB", Better::Lower, ours, peers, goal);

    let mut results = vec![
        higher("chunk/throughput", CHUNK, &["cat", "dd"][..], Some(Goal::RatioAtLeast("cat", 1.3))),
        higher("lines/throughput", LINES, &[S6_LOG], Some(Goal::RatioAtLeast(S6_LOG, 4.0))),
        lower("chunk/cpu", CHUNK, &["cat", "dd"], None),
        lower("lines/cpu", LINES, &[S6_LOG], Some(Goal::RatioAtMost(S6_LOG, 0.25))),
    ];
    results.extend(memory(runs));
    results
}

/// The most memory of any run, in either framing.
fn memory(runs: &BTreeMap<&'static str, Vec<Took>>) -> Option<Measured<'static>> {
    let most = |name: &str| {
        let bytes = runs.get(name)?.iter().filter_map(|took| took.rss_bytes_max).max()?;
        Some(bytes as f64 / f64::from(1 << 20))
    };
    let ours = most(CHUNK).into_iter().chain(most(LINES)).reduce(f64::max)?;
    let peers = ["cat", "dd", S6_LOG].into_iter().filter_map(|peer| Some((peer, most(peer)?))).collect();
    let goal = Some(Goal::Below(32.0, "MiB"));
    Some(Measured { id: "rss", unit: "MiB", better: Better::Lower, ours, peers, goal })
}

/// The median of one figure for each program.
struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    fn of(runs: &BTreeMap<&'static str, Vec<Took>>, figure: impl Fn(&Took) -> Option<f64>) -> Self {
        Self(
            runs.iter()
                .map(|(name, runs)| (*name, median(runs.iter().filter_map(&figure).collect())))
                .collect(),
        )
    }

    fn measured(
        &self,
        id: &'static str,
        unit: &'static str,
        better: Better,
        ours: &str,
        peers: &[&'static str],
        goal: Option<Goal<'static>>,
    ) -> Measured<'static> {
        let peers = peers.iter().filter_map(|peer| Some((*peer, *self.0.get(peer)?))).collect();
        Measured { id, unit, better, ours: self.0.get(ours).copied().unwrap_or_default(), peers, goal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn took(milliseconds: u64, cpu: u64, rss_mebibytes: u64) -> Took {
        let rss_bytes_max = Some(rss_mebibytes << 20);
        Took { elapsed: Duration::from_millis(milliseconds), cpu: Duration::from_millis(cpu), rss_bytes_max }
    }

    #[test]
    fn figures_and_goals_come_from_the_runs() {
        let runs = BTreeMap::from([
            ("cat", vec![took(1000, 500, 2), took(900, 500, 2), took(5000, 500, 3)]),
            (CHUNK, vec![took(500, 400, 20), took(400, 400, 40), took(600, 400, 20)]),
            (LINES, vec![took(500, 400, 20)]),
        ]);
        let results = results(&runs, 1_000_000_000);
        let find = |id: &str| results.iter().find(|measured| measured.id == id).unwrap();
        let met = |id: &str| find(id).goal.and_then(|goal| goal.is_met(find(id).ours, &find(id).peers));
        assert_eq!(find("chunk/throughput").ours.round().to_string(), "2000");
        assert_eq!(find("chunk/throughput").peers["cat"].round().to_string(), "1000");
        assert_eq!(find("chunk/cpu").ours.to_string(), "0.4");
        assert_eq!(find("rss").ours.to_string(), "40");
        assert_eq!([met("chunk/throughput"), met("rss"), met("lines/cpu")], [Some(true), Some(false), None]);
    }

    #[test]
    fn memory_that_was_not_measured_has_no_row() {
        let unmeasured = Took { rss_bytes_max: None, ..took(1, 1, 1) };
        let runs = BTreeMap::from([(CHUNK, vec![unmeasured])]);
        assert!(results(&runs, 1000).iter().all(|measured| measured.id != "rss"));
    }

    #[test]
    fn options_are_read() {
        let parse =
            |words: &[&str]| Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let options = parse(&["--bytes", "1100", "--rounds", "3"]).unwrap();
        assert_eq!((options.bytes, options.rounds), (1100, 3));
        for bad in
            [&["--bytes"][..], &["--bytes", "x"], &["--rounds", "0"], &["--bytes", "9"], &["--fast", "1"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
