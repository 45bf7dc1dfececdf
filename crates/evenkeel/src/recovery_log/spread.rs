//! How a quantity is spread, in bounded memory.

use serde::Serialize;
use std::collections::BTreeMap;

/// Values that are kept as they are; of more, only how many fell into each bucket.
const EXACT_MAX: usize = 256;
/// Buckets for each doubling.
const BUCKETS_PER_DOUBLING: f64 = 32.0;

/// Count, mean, median and 95th percentile of a quantity, in milliseconds unless its owner says otherwise.
///
/// Count, mean and largest are exact. Quantiles are exact for up to 256 values, and within 2.2 % above (buckets, 32
/// for each doubling). A quantile is the smallest value that at least such a share of all does not exceed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them are not above this.
    pub median: f64,
    /// 95 in 100 of them are not above this.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

/// Values as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    count: u64,
    sum: f64,
    max: f64,
    exact: Vec<f64>,
    buckets: BTreeMap<i32, u64>,
}

impl Values {
    /// Adds one; what is no number, or below nothing, is nothing.
    pub(super) fn push(&mut self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { 0.0 };
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
        if self.buckets.is_empty() && self.exact.len() < EXACT_MAX {
            return self.exact.push(value);
        }
        for value in self.exact.drain(..).chain([value]) {
            *self.buckets.entry(bucket(value)).or_default() += 1;
        }
    }

    pub(super) fn spread(mut self) -> Spread {
        self.exact.sort_by(f64::total_cmp);
        let (median, p95) = (self.quantile(0.5), self.quantile(0.95));
        let mean = if self.count == 0 { 0.0 } else { self.sum / self.count as f64 };
        Spread { count: self.count, mean, median, p95, max: self.max }
    }

    /// Of sorted values.
    fn quantile(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        if self.buckets.is_empty() {
            return self.exact.get(rank as usize - 1).copied().unwrap_or(0.0);
        }
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return upper(*bucket).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of what is next to nothing.
const LEAST: i32 = -640;

fn bucket(value: f64) -> i32 {
    // Beyond 2^64 there is no duration.
    ((value.log2() * BUCKETS_PER_DOUBLING).ceil() as i32).clamp(LEAST, 2048)
}

fn upper(bucket: i32) -> f64 {
    if bucket == LEAST { 0.0 } else { (f64::from(bucket) / BUCKETS_PER_DOUBLING).exp2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ M4
    #[test]
    fn few_values_are_exact_and_many_are_near() {
        let mut rng = fastrand::Rng::with_seed(4);
        for count in [0usize, 1, 2, 3, 20, 256, 257, 5000] {
            let all: Vec<f64> = (0..count).map(|_| f64::from(rng.u32(0..1_000_000)) / 1000.0).collect();
            let mut values = Values::default();
            all.iter().for_each(|value| values.push(*value));
            let spread = values.spread();
            let mut sorted = all.clone();
            sorted.sort_by(f64::total_cmp);
            let naive = |share: f64| {
                let rank = (count as f64 * share).ceil() as usize;
                sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
            };
            let slack = if count <= EXACT_MAX { 0.0 } else { 0.022 };
            for (got, exact) in [(spread.median, naive(0.5)), (spread.p95, naive(0.95))] {
                assert!(got >= exact && got <= exact * (1.0 + slack), "{count}: {got} for {exact}");
            }
            assert_eq!((spread.count, spread.max), (count as u64, sorted.last().copied().unwrap_or(0.0)));
        }
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        let mut values = Values::default();
        (0..400).for_each(|_| values.push(f64::NAN));
        values.push(-1.0);
        assert_eq!(values.spread(), Spread { count: 401, ..Spread::default() });
    }
}
