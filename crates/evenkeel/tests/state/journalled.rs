//! Machines in the journal: their changes in order, before they are made; and back after a crash.

use super::{LAMP, LONG, Lamp};
use evenkeel::journal::{Entry, Journal, JournalOptions, entries};
use evenkeel::state::{
    ChangeError, ChangeKind, MachineError, MachineName, Past, Point, State, StateMachine, States, Table,
    state_table, states,
};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::sim::{Faults, SimStorage};
use serde_json::json;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The same lamp, later: another state, another version.
mod newer {
    use super::*;
    states! {
        pub(crate) enum Lamp { Off, On, Bright, Broken, Blue }
    }
    pub(crate) static LAMP: Table<Lamp> = state_table! {
        Lamp, "lamp", version 2, initial Off, final [Broken],
        Off -> On: "push",
        On -> Off: "push",
        On -> Bright: "turn",
        Bright -> Blue: "turn",
        Blue -> Off: "push",
        On -> Broken: "hammer",
    };
}

fn open(storage: &SimStorage) -> Journal {
    Journal::open(Arc::new(storage.clone()), JournalOptions::default()).unwrap().0
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

fn of_kind(storage: &SimStorage, kind: &str) -> Vec<Entry> {
    read(storage).into_iter().filter(|entry| entry.kind == kind).collect()
}

fn flip(lamp: &StateMachine<Lamp>) {
    let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
    lamp.change(to, "flip").unwrap();
}

// REQ S6, REQ S7, REQ C11
#[test]
fn the_journals_order_is_that_of_the_changes_and_gives_the_machine_back() {
    let storage = SimStorage::new();
    let journal = open(&storage);
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    thread::scope(|threads| {
        for seed in 0..4 {
            let lamp = &lamp;
            threads.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..200 {
                    let _ = lamp.change_within(Lamp::ALL[random.usize(..4)], "wander", LONG);
                    if random.u8(..20) == 0 {
                        let _ = lamp.take_back(Point::after(lamp.sequence().saturating_sub(2)), "back");
                    }
                }
            });
        }
    });
    while lamp.state() != Lamp::On {
        flip(&lamp);
    }
    let last = lamp.change_durable(Lamp::Broken, "hammer", LONG).unwrap().to;
    let (snapshot, points) = (lamp.snapshot(), lamp.points());
    let image = storage.kill();
    journal.finish(LONG).unwrap();
    let sequences: Vec<u64> =
        of_kind(&storage, "state").iter().map(|entry| entry.body["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=lamp.sequence()).collect::<Vec<_>>());
    // All entries from the first, the newest snapshot and what follows it, and what a kill left, say the same.
    let folded = Past::of(read(&storage).iter());
    drop(open(&image));
    for past in [folded, Past::read(&storage).unwrap(), Past::read(&image).unwrap()] {
        assert_eq!(past.unread(), 0);
        let again = States::new(ThreadCoordinator::default(), None, past);
        let again = again.machine(&LAMP, "lamp").build().unwrap();
        assert_eq!(
            (again.snapshot(), again.points(), again.state()),
            (snapshot.clone(), points.clone(), last)
        );
        again.check().unwrap();
    }
}

// REQ S6
#[test]
fn a_change_that_the_journal_does_not_take_is_not_made() {
    let storage = SimStorage::new();
    let journal = open(&storage);
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    let stubborn = all.machine(&LAMP, "stubborn").best_effort().build().unwrap();
    assert!(lamp.change_durable(Lamp::On, "first", LONG).is_ok());
    journal.finish(LONG).unwrap();
    let refused = lamp.change(Lamp::Off, "too late").unwrap_err();
    assert!(matches!(refused, ChangeError::Journal { from: Lamp::On, to: Lamp::Off, .. }), "{refused}");
    assert_eq!((lamp.state(), lamp.sequence()), (Lamp::On, 1));
    let edge = lamp.metrics().into_iter().find(|edge| (edge.from, edge.to) == (Lamp::On, Lamp::Off));
    assert_eq!(edge.unwrap().not_journalled, 1);
    // One that does without is changed, and says that nothing is on disk.
    let changed = stubborn.change(Lamp::On, "all the same").unwrap();
    assert_eq!(changed.entry(), None);
    let unsafe_one = changed.wait_durable(LONG).unwrap_err();
    assert!(matches!(unsafe_one, ChangeError::NotDurable { sequence: 1, .. }), "{unsafe_one}");
    // What is taken back stays so, whatever the journal says.
    let back = lamp.take_back(Point::after(0), "back").unwrap();
    assert_eq!((back.entry, lamp.state()), (None, Lamp::Off));
}

/// A journal whose disk takes nothing, full: how many entries it refused.
fn fill(journal: &Journal) {
    while journal.append("filler", None, serde_json::json!({ "text": "x".repeat(1000) })).is_some() {}
    while journal.append("report", None, serde_json::json!({ "text": "x".repeat(1000) })).is_some() {}
}

// REQ S6
#[test]
fn what_the_journal_missed_of_a_machine_is_told_by_its_next_entry() {
    let storage = SimStorage::new();
    let options = JournalOptions { queue_bytes_max: 64 << 10, ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(storage.clone()), options).unwrap().0;
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").best_effort().build().unwrap();
    flip(&lamp);
    storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut missed = 0;
    while missed < 3 {
        fill(&journal);
        let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
        missed += u64::from(lamp.change(to, "flip").unwrap().entry().is_none());
    }
    storage.set_faults(Faults::default());
    let began = std::time::Instant::now();
    while lamp
        .change(if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off }, "flip")
        .unwrap()
        .entry()
        .is_none()
    {
        assert!(began.elapsed() < LONG, "it never took one again");
        // sleep: the journal tries its disk again after a time.
        thread::sleep(Duration::from_millis(2));
    }
    let snapshot = lamp.snapshot();
    journal.finish(LONG).unwrap();
    // Without the journal's own snapshots, which would do as well.
    let entries: Vec<Entry> = read(&storage).into_iter().filter(|entry| entry.kind != "snapshot").collect();
    let past = Past::of(entries.iter());
    let again = States::new(ThreadCoordinator::default(), None, past).machine(&LAMP, "lamp").build().unwrap();
    assert_eq!(again.snapshot(), snapshot);
}

// REQ S6, REQ C18
#[test]
fn a_past_of_another_table_or_with_a_hole_is_refused_or_migrated_and_never_misread() {
    let storage = SimStorage::new();
    let journal = open(&storage);
    let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").build().unwrap();
    for to in [Lamp::On, Lamp::Bright, Lamp::On, Lamp::Bright] {
        lamp.change(to, "up").unwrap();
    }
    journal.finish(LONG).unwrap();
    let mut whole = read(&storage);
    let name = MachineName::new(None, None, "lamp");

    let journal = open(&storage);
    let later = states(&journal, Past::read(&storage).unwrap());
    assert_eq!(later.past(), std::slice::from_ref(&name));
    let refused = later.machine(&newer::LAMP, "lamp").build().unwrap_err();
    assert!(matches!(refused, MachineError::Restore { .. }), "{refused}");
    assert!(refused.to_string().contains("was saved by version 1 of its table"), "{refused}");
    let confused = later.machine(&newer::LAMP, "lamp").migrate(|_| Err("who knows".to_owned())).build();
    assert!(confused.unwrap_err().to_string().contains("who knows"));
    let migrated = later.machine(&newer::LAMP, "lamp").migrate(|was| {
        assert_eq!((was.state.as_str(), was.sequence), ("Bright", 4));
        Ok(newer::Lamp::Blue)
    });
    let migrated = migrated.build().unwrap();
    assert_eq!((migrated.state(), migrated.sequence()), (newer::Lamp::Blue, 4));
    // What it does from now on is of the new table, and can be read by that.
    migrated.change(newer::Lamp::Off, "after all").unwrap();
    journal.finish(LONG).unwrap();
    for past in [Past::read(&storage).unwrap(), Past::of(read(&storage).iter())] {
        let again = States::new(ThreadCoordinator::default(), None, past);
        let again = again.machine(&newer::LAMP, "lamp").build().unwrap();
        assert_eq!((again.state(), again.sequence()), (newer::Lamp::Off, 5));
    }

    // One entry is missing in the middle.
    let second = whole.iter().position(|entry| entry.body["sequence"] == 2).unwrap();
    whole.retain(|entry| entry.kind != "snapshot");
    let second = second.min(whole.iter().position(|entry| entry.body["sequence"] == 2).unwrap());
    whole.remove(second);
    let holed = States::new(ThreadCoordinator::default(), None, Past::of(whole.iter()));
    let refused = holed.machine(&LAMP, "lamp").build().unwrap_err();
    assert!(refused.to_string().contains("after change 1 comes change 3: some are missing"), "{refused}");
    assert_eq!(holed.machine(&LAMP, "lamp").anew().build().unwrap().state(), Lamp::Off);
}

// REQ S6, REQ S7
#[test]
fn after_every_crash_a_machine_is_where_it_durably_was_or_later() {
    for seed in 0..6 {
        let storage = SimStorage::new();
        storage.watch(fastrand::Rng::with_seed(seed));
        let options =
            JournalOptions { segment_bytes: 8 << 10, snapshot_entries: 16, ..JournalOptions::default() };
        let journal = Journal::open(Arc::new(storage.clone()), options).unwrap().0;
        let lamp = states(&journal, Past::default()).machine(&LAMP, "lamp").build().unwrap();
        // What was durable at least when each image was taken.
        let (mut line, mut images) = (vec![Lamp::Off], Vec::new());
        let mut durable = 0;
        for at in 0..60 {
            let to = if lamp.state() == Lamp::Off { Lamp::On } else { Lamp::Off };
            let changed = lamp.change(to, format!("change {at}")).unwrap();
            line.push(to);
            if at % 4 == 0 {
                changed.wait_durable(LONG).unwrap();
                images.extend(storage.take_images().into_iter().map(|image| (durable, image)));
                durable = changed.sequence;
                images.push((durable, storage.crash(&mut fastrand::Rng::with_seed(at))));
            }
        }
        let count = images.len();
        for (durable, image) in images.into_iter().step_by(count / 40 + 1) {
            let journal = open(&image);
            let all = states(&journal, Past::read(&image).unwrap());
            let again = all.machine(&LAMP, "lamp").build().unwrap();
            let (state, sequence) = again.state_and_sequence();
            assert!(sequence >= durable, "seed {seed}: {sequence} of {durable}");
            assert_eq!(state, line[sequence as usize], "seed {seed}");
            again.check().unwrap();
            let goes_on =
                again.change_durable(if state == Lamp::Off { Lamp::On } else { Lamp::Off }, "on", LONG);
            assert_eq!(goes_on.unwrap().sequence, sequence + 1);
        }
    }
}

// REQ S6
#[test]
fn who_was_let_go_goes_on_where_it_was_and_snapshots_have_it() {
    let storage = SimStorage::new();
    let options = JournalOptions { snapshot_entries: 4, ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(storage.clone()), options).unwrap().0;
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    flip(&lamp);
    let other = all.machine(&LAMP, "other").build().unwrap();
    drop(lamp);
    let (last, mut waits) = (0..40).fold((0, 0), |(_, waits), _| {
        flip(&other);
        (other.sequence(), waits + 1)
    });
    while of_kind_live(&storage, "snapshot") == 0 {
        flip(&other);
        waits += 1;
        assert!(waits < 100_000, "no snapshot after {last} changes");
        thread::yield_now();
    }
    journal.finish(LONG).unwrap();
    let past = Past::read(&storage).unwrap();
    let again = States::new(ThreadCoordinator::default(), None, past);
    assert_eq!(again.machine(&LAMP, "lamp").build().unwrap().state_and_sequence(), (Lamp::On, 1));
    assert_eq!(again.machine(&LAMP, "other").build().unwrap().sequence(), other.sequence());
    assert_eq!(all.machine(&LAMP, "lamp").best_effort().build().unwrap().state(), Lamp::On);
}

// REQ S6
#[test]
fn a_snapshot_that_is_written_down_long_after_it_was_taken_leaves_no_hole() {
    let storage = SimStorage::new();
    let options = JournalOptions { snapshot_entries: 4, ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(storage.clone()), options).unwrap().0;
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").build().unwrap();
    let ((asks, asked), (go, goes)) = (sync_channel(0), channel::<()>());
    // Asked after the machines; the snapshot waits for its answer, the first time.
    let (asks, goes) = (Mutex::new(Some(asks)), Mutex::new(goes));
    journal.on_snapshot("late", move || {
        if let Some(asks) = asks.lock().unwrap().take() {
            asks.send(()).unwrap();
            let _ = goes.lock().unwrap().recv();
        }
        json!(null)
    });
    (0..8).for_each(|_| flip(&lamp));
    asked.recv_timeout(LONG).unwrap();
    (0..200).for_each(|_| flip(&lamp));
    drop(go);
    while of_kind_live(&storage, "snapshot") == 0 {
        thread::yield_now();
    }
    journal.finish(LONG).unwrap();
    let mut snapshots = 0;
    let mut all = read(&storage);
    // A later one has what this one lacks.
    all.retain(|entry| entry.kind != "snapshot" || std::mem::replace(&mut snapshots, 1) == 0);
    let taken = all.iter().find(|entry| entry.kind == "snapshot").unwrap();
    let taken = taken.body["machines"][0]["snapshot"]["sequence"].as_u64().unwrap();
    assert!(lamp.sequence() >= taken + 200, "{taken}");
    let again = States::new(ThreadCoordinator::default(), None, Past::of(all.iter()));
    assert_eq!(again.machine(&LAMP, "lamp").build().unwrap().snapshot(), lamp.snapshot());
}

fn of_kind_live(storage: &SimStorage, kind: &str) -> usize {
    let mut count = 0;
    entries(storage, true, &mut |entry| {
        count += usize::from(entry.kind == kind);
        Ok(())
    })
    .unwrap();
    count
}

// REQ S5, REQ S10
#[test]
fn what_was_refused_and_what_went_wrong_is_noted_a_few_at_a_time() {
    let storage = SimStorage::new();
    let journal = open(&storage);
    let all = states(&journal, Past::default());
    let lamp = all.machine(&LAMP, "lamp").guard("never bright", |change| {
        if change.to == Lamp::Bright { Err("never".to_owned()) } else { Ok(()) }
    });
    let lamp = lamp.build().unwrap();
    let _panics =
        lamp.observe("panics", |change| assert!(change.sequence > 1, "the first is too much")).unwrap();
    flip(&lamp);
    for _ in 0..500 {
        assert!(lamp.change(Lamp::Bright, "try").is_err());
    }
    for _ in 0..14 {
        flip(&lamp);
    }
    let back = lamp.take_back(Point::after(1), "back").unwrap();
    assert!(matches!(back.kind, ChangeKind::Rollback { .. }));
    journal.finish(LONG).unwrap();
    let refused = of_kind(&storage, "state-refused");
    assert!((1..100).contains(&refused.len()), "{}", refused.len());
    assert_eq!(refused[0].body["by"], "guard");
    assert_eq!(refused[0].body["why"], "never bright: never");
    let flapping = of_kind(&storage, "state-flapping");
    assert_eq!(flapping.len(), 1);
    let observed = of_kind(&storage, "observer");
    assert_eq!(observed[0].body["event"], "panicked");
    let last = of_kind(&storage, "state").pop().unwrap();
    assert_eq!((last.body["back_to"].as_u64(), last.body["to"].as_str()), (Some(1), Some("On")));
}
