//! Any input, cut into any reads, refused at any time: what is accepted is what came.

use super::*;
use crate::hub::Hub;
use evenkeel_log::storage::Storage;
use evenkeel_log::{LogOptions, LogWriter, Resume, Selection, export, sim::SimStorage};
use fastrand::Rng;
use std::sync::Arc;

struct Bench {
    hub: Hub,
    storage: SimStorage,
    writer: LogWriter,
    framer: Framer,
    lines: Vec<u64>,
}

fn bench(framing: Framing) -> Bench {
    let hub = Hub::new(&["x".to_owned()], 1 << 20).unwrap();
    let storage = SimStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut writer =
        LogWriter::create(shared, LogOptions::default(), Resume::default(), crate::now()).unwrap();
    let id = writer.channel("x", evenkeel_log::TEXT);
    let stream = writer.stream(id, &[]);
    let numbering = Numbering { channel: 0, stream, next_sequence: 1, last_time_ns: 0 };
    let position = SourcePosition { device: 1, inode: 2, offset: 0 };
    Bench { hub, storage, writer, framer: Framer::new(numbering, framing, Some(position)), lines: Vec::new() }
}

impl Bench {
    /// What the log thread does, without its thread.
    fn drain(&mut self) {
        loop {
            let work = self.hub.take(0, true, false);
            if work.batches.is_empty() {
                break;
            }
            for batch in work.batches {
                self.lines.push(batch.records());
                self.writer.append(batch, crate::now());
            }
        }
        let _ = self.writer.commit(crate::now());
        if let Some(job) = self.writer.sync() {
            let progress = self.writer.complete(job.run(), crate::now());
            self.hub.acknowledged(&progress.synced, progress.released, &|id| Some(id.index()));
        }
    }

    fn feed(&mut self, mut bytes: &[u8], rng: &mut Rng) {
        while !bytes.is_empty() {
            let n = rng.usize(1..=PAYLOAD_BYTES_MAX).min(bytes.len());
            let n = if rng.bool() { n.min(rng.usize(1..200)) } else { n };
            let mut read = &bytes[..n];
            bytes = &bytes[n..];
            while !read.is_empty() {
                let taken = self.framer.take(&self.hub, read, Refused::Wait);
                read = &read[taken..];
                if !read.is_empty() || rng.u8(0..10) == 0 {
                    self.framer.publish(&self.hub);
                    self.drain();
                }
            }
        }
        while self.framer.end(&self.hub, Refused::Wait) == Err(Blocked) {
            self.drain();
        }
        self.drain();
    }

    fn stored(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let selection = Selection { channel: "x".to_owned(), stream: None, segment: None };
        export(&self.storage, &selection, &mut out).unwrap();
        out
    }
}

fn text(rng: &mut Rng) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..rng.usize(1..200) {
        let len = match rng.u8(0..20) {
            0 => rng.usize(60_000..140_000),
            1 => PAYLOAD_BYTES_MAX - rng.usize(0..3),
            2..5 => 0,
            _ => rng.usize(0..300),
        };
        text.extend(std::iter::repeat_with(|| b'a' + rng.u8(0..26)).take(len));
        text.push(b'\n');
    }
    if rng.bool() {
        text.pop();
    }
    text
}

// REQ W1, REQ R9
#[test]
fn whatever_the_framing_the_concatenation_is_what_came() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let text = text(&mut rng);
        for framing in [Framing::Chunk, Framing::Lines] {
            let mut bench = bench(framing);
            bench.feed(&text, &mut rng);
            assert!(bench.stored() == text, "seed {seed}, {framing:?}");
            let state = bench.writer.state(bench.framer.numbering.stream.channel());
            assert_eq!(state.position.as_ref().map(|p| p.offset), Some(text.len() as u64), "seed {seed}");
            assert_eq!(bench.hub.counts()[0].held_bytes, 0, "seed {seed}: budget was lost");
            if framing == Framing::Lines {
                assert_eq!(bench.lines.iter().sum::<u64>(), expected_lines(&text), "seed {seed}");
            }
        }
    }
}

/// A message a line; one more for every full 64 KiB of a line before its end.
fn expected_lines(text: &[u8]) -> u64 {
    let lines = text.split_inclusive(|b| *b == b'\n');
    lines.map(|line| line.len().div_ceil(PAYLOAD_BYTES_MAX) as u64).sum()
}

// REQ R4
#[test]
fn a_channel_that_hoards_leaves_the_others_their_reserve() {
    let names: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    let hub = Hub::new(&names, 1 << 20).unwrap();
    let mut hoard = Vec::new();
    while let Some(buffer) = hub.buffer(0, LARGE_BYTES, Refused::Wait) {
        hoard.push(buffer);
    }
    for channel in 1..50 {
        for _ in 0..2 {
            assert!(hub.buffer(channel, Batch::bytes_for(PAYLOAD_BYTES_MAX), Refused::Wait).is_some());
        }
    }
    for buffer in hoard {
        hub.return_buffer(0, buffer);
    }
    assert_eq!(hub.counts()[0].held_bytes, 0);
}
