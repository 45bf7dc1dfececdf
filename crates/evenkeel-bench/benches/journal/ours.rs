//! A journal that is written to.

use evenkeel::journal::{Appended, Journal, JournalOptions, entries};
use evenkeel_bench::place;
use evenkeel_log::storage::DirStorage;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any disk takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A journal in a directory of its own.
pub(crate) struct Ours {
    pub(crate) journal: Journal,
    _place: TempDir,
}

impl Ours {
    pub(crate) fn new() -> Self {
        let place = place().unwrap();
        Self { journal: open(place.path()), _place: place }
    }
}

pub(crate) fn open(directory: &Path) -> Journal {
    let storage = Arc::new(DirStorage::create(directory).unwrap());
    Journal::open(storage, JournalOptions::default()).unwrap().0
}

#[derive(Serialize)]
struct Intent<'a> {
    step: &'a str,
    phase: &'a str,
    attempt: u32,
    idempotent: bool,
}

/// Appends the entry that everything here is measured with: an intent of a step.
pub(crate) fn intend(journal: &Journal) -> Option<Appended> {
    let body = Intent { step: "flush/left", phase: "FlushingStorage", attempt: 1, idempotent: true };
    journal.record("step-intent", Some("left"), None, &body)
}

/// Appends so many and answers with the number of the last.
pub(crate) fn intend_all(journal: &Journal, count: usize) -> u64 {
    (0..count).fold(0, |_, _| intend(journal).expect("there is room").entry)
}

pub(crate) fn until_durable(journal: &Journal, entry: u64) {
    assert!(journal.wait_durable(entry, PATIENCE), "{:?}", journal.trouble());
}

/// Length of that entry.
pub(crate) fn payload_bytes() -> usize {
    let place = place().unwrap();
    let journal = open(place.path());
    until_durable(&journal, intend_all(&journal, 1));
    journal.finish(PATIENCE).unwrap();
    let mut bytes = 0;
    let storage = DirStorage::open(place.path()).unwrap();
    let read = entries(&storage, false, &mut |entry| {
        bytes = entry.payload.len();
        Ok(())
    });
    read.unwrap();
    bytes
}
