//! What is kept of sealed segments: `[retention] bytes, age, min_free`.
//!
//! ```text
//! sealed and read back --> removal --> anchor in the journal, durable --> files removed
//!        every 5 s ----------^
//! ```
//!
//! [`removal`] says what is to go, out of plain values. [`Keeper`] is the thread `ek-retention`
//! that asks it and does it.
//!
//! Invariants:
//! 1. Whole segments go, the oldest first; never one that is not sealed, nor one of this run
//!    that [`Keeper::sealed`] has not named.
//! 2. Nothing is removed that the journal does not tell of first, durably: only then is it no
//!    loss to `verify`. One exception: while less than `min_free` is free and the journal is in
//!    trouble, removal comes first, as only that frees the space that the entry needs. The
//!    entry follows; a crash in between leaves a beginning that `verify` misses.
//! 3. Without a journal nothing is removed, and that is told once.
//!
//! How it fails: what cannot be done is told, once as long as it stays the same, and tried
//! again at the next look. Recording does not wait for any of it.

use crate::config::Retention;
use evenkeel_log::SealedFile;

mod keeper;
pub(crate) use keeper::Keeper;

/// The segments that go, a prefix of those that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Removal {
    /// How many.
    segments: usize,
    /// Their bytes.
    bytes: u128,
    /// Which limits ask for it, in the configuration's words.
    why: Vec<&'static str>,
}

impl Removal {
    fn asks(&mut self, limit: &'static str) {
        if !self.why.contains(&limit) {
            self.why.push(limit);
        }
    }
}

/// What is to go, if anything is.
///
/// `segments` are the sealed ones that may go, in order; something newer has to stay beside
/// them. One after the other goes, from the oldest on, as long as
/// * `bytes`: those that stay have more than that, or
/// * `age_ns`: its last commit lies further back than that. A segment that is not that old
///   keeps those after it, whatever their clock said; and a wall clock that stands before
///   the commit, because it was set back, finds no age at all, or
/// * `min_free`: less is free, with what went before counted as free. Where even all of
///   them are not enough, all go: room for what is being recorded counts for more.
fn removal(retention: &Retention, segments: &[SealedFile], free_bytes: u64, now_wall_ns: u64) -> Removal {
    let all: u128 = segments.iter().map(|segment| u128::from(segment.bytes)).sum();
    let mut removal = Removal::default();
    for segment in segments {
        let is_too_much = retention.bytes.is_some_and(|most| all - removal.bytes > u128::from(most));
        let age_ns = now_wall_ns.saturating_sub(segment.ended_wall_ns);
        let is_too_old = retention.age_ns.is_some_and(|most| age_ns > most);
        let free = u128::from(free_bytes) + removal.bytes;
        let is_too_full = retention.min_free.is_some_and(|least| free < u128::from(least));
        for (asks, limit) in [(is_too_much, "bytes"), (is_too_old, "age"), (is_too_full, "min_free")] {
            if asks {
                removal.asks(limit);
            }
        }
        if !(is_too_much || is_too_old || is_too_full) {
            break;
        }
        removal.segments += 1;
        removal.bytes += u128::from(segment.bytes);
    }
    removal
}

/// Whether less is free than is to stay free.
fn is_too_full(retention: &Retention, free_bytes: u64) -> bool {
    retention.min_free.is_some_and(|least| free_bytes < least)
}

/// The number of the last segment that is to go, with all before it.
#[cfg(test)]
fn decide(retention: &Retention, segments: &[SealedFile], free_bytes: u64, now_wall_ns: u64) -> Option<u64> {
    let removal = removal(retention, segments, free_bytes, now_wall_ns);
    removal.segments.checked_sub(1).map(|last| segments[last].number)
}

#[cfg(test)]
mod tests;
