//! The tables of the index, with what their columns say.

use crate::text;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A table.
pub(super) struct Table {
    pub(super) name: &'static str,
    what: &'static str,
    /// Name, type, what it says.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

/// Places in [`TABLES`].
pub(super) mod at {
    pub(in super::super) const ENTRIES: usize = 0;
    pub(in super::super) const STATES: usize = 1;
    pub(in super::super) const FAULTS: usize = 2;
    pub(in super::super) const MEASURES: usize = 3;
    pub(in super::super) const STEPS: usize = 4;
    pub(in super::super) const RUNS: usize = 5;
    pub(in super::super) const INCIDENTS: usize = 6;
}

const ENTRY: (&str, &str, &str) = ("entry", "INTEGER", "number of the entry");
const TIME: (&str, &str, &str) = ("time", "TEXT", "when, RFC 3339, UTC");
const NS: (&str, &str, &str) = ("unix_ns", "INTEGER", "the same in nanoseconds since 1970");
const CHANNEL: (&str, &str, &str) = ("channel", "TEXT", "the channel it is about");
const COMPONENT: (&str, &str, &str) = ("component", "TEXT", "the component it is about");
const CODE: (&str, &str, &str) = ("code", "TEXT", "the fault's code, such as EK-1001");

/// All of them.
pub(super) const TABLES: [Table; 7] = [
    Table {
        name: "entries",
        what: "every entry that is whole",
        columns: &[
            ENTRY,
            TIME,
            NS,
            ("kind", "TEXT", "what it is about, such as step-intent"),
            CHANNEL,
            COMPONENT,
            ("body", "TEXT", "what it says, as JSON: json_extract(body, '$.step')"),
            ("bytes", "INTEGER", "its length in the journal"),
        ],
    },
    Table {
        name: "states",
        what: "changes of machines' states, also those that were refused",
        columns: &[
            ENTRY,
            TIME,
            NS,
            CHANNEL,
            COMPONENT,
            ("machine", "TEXT", "name of the machine"),
            ("from_state", "TEXT", "the state before"),
            ("to_state", "TEXT", "the state after, or that was refused"),
            ("cause", "TEXT", "why"),
            ("back_to", "INTEGER", "the point that was gone back to, of a rollback"),
            ("took_ns", "INTEGER", "what the change took"),
            ("refused_by", "TEXT", "who refused it: table, guard, invariant, flapping, journal"),
        ],
    },
    Table {
        name: "faults",
        what: "faults, commands that failed, and summaries of many faults",
        columns: &[
            ENTRY,
            TIME,
            NS,
            CHANNEL,
            COMPONENT,
            ("fault", "INTEGER", "number of the fault in its run"),
            CODE,
            ("class", "TEXT", "its class, such as storage"),
            ("severity", "TEXT", "notice, warning, error, critical"),
            ("count", "INTEGER", "how many: 1, or those of the summary"),
            ("what", "TEXT", "in words that may leave the process"),
            ("causes", "TEXT", "why, a line each; private"),
        ],
    },
    Table {
        name: "measures",
        what: "what was decided about faults, and parts of recoveries",
        columns: &[
            ENTRY,
            TIME,
            NS,
            CHANNEL,
            COMPONENT,
            ("fault", "INTEGER", "number of the fault in its run"),
            CODE,
            (
                "measure",
                "TEXT",
                "retry, restart, recover, isolate, release, stop, note; of a recovery its part",
            ),
            ("state", "TEXT", "of a recovery: begun, done, failed, lapsed"),
            ("who", "TEXT", "what it is about: left/writer"),
            ("reason", "TEXT", "why"),
            ("ms", "REAL", "what a part of a recovery took"),
        ],
    },
    Table {
        name: "steps",
        what: "the steps of stops, out of their reports",
        columns: &[
            ENTRY,
            TIME,
            NS,
            ("phase", "TEXT", "phase of the stop"),
            ("step", "TEXT", "its name"),
            CHANNEL,
            ("verdict", "TEXT", "its outcome"),
            ("attempts", "INTEGER", "how often it was tried"),
            ("run_ms", "REAL", "time of its runs"),
            ("verify_ms", "REAL", "time of its verifications"),
            ("detail", "TEXT", "what is to be said of it"),
        ],
    },
    Table {
        name: "runs",
        what: "runs of the program, the latest 1,000",
        columns: &[
            ("run", "INTEGER", "counted from 1 in what is there of the journal"),
            ("first_entry", "INTEGER", "number of its first entry"),
            ("last_entry", "INTEGER", "number of its last entry"),
            ("began", "TEXT", "when it began"),
            ("over", "TEXT", "when its last entry was appended"),
            ("duration_ms", "REAL", "between the two"),
            ("ended", "TEXT", "clean, unclean, crashed, open"),
            ("exit_code", "INTEGER", "the exit code of its report"),
            ("faults", "INTEGER", "faults in it"),
        ],
    },
    Table {
        name: "incidents",
        what: "what went wrong, as `journal timeline` groups it",
        columns: &[
            ("id", "TEXT", "I- and the number of its first entry"),
            ("first_entry", "INTEGER", "number of its first entry"),
            ("last_entry", "INTEGER", "number of its last entry"),
            CHANNEL,
            COMPONENT,
            CODE,
            ("class", "TEXT", "the class of that"),
            ("severity", "TEXT", "the worst of its faults"),
            ("began", "TEXT", "when it began"),
            ("over", "TEXT", "when it was over"),
            ("duration_ms", "REAL", "how long it took"),
            ("ended", "TEXT", "recovered, quiet, stopped, isolated, failed, crashed, open"),
            ("faults", "INTEGER", "faults that belong to it"),
            ("headline", "TEXT", "what happened, in one sentence"),
        ],
    },
];

impl Table {
    /// The statement that makes it.
    pub(super) fn create(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        format!("CREATE TABLE {} ({})", self.name, columns.join(", "))
    }

    /// The statement that adds a row.
    pub(super) fn insert(&self) -> String {
        let places = vec!["?"; self.columns.len()].join(", ");
        format!("INSERT INTO {} VALUES ({places})", self.name)
    }
}

/// For people.
pub(super) fn as_text() -> String {
    let mut page = String::new();
    for table in &TABLES {
        let rows: Vec<Vec<String>> = table
            .columns
            .iter()
            .map(|(name, kind, what)| vec![(*name).to_owned(), (*kind).to_owned(), (*what).to_owned()])
            .collect();
        let _ = writeln!(page, "{}: {}\n{}", table.name, table.what, text::table(&rows));
    }
    page
}

/// For programs.
pub(super) fn as_json() -> Value {
    let column =
        |(name, kind, what): &(&str, &str, &str)| json!({ "name": name, "type": kind, "what": what });
    let table = |table: &Table| json!({ "name": table.name, "what": table.what, "columns": table.columns.iter().map(column).collect::<Vec<_>>() });
    json!({ "version": 1, "tables": TABLES.iter().map(table).collect::<Vec<_>>() })
}
