//! A machine that went, or is to come: whoever makes it again finds it where it was.

use super::observers::flip;
use super::{LAMP, LONG, Lamp};
use evenkeel::journal::{Entry, Journal, JournalOptions, entries};
use evenkeel::state::{Limits, MachineError, Past, Point, StateMachine, States, Table, state_table};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::sim::{Faults, SimStorage};
use serde_json::json;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The same lamp, of a later version of its table.
static LATER: Table<Lamp> = state_table! {
    Lamp, "lamp", version 2, initial Off, final [Broken],
    Off -> On: "push",
    On -> Off: "push",
    On -> Bright: "turn",
    Bright -> Off: "push",
    On -> Broken: "hammer",
    Broken -> Off: "repair",
};

fn open(storage: &SimStorage, options: JournalOptions) -> Journal {
    Journal::open(Arc::new(storage.clone()), options).unwrap().0
}

/// Waits until a snapshot that has everything up to an entry, and more, is on disk.
#[track_caller]
fn until_snapshot_after(entry: u64, storage: &SimStorage, journal: &Journal) {
    for _ in 0..60_000 {
        let mut is_there = false;
        let read = entries(storage, true, &mut |found| {
            is_there |= found.kind == "snapshot"
                && found.body["from_entry"].as_u64().is_some_and(|from| from > entry);
            Ok(())
        });
        read.unwrap();
        if is_there {
            return;
        }
        journal.wait_durable(journal.durable_through() + 1, Duration::from_millis(1));
    }
    panic!("no snapshot after entry {entry}: {journal:?}");
}

fn states(journal: &Journal, past: Past) -> States {
    States::new(ThreadCoordinator::default(), Some(journal.clone()), past)
}

fn read(storage: &SimStorage) -> Vec<Entry> {
    let mut all = Vec::new();
    entries(storage, false, &mut |entry| {
        all.push(entry);
        Ok(())
    })
    .unwrap();
    all
}

fn without(past: Past) -> States {
    States::new(ThreadCoordinator::default(), None, past)
}

// REQ S6
#[test]
fn what_the_journal_lacks_of_a_machine_is_told_although_that_went_and_came_again() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { queue_bytes_max: 64 << 10, ..JournalOptions::default() });
    let all = states(&journal, Past::default());
    let make = || all.machine(&LAMP, "lamp").best_effort().build().unwrap();
    let mut lamp = make();
    lamp.change_durable(Lamp::On, "first", LONG).unwrap();
    storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let filler = || json!({ "text": "x".repeat(1000) });
    loop {
        while journal.append("report", None, filler()).is_some() {}
        let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
        if lamp.change(to, "missed").unwrap().entry().is_none() {
            break;
        }
    }
    drop(lamp);
    lamp = make();
    storage.set_faults(Faults::default());
    while journal.append("report", None, filler()).is_none() {
        thread::yield_now();
    }
    let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
    lamp.change_durable(to, "told", LONG).unwrap();
    let snapshot = lamp.snapshot();
    journal.finish(LONG).unwrap();
    let entries: Vec<Entry> = read(&storage).into_iter().filter(|entry| entry.kind == "state").collect();
    let again = without(Past::of(entries.iter())).machine(&LAMP, "lamp").build().unwrap();
    assert_eq!(again.snapshot(), snapshot);
}

// REQ S6, REQ S7
#[test]
fn two_who_make_one_machine_again_get_its_past_or_nothing() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").build().unwrap();
    flip(&lamp);
    journal.finish(LONG).unwrap();
    let all = without(Past::read(&storage).unwrap());
    let others = all.clone();
    let first = all.machine(&LATER, "lamp").migrate(move |_| {
        // While this is asked, another makes the machine.
        match others.machine(&LAMP, "lamp").build() {
            Ok(other) => {
                assert_eq!(other.state_and_sequence(), (Lamp::On, 1));
                other.reader().observe("keeps", |_| ()).unwrap().keep();
            }
            Err(error) => assert!(matches!(error, MachineError::Duplicate { .. }), "{error}"),
        }
        Ok(Lamp::On)
    });
    match first.build() {
        Ok(first) => assert_eq!(first.state_and_sequence(), (Lamp::On, 1)),
        Err(error) => assert!(matches!(error, MachineError::Duplicate { .. }), "{error}"),
    }
}

// REQ S6, REQ S7
#[test]
fn every_snapshot_has_every_machine_whoever_comes_and_goes() {
    let storage = SimStorage::new();
    let options = JournalOptions { snapshot_entries: 1, ..JournalOptions::default() };
    let journal = open(&storage, options);
    let all = states(&journal, Past::default());
    for at in 0..2000_u64 {
        let lamp = all.machine(&LAMP, "lamp").build().unwrap_or_else(|error| panic!("after {at}: {error}"));
        assert_eq!(lamp.sequence(), at, "it goes on where it was");
        flip(&lamp);
    }
    journal.finish(LONG).unwrap();
    let (mut snapshots, mut has_begun) = (0, false);
    for entry in read(&storage).iter().filter(|entry| entry.kind == "snapshot") {
        let machines = entry.body["machines"].as_array().unwrap();
        has_begun |= !machines.is_empty();
        snapshots += 1;
        assert!(!has_begun || machines.iter().any(|it| it["machine"] == "lamp"), "entry {}", entry.entry);
    }
    assert!(snapshots > 1);
}

// REQ S6
#[test]
fn a_machine_that_may_go_back_further_than_before_is_restored() {
    let storage = SimStorage::new();
    let few = Limits { points_max: 2, ..Limits::default() };
    let journal = open(&storage, JournalOptions::default());
    let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").limits(few).build().unwrap();
    for _ in 0..3 {
        flip(&lamp);
    }
    journal.finish(LONG).unwrap();
    let journal = open(&storage, JournalOptions::default());
    let all = states(&journal, Past::read(&storage).unwrap());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    for _ in 0..5 {
        flip(&lamp);
    }
    lamp.take_back(Point::after(3), "far back").unwrap();
    journal.finish(LONG).unwrap();
    // Without the snapshots: where the newest is from before the machine was made again, it says no more.
    let entries: Vec<Entry> = read(&storage).into_iter().filter(|entry| entry.kind == "state").collect();
    let again = without(Past::of(entries.iter())).machine(&LAMP, "lamp").build().unwrap();
    assert_eq!(again.state_and_sequence(), lamp.state_and_sequence());
}

/// Whatever is in a journal.
fn some_entry() -> Entry {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    assert!(journal.append("report", None, json!({})).is_some());
    journal.finish(LONG).unwrap();
    read(&storage).remove(0)
}

/// A snapshot of these machines that was begun after an entry and is written as another.
fn snapshot_of(lamps: &[&StateMachine<Lamp>], from_entry: u64, like: &Entry) -> Entry {
    let body =
        |lamp: &&StateMachine<Lamp>| json!({ "machine": lamp.name().name(), "snapshot": lamp.snapshot() });
    let machines: Vec<_> = lamps.iter().map(body).collect();
    let body = json!({ "from_entry": from_entry, "machines": machines, "parts": {} });
    let mut snapshot = like.clone();
    (snapshot.kind, snapshot.body) = ("snapshot".to_owned(), body);
    snapshot
}

// REQ S6
#[test]
fn a_machine_that_cannot_be_read_takes_no_other_with_it() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    let all = states(&journal, Past::default());
    let (a, b) = (all.machine(&LAMP, "a").build().unwrap(), all.machine(&LAMP, "b").build().unwrap());
    flip(&a);
    flip(&b);
    journal.finish(LONG).unwrap();
    let mut snapshot = snapshot_of(&[&a, &b], 1, &some_entry());
    snapshot.body["machines"][0]["snapshot"]["sequence"] = "three".into();
    let past = Past::of([&snapshot]);
    assert_eq!(past.unread(), 1);
    let again = without(past);
    assert_eq!(again.machine(&LAMP, "b").build().unwrap().state(), Lamp::On);
    let unread = again.machine(&LAMP, "a").build().unwrap_err();
    assert!(unread.to_string().contains("cannot be read"), "{unread}");
}

// REQ S6
#[test]
fn what_is_not_whole_is_not_taken_for_new_after_the_next_snapshot() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").build().unwrap();
    for _ in 0..3 {
        flip(&lamp);
    }
    journal.finish(LONG).unwrap();
    let mut holed: Vec<Entry> = read(&storage).into_iter().filter(|entry| entry.kind == "state").collect();
    holed.remove(1);
    // This run does not make the lamp, and takes a snapshot.
    let options = JournalOptions { snapshot_entries: 1, ..JournalOptions::default() };
    let journal = open(&storage, options);
    let all = states(&journal, Past::of(holed.iter()));
    let before = journal.head().entry;
    let other = all.machine(&LAMP, "other").build().unwrap();
    other.change_durable(Lamp::On, "push", LONG).unwrap();
    other.change_durable(Lamp::Off, "push", LONG).unwrap();
    until_snapshot_after(before, &storage, &journal);
    journal.finish(LONG).unwrap();
    let again = without(Past::read(&storage).unwrap());
    let refused = again.machine(&LAMP, "lamp").build().unwrap_err();
    assert!(refused.to_string().contains("after change 1 comes change 3"), "{refused}");
    let migrated = again.machine(&LAMP, "lamp").migrate(|was| {
        assert_eq!((was.state.as_str(), was.sequence), ("On", 1));
        Ok(Lamp::Broken)
    });
    assert_eq!(migrated.build().unwrap().state(), Lamp::Broken);
}

// REQ S6
#[test]
fn a_snapshot_that_is_older_than_what_is_missing_does_not_make_it_whole() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").build().unwrap();
    flip(&lamp);
    flip(&lamp);
    let second = snapshot_of(&[&lamp], 2, &some_entry());
    flip(&lamp);
    let third = snapshot_of(&[&lamp], 3, &second);
    journal.finish(LONG).unwrap();
    let all = read(&storage);
    let changes: Vec<&Entry> = all.iter().filter(|entry| entry.kind == "state").collect();
    // The second change is missing; the snapshot was begun before the third, and written after it.
    let past = Past::of([changes[0], changes[2], &second]);
    let refused = without(past).machine(&LAMP, "lamp").build().unwrap_err();
    assert!(refused.to_string().contains("some are missing"), "{refused}");
    // One that has the third is all that is wanted.
    let past = Past::of([changes[0], changes[2], &third]);
    assert_eq!(without(past).machine(&LAMP, "lamp").build().unwrap().sequence(), 3);
}

// REQ S6
#[test]
fn a_registry_that_is_gone_leaves_what_it_knew_to_the_snapshots() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { snapshot_entries: 1, ..JournalOptions::default() });
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    let last = lamp.change(Lamp::On, "push").unwrap().entry().unwrap();
    drop((lamp, all));
    for at in 0..20 {
        let entry = journal.append("report", None, json!({ "at": at })).unwrap().entry;
        assert!(journal.wait_durable(entry, LONG));
    }
    until_snapshot_after(last, &storage, &journal);
    journal.finish(LONG).unwrap();
    let newest = read(&storage).into_iter().rfind(|entry| entry.kind == "snapshot").unwrap();
    assert!(newest.body["from_entry"].as_u64().unwrap() > last, "there are snapshots as before");
    let again = without(Past::of([&newest]));
    assert_eq!(again.machine(&LAMP, "lamp").build().unwrap().state_and_sequence(), (Lamp::On, 1));
}

/// Has the journal take nothing any more, not even something short.
fn fill(storage: &SimStorage, journal: &Journal) {
    storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    while journal.append("report", None, json!({ "text": "x".repeat(1000) })).is_some() {}
    while journal.append("report", None, json!({})).is_some() {}
}

/// The disk is well again, and the journal takes something.
fn recover(storage: &SimStorage, journal: &Journal) {
    storage.set_faults(Faults::default());
    while journal.append("report", None, json!({ "text": "x".repeat(1000) })).is_none() {
        thread::yield_now();
    }
}

// REQ S4, REQ S6
#[test]
fn a_way_back_tells_what_the_journal_lacks_and_what_it_lacks_of_one_is_told_too() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { queue_bytes_max: 64 << 10, ..JournalOptions::default() });
    let all = states(&journal, Past::default());
    let lax = all.machine(&LAMP, "lax").best_effort().build().unwrap();
    let strict = all.machine(&LAMP, "strict").build().unwrap();
    for lamp in [&lax, &strict] {
        lamp.change_durable(Lamp::On, "first", LONG).unwrap();
    }
    fill(&storage, &journal);
    loop {
        // Between two syncs there may be room for one.
        let (to, was) = (if lax.state() == Lamp::On { Lamp::Off } else { Lamp::On }, lax.sequence());
        if lax.change(to, "missed").unwrap().entry().is_none() && was > 0 {
            break;
        }
        fill(&storage, &journal);
    }
    let lost = strict.take_back(Point::after(0), "back").unwrap();
    assert_eq!(lost.entry, None);
    recover(&storage, &journal);
    let told = lax.take_back(Point::after(0), "back").unwrap();
    assert!(told.entry.is_some());
    strict.change_durable(Lamp::On, "again", LONG).unwrap();
    journal.finish(LONG).unwrap();
    let entries: Vec<Entry> = read(&storage).into_iter().filter(|entry| entry.kind == "state").collect();
    let again = without(Past::of(entries.iter()));
    for lamp in [&lax, &strict] {
        let restored = again.machine(&LAMP, lamp.name().name()).build().unwrap();
        assert_eq!(restored.snapshot(), lamp.snapshot());
    }
}

// REQ S6
#[test]
fn one_that_began_anew_is_not_where_the_one_before_it_was() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    flip(&lamp);
    drop(lamp);
    let anew = all.machine(&LAMP, "lamp").anew().build().unwrap();
    assert_eq!(anew.state_and_sequence(), (Lamp::Off, 0));
    let snapshot = snapshot_of(&[&anew], u64::MAX, &some_entry());
    journal.finish(LONG).unwrap();
    let mut entries = read(&storage);
    entries.push(snapshot);
    let again = without(Past::of(entries.iter())).machine(&LAMP, "lamp").build().unwrap();
    assert_eq!(again.state_and_sequence(), (Lamp::Off, 0));
}

// REQ S6
#[test]
fn a_change_without_a_number_breaks_its_machine_and_nothing_else() {
    let mut entry = some_entry();
    entry.kind = "state".to_owned();
    entry.body = json!({
        "machine": "lamp", "table": "lamp", "version": 1, "fingerprint": "0", "points_max": 4, "sequence": 0,
        "from": "Off", "to": "On", "cause": "none", "back_to": null, "failed": 0, "took_ns": 0,
    });
    let refused = without(Past::of([&entry])).machine(&LAMP, "lamp").build().unwrap_err();
    assert!(refused.to_string().contains("what was before change 0 is not there"), "{refused}");
}
