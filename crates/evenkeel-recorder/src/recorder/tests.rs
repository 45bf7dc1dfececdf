//! Stops at any moment, with pipes of both kinds: polled, and read by a thread
//! that hangs until something comes.

mod faults;
mod kept;

use super::*;
use crate::config::Source;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::{LogOptions, Outcome, Selection, export, verify};
use fastrand::Rng;
use std::fs::File;
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Who reads a pipe, and how.
const CHANNELS: [(&str, bool, Framing); 4] = [
    ("polled", true, Framing::Chunk),
    ("polled-lines", true, Framing::Lines),
    ("read", false, Framing::Chunk),
    ("read-lines", false, Framing::Lines),
];

/// A time so far away that only a hang reaches it.
fn long_ns() -> u64 {
    crate::now().mono_ns + 5_000_000_000
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(5), "never came: {what}");
        std::thread::yield_now();
    }
}

/// A recorder of pipes, and their writing ends.
fn start(
    storage: &SimStorage,
    channels: &[(&str, bool, Framing)],
    log: LogOptions,
    acks: Option<File>,
) -> Result<(Recorder, Vec<PipeWriter>), StartError> {
    let (mut configs, mut opened, mut feeds) = (Vec::new(), Vec::new(), Vec::new());
    for (name, polled, framing) in channels {
        let (reading, feed) = io::pipe().unwrap();
        let fd = OwnedFd::from(reading);
        opened.push(if *polled { Opened::Pollable(fd) } else { Opened::File(fd.into()) });
        feeds.push(feed);
        configs.push(ChannelConfig { framing: *framing, ..ChannelConfig::new(*name, Source::Stdin) });
    }
    let config = Config { log, commit_ns: 500_000, acks, ..Config::new(PathBuf::from("simulated"), configs) };
    let recorder =
        Recorder::start_opened(Arc::new(storage.clone()), None, config, (opened, None, (None, None)))?;
    Ok((recorder, feeds))
}

/// Any piece of what a channel is sent: lines of several lengths.
fn sent(from: usize, bytes: usize) -> Vec<u8> {
    let byte =
        |at: usize| if at % 41 == 40 || at.is_multiple_of(577) { b'\n' } else { b'a' + (at * 7 % 25) as u8 };
    (from..from + bytes).map(byte).collect()
}

/// Bytes stored of a channel, all of them what was sent, and whether any are damaged.
fn exported(storage: &dyn Storage, channel: &str, context: &str) -> (u64, bool) {
    let mut out = Vec::new();
    let selection = Selection { channel: channel.to_owned(), stream: None, segment: None };
    let exported = export(storage, &selection, &mut out).unwrap();
    assert!(out == sent(0, out.len()), "{context}: {channel}: what is stored is not what was sent");
    (exported.bytes, exported.damaged)
}

/// Some pieces, silence until the barrier, one more piece.
fn feed(mut pipe: PipeWriter, seed: u64, late: &Barrier) {
    let mut rng = Rng::with_seed(seed);
    let mut at = 0;
    for _ in 0..rng.usize(0..60) {
        let bytes = if rng.u8(0..8) == 0 { rng.usize(1..30_000) } else { rng.usize(1..400) };
        // A pipe that nobody reads any more is the other end of this test.
        if pipe.write_all(&sent(at, bytes)).is_err() {
            break;
        }
        at += bytes;
        (0..rng.u32(0..200)).for_each(|_| std::hint::spin_loop());
    }
    late.wait();
    let _ = pipe.write_all(&sent(at, 50));
}

/// Lets a random while pass.
fn dawdle(rng: &mut Rng) {
    let rounds = if rng.bool() { rng.u32(0..20) } else { rng.u32(0..2_000) };
    (0..rounds).for_each(|_| std::thread::yield_now());
}

fn stop_at_some_moment(seed: u64) {
    let context = format!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let storage = SimStorage::new();
    let log = LogOptions { ballast_bytes: 0, chunk_bytes: rng.usize(500..20_000), ..LogOptions::default() };
    let (recorder, feeds) = start(&storage, &CHANNELS, log, None).unwrap();
    let late = Barrier::new(feeds.len() + 1);
    std::thread::scope(|scope| {
        for (at, pipe) in feeds.into_iter().enumerate() {
            let late = &late;
            scope.spawn(move || feed(pipe, seed << 3 | at as u64, late));
        }
        dawdle(&mut rng);
        if rng.bool() {
            recorder.order_stop_capture(u64::MAX);
            dawdle(&mut rng);
        }
        recorder.order_finish();
        let finished = recorder.wait_finished(long_ns());
        let counts = recorder.channels();
        let stored = CHANNELS.map(|(name, ..)| exported(&storage, name, &context));
        late.wait();
        assert!(finished, "{context}: a reader held up the end");
        for (at, before) in counts.iter().enumerate() {
            assert!(recorder.wait_flushed(at, long_ns()), "{context}: {before:?}");
            assert!(before.is_settled(), "{context}: {before:?}");
            assert_eq!((stored[at], 0), ((before.accepted_bytes, false), before.dropped_bytes), "{context}");
            // Whoever comes back too late adds nothing, and ends.
            assert!(recorder.wait_captured(at, long_ns()), "{context}: {} is read for ever", before.name);
        }
        for (before, after) in counts.iter().zip(recorder.channels()) {
            let same = (before.accepted_records, before.accepted_bytes, before.committed_records);
            assert_eq!(same, (after.accepted_records, after.accepted_bytes, after.committed_records));
            assert!(after.is_settled(), "{context}: {after:?}");
        }
    });
    assert_eq!(recorder.release(), Ok(()), "{context}");
    assert_eq!(recorder.verify_last(), Ok(()), "{context}");
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact, "{context}");
}

// REQ W2, REQ R9
#[test]
fn whatever_the_interleaving_what_was_accepted_is_stored() {
    for seed in 0..300 {
        stop_at_some_moment(seed);
    }
}

// REQ E5, REQ W4
#[test]
fn a_reader_that_panics_is_a_fault_and_holds_up_nothing() {
    let hub = Arc::new(Hub::new(&["a".to_owned(), "b".to_owned()], 1 << 20).unwrap());
    let first = crate::hub::Reading::begin(hub.clone(), vec![0]);
    let second = crate::hub::Reading::begin(hub.clone(), vec![1]);
    let panicked = std::thread::spawn(move || {
        let _first = first;
        panic!("planted");
    });
    assert!(panicked.join().is_err());
    drop(second);
    let counts = hub.counts();
    assert_eq!(counts[0].fault.as_deref(), Some("its reader panicked"));
    assert_eq!(counts[1].fault, None);
    assert!(hub.wait_until(0, |state| Some(state.readers() == 0)));
}

#[test]
fn a_recorder_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Recorder>();
}
