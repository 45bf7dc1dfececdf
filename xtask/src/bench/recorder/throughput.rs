//! Throughput, processor time and memory of one channel, beside others that write a pipe to disk,
//! and what the disk itself gives at that time.
//!
//! Lines go through a pipe into each program in turns, for several rounds. Ours
//! runs with its defaults, so that everything is on disk and verified when it
//! exits; of the peers only `dd fdatasync` waits for the disk. The first round also
//! exports what we recorded and compares it with what was sent.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::data::{LINE_BYTES, verify_export, write_input};
use super::programs::{self, CHUNK, DD_FDATASYNC, LINES, Program, RAW_READ, RAW_WRITE, S6_LOG};
use super::{Context, Part};
use crate::bench::goal::Goal;
use crate::bench::meter::{self, Took};
use crate::bench::report::{Better, Measured, median};
use crate::process;

/// Measures the programs in turns.
///
/// # Errors
/// When a program fails or what was recorded is not what was sent.
pub(super) fn run(context: &Context) -> Result<Part, String> {
    let input = context.place.path("input");
    let line_count = context.bytes / LINE_BYTES;
    write_input(&input, line_count).map_err(|error| format!("{}: {error}", input.display()))?;
    let scratch = context.place.fresh("tried")?;
    let (mut programs, mut skipped) = programs::all(&context.evenkeel, &input, &scratch)?;

    let mut runs: BTreeMap<&'static str, Vec<Took>> = BTreeMap::new();
    for round in 1..=context.rounds {
        for program in &programs {
            let took = measure(context, program, round == 1)?;
            println!("round {round}: {}: {:.2} s", program.name, took.elapsed.as_secs_f64());
            runs.entry(program.name).or_default().push(took);
        }
        // Nobody always follows the same one.
        programs.rotate_left(1);
        programs.reverse();
    }
    if !meter::measures_memory() {
        skipped.push("rss: GNU time is not installed".to_owned());
    }
    fs::remove_file(&input).map_err(|error| format!("{}: {error}", input.display()))?;
    let bytes = line_count * LINE_BYTES;
    Ok(Part { workload: workload(bytes, context.rounds), results: results(&runs, bytes), skipped })
}

fn workload(bytes: u64, rounds: u32) -> String {
    format!(
        "`chunk`, `lines`, `rss`: {:.3} GB of {LINE_BYTES}-byte lines through a pipe, {rounds} rounds in turns; \
         medians, of memory the most. Ours ends when everything is on disk and verified; `cat`, `dd` and `s6-log` \
         leave it to the kernel. `with fdatasync peers`: the same figure of ours beside `dd bs=64k \
         conv=fdatasync`, which too ends when its file is on disk. `disk/raw`: not ours, but what the disk gave \
         between those runs to `dd`, of as many bytes, without a pipe or the page cache (O_DIRECT), in blocks of \
         1 MiB one after the other; beside the median its slowest and its fastest round. Where these lie apart, or \
         near our throughput, the figures above speak of the disk too.",
        bytes as f64 / 1e9
    )
}

/// One run with a fresh output directory, on a disk with nothing left to write.
fn measure(context: &Context, program: &Program, verify: bool) -> Result<Took, String> {
    let (input, output) = (context.place.path("input"), context.place.fresh("output")?);
    process::run(&mut Command::new("sync"))?;
    let fed = program.is_fed().then_some(input.as_path());
    let took = meter::measure(&program.start(&output), fed, &context.place.root)?;
    let recording = programs::recording(&output);
    if verify && recording.exists() {
        verify_export(&context.evenkeel, &recording, &input)?;
    }
    context.place.clear("output")?;
    Ok(took)
}

/// The figures from all runs.
fn results(runs: &BTreeMap<&'static str, Vec<Took>>, bytes: u64) -> Vec<Measured<'static>> {
    let megabytes = bytes as f64 / 1e6;
    let speed = |took: &Took| megabytes / took.elapsed.as_secs_f64();
    let throughput = Figures::of(runs, speed);
    let cpu = Figures::of(runs, |took| took.cpu.as_secs_f64() / (megabytes / 1e3));
    let higher = |id, ours, peers, goal| throughput.measured(id, "MB/s", Better::Higher, ours, peers, goal);
    let lower = |id, ours, peers, goal| cpu.measured(id, "s/GB", Better::Lower, ours, peers, goal);

    let mut results = vec![
        higher("chunk/throughput", CHUNK, &["cat", "dd"][..], Some(Goal::RatioAtLeast("cat", 1.3))),
        higher("chunk/throughput with fdatasync peers", CHUNK, &[DD_FDATASYNC], None),
        higher("lines/throughput", LINES, &[S6_LOG], Some(Goal::RatioAtLeast(S6_LOG, 4.0))),
        lower("chunk/cpu", CHUNK, &["cat", "dd"], None),
        lower("lines/cpu", LINES, &[S6_LOG], Some(Goal::RatioAtMost(S6_LOG, 0.25))),
    ];
    results.extend(memory(runs));
    for (id, name) in [("disk/raw write", RAW_WRITE), ("disk/raw read", RAW_READ)] {
        let speeds = runs.get(name).map(|runs| runs.iter().map(speed).collect::<Vec<_>>());
        results.extend(speeds.and_then(|speeds| disk(id, speeds)));
    }
    results
}

/// The median of what the disk gave, with its slowest and fastest round in the place of peers.
fn disk(id: &'static str, speeds: Vec<f64>) -> Option<Measured<'static>> {
    let slowest = speeds.iter().copied().reduce(f64::min)?;
    let fastest = speeds.iter().copied().reduce(f64::max)?;
    let peers = BTreeMap::from([("slowest", slowest), ("fastest", fastest)]);
    Some(Measured { id, unit: "MB/s", better: Better::Higher, ours: median(speeds), peers, goal: None })
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
    fn of(runs: &BTreeMap<&'static str, Vec<Took>>, figure: impl Fn(&Took) -> f64) -> Self {
        Self(runs.iter().map(|(name, runs)| (*name, median(runs.iter().map(&figure).collect()))).collect())
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
            (DD_FDATASYNC, vec![took(1000, 500, 2)]),
            (RAW_WRITE, vec![took(1000, 500, 2), took(500, 500, 2), took(800, 500, 3)]),
        ]);
        let results = results(&runs, 1_000_000_000);
        let find = |id: &str| results.iter().find(|measured| measured.id == id).unwrap();
        let met = |id: &str| find(id).goal.and_then(|goal| goal.is_met(find(id).ours, &find(id).peers));
        assert_eq!(find("chunk/throughput").ours.round().to_string(), "2000");
        assert_eq!(find("chunk/throughput").peers["cat"].round().to_string(), "1000");
        assert_eq!(find("chunk/cpu").ours.to_string(), "0.4");
        assert_eq!(find("rss").ours.to_string(), "40");
        assert_eq!([met("chunk/throughput"), met("rss"), met("lines/cpu")], [Some(true), Some(false), None]);
        let durable = find("chunk/throughput with fdatasync peers");
        assert_eq!((durable.ours.round(), durable.peers[DD_FDATASYNC].round()), (2000.0, 1000.0));
        let disk = find("disk/raw write");
        assert_eq!((disk.ours.round(), disk.peers["slowest"].round()), (1250.0, 1000.0));
        assert_eq!(disk.peers["fastest"].round().to_string(), "2000");
    }

    #[test]
    fn what_was_not_measured_has_no_row() {
        let unmeasured = Took { rss_bytes_max: None, ..took(1, 1, 1) };
        let runs = BTreeMap::from([(CHUNK, vec![unmeasured])]);
        let results = results(&runs, 1000);
        assert!(results.iter().all(|measured| measured.id != "rss" && !measured.id.starts_with("disk/")));
    }
}
