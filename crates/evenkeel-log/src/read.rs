//! One channel's messages, and what the commits say of them, in order.
//!
//! For logs that mean something to their writer: a journal is folded and its
//! chain is checked out of this. Only what lay in a whole chunk is handed out,
//! and nothing that a later segment has again: neither its messages nor the
//! commits that cover them. Damage is told after the segment it was met in.

use crate::catalog::{Catalog, first_commit, open_segment};
use crate::commit::Commit;
use crate::export::Selection;
use crate::scan::{Damage, Seen, Visit};
use crate::storage::Storage;
use crate::verify::{is_superseded, limits, scan_named};
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
        let file = open_segment(storage, &name)?;
        let limit = limits.get(&selection.channel).copied().unwrap_or(u64::MAX);
        let base = first_commit(&*file)?;
        let last_sequence =
            base.as_ref().map_or(0, |commit| last_of(commit, &selection.channel).unwrap_or(0));
        if let Some(commit) = base.filter(|_| last_sequence <= limit) {
            let first_sequence = last_sequence + 1;
            visit(Found::Segment { name: &name, chain: commit.chain, first_sequence })?;
        }
        let mut reader = Reader { selection, limit, last_sequence, visit, records: 0 };
        let found = scan_named(&*file, &name, &mut reader)?;
        summary.records += reader.records;
        for damage in &found.losses {
            visit(Found::Damage { segment: &name, damage })?;
        }
        summary.damaged |= found.loss_count > 0;
        summary.tail_bytes += if live { 0 } else { found.tail_bytes() };
        for gap in found.gaps.iter().filter(|g| g.channel == selection.channel && !is_superseded(g, &limits))
        {
            summary.damaged |= gap.is_loss();
            summary.gaps += u64::from(!gap.is_loss());
        }
    }
    if known {
        Ok(summary)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no segment {only:?}")))
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
