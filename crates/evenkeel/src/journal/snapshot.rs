//! Snapshots: the state that folding the journal gives, as entries, so that nobody has to fold all of it.
//!
//! `ek-journal` asks every source what it stands for, after the number of the last entry was read, and
//! appends the answers as one entry of kind `snapshot`:
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
//! 3. Nobody is asked while the house is locked.

use super::draft::{DEPTH_MAX, Draft, is_too_deep};
use super::shared::Shared;
use crate::callback::{call, call_alone, message};
use evenkeel_hierarchy::{JournalObservers, Mutex, with_root};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kind of the entries that are snapshots.
pub const SNAPSHOT_KIND: &str = "snapshot";
/// The source that answers with the state machines, whose list is no part but a field of its own.
pub const MACHINES: &str = "machines";
/// Longer ones are not appended, but told.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;
/// Bytes of JSON in one part: escaped once more it is twice as long at most, a small share of the queue.
const PART_BYTES: usize = 64 << 10;

struct Source {
    name: String,
    ask: Box<dyn Fn() -> Value + Send + Sync>,
    has_failed: AtomicBool,
}

/// Who is asked for a snapshot, and whether it was told that all of them say too much.
#[derive(Default)]
pub(super) struct Sources(Mutex<JournalObservers, Vec<Arc<Source>>>, AtomicBool);

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

impl Sources {
    pub(super) fn add(&self, name: &str, ask: Box<dyn Fn() -> Value + Send + Sync>) {
        let source = Arc::new(Source { name: name.to_owned(), ask, has_failed: AtomicBool::new(false) });
        with_root(|house| {
            let mut sources = self.0.lock(house);
            let before = sources.iter().position(|known| known.name == name).map(|at| sources.remove(at));
            sources.push(source);
            drop(sources);
            call_alone(house, || drop(before));
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        with_root(|house| self.0.lock(house).is_empty())
    }

    /// They may hold handles of the journal, or whatever else.
    pub(super) fn clear(&self) {
        with_root(|house| {
            let sources = std::mem::take(&mut *self.0.lock(house));
            call_alone(house, || drop(sources));
        });
    }

    /// Asks all of them; the error says who did not answer, or nothing where that was told before.
    fn ask(&self) -> Result<(Value, Map<String, Value>), String> {
        with_root(|house| {
            let sources = self.0.lock(house).clone();
            let (mut machines, mut parts) = (json!([]), Map::new());
            let (mut is_whole, mut untold) = (true, Vec::new());
            for source in &sources {
                let why = match call(house, || (source.ask)()) {
                    Ok(Value::Array(list)) if source.name == MACHINES => {
                        machines = Value::Array(list);
                        continue;
                    }
                    Ok(_) if source.name == MACHINES => "the answer is no list".to_owned(),
                    Ok(value) => {
                        parts.insert(source.name.clone(), value);
                        continue;
                    }
                    Err(panic) => message(panic),
                };
                is_whole = false;
                if !source.has_failed.swap(true, Ordering::Relaxed) {
                    untold.push(format!("{}: {why}", source.name));
                }
            }
            call_alone(house, || drop(sources));
            if is_whole { Ok((machines, parts)) } else { Err(untold.join("; ")) }
        })
    }

    /// The same again says nothing.
    fn once(&self, why: String) -> String {
        if self.1.swap(true, Ordering::Relaxed) { String::new() } else { why }
    }

    /// What to append, in order.
    ///
    /// # Errors
    /// Why there is nothing; empty where that was told.
    pub(super) fn drafts(&self, from_entry: u64) -> Result<VecDeque<Draft>, String> {
        let (machines, parts) = self.ask()?;
        let whole = Whole { from_entry, machines: &machines, parts: &parts };
        let text = serde_json::to_string(&whole).map_err(|e| self.once(e.to_string()))?;
        if text.len() > SNAPSHOT_BYTES_MAX {
            return Err(self.once(format!("a snapshot of {} bytes is too long", text.len())));
        }
        if is_too_deep(text.as_bytes()) {
            return Err(self.once(format!("a snapshot of more than {DEPTH_MAX} levels cannot be read back")));
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

/// When the next snapshot is due, and what of one is still to be appended: kept by `ek-journal`.
pub(super) struct Snapshots {
    every_entries: u64,
    every_bytes: u64,
    entries: u64,
    bytes: u64,
    /// A segment was begun: the next entry brings one.
    is_wanted: bool,
    waiting: VecDeque<Draft>,
    /// Of the last one: where who restores reads on, and the number of its last part once it is appended.
    pub(super) last: Option<Taken>,
    taking: u64,
}

/// A snapshot that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) from_entry: u64,
    pub(super) last_part: u64,
}

impl Snapshots {
    pub(super) fn new(every_entries: u64, every_bytes: u64) -> Self {
        let waiting = VecDeque::new();
        let (entries, bytes, taking) = (0, 0, 0);
        Self { every_entries, every_bytes, entries, bytes, is_wanted: true, waiting, last: None, taking }
    }

    /// Entries that were taken off the queue, but for those of `ek-journal`'s own: they bring no snapshot.
    pub(super) fn count(&mut self, entries: u64, bytes: u64) {
        self.entries += entries;
        self.bytes += bytes;
    }

    pub(super) fn segment_begins(&mut self) {
        self.is_wanted = true;
    }

    fn is_due(&self) -> bool {
        let begins = self.is_wanted && self.entries > 0;
        begins || self.entries >= self.every_entries || self.bytes >= self.every_bytes
    }

    /// Takes one where it is due, and appends as much as there is room for.
    pub(super) fn keep(&mut self, shared: &Shared) {
        if self.waiting.is_empty() && self.is_due() && !shared.sources.is_empty() {
            // Before they are asked: what they answer includes all up to here.
            self.taking = shared.standing().1;
            (self.is_wanted, self.entries, self.bytes) = (false, 0, 0);
            match shared.sources.drafts(self.taking) {
                Ok(drafts) => self.waiting = drafts,
                Err(why) => shared.tell_failed_source(&why),
            }
        }
        while let Some(draft) = self.waiting.front() {
            let Some(appended) = shared.offer(draft) else { return };
            self.waiting.pop_front();
            if self.waiting.is_empty() {
                self.last = Some(Taken { from_entry: self.taking, last_part: appended.entry });
            }
        }
    }
}
