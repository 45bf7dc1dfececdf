//! Removing the oldest segments, and telling so that the rest still counts as whole.
//!
//! ```text
//! Anchor::at --> somewhere that lasts: an entry in a journal --> remove_segments
//! ```
//!
//! An [`Anchor`] says up to where each channel was removed, for good: the next one includes
//! it. Verification with it does not miss what was removed, and misses all else.
//!
//! Invariants:
//! 1. The newest segment stays: it says how every channel stands, and numbering goes on from it.
//! 2. What a crash leaves of a removal is the end of the recording: each segment is gone durably
//!    before the next one goes.
//! 3. The original of a rebuilt segment goes before what took its place: recovery would put it
//!    back there.
//!
//! How it fails: a removal that was cut short is done again, and verification with its anchor
//! accepts what is left in between.

use crate::catalog::{
    Catalog, Files, base_of, damaged_name, last_commit, number_of_name, rebuild_name, tail_name,
};
use crate::segment::{part_name, sealed_name};
use crate::storage::Storage;
use crate::verify::limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;

/// Kind of the journal entries that tell of removals; see [`Anchor::entry`].
pub const RETENTION_KIND: &str = "retention";

/// A sealed segment, as retention counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// Number in its file name.
    pub number: u64,
    /// Bytes of all files of that number, `.tail` and `.damaged` included.
    pub bytes: u64,
    /// Unix time in nanoseconds of its last commit. Where that cannot be read, what the next
    /// segment says; `u64::MAX` where that is none.
    pub ended_wall_ns: u64,
}

/// The sealed segments, in order. Reads only the end of each.
///
/// # Errors
/// What the storage says.
pub fn sealed_segments(storage: &dyn Storage) -> io::Result<Vec<SealedFile>> {
    let mut sealed = Vec::new();
    for (number, files) in Catalog::read(storage)?.0 {
        if files.sealed.is_none() {
            continue;
        }
        let commit = match storage.open(&sealed_name(number)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => last_commit(&*file?)?,
        };
        sealed.push((number, files.bytes(), commit.map(|commit| commit.wall_ns)));
    }
    let mut after = u64::MAX;
    let file = |(number, bytes, ended): &(u64, u64, Option<u64>)| {
        after = ended.unwrap_or(after);
        SealedFile { number: *number, bytes: *bytes, ended_wall_ns: after }
    };
    let mut files: Vec<SealedFile> = sealed.iter().rev().map(file).collect();
    files.reverse();
    Ok(files)
}

/// Up to where a recording was removed, on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Highest segment number that was removed.
    pub through: u64,
    /// Last sequence of each channel that was removed; channels of which none was are left out.
    pub channels: BTreeMap<String, u64>,
}

impl Anchor {
    /// What will have been removed once all segments up to `through` are: each channel
    /// stands where the first segment beyond, and those after it, begin.
    ///
    /// # Errors
    /// What the storage says; `InvalidInput` when no segment would be left, `InvalidData` when
    /// the beginning of the first that stays is damaged.
    pub fn at(storage: &dyn Storage, through: u64) -> io::Result<Self> {
        for (name, limits) in limits(storage)? {
            if number_of_name(&name).is_none_or(|number| number <= through) {
                continue;
            }
            match base_of(storage, &name)? {
                Some(base) => {
                    let removed = base.into_iter().map(|(channel, state)| {
                        let limit = limits.get(&channel).copied().unwrap_or(u64::MAX);
                        (channel, state.last_sequence.min(limit))
                    });
                    return Ok(Self { through, channels: removed.filter(|(_, last)| *last > 0).collect() });
                }
                // Nothing was ever committed in it.
                None if name.ends_with(".part") => {}
                None => {
                    let what =
                        format!("the beginning of {name} is damaged: how its channels stood is unknown");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        let what = format!("the newest segment stays: without {through:06} none would be left");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// The body of the journal entry, of kind [`RETENTION_KIND`], that has to be durable before
    /// the removal: with how many `segments` and `bytes` this removal takes, and `why`.
    pub fn entry(&self, segments: u64, bytes: u64, why: &str) -> Value {
        serde_json::json!({
            "through": self.through,
            "channels": self.channels,
            "segments": segments,
            "bytes": bytes,
            "why": why,
        })
    }

    /// Reads the body of an entry; `None` when it has no anchor.
    pub fn from_entry(body: &Value) -> Option<Self> {
        Self::deserialize(body).ok()
    }
}

/// Removes all files of the segments up to `through`, a sealed one; the oldest first, each
/// durably before the next. What is not sealed yet and stands before it was given up, and
/// goes too.
///
/// Tell of it first: see [`Anchor`]. Call it again after an error, or not: in between, all
/// is as if a smaller number had been named.
///
/// # Errors
/// What the storage says; `InvalidInput`, and nothing is removed, when no segment would be
/// left, or when the last to go is not sealed: only then its successor is known durable.
pub fn remove_segments(storage: &dyn Storage, through: u64) -> io::Result<()> {
    // Something has to stay that says how all channels stood.
    Anchor::at(storage, through)?;
    let catalog = Catalog::read(storage)?;
    if let Some((_, name)) = catalog.segments().iter().rev().find(|(number, _)| *number <= through)
        && name.ends_with(".part")
    {
        let what = format!("{name} is not sealed, and so nothing up to it is removed");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    // What an earlier call removed may wait for this: after a crash it could be there, and a later one gone.
    storage.sync_dir()?;
    catalog.0.range(..=through).try_for_each(|(number, files)| remove_all(storage, *number, files))
}

fn remove_all(storage: &dyn Storage, number: u64, files: &Files) -> io::Result<()> {
    let remove = |name: String, there: Option<u64>| match there.map(|_| storage.remove(&name)) {
        Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    remove(damaged_name(number), files.damaged)?;
    if files.damaged.is_some() {
        storage.sync_dir()?;
    }
    remove(tail_name(number), files.tail)?;
    remove(rebuild_name(number), files.rebuild)?;
    remove(part_name(number), files.part)?;
    remove(sealed_name(number), files.sealed)?;
    storage.sync_dir()
}
