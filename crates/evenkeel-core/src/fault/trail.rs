//! What was done about a fault.

use super::stored::nanos;
use crate::Mono;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most measures of a fault that are kept.
pub const TRAIL_MAX: usize = 32;

/// Something that is done about a fault. Waits are in nanoseconds.
///
/// ```
/// use evenkeel_core::fault::Measure;
/// assert_eq!(Measure::Retry { after_ns: 20_000_000 }.to_string(), "retry after 20 ms");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measure {
    /// It was noted; nothing need be done.
    Noted,
    /// Something is being done already about where it happened.
    InHand,
    /// What failed is tried again.
    Retry {
        /// After so long.
        after_ns: u64,
    },
    /// The component is restarted.
    RestartComponent {
        /// After so long.
        after_ns: u64,
    },
    /// The channel is recovered: capture stopped, flushed, begun anew, verified.
    RecoverChannel {
        /// After so long.
        after_ns: u64,
    },
    /// The channel is cut off.
    IsolateChannel,
    /// The channel works again.
    ReleaseChannel,
    /// The system is stopped.
    StopSystem,
    /// It works again.
    Recovered,
    /// What was tried did not help.
    Failed,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, after_ns) = match *self {
            Self::Noted => ("noted", 0),
            Self::InHand => ("in hand already", 0),
            Self::Retry { after_ns } => ("retry", after_ns),
            Self::RestartComponent { after_ns } => ("restart the component", after_ns),
            Self::RecoverChannel { after_ns } => ("recover the channel", after_ns),
            Self::IsolateChannel => ("isolate the channel", 0),
            Self::ReleaseChannel => ("release the channel", 0),
            Self::StopSystem => ("stop the system", 0),
            Self::Recovered => ("recovered", 0),
            Self::Failed => ("did not help", 0),
        };
        f.write_str(what)?;
        if after_ns == 0 { Ok(()) } else { write!(f, " after {} ms", after_ns / 1_000_000) }
    }
}

/// A measure, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When.
    #[serde(rename = "at_ns", with = "nanos")]
    pub at: Mono,
    /// What.
    #[serde(flatten)]
    pub what: Measure,
}

/// All that was done, the earliest first: at most [`TRAIL_MAX`] measures. Of more, the first and the latest are kept.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::fault::{Measure, TRAIL_MAX, Trail};
/// let mut trail = Trail::default();
/// (0..100).for_each(|at| trail.push(Mono::from_nanos(at), Measure::Noted));
/// assert_eq!((trail.all().len(), trail.left_out()), (TRAIL_MAX, 68));
/// assert_eq!(trail.all()[0].at, Mono::from_nanos(0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Trail {
    all: Vec<Done>,
    /// Measures that were left out after the first half.
    left_out: u32,
}

/// As it is stored, by whomever.
#[derive(Deserialize)]
struct Kept {
    all: Vec<Done>,
    left_out: u32,
}

impl From<Kept> for Trail {
    fn from(kept: Kept) -> Self {
        let mut trail = Self::default();
        kept.all.into_iter().for_each(|done| trail.push(done.at, done.what));
        trail.left_out = trail.left_out.saturating_add(kept.left_out);
        trail
    }
}

impl Trail {
    /// Adds what was done.
    pub fn push(&mut self, at: Mono, what: Measure) {
        if self.all.len() == TRAIL_MAX {
            self.all.remove(TRAIL_MAX / 2);
            self.left_out = self.left_out.saturating_add(1);
        }
        self.all.push(Done { at, what });
    }

    /// What is kept.
    pub fn all(&self) -> &[Done] {
        &self.all
    }

    /// How many were left out after the first half of what is kept.
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }
}
