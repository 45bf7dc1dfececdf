//! What may be asked, what may not, and how much.

use super::schema::TABLES;
use super::*;
use evenkeel_log::storage::DirStorage;
use std::path::Path;

const SOON: Duration = Duration::from_millis(100);

/// An index of the golden journal, with those tables that a question reads.
fn index_for(query: &str) -> Connection {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal_tells/golden/journal");
    let mut index = access::empty().unwrap();
    let wanted = access::tables_of(&index, query).unwrap();
    index::fill(&mut index, wanted, &DirStorage::open(&place).unwrap(), false).unwrap();
    index
}

fn asked(query: &str) -> Vec<Vec<Value>> {
    ask(&index_for(query), query, 100, access::TIME_MAX).unwrap_or_else(|e| panic!("{query}: {e}")).rows
}

// REQ M4
#[test]
fn every_table_has_what_the_journal_says() {
    let first = |query: &str| asked(query)[0].clone();
    assert_eq!(first("SELECT count(*), max(entry) FROM entries"), [json!(45), json!(45)]);
    assert_eq!(
        asked("SELECT severity, sum(count) FROM faults WHERE code = 'EK-1001' OR code IS NULL GROUP BY 1"),
        [[json!("error"), json!(4)], [json!("notice"), json!(9990)]]
    );
    assert_eq!(
        first(
            "SELECT f.code, m.measure FROM faults f JOIN measures m ON m.fault = f.fault AND m.code = f.code"
        ),
        [json!("EK-1001"), json!("restart")]
    );
    let refused =
        first("SELECT machine, from_state, to_state, refused_by FROM states WHERE refused_by IS NOT NULL");
    assert_eq!(refused, [json!("component"), json!("Stopped"), json!("Running"), json!("table")]);
    assert_eq!(
        asked("SELECT step, verdict, run_ms FROM steps ORDER BY run_ms DESC"),
        [
            [json!("seal"), json!("Failed"), json!(250.0)],
            [json!("flush/left"), json!("Verified"), json!(12.5)]
        ]
    );
    assert_eq!(
        asked("SELECT ended, exit_code FROM runs"),
        [[json!("unclean"), json!(1)], [json!("open"), Value::Null]]
    );
    let incidents = asked("SELECT id, channel, ended FROM incidents ORDER BY first_entry");
    assert_eq!(incidents[2], [json!("I-00043"), json!("left"), json!("isolated")]);
}

// REQ M4
#[test]
fn sql_is_all_there_for_reading() {
    for (query, expected) in [
        ("SELECT json_extract(body, '$.step') FROM entries WHERE kind = 'step-outcome'", json!("flush/left")),
        ("SELECT key FROM entries, json_each(body) WHERE kind = 'anchor' LIMIT 1", json!("first_entry")),
        (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10) SELECT sum(x) FROM n",
            json!(55),
        ),
        ("SELECT count(*) FROM (SELECT kind FROM Entries GROUP BY kind)", json!(23)),
        ("SELECT row_number() OVER (ORDER BY entry DESC) FROM faults", json!(1)),
        ("SELECT 1 UNION SELECT 2; -- and no more", json!(1)),
        ("SELECT x'00ff'", json!("00ff")),
        ("WITH n AS (SELECT 1 UNION ALL SELECT 2) SELECT 'x' FROM n", json!("x")),
    ] {
        assert_eq!(asked(query)[0][0], expected, "{query}");
    }
}

// REQ M4
#[test]
fn only_what_is_asked_for_is_filled() {
    let index = index_for("SELECT * FROM faults");
    for table in &TABLES {
        let count: i64 =
            index.query_row(&format!("SELECT count(*) FROM {}", table.name), [], |row| row.get(0)).unwrap();
        assert_eq!(count > 0, table.name == "faults", "{}", table.name);
    }
}

// REQ E6, REQ M4
#[test]
fn nothing_but_reading_is_allowed_and_no_file_is_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("x").display().to_string();
    let secret = scratch.path().join("secret").display().to_string();
    std::fs::write(&secret, "SECRET").unwrap();
    let queries = [
        format!("ATTACH '{file}' AS a"),
        format!("ATTACH DATABASE 'file:{file}?mode=rwc' AS a"),
        "DETACH main".to_owned(),
        format!("VACUUM INTO '{file}'"),
        "VACUUM".to_owned(),
        String::new(),
        "-- nothing".to_owned(),
        "PRAGMA query_only = off".to_owned(),
        "PRAGMA temp_store_directory = '/tmp'".to_owned(),
        format!("PRAGMA journal_mode('{file}')"),
        "SELECT * FROM pragma_database_list".to_owned(),
        "SELECT * FROM pragma_journal_mode('wal')".to_owned(),
        "SELECT load_extension('/lib/x.so')".to_owned(),
        "SELECT LOAD_EXTENSION('x', 'y') FROM entries".to_owned(),
        format!("SELECT readfile('{secret}')"),
        format!("SELECT writefile('{file}', 'x')"),
        "SELECT fts3_tokenizer('simple', x'00')".to_owned(),
        "SELECT * FROM sqlite_master".to_owned(),
        "SELECT * FROM dbstat".to_owned(),
        "SELECT count(*) FROM dbstat".to_owned(),
        "SELECT 1 FROM sqlite_schema".to_owned(),
        "SELECT 1 FROM pragma_function_list".to_owned(),
        "CREATE TABLE t (x)".to_owned(),
        "CREATE TEMP TABLE t (x)".to_owned(),
        "CREATE TEMP TRIGGER t AFTER INSERT ON entries BEGIN SELECT 1; END".to_owned(),
        "CREATE VIRTUAL TABLE t USING fts5(x)".to_owned(),
        format!("CREATE VIRTUAL TABLE t USING csv('{secret}')"),
        "INSERT INTO entries (entry) VALUES (1)".to_owned(),
        "UPDATE entries SET kind = 'x' RETURNING entry".to_owned(),
        "DELETE FROM entries".to_owned(),
        "DROP TABLE entries".to_owned(),
        "ALTER TABLE entries RENAME TO x".to_owned(),
        "REINDEX".to_owned(),
        "ANALYZE".to_owned(),
        "BEGIN".to_owned(),
        "COMMIT".to_owned(),
        "SAVEPOINT a".to_owned(),
        "EXPLAIN SELECT 1; DELETE FROM entries".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "WITH x AS (SELECT 1) INSERT INTO entries (entry) SELECT * FROM x".to_owned(),
        "SELECT * FROM temp.sqlite_temp_master".to_owned(),
    ];
    for query in &queries {
        let filled = index_for("SELECT * FROM entries");
        assert!(access::tables_of(&filled, query).is_err(), "{query}: seen beforehand");
        assert!(ask(&filled, query, 100, SOON).is_err(), "{query}: and when it is asked");
        let left: i64 = filled.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 45, "{query}");
    }
    let names: Vec<_> =
        std::fs::read_dir(scratch.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    let index = access::empty().unwrap();
    let temp_store: i64 = index.query_row("PRAGMA temp_store", [], |row| row.get(0)).unwrap();
    assert_eq!(temp_store, 2, "what sorting needs is in memory");
}

// REQ M4
#[test]
fn a_question_may_take_so_much_and_no_more() {
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT ";
    let refused =
        |query: &str| ask(&index_for("SELECT 1"), query, 100, SOON).unwrap_err().sqlite_error_code();
    let interrupted = Some(rusqlite::ErrorCode::OperationInterrupted);
    assert_eq!(refused(&format!("{endless} max(x) FROM n")), interrupted);
    assert_eq!(refused(&format!("{endless} x FROM n ORDER BY 1 DESC")), interrupted);
    let cut = ask(&index_for("SELECT 1"), &format!("{endless} x FROM n"), 100, access::TIME_MAX).unwrap();
    assert_eq!((cut.rows.len(), cut.is_cut), (100, true));
    let whole = ask(&index_for("SELECT 1"), "SELECT 1", 1, SOON).unwrap();
    assert!(!whole.is_cut);
    for too_long in
        ["SELECT zeroblob(5000000)", "SELECT printf('%.*c', 5000000, 'x')", "SELECT hex(randomblob(4000000))"]
    {
        assert_eq!(refused(too_long), Some(rusqlite::ErrorCode::TooBig), "{too_long}");
    }
    let wide = format!("SELECT {}", vec!["1"; 300].join(", "));
    assert!(access::tables_of(&access::empty().unwrap(), &wide).is_err());
    let deep = format!("SELECT {}1", "1 + ".repeat(200));
    assert!(access::tables_of(&access::empty().unwrap(), &deep).is_err());
    let long = format!("SELECT '{}'", "x".repeat(70_000));
    assert!(access::tables_of(&access::empty().unwrap(), &long).is_err());
    // A long answer ends by its bytes, not only by its rows.
    let fat = format!("{endless} hex(zeroblob(1000000)) FROM n");
    let fat = ask(&index_for("SELECT 1"), &fat, 1_000_000, access::TIME_MAX).unwrap();
    assert!(fat.is_cut && fat.rows.len() < 40);
}

// REQ M4
#[test]
fn whatever_is_asked_the_index_stays_as_it_is() {
    const WORDS: [&str; 40] = [
        "SELECT",
        "FROM",
        "entries",
        "faults",
        "*",
        ",",
        "(",
        ")",
        "INSERT INTO",
        "DELETE FROM",
        "UPDATE",
        "SET",
        "kind",
        "=",
        "1",
        "'x'",
        ";",
        "WITH",
        "AS",
        "UNION",
        "PRAGMA",
        "ATTACH",
        "VALUES",
        "WHERE",
        "x",
        "CREATE TABLE",
        "DROP TABLE",
        "RETURNING",
        "REPLACE INTO",
        "BEGIN",
        "COMMIT",
        "EXPLAIN",
        "VACUUM",
        "load_extension",
        "json_each",
        "--",
        "\0",
        "entry",
        "TEMP",
        "sqlite_master",
    ];
    let query = "SELECT * FROM entries";
    let filled = index_for(query);
    access::close(&filled, access::TIME_MAX).unwrap();
    let changes = filled.total_changes();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut understood = 0;
    for _ in 0..40_000 {
        let starts = [WORDS[0], WORDS[8], WORDS[9], WORDS[10], WORDS[25], WORDS[17]];
        let mut asked = vec![starts[rng.usize(0..starts.len())]];
        for _ in 0..rng.usize(1..6) {
            asked.push(WORDS[rng.usize(0..WORDS.len())]);
        }
        let asked = asked.join(" ");
        if let Ok(mut statement) = filled.prepare(&asked) {
            understood += 1;
            assert!(statement.readonly(), "{asked}");
            let Ok(mut rows) = statement.query([]) else { continue };
            while let Ok(Some(_)) = rows.next() {}
        }
    }
    assert!(understood > 100, "{understood}");
    assert_eq!(filled.total_changes(), changes);
    let left: i64 = filled.query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 45);
}
