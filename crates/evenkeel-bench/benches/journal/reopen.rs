//! Journals that are there already: following the chain, and opening.

use crate::OURS;
use crate::ours::{PATIENCE, intend_all, open as open_journal, until_durable};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns, place};
use evenkeel_log::Outcome;
use evenkeel_log::storage::DirStorage;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// Entries of the journal that is read.
pub(crate) const ENTRIES: usize = 100_000;
/// Fewer than the journal's queue takes.
const GROUP: usize = 2_000;

/// A journal of [`ENTRIES`], ended or just left.
fn written(ended: bool) -> TempDir {
    let place = place().unwrap();
    let journal = open_journal(place.path());
    for _ in 0..ENTRIES / GROUP {
        until_durable(&journal, intend_all(&journal, GROUP));
    }
    if ended {
        journal.finish(PATIENCE).unwrap();
    }
    drop(journal);
    place
}

pub(crate) fn verify(suite: &mut Suite) {
    let place = written(true);
    let storage = DirStorage::open(place.path()).unwrap();
    let samples = Race::new().with(OURS, || {
        let began = Instant::now();
        let verified = evenkeel::journal::verify(&storage, false).unwrap();
        let took = began.elapsed();
        assert_eq!((verified.outcome, verified.entries), (Outcome::Intact, ENTRIES as u64));
        ENTRIES as f64 / took.as_secs_f64()
    });
    suite.add(Figure::of("verify", "entries/s", &samples.run(), OURS, 0.5).where_higher_is_better());
}

pub(crate) fn open(suite: &mut Suite) {
    for (id, ended) in [("open/100000 ended", true), ("open/100000 left open", false)] {
        let original = written(ended);
        let samples = Race::new().with(OURS, || {
            let copy = copy(original.path());
            let began = Instant::now();
            let journal = open_journal(copy.path());
            let took = ns(began.elapsed()) / 1e6;
            assert_eq!(journal.head().entry, ENTRIES as u64);
            took
        });
        suite.add(Figure::of(id, "ms", &samples.run(), OURS, 0.5).goal(Goal::Below(20.0)));
    }
}

/// The log in a new directory, durable: an opening must not write for others. Not the
/// ballast, a hidden file, which the thread of a journal that was left takes along late.
fn copy(directory: &Path) -> TempDir {
    let place = place().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let to = place.path().join(entry.file_name());
        fs::copy(entry.path(), &to).unwrap();
        File::open(&to).unwrap().sync_all().unwrap();
    }
    File::open(place.path()).unwrap().sync_all().unwrap();
    place
}
