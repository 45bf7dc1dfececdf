//! Sources of snapshots that answer late, or never.

use super::retention::{assert_sound, keeping, segments};
use super::snapshots::{Keeper, restored};
use super::{LONG, all, assert_whole, open, small_segments};
use evenkeel::journal::{
    Entry, Journal, JournalOptions, JournalRetention, MACHINES, OBSERVER_PANIC_KIND, SNAPSHOT_KIND, entries,
};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use fastrand::Rng;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Who goes through a door waits while it is shut.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Default)]
struct Inside {
    is_shut: bool,
    waiting: usize,
    came: u64,
}

impl Door {
    fn shut(&self) {
        self.0.0.lock().unwrap().is_shut = true;
    }

    fn open(&self) {
        self.0.0.lock().unwrap().is_shut = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut inside = self.0.0.lock().unwrap();
        inside.came += 1;
        inside.waiting += 1;
        self.0.1.notify_all();
        inside = self.0.1.wait_while(inside, |inside| inside.is_shut).unwrap();
        inside.waiting -= 1;
    }

    /// How many came so far.
    fn came(&self) -> u64 {
        self.0.0.lock().unwrap().came
    }

    /// Whether somebody comes to wait, in good time.
    fn holds_somebody(&self) -> bool {
        let inside = self.0.0.lock().unwrap();
        let (inside, _) = self.0.1.wait_timeout_while(inside, LONG, |inside| inside.waiting == 0).unwrap();
        inside.waiting == 1
    }
}

/// Says when it is dropped.
struct Last(Sender<&'static str>, &'static str);

impl Last {
    fn name(&self) -> &str {
        self.1
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

fn patient(patience: Duration, options: JournalOptions) -> JournalOptions {
    JournalOptions { snapshot_patience: patience, ..options }
}

/// Of a kind, in a journal at work.
pub(super) fn so_far(storage: &SimStorage, kind: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let read = entries(storage, true, &mut |entry| {
        found.extend(Some(entry).filter(|entry| entry.kind == kind));
        Ok(())
    });
    read.unwrap();
    found
}

/// Waits until something is so, woken by what becomes durable.
#[track_caller]
pub(super) fn eventually(journal: &Journal, is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        journal.wait_durable(journal.durable_through() + 1, Duration::from_millis(1));
    }
    panic!("it never is so: {journal:?}");
}

fn append(journal: &Journal, count: u64) {
    for n in 0..count {
        let entry = journal.append("state", None, json!({ "n": n })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG), "entry {} is not durable", entry.entry);
    }
}

// REQ S6, REQ M4, REQ Q2
#[test]
fn a_source_that_hangs_holds_up_nothing_and_is_told_once() {
    let (storage, door) = (SimStorage::new(), Door::default());
    let every = JournalOptions { snapshot_entries: 4, ..small_segments() };
    let journal = open(&storage, patient(Duration::from_millis(3), every));
    let asked = Arc::new(AtomicU64::new(0));
    journal.on_snapshot("well", {
        let asked = asked.clone();
        move || json!(asked.fetch_add(1, Ordering::Relaxed))
    });
    journal.on_snapshot("stands still", {
        let door = door.clone();
        move || {
            door.pass();
            json!("at last")
        }
    });
    door.shut();
    append(&journal, 1);
    assert!(door.holds_somebody(), "nobody is asked");
    append(&journal, 100);
    let told = || so_far(&storage, OBSERVER_PANIC_KIND);
    eventually(&journal, || !told().is_empty());
    append(&journal, 100);
    let head = journal.head().entry;
    // Ten times as long as it takes to be told of.
    assert!(!journal.wait_durable(head + 1, Duration::from_millis(30)), "{:?}", told());
    assert_eq!(told().len(), 1);
    let why = told().pop().unwrap().body["snapshot"].as_str().unwrap().to_owned();
    assert!(why.starts_with("stands still: no answer for 3ms"), "{why}");
    assert_eq!((door.came(), asked.load(Ordering::Relaxed)), (1, 1), "asked while one is being asked");
    assert!(so_far(&storage, SNAPSHOT_KIND).is_empty());
    assert_eq!(journal.trouble(), None);
    // It comes back: what it was asked for counts from where it was asked, and it is asked again.
    door.open();
    eventually(&journal, || so_far(&storage, SNAPSHOT_KIND).len() == 2);
    append(&journal, 20);
    eventually(&journal, || so_far(&storage, SNAPSHOT_KIND).len() > 2);
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    let snapshots: Vec<_> = found.iter().filter(|entry| entry.kind == SNAPSHOT_KIND).collect();
    assert_eq!(snapshots[0].body["parts"], json!({ "stands still": "at last", "well": 0 }));
    assert!(snapshots[0].body["from_entry"].as_u64().unwrap() <= 2 && snapshots[0].entry > head);
    assert!(snapshots[1].body["from_entry"].as_u64().unwrap() >= head, "{:?}", snapshots[1]);
}

// REQ S6, REQ M4, REQ Q2
#[test]
fn the_end_does_not_wait_for_a_source_and_others_are_let_go() {
    for finishes in [true, false] {
        let (storage, door) = (SimStorage::new(), Door::default());
        let (tells, told): (_, Receiver<&str>) = channel();
        let journal =
            open(&storage, patient(LONG, JournalOptions { snapshot_entries: 4, ..small_segments() }));
        let last = |name| Last(tells.clone(), name);
        // What each keeps is dropped with it.
        let (before, hangs, after) = (last("before"), last("hangs"), last("after"));
        journal.on_snapshot("before", move || json!(before.name()));
        journal.on_snapshot("hangs", {
            let door = door.clone();
            move || {
                door.pass();
                json!(hangs.name())
            }
        });
        journal.on_snapshot("after", move || json!(after.name()));
        let observer = last("observer");
        journal.on_durable(move |_| assert!(!observer.name().is_empty()));
        door.shut();
        append(&journal, 1);
        assert!(door.holds_somebody());
        append(&journal, 10);
        let last = journal.append("last", None, json!({})).unwrap().entry;
        if finishes {
            journal.finish(LONG).unwrap();
            assert_whole(&storage, Outcome::Intact);
        } else {
            drop(journal);
            // `ek-journal` is over when nothing of it is left.
            assert_eq!(all(&storage.kill()).len() as u64, last);
        }
        let mut gone: Vec<_> = (0..3).map(|_| told.recv_timeout(LONG).unwrap()).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["after", "before", "observer"]);
        assert!(told.try_recv().is_err(), "it is being asked");
        door.open();
        assert_eq!(told.recv_timeout(LONG), Ok("hangs"));
    }
}

// REQ S6, REQ M4
#[test]
fn a_source_may_end_the_journal_or_take_the_place_of_another() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { snapshot_entries: 4, ..small_segments() });
    let (tells, told) = channel();
    let own = Arc::new(Mutex::new(Some(journal.clone())));
    journal.on_snapshot("first", {
        let journal = journal.clone();
        move || {
            // Whoever is asked may wait for the disk: it is not `ek-journal` that asks.
            let entry = journal.append("from a source", None, json!({})).unwrap().entry;
            let is_durable = journal.wait_durable(entry, LONG);
            let (own, tells) = (own.clone(), tells.clone());
            journal.on_snapshot("first", move || {
                let own = own.lock().unwrap().take().expect("it is asked once");
                let _ = tells.send((is_durable, own.finish(LONG)));
                json!(2)
            });
            json!(1)
        }
    });
    append(&journal, 1);
    eventually(&journal, || so_far(&storage, SNAPSHOT_KIND).len() == 1);
    for n in 0..8 {
        let _ = journal.append("state", None, json!({ "n": n }));
    }
    assert_eq!(told.recv_timeout(LONG), Ok((true, Ok(()))));
    let found = assert_whole(&storage, Outcome::Intact);
    let parts: Vec<_> = found.iter().filter(|entry| entry.kind == SNAPSHOT_KIND).collect();
    assert_eq!((parts.len(), &parts[0].body["parts"]), (1, &json!({ "first": 1 })));
}

// REQ S6, REQ C11, REQ Q2
#[test]
fn nothing_goes_that_only_a_snapshot_to_come_covers() {
    // Wherever in a segment its answer comes.
    (0..8).for_each(nothing_goes_before_an_answer);
}

fn nothing_goes_before_an_answer(more: u64) {
    let (storage, keeper, door) = (SimStorage::new(), Keeper::default(), Door::default());
    let journal = open(&storage, keeping(0));
    keeper.register(&journal, 0);
    journal.on_snapshot("door", {
        let door = door.clone();
        move || {
            door.pass();
            json!(null)
        }
    });
    let add = |count: u64| {
        for n in 0..count {
            assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        }
    };
    add(40);
    eventually(&journal, || restored(&storage.kill(), false).1.snapshot.is_some());
    door.shut();
    add(20);
    assert!(door.holds_somebody());
    for _ in 0..7 {
        add(10);
        let (sum, summary) = restored(&storage.kill(), false);
        assert_eq!(sum, keeper.sum(), "{summary:?}");
        assert!(summary.snapshot.is_some() && !summary.damaged, "{summary:?}");
    }
    add(more);
    let (held, first) =
        (segments(&storage).len(), assert_sound(&storage.kill(), "held").first_entry.unwrap());
    assert!(held > 4, "{held} segments are there, of 90 entries that no snapshot covers");
    // The answer comes, and with it what may go, without anybody else's entry.
    door.open();
    eventually(&journal, || segments(&storage).len() < held / 2);
    journal.finish(LONG).unwrap();
    assert!(assert_sound(&storage, "at the end").first_entry.unwrap() > first);
    assert_eq!(restored(&storage, false).0, keeper.sum());
}

// REQ S6, REQ C11, REQ Q2
#[test]
fn what_is_restored_is_what_was_however_late_sources_answer() {
    let (mut late, mut removed) = (0, 0);
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        for run in 0..3 {
            let retention = JournalRetention { bytes: Some(rng.u64(..20_000)), age_ns: None };
            let options = JournalOptions { retention, snapshot_entries: rng.u64(1..30), ..small_segments() };
            let journal = open(&storage, patient(Duration::from_millis(1), options));
            let context = format!("seed {seed}, run {run}");
            assert_eq!(restored(&storage, true).0, keeper.sum(), "{context}");
            let (doors, breaks) = ([Door::default(), Door::default()], Arc::new(AtomicBool::new(false)));
            let passing = |at: usize| {
                let door = doors[at].clone();
                move || {
                    door.pass();
                    json!(null)
                }
            };
            // One is asked before the sum, and one after it.
            journal.on_snapshot("before", passing(0));
            keeper.register(&journal, rng.usize(0..20));
            journal.on_snapshot("after", passing(1));
            journal.on_snapshot("breaks", {
                let breaks = breaks.clone();
                move || if breaks.load(Ordering::Relaxed) { panic!("now and then") } else { json!(1) }
            });
            for _ in 0..rng.u64(1..150) {
                let last = keeper.add(&journal, rng.u64(..1000));
                match rng.u8(..12) {
                    0 | 1 => doors[rng.usize(..2)].shut(),
                    2..=4 => doors[rng.usize(..2)].open(),
                    5 => breaks.store(rng.bool(), Ordering::Relaxed),
                    6 | 7 => {
                        assert!(journal.wait_durable(last, LONG), "{context}");
                        let (sum, summary) = restored(&storage.kill(), false);
                        assert_eq!(sum, keeper.sum(), "{context}: {summary:?}");
                    }
                    _ => {}
                }
            }
            if rng.bool() {
                doors.iter().for_each(Door::open);
            }
            if rng.bool() {
                journal.finish(LONG).unwrap();
            }
            drop(journal);
            let (sum, summary) = restored(&storage.kill(), false);
            assert_eq!(sum, keeper.sum(), "{context}: {summary:?}");
            removed += u64::from(assert_sound(&storage.kill(), &context).first_entry > Some(1));
            late += so_far(&storage, OBSERVER_PANIC_KIND).len();
            doors.iter().for_each(Door::open);
        }
    }
    assert!(late > 3 && removed > 3, "{late} were told, {removed} times something was removed");
}

// REQ S6, REQ M4
#[test]
fn machines_are_asked_like_all_others() {
    let (storage, door) = (SimStorage::new(), Door::default());
    let journal = open(&storage, patient(Duration::ZERO, small_segments()));
    journal.on_snapshot(MACHINES, {
        let door = door.clone();
        move || {
            door.pass();
            json!([])
        }
    });
    door.shut();
    append(&journal, 1);
    assert!(door.holds_somebody());
    eventually(&journal, || so_far(&storage, OBSERVER_PANIC_KIND).len() == 1);
    append(&journal, 30);
    door.open();
    eventually(&journal, || !so_far(&storage, SNAPSHOT_KIND).is_empty());
    journal.finish(LONG).unwrap();
    assert_eq!(assert_whole(&storage, Outcome::Intact)[0].kind, "state");
}

// REQ S6, REQ M4
#[test]
fn what_came_due_while_a_source_was_asked_is_taken_when_it_has_failed() {
    let (storage, door) = (SimStorage::new(), Door::default());
    let journal = open(&storage, JournalOptions { snapshot_entries: 1, ..small_segments() });
    let asked = AtomicU64::new(0);
    journal.on_snapshot("moody", {
        let door = door.clone();
        move || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => panic!("not yet"),
            1 => {
                door.pass();
                panic!("nor now")
            }
            times => json!(times),
        }
    });
    append(&journal, 1);
    eventually(&journal, || so_far(&storage, OBSERVER_PANIC_KIND).len() == 1);
    door.shut();
    append(&journal, 1);
    assert!(door.holds_somebody());
    append(&journal, 3);
    door.open();
    // That it failed again is not told again: no entry comes that would bring another.
    eventually(&journal, || so_far(&storage, SNAPSHOT_KIND).len() == 1);
    journal.finish(LONG).unwrap();
    assert_eq!(assert_whole(&storage, Outcome::Intact).pop().unwrap().body["parts"], json!({ "moody": 2 }));
}
