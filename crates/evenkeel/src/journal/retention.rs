//! Removing the journal's oldest segments, where the options ask for it.
//!
//! ```text
//! a segment was sealed --> what may go? --> entry `anchor`, durable --> files removed
//! ```
//!
//! Invariants:
//! 1. Whole sealed segments go, the oldest first, and only once an anchor that names the hash before
//!    the first entry that stays is durable; in a journal with a key, signed by a checkpoint as well. A
//!    crash in between leaves more than the anchor says, or all.
//! 2. Nothing goes that the newest snapshot of this run needs, and without one nothing goes at all.
//! 3. Nothing goes from an entry on that somebody [keeps](super::Journal::keep_from).
//! 4. Entries that are read back from the beginning, those of commands and of what was removed of a
//!    recording, go only once their reader has said from where on it needs them: see [`READ_BACK`].
//!
//! How it fails: a segment that is damaged stays, with all after it. What cannot be done is told as the
//! journal's trouble and tried again after the next segment. Appending does not wait for any of it; syncs
//! do, which is why a few go at a time.

use super::CHANNEL;
use super::checkpoint::Checkpoints;
use super::draft::Draft;
use super::entry::kind_of;
use super::shared::Shared;
use super::snapshot::Taken;
use evenkeel_log::storage::Storage;
use evenkeel_log::{Backwards, Found, Piece, SealedFile, hex, remove_segments, sealed_segments};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Kind of the entries that say up to where the journal was removed.
pub const ANCHOR_KIND: &str = "anchor";
/// Segments that one removal takes, at most: they are read through while nothing is synced.
const SEGMENTS_MAX: usize = 16;
/// Who reads which kinds back from the beginning, by how those begin.
const READ_BACK: [(&str, &str); 3] = [("child", "child"), ("child", "leftover-"), ("retention", "retention")];

/// What is kept of a journal; without limits, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalRetention {
    /// Bytes of sealed segments that are kept.
    pub bytes: Option<u64>,
    /// Nanoseconds since the last commit of a segment that is kept.
    pub age_ns: Option<u64>,
}

/// The body of an anchor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AnchorBody {
    /// The first entry that stays.
    pub(super) first_entry: u64,
    /// The hash before it, in hexadecimal digits.
    pub(super) prev: String,
    /// Names of the files that go.
    pub(super) removed: Vec<String>,
}

/// A removal that waits for its anchor to be durable, and for the checkpoint that signs that.
struct Planned {
    last_entry: u64,
    through: u64,
    is_signed: bool,
    /// Whether more is to go after it.
    is_full: bool,
}

/// What `ek-journal` keeps in mind of it.
pub(super) struct Removals {
    limits: JournalRetention,
    /// A segment was sealed, or the run has begun.
    is_wanted: bool,
    planned: Option<Planned>,
    trouble: Option<String>,
}

impl Removals {
    pub(super) fn new(limits: JournalRetention) -> Self {
        Self { limits, is_wanted: true, planned: None, trouble: None }
    }

    pub(super) fn segment_begins(&mut self) {
        self.is_wanted = true;
    }

    /// A snapshot that came after a segment had begun, maybe long after: more may go than before it.
    pub(super) fn snapshot_taken(&mut self) {
        self.is_wanted = true;
    }

    /// Why the last one failed.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().map(|why| format!("old segments of the journal could not be removed: {why}"))
    }

    /// Plans and does what is due.
    pub(super) fn keep(
        &mut self,
        shared: &Shared,
        storage: &dyn Storage,
        taken: Option<Taken>,
        checkpoints: &Checkpoints,
        now_wall_ns: u64,
    ) {
        if self.limits == JournalRetention::default() {
            return;
        }
        let durable = shared.standing().0;
        if let Some(planned) = self.planned.take_if(|it| it.is_signed && it.last_entry <= durable) {
            self.trouble = remove_segments(storage, planned.through).err().map(|e| e.to_string());
            self.is_wanted |= planned.is_full && self.trouble.is_none();
        }
        if let Some(taken) = taken.filter(|taken| taken.last_part <= durable)
            && self.is_wanted
            && self.planned.is_none()
        {
            self.is_wanted = false;
            match self.plan(shared, storage, taken, now_wall_ns) {
                Ok(planned) => self.planned = planned,
                Err(e) => self.trouble = Some(e.to_string()),
            }
        }
        if let Some(planned) = self.planned.as_mut().filter(|planned| !planned.is_signed) {
            planned.sign(shared, checkpoints);
        }
    }

    fn plan(
        &self,
        shared: &Shared,
        storage: &dyn Storage,
        taken: Taken,
        now_wall_ns: u64,
    ) -> io::Result<Option<Planned>> {
        let asked = self.limits.asked(&sealed_segments(storage)?, now_wall_ns);
        let Some(through) = asked else { return Ok(None) };
        let holds = shared.holds();
        let is_reader = |name: &str| READ_BACK.iter().any(|(reader, _)| *reader == name);
        let kept = holds.iter().filter(|(name, _)| !is_reader(name)).map(|(_, entry)| *entry);
        let needed = kept.fold(taken.from_entry + 1, u64::min);
        let mut removed = Vec::new();
        let mut stays = None;
        for pair in forward(storage)?.windows(2) {
            let [piece, next] = pair else { break };
            let (Some(number), Some(first), Some(chain)) = (piece.number(), next.first_sequence, next.chain)
            else {
                break;
            };
            let may_go = number <= through && first <= needed && removed.len() < SEGMENTS_MAX;
            if !may_go || is_read_back(piece, storage, &holds)? {
                break;
            }
            removed.push(piece.name().to_owned());
            stays = Some((number, first, chain));
        }
        let Some((through, first_entry, chain)) = stays else { return Ok(None) };
        let is_full = removed.len() == SEGMENTS_MAX;
        let body = AnchorBody { first_entry, prev: hex(&chain), removed };
        let appended = shared.offer(&Draft::of(ANCHOR_KIND, None, None, &body));
        let planned = |last_entry: u64| Planned { last_entry, through, is_signed: false, is_full };
        Ok(appended.map(|appended| planned(appended.entry)))
    }
}

impl Planned {
    /// Has the anchor signed where there is a key, once there is room: else anybody could append one.
    fn sign(&mut self, shared: &Shared, checkpoints: &Checkpoints) {
        let Some(draft) = checkpoints.draft(shared) else {
            self.is_signed = true;
            return;
        };
        if let Some(appended) = shared.offer(&draft) {
            (self.last_entry, self.is_signed) = (appended.entry, true);
        }
    }
}

impl JournalRetention {
    /// Number of the last segment that is to go, by these limits alone.
    fn asked(&self, sealed: &[SealedFile], now_wall_ns: u64) -> Option<u64> {
        let mut left: u64 = sealed.iter().map(|file| file.bytes).sum();
        let mut through = None;
        for file in sealed {
            let is_too_much = self.bytes.is_some_and(|bytes| left > bytes);
            let is_too_old =
                self.age_ns.is_some_and(|age| now_wall_ns.saturating_sub(file.ended_wall_ns) > age);
            if !is_too_much && !is_too_old {
                break;
            }
            left -= file.bytes;
            through = Some(file.number);
        }
        through
    }
}

/// The segments, from the oldest on.
fn forward(storage: &dyn Storage) -> io::Result<Vec<Piece>> {
    let (mut backwards, mut pieces) = (Backwards::new(storage, CHANNEL)?, Vec::new());
    while let Some(piece) = backwards.next_piece()? {
        pieces.push(piece);
    }
    pieces.reverse();
    Ok(pieces)
}

/// Whether a segment has an entry that somebody reads back and has not let go.
fn is_read_back(piece: &Piece, storage: &dyn Storage, holds: &BTreeMap<String, u64>) -> io::Result<bool> {
    let mut is_needed = false;
    let read = piece.read(storage, true, CHANNEL, &mut |found| {
        if let Found::Message { sequence, payload, .. } = found {
            // What cannot be read may be anything.
            let Some(kind) = kind_of(payload) else {
                is_needed = true;
                return Ok(());
            };
            let reader = READ_BACK.iter().find(|(_, head)| kind.starts_with(head));
            is_needed |=
                reader.is_some_and(|(reader, _)| holds.get(*reader).is_none_or(|needed| sequence >= *needed));
        }
        Ok(())
    })?;
    Ok(is_needed || read.damaged)
}
