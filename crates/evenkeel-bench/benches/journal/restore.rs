//! Restoring the state of machines: the newest snapshot, and what came after it.

use crate::OURS;
use crate::ours::{PATIENCE, until_durable};
use evenkeel::journal::{Journal, JournalOptions, MACHINES, Restored, restore};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns, place};
use evenkeel_log::storage::DirStorage;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// Machines whose changes stand in the journal, in turn.
pub(crate) const MACHINES_COUNT: usize = 100;
/// Changes, and milliseconds in which they have to be restored.
const LENGTHS: [(u64, f64); 2] = [(100_000, 20.0), (10_000_000, 100.0)];
/// Entries ahead of the disk.
const AHEAD_MAX: u64 = 2_048;

/// An entry of the kind `state`, as state machines write it.
#[derive(Serialize)]
struct Change<'a> {
    machine: u64,
    table: &'a str,
    sequence: u64,
    from: &'a str,
    to: &'a str,
    cause: &'a str,
    back_to: Option<u64>,
    failed: u32,
    took_ns: u64,
}

/// What of it is needed to restore.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    body: Body<'a>,
}

#[derive(Deserialize)]
struct Body<'a> {
    machine: usize,
    sequence: u64,
    to: &'a str,
}

/// Sequence of each machine: what is restored.
type States = Vec<u64>;

/// A journal of so many changes, ended, and the states after them.
fn written(changes: u64) -> (TempDir, States) {
    let place = place().unwrap();
    let storage = Arc::new(DirStorage::create(place.path()).unwrap());
    let (journal, _) = Journal::open(storage, JournalOptions::default()).unwrap();
    let states: Arc<Vec<AtomicU64>> = Arc::new((0..MACHINES_COUNT).map(|_| AtomicU64::new(0)).collect());
    journal.on_snapshot(MACHINES, {
        let states = states.clone();
        move || json!(states.iter().map(|state| state.load(Ordering::SeqCst)).collect::<Vec<_>>())
    });
    for n in 0..changes {
        let machine = n % MACHINES_COUNT as u64;
        let sequence = n / MACHINES_COUNT as u64 + 1;
        let change = Change {
            machine,
            table: "component",
            sequence,
            from: "Ready",
            to: "Running",
            cause: "started",
            back_to: None,
            failed: 0,
            took_ns: 120,
        };
        // Seen before it is told.
        states[machine as usize].store(sequence, Ordering::SeqCst);
        let appended = journal.record("state", Some("left"), Some("writer"), &change).expect("there is room");
        if appended.entry.is_multiple_of(AHEAD_MAX / 4) {
            until_durable(&journal, appended.entry.saturating_sub(AHEAD_MAX * 3 / 4));
        }
    }
    journal.finish(PATIENCE).unwrap();
    (place, states.iter().map(|state| state.load(Ordering::SeqCst)).collect())
}

fn restored(storage: &DirStorage) -> States {
    let mut states = vec![0; MACHINES_COUNT];
    let read = restore(storage, false, &["state"], &mut |restored| {
        match restored {
            Restored::Snapshot { machines, .. } => {
                states = machines.iter().map(|sequence| sequence.as_u64().unwrap()).collect();
            }
            Restored::Entry(glimpse) => {
                let Entry { body: Body { machine, sequence, to } } = glimpse.read()?;
                assert_eq!(to, "Running");
                states[machine] = states[machine].max(sequence);
            }
            _ => {}
        }
        Ok(())
    });
    assert!(!read.unwrap().damaged);
    states
}

pub(crate) fn restoring(suite: &mut Suite) {
    for (changes, goal) in LENGTHS {
        let (place, states) = written(changes);
        let storage = DirStorage::open(place.path()).unwrap();
        let samples = Race::new().with(OURS, || {
            let began = Instant::now();
            let found = restored(&storage);
            let took = ns(began.elapsed()) / 1e6;
            assert_eq!(found, states);
            took
        });
        let figure = Figure::of(format!("restore/{changes}"), "ms", &samples.run(), OURS, 0.5);
        suite.add(figure.goal(Goal::Below(goal)));
    }
}
