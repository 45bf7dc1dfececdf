//! A disk that writes and takes long to make it durable: who drops the oldest has the newest all the same.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{LONG, after, config, eventually, silent, stored};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_log::{GapReason, Outcome, verify};
use evenkeel_recorder::{ChannelConfig, Framing, OnFull, Recorder, Source};
use std::io::{self, IoSlice, PipeWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Whether syncs have to wait.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    /// Who appended last: the thread's number in the system.
    appends: AtomicI32,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
    }
}

struct Gated(SimStorage, Arc<Gate>);
struct GatedFile(Box<dyn AppendFile>, Arc<Gate>);

impl AppendFile for GatedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.1.appends.store(rustix::thread::gettid().as_raw_pid(), SeqCst);
        self.0.append(parts)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.0.preallocate(len)
    }
}

impl Storage for Gated {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GatedFile(self.0.create(name)?, self.1.clone())))
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
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

/// A channel of lines on a disk with a gate, which is closed behind its first line; what feeds it.
fn standing(on_full: OnFull) -> (Recorder, PipeWriter, SimStorage, Arc<Gate>) {
    let (source, storage, gate) = (silent(), SimStorage::new(), Arc::new(Gate::default()));
    let channel =
        ChannelConfig { framing: Framing::Lines, on_full, ..ChannelConfig::new("x", source.source) };
    let gated = Arc::new(Gated(storage.clone(), gate.clone()));
    let recorder = Recorder::start_on(gated, None, config(Path::new("gated"), vec![channel])).unwrap();
    let mut feed = source.feed;
    feed.write_all(b"first\n").unwrap();
    eventually("the first acknowledgement", || recorder.channels()[0].committed_bytes == 6);
    gate.set_closed(true);
    (recorder, feed, storage, gate)
}

/// Feeds lines until so many bytes of them are dropped; answers how many there were.
fn flood(recorder: &Recorder, feed: &mut PipeWriter, dropped: u64) -> Vec<u8> {
    let mut sent = Vec::new();
    for n in 0u64.. {
        let piece = format!("{n:07} of so many\n").repeat(100);
        feed.write_all(piece.as_bytes()).unwrap();
        sent.extend_from_slice(piece.as_bytes());
        if recorder.channels()[0].dropped_bytes > dropped {
            break;
        }
    }
    sent
}

/// Nanoseconds of a processor that a thread of this process has had.
fn cpu_ns(thread: i32) -> u64 {
    let said = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap();
    said.split(' ').next().unwrap().parse().unwrap()
}

// REQ T7, REQ T9
#[test]
fn a_log_that_waits_for_its_disk_does_not_work_meanwhile() {
    for on_full in [OnFull::DropOldest, OnFull::DropNewest] {
        let (recorder, mut feed, _, gate) = standing(on_full);
        flood(&recorder, &mut feed, 4 << 20);
        let log = gate.appends.load(SeqCst);
        let before = cpu_ns(log);
        // sleep: a thread that does nothing has no end to wait for
        std::thread::sleep(Duration::from_millis(500));
        let worked = cpu_ns(log) - before;
        // It looks every millisecond, which takes a few microseconds.
        assert!(worked < 60_000_000, "{on_full:?}: {worked} ns of 500 ms");
        gate.set_closed(false);
        drop(feed);
        assert!(recorder.stop(after(LONG)).clean);
    }
}

// REQ R8, REQ R9
#[test]
fn what_is_dropped_while_the_disk_stands_still_is_few_gaps() {
    let (recorder, mut feed, storage, gate) = standing(OnFull::DropNewest);
    let sent = flood(&recorder, &mut feed, 40 << 20).len() as u64 + 6;
    drop(feed);
    eventually("its end", || recorder.has_ended());
    gate.set_closed(false);
    let ending = recorder.stop(after(LONG));
    assert!(ending.clean && !ending.complete, "{:?}", ending.faults);
    let of = &ending.channels[0];
    assert_eq!((of.accepted_bytes, of.committed_bytes + of.dropped_bytes), (sent, sent));
    let found = verify(&storage, false, None).unwrap();
    assert_eq!(found.gaps.iter().filter_map(|gap| gap.bytes).sum::<u64>(), of.dropped_bytes);
    // One for each time that memory came back, and not one for each commit.
    assert!(found.gaps.len() < 8, "{} gaps", found.gaps.len());
}

// REQ R9, REQ R5, REQ W4
#[test]
fn who_drops_the_oldest_has_the_newest_however_long_a_sync_takes() {
    let (recorder, mut feed, storage, gate) = standing(OnFull::DropOldest);
    let sent = [b"first\n".to_vec(), flood(&recorder, &mut feed, 8 << 20)].concat();
    drop(feed);
    eventually("its end", || recorder.has_ended());
    gate.set_closed(false);
    let ending = recorder.stop(after(LONG));
    assert!(ending.clean && !ending.complete, "{:?}", ending.faults);
    let of = &ending.channels[0];
    assert_eq!(of.accepted_bytes, sent.len() as u64);
    assert_eq!(of.accepted_bytes, of.committed_bytes + of.dropped_bytes);
    let found = verify(&storage, false, None).unwrap();
    assert_eq!(found.outcome, Outcome::Declared, "{found:#?}");
    assert!(found.gaps.iter().all(|gap| gap.reason == GapReason::DropOldest), "{:?}", found.gaps);
    assert_eq!(found.gaps.iter().filter_map(|gap| gap.bytes).sum::<u64>(), of.dropped_bytes);
    // What the log had when the disk stood still, and the newest.
    let out = stored(&storage, "x");
    let begin = out.iter().zip(&sent).take_while(|(a, b)| a == b).count();
    let end = out.iter().rev().zip(sent.iter().rev()).take_while(|(a, b)| a == b).count();
    // Of more than 5 MiB, half of it heads, and as full as reads have made it.
    assert!(begin > 250_000 && end > 250_000, "{begin} and {end} bytes of {}", out.len());
}

// REQ W1, REQ R9
#[test]
fn a_file_that_is_truncated_while_its_reader_waits_is_read_from_its_start() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("log");
    let (old, new) = (vec![b'o'; 20 << 20], vec![b'n'; 21 << 20]);
    let (storage, gate) = (SimStorage::new(), Arc::new(Gate::default()));
    let gated = Arc::new(Gated(storage.clone(), gate.clone()));
    let channel = ChannelConfig::new("log", Source::Tail(path.clone()));
    let recorder = Recorder::start_on(gated, None, config(Path::new("gated"), vec![channel])).unwrap();
    gate.set_closed(true);
    std::fs::write(&path, &old).unwrap();
    let counts = || recorder.channels().remove(0);
    eventually("no more memory", || counts().accepted_bytes > 4 << 20);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    // sleep: nobody says that somebody has looked, which is every 20 ms
    std::thread::sleep(Duration::from_millis(300));
    (&file).write_all(&new).unwrap();
    gate.set_closed(false);
    eventually("its new start", || counts().last_fault.is_some_and(|said| said.contains("was truncated")));
    eventually("all of it", || {
        stored(&storage, "log").iter().filter(|byte| **byte == b'n').count() == new.len()
    });
    assert!(recorder.stop(after(LONG)).clean);
    assert!(stored(&storage, "log").ends_with(&new));
}
