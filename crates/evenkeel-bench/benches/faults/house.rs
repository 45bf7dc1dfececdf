//! A service with a journal, in which nothing is held back.

use evenkeel::Keel;
use evenkeel::cleanup::Backoff;
use evenkeel::faults::{BreakerLimits, FaultClass, Intensity, Limits, Policies};
use evenkeel_bench::place;
use std::time::Duration;
use tempfile::TempDir;

/// It, and the place of its journal.
pub(crate) struct House {
    pub(crate) keel: Keel,
    _place: TempDir,
}

impl House {
    /// `is_storm`: as it is by default; else everything is told and done at once, however often.
    pub(crate) fn new(is_storm: bool) -> Self {
        let place = place().unwrap();
        let (mut policies, mut limits) = (Policies::default(), Limits::default());
        if !is_storm {
            let often = Intensity { max: u32::MAX, forgiven_every: Duration::from_millis(1) };
            for class in FaultClass::ALL {
                policies[class].backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
            }
            let breaker = BreakerLimits { window: Duration::ZERO, ..BreakerLimits::default() };
            limits = Limits { tells_max: u32::MAX, retries: often, restarts: often, breaker, ..limits };
        }
        let builder = Keel::builder("bench").without_signals().keep_process().journal(place.path());
        Self { keel: builder.supervision(policies, limits).build().unwrap(), _place: place }
    }

    /// Waits until nothing is left to be looked at.
    pub(crate) fn calm(&self) {
        while !self.keel.faults().is_calm() {
            std::thread::yield_now();
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.keel.stop("the suite is over", "the suite");
    }
}
