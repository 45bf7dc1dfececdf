//! What can be refused.

use std::time::Duration;

/// The thread has its root already: [`with_root`](crate::with_root) inside of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this thread has its root already: hand on the `&mut Cap` that is there, or, where nothing is held, \
     use `Cap::outside`"
)]
pub struct RootTaken;

/// One lock was named twice where several are taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lock {first} and lock {second} of those to take are the same one")]
#[non_exhaustive]
pub struct Duplicate {
    /// Where it was named first, counted from 0.
    pub first: usize,
    /// Where it was named again.
    pub second: usize,
}

/// A lock that was not free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lock of level `{level}` was not free within {waited:?}")]
#[non_exhaustive]
pub struct TimedOut {
    /// The level's name.
    pub level: &'static str,
    /// How long it was waited for.
    pub waited: Duration,
}

/// Of several locks that were to be taken at once, none was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAll {
    /// One was named twice.
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    /// One was not free in time.
    #[error("lock {at} of those to take, of level `{level}`, was not free within {waited:?}: none is held")]
    NotFree {
        /// Where it was named, counted from 0.
        at: usize,
        /// The level's name.
        level: &'static str,
        /// How long all were waited for; nothing where only tried.
        waited: Duration,
    },
}

impl NotAll {
    /// Of who waits for ever.
    pub(crate) fn into_duplicate(self) -> Duplicate {
        match self {
            Self::Duplicate(duplicate) => duplicate,
            Self::NotFree { .. } => unreachable!("invariant: who waits for ever gets each lock"),
        }
    }
}
