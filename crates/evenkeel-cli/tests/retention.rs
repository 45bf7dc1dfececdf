//! Segments that retention removed, as the program sees it: verified, exported, recovered.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{Scratch, code, evenkeel, export, stderr, verify};
use evenkeel::journal::{Journal, JournalOptions};
use evenkeel_log::storage::{DirLock, DirStorage, Storage};
use evenkeel_log::{
    Anchor, Batch, LogOptions, LogWriter, OCTETS, RETENTION_KIND, Resume, Stamp, remove_segments,
    sealed_name, sealed_segments,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const SEGMENTS: u64 = 5;
const NAMES: [&str; 2] = ["left", "right"];

fn stamp(number: u64) -> Stamp {
    Stamp { wall_ns: 1_700_000_000_000_000_000 + number, mono_ns: number }
}

/// What a channel says in a segment.
fn said(name: &str, number: u64) -> String {
    format!("{name} in segment {number}\n")
}

/// From a segment on, to the end.
fn said_from(name: &str, first: u64) -> Vec<u8> {
    (first..=SEGMENTS).map(|number| said(name, number)).collect::<String>().into_bytes()
}

fn record(dir: &Path, is_ended: bool) -> Arc<dyn Storage> {
    record_segments(dir, SEGMENTS, is_ended)
}

/// Segments with a message of each channel, and perhaps a seal on the last.
fn record_segments(dir: &Path, segments: u64, is_ended: bool) -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::create(dir).unwrap());
    let options = LogOptions { ballast_bytes: 0, run_id: [7; 16], ..LogOptions::default() };
    let mut log = LogWriter::create(storage.clone(), options, Resume::default(), stamp(0)).unwrap();
    let channels = NAMES.map(|name| log.channel(name, OCTETS));
    let streams = channels.map(|channel| log.stream(channel, &[]));
    for number in 1..=segments {
        for (name, stream) in NAMES.iter().zip(streams) {
            let mut batch = Batch::new(stream, number, vec![0; 200]);
            assert!(batch.push(said(name, number).as_bytes(), stamp(number).wall_ns));
            log.append(batch, stamp(number));
        }
        let last = number == segments;
        if last {
            channels.into_iter().for_each(|channel| log.set_ended(channel, is_ended));
        }
        let jobs = match (last, is_ended) {
            (false, _) => log.rotate(stamp(number)),
            (true, true) => log.finish(stamp(number)),
            (true, false) => {
                let _ = log.commit(stamp(number));
                log.sync().into_iter().collect()
            }
        };
        for job in jobs {
            let _ = log.complete(job.run(), stamp(number));
        }
    }
    assert!(log.is_settled());
    storage
}

fn journal(dir: &Path) -> Journal {
    let storage = Arc::new(DirStorage::create(&dir.join("journal")).unwrap());
    Journal::open(storage, JournalOptions::default()).unwrap().0
}

/// Tells of a removal, durably, in the words of the recorder.
fn tell(journal: &Journal, storage: &dyn Storage, through: u64) {
    let removed: Vec<_> =
        sealed_segments(storage).unwrap().into_iter().filter(|s| s.number <= through).collect();
    let bytes = removed.iter().map(|s| s.bytes).sum();
    let body = Anchor::at(storage, through).unwrap().entry(removed.len() as u64, bytes, "bytes");
    let entry = journal.append(RETENTION_KIND, None, body).unwrap();
    assert!(journal.wait_durable(entry.entry, LONG));
}

/// A recording whose first two segments were removed, then the third.
fn shortened(scratch: &Scratch, is_ended: bool) -> (String, Arc<dyn Storage>) {
    let storage = record(&scratch.path("rec"), is_ended);
    let journal = journal(&scratch.path("rec"));
    for through in [2, 3] {
        let before = journal.append("noise", None, json!({})).unwrap();
        assert!(journal.wait_durable(before.entry, LONG));
        tell(&journal, &*storage, through);
        remove_segments(&*storage, through).unwrap();
    }
    journal.finish(LONG).unwrap();
    (scratch.word("rec"), storage)
}

fn findings(report: &Value) -> String {
    report["findings"].to_string()
}

// REQ W3, REQ W5
#[test]
fn what_retention_removed_is_not_missed() {
    let scratch = Scratch::new();
    let (dir, _) = shortened(&scratch, true);
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (0, &json!(4)), "{report}");
    assert_eq!(report["channels"][0]["missing"], json!([]));
    let told = evenkeel(&["verify", &dir]);
    assert_eq!(code(told.status), 0);
    assert!(stderr(&told).contains("segments up to 000003 were removed by retention\n"), "{}", stderr(&told));
    for name in NAMES {
        assert_eq!(export(&dir, name), (said_from(name, 4), 0));
    }
    let recovered = evenkeel(&["recover", &dir]);
    assert_eq!(code(recovered.status), 0);
    assert!(stderr(&recovered).contains("nothing to do"));
    assert_eq!(verify(&dir).1, 0);
}

// REQ W3, REQ W5
#[test]
fn one_segment_more_is_missed() {
    let scratch = Scratch::new();
    let (dir, storage) = shortened(&scratch, true);
    storage.remove(&sealed_name(4)).unwrap();
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (1, &json!(4)));
    for name in NAMES {
        assert!(findings(&report).contains(&format!("{name}: sequences 4 to 4 are missing")), "{report}");
    }
}

// REQ W3
#[test]
fn without_retention_nothing_says_so_and_a_missing_beginning_is_missed() {
    let scratch = Scratch::new();
    let storage = record(&scratch.path("rec"), true);
    let dir = scratch.word("rec");
    journal(&scratch.path("rec")).finish(LONG).unwrap();
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (0, &Value::Null));
    assert!(!stderr(&evenkeel(&["verify", &dir])).contains("retention"));
    storage.remove(&sealed_name(1)).unwrap();
    assert_eq!(verify(&dir).1, 1);
    // Nor is a removal believed that is told of without an anchor, or with one in another entry.
    let journal = journal(&scratch.path("rec"));
    let _ = journal.append("noise", None, Anchor::at(&*storage, 1).unwrap().entry(1, 1, "bytes"));
    let entry = journal.append(RETENTION_KIND, None, json!({ "through": 1 })).unwrap();
    assert!(journal.wait_durable(entry.entry, LONG));
    journal.finish(LONG).unwrap();
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (1, &Value::Null));
}

// REQ W3
#[test]
fn a_removal_that_was_told_of_and_cut_short_is_accepted() {
    let scratch = Scratch::new();
    let storage = record(&scratch.path("rec"), true);
    let dir = scratch.word("rec");
    let journal = journal(&scratch.path("rec"));
    tell(&journal, &*storage, 4);
    journal.finish(LONG).unwrap();
    for gone in 1..=4 {
        assert_eq!(verify(&dir).1, 0);
        assert_eq!(export(&dir, "left"), (said_from("left", gone), 0));
        storage.remove(&sealed_name(gone)).unwrap();
    }
    assert_eq!(verify(&dir).1, 0);
}

// REQ W3
#[test]
fn a_shortened_recording_that_crashed_is_recovered() {
    let scratch = Scratch::new();
    let (dir, _) = shortened(&scratch, false);
    assert_eq!(verify(&dir).1, 6);
    assert_eq!(code(evenkeel(&["recover", &dir]).status), 0);
    let (report, status) = verify(&dir);
    assert_eq!((status, report["gaps"].as_array().unwrap().len()), (6, 2), "the gaps of the crash: {report}");
    assert_eq!(export(&dir, "left"), (said_from("left", 4), 6));
    // Recording goes on.
    let input = scratch.put("input", b"more");
    let source = format!("left=file:{input}");
    assert_eq!(code(evenkeel(&["record", "--out", &dir, "--channel", &source]).status), 0);
    assert_eq!(verify(&dir).1, 6);
    assert_eq!(export(&dir, "left").0, [&said_from("left", 4)[..], b"more"].concat());
}

// REQ W3, REQ W5
#[test]
fn a_recording_that_is_shortened_meanwhile_is_verified() {
    let scratch = Scratch::new();
    let storage = record_segments(&scratch.path("rec"), 60, false);
    let (journal, _lock) = (journal(&scratch.path("rec")), DirLock::acquire(&scratch.path("rec")).unwrap());
    let dir = scratch.word("rec");
    let removing = std::thread::spawn(move || {
        for through in 1..60 {
            tell(&journal, &*storage, through);
            remove_segments(&*storage, through).unwrap();
        }
    });
    let mut last = false;
    while !last {
        last = removing.is_finished();
        let output = evenkeel(&["verify", &dir, "--json"]);
        assert_eq!(code(output.status), 6, "{}", String::from_utf8_lossy(&output.stdout));
    }
    removing.join().unwrap();
    assert_eq!(verify(&dir).0["retained_from"], json!(60));
}

/// Turns a byte in a file of the journal over, where `text` stands last.
fn corrupt(scratch: &Scratch, segment: u64, text: &str) {
    let path = scratch.path("rec/journal").join(sealed_name(segment));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(text.len()).rposition(|w| w == text.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

// REQ C11, REQ W3
#[test]
fn a_journal_whose_chain_is_broken_before_the_removal_is_not_believed() {
    let scratch = Scratch::new();
    let (dir, _) = shortened(&scratch, true);
    corrupt(&scratch, 1, "noise");
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (1, &Value::Null));
    assert!(findings(&report).contains("left: sequences 1 to 3 are missing"), "{report}");
    let told = stderr(&evenkeel(&["verify", &dir]));
    assert!(told.contains("what it says of removed segments does not count"), "{told}");
}

// REQ C11, REQ W3
#[test]
fn a_journal_whose_chain_is_broken_in_a_later_segment_is_believed() {
    let scratch = Scratch::new();
    let (dir, _) = shortened(&scratch, true);
    let again = journal(&scratch.path("rec"));
    let entry = again.append("later", None, json!({})).unwrap();
    assert!(again.wait_durable(entry.entry, LONG));
    again.finish(LONG).unwrap();
    assert_eq!(verify(&dir).1, 0);
    corrupt(&scratch, 2, "later");
    let (report, status) = verify(&dir);
    assert_eq!((status, &report["retained_from"]), (1, &json!(4)), "the journal itself is not whole");
    assert_eq!(report["outcome"], json!("intact"));
}
