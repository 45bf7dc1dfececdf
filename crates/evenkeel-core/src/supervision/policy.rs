//! What is done about which fault.

use super::breaker::BreakerLimits;
use super::bucket::Intensity;
use crate::cleanup::Backoff;
use crate::fault::{FaultClass, Severity};
use std::time::Duration;

/// The measures, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// It is told, no more.
    Note,
    /// What failed is tried again.
    Retry,
    /// The component is restarted.
    Restart,
    /// The channel is recovered.
    RecoverChannel,
    /// The channel is cut off.
    IsolateChannel,
    /// Everything is stopped.
    StopSystem,
}

/// What is done about faults of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done first.
    pub first: Rung,
    /// The furthest that it may go; beyond it, it is only waited longer. At least `first`.
    pub last: Rung,
    /// Waits before retries and restarts: each is drawn evenly from zero to what this says (full jitter).
    pub backoff: Backoff,
    /// Whether a channel isolated for it is tried again by itself.
    pub releases_by_itself: bool,
    /// Whether a critical one stops the system. Off.
    pub stops_system_when_critical: bool,
}

/// A policy for each class.
///
/// | class | from | to |
/// |---|---|---|
/// | registration | note | note |
/// | execution, completion, timeout | retry | isolate the channel |
/// | dependency | retry | retry: a restart would not bring back what is missing, and would go round |
/// | security, isolation | isolate the channel, until a person releases it | |
/// | panic | restart | isolate the channel |
/// | resource, storage | retry, with long waits | isolate the channel |
///
/// ```
/// use evenkeel_core::fault::FaultClass;
/// use evenkeel_core::supervision::{Policies, Rung};
/// let mut policies = Policies::default();
/// policies[FaultClass::Storage].stops_system_when_critical = true;
/// assert_eq!(policies[FaultClass::Panic].first, Rung::Restart);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies([Policy; FaultClass::ALL.len()]);

impl Default for Policies {
    fn default() -> Self {
        Self(FaultClass::ALL.map(Policy::of))
    }
}

impl std::ops::Index<FaultClass> for Policies {
    type Output = Policy;

    fn index(&self, class: FaultClass) -> &Policy {
        &self.0[class.index()]
    }
}

impl std::ops::IndexMut<FaultClass> for Policies {
    fn index_mut(&mut self, class: FaultClass) -> &mut Policy {
        &mut self.0[class.index()]
    }
}

impl Policy {
    fn of(class: FaultClass) -> Self {
        let backoff =
            |first, max| Backoff { first: Duration::from_millis(first), max: Duration::from_millis(max) };
        let policy = |first, last, backoff| Self {
            first,
            last,
            backoff,
            releases_by_itself: true,
            stops_system_when_critical: false,
        };
        match class {
            FaultClass::Registration => policy(Rung::Note, Rung::Note, Backoff::default()),
            FaultClass::Execution | FaultClass::Completion | FaultClass::Timeout => {
                policy(Rung::Retry, Rung::IsolateChannel, backoff(100, 10_000))
            }
            FaultClass::Dependency => policy(Rung::Retry, Rung::Retry, backoff(500, 30_000)),
            FaultClass::Security | FaultClass::Isolation => Self {
                releases_by_itself: false,
                ..policy(Rung::IsolateChannel, Rung::IsolateChannel, Backoff::default())
            },
            FaultClass::Panic => policy(Rung::Restart, Rung::IsolateChannel, backoff(100, 10_000)),
            FaultClass::Resource | FaultClass::Storage => {
                policy(Rung::Retry, Rung::IsolateChannel, backoff(500, 30_000))
            }
        }
    }

    /// With what a fault so bad begins.
    pub(super) fn rung(&self, severity: Severity) -> Rung {
        match severity {
            Severity::Notice | Severity::Warning => Rung::Note,
            Severity::Error => self.first,
            Severity::Critical if self.stops_system_when_critical => Rung::StopSystem,
            Severity::Critical if self.first == Rung::Note => Rung::Note,
            // Trying once more is not enough, if more may be done.
            Severity::Critical => self.first.max(Rung::Restart.min(self.last)),
        }
    }
}

/// How often, how long, how much.
///
/// ```
/// use evenkeel_core::supervision::Limits;
/// let limits = Limits { tells_max: 3, ..Limits::default() };
/// assert_eq!(limits.restarts.max, 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Retries of a component. 4, one forgiven every 15 s.
    pub retries: Intensity,
    /// Restarts of a component. 3, one forgiven every 60 s.
    pub restarts: Intensity,
    /// Recoveries of a channel. 2, one forgiven every 10 min.
    pub recoveries: Intensity,
    /// Circuit breakers.
    pub breaker: BreakerLimits,
    /// Who is on probation and quiet for so long is well. 10 s.
    pub settle: Duration,
    /// A restart that takes longer has failed. 30 s.
    pub restart_timeout: Duration,
    /// A part of a recovery that takes longer has failed. 30 s.
    pub recovery_step_timeout: Duration,
    /// How long a channel stays isolated before it is tried again. 5 min.
    pub isolation: Duration,
    /// That doubles with each trial that fails, up to this. 1 h.
    pub isolation_max: Duration,
    /// How many faults of a channel are told one by one in a period. 10.
    pub tells_max: u32,
    /// That period. 1 s. In any stretch so long at most twice `tells_max` are told.
    pub tell_period: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let intensity = |max, seconds| Intensity { max, forgiven_every: Duration::from_secs(seconds) };
        Self {
            retries: intensity(4, 15),
            restarts: intensity(3, 60),
            recoveries: intensity(2, 600),
            breaker: BreakerLimits::default(),
            settle: Duration::from_secs(10),
            restart_timeout: Duration::from_secs(30),
            recovery_step_timeout: Duration::from_secs(30),
            isolation: Duration::from_secs(300),
            isolation_max: Duration::from_secs(3_600),
            tells_max: 10,
            tell_period: Duration::from_secs(1),
        }
    }
}
