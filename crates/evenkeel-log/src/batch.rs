//! Messages of one stream, encoded once, in the thread that read them.
//!
//! A batch is a run of MCAP message records and its CRC. The writer puts it into
//! a chunk as it is: payload bytes are copied by the kernel alone, from the source
//! into the batch and from the batch into the file.
//!
//! Invariants: the records in `bytes[start..end]` are whole; their sequences are
//! `first_sequence..first_sequence + records`; `start` is a block boundary of memory
//! where the batch is a large one, so that it can be written past the page cache; a
//! sealed batch does not change.

use crate::commit::SourcePosition;
use crate::mcap::{MESSAGE_HEAD_BYTES, encode};
use crate::storage::{BLOCK_BYTES, LARGE_PART_BYTES};
use crate::writer::StreamId;
use crc32fast::Hasher;

/// Longest payload of one message that a source's bytes are cut into, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Longest payload of any message, in bytes: what is more is damage to a reader.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Length of an entry of MCAP's message index.
const INDEX_ENTRY_BYTES: usize = 16;

/// Encoded messages of one stream.
#[derive(Clone, Debug)]
pub struct Batch {
    stream: StreamId,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    first_sequence: u64,
    records: u64,
    payload_bytes: u64,
    times_ns: (u64, u64),
    crc: Option<u32>,
    position: Option<SourcePosition>,
    chain: Option<[u8; 32]>,
}

impl Batch {
    /// An empty batch over `buffer`, whose whole length can be used; its content
    /// does not matter. The first message gets `first_sequence`.
    pub fn new(stream: StreamId, first_sequence: u64, buffer: Vec<u8>) -> Self {
        Self::new_from(0, stream, first_sequence, buffer)
    }

    /// The same over a [large](Batch::large_buffer_bytes) one, which it uses from the first
    /// block boundary on: then, once it is full, it is written without a copy.
    pub fn new_large(stream: StreamId, first_sequence: u64, buffer: Vec<u8>) -> Self {
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let start = if start < BLOCK_BYTES.min(buffer.len()) { start } else { 0 };
        Self::new_from(start, stream, first_sequence, buffer)
    }

    fn new_from(start: usize, stream: StreamId, first_sequence: u64, buffer: Vec<u8>) -> Self {
        assert!(first_sequence > 0, "invariant: sequences count from 1");
        Self {
            stream,
            bytes: buffer,
            start,
            end: start,
            first_sequence,
            records: 0,
            payload_bytes: 0,
            times_ns: (u64::MAX, 0),
            crc: None,
            position: None,
            chain: None,
        }
    }

    /// Bytes that a buffer needs to hold one message with `payload_bytes`.
    pub const fn bytes_for(payload_bytes: usize) -> usize {
        MESSAGE_HEAD_BYTES + payload_bytes
    }

    /// Bytes that a large buffer needs to hold so many messages of [`PAYLOAD_BYTES_MAX`],
    /// wherever in memory it begins.
    pub const fn large_buffer_bytes(messages: usize) -> usize {
        messages * Self::bytes_for(PAYLOAD_BYTES_MAX) + BLOCK_BYTES
    }

    /// Where the payload of the next message goes: up to
    /// [`PAYLOAD_BYTES_MAX`], or `None` when no byte of payload fits. Fill a
    /// prefix and call [`Batch::finish`].
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        let start = self.end + MESSAGE_HEAD_BYTES;
        let end = self.bytes.len().min(start + PAYLOAD_BYTES_MAX);
        if self.crc.is_some() || start >= end { None } else { Some(&mut self.bytes[start..end]) }
    }

    /// Makes the first `payload_bytes` of the [slot](Batch::slot) a message.
    ///
    /// # Panics
    /// When that many do not fit, or the batch is sealed.
    pub fn finish(&mut self, payload_bytes: usize, log_time_ns: u64) {
        assert!(payload_bytes <= MESSAGE_BYTES_MAX && self.crc.is_none());
        // MCAP's sequence has 32 bits: the low ones of ours.
        let sequence = (self.first_sequence + self.records) as u32;
        let head = encode::message_head(self.stream.mcap_id(), sequence, log_time_ns, payload_bytes);
        self.bytes[self.end..self.end + MESSAGE_HEAD_BYTES].copy_from_slice(&head);
        self.end += MESSAGE_HEAD_BYTES + payload_bytes;
        assert!(self.end <= self.bytes.len());
        self.note(1, payload_bytes, log_time_ns);
    }

    fn note(&mut self, records: u64, payload_bytes: usize, log_time_ns: u64) {
        self.records += records;
        self.payload_bytes += payload_bytes as u64;
        self.times_ns = (self.times_ns.0.min(log_time_ns), self.times_ns.1.max(log_time_ns));
    }

    /// Copies a message in, up to [`MESSAGE_BYTES_MAX`], or answers `false` when it does not fit.
    pub fn push(&mut self, payload: &[u8], log_time_ns: u64) -> bool {
        let start = self.end + MESSAGE_HEAD_BYTES;
        let end = start + payload.len();
        let fits = self.crc.is_none() && payload.len() <= MESSAGE_BYTES_MAX && end <= self.bytes.len();
        if fits {
            self.bytes[start..end].copy_from_slice(payload);
            self.finish(payload.len(), log_time_ns);
        }
        fits
    }

    /// Copies whole lines in, each with its end a message, as many as fit; answers the bytes taken.
    ///
    /// # Panics
    /// When `bytes` are more than [`MESSAGE_BYTES_MAX`].
    pub fn push_lines(&mut self, bytes: &[u8], log_time_ns: u64) -> usize {
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        if self.crc.is_some() {
            return 0;
        }
        let (mut taken, mut records) = (0, 0);
        for line_end in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
            let line = &bytes[taken..line_end];
            let sequence = (self.first_sequence + self.records + records) as u32;
            let record_end = self.end + MESSAGE_HEAD_BYTES + line.len();
            let Some(record) = self.bytes.get_mut(self.end..record_end) else { break };
            let (head, payload) = record.split_at_mut(MESSAGE_HEAD_BYTES);
            head.copy_from_slice(&encode::message_head(
                self.stream.mcap_id(),
                sequence,
                log_time_ns,
                line.len(),
            ));
            payload.copy_from_slice(line);
            (self.end, taken, records) = (record_end, line_end, records + 1);
        }
        if records > 0 {
            self.note(records, taken, log_time_ns);
        }
        taken
    }

    /// Where its source stands after the last message.
    pub fn set_position(&mut self, position: SourcePosition) {
        self.position = Some(position);
    }

    /// Value of the log's hash chain after the last message. Commits carry it from
    /// the one on that covers this batch.
    pub fn set_chain(&mut self, chain: [u8; 32]) {
        self.chain = Some(chain);
    }

    /// Computes the CRC; the batch takes no more messages.
    #[must_use]
    pub fn seal(mut self) -> Self {
        if self.crc.is_none() {
            let mut crc = Hasher::new();
            crc.update(self.encoded());
            self.crc = Some(crc.finalize());
        }
        self
    }

    /// The buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Messages in it.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Payload bytes in it.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Bytes of memory that it holds, used or not.
    pub fn buffer_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the buffer that are not used yet.
    pub fn spare_bytes(&self) -> usize {
        if self.crc.is_some() { 0 } else { self.bytes.len() - self.end }
    }

    /// The stream its messages belong to.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Sequence of its first message.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Sequence of its last message; `first_sequence - 1` when empty.
    pub fn last_sequence(&self) -> u64 {
        self.first_sequence + self.records - 1
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Whether it is worth a place in the file from which it can be written as it is.
    pub(crate) fn is_large(&self) -> bool {
        self.encoded().len() >= LARGE_PART_BYTES
    }

    /// Appends what MCAP's message index says of each record: log time, and offset from
    /// `base`, the offset of the first one.
    pub(crate) fn index(&self, base: u64, out: &mut Vec<u8>) {
        let encoded = self.encoded();
        let mut at = 0;
        while let Some((bytes, log_time_ns)) = encode::message_at(&encoded[at..]) {
            let mut entry = [0; INDEX_ENTRY_BYTES];
            entry[..8].copy_from_slice(&log_time_ns.to_le_bytes());
            entry[8..].copy_from_slice(&(base + at as u64).to_le_bytes());
            out.extend_from_slice(&entry);
            at += bytes;
        }
        assert!(at == encoded.len(), "invariant: a batch holds whole records");
    }

    /// Bytes that [`Batch::index`] appends.
    pub(crate) fn index_bytes(&self) -> usize {
        self.records as usize * INDEX_ENTRY_BYTES
    }
    pub(crate) fn crc(&self) -> Option<u32> {
        self.crc
    }

    pub(crate) fn times_ns(&self) -> (u64, u64) {
        self.times_ns
    }

    pub(crate) fn chain(&self) -> Option<[u8; 32]> {
        self.chain
    }

    pub(crate) fn position(&self) -> Option<&SourcePosition> {
        self.position.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimStorage;
    use crate::writer::{LogOptions, LogWriter, Resume, Stamp};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn stream() -> StreamId {
        let stamp = Stamp { wall_ns: 1, mono_ns: 1 };
        let storage = Arc::new(SimStorage::new());
        let mut log =
            LogWriter::create(storage, LogOptions::default(), Resume::default(), stamp).expect("a log");
        let id = log.channel("x", crate::writer::TEXT);
        log.stream(id, &[])
    }

    proptest! {
        // REQ W1, REQ R9
        #[test]
        fn lines_at_once_are_lines_one_by_one(text in "[ab\n]{0,300}", room in 0usize..2000, large: bool) {
            let buffer = || vec![0xA5; room + if large { BLOCK_BYTES } else { 0 }];
            let new = if large { Batch::new_large } else { Batch::new };
            let stream = stream();
            let (mut at_once, mut one_by_one) = (new(stream, 7, buffer()), new(stream, 7, buffer()));
            // As much room, wherever the boundary is.
            at_once.bytes.truncate(at_once.start + room);
            one_by_one.bytes.truncate(one_by_one.start + room);
            let taken = at_once.push_lines(text.as_bytes(), 5);
            let mut expected = 0;
            for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
                if !one_by_one.push(line.as_bytes(), 5) {
                    break;
                }
                expected += line.len();
            }
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(at_once.encoded(), one_by_one.encoded());
            prop_assert_eq!(at_once.records(), one_by_one.records());
            prop_assert_eq!(at_once.payload_bytes(), one_by_one.payload_bytes());
            prop_assert_eq!(at_once.times_ns(), one_by_one.times_ns());
            let mut index = Vec::new();
            at_once.index(100, &mut index);
            prop_assert_eq!(index.len(), at_once.index_bytes());
        }
    }

    // REQ W1
    #[test]
    fn a_large_batch_begins_at_a_block_of_memory_and_holds_what_it_was_made_for() {
        let mut batch = Batch::new_large(stream(), 1, vec![0; Batch::large_buffer_bytes(4)]);
        for at in 0..4 {
            assert_eq!(batch.slot().map(|slot| slot.len()), Some(PAYLOAD_BYTES_MAX), "message {at}");
            batch.finish(PAYLOAD_BYTES_MAX, 1);
        }
        assert_eq!(batch.encoded().as_ptr().align_offset(BLOCK_BYTES), 0);
        assert!(batch.is_large());
    }
}
