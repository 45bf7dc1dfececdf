//! Journals as each version of the format wrote them, kept as files: what is on people's disks stays readable.

use super::{LONG, all};
use evenkeel::journal::{Journal, JournalOptions, Restored, restore, verify};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::DirStorage;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 3_000, ballast_bytes: 0, run_id: [7; 16], ..JournalOptions::default() }
}

/// The files of a version.
fn golden(version: u64) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/journal/golden/v{version}"))
}

/// The journal of a version, in a storage that may be written to, and its entries as they stood then.
fn journal_of(version: u64) -> (SimStorage, Vec<Vec<u8>>) {
    let storage = SimStorage::new();
    let mut entries = Vec::new();
    for file in std::fs::read_dir(golden(version)).unwrap() {
        let file = file.unwrap();
        let (name, content) = (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap());
        if name == "entries.jsonl" {
            entries = content
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
        } else {
            storage.put(&name, content);
        }
    }
    assert!(!entries.is_empty(), "no golden files of version {version}");
    (storage, entries)
}

/// Checks that an entry says what its bytes say.
fn assert_says(entry: &evenkeel::journal::Entry, line: &[u8]) {
    assert_eq!(entry.payload, line);
    let said: Value = serde_json::from_slice(line).unwrap();
    assert_eq!(said["v"], json!(entry.version));
    assert_eq!(said["entry"], json!(entry.entry));
    assert_eq!(said["time"], json!(entry.time));
    assert_eq!(said["kind"], json!(entry.kind));
    assert_eq!(said["channel"], json!(entry.channel));
    assert_eq!(said.get("component").unwrap_or(&Value::Null), &json!(entry.component));
    assert_eq!(said["body"], entry.body);
}

// REQ C11, REQ C18
#[test]
fn journals_of_every_version_are_read_verified_and_continued() {
    for version in 1..=2 {
        let (storage, lines) = journal_of(version);
        let verification = verify(&storage, false).unwrap();
        assert_eq!(verification.outcome, Outcome::Declared, "version {version}: {verification:#?}");
        assert!(verification.findings.is_empty(), "version {version}: {verification:#?}");
        let read = all(&storage);
        assert_eq!(read.len(), lines.len());
        for (entry, line) in read.iter().zip(&lines) {
            assert_eq!(entry.version, version);
            assert_says(entry, line);
        }
        let mut intents = 0;
        let summary = restore(&storage, false, &["step-intent"], &mut |restored| {
            intents += u64::from(matches!(restored, Restored::Entry(_)));
            Ok(())
        });
        assert!(!summary.unwrap().damaged && intents == 24, "version {version}: {intents}");
        let (journal, _) = Journal::open(Arc::new(storage.clone()), options()).unwrap();
        assert_eq!(journal.head().hash, verification.head);
        let appended =
            journal.record("state", Some("left"), Some("writer"), &json!({ "to": "Running" })).unwrap();
        assert_eq!((appended.entry, &appended.prev), (lines.len() as u64 + 1, &verification.head));
        journal.finish(LONG).unwrap();
        let verification = verify(&storage, false).unwrap();
        assert!(verification.findings.is_empty(), "version {version}: {verification:#?}");
        let read = all(&storage);
        assert_eq!(read.len(), lines.len() + 1);
        let last = read.last().unwrap();
        assert_eq!((last.version, last.component.as_deref()), (2, Some("writer")));
        assert!(read.iter().zip(&lines).all(|(entry, line)| entry.payload == *line));
    }
}

/// Writes the golden files of a new version, into the directory that `EVENKEEL_GOLDEN` names where it is
/// set: three runs, the second left without an end.
// REQ C11
#[test]
fn what_is_written_now_is_of_the_newest_version() {
    let passing = tempfile::tempdir().unwrap();
    let place = std::env::var_os("EVENKEEL_GOLDEN").map_or(passing.path().to_owned(), PathBuf::from);
    for run in 0..3 {
        let storage = Arc::new(DirStorage::create(&place).unwrap());
        let (journal, _) = Journal::open(storage, options()).unwrap();
        journal.append("start", None, json!({ "program": "golden", "run": run })).unwrap();
        for n in 0..8 {
            let body =
                json!({ "step": "flush/left", "n": n, "words": "a \"quoted\" line\n, \u{e9}\u{1f600}" });
            let appended = journal.record("step-intent", Some("le\"ft"), Some("wri/ter"), &body).unwrap();
            assert!(journal.wait_durable(appended.entry, LONG));
        }
        if run != 1 {
            let mut report = Map::new();
            report.insert("clean".to_owned(), json!(true));
            journal.append_with_head("report", report, "journal_head").unwrap();
            journal.finish(LONG).unwrap();
        }
    }
    let storage = DirStorage::open(&place).unwrap();
    let written = all(&storage);
    let (_, newest) = journal_of(2);
    assert!(written.iter().all(|entry| entry.version == 2) && written.len() == newest.len());
    let lines: Vec<u8> = written.into_iter().flat_map(|e| [e.payload, b"\n".to_vec()].concat()).collect();
    std::fs::write(place.join("entries.jsonl"), lines).unwrap();
}
