//! Restoring: the newest snapshot and what came after it, without reading the whole journal.
//!
//! Segments are looked through from the newest to the oldest until one has a whole snapshot; then
//! what follows its `from_entry` is read forward. What is of another kind than asked for is told by
//! its first bytes and not taken apart.
//!
//! How it fails: damage is left out and told by the answer, as [`entries`](super::entries) does, and so is
//! that entries are missing. A snapshot of which a part is missing, or that cannot be read, does not count,
//! and the one before it is taken. Without any, everything is read.

use super::CHANNEL;
use super::entry::{Entry, kind_of};
use super::snapshot::SNAPSHOT_KIND;
use evenkeel_log::storage::Storage;
use evenkeel_log::{Backwards, Found, Piece, ReadSummary};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

/// What [`restore`] hands out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Restored<'a> {
    /// The newest whole snapshot; comes first, where there is one.
    Snapshot {
        /// The last entry that it includes for sure.
        from_entry: u64,
        /// The state machines.
        machines: Vec<Value>,
        /// What the other sources said, by name.
        parts: serde_json::Map<String, Value>,
    },
    /// An entry after the snapshot's `from_entry`, of a kind that was asked for.
    Entry(Glimpse<'a>),
}

/// An entry that was not taken apart yet.
#[derive(Clone, Copy, Debug)]
pub struct Glimpse<'a> {
    /// Its number.
    pub entry: u64,
    /// Its kind.
    pub kind: &'a str,
    payload: &'a [u8],
}

impl<'a> Glimpse<'a> {
    /// Takes it apart.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(&self) -> Result<Entry, String> {
        Entry::parse(self.payload)
    }

    /// Reads the fields that a type has: the cheapest way to a few of them. `T` stands for the whole
    /// entry, whose body is its field `body`. The version of the entry is not looked at: it is known.
    ///
    /// # Errors
    /// What does not fit.
    pub fn read<T: Deserialize<'a>>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.payload)
    }
}

/// How much [`restore`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreSummary {
    /// Number of the entry that the snapshot was, its last part; `None` when there is none.
    pub snapshot: Option<u64>,
    /// Entries that were handed out.
    pub entries: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Whether bytes were damaged, or entries could not be read or are missing, in what was read.
    pub damaged: bool,
}

#[derive(Deserialize)]
struct SnapshotEntry {
    body: SnapshotBody,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SnapshotBody {
    Part { from_entry: u64, part: usize, of: usize, text: String },
    Whole { from_entry: u64, machines: Vec<Value>, parts: serde_json::Map<String, Value> },
}

#[derive(Deserialize)]
struct WholeBody {
    machines: Vec<Value>,
    parts: serde_json::Map<String, Value>,
}

/// A snapshot that is whole.
struct Snapshot {
    entry: u64,
    from_entry: u64,
    body: WholeBody,
}

/// Parts that were met of one snapshot, by their number, and its `from_entry`.
#[derive(Default)]
struct Parts {
    from_entry: u64,
    met: BTreeMap<usize, (u64, String)>,
}

impl Parts {
    /// Takes what stands in an entry; answers the snapshot that it makes whole.
    fn take(&mut self, entry: u64, payload: &[u8]) -> Option<Snapshot> {
        let read: SnapshotEntry = serde_json::from_slice(payload).ok()?;
        let (from_entry, part, of, text) = match read.body {
            SnapshotBody::Whole { from_entry, machines, parts } => {
                return Some(Snapshot { entry, from_entry, body: WholeBody { machines, parts } });
            }
            SnapshotBody::Part { from_entry, part, of, text } => (from_entry, part, of, text),
        };
        // The parts of one follow one another: of what is newer than this none is to come.
        if self.from_entry != from_entry {
            *self = Self { from_entry, met: BTreeMap::new() };
        }
        self.met.insert(part, (entry, text));
        if self.met.len() != of || !self.met.keys().copied().eq(1..=of) {
            return None;
        }
        let met = std::mem::take(&mut self.met);
        let last = met.values().map(|(entry, _)| *entry).max().unwrap_or(entry);
        let text: String = met.values().map(|(_, text)| text.as_str()).collect();
        let body = serde_json::from_str(&text).ok()?;
        Some(Snapshot { entry: last, from_entry, body })
    }
}

/// Hands out the newest whole snapshot and every later entry of the `kinds` asked for, in order; all
/// kinds when none is named. With `live`, a program is at work in the journal.
///
/// What the sources changed while they were asked stands in the snapshot and again behind it: by its
/// sequence it is known, and left out.
///
/// ```
/// use evenkeel::journal::{Journal, JournalOptions, Restored, restore};
/// use evenkeel_log::storage::DirStorage;
/// use serde_json::json;
/// use std::{sync::Arc, time::Duration};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let storage = Arc::new(DirStorage::create(dir.path())?);
/// let (journal, _) = Journal::open(storage.clone(), JournalOptions::default())?;
/// journal.on_snapshot("answer", || json!(42));
/// let _ = journal.append("state", None, json!({ "to": "Running" }));
/// journal.finish(Duration::from_secs(10))?;
/// let mut states = 0;
/// restore(&*storage, false, &["state"], &mut |restored| {
///     if let Restored::Entry(_) = restored {
///         states += 1;
///     }
///     Ok(())
/// })?;
/// assert!(states <= 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the storage or `visit` says.
pub fn restore(
    storage: &dyn Storage,
    live: bool,
    kinds: &[&str],
    visit: &mut dyn FnMut(Restored<'_>) -> io::Result<()>,
) -> io::Result<RestoreSummary> {
    let mut summary = RestoreSummary::default();
    let (mut backwards, mut pieces) = (Backwards::new(storage, CHANNEL)?, Vec::new());
    let (mut parts, mut newest) = (Parts::default(), None);
    // Back to a snapshot, and further to where what follows its `from_entry` begins.
    while let Some(piece) = backwards.next_piece()? {
        if newest.is_none() {
            newest = newest_of(storage, live, &piece, &mut parts, &mut summary)?;
        }
        let from = newest.as_ref().map_or(0, |snapshot: &Snapshot| snapshot.from_entry);
        let reaches = piece.first_sequence.is_some_and(|first| first <= from.saturating_add(1));
        pieces.push(piece);
        if newest.is_some() && reaches {
            break;
        }
    }
    let mut from = 0;
    if let Some(Snapshot { entry, from_entry, body: WholeBody { machines, parts } }) = newest {
        (summary.snapshot, from) = (Some(entry), from_entry);
        visit(Restored::Snapshot { from_entry, machines, parts })?;
    }
    let mut next = from.saturating_add(1);
    for piece in pieces.iter().rev() {
        summary.segments += 1;
        // One that begins later than it should has lost those before it.
        summary.damaged |= piece.first_sequence.is_some_and(|first| first > next);
        let read = piece.read(storage, live, CHANNEL, &mut |found| {
            let Found::Message { sequence, payload, .. } = found else { return Ok(()) };
            if sequence <= from {
                return Ok(());
            }
            summary.damaged |= sequence != next;
            next = sequence.saturating_add(1);
            let Some(kind) = kind_of(payload) else {
                summary.damaged = true;
                return Ok(());
            };
            if !kinds.is_empty() && !kinds.contains(&kind) {
                return Ok(());
            }
            summary.entries += 1;
            visit(Restored::Entry(Glimpse { entry: sequence, kind, payload }))
        })?;
        summary.damaged |= read.damaged;
    }
    Ok(summary)
}

/// The newest snapshot that is whole once this segment was read.
fn newest_of(
    storage: &dyn Storage,
    live: bool,
    piece: &Piece,
    parts: &mut Parts,
    summary: &mut RestoreSummary,
) -> io::Result<Option<Snapshot>> {
    let mut met: Vec<(u64, Vec<u8>)> = Vec::new();
    let read: ReadSummary = piece.read(storage, live, CHANNEL, &mut |found| {
        if let Found::Message { sequence, payload, .. } = found
            && kind_of(payload) == Some(SNAPSHOT_KIND)
        {
            met.push((sequence, payload.to_vec()));
        }
        Ok(())
    })?;
    summary.segments += 1;
    summary.damaged |= read.damaged;
    // From the newest on: the first that is whole is the newest.
    Ok(met.iter().rev().find_map(|(entry, payload)| parts.take(*entry, payload)))
}
