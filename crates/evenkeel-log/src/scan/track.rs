//! What a scan knows of one channel: which sequences are there.

/// Sorted, disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

/// A channel with more holes than this is too damaged to tell of each.
const RANGES_MAX: usize = 1 << 16;

impl Ranges {
    /// Adds `first..=last`; `false` when some of it was there already, or there
    /// is no room for another range.
    pub(crate) fn add(&mut self, first: u64, last: u64) -> bool {
        if first > last {
            return true;
        }
        // Ranges that overlap or touch first..=last are [low, high).
        let low = self.0.partition_point(|r| r.1.saturating_add(1) < first);
        let high = self.0.partition_point(|r| r.0 <= last.saturating_add(1));
        let fresh = self.0[low..high].iter().all(|r| r.1 < first || r.0 > last);
        if low == high {
            if self.0.len() >= RANGES_MAX {
                return false;
            }
            self.0.insert(low, (first, last));
        } else {
            let merged = (first.min(self.0[low].0), last.max(self.0[high - 1].1));
            self.0.splice(low..high, [merged]);
        }
        fresh
    }

    /// What is missing of `first..=last`.
    pub(crate) fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut next = first;
        for &(from, to) in &self.0 {
            if from > last {
                break;
            }
            if from > next {
                holes.push((next, from - 1));
            }
            next = next.max(to.saturating_add(1));
        }
        if next <= last {
            holes.push((next, last));
        }
        holes
    }

    /// Adds what another set has up to `limit`.
    pub(crate) fn add_all(&mut self, other: &Self, limit: u64) {
        for &(first, last) in &other.0 {
            self.add(first, last.min(limit));
        }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.0.last().map(|r| r.1)
    }
}

/// One channel in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Track {
    /// Last sequence before this segment.
    pub(crate) base: u64,
    /// Sequence that is expected next.
    pub(crate) next: u64,
    /// Sequences that are there or declared missing.
    pub(crate) covered: Ranges,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Sequences that occur twice.
    pub(crate) repeated: u64,
}

impl Track {
    pub(crate) fn from_base(base: u64) -> Self {
        Self { base, next: base.saturating_add(1), ..Self::default() }
    }

    /// The 64-bit sequence nearest to the expected one that has these low 32 bits.
    pub(crate) fn sequence(&self, low: u32) -> u64 {
        let ahead = low.wrapping_sub(self.next as u32).cast_signed();
        self.next.saturating_add_signed(i64::from(ahead)).max(1)
    }

    pub(crate) fn message(&mut self, sequence: u64, payload_bytes: u64) {
        self.take(sequence, sequence);
        self.records += 1;
        self.bytes += payload_bytes;
    }

    pub(crate) fn take(&mut self, first: u64, last: u64) {
        // The common case without a search: the range that ends just before.
        if let Some(end) = self.covered.0.last_mut()
            && end.1.checked_add(1) == Some(first)
            && last >= first
        {
            end.1 = last;
        } else if !self.covered.add(first, last) {
            self.repeated += 1;
        }
        self.next = self.next.max(last.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        // REQ W3
        #[test]
        fn ranges_agree_with_a_set(adds in proptest::collection::vec((1u64..60, 0u64..8), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (first, more) in adds {
                let last = first + more;
                let fresh = (first..=last).all(|s| !set.contains(&s));
                set.extend(first..=last);
                prop_assert_eq!(ranges.add(first, last), fresh);
                prop_assert!(ranges.0.windows(2).all(|w| w[0].1 + 1 < w[1].0));
            }
            let missing: BTreeSet<u64> =
                ranges.missing(1, 70).into_iter().flat_map(|(a, b)| a..=b).collect();
            let expected: BTreeSet<u64> = (1..=70).filter(|s| !set.contains(s)).collect();
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(ranges.last(), set.last().copied());
        }

        // REQ W1
        #[test]
        fn sequences_survive_the_width_of_mcap(base in 0u64..u64::from(u32::MAX) * 5, step in 0u64..1_000_000) {
            let track = Track::from_base(base);
            let sequence = base + 1 + step;
            prop_assert_eq!(track.sequence(sequence as u32), sequence);
        }
    }
}
