//! How much a machine keeps, and when it is said to flap.

use std::time::Duration;

/// Bounds of a [`Machine`](super::Machine).
///
/// ```
/// use evenkeel_core::state::Limits;
/// let limits = Limits { history_max: 16, ..Limits::default() };
/// assert_eq!(limits.points_max, 64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of history. 64; 1 to 65 536.
    pub history_max: usize,
    /// Most changes that can be rolled back. 64; 1 to 65 536.
    pub points_max: usize,
    /// When a machine is said to flap.
    pub flapping: FlappingLimits,
}

/// When a machine is said to flap between two states, and what then.
///
/// ```
/// use evenkeel_core::state::FlappingLimits;
/// assert!(!FlappingLimits::default().is_refused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlappingLimits {
    /// How often it may come straight back to a state from the same other one within the window. 5; 1 to 32.
    pub returns_max: u8,
    /// The time that is looked at; without a return for as long, all is calm again. 10 s.
    pub window: Duration,
    /// Whether a flapping machine is refused further returns until it is calm. No.
    pub is_refused: bool,
}

impl Default for FlappingLimits {
    fn default() -> Self {
        Self { returns_max: 5, window: Duration::from_secs(10), is_refused: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { history_max: 64, points_max: 64, flapping: FlappingLimits::default() }
    }
}

impl Limits {
    /// The same with every figure inside of what is allowed.
    #[must_use]
    pub fn clamped(self) -> Self {
        let flapping =
            FlappingLimits { returns_max: self.flapping.returns_max.clamp(1, 32), ..self.flapping };
        let history_max = self.history_max.clamp(1, 65_536);
        Self { history_max, points_max: self.points_max.clamp(1, 65_536), flapping }
    }
}
