//! The circuit breaker of a component.
//!
//! ```text
//! Closed -- failures_max within window --> Open -- pause is over --> HalfOpen (one trial) -- well --> Closed
//!                                           ^                           |
//!                                           +------- fails: the pause doubles, up to pause_max
//! ```

use crate::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// How a breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// The component may be used.
    #[default]
    Closed,
    /// It may not be used.
    Open,
    /// One trial is under way; whoever is not the trial may not use it.
    HalfOpen,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// So many failures ... 5; 1 to 64.
    pub failures_max: u32,
    /// ... within this time open it. 30 s.
    pub window: Duration,
    /// How long it stays open before the first trial. 1 s.
    pub pause: Duration,
    /// It doubles with each trial that fails, up to this. 60 s.
    pub pause_max: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures_max: 5,
            window: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
        }
    }
}

/// A breaker. Whoever has it sees to it that the trial is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    state: BreakerState,
    /// The latest failures while it is closed, at most `failures_max`.
    failures: VecDeque<Mono>,
    /// Times in a row that it opened.
    opened: u32,
    until: Mono,
}

impl Breaker {
    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// When the trial may be made, while it is open.
    pub(super) fn open_until(&self) -> Option<Mono> {
        (self.state == BreakerState::Open).then_some(self.until)
    }

    /// Notes a failure. Returns whether the breaker opened by it.
    pub(super) fn failed(&mut self, limits: &BreakerLimits, now: Mono) -> bool {
        match self.state {
            BreakerState::Open => return false,
            BreakerState::HalfOpen => {}
            BreakerState::Closed => {
                let max = limits.failures_max.clamp(1, 64) as usize;
                self.failures.push_back(now);
                while self.failures.len() > max {
                    self.failures.pop_front();
                }
                let is_many = self.failures.len() == max && now.since(self.failures[0]) <= limits.window;
                if !is_many {
                    return false;
                }
            }
        }
        self.open(limits, now)
    }

    /// Opens it whatever it has counted. Returns whether it was not open.
    pub(super) fn open(&mut self, limits: &BreakerLimits, now: Mono) -> bool {
        if self.state == BreakerState::Open {
            return false;
        }
        let pause = limits.pause.saturating_mul(1 << self.opened.min(20)).min(limits.pause_max);
        self.opened = self.opened.saturating_add(1);
        self.failures.clear();
        (self.state, self.until) = (BreakerState::Open, now.plus(pause));
        true
    }

    /// The trial begins. Returns whether it was open.
    pub(super) fn trial(&mut self) -> bool {
        let was_open = self.state == BreakerState::Open;
        if was_open {
            self.state = BreakerState::HalfOpen;
        }
        was_open
    }

    /// All is well. Returns whether it was not closed.
    pub(super) fn close(&mut self) -> bool {
        let was_closed = self.state == BreakerState::Closed;
        (self.state, self.opened) = (BreakerState::Closed, 0);
        !was_closed
    }
}
