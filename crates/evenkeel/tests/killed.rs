//! Real processes, killed at each write of their journal in turn, and at a thousand random ones.
//!
//! Each test runs this same program again as a child that plays one scene on a directory whose
//! fuse ends it; what it was told to be durable it says on its standard error first.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

#[path = "killed/fuse.rs"]
mod fuse;

use evenkeel::journal::{Journal, JournalOptions, entries, verify};
use evenkeel_log::Outcome;
use evenkeel_log::storage::{DirStorage, Storage};
use fastrand::Rng;
use fuse::{Fuse, Fused, Side};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Random kills in all: `EVENKEEL_KILLS` for a longer or shorter search.
fn kills() -> u64 {
    std::env::var("EVENKEEL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000)
}

fn fused(dir: &Path, fuse: &Arc<Fuse>) -> Arc<dyn Storage> {
    Arc::new(Fused { storage: DirStorage::create(dir).unwrap(), fuse: fuse.clone() })
}

/// A line in one piece: the process may end at any moment, and two threads speak.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Small segments, so that few entries are many kinds of writes.
fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 2_000, ..JournalOptions::default() }
}

/// Appends entries from two threads, each waiting for its own.
fn journal_scene(dir: &Path, fuse: &Arc<Fuse>) {
    let (journal, _) = Journal::open(fused(dir, fuse), options()).unwrap();
    std::thread::scope(|scope| {
        for name in ["left", "right"] {
            let journal = &journal;
            scope.spawn(move || {
                for at in 0..8 {
                    let appended = journal.append("audit", Some(name), json!({ "at": at })).unwrap();
                    assert!(journal.wait_durable(appended.entry, LONG));
                    say(&format!("durable {} {name} {at}", appended.entry));
                }
            });
        }
    });
    journal.finish(LONG).unwrap();
}

/// The child's part: plays the scene it is told, and does nothing where nobody tells it.
#[test]
fn child() {
    let Ok(dir) = std::env::var("KILLED_DIR") else { return };
    let side = Side::ALL[std::env::var("KILLED_SIDE").unwrap().parse::<usize>().unwrap()];
    let fuse = Fuse::new(std::env::var("KILLED_AT").unwrap().parse().unwrap(), side);
    match std::env::var("KILLED_SCENE").unwrap().as_str() {
        "journal" => journal_scene(Path::new(&dir), &fuse),
        scene => panic!("no scene {scene}"),
    }
    say(&format!("writes {}", fuse.writes()));
}

/// What a child said before it ended.
struct Said {
    lines: Vec<String>,
    was_killed: bool,
}

impl Said {
    fn of<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    fn writes(&self) -> u64 {
        self.of("writes").next().unwrap().parse().unwrap()
    }
}

fn play(scene: &str, dir: &Path, at: u64, side: Side) -> Said {
    let side = Side::ALL.iter().position(|s| *s == side).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env("KILLED_SCENE", scene)
        .env("KILLED_DIR", dir)
        .env("KILLED_AT", at.to_string())
        .env("KILLED_SIDE", side.to_string())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let lines: Vec<_> = String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect();
    let was_killed = output.status.code().is_none();
    assert!(was_killed || output.status.success(), "write {at}, side {side}: {lines:#?}");
    Said { lines, was_killed }
}

/// The journal is whole, opens as it is, and has what was said to be durable. Answers its length.
fn check_journal(dir: &Path, said: &Said, context: &str) -> u64 {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::create(dir).unwrap());
    // Nothing needs a hand: opening mends what is to be mended.
    let (journal, recovery) = Journal::open(storage.clone(), options()).unwrap();
    journal.finish(LONG).unwrap_or_else(|e| panic!("{context}: {e}"));
    drop(journal);
    let verification = verify(&*storage, false).unwrap();
    let is_whole = verification.findings.is_empty() && verification.outcome <= Outcome::Declared;
    assert!(is_whole, "{context}: {verification:#?}, {recovery:?}");
    let mut found = Vec::new();
    entries(&*storage, false, &mut |entry| {
        found.push(entry);
        Ok(())
    })
    .unwrap();
    assert!(found.iter().map(|e| e.entry).eq(1..=found.len() as u64), "{context}");
    for durable in said.of("durable") {
        let mut words = durable.split(' ');
        let number: usize = words.next().unwrap().parse().unwrap();
        let entry = found.get(number - 1).unwrap_or_else(|| panic!("{context}: entry {number} is gone"));
        let (channel, at) = (words.next().unwrap(), words.next().unwrap());
        let is_it =
            entry.channel.as_deref() == Some(channel) && entry.body["at"] == at.parse::<u64>().unwrap();
        assert!(is_it, "{context}: entry {number} is {entry:?}");
    }
    found.len() as u64
}

// REQ S6, REQ C11
#[test]
fn killed_at_each_write_a_journal_has_what_was_durable_and_opens_as_it_is() {
    let whole = tempfile::tempdir().unwrap();
    let writes = play("journal", whole.path(), 0, Side::Before).writes();
    assert!(writes > 60, "{writes} writes are not many kinds");
    let mut killed = 0;
    for at in 1..=writes {
        for side in Side::ALL {
            let dir = tempfile::tempdir().unwrap();
            let said = play("journal", dir.path(), at, side);
            killed += u64::from(said.was_killed);
            check_journal(dir.path(), &said, &format!("killed at write {at} of {writes}, {side:?}"));
        }
    }
    // Two threads do not always need as many writes: the last few may not come.
    assert!(killed * 2 > writes * 3, "{killed} of {} were killed", writes * 3);
}

// REQ S6, REQ C11
#[test]
fn killed_again_and_again_at_random_writes_nothing_durable_is_lost() {
    let mut rng = Rng::with_seed(0xE7E2);
    let mut left = kills();
    while left > 0 {
        let dir = tempfile::tempdir().unwrap();
        let mut entries_before = 0;
        for run in 0..left.min(20) {
            let (at, side) = (rng.u64(1..160), Side::ALL[rng.usize(..Side::ALL.len())]);
            let said = play("journal", dir.path(), at, side);
            let context = format!("{left} left, run {run}, write {at}, {side:?}");
            let there = check_journal(dir.path(), &said, &context);
            assert!(there >= entries_before, "{context}: {entries_before} entries were there");
            entries_before = there;
        }
        left -= left.min(20);
    }
}
