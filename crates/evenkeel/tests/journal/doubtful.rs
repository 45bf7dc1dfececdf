//! Snapshots and removals that are not to be trusted.

use super::hanging::{eventually, so_far};
use super::retention::options as removing;
use super::snapshots::{Keeper, Sum, restored};
use super::{LONG, all, open, small_segments};
use evenkeel::journal::{
    ANCHOR_KIND, JournalOptions, MACHINES, OBSERVER_PANIC_KIND, SNAPSHOT_KIND, SigningKey, verify,
    verify_against,
};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{self, AppendFile, ReadFile, Storage};
use evenkeel_log::{LogOptions, LogWriter, Outcome, Resume, Stamp};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn every(entries: u64) -> JournalOptions {
    JournalOptions { snapshot_entries: entries, ..small_segments() }
}

fn told(storage: &SimStorage) -> Vec<String> {
    let found = all(storage).into_iter().filter(|entry| entry.kind == OBSERVER_PANIC_KIND);
    found.map(|entry| entry.body["snapshot"].as_str().unwrap().to_owned()).collect()
}

// REQ S6, REQ S8
#[test]
fn each_source_that_does_not_answer_is_told() {
    let storage = SimStorage::new();
    let journal = open(&storage, every(1));
    let breaks = Arc::new(AtomicBool::new(false));
    journal.on_snapshot("later", {
        let breaks = breaks.clone();
        move || if breaks.load(Ordering::Relaxed) { panic!("later") } else { json!(1) }
    });
    journal.on_snapshot("first", || panic!("at once"));
    journal.on_snapshot("second", || panic!("as well"));
    for n in 0..20 {
        breaks.store(n >= 10, Ordering::Relaxed);
        let entry = journal.append("state", None, json!({ "n": n })).unwrap();
        assert!(journal.wait_durable(entry.entry, LONG));
        let so_far = || so_far(&storage, OBSERVER_PANIC_KIND).len();
        // The two that never answer are told of together, and in time.
        eventually(&journal, || so_far() >= [1, 2][usize::from(n >= 10)]);
    }
    journal.finish(LONG).unwrap();
    let told = told(&storage).join("; ");
    for one in ["first: at once", "second: as well", "later: later"] {
        assert_eq!(told.matches(one).count(), 1, "{one} in {told}");
    }
}

// REQ S6, REQ Q2
#[test]
fn a_snapshot_that_cannot_be_read_back_is_none() {
    let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
    for (name, answer) in [(MACHINES, Value::Null), (MACHINES, json!({ "m": 1 })), ("deep", deep)] {
        let (storage, keeper) = (SimStorage::new(), Keeper::default());
        let journal = open(&storage, removing());
        keeper.register(&journal, 0);
        for n in 0..40 {
            assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        }
        let asked = answer.clone();
        journal.on_snapshot(name, move || asked.clone());
        for n in 0..200 {
            assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        }
        journal.finish(LONG).unwrap();
        let (sum, summary) = restored(&storage, false);
        assert_eq!(sum, keeper.sum(), "{name} answered what nobody can read: {summary:?}");
        assert!(!summary.damaged && summary.snapshot.is_some());
        assert_eq!(told(&storage).len(), 1, "{:?}", told(&storage));
    }
}

// REQ S6, REQ Q2
#[test]
fn what_is_missing_is_told_by_who_restores() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, every(1_000));
    for n in 0..60 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
    }
    journal.finish(LONG).unwrap();
    assert!(!restored(&storage, false).1.damaged);
    let mut names: Vec<_> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.ends_with(".mcap"));
    names.sort();
    assert!(names.len() > 4);
    for name in &names[..names.len() - 1] {
        let copy = storage.kill();
        copy.remove(name).unwrap();
        let mut handed = 0;
        let summary = evenkeel::journal::restore(&copy, false, &["state"], &mut |_| {
            handed += 1;
            Ok(())
        });
        assert!(handed < 60 && summary.unwrap().damaged, "{name} is missing, and nobody says so");
    }
}

// REQ S6, REQ Q2
#[test]
fn however_many_snapshots_were_cut_short_the_whole_one_before_them_is_found() {
    let storage = SimStorage::new();
    let journal = open(&storage, JournalOptions { queue_bytes_max: 64 << 20, ..every(u64::MAX) });
    let whole = json!({ "from_entry": 0, "machines": [{ "machine": "m" }], "parts": { "sum": { "sequence": 7, "sum": 9 } } });
    let text = whole.to_string();
    let (first, second) = text.split_at(20);
    for (part, text) in [(1, first), (2, second)] {
        let _ = journal
            .append(SNAPSHOT_KIND, None, json!({ "from_entry": 0, "part": part, "of": 2, "text": text }))
            .unwrap();
    }
    for from in 0..12 {
        for part in [1, 2] {
            let _ = journal
                .append(
                    SNAPSHOT_KIND,
                    None,
                    json!({ "from_entry": 10 + from, "part": part, "of": 3, "text": "{" }),
                )
                .unwrap();
        }
    }
    journal.finish(LONG).unwrap();
    let (sum, summary) = restored(&storage, false);
    assert_eq!((sum, summary.snapshot), (Sum { sequence: 7, sum: 9 }, Some(2)));
}

// REQ C11
#[test]
fn an_anchor_that_was_forged_behind_what_is_signed_covers_nothing() {
    let key = SigningKey::from_seed([5; 32]);
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, JournalOptions { signing: Some(key), ..small_segments() });
    for n in 0..60 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
    }
    let kept = journal.checkpoint().unwrap();
    journal.finish(LONG).unwrap();
    // Whoever cannot sign removes the beginning, and appends an anchor that says that this was meant.
    let (names, mut second) = (evenkeel_log::segment_names(&storage).unwrap(), None);
    let only = |segment: &str| evenkeel_log::Selection {
        channel: "journal".to_owned(),
        stream: None,
        segment: Some(segment.to_owned()),
    };
    evenkeel_log::read(&storage, false, &only(&names[1]), &mut |found| {
        if let evenkeel_log::Found::Segment { chain, first_sequence, .. } = found {
            second = Some((first_sequence, chain.unwrap()));
        }
        Ok(())
    })
    .unwrap();
    let (first_entry, chain) = second.unwrap();
    let wrong = [[7; 32], chain];
    for (at, prev) in wrong.into_iter().enumerate() {
        let journal = open(&storage, small_segments());
        let body =
            json!({ "first_entry": first_entry, "prev": evenkeel_log::hex(&prev), "removed": [names[0]] });
        let _ = journal.append(ANCHOR_KIND, None, body).unwrap();
        journal.finish(LONG).unwrap();
        if at == 0 {
            storage.remove(&names[0]).unwrap();
            let found = verify(&storage, false).unwrap();
            assert_eq!((found.outcome, found.anchored_from), (Outcome::Loss, None), "{found:#?}");
        }
    }
    let alone = verify(&storage, false).unwrap();
    assert_eq!((alone.outcome, alone.anchored_from), (Outcome::Intact, Some(first_entry)), "{alone:#?}");
    let found = verify_against(&storage, false, &[kept], &key.public()).unwrap();
    assert_eq!(found.outcome, Outcome::Loss, "{found:#?}");
    assert!(found.findings.iter().any(|told| told.contains("no signature covers")), "{found:#?}");
}

// REQ C11, REQ S6
#[test]
fn each_anchor_is_signed_before_anything_goes() {
    let key = SigningKey::from_seed([5; 32]);
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let mut journal = open(&storage, JournalOptions { signing: Some(key), ..removing() });
    keeper.register(&journal, 0);
    let mut anchored = 0;
    for n in 0..150 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        let image = storage.kill();
        let found = verify_against(&image, false, &[], &key.public()).unwrap();
        assert!(found.findings.is_empty(), "after {n}: {found:#?}");
        anchored += u64::from(found.anchored_from.is_some());
        if n == 90 {
            journal.finish(LONG).unwrap();
            journal = open(&storage, JournalOptions { signing: Some(key), ..removing() });
            keeper.register(&journal, 0);
        }
    }
    journal.finish(LONG).unwrap();
    assert!(anchored > 50, "{anchored}");
}

// REQ C11, REQ M4
#[test]
fn one_removal_takes_few_segments_and_goes_on_until_all_are_gone() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal =
        open(&storage, JournalOptions { snapshot_entries: 12, segment_bytes: 600, ..small_segments() });
    for n in 0..200 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
    }
    journal.finish(LONG).unwrap();
    let before = evenkeel_log::segment_names(&storage).unwrap().len();
    assert!(before > 60, "{before}");
    let journal = open(&storage, removing());
    keeper.register(&journal, 0);
    for n in 0..60 {
        assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
    }
    journal.finish(LONG).unwrap();
    let anchors = all(&storage).into_iter().filter(|entry| entry.kind == ANCHOR_KIND);
    let most = anchors.map(|entry| entry.body["removed"].as_array().unwrap().len()).max().unwrap();
    assert!(most <= 16, "{most} segments were read through at once, while nothing was synced");
    assert!(evenkeel_log::segment_names(&storage).unwrap().len() < before / 2);
    assert_eq!(restored(&storage, false).0, keeper.sum());
}

// REQ C11, REQ Q2
#[test]
fn a_journal_that_says_that_it_has_all_entries_there_can_be_is_told_and_no_fault() {
    let storage = SimStorage::new();
    let now = Stamp { wall_ns: 1, mono_ns: 0 };
    let mut resume = Resume { chain: Some([0; 32]), ..Resume::default() };
    resume.channels.entry("journal".to_owned()).or_default().last_sequence = u64::MAX;
    let options = LogOptions { ballast_bytes: 0, ..LogOptions::default() };
    let mut log = LogWriter::create(Arc::new(storage.clone()), options, resume, now).unwrap();
    for job in log.finish(now) {
        let _ = log.complete(job.run(), now);
    }
    assert_ne!(verify(&storage, false).unwrap().outcome, Outcome::Intact);
    assert_eq!(restored(&storage, false).0, Sum::default());
}

/// A storage in which something happens just before it is listed for the second time.
struct Meanwhile<F> {
    inner: SimStorage,
    lists: AtomicU64,
    act: F,
}

impl<F: Fn() + Send + Sync + 'static> Storage for Meanwhile<F> {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.create(name)
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.reopen(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<storage::Entry>> {
        if self.lists.fetch_add(1, Ordering::Relaxed) == 1 {
            (self.act)();
        }
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

// REQ C11
#[test]
fn what_retention_removes_while_somebody_verifies_is_not_missing() {
    let (storage, keeper) = (SimStorage::new(), Keeper::default());
    let journal = open(&storage, removing());
    keeper.register(&journal, 0);
    let add = move || {
        for n in 0..90 {
            assert!(journal.wait_durable(keeper.add(&journal, n), LONG));
        }
    };
    add();
    let before = evenkeel_log::segment_names(&storage).unwrap();
    let watched = Meanwhile { inner: storage.clone(), lists: AtomicU64::new(0), act: add };
    let found = verify(&watched, true).unwrap();
    assert!(found.findings.is_empty() && found.outcome <= Outcome::Declared, "{found:#?}");
    assert!(watched.lists.into_inner() > 1);
    assert!(
        !evenkeel_log::segment_names(&storage).unwrap().contains(&before[0]),
        "nothing was removed meanwhile"
    );
}
