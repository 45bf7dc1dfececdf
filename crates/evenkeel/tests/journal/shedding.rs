//! What is shed when the queue fills, and what is not.

use super::gate::Gate;
use super::{LONG, all, assert_whole, small_segments};
use evenkeel::journal::{GAP_KIND, Journal, JournalOptions, Refused, Weight};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A journal whose disk does not answer, with room for so many.
fn stuck(entries_max: usize) -> (SimStorage, Gate, Journal) {
    let storage = SimStorage::new();
    let gate = Gate::over(storage.clone());
    let options = JournalOptions { queue_entries_max: entries_max, ..small_segments() };
    let (journal, _) = Journal::open(Arc::new(gate.clone()), options).unwrap();
    gate.shut();
    journal.append("first", None, json!({})).unwrap();
    gate.wait_for_someone();
    (storage, gate, journal)
}

// REQ M4, REQ Q2
#[test]
fn a_flood_of_notes_refuses_no_record() {
    let (storage, gate, journal) = stuck(100);
    let notes = std::thread::scope(|scope| {
        let flood =
            || (0..1_000).filter(|n| journal.append("stderr", None, json!({ "n": n })).is_some()).count();
        let floods = [scope.spawn(flood), scope.spawn(flood)];
        for n in 0..25 {
            assert!(
                journal.append("fault", Some("left"), json!({ "n": n })).is_some(),
                "record {n} was refused"
            );
        }
        floods.map(|flood| flood.join().unwrap()).into_iter().sum::<usize>() as u64
    });
    assert!(notes <= 75, "{notes} notes");
    let refused = journal.refused_by_weight();
    assert_eq!((refused.notes, refused.records), (2_000 - notes, 0));
    gate.open();
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    assert_eq!(found.iter().filter(|entry| entry.kind == "fault").count(), 25);
    let told = found.iter().find(|entry| entry.kind == GAP_KIND).unwrap();
    assert_eq!(told.body["shed_notes"], json!(2_000 - notes));
    assert_eq!(told.body["kinds"], json!({ "stderr": 2_000 - notes }));
}

// REQ M4
#[test]
fn who_must_not_go_on_without_waits_for_room() {
    let (storage, gate, journal) = stuck(2);
    let within = |weight, timeout| {
        journal.append_within(weight, "audit-of-mine", (Some("left"), None), &json!({}), timeout)
    };
    assert!(within(Weight::Record, Duration::ZERO).is_some());
    assert!(within(Weight::Record, Duration::ZERO).is_some());
    assert_eq!(within(Weight::Record, Duration::from_millis(3)), None);
    assert_eq!(within(Weight::Note, Duration::ZERO), None);
    let Refused { notes, records, .. } = journal.refused_by_weight();
    assert_eq!((notes, records), (1, 1), "waiting is not counted, giving up is");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| within(Weight::Record, LONG));
        gate.open();
        assert!(waiting.join().unwrap().is_some());
    });
    journal.finish(LONG).unwrap();
    assert_eq!(within(Weight::Record, LONG), None, "a journal that has ended is not waited for");
    assert_eq!(all(&storage).iter().filter(|entry| entry.kind == "audit-of-mine").count(), 3);
}

// REQ M4, REQ Q2
#[test]
fn the_last_quarter_is_the_records_after_any_flood_of_notes() {
    let (storage, gate, journal) = stuck(100);
    let notes = (0..500).filter(|n| journal.append("stderr", None, json!({ "n": n })).is_some()).count();
    assert_eq!(notes, 75);
    let records = (0..30).filter(|n| journal.append("fault", None, json!({ "n": n })).is_some()).count();
    assert_eq!(records, 25);
    let refused = journal.refused_by_weight();
    assert_eq!((refused.notes, refused.records), (425, 5));
    gate.open();
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    let told = found.iter().find(|entry| entry.kind == GAP_KIND).unwrap();
    assert_eq!(told.body["kinds"], json!({ "stderr": 425, "fault": 5 }));
}
