//! Streams that come and go: who has which MCAP id, and until when.
//!
//! ```text
//! open: an id --> define: a number, a description --> batches --> close --> the last batch
//!   ^                                                                       is acknowledged
//!   +-------------------------- the id is free again <-------------------------------+
//! ```
//!
//! Invariants:
//! 1. At every moment an id is of one stream: it is free only when nothing of its
//!    stream waits to be acknowledged. What is poisoned is written again, and needs
//!    the stream's definition for it.
//! 2. Inside one segment an id is of one stream, or readers would give its messages
//!    to another: a batch whose id the segment has under another stream waits for
//!    the next segment, and wants a rotation. A freed id is used again after all
//!    others, so that this is rare.
//! 3. Gaps have an id of their own, which no other stream ever gets: they can be
//!    declared when all others are taken, and in every segment.

use super::{ChannelId, Item, LogWriter};
use crate::gap::{GAP_SCHEMA, GAPS_CHANNEL};
use crate::segment::StreamDefinition;
use evenkeel_hierarchy::{LogStreams, Mutex, with_root};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Streams that can be open at once: MCAP's ids from 1 on, less the one of the gaps.
pub const STREAMS_MAX: u16 = u16::MAX - 1;
/// The MCAP id of the stream of gaps.
const GAPS_MCAP_ID: u16 = u16::MAX;

/// More streams than twice this are in no segment: recovery has to find free ids there.
const SEGMENT_STREAMS_MAX: usize = 30_000;

/// A stream (one connection, one run) of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    channel: ChannelId,
    mcap: u16,
    /// Tells it from others that have the MCAP id at other times; 0 for the gaps' and outside a writer.
    serial: u64,
}

impl StreamId {
    /// The channel it belongs to.
    pub fn channel(self) -> ChannelId {
        self.channel
    }

    pub(crate) fn mcap_id(self) -> u16 {
        self.mcap
    }

    pub(crate) fn serial(self) -> u64 {
        self.serial
    }

    /// A stream outside any writer, known by its MCAP id alone.
    pub(crate) fn detached(mcap: u16) -> Self {
        Self { channel: ChannelId(0), mcap, serial: 0 }
    }

    fn of_gaps(channel: ChannelId) -> Self {
        Self { channel, mcap: GAPS_MCAP_ID, serial: 0 }
    }
}

/// The MCAP ids of a writer; whoever accepts a connection takes one here, from any thread.
///
/// What was opened is to be [defined](LogWriter::define) or at least
/// [closed](LogWriter::close_stream) by the writer's owner: until then its id is taken.
#[derive(Clone, Debug)]
pub struct StreamIds(Arc<Mutex<LogStreams, Ids>>);

#[derive(Debug)]
struct Ids {
    max: u16,
    /// Serial of the stream that has each id from 1 on, 0 where none has; as long as ids were used.
    holders: Vec<u64>,
    /// In the order in which they became free.
    freed: VecDeque<u16>,
    serials: u64,
}

impl StreamIds {
    fn new(max: u16) -> Self {
        let max = max.clamp(1, STREAMS_MAX);
        Self(Arc::new(Mutex::new(Ids { max, holders: Vec::new(), freed: VecDeque::new(), serials: 0 })))
    }

    /// A stream of `channel`, with an id that no other open stream has; `None` when
    /// all are taken: a connection that finds none is to be refused or to wait.
    /// `channel` is one of the same writer's.
    ///
    /// Never blocks for longer than another call here.
    pub fn open(&self, channel: ChannelId) -> Option<StreamId> {
        self.with(|ids| ids.open(channel))
    }

    /// How many more streams can be opened now.
    pub fn left(&self) -> usize {
        self.with(|ids| usize::from(ids.max) - ids.holders.len() + ids.freed.len())
    }

    fn is_open(&self, stream: StreamId) -> bool {
        self.with(|ids| ids.holder(stream).is_some_and(|holder| *holder == stream.serial))
    }

    fn free(&self, stream: StreamId) {
        self.with(|ids| ids.free(stream));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Ids) -> T) -> T {
        with_root(|house| act(&mut self.0.lock(house)))
    }
}

impl Ids {
    fn open(&mut self, channel: ChannelId) -> Option<StreamId> {
        let mcap = if self.holders.len() < usize::from(self.max) {
            self.holders.push(0);
            self.holders.len() as u16
        } else {
            self.freed.pop_front()?
        };
        self.serials += 1;
        let serial = self.serials;
        self.holders[usize::from(mcap) - 1] = serial;
        Some(StreamId { channel, mcap, serial })
    }

    /// Serial of the stream that has this one's id.
    fn holder(&mut self, stream: StreamId) -> Option<&mut u64> {
        self.holders.get_mut(usize::from(stream.mcap).wrapping_sub(1))
    }

    fn free(&mut self, stream: StreamId) {
        let holder = self.holder(stream).expect("invariant: what is closed was opened");
        assert_eq!(*holder, stream.serial, "invariant: a stream is closed once");
        *holder = 0;
        self.freed.push_back(stream.mcap);
    }
}

struct Stream {
    id: StreamId,
    definition: StreamDefinition,
    /// Batches that were appended and are not acknowledged.
    waiting: u64,
    closed: bool,
}

/// The streams that are defined, by MCAP id.
pub(super) struct Streams {
    ids: StreamIds,
    defined: HashMap<u16, Stream>,
}

impl Streams {
    pub(super) fn new(max: u16) -> Self {
        Self { ids: StreamIds::new(max), defined: HashMap::new() }
    }

    /// What a chunk says of the stream that has an id.
    pub(super) fn definition(&self, mcap: u16) -> &StreamDefinition {
        &self
            .defined
            .get(&mcap)
            .expect("invariant: a stream stays defined while something of it waits")
            .definition
    }

    fn define(&mut self, id: StreamId, definition: StreamDefinition) {
        let known = self.defined.insert(id.mcap, Stream { id, definition, waiting: 0, closed: false });
        assert!(known.is_none(), "invariant: a stream is defined once");
    }

    /// Takes note of a batch that was appended.
    pub(super) fn waits(&mut self, id: StreamId) {
        let stream = self.defined.get_mut(&id.mcap).filter(|stream| stream.id == id && !stream.closed);
        stream
            .expect("invariant: a stream is defined before its first batch, and closed after its last")
            .waiting += 1;
    }

    /// Takes note of a batch that waits no longer, acknowledged or given up.
    pub(super) fn settled(&mut self, id: StreamId) {
        let stream =
            self.defined.get_mut(&id.mcap).expect("invariant: a stream stays defined while it waits");
        stream.waiting -= 1;
        if stream.closed && stream.waiting == 0 {
            self.purge(id);
        }
    }

    fn close(&mut self, id: StreamId) {
        match self.defined.get_mut(&id.mcap).filter(|stream| stream.id == id) {
            Some(stream) if stream.waiting > 0 => {
                assert!(!stream.closed, "invariant: a stream is closed once");
                stream.closed = true;
            }
            Some(_) => self.purge(id),
            None => self.ids.free(id),
        }
    }

    fn purge(&mut self, id: StreamId) {
        self.defined.remove(&id.mcap);
        self.ids.free(id);
    }
}

impl LogWriter {
    /// Where streams are opened, from any thread.
    pub fn stream_ids(&self) -> StreamIds {
        self.streams.ids.clone()
    }

    /// Opens a stream of a channel and defines it: an MCAP channel record of its own.
    ///
    /// `metadata` comes after the `stream` number, which counts from 1 in each channel.
    ///
    /// # Panics
    /// When as many streams are open as there are ids, [`STREAMS_MAX`] where
    /// [`LogOptions::streams_max`](super::LogOptions::streams_max) says no less.
    pub fn stream(&mut self, channel: ChannelId, metadata: &[(&str, &str)]) -> StreamId {
        let stream =
            self.streams.ids.open(channel).expect("invariant: fewer streams are open than there are ids");
        self.define(stream, metadata);
        stream
    }

    /// Gives a stream that was [opened](StreamIds::open) its number in its channel, which
    /// it answers, and its description: its MCAP channel record has both. To be called
    /// before anything of it is appended.
    ///
    /// `metadata` comes after the `stream` number, which counts from 1 in each channel.
    ///
    /// # Panics
    /// When it is defined already, closed, or of another writer.
    pub fn define(&mut self, stream: StreamId, metadata: &[(&str, &str)]) -> u32 {
        assert!(self.streams.ids.is_open(stream), "invariant: a stream is defined while it is open");
        self.describe(stream, metadata)
    }

    fn describe(&mut self, stream: StreamId, metadata: &[(&str, &str)]) -> u32 {
        let of = &mut self.channels[stream.channel.index()];
        of.written.streams += 1;
        of.changed = true;
        let number = of.written.streams;
        let mut pairs = vec![("stream".to_owned(), number.to_string())];
        pairs.extend(metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let definition = StreamDefinition {
            topic: format!("/{}", of.name),
            encoding: of.encoding.to_owned(),
            schema: (of.name == GAPS_CHANNEL).then_some(&GAP_SCHEMA),
            metadata: pairs,
        };
        self.streams.define(stream, definition);
        number
    }

    /// Says that nothing of a stream will be appended any more. Its id is free again
    /// when all that was appended is acknowledged; at once where nothing waits, also
    /// when it was opened and never defined.
    ///
    /// # Panics
    /// When it is closed already.
    pub fn close_stream(&mut self, stream: StreamId) {
        self.streams.close(stream);
    }

    /// The stream of gap records, `opened` at that time where it has to be.
    pub(super) fn gap_stream(&mut self, opened_wall_ns: u64) -> StreamId {
        if let Some(stream) = self.gap_stream {
            return stream;
        }
        let channel = self.channel(GAPS_CHANNEL, "json");
        let stream = StreamId::of_gaps(channel);
        self.describe(stream, &[("opened", &opened_wall_ns.to_string())]);
        self.channels[channel.index()].written.ended = true;
        self.gap_stream = Some(stream);
        stream
    }

    /// Whether the next item has to wait for another segment.
    pub(super) fn is_blocked(&self) -> bool {
        self.open.first().is_some_and(|item| !self.fits_segment(item, 0))
    }

    /// Whether the segment can take an item, besides `fresh` streams that are new to it:
    /// not when another stream has its id there, nor a new stream when there are as many
    /// as it takes. The gaps' id is theirs alone: declaring one never waits for a segment.
    pub(super) fn fits_segment(&self, item: &Item, fresh: usize) -> bool {
        let stream = item.batch.stream();
        match self.segment.stream_with_id(stream.mcap) {
            Some(serial) => serial == stream.serial,
            None => {
                stream.mcap == GAPS_MCAP_ID || self.segment.streams() + fresh < 2 * self.segment_streams()
            }
        }
    }

    /// Whether the segment does not know the item's stream.
    pub(super) fn is_fresh(&self, item: &Item) -> bool {
        self.segment.stream_with_id(item.batch.stream().mcap).is_none()
    }

    /// Streams of a segment that wants to be rotated.
    pub(super) fn segment_streams(&self) -> usize {
        self.options.segment_streams.clamp(1, SEGMENT_STREAMS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ W1
    #[test]
    fn a_freed_id_is_used_again_after_all_others() {
        let ids = StreamIds::new(4);
        let open = || ids.open(ChannelId(0)).map(|stream| stream.mcap);
        let first: Vec<StreamId> = (0..3).filter_map(|_| ids.open(ChannelId(0))).collect();
        assert_eq!(first.iter().map(|s| s.mcap).collect::<Vec<_>>(), [1, 2, 3]);
        ids.free(first[1]);
        ids.free(first[0]);
        assert_eq!((open(), open(), open(), open()), (Some(4), Some(2), Some(1), None));
    }

    // REQ W1
    #[test]
    fn the_gaps_id_is_no_other_streams() {
        let ids = StreamIds::new(u16::MAX);
        let opened: Vec<StreamId> = std::iter::from_fn(|| ids.open(ChannelId(0))).collect();
        assert_eq!(opened.len(), usize::from(STREAMS_MAX));
        assert!(opened.iter().all(|stream| stream.mcap != 0 && stream.mcap != GAPS_MCAP_ID));
    }
}
