//! The memory of a hundred channels in full flow.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::running::{Channel, Running};
use super::{CHANNELS, Context, Part, mebibytes, numbered, proc};
use crate::bench::goal::Goal;
use crate::bench::report::{Better, Measured};
use crate::process;

/// Until every command runs and every queue is full.
const SETTLE: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);
const ROUNDS_MAX: u32 = 3;

/// The rows and their framings.
const VARIANTS: [(&str, &str); 2] =
    [("rss/100 active, chunk", "chunk"), ("rss/100 active, 2-byte lines", "lines")];

/// The rows of the same with their stop: then memory of one kind is freed, and of another taken.
const STOPPED: [&str; VARIANTS.len()] =
    ["rss/100 active, chunk, with the stop", "rss/100 active, 2-byte lines, with the stop"];
const GOAL: Goal<'static> = Goal::Below(32.0, "MiB");

/// Measures both framings in turns.
///
/// # Errors
/// When a channel does not flow all the time, or a recorder does not stop clean.
pub(super) fn run(context: &Context) -> Result<Part, String> {
    if !proc::is_there() {
        return Ok(Part::skipped("active: no /proc of Linux here".to_owned()));
    }
    let rounds = context.rounds.min(ROUNDS_MAX);
    let mut most = [(0, 0); VARIANTS.len()];
    for round in 1..=rounds {
        for ((_, framing), most) in VARIANTS.iter().zip(&mut most) {
            let (flowing, peak) = measure(context, framing)?;
            let (flowing_mib, peak_mib) = (mebibytes(flowing), mebibytes(peak));
            println!("round {round}: {framing}: {flowing_mib:.1} MiB, {peak_mib:.1} MiB with the stop");
            *most = (flowing.max(most.0), peak.max(most.1));
        }
    }
    let steady = VARIANTS.iter().zip(most).map(|((id, _), most)| result(id, most.0, Some(GOAL)));
    let stopped = STOPPED.into_iter().zip(most).map(|(id, most)| result(id, most.1, None));
    let results = steady.chain(stopped).collect();
    Ok(Part { workload: workload(rounds), results, skipped: Vec::new() })
}

fn workload(rounds: u32) -> String {
    format!(
        "`rss/100 active`: {CHANNELS} channels at once, each `exec:yes`, which writes as fast as it is read; framed \
         by chunk, and by line, of two bytes each. The most memory that was resident (VmHWM) from the start of \
         the recorder through {} s of full flow in which every channel has to get on, and, `with the stop`, to the \
         end of a stop that has to be clean; the most of {rounds} rounds.",
        (SETTLE + WINDOW).as_secs()
    )
}

/// The most memory that one recorder had resident before its stop, and in all.
fn measure(context: &Context, framing: &'static str) -> Result<(u64, u64), String> {
    let directory = context.place.fresh("active")?;
    process::run(&mut Command::new("sync"))?;
    let channels = |number| Channel {
        name: numbered("yes", number),
        source: "exec:exec yes".to_owned(),
        framing: Some(framing),
    };
    let channels: Vec<Channel> = (0..CHANNELS).map(channels).collect();
    let running = Running::start(&context.evenkeel, &directory, &channels, &[])?;
    thread::sleep(SETTLE);
    let before = running.accepted_bytes()?;
    thread::sleep(WINDOW);
    check_flow(&before, &running.accepted_bytes()?)?;
    let mut peaks = Vec::new();
    running.stop(|pid| peaks.extend(proc::peak_resident_bytes(pid)))?;
    context.place.clear("active")?;
    let both = peaks.first().copied().zip(peaks.into_iter().max());
    both.ok_or_else(|| "evenkeel record has no VmHWM".to_owned())
}

/// Every channel must have accepted more after the window than before it.
fn check_flow(before: &[(String, u64)], after: &[(String, u64)]) -> Result<(), String> {
    let after: BTreeMap<&str, u64> = after.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let flows = |(name, bytes): &&(String, u64)| after.get(name.as_str()).is_some_and(|now| now > bytes);
    let flowing = before.iter().filter(flows).count();
    if flowing == CHANNELS {
        return Ok(());
    }
    Err(format!("{flowing} of {CHANNELS} channels were in full flow"))
}

fn result(id: &'static str, peak_bytes: u64, goal: Option<Goal<'static>>) -> Measured<'static> {
    let ours = mebibytes(peak_bytes);
    Measured { id, unit: "MiB", better: Better::Lower, ours, peers: BTreeMap::new(), goal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_stands_still_is_seen() {
        let told = |bytes: u64| -> Vec<_> { (0..CHANNELS).map(|n| (numbered("a", n), bytes)).collect() };
        assert_eq!(check_flow(&told(1), &told(2)), Ok(()));
        let mut still = told(2);
        still[7].1 = 1;
        assert!(check_flow(&told(1), &still).unwrap_err().starts_with("99 of 100"));
        assert!(check_flow(&told(1), &told(2)[1..]).is_err());
        assert!(check_flow(&told(1)[1..], &told(2)).is_err());
    }
}
