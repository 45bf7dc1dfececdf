//! The recorder's stop as steps of a plan: each verification finds what it is for.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{config, eventually, lines, put, stored, telling};
use evenkeel::Keel;
use evenkeel::cleanup::{Report, StepReport, Verdict};
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_recorder::{ChannelConfig, Config, Framing, Recorder, budget_bytes, pool_options};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A medium that bends a byte of every segment when it gets its final name, or refuses to
/// create a file.
struct Bending(SimStorage, Option<&'static str>);

impl Storage for Bending {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        if self.1 == Some(name) {
            return Err(io::Error::other("no such file today"));
        }
        self.0.create(name)
    }
    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.0.reopen(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.0.open(name)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)?;
        if self.1.is_none() {
            let bytes = self.0.content(to).map_or(0, |content| content.len() as u64);
            self.0.corrupt(to, bytes / 2, 1);
        }
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

fn channel(path: &Path) -> ChannelConfig {
    common::channel("a", path, Framing::Lines)
}

/// Records a file to its end over a storage, then `before_stop`, then the plan.
fn stopped(storage: Arc<dyn Storage>, config: Config, before_stop: impl FnOnce(&Keel)) -> Report {
    let channels = config.channels.clone();
    let builder = Keel::builder("test").without_signals().keep_process();
    let keel = builder.grace(Duration::from_secs(5)).build().unwrap();
    let recorder = Arc::new(Recorder::start_on(storage, None, config).unwrap());
    recorder.wire(&keel, &channels).unwrap();
    eventually("the end of the file", || recorder.has_ended());
    before_stop(&keel);
    keel.stop("enough", "the test")
}

fn step<'a>(report: &'a Report, name: &str) -> &'a StepReport {
    let mut steps = report.phases.iter().flat_map(|phase| &phase.steps);
    steps.find(|step| step.name == name).unwrap()
}

fn detail<'a>(report: &'a Report, name: &str) -> &'a str {
    step(report, name).detail.as_deref().unwrap_or_default()
}

// REQ W2, REQ C6
#[test]
fn where_all_is_well_every_step_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(500));
    let storage = SimStorage::new();
    let report = stopped(Arc::new(storage.clone()), config(dir.path(), vec![channel(&path)]), |_| ());
    assert!(report.clean, "{report:#?}");
    assert_eq!(report.phases.iter().map(|phase| phase.steps.len()).sum::<usize>(), 4);
    assert_eq!(stored(&storage, "a"), lines(500));
}

// REQ W2, REQ C6
#[test]
fn a_last_segment_that_reads_back_wrong_is_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(500));
    let storage = Arc::new(Bending(SimStorage::new(), None));
    let report = stopped(storage, config(dir.path(), vec![channel(&path)]), |_| ());
    assert_eq!(step(&report, "flush/a").verdict, Some(Verdict::Verified));
    assert_eq!(step(&report, "seal").verdict, Some(Verdict::Failed));
    assert!(detail(&report, "seal").contains("000001.mcap read back wrong"), "{report:#?}");
    assert!(!report.clean && report.exit_code == 1);
}

/// A recording of several segments, and what its stop said; `before_stop` has its recorder.
fn rotated(storage: Arc<dyn Storage>, before_stop: impl FnOnce(&Recorder)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let mut source = common::silent();
    let channels = vec![ChannelConfig::new("a", source.source)];
    let mut config = config(dir.path(), channels.clone());
    config.log.segment_bytes = 100_000;
    let keel = Keel::builder("test").without_signals().keep_process().build().unwrap();
    let recorder = Arc::new(Recorder::start_on(storage, None, config).unwrap());
    recorder.wire(&keel, &channels).unwrap();
    for _ in 0..3 {
        let before = recorder.channels().remove(0).committed_bytes;
        source.feed.write_all(&[1; 150_000]).unwrap();
        eventually("a commit", || recorder.channels().remove(0).committed_bytes == before + 150_000);
    }
    before_stop(&recorder);
    drop(source.feed);
    keel.stop("enough", "the test")
}

// REQ W5, REQ C6
#[test]
fn a_segment_that_was_altered_behind_our_back_is_told_of_at_the_stop() {
    let report = rotated(Arc::new(Bending(SimStorage::new(), None)), |recorder| {
        assert!(recorder.wait_read_back(common::after(common::LONG)));
        assert_eq!(recorder.unread_segments(), 0);
        let faults = recorder.faults();
        assert!(faults.iter().any(|f| f.starts_with("000001.mcap read back wrong at byte ")), "{faults:?}");
    });
    assert!(!report.clean && detail(&report, "seal").contains("read back wrong"), "{report:#?}");
}

// REQ W5, REQ C6
#[test]
fn segments_are_read_back_while_the_recording_goes_on() {
    let report = rotated(Arc::new(SimStorage::new()), |recorder| {
        assert!(recorder.wait_read_back(common::after(common::LONG)));
        assert_eq!(recorder.unread_segments(), 0);
    });
    assert!(report.clean, "{report:#?}");
}

// REQ W2, REQ C6
#[test]
fn what_never_reached_the_disk_is_not_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(500));
    let storage = SimStorage::new();
    let broken = storage.clone();
    // Nothing is committed before the stop, and then the medium is gone.
    let config = Config { commit_ns: u64::MAX / 4, ..config(dir.path(), vec![channel(&path)]) };
    let report = stopped(Arc::new(storage), config, |_| {
        broken.set_faults(Faults { at: Some(0), for_ever: true, ..Faults::default() });
    });
    assert_eq!(step(&report, "stop-capture/a").verdict, Some(Verdict::Verified));
    for name in ["flush/a", "seal", "release-buffers"] {
        assert_eq!(step(&report, name).verdict, Some(Verdict::Failed), "{name}: {report:#?}");
    }
    assert!(detail(&report, "flush/a").contains("500 records"), "{}", detail(&report, "flush/a"));
    assert!(!report.clean);
}

// REQ R7, REQ C6
#[test]
fn buffers_that_somebody_still_holds_are_not_released() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(5));
    let mut held = None;
    let config = config(dir.path(), vec![channel(&path)]);
    let report = stopped(Arc::new(SimStorage::new()), config, |keel| {
        held = Some(keel.monitoring().account_of_service("somebody").unwrap().take(7).unwrap());
    });
    assert_eq!(step(&report, "release-buffers").verdict, Some(Verdict::Failed));
    assert!(
        detail(&report, "release-buffers").contains("still held: 4096 bytes by (house)/somebody"),
        "{report:#?}"
    );
    assert!(held.is_some());
}

// REQ R1, REQ R7, REQ R8
#[test]
fn the_memory_is_of_the_services_pool_within_its_bound_and_the_systems_again_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(300_000));
    let config = config(&dir.path().join("rec"), vec![channel(&path)]);
    let channels = config.channels.clone();
    let builder = Keel::builder("test").without_signals().keep_process();
    let keel = builder.pool(pool_options(channels.len())).build().unwrap();
    let prepared = Recorder::prepare(config).unwrap().taking_from(keel.monitoring()).unwrap();
    let recorder = Arc::new(prepared.start(None).unwrap());
    recorder.wire(&keel, &channels).unwrap();
    eventually("the end of the file", || recorder.has_ended());
    let pool = keel.monitoring().pool();
    let resident = pool.resident_bytes().unwrap();
    assert!(resident > 0 && resident <= budget_bytes(channels.len()) as u64, "{resident} bytes are resident");
    assert!(pool.usage("a").is_some_and(|usage| usage.tiers.iter().any(|tier| tier.reserve == 1)));
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
    assert_eq!((pool.in_use(), pool.resident_bytes().unwrap()), (0, 0));
}

// REQ W4, REQ E1
#[test]
fn a_source_that_failed_is_not_captured() {
    let dir = tempfile::tempdir().unwrap();
    // Page zero is nobody's: reading it fails.
    let memory = channel(Path::new("/proc/self/mem"));
    let report = stopped(Arc::new(SimStorage::new()), config(dir.path(), vec![memory]), |_| ());
    assert_eq!(step(&report, "stop-capture/a").verdict, Some(Verdict::Failed));
    assert!(detail(&report, "stop-capture/a").contains("os error 5"), "{report:#?}");
    assert_eq!(step(&report, "seal").verdict, Some(Verdict::Verified));
    assert!(!report.clean);
}

// REQ E1, REQ W4
#[test]
fn a_segment_that_cannot_be_begun_is_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(20_000));
    let inner = SimStorage::new();
    let storage = Arc::new(Bending(inner.clone(), Some("000002.mcap.part")));
    let mut config = config(dir.path(), vec![channel(&path)]);
    config.log.segment_bytes = 50_000;
    let recorder = Recorder::start_on(storage, None, config).unwrap();
    let told = || recorder.trouble().is_some_and(|trouble| trouble.contains("no such file today"));
    eventually("it is told", told);
    eventually("it is over: the next number can be had", || recorder.trouble().is_none());
    assert!(recorder.stop(u64::MAX).clean);
    assert_eq!(stored(&inner, "a"), lines(20_000));
}

// REQ W4, REQ C5, REQ C7
#[test]
fn a_source_that_hangs_for_good_is_named_and_the_rest_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "input", &lines(500));
    let (stuck, told) = telling();
    let channels = vec![channel(&path), ChannelConfig::new("stuck", stuck.source)];
    let storage = SimStorage::new();
    let keel = Keel::builder("test").without_signals().keep_process();
    let keel = keel.grace(Duration::from_secs(2)).build().unwrap();
    let config = config(dir.path(), channels.clone());
    let recorder = Arc::new(Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap());
    recorder.wire(&keel, &channels).unwrap();
    told.recv_timeout(common::LONG).unwrap();
    eventually("the end of the file", || recorder.channels()[0].ended);
    let report = keel.stop("enough", "the test");
    assert_eq!((report.exit_code, report.clean), (5, false), "{report:#?}");
    assert_eq!(step(&report, "stop-capture/stuck").verdict, Some(Verdict::TimedOutStillRunning));
    assert_eq!(report.abandoned, ["stop-capture/stuck"]);
    for name in ["stop-capture/a", "flush/a", "flush/stuck", "seal"] {
        assert_eq!(step(&report, name).verdict, Some(Verdict::Verified), "{report:#?}");
    }
    assert_eq!(step(&report, "release-buffers").verdict, Some(Verdict::Failed));
    assert!(detail(&report, "release-buffers").contains("stuck is still read"), "{report:#?}");
    assert_eq!(stored(&storage, "a"), lines(500));
    drop(stuck.feed);
}
