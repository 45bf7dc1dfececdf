//! Names of classes, workers, channels and jobs.

use std::fmt;

/// How many workers a schedule can tell apart.
pub const WORKERS_MAX: usize = 64;

/// How urgent a job is. The order is that of urgency: `System` is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What keeps the process going: errors, stops, storage.
    System,
    /// The work itself.
    Processing,
    /// Figures and reports.
    Monitoring,
}

impl Class {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::System, Self::Processing, Self::Monitoring];

    /// Place in [`Class::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Processing => "processing",
            Self::Monitoring => "monitoring",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A worker: a number below [`WORKERS_MAX`].
///
/// The number of a stuck worker is taken until it came back or died: whoever
/// replaces it has another.
///
/// ```
/// use evenkeel_core::threads::WorkerId;
/// assert_eq!(WorkerId::new(3).map(WorkerId::index), Some(3));
/// assert_eq!(WorkerId::new(64), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u8);

impl WorkerId {
    /// Worker number `index`; `None` from [`WORKERS_MAX`] on.
    pub const fn new(index: usize) -> Option<Self> {
        if index < WORKERS_MAX { Some(Self(index as u8)) } else { None }
    }

    /// Its number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) const fn bit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of workers; iterating gives them in order of their numbers.
///
/// ```
/// use evenkeel_core::threads::{WorkerId, Workers};
/// let mut set = Workers::default();
/// set.insert(WorkerId::new(5).unwrap());
/// assert_eq!(set.map(WorkerId::index).collect::<Vec<_>>(), [5]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Workers(pub(super) u64);

impl Workers {
    /// Adds one.
    pub fn insert(&mut self, worker: WorkerId) {
        self.0 |= worker.bit();
    }

    /// Whether it is in the set.
    pub const fn contains(self, worker: WorkerId) -> bool {
        self.0 & worker.bit() != 0
    }

    /// Whether the set has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many are in the set.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn first(self) -> Option<WorkerId> {
        (self.0 != 0).then(|| WorkerId(self.0.trailing_zeros() as u8))
    }
}

impl Iterator for Workers {
    type Item = WorkerId;

    fn next(&mut self) -> Option<WorkerId> {
        let first = self.first()?;
        self.0 &= self.0 - 1;
        Some(first)
    }
}

/// A channel: its place and how often that place was used before, so that an
/// id that outlived its channel is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ChannelId {
    /// Its place: smaller than [`Limits::channels_max`](super::Limits::channels_max), and used again after it.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// Bits of a [`JobId`] that say where the job is kept.
const SLOT_BITS: u32 = 20;

/// A job. Ids are never used again, and grow in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

impl JobId {
    /// Most jobs that can be queued at once: 1 048 576.
    pub(super) const SLOTS_MAX: usize = 1 << SLOT_BITS;

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub(super) const fn from_parts(sequence: u64, slot: u32) -> Self {
        Self(sequence << SLOT_BITS | slot as u64)
    }

    pub(super) const fn slot(self) -> u32 {
        (self.0 & (Self::SLOTS_MAX as u64 - 1)) as u32
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> SLOT_BITS, self.slot())
    }
}
