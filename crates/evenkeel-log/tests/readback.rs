//! What the medium has, against what was written.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::driver::{Driver, quiet_options};
use evenkeel_log::storage::{DirStorage, Storage};
use evenkeel_log::{ReadBack, SealedSegment, read_back};
use fastrand::Rng;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A recording of three segments, and those that were sealed.
fn recorded(dir: &Path) -> (Arc<DirStorage>, Vec<SealedSegment>) {
    let storage = Arc::new(DirStorage::open(dir).unwrap());
    let mut driver = Driver::new(storage.clone(), quiet_options());
    driver.stream("x");
    let mut rng = Rng::with_seed(3);
    for round in 0..3 {
        for _ in 0..40 {
            driver.append_told("x", rng.usize(0..65_000), &mut rng);
        }
        driver.commit_sync();
        if round < 2 {
            driver.rotate();
        }
    }
    driver.end_sources();
    assert!(driver.finish());
    (storage, driver.sealed)
}

// REQ W5, REQ C6
#[test]
fn every_segment_reads_back_as_it_was_written_and_every_altered_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, sealed) = recorded(dir.path());
    assert_eq!(sealed.len(), 3);
    let mut rng = Rng::with_seed(4);
    for segment in &sealed {
        let mut pieces = 0;
        let mut count = || {
            pieces += 1;
            true
        };
        assert_eq!(read_back(&*storage, segment, &mut count).unwrap(), ReadBack::Same);
        assert_eq!(pieces, segment.bytes.div_ceil(256 << 10));
        let file =
            std::fs::File::options().read(true).write(true).open(dir.path().join(&segment.name)).unwrap();
        let places = (0..30).map(|_| rng.u64(0..segment.bytes)).chain([0, segment.bytes - 1]);
        for at in places {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).unwrap();
            let found = read_back(&*storage, segment, &mut || true).unwrap();
            assert!(matches!(&found, ReadBack::Differs(how) if how.contains("CRC")), "byte {at}: {found:?}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert_eq!(read_back(&*storage, segment, &mut || true).unwrap(), ReadBack::Same);
        file.set_len(segment.bytes - 1).unwrap();
        let found = read_back(&*storage, segment, &mut || true).unwrap();
        assert!(matches!(&found, ReadBack::Differs(how) if how.contains("should have")), "{found:?}");
    }
}

// REQ W4
#[test]
fn who_has_no_time_gives_up_and_what_was_removed_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, sealed) = recorded(dir.path());
    let mut left = 1;
    let mut once = || {
        left -= 1;
        left >= 0
    };
    assert!(sealed[0].bytes > 256 << 10, "more than one piece");
    assert_eq!(read_back(&*storage, &sealed[0], &mut once).unwrap(), ReadBack::GivenUp);
    storage.remove(&sealed[1].name).unwrap();
    let gone = read_back(&*storage, &sealed[1], &mut || true).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
}
