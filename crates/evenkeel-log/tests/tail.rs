//! What a crash leaves beyond the last commit is kept apart, wherever the
//! recovery that does so is itself cut short.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::driver::{Driver, parse_told, told_options};
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{Action, Outcome, Recovery, Selection, export, recover, verify};
use fastrand::Rng;
use std::sync::Arc;

const PART: &str = "000001.mcap.part";

/// A killed recorder: the file, where its last commit ends, and what was sent.
fn killed() -> (Vec<u8>, usize, Driver) {
    let storage = SimStorage::new();
    let mut driver = Driver::new(Arc::new(storage.clone()), told_options());
    let mut rng = Rng::with_seed(1);
    driver.stream("mic1");
    for _ in 0..5 {
        driver.append_told("mic1", 300, &mut rng);
        driver.commit_sync();
    }
    let whole = storage.content(PART).unwrap().len();
    driver.append_told("mic1", 2_000, &mut rng);
    driver.writer.write(stamp(driver.now));
    (storage.kill().content(PART).unwrap(), whole, driver)
}

fn disk(content: &[u8]) -> (SimStorage, Arc<dyn Storage>) {
    let storage = SimStorage::new();
    storage.put(PART, content.to_vec());
    (storage.clone(), Arc::new(storage))
}

fn check(storage: &SimStorage, content: &[u8], whole: usize, driver: &Driver, context: &str) {
    let tail = storage.content("000001.tail").expect(context);
    assert!(tail == content[whole..], "{context}: the tail has {} bytes", tail.len());
    let sealed = storage.content("000001.mcap").expect(context);
    assert!(sealed[..whole] == content[..whole], "{context}: what was committed is altered");
    assert_eq!(verify(storage, false, None).unwrap().outcome, Outcome::Declared, "{context}");
    let mut out = Vec::new();
    let selection = Selection { channel: "mic1".to_owned(), stream: None, segment: None };
    export(storage, &selection, &mut out).unwrap();
    // The sixth message was never committed: it is in the tail, and only there.
    assert_eq!(parse_told("mic1", &out, &driver.sent), [1, 2, 3, 4, 5], "{context}");
}

fn check_told(recovery: &Recovery, tail_bytes: usize) {
    let [done] = &recovery.segments[..] else { panic!("{:?}", recovery.segments) };
    assert_eq!((done.action, done.tail_bytes), (Action::Sealed, tail_bytes as u64));
    assert!(done.losses.is_empty());
    assert_eq!(done.gaps.len(), 1);
}

// REQ W3
#[test]
fn bytes_beyond_the_last_commit_are_kept_in_a_file_of_their_own() {
    let (content, whole, driver) = killed();
    for end in (whole + 1..=content.len()).step_by(13).chain([content.len()]) {
        let (storage, shared) = disk(&content[..end]);
        check_told(&recover(&shared, stamp(1 << 50)).unwrap(), end - whole);
        check(&storage, &content[..end], whole, &driver, &format!("cut to {end}"));
    }
}

// REQ W3, REQ Q2
#[test]
fn a_recovery_that_is_cut_short_loses_no_byte_of_the_tail() {
    let (content, whole, driver) = killed();
    let (straight, shared) = disk(&content);
    recover(&shared, stamp(1 << 50)).unwrap();
    for stop in 0..straight.operations() {
        for seed in 0..40 {
            let (storage, shared) = disk(&content);
            storage.set_faults(Faults { at: Some(stop), for_ever: true, ..Faults::default() });
            assert!(recover(&shared, stamp(1 << 50)).is_err());
            storage.set_faults(Faults::default());
            let after = storage.crash(&mut Rng::with_seed(seed));
            let shared: Arc<dyn Storage> = Arc::new(after.clone());
            recover(&shared, stamp(1 << 50)).unwrap();
            check(&after, &content, whole, &driver, &format!("stopped at {stop}, seed {seed}"));
        }
    }
}
