//! `evenkeel verify`.
//!
//! What retention removed is in the journal, told there before it was done: the last entry
//! of its kind says up to where. It counts only when the journal's chain is whole up to the
//! end of the journal's segment that has it; else what is gone is missed, as if nobody had
//! told of it.

use crate::args::Verify;
use crate::{exit, text};
use evenkeel::journal::{self, CHANNEL, DIR_NAME, JournalVerification};
use evenkeel_log::storage::{AppendFile, DirLock, DirStorage, Entry, ReadFile, Storage};
use evenkeel_log::{
    Anchor, Found, Outcome, RETENTION_KIND, Selection, Verification, read, segment_names, verify_with,
};
use std::io;
use std::path::Path;

/// What is checked: the recording, and its journal where it has one.
#[derive(serde::Serialize)]
struct Report {
    #[serde(flatten)]
    recording: Verification,
    /// The first segment number that retention has kept; `null` where it removed none.
    retained_from: Option<u64>,
    journal: Option<JournalVerification>,
    /// Whether the journal tells of a removal and cannot be trusted.
    #[serde(skip)]
    is_distrusted: bool,
}

pub(crate) fn run(arguments: &Verify) -> u8 {
    let found = match check(&arguments.dir) {
        Ok(found) => found,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.display()));
            return exit::CANNOT;
        }
    };
    let of_journal = found.journal.as_ref().map_or(Outcome::Intact, |journal| journal.outcome);
    let outcome = found.recording.outcome.max(of_journal);
    if arguments.json {
        if text::print_json(&found).is_err() {
            return exit::CANNOT;
        }
    } else {
        tell(&found.recording);
        tell_retention(&found);
        if let Some(journal) = &found.journal {
            tell_journal(journal);
        }
        text::say(verdict(outcome));
    }
    match outcome {
        Outcome::Intact => exit::OK,
        Outcome::Declared => exit::DECLARED,
        Outcome::Loss => exit::NOT_CLEAN,
        Outcome::Unreadable => exit::CANNOT,
    }
}

fn check(dir: &Path) -> io::Result<Report> {
    let storage = DirStorage::open(dir)?;
    let live = DirLock::is_held(dir)?;
    let journal = crate::journal::storage(dir)?;
    let (mut told, mut of_journal, mut trusted) = (None, None, None);
    // After the recording: what a recorder at work removes, it tells of first.
    let recording = verify_with(&storage, live, &mut || {
        let Some(journal) = &journal else { return Ok(None) };
        told = last_removal(journal, live)?;
        let found = of_journal.insert(journal::verify(journal, live)?);
        if let Some(told) = &told
            && is_trusted(dir, told, found)?
        {
            trusted = Some(told.anchor.clone());
        }
        Ok(trusted.clone())
    })?;
    if let (Some(journal), None) = (&journal, &of_journal) {
        of_journal = Some(journal::verify(journal, live)?);
    }
    let is_distrusted = told.is_some() && trusted.is_none();
    let retained_from = trusted.map(|anchor| anchor.through + 1);
    Ok(Report { recording, retained_from, journal: of_journal, is_distrusted })
}

/// The last removal that a journal tells of; it includes those before.
struct Removal {
    entry: u64,
    anchor: Anchor,
}

fn last_removal(journal: &DirStorage, live: bool) -> io::Result<Option<Removal>> {
    let mut last = None;
    journal::entries(journal, live, &mut |entry| {
        if entry.kind == RETENTION_KIND
            && let Some(anchor) = Anchor::from_entry(&entry.body)
        {
            last = Some(Removal { entry: entry.entry, anchor });
        }
        Ok(())
    })?;
    Ok(last)
}

/// Whether the chain is whole up to the end of the segment that has the entry.
fn is_trusted(dir: &Path, told: &Removal, found: &JournalVerification) -> io::Result<bool> {
    if found.findings.is_empty() {
        return Ok(true);
    }
    let Some(beginning) = Beginning::up_to(DirStorage::open(&dir.join(DIR_NAME))?, told.entry)? else {
        return Ok(false);
    };
    // As of a journal at work: that it goes on after these segments is no fault of theirs.
    Ok(journal::verify(&beginning, true)?.findings.is_empty())
}

/// A journal's segments up to one, to be read.
struct Beginning {
    storage: DirStorage,
    names: Vec<String>,
}

impl Beginning {
    /// Up to the segment that has an entry; `None` when none has it.
    fn up_to(storage: DirStorage, entry: u64) -> io::Result<Option<Self>> {
        let selection = Selection { channel: CHANNEL.to_owned(), stream: None, segment: None };
        let (mut segment, mut has_it) = (String::new(), None);
        read(&storage, true, &selection, &mut |found| {
            match found {
                Found::Segment { name, .. } => name.clone_into(&mut segment),
                Found::Message { sequence, .. } if sequence == entry => has_it = Some(segment.clone()),
                _ => {}
            }
            Ok(())
        })?;
        let mut names = segment_names(&storage)?;
        let Some(at) = names.iter().position(|name| has_it.as_ref() == Some(name)) else { return Ok(None) };
        names.truncate(at + 1);
        Ok(Some(Self { storage, names }))
    }
}

impl Storage for Beginning {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.storage.list()?;
        entries.retain(|entry| self.names.contains(&entry.name));
        Ok(entries)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.storage.open(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }

    fn create(&self, _name: &str) -> io::Result<Box<dyn AppendFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reopen(&self, _name: &str) -> io::Result<Box<dyn AppendFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn tell_retention(found: &Report) {
    if let Some(first) = found.retained_from {
        text::say(&format!("segments up to {:06} were removed by retention", first - 1));
    }
    if found.is_distrusted {
        text::say("the journal is not whole, and what it says of removed segments does not count");
    }
}

fn tell(found: &Verification) {
    let head = ["segment", "bytes", "commits", "records", "state"].map(str::to_owned).to_vec();
    let segment = |s: &evenkeel_log::SegmentReport| {
        let state = match (s.damage_count, s.sealed, s.tail_bytes) {
            (0, true, _) => "sealed".to_owned(),
            (0, false, 0) => "unsealed".to_owned(),
            (0, false, tail) => format!("unsealed, {} beyond the last commit", text::bytes(tail)),
            (n, _, _) => format!("{n} damaged places"),
        };
        vec![s.name.clone(), text::bytes(s.bytes), text::count(s.commits), text::count(s.records), state]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(found.segments.iter().map(segment)).collect();
    text::say(text::table(&rows).trim_end());
    let head = ["channel", "records", "bytes", "gaps", "missing"].map(str::to_owned).to_vec();
    let channel = |c: &evenkeel_log::ChannelReport| {
        let missing = c.missing.iter().map(|(a, b)| b - a + 1).sum();
        vec![
            c.name.clone(),
            text::count(c.records),
            text::bytes(c.bytes),
            text::count(c.gaps),
            text::count(missing),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(found.channels.iter().map(channel)).collect();
    text::say(text::table(&rows).trim_end());
    for segment in &found.segments {
        for damage in &segment.damage {
            text::say(&format!(
                "{}: bytes {} to {}: {}",
                segment.name, damage.from, damage.to, damage.reason
            ));
        }
    }
    for gap in &found.gaps {
        let last = gap.last_sequence.map_or_else(|| "unknown".to_owned(), |s| s.to_string());
        text::say(&format!("gap in {}: {} to {last}, {}", gap.channel, gap.first_sequence, gap.reason));
    }
    for finding in &found.findings {
        text::say(finding);
    }
}

pub(crate) fn tell_journal(found: &JournalVerification) {
    for finding in &found.findings {
        text::say(&format!("journal: {finding}"));
    }
    let chain = if found.findings.is_empty() { "chain whole" } else { "NOT WHOLE" };
    let entries = text::count(found.entries);
    text::say(&format!("journal: {entries} entries, {chain}, head {}", found.head));
}

fn verdict(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Intact => "intact",
        Outcome::Declared => "intact, with declared gaps or an unsealed end",
        Outcome::Loss => "NOT INTACT: acknowledged data are missing or altered",
        Outcome::Unreadable => "not readable",
    }
}
