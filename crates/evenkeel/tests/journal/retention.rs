//! Removing the journal's oldest segments, and crashing on the way.

use super::hanging::eventually;
use super::snapshots::{Keeper, Sum, restored};
use super::{LONG, all, open, small_segments};
use evenkeel::journal::{
    ANCHOR_KIND, Journal, JournalOptions, JournalRetention, JournalVerification, SigningKey, restore, verify,
};
use evenkeel_log::Outcome;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use fastrand::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) fn options() -> JournalOptions {
    keeping(10_000)
}

pub(super) fn keeping(bytes: u64) -> JournalOptions {
    let retention = JournalRetention { bytes: Some(bytes), age_ns: None };
    JournalOptions { retention, snapshot_entries: 12, ..small_segments() }
}

pub(super) fn segments(storage: &SimStorage) -> Vec<String> {
    let mut names: Vec<String> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.contains(".mcap"));
    names.sort();
    names
}

/// Adds so many numbers, each durable before the next.
fn add(keeper: &Keeper, journal: &Journal, count: u64) {
    for n in 0..count {
        assert!(journal.wait_durable(keeper.add(journal, n), LONG));
    }
}

#[track_caller]
pub(super) fn assert_sound(storage: &SimStorage, context: &str) -> JournalVerification {
    let verification = verify(storage, false).unwrap();
    assert!(verification.findings.is_empty(), "{context}: {verification:#?}");
    assert!(verification.outcome <= Outcome::Declared, "{context}: {verification:#?}");
    verification
}

// REQ C11, REQ S6
#[test]
fn old_segments_go_and_what_is_left_verifies_from_the_anchor() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    for run in 0..3 {
        let journal = open(&storage, options());
        keeper.register(&journal, 0);
        add(&keeper, &journal, 150);
        let bytes = || {
            let names = segments(&storage);
            names.iter().filter_map(|name| storage.content(name)).map(|file| file.len()).sum::<usize>()
        };
        // What may go goes when the snapshot has come, whoever appends or not.
        eventually(&journal, || bytes() < 30_000);
        journal.finish(LONG).unwrap();
        journal.verify_last().unwrap();
        let verification = assert_sound(&storage, &format!("run {run}"));
        let first = verification.first_entry.unwrap();
        assert!(first > 1 && verification.anchored_from == Some(first), "{verification:#?}");
        assert!(all(&storage).iter().map(|entry| entry.entry).eq(first..=verification.last_entry));
        assert_eq!(restored(&storage, false).0, keeper.sum());
        assert!(bytes() < 30_000, "{} bytes are left", bytes());
    }
}

// REQ C11
#[test]
fn without_an_anchor_that_covers_it_a_missing_head_is_found() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, options());
    keeper.register(&journal, 0);
    add(&keeper, &journal, 150);
    journal.finish(LONG).unwrap();
    let anchors: Vec<_> = all(&storage).into_iter().filter(|entry| entry.kind == ANCHOR_KIND).collect();
    let last = anchors.last().unwrap().body["first_entry"].as_u64().unwrap();
    let names = segments(&storage);
    for (at, name) in names.iter().enumerate().take(names.len() - 1) {
        storage.remove(name).unwrap();
        let verification = verify(&storage, false).unwrap();
        // The last segment may have been begun and hold nothing yet.
        assert!(
            verification.first_entry.is_none_or(|begins| begins > last),
            "retention left what it was not asked to leave"
        );
        let found = verification.findings.iter().any(|found| found.contains("what stood before is missing"));
        assert!(found, "{at} more removed: {verification:#?}");
        assert_eq!(verification.outcome, Outcome::Loss);
    }
}

/// A journal with limits that removed nothing yet, and how many segments it has.
fn watched(storage: &SimStorage, act: impl FnOnce(&Journal)) -> u64 {
    let keeper = Keeper::default();
    let journal = open(storage, options());
    act(&journal);
    keeper.register(&journal, 0);
    add(&keeper, &journal, 120);
    journal.finish(LONG).unwrap();
    assert_sound(storage, "kept").first_entry.unwrap()
}

// REQ C11, REQ S6
#[test]
fn what_somebody_needs_stays() {
    let storage = SimStorage::new();
    let journal = open(&storage, options());
    for n in 0..100 {
        let entry = journal.append("state", None, json!({ "n": n, "filling": "x".repeat(200) })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
    }
    journal.finish(LONG).unwrap();
    assert_eq!(assert_sound(&storage, "without a snapshot").first_entry, Some(1));

    let storage = SimStorage::new();
    assert!(watched(&storage, |journal| journal.keep_from("me", 40)) <= 40);
    let storage = SimStorage::new();
    assert!(watched(&storage, |_| ()) > 40);
    for (kind, reader) in [("child", "child"), ("leftover-remains", "child"), ("retention", "retention")] {
        let storage = SimStorage::new();
        let begins = watched(&storage, |journal| {
            let _ = journal.append(kind, Some("left"), json!({})).unwrap();
        });
        assert_eq!(begins, 1, "{kind} is read back from the beginning");
        let storage = SimStorage::new();
        let begins = watched(&storage, |journal| {
            let appended = journal.append(kind, Some("left"), json!({})).unwrap();
            journal.keep_from(reader, appended.entry + 1);
        });
        assert!(begins > 40, "{kind} was let go");
        let storage = SimStorage::new();
        let begins = watched(&storage, |journal| {
            let appended = journal.append(kind, Some("left"), json!({})).unwrap();
            journal.keep_from(reader, appended.entry);
        });
        assert_eq!(begins, 1, "{kind} is needed from itself on");
    }
}

/// By number of an entry: what the sum was as of it.
type Truth = BTreeMap<u64, Sum>;

/// A crash image has to be sound as it is, open without a hand, restore what was durable, and go on.
fn check_image(image: &SimStorage, durable: u64, truth: &Truth, context: &str) {
    let before = assert_sound(image, context);
    let (sum, summary) = restored(image, false);
    assert!(!summary.damaged, "{context}");
    let least = truth.range(..=durable).next_back().map_or(Sum::default(), |(_, sum)| *sum);
    assert!(sum.sequence >= least.sequence, "{context}: {least:?} was durable, {sum:?} is there");
    let stands = truth.values().any(|known| *known == sum) || sum == Sum::default();
    assert!(stands, "{context}: {sum:?} never was");
    let (journal, recovery) = Journal::open(Arc::new(image.clone()), options()).unwrap();
    assert!(!recovery.is_loss(), "{context}");
    assert!(journal.head().entry >= durable, "{context}");
    assert_eq!(restored(image, true).0, sum, "{context}, opened");
    let keeper = Keeper::default();
    keeper.set(sum);
    keeper.register(&journal, 0);
    add(&keeper, &journal, 3);
    journal.finish(LONG).unwrap();
    let after = assert_sound(image, context);
    assert!(after.last_entry > before.last_entry, "{context}");
    assert_eq!(restored(image, false).0, keeper.sum(), "{context}, gone on");
}

// REQ C11, REQ S6, REQ S6, REQ Q2
#[test]
fn no_crash_at_any_write_sync_rename_or_removal_needs_a_hand() {
    let (mut images, mut removals) = (0, 0);
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        storage.set_faults(Faults { pads: seed % 2 == 1, ..Faults::default() });
        // Where every sealed segment is to go, only what the snapshot needs keeps some.
        let journal = open(&storage, keeping(if seed < 2 { 10_000 } else { 0 }));
        keeper.register(&journal, rng.usize(0..30));
        storage.watch(rng.fork());
        let (mut truth, mut before) = (Truth::new(), 0);
        for step in 0..60 {
            for n in 0..rng.u64(1..4) {
                let entry = keeper.add(&journal, n);
                truth.insert(entry, keeper.sum());
            }
            let last = *truth.last_key_value().unwrap().0;
            assert!(journal.wait_durable(last, LONG));
            for image in storage.take_images() {
                images += 1;
                check_image(&image, before, &truth, &format!("seed {seed}, step {step}"));
            }
            before = last;
        }
        check_image(&storage.kill(), before, &truth, &format!("seed {seed}, killed"));
        removals += usize::from(verify(&storage.kill(), false).unwrap().anchored_from.is_some());
    }
    assert!(images > 300 && removals == 4, "only {images} images, {removals} of 4 removed");
}

// REQ C11, REQ Q2
#[test]
fn a_removal_that_fails_is_told_and_nothing_is_lost() {
    let operations = {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let journal = open(&storage, options());
        keeper.register(&journal, 0);
        add(&keeper, &journal, 80);
        journal.finish(LONG).unwrap();
        storage.operations()
    };
    for at in (0..operations).step_by(3) {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let journal = open(&storage, keeping(0));
        storage.watch(Rng::with_seed(at));
        let begun = storage.operations();
        storage.set_faults(Faults { at: Some(begun + at), ..Faults::default() });
        keeper.register(&journal, 0);
        let mut last = 0;
        for n in 0..80 {
            last = keeper.add(&journal, n);
            if n % 2 == 0 {
                // One group each, as long as the disk works.
                journal.wait_durable(last, Duration::from_millis(1));
            }
        }
        assert!(journal.wait_durable(last, LONG), "operation {at}");
        for (after, image) in storage.take_images().iter().enumerate().skip(at as usize).take(12) {
            assert_sound(image, &format!("operation {at} failed, a crash before operation {after}"));
            let restored = restored(image, false).0;
            assert!(restored.sequence <= keeper.sum().sequence);
        }
        journal.finish(LONG).unwrap();
        assert_sound(&storage, &format!("operation {at} failed"));
        assert_eq!(restored(&storage, false).0, keeper.sum());
        let mut seen = 0;
        restore(&storage, false, &[], &mut |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert!(seen > 0);
    }
}

// REQ S6, REQ C11
#[test]
fn what_the_newest_whole_snapshot_needs_stays_while_the_next_one_is_written() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    // Each part of a snapshot fills segments, and there is no room for all parts at a time.
    let journal = open(&storage, JournalOptions { queue_bytes_max: 300_000, ..keeping(0) });
    keeper.register(&journal, 150_000);
    let mut is_whole = false;
    for n in 0..60 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        let (sum, summary) = restored(&storage.kill(), false);
        assert!(summary.snapshot.is_some() || !is_whole, "the snapshot is gone");
        is_whole |= summary.snapshot.is_some();
        assert!(sum.sequence <= keeper.sum().sequence);
    }
    journal.finish(LONG).unwrap();
    assert_eq!(restored(&storage, false).0, keeper.sum());
    assert!(is_whole && assert_sound(&storage, "at the end").anchored_from.is_some());
}

// REQ C11, REQ Q2
#[test]
fn nothing_goes_before_its_anchor_is_durable_on_a_full_disk() {
    let mut full = 0;
    for capacity in (4_000..9_000).step_by(100) {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let journal = open(&storage, keeping(0));
        storage.set_faults(Faults { capacity_bytes: Some(capacity), ..Faults::default() });
        keeper.register(&journal, 0);
        let is_full = || journal.trouble().is_some_and(|trouble| trouble.contains("full"));
        for n in 0..60 {
            let last = keeper.add(&journal, n);
            while !journal.wait_durable(last, Duration::from_millis(1)) && !is_full() {}
        }
        full += usize::from(is_full());
        let image = storage.kill();
        assert_sound(&image, &format!("{capacity} bytes"));
        assert!(restored(&image, false).0.sequence <= keeper.sum().sequence);
        storage.set_faults(Faults::default());
        journal.finish(LONG).unwrap();
        assert_sound(&storage, &format!("{capacity} bytes, and then room"));
        assert_eq!(restored(&storage, false).0, keeper.sum(), "{capacity} bytes");
    }
    assert!(full > 3, "the disk was full {full} times");
}

// REQ S6, REQ C11, REQ Q2
#[test]
fn nothing_goes_before_its_anchor_is_durable_whatever_write_fails() {
    let mut removals = 0;
    let mut at = 60;
    let operations = loop {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let journal = open(&storage, options());
        keeper.register(&journal, 0);
        storage.watch(Rng::with_seed(at));
        storage.set_faults(Faults { at: Some(storage.operations() + at), ..Faults::default() });
        let mut last = 0;
        for n in 0..60 {
            last = keeper.add(&journal, n);
            // What is refused by the disk is written later: what of it comes first is not waited for.
            while !journal.wait_durable(last, Duration::from_millis(1)) && journal.trouble().is_none() {}
        }
        assert!(journal.wait_durable(last, LONG), "operation {at}");
        journal.finish(LONG).unwrap();
        let mut begins = Vec::new();
        for image in storage.take_images() {
            let begin = segments(&image).first().cloned();
            if begins.last() != Some(&begin) {
                assert_sound(&image, &format!("operation {at} failed, {begin:?} is the first"));
                begins.push(begin);
            }
        }
        removals += begins.len();
        if at > storage.operations() {
            break storage.operations();
        }
        at += 5;
    };
    assert!(removals > 100, "{removals} removals in {operations} operations");
}

#[derive(Default)]
struct Watch {
    /// An anchor was written that is not durable.
    pending: bool,
    /// Syncs that are still to fail once an anchor was written.
    failing: u32,
    removed: u64,
    too_early: u64,
}

/// A disk that fails to sync anchors at first, and minds what is removed meanwhile.
#[derive(Clone)]
struct Minding(SimStorage, Arc<Mutex<Watch>>);

struct MindingFile(Box<dyn AppendFile>, Arc<Mutex<Watch>>);

impl AppendFile for MindingFile {
    fn append(&self, parts: &mut [io::IoSlice<'_>]) -> io::Result<()> {
        let bytes = parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>();
        let anchor = br#""kind":"anchor""#;
        self.1.lock().unwrap().pending |= bytes.windows(anchor.len()).any(|window| window == anchor);
        self.0.append(parts)
    }

    fn sync(&self) -> io::Result<()> {
        let mut watch = self.1.lock().unwrap();
        if watch.pending && watch.failing > 0 {
            watch.failing -= 1;
            return Err(io::Error::other("not now"));
        }
        self.0.sync()?;
        watch.pending = false;
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.0.preallocate(len)
    }
}

impl Storage for Minding {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(MindingFile(self.0.create(name)?, self.1.clone())))
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
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut watch = self.1.lock().unwrap();
        watch.removed += u64::from(name.ends_with(".mcap"));
        watch.too_early += u64::from(name.ends_with(".mcap") && watch.pending);
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

// REQ S6, REQ C11, REQ Q2
#[test]
fn nothing_goes_while_its_anchor_is_not_durable() {
    for signing in [None, Some(SigningKey::from_seed([5; 32]))] {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let watch = Arc::new(Mutex::new(Watch { failing: 2, ..Watch::default() }));
        let minding = Minding(storage.clone(), watch.clone());
        let options = JournalOptions { signing, ..options() };
        let (journal, _) = Journal::open(Arc::new(minding), options).unwrap();
        keeper.register(&journal, 0);
        add(&keeper, &journal, 120);
        journal.finish(LONG).unwrap();
        let watch = watch.lock().unwrap();
        assert_eq!((watch.failing, watch.too_early), (0, 0));
        assert!(watch.removed > 10, "{} were removed", watch.removed);
        assert_eq!(restored(&storage, false).0, keeper.sum());
    }
}

// REQ S6, REQ Q2
#[test]
fn a_group_that_is_on_its_way_while_more_of_it_comes_is_whole_after_every_crash() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions::default());
    storage.watch(Rng::with_seed(3));
    let mut last = 0;
    for n in 0..3_000 {
        last = journal.append("audit", None, json!({ "n": n })).unwrap().entry;
        // What is waited for came a while ago, so that each group goes while more is there, and there are ten at least.
        assert!(n % 300 != 299 || journal.wait_durable(last - 250, LONG));
    }
    assert!(journal.wait_durable(last, LONG));
    let images = storage.take_images();
    assert!(images.len() > 10, "{} images", images.len());
    for (at, image) in images.iter().enumerate() {
        assert_sound(image, &format!("image {at} of {}", images.len()));
    }
    journal.finish(LONG).unwrap();
    assert_eq!(assert_sound(&storage, "at the end").last_entry, last);
}
