//! Reading a segment without trust, in bounded memory.
//!
//! The scan walks the records, checks every CRC, and notes what is damaged.
//! Where a record cannot be read it goes on at the next commit that says, under
//! its own CRC, that it stands where it was found. What lies between is damage;
//! nothing out of it is handed on.
//!
//! Invariants: a message reaches the visitor only out of a chunk whose CRC was
//! right; memory is bounded by [`RECORD_BYTES_MAX`] and [`INDEX_BYTES_MAX`]; the
//! position only grows.

use crate::batch::MESSAGE_BYTES_MAX;
use crate::commit::{COMMIT_HEAD_BYTES, ChannelState, Commit, RUN_END, SEGMENT_END, SNAPSHOT};
use crate::gap::{GAPS_CHANNEL, Gap};
use crate::mcap::encode::{ChunkIndex, Summary};
use crate::mcap::{MAGIC, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, SEGMENT_METADATA, decode, op};
use crate::storage::ReadFile;
use crc32fast::Hasher;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;

mod track;
mod window;
pub(crate) use track::{Ranges, Track};
use window::{Found, Window};

/// More of an index than this is damage: ours rotates at 4 MiB.
const INDEX_BYTES_MAX: usize = 32 << 20;
/// Damaged places kept with their reasons; more are only counted.
const DAMAGE_KEPT_MAX: usize = 64;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// First damaged byte, as far as known.
    pub from: u64,
    /// First byte known good again.
    pub to: u64,
    /// What was wrong.
    pub reason: String,
}

/// A message that lay in a whole chunk.
pub(crate) struct Seen<'a> {
    pub(crate) channel: &'a str,
    pub(crate) stream: u32,
    pub(crate) mcap_id: u16,
    /// Counted from the segment's base; from 0 when the first commit is lost.
    pub(crate) sequence: u64,
    pub(crate) log_time_ns: u64,
    pub(crate) payload: &'a [u8],
}

/// What is done with what a scan finds, in file order.
pub(crate) trait Visit {
    /// A channel record.
    fn channel(&mut self, _channel: &decode::Channel<'_>) -> io::Result<()> {
        Ok(())
    }
    /// A message.
    fn message(&mut self, _message: &Seen<'_>) -> io::Result<()> {
        Ok(())
    }
    /// The end of a whole chunk.
    fn chunk_end(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// A commit record that is whole and in its place.
    fn commit(&mut self, _commit: &Commit) -> io::Result<()> {
        Ok(())
    }
}

/// Looks at nothing.
pub(crate) struct NoVisit;
impl Visit for NoVisit {}

/// How the file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With data, perhaps torn.
    Open,
    /// With part of a seal: nothing but a seal is missing or wrong.
    HalfSealed,
    /// With the seal that its data ask for.
    Sealed,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) file_bytes: u64,
    pub(crate) id: Option<[u8; 16]>,
    pub(crate) run: Option<String>,
    pub(crate) ending: Ending,
    /// End of the last commit up to which nothing but loss is wrong.
    pub(crate) whole_end: u64,
    pub(crate) synced_through: u64,
    pub(crate) commits: u64,
    pub(crate) last_wall_ns: u64,
    /// What the first commit and the last one say of the hash chain.
    pub(crate) chain: (Option<[u8; 32]>, Option<[u8; 32]>),
    pub(crate) segment_end: bool,
    pub(crate) run_end: bool,
    /// Whether the first commit, which lists every channel, was read.
    pub(crate) has_base: bool,
    /// Channel states by name as of `whole_end`.
    pub(crate) states: BTreeMap<String, ChannelState>,
    /// What was found of each channel.
    pub(crate) tracks: BTreeMap<String, Track>,
    pub(crate) gaps: Vec<Gap>,
    /// Damage below what was known durable.
    pub(crate) losses: Vec<Damage>,
    pub(crate) loss_count: u64,
    /// CRC of `[0, whole_end)`, when nothing is damaged.
    pub(crate) data_crc: Option<u32>,
    pub(crate) summary: Summary,
    pub(crate) schemas: Vec<u16>,
}

impl Scan {
    /// Bytes beyond the last commit that are no part of a seal.
    pub(crate) fn tail_bytes(&self) -> u64 {
        if self.ending == Ending::Open && !self.segment_end { self.file_bytes - self.whole_end } else { 0 }
    }
}

/// How far the bytes of a file were known durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// To its end: it has its final name, which it got only then.
    ToItsEnd,
    /// As far as its commits say.
    AsCommitted,
}

impl Durable {
    /// What the file's name says.
    pub(crate) fn by_name(name: &str) -> Self {
        if name.ends_with(".part") { Self::AsCommitted } else { Self::ToItsEnd }
    }
}

/// Scans the first `limit` bytes of a segment (`u64::MAX` for all there are).
///
/// `base` stands in for the first commit where that is lost.
fn scan_upto(
    file: &dyn ReadFile,
    limit: u64,
    durable: Durable,
    base: &BTreeMap<String, ChannelState>,
    visit: &mut dyn Visit,
) -> io::Result<Scan> {
    let file_bytes = file.bytes()?.min(limit);
    let mut window = Window::new(file, file_bytes);
    let mut scanner = Scanner::new(file_bytes, base);
    scanner.magic(&mut window, visit)?;
    while scanner.at < scanner.out.file_bytes {
        let at = scanner.at;
        if durable == Durable::AsCommitted && window.is_padding(at)? {
            scanner.out.file_bytes = at;
            break;
        }
        let step = match window.record(at)? {
            Found::Record(record) => scanner.record(record, visit)?,
            Found::Short => Err("the file ends inside a record".into()),
            Found::TooLong(len) => Err(Broken(format!("a record of {len} bytes"))),
        };
        match step {
            Ok(Step::Next) => {}
            Ok(Step::DataEnd) => {
                scanner.seal(&mut window)?;
                break;
            }
            Err(broken) => scanner.resynchronise(&mut window, broken, visit)?,
        }
    }
    Ok(scanner.finish(durable))
}

/// Scans all of a segment; what it answers beyond `whole_end` counts only where
/// the file is sealed.
///
/// # Errors
/// Only what the medium or the visitor says; bad bytes are in the answer.
pub(crate) fn scan(file: &dyn ReadFile, durable: Durable, visit: &mut dyn Visit) -> io::Result<Scan> {
    scan_upto(file, u64::MAX, durable, &BTreeMap::new(), visit)
}

/// Scans what counts of a segment: up to its last whole commit.
pub(crate) fn scan_whole(file: &dyn ReadFile, durable: Durable, visit: &mut dyn Visit) -> io::Result<Scan> {
    scan_whole_from(file, durable, &BTreeMap::new(), visit)
}

/// The same of a segment that may have lost its first commit; `base` is what it said.
pub(crate) fn scan_whole_from(
    file: &dyn ReadFile,
    durable: Durable,
    base: &BTreeMap<String, ChannelState>,
    visit: &mut dyn Visit,
) -> io::Result<Scan> {
    let survey = scan_upto(file, u64::MAX, durable, base, &mut NoVisit)?;
    let whole = scan_upto(file, survey.whole_end, Durable::AsCommitted, base, visit)?;
    Ok(Scan {
        file_bytes: survey.file_bytes,
        ending: survey.ending,
        losses: survey.losses,
        loss_count: survey.loss_count,
        synced_through: survey.synced_through,
        ..whole
    })
}

struct Scanner<'a> {
    base: &'a BTreeMap<String, ChannelState>,
    /// Bytes of records that looked like commits and were none.
    searched: u64,
    at: u64,
    previous_end: u64,
    /// CRC since the last commit; `None` after damage in it.
    region: Option<Hasher>,
    /// CRC up to the last commit; `None` after any damage.
    data: Option<Hasher>,
    streams: HashMap<u16, Stream>,
    chunk: Option<(ChunkIndex, Vec<(u16, u64)>)>,
    /// Damage, each with the end of the last commit before it.
    damage: Vec<(Damage, u64)>,
    out: Scan,
}

struct Stream {
    channel: String,
    number: u32,
    /// Where its record stands in the summary's.
    record: Range<usize>,
}

/// Why a record cannot be used.
struct Broken(String);

impl From<&str> for Broken {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

enum Step {
    Next,
    DataEnd,
}

/// Damaged bytes are an inner error: the scan goes on after them.
type Stepped = Result<Step, Broken>;

impl<'a> Scanner<'a> {
    fn new(file_bytes: u64, base: &'a BTreeMap<String, ChannelState>) -> Self {
        Self {
            base,
            searched: 0,
            at: 0,
            previous_end: 0,
            region: Some(Hasher::new()),
            data: Some(Hasher::new()),
            streams: HashMap::new(),
            chunk: None,
            damage: Vec::new(),
            out: Scan {
                file_bytes,
                id: None,
                run: None,
                ending: Ending::Open,
                whole_end: 0,
                synced_through: 0,
                commits: 0,
                last_wall_ns: 0,
                chain: (None, None),
                segment_end: false,
                run_end: false,
                has_base: false,
                states: BTreeMap::new(),
                tracks: BTreeMap::new(),
                gaps: Vec::new(),
                losses: Vec::new(),
                loss_count: 0,
                data_crc: None,
                summary: Summary::default(),
                schemas: Vec::new(),
            },
        }
    }

    fn magic(&mut self, window: &mut Window<'_>, visit: &mut dyn Visit) -> io::Result<()> {
        if window.get(0, MAGIC.len())? == Some(&MAGIC) {
            self.pass(&MAGIC);
        } else if self.out.file_bytes > 0 {
            self.resynchronise(window, "no MCAP magic at the start".into(), visit)?;
        }
        Ok(())
    }

    /// Takes bytes as read.
    fn pass(&mut self, bytes: &[u8]) {
        if let Some(region) = &mut self.region {
            region.update(bytes);
        }
        self.at += bytes.len() as u64;
    }

    fn record(&mut self, record: &[u8], visit: &mut dyn Visit) -> io::Result<Stepped> {
        let body = &record[RECORD_HEAD_BYTES..];
        if record[0] != op::MESSAGE_INDEX {
            self.close_chunk();
            if self.out.summary.index_bytes() > INDEX_BYTES_MAX && record[0] != op::COMMIT {
                return Ok(Err("more to index than a segment may have".into()));
            }
        }
        let step = match record[0] {
            op::HEADER => {
                decode::header(body).map(|()| Step::Next).ok_or_else(|| "a malformed header".into())
            }
            op::METADATA => self.metadata(record),
            op::SCHEMA => self.schema(record),
            op::CHANNEL => return self.channel(record, visit),
            op::CHUNK => return self.chunk(record, visit),
            op::MESSAGE_INDEX => self.message_index(record),
            op::COMMIT => return self.commit(record, visit),
            op::PADDING => Ok(Step::Next),
            op::DATA_END if body.len() == 4 => Ok(Step::DataEnd),
            other => Err(Broken(format!("a record of unknown kind {other:#04x}"))),
        };
        if let Ok(Step::Next) = step {
            self.pass(record);
        }
        Ok(step)
    }

    fn metadata(&mut self, record: &[u8]) -> Stepped {
        let (name, pairs) =
            decode::metadata(&record[RECORD_HEAD_BYTES..]).ok_or("a malformed metadata record")?;
        if name == SEGMENT_METADATA && self.out.run.is_none() {
            self.out.run = pairs.iter().find(|(k, _)| *k == "run").map(|(_, v)| (*v).to_owned());
        }
        self.out.summary.add_metadata(name, self.at, record.len() as u64);
        Ok(Step::Next)
    }

    fn schema(&mut self, record: &[u8]) -> Stepped {
        let id = decode::schema(&record[RECORD_HEAD_BYTES..]).ok_or("a malformed schema record")?;
        self.out.schemas.push(id);
        self.out.summary.schemas.extend_from_slice(record);
        self.out.summary.schema_count = self.out.summary.schema_count.wrapping_add(1);
        Ok(Step::Next)
    }

    fn channel(&mut self, record: &[u8], visit: &mut dyn Visit) -> io::Result<Stepped> {
        let Some(channel) = decode::channel(&record[RECORD_HEAD_BYTES..]) else {
            return Ok(Err("a channel record that is not whole".into()));
        };
        let Some(name) = channel.topic.strip_prefix('/') else {
            return Ok(Err(Broken(format!("a channel with topic {:?}", channel.topic))));
        };
        let number = channel.metadata.iter().find(|(k, _)| *k == "stream").and_then(|(_, v)| v.parse().ok());
        let channels = &mut self.out.summary.channels;
        if let Some(known) = self.streams.get(&channel.id) {
            if channels[known.record.clone()] != *record {
                return Ok(Err(Broken(format!("two streams with id {}", channel.id))));
            }
        } else {
            visit.channel(&channel)?;
            let stands = channels.len()..channels.len() + record.len();
            channels.extend_from_slice(record);
            self.out.summary.messages.insert(channel.id, 0);
            let stream = Stream { channel: name.to_owned(), number: number.unwrap_or(0), record: stands };
            self.streams.insert(channel.id, stream);
        }
        self.pass(record);
        Ok(Ok(Step::Next))
    }

    fn chunk(&mut self, record: &[u8], visit: &mut dyn Visit) -> io::Result<Stepped> {
        let Some((head, records)) = decode::chunk(&record[RECORD_HEAD_BYTES..]) else {
            return Ok(Err("a malformed chunk record".into()));
        };
        let mut crc = Hasher::new();
        crc.update(records);
        let found = crc.clone().finalize();
        if found != head.crc {
            // Its three lengths agree, so the next record is where they say.
            let (from, to) = (self.at, self.at + record.len() as u64);
            let reason = format!("chunk CRC is {found:08x}, should be {:08x}", head.crc);
            self.note(Damage { from, to, reason });
            (self.region, self.at) = (None, to);
            return Ok(Ok(Step::Next));
        }
        if let Err(broken) = self.messages_are_sound(records) {
            return Ok(Err(broken));
        }
        let counts = self.messages(records, visit)?;
        visit.chunk_end()?;
        if let Some(region) = &mut self.region {
            region.update(&record[..record.len() - records.len()]);
            region.combine(&crc);
        }
        let index = ChunkIndex {
            start_ns: head.start_ns,
            end_ns: head.end_ns,
            offset: self.at,
            bytes: record.len() as u64,
            message_indexes: Vec::new(),
            message_index_bytes: 0,
        };
        self.chunk = Some((index, counts.into_iter().collect()));
        self.at += record.len() as u64;
        Ok(Ok(Step::Next))
    }

    /// Checks all messages of a chunk before the first is handed on.
    fn messages_are_sound(&self, mut records: &[u8]) -> Result<(), Broken> {
        let mut known = None;
        while !records.is_empty() {
            let (opcode, body, len) = decode::record(records).ok_or("a torn record in a whole chunk")?;
            let message = decode::message(body).filter(|_| opcode == op::MESSAGE);
            let message = message.ok_or("something other than messages in a chunk")?;
            if message.payload.len() > MESSAGE_BYTES_MAX {
                return Err(Broken(format!("a message of {} bytes", message.payload.len())));
            }
            if known != Some(message.channel) && !self.streams.contains_key(&message.channel) {
                return Err(Broken(format!("a message of the undefined stream {}", message.channel)));
            }
            known = Some(message.channel);
            records = &records[len..];
        }
        Ok(())
    }

    fn messages(&mut self, mut records: &[u8], visit: &mut dyn Visit) -> io::Result<BTreeMap<u16, u64>> {
        let mut counts = BTreeMap::new();
        while let Some((first, _)) = decode::next_message(records) {
            let before = records.len();
            let count = self.run_of(first.channel, &mut records, visit)?;
            assert!(records.len() < before, "invariant: the position only grows");
            *counts.entry(first.channel).or_default() += count;
        }
        Ok(counts)
    }

    /// Takes messages as long as they are of one stream: it is looked up once for all of them.
    fn run_of(&mut self, id: u16, records: &mut &[u8], visit: &mut dyn Visit) -> io::Result<u64> {
        let stream = self.streams.get(&id).expect("invariant: all messages are of known streams");
        let channel = &stream.channel;
        if !self.out.tracks.contains_key(channel) {
            let base = self.base.get(channel).map_or(0, |s| s.last_sequence);
            self.out.tracks.insert(channel.clone(), Track::from_base(base));
        }
        let track = self.out.tracks.get_mut(channel).expect("invariant: it was just put in");
        let (mut count, mut gaps, is_gaps) = (0, Vec::new(), channel == GAPS_CHANNEL);
        while let Some((message, len)) = decode::next_message(records).filter(|(m, _)| m.channel == id) {
            *records = &records[len..];
            let sequence = track.sequence(message.sequence);
            track.message(sequence, message.payload.len() as u64);
            count += 1;
            visit.message(&Seen {
                channel,
                stream: stream.number,
                mcap_id: id,
                sequence,
                log_time_ns: message.log_time_ns,
                payload: message.payload,
            })?;
            if is_gaps {
                gaps.extend(serde_json::from_slice::<Gap>(message.payload));
            }
        }
        gaps.into_iter().for_each(|gap| self.gap(gap));
        Ok(count)
    }

    fn gap(&mut self, gap: Gap) {
        let track = self.out.tracks.entry(gap.channel.clone()).or_insert_with(|| Track::from_base(0));
        track.take(gap.first_sequence, gap.last_taken());
        if self.out.gaps.len() < GAPS_KEPT_MAX {
            self.out.gaps.push(gap);
        }
    }

    fn message_index(&mut self, record: &[u8]) -> Stepped {
        let parsed = decode::message_index(&record[RECORD_HEAD_BYTES..]);
        let (id, _) = parsed.ok_or("a malformed message index")?;
        match &mut self.chunk {
            Some((index, _)) if index.message_indexes.len() > usize::from(u16::MAX) => {
                return Err("more message indexes than there can be streams".into());
            }
            Some((index, _)) => {
                index.message_indexes.push((id, self.at));
                index.message_index_bytes += record.len() as u64;
            }
            None if self.region.is_none() => {} // of a damaged chunk
            None => return Err("a message index without a chunk".into()),
        }
        Ok(Step::Next)
    }

    /// A chunk is known whole with its indexes: takes it into the summary.
    fn close_chunk(&mut self) {
        if let Some((index, counts)) = self.chunk.take() {
            self.out.summary.add_chunk(&index, counts);
        }
    }

    fn commit(&mut self, record: &[u8], visit: &mut dyn Visit) -> io::Result<Stepped> {
        let Some(commit) = Commit::decode(record, self.at) else {
            return Ok(Err("a commit record that is not whole".into()));
        };
        if self.out.id.is_some_and(|id| id != commit.segment_id) {
            return Ok(Err("a commit record of another segment".into()));
        }
        if let Some(region) = &self.region {
            let found = region.clone().finalize();
            if found != commit.region_crc || commit.previous_end != self.previous_end {
                let from = self.previous_end;
                let reason =
                    format!("CRC up to the commit is {found:08x}, should be {:08x}", commit.region_crc);
                self.note(Damage { from, to: self.at, reason });
            }
        }
        self.accept(&commit, record);
        visit.commit(&commit)?;
        Ok(Ok(Step::Next))
    }

    fn accept(&mut self, commit: &Commit, record: &[u8]) {
        self.data = match (self.data.take(), self.region.take()) {
            (Some(mut data), Some(region)) if self.damage.is_empty() => {
                data.combine(&region);
                data.update(record);
                Some(data)
            }
            _ => None,
        };
        self.region = Some(Hasher::new());
        self.at += record.len() as u64;
        self.previous_end = self.at;
        let out = &mut self.out;
        out.id = Some(commit.segment_id);
        out.commits += 1;
        out.last_wall_ns = commit.wall_ns;
        out.chain = (if out.commits == 1 { commit.chain } else { out.chain.0 }, commit.chain);
        out.synced_through = out.synced_through.max(commit.synced_through.min(self.at));
        out.segment_end = commit.has(SEGMENT_END);
        out.run_end = commit.has(RUN_END);
        for (name, state) in &commit.entries {
            if !out.has_base && commit.has(SNAPSHOT) && out.commits == 1 {
                out.tracks.insert(name.clone(), Track::from_base(state.last_sequence));
            } else if !out.tracks.contains_key(name) {
                // Without the first commit: from what is known, or from here on.
                let here = if out.has_base { 0 } else { state.last_sequence };
                let base = self.base.get(name).map_or(here, |s| s.last_sequence);
                out.tracks.insert(name.clone(), Track::from_base(base));
            }
            out.states.insert(name.clone(), state.clone());
        }
        out.has_base |= commit.has(SNAPSHOT) && out.commits == 1;
    }

    fn note(&mut self, damage: Damage) {
        if self.damage.len() >= DAMAGE_MAX
            && let Some((last, _)) = self.damage.last_mut()
        {
            last.to = damage.to;
            return;
        }
        self.damage.push((damage, self.previous_end));
    }

    /// Goes on at the next commit, or at the end of the file.
    fn resynchronise(
        &mut self,
        window: &mut Window<'_>,
        broken: Broken,
        visit: &mut dyn Visit,
    ) -> io::Result<()> {
        self.chunk = None;
        self.region = None;
        let from = self.at;
        let mut search = self.at + 1;
        while self.damage.len() < DAMAGE_MAX
            && self.searched < SEARCHED_BYTES_MAX
            && let Some(marker) = window.find_marker(search)?
        {
            search = marker + 1;
            let Some(at) = marker.checked_sub(RECORD_HEAD_BYTES as u64).filter(|at| *at >= from) else {
                continue;
            };
            let head = window.get(at, COMMIT_HEAD_BYTES)?;
            if !head.is_some_and(|head| Commit::may_stand(head, at)) {
                continue;
            }
            let Found::Record(record) = window.record(at)? else { continue };
            let commit = Commit::decode(record, at);
            self.searched += record.len() as u64;
            if let Some(commit) = commit
                && self.out.id.is_none_or(|id| id == commit.segment_id)
            {
                self.searched -= record.len() as u64;
                self.note(Damage { from, to: at, reason: broken.0 });
                self.at = at;
                self.accept(&commit, record);
                return visit.commit(&commit);
            }
        }
        self.note(Damage { from, to: self.out.file_bytes, reason: broken.0 });
        self.at = self.out.file_bytes;
        Ok(())
    }

    /// Compares what follows the data with the seal that the data ask for.
    fn seal(&mut self, window: &mut Window<'_>) -> io::Result<()> {
        let left = self.out.file_bytes - self.at;
        let whole = self.damage.is_empty() && self.at == self.previous_end && self.out.segment_end;
        let Some(data) = self.data.clone().filter(|_| whole) else {
            let reason = "the data end before their last commit".to_owned();
            if self.damage.is_empty() {
                self.note(Damage { from: self.previous_end, to: self.out.file_bytes, reason });
            }
            self.out.ending = Ending::HalfSealed;
            return Ok(());
        };
        let seal = self.out.summary.seal(self.at, data.finalize());
        let same = left == seal.len() as u64 && seal_matches(window, self.at, &seal)?;
        self.out.ending = if same { Ending::Sealed } else { Ending::HalfSealed };
        Ok(())
    }

    fn finish(mut self, durable: Durable) -> Scan {
        self.close_chunk();
        if durable == Durable::ToItsEnd && !self.out.segment_end {
            if self.damage.is_empty() {
                let end = self.out.file_bytes;
                self.note(Damage {
                    from: end,
                    to: end,
                    reason: "the file ends before its last commit".to_owned(),
                });
            }
            self.out.synced_through = u64::MAX;
        }
        let mut out = self.out;
        // A commit that ends the segment was followed by a seal: all before was durable first.
        if out.ending != Ending::Open || durable == Durable::ToItsEnd {
            out.synced_through = out.synced_through.max(self.previous_end);
        }
        let synced = out.synced_through;
        let tail_at = self.damage.iter().position(|(d, _)| d.from >= synced);
        out.whole_end = tail_at.map_or(self.previous_end, |at| self.damage[at].1);
        let losses = &self.damage[..tail_at.unwrap_or(self.damage.len())];
        out.loss_count = losses.len() as u64;
        out.losses = losses.iter().take(DAMAGE_KEPT_MAX).map(|(d, _)| d.clone()).collect();
        out.data_crc = self.data.filter(|_| losses.is_empty()).map(Hasher::finalize);
        out
    }
}

/// Compares without reading more than a piece at a time.
fn seal_matches(window: &mut Window<'_>, at: u64, seal: &[u8]) -> io::Result<bool> {
    let mut offset = at;
    for piece in seal.chunks(1 << 16) {
        if window.get(offset, piece.len())? != Some(piece) {
            return Ok(false);
        }
        offset += piece.len() as u64;
    }
    Ok(true)
}

/// Bytes of records that looked like commits and were none, after which the rest
/// of a segment is not searched any more: only a file made for it has that many.
const SEARCHED_BYTES_MAX: u64 = 4 * RECORD_BYTES_MAX;
/// Damaged places after which the rest of a segment counts as one.
const DAMAGE_MAX: usize = 4096;
/// Gaps of one segment that are kept in memory.
const GAPS_KEPT_MAX: usize = 1 << 16;
