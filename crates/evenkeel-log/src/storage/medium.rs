//! A file read past the page cache.
//!
//! What was written comes back from the medium, and what somebody else wants from the
//! cache stays in it. Reading 2 GB of fresh segments through the page cache took more
//! processor time than recording them; this takes what the checksum takes.
//!
//! Invariant: `window` holds the bytes of the file from `start`, a block boundary, on.

use super::{BLOCK_BYTES, ReadFile};
use evenkeel_hierarchy::{LogWindow, Mutex, with_root};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes asked of the medium at once: below, much of the time is its latency.
const WINDOW_BYTES: usize = 1 << 20;

pub(super) struct MediumFile {
    direct: File,
    /// For what the file system does not read directly, though it opens it so.
    plain: File,
    /// Who reads takes it, and puts it back: nothing is read under the lock. A second reader meanwhile finds
    /// an empty one.
    window: Mutex<LogWindow, Window>,
}

#[derive(Default)]
struct Window {
    /// `WINDOW_BYTES` and a block, of which an aligned part is used; made when first needed.
    memory: Vec<u8>,
    start: u64,
    len: usize,
}

impl MediumFile {
    /// Opens a file, or answers `None` where the file system has no direct reads.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let flag = OFlags::DIRECT.bits().cast_signed();
        let direct = OpenOptions::new().read(true).custom_flags(flag).open(path).ok()?;
        let plain = File::open(path).ok()?;
        Some(Self { direct, plain, window: Mutex::default() })
    }

    fn exchange(&self, window: Window) -> Window {
        with_root(|house| std::mem::replace(&mut *self.window.lock(house), window))
    }
}

/// Reads past the page cache, or through it where the file system says that this cannot be so read.
fn read_either(direct: &File, plain: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    match direct.read_at(buf, offset) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => plain.read_at(buf, offset),
        read => read,
    }
}

impl ReadFile for MediumFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_aligned = offset.is_multiple_of(BLOCK_BYTES as u64)
            && buf.len().is_multiple_of(BLOCK_BYTES)
            && buf.as_ptr().align_offset(BLOCK_BYTES) == 0;
        if is_aligned {
            return read_either(&self.direct, &self.plain, buf, offset);
        }
        let mut window = self.exchange(Window::default());
        if offset < window.start || offset >= window.start + window.len as u64 {
            window.load(&self.direct, &self.plain, offset)?;
        }
        let bytes = window.at(offset);
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        // What a second reader had put back goes, with no lock held.
        drop(self.exchange(window));
        Ok(n)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.plain.metadata()?.len())
    }
}

impl Window {
    /// Reads from the block on that has the byte at `offset`.
    fn load(&mut self, direct: &File, plain: &File, offset: u64) -> io::Result<()> {
        if self.memory.is_empty() {
            self.memory = vec![0; WINDOW_BYTES + BLOCK_BYTES];
        }
        self.len = 0;
        self.start = offset - offset % BLOCK_BYTES as u64;
        let skip = self.skip();
        self.len = read_either(direct, plain, &mut self.memory[skip..skip + WINDOW_BYTES], self.start)?;
        Ok(())
    }

    /// What is there from `offset` on; empty at the end of the file.
    fn at(&self, offset: u64) -> &[u8] {
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.len);
        let skip = self.skip();
        &self.memory[skip + from..skip + self.len]
    }

    fn skip(&self) -> usize {
        self.memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::read_full_at;
    use fastrand::Rng;

    // REQ W5
    #[test]
    fn any_read_of_any_place_is_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let model: Vec<u8> = (0..3_000_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, &model).unwrap();
        let Some(file) = MediumFile::open(&path) else { return };
        let mut rng = Rng::with_seed(1);
        for _ in 0..300 {
            let offset = rng.usize(0..model.len() + 5000);
            let mut buf = vec![0; rng.usize(0..1_300_000)];
            let n = read_full_at(&file, &mut buf, offset as u64).unwrap();
            let expected = model.get(offset..).unwrap_or_default();
            let expected = &expected[..expected.len().min(buf.len())];
            assert!(buf[..n] == *expected, "{offset} {}", buf.len());
        }
        let mut aligned = vec![0; 3 * BLOCK_BYTES];
        let skip = aligned.as_ptr().align_offset(BLOCK_BYTES);
        let aligned = &mut aligned[skip..skip + 2 * BLOCK_BYTES];
        let offset = model.len() / BLOCK_BYTES * BLOCK_BYTES;
        assert_eq!(file.read_at(aligned, offset as u64).unwrap(), model.len() - offset, "the last block");
        assert!(aligned.starts_with(&model[offset..]));
    }

    // REQ W5, REQ T9
    #[test]
    fn who_reads_at_the_same_time_reads_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let model: Vec<u8> = (0..2_500_001u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&path, &model).unwrap();
        let Some(file) = MediumFile::open(&path) else { return };
        let (file, model, begin) = (&file, &model, &std::sync::Barrier::new(3));
        std::thread::scope(|threads| {
            for seed in 0..3 {
                threads.spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    begin.wait();
                    for _ in 0..100 {
                        let offset = rng.usize(0..model.len());
                        let mut buf = vec![0; rng.usize(1..50_000)];
                        let n = read_full_at(file, &mut buf, offset as u64).unwrap();
                        let expected = &model[offset..model.len().min(offset + buf.len())];
                        assert!(buf[..n] == *expected, "{seed} {offset} {}", buf.len());
                    }
                });
            }
        });
    }

    // REQ W5
    #[test]
    fn what_cannot_be_read_directly_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let Some(file) = MediumFile::open(&path) else { return };
        let mut buf = [0; 100];
        // Of a place that begins no block, as of any on a file system that only opens it so.
        let n = read_either(&file.direct, &file.plain, &mut buf, 1).unwrap();
        assert_eq!((n, buf), (100, [7; 100]));
        assert_eq!(read_either(&file.direct, &file.plain, &mut buf, 10_000).unwrap(), 0);
    }
}
