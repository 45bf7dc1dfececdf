//! Files by what they are, and not by what they are called.

use evenkeel_log::SourcePosition;
use rustix::fs::OFlags;
use std::ffi::OsStr;
use std::fs::{DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Names of files that are told at once.
const NAMES_MAX: usize = 3;

/// An open file.
pub(super) struct Tailed {
    pub(super) file: File,
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Tailed {
    fn of(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(no_file(&meta));
        }
        Ok(Self { file, device: meta.dev(), inode: meta.ino() })
    }

    fn is(&self, meta: &Metadata) -> bool {
        (self.device, self.inode) == (meta.dev(), meta.ino())
    }

    /// Whether it is the same file as another.
    pub(super) fn is_that(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether it stands at a path now.
    pub(super) fn stands_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|meta| self.is(&meta))
    }

    /// How long it is now.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(super) fn read_at(&self, place: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(place, at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

fn no_file(meta: &Metadata) -> io::Error {
    let what = if meta.is_dir() { "a directory" } else { "no regular file" };
    io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}; a regular file is needed"))
}

/// Whether a path can be followed: a regular file stands there, or nothing yet.
///
/// # Errors
/// What stands there, or what the system says.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    open(path, None).map(drop)
}

/// The file at a path, unless it is `last`, or there is none.
pub(super) fn open(path: &Path, last: Option<&Tailed>) -> io::Result<Option<Tailed>> {
    let absent = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if absent(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    if last.is_some_and(|last| last.is(&meta)) {
        return Ok(None);
    }
    if !meta.is_file() {
        return Err(no_file(&meta));
    }
    // It may be another one by now, one whose opening would wait for somebody.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => Tailed::of(file)?,
        Err(e) if absent(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let is_last = last.is_some_and(|last| last.is_that(&file));
    Ok((!is_last).then_some(file))
}

/// The file that was read up to a position, under another name beside the path or beside what it links to.
pub(super) fn open_beside(path: &Path, position: &SourcePosition) -> io::Result<Option<Tailed>> {
    for entry in beside(path) {
        if entry.ino() != position.inode || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let Ok(file) = File::options().read(true).custom_flags(flags).open(entry.path()) else { continue };
        let Ok(file) = Tailed::of(file) else { continue };
        if (file.device, file.inode) == (position.device, position.inode) && file.bytes()? >= position.offset
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Files whose names begin with the path's, and that were written to after `old`: what was renamed after it.
pub(super) fn newer_beside(path: &Path, old: &Tailed, now: Option<&Tailed>) -> Vec<String> {
    let Ok(since) = old.file.metadata().and_then(|meta| meta.modified()) else { return Vec::new() };
    let Some(name) = path.file_name() else { return Vec::new() };
    let is_newer = |entry: &DirEntry| {
        let begins = entry.file_name().as_encoded_bytes().starts_with(name.as_encoded_bytes());
        let Some(meta) = entry.metadata().ok().filter(|meta| begins && meta.is_file()) else { return false };
        let is_known = old.is(&meta) || now.is_some_and(|now| now.is(&meta));
        !is_known && meta.modified().is_ok_and(|modified| modified > since)
    };
    let newer = beside(path).into_iter().filter(is_newer);
    newer.map(|entry| entry.file_name().to_string_lossy().into_owned()).take(NAMES_MAX).collect()
}

/// The directory that a path is in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != OsStr::new("")).unwrap_or(Path::new("."))
}

/// What is in the directory of a path, and in that of what it links to.
fn beside(path: &Path) -> Vec<DirEntry> {
    let mut dirs: Vec<PathBuf> = vec![directory(path).to_owned()];
    if path.is_symlink()
        && let Ok(target) = path.canonicalize()
    {
        dirs.push(directory(&target).to_owned());
    }
    let read = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    dirs.into_iter().flat_map(read).collect()
}
