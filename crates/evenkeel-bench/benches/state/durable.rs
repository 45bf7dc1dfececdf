//! Machines in the journal: changes that are on disk, and the next start.

use crate::OURS;
use crate::lamp::{LAMP, Lamp};
use evenkeel::journal::{Journal, JournalOptions};
use evenkeel::state::{ChangeError, Past, StateMachine, States};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use evenkeel_log::storage::DirStorage;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
const DURABLE_TIMES: usize = 100;
const CHANGES: usize = 100_000;
const MACHINES: usize = 10;

/// A journal in a directory, and the machines of a service with it.
fn journalled(dir: &std::path::Path) -> (Arc<DirStorage>, Journal, States) {
    let storage = Arc::new(DirStorage::create(dir).unwrap());
    let (journal, _) = Journal::open(storage.clone(), JournalOptions::default()).unwrap();
    let states = States::new(ThreadCoordinator::default(), Some(journal.clone()), Past::default());
    (storage, journal, states)
}

pub(crate) fn change(suite: &mut Suite) {
    let dir = evenkeel_bench::place().unwrap();
    let (_, journal, states) = journalled(dir.path());
    let lamp = states.machine(&LAMP, "lamp").build().unwrap();
    let turn = || {
        crate::change::each(DURABLE_TIMES, || {
            lamp.change_durable(lamp.state().other(), "push", LONG).unwrap();
        })
    };
    let samples = Race::new().with_samples(OURS, turn).run();
    for (part, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let ms = samples.quantile(OURS, quantile).expect("ours ran") / 1e6;
        suite.add(Figure::lower(format!("durable/{part}"), "ms", ms).goal(Goal::Below(50.0)));
    }
    journal.finish(LONG).unwrap();
}

/// One change, as soon as the journal has room.
fn push(lamp: &StateMachine<Lamp>, journal: &Journal) {
    loop {
        match lamp.change(lamp.state().other(), "push") {
            Ok(_) => return,
            Err(ChangeError::Journal { .. }) => _ = journal.wait_durable(journal.head().entry, LONG),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn recover(suite: &mut Suite) {
    let dir = evenkeel_bench::place().unwrap();
    let (storage, journal, states) = journalled(dir.path());
    let named = |at| states.machine(&LAMP, &format!("lamp-{at}")).build().unwrap();
    let lamps: Vec<_> = (0..MACHINES).map(named).collect();
    for at in 0..CHANGES {
        push(&lamps[at % MACHINES], &journal);
    }
    journal.finish(LONG).unwrap();
    let turn = || {
        let began = Instant::now();
        let past = Past::read(&*storage).unwrap();
        let again = States::new(ThreadCoordinator::default(), None, past);
        for lamp in &lamps {
            let back = again.machine(&LAMP, lamp.name().name()).build().unwrap();
            assert_eq!(back.state_and_sequence(), lamp.state_and_sequence());
        }
        ns(began.elapsed()) / 1e6
    };
    let samples = Race::new().with(OURS, turn).run();
    suite.add(Figure::of("recover/100k", "ms", &samples, OURS, 0.5).goal(Goal::Below(20.0)));
}
