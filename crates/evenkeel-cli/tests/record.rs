//! Recording and stopping, with the real program.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Running, Scratch, code, evenkeel, export, lines, stderr, verify};
use std::io::Write;
use std::process::{Command, Stdio};

fn record_stdin(dir: &str, extra: &[&str], input: &[u8]) -> std::process::Output {
    let mut child = Command::new(common::PROGRAM)
        .args(["record", "--out", dir])
        .args(extra)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

// REQ W1, REQ W5
#[test]
fn stdin_and_a_file_come_back_byte_for_byte() {
    let scratch = Scratch::new();
    let mut random = vec![0; 3_000_000];
    fastrand::Rng::with_seed(1).fill(&mut random);
    let file = scratch.put("random", &random);
    let mut text = lines(0, 20_000);
    text.extend(vec![b'x'; 150_000]);
    text.extend(b"\n\n\nno line break at the end");
    let dir = scratch.word("rec");
    let source = format!("b=file:{file}");
    let words = ["--channel", "a=stdin", "--frame", "a=lines", "--channel", &source];
    let output = record_stdin(&dir, &words, &text);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(export(&dir, "a") == (text.clone(), 0));
    assert!(export(&dir, "b") == (random.clone(), 0));
    assert_eq!(verify(&dir).1, 0);

    // A second run goes on: more of stdin, nothing of the file, which has not grown.
    let output = record_stdin(&dir, &words, b"second\n");
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    text.extend(b"second\n");
    assert!(export(&dir, "a") == (text.clone(), 0));
    assert!(export(&dir, "b") == (random.clone(), 0));

    // The file grows: only what is new is recorded.
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"grown").unwrap();
    let output = evenkeel(&["record", "--out", &dir, "--channel", &source]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    random.extend(b"grown");
    assert!(export(&dir, "b") == (random, 0));
    let second = evenkeel(&["export", &dir, "--channel", "a", "--stream", "2"]);
    assert_eq!(second.stdout, b"second\n");
    let (report, verdict) = verify(&dir);
    assert_eq!((verdict, report["outcome"].as_str()), (0, Some("intact")));
}

// REQ W1, REQ W5
#[test]
fn segments_open_in_the_mcap_crate() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let text = lines(0, 5_000);
    let output = record_stdin(&dir, &["--channel", "a=stdin", "--frame", "a=lines"], &text);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let bytes = std::fs::read(scratch.path("rec/000001.mcap")).unwrap();
    let summary = mcap::Summary::read(&bytes).unwrap().expect("a sealed segment has a summary");
    assert_eq!(summary.stats.unwrap().message_count, 5_000);
    let mut found = Vec::new();
    for (at, message) in mcap::MessageStream::new(&bytes).unwrap().enumerate() {
        let message = message.unwrap();
        assert_eq!(message.channel.topic, "/a");
        assert_eq!(message.channel.message_encoding, "text/plain");
        assert_eq!(message.sequence, at as u32 + 1);
        assert_eq!(message.log_time, message.publish_time);
        found.extend_from_slice(&message.data);
    }
    assert!(found == text);
}

// REQ W2, REQ C16
#[test]
fn a_signal_in_full_flow_loses_nothing_accepted() {
    // What this test was started with as ignored, the recorder ignores too: `nohup`, a shell's `&`.
    let signals = [("-TERM", 15), ("-INT", 2), ("-HUP", 1)];
    for (signal, _) in signals.into_iter().filter(|(_, number)| !is_ignored(*number)) {
        let scratch = Scratch::new();
        let dir = scratch.word("rec");
        let mut running = Running::start(&scratch, &["record", "--out", &dir, "--channel", "a=stdin"]);
        let mut at = 0;
        let feed = running.feed(move || {
            at += 1000;
            (at < 600_000).then(|| lines(at - 1000, 1000))
        });
        running.wait_for_ack("a", 500_000);
        running.signal(signal);
        let status = running.child.wait().unwrap();
        let (sent, pipe) = feed.join().unwrap();
        drop(pipe);
        let told = std::fs::read_to_string(scratch.path("stderr")).unwrap();
        assert_eq!(code(status), 0, "{signal}: {told}");
        let (stored, verdict) = export(&dir, "a");
        assert_eq!(verdict, 0);
        assert!(stored.len() as u64 + (1 << 21) > sent, "more than a pipe holds was left unread");
        assert!(lines(0, 600_000).starts_with(&stored), "{signal}: what is stored is not what was sent");
        let acked = common::last_ack(&running.acks, "a").unwrap();
        assert_eq!(acked.1, stored.len() as u64, "{signal}: the last acknowledgement tells all");
        assert_eq!(verify(&dir).1, 0);
    }
}

fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}

// REQ C16
#[test]
fn a_hangup_that_was_inherited_as_ignored_stays_so() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let acks = scratch.path("acks");
    let script = "trap '' HUP; acks=$1; shift; exec \"$@\" --acks 3 3>\"$acks\"";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&acks)
        .args([common::PROGRAM, "record", "--out", &dir, "--channel", "a=stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"before").unwrap();
    let running = Running { child, acks };
    running.wait_for_ack("a", 6);
    running.signal("-HUP");
    pipe.write_all(b"after").unwrap();
    running.wait_for_ack("a", 11);
    drop(pipe);
    let mut child = running.child;
    assert_eq!(code(child.wait().unwrap()), 0);
    assert_eq!(export(&dir, "a"), (b"beforeafter".to_vec(), 0));
}

// REQ W1
#[test]
fn a_directory_in_use_is_refused_by_name() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let mut running = Running::start(&scratch, &["record", "--out", &dir, "--channel", "a=stdin"]);
    let mut pipe = running.child.stdin.take().unwrap();
    pipe.write_all(b"hello").unwrap();
    running.wait_for_ack("a", 5);
    for words in [&["record", "--out", &dir, "--channel", "b=stdin"][..], &["recover", &dir]] {
        let output = evenkeel(words);
        assert_eq!(code(output.status), 3);
        let pid = running.child.id().to_string();
        assert!(stderr(&output).contains(&pid), "{} does not name process {pid}", stderr(&output));
    }
    // A live recording is readable up to its last commit.
    assert_eq!(verify(&dir).1, 6);
    assert_eq!(export(&dir, "a"), (b"hello".to_vec(), 0));
    drop(pipe);
    assert_eq!(code(running.child.wait().unwrap()), 0);
    assert_eq!(verify(&dir).1, 0);
}

// REQ W1
#[test]
fn every_kind_of_standard_input_is_read() {
    let scratch = Scratch::new();
    let file = scratch.put("input", b"from a file");
    for (redirect, expected) in [
        (format!("<{file}"), &b"from a file"[..]),
        ("</dev/null".to_owned(), b""),
        ("<&-".to_owned(), b""),
        (format!("<{file}"), b"from a file"),
    ] {
        let dir = scratch.word(&format!("rec{}", expected.len()));
        let command = format!("exec {} record --out {dir} --channel a=stdin {redirect}", common::PROGRAM);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(code(output.status), 0, "{redirect}: {}", stderr(&output));
        let (stored, _) = export(&dir, "a");
        assert!(stored.ends_with(expected), "{redirect}");
    }
}
