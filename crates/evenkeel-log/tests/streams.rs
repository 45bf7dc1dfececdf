//! Streams that come and go: ids are used again, and no message is ever told of another stream.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::connections::{Connections, check_image, compare, options};
use common::driver::quiet_options;
use common::foreign::{indexed, linear, sealed_files};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Batch, ChannelId, Condition, GapReason, Job, LogOptions, LogWriter, OCTETS, Outcome, Resume, Stamp,
    StreamId, recover, seal_given_up, verify,
};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

const NOW: Stamp = Stamp { wall_ns: 1_700_000_000_000_000_000, mono_ns: 0 };

fn writer(storage: &SimStorage, options: LogOptions) -> (LogWriter, ChannelId) {
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut writer = LogWriter::create(shared, options, Resume::default(), NOW).unwrap();
    let channel = writer.channel("left", OCTETS);
    (writer, channel)
}

/// As many streams open at once as `streams`, otherwise no limit is near.
fn limited(streams: u16) -> LogOptions {
    LogOptions { streams_max: streams, ..quiet_options() }
}

/// Appends the sequence's own digits.
fn append(writer: &mut LogWriter, stream: StreamId, sequence: u64) {
    let mut batch = Batch::new(stream, sequence, vec![0; 100]);
    assert!(batch.push(sequence.to_string().as_bytes(), NOW.wall_ns));
    writer.append(batch, NOW);
}

fn run(writer: &mut LogWriter, jobs: impl IntoIterator<Item = Job>) {
    for job in jobs {
        let _ = writer.complete(job.run(), NOW);
    }
}

fn commit_sync(writer: &mut LogWriter) {
    let _ = writer.commit(NOW);
    let job = writer.sync();
    run(writer, job);
}

/// Stream and payload of every message, file by file, as another reader sees them.
fn seen(storage: &SimStorage) -> Vec<Vec<(u32, String)>> {
    let of_file = |(_, content): (String, Vec<u8>)| {
        let messages = linear(&content);
        assert_eq!(messages, indexed(&content));
        messages.into_iter().map(|m| (m.stream, String::from_utf8(m.payload).unwrap())).collect()
    };
    sealed_files(storage).into_iter().map(of_file).collect()
}

fn told(messages: &[(u32, &str)]) -> Vec<(u32, String)> {
    messages.iter().map(|(stream, payload)| (*stream, (*payload).to_owned())).collect()
}

/// One stream gone, all of it safe, and another with its id, with one message that waits.
fn blocked(storage: &SimStorage, options: LogOptions) -> LogWriter {
    let (mut writer, channel) = writer(storage, options);
    let first = writer.stream(channel, &[]);
    append(&mut writer, first, 1);
    commit_sync(&mut writer);
    writer.close_stream(first);
    let second = writer.stream(channel, &[]);
    commit_sync(&mut writer);
    append(&mut writer, second, 2);
    assert!(!writer.wants_commit(), "the segment cannot take it: a commit would say nothing");
    assert!(writer.wants_rotation(NOW));
    writer
}

// REQ W1
#[test]
fn an_id_that_the_segment_has_under_another_stream_waits_for_the_next_segment() {
    let storage = SimStorage::new();
    let mut writer = blocked(&storage, limited(1));
    let progress = writer.commit(NOW);
    assert!(progress.committed.is_empty() && writer.sync().is_none() && !writer.is_settled());
    let jobs = writer.rotate(NOW);
    run(&mut writer, jobs);
    assert!(writer.wants_commit() && !writer.wants_rotation(NOW));
    commit_sync(&mut writer);
    assert!(writer.is_settled());
    let jobs = writer.finish(NOW);
    run(&mut writer, jobs);
    assert_eq!(seen(&storage), [told(&[(1, "1")]), told(&[(2, "2")])]);
}

// REQ W1, REQ W2
#[test]
fn a_stop_writes_what_waits_for_another_segment() {
    let storage = SimStorage::new();
    let mut writer = blocked(&storage, limited(1));
    let jobs = writer.finish(NOW);
    assert!(writer.is_finished());
    run(&mut writer, jobs);
    assert!(writer.is_settled());
    assert_eq!(seen(&storage), [told(&[(1, "1")]), told(&[(2, "2")])]);
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
}

// REQ W1, REQ W2
#[test]
fn no_segment_takes_more_than_twice_the_streams_that_it_is_rotated_at() {
    let storage = SimStorage::new();
    let options = LogOptions { segment_streams: 2, ..quiet_options() };
    let (mut writer, channel) = writer(&storage, options);
    for sequence in 1..=11 {
        let stream = writer.stream(channel, &[]);
        append(&mut writer, stream, sequence);
        assert!(!writer.wants_rotation(NOW), "nothing is written yet");
    }
    writer.write(NOW);
    assert!(writer.wants_rotation(NOW));
    let jobs = writer.finish(NOW);
    run(&mut writer, jobs);
    assert!(writer.is_settled());
    let counts: Vec<usize> = seen(&storage).iter().map(Vec::len).collect();
    assert_eq!(counts, [4, 4, 3]);
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
}

// REQ W1
#[test]
fn a_segment_with_many_streams_is_rotated() {
    let storage = SimStorage::new();
    let (mut writer, channel) = writer(&storage, quiet_options());
    let most = LogOptions::default().segment_streams as u64;
    for sequence in 1..=most {
        assert!(!writer.wants_rotation(NOW));
        let stream = writer.stream(channel, &[]);
        append(&mut writer, stream, sequence);
        if sequence % 999 == 0 {
            commit_sync(&mut writer);
        }
        writer.close_stream(stream);
    }
    writer.write(NOW);
    assert!(writer.wants_rotation(NOW));
}

// REQ W1, REQ W3
#[test]
fn an_id_is_free_only_when_nothing_of_its_stream_waits() {
    let storage = SimStorage::new();
    let (mut writer, channel) = writer(&storage, limited(1));
    let ids = writer.stream_ids();
    let first = ids.open(channel).unwrap();
    assert_eq!(writer.define(first, &[]), 1);
    append(&mut writer, first, 1);
    writer.close_stream(first);
    assert!(ids.open(channel).is_none(), "it waits to be written");
    let _ = writer.commit(NOW);
    assert!(ids.open(channel).is_none(), "it waits for the sync");
    let job = writer.sync().unwrap();
    let done = job.run();
    assert!(ids.open(channel).is_none(), "it waits to be acknowledged");
    let _ = writer.complete(done, NOW);
    let second = ids.open(channel).unwrap();
    assert_ne!(first, second);
    assert!(ids.open(channel).is_none());
    writer.close_stream(second);
    assert_eq!(ids.left(), 1, "what was never defined is free at once");
}

// REQ W3
#[test]
fn a_stream_that_was_closed_is_written_again_as_itself() {
    let storage = SimStorage::new();
    let (mut writer, channel) = writer(&storage, limited(1));
    let first = writer.stream(channel, &[]);
    append(&mut writer, first, 1);
    let _ = writer.commit(NOW);
    writer.close_stream(first);
    // The sync fails: all goes into a new segment, with the definition.
    storage.set_faults(Faults { at: Some(storage.operations()), ..Faults::default() });
    let job = writer.sync();
    run(&mut writer, job);
    assert_eq!(writer.poisoned(), [1]);
    let jobs = writer.finish(NOW);
    run(&mut writer, jobs);
    assert!(writer.is_settled());
    assert_eq!(writer.stream_ids().left(), 1);
    assert_eq!(seen(&storage), [told(&[(1, "1")])]);
}

// REQ W2, REQ W3
#[test]
fn a_stop_that_finds_no_room_for_another_segment_waits_and_goes_on() {
    for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied] {
        for operation in 0..4 {
            let storage = SimStorage::new();
            let mut writer = blocked(&storage, limited(1));
            let at = Some(storage.operations() + operation);
            storage.set_faults(Faults { at, for_ever: true, kind: Some(kind), ..Faults::default() });
            let context = format!("{kind:?}, operation {operation}");
            let jobs = writer.finish(NOW);
            run(&mut writer, jobs);
            assert!(!writer.is_settled(), "{context}");
            let (condition, told) = writer.condition();
            assert_ne!(condition, Condition::Writing, "{context}: nobody would be told");
            assert!(told.is_some(), "{context}");
            storage.set_faults(Faults::default());
            let later = stamp(writer.retry_at_ns().unwrap());
            for job in writer.finish(later) {
                let _ = writer.complete(job.run(), later);
            }
            assert!(writer.is_finished() && writer.is_settled(), "{context}: {:?}", writer.condition());
            let shared: Arc<dyn Storage> = Arc::new(storage.clone());
            for number in writer.poisoned() {
                seal_given_up(&shared, *number, later).unwrap();
            }
            // A segment whose beginning failed, and its removal too, is left as an empty tail.
            let verification = verify(&storage, false, None).unwrap();
            assert!(verification.outcome <= Outcome::Declared, "{context}: {verification:#?}");
            assert_eq!(verification.channels[0].records, 2, "{context}");
        }
    }
}

// REQ W1
#[test]
fn a_rotation_that_is_needed_and_fails_is_told_and_tried_again() {
    let storage = SimStorage::new();
    let mut writer = blocked(&storage, limited(1));
    let faults =
        Faults { at: Some(storage.operations()), kind: Some(ErrorKind::StorageFull), ..Faults::default() };
    storage.set_faults(faults);
    assert!(writer.rotate(NOW).is_empty());
    assert_eq!(writer.condition().0, Condition::Full);
    let later = Stamp { wall_ns: NOW.wall_ns, mono_ns: writer.retry_at_ns().unwrap() };
    writer.retry(later);
    assert!(writer.wants_rotation(later), "as soon as it may write again");
    let jobs = writer.rotate(later);
    run(&mut writer, jobs);
    commit_sync(&mut writer);
    assert!(writer.is_settled());
}

// REQ W1, REQ W2
#[test]
fn gaps_are_declared_when_all_ids_are_taken() {
    let storage = SimStorage::new();
    let (mut writer, channel) = writer(&storage, limited(1));
    let first = writer.stream(channel, &[]);
    append(&mut writer, first, 1);
    commit_sync(&mut writer);
    writer.close_stream(first);
    let second = writer.stream(channel, &[]);
    append(&mut writer, second, 2);
    writer.close_stream(second);
    commit_sync(&mut writer);
    assert_eq!(writer.stream_ids().left(), 0);
    let given_up = writer.give_up_unwritten(GapReason::DiskFull, NOW);
    assert_eq!(given_up.lost.len(), 1);
    assert_eq!(writer.stream_ids().left(), 1, "nothing of it waits any more");
    assert!(writer.wants_commit(), "a gap waits for no segment");
    let jobs = writer.finish(NOW);
    assert_eq!(jobs.len(), 2, "no other segment was needed");
    run(&mut writer, jobs);
    assert!(writer.is_settled());
    let verification = verify(&storage, false, None).unwrap();
    assert_eq!((verification.outcome, verification.gaps.len()), (Outcome::Declared, 1));
}

// REQ W1, REQ W2
#[test]
fn gaps_are_declared_in_a_segment_that_takes_no_more_streams() {
    let storage = SimStorage::new();
    let (mut writer, channel) = writer(&storage, LogOptions { segment_streams: 1, ..quiet_options() });
    for sequence in 1..=3 {
        let stream = writer.stream(channel, &[]);
        append(&mut writer, stream, sequence);
    }
    commit_sync(&mut writer);
    assert_eq!(writer.give_up_unwritten(GapReason::DiskFull, NOW).lost.len(), 1);
    let jobs = writer.finish(NOW);
    assert_eq!(jobs.len(), 2, "no other segment was needed");
    run(&mut writer, jobs);
    assert!(writer.is_settled());
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Declared);
}

// REQ W1
#[test]
#[should_panic(expected = "fewer streams are open than there are ids")]
fn more_streams_than_ids_are_a_mistake_of_the_caller() {
    let (mut writer, channel) = writer(&SimStorage::new(), limited(2));
    for _ in 0..3 {
        writer.stream(channel, &[]);
    }
}

// REQ W1
#[test]
#[should_panic(expected = "a stream is defined before its first batch")]
fn a_batch_of_an_undefined_stream_is_a_mistake_of_the_caller() {
    let (mut writer, channel) = writer(&SimStorage::new(), quiet_options());
    let stream = writer.stream_ids().open(channel).unwrap();
    append(&mut writer, stream, 1);
}

// REQ W1
#[test]
#[should_panic(expected = "a stream is closed once")]
fn closing_twice_frees_nobody_elses_id() {
    let (mut writer, channel) = writer(&SimStorage::new(), limited(1));
    let stream = writer.stream(channel, &[]);
    writer.close_stream(stream);
    writer.stream(channel, &[]);
    writer.close_stream(stream);
}

// REQ W1
#[test]
fn ids_are_unique_whatever_threads_open() {
    let (mut writer, channel) = writer(&SimStorage::new(), limited(1000));
    let ids = writer.stream_ids();
    let open = |_| {
        let ids = ids.clone();
        std::thread::spawn(move || (0..400).map_while(|_| ids.open(channel)).collect::<Vec<_>>())
    };
    let threads: Vec<_> = (0..4).map(open).collect();
    let opened: Vec<StreamId> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    assert_eq!((opened.len(), ids.left()), (1000, 0));
    for (at, stream) in opened.iter().enumerate() {
        // Two with one id would be defined twice, which is refused.
        assert_eq!(writer.define(*stream, &[]), at as u32 + 1);
    }
}

/// Seeds to run: `EVENKEEL_CRASH_SEEDS` for a longer search.
fn seeds(otherwise: u64) -> u64 {
    std::env::var("EVENKEEL_CRASH_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

fn begin(rng: &mut Rng, steps: std::ops::Range<u32>) -> Connections {
    let storage = SimStorage::new();
    storage.set_faults(Faults { pads: rng.bool(), ..Faults::default() });
    let options = options(rng);
    let (channels, steps) = (rng.usize(1..=3), rng.u32(steps));
    Connections::new(storage, options, channels, steps)
}

// REQ W1, REQ W2
#[test]
fn whatever_streams_come_and_go_each_message_is_its_streams() {
    let (mut refused, mut segments) = (0, 0);
    for seed in 0..seeds(400) {
        let mut rng = Rng::with_seed(seed);
        let mut connections = begin(&mut rng, 50..400);
        while connections.step(&mut rng) {}
        assert!(connections.is_clean(), "seed {seed}");
        connections.close_all();
        assert!(connections.ids.left() > 0, "seed {seed}: ids are missing");
        let ended: BTreeMap<String, u64> =
            connections.sent.iter().map(|(name, sent)| (name.clone(), sent.len() as u64)).collect();
        compare(&connections.storage, &connections.sent, &ended, None)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        refused += connections.refused;
        segments += sealed_files(&connections.storage).len();
    }
    eprintln!("{refused} connections without an id, {segments} segments");
    assert!(refused > 1000 && segments > 1000);
}

// REQ W3, REQ Q2
#[test]
fn no_crash_gives_a_message_to_another_stream() {
    let mut images = 0;
    for seed in 0..seeds(100) {
        let mut rng = Rng::with_seed(seed);
        let mut connections = begin(&mut rng, 10..80);
        connections.storage.watch(rng.fork());
        loop {
            let going = connections.step(&mut rng);
            for image in connections.storage.take_images() {
                images += 1;
                check_image(&image, &connections.sent, &connections.before, None, &mut rng)
                    .unwrap_or_else(|e| panic!("seed {seed}, image {images}: {e}"));
            }
            if !going {
                break;
            }
        }
    }
    eprintln!("{images} crash images");
    assert!(images > 3000);
}

// REQ W3, REQ Q2
#[test]
fn no_failing_operation_gives_a_message_to_another_stream() {
    let mut points = 0;
    for seed in 0..seeds(12) {
        let steps = 10..60;
        let operations = {
            let mut rng = Rng::with_seed(seed);
            let mut connections = begin(&mut rng, steps.clone());
            while connections.step(&mut rng) {}
            connections.storage.operations()
        };
        for kind in [None, Some(ErrorKind::StorageFull)] {
            for at in 4..operations {
                let for_ever = at % 3 == 0;
                let mut rng = Rng::with_seed(seed);
                let mut connections = begin(&mut rng, steps.clone());
                let pads = at % 2 == 0;
                connections.storage.set_faults(Faults {
                    at: Some(at),
                    for_ever,
                    kind,
                    pads,
                    ..Faults::default()
                });
                while connections.step(&mut rng) {}
                let tell = |e: String| format!("seed {seed}, operation {at} failing ({kind:?}): {e}");
                assert!(for_ever || connections.is_clean(), "{}", tell("the run did not end".to_owned()));
                connections.storage.set_faults(Faults::default());
                let image = connections.storage.crash(&mut rng);
                check_image(&image, &connections.sent, &connections.acknowledged, None, &mut rng)
                    .map_err(tell)
                    .unwrap_or_else(|e| panic!("{e}"));
                points += 1;
            }
        }
    }
    eprintln!("{points} fault points");
    assert!(points > 500);
}

// REQ W1, REQ W2, REQ W3
#[test]
fn a_disk_that_fills_gives_no_message_to_another_stream() {
    let mut filled = 0;
    for seed in 0..seeds(150) {
        let mut rng = Rng::with_seed(seed);
        let mut connections = begin(&mut rng, 50..200);
        let capacity_bytes = Some(rng.u64(2_000..30_000));
        connections.storage.set_faults(Faults { capacity_bytes, ..Faults::default() });
        let mut full_for = 0;
        while connections.step(&mut rng) {
            full_for += u32::from(connections.writer.condition().0 == Condition::Full);
            if full_for == 10 {
                let image = connections.storage.crash(&mut rng);
                check_image(&image, &connections.sent, &connections.acknowledged, None, &mut rng)
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                connections.storage.set_faults(Faults::default());
            }
        }
        filled += u32::from(full_for > 0);
        assert!(connections.is_clean(), "seed {seed}: no end with room enough");
        let image = connections.storage.kill();
        let shared: Arc<dyn Storage> = Arc::new(image.clone());
        assert!(!recover(&shared, stamp(1 << 50)).unwrap().is_loss(), "seed {seed}");
        let ended: BTreeMap<String, u64> =
            connections.sent.iter().map(|(name, sent)| (name.clone(), sent.len() as u64)).collect();
        compare(&image, &connections.sent, &ended, None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    eprintln!("{filled} disks that filled");
    assert!(filled > 50);
}
