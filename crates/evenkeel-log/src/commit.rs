//! Commit records: the marks of validity.
//!
//! A commit says that every byte of the segment before it is whole. It stands
//! between chunks as a private MCAP record (opcode 0x80), which other readers
//! skip. Body, little-endian:
//!
//! ```text
//! marker          8   b"EK\x01commt"; searched for when a length field is broken
//! segment_id     16   random, the same in the segment's metadata
//! segment         8   number in the file name
//! offset          8   of this record; a copy elsewhere is no commit
//! previous_end    8   end of the commit before, 0 for the first
//! region_crc      4   CRC-32 of [previous_end, offset)
//! wall_ns         8   Unix time
//! mono_ns         8   monotonic clock of this boot
//! synced_through  8   bytes of this segment known durable when this was written
//! flags           1   1 every channel listed, 2 last of its segment, 4 last of its run
//! chain           1+n hash chain of a journal, n = 0 or 32
//! count           4   entries
//! entries             name, flags, sequence, records, bytes, streams, position
//! self_crc        4   CRC-32 of the record from its opcode to here
//! ```
//!
//! Entries hold the channels that changed since the commit before; the first
//! commit of a segment holds all of them, so that a segment is readable alone.

use crate::mcap::decode::Body;
use crate::mcap::{RECORD_HEAD_BYTES, encode, op};

/// What a search for commits looks for.
pub(crate) const MARKER: [u8; 8] = *b"EK\x01commt";
/// Bytes of a record that tell whether it may be a commit.
pub(crate) const COMMIT_HEAD_BYTES: usize = RECORD_HEAD_BYTES + 40;
/// Flag: lists every channel, not only those that changed.
pub(crate) const SNAPSHOT: u8 = 1;
/// Flag: no message follows in this segment.
pub(crate) const SEGMENT_END: u8 = 2;
/// Flag: the recording was stopped in order here.
pub(crate) const RUN_END: u8 = 4;

/// How far a resumable source was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Device number of the file.
    pub device: u64,
    /// Inode number of the file.
    pub inode: u64,
    /// Bytes of it that were read.
    pub offset: u64,
}

/// What a commit says of one channel, counted from the beginning of the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Last sequence number given: messages and declared gaps.
    pub last_sequence: u64,
    /// Messages stored.
    pub records: u64,
    /// Payload bytes stored.
    pub bytes: u64,
    /// Streams (connections, runs) opened so far.
    pub streams: u32,
    /// Whether its source has ended and all of it is stored.
    pub ended: bool,
    /// How far its source was read, where it can be resumed.
    pub position: Option<SourcePosition>,
}

/// A commit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) segment_id: [u8; 16],
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) previous_end: u64,
    pub(crate) region_crc: u32,
    pub(crate) wall_ns: u64,
    pub(crate) mono_ns: u64,
    pub(crate) synced_through: u64,
    pub(crate) flags: u8,
    pub(crate) chain: Option<[u8; 32]>,
    pub(crate) entries: Vec<(String, ChannelState)>,
}

impl Commit {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        encode::record(out, op::COMMIT, |out| {
            out.extend_from_slice(&MARKER);
            out.extend_from_slice(&self.segment_id);
            out.extend_from_slice(&self.segment.to_le_bytes());
            out.extend_from_slice(&self.offset.to_le_bytes());
            out.extend_from_slice(&self.previous_end.to_le_bytes());
            out.extend_from_slice(&self.region_crc.to_le_bytes());
            out.extend_from_slice(&self.wall_ns.to_le_bytes());
            out.extend_from_slice(&self.mono_ns.to_le_bytes());
            out.extend_from_slice(&self.synced_through.to_le_bytes());
            out.push(self.flags);
            match &self.chain {
                Some(hash) => {
                    out.push(32);
                    out.extend_from_slice(hash);
                }
                None => out.push(0),
            }
            out.extend_from_slice(&encode::u32_of(self.entries.len()).to_le_bytes());
            for (name, state) in &self.entries {
                state.encode(name, out);
            }
            out.extend_from_slice(&[0; 4]);
        });
        let end = out.len() - 4;
        let crc = crc32fast::hash(&out[start..end]);
        out[end..].copy_from_slice(&crc.to_le_bytes());
    }

    /// Whether the beginning of a record is that of a commit at `at`; a cheap
    /// question, to be asked before the record is read.
    pub(crate) fn may_stand(head: &[u8], at: u64) -> bool {
        let mut body = Body(head.get(RECORD_HEAD_BYTES..).unwrap_or_default());
        head.first() == Some(&op::COMMIT)
            && body.take(MARKER.len()) == Some(&MARKER)
            && body.take(24).is_some()
            && body.u64() == Some(at)
    }

    /// Reads the record that `record` is, from its opcode to its last byte;
    /// `None` unless its own CRC is right and it says that it stands at `at`.
    pub(crate) fn decode(record: &[u8], at: u64) -> Option<Self> {
        let mut body = Body(record.get(RECORD_HEAD_BYTES..)?);
        let marker = body.take(8)?;
        let segment_id = body.take(16)?.try_into().ok()?;
        let (segment, offset, previous_end) = (body.u64()?, body.u64()?, body.u64()?);
        if marker != MARKER || offset != at {
            return None;
        }
        let crc_at = record.len().checked_sub(4)?;
        let saved = u32::from_le_bytes(record[crc_at..].try_into().ok()?);
        if crc32fast::hash(&record[..crc_at]) != saved {
            return None;
        }
        let region_crc = body.u32()?;
        let (wall_ns, mono_ns, synced_through) = (body.u64()?, body.u64()?, body.u64()?);
        let flags = body.u8()?;
        let chain = match body.u8()? {
            0 => None,
            32 => Some(body.take(32)?.try_into().ok()?),
            _ => return None,
        };
        let count = body.u32()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(ChannelState::decode(&mut body)?);
        }
        body.u32()?;
        body.ends(Self {
            segment_id,
            segment,
            offset,
            previous_end,
            region_crc,
            wall_ns,
            mono_ns,
            synced_through,
            flags,
            chain,
            entries,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl ChannelState {
    fn encode(&self, name: &str, out: &mut Vec<u8>) {
        encode::string(out, name);
        out.push(u8::from(self.ended) | u8::from(self.position.is_some()) << 1);
        out.extend_from_slice(&self.last_sequence.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.streams.to_le_bytes());
        if let Some(position) = &self.position {
            for value in [position.device, position.inode, position.offset] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn decode(body: &mut Body<'_>) -> Option<(String, Self)> {
        let name = body.string()?.to_owned();
        let flags = body.u8()?;
        let mut state = Self {
            last_sequence: body.u64()?,
            records: body.u64()?,
            bytes: body.u64()?,
            streams: body.u32()?,
            ended: flags & 1 != 0,
            position: None,
        };
        if flags & 2 != 0 {
            let (device, inode, offset) = (body.u64()?, body.u64()?, body.u64()?);
            state.position = Some(SourcePosition { device, inode, offset });
        }
        Some((name, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Commit {
        let position = Some(SourcePosition { device: 1, inode: 2, offset: 3 });
        let state =
            ChannelState { last_sequence: 9, records: 8, bytes: 7, streams: 2, ended: true, position };
        Commit {
            segment_id: [7; 16],
            segment: 3,
            offset: 100,
            previous_end: 40,
            region_crc: 0xDEAD_BEEF,
            wall_ns: 11,
            mono_ns: 12,
            synced_through: 40,
            flags: SNAPSHOT,
            chain: Some([5; 32]),
            entries: vec![("left".to_owned(), state), ("right".to_owned(), ChannelState::default())],
        }
    }

    // REQ W3
    #[test]
    fn a_commit_reads_back_only_whole_and_only_in_its_place() {
        let commit = sample();
        let mut bytes = Vec::new();
        commit.encode(&mut bytes);
        assert_eq!(Commit::decode(&bytes, 100), Some(commit));
        assert_eq!(Commit::decode(&bytes, 101), None);
        for end in 0..bytes.len() {
            assert_eq!(Commit::decode(&bytes[..end], 100), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Commit::decode(&bent, 100), None, "bit {bit}");
        }
    }
}
