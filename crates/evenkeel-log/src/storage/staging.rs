//! Memory that appends are put together in, before they are written past the page cache.
//!
//! The files of a directory have it in turns: while one grows, the one before it is sealed, and of whatever each
//! kept for itself the allocator would keep as much again. Whoever finds it lent has a short one, for that once.
//!
//! Invariant: at most one [`Lent`] at a time has what is kept, and puts it back when it goes, however that comes.

use super::{BLOCK_BYTES, LARGE_PART_BYTES};
use evenkeel_hierarchy::{LogStaging, Mutex, with_root};

/// Appends of at least this length are worth a direct write.
pub(super) const DIRECT_BYTES: usize = 128 << 10;
/// What is copied is written in pieces of this length: a chunk of small parts, with its indexes.
const STAGING_BYTES: usize = (1 << 20) + LARGE_PART_BYTES;
/// The same for appends that are shorter than a chunk, and for who finds it lent: one that is not worth a direct
/// write is one piece, with the block before it.
const SHORT_BYTES: usize = DIRECT_BYTES + BLOCK_BYTES;

/// What the files of one directory share.
#[derive(Debug, Default)]
pub(super) struct Staging(Mutex<LogStaging, Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Nothing before it is first needed, and while it is lent.
    memory: Vec<u8>,
    is_lent: bool,
}

impl Staging {
    /// What is kept, or, while that is lent, something of its own.
    pub(super) fn lend(&self) -> Lent<'_> {
        let kept = with_root(|house| {
            let mut kept = self.0.lock(house);
            (!std::mem::replace(&mut kept.is_lent, true)).then(|| std::mem::take(&mut kept.memory))
        });
        match kept {
            Some(memory) => Lent { memory, of: Some(self) },
            None => Lent { memory: Vec::new(), of: None },
        }
    }
}

/// Memory for one append.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    memory: Vec<u8>,
    /// Whose it is, unless it is its own.
    of: Option<&'a Staging>,
}

impl Lent<'_> {
    /// Whole blocks that begin at a block boundary of memory, for an append of so many bytes: as many as are worth
    /// writing at once.
    pub(super) fn blocks(&mut self, total: usize) -> &mut [u8] {
        let is_short = total < DIRECT_BYTES || self.of.is_none();
        let wanted = if is_short { SHORT_BYTES } else { STAGING_BYTES };
        if self.memory.len() < wanted + BLOCK_BYTES {
            // First what is too short goes.
            self.memory = Vec::new();
            self.memory = vec![0; wanted + BLOCK_BYTES];
        }
        let skip = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        let whole = self.memory.len() - BLOCK_BYTES;
        &mut self.memory[skip..skip + whole]
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(staging) = self.of {
            let memory = std::mem::take(&mut self.memory);
            with_root(|house| *staging.0.lock(house) = Kept { memory, is_lent: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ R8
    #[test]
    fn one_has_what_is_kept_and_others_have_little_of_their_own_meanwhile() {
        let staging = Staging::default();
        let place = |lent: &mut Lent<'_>, total| {
            let blocks = lent.blocks(total);
            assert!(blocks.len().is_multiple_of(BLOCK_BYTES));
            assert_eq!(blocks.as_ptr().align_offset(BLOCK_BYTES), 0);
            (blocks.as_ptr().addr(), blocks.len())
        };
        let mut first = staging.lend();
        assert_eq!(place(&mut first, 5).1, SHORT_BYTES);
        let kept = place(&mut first, DIRECT_BYTES);
        assert_eq!(kept.1, STAGING_BYTES);
        let mut second = staging.lend();
        assert_eq!(place(&mut second, 10 * STAGING_BYTES).1, SHORT_BYTES, "the other has it");
        drop(second);
        assert_eq!(place(&mut staging.lend(), DIRECT_BYTES).1, SHORT_BYTES, "and still has");
        drop(first);
        assert_eq!(place(&mut staging.lend(), 5), kept, "it is there again");
        assert_eq!(place(&mut staging.lend(), DIRECT_BYTES), kept);
        // Also of a writer that panics.
        let panicked = std::thread::scope(|threads| {
            threads
                .spawn(|| {
                    let _lent = staging.lend();
                    panic!("planned")
                })
                .join()
        });
        assert!(panicked.is_err());
        assert_eq!(place(&mut staging.lend(), DIRECT_BYTES), kept);
    }
}
