//! A storage in memory that records, tears, refuses, and rebuilds what a crash
//! would leave.
//!
//! Each operation is numbered. [`SimStorage::crash`] answers a new storage as
//! the medium may look after a power cut right now, under the assumptions at
//! the head of [`storage`](crate::storage): of the appends since a file's last
//! sync any subset, each torn at 512 bytes, what lies between reading as
//! zeroes; of the directory changes since the last directory sync any subset.

use crate::storage::{AppendFile, Entry, ReadFile, Storage};
use evenkeel_hierarchy::{LogSim, Mutex, with_root};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Bytes that a medium writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Which operations fail.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Operations of this number and, with `for_ever`, all later ones fail.
    pub at: Option<u64>,
    /// Whether the fault stays.
    pub for_ever: bool,
    /// The error; `EIO` when none is named.
    pub kind: Option<io::ErrorKind>,
    /// Bytes that the disk holds; appends beyond fail with a full disk.
    pub capacity_bytes: Option<u64>,
    /// Whether appends fill their last sector up with zeroes, as direct writes do.
    pub pads: bool,
    /// Planted bugs, to see that tests catch them.
    pub bugs: Bugs,
}

/// A medium, or a recorder, that lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bugs {
    /// One file sync in this many does nothing and says that it did.
    pub drop_sync_every: Option<u64>,
    /// Directory syncs do nothing and say that they did.
    pub drop_dir_syncs: bool,
}

/// A whole directory in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimStorage {
    disk: Arc<Mutex<LogSim, Disk>>,
}

type FileId = u64;

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<FileId, SimFile>,
    /// The directory as this process sees it.
    names: BTreeMap<String, FileId>,
    /// The directory as of the last directory sync, and the changes since.
    durable_names: BTreeMap<String, FileId>,
    changes: Vec<Change>,
    next_id: FileId,
    operations: u64,
    syncs: u64,
    faults: Faults,
    watch: Option<Watch>,
}

/// Images taken before every operation.
#[derive(Debug)]
struct Watch {
    rng: Rng,
    images: Vec<SimStorage>,
}

#[derive(Clone, Debug, Default)]
struct SimFile {
    content: Vec<u8>,
    /// Content as of the last sync.
    durable: Vec<u8>,
    /// What was done since: where an append began, or the length of a cut.
    since: Vec<Write>,
    reserved: u64,
    /// Zeroes at the end of `content` that nobody appended.
    padding: usize,
}

#[derive(Clone, Debug)]
enum Write {
    Append(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, FileId),
    Unlink(String),
    Rename(String, String, FileId),
}

impl SimStorage {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn disk<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        with_root(|house| act(&mut self.disk.lock(house)))
    }

    /// Sets what fails from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.disk(|disk| disk.faults = faults);
    }

    /// Operations so far: every call that changes or syncs something.
    pub fn operations(&self) -> u64 {
        self.disk(|disk| disk.operations)
    }

    /// Alters a byte behind everybody's back.
    pub fn corrupt(&self, name: &str, at: u64, flip: u8) {
        self.disk(|disk| {
            if let Some(id) = disk.names.get(name).copied()
                && let Some(file) = disk.files.get_mut(&id)
                && let Some(byte) = file.content.get_mut(at as usize)
            {
                *byte ^= flip;
                file.durable = file.content.clone();
                file.since.clear();
            }
        });
    }

    /// From now on, keeps a crash image as of before every operation.
    pub fn watch(&self, rng: Rng) {
        // The images before are dropped with no lock held.
        drop(self.disk(|disk| disk.watch.replace(Watch { rng, images: Vec::new() })));
    }

    /// The images since the last call.
    pub fn take_images(&self) -> Vec<Self> {
        self.disk(|disk| disk.watch.as_mut().map(|w| std::mem::take(&mut w.images)).unwrap_or_default())
    }

    /// The medium after a power cut now: a random one of the possible.
    pub fn crash(&self, rng: &mut Rng) -> Self {
        self.disk(|disk| disk.crash(rng))
    }

    /// The medium after the process was killed: all that it wrote is there.
    pub fn kill(&self) -> Self {
        self.disk(|disk| {
            let mut after = Disk { next_id: disk.next_id, ..Disk::default() };
            after.files.clone_from(&disk.files);
            after.names.clone_from(&disk.names);
            after.durable_names.clone_from(&disk.durable_names);
            after.changes.clone_from(&disk.changes);
            Self { disk: Arc::new(Mutex::new(after)) }
        })
    }

    /// The content of a file, or `None`.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.disk(|disk| disk.names.get(name).and_then(|id| disk.files.get(id)).map(|f| f.content.clone()))
    }

    /// Puts a file there, durable.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        self.disk(|disk| {
            let id = disk.next_id;
            disk.next_id += 1;
            disk.files.insert(id, SimFile { durable: content.clone(), content, ..SimFile::default() });
            disk.names.insert(name.to_owned(), id);
            disk.durable_names.insert(name.to_owned(), id);
        });
    }
}

impl SimFile {
    /// A sync makes what was written since the last one durable. One that fails
    /// has lost it for good: the system tells a failed write-back only once, and
    /// the next sync says nothing about it.
    fn settle(&mut self, succeeded: bool) {
        for write in std::mem::take(&mut self.since) {
            match write {
                Write::Cut(len) => self.durable.truncate(len as usize),
                Write::Append(at, bytes) => {
                    let (at, end) = (at as usize, at as usize + bytes.len());
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    if succeeded {
                        self.durable[at..end].copy_from_slice(&bytes);
                    }
                }
            }
        }
    }

    fn after_crash(&self, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for write in &self.since {
            match write {
                Write::Cut(len) if rng.bool() => content.truncate(*len as usize),
                Write::Cut(_) => {}
                Write::Append(at, bytes) => keep_some(&mut content, *at as usize, bytes, rng),
            }
        }
        content
    }
}

/// Keeps all, none, or some sectors of an append.
fn keep_some(content: &mut Vec<u8>, at: usize, bytes: &[u8], rng: &mut Rng) {
    let mood = rng.u8(0..4);
    let mut from = 0;
    while from < bytes.len() {
        let to_boundary = SECTOR_BYTES - (at + from) % SECTOR_BYTES;
        let to = bytes.len().min(from + to_boundary);
        let kept = match mood {
            0 => true,
            1 => false,
            _ => rng.bool(),
        };
        if kept {
            if content.len() < at + to {
                content.resize(at + to, 0);
            }
            content[at + from..at + to].copy_from_slice(&bytes[from..to]);
        }
        from = to;
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, id) => {
                // A rename whose creation was lost names a file all the same.
                names.remove(from);
                names.insert(to.clone(), *id);
            }
        }
    }
}

impl Disk {
    fn crash(&self, rng: &mut Rng) -> SimStorage {
        let mut after = Self { next_id: self.next_id, ..Self::default() };
        for (id, file) in &self.files {
            let content = file.after_crash(rng);
            after.files.insert(*id, SimFile { durable: content.clone(), content, ..SimFile::default() });
        }
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            if rng.bool() {
                change.apply(&mut names);
            }
        }
        after.names = names.clone();
        after.durable_names = names;
        SimStorage { disk: Arc::new(Mutex::new(after)) }
    }

    /// Counts an operation, or refuses it.
    fn operate(&mut self) -> io::Result<()> {
        if let Some(mut watch) = self.watch.take() {
            watch.images.push(self.crash(&mut watch.rng));
            self.watch = Some(watch);
        }
        let number = self.operations;
        self.operations += 1;
        let Faults { at, for_ever, kind, .. } = &self.faults;
        match at {
            Some(at) if number == *at || (*for_ever && number > *at) => {
                Err(kind.map_or_else(|| io::Error::from_raw_os_error(5), io::Error::from))
            }
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|id| self.files.get(id))
            .map(|f| f.reserved.max(f.content.len() as u64))
            .sum()
    }

    fn id(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free(&self) -> u64 {
        self.faults.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }
}

impl Storage for SimStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let id = self.disk(|disk| {
            disk.operate()?;
            if disk.names.contains_key(name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let id = disk.next_id;
            disk.next_id += 1;
            disk.files.insert(id, SimFile::default());
            disk.names.insert(name.to_owned(), id);
            disk.changes.push(Change::Link(name.to_owned(), id));
            Ok(id)
        })?;
        Ok(Box::new(Handle { storage: self.clone(), id }))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let id = self.disk(|disk| disk.id(name))?;
        Ok(Box::new(Handle { storage: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        let id = self.disk(|disk| disk.id(name))?;
        Ok(Box::new(Handle { storage: self.clone(), id }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.disk(|disk| {
            let bytes = |id| disk.files.get(id).map_or(0, |f| f.content.len() as u64);
            Ok(disk.names.iter().map(|(name, id)| Entry { name: name.clone(), bytes: bytes(id) }).collect())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk(|disk| {
            disk.operate()?;
            let id = disk.id(from)?;
            disk.names.remove(from);
            disk.names.insert(to.to_owned(), id);
            disk.changes.push(Change::Rename(from.to_owned(), to.to_owned(), id));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk(|disk| {
            disk.operate()?;
            disk.id(name)?;
            disk.names.remove(name);
            disk.changes.push(Change::Unlink(name.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk(|disk| {
            disk.operate()?;
            if !disk.faults.bugs.drop_dir_syncs {
                disk.changes.clear();
                disk.durable_names = disk.names.clone();
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk(|disk| disk.free()))
    }
}

struct Handle {
    storage: SimStorage,
    id: FileId,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut SimFile) -> T) -> io::Result<T> {
        self.storage
            .disk(|disk| disk.files.get_mut(&self.id).map(act).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

impl AppendFile for Handle {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        self.storage.disk(|disk| {
            let refused = disk.operate().err();
            let (free, pads) = (disk.free(), disk.faults.pads);
            let file = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            let room = free + file.reserved.saturating_sub(file.content.len() as u64);
            // A failed append leaves some of it, as a short write does.
            let (taken, error) = match refused {
                Some(e) => (bytes.len() / 2, Some(e)),
                None if bytes.len() as u64 > room => (room as usize, Some(io::ErrorKind::StorageFull.into())),
                None => (bytes.len(), None),
            };
            let at = file.content.len() - file.padding;
            file.content.truncate(at);
            file.content.extend_from_slice(&bytes[..taken]);
            let padded =
                if pads && error.is_none() { file.content.len().next_multiple_of(SECTOR_BYTES) } else { 0 };
            file.padding = padded.saturating_sub(file.content.len());
            file.content.resize(file.content.len() + file.padding, 0);
            file.since.push(Write::Append(at as u64, file.content[at..].to_vec()));
            error.map_or(Ok(()), Err)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.disk(|disk| {
            let refused = disk.operate();
            disk.syncs += 1;
            let dropped = disk.faults.bugs.drop_sync_every.is_some_and(|n| disk.syncs.is_multiple_of(n));
            let file = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            if !dropped {
                file.settle(refused.is_ok());
            }
            refused
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.storage.disk(Disk::operate)?;
        self.with(|file| {
            file.content.truncate(len as usize);
            file.padding = 0;
            file.since.push(Write::Cut(len));
        })
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.storage.disk(|disk| {
            disk.operate()?;
            if disk.free() < len {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = disk.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            file.reserved = len;
            Ok(())
        })
    }
}

impl ReadFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|file| {
            let rest = file.content.get(offset as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.with(|file| file.content.len() as u64)
    }
}
