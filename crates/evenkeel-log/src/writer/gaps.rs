//! Gaps on their way: how they get their numbers.
//!
//! Invariant: `open_gaps` says how many of `open` are gaps, so that declaring one looks at no other, however many wait
//! while a disk is full.

use super::{ChannelId, Item, LogWriter, Stamp};
use crate::batch::Batch;
use crate::gap::Gap;

impl LogWriter {
    /// Declares a gap; it is written in turn with the batches.
    ///
    /// # Panics
    /// When the channel does not exist.
    pub fn declare(&mut self, gap: &Gap, stamp: Stamp) {
        let channel = self.channels.iter().position(|c| c.name == gap.channel);
        let channel = ChannelId(channel.expect("invariant: gaps are declared of open channels") as u16);
        let stream = self.gap_stream(stamp.wall_ns);
        let sequence = self.state(stream.channel()).last_sequence + self.open_gaps + 1;
        let payload = serde_json::to_vec(gap).expect("invariant: a gap is plain JSON");
        let mut batch = Batch::new(stream, sequence, vec![0; Batch::bytes_for(payload.len())]);
        let fits = batch.push(&payload, stamp.wall_ns);
        assert!(fits, "invariant: the buffer was made to fit");
        self.push(Item { batch: batch.seal(), takes: Some((channel, gap.last_taken())) });
        self.write_full_chunk(stamp);
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::gap::GapReason;
    use crate::sim::{Faults, SimStorage};
    use crate::{LogOptions, OCTETS, Resume};
    use fastrand::Rng;
    use std::sync::Arc;

    fn gap(first_sequence: u64) -> Gap {
        let (last_sequence, reason) = (Some(first_sequence), GapReason::DropNewest);
        let (records, bytes) = (Some(1), Some(1));
        Gap { channel: "x".to_owned(), first_sequence, last_sequence, records, bytes, reason, from: 1, to: 1 }
    }

    /// The sequences of the gaps in these.
    fn numbers<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<u64> {
        items.filter(|item| item.takes.is_some()).map(|item| item.batch.first_sequence()).collect()
    }

    // REQ W3, REQ S4
    #[test]
    fn gaps_are_numbered_without_a_hole_whatever_becomes_of_the_disk() {
        for seed in 0..30 {
            let mut rng = Rng::with_seed(seed);
            let storage = SimStorage::new();
            let options = LogOptions { chunk_bytes: 2000, ballast_bytes: 0, ..LogOptions::default() };
            let stamp = |now| Stamp { wall_ns: now, mono_ns: now };
            let mut log =
                LogWriter::create(Arc::new(storage.clone()), options, Resume::default(), stamp(1)).unwrap();
            let id = log.channel("x", OCTETS);
            let stream = log.stream(id, &[]);
            let (mut now, mut sequence, mut declared) = (1, 0, 0u64);
            for _ in 0..200 {
                now += 10_000_000_000;
                match rng.u8(0..9) {
                    0 => storage.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() }),
                    1 => storage.set_faults(Faults::default()),
                    2 => log.poison(&std::io::Error::other("planned"), stamp(now)),
                    3 => _ = log.commit(stamp(now)),
                    4 => log.retry(stamp(now)),
                    5 => _ = log.give_up_unwritten(GapReason::DiskFull, stamp(now)),
                    6 => {
                        sequence += 1;
                        let mut batch = Batch::new(stream, sequence, vec![0; Batch::bytes_for(700)]);
                        assert!(batch.push(&[7; 700], now));
                        log.append(batch, stamp(now));
                    }
                    _ => {
                        sequence += 1;
                        declared += 1;
                        log.declare(&gap(sequence), stamp(now));
                    }
                }
                assert_eq!(log.open_gaps, numbers(log.open.iter()).len() as u64, "seed {seed}");
                let grouped = log.groups.iter().flat_map(|group| &group.items);
                let all = numbers(grouped.chain(&log.written).chain(&log.open));
                let count = all.len() as u64;
                assert!(count >= declared && all.iter().copied().eq(1..=count), "seed {seed}: {all:?}");
            }
            assert!(declared > 20);
        }
    }
}
