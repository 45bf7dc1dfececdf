//! A segment with as many streams as one can have: reading, mending and rebuilding it
//! take bounded memory and linear time. Alone in its binary, because it looks at what
//! the whole process took.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::counting::Counting;
use common::driver::quiet_options;
use common::foreign::{linear, sealed_files};
use common::stamp;
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{
    Batch, LogOptions, LogWriter, OCTETS, Outcome, Resume, STREAMS_MAX, Selection, StreamId, channel_names,
    export, recover, verify,
};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// As many as a segment takes.
const STREAMS: usize = 60_000;
/// Times that each stream says something, a commit apart.
const ROUNDS: u64 = 8;
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// The most memory that this process has had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// One segment, left as a crash leaves it.
fn record(storage: &Arc<dyn Storage>) {
    let options = LogOptions { segment_streams: STREAMS / 2, index_bytes: usize::MAX, ..quiet_options() };
    let mut writer = LogWriter::create(storage.clone(), options, Resume::default(), stamp(0)).unwrap();
    let channel = writer.channel("intercom", OCTETS);
    let open = |at| {
        writer.stream(
            channel,
            &[("peer", &format!("[2001:db8::{at:x}]:{at}")), ("opened", "1700000000000000000")],
        )
    };
    let streams: Vec<StreamId> = (0..STREAMS).map(open).collect();
    let mut sequence = 0;
    for _ in 0..ROUNDS {
        for stream in &streams {
            sequence += 1;
            let mut batch = Batch::new(*stream, sequence, vec![0; 64]);
            assert!(batch.push(&sequence.to_le_bytes(), stamp(sequence).wall_ns));
            writer.append(batch, stamp(0));
        }
        let _ = writer.commit(stamp(0));
        let job = writer.sync().unwrap();
        let _ = writer.complete(job.run(), stamp(0));
    }
    assert!(writer.is_settled());
}

/// Everything that looks at a recording; answers what it exported of one stream.
fn look(storage: &Arc<dyn Storage>, what: &str, worst: Outcome) -> Vec<u8> {
    let started = std::time::Instant::now();
    let verification = verify(&**storage, false, None).unwrap();
    assert!(verification.outcome <= worst, "{what}: {verification:#?}");
    assert_eq!(channel_names(&**storage).unwrap(), ["intercom"]);
    let whole = Selection { channel: "intercom".to_owned(), stream: None, segment: None };
    let told = export(&**storage, &whole, &mut std::io::sink()).unwrap();
    assert!(told.records >= STREAMS as u64 * ROUNDS - 1000, "{what}: {told:?}");
    let mut of_one = Vec::new();
    let one = Selection { stream: Some(STREAMS as u32), ..whole };
    export(&**storage, &one, &mut of_one).unwrap();
    eprintln!("{what}: looked at in {:?}, {} MiB peak", started.elapsed(), peak_bytes() >> 20);
    of_one
}

// REQ W1, REQ W3, REQ W5
#[test]
fn as_many_streams_as_a_segment_can_have_take_bounded_memory_and_linear_time() {
    const { assert!(STREAMS < STREAMS_MAX as usize) };
    let started = std::time::Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let counting = Arc::new(Counting::new(DirStorage::open(dir.path()).unwrap()));
    let storage: Arc<dyn Storage> = counting.clone();
    record(&storage);
    eprintln!("recorded in {:?}", started.elapsed());
    let before = peak_bytes();
    let expected: Vec<u8> = (1..=ROUNDS).flat_map(|round| (round * STREAMS as u64).to_le_bytes()).collect();
    assert_eq!(look(&storage, "unsealed", Outcome::Declared), expected);

    let recovery = recover(&storage, stamp(1)).unwrap();
    assert_eq!((recovery.segments.len(), recovery.is_loss()), (1, false));
    assert_eq!(look(&storage, "recovered", Outcome::Declared), expected);
    // A byte in the middle: the rest is written anew, with all streams.
    let path = dir.path().join("000001.mcap");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[!byte[0]], middle).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("000001.mcap")).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(b"x", end - 1).unwrap();
    let rebuilding = std::time::Instant::now();
    let recovery = recover(&storage, stamp(2)).unwrap();
    assert!(recovery.is_loss());
    eprintln!("rebuilt in {:?}", rebuilding.elapsed());
    assert_eq!(look(&storage, "rebuilt", Outcome::Loss), expected);
    let after = peak_bytes();
    assert!(after - before < GROWTH_BYTES_MAX, "{} bytes more", after - before);
    let (_, content) = sealed_files(&*storage).remove(0);
    assert!(linear(&content).len() as u64 > STREAMS as u64 * ROUNDS - 1000);
    let summary = mcap::Summary::read(&content).unwrap().unwrap();
    assert_eq!(summary.channels.len(), STREAMS + 2, "gaps of the crash and of the damage");
    let read = counting.read_bytes();
    eprintln!("{} MiB read, {:?}", read >> 20, started.elapsed());
    assert!(started.elapsed().as_secs() < 120, "{:?}: minutes would be another order", started.elapsed());
}
