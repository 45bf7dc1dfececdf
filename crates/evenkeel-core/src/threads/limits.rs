//! How far a schedule goes.

use super::ids::JobId;
use std::time::Duration;

/// Bounds of a [`Schedule`](super::Schedule).
///
/// ```
/// use evenkeel_core::threads::Limits;
/// let limits = Limits { queued_max: 1_000, ..Limits::default() };
/// assert_eq!(limits.patience.as_millis(), 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many jobs in a row may go before a ready one of class processing on
    /// its worker; then it has its turn. 8; from 2.
    pub system_turns: u32,
    /// How many jobs in a row may go before a ready one of class monitoring on
    /// its worker; then it has its turn, after one of class processing whose turn it
    /// is as well. 32; from 2.
    pub processing_turns: u32,
    /// How long a ready channel waits for its own worker before another one that
    /// is idle takes it over. 10 ms.
    pub patience: Duration,
    /// Most jobs queued at once. 65 536; at most 1 048 576.
    pub queued_max: usize,
    /// How many of these places only class system may use. 1 024; less than half of `queued_max`.
    pub reserved_for_system: usize,
    /// Most channels at once. 1 024; at most 65 536.
    pub channels_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            system_turns: 8,
            processing_turns: 32,
            patience: Duration::from_millis(10),
            queued_max: 65_536,
            reserved_for_system: 1_024,
            channels_max: 1_024,
        }
    }
}

impl Limits {
    /// The same with every figure inside of what is allowed.
    #[must_use]
    pub fn clamped(self) -> Self {
        let queued_max = self.queued_max.clamp(1, JobId::SLOTS_MAX);
        Self {
            system_turns: self.system_turns.max(2),
            processing_turns: self.processing_turns.max(2),
            patience: self.patience,
            queued_max,
            reserved_for_system: self.reserved_for_system.min((queued_max - 1) / 2),
            channels_max: self.channels_max.clamp(1, 65_536),
        }
    }
}
