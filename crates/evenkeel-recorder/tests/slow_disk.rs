//! A disk that writes and takes long to make it durable: who drops the oldest has the newest all the same.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{LONG, after, config, eventually, silent, stored};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_log::{GapReason, Outcome, verify};
use evenkeel_recorder::{ChannelConfig, Framing, OnFull, Recorder};
use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Condvar, Mutex};

/// Whether syncs have to wait.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
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

// REQ R9, REQ R5, REQ W4
#[test]
fn who_drops_the_oldest_has_the_newest_however_long_a_sync_takes() {
    let (source, storage, gate) = (silent(), SimStorage::new(), Arc::new(Gate::default()));
    let channel = ChannelConfig {
        framing: Framing::Lines,
        on_full: OnFull::DropOldest,
        ..ChannelConfig::new("x", source.source)
    };
    let scratch = tempfile::tempdir().unwrap();
    let gated = Arc::new(Gated(storage.clone(), gate.clone()));
    let recorder = Recorder::start_on(gated, None, config(scratch.path(), vec![channel])).unwrap();
    let mut feed = source.feed;
    feed.write_all(b"first\n").unwrap();
    let mut sent = b"first\n".to_vec();
    eventually("the first acknowledgement", || recorder.channels()[0].committed_bytes == 6);
    gate.set_closed(true);
    for n in 0u64.. {
        let piece = format!("{n:07} of so many\n").repeat(100);
        feed.write_all(piece.as_bytes()).unwrap();
        sent.extend_from_slice(piece.as_bytes());
        if recorder.channels()[0].dropped_bytes > 8 << 20 {
            break;
        }
    }
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
    assert!(sent.starts_with(&out[..500_000]) && sent.ends_with(&out[out.len() - 500_000..]));
}
