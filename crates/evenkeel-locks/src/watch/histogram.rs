//! Durations counted by powers of two of a nanosecond.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The last bucket takes all that is longer: nine minutes.
const BUCKETS: usize = 40;

/// How many durations of which length there were.
///
/// ```
/// use evenkeel_locks::ranked::{Mutex, Rank};
///
/// let lock = Mutex::new(Rank::new(1, "queue"), 0);
/// *lock.lock() += 1;
/// let holds = &lock.stats().holds;
/// assert_eq!(holds.count(), 1);
/// assert!(holds.quantile(0.5).is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS] }
    }
}

impl Histogram {
    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A duration that this share of all is not longer than: at most twice as long as the true one.
    /// `None` of none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        })?;
        Some(Duration::from_nanos((1 << bucket) - 1))
    }

    /// The counts, each with the longest duration it is of.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.buckets.iter().enumerate();
        counts.map(|(at, count)| (Duration::from_nanos((1 << at) - 1), *count))
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
    }
}

/// A histogram that many write at once. A bucket that is full stays full.
pub(crate) struct Counts([AtomicU32; BUCKETS]);

impl Counts {
    pub(crate) fn new() -> Self {
        Self(array::from_fn(|_| AtomicU32::new(0)))
    }

    pub(crate) fn add(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &self.0[((u64::BITS - ns.leading_zeros()) as usize).min(BUCKETS - 1)];
        if bucket.load(Ordering::Relaxed) < u32::MAX / 2 {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram { buckets: array::from_fn(|at| self.0[at].load(Ordering::Relaxed).into()) }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_twice_too_long() {
        let counts = Counts::new();
        assert_eq!(counts.read().quantile(0.5), None);
        for ns in 1..=1000 {
            counts.add(Duration::from_nanos(ns));
        }
        let read = counts.read();
        assert_eq!(read.count(), 1000);
        for (share, exact) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let told = read.quantile(share).unwrap().as_nanos();
            assert!(told >= exact && told <= 2 * exact, "{share}: {told} for {exact}");
        }
    }

    #[test]
    fn nothing_and_for_ever_are_counted() {
        let counts = Counts::new();
        counts.add(Duration::ZERO);
        counts.add(Duration::MAX);
        assert_eq!(counts.read().count(), 2);
        assert_eq!(counts.read().buckets().filter(|(_, count)| *count > 0).count(), 2);
    }
}
