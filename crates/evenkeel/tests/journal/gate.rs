//! A disk whose syncs wait for as long as the test wants.

use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex};

#[derive(Default)]
struct State {
    shut: bool,
    waiting: u64,
}

#[derive(Clone)]
pub(crate) struct Gate {
    inner: SimStorage,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Gate {
    pub(crate) fn over(inner: SimStorage) -> Self {
        Self { inner, state: Arc::default() }
    }

    pub(crate) fn shut(&self) {
        self.state.0.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.state.0.lock().unwrap().shut = false;
        self.state.1.notify_all();
    }

    /// Waits until a sync waits.
    pub(crate) fn wait_for_someone(&self) {
        let state = self.state.0.lock().unwrap();
        drop(self.state.1.wait_while(state, |s| s.waiting == 0).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.waiting += 1;
        self.state.1.notify_all();
        state = self.state.1.wait_while(state, |s| s.shut).unwrap();
        state.waiting -= 1;
    }
}

struct GatedFile {
    inner: Box<dyn AppendFile>,
    gate: Gate,
}

impl AppendFile for GatedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.inner.append(parts)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.inner.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.inner.preallocate(len)
    }
}

impl Storage for Gate {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GatedFile { inner: self.inner.create(name)?, gate: self.clone() }))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.reopen(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
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
