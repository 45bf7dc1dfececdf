//! How often something may be done: a leaky bucket.

use crate::Mono;
use std::time::Duration;

/// At most `max` at once, and one of them is forgiven every `forgiven_every`: in any time `t` at most
/// `max + t / forgiven_every`.
///
/// ```
/// use evenkeel_core::supervision::Intensity;
/// use std::time::Duration;
/// let restarts = Intensity { max: 3, forgiven_every: Duration::from_secs(60) };
/// assert_eq!(restarts.at_most_in(Duration::from_secs(120)), 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Most at once. 0: never.
    pub max: u32,
    /// How long it takes until one is forgiven. Less than 1 ms counts as 1 ms.
    pub forgiven_every: Duration,
}

impl Intensity {
    /// Most that can be in any stretch of time of this length; `u64::MAX` when that is more than a number has.
    pub fn at_most_in(&self, time: Duration) -> u64 {
        if self.max == 0 {
            return 0;
        }
        let forgiven = time.as_nanos() / self.every().as_nanos();
        u64::from(self.max).saturating_add(u64::try_from(forgiven).unwrap_or(u64::MAX))
    }

    fn every(&self) -> Duration {
        self.forgiven_every.max(Duration::from_millis(1))
    }
}

/// What counts against an intensity.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    level: u32,
    /// Since when the next one is on its way to being forgiven.
    since: Mono,
}

impl Bucket {
    fn forgive(&mut self, limit: &Intensity, now: Mono) {
        let every = limit.every();
        let forgiven = now.since(self.since).as_nanos() / every.as_nanos();
        if forgiven >= u128::from(self.level) {
            (self.level, self.since) = (0, now);
        } else {
            // Fits: it is less than the level.
            self.level -= forgiven as u32;
            self.since = self.since.plus(every * forgiven as u32);
        }
    }

    /// How many count now.
    pub(super) fn level(&mut self, limit: &Intensity, now: Mono) -> u32 {
        self.forgive(limit, now);
        self.level
    }

    /// When one more may be: now, or later; `None`: never.
    pub(super) fn free_at(&mut self, limit: &Intensity, now: Mono) -> Option<Mono> {
        self.forgive(limit, now);
        match limit.max {
            0 => None,
            max if self.level < max => Some(now),
            _ => Some(self.since.plus(limit.every())),
        }
    }

    /// Counts one more, and says how many that are. The caller has asked for room.
    pub(super) fn take(&mut self, limit: &Intensity, now: Mono) -> u32 {
        self.forgive(limit, now);
        self.level = (self.level + 1).min(limit.max);
        self.level
    }
}
