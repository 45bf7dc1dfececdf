//! Why there is no pool, no channel, no buffer.

use crate::account::{AccountState, PAGE};
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
    /// More memory than can be counted.
    #[error("the buffers have {bytes} bytes together; a pool can count {allowed}")]
    Bytes {
        /// What they have.
        bytes: u64,
        /// What they may have.
        allowed: u64,
    },
    /// Too many kinds are counted beside the memory, or one twice.
    #[error("a pool counts {allowed} kinds at most, each once, not {}", kinds.join(", "))]
    Kinds {
        /// Those that were asked for.
        kinds: Vec<String>,
        /// How many there may be.
        allowed: usize,
    },
    /// What every channel of the pool is to have at first cannot be had by any.
    #[error("what each channel may have for which nothing else is said: {0}")]
    Channel(#[source] Refused),
    /// The system gives no address space.
    #[error("no memory could be reserved: {0}")]
    Memory(io::Error),
}

/// What is shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Buffers of a tier.
    Buffers {
        /// Bytes of each.
        bytes: u64,
    },
    /// Bytes of all buffers.
    Bytes,
    /// What a pool counts beside its memory.
    Units {
        /// The kind.
        kind: String,
    },
}

impl What {
    /// So many of what the books count.
    pub(crate) fn amount(&self, units: u32) -> u64 {
        if *self == Self::Bytes { u64::from(units) * PAGE } else { u64::from(units) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffers { bytes } => write!(f, "buffers of {bytes} bytes"),
            Self::Bytes => f.write_str("bytes"),
            Self::Units { kind } => f.write_str(kind),
        }
    }
}

/// Why a channel or component is not taken in, not changed, or not let go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is one of that name.
    #[error("there is a channel {channel} already: let it go first, or choose another name")]
    Name {
        /// The name.
        channel: String,
    },
    /// Its limits contradict each other.
    #[error("channel {channel} cannot have {reserve} {what} for itself and {max} at most")]
    Limits {
        /// The channel.
        channel: String,
        /// What is limited.
        what: What,
        /// What it was to have for itself.
        reserve: u64,
        /// What it was to have at most.
        max: u64,
    },
    /// Its reserve is more than is left.
    #[error("channel {channel} cannot have {reserve} {what} for itself: {left} are left that are nobody's")]
    Reserve {
        /// The channel.
        channel: String,
        /// What is reserved.
        what: What,
        /// What it was to have for itself.
        reserve: u64,
        /// What is neither reserved nor lent.
        left: u64,
    },
    /// It names more tiers than there are.
    #[error(
        "channel {channel} names {named} tiers in `{what}`: the pool has {allowed}, the smallest is the first"
    )]
    Tiers {
        /// The channel.
        channel: String,
        /// Where: `reserve` or `max`.
        what: &'static str,
        /// How many it names.
        named: usize,
        /// How many there are.
        allowed: usize,
    },
    /// It names a kind twice.
    #[error(
        "channel {channel} names {kind} twice: the pool counts {}, and each is named once at most",
        told(allowed)
    )]
    Twice {
        /// The channel.
        channel: String,
        /// What it names twice.
        kind: String,
        /// What the pool counts.
        allowed: Vec<String>,
    },
    /// There can be none of that name, as whoever takes them in says.
    #[error("there is no such {what}: {why}")]
    NoSuch {
        /// What was asked for: a `channel` or a `component`.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not, and what is allowed.
        why: String,
    },
    /// The pool does not count that.
    #[error("channel {channel} cannot have {kind}: the pool counts {}", told(allowed))]
    Kind {
        /// The channel.
        channel: String,
        /// What it was to have.
        kind: String,
        /// What the pool counts.
        allowed: Vec<String>,
    },
    /// It was let go.
    #[error("channel {channel} was let go: take it in anew")]
    Closed {
        /// The channel.
        channel: String,
    },
    /// It cannot be let go: it has something.
    #[error(
        "channel {channel} cannot be let go: it holds {buffers} buffers and {counted} of what else is counted; drop them first"
    )]
    Holds {
        /// The channel.
        channel: String,
        /// Buffers that it holds.
        buffers: u64,
        /// Units of other kinds that it holds.
        counted: u64,
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
    /// Its channel's, in bytes.
    ChannelBytes {
        /// What it has: of its reserve, and borrowed.
        held: (u64, u64),
        /// What it may have.
        allowed: u64,
    },
    /// The pool's, in bytes: its channel has its reserve of them, and what is left to be lent is too little.
    PoolBytes {
        /// What it has: of its reserve, and borrowed.
        held: (u64, u64),
        /// What is its alone.
        reserve: u64,
        /// What could be lent.
        free: u64,
        /// How much a channel may borrow for each byte that stays free, where it was that.
        share: Option<u32>,
    },
    /// Its channel's, in units of a kind that is counted beside the memory.
    ChannelUnits {
        /// What it has: of its reserve, and borrowed.
        held: (u32, u32),
        /// What it may have.
        allowed: u32,
    },
    /// Its channel has its reserve of a kind, and what is left to be lent is too little.
    LentUnits {
        /// What it has: of its reserve, and borrowed.
        held: (u32, u32),
        /// What is its alone.
        reserve: u32,
        /// What could be lent.
        free: u32,
    },
    /// The pool does not count that kind.
    Kind,
    /// Its channel was let go.
    Closed,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size { largest } => write!(f, "buffers have {largest} bytes at most; ask for a chain"),
            Self::Component { held, allowed } => write!(
                f,
                "it may hold {allowed} bytes and holds {held}; declare a higher limit if it needs more"
            ),
            Self::Channel { held: (own, borrowed), allowed } => {
                write!(f, "its channel may have {allowed} buffers of that size and has {}", own + borrowed)
            }
            Self::Lent { held: (own, borrowed), reserve } => write!(
                f,
                "its channel has {} buffers of that size, {reserve} of them its alone, and no more can be lent",
                own + borrowed
            ),
            Self::ChannelBytes { held: (own, borrowed), allowed } => {
                write!(f, "its channel may have {allowed} bytes and has {}", own + borrowed)
            }
            Self::PoolBytes { held: (own, borrowed), reserve, free, share } => {
                write!(f, "its channel has {} bytes, {reserve} of them its alone, ", own + borrowed)?;
                match share {
                    None => write!(f, "and {free} are left to be lent"),
                    Some(share) => write!(f, "and may borrow {share} for each that stays free of {free}"),
                }
            }
            Self::ChannelUnits { held: (own, borrowed), allowed } => {
                write!(f, "its channel may have {allowed} and has {}", own + borrowed)
            }
            Self::LentUnits { held: (own, borrowed), reserve, free } => write!(
                f,
                "its channel has {}, {reserve} of them its alone, and {free} are left to be lent",
                own + borrowed
            ),
            Self::Kind => f.write_str("the pool does not count these"),
            Self::Closed => f.write_str("its channel was let go"),
        }
    }
}

fn told(kinds: &[String]) -> String {
    if kinds.is_empty() { "nothing but its memory".to_owned() } else { kinds.join(", ") }
}

/// There is no buffer for somebody now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Exhausted(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    component: String,
    channel: String,
    asked: (u64, String),
    short: Short,
    holders: Vec<Holder>,
}

impl Exhausted {
    /// What somebody asked for: an amount, and of what.
    pub(crate) fn new(
        account: &AccountState,
        asked: (u64, &str),
        short: Short,
        holders: Vec<Holder>,
    ) -> Self {
        let (component, channel) = (account.name.clone(), account.channel.name.clone());
        let asked = (asked.0, asked.1.to_owned());
        Self(Box::new(Detail { component, channel, asked, short, holders }))
    }

    /// Whose limit was met.
    pub fn short(&self) -> Short {
        self.0.short
    }

    /// Who holds most of what was short, and where it was taken: three at most, the largest first.
    pub fn holders(&self) -> &[Holder] {
        &self.0.holders
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detail { component, channel, asked: (amount, what), short, holders } = &*self.0;
        write!(f, "{component} in channel {channel} asked for {amount} {what}: {short}")?;
        for (at, holder) in holders.iter().enumerate() {
            f.write_str(if at == 0 { "; most is held by " } else { ", " })?;
            write!(f, "{holder}")?;
        }
        Ok(())
    }
}
