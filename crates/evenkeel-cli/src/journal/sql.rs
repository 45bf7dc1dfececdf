//! `evenkeel journal sql`: one question to an index that is made for it and thrown away.
//!
//! The index is a SQLite database in memory. Which of its tables are filled is seen from the question itself, before
//! the journal is read. What keeps a question from touching anything else, and from taking too much:
//!
//! 1. The authorizer allows reading our tables and JSON's, and functions but two; everything else (writing, `ATTACH`,
//!    `PRAGMA`, `VACUUM INTO`, virtual tables, extensions) is refused when the question is prepared.
//! 2. The database is in memory, and so is what sorting needs: there is no file to reach.
//! 3. Rows, bytes of what is printed, length of a value, memory and time have limits.

mod access;
mod index;
mod schema;

use super::shown::text as shown;
use super::{done, opened, with_output};
use crate::args::journal::Sql;
use crate::{exit, text};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Letters of a cell that people are shown; `--json` has all.
const CELL_CHARS_MAX: usize = 200;

const READ_ONLY: &str = "only SELECT over the tables of `journal sql DIR --schema` is allowed";

/// What came of a question.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    /// Whether there were more rows than may be printed.
    is_cut: bool,
}

pub(super) fn run(arguments: &Sql) -> u8 {
    let Some(query) = &arguments.query else {
        return done(
            &arguments.dir,
            with_output(|out| print_schema(arguments.json, out)).map(|()| Some(false)),
        );
    };
    let asked = (|| {
        let index = access::empty()?;
        let wanted = access::tables_of(&index, query)?;
        Ok::<_, rusqlite::Error>((index, wanted))
    })();
    let (mut index, wanted) = match asked {
        Ok(asked) => asked,
        Err(e) => return refused(&e),
    };
    let filled =
        opened(&arguments.dir).and_then(|(storage, live)| index::fill(&mut index, wanted, &storage, live));
    let damaged = match filled {
        Ok(damaged) => damaged,
        Err(e) => return done(&arguments.dir, Err(e)),
    };
    match ask(&index, query, arguments.rows as usize, access::TIME_MAX) {
        Ok(answer) => {
            let told = with_output(|out| print(&answer, arguments.json, out));
            if answer.is_cut {
                text::complain("there are more rows; LIMIT chooses, --rows N prints more");
            }
            done(&arguments.dir, told.map(|()| Some(damaged)))
        }
        Err(e) => refused(&e),
    }
}

/// Says what is wrong with a question.
fn refused(error: &rusqlite::Error) -> u8 {
    let why = match error {
        rusqlite::Error::MultipleStatement => "one statement at a time".to_owned(),
        rusqlite::Error::InvalidQuery => READ_ONLY.to_owned(),
        error => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => READ_ONLY.to_owned(),
            Some(rusqlite::ErrorCode::OperationInterrupted) => {
                format!("it took longer than {} s", access::TIME_MAX.as_secs())
            }
            Some(rusqlite::ErrorCode::OutOfMemory) => "it needs more memory than it may have".to_owned(),
            _ => format!("{error}; `journal sql DIR --schema` has the tables"),
        },
    };
    text::complain(&shown(&format!("the question was refused: {why}")));
    exit::USAGE
}

/// Asks a filled index.
fn ask(index: &Connection, query: &str, rows_max: usize, time_max: Duration) -> rusqlite::Result<Answer> {
    access::close(index, time_max)?;
    let mut statement = access::reading(index, query)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let (width, mut bytes) = (columns.len(), 0);
    let mut answer = Answer { columns, ..Answer::default() };
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if answer.rows.len() == rows_max || bytes > ANSWER_BYTES_MAX {
            answer.is_cut = true;
            break;
        }
        let cells = (0..width).map(|at| Ok(cell(row.get_ref(at)?)));
        let cells: Vec<Value> = cells.collect::<rusqlite::Result<_>>()?;
        bytes += cells.iter().map(|cell| 16 + cell.as_str().map_or(0, str::len)).sum::<usize>();
        answer.rows.push(cells);
    }
    Ok(answer)
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => evenkeel_log::hex(bytes).into(),
    }
}

fn print(answer: &Answer, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        let Answer { columns, rows, is_cut } = answer;
        serde_json::to_writer(
            &mut *out,
            &json!({ "version": 1, "columns": columns, "rows": rows, "more": is_cut }),
        )?;
        return writeln!(out);
    }
    let head: Vec<String> = answer.columns.iter().map(|name| brief(name)).collect();
    let row = |row: &Vec<Value>| row.iter().map(for_people).collect();
    let rows: Vec<_> = std::iter::once(head).chain(answer.rows.iter().map(row)).collect();
    out.write_all(text::table(&rows).as_bytes())
}

fn for_people(cell: &Value) -> String {
    match cell {
        Value::Null => "-".to_owned(),
        Value::String(text) => brief(text),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// A text of a few words.
fn brief(text: &str) -> String {
    let mut letters = text.chars();
    let brief: String = letters.by_ref().take(CELL_CHARS_MAX).collect();
    shown(&brief) + if letters.next().is_some() { "..." } else { "" }
}

fn print_schema(json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &schema::as_json())?;
        return writeln!(out);
    }
    out.write_all(schema::as_text().as_bytes())
}

#[cfg(test)]
mod tests;
