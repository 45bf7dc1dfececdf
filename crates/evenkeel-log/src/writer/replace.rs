//! What the writer does when the disk fails it.

use super::{ChannelId, Condition, Item, LogWriter, Stamp, create_segment};
use crate::gap::{Gap, GapReason};
use crate::memory::Memory;
use crate::segment::part_name;
use crate::storage::is_full;
use std::collections::BTreeMap;
use std::io;

/// What [`LogWriter::give_up_unwritten`] gave up.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// Channel, records and payload bytes.
    pub lost: Vec<(ChannelId, u64, u64)>,
    /// Buffers to be used again.
    pub released: Vec<(ChannelId, Memory)>,
}

impl LogWriter {
    /// An append failed. A full disk: cut the file back to whole records and
    /// wait. Anything else: the segment is given up.
    pub(super) fn append_failed(&mut self, error: &io::Error, stamp: Stamp) {
        if is_full(error) {
            match self.segment.file.truncate(self.segment.bytes) {
                Ok(()) => self.stall(error, stamp),
                Err(e) => self.poison(&e, stamp),
            }
        } else {
            self.poison(error, stamp);
        }
    }

    fn stall(&mut self, error: &io::Error, stamp: Stamp) {
        self.last_error = Some(error.to_string());
        self.condition = if is_full(error) { Condition::Full } else { Condition::Broken };
        self.retry_at_ns = stamp.mono_ns.saturating_add(backoff_ns(self.failures));
    }

    /// Gives the segment up: whatever is not acknowledged goes back to the
    /// front of the queue, to be written again, in order, into a new segment.
    pub(super) fn poison(&mut self, error: &io::Error, stamp: Stamp) {
        self.last_error = Some(error.to_string());
        self.give_up(self.segment.number);
        self.segment.give_up();
        self.epoch += 1;
        self.failures += 1;
        // The end of the run, if it was written, went down with the segment.
        self.finished = false;
        let grouped = self.groups.drain(..).flat_map(|g| g.items);
        let unacknowledged: Vec<Item> =
            grouped.chain(self.written.drain(..)).chain(self.open.drain(..)).collect();
        self.open = unacknowledged;
        self.chain.written = self.chain.acked;
        self.open_bytes = self.open.iter().map(|i| i.batch.encoded().len()).sum();
        self.open_gaps = self.open.iter().filter(|i| i.takes.is_some()).count() as u64;
        for channel in &mut self.channels {
            let (streams, ended) = (channel.written.streams, channel.written.ended);
            channel.written = channel.acked.clone();
            channel.written.streams = streams;
            channel.written.ended = ended;
            channel.changed = true;
        }
        self.condition = Condition::Broken;
        if self.failures == 1 {
            self.begin_anew(stamp);
        } else {
            self.stall(error, stamp);
            self.condition = Condition::Broken;
        }
    }

    pub(super) fn give_up(&mut self, number: u64) {
        if !self.poisoned.contains(&number) {
            self.poisoned.push(number);
        }
    }

    /// Rotation failed: the segment goes on, and rotation is tried again in a
    /// second. But first the successor must be gone, durably: its head says
    /// where it begins, and readers would leave out whatever the segment adds
    /// past that. Answers whether the segment can go on.
    pub(super) fn succession_failed(&mut self, error: &io::Error, successor: u64, stamp: Stamp) -> bool {
        self.last_error = Some(format!("rotation: {error}"));
        self.rotation_error = Some(error.to_string());
        self.rotate_not_before_ns = stamp.mono_ns.saturating_add(ROTATION_RETRY_NS);
        let removed = match self.storage.remove(&part_name(successor)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => self.storage.sync_dir(),
        };
        if let Err(e) = &removed {
            self.poison(e, stamp);
        }
        removed.is_ok()
    }

    /// Begins a new segment after a poisoned one; its head is durable with the next sync.
    fn begin_anew(&mut self, stamp: Stamp) {
        let number = self.next_number;
        // A number is used once: a file of that name may have outlived its failed creation.
        self.next_number += 1;
        match create_segment(&*self.storage, &self.options, number, self.standing(), stamp) {
            Ok(segment) => {
                self.segment = segment;
                self.condition = Condition::Writing;
            }
            Err(e) => {
                self.failures += 1;
                self.stall(&e, stamp);
                self.condition = Condition::Broken;
            }
        }
    }

    /// Gives up what is not appended yet, and declares it as gaps: for a stop on
    /// a disk that stays full. Nothing of it was acknowledged.
    pub fn give_up_unwritten(&mut self, reason: GapReason, stamp: Stamp) -> GivenUp {
        let mut given_up = GivenUp::default();
        let (declared, lost): (Vec<Item>, Vec<Item>) = self.open.drain(..).partition(|i| i.takes.is_some());
        self.open_bytes = 0;
        let mut gaps: BTreeMap<ChannelId, Vec<Gap>> = BTreeMap::new();
        for Item { batch, .. } in lost {
            self.streams.settled(batch.stream());
            let channel = batch.stream().channel();
            let of_channel = gaps.entry(channel).or_default();
            let gap = Gap {
                channel: self.name(channel).to_owned(),
                first_sequence: batch.first_sequence(),
                last_sequence: Some(batch.last_sequence()),
                records: Some(batch.records()),
                bytes: Some(batch.payload_bytes()),
                reason,
                from: stamp.wall_ns,
                to: stamp.wall_ns,
            };
            match of_channel.last_mut() {
                Some(before) if before.last_taken() + 1 == gap.first_sequence => before.extend(&gap),
                _ => of_channel.push(gap),
            }
            given_up.released.push((channel, batch.into_memory()));
        }
        for item in declared {
            self.open_bytes += item.batch.encoded().len();
            self.open.push(item);
        }
        for (channel, gaps) in gaps {
            let sum = |of: fn(&Gap) -> Option<u64>| gaps.iter().filter_map(of).sum();
            given_up.lost.push((channel, sum(|g| g.records), sum(|g| g.bytes)));
            for gap in &gaps {
                self.declare(gap, stamp);
            }
        }
        given_up
    }

    /// Tries to write again, when its time has come.
    pub fn retry(&mut self, stamp: Stamp) {
        if stamp.mono_ns >= self.retry_at_ns {
            self.retry_now(stamp);
        }
    }

    pub(super) fn retry_now(&mut self, stamp: Stamp) {
        match self.condition {
            Condition::Writing => {}
            Condition::Full => {
                self.condition = Condition::Writing;
                self.write(stamp);
            }
            Condition::Broken => {
                self.begin_anew(stamp);
                self.write(stamp);
            }
        }
        if self.condition == Condition::Writing {
            self.last_error = None;
        }
    }
}

/// A rotation that failed is tried again after this long.
const ROTATION_RETRY_NS: u64 = 1_000_000_000;

/// 100 ms doubling to 5 s.
fn backoff_ns(failures: u32) -> u64 {
    (100_000_000u64 << failures.min(6)).min(5_000_000_000)
}
