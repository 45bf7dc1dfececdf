//! How bad a fault is, and of which kind.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad a fault is.
///
/// ```
/// use evenkeel_core::fault::Severity;
/// assert!(Severity::Critical > Severity::Error);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Notice,
    /// Something is not as it should be; everything works.
    Warning,
    /// Something did not work; it is recovered from.
    Error,
    /// It does not work, and trying once more is not enough.
    Critical,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 4] = [Self::Notice, Self::Warning, Self::Error, Self::Critical];

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What kind of fault it is; each has a recovery procedure.
///
/// ```
/// use evenkeel_core::fault::FaultClass;
/// assert_eq!(FaultClass::Panic.to_string(), "panic");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FaultClass {
    /// Something could not be registered.
    Registration,
    /// A component's work failed.
    Execution,
    /// Something that a component depends on is not there.
    Dependency,
    /// Work ended, and its result is not what it must be.
    Completion,
    /// Somebody did what they may not do.
    Security,
    /// A channel reached for what is another channel's.
    Isolation,
    /// Something took too long, or is silent.
    Timeout,
    /// A component panicked.
    Panic,
    /// Memory, threads, handles are exhausted.
    Resource,
    /// Storage failed.
    Storage,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Registration,
        Self::Execution,
        Self::Dependency,
        Self::Completion,
        Self::Security,
        Self::Isolation,
        Self::Timeout,
        Self::Panic,
        Self::Resource,
        Self::Storage,
    ];

    /// Place in [`FaultClass::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Execution => "execution",
            Self::Dependency => "dependency",
            Self::Completion => "completion",
            Self::Security => "security",
            Self::Isolation => "isolation",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Resource => "resource",
            Self::Storage => "storage",
        }
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
