//! Messages with a length, memory that is limited, drops that are not allowed: with the real program.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Running, Scratch, address, code, evenkeel, export, last_ack, stderr, verify};
use fastrand::Rng;
use serde_json::Value;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// Rounds in all: `EVENKEEL_KILLS` for a longer search.
fn rounds() -> u64 {
    std::env::var("EVENKEEL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(50) / 12
}

fn message(number: u64, bytes: usize) -> Vec<u8> {
    let mut message = ((bytes + 8) as u32).to_be_bytes().to_vec();
    message.extend(number.to_be_bytes());
    message.resize(12 + bytes, number as u8);
    message
}

/// Messages of many lengths, about as many bytes in all as are asked for.
fn messages(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut all = Vec::with_capacity(bytes);
    for number in 0.. {
        if all.len() >= bytes {
            break;
        }
        let length = match rng.u8(0..40) {
            0 => rng.usize(60_000..400_000),
            1..5 => 0,
            _ => rng.usize(0..500),
        };
        all.extend(message(number, length));
    }
    all
}

/// Where the last whole message ends, if these begin with one.
fn last_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(head) = bytes[at..].first_chunk() {
        let next = at + 4 + u32::from_be_bytes(*head) as usize;
        if next > bytes.len() {
            break;
        }
        at = next;
    }
    at
}

fn told(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.path("stderr")).unwrap_or_default()
}

fn report(scratch: &Scratch) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path("report.json")).unwrap()).unwrap()
}

/// Pushes in pieces that end anywhere, for as long as somebody listens.
fn push(mut peer: impl Write + Send + 'static, seed: u64, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut rng = Rng::with_seed(seed);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = if rng.bool() { 7 } else { 100_000 };
            let n = rng.usize(1..=most).min(rest.len());
            if peer.write_all(&rest[..n]).is_err() {
                break;
            }
            rest = &rest[n..];
        }
    })
}

// REQ W1, REQ W3
#[test]
fn a_flood_of_messages_is_killed_and_what_is_there_ends_where_one_does() {
    for seed in 0..rounds() {
        let mut rng = Rng::with_seed(seed);
        let scratch = Scratch::new();
        let dir = scratch.word("rec");
        let words =
            ["record", "--out", &dir, "--channel", "net=tcp:127.0.0.1:0", "--frame", "net=length-u32be"];
        let mut before = Vec::new();
        for run in 0..3 {
            let sent = messages(seed * 10 + run, 30_000_000);
            let mut running = Running::start(&scratch, &words);
            let peer = TcpStream::connect(address(&scratch, "net")).unwrap();
            let pushing = push(peer, seed, sent.clone());
            running.wait_for_ack("net", before.len() as u64 + rng.u64(1..8_000_000));
            running.signal("-KILL");
            running.child.wait().unwrap();
            pushing.join().unwrap();
            let context = format!("seed {seed}, run {run}");
            let recovered = evenkeel(&["recover", &dir]);
            assert_eq!(code(recovered.status), 0, "{context}: {}", stderr(&recovered));
            let (stored, verdict) = export(&dir, "net");
            assert!(matches!(verdict, 0 | 6), "{context}: export says {verdict}");
            let new = stored.strip_prefix(&before[..]).unwrap_or_else(|| panic!("{context}: it has changed"));
            assert!(sent.starts_with(new), "{context}: what is stored is not what was sent");
            let rest = new.len() - last_end(new);
            assert!(rest.is_multiple_of(64 << 10), "{context}: {rest} bytes of a message are there");
            let acked = last_ack(&running.acks, "net").map_or(0, |(_, bytes)| bytes);
            assert!(stored.len() as u64 >= acked, "{context}: {acked} bytes acknowledged");
            before = stored;
        }
    }
}

// REQ W3
#[test]
fn a_file_of_messages_is_taken_up_where_it_was_killed() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let sent = messages(7, 60_000_000);
    let source = format!("f=file:{}", scratch.put("messages", &sent));
    let words = ["record", "--out", &dir, "--channel", &source, "--frame", "f=length-u32be"];
    for run in 1..4 {
        let mut running = Running::start(&scratch, &words);
        running.wait_for_ack("f", run * 4_000_000);
        running.signal("-KILL");
        running.child.wait().unwrap();
    }
    let output = evenkeel(&words);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(export(&dir, "f").0 == sent);
    // Nobody ever lost the step.
    let journal = evenkeel(&["journal", &dir, "--kind", "fault", "--json"]);
    assert_eq!(String::from_utf8_lossy(&journal.stdout), "");
}

// REQ W1, REQ E1
#[test]
fn garbage_among_messages_is_told_with_its_place_and_kept() {
    let scratch = Scratch::new();
    let (dir, path) = (scratch.word("rec"), scratch.word("socket"));
    let channel = format!("local=unix:{path}");
    let mut running = Running::start(
        &scratch,
        &["record", "--out", &dir, "--channel", &channel, "--frame", "local=length-u32be"],
    );
    address(&scratch, "local");
    let sound = messages(1, 100_000);
    let mut garbage = vec![0xfe; 300_000];
    Rng::with_seed(2).fill(&mut garbage[4..]);
    let sent = [&sound[..], &garbage].concat();
    UnixStream::connect(&path).unwrap().write_all(&sent).unwrap();
    running.wait_for_ack("local", sent.len() as u64);
    // Another one is in step, until it ends too soon.
    UnixStream::connect(&path).unwrap().write_all(&message(1, 9)[..15]).unwrap();
    running.wait_for_ack("local", sent.len() as u64 + 15);
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0, "{}", told(&scratch));
    let stream = |number: &str| evenkeel(&["export", &dir, "--channel", "local", "--stream", number]).stdout;
    assert!(stream("1") == sent);
    assert_eq!(stream("2"), &message(1, 9)[..15]);
    let journal = evenkeel(&["journal", &dir, "--channel", "local", "--kind", "fault", "--json"]);
    let journal = String::from_utf8_lossy(&journal.stdout).into_owned();
    let place =
        format!("is out of step: the message at byte {} is said to have 4278124286 bytes", sound.len());
    assert!(journal.contains(&place), "{place}: {journal}");
    assert!(journal.contains("ends within a message, at byte 15"), "{journal}");
    assert_eq!(journal.matches("is out of step").count(), 1, "{journal}");
    assert_eq!(verify(&dir).1, 0);
}

// REQ R3, REQ R4
#[test]
fn a_flood_keeps_to_its_quota_and_another_records() {
    let scratch = Scratch::new();
    let (dir, path) = (scratch.word("rec"), scratch.word("socket"));
    let socket = format!("quiet=unix:{path}");
    let words = ["record", "--out", &dir, "--channel", "flood=exec:yes", "--quota", "flood=200KiB"];
    let words = [&words[..], &["--channel", &socket, "--frame", "quiet=lines"]].concat();
    let mut running = Running::start(&scratch, &words);
    running.wait_for_ack("flood", 2_000_000);
    let mut peer = UnixStream::connect(&path).unwrap();
    let mut sent = 0;
    for n in 0..20 {
        let line = format!("word {n}\n");
        peer.write_all(line.as_bytes()).unwrap();
        sent += line.len() as u64;
        running.wait_for_ack("quiet", sent);
        let output = evenkeel(&["status", &dir, "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let channel = &status["channels"][0];
        let count = |field: &str| channel[field].as_u64().unwrap();
        let waiting = count("accepted_bytes") - count("committed_bytes");
        assert!(waiting <= 200 << 10, "{channel:#}");
    }
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0, "{}", told(&scratch));
    assert_eq!((export(&dir, "quiet").0.len() as u64, verify(&dir).1), (sent, 0));
}

// REQ R9, REQ W2
#[test]
fn a_drop_is_no_clean_end_where_that_was_said() {
    let flood = "a=exec:head -c 60000000 /dev/zero";
    let drops = ["--channel", flood, "--on-full", "a=drop-newest", "--quota", "a=68KiB"];
    let oldest = ["--channel", flood, "--on-full", "a=drop-oldest", "--quota", "a=68KiB"];
    let waits = ["--channel", flood, "--strict"];
    let cases: [(&[&str], i32, bool, &str); 4] = [
        (&drops, 0, false, "stopped clean: all"),
        (&[&drops[..], &["--strict"]].concat(), 1, false, "stopped clean, NOT complete: "),
        (&[&oldest[..], &["--strict"]].concat(), 1, false, "records were dropped"),
        (&waits, 0, true, "stopped clean: all"),
    ];
    for (words, exit, complete, said) in cases {
        let scratch = Scratch::new();
        let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
        let output = evenkeel(&[&["record", "--out", &dir, "--report", &out], words].concat());
        assert_eq!(code(output.status), exit, "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
        let report = report(&scratch);
        assert_eq!((&report["clean"], &report["complete"]), (&true.into(), &complete.into()), "{words:?}");
        assert_eq!(report["exit_code"], exit, "{words:?}");
        assert_eq!(report["channels"][0]["dropped_records"].as_u64().unwrap() == 0, complete, "{words:?}");
        // The journal's last entry is the same.
        let last = evenkeel(&["journal", &dir, "--kind", "report", "--json"]);
        let last: Value = serde_json::from_slice(&last.stdout).unwrap();
        assert_eq!((&last["body"]["exit_code"], &last["body"]["complete"]), (&exit.into(), &complete.into()));
    }
}

// REQ R9, REQ C13
#[test]
fn strictness_is_shown_by_plan_and_status() {
    let scratch = Scratch::new();
    let file = scratch.put("f.toml", b"strict = true\n[[channel]]\nname = 'a'\nsource = 'stdin'\n");
    let plan = |words: &[&str]| {
        let output = evenkeel(&[&["plan"], words].concat());
        assert_eq!(code(output.status), 0, "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(plan(&["--config", &file]).contains("makes the exit code 1 (--strict)"));
    assert!(!plan(&["--channel", "a=stdin"]).contains("strict"));
    let json: Value = serde_json::from_str(&plan(&["--config", &file, "--format", "json"])).unwrap();
    assert_eq!(json["strict"], true);
    let dir = scratch.word("rec");
    let mut running = Running::start(&scratch, &["record", "--out", &dir, "--config", &file]);
    running.child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    running.wait_for_ack("a", 1);
    let status = |words: &[&str]| evenkeel(&[&["status", &dir], words].concat());
    let json: Value = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    assert_eq!(json["strict"], true, "{json:#}");
    let told = status(&[]);
    assert!(
        (stderr(&told) + &String::from_utf8_lossy(&told.stdout)).contains("makes the exit code 1 (--strict)")
    );
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0);
}
