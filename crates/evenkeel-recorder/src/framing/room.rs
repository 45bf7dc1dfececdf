//! How large a buffer a batch is given.
//!
//! Large enough for what is about to come, for each buffer is a batch, a share of a chunk,
//! and a trip through the queue; and no larger, for what is not filled is memory that
//! nobody has. Lengths are few, so that what comes back fits what is asked for next.

use crate::hub::{LARGE_BYTES, LENGTHS, MEDIUM_BYTES, QUARTER_BYTES, SHORT_BYTES};
use evenkeel_log::{Batch, PAYLOAD_BYTES_MAX};

/// What is known of the bytes about to come.
pub(super) struct Room {
    /// Bytes of the source that wait to be read.
    waiting: usize,
    /// No buffer is longer, but for a message that has to fit.
    longest: usize,
    /// Of the last batch: how many bytes it took for how many of the source.
    encoded: (u64, u64),
    /// Whether there was one.
    is_known: bool,
}

impl Room {
    /// Expects so many bytes that they fill any buffer.
    pub(super) fn for_much() -> Self {
        // Lines of 64 bytes: what a batch takes is known after the first.
        Self { waiting: usize::MAX, longest: LARGE_BYTES, encoded: (3, 2), is_known: false }
    }

    pub(super) fn expect(&mut self, bytes: usize) {
        self.waiting = bytes;
    }

    /// Of several that are in full flow, nobody needs a whole chunk at once.
    pub(super) fn set_crowded(&mut self, crowded: bool) {
        self.longest = if crowded { QUARTER_BYTES } else { LARGE_BYTES };
    }

    /// Expects twice what the last batch had: for who is in full flow and does not tell how much waits.
    pub(super) fn expect_growth(&mut self) {
        self.waiting = usize::try_from(self.encoded.1).unwrap_or(usize::MAX).saturating_mul(2);
    }

    /// So many of the bytes have come.
    pub(super) fn took(&mut self, bytes: usize) {
        if self.waiting < usize::MAX {
            self.waiting = self.waiting.saturating_sub(bytes);
        }
    }

    /// Learns from a batch that is handed over.
    pub(super) fn note(&mut self, batch: &Batch) {
        let payload_bytes = batch.payload_bytes();
        if payload_bytes > 0 {
            let heads = batch.records() * Batch::bytes_for(0) as u64;
            self.encoded = (payload_bytes + heads, payload_bytes);
            self.is_known = true;
        }
    }

    /// Bytes of the source that a medium buffer holds, as far as the last batch tells, and no more than a read brings;
    /// none before there was one.
    pub(super) fn fits_medium(&self) -> usize {
        if !self.is_known {
            return 0;
        }
        let (encoded, payload) = self.encoded;
        let fits = (MEDIUM_BYTES as u64 * payload / encoded) as usize;
        fits.min(PAYLOAD_BYTES_MAX)
    }

    /// Lengths that fit a payload of `least`, the best one first, where `coming` bytes are to be
    /// put in one after the other.
    pub(super) fn lengths(&self, least: usize, coming: usize) -> [usize; 3] {
        let exact = Batch::bytes_for(least);
        let coming = coming.max(self.waiting);
        if coming <= least {
            // The allocator has any length; of the pool, what is not one of its own would lie beside it.
            return [if exact < SHORT_BYTES { exact } else { fitting(exact) }; 3];
        }
        let (encoded, payload) = self.encoded;
        // More than the longest is as good as any number.
        let wanted = coming.min(LARGE_BYTES) as u64 * encoded / payload;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.longest);
        let best = fitting(exact.max(wanted)).max(exact);
        [best, fitting(exact.max(MEDIUM_BYTES)).min(best), fitting(exact).min(best)]
    }
}

/// The shortest length that holds so many bytes, or the longest there is.
fn fitting(bytes: usize) -> usize {
    LENGTHS.into_iter().find(|length| *length >= bytes).unwrap_or(LARGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ R8, REQ R9
    #[test]
    fn a_buffer_is_as_long_as_what_is_about_to_come() {
        let mut room = Room::for_much();
        assert_eq!(room.lengths(PAYLOAD_BYTES_MAX, 0), [LARGE_BYTES, MEDIUM_BYTES, MEDIUM_BYTES]);
        room.expect(0);
        assert_eq!(room.lengths(5, 5), [Batch::bytes_for(5); 3], "a message alone");
        assert_eq!(room.lengths(5, 2000), [4 << 10; 3]);
        assert_eq!(room.lengths(5000, 5000), [8 << 10; 3]);
        assert_eq!(room.lengths(PAYLOAD_BYTES_MAX, 0), [MEDIUM_BYTES; 3], "of the pool's own");
        assert_eq!(room.lengths(5, 40_000), [MEDIUM_BYTES, MEDIUM_BYTES, 4 << 10]);
        assert_eq!(room.lengths(60_000, 160_000), [QUARTER_BYTES, MEDIUM_BYTES, MEDIUM_BYTES]);
        room.expect(10 << 20);
        room.set_crowded(true);
        assert_eq!(room.lengths(5, 5)[0], QUARTER_BYTES);
        room.set_crowded(false);
        assert_eq!(room.lengths(5, 5)[0], LARGE_BYTES);
        room.took(10 << 20);
        assert_eq!(room.lengths(5, 5), [Batch::bytes_for(5); 3]);
    }

    // REQ R8, REQ R9
    #[test]
    fn lines_that_are_mostly_heads_are_given_more() {
        use evenkeel_log::{LogOptions, LogWriter, Resume, sim::SimStorage};
        let storage = std::sync::Arc::new(SimStorage::new());
        let mut log =
            LogWriter::create(storage, LogOptions::default(), Resume::default(), crate::now()).unwrap();
        let id = log.channel("x", evenkeel_log::TEXT);
        let mut batch = Batch::new(log.stream(id, &[]), 1, vec![0; 4096]);
        batch.push_lines(&b"y\n".repeat(50), 1);
        let mut room = Room::for_much();
        room.expect(0);
        assert_eq!((room.lengths(2, 2000)[0], room.fits_medium()), (4 << 10, 0));
        room.note(&batch);
        assert!(room.fits_medium() <= MEDIUM_BYTES / 16);
        assert_eq!(room.lengths(2, 2000)[0], MEDIUM_BYTES, "33 bytes for 2");
    }
}
