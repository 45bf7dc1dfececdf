//! Messages of one stream, encoded once, in the thread that read them.
//!
//! A batch is a run of MCAP message records, its index entries and its CRC. The
//! writer puts it into a chunk as it is: payload bytes are copied by the kernel
//! alone, from the source into the batch and from the batch into the file.
//!
//! Invariants: the records in `bytes[..len]` are whole; their sequences are
//! `first_sequence..first_sequence + records`; `index` holds 16 bytes a record
//! with offsets relative to the batch; a sealed batch does not change.

use crate::commit::SourcePosition;
use crate::mcap::{MESSAGE_HEAD_BYTES, encode};
use crate::writer::StreamId;
use crc32fast::Hasher;

/// Longest payload of one message that a source's bytes are cut into, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Longest payload of any message, in bytes: what is more is damage to a reader.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Encoded messages of one stream.
#[derive(Clone, Debug)]
pub struct Batch {
    stream: StreamId,
    bytes: Vec<u8>,
    len: usize,
    index: Vec<u8>,
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
        assert!(first_sequence > 0, "invariant: sequences count from 1");
        Self {
            stream,
            bytes: buffer,
            len: 0,
            index: Vec::new(),
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

    /// Where the payload of the next message goes: up to
    /// [`PAYLOAD_BYTES_MAX`], or `None` when no byte of payload fits. Fill a
    /// prefix and call [`Batch::finish`].
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        let start = self.len + MESSAGE_HEAD_BYTES;
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
        self.bytes[self.len..self.len + MESSAGE_HEAD_BYTES].copy_from_slice(&head);
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&log_time_ns.to_le_bytes());
        entry[8..].copy_from_slice(&(self.len as u64).to_le_bytes());
        self.index.extend_from_slice(&entry);
        self.len += MESSAGE_HEAD_BYTES + payload_bytes;
        assert!(self.len <= self.bytes.len());
        self.records += 1;
        self.payload_bytes += payload_bytes as u64;
        self.times_ns = (self.times_ns.0.min(log_time_ns), self.times_ns.1.max(log_time_ns));
    }

    /// Copies a message in, up to [`MESSAGE_BYTES_MAX`], or answers `false` when it does not fit.
    pub fn push(&mut self, payload: &[u8], log_time_ns: u64) -> bool {
        let start = self.len + MESSAGE_HEAD_BYTES;
        let end = start + payload.len();
        let fits = self.crc.is_none() && payload.len() <= MESSAGE_BYTES_MAX && end <= self.bytes.len();
        if fits {
            self.bytes[start..end].copy_from_slice(payload);
            self.finish(payload.len(), log_time_ns);
        }
        fits
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
            crc.update(&self.bytes[..self.len]);
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
        if self.crc.is_some() { 0 } else { self.bytes.len() - self.len }
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
        &self.bytes[..self.len]
    }

    pub(crate) fn index(&self) -> &[u8] {
        &self.index
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
