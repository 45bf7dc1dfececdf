//! When a command that failed is run again: a decision as a plain value.
//!
//! The pause before the next run begins at 200 ms and doubles up to 10 s; a run of
//! a minute earns the short pause back. Six failures within a minute, that is five
//! restarts, are the end.

use std::collections::VecDeque;
use std::time::Duration;

/// The first pause, in nanoseconds.
const PAUSE_MIN_NS: u64 = 200_000_000;
/// The longest pause, in nanoseconds.
const PAUSE_MAX_NS: u64 = 10_000_000_000;
/// A command that ran for so many nanoseconds was in order.
const STEADY_NS: u64 = 60_000_000_000;
/// Nanoseconds within which failures are counted.
const WINDOW_NS: u64 = 60_000_000_000;
/// Restarts within the window; the failure after the last of them is the end.
const RESTARTS_MAX: usize = 5;

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is run again after this pause.
    Again(Duration),
    /// It has failed so many times within the window, and is not run again.
    GiveUp(usize),
}

/// What is remembered of one command's failures.
#[derive(Debug)]
pub(super) struct Policy {
    pause_ns: u64,
    /// When it failed, within the window: six at most.
    failures: VecDeque<u64>,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self { pause_ns: PAUSE_MIN_NS, failures: VecDeque::with_capacity(RESTARTS_MAX + 1) }
    }

    /// It failed at `now_ns` after it had run for `ran_ns`.
    pub(super) fn failed(&mut self, ran_ns: u64, now_ns: u64) -> Verdict {
        while self.failures.front().is_some_and(|at| now_ns.saturating_sub(*at) > WINDOW_NS) {
            self.failures.pop_front();
        }
        self.failures.push_back(now_ns);
        if self.failures.len() > RESTARTS_MAX {
            return Verdict::GiveUp(self.failures.len());
        }
        if ran_ns >= STEADY_NS {
            self.pause_ns = PAUSE_MIN_NS;
        }
        let pause = Duration::from_nanos(self.pause_ns);
        self.pause_ns = (self.pause_ns * 2).min(PAUSE_MAX_NS);
        Verdict::Again(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Fails after each of these runs, with the pauses between; answers the pauses in ms.
    fn pauses(runs_ns: &[u64]) -> (Vec<u128>, Option<usize>) {
        let (mut policy, mut now, mut told) = (Policy::new(), 7 * SECOND, Vec::new());
        for ran in runs_ns {
            now += ran;
            match policy.failed(*ran, now) {
                Verdict::Again(pause) => {
                    told.push(pause.as_millis());
                    now += pause.as_nanos() as u64;
                }
                Verdict::GiveUp(times) => return (told, Some(times)),
            }
        }
        (told, None)
    }

    // REQ E4
    #[test]
    fn the_sixth_failure_within_a_minute_is_the_end() {
        assert_eq!(pauses(&[0; 9]), (vec![200, 400, 800, 1600, 3200], Some(6)));
    }

    // REQ E4
    #[test]
    fn failures_far_between_go_on_for_ever_and_the_pause_has_a_bound() {
        let (told, end) = pauses(&[12 * SECOND; 40]);
        assert_eq!(end, None);
        assert_eq!(told[..8], [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert!(told[8..].iter().all(|pause| *pause == 10_000));
    }

    // REQ E4
    #[test]
    fn a_minute_of_running_earns_the_short_pause_back() {
        let long = 60 * SECOND;
        assert_eq!(pauses(&[0, 0, 0, long, 0]).0, [200, 400, 800, 200, 400]);
        assert_eq!(pauses(&[0, 0, 0, long - 1, 0]).0, [200, 400, 800, 1600, 3200]);
    }

    // REQ E4
    #[test]
    fn the_window_slides() {
        let failed_at = |times: &[u64]| {
            let mut policy = Policy::new();
            times.iter().map(|at| policy.failed(0, *at)).collect::<Vec<_>>()
        };
        let minute = 60 * SECOND;
        let told = failed_at(&[0, 1, 2, 3, 4, minute]);
        assert_eq!(told[5], Verdict::GiveUp(6), "a minute apart is within a minute");
        let told = failed_at(&[0, 1, 2, 3, 4, minute + 1, minute + 2]);
        assert!(told.iter().all(|verdict| matches!(verdict, Verdict::Again(_))), "{told:?}");
        let told = failed_at(&[0, 1, 2, 3, 4, minute + 1, minute + 1]);
        assert_eq!(told[6], Verdict::GiveUp(6));
    }
}
