//! The part of the MCAP format that this log writes and reads.
//!
//! A file is the magic, records of `opcode u8, length u64, body`, the magic.
//! All numbers are little-endian; strings, maps and arrays carry a `u32` length
//! in bytes before them. Source: the MCAP specification, version 0.

pub(crate) mod decode;
pub(crate) mod encode;

/// First and last eight bytes of a file.
pub(crate) const MAGIC: [u8; 8] = [0x89, b'M', b'C', b'A', b'P', 0x30, b'\r', b'\n'];

/// Record opcodes.
pub(crate) mod op {
    /// Profile and library.
    pub(crate) const HEADER: u8 = 0x01;
    /// Offsets of the summary, and its CRC.
    pub(crate) const FOOTER: u8 = 0x02;
    /// A schema of messages.
    pub(crate) const SCHEMA: u8 = 0x03;
    /// A stream of messages on a topic.
    pub(crate) const CHANNEL: u8 = 0x04;
    /// A message.
    pub(crate) const MESSAGE: u8 = 0x05;
    /// Messages under one CRC.
    pub(crate) const CHUNK: u8 = 0x06;
    /// Where the messages of one channel stand in the chunk before.
    pub(crate) const MESSAGE_INDEX: u8 = 0x07;
    /// Where a chunk and its indexes stand.
    pub(crate) const CHUNK_INDEX: u8 = 0x08;
    /// Counts over the whole file.
    pub(crate) const STATISTICS: u8 = 0x0B;
    /// Named string pairs.
    pub(crate) const METADATA: u8 = 0x0C;
    /// Where a metadata record stands.
    pub(crate) const METADATA_INDEX: u8 = 0x0D;
    /// Where a group of summary records stands.
    pub(crate) const SUMMARY_OFFSET: u8 = 0x0E;
    /// End of the data section, and its CRC.
    pub(crate) const DATA_END: u8 = 0x0F;
    /// Private to this log: marks that everything before it is whole.
    pub(crate) const COMMIT: u8 = 0x80;
    /// Private to this log: zeroes, so that what follows stands at a block boundary.
    pub(crate) const PADDING: u8 = 0x81;
}

/// Bytes of a record before its body.
pub(crate) const RECORD_HEAD_BYTES: usize = 9;
/// Bytes of a message record before its payload.
pub(crate) const MESSAGE_HEAD_BYTES: usize = RECORD_HEAD_BYTES + 22;
/// Bytes of a chunk record before the messages in it (no compression).
pub(crate) const CHUNK_HEAD_BYTES: usize = RECORD_HEAD_BYTES + 40;
/// Bytes of a whole `DataEnd` record.
pub(crate) const DATA_END_BYTES: usize = RECORD_HEAD_BYTES + 4;
/// Bytes of a whole `Footer` record.
pub(crate) const FOOTER_BYTES: usize = RECORD_HEAD_BYTES + 20;
/// A longer record body is damage, whatever its length field says: this bounds
/// the memory of every reader here. Our chunks stay far below it.
pub(crate) const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Key of the last metadata pair of our channel records: their own CRC, in hexadecimal.
pub(crate) const CHANNEL_CRC_KEY: &str = "crc";
/// Name of the metadata record that opens each of our segments.
pub(crate) const SEGMENT_METADATA: &str = "evenkeel.segment";
