//! Reading a sealed segment back: whether the medium has what was written, byte for byte.
//!
//! The writer knows the checksum of every segment that it seals, so this is one pass
//! without a look at the records: whether they mean what they should is
//! [`verify_segment`](crate::verify_segment)'s to say.

use crate::storage::{BLOCK_BYTES, ReadFile, Storage};
use crate::writer::SealedSegment;
use crc32fast::Hasher;
use std::io;

/// Bytes that are read between two looks at whether to go on.
const PIECE_BYTES: usize = 256 << 10;

/// What came of reading a segment back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadBack {
    /// The medium has what was written.
    Same,
    /// It has something else; how that was noticed.
    Differs(String),
    /// `go_on` said no.
    GivenUp,
}

/// Reads a segment back. Between pieces of 256 KiB, `go_on` is asked whether to; it may wait.
///
/// # Errors
/// What the storage says; `NotFound` where the segment was removed.
pub fn read_back(
    storage: &dyn Storage,
    sealed: &SealedSegment,
    go_on: &mut dyn FnMut() -> bool,
) -> io::Result<ReadBack> {
    let file = storage.open_medium(&sealed.name)?;
    let bytes = file.bytes()?;
    if bytes != sealed.bytes {
        return Ok(ReadBack::Differs(format!("it has {bytes} bytes, should have {}", sealed.bytes)));
    }
    let mut memory = vec![0; PIECE_BYTES + BLOCK_BYTES];
    let skip = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    let piece = &mut memory[skip..skip + PIECE_BYTES];
    let (mut crc, mut at) = (Hasher::new(), 0);
    while at < bytes {
        if !go_on() {
            return Ok(ReadBack::GivenUp);
        }
        let n = read_some_at(&*file, piece, at)?;
        if n == 0 {
            return Ok(ReadBack::Differs(format!("it ends after {at} bytes, should have {bytes}")));
        }
        crc.update(&piece[..n]);
        at += n as u64;
    }
    let (found, written) = (crc.finalize(), sealed.crc);
    if found == written {
        return Ok(ReadBack::Same);
    }
    Ok(ReadBack::Differs(format!("its CRC is {found:08x}, should be {written:08x}")))
}

fn read_some_at(file: &dyn ReadFile, piece: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(piece, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
