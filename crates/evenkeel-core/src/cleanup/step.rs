//! A step as plain data: what is known of it before it runs.

use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The five working phases of a cleanup, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Phase {
    /// Announcing the stop, checking the state it begins in.
    Initiating,
    /// Sources are read to where they stand, then no more.
    StoppingCapture,
    /// What was taken in is made durable.
    FlushingStorage,
    /// Memory, threads, handles are given back, in reverse order of dependency.
    ReleasingResources,
    /// All logs are closed; the journal is the last of them.
    ClosingLogs,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Initiating,
        Self::StoppingCapture,
        Self::FlushingStorage,
        Self::ReleasingResources,
        Self::ClosingLogs,
    ];

    /// Its name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initiating => "Initiating",
            Self::StoppingCapture => "StoppingCapture",
            Self::FlushingStorage => "FlushingStorage",
            Self::ReleasingResources => "ReleasingResources",
            Self::ClosingLogs => "ClosingLogs",
        }
    }

    /// Its position, from 0.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step of a plan: its position in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub(crate) u32);

impl StepId {
    /// The position, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Name of the other step.
    pub name: String,
    /// Whether it has to have succeeded; otherwise it only has to be over.
    pub must_succeed: bool,
}

/// Waits between attempts: `first`, doubling up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for Backoff {
    /// 10 ms, doubling up to 1 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(10), max: Duration::from_secs(1) }
    }
}

impl Backoff {
    /// The wait after attempt number `attempt`, counted from 1.
    pub fn after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// What a step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all: every attempt, the waits between them, the verification.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// What it is expected to take, for plans and forecasts.
    pub expected: Duration,
}

impl Default for Limits {
    /// 5 s, no retries, expected to take 1 ms.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retries: 0,
            backoff: Backoff::default(),
            expected: Duration::from_millis(1),
        }
    }
}

/// A step, as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSpec {
    /// Unique in its plan: 1 to 200 characters, no control characters.
    pub name: String,
    /// Its phase.
    pub phase: Phase,
    /// The channel that it belongs to, if it is of one.
    pub channel: Option<String>,
    /// The component that it belongs to, if it is of one.
    pub component: Option<String>,
    /// What it waits for.
    pub dependencies: Vec<Dependency>,
    /// Of several that could run, the higher goes first; 0 by default.
    pub priority: i32,
    /// What it may take.
    pub limits: Limits,
    /// Whether there is a verification.
    pub is_verified: bool,
    /// Whether there is a compensation for when it fails.
    pub is_compensated: bool,
    /// Whether it can be run twice without harm. One that cannot waits until its
    /// intent is durable.
    pub is_idempotent: bool,
}

impl StepSpec {
    /// A step with default limits, no dependencies, in no channel.
    pub fn new(name: impl Into<String>, phase: Phase) -> Self {
        Self {
            name: name.into(),
            phase,
            channel: None,
            component: None,
            dependencies: Vec::new(),
            priority: 0,
            limits: Limits::default(),
            is_verified: false,
            is_compensated: false,
            is_idempotent: false,
        }
    }

    /// Runs only after `name` has succeeded.
    #[must_use]
    pub fn needs(mut self, name: impl Into<String>) -> Self {
        self.dependencies.push(Dependency { name: name.into(), must_succeed: true });
        self
    }

    /// Runs only when `name` is over, however it ended.
    #[must_use]
    pub fn follows(mut self, name: impl Into<String>) -> Self {
        self.dependencies.push(Dependency { name: name.into(), must_succeed: false });
        self
    }

    /// There is a verification.
    #[must_use]
    pub fn verified(mut self) -> Self {
        self.is_verified = true;
        self
    }

    /// It can be run twice without harm.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }
}
