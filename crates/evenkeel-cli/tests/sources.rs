//! Sources of all kinds at once, with the real program.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Running, Scratch, address, code, evenkeel, export, last_ack, lines, stderr, verify};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that the peer of the TCP channel pushes: enough to be in the midst of it.
const PUSHED_BYTES: usize = 200_000_000;

fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    fastrand::Rng::with_seed(seed).fill(&mut random);
    random
}

/// Pushes as long as somebody listens.
fn push(address: String, bytes: Arc<Vec<u8>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        // It is cut off in the midst of it: that is the test.
        let _ = peer.write_all(&bytes);
    })
}

/// Numbered datagrams, at a pace that no kernel drops, until told to stop.
fn send_datagrams(address: String, over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        for n in 0u64.. {
            if over.load(Ordering::Relaxed) || socket.send(&datagram(n)).is_err() {
                break;
            }
            // sleep: a flood is another test's; here nothing may be dropped by the kernel.
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    })
}

fn datagram(n: u64) -> Vec<u8> {
    format!("datagram {n} ").repeat(1 + (n % 7) as usize).into_bytes()
}

fn counted(bytes: usize) -> Vec<u8> {
    (1u64..).flat_map(|n| format!("{n}\n").into_bytes()).take(bytes).collect()
}

fn read_report(scratch: &Scratch) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path("report.json")).unwrap()).unwrap()
}

/// What each channel's messages are, one after the other, as another reader sees them.
fn as_others_read_it(scratch: &Scratch) -> BTreeMap<String, Vec<u8>> {
    let mut channels: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut segments: Vec<_> =
        std::fs::read_dir(scratch.path("rec")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|e| e == "mcap"));
    segments.sort();
    assert!(!segments.is_empty());
    for path in segments {
        let bytes = std::fs::read(&path).unwrap();
        let summary = mcap::Summary::read(&bytes).unwrap().expect("a sealed segment has a summary");
        let mut messages = 0;
        for chunk in &summary.chunk_indexes {
            for message in summary.stream_chunk(&bytes, chunk).unwrap() {
                let message = message.unwrap();
                messages += 1;
                channels.entry(message.channel.topic.clone()).or_default().extend_from_slice(&message.data);
            }
        }
        assert_eq!(summary.stats.unwrap().message_count, messages, "{}", path.display());
    }
    channels
}

// REQ W1, REQ W2, REQ W5
#[test]
fn four_channels_in_full_flow_stop_with_all_that_was_accepted() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let filed = random(2, 150_000_000);
    let file = format!("disk=file:{}", scratch.put("random", &filed));
    let count = "count=exec:i=0; while :; do i=$((i+1)); echo $i; done";
    let words = [
        &["record", "--out", &dir, "--report", &out, "--channel", count, "--frame", "count=lines"],
        &[
            "--channel",
            "net=tcp:127.0.0.1:0",
            "--channel",
            "gram=udp:127.0.0.1:0",
            "--channel",
            &file,
            "--grace",
            "30s",
        ][..],
    ]
    .concat();
    let mut running = Running::start(&scratch, &words);
    let pushed = Arc::new(random(3, PUSHED_BYTES));
    let pusher = push(address(&scratch, "net"), pushed.clone());
    let over = Arc::new(AtomicBool::new(false));
    let sender = send_datagrams(address(&scratch, "gram"), over.clone());
    running.wait_for_ack("net", 20_000_000);
    for channel in ["count", "gram", "disk"] {
        running.wait_for_ack(channel, 1_000);
    }
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    over.store(true, Ordering::Relaxed);
    pusher.join().unwrap();
    sender.join().unwrap();
    let told = std::fs::read_to_string(scratch.path("stderr")).unwrap();
    assert_eq!(code(status), 0, "{told}");
    let report = read_report(&scratch);
    assert_eq!((&report["clean"], &report["complete"]), (&true.into(), &true.into()), "{report:#}");
    let read = as_others_read_it(&scratch);
    for channel in report["channels"].as_array().unwrap() {
        let name = channel["name"].as_str().unwrap();
        let accepted = channel["accepted_bytes"].as_u64().unwrap() as usize;
        assert!(accepted > 0 && channel["committed_bytes"] == accepted, "{channel}");
        let sent = match name {
            "count" => counted(accepted),
            "net" => pushed[..accepted].to_vec(),
            "gram" => {
                assert_eq!(channel["kernel_dropped"], 0, "the pace was too fast for this machine");
                (0..).flat_map(datagram).take(accepted).collect()
            }
            _ => filed[..accepted].to_vec(),
        };
        assert!(export(&dir, name) == (sent.clone(), 0), "{name}: what is exported is not what was sent");
        assert!(read[&format!("/{name}")] == sent, "{name}: others read something else");
        let (_, acked) = last_ack(&running.acks, name).unwrap();
        assert_eq!(acked as usize, accepted, "{name}");
    }
    assert_eq!(verify(&dir).1, 0);
}

// REQ W1, REQ E1
#[test]
fn what_a_command_says_is_recorded_and_how_it_ended_is_told() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let good = "good=exec:echo said; echo complained >&2";
    let bad = "bad=exec:printf begun; exit 3";
    let output = evenkeel(&["record", "--out", &dir, "--report", &out, "--channel", good, "--channel", bad]);
    assert_eq!(code(output.status), 1, "{}", stderr(&output));
    let report = read_report(&scratch);
    assert_eq!(report["clean"], false);
    let steps: Vec<&Value> =
        report["phases"].as_array().unwrap().iter().flat_map(|p| p["steps"].as_array().unwrap()).collect();
    let step = |name: &str| steps.iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(step("stop-capture/good")["verdict"], "Verified");
    assert_eq!(step("stop-capture/bad")["verdict"], "Failed");
    assert!(step("stop-capture/bad")["detail"].as_str().unwrap().contains("exit status 3"), "{report:#}");
    assert_eq!(export(&dir, "good"), (b"said\n".to_vec(), 0));
    assert_eq!(export(&dir, "bad"), (b"begun".to_vec(), 0));
    let journal = evenkeel(&["journal", &dir, "--kind", "stderr", "--json"]);
    let entry: Value = serde_json::from_slice(&journal.stdout).unwrap();
    assert_eq!((&entry["channel"], &entry["body"]["text"]), (&"good".into(), &"complained".into()));
    assert_eq!(verify(&dir).1, 0);
}

// REQ W4, REQ E4
#[test]
fn a_command_that_keeps_failing_is_run_again_until_it_is_enough() {
    let scratch = Scratch::new();
    let (dir, out, runs) = (scratch.word("rec"), scratch.word("report.json"), scratch.word("runs"));
    let flaky = format!("flaky=exec:echo run >> {runs}; wc -l < {runs}; [ $(wc -l < {runs}) -ge 3 ]");
    let words =
        ["record", "--out", &dir, "--report", &out, "--channel", &flaky, "--restart", "flaky=on-failure"];
    let output = evenkeel(&words);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let report = read_report(&scratch);
    assert_eq!(report["channels"][0]["restarts"], 2);
    assert_eq!(export(&dir, "flaky"), (b"1\n2\n3\n".to_vec(), 0));
    for (number, said) in [("1", "1\n"), ("3", "3\n")] {
        let output = evenkeel(&["export", &dir, "--channel", "flaky", "--stream", number]);
        assert_eq!(output.stdout, said.as_bytes(), "every run is a stream");
    }
}

// REQ C16, REQ W2
#[test]
fn a_command_that_does_not_listen_is_ended_and_all_it_said_is_there() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let deaf = "deaf=exec:trap '' TERM; while :; do echo still here; sleep 0.01; done";
    let words = [
        "record",
        "--out",
        &dir,
        "--report",
        &out,
        "--channel",
        deaf,
        "--frame",
        "deaf=lines",
        "--grace",
        "6s",
    ];
    let mut running = Running::start(&scratch, &words);
    running.wait_for_ack("deaf", 100);
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    assert_eq!(code(status), 0, "{}", std::fs::read_to_string(scratch.path("stderr")).unwrap());
    let report = read_report(&scratch);
    let (bytes, _) = export(&dir, "deaf");
    assert_eq!(report["channels"][0]["accepted_bytes"], bytes.len());
    assert!(bytes.chunks(11).all(|line| b"still here\n".starts_with(line)));
    let ended = evenkeel(&["journal", &dir, "--kind", "child-ended", "--json"]);
    assert!(String::from_utf8_lossy(&ended.stdout).contains("SIGKILL"), "{ended:?}");
}

/// Processes whose environment has this word.
fn processes_with(word: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let has = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(word.len()).any(|w| w == word.as_bytes())
    };
    all.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).filter(has).collect()
}

// REQ W4, REQ C9
#[test]
fn commands_of_a_recorder_that_was_killed_are_ended_by_the_next() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let name = format!("left-{}", fastrand::u32(..));
    let left = format!("{name}=exec:trap '' TERM; echo here; while :; do sleep 1; done");
    let marker = format!("EVENKEEL_CHANNEL={name}");
    let mut running = Running::start(&scratch, &["record", "--out", &dir, "--channel", &left]);
    running.wait_for_ack(&name, 5);
    running.signal("-KILL");
    running.child.wait().unwrap();
    assert!(!processes_with(&marker).is_empty(), "it should have outlived its recorder");
    let output = evenkeel(&["record", "--out", &dir, "--channel", "next=file:/dev/null"]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains(&name), "{}", stderr(&output));
    assert_eq!(processes_with(&marker), [""; 0]);
}

// REQ W4, REQ R4
#[test]
fn one_that_floods_and_one_that_dies_delay_nobody() {
    let scratch = Scratch::new();
    let (dir, path) = (scratch.word("rec"), scratch.word("socket"));
    let socket = format!("quiet=unix:{path}");
    let words = [
        &["record", "--out", &dir, "--channel", "flood=exec:yes", "--channel", "dies=exec:kill -9 $$"],
        &["--channel", &socket, "--frame", "quiet=lines", "--grace", "20s", "--durability", "disk"][..],
    ]
    .concat();
    let mut running = Running::start(&scratch, &words);
    running.wait_for_ack("flood", 20_000_000);
    let mut peer = UnixStream::connect(&path).unwrap();
    let mut sent = 0;
    for n in 0..50 {
        let line = format!("word {n}\n");
        peer.write_all(line.as_bytes()).unwrap();
        sent += line.len() as u64;
        running.wait_for_ack("quiet", sent);
    }
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    assert_eq!(code(status), 1, "the one that died is a fault");
    let (bytes, verdict) = export(&dir, "quiet");
    assert_eq!((bytes.len() as u64, verdict), (sent, 0));
    assert_eq!(verify(&dir).1, 0);
}

// REQ R9, REQ R5
#[test]
fn declared_drops_leave_the_exit_code_alone() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let words =
        ["record", "--out", &dir, "--report", &out, "--channel", "a=stdin", "--on-full", "a=drop-newest"];
    let mut running = Running::start(&scratch, &words);
    // Far more than fits into memory, and nobody is given time to write it.
    let piece = lines(0, 10_000);
    let mut left = 400;
    let feed = running.feed(move || {
        left -= 1;
        (left > 0).then(|| piece.clone())
    });
    let (sent, pipe) = feed.join().unwrap();
    drop(pipe);
    let status = running.child.wait().unwrap();
    assert_eq!(code(status), 0, "{}", std::fs::read_to_string(scratch.path("stderr")).unwrap());
    let report = read_report(&scratch);
    let channel = &report["channels"][0];
    let count = |field: &str| channel[field].as_u64().unwrap();
    assert_eq!(count("accepted_bytes"), sent);
    assert_eq!(count("accepted_bytes"), count("committed_bytes") + count("dropped_bytes"));
    assert_eq!(report["complete"], count("dropped_records") == 0);
    let (report, verdict) = verify(&dir);
    assert_eq!(verdict, if count("dropped_records") == 0 { 0 } else { 6 }, "{report:#}");
}

// REQ E4, REQ W2
#[test]
fn a_stop_while_a_command_waits_to_be_run_again_is_clean() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let words = ["record", "--out", &dir, "--report", &out, "--channel", "a=exec:echo once; exit 7"];
    let words = [&words[..], &["--restart", "a=on-failure", "--frame", "a=lines"]].concat();
    let mut running = Running::start(&scratch, &words);
    // The third pause lasts 800 ms.
    running.wait_for_ack("a", 15);
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    assert_eq!(code(status), 0, "{}", std::fs::read_to_string(scratch.path("stderr")).unwrap());
    assert_eq!(read_report(&scratch)["channels"][0]["restarts"], 2);
    assert_eq!(export(&dir, "a"), (b"once\nonce\nonce\n".to_vec(), 0));
}

// REQ E1
#[test]
fn how_a_command_ended_is_known_whoever_started_the_recorder() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    // Whoever ignores SIGCHLD has children whose end nobody is told.
    let script = "trap '' CHLD; exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh", common::PROGRAM, "record", "--out", &dir, "--channel", "a=exec:exit 0"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
}

// REQ W4
#[test]
fn connections_leave_descriptors_for_the_rest_of_the_recorder() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let mut running =
        Running::start(&scratch, &["record", "--out", &dir, "--channel", "net=tcp:127.0.0.1:0"]);
    let address = address(&scratch, "net");
    let limit = Rlimit { current: Some(128), maximum: Some(128) };
    prlimit(Pid::from_raw(running.child.id().cast_signed()), Resource::Nofile, limit).unwrap();
    let peers: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut peer = TcpStream::connect(&address).unwrap();
            peer.write_all(b"x").unwrap();
            peer
        })
        .collect();
    running.wait_for_ack("net", 40);
    for _ in 0..3 {
        let status = evenkeel(&["status", &dir]);
        if code(status.status) != 0 {
            running.signal("-KILL");
            panic!("{}", stderr(&status));
        }
    }
    // Who was not heard yet is heard when others have gone.
    drop(peers);
    running.wait_for_ack("net", 200);
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0);
}
