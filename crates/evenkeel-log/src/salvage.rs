//! Sealing what a crash left.
//!
//! Invariants:
//! 1. What lies up to the last whole commit stays, byte for byte; what lies
//!    beyond goes to `NNNNNN.tail`, durable there before it is cut off here.
//! 2. A crash leaves a gap in every channel whose source had not ended.
//! 3. Where bytes that were known durable are damaged, the segment is written
//!    anew from its whole chunks, the damage declared, and the original kept as
//!    `NNNNNN.damaged`: no fresh CRC ever covers bad bytes.
//! 4. Killed anywhere, it can be run again and comes to the same end.

use crate::catalog::{self, Catalog, base_of, damaged_name, rebuild_name, tail_name};
use crate::commit::{ChannelState, RUN_END, SNAPSHOT};
use crate::gap::{GAPS_CHANNEL, Gap};
use crate::scan::{Damage, Durable, NoVisit, Scan, scan_whole};
use crate::segment::{Resumed, Segment, part_name, sealed_name};
use crate::storage::{Storage, is_full, read_full_at};
use crate::writer::{BALLAST_NAME, Resume, Stamp};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

mod gaps;
mod rebuild;

/// What recovery did with one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// Sealed up to its last commit.
    Sealed,
    /// Held no whole commit: laid aside as a tail.
    SetAside,
    /// Written anew from what was whole; the original is kept beside it.
    Rebuilt,
    /// It is gone: retention has removed it with everything before it.
    Removed,
}

/// One segment that recovery had to touch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Recovered {
    /// Number in its file name.
    pub segment: u64,
    /// What was done.
    pub action: Action,
    /// Bytes beyond the last commit, kept in `NNNNNN.tail`. Nothing of them was acknowledged.
    pub tail_bytes: u64,
    /// Damage to bytes that were acknowledged.
    pub losses: Vec<Damage>,
    /// Gaps that were declared.
    pub gaps: Vec<Gap>,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that were not in order, by number.
    pub segments: Vec<Recovered>,
    /// Gaps that stand in no segment yet: the next run has to declare them.
    pub undeclared: Vec<Gap>,
    /// Where the next run goes on.
    pub resume: Resume,
}

impl Recovery {
    /// Whether acknowledged data were found damaged.
    pub fn is_loss(&self) -> bool {
        self.segments.iter().any(|s| s.action == Action::Rebuilt)
    }
}

/// Puts a recording directory in order that no process is writing to.
///
/// # Errors
/// What the storage says. Run it again then: nothing is lost in between.
pub fn recover(storage: &Arc<dyn Storage>, stamp: Stamp) -> io::Result<Recovery> {
    tidy(&**storage)?;
    let catalog = Catalog::read(&**storage)?;
    let mut recovery = Recovery::default();
    recovery.resume.next_segment = catalog.next_number();
    for (number, bytes) in orphans(&**storage, &catalog)? {
        recovery.segments.push(set_aside(&**storage, number, &part_name(number), bytes)?);
    }
    let catalog = Catalog::read(&**storage)?;
    let broken = broken_segments(&**storage, &catalog)?;
    let last = last_valid(&**storage, &catalog)?;
    for (number, name) in broken {
        let done = salvage(storage, number, &name, last == Some(number), stamp)?;
        recovery.segments.push(done);
    }
    let sealed = Catalog::read(&**storage)?;
    if let Some((_, name)) = sealed.segments().last() {
        end_of_recording(&**storage, name, stamp, &mut recovery)?;
    }
    Ok(recovery)
}

/// Seals one unsealed segment of a run that goes on or has ended in another
/// segment: one that the writer gave up.
///
/// After a failed sync the system may show bytes that will never reach the disk,
/// and no later sync says so: what is read is written into a new file first. A
/// full disk has no room for that, and is what fails seals without a failed sync:
/// there the segment is sealed as it stands.
///
/// # Errors
/// What the storage says.
pub fn seal_given_up(storage: &Arc<dyn Storage>, number: u64, stamp: Stamp) -> io::Result<Recovered> {
    if Catalog::read(&**storage)?.segments().first().is_some_and(|(first, _)| number < *first) {
        let (losses, gaps) = (Vec::new(), Vec::new());
        return Ok(Recovered { segment: number, action: Action::Removed, tail_bytes: 0, losses, gaps });
    }
    // `recover` removes the copy where this is cut short.
    let (part, copy) = (part_name(number), rebuild_name(number));
    match copy_from(&**storage, &part, 0, &copy) {
        Ok(()) => {
            storage.rename(&copy, &part)?;
            storage.sync_dir()?;
        }
        Err(e) => {
            let _ = storage.remove(&copy);
            if !is_full(&e) {
                return Err(e);
            }
        }
    }
    salvage(storage, number, &part, false, stamp)
}

/// Removes what an earlier recovery or run left half done.
fn tidy(storage: &dyn Storage) -> io::Result<()> {
    let names: Vec<String> = storage.list()?.into_iter().map(|e| e.name).collect();
    let mut changed = false;
    for name in names.iter().filter(|n| *n == BALLAST_NAME || n.ends_with(".copy")) {
        storage.remove(name)?;
        changed = true;
    }
    for (number, files) in Catalog::read(storage)?.0 {
        if files.rebuild.is_some() {
            storage.remove(&rebuild_name(number))?;
            changed = true;
        }
        if files.damaged.is_some() && files.sealed.is_none() && files.part.is_none() {
            // A rebuild takes its place only under the final name: begin it anew.
            storage.rename(&damaged_name(number), &sealed_name(number))?;
            changed = true;
        }
    }
    if changed { storage.sync_dir() } else { Ok(()) }
}

/// Unsealed segments that begin after something that the crash took.
///
/// Syncs are made in order: a segment in which anything was acknowledged has
/// predecessors that are durable to their end. Where the predecessor ends
/// before the successor's beginning, and no commit of the successor knows of a
/// sync, nothing of the successor was acknowledged, and its numbering is void.
fn orphans(storage: &dyn Storage, catalog: &Catalog) -> io::Result<Vec<(u64, u64)>> {
    let mut orphans = Vec::new();
    let mut before: Option<States> = None;
    for (number, files) in catalog.0.iter().filter(|(_, f)| f.part.is_some() || f.sealed.is_some()) {
        let Some(bytes) = files.part.filter(|_| files.sealed.is_none()) else {
            before = None;
            continue;
        };
        let name = part_name(*number);
        let Some(base) = base_of(storage, &name)? else { continue };
        let scan = scan_whole(&*storage.open(&name)?, Durable::AsCommitted, &mut NoVisit)?;
        let reached =
            |channel: &String| before.as_ref().map(|b| b.get(channel).map_or(0, |s| s.last_sequence));
        let beyond =
            base.iter().any(|(name, state)| reached(name).is_some_and(|at| state.last_sequence > at));
        if beyond && scan.synced_through == 0 {
            orphans.push((*number, bytes));
        } else {
            before = scan.losses.is_empty().then_some(scan.states);
        }
    }
    Ok(orphans)
}

/// Segments that are unsealed, or whose seal is broken.
fn broken_segments(storage: &dyn Storage, catalog: &Catalog) -> io::Result<Vec<(u64, String)>> {
    let mut broken = Vec::new();
    for (number, files) in &catalog.0 {
        if files.sealed.is_some() {
            let name = sealed_name(*number);
            if catalog::sealed_end(&*storage.open(&name)?)?.is_none() {
                broken.push((*number, name));
            }
        } else if files.part.is_some() {
            broken.push((*number, part_name(*number)));
        }
    }
    Ok(broken)
}

/// The newest segment with a whole first commit: the one the crash was in.
fn last_valid(storage: &dyn Storage, catalog: &Catalog) -> io::Result<Option<u64>> {
    for (number, name) in catalog.segments().into_iter().rev() {
        if base_of(storage, &name)?.is_some() {
            return Ok(Some(number));
        }
    }
    Ok(catalog.segments().last().map(|(number, _)| *number))
}

fn salvage(
    storage: &Arc<dyn Storage>,
    number: u64,
    name: &str,
    last: bool,
    stamp: Stamp,
) -> io::Result<Recovered> {
    let scan = scan_whole(&*storage.open(name)?, Durable::by_name(name), &mut NoVisit)?;
    if scan.commits == 0 && scan.losses.is_empty() {
        return set_aside(&**storage, number, name, scan.file_bytes);
    }
    if !scan.losses.is_empty() {
        return rebuild::rebuild(storage, number, name, &scan, last, stamp);
    }
    let tail_bytes = scan.tail_bytes();
    if tail_bytes > 0 {
        save_tail(&**storage, number, name, scan.whole_end)?;
    }
    let file = Arc::from(storage.reopen(name)?);
    let mut segment = Segment::resume(file, resumed(number, &scan)?);
    // Longer than what was scanned, too, when an unfinished block's zeroes follow.
    if storage.open(name)?.bytes()? > scan.whole_end {
        segment.file.truncate(scan.whole_end)?;
        segment.file.sync()?;
    }
    let gaps = if last && !scan.run_end { gaps::after_crash(&scan, stamp) } else { Vec::new() };
    let (mut states, chain) = (scan.states, scan.chain.1);
    if !gaps.is_empty() {
        gaps::write(&mut segment, &gaps, &mut states, stamp)?;
    }
    let seal = if scan.segment_end && gaps.is_empty() {
        segment.seal_bytes()
    } else {
        let flags = if last { RUN_END | SNAPSHOT } else { SNAPSHOT };
        segment.end(flags, chain, states.into_iter().collect(), stamp)?
    };
    // A seal says that all before it was durable first: a scan relies on that.
    segment.file.sync()?;
    segment.file.append(&mut [IoSlice::new(&seal)])?;
    segment.file.truncate(segment.bytes + seal.len() as u64)?;
    segment.file.sync()?;
    if name != sealed_name(number) {
        storage.rename(name, &sealed_name(number))?;
    }
    storage.sync_dir()?;
    Ok(Recovered { segment: number, action: Action::Sealed, tail_bytes, losses: Vec::new(), gaps })
}

fn resumed(number: u64, scan: &Scan) -> io::Result<Resumed> {
    let (Some(id), Some(data_crc)) = (scan.id, scan.data_crc) else {
        return Err(io::Error::other(format!("segment {number} has no whole beginning")));
    };
    Ok(Resumed {
        number,
        id,
        bytes: scan.whole_end,
        synced_through: scan.synced_through,
        data_crc,
        summary: scan.summary.clone(),
        schemas: scan.schemas.clone(),
    })
}

/// A segment in which nothing was ever committed.
fn set_aside(storage: &dyn Storage, number: u64, name: &str, bytes: u64) -> io::Result<Recovered> {
    if bytes == 0 {
        storage.remove(name)?;
    } else {
        storage.rename(name, &tail_name(number))?;
    }
    storage.sync_dir()?;
    let (losses, gaps) = (Vec::new(), Vec::new());
    Ok(Recovered { segment: number, action: Action::SetAside, tail_bytes: bytes, losses, gaps })
}

/// Copies what lies beyond `from` to the tail file, once.
fn save_tail(storage: &dyn Storage, number: u64, name: &str, from: u64) -> io::Result<()> {
    let tail = tail_name(number);
    // Made whole by a rename: one that is there is this crash's, and the cut did not come about.
    if storage.list()?.iter().any(|e| e.name == tail) {
        return Ok(());
    }
    let copy = format!("{tail}.copy");
    copy_from(storage, name, from, &copy)?;
    storage.rename(&copy, &tail)?;
    storage.sync_dir()
}

/// Copies what lies from a place on into a new file, durable but for its name.
fn copy_from(storage: &dyn Storage, name: &str, from: u64, to: &str) -> io::Result<()> {
    let (source, target) = (storage.open(name)?, storage.create(to)?);
    let (mut at, mut piece) = (from, vec![0; 256 << 10]);
    loop {
        let read = read_full_at(&*source, &mut piece, at)?;
        if read == 0 {
            break;
        }
        target.append(&mut [IoSlice::new(&piece[..read])])?;
        at += read as u64;
    }
    target.truncate(at - from)?;
    target.sync()
}

/// Finds where the recording ends, and whether it was ended in order.
fn end_of_recording(
    storage: &dyn Storage,
    name: &str,
    stamp: Stamp,
    recovery: &mut Recovery,
) -> io::Result<()> {
    let file = storage.open(name)?;
    if let Some(commit) = catalog::sealed_end(&*file)?.filter(|c| c.has(SNAPSHOT)) {
        recovery.resume.channels = commit.entries.iter().cloned().collect();
        recovery.resume.chain = commit.chain;
        if commit.has(RUN_END) {
            return Ok(());
        }
        recovery.undeclared = gaps::open_channels(&recovery.resume.channels, commit.wall_ns, stamp);
    } else {
        let scan = scan_whole(&*file, Durable::by_name(name), &mut NoVisit)?;
        recovery.undeclared = gaps::after_crash(&scan, stamp);
        recovery.resume.channels = scan.states;
        recovery.resume.chain = scan.chain.1;
    }
    Ok(())
}

type States = BTreeMap<String, ChannelState>;

/// Whether a state is of a channel that users named.
fn is_users(name: &str) -> bool {
    name != GAPS_CHANNEL
}
