//! Why there is no pool, no channel, no buffer.

use crate::holders::Holder;
use std::fmt;
use std::io;

/// Why a pool cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Too few or too many tiers.
    #[error("a pool has 1 to {allowed} tiers, not {tiers}")]
    Tiers {
        /// How many there were.
        tiers: usize,
        /// How many there may be.
        allowed: usize,
    },
    /// A size that cannot be one.
    #[error(
        "buffers of {bytes} bytes cannot come after those of {before}: sizes are whole pages of {page} bytes, rising, up to 2 GiB"
    )]
    Size {
        /// The size, in bytes.
        bytes: usize,
        /// That of the tier before, or 0.
        before: usize,
        /// A page, in bytes.
        page: usize,
    },
    /// Too few or too many buffers.
    #[error("a tier has 1 to {allowed} buffers, not {slots} of {bytes} bytes")]
    Slots {
        /// Their size, in bytes.
        bytes: usize,
        /// How many there were.
        slots: u32,
        /// How many there may be.
        allowed: u32,
    },
    /// The system gives no address space.
    #[error("no memory could be reserved: {0}")]
    Memory(io::Error),
}

/// Why a channel or component is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its limits contradict each other.
    #[error("channel {channel} cannot have {reserve} buffers of {bytes} bytes for itself and {max} at most")]
    Limits {
        /// The channel.
        channel: String,
        /// Bytes of a buffer of the tier.
        bytes: u64,
        /// What it was to have for itself.
        reserve: u32,
        /// What it was to have at most.
        max: u32,
    },
    /// Its reserve is more than is left.
    #[error(
        "channel {channel} cannot have {reserve} buffers of {bytes} bytes for itself: {left} are left that are nobody's"
    )]
    Reserve {
        /// The channel.
        channel: String,
        /// Bytes of a buffer of the tier.
        bytes: u64,
        /// What it was to have for itself.
        reserve: u32,
        /// What is neither reserved nor lent.
        left: u32,
    },
    /// There were too many.
    #[error("{name} cannot take from the pool: {allowed} have been let in, which is all that it tells apart")]
    Full {
        /// Who was refused.
        name: String,
        /// How many there may be.
        allowed: usize,
    },
}

/// Whose limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Short {
    /// No tier has buffers so large; a chain would do.
    Size {
        /// Bytes of the largest buffers.
        largest: u64,
    },
    /// The component's own, in bytes.
    Component {
        /// What is counted as its.
        held: u64,
        /// What it may hold.
        allowed: u64,
    },
    /// Its channel's, in buffers of the tier.
    Channel {
        /// What it has: of its reserve, and borrowed.
        held: (u32, u32),
        /// What it may have.
        allowed: u32,
    },
    /// Its channel has its reserve, and what may be lent is lent.
    Lent {
        /// What it has: of its reserve, and borrowed.
        held: (u32, u32),
        /// What is its alone.
        reserve: u32,
    },
}

/// There is no buffer for somebody now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Exhausted(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    component: String,
    channel: String,
    bytes: usize,
    short: Short,
    holders: Vec<Holder>,
}

impl Exhausted {
    pub(crate) fn new(
        component: String,
        channel: String,
        bytes: usize,
        short: Short,
        holders: Vec<Holder>,
    ) -> Self {
        Self(Box::new(Detail { component, channel, bytes, short, holders }))
    }

    /// Whose limit was met.
    pub fn short(&self) -> Short {
        self.0.short
    }

    /// Who holds most of the tier, and where it was taken: three at most, the largest first.
    pub fn holders(&self) -> &[Holder] {
        &self.0.holders
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { component, channel, bytes, short, holders } = &*self.0;
        write!(f, "{component} in channel {channel} asked for {bytes} bytes: ")?;
        match short {
            Short::Size { largest } => write!(f, "buffers have {largest} bytes at most; ask for a chain")?,
            Short::Component { held, allowed } => {
                write!(
                    f,
                    "it may hold {allowed} bytes and holds {held}; declare a higher limit if it needs more"
                )?;
            }
            Short::Channel { held: (own, borrowed), allowed } => {
                write!(f, "its channel may have {allowed} buffers of that size and has {}", own + borrowed)?;
            }
            Short::Lent { held: (own, borrowed), reserve } => write!(
                f,
                "its channel has {} buffers of that size, {reserve} of them its alone, and no more can be lent",
                own + borrowed
            )?,
        }
        for (at, holder) in holders.iter().enumerate() {
            f.write_str(if at == 0 { "; most is held by " } else { ", " })?;
            write!(f, "{holder}")?;
        }
        Ok(())
    }
}
