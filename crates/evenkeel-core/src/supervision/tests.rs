//! What counts, beside what a child would count.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::breaker::Breaker;
use super::bucket::Bucket;
use super::*;
use crate::Mono;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Mono {
    Mono::from_nanos(ms * MS)
}

// REQ E4
#[test]
fn an_intensity_forgives_as_a_count_of_every_millisecond_does() {
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..300 {
        let limit =
            Intensity { max: random.u32(1..5), forgiven_every: Duration::from_millis(random.u64(1..40)) };
        let every = limit.forgiven_every.as_millis() as u64;
        let (mut bucket, mut taken) = (Bucket::default(), Vec::new());
        let (mut level, mut waited) = (0, 0);
        for ms in 1..2_000 {
            waited = if level == 0 { 0 } else { waited + 1 };
            if waited == every {
                (level, waited) = (level - 1, 0);
            }
            if random.u32(0..4) != 0 {
                continue;
            }
            let free_at = bucket.free_at(&limit, at(ms)).unwrap();
            assert_eq!(bucket.level(&limit, at(ms)), level);
            assert_eq!(free_at, if level < limit.max { at(ms) } else { at(ms + every - waited) });
            if level < limit.max {
                level += 1;
                assert_eq!(bucket.take(&limit, at(ms)), level);
                taken.push(ms);
            }
        }
        for (first, from) in taken.iter().enumerate() {
            for (last, to) in taken.iter().enumerate().skip(first) {
                let most = limit.at_most_in(Duration::from_millis(to - from));
                assert!(((last - first) as u64) < most, "{limit:?}: {taken:?}");
            }
        }
    }
    assert_eq!(Bucket::default().free_at(&Intensity { max: 0, forgiven_every: Duration::ZERO }, at(1)), None);
}

// REQ E4
#[test]
fn a_breaker_opens_half_opens_and_closes_as_one_that_remembers_everything() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let limits = BreakerLimits {
            failures_max: random.u32(1..6),
            window: Duration::from_millis(random.u64(1..60)),
            pause: Duration::from_millis(10),
            pause_max: Duration::from_millis(60),
        };
        let mut breaker = Breaker::default();
        // All failures since it was last closed; whether it is open until when, or half open; how often in a row.
        let (mut failures, mut open, mut half, mut opened) = (Vec::new(), None, false, 0);
        for ms in 1..1_000 {
            let was = (open, half);
            match random.u32(0..12) {
                0..4 => {
                    if open.is_none() {
                        failures.push(ms);
                    }
                    let window = limits.window.as_millis() as u64;
                    let recent = failures.iter().filter(|then| ms - **then <= window).count();
                    if open.is_none() && (half || recent >= limits.failures_max as usize) {
                        open = Some(ms + (10 << opened).min(60));
                        (half, opened) = (false, opened + 1);
                        failures.clear();
                    }
                    assert_eq!(breaker.failed(&limits, at(ms)), was.0.is_none() && open.is_some());
                }
                4 if open.is_some_and(|until| until <= ms) => {
                    assert!(breaker.trial());
                    (open, half) = (None, true);
                }
                5 if half => {
                    assert!(breaker.close());
                    (half, opened) = (false, 0);
                }
                _ => {}
            }
            let state = match (open, half) {
                (Some(_), _) => BreakerState::Open,
                (None, true) => BreakerState::HalfOpen,
                (None, false) => BreakerState::Closed,
            };
            assert_eq!(breaker.state(), state);
            assert_eq!(breaker.open_until(), open.map(at));
        }
    }
}
