//! Real processes, killed at each write of their journal in turn, and at a thousand random ones.
//!
//! Each test runs this same program again as a child that plays one scene on a directory whose
//! fuse ends it; what it was told to be durable it says on its standard error first.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

#[path = "killed/fuse.rs"]
mod fuse;

use evenkeel::Keel;
use evenkeel::journal::{Journal, JournalOptions, entries, verify};
use evenkeel::state::{MachineName, Past, Point, State, StateMachine, state_table, states};
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

states! {
    /// Where a wheel of four spokes stands.
    enum Spoke { North, East, South, West }
}

static WHEEL: evenkeel::state::Table<Spoke> = state_table! {
    Spoke, "wheel", version 1, initial North, final [],
    North -> East: "turn",
    East -> South: "turn",
    South -> West: "turn",
    West -> North: "turn",
};

const WHEELS: [&str; 2] = ["left", "right"];
/// Changes of a wheel in one run.
const TURNS: u64 = 18;
/// Each so-manieth change takes the wheel back over the three before it.
const BACK_EVERY: u64 = 6;

/// Where a wheel is after each of so many changes: what all runs together do, whoever was killed in between.
fn turned(changes: u64) -> Vec<Spoke> {
    let mut at = vec![Spoke::North];
    for change in 1..=changes {
        let last = at[change as usize - 1];
        let next = Spoke::ALL[(last.index() + 1) % 4];
        at.push(if change.is_multiple_of(BACK_EVERY) { at[change as usize - 3] } else { next });
    }
    at
}

fn turn(keel: &Keel, wheel: &StateMachine<Spoke>, name: &str) {
    for _ in 0..TURNS {
        let change = wheel.sequence() + 1;
        let entry = if change.is_multiple_of(BACK_EVERY) {
            wheel.take_back(Point::after(change - 3), "back").unwrap().entry
        } else {
            wheel.change(Spoke::ALL[(wheel.state().index() + 1) % 4], "on").unwrap().entry()
        };
        assert!(keel.journal().unwrap().wait_durable(entry.unwrap(), LONG));
        say(&format!("turned {name} {change}"));
    }
}

/// Turns two wheels, each from where it was left, and stops in order.
fn wheels_scene(dir: &Path, fuse: &Arc<Fuse>) {
    let keel = keel_on(fused(dir, fuse));
    std::thread::scope(|scope| {
        for name in WHEELS {
            let wheel = keel.channel(name).unwrap().machine(&WHEEL, "wheel").build().unwrap();
            let keel = &keel;
            scope.spawn(move || turn(keel, &wheel, name));
        }
    });
    assert!(keel.stop("enough", "the scene").clean);
}

fn keel_on(storage: Arc<dyn Storage>) -> Keel {
    // A snapshot every few changes, so that restoring begins at one.
    let options = JournalOptions { snapshot_entries: 10, ..options() };
    let builder = Keel::builder("wheels").journal_on(storage).journal_options(options);
    builder.without_signals().keep_process().build().unwrap()
}

/// The wheels stand where the changes that were made lead, and all that were said to be durable were made. Answers how
/// many each has made.
fn check_wheels(dir: &Path, said: &Said, context: &str) -> [u64; 2] {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::create(dir).unwrap());
    let past = Past::read(&*storage).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(past.unread(), 0, "{context}");
    WHEELS.map(|name| {
        let machine_name = MachineName::new(Some(name), None, "wheel");
        let known = past.machines().find(|(machine, _)| **machine == machine_name);
        let (sequence, state) = known.map_or((0, "North".to_owned()), |(_, known)| {
            known.whole().unwrap_or_else(|why| panic!("{context}: {name}: {why}"));
            let newest = known.newest();
            (newest.sequence, newest.state)
        });
        assert_eq!(state, turned(sequence)[sequence as usize].name(), "{context}: {name} after {sequence}");
        let durable = said.of("turned").filter_map(|turned| turned.strip_prefix(name)?.trim().parse().ok());
        let durable: u64 = durable.max().unwrap_or(0);
        assert!(
            sequence >= durable,
            "{context}: {name} made {durable} durable changes, {sequence} are there"
        );
        sequence
    })
}

/// The child's part: plays the scene it is told, and does nothing where nobody tells it.
#[test]
fn child() {
    let Ok(dir) = std::env::var("KILLED_DIR") else { return };
    let side = Side::ALL[std::env::var("KILLED_SIDE").unwrap().parse::<usize>().unwrap()];
    let fuse = Fuse::new(std::env::var("KILLED_AT").unwrap().parse().unwrap(), side);
    match std::env::var("KILLED_SCENE").unwrap().as_str() {
        "journal" => journal_scene(Path::new(&dir), &fuse),
        "wheels" => wheels_scene(Path::new(&dir), &fuse),
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
    let mut left = kills() * 6 / 10;
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

// REQ S6
#[test]
fn killed_at_each_write_machines_are_where_their_durable_changes_led() {
    let whole = tempfile::tempdir().unwrap();
    let writes = play("wheels", whole.path(), 0, Side::Before).writes();
    assert!(writes > 60, "{writes} writes are not many kinds");
    for at in 1..=writes {
        // Bytes that are half there are the other test's.
        for side in [Side::Before, Side::After] {
            let dir = tempfile::tempdir().unwrap();
            let said = play("wheels", dir.path(), at, side);
            let context = format!("killed at write {at} of {writes}, {side:?}");
            check_wheels(dir.path(), &said, &context);
            check_journal(dir.path(), &said, &context);
        }
    }
}

// REQ S6
#[test]
fn killed_again_and_again_machines_go_on_where_they_were() {
    let mut rng = Rng::with_seed(0x57A7E);
    let mut left = kills() * 4 / 10;
    while left > 0 {
        let dir = tempfile::tempdir().unwrap();
        let mut before = [0, 0];
        for run in 0..left.min(20) {
            let (at, side) = (rng.u64(1..160), Side::ALL[rng.usize(..Side::ALL.len())]);
            let said = play("wheels", dir.path(), at, side);
            let context = format!("{left} left, run {run}, write {at}, {side:?}");
            let there = check_wheels(dir.path(), &said, &context);
            assert!(there[0] >= before[0] && there[1] >= before[1], "{context}: {before:?}, then {there:?}");
            before = there;
        }
        left -= left.min(20);
    }
}
