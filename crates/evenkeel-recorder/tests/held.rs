//! Whatever of an embedder's a recorder calls or drops, no lock of the house is held, and it may come back.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{LONG, after, config, eventually, stored};
use evenkeel_hierarchy::try_with_root;
use evenkeel_locks::{Mutex as Locked, lock_order, with_root};
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_recorder::{ChannelConfig, ReaderSource, Recorder, Source};
use std::collections::BTreeSet;
use std::io::{self, IoSlice, Read};
use std::sync::{Arc, Mutex, OnceLock, Weak};

lock_order! { Mine; }
static MY_LOCK: Locked<Mine, ()> = Locked::new(());

/// What is called looks whether anything is held, and asks the recorder all it can.
#[derive(Default)]
struct Probe {
    recorder: OnceLock<Weak<Recorder>>,
    seen: Mutex<BTreeSet<&'static str>>,
    held: Mutex<BTreeSet<&'static str>>,
}

impl Probe {
    fn called(&self, kind: &'static str) {
        self.seen.lock().unwrap().insert(kind);
        if try_with_root(|_| ()).is_err() {
            self.held.lock().unwrap().insert(kind);
            return;
        }
        if let Some(recorder) = self.recorder.get().and_then(Weak::upgrade) {
            ask(&recorder);
        }
    }
}

fn ask(recorder: &Recorder) {
    assert_eq!(recorder.channels().len(), 1);
    let _ = (recorder.trouble(), recorder.faults(), recorder.retention(), recorder.has_ended());
    let _ = (recorder.seen_at_work_ns(), recorder.unread_segments(), recorder.reports());
    let _ = (recorder.wait_flushed(0, 0), recorder.wait_finished(0), recorder.wait_captured(0, 0));
}

/// A reader of an embedder's, with something to read at every call.
struct Reader {
    left: usize,
    probe: Arc<Probe>,
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.probe.called("read");
        let n = buf.len().min(1_000).min(self.left);
        buf[..n].fill(7);
        self.left -= n;
        Ok(n)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.probe.called("drop of a reader");
    }
}

struct Watched(SimStorage, Arc<Probe>);
struct WatchedFile(Box<dyn AppendFile>, Arc<Probe>);
struct WatchedRead(Box<dyn ReadFile>, Arc<Probe>);

impl AppendFile for WatchedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.1.called("append");
        self.0.append(parts)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.called("sync");
        self.0.sync()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.1.called("truncate");
        self.0.truncate(len)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.1.called("preallocate");
        self.0.preallocate(len)
    }
}

impl ReadFile for WatchedRead {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.called("read_at");
        self.0.read_at(buf, offset)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.1.called("bytes");
        self.0.bytes()
    }
}

impl Storage for Watched {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.1.called("create");
        Ok(Box::new(WatchedFile(self.0.create(name)?, self.1.clone())))
    }
    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.1.called("reopen");
        Ok(Box::new(WatchedFile(self.0.reopen(name)?, self.1.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.1.called("open");
        Ok(Box::new(WatchedRead(self.0.open(name)?, self.1.clone())))
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.1.called("list");
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.called("rename");
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.called("remove");
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.1.called("sync_dir");
        self.0.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.1.called("free_bytes");
        self.0.free_bytes()
    }
}

// REQ T1, REQ T9
#[test]
fn what_an_embedder_wrote_finds_nothing_held_and_may_ask_the_recorder() {
    const BYTES: usize = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let (probe, inner) = (Arc::new(Probe::default()), SimStorage::new());
    let source = ReaderSource::new("theirs", Reader { left: BYTES, probe: probe.clone() });
    let mut config = config(dir.path(), vec![ChannelConfig::new("a", Source::Reader(source))]);
    config.log.segment_bytes = 100_000;
    config.retention.min_free = Some(1);
    // Who records, and asks, and stops, holds a lock of his own all the while.
    with_root(|root| {
        let _mine = MY_LOCK.lock(root);
        let storage = Arc::new(Watched(inner.clone(), probe.clone()));
        let recorder = Arc::new(Recorder::start_on(storage, None, config).unwrap());
        probe.recorder.set(Arc::downgrade(&recorder)).unwrap();
        eventually("the end of the reader", || recorder.has_ended());
        ask(&recorder);
        assert!(recorder.wait_read_back(after(LONG)));
        eventually("a look at the free space", || probe.seen.lock().unwrap().contains("free_bytes"));
        let ending = recorder.stop(u64::MAX);
        assert!(ending.clean, "{:?}", ending.faults);
    });
    assert_eq!(stored(&inner, "a").len(), BYTES);
    assert_eq!(*probe.held.lock().unwrap(), BTreeSet::new(), "called under a lock");
    let seen = probe.seen.lock().unwrap();
    for kind in ["read", "drop of a reader", "append", "sync", "create", "rename", "list", "sync_dir"] {
        assert!(seen.contains(kind), "never called: {kind}");
    }
    assert!(seen.contains("read_at") && seen.contains("free_bytes"), "{seen:?}");
}
