//! A storage that counts the bytes read through it.

use evenkeel_log::storage::{AppendFile, Entry, ReadFile, Storage};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is read of `inner`.
pub struct Counting<S> {
    pub inner: S,
    read: Arc<AtomicU64>,
}

impl<S> Counting<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, read: Arc::default() }
    }

    /// Bytes read so far.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

struct CountingFile {
    inner: Box<dyn ReadFile>,
    read: Arc<AtomicU64>,
}

impl ReadFile for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.inner.read_at(buf, offset)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
}

impl<S: Storage> Storage for Counting<S> {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.create(name)
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.reopen(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(CountingFile { inner: self.inner.open(name)?, read: self.read.clone() }))
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
