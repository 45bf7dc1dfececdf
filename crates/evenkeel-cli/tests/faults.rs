//! Faults of a real recorder: told by code, explained, and nothing private of them outside of the journal.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{PROGRAM, Scratch, code, evenkeel, stderr};
use serde_json::Value;
use std::process::{Command, Stdio};

const SECRET: &str = "hunter2";

/// The entries of a kind in the journal.
fn journal(scratch: &Scratch, kind: &str) -> Vec<Value> {
    let output = evenkeel(&["journal", &scratch.word("rec"), "--json", "--kind", kind]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asks until the recorder says what is wanted.
fn status(scratch: &Scratch, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let output = evenkeel(&["status", &scratch.word("rec"), "--json"]);
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(status) if is_it(&status) => return status,
            _ => std::thread::yield_now(),
        }
    }
}

// REQ E6, REQ E1, REQ W4
#[test]
fn a_command_that_fails_with_secrets_tells_them_to_the_journal_alone() {
    let scratch = Scratch::new();
    let fails = format!("left=exec:echo {SECRET}-said >&2; : {SECRET}-argument; echo $OF_ADA >&2; exit 3");
    let missing = format!("right=exec:exec /nowhere/{SECRET}-path");
    let mut recorder = Command::new(PROGRAM)
        .args(["record", "--out", &scratch.word("rec"), "--channel", "in=stdin"])
        .args(["--channel", &fails, "--channel", &missing])
        .env("OF_ADA", format!("{SECRET}-environment"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let failed = |status: &Value, at: usize| status["channels"][at]["state"] == "Failed";
    let told = status(&scratch, |status| failed(status, 1) && failed(status, 2));
    let last = told["channels"][1]["last_fault"].as_str().unwrap();
    assert!(last.starts_with("EK-0201 error in left: a component ended by itself. "), "{last}");
    let alerts = told["alerts"].to_string();
    assert!(alerts.contains("left: EK-0201") && alerts.contains("right: EK-0201"), "{alerts}");
    let shown = stderr(&evenkeel(&["status", &scratch.word("rec")]));
    assert!(shown.contains("left: last fault: EK-0201"), "{shown}");
    drop(recorder.stdin.take());
    let output = recorder.wait_with_output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("evenkeel: left: EK-0201 error in left"), "{said}");
    for public in [told.to_string(), shown, said, String::from_utf8(output.stdout).unwrap()] {
        assert!(!public.contains(SECRET), "{public}");
    }
    let faults = journal(&scratch, "fault");
    let of_left = faults.iter().find(|entry| entry["channel"] == "left").unwrap();
    let cause = of_left["body"]["fault"]["causes"].to_string();
    assert!(cause.contains('3'), "how it ended is in the journal: {cause}");
    assert!(journal(&scratch, "stderr").iter().any(|entry| entry.to_string().contains(SECRET)));
}

// REQ E3, REQ E4
#[test]
fn a_command_that_is_run_again_is_restarted_once_for_each_fault_and_that_is_among_the_measures() {
    let scratch = Scratch::new();
    let runs = scratch.word("runs");
    let command = format!("a=exec:echo x >> {runs}; [ $(wc -l < {runs}) -ge 3 ] || exit 4");
    let output = evenkeel(&[
        "record",
        "--out",
        &scratch.word("rec"),
        "--channel",
        &command,
        "--restart",
        "a=on-failure",
    ]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 3);
    let (faults, measures) = (journal(&scratch, "fault"), journal(&scratch, "measure"));
    assert_eq!((faults.len(), measures.len()), (2, 2));
    for (at, (fault, measure)) in faults.iter().zip(&measures).enumerate() {
        assert_eq!(fault["body"]["fault"]["code"], "EK-0201");
        assert_eq!(measure["body"]["fault"], fault["body"]["id"]);
        assert_eq!(
            (&measure["body"]["measure"], &measure["body"]["level"]),
            (&"restart".into(), &(at + 1).into())
        );
    }
}

// REQ E6, REQ D1
#[test]
fn a_code_is_explained_to_people_and_to_programs() {
    let output = evenkeel(&["explain", "ek-1001"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(code(output.status), 0);
    assert!(
        text.starts_with("EK-1001: the disk is full\n") && text.contains("What to do: Make room"),
        "{text}"
    );
    let output = evenkeel(&["explain", "0800", "--json"]);
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&explained["version"], &explained["code"]), (&1.into(), &"EK-0800".into()));
    assert_eq!((&explained["class"], &explained["measures"]["first"]), (&"panic".into(), &"restart".into()));
    let all: Value = serde_json::from_slice(&evenkeel(&["explain", "--json"]).stdout).unwrap();
    let list = String::from_utf8(evenkeel(&["explain"]).stdout).unwrap();
    assert_eq!(all["codes"].as_array().unwrap().len(), list.lines().count());
    assert!(list.lines().any(|line| line.starts_with("EK-0203  execution")), "{list}");
    for unknown in ["EK-9999", "disk"] {
        let output = evenkeel(&["explain", unknown]);
        assert_eq!((code(output.status), output.stdout.len()), (2, 0));
    }
    assert!(stderr(&evenkeel(&["explain", "1004"])).contains("the nearest is EK-1003"));
}
