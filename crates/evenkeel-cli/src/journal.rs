//! `evenkeel journal`: its entries, and what it tells as a whole.

mod export;
mod html;
mod shown;
mod sql;
mod stats;
mod timeline;
mod verify;

use crate::args::journal::{Journal, JournalCommand};
use crate::{exit, text};
use evenkeel::journal::{DIR_NAME, Entry, entries};
use evenkeel::recovery_log::Incident;
use evenkeel_log::segment_names;
use evenkeel_log::storage::{DirLock, DirStorage};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub(crate) fn run(arguments: &Journal) -> u8 {
    match &arguments.command {
        Some(JournalCommand::Timeline(timeline)) => timeline::run(timeline),
        Some(JournalCommand::Stats(stats)) => stats::run(stats),
        Some(JournalCommand::Verify(verify)) => verify::run(verify),
        Some(JournalCommand::Export(export)) => export::run(export),
        Some(JournalCommand::Sql(sql)) => sql::run(sql),
        None => {
            let dir = arguments.dir.clone().unwrap_or_else(|| PathBuf::from("."));
            done(&dir, with_output(|out| print(&dir, arguments, out)).map(Some))
        }
    }
}

/// The journal of a recording directory; `None` where there is none.
pub(crate) fn storage(dir: &Path) -> io::Result<Option<DirStorage>> {
    match DirStorage::open(&dir.join(DIR_NAME)) {
        // Killed before its first segment was there.
        Ok(storage) if segment_names(&storage)?.is_empty() => Ok(None),
        Ok(storage) => Ok(Some(storage)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The journal, which must be there, and whether a program is at work in it.
fn opened(dir: &Path) -> io::Result<(DirStorage, bool)> {
    let Some(storage) = storage(dir)? else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no journal"));
    };
    Ok((storage, DirLock::is_held(dir)?))
}

/// Calls `print` with standard output, and sees to it that all of it is written.
fn with_output<T>(print: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
    let mut out = BufWriter::new(io::stdout().lock());
    let told = print(&mut out)?;
    out.flush()?;
    Ok(told)
}

/// The exit code of what was read: `Some` says whether damage was met, `None` that what was asked for is not
/// there, which was said already.
fn done(dir: &Path, read: io::Result<Option<bool>>) -> u8 {
    match read {
        Ok(None) => exit::USAGE,
        Ok(Some(false)) => exit::OK,
        Ok(Some(true)) => {
            text::complain("damage was met; what is damaged was left out; `evenkeel verify` says where");
            exit::NOT_CLEAN
        }
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(e) => {
            text::complain(&format!("{}: {e}", dir.join(DIR_NAME).display()));
            exit::CANNOT
        }
    }
}

/// Prints what was asked for; answers whether damage was met.
fn print(dir: &Path, arguments: &Journal, out: &mut dyn Write) -> io::Result<bool> {
    let (storage, live) = opened(dir)?;
    let read = entries(&storage, live, &mut |entry| {
        if !is_wanted(arguments, &entry) {
            return Ok(());
        }
        if arguments.json {
            out.write_all(&entry.payload)?;
            out.write_all(b"\n")
        } else {
            writeln!(out, "{}", shown::line(&entry))
        }
    })?;
    Ok(read.damaged)
}

fn is_wanted(arguments: &Journal, entry: &Entry) -> bool {
    let is_late_enough =
        arguments.since.is_none_or(|since| entry.at().is_none_or(|appended| appended >= since));
    is_late_enough
        && arguments.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
        && arguments.channel.as_ref().is_none_or(|name| entry.channel.as_ref() == Some(name))
}

/// A time, or how long ago.
pub(crate) fn since(word: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(word) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(word).map_err(|_| {
        "a time such as 2026-11-21T09:30:00Z, or how long ago, such as 10m, is needed".to_owned()
    })?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "that is before all time".to_owned())
}

/// The first entry of an incident, by its id.
pub(crate) fn incident_id(word: &str) -> Result<u64, String> {
    Incident::parse_id(word)
        .ok_or_else(|| "an id such as I-00042 is needed; `journal timeline` lists them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        assert!(since("2026-11-21T09:30:00Z").is_ok() && since("2026-11-21 09:30:00").is_ok());
        let ago = since("10m").unwrap().elapsed().unwrap().as_secs();
        assert!((600..700).contains(&ago));
        for wrong in ["", "soon", "10", "2026-13-41T09:30:00Z", "-5m"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
