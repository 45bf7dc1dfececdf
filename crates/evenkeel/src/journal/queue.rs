//! What waits for the disk, within bounds, and what did not fit.
//!
//! Invariants:
//! 1. Never more than `entries_max` entries and `bytes_max` bytes wait; an empty queue takes any entry.
//! 2. A note is taken only as long as three quarters of that are enough for all that waits: the
//!    last quarter is the records', however many notes there are.
//! 3. What was not taken is counted by weight and kind until it is told.
//!
//! The entries stand one after the other in one buffer, which goes to `ek-journal` as it is and
//! comes back empty: in the long run nothing is allocated.

use super::draft::{Draft, Kind};
use super::entry::Hash;
use super::weight::Weight;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kinds of refused entries that are told by name.
const KINDS_TOLD_MAX: usize = 8;
/// A buffer that grew beyond that many times the bound is not used again.
const SPARE_FACTOR: usize = 2;

/// Where one entry ends in the buffer of all of them, when it was appended, and the chain after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) end: usize,
    pub(super) wall_ns: u64,
    pub(super) hash: Hash,
}

/// Entries on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) bytes: Vec<u8>,
    pub(super) queued: Vec<Queued>,
}

impl Entries {
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.queued.clear();
    }
}

/// How many entries were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Notes, which are shed first.
    pub notes: u64,
    /// Records; who appended them was told.
    pub records: u64,
}

impl Refused {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.notes + self.records
    }

    fn count(&mut self, weight: Weight) {
        match weight {
            Weight::Note => self.notes += 1,
            Weight::Record => self.records += 1,
        }
    }
}

/// What no entry tells of yet.
#[derive(Debug, Default)]
struct Untold {
    refused: Refused,
    kinds: Vec<(Kind, u64)>,
    others: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    entries: Entries,
    /// A buffer to be used next.
    spare: Entries,
    entries_max: usize,
    bytes_max: usize,
    refused: Refused,
    untold: Untold,
}

impl Queue {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let (entries, spare) = Default::default();
        let (refused, untold) = Default::default();
        Self { entries, spare, entries_max, bytes_max, refused, untold }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.queued.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether as much waits as notes may fill: it is time to write.
    pub(super) fn is_filling(&self) -> bool {
        self.len() >= self.entries_max / 2 || self.entries.bytes.len() >= self.bytes_max / 2
    }

    /// Whether an entry of that weight and length is taken.
    pub(super) fn has_room(&self, weight: Weight, bytes: usize) -> bool {
        let of = |max: usize| if weight == Weight::Note { max - max / 4 } else { max };
        let fits = self.entries.bytes.len().saturating_add(bytes) <= of(self.bytes_max);
        self.is_empty() || (self.len() < of(self.entries_max) && fits)
    }

    /// Counts an entry that was not taken.
    pub(super) fn refuse(&mut self, draft: &Draft) {
        self.refused.count(draft.weight());
        self.untold.refused.count(draft.weight());
        let kind = draft.kind();
        let kinds = &mut self.untold.kinds;
        if let Some((_, count)) = kinds.iter_mut().find(|(known, _)| *known == kind) {
            *count += 1;
        } else if kinds.len() < KINDS_TOLD_MAX {
            kinds.push((kind, 1));
        } else {
            self.untold.others += 1;
        }
    }

    /// Puts an entry behind the others: `encode` appends its bytes, and answers the chain after it.
    pub(super) fn push(&mut self, wall_ns: u64, encode: impl FnOnce(&mut Vec<u8>) -> Hash) {
        let hash = encode(&mut self.entries.bytes);
        self.entries.queued.push(Queued { end: self.entries.bytes.len(), wall_ns, hash });
    }

    /// Hands over all that waits.
    pub(super) fn take(&mut self) -> Entries {
        let next = std::mem::take(&mut self.spare);
        std::mem::replace(&mut self.entries, next)
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, mut entries: Entries) {
        if entries.bytes.capacity() <= self.bytes_max.saturating_mul(SPARE_FACTOR) {
            entries.clear();
            self.spare = entries;
        }
    }

    pub(super) fn refused(&self) -> Refused {
        self.refused
    }

    /// Entries that were refused and are not told of.
    pub(super) fn untold(&self) -> u64 {
        self.untold.refused.total()
    }

    /// What to tell of the refused, once.
    pub(super) fn take_untold(&mut self) -> Option<Value> {
        if self.untold() == 0 {
            return None;
        }
        let Untold { refused, kinds, others } = std::mem::take(&mut self.untold);
        // Of long ones only the beginning is known: those that look alike are one.
        let mut named: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, count) in kinds {
            let kind = String::from_utf8_lossy(&kind).trim_end_matches('\0').to_owned();
            *named.entry(kind).or_default() += count;
        }
        Some(json!({
            "refused": refused.total(),
            "shed_notes": refused.notes,
            "refused_records": refused.records,
            "kinds": named,
            "other_kinds": others,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    /// What the queue should be: a list, and sums over it.
    #[derive(Default)]
    struct Model {
        waiting: Vec<usize>,
        notes: u64,
        records: u64,
        kinds: std::collections::BTreeMap<String, u64>,
    }

    impl Model {
        /// Whether an entry is to be taken, by the rule as it is told to people.
        fn takes(&self, weight: Weight, bytes: usize, (entries_max, bytes_max): (usize, usize)) -> bool {
            let count = self.waiting.len() + 1;
            let sum = self.waiting.iter().sum::<usize>() + bytes;
            let all = count <= entries_max && sum <= bytes_max;
            let of_notes = 4 * count <= 3 * entries_max + 3 && 4 * sum <= 3 * bytes_max + 3;
            self.waiting.is_empty() || (all && (weight == Weight::Record || of_notes))
        }

        fn refuse(&mut self, weight: Weight, kind: &str) {
            match weight {
                Weight::Note => self.notes += 1,
                Weight::Record => self.records += 1,
            }
            *self.kinds.entry(kind.to_owned()).or_default() += 1;
        }
    }

    fn draft(kind: &str) -> Draft {
        Draft::of(kind, None, None, &Value::Null)
    }

    // REQ M4, REQ Q2
    #[test]
    fn the_queue_is_as_its_model() {
        const KINDS: [&str; 4] = ["fault", "step-intent", "stderr", "my-own"];
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let bounds = (rng.usize(1..12), rng.usize(1..600));
            let (mut queue, mut model) = (Queue::new(bounds.0, bounds.1), Model::default());
            let (mut refused, mut told) = (0, 0);
            for step in 0..300 {
                let kind = KINDS[rng.usize(..KINDS.len())];
                let (draft, bytes) = (draft(kind), rng.usize(..120));
                let takes = model.takes(draft.weight(), bytes, bounds);
                assert_eq!(queue.has_room(draft.weight(), bytes), takes, "seed {seed}, step {step}");
                if takes {
                    queue.push(step, |out| {
                        out.resize(out.len() + bytes, step as u8);
                        [step as u8; 32]
                    });
                    model.waiting.push(bytes);
                } else {
                    queue.refuse(&draft);
                    model.refuse(draft.weight(), kind);
                    refused += 1;
                }
                assert_eq!(queue.untold() + told, refused);
                assert!(queue.len() <= bounds.0.max(1));
                if rng.u8(..10) == 0 {
                    if let Some(body) = queue.take_untold() {
                        told += body["refused"].as_u64().unwrap();
                        assert_eq!(body["kinds"], json!(std::mem::take(&mut model.kinds)));
                        let (notes, records) = (json!(model.notes), json!(model.records));
                        assert_eq!((&body["shed_notes"], &body["refused_records"]), (&notes, &records));
                        (model.notes, model.records) = (0, 0);
                    }
                    let taken = queue.take();
                    let mut begin = 0;
                    for (queued, bytes) in taken.queued.iter().zip(model.waiting.drain(..)) {
                        assert_eq!(queued.end - begin, bytes);
                        assert!(taken.bytes[begin..queued.end].iter().all(|b| *b == queued.wall_ns as u8));
                        begin = queued.end;
                    }
                    assert_eq!(begin, taken.bytes.len());
                    queue.recycle(taken);
                }
            }
            assert_eq!(queue.refused().total(), refused);
        }
    }

    // REQ M4
    #[test]
    fn only_so_many_kinds_are_named() {
        let mut queue = Queue::new(1, 1);
        for n in 0..100 {
            queue.refuse(&draft(&format!("kind-{}", n % 20)));
        }
        let body = queue.take_untold().unwrap();
        assert_eq!(body["kinds"].as_object().unwrap().len(), KINDS_TOLD_MAX);
        assert_eq!((&body["refused"], &body["other_kinds"]), (&json!(100), &json!(60)));
        assert_eq!(queue.take_untold(), None);
    }
}
