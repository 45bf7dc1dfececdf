//! How soon a quiet channel is acknowledged beside a flood.
//!
//! Pings go into the quiet channel at random moments, whether or not the last one
//! was acknowledged: a stall is felt by every ping that falls into it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::running::{Channel, Running};
use super::{Context, Part};
use crate::bench::goal::Goal;
use crate::bench::report::{Better, Measured, quantile};
use crate::process;

const PINGS: usize = 400;
const ROUNDS_MAX: u32 = 3;
const PING: &[u8] = b"ping\n";
/// From one ping to the next.
const SPACING_MS: std::ops::Range<u64> = 5..30;
/// Until the flood has filled every queue.
const SETTLE: Duration = Duration::from_secs(1);
/// For the last acknowledgements.
const PATIENCE: Duration = Duration::from_secs(10);

/// A row: its part of all pings, and its goal in milliseconds.
struct Row {
    id: &'static str,
    part: f64,
    goal_ms: Option<f64>,
}

const LEVELS: [(&str, [Row; 2]); 2] = [
    (
        "disk",
        [
            Row { id: "ack/quiet p50", part: 0.5, goal_ms: None },
            Row { id: "ack/quiet p99", part: 0.99, goal_ms: Some(50.0) },
        ],
    ),
    (
        "process",
        [
            Row { id: "ack/quiet p50, process", part: 0.5, goal_ms: None },
            Row { id: "ack/quiet p99, process", part: 0.99, goal_ms: None },
        ],
    ),
];

/// An acknowledgement: when its line was read, and the bytes that are safe.
type Ack = (Instant, u64);

/// Measures both levels in turns.
///
/// # Errors
/// When a ping is not acknowledged, or a recorder does not stop clean.
pub(super) fn run(context: &Context) -> Result<Part, String> {
    let rounds = context.rounds.min(ROUNDS_MAX);
    let mut latencies: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        for (level, _) in LEVELS {
            let seed = u64::from(round);
            let taken = measure(context, level, seed)?;
            let of = |part| quantile(taken.clone(), part);
            let (p50, p99, most) = (of(0.5), of(0.99), of(1.0));
            println!("round {round}: {level}: p50 {p50:.1} ms, p99 {p99:.1} ms, most {most:.1} ms");
            latencies.entry(level).or_default().extend(taken);
        }
    }
    Ok(Part { workload: workload(rounds), results: results(&latencies), skipped: Vec::new() })
}

fn workload(rounds: u32) -> String {
    format!(
        "`ack/quiet`: one channel records `exec:yes`, framed by chunk, as fast as it can; {} s later a line of {} bytes \
         goes every {} to {} ms, at random, into another, over TCP. From before that write until the line of `--acks` \
         that covers it is read; quantiles over all {} pings of {rounds} rounds. Both channels at level `disk`, or, \
         where it says so, `process`.",
        SETTLE.as_secs(),
        PING.len(),
        SPACING_MS.start,
        SPACING_MS.end,
        PINGS * rounds as usize
    )
}

/// One recorder: the milliseconds that each ping took.
fn measure(context: &Context, level: &str, seed: u64) -> Result<Vec<f64>, String> {
    let directory = context.place.fresh("acks")?;
    process::run(&mut Command::new("sync"))?;
    let named = |name: &str, source: &str| Channel {
        name: name.to_owned(),
        source: source.to_owned(),
        framing: Some("chunk"),
    };
    let channels = [named("flood", "exec:exec yes"), named("quiet", "tcp:127.0.0.1:0")];
    let more = ["--durability", level, "--acks", "1"];
    let mut running = Running::start(&context.evenkeel, &directory, &channels, &more)?;
    let acks = read_acks(running.stdout().ok_or("evenkeel record has no standard output")?, "quiet");
    let failed = |error: std::io::Error| format!("pings: {error}");
    let mut quiet = TcpStream::connect(running.listening("quiet")?).map_err(failed)?;
    quiet.set_nodelay(true).map_err(failed)?;
    thread::sleep(SETTLE);
    let sent = send_pings(&mut quiet, seed).map_err(failed)?;
    let latencies = latencies_ms(&sent, &acks)?;
    running.stop(|_| {})?;
    context.place.clear("acks")?;
    Ok(latencies)
}

/// When each ping was written, and the bytes of all up to it.
fn send_pings(quiet: &mut impl Write, seed: u64) -> std::io::Result<Vec<(Instant, u64)>> {
    let mut random = seed;
    let mut sent = Vec::with_capacity(PINGS);
    for number in 1..=PINGS {
        thread::sleep(spacing(&mut random));
        let at = Instant::now();
        quiet.write_all(PING)?;
        sent.push((at, (number * PING.len()) as u64));
    }
    Ok(sent)
}

/// The same moments in every run with this seed (splitmix64), to a microsecond.
fn spacing(random: &mut u64) -> Duration {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let span_us = (SPACING_MS.end - SPACING_MS.start) * 1000;
    Duration::from_micros(SPACING_MS.start * 1000 + mixed % span_us)
}

/// Reads to the end, and hands on what is said of one channel.
fn read_acks(lines: impl Read + Send + 'static, channel_name: &'static str) -> Receiver<Ack> {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            let at = Instant::now();
            if let Some(bytes) = bytes_of(&line, channel_name) {
                // Nobody may listen any more; the recorder is read to its end all the same.
                let _ = tell.send((at, bytes));
            }
        }
    });
    told
}

/// The bytes in a line `NAME SEQUENCE BYTES` of this channel.
fn bytes_of(line: &str, channel_name: &str) -> Option<u64> {
    let mut words = line.strip_prefix(channel_name)?.strip_prefix(' ')?.split(' ');
    let (_sequence, bytes) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(bytes)
}

/// From each ping to the first acknowledgement that covers it.
fn latencies_ms(sent: &[(Instant, u64)], acks: &Receiver<Ack>) -> Result<Vec<f64>, String> {
    let mut newest: Option<Ack> = None;
    let mut latencies = Vec::with_capacity(sent.len());
    for (at, bytes) in sent {
        let (acked, _) = loop {
            match newest {
                Some(ack) if ack.1 >= *bytes => break ack,
                _ => newest = Some(acks.recv_timeout(PATIENCE).map_err(|_| missing(sent, &latencies))?),
            }
        };
        latencies.push(acked.saturating_duration_since(*at).as_secs_f64() * 1e3);
    }
    Ok(latencies)
}

fn missing(sent: &[(Instant, u64)], acked: &[f64]) -> String {
    format!("{} of {} pings were acknowledged, and no more", acked.len(), sent.len())
}

fn results(latencies: &BTreeMap<&str, Vec<f64>>) -> Vec<Measured<'static>> {
    let rows = LEVELS.iter().flat_map(|(level, rows)| rows.iter().map(move |row| (*level, row)));
    let measured = rows.filter_map(|(level, row)| {
        let ours = quantile(latencies.get(level)?.clone(), row.part);
        let goal = row.goal_ms.map(|goal_ms| Goal::Below(goal_ms, "ms"));
        let peers = BTreeMap::new();
        Some(Measured { id: row.id, unit: "ms", better: Better::Lower, ours, peers, goal })
    });
    measured.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_the_channel_count() {
        assert_eq!(bytes_of("quiet 3 15", "quiet"), Some(15));
        for bad in ["quiet-2 3 15", "flood 3 15", "quiet 3", "quiet x 15", "quiet 3 15 1", "quiet 3 -1", ""] {
            assert_eq!(bytes_of(bad, "quiet"), None, "{bad}");
        }
    }

    #[test]
    fn a_ping_waits_for_the_first_line_that_covers_it() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let (tell, acks) = channel();
        for ack in [(at(5), 0), (at(30), 10), (at(31), 10), (at(40), 15)] {
            tell.send(ack).unwrap();
        }
        let sent = [(at(10), 5), (at(20), 10), (at(25), 15)];
        let rounded: Vec<f64> = latencies_ms(&sent, &acks).unwrap().iter().map(|ms| ms.round()).collect();
        assert_eq!(rounded, [20.0, 10.0, 15.0]);
    }

    #[test]
    fn a_ping_without_its_line_is_an_error() {
        let lines: &[u8] = b"flood 1 500\nquiet 1 5\nquiet 2 9\n";
        let acks = read_acks(lines, "quiet");
        let sent = [5, 10].map(|bytes| (Instant::now(), bytes));
        assert!(latencies_ms(&sent, &acks).unwrap_err().starts_with("1 of 2"));
    }

    #[test]
    fn spacings_fill_their_range() {
        let mut random = 1;
        let spacings: Vec<Duration> = (0..1000).map(|_| spacing(&mut random)).collect();
        let (least, most) = (spacings.iter().min().unwrap(), spacings.iter().max().unwrap());
        assert!((5..7).contains(&least.as_millis()) && (28..30).contains(&most.as_millis()));
    }

    #[test]
    fn goals_are_those_of_the_level_disk() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let results = results(&BTreeMap::from([("disk", hundred)]));
        let shown: Vec<_> = results
            .iter()
            .map(|row| (row.id, row.ours, row.goal.and_then(|goal| goal.is_met(row.ours, &row.peers))))
            .collect();
        assert_eq!(shown, [("ack/quiet p50", 50.0, None), ("ack/quiet p99", 99.0, Some(false))]);
    }
}
