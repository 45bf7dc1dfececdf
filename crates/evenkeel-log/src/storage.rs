//! The one seam between the log and a disk.
//!
//! What is assumed of a medium: an append reaches the file in order or not at
//! all *as seen by this process*; after a crash any subset of the appends since
//! the last completed `sync` may survive, each torn at 512-byte sectors;
//! creations, renames and removals survive only a completed `sync_dir`; a
//! completed `sync` or `sync_dir` is never undone. A `sync` that failed says
//! nothing about any byte since the last one that succeeded.
//!
//! [`DirStorage`] is a directory of the real file system; `sim::SimStorage`
//! (feature `sim`) records, tears and refuses.

use std::io::{self, IoSlice};

mod dir;
mod file;
mod medium;
mod staging;
pub use dir::{DirLock, DirStorage, LockError};

/// A file of a [`Storage`] directory, as [`Storage::list`] tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// File name, without directory.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// A flat directory of files. All methods block.
pub trait Storage: Send + Sync + 'static {
    /// Creates a file that must not exist yet.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;
    /// Opens an existing file to append to its end.
    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;
    /// Opens an existing file to read.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>>;
    /// The same, to read what the medium has, not what the system remembers of it; a storage
    /// that cannot tell the two apart opens it as ever. It is read in order, and grows no more.
    fn open_medium(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.open(name)
    }
    /// All regular files, in no particular order.
    fn list(&self) -> io::Result<Vec<Entry>>;
    /// Renames, replacing `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that an unprivileged process can still write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A file that only grows. Shared between the thread that appends and the one that syncs.
///
/// Until [`truncate`](AppendFile::truncate) the file may be longer than what was
/// appended: by zeroes, fewer than [`PADDING_BYTES_MAX`].
pub trait AppendFile: Send + Sync {
    /// Appends all bytes of all parts. After an error any prefix may be in the file.
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Makes what was appended before the call durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Has what was appended set out for the medium, and waits for nothing: the sync that follows finds less to do. A
    /// hint, which a storage may leave alone.
    fn begin_sync(&self) {}
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Reserves `len` bytes of disk for the file without changing its length,
    /// or fails with what the system said.
    fn preallocate(&self, len: u64) -> io::Result<()>;
}

/// Zeroes behind the end of a file that is being appended to are fewer than this.
pub const PADDING_BYTES_MAX: u64 = 4096;

/// Unit of writes past the page cache; every medium's own block divides it.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// A part of an append of at least this length is written as it is, where it begins at a
/// block boundary both of memory and of the file.
pub(crate) const LARGE_PART_BYTES: usize = 256 << 10;

/// A file to read at any place.
pub trait ReadFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 only at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes now.
    fn bytes(&self) -> io::Result<u64>;
}

/// Reads as many bytes as there are, up to `buf.len()`.
pub(crate) fn read_full_at(file: &dyn ReadFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Whether an error says that the disk, or the user's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
