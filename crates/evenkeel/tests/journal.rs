//! The journal from outside: many appenders, many runs, crashes, disks that
//! fail, fill up or do not answer.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "journal/checkpoints.rs"]
mod checkpoints;
#[path = "journal/doubtful.rs"]
mod doubtful;
#[path = "journal/gate.rs"]
mod gate;
#[path = "journal/golden.rs"]
mod golden;
#[path = "journal/hanging.rs"]
mod hanging;
#[path = "journal/odd.rs"]
mod odd;
#[path = "journal/retention.rs"]
mod retention;
#[path = "journal/shedding.rs"]
mod shedding;
#[path = "journal/snapshots.rs"]
mod snapshots;
#[path = "journal/tampering.rs"]
mod tampering;

use evenkeel::journal::{
    Entry, GAP_KIND, Journal, JournalError, JournalOptions, OBSERVER_PANIC_KIND, entries, verify,
};
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{Batch, LogOptions, LogWriter, OCTETS, Outcome, Resume, Stamp};
use fastrand::Rng;
use gate::Gate;
use serde_json::{Map, json};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn open(storage: &SimStorage, options: JournalOptions) -> Journal {
    Journal::open(Arc::new(storage.clone()), options).unwrap().0
}

fn small_segments() -> JournalOptions {
    JournalOptions { segment_bytes: 3_000, ballast_bytes: 0, run_id: [9; 16], ..JournalOptions::default() }
}

fn all(storage: &dyn Storage) -> Vec<Entry> {
    let mut found = Vec::new();
    let summary = entries(storage, false, &mut |entry| {
        found.push(entry);
        Ok(())
    });
    assert!(!summary.unwrap().damaged);
    found
}

/// The entries must be numbered from 1 without a hole, and chained.
fn assert_whole(storage: &dyn Storage, outcome: Outcome) -> Vec<Entry> {
    let found = all(storage);
    let verification = verify(storage, false).unwrap();
    assert_eq!(verification.outcome, outcome, "{verification:#?}");
    assert!(verification.findings.is_empty(), "{verification:#?}");
    assert!(found.iter().map(|e| e.entry).eq(1..=found.len() as u64));
    assert_eq!((verification.entries, verification.last_entry), (found.len() as u64, found.len() as u64));
    found
}

// REQ C11, REQ M4
#[test]
fn many_appenders_make_one_gapless_chain() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirStorage::open(dir.path()).unwrap());
    let options =
        JournalOptions { queue_entries_max: usize::MAX, queue_bytes_max: 64 << 20, ..small_segments() };
    let (journal, _) =
        Journal::open(storage.clone(), JournalOptions { segment_bytes: 200_000, ..options }).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    journal.on_durable({
        let seen = seen.clone();
        move |through| seen.lock().unwrap().push(through)
    });
    let mut told: Vec<_> = std::thread::scope(|scope| {
        let appender = |thread: u64| {
            let journal = journal.clone();
            move || {
                let append =
                    |n| journal.append("test", Some("left"), json!({ "thread": thread, "n": n })).unwrap();
                (0..500).map(append).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(appender(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let head = journal.head();
    assert_eq!(head.entry, 4000);
    assert!(journal.wait_durable(4000, LONG));
    journal.finish(LONG).unwrap();
    journal.verify_last().unwrap();
    assert!(seen.lock().unwrap().is_sorted_by(|a, b| a < b));

    let found = assert_whole(&*storage, Outcome::Intact);
    assert_eq!(verify(&*storage, false).unwrap().head, head.hash);
    told.sort_by_key(|a| a.entry);
    assert!(told.iter().map(|a| (a.entry, &a.prev)).eq(found.iter().map(|e| (e.entry, &e.prev))));
    assert!(found.is_sorted_by_key(|e| e.time.clone()));
    let of_one = found.iter().filter(|e| e.body["thread"] == 3).map(|e| e.body["n"].as_u64().unwrap());
    assert!(of_one.eq(0..500), "the entries of one thread are in its order");
}

// REQ C11, REQ S6
#[test]
fn numbering_and_chain_go_on_over_runs() {
    let storage = SimStorage::new();
    for (run, ends) in [true, false, false, true].into_iter().enumerate() {
        let journal = open(&storage, small_segments());
        assert_eq!(journal.head().entry, 3 * run as u64);
        assert_eq!(journal.durable_through(), 3 * run as u64);
        for n in 0..3 {
            journal.append("test", None, json!({ "n": n })).unwrap();
        }
        if ends {
            assert_eq!(journal.finish(LONG), Ok(()));
            assert_eq!(journal.finish(Duration::ZERO), Ok(()), "it answers the same");
            assert_eq!(journal.append("late", None, json!({})), None);
            assert_eq!((journal.refused(), journal.trouble()), (0, None));
            journal.verify_last().unwrap();
        }
        // Without an end, dropping it writes and commits what was queued.
    }
    assert_eq!(assert_whole(&storage, Outcome::Declared).len(), 12);
}

// REQ C11
#[test]
fn the_last_entry_tells_the_head_before_it() {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    journal.append("test", None, json!({})).unwrap();
    let head = journal.head().hash;
    let mut report = Map::new();
    report.insert("clean".to_owned(), json!(true));
    let appended = journal.append_with_head("report", report, "journal_head").unwrap();
    assert_eq!((appended.entry, &appended.prev), (2, &head));
    journal.finish(LONG).unwrap();
    let last = assert_whole(&storage, Outcome::Intact).pop().unwrap();
    assert_eq!(last.body, json!({ "clean": true, "journal_head": head }));
}

// REQ M4, REQ T9
#[test]
fn observers_run_outside_every_lock() {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    let last = Arc::new(AtomicU64::new(0));
    journal.on_durable({
        let (journal, last) = (journal.clone(), last.clone());
        move |through| {
            // Each of these takes a lock; waiting here would wait for itself.
            assert!(journal.head().entry >= through && journal.durable_through() == through);
            assert!(!journal.wait_durable(u64::MAX, LONG));
            journal.on_durable(|_| {});
            if through == 1 {
                journal.append("from an observer", None, json!({})).unwrap();
            }
            last.store(through, Ordering::Relaxed);
        }
    });
    journal.append("test", None, json!({})).unwrap();
    assert!(journal.wait_durable(2, LONG));
    journal.finish(LONG).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), 2);
    assert_eq!(all(&storage)[1].kind, "from an observer");
}

// REQ M4, REQ S8
#[test]
fn an_observer_that_panics_is_told_once() {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    journal.on_durable(|_| panic!("an observer fell over"));
    let first = journal.append("test", None, json!({})).unwrap();
    assert!(journal.wait_durable(first.entry + 1, LONG), "the panic is an entry");
    journal.append("test", None, json!({})).unwrap();
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    let told: Vec<_> = found.iter().filter(|e| e.kind == OBSERVER_PANIC_KIND).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].body["panic"], "an observer fell over");
}

/// What a crash image must hold: all that was durable, and nothing else than was appended.
fn check_image(image: &SimStorage, durable: u64, sent: &[String], context: &str) {
    let verification = verify(image, false).unwrap();
    assert!(verification.findings.is_empty(), "{context}, before recovery: {verification:#?}");
    let (journal, recovery) = Journal::open(Arc::new(image.clone()), small_segments()).unwrap();
    assert!(!recovery.is_loss(), "{context}");
    let head = journal.head().entry;
    assert!(head >= durable, "{context}: {durable} durable, {head} there");
    journal.append("after", None, json!({ "n": "after" })).unwrap();
    journal.finish(LONG).unwrap();
    let verification = verify(image, false).unwrap();
    assert!(verification.outcome <= Outcome::Declared, "{context}: {verification:#?}");
    assert!(verification.findings.is_empty(), "{context}: {verification:#?}");
    let found: Vec<String> = all(image).iter().map(|e| e.body["n"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len() as u64, head + 1, "{context}");
    assert_eq!(found[..head as usize], sent[..head as usize], "{context}");
}

// REQ C11, REQ S6, REQ Q2
#[test]
fn no_crash_loses_what_was_durable() {
    let mut images = 0;
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        let storage = SimStorage::new();
        let journal = open(&storage, small_segments());
        storage.watch(rng.fork());
        let (mut sent, mut before) = (Vec::new(), 0);
        for step in 0..8 {
            for _ in 0..rng.u64(1..5) {
                let n = format!("{} {}", sent.len(), "x".repeat(rng.usize(0..700)));
                journal.append("test", Some("left"), json!({ "n": n })).unwrap();
                sent.push(n);
            }
            assert!(journal.wait_durable(sent.len() as u64, LONG));
            // All since the step before was taken after `before` was durable.
            for image in storage.take_images() {
                images += 1;
                check_image(&image, before, &sent, &format!("seed {seed}, step {step}"));
            }
            before = sent.len() as u64;
        }
        check_image(&storage.kill(), before, &sent, &format!("seed {seed}, killed"));
    }
    assert!(images > 300, "only {images} images");
}

/// A few entries over a disk that fails at operation `at`; answers the storage and what was durable.
fn with_fault(faults: &Faults) -> (SimStorage, Journal, Vec<String>) {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    let faults = Faults { at: faults.at.map(|at| at + storage.operations()), ..faults.clone() };
    storage.set_faults(faults);
    let mut sent = Vec::new();
    for _ in 0..10 {
        let n = format!("{} {}", sent.len(), "x".repeat(400));
        journal.append("test", None, json!({ "n": n })).unwrap();
        sent.push(n);
        // One group each, as long as the disk works; not a failure where it does not.
        while !journal.wait_durable(sent.len() as u64, Duration::from_millis(2)) {
            if journal.trouble().is_some() {
                break;
            }
        }
    }
    (storage, journal, sent)
}

// REQ C11, REQ Q2
#[test]
fn no_failing_operation_loses_what_was_durable() {
    let operations = with_fault(&Faults::default()).0.operations();
    for kind in [None, Some(ErrorKind::StorageFull)] {
        for at in 0..operations {
            for for_ever in [false, true] {
                let context = format!("operation {at} failing with {kind:?}, for ever: {for_ever}");
                let (storage, journal, sent) =
                    with_fault(&Faults { at: Some(at), for_ever, kind, ..Faults::default() });
                let ended = journal.finish(LONG);
                assert!(for_ever || ended.is_ok(), "{context}: {ended:?}");
                let durable = journal.durable_through();
                if ended.is_ok() {
                    assert_eq!(durable, 10, "{context}");
                    let verification = verify(&storage, false).unwrap();
                    assert!(verification.findings.is_empty(), "{context}: {verification:#?}");
                } else {
                    assert!(journal.trouble().is_some(), "{context}");
                    assert!(
                        matches!(
                            ended,
                            Err(JournalError::Unwritten { head: 10, .. } | JournalError::Unsealed { .. })
                        ),
                        "{context}: {ended:?}"
                    );
                }
                storage.set_faults(Faults::default());
                let image = storage.crash(&mut Rng::with_seed(at));
                check_image(&image, durable, &sent, &context);
            }
        }
    }
}

/// Appends until something is refused; answers how many were taken.
fn fill(journal: &Journal) -> u64 {
    let begin = Instant::now();
    let taken = (0..).take_while(|n| journal.append("audit", None, json!({ "n": n })).is_some()).count();
    assert!(begin.elapsed() < Duration::from_secs(20), "appending waited for the disk");
    taken as u64
}

// REQ M4, REQ Q2
#[test]
fn a_disk_that_does_not_answer_blocks_no_appender_and_what_was_refused_is_told() {
    let storage = SimStorage::new();
    let gate = Gate::over(storage.clone());
    let options = JournalOptions { queue_entries_max: 50, ..small_segments() };
    let (journal, _) = Journal::open(Arc::new(gate.clone()), options).unwrap();
    gate.shut();
    journal.append("first", None, json!({})).unwrap();
    gate.wait_for_someone();
    let taken = fill(&journal);
    assert_eq!(taken, 50, "the queue's bound");
    assert_eq!(journal.append("more", None, json!({})), None);
    assert_eq!((journal.refused(), journal.durable_through()), (2, 0));
    assert!(journal.trouble().unwrap().contains("2 entries refused"), "{:?}", journal.trouble());
    assert!(!journal.wait_durable(1, Duration::from_millis(5)));
    while !journal.trouble().unwrap().contains("has not answered") {
        // sleep: that a disk is silent is known only by the passing of time.
        std::thread::sleep(Duration::from_millis(20));
    }
    gate.open();
    // The first, fifty, and the one that tells of the refused.
    assert!(journal.wait_durable(52, LONG));
    assert_eq!(journal.trouble(), None);
    let gap = all(&storage).pop().unwrap();
    let told = json!({
        "refused": 2, "shed_notes": 1, "refused_records": 1, "kinds": { "audit": 1, "more": 1 }, "other_kinds": 0
    });
    assert_eq!((gap.kind.as_str(), &gap.body), (GAP_KIND, &told));
    gate.shut();
    journal.append("last", None, json!({})).unwrap();
    gate.wait_for_someone();
    let late = journal.finish(Duration::from_millis(5));
    assert_eq!(late, Err(JournalError::TimedOut { durable: 52, head: 53 }));
    gate.open();
    journal.finish(LONG).unwrap();
    journal.verify_last().unwrap();
    assert_whole(&storage, Outcome::Intact);
}

// REQ M4, REQ Q2
#[test]
fn a_full_disk_keeps_refuses_and_goes_on_when_there_is_room() {
    let storage = SimStorage::new();
    let options = JournalOptions { queue_bytes_max: 20_000, segment_bytes: 1 << 20, ..small_segments() };
    let journal = open(&storage, options);
    storage.set_faults(Faults { capacity_bytes: Some(30_000), ..Faults::default() });
    let mut taken = 0;
    while !journal.trouble().is_some_and(|t| t.contains("disk is full")) {
        taken += u64::from(journal.append("flood", None, json!({ "n": taken })).is_some());
    }
    taken += fill(&journal);
    for _ in 0..50 {
        // It stays full: nothing is moved from one bound to where there is none.
        assert!(!journal.wait_durable(u64::MAX, Duration::from_millis(1)));
        assert_eq!(journal.append("audit", None, json!({ "n": taken })), None);
    }
    storage.set_faults(Faults::default());
    assert!(journal.wait_durable(taken + 1, LONG), "it goes on by itself");
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    let told: u64 =
        found.iter().filter(|e| e.kind == GAP_KIND).map(|e| e.body["refused"].as_u64().unwrap()).sum();
    assert_eq!(told, journal.refused());
}

// REQ M4
#[test]
fn the_end_fits_on_a_full_disk_by_its_ballast() {
    let storage = SimStorage::new();
    let options =
        JournalOptions { ballast_bytes: 16_000, queue_bytes_max: 4_000, ..JournalOptions::default() };
    storage.set_faults(Faults { capacity_bytes: Some(64_000), ..Faults::default() });
    let journal = open(&storage, options);
    while !journal.trouble().is_some_and(|t| t.contains("disk is full")) {
        let _ = journal.append("flood", None, json!({ "filling": "x".repeat(200) }));
    }
    let head = journal.head();
    journal.finish(LONG).unwrap();
    journal.verify_last().unwrap();
    assert!(assert_whole(&storage, Outcome::Intact).len() as u64 >= head.entry);
}

// REQ C11
#[test]
fn a_log_that_is_no_journal_is_refused() {
    let storage = SimStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let now = Stamp { wall_ns: 1, mono_ns: 1 };
    let options = LogOptions { ballast_bytes: 0, ..LogOptions::default() };
    let mut log = LogWriter::create(shared.clone(), options, Resume::default(), now).unwrap();
    let id = log.channel("left", OCTETS);
    let mut batch = Batch::new(log.stream(id, &[]), 1, vec![0; 100]);
    assert!(batch.push(b"data", 1));
    log.append(batch, now);
    for job in log.finish(now) {
        let _ = log.complete(job.run(), now);
    }
    let refused = Journal::open(shared, JournalOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidData);
    let empty = verify(&SimStorage::new(), false).unwrap();
    assert_eq!((empty.outcome, empty.entries), (Outcome::Unreadable, 0));
}
