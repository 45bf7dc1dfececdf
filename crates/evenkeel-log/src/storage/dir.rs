//! A directory of the real file system.

use super::file::GrowingFile;
use super::medium::MediumFile;
use super::staging::Staging;
use super::{AppendFile, Entry, ReadFile, Storage};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So often a directory is looked at in which files are renamed or removed meanwhile.
const LOOKS_MAX: usize = 10;

/// Files in one directory, which exists for the life of this value.
#[derive(Debug)]
pub struct DirStorage {
    path: PathBuf,
    dir: File,
    /// Of all files that are appended to.
    staging: Arc<Staging>,
}

impl DirStorage {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// What the system says when `path` is no directory or may not be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = File::open(path)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned(), dir, staging: Arc::default() })
    }

    /// Creates the directory and those above it where they are missing, each
    /// durable in the one above it, then opens it.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.exists() {
            missing.push(at);
            match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                _ => break,
            }
        }
        for dir in missing.iter().rev() {
            match std::fs::create_dir(dir) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            let above = match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            File::open(above)?.sync_all()?;
        }
        Self::open(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn look(&self) -> io::Result<Look> {
        let mut look = Look { entries: Vec::new(), missed: false };
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(meta) if meta.is_file() => look.entries.push(Entry { name, bytes: meta.len() }),
                Ok(_) => {}
                // Removed since, or renamed: a recorder may be at work.
                Err(e) if e.kind() == io::ErrorKind::NotFound => look.missed = true,
                Err(e) => return Err(e),
            }
        }
        Ok(look)
    }

    /// Whether the directory still has these files alone. A file that was renamed while they were listed may be in
    /// the list under neither name or both, with nothing to show it: from now on it has its new name.
    fn still_has(&self, entries: &[Entry]) -> io::Result<bool> {
        let mut listed: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                found.extend(entry.file_name().into_string());
            }
        }
        listed.sort_unstable();
        found.sort_unstable();
        Ok(listed == found)
    }
}

/// What one look at the directory found.
struct Look {
    entries: Vec<Entry>,
    /// Whether a file was gone before its length was asked: it may have another name by now.
    missed: bool,
}

impl Storage for DirStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GrowingFile::create(&self.path.join(name), self.staging.clone())?))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(GrowingFile::reopen(&self.path.join(name), self.staging.clone())?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(WholeFile(File::open(self.path.join(name))?)))
    }

    fn open_medium(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        MediumFile::open(&self.path.join(name)).map_or_else(|| self.open(name), |file| Ok(Box::new(file)))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        for _ in 1..LOOKS_MAX {
            if let Look { entries, missed: false } = self.look()?
                && self.still_has(&entries)?
            {
                return Ok(entries);
            }
        }
        Ok(self.look()?.entries)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A file to read.
#[derive(Debug)]
struct WholeFile(File);

impl ReadFile for WholeFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buf, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by process {}", path.display(), pid.map_or_else(|| "unknown".to_owned(), |p| p.to_string()))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds it, as far as the lock file says.
        pid: Option<u32>,
    },
    /// The lock file could not be made or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An exclusive hold of a directory by this process, released when dropped or
/// when the process is gone, however it went.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Name of the lock file.
const LOCK_NAME: &str = ".lock";

impl DirLock {
    /// Takes the lock of `dir` (a `flock` on `.lock`), or says who has it.
    ///
    /// # Errors
    /// [`LockError::InUse`] when held elsewhere, [`LockError::Io`] otherwise.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse { path: dir.to_owned(), pid });
            }
            Err(e) => return Err(io(e.into())),
        }
        // The holder's number is a courtesy to who is refused: a full disk must not keep us from it.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Whether some process holds the lock of `dir` now.
    ///
    /// # Errors
    /// What the system says; a directory without a lock file is not held.
    pub fn is_held(dir: &Path) -> io::Result<bool> {
        let file = match File::open(dir.join(LOCK_NAME)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    // REQ W5
    #[test]
    fn a_file_that_is_renamed_meanwhile_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let storage = DirStorage::open(dir.path()).unwrap();
        for number in 0..300 {
            std::fs::write(dir.path().join(format!("{number}")), b"").unwrap();
        }
        // One rename a look at the most, as a segment is sealed now and then; somewhere in it.
        let looks = AtomicUsize::new(0);
        let seen: Vec<usize> = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut met, mut names) = (0, ["1", "1.sealed"]);
                loop {
                    let look = looks.load(Ordering::Acquire);
                    if look == usize::MAX {
                        break;
                    }
                    if look == met {
                        std::thread::yield_now();
                        continue;
                    }
                    met = look;
                    (0..look % 40 * 50).for_each(|_| std::hint::spin_loop());
                    storage.rename(names[0], names[1]).unwrap();
                    names.reverse();
                }
            });
            let look = |at| {
                looks.store(at, Ordering::Release);
                storage.list().unwrap().len()
            };
            let seen = (1..=1500).map(look).collect();
            looks.store(usize::MAX, Ordering::Release);
            seen
        });
        assert!(seen.iter().all(|files| *files == 300), "{:?}", seen.iter().min());
    }
}
