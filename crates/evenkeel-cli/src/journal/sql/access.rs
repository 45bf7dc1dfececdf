//! What a question may do, and how much.

use super::schema::TABLES;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a question may take, once the index is filled.
pub(super) const TIME_MAX: Duration = Duration::from_secs(10);
/// Memory that the index and a question may have together, in bytes.
const MEMORY_BYTES_MAX: i64 = 4 << 30;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// Tables of functions over JSON.
const JSON_TABLES: [&str; 2] = ["json_each", "json_tree"];
/// What the names of tables begin with that are SQLite's own.
const FORBIDDEN_TABLES: [&str; 3] = ["sqlite_", "pragma_", "dbstat"];
/// Functions that reach out of the index.
const FORBIDDEN_FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];
/// What bounds a question, besides time, memory and rows.
const LIMITS: [(Limit, i32); 8] = [
    (Limit::SQLITE_LIMIT_LENGTH, 4 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
    (Limit::SQLITE_LIMIT_COLUMN, 200),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// An index with its tables, and nothing in them.
pub(super) fn empty() -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let index = Connection::open_in_memory_with_flags(flags)?;
    index.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    index.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // What does not fit for sorting would otherwise go to a file; a journal in memory needs none.
    index.pragma_update(None, "temp_store", "MEMORY")?;
    index.pragma_update(None, "journal_mode", "OFF")?;
    index.pragma_update_and_check(None, "hard_heap_limit", MEMORY_BYTES_MAX, |_| Ok(()))?;
    for table in &TABLES {
        index.execute(&table.create(), [])?;
    }
    for (limit, value) in LIMITS {
        index.set_limit(limit, value)?;
    }
    Ok(index)
}

/// The tables that a question reads, as bits by their place; refused if it does anything else.
pub(super) fn tables_of(index: &Connection, query: &str) -> rusqlite::Result<u32> {
    let read = Arc::new(AtomicU32::new(0));
    let seen = read.clone();
    index.authorizer(Some(move |context: AuthContext<'_>| authorize(&context.action, &seen)))?;
    let prepared = reading(index, query).map(|_| ());
    index.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    prepared?;
    Ok(read.load(Ordering::Relaxed))
}

/// Prepares one statement that reads, and does nothing else: `VACUUM` asks the authorizer only when it runs.
pub(super) fn reading<'a>(index: &'a Connection, query: &str) -> rusqlite::Result<Statement<'a>> {
    let statement = index.prepare(query)?;
    let is_question = statement.readonly() && statement.column_count() > 0;
    if is_question { Ok(statement) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// From now on the index is only read, for so long at most.
pub(super) fn close(index: &Connection, time_max: Duration) -> rusqlite::Result<()> {
    index.pragma_update(None, "query_only", true)?;
    let seen = AtomicU32::new(0);
    index.authorizer(Some(move |context: AuthContext<'_>| authorize(&context.action, &seen)))?;
    let until = Instant::now() + time_max;
    index.progress_handler(STEPS, Some(move || Instant::now() >= until))
}

fn authorize(action: &AuthAction<'_>, read: &AtomicU32) -> Authorization {
    match action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Read { table_name, column_name } => {
            let name = table_name.to_ascii_lowercase();
            if let Some(at) = TABLES.iter().position(|table| table.name == name) {
                read.fetch_or(1 << at, Ordering::Relaxed);
                return Authorization::Allow;
            }
            // A question's own tables (`WITH`) are named only where none of their columns is.
            let is_own = column_name.is_empty()
                && !FORBIDDEN_TABLES.iter().any(|forbidden| name.starts_with(forbidden));
            let is_allowed = is_own || JSON_TABLES.contains(&name.as_str());
            if is_allowed { Authorization::Allow } else { Authorization::Deny }
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            let is_forbidden = FORBIDDEN_FUNCTIONS.contains(&name.as_str());
            if is_forbidden { Authorization::Deny } else { Authorization::Allow }
        }
        _ => Authorization::Deny,
    }
}
