//! Snapshots, and restoring from them.

use super::hanging::{eventually, so_far};
use super::{LONG, all, assert_whole, open, small_segments};
use evenkeel::journal::{
    Journal, JournalOptions, MACHINES, OBSERVER_PANIC_KIND, RestoreSummary, Restored, SNAPSHOT_KIND, restore,
};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::Storage;
use fastrand::Rng;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A sum that entries of the kind `state` change, and a number of its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) sequence: u64,
    pub(crate) sum: u64,
}

/// Changes that are made while nobody asks for the sum, about: more than there are in a segment of these tests.
const UNASKED_MAX: u64 = 30;

/// Whoever keeps the sum: a change and its entry are one.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<Sum>>, Arc<Asked>);

/// Whether it is asked for a snapshot, and the last change of which it told then.
#[derive(Default)]
struct Asked {
    is_source: AtomicBool,
    sequence: AtomicU64,
}

impl Keeper {
    pub(crate) fn register(&self, journal: &Journal, padding: usize) {
        let Self(sum, asked) = self.clone();
        asked.sequence.store(self.sum().sequence, Ordering::Relaxed);
        asked.is_source.store(true, Ordering::Relaxed);
        journal.on_snapshot("sum", move || {
            let Sum { sequence, sum } = *sum.lock().unwrap();
            asked.sequence.store(sequence, Ordering::Relaxed);
            json!({ "sequence": sequence, "sum": sum, "padding": "\"\u{e9}".repeat(padding) })
        });
        journal.on_snapshot(MACHINES, || json!([{ "machine": "m" }]));
    }

    /// Adds a number; what the journal refuses is not done.
    ///
    /// Lets snapshots come along, where they come: a disk of these tests takes no time, and they do.
    pub(crate) fn add(&self, journal: &Journal, number: u64) -> u64 {
        let Asked { is_source, sequence } = &*self.1;
        let is_ahead = || self.sum().sequence > sequence.load(Ordering::Relaxed) + UNASKED_MAX;
        for _ in 0..20_000 {
            if !is_source.load(Ordering::Relaxed) || !is_ahead() || journal.trouble().is_some() {
                break;
            }
            std::thread::yield_now();
        }
        let mut sum = self.0.lock().unwrap();
        let body = json!({ "sequence": sum.sequence + 1, "add": number });
        let appended = journal.append("state", None, body).expect("there is room");
        *sum = Sum { sequence: sum.sequence + 1, sum: sum.sum + number };
        appended.entry
    }

    pub(crate) fn sum(&self) -> Sum {
        *self.0.lock().unwrap()
    }

    pub(crate) fn set(&self, sum: Sum) {
        *self.0.lock().unwrap() = sum;
    }
}

/// What the journal says that the sum is.
pub(crate) fn restored(storage: &dyn Storage, live: bool) -> (Sum, RestoreSummary) {
    let mut sum = Sum::default();
    let summary = restore(storage, live, &["state"], &mut |restored| {
        match restored {
            Restored::Snapshot { machines, parts, .. } => {
                assert_eq!(machines, [json!({ "machine": "m" })]);
                let field = |name: &str| parts["sum"][name].as_u64().unwrap();
                sum = Sum { sequence: field("sequence"), sum: field("sum") };
            }
            Restored::Entry(glimpse) => {
                let entry = glimpse.parse().unwrap();
                assert_eq!((glimpse.kind, glimpse.entry), ("state", entry.entry));
                let field = |name: &str| entry.body[name].as_u64().unwrap();
                if field("sequence") > sum.sequence {
                    assert_eq!(field("sequence"), sum.sequence + 1, "a change is missing");
                    sum = Sum { sequence: field("sequence"), sum: sum.sum + field("add") };
                }
            }
            _ => {}
        }
        Ok(())
    });
    (sum, summary.unwrap())
}

fn options(every: u64) -> JournalOptions {
    let most = usize::MAX / 4;
    JournalOptions {
        snapshot_entries: every,
        queue_entries_max: most,
        queue_bytes_max: 64 << 20,
        ..small_segments()
    }
}

// REQ S6, REQ C11
#[test]
fn what_is_restored_is_what_was_whatever_is_a_snapshot() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        for run in 0..3 {
            let journal = open(&storage, options(rng.u64(1..40)));
            assert_eq!(restored(&storage, true).0, keeper.sum(), "seed {seed}, run {run}");
            keeper.register(&journal, rng.usize(0..20));
            let mut last = 0;
            for _ in 0..rng.u64(1..120) {
                last = keeper.add(&journal, rng.u64(..1000));
                if rng.bool() {
                    let _ = journal.append("noise", None, json!({ "n": last }));
                }
                if rng.u8(..8) == 0 {
                    assert!(journal.wait_durable(last, LONG));
                    let (sum, _) = restored(&storage, true);
                    assert!(sum.sequence >= 1 && sum.sequence <= keeper.sum().sequence);
                }
            }
            assert!(journal.wait_durable(last, LONG));
            eventually(&journal, || restored(&storage, true).1.snapshot.is_some());
            if rng.bool() {
                journal.finish(LONG).unwrap();
            }
        }
        let (sum, summary) = restored(&storage, false);
        assert_eq!(sum, keeper.sum(), "seed {seed}: {summary:?}");
        assert!(!summary.damaged && summary.snapshot.is_some(), "seed {seed}: {summary:?}");
    }
}

// REQ S6
#[test]
fn only_the_end_is_read() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, options(10));
    keeper.register(&journal, 0);
    for n in 0..400 {
        let entry = keeper.add(&journal, n);
        assert!(journal.wait_durable(entry, LONG));
    }
    // Snapshots come when they come; the last one that is due waits for nothing.
    eventually(&journal, || restored(&storage, true).1.entries <= 10);
    journal.finish(LONG).unwrap();
    let (sum, summary) = restored(&storage, false);
    assert_eq!(sum, keeper.sum());
    assert!(summary.entries <= 30 && summary.segments <= 6, "{summary:?}");
    assert!(all(&storage).len() > 400);
    assert_whole(&storage, Outcome::Intact);
}

// REQ S6, REQ Q2
#[test]
fn a_long_snapshot_stands_in_parts_and_counts_only_whole() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, JournalOptions { queue_bytes_max: 400_000, ..options(1_000_000) });
    keeper.register(&journal, 300_000);
    let mut entry = keeper.add(&journal, 1);
    // As many as there is room for at a time: each is durable before the next comes.
    while restored(&storage, true).1.snapshot.is_none() {
        assert!(journal.wait_durable(entry, LONG));
        entry = journal.head().entry;
    }
    for n in 0..20 {
        entry = keeper.add(&journal, n);
    }
    assert!(journal.wait_durable(entry, LONG));
    journal.finish(LONG).unwrap();
    let (sum, summary) = restored(&storage, false);
    assert_eq!(sum, keeper.sum());
    let parts: Vec<_> = all(&storage).into_iter().filter(|entry| entry.kind == SNAPSHOT_KIND).collect();
    assert!(parts.len() >= 3 && parts.iter().all(|part| part.body["text"].is_string()));
    // Without its last part it is none, and everything is read.
    let last = summary.snapshot.unwrap();
    let entries = all(&storage);
    let cut = SimStorage::new();
    let journal = open(&cut, options(1));
    for entry in entries.iter().filter(|entry| entry.entry != last) {
        let _ = journal.append(&entry.kind, None, entry.body.clone()).unwrap();
    }
    journal.finish(LONG).unwrap();
    let (sum, summary) = restored(&cut, false);
    assert_eq!((sum, summary.snapshot), (keeper.sum(), None));
}

// REQ S6, REQ S8
#[test]
fn a_source_that_panics_is_told_once_and_makes_no_half_snapshot() {
    let storage = SimStorage::new();
    let journal = open(&storage, options(1));
    journal.on_snapshot("whole", || json!(1));
    journal.on_snapshot("broken", || panic!("no answer"));
    for n in 0..20 {
        let entry = journal.append("state", None, json!({ "n": n })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
        eventually(&journal, || n < 10 || !so_far(&storage, OBSERVER_PANIC_KIND).is_empty());
    }
    journal.finish(LONG).unwrap();
    let found = all(&storage);
    let told: Vec<_> = found.iter().filter(|entry| entry.kind == OBSERVER_PANIC_KIND).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].body["snapshot"], "broken: no answer");
    assert!(found.iter().all(|entry| entry.kind != SNAPSHOT_KIND));
}

// REQ S6, REQ M4
#[test]
fn sources_are_asked_with_nothing_held() {
    let storage = SimStorage::new();
    let journal = open(&storage, options(5));
    journal.on_snapshot("head", {
        let journal = journal.clone();
        move || {
            let _ = journal.append("from a source", None, json!({}));
            json!(journal.head().entry)
        }
    });
    let entry = journal.append("state", None, json!({})).unwrap();
    assert!(journal.wait_durable(entry.entry + 2, LONG));
    journal.finish(LONG).unwrap();
    assert!(all(&storage).iter().any(|entry| entry.kind == "from a source"));
}

// REQ S6, REQ M4
#[test]
fn a_snapshot_brings_no_other() {
    let storage = SimStorage::new();
    let journal =
        open(&storage, JournalOptions { snapshot_entries: 1, snapshot_bytes: 1, ..small_segments() });
    journal.on_snapshot("one", || json!(1));
    let entry = journal.append("state", None, json!({})).unwrap().entry;
    assert!(journal.wait_durable(entry + 1, LONG));
    assert!(
        !journal.wait_durable(entry + 2, std::time::Duration::from_millis(30)),
        "nobody appended anything"
    );
    journal.finish(LONG).unwrap();
    assert_eq!(all(&storage).len(), 2);
}
