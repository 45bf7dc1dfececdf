//! What is decided, beside a plain model; what is removed, and what is said of it before.

use super::*;
use crate::config::{ChannelConfig, Config, ReaderSource, Source};
use crate::recorder::Recorder;
use evenkeel::journal::{JournalOptions, entries};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::{LogOptions, Outcome, verify};
use fastrand::Rng;
use std::io::Write;
use std::time::Instant;

fn segment(number: u64, bytes: u64, ended_wall_ns: u64) -> SealedFile {
    SealedFile { number, bytes, ended_wall_ns }
}

/// One after the other, looking at all of them anew each time.
fn model(retention: &Retention, segments: &[SealedFile], free: u64, now: u64) -> Option<u64> {
    let mut gone = 0;
    while gone < segments.len() {
        let kept: u64 = segments[gone..].iter().map(|s| s.bytes).sum();
        let freed: u64 = segments[..gone].iter().map(|s| s.bytes).sum();
        let old = segments[gone].ended_wall_ns < now
            && now - segments[gone].ended_wall_ns > retention.age_ns.unwrap_or(u64::MAX);
        let much = kept > retention.bytes.unwrap_or(u64::MAX);
        let tight = free + freed < retention.min_free.unwrap_or(0);
        if !(old || much || tight) {
            break;
        }
        gone += 1;
    }
    (gone > 0).then(|| segments[gone - 1].number)
}

// REQ M4
#[test]
fn what_goes_is_what_a_plain_model_says() {
    let mut some = 0;
    for seed in 0..20_000 {
        let mut rng = Rng::with_seed(seed);
        let mut at = rng.u64(0..1000);
        let segments: Vec<SealedFile> = (1..rng.u64(1..8))
            .map(|n| {
                at += rng.u64(0..100);
                segment(n * 3, rng.u64(0..100), at)
            })
            .collect();
        let mut maybe = |most: u64| rng.bool().then(|| rng.u64(0..most));
        let retention = Retention { bytes: maybe(400), age_ns: maybe(500), min_free: maybe(500) };
        let (free, now) = (rng.u64(0..500), rng.u64(0..2000));
        let decided = decide(&retention, &segments, free, now).map(|(through, _)| through);
        assert_eq!(decided, model(&retention, &segments, free, now), "seed {seed}: {retention:?}");
        some += u64::from(decided.is_some());
    }
    assert!(some > 5_000, "{some}: too few to mean anything");
}

// REQ M4
#[test]
fn a_clock_that_was_set_back_removes_nothing() {
    let retention = Retention { age_ns: Some(10), ..Retention::default() };
    assert_eq!(decide(&retention, &[segment(1, 5, 1000)], 0, 900), None);
    assert_eq!(decide(&retention, &[segment(1, 5, 1000)], 0, 1010), None);
    assert_eq!(decide(&retention, &[segment(1, 5, 1000)], 0, 1011), Some((1, "age")));
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never came: {what}");
        std::thread::yield_now();
    }
}

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
        recorder.retention_trouble().is_some_and(|trouble| trouble.contains("no journal"))
    });
    drop(feed);
    assert!(recorder.stop(u64::MAX).clean);
    assert_eq!(first_segment(&storage), "000001.mcap");
}
