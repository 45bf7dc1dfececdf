//! The log's writer: batches in, acknowledgements out.
//!
//! One owner drives it; it spawns nothing and waits for nothing but the appends
//! themselves. Syncs and seals are [`Job`]s that the owner runs wherever it
//! likes, in the order they were given, and hands back with
//! [`LogWriter::complete`].
//!
//! ```text
//! append -> open --chunk--> written --commit--> groups --sync job--> acknowledged
//!             ^                 |                 |
//!             +-----------------+-- poison -------+     (replayed into a new segment)
//! ```
//!
//! Invariants:
//! 1. A batch is in exactly one of `open`, `written`, `groups`, until a sync
//!    that began after its commit has succeeded; only then is it acknowledged
//!    and given back.
//! 2. After a failed append (but for a full disk) or a failed sync nothing is
//!    appended to that segment again, and no job begun before counts.
//! 3. A full disk poisons nothing: the file is cut back to its last whole record
//!    and the same chunk is tried again.
//! 4. While a run lives, its newest segment is a `.part`: a segment is sealed only
//!    after the head of its successor is durable, and not at all where that failed.
//! 5. The chain is that of the last batch in the file, as the channels' states are:
//!    what is poisoned takes it back to what was acknowledged, what is replayed
//!    brings it forward again. This log computes no hash; it carries one.
//! 6. What a segment cannot take because of its stream stays in `open`, with all after it,
//!    until a rotation; `streams.rs` says why and when.

use crate::batch::Batch;
use crate::commit::{ChannelState, RUN_END, SEGMENT_END, SNAPSHOT};
use crate::memory::Memory;
use crate::segment::{Head, Segment, part_name};
use crate::storage::Storage;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

mod ballast;
mod gaps;
mod job;
mod replace;
mod rotate;
mod streams;
pub use ballast::{BALLAST_NAME, Ballast};
pub use job::{Job, JobDone, SealedSegment};
pub use replace::GivenUp;
use streams::Streams;
pub use streams::{STREAMS_MAX, StreamId, StreamIds};

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unix time in nanoseconds.
    pub wall_ns: u64,
    /// Monotonic nanoseconds.
    pub mono_ns: u64,
}

/// A channel of the log: an index, valid for the writer that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub(crate) u16);

impl ChannelId {
    /// Position of the channel in the order of opening, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Limits and names; `Default` has the documented values.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A segment is rotated at this length in bytes.
    pub segment_bytes: u64,
    /// A segment is rotated at this age in nanoseconds.
    pub segment_ns: u64,
    /// A segment is rotated at this many bytes of chunk index.
    pub index_bytes: usize,
    /// A segment is rotated at this many streams, so that its summary stays small,
    /// and takes no more than twice as many; at most 30,000, for recovery needs ids too.
    pub segment_streams: usize,
    /// Streams that may be open at once, at most [`STREAMS_MAX`].
    pub streams_max: u16,
    /// A chunk is closed at this many bytes.
    pub chunk_bytes: usize,
    /// Disk kept free for sealing; 0 for none.
    pub ballast_bytes: u64,
    /// Disk kept free for sealing and for what waits in memory, where there is
    /// plenty; less than `ballast_bytes` counts as that.
    pub ballast_wanted_bytes: u64,
    /// Whether commits wait for a sync. Without, a commit is acknowledged when it
    /// is written: it survives the process, not the machine.
    pub sync: bool,
    /// Random, different in every run.
    pub run_id: [u8; 16],
    /// Name and version of the writing program, for the file's header.
    pub library: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            segment_ns: 300_000_000_000,
            index_bytes: 4 << 20,
            segment_streams: 16_384,
            streams_max: STREAMS_MAX,
            chunk_bytes: 1 << 20,
            ballast_bytes: 8 << 20,
            ballast_wanted_bytes: 0,
            sync: true,
            run_id: [0; 16],
            library: concat!("evenkeel ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Where a new run goes on: what recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Number of the first segment to write.
    pub next_segment: u64,
    /// Every channel that the recording has had.
    pub channels: BTreeMap<String, ChannelState>,
    /// The hash chain as of the last commit, where the log has one.
    pub chain: Option<[u8; 32]>,
    /// Channels that the run is about to open: the first commit tells of them
    /// already, so that a crash right after it leaves its gap.
    pub opening: BTreeSet<String>,
}

impl Resume {
    fn into_channels(mut self) -> Vec<Channel> {
        for name in &self.opening {
            self.channels.entry(name.clone()).or_default();
        }
        let channel = |(name, state): (String, ChannelState)| {
            let state = ChannelState { ended: !self.opening.contains(&name), ..state };
            Channel { name, encoding: OCTETS, written: state.clone(), acked: state, changed: false }
        };
        self.channels.into_iter().map(channel).collect()
    }
}

/// Whether the writer can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can.
    Writing,
    /// The disk is full; everything is kept in memory and tried again.
    Full,
    /// The last segment was poisoned and a new one could not be begun; tried again.
    Broken,
}

/// What a completed job made safe.
#[derive(Debug, Default)]
pub struct Progress {
    /// Channels whose written state advanced: safe from a kill of the process.
    pub committed: Vec<(ChannelId, ChannelState)>,
    /// Channels whose durable state advanced.
    pub synced: Vec<(ChannelId, ChannelState)>,
    /// Buffers to be used again, with the channel they were accounted to.
    pub released: Vec<(ChannelId, Memory)>,
    /// A segment that is now sealed under its final name.
    pub sealed: Option<SealedSegment>,
    /// Jobs that follow from it; run them after those given before.
    pub jobs: Vec<Job>,
}

struct Channel {
    name: String,
    encoding: &'static str,
    /// As of the last chunk that was appended.
    written: ChannelState,
    /// As of the last sync, or commit where no sync is asked for.
    acked: ChannelState,
    changed: bool,
}

/// A batch on its way; `takes` is the sequence of another channel that a gap uses up.
struct Item {
    batch: Batch,
    takes: Option<(ChannelId, u64)>,
}

/// What one commit covers.
struct Group {
    id: u64,
    items: Vec<Item>,
    states: Vec<(ChannelId, ChannelState)>,
    chain: Option<[u8; 32]>,
}

/// The hash chain of a log that has one.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// As of the last chunk that was appended.
    written: Option<[u8; 32]>,
    /// As of what was acknowledged.
    acked: Option<[u8; 32]>,
}

/// Writes one log; see the module's head.
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    options: LogOptions,
    ballast: Arc<Ballast>,
    channels: Vec<Channel>,
    chain: Chain,
    streams: Streams,
    segment: Segment,
    next_number: u64,
    open: Vec<Item>,
    open_bytes: usize,
    /// Gaps in `open`.
    open_gaps: u64,
    written: Vec<Item>,
    groups: VecDeque<Group>,
    next_group: u64,
    /// Group of the newest sync job given out.
    asked: u64,
    epoch: u64,
    condition: Condition,
    failures: u32,
    retry_at_ns: u64,
    rotate_not_before_ns: u64,
    last_error: Option<String>,
    rotation_error: Option<String>,
    poisoned: Vec<u64>,
    gap_stream: Option<StreamId>,
    finished: bool,
}

impl LogWriter {
    /// Begins a run: creates its first segment, durable, and the ballast.
    ///
    /// # Errors
    /// What the storage says; nothing is left behind then.
    pub fn create(
        storage: Arc<dyn Storage>,
        options: LogOptions,
        resume: Resume,
        stamp: Stamp,
    ) -> io::Result<Self> {
        let number = resume.next_segment.max(1);
        let chain = Chain { written: resume.chain, acked: resume.chain };
        let streams_max = options.streams_max;
        let channels = resume.into_channels();
        let entries = channels.iter().map(|c| (c.name.clone(), c.written.clone())).collect();
        let segment = create_segment(&*storage, &options, number, (chain.written, entries), stamp)?;
        let durable = segment.file.sync().and_then(|()| storage.sync_dir());
        if let Err(e) = durable {
            let _ = storage.remove(&part_name(number));
            return Err(e);
        }
        let ballast =
            Arc::new(Ballast::new(storage.clone(), options.ballast_bytes, options.ballast_wanted_bytes));
        ballast.hold();
        let mut writer = Self {
            storage,
            options,
            ballast,
            channels,
            chain,
            streams: Streams::new(streams_max),
            segment,
            next_number: number + 1,
            open: Vec::new(),
            open_bytes: 0,
            open_gaps: 0,
            written: Vec::new(),
            groups: VecDeque::new(),
            next_group: 1,
            asked: 0,
            epoch: 0,
            condition: Condition::Writing,
            failures: 0,
            retry_at_ns: 0,
            rotate_not_before_ns: 0,
            last_error: None,
            rotation_error: None,
            poisoned: Vec::new(),
            gap_stream: None,
            finished: false,
        };
        writer.segment.synced_through = writer.segment.bytes;
        writer.segment.unsynced_dir = false;
        Ok(writer)
    }

    /// Opens a channel, or takes up one that the recording has had before.
    /// `encoding` is the MCAP message encoding of its streams.
    ///
    /// # Panics
    /// With more than 65,535 channels.
    pub fn channel(&mut self, name: &str, encoding: &'static str) -> ChannelId {
        let at = self.channels.iter().position(|c| c.name == name).unwrap_or_else(|| {
            let state = ChannelState::default();
            self.channels.push(Channel {
                name: name.to_owned(),
                encoding,
                written: state.clone(),
                acked: state,
                changed: true,
            });
            self.channels.len() - 1
        });
        let channel = &mut self.channels[at];
        channel.encoding = encoding;
        channel.written.ended = false;
        channel.changed = true;
        ChannelId(u16::try_from(at).expect("invariant: fewer than 65,536 channels"))
    }

    /// A channel's state as of the last appended chunk.
    pub fn state(&self, channel: ChannelId) -> &ChannelState {
        &self.channels[channel.index()].written
    }

    /// A channel's name.
    pub fn name(&self, channel: ChannelId) -> &str {
        &self.channels[channel.index()].name
    }

    /// Takes a batch. It is written when the chunk is full, or with [`LogWriter::write`].
    ///
    /// # Panics
    /// After the end was written, and when the batch's stream is not defined or is closed.
    pub fn append(&mut self, batch: Batch, stamp: Stamp) {
        assert!(!self.finished, "invariant: nothing is appended after the end");
        self.push(Item { batch: batch.seal(), takes: None });
        self.write_full_chunk(stamp);
    }

    fn push(&mut self, item: Item) {
        if !item.batch.is_empty() {
            self.streams.waits(item.batch.stream());
            self.open_bytes += item.batch.encoded().len();
            self.open_gaps += u64::from(item.takes.is_some());
            self.open.push(item);
        }
    }

    fn write_full_chunk(&mut self, stamp: Stamp) {
        if self.open_bytes >= self.options.chunk_bytes && self.condition == Condition::Writing {
            self.write(stamp);
        }
    }

    /// Says that a channel's source has ended, so that a crash leaves no gap in it.
    pub fn set_ended(&mut self, channel: ChannelId, ended: bool) {
        let channel = &mut self.channels[channel.index()];
        channel.changed |= channel.written.ended != ended;
        channel.written.ended = ended;
    }

    /// Whether nothing of a channel waits to be appended.
    pub fn is_written(&self, channel: ChannelId) -> bool {
        let is_of = |item: &Item| {
            item.batch.stream().channel() == channel || item.takes.is_some_and(|(taken, _)| taken == channel)
        };
        !self.open.iter().any(is_of)
    }

    /// Whether the writer can write, and why not.
    pub fn condition(&self) -> (Condition, Option<&str>) {
        (self.condition, self.last_error.as_deref())
    }

    /// Why the last rotation failed, if it did: the segment grows past its limits meanwhile,
    /// and rotation is tried again.
    pub fn rotation_error(&self) -> Option<&str> {
        self.rotation_error.as_deref()
    }

    /// When a writer that cannot write should [retry](LogWriter::retry), monotonic nanoseconds.
    pub fn retry_at_ns(&self) -> Option<u64> {
        (self.condition != Condition::Writing).then_some(self.retry_at_ns)
    }

    /// Whether a commit would say anything new.
    pub fn wants_commit(&self) -> bool {
        !self.finished && self.has_news()
    }

    fn has_news(&self) -> bool {
        // What waits for another segment is no news for this one.
        let open = !self.open.is_empty() && !self.is_blocked();
        open || !self.written.is_empty() || self.channels.iter().any(|c| c.changed)
    }

    /// Whether a commit waits for a sync that has not been asked for.
    pub fn wants_sync(&self) -> bool {
        self.groups.back().is_some_and(|g| g.id > self.asked)
    }

    /// Bytes that are not acknowledged yet.
    pub fn unacknowledged_bytes(&self) -> usize {
        let grouped = self.groups.iter().flat_map(|g| &g.items);
        self.open.iter().chain(&self.written).chain(grouped).map(|i| i.batch.buffer_bytes()).sum()
    }

    /// Names of segments that failed and were given up; they are sealed by recovery.
    pub fn poisoned(&self) -> &[u64] {
        &self.poisoned
    }

    /// Closes the open chunk: appends everything taken so far, up to what has to
    /// wait for another segment.
    pub fn write(&mut self, stamp: Stamp) {
        while self.condition == Condition::Writing {
            let count = self.chunk_items();
            if count == 0 {
                break;
            }
            let batches: Vec<&Batch> = self.open[..count].iter().map(|i| &i.batch).collect();
            let streams = &self.streams;
            let define = |id: u16| streams.definition(id);
            match self.segment.chunk(&batches, &define) {
                Ok(()) => self.wrote(count),
                Err(e) => self.append_failed(&e, stamp),
            }
        }
    }

    /// How many items of `open` the next chunk takes: 0 when the next one has to wait
    /// for another segment.
    fn chunk_items(&self) -> usize {
        let (mut bytes, mut fresh) = (0, 0);
        let fit = self.open.iter().take_while(|item| {
            let fits = bytes < self.options.chunk_bytes && self.fits_segment(item, fresh);
            bytes += item.batch.encoded().len();
            fresh += usize::from(self.is_fresh(item));
            fits
        });
        fit.take(CHUNK_BATCHES_MAX).count()
    }

    fn wrote(&mut self, count: usize) {
        for item in self.open.drain(..count) {
            self.open_bytes -= item.batch.encoded().len();
            let channel = &mut self.channels[item.batch.stream().channel().index()];
            advance(&mut channel.written, &item.batch);
            self.chain.written = item.batch.chain().or(self.chain.written);
            channel.changed = true;
            if let Some((taken, last)) = item.takes {
                self.open_gaps -= 1;
                let channel = &mut self.channels[taken.index()];
                channel.written.last_sequence = channel.written.last_sequence.max(last);
                channel.changed = true;
            }
            self.written.push(item);
        }
    }

    /// Appends what is open and a commit record. What it covers is in the
    /// answer's `committed`; it is in a `synced` once a sync job has succeeded,
    /// or at once where [`LogOptions::sync`] is off.
    pub fn commit(&mut self, stamp: Stamp) -> Progress {
        self.write(stamp);
        if self.condition != Condition::Writing || !self.wants_commit() {
            return Progress::default();
        }
        match self.segment.commit(0, self.chain.written, self.changed_entries(), stamp) {
            Ok(()) => {
                let committed = self.committed();
                let progress =
                    if self.options.sync { Progress::default() } else { self.acknowledge(u64::MAX) };
                Progress { committed, ..progress }
            }
            Err(e) => {
                self.append_failed(&e, stamp);
                Progress::default()
            }
        }
    }

    fn changed_entries(&self) -> Vec<(String, ChannelState)> {
        let changed = self.channels.iter().filter(|c| c.changed);
        changed.map(|c| (c.name.clone(), c.written.clone())).collect()
    }

    fn committed(&mut self) -> Vec<(ChannelId, ChannelState)> {
        let mut states = Vec::new();
        for (at, channel) in self.channels.iter_mut().enumerate() {
            if std::mem::take(&mut channel.changed) {
                states.push((ChannelId(at as u16), channel.written.clone()));
            }
        }
        let items = std::mem::take(&mut self.written);
        let (id, chain) = (self.next_group, self.chain.written);
        self.groups.push_back(Group { id, items, states: states.clone(), chain });
        self.next_group += 1;
        states
    }

    fn acknowledge(&mut self, upto: u64) -> Progress {
        let mut progress = Progress::default();
        while self.groups.front().is_some_and(|g| g.id <= upto) {
            let Some(group) = self.groups.pop_front() else { break };
            for (id, state) in group.states {
                self.channels[id.index()].acked = state.clone();
                progress.synced.retain(|(known, _)| *known != id);
                progress.synced.push((id, state));
            }
            self.chain.acked = group.chain;
            for Item { batch, .. } in group.items {
                self.streams.settled(batch.stream());
                progress.released.push((batch.stream().channel(), batch.into_memory()));
            }
        }
        progress
    }

    /// Appends what is open, as [`write`](LogWriter::write), and has it set out for the medium: for whoever knows that more
    /// comes before the next commit.
    pub fn write_ahead(&mut self, stamp: Stamp) {
        self.write(stamp);
        if self.options.sync && self.condition == Condition::Writing {
            self.segment.file.begin_sync();
        }
    }

    /// A job that makes all commits so far durable, when there is one to make.
    pub fn sync(&mut self) -> Option<Job> {
        let group = self.groups.back().filter(|g| g.id > self.asked || self.segment.unsynced_dir)?.id;
        self.asked = group;
        let dir = std::mem::take(&mut self.segment.unsynced_dir).then(|| self.storage.clone());
        Some(Job::sync(self.segment.disk(), dir, self.ticket(group)))
    }

    fn ticket(&self, group: u64) -> job::Ticket {
        job::Ticket { epoch: self.epoch, group, segment: self.segment.number, bytes: self.segment.bytes }
    }

    /// Takes a job back that has run. Jobs come back in the order they were given.
    pub fn complete(&mut self, done: JobDone, stamp: Stamp) -> Progress {
        match done.outcome {
            job::Outcome::Synced(ticket, _) if ticket.epoch != self.epoch => Progress::default(),
            job::Outcome::Synced(ticket, Ok(())) => {
                self.failures = 0;
                if ticket.segment == self.segment.number {
                    self.segment.synced_through = self.segment.synced_through.max(ticket.bytes);
                }
                self.acknowledge(ticket.group)
            }
            job::Outcome::Synced(_, Err(e)) => {
                self.poison(&e, stamp);
                Progress::default()
            }
            job::Outcome::Sealed(sealed, Ok(())) => Progress { sealed: Some(sealed), ..Progress::default() },
            job::Outcome::Sealed(sealed, Err(e)) => {
                self.last_error = Some(format!("sealing {}: {e}", sealed.name));
                self.give_up(sealed.number);
                Progress::default()
            }
        }
    }

    /// What the first and the last commit of a segment say: the chain and every channel.
    fn standing(&self) -> Standing {
        (self.chain.written, self.all_entries())
    }

    fn all_entries(&self) -> Vec<(String, ChannelState)> {
        self.channels.iter().map(|c| (c.name.clone(), c.written.clone())).collect()
    }

    /// Whether the last commit of the run is written; its jobs may still be under way.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether everything taken is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty() && self.written.is_empty() && self.groups.is_empty()
    }

    /// The disk space kept for sealing.
    pub fn ballast(&self) -> &Arc<Ballast> {
        &self.ballast
    }
}

/// MCAP message encoding of bytes without a form.
pub const OCTETS: &str = "application/octet-stream";
/// MCAP message encoding of lines.
pub const TEXT: &str = "text/plain";
/// Vectored writes take 1,024 parts; a chunk stays below.
const CHUNK_BATCHES_MAX: usize = 1000;

fn advance(state: &mut ChannelState, batch: &Batch) {
    state.last_sequence = state.last_sequence.max(batch.last_sequence());
    state.records += batch.records();
    state.bytes += batch.payload_bytes();
    if let Some(position) = batch.position() {
        state.position = Some(position.clone());
    }
}

/// The chain, and channels with their states.
type Standing = (Option<[u8; 32]>, Vec<(String, ChannelState)>);

fn create_segment(
    storage: &dyn Storage,
    options: &LogOptions,
    number: u64,
    (chain, entries): Standing,
    stamp: Stamp,
) -> io::Result<Segment> {
    let mut id = options.run_id;
    for (byte, of_number) in id[8..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= of_number;
    }
    let run = crate::segment::hex(&options.run_id);
    let head =
        Head { id, library: &options.library, metadata: &[("run", &run)], flags: SNAPSHOT, chain, entries };
    let name = part_name(number);
    Segment::create(storage, &name, number, head, stamp).inspect_err(|_| {
        // Nothing in it was ever promised; a name left behind would only be in the way.
        let _ = storage.remove(&name);
    })
}

const _: () = assert!(SEGMENT_END | RUN_END | SNAPSHOT == 7);
