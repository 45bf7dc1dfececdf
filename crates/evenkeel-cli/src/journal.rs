//! `evenkeel journal`.

use crate::args::Journal;
use crate::{exit, text};
use evenkeel::journal::{DIR_NAME, Entry, entries};
use evenkeel_log::segment_names;
use evenkeel_log::storage::{DirLock, DirStorage};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

pub(crate) fn run(arguments: &Journal) -> u8 {
    let mut out = BufWriter::new(io::stdout().lock());
    match print(arguments, &mut out) {
        Ok(false) => exit::OK,
        Ok(true) => {
            text::complain("damage was met; what is damaged was left out; `evenkeel verify` says where");
            exit::NOT_CLEAN
        }
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(e) => {
            text::complain(&format!("{}: {e}", arguments.dir.join(DIR_NAME).display()));
            exit::CANNOT
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

/// Prints what was asked for; answers whether damage was met.
fn print(arguments: &Journal, out: &mut dyn Write) -> io::Result<bool> {
    let Some(storage) = storage(&arguments.dir)? else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no journal"));
    };
    let live = DirLock::is_held(&arguments.dir)?;
    let read = entries(&storage, live, &mut |entry| {
        if !is_wanted(arguments, &entry) {
            return Ok(());
        }
        if arguments.json {
            out.write_all(&entry.payload)?;
            out.write_all(b"\n")
        } else {
            writeln!(out, "{}", line(&entry))
        }
    })?;
    out.flush()?;
    Ok(read.damaged)
}

fn is_wanted(arguments: &Journal, entry: &Entry) -> bool {
    let is_late_enough =
        arguments.since.is_none_or(|since| entry.at().is_none_or(|appended| appended >= since));
    is_late_enough
        && arguments.kind.as_ref().is_none_or(|kind| *kind == entry.kind)
        && arguments.channel.as_ref().is_none_or(|name| entry.channel.as_ref() == Some(name))
}

/// An entry for people: time to the millisecond, number, kind, channel, body.
fn line(entry: &Entry) -> String {
    // From nanoseconds, as the journal has them, to milliseconds.
    let time = entry.time.get(..23).filter(|_| entry.time.is_ascii()).unwrap_or(&entry.time);
    let channel = entry.channel.as_deref().unwrap_or("-");
    let mut line =
        format!("{}Z {:>6} {:<18} {:<10}", word(time), entry.entry, word(&entry.kind), word(channel));
    match &entry.body {
        Value::Object(fields) => {
            // What is null says nothing; --json has it.
            for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let _ = write!(line, " {}={}", word(key), plain(value));
            }
        }
        other => {
            let _ = write!(line, " {}", plain(other));
        }
    }
    line
}

/// Longer lists are only counted: `--json` has them.
const NESTED_CHARS_MAX: usize = 160;

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) if value.to_string().len() > NESTED_CHARS_MAX => {
            format!("[{} items]", items.len())
        }
        other => word_or(other.to_string(), |json| json.bytes().all(|b| b.is_ascii_graphic() || b == b' ')),
    }
}

/// Text as it stands when it is one plain word, else quoted: nothing in a journal
/// may move a terminal's cursor.
fn word(text: &str) -> String {
    let is_plain = |text: &str| {
        !text.is_empty() && !text.contains(['"', '\'', '=']) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    word_or(text.to_owned(), is_plain)
}

fn word_or(text: String, is_plain: impl Fn(&str) -> bool) -> String {
    if is_plain(&text) { text } else { format!("{text:?}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    // REQ M4
    #[test]
    fn bodies_are_words_that_move_no_cursor() {
        for (text, shown) in [
            ("flush", "flush"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("\u{1b}[2J", "\"\\u{1b}[2J\""),
            ("a=b", "\"a=b\""),
        ] {
            assert_eq!(word(text), shown);
        }
        assert_eq!(plain(&serde_json::json!({ "a": [1, null] })), "{\"a\":[1,null]}");
        assert!(!plain(&serde_json::json!(["\u{9b}2J"])).contains('\u{9b}'));
    }

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
