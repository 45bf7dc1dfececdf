//! A configuration file as text, and its values with the places where they stand.

use super::place::{Place, Placed, Spot, Wrong};
use crate::words::measure;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A file that goes on without end is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Characters of what was found that a message repeats.
const SAID_MAX: usize = 60;

/// The text of a configuration file.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Wrong> {
        let whole = || Place::File { path: path.to_owned(), spot: None };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        read.map_err(|e| Wrong::new(whole(), format!("cannot be read: {e}")))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(Wrong::new(whole(), "is longer than 1 MiB, which is allowed at most"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, &text)),
            Err(e) => {
                let (at, byte) = (e.utf8_error().valid_up_to(), e.as_bytes()[e.utf8_error().valid_up_to()]);
                // Up to there it is text.
                let read = Self::new(path, &String::from_utf8_lossy(&e.as_bytes()[..at]));
                let place = read.place(read.text.len()..read.text.len());
                Err(Wrong::new(place, format!("byte 0x{byte:02x} is not UTF-8, which a file has to be in")))
            }
        }
    }

    /// The text as if it had been read from there.
    pub(super) fn new(path: &Path, text: &str) -> Self {
        // A byte order mark would be a column of its own.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// All of the file.
    pub(super) fn whole(&self) -> Place {
        Place::File { path: self.path.clone(), spot: None }
    }

    /// The text as TOML.
    pub(super) fn parse(&self) -> Result<DeTable<'_>, Wrong> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let start = |e: &toml::de::Error| e.span().map_or(self.text.len(), |span| span.start);
        // They come in the order in which the parser noticed; of one line the first says most.
        match errors.iter().min_by_key(|e| self.line_start(start(e))) {
            None => Ok(table.into_inner()),
            Some(e) if e.message() == "duplicate key" => {
                let place = self.place(e.span().unwrap_or_default());
                Err(Wrong::new(place, "is there already; each key and table is allowed once"))
            }
            Some(e) => {
                // What the parser points at is often nothing, where something was to come.
                let spot = Spot { said: self.line(start(e)), ..self.spot(start(e)..start(e)) };
                let place = Place::File { path: self.path.clone(), spot: Some(spot) };
                Err(Wrong::new(place, format!("is not TOML: {}", e.message())))
            }
        }
    }

    /// The entries of a table, in the order of the file.
    pub(super) fn entries<'a>(&'a self, table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
        let mut entries: Vec<Entry<'a>> =
            table.iter().map(|(key, value)| Entry { document: self, key, value }).collect();
        entries.sort_by_key(|entry| entry.key.span().start);
        entries
    }

    fn place(&self, range: Range<usize>) -> Place {
        Place::File { path: self.path.clone(), spot: Some(self.spot(range)) }
    }

    fn spot(&self, range: Range<usize>) -> Spot {
        let line_start = self.line_start(range.start);
        Spot {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..range.start].chars().count() + 1,
            said: shortened(&self.text[range]),
        }
    }

    /// The line on which a byte stands.
    fn line(&self, at: usize) -> String {
        let rest = &self.text[self.line_start(at)..];
        if rest.trim().is_empty() { "the end of the file".to_owned() } else { shortened(rest) }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |line_break| line_break + 1)
    }
}

/// The first line of what was found, if it is not too long, with nothing that a terminal would obey.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or("").trim();
    let mut out: String =
        line.chars().take(SAID_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.chars().nth(SAID_MAX).is_some() {
        out.push_str("...");
    }
    out
}

/// A key with its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    document: &'a Document,
    key: &'a Spanned<DeString<'a>>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    pub(super) fn key(&self) -> &'a str {
        self.key.get_ref()
    }

    /// Where key and value stand.
    fn place(&self) -> Place {
        let (key, value) = (self.key.span(), self.value.span());
        // The value of a header, `[key]`, is the header.
        self.document.place(key.start.min(value.start)..key.end.max(value.end))
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> Wrong {
        Wrong::new(self.place(), reason)
    }

    pub(super) fn unknown(&self, allowed: &str) -> Wrong {
        self.wrong(format!("{:?} is no key here; allowed here: {allowed}", self.key()))
    }

    fn mistyped(&self, allowed: &str) -> Wrong {
        self.wrong(format!("{} was found; {allowed}", kind(self.value.get_ref())))
    }

    /// The value of a word; `allowed` tells of the words when it is none.
    pub(super) fn word<T>(
        &self,
        parse: fn(&str) -> Result<T, String>,
        allowed: &str,
    ) -> Result<Placed<T>, Wrong> {
        let DeValue::String(word) = self.value.get_ref() else {
            return Err(self.mistyped(&format!("a string is allowed: {allowed}")));
        };
        let value = parse(word).map_err(|reason| self.wrong(reason))?;
        Ok(Placed { value, place: self.place() })
    }

    /// The entries of a table.
    pub(super) fn table(&self) -> Result<Vec<Entry<'a>>, Wrong> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(self.document.entries(table)),
            _ => Err(self.mistyped(&format!("a table [{}] is allowed", self.key()))),
        }
    }

    /// The tables of an array, each with its place.
    pub(super) fn tables(&self) -> Result<Vec<(Place, Vec<Entry<'a>>)>, Wrong> {
        let allowed = format!("tables [[{}]] are allowed", self.key());
        let DeValue::Array(array) = self.value.get_ref() else { return Err(self.mistyped(&allowed)) };
        let table = |element: &'a Spanned<DeValue<'a>>| {
            let place = self.document.place(element.span());
            match element.get_ref() {
                DeValue::Table(table) => Ok((place, self.document.entries(table))),
                other => Err(Wrong::new(place, format!("{} was found; {allowed}", kind(other)))),
            }
        };
        array.iter().map(table).collect()
    }

    /// Bytes on a disk.
    pub(super) fn size(&self) -> Result<u64, Wrong> {
        self.bytes(measure::parse_size, measure::size_in_bounds, measure::SIZES)
    }

    /// Bytes of memory that a channel may have.
    pub(super) fn quota(&self) -> Result<Placed<u64>, Wrong> {
        let value = self.bytes(measure::parse_quota, measure::quota_in_bounds, measure::QUOTAS)?;
        Ok(Placed { value, place: self.place() })
    }

    /// True or false.
    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.mistyped("true and false are allowed")),
        }
    }

    fn bytes(
        &self,
        parse: fn(&str) -> Result<u64, String>,
        in_bounds: fn(u64) -> Option<u64>,
        allowed: &str,
    ) -> Result<u64, Wrong> {
        match self.value.get_ref() {
            DeValue::String(word) => parse(word).map_err(|reason| self.wrong(reason)),
            // A number that 64 bits do not hold, or below 0, is out of bounds too.
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(in_bounds)
                .ok_or_else(|| self.wrong(format!("{number} is out of bounds; {allowed}"))),
            _ => Err(self.mistyped(allowed)),
        }
    }

    /// Seconds as a number, in nanoseconds.
    pub(super) fn seconds(&self) -> Result<u64, Wrong> {
        let (shown, seconds) = match self.value.get_ref() {
            DeValue::Integer(number) => {
                let whole = i64::from_str_radix(number.as_str(), number.radix()).ok();
                (number.to_string(), whole.map(|whole| whole as f64))
            }
            DeValue::Float(number) => (number.to_string(), number.as_str().parse().ok()),
            _ => return Err(self.mistyped(measure::SECONDS)),
        };
        let in_bounds = seconds.and_then(measure::seconds_in_bounds);
        in_bounds.ok_or_else(|| self.wrong(format!("{shown} is out of bounds; {}", measure::SECONDS)))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
