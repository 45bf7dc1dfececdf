//! A recorder that keeps little: what is removed, and what is said of it before.

use super::*;
use crate::config::{ReaderSource, Retention};
use evenkeel::journal::{JournalOptions, entries};
use evenkeel_log::{Anchor, RETENTION_KIND};

/// A recorder of small segments that keeps little, and where it is fed.
fn recording(journal: Option<Journal>) -> (Recorder, SimStorage, io::PipeWriter) {
    let (reader, feed) = io::pipe().unwrap();
    let source = Source::Reader(ReaderSource::new("feed", reader));
    let storage = SimStorage::new();
    let config = Config {
        log: LogOptions {
            ballast_bytes: 0,
            segment_bytes: 20_000,
            chunk_bytes: 1_000,
            ..LogOptions::default()
        },
        retention: Retention { bytes: Some(100_000), ..Retention::default() },
        commit_ns: 500_000,
        ..Config::new("simulated".into(), vec![ChannelConfig::new("a", source)])
    };
    let recorder = Recorder::start_journalled(Arc::new(storage.clone()), config, journal).unwrap();
    (recorder, storage, feed)
}

fn first_segment(storage: &SimStorage) -> String {
    let names = storage.list().unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.contains(".mcap")).min().unwrap()
}

// REQ M4, REQ C11
#[test]
fn the_oldest_go_and_what_the_journal_says_is_what_is_missing() {
    let journal_storage = SimStorage::new();
    let (journal, _) = Journal::open(Arc::new(journal_storage.clone()), JournalOptions::default()).unwrap();
    let (recorder, storage, mut feed) = recording(Some(journal.clone()));
    let mut sent = 0;
    eventually("the first is gone", || {
        feed.write_all(&[7; 5_000]).unwrap();
        sent += 5_000;
        eventually("it is stored", || recorder.channels()[0].stored_bytes == sent);
        !first_segment(&storage).starts_with("000001.")
    });
    drop(feed);
    let ending = recorder.stop(u64::MAX);
    assert!(ending.clean, "{:?}", ending.faults);
    drop(recorder);
    journal.finish(Duration::from_secs(10)).unwrap();
    let mut anchor = None;
    entries(&journal_storage, false, &mut |entry| {
        if entry.kind == RETENTION_KIND {
            anchor = Anchor::from_entry(&entry.body);
        }
        Ok(())
    })
    .unwrap();
    let anchor = anchor.expect("the journal says what is gone");
    assert_eq!(verify(&storage, false, Some(&anchor)).unwrap().outcome, Outcome::Intact);
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Loss);
    // One more, of which nobody said anything.
    storage.remove(&first_segment(&storage)).unwrap();
    assert_eq!(verify(&storage, false, Some(&anchor)).unwrap().outcome, Outcome::Loss);
}

// REQ M4
#[test]
fn without_a_journal_nothing_is_removed_and_that_is_told() {
    let (recorder, storage, mut feed) = recording(None);
    let mut sent = 0;
    eventually("it is told", || {
        if sent < 400_000 {
            feed.write_all(&[7; 5_000]).unwrap();
            sent += 5_000;
            eventually("it is stored", || recorder.channels()[0].stored_bytes == sent);
        }
        recorder.retention().is_some_and(|said| said.is_err_and(|trouble| trouble.contains("no journal")))
    });
    drop(feed);
    assert!(recorder.stop(u64::MAX).clean);
    assert_eq!(first_segment(&storage), "000001.mcap");
}
