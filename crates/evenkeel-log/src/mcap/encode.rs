//! Records, appended to byte vectors.

use super::{CHANNEL_CRC_KEY, CHUNK_HEAD_BYTES, MAGIC, MESSAGE_HEAD_BYTES, RECORD_HEAD_BYTES, op};
use crc32fast::Hasher;
use std::collections::BTreeMap;

/// Appends a string with its length.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32_of(text.len()).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A length that the format stores in 32 bits.
///
/// # Panics
/// Beyond 4 GiB, which no length built here can reach.
pub(crate) fn u32_of(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: lengths built here stay below 4 GiB")
}

/// Appends a record whose body `fill` appends.
pub(crate) fn record(out: &mut Vec<u8>, opcode: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    fill(out);
    let len = (out.len() - at - 8) as u64;
    out[at..at + 8].copy_from_slice(&len.to_le_bytes());
}

fn map<'a>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (key, value) in pairs {
        string(out, key);
        string(out, value);
    }
    let len = u32_of(out.len() - at - 4);
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

pub(crate) fn header(out: &mut Vec<u8>, profile: &str, library: &str) {
    record(out, op::HEADER, |out| {
        string(out, profile);
        string(out, library);
    });
}

pub(crate) fn metadata(out: &mut Vec<u8>, name: &str, pairs: &[(&str, &str)]) {
    record(out, op::METADATA, |out| {
        string(out, name);
        map(out, pairs.iter().copied());
    });
}

pub(crate) fn schema(out: &mut Vec<u8>, id: u16, name: &str, encoding: &str, data: &[u8]) {
    record(out, op::SCHEMA, |out| {
        out.extend_from_slice(&id.to_le_bytes());
        string(out, name);
        string(out, encoding);
        out.extend_from_slice(&u32_of(data.len()).to_le_bytes());
        out.extend_from_slice(data);
    });
}

/// Appends a channel record; a CRC of the record goes into its metadata.
pub(crate) fn channel(
    out: &mut Vec<u8>,
    id: u16,
    schema_id: u16,
    topic: &str,
    encoding: &str,
    metadata: &[(String, String)],
) {
    record(out, op::CHANNEL, |out| {
        let start = out.len();
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&schema_id.to_le_bytes());
        string(out, topic);
        string(out, encoding);
        let pairs = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        map(out, pairs.chain([(CHANNEL_CRC_KEY, "00000000")]));
        // The last pair of the last field: the CRC of all before its digits.
        let digits_at = out.len() - 8;
        let crc = format!("{:08x}", crc32fast::hash(&out[start..digits_at]));
        out[digits_at..].copy_from_slice(crc.as_bytes());
    });
}

/// The bytes of a message record before its payload of `payload_bytes`.
pub(crate) fn message_head(
    channel: u16,
    sequence: u32,
    log_time_ns: u64,
    payload_bytes: usize,
) -> [u8; MESSAGE_HEAD_BYTES] {
    let mut head = [0; MESSAGE_HEAD_BYTES];
    head[0] = op::MESSAGE;
    head[1..9].copy_from_slice(&(22 + payload_bytes as u64).to_le_bytes());
    head[9..11].copy_from_slice(&channel.to_le_bytes());
    head[11..15].copy_from_slice(&sequence.to_le_bytes());
    head[15..23].copy_from_slice(&log_time_ns.to_le_bytes());
    head[23..31].copy_from_slice(&log_time_ns.to_le_bytes());
    head
}

/// Length and log time of the message record that `records` begin with.
pub(crate) fn message_at(records: &[u8]) -> Option<(usize, u64)> {
    let head = records.first_chunk::<MESSAGE_HEAD_BYTES>()?;
    let (mut len, mut time) = ([0; 8], [0; 8]);
    len.copy_from_slice(&head[1..9]);
    time.copy_from_slice(&head[15..23]);
    Some((RECORD_HEAD_BYTES + u64::from_le_bytes(len) as usize, u64::from_le_bytes(time)))
}

/// A private record of zeroes, so that what follows begins `bytes` later.
///
/// # Panics
/// When a record cannot be that short.
pub(crate) fn padding(out: &mut Vec<u8>, bytes: usize) {
    assert!(bytes >= RECORD_HEAD_BYTES);
    out.push(op::PADDING);
    out.extend_from_slice(&((bytes - RECORD_HEAD_BYTES) as u64).to_le_bytes());
    out.resize(out.len() + bytes - RECORD_HEAD_BYTES, 0);
}

/// The bytes of a chunk record before its `bytes` of records.
pub(crate) fn chunk_head(start_ns: u64, end_ns: u64, bytes: u64, crc: u32) -> [u8; CHUNK_HEAD_BYTES] {
    let mut head = [0; CHUNK_HEAD_BYTES];
    head[0] = op::CHUNK;
    head[1..9].copy_from_slice(&(40 + bytes).to_le_bytes());
    head[9..17].copy_from_slice(&start_ns.to_le_bytes());
    head[17..25].copy_from_slice(&end_ns.to_le_bytes());
    head[25..33].copy_from_slice(&bytes.to_le_bytes());
    head[33..37].copy_from_slice(&crc.to_le_bytes());
    // 37..41: length of the compression's name, none.
    head[41..49].copy_from_slice(&bytes.to_le_bytes());
    head
}

/// One chunk, as the summary tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIndex {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Where the chunk record begins, and its bytes with the record's head.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Where each channel's message index record begins.
    pub(crate) message_indexes: Vec<(u16, u64)>,
    pub(crate) message_index_bytes: u64,
}

impl ChunkIndex {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        record(out, op::CHUNK_INDEX, |out| {
            out.extend_from_slice(&self.start_ns.to_le_bytes());
            out.extend_from_slice(&self.end_ns.to_le_bytes());
            out.extend_from_slice(&self.offset.to_le_bytes());
            out.extend_from_slice(&self.bytes.to_le_bytes());
            out.extend_from_slice(&u32_of(self.message_indexes.len() * 10).to_le_bytes());
            for (channel, offset) in &self.message_indexes {
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
            }
            out.extend_from_slice(&self.message_index_bytes.to_le_bytes());
            string(out, "");
            let records = self.bytes - CHUNK_HEAD_BYTES as u64;
            out.extend_from_slice(&records.to_le_bytes());
            out.extend_from_slice(&records.to_le_bytes());
        });
    }
}

/// What the summary of a segment says; grows with every chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Encoded schema records.
    pub(crate) schemas: Vec<u8>,
    pub(crate) schema_count: u16,
    /// Encoded channel records.
    pub(crate) channels: Vec<u8>,
    /// Encoded chunk index records.
    pub(crate) chunks: Vec<u8>,
    pub(crate) chunk_count: u32,
    /// Encoded metadata index records.
    pub(crate) metadata: Vec<u8>,
    pub(crate) metadata_count: u32,
    /// Messages per MCAP channel; holds every channel that was defined.
    pub(crate) messages: BTreeMap<u16, u64>,
    /// Earliest and latest log time.
    pub(crate) times_ns: Option<(u64, u64)>,
}

impl Summary {
    /// Bytes that the summary has grown to, about.
    pub(crate) fn index_bytes(&self) -> usize {
        self.schemas.len() + self.channels.len() + self.chunks.len() + self.metadata.len()
    }

    /// Takes note of a chunk that stands in the file.
    pub(crate) fn add_chunk(&mut self, index: &ChunkIndex, counts: impl IntoIterator<Item = (u16, u64)>) {
        index.encode(&mut self.chunks);
        self.chunk_count += 1;
        for (channel, count) in counts {
            *self.messages.entry(channel).or_default() += count;
        }
        let (start, end) = self.times_ns.unwrap_or((index.start_ns, index.end_ns));
        self.times_ns = Some((start.min(index.start_ns), end.max(index.end_ns)));
    }

    /// Takes note of a metadata record of `bytes` in all at `offset`.
    pub(crate) fn add_metadata(&mut self, name: &str, offset: u64, bytes: u64) {
        record(&mut self.metadata, op::METADATA_INDEX, |out| {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
            string(out, name);
        });
        self.metadata_count += 1;
    }

    fn statistics(&self, out: &mut Vec<u8>) {
        let (start, end) = self.times_ns.unwrap_or((0, 0));
        record(out, op::STATISTICS, |out| {
            out.extend_from_slice(&self.messages.values().sum::<u64>().to_le_bytes());
            out.extend_from_slice(&self.schema_count.to_le_bytes());
            out.extend_from_slice(&u32_of(self.messages.len()).to_le_bytes());
            out.extend_from_slice(&0u32.to_le_bytes());
            out.extend_from_slice(&self.metadata_count.to_le_bytes());
            out.extend_from_slice(&self.chunk_count.to_le_bytes());
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&u32_of(self.messages.len() * 10).to_le_bytes());
            for (channel, count) in &self.messages {
                out.extend_from_slice(&channel.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
        });
    }

    /// Everything from the end of the data to the end of the file: `DataEnd`,
    /// the summary, its offsets, the footer, the magic.
    pub(crate) fn seal(&self, data_bytes: u64, data_crc: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.chunks.len() + self.channels.len() + self.schemas.len() + 1024);
        record(&mut out, op::DATA_END, |out| out.extend_from_slice(&data_crc.to_le_bytes()));
        let summary_at = out.len();
        let mut statistics = Vec::new();
        self.statistics(&mut statistics);
        let mut groups: Vec<(u8, u64, u64)> = Vec::new();
        for (opcode, bytes) in [
            (op::SCHEMA, &self.schemas),
            (op::CHANNEL, &self.channels),
            (op::STATISTICS, &statistics),
            (op::CHUNK_INDEX, &self.chunks),
            (op::METADATA_INDEX, &self.metadata),
        ] {
            if !bytes.is_empty() {
                groups.push((opcode, data_bytes + out.len() as u64, bytes.len() as u64));
                out.extend_from_slice(bytes);
            }
        }
        let offsets_start = data_bytes + out.len() as u64;
        for (opcode, start, bytes) in groups {
            record(&mut out, op::SUMMARY_OFFSET, |out| {
                out.push(opcode);
                out.extend_from_slice(&start.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
            });
        }
        out.push(op::FOOTER);
        out.extend_from_slice(&20u64.to_le_bytes());
        out.extend_from_slice(&(data_bytes + summary_at as u64).to_le_bytes());
        out.extend_from_slice(&offsets_start.to_le_bytes());
        let mut crc = Hasher::new();
        crc.update(&out[summary_at..]);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }
}
