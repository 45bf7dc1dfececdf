//! A directory whose writes end the process at a moment that is chosen beforehand.

use evenkeel_log::storage::{AppendFile, DirStorage, Entry, ReadFile, Storage};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// On which side of a write the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before anything of it was done.
    Before,
    /// In its middle, where it has one: some of the bytes are there.
    Within,
    /// When it was done, before anybody knew.
    After,
}

impl Side {
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::Within, Self::After];
}

/// When the process ends, and how many writes there were.
pub(crate) struct Fuse {
    /// The write's number, from 1; 0 for never.
    pub(crate) at: u64,
    pub(crate) side: Side,
    writes: AtomicU64,
}

impl Fuse {
    pub(crate) fn new(at: u64, side: Side) -> Arc<Self> {
        Arc::new(Self { at, side, writes: AtomicU64::new(0) })
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Does a write, unless it is the one.
    fn burn<T>(&self, within: impl FnOnce(), act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let is_it = self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        if is_it && self.side == Side::Before {
            end();
        }
        if is_it && self.side == Side::Within {
            within();
            end();
        }
        let done = act();
        if is_it {
            end();
        }
        done
    }

    fn whole<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.burn(|| (), act)
    }
}

/// As hard as the system can: nothing of the process runs after this.
fn end() -> ! {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::park();
    }
}

/// The directory with its fuse.
pub(crate) struct Fused {
    pub(crate) storage: DirStorage,
    pub(crate) fuse: Arc<Fuse>,
}

struct FusedFile {
    file: Box<dyn AppendFile>,
    fuse: Arc<Fuse>,
}

impl Fused {
    fn file(&self, file: Box<dyn AppendFile>) -> Box<dyn AppendFile> {
        Box::new(FusedFile { file, fuse: self.fuse.clone() })
    }
}

impl Storage for Fused {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.fuse.whole(|| self.storage.create(name)).map(|file| self.file(file))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.storage.reopen(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.storage.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.storage.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fuse.whole(|| self.storage.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.fuse.whole(|| self.storage.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.fuse.whole(|| self.storage.sync_dir())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.storage.free_bytes()
    }
}

impl AppendFile for FusedFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let half = || {
            let _ = self.file.append(&mut [IoSlice::new(&bytes[..bytes.len() / 2])]);
        };
        self.fuse.burn(half, || self.file.append(parts))
    }

    fn sync(&self) -> io::Result<()> {
        self.fuse.whole(|| self.file.sync())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.fuse.whole(|| self.file.truncate(len))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.fuse.whole(|| self.file.preallocate(len))
    }
}
