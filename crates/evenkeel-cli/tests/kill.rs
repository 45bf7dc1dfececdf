//! The real program, killed with SIGKILL at random moments.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Running, Scratch, address, code, evenkeel, export, last_ack, lines, stderr, verify};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

/// Kills in all: `EVENKEEL_KILLS` for a longer search.
fn kills() -> u64 {
    std::env::var("EVENKEEL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(50)
}

/// Lines a run sends at most: enough for full flow until the kill, bounded for the disk.
const LINES_MAX: u64 = 600_000;

/// When the kill comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    FullFlow,
    LightFlow,
    /// In full flow, up to 30 ms after a SIGTERM.
    Stop,
}

/// One recording, killed and taken up again `times` times.
fn killed_and_taken_up(seed: u64, times: u64, kill: Kill) {
    let full_flow = kill != Kill::LightFlow;
    let mut rng = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let mut random = vec![0; 40_000_000];
    rng.fill(&mut random);
    let file = scratch.put("random", &random);
    let source = format!("f=file:{file}");
    let frame = if rng.bool() { "s=lines" } else { "s=chunk" };
    let words = ["record", "--out", &dir, "--channel", "s=stdin", "--frame", frame, "--channel", &source];
    let mut before = Vec::new();
    for run in 0..times {
        let mut running = Running::start(&scratch, &words);
        let per_piece = if full_flow { 2_000 } else { rng.u64(1..20) };
        let pause = std::time::Duration::from_micros(if full_flow { 0 } else { rng.u64(100..3_000) });
        let first = run * LINES_MAX;
        let mut at = 0;
        let feed = running.feed(move || {
            // sleep: a light flow is what is tested.
            std::thread::sleep(pause);
            at += per_piece;
            (at <= LINES_MAX).then(|| lines(first + at - per_piece, per_piece))
        });
        let moment = if rng.bool() { rng.u64(1..100) } else { rng.u64(100..2_000) };
        // sleep: the moment of the kill is what is random here.
        std::thread::sleep(std::time::Duration::from_millis(moment));
        if kill == Kill::Stop {
            running.signal("-TERM");
            // sleep: the moment of the kill is what is random here.
            std::thread::sleep(std::time::Duration::from_micros(rng.u64(..30_000)));
        }
        running.signal("-KILL");
        running.child.wait().unwrap();
        drop(feed.join().unwrap());
        let context = format!("seed {seed}, run {run}, killed after {moment} ms, {frame}");
        let recovered = evenkeel(&["recover", &dir]);
        // Killed before it made its directory: there is nothing to recover.
        if scratch.path("rec").exists() {
            assert_eq!(code(recovered.status), 0, "{context}: {}", stderr(&recovered));
            let sent = Sent { lines: &lines(first, LINES_MAX), random: &random };
            before = check(&dir, &running, &before, &sent, kill, &context);
        }
    }
}

/// What the channels were sent.
struct Sent<'a> {
    lines: &'a [u8],
    random: &'a [u8],
}

/// Compares a recovered recording with what was sent and acknowledged; answers the channel's bytes.
fn check(dir: &str, running: &Running, before: &[u8], sent: &Sent<'_>, kill: Kill, context: &str) -> Vec<u8> {
    let (stored, verdict) = export(dir, "s");
    assert!(matches!(verdict, 0 | 2 | 6), "{context}: export says {verdict}");
    let new = stored.strip_prefix(before).unwrap_or_else(|| panic!("{context}: what was there has changed"));
    assert!(sent.lines.starts_with(new), "{context}: what is stored is not what was sent");
    let acked = last_ack(&running.acks, "s").map_or(0, |(_, bytes)| bytes);
    assert!(stored.len() as u64 >= acked, "{context}: {acked} bytes acknowledged, {} there", stored.len());
    let (of_file, verdict) = export(dir, "f");
    assert!(matches!(verdict, 0 | 2 | 6), "{context}: export says {verdict}");
    assert!(sent.random.starts_with(&of_file), "{context}: the file's bytes are not the file's");
    let acked = last_ack(&running.acks, "f").map_or(0, |(_, bytes)| bytes);
    assert!(of_file.len() as u64 >= acked, "{context}: {acked} bytes of the file acknowledged");
    let (report, verdict) = verify(dir);
    // 3: killed before there was a first commit. 0: killed after the end was sealed.
    let fits = verdict == 6 || verdict == 3 && stored.is_empty() || verdict == 0 && kill == Kill::Stop;
    assert!(fits, "{context}: verify says {verdict}: {report}");
    if verdict == 6 && kill != Kill::Stop {
        let gaps = report["gaps"].as_array().unwrap();
        let mut of_channel = gaps.iter().filter(|g| g["channel"] == "s" && g["reason"] == "crash");
        let gap = of_channel.next_back().unwrap_or_else(|| panic!("{context}: no crash gap is told"));
        assert!(gap["last_sequence"].is_null() && gap["records"].is_null(), "{context}: {gap}");
        assert!(gap["from"].as_u64() < gap["to"].as_u64(), "{context}: {gap}");
    }
    stored
}

/// Sends numbered lines from `first` on, until nobody takes them any more.
fn flood(mut peer: impl Write + Send + 'static, first: u64) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let pieces = (first..first + LINES_MAX).step_by(500).map(|at| lines(at, 500));
        for piece in pieces {
            if peer.write_all(&piece).is_err() {
                break;
            }
        }
    })
}

/// Sends numbered datagrams until nobody receives them any more.
fn flood_datagrams(address: String) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        for n in 1u64.. {
            if socket.send(&n.to_be_bytes()).is_err() {
                break;
            }
        }
    })
}

/// Whether what a run has stored of a channel is what the channel was sent, from its begin.
fn fits(channel: &str, new: &[u8], first: u64) -> bool {
    match channel {
        "count" => {
            (1u64..).flat_map(|n| format!("{n}\n").into_bytes()).zip(new).all(|(sent, it)| sent == *it)
        }
        // The kernel may have dropped some, and brings the others in their order.
        "radio" => {
            let numbers = new.chunks(8).map(|n| u64::from_be_bytes(n.try_into().unwrap()));
            numbers.is_sorted_by(|one, next| one < next)
        }
        _ => lines(first, LINES_MAX).starts_with(new),
    }
}

/// One recording of what comes from outside, killed and taken up again `times` times.
fn killed_with_peers(seed: u64, times: u64, durability: &str) {
    let mut rng = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let socket = scratch.word("socket");
    let frame = if rng.bool() { "lines" } else { "chunk" };
    let mut words = vec!["record", "--out", &dir, "--durability", durability];
    let local = format!("local=unix:{socket}");
    let count = "count=exec:i=0; while :; do i=$((i+1)); echo $i; done";
    let frames = ["count", "net", "local"].map(|channel| format!("{channel}={frame}"));
    words.extend(
        [count, "net=tcp:127.0.0.1:0", &local, "radio=udp:127.0.0.1:0"]
            .map(|c| ["--channel", c])
            .as_flattened(),
    );
    words.extend(frames.iter().flat_map(|frame| ["--frame", frame]));
    let mut before = BTreeMap::from(["count", "net", "local", "radio"].map(|channel| (channel, Vec::new())));
    for run in 0..times {
        let mut running = Running::start(&scratch, &words);
        let first = run * LINES_MAX;
        let peers = [
            flood(TcpStream::connect(address(&scratch, "net")).unwrap(), first),
            flood(UnixStream::connect(&socket).unwrap(), first),
            flood_datagrams(address(&scratch, "radio")),
        ];
        let moment = if rng.bool() { rng.u64(1..100) } else { rng.u64(100..1_000) };
        // sleep: the moment of the kill is what is random here.
        std::thread::sleep(std::time::Duration::from_millis(moment));
        running.signal("-KILL");
        running.child.wait().unwrap();
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        let context = format!("seed {seed}, run {run}, killed after {moment} ms, {frame}, {durability}");
        let recovered = evenkeel(&["recover", &dir]);
        assert_eq!(code(recovered.status), 0, "{context}: {}", stderr(&recovered));
        for (channel, before) in &mut before {
            let (stored, verdict) = export(&dir, channel);
            assert!(matches!(verdict, 0 | 2 | 6), "{context}: export of {channel} says {verdict}");
            let new = stored.strip_prefix(before.as_slice());
            let new = new.unwrap_or_else(|| panic!("{context}: what was there of {channel} has changed"));
            assert!(fits(channel, new, first), "{context}: what is stored of {channel} is not what was sent");
            let acked = last_ack(&running.acks, channel).map_or(0, |(_, bytes)| bytes);
            let there = stored.len() as u64;
            assert!(there >= acked, "{context}: {acked} bytes of {channel} acknowledged, {there} there");
            *before = stored;
        }
        let (report, verdict) = verify(&dir);
        assert!(matches!(verdict, 3 | 6), "{context}: verify says {verdict}: {report}");
    }
    assert!(before.values().all(|stored| !stored.is_empty()), "seed {seed}: a channel was never heard");
}

// REQ W3
#[test]
fn killed_with_peers_nothing_acknowledged_is_lost() {
    for seed in 0..kills() / 16 {
        killed_with_peers(3000 + seed, 4, "disk");
    }
}

// REQ W3
#[test]
fn killed_with_peers_what_the_process_acknowledged_is_there() {
    for seed in 0..kills() / 16 {
        killed_with_peers(4000 + seed, 4, "process");
    }
}

// REQ W3
#[test]
fn killed_in_full_flow_nothing_acknowledged_is_lost() {
    for seed in 0..kills() / 10 {
        killed_and_taken_up(seed, 5, Kill::FullFlow);
    }
}

// REQ W3
#[test]
fn killed_in_light_flow_nothing_acknowledged_is_lost() {
    for seed in 0..kills() / 10 {
        killed_and_taken_up(1000 + seed, 5, Kill::LightFlow);
    }
}

// REQ W3, REQ C9
#[test]
fn killed_in_the_stop_nothing_acknowledged_is_lost() {
    for seed in 0..kills() / 16 {
        killed_and_taken_up(2000 + seed, 5, Kill::Stop);
    }
}
