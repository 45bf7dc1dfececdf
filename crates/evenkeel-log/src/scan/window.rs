//! A buffered view of a file: any piece of it, in one slice.

use crate::commit::MARKER;
use crate::mcap::{RECORD_BYTES_MAX, RECORD_HEAD_BYTES};
use crate::storage::{PADDING_BYTES_MAX, ReadFile, read_full_at};
use std::io;

/// Bytes read ahead.
const READ_BYTES: usize = 256 << 10;

pub(super) struct Window<'f> {
    file: &'f dyn ReadFile,
    limit: u64,
    buf: Vec<u8>,
    /// Offset of `buf[0]`.
    start: u64,
    len: usize,
}

/// What stands at a place.
pub(super) enum Found<'a> {
    /// A whole record, from its opcode to its last byte.
    Record(&'a [u8]),
    /// Too few bytes to the end of the file.
    Short,
    /// A length beyond every limit.
    TooLong(u64),
}

impl<'f> Window<'f> {
    pub(super) fn new(file: &'f dyn ReadFile, limit: u64) -> Self {
        Self { file, limit, buf: Vec::new(), start: 0, len: 0 }
    }

    /// The `n` bytes at `at`, or `None` when the file ends before.
    pub(super) fn get(&mut self, at: u64, n: usize) -> io::Result<Option<&[u8]>> {
        if at.checked_add(n as u64).is_none_or(|end| end > self.limit) {
            return Ok(None);
        }
        let inside = at >= self.start && at + n as u64 <= self.start + self.len as u64;
        if !inside {
            self.load(at, n)?;
        }
        let from = (at - self.start) as usize;
        Ok(self.buf.get(from..from + n).filter(|_| from + n <= self.len))
    }

    /// Makes `buf` begin at `at` and hold at least `n` bytes, where the file has them.
    fn load(&mut self, at: u64, n: usize) -> io::Result<()> {
        let kept = if at >= self.start && at < self.start + self.len as u64 {
            let from = (at - self.start) as usize;
            self.buf.copy_within(from..self.len, 0);
            self.len - from
        } else {
            0
        };
        (self.start, self.len) = (at, kept);
        let left = usize::try_from(self.limit - at).unwrap_or(usize::MAX);
        let want = n.max(READ_BYTES).min(left).max(n);
        if self.buf.len() < want {
            self.buf.resize(want, 0);
        }
        let read = read_full_at(self.file, &mut self.buf[kept..want], at + kept as u64)?;
        self.len = kept + read;
        Ok(())
    }

    /// Whether nothing but the zeroes of an unfinished block follows.
    pub(super) fn is_padding(&mut self, at: u64) -> io::Result<bool> {
        let left = self.limit.saturating_sub(at);
        if left >= PADDING_BYTES_MAX || self.get(at, 1)? != Some(&[0]) {
            return Ok(false);
        }
        Ok(self.get(at, left as usize)?.is_some_and(|bytes| bytes.iter().all(|b| *b == 0)))
    }

    /// The record at `at`.
    pub(super) fn record(&mut self, at: u64) -> io::Result<Found<'_>> {
        let Some(head) = self.get(at, RECORD_HEAD_BYTES)? else { return Ok(Found::Short) };
        let mut len = [0; 8];
        len.copy_from_slice(&head[1..]);
        let len = u64::from_le_bytes(len);
        if len > RECORD_BYTES_MAX {
            return Ok(Found::TooLong(len));
        }
        Ok(self.get(at, RECORD_HEAD_BYTES + len as usize)?.map_or(Found::Short, Found::Record))
    }

    /// Where the next commit marker at or after `from` stands.
    pub(super) fn find_marker(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + (MARKER.len() as u64) <= self.limit {
            // What is in the buffer first: each byte is read and moved once, however many markers there are.
            let buffered = (self.start + self.len as u64).saturating_sub(at);
            let inside = at >= self.start && buffered >= MARKER.len() as u64;
            let wanted = if inside { buffered } else { READ_BYTES as u64 };
            let n = wanted.min(self.limit - at) as usize;
            let Some(bytes) = self.get(at, n)? else { return Ok(None) };
            if let Some(found) = memchr::memmem::find(bytes, &MARKER) {
                return Ok(Some(at + found as u64));
            }
            at += (n - MARKER.len() + 1) as u64;
        }
        Ok(None)
    }
}
