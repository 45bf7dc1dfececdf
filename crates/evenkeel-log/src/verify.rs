//! Checking a whole recording: every CRC, sequence, commit and gap.

use crate::catalog::{Catalog, base_of, open_segment};
use crate::gap::{GAPS_CHANNEL, Gap};
use crate::retention::Anchor;
use crate::scan::{Damage, Durable, Ending, NoVisit, Ranges, Scan, Seen, Visit, scan, scan_whole};
use crate::storage::{ReadFile, Storage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;

/// The answer of [`verify`], from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every byte and every sequence is there.
    Intact,
    /// Whole up to what is declared: gaps, or the unsealed end of a crash or a running recorder.
    Declared,
    /// Something that was acknowledged is missing or altered.
    Loss,
    /// There is no recording, or it cannot be read.
    Unreadable,
}

/// One segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentReport {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Whether it is sealed with its summary and index.
    pub sealed: bool,
    /// Whole commits.
    pub commits: u64,
    /// Messages in whole chunks, gap records included.
    pub records: u64,
    /// Bytes beyond the last commit of an unsealed segment.
    pub tail_bytes: u64,
    /// Damaged places, the first 64.
    pub damage: Vec<Damage>,
    /// Damaged places in all.
    pub damage_count: u64,
}

/// One channel over all segments.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChannelReport {
    /// Its name.
    pub name: String,
    /// Messages that are there; those that were removed are not among them.
    pub records: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Last sequence that was given.
    pub last_sequence: u64,
    /// Declared gaps.
    pub gaps: u64,
    /// Ranges that are neither there nor declared missing.
    pub missing: Vec<(u64, u64)>,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The verdict.
    pub outcome: Outcome,
    /// Every segment, in order.
    pub segments: Vec<SegmentReport>,
    /// Every channel, by name.
    pub channels: Vec<ChannelReport>,
    /// Every declared gap, in order.
    pub gaps: Vec<Gap>,
    /// What is wrong beyond single bytes, in words.
    pub findings: Vec<String>,
}

/// Reads and checks a recording. With `live`, a recorder is at work in it, and
/// what lies beyond the last commit is not looked at.
///
/// `anchor` says what was removed on purpose. What it covers is not missed where a removal
/// has taken it, also one that was cut short: of each channel is looked for what comes after
/// its last sequence there, or from the beginning of the first segment on where that is
/// earlier. Without one, everything from the first sequence on has to be there.
///
/// # Errors
/// What the storage says; bad bytes are in the answer.
pub fn verify(storage: &dyn Storage, live: bool, anchor: Option<&Anchor>) -> io::Result<Verification> {
    verify_with(storage, live, &mut || Ok(anchor.cloned()))
}

/// The same, where segments may be removed meanwhile: the anchor is asked for once, after
/// everything was read, and a segment that is gone by then counts as removed.
///
/// # Errors
/// What the storage or `anchor` says; bad bytes are in the answer.
pub fn verify_with(
    storage: &dyn Storage,
    live: bool,
    anchor: &mut dyn FnMut() -> io::Result<Option<Anchor>>,
) -> io::Result<Verification> {
    let mut check = Check::default();
    for (name, limits) in &limits(storage)? {
        let sealed = name.ends_with(".mcap");
        // Nothing is proven by what the system remembers of it.
        let opened = if sealed { storage.open_medium(name) } else { open_segment(storage, name) };
        let file = match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                check.begins = None;
                continue;
            }
            file => file?,
        };
        let found = scan_named(&*file, name, &mut NoVisit)?;
        let mut superseded = Superseded { limits, counts: BTreeMap::new() };
        if found
            .tracks
            .iter()
            .any(|(channel, track)| superseded.has(channel, track.covered.last().unwrap_or(0)))
        {
            scan_named(&*file, name, &mut superseded)?;
        }
        check.begins.get_or_insert_with(|| begins(&found, limits));
        check.segment(name, sealed, live, &found);
        check.channels(&found, &superseded);
        check.last = Some((name.clone(), sealed, found.run_end));
    }
    if check.segments.is_empty() {
        check.findings.push("there is no recording here".to_owned());
        return Ok(check.finish(Outcome::Unreadable));
    }
    check.ending(live);
    check.sequences(anchor()?.as_ref());
    Ok(check.finish(Outcome::Intact))
}

/// Where each channel stands before a segment; `None` where that is not to be read there.
fn begins(found: &Scan, limits: &BTreeMap<String, u64>) -> Option<BTreeMap<String, u64>> {
    let limit = |channel: &String| limits.get(channel).copied().unwrap_or(u64::MAX);
    let begins =
        found.tracks.iter().map(|(channel, track)| (channel.clone(), track.base.min(limit(channel))));
    found.has_base.then(|| begins.collect())
}

/// Scans all of a sealed segment, and of an unsealed one what counts.
pub(crate) fn scan_named(file: &dyn ReadFile, name: &str, visit: &mut dyn Visit) -> io::Result<Scan> {
    match Durable::by_name(name) {
        Durable::ToItsEnd => scan(file, Durable::ToItsEnd, visit),
        Durable::AsCommitted => scan_whole(file, Durable::AsCommitted, visit),
    }
}

/// Whether a later segment declares the gap again: it begins beyond the limit of
/// its channel. One that takes no number is never written twice.
pub(crate) fn is_superseded(gap: &Gap, limits: &BTreeMap<String, u64>) -> bool {
    let limit = limits.get(&gap.channel).copied().unwrap_or(u64::MAX);
    gap.last_sequence.is_some() && gap.first_sequence > limit
}

/// Messages of a segment that a later one has again: records and payload bytes by channel.
struct Superseded<'a> {
    limits: &'a BTreeMap<String, u64>,
    counts: BTreeMap<String, (u64, u64)>,
}

impl Superseded<'_> {
    fn has(&self, channel: &str, sequence: u64) -> bool {
        self.limits.get(channel).is_some_and(|limit| sequence > *limit)
    }

    fn of(&self, channel: &str) -> (u64, u64) {
        self.counts.get(channel).copied().unwrap_or_default()
    }
}

impl Visit for Superseded<'_> {
    fn message(&mut self, message: &Seen<'_>) -> io::Result<()> {
        if self.has(message.channel, message.sequence) {
            let (records, bytes) = self.counts.entry(message.channel.to_owned()).or_default();
            *records += 1;
            *bytes += message.payload.len() as u64;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Check {
    segments: Vec<SegmentReport>,
    channels: BTreeMap<String, (ChannelReport, Ranges)>,
    gaps: Vec<Gap>,
    findings: Vec<String>,
    loss: bool,
    declared: bool,
    last: Option<(String, bool, bool)>,
    /// Where the first segment begins that none is gone after.
    begins: Option<Option<BTreeMap<String, u64>>>,
}

impl Check {
    fn segment(&mut self, name: &str, sealed: bool, live: bool, found: &Scan) {
        self.loss |= found.loss_count > 0;
        self.declared |= !sealed;
        if sealed && found.ending != Ending::Sealed && found.loss_count == 0 {
            self.lose(format!("{name}: its seal is damaged or missing; `recover` mends it"));
        }
        if sealed && !found.has_base && found.loss_count == 0 {
            self.lose(format!("{name}: not a segment of this recorder"));
        }
        if found.loss_count == 0 && found.has_base {
            self.counts(name, found);
        }
        self.segments.push(SegmentReport {
            name: name.to_owned(),
            bytes: found.file_bytes,
            sealed,
            commits: found.commits,
            records: found.summary.messages.values().sum(),
            tail_bytes: if sealed || live { 0 } else { found.tail_bytes() },
            damage: found.losses.clone(),
            damage_count: found.loss_count,
        });
    }

    fn channels(&mut self, found: &Scan, superseded: &Superseded<'_>) {
        for (channel, track) in &found.tracks {
            let (report, covered) = self.channels.entry(channel.clone()).or_default();
            let (records, bytes) = superseded.of(channel);
            report.records += track.records - records;
            report.bytes += track.bytes - bytes;
            // What is superseded is not there for any reader: a later segment has to have it.
            let limit = superseded.limits.get(channel).copied().unwrap_or(u64::MAX);
            let of_state = found.states.get(channel).map_or(0, |s| s.last_sequence);
            report.last_sequence = report.last_sequence.max(of_state.max(track.base).min(limit));
            covered.add_all(&track.covered, limit);
        }
        for gap in found.gaps.iter().filter(|gap| !is_superseded(gap, superseded.limits)) {
            self.declared = true;
            self.loss |= gap.is_loss();
            self.channels.entry(gap.channel.clone()).or_default().0.gaps += 1;
            self.gaps.push(gap.clone());
        }
    }

    /// What the commits counted must be what the chunks hold.
    fn counts(&mut self, name: &str, found: &Scan) {
        for (channel, track) in &found.tracks {
            if track.repeated > 0 {
                self.lose(format!("{name}: {} sequences of {channel} occur twice", track.repeated));
            }
            let Some(last) = found.states.get(channel).map(|s| s.last_sequence) else { continue };
            let seen = track.covered.last().unwrap_or(track.base);
            if seen > last {
                self.lose(format!("{name}: {channel} goes on to {seen}, its commits only to {last}"));
            }
        }
    }

    fn lose(&mut self, finding: String) {
        self.loss = true;
        self.findings.push(finding);
    }

    /// A run that was not ended in order leaves an unsealed segment.
    fn ending(&mut self, live: bool) {
        if let Some((name, true, false)) = self.last.take().filter(|_| !live) {
            self.lose(format!("{name} is not the end of its recording: a segment after it is missing"));
        }
    }

    fn sequences(&mut self, anchor: Option<&Anchor>) {
        let begins = self.begins.take().flatten();
        let mut lost = Vec::new();
        for (name, (report, covered)) in &mut self.channels {
            report.name.clone_from(name);
            let told = anchor.and_then(|anchor| anchor.channels.get(name)).copied().unwrap_or(0);
            // A removal that was cut short has left segments that begin before its anchor.
            let removed =
                begins.as_ref().map_or(told, |begins| told.min(begins.get(name).copied().unwrap_or(0)));
            report.missing = covered.missing(removed.saturating_add(1), report.last_sequence);
            lost.extend(
                report.missing.iter().map(|(a, b)| format!("{name}: sequences {a} to {b} are missing")),
            );
        }
        for finding in lost {
            self.lose(finding);
        }
    }

    fn finish(self, otherwise: Outcome) -> Verification {
        let outcome = if otherwise == Outcome::Unreadable {
            otherwise
        } else if self.loss {
            Outcome::Loss
        } else if self.declared {
            Outcome::Declared
        } else {
            otherwise
        };
        let user_channels = self.channels.into_iter().filter(|(name, _)| name != GAPS_CHANNEL);
        Verification {
            outcome,
            segments: self.segments,
            channels: user_channels.map(|(_, (report, _))| report).collect(),
            gaps: self.gaps,
            findings: self.findings,
        }
    }
}

/// Checks one sealed segment, as a stop does: every CRC, its seal, and what its
/// commits say.
///
/// # Errors
/// What the storage says.
pub fn verify_segment(storage: &dyn Storage, name: &str) -> io::Result<SegmentReport> {
    let found = scan(&*storage.open_medium(name)?, Durable::ToItsEnd, &mut NoVisit)?;
    let mut check = Check::default();
    check.segment(name, true, false, &found);
    let mut report = check.segments.remove(0);
    for reason in check.findings {
        report.damage.push(Damage { from: 0, to: found.file_bytes, reason });
        report.damage_count += 1;
    }
    Ok(report)
}

/// Names of all segments, in order, with the limits that later ones set: a
/// message beyond its channel's limit is superseded by a later segment.
pub(crate) fn limits(storage: &dyn Storage) -> io::Result<Vec<(String, BTreeMap<String, u64>)>> {
    let mut limits: BTreeMap<String, u64> = BTreeMap::new();
    let mut listed = Vec::new();
    for (_, name) in Catalog::read(storage)?.segments().into_iter().rev() {
        let base = match base_of(storage, &name) {
            // Removed since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            base => base?,
        };
        listed.push((name, limits.clone()));
        for (channel, state) in base.unwrap_or_default() {
            let limit = limits.entry(channel).or_insert(u64::MAX);
            *limit = (*limit).min(state.last_sequence);
        }
    }
    listed.reverse();
    Ok(listed)
}
