//! What is held for too long, what was never given back, and what was written after it was.
//!
//! A buffer is given back by dropping it, so that a leak is one that somebody keeps. Whatever is held is found by looking at the
//! slots: nothing is listed when it is taken, and what a [mode](LeakMode) notes of it stands with its slot. What is counted beside
//! the memory has no slots, and is listed.

mod ask;
mod engine;
#[cfg(test)]
mod tests;
mod told;
mod watch;

pub(crate) use engine::{Dated, Engine, News, Seen};
pub use told::{Damage, Finding, Held, HeldUnits, Leaks, Trace};
pub(crate) use watch::{Watch, find, findings, finish, look};

use crate::beside::EVERY;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// Seconds that a component may hold a buffer, or what else is counted, before that is told, unless it says otherwise.
pub(crate) const PATIENCE_SECONDS: u32 = 300;

/// What is noted of a buffer when it is taken. It can be changed at any time; what is held then stays as it was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeakMode {
    /// Nothing: neither where it was taken nor when. Who holds it is known all the same. Of what is counted beside the memory
    /// only the time is not noted.
    Off,
    /// The place in the source that took it, and when: a few moves, without a measurable cost.
    #[default]
    Sites,
    /// The same, and of one in so many takes, drawn by chance, the whole way that its thread had come.
    Sampled {
        /// Of how many takes one has a backtrace, in the mean.
        one_in: NonZeroU32,
    },
    /// The same of every take. That takes microseconds each.
    Full,
}

impl LeakMode {
    /// Whether it asks for each take to be looked at.
    pub(crate) fn attends(self) -> bool {
        match self {
            Self::Off | Self::Sites => false,
            Self::Sampled { one_in } => one_in.get() < EVERY,
            Self::Full => true,
        }
    }

    /// Whether a take that is looked at has a backtrace.
    pub(crate) fn traces(self, is_sample: bool, random: u32) -> bool {
        match self {
            Self::Off | Self::Sites => false,
            // Where they are rarer than what is looked at anyway, a part of that.
            Self::Sampled { one_in } if one_in.get() >= EVERY => is_sample && random % one_in < EVERY,
            Self::Sampled { one_in } => random % one_in == 0,
            Self::Full => true,
        }
    }
}

/// Which of the buffers that are held are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakQuery {
    /// Those that have been held for at least so many seconds; `0` are all, also those of which no time was noted.
    pub older_than: u32,
    /// At most so many are named, the oldest first; the others are counted.
    pub named_max: usize,
}

impl Default for LeakQuery {
    fn default() -> Self {
        Self { older_than: 0, named_max: 100 }
    }
}

/// For how many seconds an account may hold something before that is told.
#[derive(Debug)]
pub(crate) struct Patience(AtomicU32);

impl Default for Patience {
    fn default() -> Self {
        Self(AtomicU32::new(PATIENCE_SECONDS))
    }
}

impl Patience {
    pub(crate) fn seconds(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, seconds: u32) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}
