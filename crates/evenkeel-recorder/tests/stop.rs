//! The parts of a stop: one reader that hangs holds up nobody, and what is
//! accepted is stored or declared.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{LONG, Silent, after, channel, config, eventually, lines, put, silent, stored, telling};
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{LogOptions, Outcome, part_name, verify};
use evenkeel_recorder::{ChannelConfig, Config, Framing, Held, Recorder, budget_bytes};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough to be sure that a reader hangs.
const SHORT: Duration = Duration::from_millis(50);

/// A channel that hangs in a read, between two that do not.
fn one_hangs(scratch: &Path) -> (Config, Silent) {
    let silent = silent();
    let text = put(scratch, "text", &lines(20_000));
    let bytes = put(scratch, "bytes", &[7; 300_000]);
    let channels = vec![
        channel("text", &text, Framing::Lines),
        ChannelConfig::new("silent", silent.source.clone()),
        channel("bytes", &bytes, Framing::Chunk),
    ];
    (config(&scratch.join("rec"), channels), silent)
}

/// A reader can be told to stop just before it would hang, and ends in order:
/// then the attempt says `false`, and another is made.
fn until_it_hangs(attempt: impl Fn(&Path) -> bool) {
    let hung = (0..20).any(|_| attempt(tempfile::tempdir().unwrap().path()));
    assert!(hung, "no reader ever hung");
}

/// Stops while one reader hangs; then it comes back.
fn stop_while_one_hangs(recorder: &Recorder, storage: &dyn Storage, silent: &mut Silent) -> bool {
    silent.feed.write_all(b"before").unwrap();
    eventually("what came before", || recorder.channels()[1].accepted_bytes == 6);
    eventually("the others at their end", || [0, 2].iter().all(|c| recorder.channels()[*c].ended));
    assert_eq!(recorder.channel_names(), ["text", "silent", "bytes"]);

    recorder.order_stop_capture(u64::MAX);
    assert!(recorder.wait_captured(0, after(LONG)) && recorder.wait_captured(2, after(LONG)));
    if recorder.wait_captured(1, after(SHORT)) {
        return false;
    }
    recorder.order_finish();
    for channel in 0..3 {
        assert!(recorder.wait_flushed(channel, after(LONG)));
    }
    assert!(recorder.wait_finished(after(LONG)));
    assert_eq!(recorder.seal_given_up(), [""; 0]);
    assert_eq!(recorder.verify_last(), Ok(()));
    assert!(recorder.wait_read_back(after(LONG)));
    assert_eq!(recorder.faults(), [""; 0]);
    let held = recorder.release().unwrap_err();
    assert_eq!(held.0, [Held { channel: "silent".to_owned(), bytes: 0, reading: true }]);
    assert_eq!(held.to_string(), "not released: silent is still read");

    assert_eq!(stored(storage, "text"), lines(20_000));
    assert_eq!(stored(storage, "bytes"), [7; 300_000]);
    assert_eq!(stored(storage, "silent"), b"before");
    let verification = verify(storage, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Intact, "{verification:#?}");

    // What comes now is too late: the reader ends, and nothing it brings counts as accepted.
    silent.feed.write_all(b"after").unwrap();
    assert!(recorder.wait_captured(1, after(LONG)));
    let counts = recorder.channels().swap_remove(1);
    assert_eq!((counts.accepted_bytes, counts.committed_bytes), (6, 6));
    assert_eq!((counts.refused_records, counts.refused_bytes), (1, 5));
    assert!(!counts.ended);
    let faults = recorder.faults();
    assert!(faults.len() == 1 && faults[0].starts_with("silent: 1 records (5 bytes) were read after"));
    assert_eq!(recorder.release(), Ok(()));
    assert_eq!(stored(storage, "silent"), b"before");
    true
}

// REQ W4, REQ C7, REQ T8
#[test]
fn a_reader_that_hangs_holds_up_nobody_else() {
    until_it_hangs(|scratch| {
        let (config, mut silent) = one_hangs(scratch);
        let storage = SimStorage::new();
        let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
        stop_while_one_hangs(&recorder, &storage, &mut silent)
    });
}

// REQ W4, REQ C7
#[test]
fn a_reader_that_hangs_holds_up_nobody_else_in_a_real_directory() {
    until_it_hangs(|scratch| {
        let (config, mut silent) = one_hangs(scratch);
        let recorder = Recorder::start(config).unwrap();
        let storage = DirStorage::open(&scratch.join("rec")).unwrap();
        stop_while_one_hangs(&recorder, &storage, &mut silent)
    });
}

// REQ W4, REQ C5
#[test]
fn the_whole_stop_leaves_the_log_its_half_of_the_time() {
    until_it_hangs(|scratch| {
        let (config, _silent) = one_hangs(scratch);
        let storage = SimStorage::new();
        let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
        eventually("the others at their end", || [0, 2].iter().all(|c| recorder.channels()[*c].ended));
        let until_ns = after(Duration::from_millis(600));
        let ending = recorder.stop(until_ns);
        if ending.clean {
            return false;
        }
        assert!(evenkeel_recorder::now().mono_ns < until_ns);
        assert_eq!(ending.faults, ["silent: could not be read to its end in time"]);
        assert!(!ending.complete);
        assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
        assert_eq!(stored(&storage, "text"), lines(20_000));
        true
    });
}

// REQ T8, REQ W1
#[test]
fn a_drop_with_a_reader_that_hangs_is_prompt_and_lets_go_of_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let (config, silent) = one_hangs(scratch.path());
    let recorder = Recorder::start(config).unwrap();
    assert!(!recorder.has_ended());
    let begin = Instant::now();
    drop(recorder);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let (config, again) = one_hangs(scratch.path());
    drop((Recorder::start(config).unwrap(), again, silent));
}

// REQ W2, REQ C15, REQ R9
#[test]
fn a_file_blocked_on_a_full_disk_does_not_hold_up_the_stop() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(40 << 20).unwrap();
    let storage = SimStorage::new();
    storage.set_faults(Faults { capacity_bytes: Some(3 << 20), ..Faults::default() });
    let mut config = config(scratch.path(), vec![channel("large", &path, Framing::Chunk)]);
    config.log = LogOptions { ballast_bytes: 64 << 10, chunk_bytes: 256 << 10, ..LogOptions::default() };
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    // The surplus is used up: the reader waits for memory that the full disk does not give back.
    eventually("a full disk", || recorder.trouble().is_some());
    // Four fifths of what all may borrow is what one alone can have, in large buffers.
    let used_up = || recorder.channels()[0].held_bytes > budget_bytes(0) / 3 * 2;
    // What was on its way to the disk when it became full comes back, and is taken.
    eventually("a reader that waits", || used_up() && !recorder.wait_captured(0, after(SHORT)) && used_up());
    let before = recorder.channels().swap_remove(0);

    let begin = Instant::now();
    recorder.order_stop_capture(u64::MAX);
    assert!(recorder.wait_captured(0, after(LONG)));
    assert!(!recorder.wait_flushed(0, after(SHORT)), "only the end spends the ballast");
    let ending = recorder.stop(after(LONG));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let counts = &ending.channels[0];
    assert!(counts.is_settled() && counts.accepted_bytes >= before.accepted_bytes, "{counts:?}");
    assert!(counts.committed_bytes > 0 && counts.dropped_bytes > 0 && !counts.ended, "{counts:?}");
    assert!(!ending.clean && !ending.complete);
    let told = format!("large: {} records did not fit on the full disk", counts.dropped_records);
    assert_eq!(ending.faults, [told]);
    assert_eq!(recorder.release(), Ok(()));

    let names: Vec<String> = storage.list().unwrap().into_iter().map(|e| e.name).collect();
    assert!(names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
    let verification = verify(&storage, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Declared, "{verification:#?}");
    assert_eq!(
        verification.channels.iter().find(|c| c.name == "large").unwrap().bytes,
        counts.committed_bytes
    );
    assert_eq!(stored(&storage, "large").len() as u64, counts.committed_bytes);
}

// REQ W2
#[test]
fn half_a_line_of_what_cannot_be_read_again_is_accepted_at_a_stop() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut source, told) = telling();
    let storage = SimStorage::new();
    let config = config(
        scratch.path(),
        vec![ChannelConfig { framing: Framing::Lines, ..ChannelConfig::new("a", source.source.clone()) }],
    );
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    source.feed.write_all(b"a line\nhalf").unwrap();
    eventually("the line", || recorder.channels()[0].accepted_bytes == 7);
    // It is in its second read: the first brought all that there was.
    (0..2).for_each(|_| told.recv_timeout(LONG).unwrap());
    recorder.order_stop_capture(u64::MAX);
    source.feed.write_all(b" another").unwrap();
    assert!(recorder.wait_captured(0, after(LONG)));
    assert!(recorder.stop(after(LONG)).clean);
    assert_eq!(stored(&storage, "a"), b"a line\nhalf another");
}

// REQ W3, REQ E1
#[test]
fn damage_in_a_given_up_segment_is_told() {
    for damaged in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let mut source = silent();
        let storage = SimStorage::new();
        let config = config(scratch.path(), vec![ChannelConfig::new("a", source.source.clone())]);
        let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
        source.feed.write_all(b"acknowledged").unwrap();
        eventually("the first acknowledgement", || recorder.channels()[0].committed_bytes == 12);
        // A chunk, a commit, and the sync, which fails.
        let at = Some(storage.operations() + 2);
        storage.set_faults(Faults { at, ..Faults::default() });
        source.feed.write_all(b" again").unwrap();
        eventually("the second acknowledgement", || recorder.channels()[0].committed_bytes == 18);
        drop(source);
        assert!(recorder.wait_captured(0, after(LONG)), "its writer is gone");
        recorder.order_finish();
        assert!(recorder.wait_finished(after(LONG)));
        let given_up = part_name(1);
        let content = storage.content(&given_up).unwrap();
        let place = content.windows(12).position(|w| w == b"acknowledged").unwrap();
        if damaged {
            storage.corrupt(&given_up, place as u64, 1);
        }
        let told = recorder.seal_given_up();
        if damaged {
            assert_eq!(told, ["segment 1 was given up, and 1 places of it are damaged"]);
        } else {
            assert_eq!(told, [""; 0]);
            assert_eq!(stored(&storage, "a"), b"acknowledged again");
            assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
        }
        assert_eq!(recorder.seal_given_up(), told, "asked again, it says the same");
        assert_eq!(recorder.verify_last(), Ok(()));
        assert_eq!(recorder.stop(after(LONG)).clean, !damaged);
    }
}

// REQ C1, REQ T8
#[test]
fn every_part_can_be_called_again_and_from_anywhere() {
    let scratch = tempfile::tempdir().unwrap();
    let source = put(scratch.path(), "text", &lines(5_000));
    let storage = SimStorage::new();
    let channels = vec![channel("a", &source, Framing::Lines), channel("b", &source, Framing::Chunk)];
    let config = config(scratch.path(), channels);
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    eventually("both at their end", || recorder.has_ended());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2 {
                    recorder.order_stop_capture(u64::MAX);
                    assert!((0..2).all(|c| recorder.wait_captured(c, after(LONG))));
                    recorder.order_finish();
                    assert!((0..2).all(|c| recorder.wait_flushed(c, after(LONG))));
                    assert!(recorder.wait_finished(after(LONG)));
                    assert_eq!(recorder.seal_given_up(), [""; 0]);
                    assert_eq!(recorder.verify_last(), Ok(()));
                    assert_eq!(recorder.release(), Ok(()));
                    assert!(recorder.stop(after(LONG)).clean);
                }
            });
        }
    });
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
    assert_eq!(stored(&storage, "a"), lines(5_000));
}

// REQ W5, REQ C6
#[test]
fn what_a_stop_leaves_no_time_to_read_back_is_counted() {
    let mut source = silent();
    let mut config = config(Path::new("simulated"), vec![ChannelConfig::new("a", source.source)]);
    config.log.segment_bytes = 5_000;
    let storage = SimStorage::new();
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    source.feed.write_all(b"word").unwrap();
    eventually("a word", || recorder.channels()[0].committed_bytes == 4);
    assert!(recorder.wait_read_back(after(LONG)));
    recorder.order_stop_capture(u64::MAX);
    // The read that hangs is heard, and what it brings fills a segment.
    source.feed.write_all(&[7; 6_000]).unwrap();
    eventually("a segment", || recorder.unread_segments() == 1);
    let ending = recorder.stop(after(LONG));
    assert!(ending.clean, "{:?}", ending.faults);
    assert_eq!(recorder.unread_segments(), 1, "it is told for as long as it is so");
    assert_eq!(stored(&storage, "a").len(), 6_004);
}
