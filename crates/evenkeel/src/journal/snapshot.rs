//! Snapshots: the state that folding the journal gives, as entries, so that nobody has to fold all of it.
//!
//! When one is due, the number of the last entry is read and every source asked what it stands for; see
//! `journal/sources.rs`. `ek-journal` goes on meanwhile, and appends the answers when they have come, as one
//! entry of kind `snapshot`:
//!
//! ```text
//! {"from_entry":N,"machines":[..],"parts":{"NAME":..}}
//! {"from_entry":N,"part":1,"of":3,"text":".."}          one of several, where one entry is too short for it
//! ```
//!
//! Who restores takes the newest whole snapshot and reads on after its `from_entry`. What was changed
//! while the sources were asked is in both; a source has to know it by its sequence.
//!
//! Invariants:
//! 1. A snapshot has all sources and can be read back, or is not appended: who panicked, or answered what
//!    nobody can read, is told once, and asked again later.
//! 2. The parts of one are appended one after the other, as there is room for notes: the last quarter
//!    of the queue stays the records'.
//! 3. One is taken at a time: the next is begun when all parts of the one before are appended, or there are none.
//!    So the newest that is appended needs whatever one that is being taken will need.
//! 4. Nothing waits for a source. One that does not answer in time is told once, and waited for as long as the
//!    journal is open: late or not, its answer counts from `from_entry` on.

use super::draft::{DEPTH_MAX, Draft, is_too_deep};
use super::shared::Shared;
use super::sources;
use crate::threads::Asides;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kind of the entries that are snapshots.
pub const SNAPSHOT_KIND: &str = "snapshot";
/// The source that answers with the state machines, whose list is no part but a field of its own.
pub const MACHINES: &str = "machines";
/// Longer ones are not appended, but told.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;
/// Bytes of JSON in one part: escaped once more it is twice as long at most, a small share of the queue.
const PART_BYTES: usize = 64 << 10;
/// Who is asked is never looked after more often.
const PATIENCE_MIN: Duration = Duration::from_millis(1);
/// Longer than any asking; a moment that comes so late can still be told.
const PATIENCE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What all sources said.
pub(super) struct Parts {
    pub(super) machines: Value,
    pub(super) others: Map<String, Value>,
}

#[derive(Serialize)]
struct Whole<'a> {
    from_entry: u64,
    machines: &'a Value,
    parts: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Part<'a> {
    from_entry: u64,
    part: usize,
    of: usize,
    text: &'a str,
}

/// What to append for a snapshot, in order.
///
/// # Errors
/// Why it could not be read back.
pub(super) fn drafts(from_entry: u64, parts: &Parts) -> Result<VecDeque<Draft>, String> {
    let whole = Whole { from_entry, machines: &parts.machines, parts: &parts.others };
    let text = serde_json::to_string(&whole).map_err(|e| e.to_string())?;
    if text.len() > SNAPSHOT_BYTES_MAX {
        return Err(format!("a snapshot of {} bytes is too long", text.len()));
    }
    if is_too_deep(text.as_bytes()) {
        return Err(format!("a snapshot of more than {DEPTH_MAX} levels cannot be read back"));
    }
    if text.len() <= PART_BYTES {
        return Ok([Draft::of(SNAPSHOT_KIND, None, None, &whole)].into());
    }
    let pieces = pieces(&text);
    let of = pieces.len();
    let part = |(at, text): (usize, &&str)| {
        Draft::of(SNAPSHOT_KIND, None, None, &Part { from_entry, part: at + 1, of, text })
    };
    Ok(pieces.iter().enumerate().map(part).collect())
}

/// Cuts a text between characters.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let mut end = PART_BYTES.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        pieces.push(piece);
        text = rest;
    }
    pieces
}

/// When the next snapshot is due, and what of one is still to come or to be appended: kept by `ek-journal`.
pub(super) struct Snapshots {
    every_entries: u64,
    every_bytes: u64,
    patience: Duration,
    asides: Asides,
    entries: u64,
    bytes: u64,
    /// A segment was begun: the next entry brings one.
    is_wanted: bool,
    /// While the sources are asked: when to look for one that does not answer.
    look_at: Option<Instant>,
    waiting: VecDeque<Draft>,
    /// Of the last one: where who restores reads on, and the number of its last part once it is appended.
    pub(super) last: Option<Taken>,
    taking: u64,
    /// Whether it is the first one of its segment.
    is_first: bool,
    has_told: bool,
}

/// A snapshot that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) from_entry: u64,
    pub(super) last_part: u64,
}

impl Snapshots {
    pub(super) fn new(every_entries: u64, every_bytes: u64, patience: Duration, asides: Asides) -> Self {
        Self {
            every_entries: every_entries.max(1),
            every_bytes: every_bytes.max(1),
            patience: patience.clamp(PATIENCE_MIN, PATIENCE_MAX),
            asides,
            entries: 0,
            bytes: 0,
            is_wanted: true,
            look_at: None,
            waiting: VecDeque::new(),
            last: None,
            taking: 0,
            is_first: false,
            has_told: false,
        }
    }

    /// Entries that were taken off the queue, but for those of `ek-journal`'s own: they bring no snapshot.
    pub(super) fn count(&mut self, entries: u64, bytes: u64) {
        self.entries += entries;
        self.bytes += bytes;
    }

    pub(super) fn segment_begins(&mut self) {
        self.is_wanted = true;
    }

    /// When there is something to do even if nothing comes.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    fn is_due(&self) -> bool {
        let begins = self.is_wanted && self.entries > 0;
        begins || self.entries >= self.every_entries || self.bytes >= self.every_bytes
    }

    /// Appends as much as there is room for of one whose answers have come, and begins the next where it is due.
    /// Answers whether the first one of a segment was appended with that.
    pub(super) fn keep(&mut self, shared: &Arc<Shared>) -> bool {
        if let Some(look_at) = self.look_at {
            self.wait_for_answer(shared, look_at);
        }
        let is_first = self.append(shared) && self.is_first;
        // In the same turn: nothing may come that would bring another.
        if self.look_at.is_none() && self.waiting.is_empty() && self.is_due() && !shared.sources.is_empty() {
            self.begin(shared);
        }
        is_first
    }

    /// Answers whether the last part of one was appended.
    fn append(&mut self, shared: &Shared) -> bool {
        while let Some(draft) = self.waiting.front() {
            let Some(appended) = shared.offer(draft) else { return false };
            self.waiting.pop_front();
            if self.waiting.is_empty() {
                self.last = Some(Taken { from_entry: self.taking, last_part: appended.entry });
                return true;
            }
        }
        false
    }

    fn begin(&mut self, shared: &Arc<Shared>) {
        // Before they are asked: what they answer includes all up to here.
        self.taking = shared.standing().1;
        self.is_first = self.is_wanted;
        (self.is_wanted, self.entries, self.bytes) = (false, 0, 0);
        self.look_at = Some(Instant::now() + self.patience);
        if let Err(e) = sources::ask(shared, &self.asides, self.taking, self.patience)
            && !std::mem::replace(&mut self.has_told, true)
        {
            shared.tell_failed_source(&format!("nobody could be asked: {e}"));
        }
    }

    fn wait_for_answer(&mut self, shared: &Shared, look_at: Instant) {
        match shared.take_answer() {
            Some(answer) => {
                self.look_at = None;
                match answer {
                    Ok(drafts) => self.waiting = drafts,
                    Err(why) => shared.tell_failed_source(&why),
                }
            }
            None if Instant::now() >= look_at => {
                let (late, look_again) = shared.sources.late(self.patience);
                self.look_at = Some(look_again);
                shared.tell_failed_source(&late.unwrap_or_default());
            }
            None => {}
        }
    }
}
