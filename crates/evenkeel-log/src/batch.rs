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
use crate::memory::Memory;
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
#[derive(Debug)]
pub struct Batch {
    stream: StreamId,
    memory: Memory,
    start: usize,
    end: usize,
    first_sequence: u64,
    records: u64,
    payload_bytes: u64,
    times_ns: (u64, u64),
    crc: Option<u32>,
    position: Option<SourcePosition>,
    joined: (bool, bool),
    chain: Option<[u8; 32]>,
}

impl Batch {
    /// An empty batch over `memory`, all of which can be used; its content
    /// does not matter. The first message gets `first_sequence`.
    pub fn new(stream: StreamId, first_sequence: u64, memory: impl Into<Memory>) -> Self {
        Self::new_from(0, stream, first_sequence, memory.into())
    }

    /// The same over a [large](Batch::large_buffer_bytes) one of the allocator's, which it uses from the first
    /// block boundary on: then, once it is full, it is written without a copy. A pool's begins at one.
    pub fn new_large(stream: StreamId, first_sequence: u64, buffer: Vec<u8>) -> Self {
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let start = if start < BLOCK_BYTES.min(buffer.len()) { start } else { 0 };
        Self::new_from(start, stream, first_sequence, buffer.into())
    }

    fn new_from(start: usize, stream: StreamId, first_sequence: u64, mut memory: Memory) -> Self {
        assert!(first_sequence > 0, "invariant: sequences count from 1");
        memory.clear();
        Self {
            stream,
            memory,
            start,
            end: start,
            first_sequence,
            records: 0,
            payload_bytes: 0,
            times_ns: (u64::MAX, 0),
            crc: None,
            position: None,
            joined: (false, false),
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
        if self.spare_bytes() <= MESSAGE_HEAD_BYTES {
            return None;
        }
        let record = self.memory.behind_mut(self.end, MESSAGE_HEAD_BYTES + PAYLOAD_BYTES_MAX);
        Some(&mut record[MESSAGE_HEAD_BYTES..])
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
        self.memory.behind_mut(self.end, MESSAGE_HEAD_BYTES).copy_from_slice(&head);
        self.advance(MESSAGE_HEAD_BYTES + payload_bytes);
        self.note(1, payload_bytes, log_time_ns);
    }

    fn advance(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(self.end <= self.memory.capacity());
        self.memory.advance(bytes);
    }

    fn note(&mut self, records: u64, payload_bytes: usize, log_time_ns: u64) {
        self.records += records;
        self.payload_bytes += payload_bytes as u64;
        self.times_ns = (self.times_ns.0.min(log_time_ns), self.times_ns.1.max(log_time_ns));
    }

    /// Copies a message in, up to [`MESSAGE_BYTES_MAX`], or answers `false` when it does not fit.
    pub fn push(&mut self, payload: &[u8], log_time_ns: u64) -> bool {
        let bytes = MESSAGE_HEAD_BYTES + payload.len();
        let fits = payload.len() <= MESSAGE_BYTES_MAX && bytes <= self.spare_bytes();
        if fits {
            self.memory.behind_mut(self.end, bytes)[MESSAGE_HEAD_BYTES..].copy_from_slice(payload);
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
        // No more can be taken than bytes there are, and a head for each, which is a line at least.
        let heads = memchr::memchr_iter(b'\n', bytes).count() * MESSAGE_HEAD_BYTES;
        let place = self.memory.behind_mut(self.end, bytes.len() + heads);
        let mut end = 0;
        for line_end in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
            let line = &bytes[taken..line_end];
            let sequence = (self.first_sequence + self.records + records) as u32;
            let record_end = end + MESSAGE_HEAD_BYTES + line.len();
            let Some(record) = place.get_mut(end..record_end) else { break };
            let (head, payload) = record.split_at_mut(MESSAGE_HEAD_BYTES);
            head.copy_from_slice(&encode::message_head(
                self.stream.mcap_id(),
                sequence,
                log_time_ns,
                line.len(),
            ));
            payload.copy_from_slice(line);
            (end, taken, records) = (record_end, line_end, records + 1);
        }
        if records > 0 {
            self.advance(end);
            self.note(records, taken, log_time_ns);
        }
        taken
    }

    /// Where its source stands after the last message.
    pub fn set_position(&mut self, position: SourcePosition) {
        self.position = Some(position);
    }

    /// Whether its first message goes on with one of the batch before it, and its last goes on in the batch behind it:
    /// then they are of use together only.
    pub fn set_joined(&mut self, before: bool, behind: bool) {
        self.joined = (before, behind);
    }

    /// What was said of it by [`Batch::set_joined`].
    pub fn joined(&self) -> (bool, bool) {
        self.joined
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

    /// The memory, to be used again.
    pub fn into_memory(self) -> Memory {
        self.memory
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
        self.memory.capacity()
    }

    /// Bytes of the buffer that are not used yet.
    pub fn spare_bytes(&self) -> usize {
        if self.crc.is_some() { 0 } else { self.memory.capacity() - self.end }
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
        &self.memory.written(self.end)[self.start..]
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

    /// Log times of its first and its last message in time, Unix nanoseconds.
    pub fn times_ns(&self) -> (u64, u64) {
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
    use evenkeel_pool::{Account, Limits, Pool, Tier};
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

    /// Batches with as much room, wherever the boundary of a block is: of the allocator's memory, and of a pool's.
    fn batch(kind: u8, stream: StreamId, room: usize, account: &Account) -> Batch {
        let mut batch = match kind {
            0 => Batch::new(stream, 7, vec![0xA5; room]),
            1 => Batch::new_large(stream, 7, vec![0xA5; room + BLOCK_BYTES]),
            _ => Batch::new(stream, 7, account.take(4096).expect("a buffer")),
        };
        if let (start, Memory::Own(bytes)) = (batch.start, &mut batch.memory) {
            bytes.truncate(start + room);
        }
        batch
    }

    proptest! {
        // REQ W1, REQ R9
        #[test]
        fn lines_at_once_are_lines_one_by_one(text in "[ab\n]{0,300}", room in 0usize..2000, kind in 0u8..3) {
            let pool = Pool::builder().build().expect("a pool");
            let account = pool.channel("x", &Limits::default()).and_then(|x| x.component("y", 1 << 20));
            let (account, stream) = (account.expect("an account"), stream());
            let (mut at_once, mut one_by_one) =
                (batch(kind, stream, room, &account), batch(kind, stream, room, &account));
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
        let pool = Pool::builder()
            .tiers([Tier { bytes: Batch::large_buffer_bytes(4).next_multiple_of(4096), slots: 1 }]);
        let pool = pool.build().unwrap();
        let account = pool.channel("x", &Limits::default()).unwrap().component("y", 1 << 20).unwrap();
        let pooled = Batch::new(stream(), 1, account.take(1).unwrap());
        for mut batch in [Batch::new_large(stream(), 1, vec![0; Batch::large_buffer_bytes(4)]), pooled] {
            for at in 0..4 {
                assert_eq!(batch.slot().map(|slot| slot.len()), Some(PAYLOAD_BYTES_MAX), "message {at}");
                batch.finish(PAYLOAD_BYTES_MAX, 1);
            }
            assert_eq!(batch.encoded().as_ptr().align_offset(BLOCK_BYTES), 0);
            assert!(batch.is_large());
        }
    }
}
