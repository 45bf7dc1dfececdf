//! How often each edge was taken, and how long it took.

use super::Outcome;
use super::State;
use std::time::Duration;

/// Buckets of a histogram.
const BUCKETS: usize = 32;
/// The first bucket is below 2 to this power, in nanoseconds.
const FIRST_BITS: u32 = 8;

/// Counts of durations in buckets of powers of two: below 256 ns, 512 ns, 1.024 µs and so on; the last has no end.
///
/// ```
/// use evenkeel_core::state::Histogram;
/// use std::time::Duration;
///
/// let mut histogram = Histogram::default();
/// histogram.add(Duration::from_nanos(300));
/// assert_eq!(histogram.quantile(0.5), Some(Duration::from_nanos(512)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS],
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bits = (u64::BITS - nanos.leading_zeros()).saturating_sub(FIRST_BITS) as usize;
        let count = &mut self.counts[bits.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
    }

    /// Each bucket: what its durations are shorter than, and how many there are. The last one's bound is
    /// `Duration::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u32)> {
        self.counts.iter().enumerate().map(|(at, count)| (below(at), *count))
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// A bound that this share of all is shorter than, from 0.0 to 1.0; `None` of an empty one.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let (total, mut so_far) = (self.total(), 0.0);
        let wanted = share.clamp(0.0, 1.0) * total as f64;
        let is_it = |(_, count): &(Duration, u32)| {
            so_far += f64::from(*count);
            *count > 0 && so_far >= wanted
        };
        self.buckets().find(is_it).map(|(below, _)| below)
    }
}

fn below(bucket: usize) -> Duration {
    if bucket == BUCKETS - 1 {
        Duration::MAX
    } else {
        Duration::from_nanos(1 << (FIRST_BITS as usize + bucket))
    }
}

/// What became of the changes along one edge, since the machine was made or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeMetrics<S> {
    /// Where it begins.
    pub from: S,
    /// Where it leads.
    pub to: S,
    /// Changes that were made.
    pub done: u64,
    /// Changes that a guard refused.
    pub guard_refused: u64,
    /// Changes after which an invariant failed.
    pub invariant_failed: u64,
    /// Changes that the journal did not take.
    pub not_journalled: u64,
    /// Changes that were abandoned.
    pub abandoned: u64,
    /// From propose to commit, of those that were made.
    pub took: Histogram,
}

impl<S: State> EdgeMetrics<S> {
    pub(super) fn new(from: S, to: S) -> Self {
        let took = Histogram::default();
        let (done, guard_refused, invariant_failed, not_journalled, abandoned) = (0, 0, 0, 0, 0);
        Self { from, to, done, guard_refused, invariant_failed, not_journalled, abandoned, took }
    }

    pub(super) fn count(&mut self, outcome: &Outcome, took: Duration) {
        match outcome {
            Outcome::Done => {
                self.done += 1;
                self.took.add(took);
            }
            Outcome::GuardRefused { .. } => self.guard_refused += 1,
            Outcome::InvariantFailed { .. } => self.invariant_failed += 1,
            Outcome::NotJournalled { .. } => self.not_journalled += 1,
            Outcome::Abandoned => self.abandoned += 1,
            Outcome::RolledBack { .. } => {}
        }
    }
}
