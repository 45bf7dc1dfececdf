//! Record bodies, read without trust: every function answers `None` instead of
//! reading past its input.

use super::CHANNEL_CRC_KEY;

/// A reader over the body of one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    pub(crate) fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn map(&mut self) -> Option<Vec<(&'a str, &'a str)>> {
        let mut inner = Body(self.bytes()?);
        let mut pairs = Vec::new();
        while !inner.is_empty() {
            pairs.push((inner.string()?, inner.string()?));
        }
        Some(pairs)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value`, when nothing is left over.
    pub(crate) fn ends<T>(self, value: T) -> Option<T> {
        self.is_empty().then_some(value)
    }
}

/// Opcode, body and total length of the record at the start of `bytes`.
pub(crate) fn record(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let mut body = Body(bytes);
    let opcode = body.u8()?;
    let len = usize::try_from(body.u64()?).ok()?;
    let content = body.take(len)?;
    Some((opcode, content, super::RECORD_HEAD_BYTES + len))
}

/// A channel record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Channel<'a> {
    pub(crate) id: u16,
    pub(crate) schema: u16,
    pub(crate) topic: &'a str,
    pub(crate) encoding: &'a str,
    pub(crate) metadata: Vec<(&'a str, &'a str)>,
}

/// A channel record whose own CRC is right; the CRC is not among the metadata.
pub(crate) fn channel(record: &[u8]) -> Option<Channel<'_>> {
    let mut body = Body(record);
    let (id, schema, topic) = (body.u16()?, body.u16()?, body.string()?);
    let encoding = body.string()?;
    let mut metadata = body.map()?;
    let (key, digits) = metadata.pop()?;
    let found = format!("{:08x}", crc32fast::hash(&record[..record.len().checked_sub(8)?]));
    if key != CHANNEL_CRC_KEY || digits != found {
        return None;
    }
    body.ends(Channel { id, schema, topic, encoding, metadata })
}

/// Whether a header record is well-formed.
pub(crate) fn header(body: &[u8]) -> Option<()> {
    let mut body = Body(body);
    body.string()?;
    body.string()?;
    body.ends(())
}

/// The id of a schema record that is well-formed.
pub(crate) fn schema(body: &[u8]) -> Option<u16> {
    let mut body = Body(body);
    let id = body.u16()?;
    body.string()?;
    body.string()?;
    body.bytes()?;
    body.ends(id)
}

/// A message record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) channel: u16,
    pub(crate) sequence: u32,
    pub(crate) log_time_ns: u64,
    pub(crate) payload: &'a [u8],
}

pub(crate) fn message(body: &[u8]) -> Option<Message<'_>> {
    let mut body = Body(body);
    let (channel, sequence, log_time_ns) = (body.u16()?, body.u32()?, body.u64()?);
    let publish_time_ns = body.u64()?;
    (publish_time_ns == log_time_ns).then_some(Message { channel, sequence, log_time_ns, payload: body.0 })
}

/// The message that `records` begin with, and the length of its record.
pub(crate) fn next_message(records: &[u8]) -> Option<(Message<'_>, usize)> {
    let (_, body, len) = record(records)?;
    Some((message(body)?, len))
}

/// The head of a chunk record; our chunks are never compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) crc: u32,
}

/// The head and the records of a chunk.
pub(crate) fn chunk(body: &[u8]) -> Option<(ChunkHead, &[u8])> {
    let mut body = Body(body);
    let (start_ns, end_ns, bytes, crc) = (body.u64()?, body.u64()?, body.u64()?, body.u32()?);
    let compression = body.string()?;
    let stored = body.u64()?;
    let whole = compression.is_empty() && bytes == stored && stored == body.0.len() as u64;
    whole.then_some((ChunkHead { start_ns, end_ns, crc }, body.0))
}

/// Name and pairs of a metadata record.
pub(crate) fn metadata(body: &[u8]) -> Option<(&str, Vec<(&str, &str)>)> {
    let mut body = Body(body);
    let name = body.string()?;
    let pairs = body.map()?;
    body.ends((name, pairs))
}

/// Channel and `(log time, offset)` pairs, encoded, of a message index record.
pub(crate) fn message_index(body: &[u8]) -> Option<(u16, &[u8])> {
    let mut body = Body(body);
    let channel = body.u16()?;
    let entries = body.bytes()?;
    (entries.len() % 16 == 0).then_some(())?;
    body.ends((channel, entries))
}
