//! One segment: the append-only emitter of an MCAP file.
//!
//! Layout of `NNNNNN.mcap`, while `NNNNNN.mcap.part` up to `DataEnd`:
//!
//! ```text
//! magic  Header  Metadata "evenkeel.segment"  Commit (all channels)
//! { {Schema} {Channel} [Padding] Chunk  {MessageIndex} }  Commit    and so on
//! DataEnd  Schemas Channels Statistics ChunkIndexes MetadataIndex  SummaryOffsets  Footer  magic
//! ```
//!
//! A stream's channel record stands before its first chunk, and once more before
//! its first chunk after the next commit: damage to one place must not cost the
//! whole stream. It carries a CRC of its own (metadata `crc`), because what is
//! said in it decides whose the messages are.
//!
//! Padding, a private record, puts the first large batch of a chunk at a block boundary,
//! so that the storage can write it out of the buffer that it was read into.
//!
//! Invariants: `bytes` is the length of the file as long as no append failed; a
//! failed append changes nothing here, so the owner may cut the file back to
//! `bytes` and try again; `data` and `region` together are the CRC of the whole
//! file so far.

use crate::batch::Batch;
use crate::commit::{ChannelState, Commit, SEGMENT_END};
use crate::mcap::encode::{self, ChunkIndex, Summary};
use crate::mcap::{CHUNK_HEAD_BYTES, MAGIC, RECORD_HEAD_BYTES, SEGMENT_METADATA, op};
use crate::storage::{AppendFile, BLOCK_BYTES, Storage};
use crate::writer::{Stamp, StreamId};
use crc32fast::Hasher;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of segment `number` once it is sealed.
pub fn sealed_name(number: u64) -> String {
    format!("{number:06}.mcap")
}

/// Name of segment `number` until it is sealed.
pub fn part_name(number: u64) -> String {
    format!("{number:06}.mcap.part")
}

/// How a stream is described in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamDefinition {
    pub(crate) topic: String,
    pub(crate) encoding: String,
    pub(crate) schema: Option<&'static Schema>,
    pub(crate) metadata: Vec<(String, String)>,
}

/// A JSON schema of messages that this log itself writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) id: u16,
    pub(crate) name: &'static str,
    pub(crate) json: &'static str,
}

/// The segment that is being written.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) id: [u8; 16],
    pub(crate) file: Arc<dyn AppendFile>,
    /// Length of the file in bytes.
    pub(crate) bytes: u64,
    /// Bytes known durable.
    pub(crate) synced_through: u64,
    /// Whether the directory entry is not yet known durable.
    pub(crate) unsynced_dir: bool,
    pub(crate) created_mono_ns: u64,
    previous_end: u64,
    region: Hasher,
    data: Hasher,
    summary: Summary,
    schemas: Vec<u16>,
    /// Streams that are defined, by MCAP id.
    defined: HashMap<u16, Defined>,
    /// Its last commit is written; what follows is the seal, from another thread.
    ended: bool,
    given_up: Arc<AtomicBool>,
    /// Whether its head and its name are known durable.
    durable: Arc<AtomicBool>,
}

/// A stream that is defined in a segment.
struct Defined {
    /// Which stream it is: inside a segment an id stays its.
    serial: u64,
    /// Where the region of its first definition begins, or `None` once it was repeated in another.
    region: Option<u64>,
}

/// A segment's file, as the jobs see it. Once an append or a sync has failed it
/// is given up: no later sync of it may pass for a success, because the system
/// tells a failed write-back only once.
#[derive(Clone)]
pub(crate) struct Disk {
    file: Arc<dyn AppendFile>,
    given_up: Arc<AtomicBool>,
    durable: Arc<AtomicBool>,
}

impl Disk {
    pub(crate) fn file(&self) -> io::Result<&dyn AppendFile> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(io::Error::other("the segment was given up after a failed write or sync"));
        }
        Ok(&*self.file)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file()?.sync().inspect_err(|_| self.given_up.store(true, Ordering::Release))
    }

    /// Its head and its name are known durable.
    pub(crate) fn note_durable(&self) {
        self.durable.store(true, Ordering::Release);
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }
}

/// What a segment's head tells besides its number.
pub(crate) struct Head<'a> {
    pub(crate) id: [u8; 16],
    pub(crate) library: &'a str,
    pub(crate) metadata: &'a [(&'a str, &'a str)],
    pub(crate) flags: u8,
    pub(crate) chain: Option<[u8; 32]>,
    pub(crate) entries: Vec<(String, ChannelState)>,
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl Segment {
    /// Creates the file `name` with its head and its first commit, in one append.
    pub(crate) fn create(
        storage: &dyn Storage,
        name: &str,
        number: u64,
        head: Head<'_>,
        stamp: Stamp,
    ) -> io::Result<Self> {
        let file: Arc<dyn AppendFile> = Arc::from(storage.create(name)?);
        let mut segment = Self {
            number,
            id: head.id,
            file,
            bytes: 0,
            synced_through: 0,
            unsynced_dir: true,
            created_mono_ns: stamp.mono_ns,
            previous_end: 0,
            region: Hasher::new(),
            data: Hasher::new(),
            summary: Summary::default(),
            schemas: Vec::new(),
            defined: HashMap::new(),
            given_up: Arc::default(),
            durable: Arc::default(),
            ended: false,
        };
        let mut out = MAGIC.to_vec();
        encode::header(&mut out, "", head.library);
        let (number_text, id_text) = (number.to_string(), hex(&head.id));
        let mut pairs = vec![("format", "1"), ("segment", &number_text), ("segment_id", &id_text)];
        pairs.extend_from_slice(head.metadata);
        let at = out.len();
        encode::metadata(&mut out, SEGMENT_METADATA, &pairs);
        segment.summary.add_metadata(SEGMENT_METADATA, at as u64, (out.len() - at) as u64);
        segment.region.update(&out);
        let commit = segment.commit_record(out.len() as u64, head.flags, head.chain, head.entries, stamp);
        commit.encode(&mut out);
        segment.file.append(&mut [IoSlice::new(&out)])?;
        segment.committed(&out[usize::try_from(commit.offset).unwrap_or(usize::MAX)..], &commit);
        Ok(segment)
    }

    fn commit_record(
        &self,
        offset: u64,
        flags: u8,
        chain: Option<[u8; 32]>,
        entries: Vec<(String, ChannelState)>,
        stamp: Stamp,
    ) -> Commit {
        Commit {
            segment_id: self.id,
            segment: self.number,
            offset,
            previous_end: self.previous_end,
            region_crc: self.region.clone().finalize(),
            wall_ns: stamp.wall_ns,
            mono_ns: stamp.mono_ns,
            synced_through: self.synced_through,
            flags,
            chain,
            entries,
        }
    }

    fn committed(&mut self, record: &[u8], commit: &Commit) {
        self.data.combine(&std::mem::take(&mut self.region));
        self.data.update(record);
        self.bytes = commit.offset + record.len() as u64;
        self.previous_end = self.bytes;
    }

    /// Appends a commit record.
    pub(crate) fn commit(
        &mut self,
        flags: u8,
        chain: Option<[u8; 32]>,
        entries: Vec<(String, ChannelState)>,
        stamp: Stamp,
    ) -> io::Result<()> {
        assert!(!self.ended, "invariant: nothing but the seal follows the last commit");
        let commit = self.commit_record(self.bytes, flags, chain, entries, stamp);
        let mut out = Vec::with_capacity(256);
        commit.encode(&mut out);
        self.file.append(&mut [IoSlice::new(&out)])?;
        self.committed(&out, &commit);
        Ok(())
    }

    /// Whether bytes follow the last commit.
    pub(crate) fn uncommitted(&self) -> bool {
        self.bytes > self.previous_end
    }

    /// Appends sealed batches as one chunk with its indexes; `define` describes
    /// a stream that this segment has not seen yet.
    pub(crate) fn chunk<'a>(
        &mut self,
        batches: &[&Batch],
        define: &dyn Fn(u16) -> &'a StreamDefinition,
    ) -> io::Result<()> {
        assert!(!self.ended, "invariant: nothing but the seal follows the last commit");
        let mut head = Vec::with_capacity(CHUNK_HEAD_BYTES + 64);
        let fresh = self.definitions(&mut head, batches, define);
        pad_to_block(&mut head, self.bytes, batches);
        let chunk_at = self.bytes + head.len() as u64;
        let (mut crc, mut bytes, mut times) = (Hasher::new(), 0u64, (u64::MAX, 0u64));
        for batch in batches {
            let batch_crc = batch.crc().expect("invariant: only sealed batches reach a segment");
            crc.combine(&Hasher::new_with_initial_len(batch_crc, batch.encoded().len() as u64));
            bytes += batch.encoded().len() as u64;
            times = (times.0.min(batch.times_ns().0), times.1.max(batch.times_ns().1));
        }
        head.extend_from_slice(&encode::chunk_head(times.0, times.1, bytes, crc.clone().finalize()));
        let chunk_bytes = CHUNK_HEAD_BYTES as u64 + bytes;
        let mut tail = Vec::with_capacity(batches.iter().map(|b| b.index_bytes() + 16).sum::<usize>());
        let (message_indexes, counts) = indexes(&mut tail, batches, chunk_at + chunk_bytes);

        let mut parts = Vec::with_capacity(batches.len() + 2);
        parts.push(IoSlice::new(&head));
        parts.extend(batches.iter().map(|b| IoSlice::new(b.encoded())));
        parts.push(IoSlice::new(&tail));
        self.file.append(&mut parts)?;

        self.region.update(&head);
        self.region.combine(&crc);
        self.region.update(&tail);
        self.bytes = chunk_at + chunk_bytes + tail.len() as u64;
        self.keep(&fresh);
        let index = ChunkIndex {
            start_ns: times.0,
            end_ns: times.1,
            offset: chunk_at,
            bytes: chunk_bytes,
            message_indexes,
            message_index_bytes: tail.len() as u64,
        };
        self.summary.add_chunk(&index, counts);
        Ok(())
    }

    /// Whether a chunk has to bring the definition of this stream with it.
    fn wants_definition(&self, id: u16) -> bool {
        let repeats = |defined: &Defined| defined.region.is_some_and(|begin| begin != self.previous_end);
        self.defined.get(&id).is_none_or(repeats)
    }

    /// Encodes schema and channel records of streams that want a definition.
    fn definitions<'a>(
        &self,
        out: &mut Vec<u8>,
        batches: &[&Batch],
        define: &dyn Fn(u16) -> &'a StreamDefinition,
    ) -> Fresh<'a> {
        let mut fresh = Fresh::default();
        let mut serials: HashMap<u16, u64> = HashMap::new();
        for batch in batches {
            let (id, serial) = (batch.stream().mcap_id(), batch.stream().serial());
            let before = serials.insert(id, serial);
            let known = before.or_else(|| self.stream_with_id(id));
            assert!(
                known.is_none_or(|known| known == serial),
                "invariant: an id has one stream in a segment"
            );
            if before.is_some() || !self.wants_definition(id) {
                continue;
            }
            let definition = define(id);
            if let Some(schema) = definition.schema
                && !self.schemas.contains(&schema.id)
                && !fresh.schemas.contains(&schema)
            {
                encode::schema(out, schema.id, schema.name, "jsonschema", schema.json.as_bytes());
                fresh.schemas.push(schema);
            }
            let mut record = Vec::with_capacity(128);
            definition.encode(id, &mut record);
            out.extend_from_slice(&record);
            fresh.channels.push((batch.stream(), record));
        }
        fresh
    }

    fn keep(&mut self, fresh: &Fresh<'_>) {
        for schema in &fresh.schemas {
            encode::schema(
                &mut self.summary.schemas,
                schema.id,
                schema.name,
                "jsonschema",
                schema.json.as_bytes(),
            );
            self.summary.schema_count += 1;
            self.schemas.push(schema.id);
        }
        for (stream, record) in &fresh.channels {
            let (id, serial) = (stream.mcap_id(), stream.serial());
            let again = self.defined.contains_key(&id);
            let region = (!again).then_some(self.previous_end);
            self.defined.insert(id, Defined { serial, region });
            if again {
                continue;
            }
            self.summary.channels.extend_from_slice(record);
            self.summary.messages.insert(id, 0);
        }
    }

    /// Which stream has an MCAP id in this segment.
    pub(crate) fn stream_with_id(&self, id: u16) -> Option<u64> {
        self.defined.get(&id).map(|defined| defined.serial)
    }

    /// Streams that are defined.
    pub(crate) fn streams(&self) -> usize {
        self.defined.len()
    }

    /// Bytes of chunk index collected so far; kept in memory until the seal.
    pub(crate) fn index_bytes(&self) -> usize {
        self.summary.chunks.len()
    }

    /// What is still to be appended to make it a sealed file.
    ///
    /// # Panics
    /// When bytes follow the last commit.
    pub(crate) fn seal_bytes(&self) -> Vec<u8> {
        assert!(!self.uncommitted(), "invariant: the last commit of a segment covers all of it");
        self.summary.seal(self.bytes, self.data.clone().finalize())
    }

    /// CRC of the whole file, once `seal` is appended.
    ///
    /// # Panics
    /// When bytes follow the last commit.
    pub(crate) fn crc_with(&self, seal: &[u8]) -> u32 {
        assert!(!self.uncommitted(), "invariant: the last commit of a segment covers all of it");
        let mut crc = self.data.clone();
        crc.update(seal);
        crc.finalize()
    }

    /// Takes up a segment again whose bytes were scanned up to `bytes`, the end of a commit.
    pub(crate) fn resume(file: Arc<dyn AppendFile>, scanned: Resumed) -> Self {
        Self {
            number: scanned.number,
            id: scanned.id,
            file,
            bytes: scanned.bytes,
            synced_through: scanned.synced_through,
            unsynced_dir: false,
            created_mono_ns: 0,
            previous_end: scanned.bytes,
            region: Hasher::new(),
            data: Hasher::new_with_initial_len(scanned.data_crc, scanned.bytes),
            defined: scanned
                .summary
                .messages
                .keys()
                .map(|id| (*id, Defined { serial: 0, region: None }))
                .collect(),
            summary: scanned.summary,
            schemas: scanned.schemas,
            given_up: Arc::default(),
            durable: Arc::default(),
            ended: false,
        }
    }

    /// An MCAP channel id that no stream of this segment has.
    pub(crate) fn free_mcap_id(&self) -> Option<u16> {
        (1..=u16::MAX).rev().find(|id| !self.summary.messages.contains_key(id))
    }

    /// The file for jobs on other threads.
    pub(crate) fn disk(&self) -> Disk {
        Disk { file: self.file.clone(), given_up: self.given_up.clone(), durable: self.durable.clone() }
    }

    /// No sync of this file counts from now on.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// Ends the segment and answers what its seal appends.
    pub(crate) fn end(
        &mut self,
        flags: u8,
        chain: Option<[u8; 32]>,
        entries: Vec<(String, ChannelState)>,
        stamp: Stamp,
    ) -> io::Result<Vec<u8>> {
        self.commit(flags | SEGMENT_END, chain, entries, stamp)?;
        self.ended = true;
        Ok(self.seal_bytes())
    }
}

/// What a scan knows of a segment that is to be continued.
pub(crate) struct Resumed {
    pub(crate) number: u64,
    pub(crate) id: [u8; 16],
    pub(crate) bytes: u64,
    pub(crate) synced_through: u64,
    pub(crate) data_crc: u32,
    pub(crate) summary: Summary,
    pub(crate) schemas: Vec<u16>,
}

#[derive(Default)]
struct Fresh<'a> {
    schemas: Vec<&'a Schema>,
    channels: Vec<(StreamId, Vec<u8>)>,
}

impl StreamDefinition {
    pub(crate) fn encode(&self, id: u16, out: &mut Vec<u8>) {
        let schema = self.schema.map_or(0, |s| s.id);
        encode::channel(out, id, schema, &self.topic, &self.encoding, &self.metadata);
    }
}

type IndexOffsets = Vec<(u16, u64)>;
type Counts = Vec<(u16, u64)>;

/// Encodes one message index record a stream; answers where each begins and
/// how many messages each stream has.
fn indexes(out: &mut Vec<u8>, batches: &[&Batch], first_at: u64) -> (IndexOffsets, Counts) {
    let mut placed: Vec<(u16, u64, &Batch)> = Vec::with_capacity(batches.len());
    let mut base = 0;
    for batch in batches {
        placed.push((batch.stream().mcap_id(), base, batch));
        base += batch.encoded().len() as u64;
    }
    placed.sort_by_key(|(id, base, _)| (*id, *base));
    let (mut offsets, mut counts) = (Vec::new(), Vec::new());
    for of_stream in placed.chunk_by(|a, b| a.0 == b.0) {
        let id = of_stream[0].0;
        offsets.push((id, first_at + out.len() as u64));
        counts.push((id, of_stream.iter().map(|(_, _, b)| b.records()).sum()));
        encode::record(out, op::MESSAGE_INDEX, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            let entries: usize = of_stream.iter().map(|(_, _, b)| b.index_bytes()).sum();
            out.extend_from_slice(&encode::u32_of(entries).to_le_bytes());
            for (_, base, batch) in of_stream {
                batch.index(*base, out);
            }
        });
    }
    (offsets, counts)
}

/// Appends padding to the head of a chunk, so that its first large batch begins at a block
/// boundary of a file that has `bytes` before the head.
fn pad_to_block(head: &mut Vec<u8>, bytes: u64, batches: &[&Batch]) {
    let Some(large) = batches.iter().position(|batch| batch.is_large()) else { return };
    let before: usize = batches[..large].iter().map(|batch| batch.encoded().len()).sum();
    let begins = bytes + (head.len() + CHUNK_HEAD_BYTES + before) as u64;
    let beyond = (begins % BLOCK_BYTES as u64) as usize;
    if beyond > 0 {
        let missing = BLOCK_BYTES - beyond;
        let fits = missing >= RECORD_HEAD_BYTES;
        encode::padding(head, if fits { missing } else { missing + BLOCK_BYTES });
    }
}
