//! Writing a damaged segment anew from its whole chunks.

use super::{Action, Recovered, States, gaps, is_users};
use crate::batch::Batch;
use crate::catalog::{Catalog, base_of, damaged_name, rebuild_name};
use crate::commit::{RUN_END, SNAPSHOT};
use crate::gap::{GAP_SCHEMA, GAPS_CHANNEL, Gap, GapReason};
use crate::mcap::decode;
use crate::scan::{Durable, NoVisit, Scan, Seen, Visit, scan_whole, scan_whole_from};
use crate::segment::{Head, Segment, StreamDefinition, sealed_name};
use crate::storage::Storage;
use crate::writer::{Stamp, StreamId};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Bytes of messages in a rebuilt chunk.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a rebuilt batch, where a message is no larger: messages of many streams in turn
/// are a batch each, and its buffer is cleared first.
const BATCH_BYTES: usize = 4 << 10;

pub(super) fn rebuild(
    storage: &Arc<dyn Storage>,
    number: u64,
    name: &str,
    damaged: &Scan,
    last: bool,
    stamp: Stamp,
) -> io::Result<Recovered> {
    let (base, chain) = base_before(&**storage, number, name, damaged)?;
    let head = Head {
        id: rebuilt_id(damaged),
        library: concat!("evenkeel ", env!("CARGO_PKG_VERSION")),
        metadata: &[("run", damaged.run.as_deref().unwrap_or("")), ("rebuilt", "1")],
        flags: SNAPSHOT,
        chain,
        entries: base.clone().into_iter().collect(),
    };
    let segment = Segment::create(&**storage, &rebuild_name(number), number, head, stamp)?;
    let mut copier = Copier { segment, definitions: HashMap::new(), batches: Vec::new(), bytes: 0 };
    let scan = scan_whole_from(&*storage.open(name)?, Durable::by_name(name), &base, &mut copier)?;
    copier.flush()?;
    let mut segment = copier.segment;

    let mut states = states_of(&base, &scan);
    let next = base_after(&**storage, number)?;
    let mut declared = lost_ranges(&scan, &states, &base, next.as_ref(), stamp);
    if last && !scan.run_end {
        declared.extend(gaps::open_channels(&states, scan.last_wall_ns, stamp));
    }
    if !declared.is_empty() {
        gaps::write(&mut segment, &declared, &mut states, stamp)?;
    }
    let flags = if last { RUN_END | SNAPSHOT } else { SNAPSHOT };
    let seal = segment.end(flags, scan.chain.1.or(chain), states.into_iter().collect(), stamp)?;
    segment.file.append(&mut [IoSlice::new(&seal)])?;
    segment.file.truncate(segment.bytes + seal.len() as u64)?;
    segment.file.sync()?;
    storage.rename(name, &damaged_name(number))?;
    // The original must have its new name before anything can take its old one.
    storage.sync_dir()?;
    storage.rename(&rebuild_name(number), &sealed_name(number))?;
    storage.sync_dir()?;
    let losses = damaged.losses.clone();
    Ok(Recovered { segment: number, action: Action::Rebuilt, tail_bytes: 0, losses, gaps: declared })
}

/// Another id than the original's: no commit of one may pass in the other.
fn rebuilt_id(damaged: &Scan) -> [u8; 16] {
    damaged.id.unwrap_or_default().map(|byte| !byte)
}

/// Channel states and the hash chain at the segment's beginning: its own first commit, or the end
/// of the segment before where that is lost.
fn base_before(
    storage: &dyn Storage,
    number: u64,
    name: &str,
    damaged: &Scan,
) -> io::Result<(States, Option<[u8; 32]>)> {
    if damaged.has_base
        && let Some(base) = base_of(storage, name)?
    {
        return Ok((base, damaged.chain.0));
    }
    let catalog = Catalog::read(storage)?;
    let before = catalog.segments().into_iter().rev().find(|(n, _)| *n < number);
    match before {
        Some((_, name)) => {
            let file = storage.open(&name)?;
            let scan = scan_whole(&*file, Durable::by_name(&name), &mut NoVisit)?;
            Ok((scan.states, scan.chain.1))
        }
        None => Ok((States::new(), None)),
    }
}

/// Channel states at the beginning of the segment after, where there is one.
fn base_after(storage: &dyn Storage, number: u64) -> io::Result<Option<States>> {
    let after = Catalog::read(storage)?.segments().into_iter().find(|(n, _)| *n > number);
    after.map_or(Ok(None), |(_, name)| base_of(storage, &name))
}

/// The states after what was found: counts of what is there, numbers as far as they were given.
fn states_of(base: &States, scan: &Scan) -> States {
    let mut states = base.clone();
    states.extend(scan.states.clone());
    for (name, track) in &scan.tracks {
        let before = base.get(name).cloned().unwrap_or_default();
        let state = states.entry(name.clone()).or_insert_with(|| before.clone());
        state.records = before.records + track.records;
        state.bytes = before.bytes + track.bytes;
        state.last_sequence = state.last_sequence.max(track.covered.last().unwrap_or(0));
    }
    states
}

/// A gap for each range that the channel's numbering says is missing, and one
/// without an end where nobody knows how far the segment went.
fn lost_ranges(scan: &Scan, states: &States, base: &States, next: Option<&States>, stamp: Stamp) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let gap = |name: &str, first_sequence: u64, last_sequence: Option<u64>| Gap {
        channel: name.to_owned(),
        first_sequence,
        last_sequence,
        records: last_sequence.map(|last| last - first_sequence + 1),
        bytes: None,
        reason: GapReason::Damage,
        from: scan.last_wall_ns,
        to: stamp.wall_ns,
    };
    let endless = next.is_none() && !scan.segment_end;
    let of_next = next.into_iter().flat_map(States::keys);
    let names: BTreeSet<&String> = states.keys().chain(of_next).filter(|name| is_users(name)).collect();
    for name in &names {
        let last = |states: &States| states.get(*name).map_or(0, |s| s.last_sequence);
        let (begins, ends) = (last(base), last(states).max(next.map_or(0, last)));
        let missing = match scan.tracks.get(*name) {
            Some(track) => track.covered.missing(begins + 1, ends),
            None if begins < ends => vec![(begins + 1, ends)],
            None => Vec::new(),
        };
        gaps.extend(missing.into_iter().map(|(first, last)| gap(name, first, Some(last))));
        if endless {
            gaps.push(gap(name, ends + 1, None));
        }
    }
    if endless && names.is_empty() {
        // Not even a name is left: say so of the one channel that every recording has.
        gaps.push(gap(GAPS_CHANNEL, 1, None));
    }
    gaps
}

/// Copies the messages of whole chunks into a new segment.
struct Copier {
    segment: Segment,
    definitions: HashMap<u16, StreamDefinition>,
    batches: Vec<Batch>,
    bytes: usize,
}

impl Copier {
    fn flush(&mut self) -> io::Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let batches: Vec<Batch> = self.batches.drain(..).map(Batch::seal).collect();
        self.bytes = 0;
        let refs: Vec<&Batch> = batches.iter().collect();
        let definitions = &self.definitions;
        let define =
            |id: u16| definitions.get(&id).expect("invariant: a stream is defined before its messages");
        self.segment.chunk(&refs, &define)
    }
}

impl Visit for Copier {
    fn channel(&mut self, channel: &decode::Channel<'_>) -> io::Result<()> {
        let definition = StreamDefinition {
            topic: channel.topic.to_owned(),
            encoding: channel.encoding.to_owned(),
            schema: (channel.topic.strip_prefix('/') == Some(GAPS_CHANNEL)).then_some(&GAP_SCHEMA),
            metadata: channel.metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        self.definitions.insert(channel.id, definition);
        Ok(())
    }

    fn message(&mut self, message: &Seen<'_>) -> io::Result<()> {
        let fits = self.batches.last_mut().is_some_and(|batch| {
            batch.stream().mcap_id() == message.mcap_id
                && batch.last_sequence() + 1 == message.sequence
                && batch.push(message.payload, message.log_time_ns)
        });
        if !fits {
            if self.bytes >= CHUNK_BYTES || self.batches.len() >= 256 {
                self.flush()?;
            }
            let buffer = vec![0; Batch::bytes_for(message.payload.len()).max(BATCH_BYTES)];
            let mut batch = Batch::new(StreamId::detached(message.mcap_id), message.sequence, buffer);
            let pushed = batch.push(message.payload, message.log_time_ns);
            assert!(pushed, "invariant: the buffer was made to fit");
            self.batches.push(batch);
        }
        self.bytes += message.payload.len();
        Ok(())
    }

    fn chunk_end(&mut self) -> io::Result<()> {
        if self.bytes >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }
}
