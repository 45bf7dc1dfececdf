//! Any input, cut into any reads, refused at any time: what is accepted is what came.

use super::*;
use crate::hub::{Hub, Item, LARGE_BYTES};
use evenkeel_log::storage::Storage;
use evenkeel_log::{LogOptions, LogWriter, Outcome, Resume, Selection, export, sim::SimStorage, verify};
use fastrand::Rng;
use std::sync::Arc;

mod lengths;

struct Bench {
    hub: Hub,
    storage: SimStorage,
    writer: LogWriter,
    lane: Lane,
    id: ChannelId,
    framer: Framer,
    lines: Vec<u64>,
    /// What came out of the queue, in order: records, bytes, and whether they were dropped.
    out: Vec<(u64, u64, bool)>,
}

fn bench(framing: Framing, on_full: OnFull) -> Bench {
    let hub = Hub::new(&["x".to_owned()], 1 << 20).unwrap();
    hub.set_before(0, &evenkeel_log::ChannelState::default(), (crate::config::Durability::Disk, on_full));
    let storage = SimStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut writer =
        LogWriter::create(shared, LogOptions::default(), Resume::default(), crate::now()).unwrap();
    let id = writer.channel("x", evenkeel_log::TEXT);
    let stream = writer.stream(id, &[]);
    let lane = Lane { channel: 0, next_sequence: 1, last_time_ns: 0, on_full };
    let position = SourcePosition { device: 1, inode: 2, offset: 0 };
    let framer = Framer::new(Stream::Open(stream), framing, Some(position));
    Bench { hub, storage, writer, lane, id, framer, lines: Vec::new(), out: Vec::new() }
}

impl Bench {
    /// What the log thread does, without its thread.
    fn drain(&mut self) {
        loop {
            let work = self.hub.take(0, true, false);
            if work.items.is_empty() {
                break;
            }
            for (_, item) in work.items {
                self.append(item);
            }
        }
        let _ = self.writer.commit(crate::now());
        if let Some(job) = self.writer.sync() {
            let progress = self.writer.complete(job.run(), crate::now());
            self.hub.acknowledged(&progress.synced, progress.released, &|id| (id.index() == 0).then_some(0));
        }
    }

    fn append(&mut self, item: Item) {
        match item {
            Item::Batch(batch) => {
                self.lines.push(batch.records());
                self.out.push((batch.records(), batch.payload_bytes(), false));
                self.writer.append(batch, crate::now());
            }
            Item::Dropped(dropped) => {
                self.out.push((dropped.records, dropped.bytes, true));
                let gap = dropped.gap("x".to_owned());
                self.writer.declare(&gap, crate::now());
                self.hub.declared(0, dropped.records);
            }
            Item::Define(_) | Item::Close(_) => panic!("nothing of the kind was put in"),
        }
    }

    fn feed(&mut self, mut bytes: &[u8], rng: &mut Rng) {
        while !bytes.is_empty() {
            let n = rng.usize(1..=PAYLOAD_BYTES_MAX).min(bytes.len());
            let n = if rng.bool() { n.min(rng.usize(1..200)) } else { n };
            let mut read = &bytes[..n];
            bytes = &bytes[n..];
            while !read.is_empty() {
                let sink = Sink { hub: &self.hub, refused: Refused::Wait };
                let taken = self.framer.take(&mut self.lane, sink, read);
                read = &read[taken..];
                if !read.is_empty() || rng.u8(0..10) == 0 {
                    self.framer.publish(&self.lane, &self.hub);
                    self.drain();
                }
            }
        }
        let refused = Refused::Wait;
        while self.framer.end(&mut self.lane, Sink { hub: &self.hub, refused }) == Err(Blocked) {
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
            let mut bench = bench(framing, OnFull::Block);
            bench.hub.set_surplus(rng.usize(0..200_000));
            bench.feed(&text, &mut rng);
            assert!(bench.stored() == text, "seed {seed}, {framing:?}");
            let state = bench.writer.state(bench.id);
            assert_eq!(state.position.as_ref().map(|p| p.offset), Some(text.len() as u64), "seed {seed}");
            assert_eq!(bench.hub.counts()[0].held_bytes, 0, "seed {seed}: budget was lost");
            if framing == Framing::Lines {
                assert_eq!(bench.lines.iter().sum::<u64>(), expected_lines(&text), "seed {seed}");
            }
        }
    }
}

// REQ R9, REQ W4
#[test]
fn what_is_dropped_is_numbered_and_declared_and_the_rest_is_what_came() {
    let mut dropped_by = [0; 2];
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let text = text(&mut rng);
        let rules = [OnFull::DropNewest, OnFull::DropOldest];
        let all = rules.into_iter().flat_map(|rule| [(Framing::Chunk, rule), (Framing::Lines, rule)]);
        for (framing, on_full) in all {
            let mut bench = bench(framing, on_full);
            bench.hub.set_surplus(rng.usize(0..40_000));
            bench.feed(&text, &mut rng);
            let (mut at, mut expected, mut sequence) = (0, Vec::new(), 1);
            for (records, bytes, dropped) in &bench.out {
                let piece = &text[at..at + *bytes as usize];
                let whole = framing != Framing::Lines || piece.ends_with(b"\n") || piece.len() >= 65_536;
                assert!(whole || at + piece.len() == text.len(), "seed {seed}: a line was cut");
                if !*dropped {
                    expected.extend_from_slice(piece);
                }
                at += piece.len();
                sequence += records;
            }
            assert_eq!((at, sequence), (text.len(), bench.lane.next_sequence), "seed {seed}");
            // Who drops the oldest has the newest.
            let last = bench.out.last().is_none_or(|(_, _, dropped)| !dropped);
            assert!(last || on_full == OnFull::DropNewest, "seed {seed}, {framing:?}: {:?}", bench.out);
            dropped_by[usize::from(on_full == OnFull::DropOldest)] +=
                bench.out.iter().filter(|(.., dropped)| *dropped).count();
            assert!(bench.stored() == expected, "seed {seed}, {framing:?}");
            let counts = bench.hub.counts().remove(0);
            assert!(counts.is_settled(), "seed {seed}: {counts:?}");
            assert_eq!(counts.accepted_bytes, text.len() as u64);
            assert_eq!(counts.held_bytes, 0, "seed {seed}: budget was lost");
            let found = verify(&bench.storage, true, None).unwrap();
            assert!(found.channels.iter().all(|c| c.missing.is_empty()), "seed {seed}: {found:?}");
            assert!(found.outcome <= Outcome::Declared, "seed {seed}: {found:?}");
        }
    }
    assert!(dropped_by.iter().all(|dropped| *dropped > 100), "{dropped_by:?}: too few to mean anything");
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
    while let Some(buffer) = hub.buffer(0, &[LARGE_BYTES], Refused::Wait) {
        hoard.push(buffer);
    }
    for channel in 1..50 {
        assert!(hub.buffer(channel, &[Batch::bytes_for(PAYLOAD_BYTES_MAX)], Refused::Wait).is_some());
    }
    for buffer in hoard {
        hub.return_buffer(0, buffer);
    }
    assert_eq!(hub.counts()[0].held_bytes, 0);
}
