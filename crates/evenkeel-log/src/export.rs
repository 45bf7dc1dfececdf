//! The bytes of one channel, as they were accepted.

use crate::catalog::open_segment;
use crate::gap::GAPS_CHANNEL;
use crate::scan::{NoVisit, Scan, Seen, Visit};
use crate::storage::Storage;
use crate::verify::{is_superseded, limits, scan_named};
use std::io::{self, Write};

/// What to export.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The channel.
    pub channel: String,
    /// Only this stream of it.
    pub stream: Option<u32>,
    /// Only out of this segment file.
    pub segment: Option<String>,
}

impl Selection {
    /// Whether a message is of the channel and the stream, and no later segment has it again.
    pub(crate) fn wants(&self, message: &Seen<'_>, limit: u64) -> bool {
        message.channel == self.channel
            && self.stream.is_none_or(|stream| stream == message.stream)
            && message.sequence <= limit
    }
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Payload bytes written.
    pub bytes: u64,
    /// Messages written.
    pub records: u64,
    /// Whether the recording knows the channel.
    pub known: bool,
    /// Whether bytes were damaged or sequences missing without a declaration.
    pub damaged: bool,
    /// Declared gaps of the channel that were met.
    pub gaps: u64,
}

/// Writes the concatenation of a channel's messages to `out`.
///
/// Damaged chunks are left out and told; bytes are written only after their CRC was checked.
///
/// # Errors
/// What the storage or `out` says; `NotFound` when there is no such segment.
pub fn export(storage: &dyn Storage, selection: &Selection, out: &mut dyn Write) -> io::Result<Exported> {
    let mut exported = Exported::default();
    let mut reached = None;
    let mut found_segment = false;
    for (name, limits) in limits(storage)? {
        if selection.segment.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        found_segment = true;
        let limit = limits.get(&selection.channel).copied().unwrap_or(u64::MAX);
        let file = match open_segment(storage, &name) {
            // Removed since it was listed: what comes after it tells of the hole, where there is one.
            Err(e) if e.kind() == io::ErrorKind::NotFound && selection.segment.is_none() => continue,
            file => file?,
        };
        let mut visit = Concatenate { selection, limit, out, exported: &mut exported };
        let mut found = scan_named(&*file, &name, &mut visit)?;
        found.gaps.retain(|gap| !is_superseded(gap, &limits));
        note(&found, selection, limit, &mut reached, &mut exported);
    }
    if let Some(name) = selection.segment.as_ref().filter(|_| !found_segment) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no segment {name}")));
    }
    out.flush()?;
    Ok(exported)
}

/// Takes note of damage, gaps and holes.
fn note(found: &Scan, selection: &Selection, limit: u64, reached: &mut Option<u64>, exported: &mut Exported) {
    exported.damaged |= found.loss_count > 0;
    let gaps = found.gaps.iter().filter(|g| g.channel == selection.channel);
    for gap in gaps {
        exported.gaps += 1;
        exported.damaged |= gap.is_loss();
    }
    exported.known |= found.states.contains_key(&selection.channel);
    let Some(track) = found.tracks.get(&selection.channel) else { return };
    let first = reached.unwrap_or(track.base).saturating_add(1);
    let last = found.states.get(&selection.channel).map_or(track.base, |s| s.last_sequence).min(limit);
    // From where the segment before stopped: a hole between segments is a hole.
    if first <= last {
        let from = first.min(track.base.saturating_add(1));
        let missing = track.covered.missing(from.max(first), last);
        exported.damaged |= !missing.is_empty();
    }
    *reached = Some(last.max(reached.unwrap_or(0)));
}

struct Concatenate<'a> {
    selection: &'a Selection,
    limit: u64,
    out: &'a mut dyn Write,
    exported: &'a mut Exported,
}

impl Visit for Concatenate<'_> {
    fn message(&mut self, message: &Seen<'_>) -> io::Result<()> {
        if self.selection.wants(message, self.limit) {
            self.out.write_all(message.payload)?;
            self.exported.bytes += message.payload.len() as u64;
            self.exported.records += 1;
        }
        Ok(())
    }
}

/// Names of the channels that users recorded, sorted.
///
/// # Errors
/// What the storage says.
pub fn channel_names(storage: &dyn Storage) -> io::Result<Vec<String>> {
    let mut names = std::collections::BTreeSet::new();
    for (name, _) in limits(storage)? {
        names.extend(scan_named(&*open_segment(storage, &name)?, &name, &mut NoVisit)?.states.into_keys());
    }
    names.remove(GAPS_CHANNEL);
    Ok(names.into_iter().collect())
}
