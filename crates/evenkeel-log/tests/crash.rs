//! Random workloads, crashed before every operation of theirs, recovered,
//! sometimes crashed again while recovering, and compared with what was
//! acknowledged.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{Bug, Workload, check_image};
use evenkeel_log::sim::{Bugs, Faults};
use fastrand::Rng;

/// Runs a workload and checks an image of every operation; answers how many
/// images there were, or the first that was wrong.
fn crash_everywhere(seed: u64, bug: Bug) -> Result<u64, String> {
    let mut rng = Rng::with_seed(seed);
    let mut workload = Workload::new(&mut rng, bug);
    let mut images = 0;
    loop {
        let going = workload.step(&mut rng);
        for image in workload.storage.take_images() {
            images += 1;
            // Beyond full memory of what was acknowledged: nothing is in flight when it is asked.
            check_image(&image, &workload.before, &mut rng)
                .map_err(|e| format!("seed {seed}, image {images}: {e}"))?;
        }
        workload.settle_model();
        if !going {
            return Ok(images);
        }
    }
}

/// Seeds to run: `EVENKEEL_CRASH_SEEDS` for a longer search.
fn seeds(otherwise: u64) -> u64 {
    std::env::var("EVENKEEL_CRASH_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

// REQ W3, REQ Q2
#[test]
fn no_crash_loses_what_was_acknowledged() {
    let mut images = 0;
    for seed in 0..seeds(1000) {
        match crash_everywhere(seed, Bug::None) {
            Ok(n) => images += n,
            Err(e) => panic!("{e}"),
        }
    }
    println!("{images} crash images");
    assert!(images > 10_000, "only {images} images: the workloads do too little");
}

fn is_caught(bug: Bug) {
    let caught = (0..200).find(|seed| crash_everywhere(*seed, bug).is_err());
    assert!(caught.is_some(), "200 workloads did not notice {bug:?}");
}

// REQ W3, REQ Q2
#[test]
fn a_dropped_sync_is_caught() {
    is_caught(Bug::Medium(Bugs { drop_sync_every: Some(5), ..Bugs::default() }));
}

// REQ W3, REQ Q2
#[test]
fn a_directory_that_was_not_synced_is_caught() {
    is_caught(Bug::Medium(Bugs { drop_dir_syncs: true, ..Bugs::default() }));
}

// REQ W3, REQ Q2
#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    is_caught(Bug::EarlyAck);
}

/// Fails operation after operation, once or for ever, then crashes.
fn fail_everywhere(seed: u64, kind: Option<std::io::ErrorKind>, for_ever: bool) -> Result<u64, String> {
    let operations = {
        let mut rng = Rng::with_seed(seed);
        let mut workload = Workload::new(&mut rng, Bug::None);
        while workload.step(&mut rng) {}
        workload.storage.operations()
    };
    for at in 4..operations {
        let mut rng = Rng::with_seed(seed);
        let mut workload = Workload::new(&mut rng, Bug::None);
        workload.storage.set_faults(Faults {
            at: Some(at),
            for_ever,
            kind,
            pads: at % 2 == 0,
            ..Faults::default()
        });
        while workload.step(&mut rng) {
            workload.settle_model();
        }
        workload.settle_model();
        let tell = |e| format!("seed {seed}, operation {at} failing: {e}");
        if !for_ever && !workload.is_clean() {
            return Err(tell("the run did not end, though the fault went away".to_owned()));
        }
        workload.storage.set_faults(Faults::default());
        let image = workload.storage.crash(&mut rng);
        check_image(&image, &workload.before, &mut rng).map_err(tell)?;
    }
    Ok(operations)
}

// REQ W3, REQ Q2
#[test]
fn no_failing_operation_loses_what_was_acknowledged() {
    let mut points = 0;
    for seed in 0..seeds(60) / 2 {
        for kind in [None, Some(std::io::ErrorKind::StorageFull)] {
            for for_ever in [false, true] {
                match fail_everywhere(seed, kind, for_ever) {
                    Ok(n) => points += n,
                    Err(e) => panic!("{e} ({kind:?}, for ever: {for_ever})"),
                }
            }
        }
    }
    println!("{points} fault points");
}
