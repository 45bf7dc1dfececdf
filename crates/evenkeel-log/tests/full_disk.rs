//! The disk fills, and has room again: nothing acknowledged is lost, nothing
//! accepted is lost or doubled, and the stop seals with the ballast.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::driver::{Driver, Originals, parse_told, quiet_options};
use common::foreign::{indexed, linear, sealed_files};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{Condition, LogOptions, Outcome, Selection, export, recover, seal_given_up, verify};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: [&str; 2] = ["left", "right"];
const ROUNDS: usize = 40;
/// Enough for the last commit and the seal of a segment of these.
const BALLAST: u64 = 6_000;

fn options(ballast_bytes: u64) -> LogOptions {
    LogOptions { chunk_bytes: 700, segment_bytes: 6_000, ballast_bytes, ..quiet_options() }
}

fn capacity(storage: &SimStorage, bytes: Option<u64>) {
    storage.set_faults(Faults { capacity_bytes: bytes, ..Faults::default() });
}

fn begin(storage: &SimStorage, ballast_bytes: u64) -> Driver {
    let mut driver = Driver::new(Arc::new(storage.clone()), options(ballast_bytes));
    assert_eq!(driver.writer.ballast().is_held(), ballast_bytes > 0);
    for name in NAMES {
        driver.stream(name);
    }
    driver
}

/// A piece of the workload, the same at every capacity.
fn round(driver: &mut Driver, round: usize, rng: &mut Rng) {
    driver.now += 200_000_000;
    driver.writer.retry(stamp(driver.now));
    for name in NAMES {
        let filling = rng.usize(0..400);
        driver.append_told(name, filling, rng);
    }
    match round % 4 {
        0 => driver.commit(),
        1 | 2 => driver.commit_sync(),
        _ => {}
    }
    driver.rotate_if_due();
}

/// Sequences that an export has; all are originals, in order.
fn exported(storage: &dyn Storage, name: &str, originals: &Originals) -> Vec<u64> {
    let mut out = Vec::new();
    let selection = Selection { channel: name.to_owned(), stream: None, segment: None };
    let told = export(storage, &selection, &mut out).unwrap();
    assert!(!told.damaged);
    parse_told(name, &out, originals)
}

/// After a crash now, all that was acknowledged is there, and nothing is loss.
fn survives_a_crash(storage: &SimStorage, driver: &Driver, rng: &mut Rng, context: &str) {
    let image = storage.crash(rng);
    let shared: Arc<dyn Storage> = Arc::new(image.clone());
    let recovery = recover(&shared, stamp(1 << 50)).unwrap();
    assert!(!recovery.is_loss(), "{context}: {recovery:?}");
    assert!(verify(&image, false, None).unwrap().outcome <= Outcome::Declared, "{context}");
    for (name, last) in &driver.acknowledged {
        let found = exported(&image, name, &driver.sent).len() as u64;
        assert!(found >= *last, "{context}: {name}: {last} acknowledged, {found} there");
    }
}

/// The recording is whole and sealed, each message in it once.
fn is_whole(storage: &SimStorage, driver: &Driver, context: &str) {
    let verification = verify(storage, false, None).unwrap();
    assert_eq!(verification.outcome, Outcome::Intact, "{context}: {verification:#?}");
    for (name, sent) in &driver.sent {
        assert!(
            exported(storage, name, &driver.sent).into_iter().eq(sent.keys().copied()),
            "{context}: {name}"
        );
        assert_eq!(driver.acknowledged[name], sent.len() as u64, "{context}: {name}");
    }
    let mut messages = 0;
    for (name, content) in sealed_files(storage) {
        let read = linear(&content);
        assert_eq!(read, indexed(&content), "{context}: {name}");
        messages += read.len();
    }
    assert_eq!(messages, driver.sent.values().map(BTreeMap::len).sum::<usize>(), "{context}: written twice");
}

/// Segments whose seal found the disk full.
fn seal_what_was_given_up(storage: &SimStorage, driver: &Driver, context: &str) {
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    for number in driver.writer.poisoned() {
        seal_given_up(&shared, *number, stamp(1 << 50))
            .unwrap_or_else(|e| panic!("{context}: {number}: {e}"));
    }
}

/// Bytes that the whole workload takes.
fn needed() -> u64 {
    let storage = SimStorage::new();
    let mut driver = begin(&storage, 0);
    let mut rng = Rng::with_seed(1);
    for at in 0..ROUNDS {
        round(&mut driver, at, &mut rng);
    }
    assert!(driver.finish());
    storage.list().unwrap().into_iter().map(|e| e.bytes).sum()
}

// REQ W1, REQ W3, REQ Q2
#[test]
fn recording_goes_on_when_a_full_disk_has_room_again() {
    let needed = needed();
    assert!(needed > 18_000, "no rotation in {needed} bytes");
    let (mut filled, mut images) = (0, 0);
    for bytes in (600..needed).step_by(37) {
        let storage = SimStorage::new();
        capacity(&storage, Some(bytes));
        let mut driver = begin(&storage, 0);
        let (mut rng, mut luck) = (Rng::with_seed(1), Rng::with_seed(bytes));
        let mut full_for = 0;
        for at in 0..ROUNDS {
            round(&mut driver, at, &mut rng);
            let context = format!("{bytes} bytes, round {at}");
            match driver.writer.condition() {
                (Condition::Full, error) => {
                    assert!(error.is_some() && driver.writer.retry_at_ns().is_some());
                    full_for += 1;
                    survives_a_crash(&storage, &driver, &mut luck, &context);
                    images += 1;
                }
                (Condition::Writing, _) => {}
                (Condition::Broken, error) => panic!("{context}: a full disk broke the segment: {error:?}"),
            }
            if full_for == 5 {
                capacity(&storage, None);
            }
        }
        filled += u32::from(full_for > 0);
        capacity(&storage, None);
        driver.end_sources();
        let context = format!("{bytes} bytes");
        assert!(driver.finish() || driver.finish(), "{context}: no end with room enough");
        seal_what_was_given_up(&storage, &driver, &context);
        is_whole(&storage, &driver, &context);
    }
    eprintln!("{filled} capacities that filled, {images} crash images");
    assert!(filled > 100);
}

// REQ W2, REQ W3
#[test]
fn a_stop_on_a_full_disk_seals_with_the_ballast() {
    let needed = needed();
    let mut spent = 0;
    for bytes in (3 * BALLAST..needed + BALLAST).step_by(37) {
        let storage = SimStorage::new();
        capacity(&storage, Some(bytes));
        let mut driver = begin(&storage, BALLAST);
        let mut rng = Rng::with_seed(1);
        for at in 0..ROUNDS {
            // A recorder stops reading while the disk is full: no more is accepted.
            if driver.writer.condition().0 == Condition::Full {
                break;
            }
            round(&mut driver, at, &mut rng);
        }
        let context = format!("{bytes} bytes");
        driver.end_sources();
        assert!(driver.writer.ballast().is_held(), "{context}: the ballast is for the stop");
        assert!(driver.finish() || driver.finish(), "{context}: {:?}", driver.writer.condition());
        spent += u32::from(!driver.writer.ballast().is_held());
        driver.writer.ballast().release();
        seal_what_was_given_up(&storage, &driver, &context);
        drop_ballast(&storage, &driver);
        is_whole(&storage, &driver, &context);
    }
    eprintln!("{spent} stops that spent the ballast");
    assert!(spent > 100);
}

/// The ballast is no file of the recording.
fn drop_ballast(storage: &SimStorage, driver: &Driver) {
    driver.writer.ballast().release();
    assert!(storage.list().unwrap().iter().all(|e| e.name.ends_with(".mcap")), "{:?}", storage.list());
}

// REQ W2, REQ W3
#[test]
fn a_stop_on_a_full_disk_without_ballast_loses_nothing_acknowledged() {
    let needed = needed();
    for bytes in (600..needed).step_by(37) {
        let storage = SimStorage::new();
        capacity(&storage, Some(bytes));
        let mut driver = begin(&storage, 0);
        let mut rng = Rng::with_seed(1);
        for at in 0..ROUNDS {
            round(&mut driver, at, &mut rng);
        }
        let context = format!("{bytes} bytes");
        for _ in 0..3 {
            driver.finish();
            survives_a_crash(&storage, &driver, &mut rng, &context);
        }
        // Given up: the next start has room and puts it in order.
        let acknowledged = driver.acknowledged.clone();
        let sent = driver.sent.clone();
        drop(driver);
        capacity(&storage, None);
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let recovery = recover(&shared, stamp(1 << 50)).unwrap();
        assert!(!recovery.is_loss(), "{context}");
        assert!(verify(&storage, false, None).unwrap().outcome <= Outcome::Declared, "{context}");
        for (name, last) in acknowledged {
            assert!(exported(&storage, &name, &sent).len() as u64 >= last, "{context}");
        }
    }
}
