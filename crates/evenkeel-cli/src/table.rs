//! The table of a recorder at work: what is known goes in, lines come out.
//!
//! Invariants:
//! 1. No line is wider than the terminal less a column, and there are fewer lines than it has rows, so
//!    that nothing wraps and the cursor stands below the table.
//! 2. Nothing that others said moves the cursor: control characters are shown, not sent.
//! 3. Columns do not move from one table to the next while the terminal keeps its width: numbers are
//!    cut to a few digits, and what is exact stands in the report.

pub(crate) mod live;

use crate::control::{condition, tame};
use crate::text;
use evenkeel_recorder::Condition;
use std::path::PathBuf;
use std::time::Duration;

/// What the head may have of the table.
const HEAD_LINES_MAX: usize = 3;
/// Columns that a name has at least, as wide as the word above it.
const NAME_LEAST: usize = 7;
const INDENT: usize = 2;

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) elapsed: Duration,
    /// The recording directory.
    pub(crate) dir: PathBuf,
    /// What a stop is expected to take.
    pub(crate) forecast: Option<Duration>,
    /// What the disk has free.
    pub(crate) free_bytes: Option<u64>,
    /// Why the log cannot be written now.
    pub(crate) trouble: Option<String>,
    /// In the order of the configuration.
    pub(crate) rows: Vec<Row>,
}

/// A channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) condition: Condition,
    pub(crate) bytes_per_second: u64,
    pub(crate) records_per_second: u64,
    pub(crate) accepted_bytes: u64,
    /// Accepted and not acknowledged.
    pub(crate) waiting_bytes: u64,
    pub(crate) dropped_records: u64,
    pub(crate) gaps: u64,
    /// What went wrong last.
    pub(crate) fault: Option<String>,
}

/// A terminal's columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// The columns, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Name,
    State,
    Rate,
    Records,
    Accepted,
    Waiting,
    Dropped,
    Gaps,
}

/// All of them, the first to stay where there is no room for all.
const BY_IMPORTANCE: [Column; 8] = [
    Column::Name,
    Column::State,
    Column::Rate,
    Column::Waiting,
    Column::Dropped,
    Column::Accepted,
    Column::Gaps,
    Column::Records,
];

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Name => "channel",
            Self::State => "state",
            Self::Rate => "rate",
            Self::Records => "records/s",
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Dropped => "dropped",
            Self::Gaps => "gaps",
        }
    }

    fn width(self, name: usize) -> usize {
        match self {
            Self::Name => name,
            Self::State | Self::Rate => 10,
            Self::Records => 9,
            Self::Accepted | Self::Waiting => 8,
            Self::Dropped => 7,
            Self::Gaps => 5,
        }
    }

    fn cell(self, row: &Row) -> String {
        match self {
            Self::Name => tame(&row.name),
            Self::State => condition(row.condition).to_owned(),
            Self::Rate => format!("{}/s", short_bytes(row.bytes_per_second)),
            Self::Records => short_count(row.records_per_second),
            Self::Accepted => short_bytes(row.accepted_bytes),
            Self::Waiting => short_bytes(row.waiting_bytes),
            Self::Dropped => short_count(row.dropped_records),
            Self::Gaps => short_count(row.gaps),
        }
    }
}

/// The table as lines, each with its end.
pub(crate) fn render(view: &View, size: Size, has_colour: bool) -> String {
    let width = size.width.saturating_sub(1).max(1);
    let lines_max = size.height.saturating_sub(1).max(1);
    let mut lines = head(view, width);
    lines.truncate(HEAD_LINES_MAX.min(lines_max));
    if let Some(trouble) = view.trouble.as_ref().filter(|_| lines.len() < lines_max) {
        let trouble = cut(&format!("{}{}", " ".repeat(INDENT), tame(trouble)), width);
        lines.push(paint(&trouble, Condition::Failed, has_colour));
    }
    lines.extend(body(view, width, lines_max - lines.len(), has_colour));
    lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// What holds for all channels, in as many lines as it takes.
fn head(view: &View, width: usize) -> Vec<String> {
    let elapsed = humantime::format_duration(Duration::from_secs(view.elapsed.as_secs()));
    let recording = format!("recording for {elapsed} into ");
    let dir = cut_middle(
        &tame(&view.dir.display().to_string()),
        width.saturating_sub(columns(&recording)).max(NAME_LEAST),
    );
    let sum = |of: fn(&Row) -> u64| view.rows.iter().map(of).fold(0, u64::saturating_add);
    let mut parts = vec![format!(
        "{}/s, {} records/s",
        short_bytes(sum(|row| row.bytes_per_second)),
        short_count(sum(|row| row.records_per_second))
    )];
    parts.extend(view.forecast.map(|takes| format!("a stop takes about {} ms", takes.as_millis())));
    parts.extend(view.free_bytes.map(|free| format!("{} free", short_bytes(free))));
    // A line of its own: with every second it may need another column.
    let mut lines = vec![cut(&format!("{recording}{dir}"), width)];
    for part in parts {
        match lines.get_mut(1..).and_then(<[String]>::last_mut) {
            Some(line) if columns(line) + 2 + columns(&part) <= width => {
                line.push_str(", ");
                line.push_str(&part);
            }
            _ => lines.push(cut(&part, width)),
        }
    }
    lines
}

/// The channels, in so many lines at most.
fn body(view: &View, width: usize, lines_max: usize, has_colour: bool) -> Vec<String> {
    let Some(rows_max) = lines_max.checked_sub(1) else { return Vec::new() };
    let (shown, faults) = choose(&view.rows, rows_max);
    let name = view.rows.iter().map(|row| columns(&row.name)).max().unwrap_or(0);
    let (chosen, name) = layout(width, name);
    let mut lines = Vec::new();
    if !shown.is_empty() {
        let head: Vec<String> = chosen.iter().map(|c| pad(c.head(), *c, name)).collect();
        lines.push(join(&head, width));
    }
    let mut faults_left = faults;
    for row in &shown {
        let cell = |column: &Column| {
            let cell = pad(&column.cell(row), *column, name);
            let is_state = *column == Column::State && has_colour;
            if is_state { paint(&cell, row.condition, has_colour) } else { cell }
        };
        let cells: Vec<String> = chosen.iter().map(cell).collect();
        lines.push(join(&cells, width));
        if let Some(fault) = row.fault.as_ref().filter(|_| faults_left > 0) {
            faults_left -= 1;
            lines.push(cut(&format!("{}last fault: {}", " ".repeat(2 * INDENT), tame(fault)), width));
        }
    }
    let hidden = view.rows.len() - shown.len();
    if hidden > 0 {
        let has_fault = |row: &&Row| row.fault.is_some();
        let with = view.rows.iter().filter(has_fault).count()
            - shown.iter().filter(|row| row.fault.is_some()).count();
        let faults = match with {
            0 => String::new(),
            1 => ", 1 with a fault".to_owned(),
            _ => format!(", {with} with faults"),
        };
        lines.push(cut(&format!("{}and {hidden} more{faults}", " ".repeat(INDENT)), width));
    }
    lines
}

/// The channels that are shown, and how many may have a line for their fault. All of them in their
/// own order where they fit; otherwise those in trouble first, then the most active.
fn choose(rows: &[Row], lines_max: usize) -> (Vec<&Row>, usize) {
    let faults = rows.iter().filter(|row| row.fault.is_some()).count();
    let mut shown: Vec<&Row> = rows.iter().collect();
    if rows.len() <= lines_max {
        return (shown, faults.min(lines_max - rows.len()));
    }
    // One line tells of those that do not fit.
    let lines_max = lines_max.saturating_sub(1);
    let rank = |row: &Row| match row.condition {
        Condition::Failed => 0,
        Condition::Restarting => 1,
        _ if row.fault.is_some() => 2,
        _ => 3,
    };
    shown.sort_by_key(|row| (rank(row), std::cmp::Reverse(row.bytes_per_second)));
    let faults = faults.min(lines_max / 3);
    shown.truncate(lines_max - faults);
    (shown, faults)
}

/// The columns that fit, and how wide the names are where the longest has `longest`.
fn layout(width: usize, longest: usize) -> (Vec<Column>, usize) {
    let name = longest.clamp(NAME_LEAST, NAME_LEAST.max(width / 4));
    let mut used = 0;
    let mut chosen = Vec::new();
    for column in BY_IMPORTANCE {
        let needs = INDENT + column.width(name);
        if column == Column::Name || used + needs <= width {
            used += needs;
            chosen.push(column);
        }
    }
    chosen.sort();
    (chosen, longest.clamp(name, name + width.saturating_sub(used)))
}

/// A cell as wide as its column: words to the left, numbers to the right.
fn pad(cell: &str, column: Column, name: usize) -> String {
    let width = column.width(name);
    let cell = if column == Column::Name { cut_middle(cell, width) } else { cut(cell, width) };
    let blank = " ".repeat(width.saturating_sub(columns(&cell)));
    if column <= Column::State { format!("{cell}{blank}") } else { format!("{blank}{cell}") }
}

fn join(cells: &[String], width: usize) -> String {
    let gap = " ".repeat(INDENT);
    let line = format!("{gap}{}", cells.join(&gap));
    // Only the narrowest terminals have no room for the columns that always stay; nothing is painted there.
    if cells.len() == 1 { cut(line.trim_end(), width) } else { line.trim_end().to_owned() }
}

/// Red what has failed, yellow what is about to be tried again.
fn paint(text: &str, condition: Condition, has_colour: bool) -> String {
    match condition {
        Condition::Failed if has_colour => format!("\x1b[31m{text}\x1b[0m"),
        Condition::Restarting if has_colour => format!("\x1b[33m{text}\x1b[0m"),
        _ => text.to_owned(),
    }
}

/// Bytes in eight columns at most.
fn short_bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (value, unit) = scaled(n, 1024.0, UNITS.len());
    if unit == 0 { format!("{n} B") } else { format!("{} {}", three_digits(value), UNITS[unit - 1]) }
}

/// A count in five columns at most.
fn short_count(n: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if n < 10_000 {
        return text::count(n);
    }
    let (value, unit) = scaled(n, 1000.0, UNITS.len());
    format!("{}{}", three_digits(value), UNITS[unit - 1])
}

/// `n` in the largest unit that it fills, and which one.
fn scaled(n: u64, step: f64, units: usize) -> (f64, usize) {
    let (mut value, mut unit) = (n as f64, 0);
    // What would be rounded up to the next unit is in that.
    while value >= step - 0.5 && unit < units {
        value /= step;
        unit += 1;
    }
    (value, unit)
}

fn three_digits(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Columns that a text takes at most: what is not ASCII may be wide.
fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// A text of so many columns at most; what is cut off is marked.
fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width { text.to_owned() } else { start(text, width.saturating_sub(1)) + "~" }
}

/// The same, keeping both ends: names and paths often differ in the last letters.
fn cut_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let backwards: String = text.chars().rev().collect();
    let end: String = start(&backwards, room / 2).chars().rev().collect();
    start(text, room - room / 2) + "~" + &end
}

fn start(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += columns_of(*c);
        used <= width
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests;
