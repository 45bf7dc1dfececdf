//! What a configuration file may say.

use super::JournalWords;
use super::channels::Draft;
use super::document::{Document, Entry};
use super::place::{Place, Wrong};
use crate::words::{self, measure};
use evenkeel_recorder::Retention;
use std::time::Duration;

const TABLES: &str = "strict, [[channel]], [segment], [retention], [journal] and [cleanup]";
const CHANNEL_KEYS: &str = "name, source, framing, durability, on_full, quota and restart";

/// What a file said.
#[derive(Debug, Default)]
pub(super) struct FileWords {
    pub(super) channels: Vec<Draft>,
    pub(super) segment_bytes: Option<u64>,
    pub(super) segment_ns: Option<u64>,
    pub(super) retention: Retention,
    pub(super) journal: JournalWords,
    pub(super) grace: Option<Duration>,
    pub(super) strict: bool,
}

/// Reads all that a file says; answers with the first thing in it that is wrong.
pub(super) fn read(document: &Document) -> Result<FileWords, Wrong> {
    let table = document.parse()?;
    let mut said = FileWords::default();
    for entry in document.entries(&table) {
        match entry.key() {
            "channel" => said.channels = channels(&entry)?,
            "segment" => segment(&mut said, &entry)?,
            "retention" => retention(&mut said.retention, &entry)?,
            "journal" => journal(&mut said.journal, &entry)?,
            "strict" => said.strict = entry.flag()?,
            "cleanup" => cleanup(&mut said, &entry)?,
            _ => return Err(entry.unknown(TABLES)),
        }
    }
    Ok(said)
}

fn channels(entry: &Entry<'_>) -> Result<Vec<Draft>, Wrong> {
    entry.tables()?.into_iter().map(|(place, entries)| channel(&place, &entries)).collect()
}

fn channel(place: &Place, entries: &[Entry<'_>]) -> Result<Draft, Wrong> {
    let (mut name, mut source) = (None, None);
    let (mut framing, mut durability, mut on_full) = (None, None, None);
    let (mut quota, mut restart) = (None, None);
    for entry in entries {
        match entry.key() {
            "name" => name = Some(entry.word(words::parse_name, words::NAMES)?),
            "source" => source = Some(entry.word(words::parse_source, words::SOURCES)?),
            "framing" => framing = Some(entry.word(words::parse_framing, words::FRAMINGS)?),
            "durability" => durability = Some(entry.word(words::parse_durability, words::DURABILITIES)?),
            "on_full" => on_full = Some(entry.word(words::parse_on_full, words::ON_FULLS)?),
            "restart" => restart = Some(entry.word(words::parse_restart, words::RESTARTS)?),
            "quota" => quota = Some(entry.quota()?),
            _ => return Err(entry.unknown(CHANNEL_KEYS)),
        }
    }
    let missing = |key: &str| Wrong::new(place.clone(), format!("no {key}; name and source are needed"));
    let name = name.ok_or_else(|| missing("name"))?;
    let source = source.ok_or_else(|| missing("source"))?;
    Ok(Draft { name, source, framing, durability, on_full, quota, restart })
}

fn segment(said: &mut FileWords, entry: &Entry<'_>) -> Result<(), Wrong> {
    for entry in entry.table()? {
        match entry.key() {
            "bytes" => said.segment_bytes = Some(entry.size()?),
            "seconds" => said.segment_ns = Some(entry.seconds()?),
            _ => return Err(entry.unknown("bytes and seconds")),
        }
    }
    Ok(())
}

fn retention(retention: &mut Retention, entry: &Entry<'_>) -> Result<(), Wrong> {
    for entry in entry.table()? {
        match entry.key() {
            "bytes" => retention.bytes = Some(entry.size()?),
            "age" => retention.age_ns = Some(entry.word(measure::parse_age, measure::AGES)?.value),
            "min_free" => retention.min_free = Some(entry.size()?),
            _ => return Err(entry.unknown("bytes, age and min_free")),
        }
    }
    Ok(())
}

fn journal(journal: &mut JournalWords, entry: &Entry<'_>) -> Result<(), Wrong> {
    for entry in entry.table()? {
        match entry.key() {
            "bytes" => journal.bytes = Some(entry.size()?),
            "age" => journal.age_ns = Some(entry.word(measure::parse_age, measure::AGES)?.value),
            "key" => journal.key = Some(entry.word(words::parse_file, words::FILES)?.value),
            _ => return Err(entry.unknown("bytes, age and key")),
        }
    }
    Ok(())
}

fn cleanup(said: &mut FileWords, entry: &Entry<'_>) -> Result<(), Wrong> {
    for entry in entry.table()? {
        match entry.key() {
            "grace" => said.grace = Some(entry.word(measure::parse_grace, measure::GRACES)?.value),
            _ => return Err(entry.unknown("grace")),
        }
    }
    Ok(())
}
