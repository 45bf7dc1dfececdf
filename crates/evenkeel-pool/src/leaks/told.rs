//! What people are told of what is held.

use std::backtrace::Backtrace;
use std::fmt;
use std::sync::Arc;

/// The way that a thread had come when it took a buffer. Names of functions are looked up when it is shown, not before.
#[derive(Clone)]
pub struct Trace(Arc<Backtrace>);

impl Trace {
    /// Of the calling thread.
    pub(crate) fn capture() -> Self {
        Self(Arc::new(Backtrace::force_capture()))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// A buffer that somebody holds: as such, or as slices of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Held {
    /// The channel.
    pub channel: String,
    /// The component in it.
    pub component: String,
    /// Where in the source it was taken, as `file:line:column`; none if that was not noted.
    pub site: Option<String>,
    /// Bytes of the buffer.
    pub slot_bytes: u64,
    /// For how long, in seconds as the pool was told of them; none if that was not noted.
    pub seconds: Option<u32>,
    /// The way its thread had come; none if that was not noted.
    pub trace: Option<Trace>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, component, site, slot_bytes, seconds, .. } = self;
        write!(f, "{slot_bytes} bytes held by {channel}/{component}")?;
        if let Some(seconds) = seconds {
            write!(f, " for {seconds} s")?;
        }
        write!(f, ", taken at {}", site.as_deref().unwrap_or("a place that was not noted"))
    }
}

/// Units that somebody holds of what a pool counts beside its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldUnits {
    /// The channel.
    pub channel: String,
    /// The component in it.
    pub component: String,
    /// What is counted.
    pub kind: String,
    /// How many were taken together.
    pub units: u32,
    /// Where in the source they were taken, as `file:line:column`.
    pub site: String,
    /// For how long they are held, in seconds as the pool was told of them.
    pub seconds: u32,
}

impl fmt::Display for HeldUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, component, kind, units, site, seconds } = self;
        write!(f, "{units} {kind} held by {channel}/{component} for {seconds} s, taken at {site}")
    }
}

/// Buffers that somebody holds.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Leaks {
    /// How many.
    pub buffers: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Those that are named, the oldest first.
    pub held: Vec<Held>,
}

impl Leaks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffers == 0
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} buffers of {} bytes", self.buffers, self.bytes)?;
        self.held.iter().try_for_each(|held| write!(f, "; {held}"))
    }
}

/// A buffer that was written after it had been given back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The channel of who had it last.
    pub channel: String,
    /// The component in it.
    pub component: String,
    /// Where in the source that one took it; none if that was not noted.
    pub site: Option<String>,
    /// Bytes of the buffer.
    pub slot_bytes: u64,
    /// Which is the first of its bytes that is not what it was.
    pub at: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, component, site, slot_bytes, at } = self;
        let site = site.as_deref().unwrap_or("a place that was not noted");
        write!(
            f,
            "byte {at} of a buffer of {slot_bytes} bytes was written after {channel}/{component}, which took it at {site}, had given it back"
        )
    }
}

/// What a look at a pool found that was not told before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// It has been held for longer than its component may hold one; told again when that time has doubled.
    HeldTooLong(Held),
    /// It was still held when its component, channel or pool was [finished](crate::Account::finish).
    NeverReturned(Held),
    /// One that was told of as one of these was given back.
    Returned(Held),
    /// Units of what is counted beside the memory have been held for longer than their component may hold any; told again
    /// when that time has doubled.
    UnitsHeldTooLong(HeldUnits),
    /// Those that were told of as this were given back.
    UnitsReturned(HeldUnits),
    /// It was written after it had been given back. Found where the pool [poisons](crate::PoolBuilder::poison).
    WrittenAfterReturn(Damage),
    /// So many more are there than are told of at a time.
    Untold {
        /// How many.
        findings: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldTooLong(held) => write!(f, "held too long: {held}"),
            Self::NeverReturned(held) => write!(f, "never given back: {held}"),
            Self::Returned(held) => write!(f, "given back: {held}"),
            Self::UnitsHeldTooLong(held) => write!(f, "held too long: {held}"),
            Self::UnitsReturned(held) => write!(f, "given back: {held}"),
            Self::WrittenAfterReturn(damage) => damage.fmt(f),
            Self::Untold { findings } => write!(f, "{findings} more that are not told one by one"),
        }
    }
}
