//! The journal of a recording: printed, verified and recovered by the program.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{PROGRAM, Scratch, code, evenkeel, stderr, verify};
use evenkeel::journal::{Journal, JournalOptions};
use evenkeel_log::storage::{DirLock, DirStorage};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A recording with a journal of six entries beside it.
fn recording(scratch: &Scratch, ends: bool) -> String {
    let dir = scratch.word("rec");
    let input = scratch.put("input", b"hello\n");
    let source = format!("a=file:{input}");
    let output = evenkeel(&["record", "--out", &dir, "--channel", &source]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let _ = std::fs::remove_dir_all(scratch.path("rec/journal"));
    journal(&scratch.path("rec"), ends);
    dir
}

fn journal(dir: &Path, ends: bool) {
    let storage = Arc::new(DirStorage::create(&dir.join("journal")).unwrap());
    let (journal, _) = Journal::open(storage, JournalOptions::default()).unwrap();
    for n in 0..3 {
        journal.append("step-intent", Some("left"), json!({ "step": "flush", "n": n })).unwrap();
        journal.append("stopped", None, json!({ "why": "a signal\u{1b}[2J", "n": n })).unwrap();
    }
    assert!(journal.wait_durable(6, LONG));
    if ends {
        journal.finish(LONG).unwrap();
    }
}

fn numbers(words: &[&str]) -> Vec<u64> {
    let output = evenkeel(words);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["entry"].as_u64().unwrap()).collect()
}

// REQ M4, REQ C11
#[test]
fn entries_are_printed_and_chosen() {
    let scratch = Scratch::new();
    let dir = recording(&scratch, true);
    assert_eq!(numbers(&["journal", &dir, "--json"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&["journal", &dir, "--json", "--channel", "left"]), [1, 3, 5]);
    assert_eq!(numbers(&["journal", &dir, "--json", "--kind", "stopped"]), [2, 4, 6]);
    assert_eq!(numbers(&["journal", &dir, "--json", "--kind", "none-such"]), [0u64; 0]);
    assert_eq!(numbers(&["journal", &dir, "--json", "--since", "1h"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&["journal", &dir, "--json", "--since", "2999-01-01T00:00:00Z"]), [0u64; 0]);
    let output = evenkeel(&["journal", &dir]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[0].contains(" 1 step-intent") && lines[0].contains("left"), "{text}");
    assert!(lines[0].ends_with("n=0 step=flush"), "{text}");
    assert!(!text.contains('\u{1b}'), "a journal moves no cursor");
}

// REQ M4
#[test]
fn a_running_journal_is_read_up_to_its_last_commit() {
    let scratch = Scratch::new();
    let dir = recording(&scratch, true);
    let _lock = DirLock::acquire(&scratch.path("rec")).unwrap();
    let storage = Arc::new(DirStorage::open(&scratch.path("rec/journal")).unwrap());
    let (journal, _) = Journal::open(storage, JournalOptions::default()).unwrap();
    let entry = journal.append("running", None, json!({})).unwrap();
    assert!(journal.wait_durable(entry.entry, LONG));
    assert_eq!(numbers(&["journal", &dir, "--json", "--kind", "running"]), [7]);
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["journal"]["outcome"]), (6, &json!("declared")), "{report}");
    assert_eq!(report["journal"]["head"], json!(journal.head().hash));
}

// REQ C11, REQ W5
#[test]
fn verify_checks_the_journal_too() {
    let scratch = Scratch::new();
    let dir = recording(&scratch, true);
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["outcome"]), (0, &json!("intact")), "{report}");
    assert_eq!((&report["journal"]["entries"], &report["journal"]["outcome"]), (&json!(6), &json!("intact")));
    let head = report["journal"]["head"].as_str().unwrap();
    let told = stderr(&evenkeel(&["verify", &dir]));
    assert!(told.contains(&format!("journal: 6 entries, chain whole, head {head}")), "{told}");

    let file = scratch.path("rec/journal/000001.mcap");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|w| w == b"flush").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["outcome"]), (1, &json!("intact")), "the recording is, its journal is not");
    assert_eq!(report["journal"]["outcome"], json!("loss"));
    let told = stderr(&evenkeel(&["verify", &dir]));
    assert!(told.contains("NOT WHOLE") && told.contains("NOT INTACT"), "{told}");
    assert_eq!(code(evenkeel(&["journal", &dir]).status), 1);

    std::fs::remove_dir_all(scratch.path("rec/journal")).unwrap();
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["journal"]), (0, &Value::Null));
    assert_eq!(code(evenkeel(&["journal", &dir]).status), 3);
}

// REQ C11, REQ W3
#[test]
fn recover_seals_the_journal_too() {
    let scratch = Scratch::new();
    let dir = recording(&scratch, false);
    assert_eq!(verify(&dir).1, 6);
    let output = evenkeel(&["recover", &dir, "--json"]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["journal"]["segments"][0]["action"], json!("sealed"), "{report}");
    assert!(scratch.path("rec/journal/000001.mcap").exists());
    assert_eq!(verify(&dir).0["journal"]["findings"], json!([]));
    assert!(stderr(&evenkeel(&["recover", &dir])).contains("nothing to do"));
    // And a program goes on where it ended.
    journal(&scratch.path("rec"), true);
    assert_eq!(verify(&dir).0["journal"]["entries"], json!(12));
}

// REQ M4
#[test]
fn what_cannot_be_read_or_is_wrong_is_told_and_a_closed_pipe_is_no_error() {
    let scratch = Scratch::new();
    assert_eq!(code(evenkeel(&["journal", &scratch.word("missing")]).status), 3);
    let dir = recording(&scratch, true);
    for words in [&["journal"][..], &["journal", &dir, "--since", "soon"], &["journal", &dir, "--colour"]] {
        let output = evenkeel(words);
        assert_eq!(code(output.status), 2, "{words:?}: {}", stderr(&output));
    }
    let mut printing = Command::new(PROGRAM);
    printing.args(["journal", &dir]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = printing.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(output.status), stderr(&output)), (0, String::new()));
}
