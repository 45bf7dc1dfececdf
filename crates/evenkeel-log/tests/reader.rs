//! What the log writes, read by an independent MCAP reader and by the log itself.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::driver::{Driver, Originals, quiet_options};
use common::foreign::{Read, indexed, linear, sealed_files};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{
    ChannelState, Gap, LogOptions, Outcome, Resume, Selection, channel_names, export, recover, seal_given_up,
    verify,
};
use fastrand::Rng;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn options(segment_bytes: u64, chunk_bytes: usize) -> LogOptions {
    LogOptions { segment_bytes, chunk_bytes, ..quiet_options() }
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.u8(..)).collect()
}

/// Every sealed file read twice by the other reader, in order.
fn read_all(storage: &dyn Storage) -> Vec<Read> {
    let mut all = Vec::new();
    for (name, bytes) in sealed_files(storage) {
        let messages = linear(&bytes);
        assert_eq!(messages, indexed(&bytes), "{name}: the index says something else than the data");
        all.extend(messages);
    }
    all
}

fn exported(storage: &dyn Storage, channel: &str, stream: Option<u32>) -> (Vec<u8>, evenkeel_log::Exported) {
    let selection = Selection { channel: channel.to_owned(), stream, segment: None };
    let mut out = Vec::new();
    let told = export(storage, &selection, &mut out).unwrap();
    assert_eq!(told.bytes, out.len() as u64);
    (out, told)
}

fn concatenation(sent: &Originals, channel: &str, stream: Option<u32>) -> Vec<u8> {
    let messages = sent[channel].values().filter(|m| stream.is_none_or(|s| s == m.stream));
    messages.flat_map(|m| m.payload.clone()).collect()
}

/// The other reader, `export` and `verify` all see exactly what was sent.
fn check_recording(storage: &dyn Storage, driver: &Driver) {
    let all = read_all(storage);
    let gaps = driver.gaps.iter().collect::<Vec<_>>();
    for (channel, sent) in &driver.sent {
        let topic = format!("/{channel}");
        let found: Vec<&Read> = all.iter().filter(|m| m.topic == topic).collect();
        assert_eq!(found.len(), sent.len(), "{channel}: messages");
        for (message, (sequence, original)) in found.iter().zip(sent) {
            assert_eq!(message.sequence, *sequence as u32);
            assert_eq!(message.stream, original.stream);
            assert_eq!(message.log_time_ns, original.log_time_ns);
            assert!(message.payload == original.payload, "{channel}: message {sequence} is altered");
        }
        let (out, told) = exported(storage, channel, None);
        assert!(out == concatenation(sent_of(driver), channel, None), "{channel}: export");
        assert!(told.known || sent.is_empty());
        assert!(!told.damaged);
        assert_eq!(told.records, sent.len() as u64);
        assert_eq!(told.gaps, gaps.iter().filter(|g| g.channel == *channel).count() as u64);
        check_no_hole(channel, sent.keys().copied(), &gaps);
    }
    check_gaps(&all, &driver.gaps);
    check_verification(storage, driver);
}

fn sent_of(driver: &Driver) -> &Originals {
    &driver.sent
}

fn check_no_hole(channel: &str, sent: impl Iterator<Item = u64>, gaps: &[&Gap]) {
    let mut covered: BTreeSet<u64> = sent.collect();
    for gap in gaps.iter().filter(|g| g.channel == channel) {
        covered.extend(gap.first_sequence..=gap.last_sequence.unwrap());
    }
    let count = covered.len() as u64;
    assert!(covered.into_iter().eq(1..=count), "{channel}: a hole that no gap declares");
}

fn check_gaps(all: &[Read], declared: &[Gap]) {
    let keys = ["bytes", "channel", "first_sequence", "from", "last_sequence", "reason", "records", "to"];
    let found: Vec<&Read> = all.iter().filter(|m| m.topic == "/evenkeel/gaps").collect();
    assert_eq!(found.len(), declared.len());
    for (at, (message, gap)) in found.iter().zip(declared).enumerate() {
        assert_eq!(message.sequence as usize, at + 1);
        let json: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&message.payload).unwrap();
        assert!(json.keys().map(String::as_str).eq(keys));
        assert_eq!(json["channel"], gap.channel.as_str());
        assert_eq!(json["first_sequence"], gap.first_sequence);
        assert_eq!(json["last_sequence"], gap.last_sequence.unwrap());
        assert_eq!(json["records"], gap.records.unwrap());
        assert_eq!(json["bytes"], gap.bytes.unwrap());
        assert_eq!(json["reason"], "drop-oldest");
        assert_eq!((&json["from"], &json["to"]), (&gap.from.into(), &gap.to.into()));
    }
}

fn check_verification(storage: &dyn Storage, driver: &Driver) {
    let verification = verify(storage, false, None).unwrap();
    let expected = if driver.gaps.is_empty() { Outcome::Intact } else { Outcome::Declared };
    assert_eq!(verification.outcome, expected, "{verification:#?}");
    assert_eq!(verification.gaps, driver.gaps);
    for report in &verification.channels {
        let sent = &driver.sent[&report.name];
        assert_eq!(report.records, sent.len() as u64, "{}", report.name);
        assert_eq!(report.bytes, sent.values().map(|m| m.payload.len() as u64).sum::<u64>());
        assert!(report.missing.is_empty());
    }
}

// REQ W1, REQ W2, REQ W5
#[test]
fn another_reader_sees_what_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirStorage::open(dir.path()).unwrap());
    let mut driver = Driver::new(storage.clone(), options(700_000, 100_000));
    let mut rng = Rng::with_seed(1);
    let names = ["left", "right", "third"];
    for name in names {
        driver.stream(name);
    }
    for round in 0..60 {
        let name = names[rng.usize(0..3)];
        if round % 11 == 5 {
            driver.stream(name);
        }
        if round % 7 == 3 {
            driver.gap(names[round % 3], 1 + round as u64);
        }
        let lens: Vec<usize> = match round % 5 {
            0 => vec![0, 0, 1],
            1 => vec![64 << 10],
            2 => vec![65_536, 0, 65_536, 7],
            3 => (0..rng.usize(1..200)).map(|_| rng.usize(0..300)).collect(),
            _ => vec![rng.usize(0..5_000)],
        };
        let payloads: Vec<Vec<u8>> = lens.into_iter().map(|len| bytes(&mut rng, len)).collect();
        driver.append(name, &payloads);
        if round % 4 == 1 {
            driver.commit();
        }
        if round % 9 == 2 {
            driver.commit_sync();
        }
        driver.rotate_if_due();
    }
    driver.end_sources();
    assert!(driver.finish());
    assert!(sealed_files(&*storage).len() >= 3, "no rotation");
    check_recording(&*storage, &driver);
    let streams: BTreeSet<u32> = driver.sent["left"].values().map(|m| m.stream).collect();
    assert!(streams.len() > 1, "one stream does not test the choice of one");
    for stream in streams {
        let (out, _) = exported(&*storage, "left", Some(stream));
        assert!(out == concatenation(&driver.sent, "left", Some(stream)));
    }
    assert_eq!(channel_names(&*storage).unwrap(), names);
    let last = sealed_files(&*storage).last().unwrap().0.clone();
    let nothing =
        Selection { channel: "left".to_owned(), stream: None, segment: Some("000099.mcap".to_owned()) };
    assert!(export(&*storage, &nothing, &mut Vec::new()).is_err());
    let by_segment: Vec<u8> = sealed_files(&*storage)
        .into_iter()
        .flat_map(|(name, _)| {
            let mut out = Vec::new();
            let selection = Selection { channel: "left".to_owned(), stream: None, segment: Some(name) };
            export(&*storage, &selection, &mut out).unwrap();
            out
        })
        .collect();
    assert!(by_segment == concatenation(&driver.sent, "left", None), "segment by segment, up to {last}");
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize, Vec<usize>),
    Gap(usize, u64),
    Stream(usize),
    Commit,
    CommitSync,
    Rotate,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..3, proptest::collection::vec(0usize..600, 1..8)).prop_map(|(c, l)| Op::Append(c, l)),
        1 => (0usize..3, 1u64..5).prop_map(|(c, n)| Op::Gap(c, n)),
        1 => (0usize..3).prop_map(Op::Stream),
        2 => Just(Op::Commit),
        2 => Just(Op::CommitSync),
        1 => Just(Op::Rotate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    // REQ W1, REQ W5
    #[test]
    fn another_reader_sees_the_model(ops in proptest::collection::vec(op(), 1..60), chunk in 1usize..4_000, seed: u64) {
        let storage = SimStorage::new();
        let mut driver = Driver::new(Arc::new(storage.clone()), options(5_000, chunk));
        let mut rng = Rng::with_seed(seed);
        let names = ["a", "b", "c"];
        for name in names {
            driver.stream(name);
        }
        for op in ops {
            match op {
                Op::Append(channel, lens) => {
                    let payloads: Vec<Vec<u8>> = lens.into_iter().map(|len| bytes(&mut rng, len)).collect();
                    driver.append(names[channel], &payloads);
                }
                Op::Gap(channel, records) => driver.gap(names[channel], records),
                Op::Stream(channel) => driver.stream(names[channel]),
                Op::Commit => driver.commit(),
                Op::CommitSync => driver.commit_sync(),
                Op::Rotate => driver.rotate(),
            }
            driver.rotate_if_due();
        }
        driver.end_sources();
        prop_assert!(driver.finish());
        check_recording(&storage, &driver);
    }
}

/// Just below where MCAP's sequence wraps.
const NEAR: u64 = u32::MAX as u64 - 5;

// REQ W1, REQ W5
#[test]
fn sequences_count_on_beyond_the_width_of_mcap() {
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), options(1 << 20, 200));
    driver.stream("left");
    driver.gap("left", NEAR);
    for round in 0..12u8 {
        driver.append("left", &[vec![round; 30]]);
        driver.commit_sync();
        if round % 4 == 3 {
            driver.rotate();
        }
    }
    let crashed = storage.crash(&mut Rng::with_seed(5));
    driver.end_sources();
    assert!(driver.finish());
    let verification = verify(&storage, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Declared, "{verification:#?}");
    assert_eq!(verification.channels[0].last_sequence, NEAR + 12);
    assert_eq!(verification.channels[0].records, 12);
    assert!(verification.channels[0].missing.is_empty());
    let (out, told) = exported(&storage, "left", None);
    assert!(out == concatenation(&driver.sent, "left", None) && !told.damaged);
    let low: Vec<u32> =
        read_all(&storage).into_iter().filter(|m| m.topic == "/left").map(|m| m.sequence).collect();
    assert_eq!(
        low,
        [NEAR + 1, NEAR + 2, NEAR + 3, NEAR + 4, NEAR + 5, 0, 1, 2, 3, 4, 5, 6].map(|s| s as u32)
    );

    // The same after a crash, and on from there.
    let shared: Arc<dyn Storage> = Arc::new(crashed.clone());
    let recovery = recover(&shared, stamp(1 << 40)).unwrap();
    assert!(!recovery.is_loss());
    assert_eq!(recovery.resume.channels["left"].last_sequence, NEAR + 12);
    let mut next = Driver::resume(shared, options(1 << 20, 200), recovery.resume, 1 << 41);
    next.stream("left");
    next.append("left", &[vec![77; 9]]);
    next.end_sources();
    assert!(next.finish());
    let verification = verify(&crashed, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Declared, "{verification:#?}");
    assert_eq!(verification.channels[0].last_sequence, NEAR + 13);
}

// REQ W1, REQ W5
#[test]
fn a_run_that_goes_on_near_the_width_of_mcap_counts_in_64_bits() {
    for before in [NEAR, NEAR + (1 << 32), NEAR + (5 << 32)] {
        let storage = SimStorage::new();
        let state =
            ChannelState { last_sequence: before, records: before, streams: 4, ..ChannelState::default() };
        let channels = [("left".to_owned(), state)].into();
        let resume = Resume { next_segment: 9, channels, ..Resume::default() };
        let mut driver = Driver::resume(Arc::new(storage.clone()), options(1 << 20, 200), resume, 1);
        driver.stream("left");
        for round in 0..20u8 {
            driver.append("left", &[vec![round; 40]]);
            driver.commit_sync();
            if round == 9 {
                driver.rotate();
            }
        }
        assert_eq!(driver.acknowledged["left"], before + 20);
        driver.end_sources();
        assert!(driver.finish());
        let verification = verify(&storage, false, None).unwrap();
        // The segments before are not there, and only they are missing.
        assert_eq!(verification.channels[0].missing, [(1, before)]);
        assert_eq!(verification.channels[0].last_sequence, before + 20);
        let (out, _) = exported(&storage, "left", None);
        assert!(out == concatenation(&driver.sent, "left", None));
        assert_eq!(driver.sent["left"].values().next().unwrap().stream, 5);
    }
}

/// Records with one sync failing; answers the storage and the driver.
fn with_a_failed_sync(rounds: u8, failing: u8) -> (SimStorage, Driver) {
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), options(1 << 20, 300));
    driver.stream("left");
    driver.stream("right");
    for round in 0..rounds {
        driver.append("left", &[vec![round; 50], vec![round + 100; 20]]);
        driver.append("right", &[vec![round + 200; 30]]);
        driver.gap("right", 2);
        driver.commit();
        if round % 2 == 0 || round == failing {
            if round == failing {
                let at = Some(storage.operations());
                storage.set_faults(Faults { at, ..Faults::default() });
            }
            driver.commit_sync();
        }
    }
    driver.end_sources();
    while !driver.finish() {}
    (storage, driver)
}

/// Sequences of a topic over all sealed files, in file order.
fn sequences(storage: &dyn Storage, topic: &str) -> Vec<u32> {
    read_all(storage).into_iter().filter(|m| m.topic == topic).map(|m| m.sequence).collect()
}

// REQ W3, REQ W5, REQ Q2
#[test]
fn of_messages_that_stand_in_two_segments_the_later_count() {
    for failing in 2..9 {
        let (storage, driver) = with_a_failed_sync(10, failing);
        assert_eq!(driver.writer.poisoned(), [1]);
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        if failing % 2 == 0 {
            seal_given_up(&shared, 1, stamp(1 << 50)).unwrap();
        } else {
            let recovery = recover(&shared, stamp(1 << 50)).unwrap();
            assert!(!recovery.is_loss());
            assert!(recovery.undeclared.is_empty());
        }
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in sealed_files(&storage) {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let on_disk = DirStorage::open(dir.path()).unwrap();
        let twice = sequences(&on_disk, "/left");
        let once: BTreeSet<u32> = twice.iter().copied().collect();
        assert!(once.len() < twice.len(), "nothing was written twice: nothing is tested");
        assert!(once.into_iter().eq(1..=20));
        for (channel, sent) in &driver.sent {
            let (out, told) = exported(&on_disk, channel, None);
            assert!(out == concatenation(&driver.sent, channel, None), "{channel}, round {failing}");
            assert!(!told.damaged);
            assert_eq!(told.records, sent.len() as u64);
        }
        check_verification(&on_disk, &driver);
    }
}

// REQ W3, REQ W5
#[test]
fn a_segment_given_up_and_not_yet_sealed_is_superseded_too() {
    let (storage, driver) = with_a_failed_sync(10, 5);
    for channel in ["left", "right"] {
        let (out, told) = exported(&storage, channel, None);
        assert!(out == concatenation(&driver.sent, channel, None));
        assert!(!told.damaged);
    }
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Declared);
}

// REQ W1, REQ W5
#[test]
fn a_large_batch_stands_at_a_block_boundary_and_every_reader_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(DirStorage::open(dir.path()).unwrap());
    let mut driver = Driver::new(storage.clone(), options(4_000_000, 1 << 20));
    let mut rng = Rng::with_seed(2);
    for name in ["flood", "quiet"] {
        driver.stream(name);
    }
    for round in 0..40 {
        for _ in 0..rng.usize(0..3) {
            let payload = bytes(&mut rng, round * 13 % 300);
            driver.append("quiet", &[payload]);
        }
        // Also behind others in the same chunk, and with an odd end.
        let large = [vec![65_536; 4], vec![65_536; 16], vec![65_536, 65_536, 65_536, 65_536, round]];
        let payloads: Vec<Vec<u8>> = large[round % 3].iter().map(|len| bytes(&mut rng, *len)).collect();
        driver.append("flood", &payloads);
        driver.commit_sync();
        driver.rotate_if_due();
    }
    driver.end_sources();
    assert!(driver.finish());
    check_recording(&*storage, &driver);
    let (mut large, mut files) = (0, 0);
    for (_, bytes) in sealed_files(&*storage) {
        files += 1;
        // The record of a message, its length, and the sequence and times that are not compared.
        let needle = (22 + 65_536u64).to_le_bytes();
        let heads = memchr::memmem::find_iter(&bytes, &needle).map(|at| at - 1);
        large += heads.filter(|at| at % 4096 == 0).count();
    }
    assert!(files > 3 && large >= 40, "{large} of 40 large batches begin a block, in {files} segments");
}
