//! Stops of the real program: the report, what hangs, a second signal, a grace
//! period too short; and the plan beforehand.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{
    Held, Running, Scratch, code, evenkeel, export, hanging_source, last_ack, lines, stderr, verify,
};
use serde_json::{Value, json};
use std::process::ChildStdin;

fn report(scratch: &Scratch) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path("report.json")).unwrap()).unwrap()
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let phases = report["phases"].as_array().unwrap();
    let mut steps = phases.iter().flat_map(|phase| phase["steps"].as_array().unwrap());
    steps.find(|step| step["name"] == name).unwrap()
}

/// A recorder of standard input, which stays open, beside a source that hangs; some records
/// are acknowledged.
fn beside_a_hanging_source(scratch: &Scratch, grace: &str) -> (Running, (Held, ChildStdin), Vec<u8>) {
    let (stuck, held) = hanging_source(scratch);
    let (dir, source, report) = (scratch.word("rec"), format!("stuck={stuck}"), scratch.word("report.json"));
    let words = ["record", "--out", &dir, "--channel", "a=stdin", "--channel", &source];
    let words: Vec<&str> = words.into_iter().chain(["--grace", grace, "--report", &report]).collect();
    let mut running = Running::start(scratch, &words);
    let text = lines(0, 2000);
    let mut once = Some(text.clone());
    let feed = running.feed(move || once.take());
    running.wait_for_ack("a", text.len() as u64);
    held.wait();
    let (_, pipe) = feed.join().unwrap();
    (running, (held, pipe), text)
}

/// Waits until the journal has this.
fn wait_for_journal(scratch: &Scratch, sought: &str) {
    let path = scratch.path("rec/journal/000001.mcap.part");
    while !std::fs::read(&path).is_ok_and(|text| text.windows(sought.len()).any(|w| w == sought.as_bytes())) {
        std::thread::yield_now();
    }
}

// REQ W2, REQ C2, REQ C16
#[test]
fn the_report_says_what_was_done_and_the_journal_says_the_same() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let words = ["record", "--out", &dir, "--channel", "a=stdin", "--frame", "a=lines", "--report", &out];
    let mut running = Running::start(&scratch, &words);
    let mut once = Some(lines(0, 1000));
    let bytes = lines(0, 1000).len() as u64;
    let feed = running.feed(move || once.take());
    running.wait_for_ack("a", bytes);
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    drop(feed.join().unwrap());
    assert_eq!(code(status), 0, "{}", std::fs::read_to_string(scratch.path("stderr")).unwrap());
    let report = report(&scratch);
    assert_eq!(
        (&report["version"], &report["clean"], &report["complete"]),
        (&json!(1), &json!(true), &json!(true))
    );
    assert_eq!((&report["exit_code"], &report["reason"]), (&json!(0), &json!("signal SIGTERM")));
    assert!(report["initiated_by"].as_str().unwrap().starts_with("process "), "{}", report["initiated_by"]);
    let phases: Vec<&str> =
        report["phases"].as_array().unwrap().iter().map(|p| p["phase"].as_str().unwrap()).collect();
    let all = ["Initiating", "StoppingCapture", "FlushingStorage", "ReleasingResources", "ClosingLogs"];
    assert_eq!(phases, all);
    for name in ["stop-capture/a", "flush/a", "seal", "release-buffers", "close-journal"] {
        assert_eq!(step(&report, name)["verdict"], "Verified", "{report:#}");
    }
    let channel = json!({
        "name": "a", "accepted_records": 1000, "accepted_bytes": bytes, "committed_records": 1000,
        "committed_bytes": bytes, "dropped_records": 0, "dropped_bytes": 0, "kernel_dropped": null,
        "gaps": 0, "restarts": 0,
    });
    assert_eq!(report["channels"], json!([channel]));
    let output = evenkeel(&["journal", &dir, "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["prev"]), (&json!("report"), &report["journal_head"]));
    assert_eq!(last["body"]["channels"], report["channels"]);
    assert_eq!(step(&last["body"], "close-journal")["verdict"], Value::Null);
    assert_eq!(verify(&dir).1, 0);
}

// REQ W4, REQ C5, REQ C7, REQ C16
#[test]
fn a_source_that_hangs_is_named_and_the_rest_is_sealed() {
    let scratch = Scratch::new();
    let (mut running, _held, text) = beside_a_hanging_source(&scratch, "1s");
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    let report = report(&scratch);
    assert_eq!(code(status), 5, "{report:#}");
    assert_eq!(step(&report, "stop-capture/stuck")["verdict"], "TimedOutStillRunning");
    for name in ["stop-capture/a", "flush/a", "flush/stuck", "seal", "close-journal"] {
        assert_eq!(step(&report, name)["verdict"], "Verified", "{report:#}");
    }
    assert!(report["duration_ms"].as_f64().unwrap() < 1_000.0);
    assert!(export(&scratch.word("rec"), "a") == (text, 0));
    assert_eq!(verify(&scratch.word("rec")).1, 0, "what was accepted is whole all the same");
}

// REQ C16, REQ W3
#[test]
fn a_second_signal_forces_and_loses_nothing_acknowledged() {
    let scratch = Scratch::new();
    let (mut running, _held, text) = beside_a_hanging_source(&scratch, "60s");
    running.signal("-TERM");
    wait_for_journal(&scratch, r#""step":"stop-capture/stuck""#);
    wait_for_journal(&scratch, r#""step":"stop-capture/a","verdict":"Verified""#);
    running.signal("-TERM");
    let status = running.child.wait().unwrap();
    let report = report(&scratch);
    assert_eq!(code(status), 4, "{report:#}");
    assert_eq!(step(&report, "stop-capture/stuck")["verdict"], "Abandoned");
    assert_eq!(step(&report, "seal")["verdict"], "SkippedBecause");
    let told = std::fs::read_to_string(scratch.path("stderr")).unwrap();
    assert!(told.contains("FORCED: abandoned stop-capture/stuck"), "{told}");
    let dir = scratch.word("rec");
    assert_eq!(code(evenkeel(&["recover", &dir]).status), 0);
    let (acked, _) = (last_ack(&running.acks, "a").unwrap().1, ());
    let (stored, verdict) = export(&dir, "a");
    assert!(verdict == 6 && stored.len() as u64 >= acked && text.starts_with(&stored));
    assert_eq!(verify(&dir).1, 6);
}

// REQ C13
#[test]
fn a_plan_shows_the_stop_and_touches_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let words =
        ["plan", "--out", &dir, "--channel", "a=stdin", "--channel", "b=file:/dev/null", "--grace", "5s"];
    let with = |format: &[&str]| {
        let words: Vec<&str> = words.iter().chain(format).copied().collect();
        let output = evenkeel(&words);
        assert_eq!(code(output.status), 0, "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = with(&[]);
    assert!(text.contains("FlushingStorage    flush/b") && text.contains("stop-capture/b"), "{text}");
    assert!(text.contains("critical") || text.contains("-> seal -> release-buffers -> close-journal"));
    let plan: Value = serde_json::from_str(&with(&["--format", "json"])).unwrap();
    assert_eq!(plan["phases"].as_array().unwrap().len(), 5);
    assert_eq!(plan["concurrency"], 2);
    assert!(plan["worst_case_ms"].as_f64().unwrap() <= 5000.0);
    assert!(with(&["--format", "mermaid"]).starts_with("flowchart LR\n"));
    assert!(!scratch.path("rec").exists());
    for wrong in
        [&["plan"][..], &["plan", "--channel", "A=stdin"], &["plan", "--channel", "a=stdin", "--format", "x"]]
    {
        assert_eq!(code(evenkeel(wrong).status), 2, "{wrong:?}");
    }
}

// REQ W2
#[test]
fn the_report_may_lie_in_the_recording() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("rec/report.json"));
    let file = scratch.put("input", b"hello");
    let source = format!("a=file:{file}");
    let output = evenkeel(&["record", "--out", &dir, "--channel", &source, "--report", &out]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(report["clean"], true);
    assert_eq!(verify(&dir).1, 0);
}

// REQ C11
#[test]
fn a_journal_that_cannot_be_kept_does_not_keep_anybody_from_recording() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    std::fs::create_dir(&dir).unwrap();
    scratch.put("rec/journal", b"in the way");
    let file = scratch.put("input", b"hello");
    let output = evenkeel(&["record", "--out", &dir, "--channel", &format!("a=file:{file}")]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("recording without a journal"), "{}", stderr(&output));
    assert_eq!(export(&dir, "a"), (b"hello".to_vec(), 0));
}
