//! One channel's messages, and what the commits say of them, in order.
//!
//! For logs that mean something to their writer: a journal is folded and its
//! chain is checked out of this. Only what lay in a whole chunk is handed out,
//! and nothing that a later segment has again: neither its messages nor the
//! commits that cover them. Damage is told after the segment it was met in.

use crate::catalog::{Catalog, first_commit, number_of_name, open_segment};
use crate::commit::Commit;
use crate::export::Selection;
use crate::scan::{Damage, Seen, Visit};
use crate::storage::Storage;
use crate::verify::{is_superseded, limits, scan_named};
use std::collections::BTreeMap;
use std::io;

/// What [`read`] meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found<'a> {
    /// A segment begins. One that is superseded from its first message on is left out.
    Segment {
        /// File name.
        name: &'a str,
        /// The hash chain before its first message, where the log has one.
        chain: Option<[u8; 32]>,
        /// Sequence of its first message.
        first_sequence: u64,
    },
    /// A message.
    Message {
        /// Its sequence, in 64 bits.
        sequence: u64,
        /// Unix time in nanoseconds.
        log_time_ns: u64,
        /// What it carries.
        payload: &'a [u8],
    },
    /// A commit; also the first of a segment.
    Commit {
        /// The hash chain as of it, where the log has one.
        chain: Option<[u8; 32]>,
        /// Last sequence that the channel was given as of it.
        last_sequence: u64,
    },
    /// Bytes of the segment before are not what was written.
    Damage {
        /// File name.
        segment: &'a str,
        /// Where, and what was wrong.
        damage: &'a Damage,
    },
}

/// What [`read`] met in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Messages handed out.
    pub records: u64,
    /// Whether acknowledged bytes were damaged, or are declared lost to damage.
    pub damaged: bool,
    /// Declared gaps of the channel that are no loss.
    pub gaps: u64,
    /// Bytes beyond the last commit of unsealed segments; 0 with `live`.
    pub tail_bytes: u64,
}

/// Reads what is whole of one channel, up to the last commit. With `live`, a
/// writer is at work, and what follows the last commit is not counted.
///
/// # Errors
/// What the storage or `visit` says; bad bytes are in the answer. `NotFound`
/// when the selected segment is not there.
pub fn read(
    storage: &dyn Storage,
    live: bool,
    selection: &Selection,
    visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<ReadSummary> {
    let mut summary = ReadSummary::default();
    let only = selection.segment.as_ref();
    let mut known = only.is_none();
    for (name, limits) in limits(storage)? {
        if only.is_some_and(|only| *only != name) {
            continue;
        }
        known = true;
        summary.add(&read_named(storage, live, selection, (&name, &limits), visit)?);
    }
    if known {
        Ok(summary)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no segment {only:?}")))
    }
}

impl ReadSummary {
    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.damaged |= other.damaged;
        self.gaps += other.gaps;
        self.tail_bytes += other.tail_bytes;
    }
}

fn read_named(
    storage: &dyn Storage,
    live: bool,
    selection: &Selection,
    (name, limits): (&str, &BTreeMap<String, u64>),
    visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<ReadSummary> {
    let mut summary = ReadSummary::default();
    let file = open_segment(storage, name)?;
    let limit = limits.get(&selection.channel).copied().unwrap_or(u64::MAX);
    let base = first_commit(&*file)?;
    let last_sequence = base.as_ref().map_or(0, |commit| last_of(commit, &selection.channel).unwrap_or(0));
    if let Some(commit) = base.filter(|_| last_sequence <= limit) {
        let first_sequence = last_sequence.saturating_add(1);
        visit(Found::Segment { name, chain: commit.chain, first_sequence })?;
    }
    let mut reader = Reader { selection, limit, last_sequence, visit, records: 0 };
    let found = scan_named(&*file, name, &mut reader)?;
    summary.records += reader.records;
    for damage in &found.losses {
        visit(Found::Damage { segment: name, damage })?;
    }
    summary.damaged |= found.loss_count > 0;
    summary.tail_bytes += if live { 0 } else { found.tail_bytes() };
    for gap in found.gaps.iter().filter(|g| g.channel == selection.channel && !is_superseded(g, limits)) {
        summary.damaged |= gap.is_loss();
        summary.gaps += u64::from(!gap.is_loss());
    }
    Ok(summary)
}

/// A segment, and what of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    name: String,
    limits: BTreeMap<String, u64>,
    /// Sequence of the channel's first message in it; `None` when its beginning cannot be read.
    pub first_sequence: Option<u64>,
    /// The hash chain before that, where the log has one.
    pub chain: Option<[u8; 32]>,
}

impl Piece {
    /// File name of the segment.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number in the file name.
    pub fn number(&self) -> Option<u64> {
        number_of_name(&self.name)
    }

    /// Reads what is whole of it, as [`read`] does.
    ///
    /// # Errors
    /// What the storage or `visit` says.
    pub fn read(
        &self,
        storage: &dyn Storage,
        live: bool,
        channel: &str,
        visit: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
    ) -> io::Result<ReadSummary> {
        let selection = Selection { channel: channel.to_owned(), stream: None, segment: None };
        read_named(storage, live, &selection, (&self.name, &self.limits), visit)
    }
}

/// The segments of a log from the newest to the oldest: for who needs only its end. Of what was
/// not asked for nothing is read.
pub struct Backwards<'s> {
    storage: &'s dyn Storage,
    channel: String,
    names: Vec<String>,
    limits: BTreeMap<String, u64>,
}

impl<'s> Backwards<'s> {
    /// Lists the segments; `channel` is the one whose messages will be read.
    ///
    /// # Errors
    /// What the storage says.
    pub fn new(storage: &'s dyn Storage, channel: &str) -> io::Result<Self> {
        let (names, limits) = (segment_names(storage)?, BTreeMap::new());
        Ok(Self { storage, channel: channel.to_owned(), names, limits })
    }

    /// The next older segment; one that is gone by now is left out.
    ///
    /// # Errors
    /// What the storage says.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        while let Some(name) = self.names.pop() {
            let base = match open_segment(self.storage, &name).and_then(|file| first_commit(&*file)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                base => base?,
            };
            let last = base.as_ref().map(|base| last_of(base, &self.channel).unwrap_or(0));
            let chain = base.as_ref().and_then(|base| base.chain);
            let first_sequence = last.map(|last| last.saturating_add(1));
            let piece = Piece { name, limits: self.limits.clone(), first_sequence, chain };
            for (channel, state) in base.map(|base| base.entries).unwrap_or_default() {
                let limit = self.limits.entry(channel).or_insert(u64::MAX);
                *limit = (*limit).min(state.last_sequence);
            }
            return Ok(Some(piece));
        }
        Ok(None)
    }
}

/// File names of all segments, in order.
///
/// # Errors
/// What the storage says.
pub fn segment_names(storage: &dyn Storage) -> io::Result<Vec<String>> {
    Ok(Catalog::read(storage)?.segments().into_iter().map(|(_, name)| name).collect())
}

fn last_of(commit: &Commit, channel: &str) -> Option<u64> {
    commit.entries.iter().find(|(name, _)| name == channel).map(|(_, state)| state.last_sequence)
}

struct Reader<'a> {
    selection: &'a Selection,
    limit: u64,
    /// As of the last commit.
    last_sequence: u64,
    visit: &'a mut dyn FnMut(Found<'_>) -> io::Result<()>,
    records: u64,
}

impl Visit for Reader<'_> {
    fn message(&mut self, message: &Seen<'_>) -> io::Result<()> {
        if !self.selection.wants(message, self.limit) {
            return Ok(());
        }
        self.records += 1;
        let Seen { sequence, log_time_ns, payload, .. } = *message;
        (self.visit)(Found::Message { sequence, log_time_ns, payload })
    }

    fn commit(&mut self, commit: &Commit) -> io::Result<()> {
        self.last_sequence = last_of(commit, &self.selection.channel).unwrap_or(self.last_sequence);
        if self.last_sequence > self.limit {
            return Ok(());
        }
        (self.visit)(Found::Commit { chain: commit.chain, last_sequence: self.last_sequence })
    }
}
