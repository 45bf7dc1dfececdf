#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use super::{Keeper, decide, removal};
use crate::config::Retention;
use evenkeel::journal::{Journal, JournalOptions, entries};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_log::{
    Anchor, Batch, LogOptions, LogWriter, OCTETS, Outcome, RETENTION_KIND, Resume, SealedFile, Stamp,
    StreamId, sealed_segments, verify,
};
use fastrand::Rng;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn segment(number: u64, bytes: u64, ended_wall_ns: u64) -> SealedFile {
    SealedFile { number, bytes, ended_wall_ns }
}

fn retention(bytes: Option<u64>, age_ns: Option<u64>, min_free: Option<u64>) -> Retention {
    Retention { bytes, age_ns, min_free }
}

/// The fewest that have to go so that what stays is within every limit.
fn model(retention: &Retention, segments: &[SealedFile], free: u64, now: u64) -> Option<u64> {
    let is_enough = |gone: usize| {
        let (went, stay) = segments.split_at(gone);
        let sum = |of: &[SealedFile]| of.iter().map(|s| u128::from(s.bytes)).sum::<u128>();
        let few = retention.bytes.is_none_or(|most| sum(stay) <= u128::from(most));
        let young = |s: &SealedFile| {
            u128::from(now) <= u128::from(s.ended_wall_ns) + u128::from(retention.age_ns.unwrap())
        };
        let fresh = retention.age_ns.is_none() || stay.first().is_none_or(young);
        let free = retention.min_free.is_none_or(|least| u128::from(free) + sum(went) >= u128::from(least));
        stay.is_empty() || (few && fresh && free)
    };
    let fewest = (0..=segments.len()).find(|gone| is_enough(*gone)).unwrap();
    fewest.checked_sub(1).map(|last| segments[last].number)
}

// REQ R3, REQ W1
#[test]
fn what_is_decided_agrees_with_a_plain_model() {
    let mut rng = Rng::with_seed(1);
    let (mut none, mut some, mut all) = (0, 0, 0);
    for round in 0..50_000 {
        let mut number = 0;
        let mut sealed = || {
            number += rng.u64(1..4);
            let bytes = if rng.u8(0..50) == 0 { u64::MAX / 3 } else { rng.u64(0..100) };
            let ended = if rng.u8(0..50) == 0 { u64::MAX } else { rng.u64(900..1100) };
            segment(number, bytes, ended)
        };
        let segments: Vec<SealedFile> = (0..round % 8).map(|_| sealed()).collect();
        let limit = |rng: &mut Rng, most: u64| match rng.u8(0..10) {
            0..6 => None,
            6 => Some(0),
            7 => Some(u64::MAX),
            _ => Some(rng.u64(0..most)),
        };
        let limits = retention(limit(&mut rng, 500), limit(&mut rng, 200), limit(&mut rng, 500));
        let (free, now) = (rng.u64(0..400), rng.u64(800..1300));
        let decided = decide(&limits, &segments, free, now);
        assert_eq!(decided, model(&limits, &segments, free, now), "{limits:?} {segments:?} {free} {now}");
        match decided {
            None => none += 1,
            through if through == segments.last().map(|s| s.number) => all += 1,
            Some(_) => some += 1,
        }
    }
    assert!(none > 1000 && some > 1000 && all > 1000, "{none} {some} {all}");
}

// REQ R3
#[test]
fn without_limits_nothing_goes() {
    let segments = [segment(1, u64::MAX, 0)];
    assert_eq!(decide(&Retention::default(), &segments, 0, u64::MAX), None);
    assert_eq!(decide(&retention(Some(0), Some(0), Some(u64::MAX)), &[], 0, u64::MAX), None);
}

// REQ R3
#[test]
fn each_limit_asks_for_what_it_says() {
    let segments = [segment(3, 10, 100), segment(4, 20, 200), segment(7, 30, 300)];
    assert_eq!(decide(&retention(Some(60), None, None), &segments, 0, 0), None, "no more than that");
    assert_eq!(decide(&retention(Some(59), None, None), &segments, 0, 0), Some(3));
    assert_eq!(decide(&retention(Some(30), None, None), &segments, 0, 0), Some(4));
    assert_eq!(decide(&retention(Some(0), None, None), &segments, 0, 0), Some(7));
    assert_eq!(decide(&retention(None, Some(50), None), &segments, 0, 150), None, "not longer than that");
    assert_eq!(decide(&retention(None, Some(50), None), &segments, 0, 151), Some(3));
    assert_eq!(decide(&retention(None, None, Some(100)), &segments, 100, 0), None, "no less than that");
    assert_eq!(decide(&retention(None, None, Some(100)), &segments, 99, 0), Some(3));
    assert_eq!(decide(&retention(None, None, Some(100)), &segments, 80, 0), Some(4));
    assert_eq!(decide(&retention(None, None, Some(100)), &segments, 1, 0), Some(7), "as much as there is");
    let why = |retention, free, now| removal(&retention, &segments, free, now).why;
    assert_eq!(why(retention(Some(50), Some(50), Some(100)), 80, 0), ["bytes", "min_free"]);
    assert_eq!(why(retention(Some(60), Some(50), None), 0, 1000), ["age"]);
}

// REQ R3
#[test]
fn a_wall_clock_that_was_set_back_removes_nothing() {
    let segments = [segment(1, 10, 1000), segment(2, 10, 5)];
    for now in [0, 6, 999, 1000] {
        assert_eq!(decide(&retention(None, Some(0), None), &segments, 0, now), None, "{now}");
    }
    assert_eq!(decide(&retention(None, Some(0), None), &segments, 0, 1001), Some(2));
}

/// A recorder's log in one thread: a message a segment.
struct Recording {
    log: LogWriter,
    stream: StreamId,
    next: u64,
}

impl Recording {
    /// With some sealed segments, and one that is not.
    fn new(storage: &SimStorage, sealed: u64) -> Self {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let options = LogOptions { ballast_bytes: 0, ..LogOptions::default() };
        let mut log = LogWriter::create(shared, options, Resume::default(), stamp(0)).unwrap();
        let channel = log.channel("left", OCTETS);
        let mut recording = Self { stream: log.stream(channel, &[]), log, next: 1 };
        for _ in 0..sealed {
            recording.seal();
        }
        recording
    }

    /// Seals the segment, and answers its number.
    fn seal(&mut self) -> u64 {
        let mut batch = Batch::new(self.stream, self.next, vec![0; 100]);
        assert!(batch.push(b"a message", stamp(self.next).wall_ns));
        self.log.append(batch, stamp(self.next));
        for job in self.log.rotate(stamp(self.next)) {
            let _ = self.log.complete(job.run(), stamp(self.next));
        }
        self.next += 1;
        self.next - 1
    }
}

/// Long ago: every segment is old.
fn stamp(at: u64) -> Stamp {
    Stamp { wall_ns: at, mono_ns: at }
}

fn open_journal(storage: &SimStorage) -> Journal {
    Journal::open(Arc::new(storage.clone()), JournalOptions { ballast_bytes: 0, ..JournalOptions::default() })
        .unwrap()
        .0
}

/// The anchor of the last durable entry.
fn last_anchor(journal: &dyn Storage) -> Option<Anchor> {
    let mut last = None;
    entries(journal, true, &mut |entry| {
        if entry.kind == RETENTION_KIND {
            last = Anchor::from_entry(&entry.body);
        }
        Ok(())
    })
    .unwrap();
    last
}

fn numbers(storage: &dyn Storage) -> Vec<u64> {
    sealed_segments(storage).unwrap().into_iter().map(|s| s.number).collect()
}

/// A keeper, and what it tells.
fn keeper(
    storage: Arc<dyn Storage>,
    retention: Retention,
    journal: Option<&Journal>,
) -> (Keeper, Receiver<String>) {
    let (sender, told) = channel();
    let tell = move |words: Result<String, String>| {
        let _ = sender.send(words.unwrap_or_else(|fault| fault));
    };
    (Keeper::start(&ThreadCoordinator::default(), storage, retention, journal.cloned(), tell).unwrap(), told)
}

fn next(told: &Receiver<String>) -> String {
    told.recv_timeout(LONG).unwrap()
}

const OLD: Retention = Retention { bytes: None, age_ns: Some(1), min_free: None };

/// A disk that is only read and removed from, with somebody who looks before each removal.
struct Watched {
    storage: SimStorage,
    before_removal: Box<dyn Fn(&str) + Send + Sync>,
    listed: AtomicU64,
}

impl Watched {
    fn new(storage: &SimStorage, before_removal: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        let before_removal = Box::new(before_removal);
        Arc::new(Self { storage: storage.clone(), before_removal, listed: AtomicU64::new(0) })
    }

    /// Has the keeper look, and waits until it has asked what there is.
    fn look(&self, keeper: &Keeper) {
        let (before, until) = (self.listed.load(Ordering::Relaxed), Instant::now() + LONG / 6);
        // It may have looked by itself just before: then there is nothing to wait for.
        while self.listed.load(Ordering::Relaxed) == before && Instant::now() < until {
            keeper.sealed(0);
            std::thread::yield_now();
        }
    }
}

impl Storage for Watched {
    fn remove(&self, name: &str) -> io::Result<()> {
        (self.before_removal)(name);
        self.storage.remove(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.storage.open(name)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.storage.list()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.storage.sync_dir()
    }
    fn create(&self, _: &str) -> io::Result<Box<dyn AppendFile>> {
        unreachable!("retention writes nothing")
    }
    fn reopen(&self, _: &str) -> io::Result<Box<dyn AppendFile>> {
        unreachable!("retention writes nothing")
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        unreachable!("retention writes nothing")
    }
}

// REQ W1, REQ W3
#[test]
fn the_journal_tells_before_anything_goes() {
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let mut recording = Recording::new(&storage, 40);
    let journal = open_journal(&journal_storage);
    let each = sealed_segments(&storage).unwrap().iter().map(|s| s.bytes).max().unwrap();
    let told_of = journal_storage.clone();
    let watched = Watched::new(&storage, move |name| {
        // What a power cut would leave of the journal.
        let anchor = last_anchor(&told_of.crash(&mut Rng::with_seed(1)));
        let number: u64 = name[..6].parse().unwrap();
        assert!(anchor.is_some_and(|anchor| anchor.through >= number), "{name} goes, and nobody was told");
    });
    let (keeper, told) = keeper(watched.clone(), retention(Some(3 * each), None, None), Some(&journal));
    assert!(next(&told).starts_with("retention: 37 segments up to 000037, "));
    assert_eq!(numbers(&storage), [38, 39, 40]);
    let anchor = last_anchor(&journal_storage).unwrap();
    assert_eq!((anchor.through, anchor.channels["left"]), (37, 37));
    assert_eq!(
        verify(&storage, true, Some(&anchor)).unwrap().outcome,
        Outcome::Declared,
        "unsealed at its end"
    );

    // Of this run's segments only those that were named go, the oldest first.
    watched.look(&keeper);
    assert_eq!((recording.seal(), recording.seal()), (41, 42));
    keeper.sealed(41);
    assert!(next(&told).starts_with("retention: 1 segment up to 000038, "));
    assert_eq!(numbers(&storage), [39, 40, 41, 42]);
    keeper.sealed(42);
    assert!(next(&told).starts_with("retention: 1 segment up to 000039, "));
    watched.look(&keeper);
    assert!(keeper.close(LONG) && keeper.close(Duration::ZERO));
    assert_eq!(told.iter().count(), 0, "what is gone is not removed again");
    let anchor = last_anchor(&journal_storage).unwrap();
    assert_eq!(verify(&storage, true, Some(&anchor)).unwrap().outcome, Outcome::Declared);
    journal.finish(LONG).unwrap();
}

// REQ W1
#[test]
fn without_a_journal_nothing_goes_and_that_is_told_once() {
    let storage = SimStorage::new();
    let mut recording = Recording::new(&storage, 3);
    let (keeper, told) = keeper(Arc::new(storage.clone()), OLD, None);
    assert!(next(&told).contains("there is no journal"));
    for _ in 0..3 {
        keeper.sealed(recording.seal());
    }
    assert!(keeper.close(LONG));
    assert_eq!(numbers(&storage), [1, 2, 3, 4, 5, 6]);
    assert_eq!(told.iter().count(), 0, "told once, and its end drops the teller");
}

// REQ W1, REQ W3
#[test]
fn while_the_journal_cannot_be_written_nothing_goes() {
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let _recording = Recording::new(&storage, 3);
    let journal = open_journal(&journal_storage);
    let at = Some(journal_storage.operations());
    journal_storage.set_faults(Faults { at, for_ever: true, ..Faults::default() });
    let (keeper, told) = keeper(Arc::new(storage.clone()), OLD, Some(&journal));
    assert!(next(&told).starts_with("retention: nothing is removed: the journal cannot be written"));
    assert_eq!(numbers(&storage), [1, 2, 3]);
    journal_storage.set_faults(Faults::default());
    // The journal tries again by itself; what it has in its queue is not appended again.
    assert!(next(&told).starts_with("retention: 3 segments up to 000003, "));
    assert!(keeper.close(LONG));
    assert!(numbers(&storage).is_empty());
    assert_eq!(journal.head().entry, 1);
}

// REQ W1, REQ W3
#[test]
fn on_a_full_disk_removal_comes_first_and_the_entry_follows() {
    // Refused, because its queue is full; or taken, and not written.
    for is_queued in [true, false] {
        let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
        let _recording = Recording::new(&storage, 3);
        let options = JournalOptions { ballast_bytes: 0, queue_entries_max: 1, ..JournalOptions::default() };
        let journal = Journal::open(Arc::new(journal_storage.clone()), options).unwrap().0;
        journal_storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
        // It finds the disk full, and then keeps what it has.
        let first = journal.append("noise", None, Default::default()).unwrap();
        while journal.trouble().is_none() {
            assert!(!journal.wait_durable(first.entry, Duration::from_millis(1)));
        }
        if !is_queued {
            while journal.append("noise", None, Default::default()).is_some() {}
        }
        storage.set_faults(Faults { capacity_bytes: Some(10_000), ..Faults::default() });
        let limits = retention(None, None, Some(1 << 40));
        let (keeper, told) = keeper(Arc::new(storage.clone()), limits, Some(&journal));
        assert!(next(&told).starts_with("retention: 3 segments up to 000003, "), "queued: {is_queued}");
        assert!(numbers(&storage).is_empty());
        assert_eq!(last_anchor(&journal_storage), None);
        journal_storage.set_faults(Faults::default());
        while last_anchor(&journal_storage).is_none() {
            keeper.sealed(0);
            let entry = journal.head().entry;
            journal.wait_durable(entry, LONG);
        }
        assert!(keeper.close(LONG));
        assert_eq!(last_anchor(&journal_storage).unwrap().through, 3);
    }
}

// REQ W1
#[test]
fn a_full_disk_alone_is_no_leave_to_remove_untold() {
    // More is free than is asked for, and the journal is in trouble all the same.
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let _recording = Recording::new(&storage, 3);
    let journal = open_journal(&journal_storage);
    journal_storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let limits = retention(Some(0), None, Some(1));
    let (keeper, told) = keeper(Arc::new(storage.clone()), limits, Some(&journal));
    assert!(next(&told).starts_with("retention: nothing is removed: the disk is full"));
    assert!(keeper.close(LONG));
    assert_eq!(numbers(&storage), [1, 2, 3]);
}

// REQ W1
#[test]
fn what_cannot_be_removed_is_told_once_and_tried_again() {
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let _recording = Recording::new(&storage, 3);
    let journal = open_journal(&journal_storage);
    storage.set_faults(Faults { at: Some(storage.operations()), for_ever: true, ..Faults::default() });
    let (keeper, told) = keeper(Arc::new(storage.clone()), OLD, Some(&journal));
    assert!(next(&told).starts_with("retention: removing segments up to 000003: "));
    let attempts = storage.operations();
    while storage.operations() < attempts + 3 {
        keeper.sealed(3);
        std::thread::yield_now();
    }
    storage.set_faults(Faults::default());
    keeper.sealed(3);
    assert!(next(&told).starts_with("retention: 3 segments up to 000003, "), "the same fault is told once");
    assert_eq!(journal.head().entry, 1, "and the removal too");
    assert!(keeper.close(LONG));
    assert!(numbers(&storage).is_empty());
}

// REQ W1
#[test]
fn a_damaged_beginning_is_told_and_nothing_goes() {
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let mut recording = Recording::new(&storage, 3);
    recording.seal();
    storage.corrupt("000004.mcap", 200, 0xFF);
    let journal = open_journal(&journal_storage);
    let each = sealed_segments(&storage).unwrap().iter().map(|s| s.bytes).max().unwrap();
    let (keeper, told) = keeper(Arc::new(storage.clone()), retention(Some(each), None, None), Some(&journal));
    assert!(next(&told).contains("the beginning of 000004.mcap is damaged"));
    assert!(keeper.close(LONG));
    assert_eq!((numbers(&storage).len(), journal.head().entry), (4, 0));
}

// REQ W1
#[test]
fn where_no_limit_is_set_there_is_no_thread() {
    let storage = SimStorage::new();
    let _recording = Recording::new(&storage, 3);
    let (keeper, told) = keeper(Arc::new(storage.clone()), Retention::default(), None);
    assert_eq!(told.iter().count(), 0, "whoever would tell is gone");
    keeper.sealed(3);
    assert!(keeper.close(Duration::ZERO));
    assert_eq!(numbers(&storage).len(), 3);
}

// REQ W2, REQ T8
#[test]
fn a_disk_that_hangs_does_not_hold_up_a_close() {
    let (storage, journal_storage) = (SimStorage::new(), SimStorage::new());
    let _recording = Recording::new(&storage, 40);
    let journal = open_journal(&journal_storage);
    let (sender, reached) = channel();
    let let_go = Arc::new((Mutex::new(false), Condvar::new()));
    let held = let_go.clone();
    // A disk that does not answer until it is let go.
    let hanging = Watched::new(&storage, move |_| {
        let _ = sender.send(());
        let free = held.0.lock().unwrap();
        drop(held.1.wait_while(free, |free| !*free).unwrap());
    });
    let (keeper, told) = keeper(hanging, OLD, Some(&journal));
    reached.recv_timeout(LONG).unwrap();
    assert!(!keeper.close(Duration::from_millis(10)));
    *let_go.0.lock().unwrap() = true;
    let_go.1.notify_all();
    assert!(keeper.close(LONG));
    assert_eq!(numbers(&storage).len(), 24, "what it was about to, and no more");
    assert_eq!(told.iter().count(), 0, "it was not all");
    assert!(
        verify(&storage, true, last_anchor(&journal_storage).as_ref()).unwrap().outcome <= Outcome::Declared
    );
}

/// Says that it is dropped, and then waits to be let go.
struct SlowToDrop(Sender<()>, Receiver<()>);

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
        let _ = self.1.recv();
    }
}

// REQ T8, REQ T9
#[test]
fn it_is_closed_when_all_that_its_thread_had_is_dropped() {
    let storage = SimStorage::new();
    let _recording = Recording::new(&storage, 3);
    let ((dropping, is_dropped), (let_go, free)) = (channel(), channel());
    let slow = SlowToDrop(dropping, free);
    let told = move |_| _ = &slow;
    let keeper = Keeper::start(&ThreadCoordinator::default(), Arc::new(storage), OLD, None, told).unwrap();
    assert!(!keeper.close(Duration::ZERO), "it has ended before it dropped what it had");
    is_dropped.recv_timeout(LONG).unwrap();
    assert!(!keeper.close(Duration::from_millis(10)), "it still has what it tells");
    drop(let_go);
    assert!(keeper.close(LONG));
}
