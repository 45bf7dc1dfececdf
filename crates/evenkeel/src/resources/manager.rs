//! What resources are asked for through: the seam between coordinators, which tests and embedders may put their own in place
//! of. All of the house's are views of one pool; see [`ResourceView`].

use super::view::{Breach, ResourceView};
use super::{Buffer, Chain, Counted, CountedHolder, Exhausted, Holder, Refused, Tier, WhenExhausted};
use std::fmt;
use std::io;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Want {
    /// Memory for so many bytes: one buffer, or a chain where no tier fits.
    Bytes(usize),
    /// So many units of what is counted beside the memory: [`FILES`](super::FILES), say.
    Units(String, u32),
}

/// Who wants what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The channel; none for a component that all channels share.
    pub channel: Option<String>,
    /// The component.
    pub component: String,
    /// What it wants.
    pub want: Want,
    /// What is to happen where there is none.
    pub when: WhenExhausted,
}

impl Request {
    /// Memory for so many bytes, or an error at once.
    pub fn bytes(channel: impl Into<String>, component: impl Into<String>, bytes: usize) -> Self {
        let (channel, component) = (Some(channel.into()), component.into());
        Self { channel, component, want: Want::Bytes(bytes), when: WhenExhausted::Fail }
    }
}

/// What a handle is a handle to.
#[derive(Debug)]
pub(super) enum Held {
    Buffer(Buffer),
    Chain(Chain),
    Units(Counted),
}

/// What was allocated: its memory, or the right to what is counted. Given back by [`ResourceManager::deallocate`], or by
/// dropping it.
#[derive(Debug)]
#[must_use = "dropping it gives back what was allocated"]
pub struct ResourceHandle {
    pub(super) held: Held,
    pub(super) pool: super::ResourcePool,
    pub(super) channel: String,
    pub(super) component: String,
}

impl ResourceHandle {
    /// Whose it is: channel and component.
    pub fn holder(&self) -> (&str, &str) {
        (&self.channel, &self.component)
    }

    /// Bytes that it can hold; none of what is only counted.
    pub fn capacity(&self) -> usize {
        match &self.held {
            Held::Buffer(buffer) => buffer.capacity(),
            Held::Chain(chain) => chain.capacity(),
            Held::Units(_) => 0,
        }
    }

    /// Units of what is only counted, and of what; none of memory.
    pub fn units(&self) -> Option<(u32, &str)> {
        match &self.held {
            Held::Units(counted) => Some((counted.units(), counted.kind())),
            Held::Buffer(_) | Held::Chain(_) => None,
        }
    }

    /// Its memory: one buffer or several, the first first; none of what is only counted.
    pub fn into_buffers(self) -> Vec<Buffer> {
        match self.held {
            Held::Buffer(buffer) => vec![buffer],
            Held::Chain(chain) => chain.into_buffers(),
            Held::Units(_) => Vec::new(),
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// There is nothing to be had now.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Nothing at all can be taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There was none, and whoever asked chose to go without.
    #[error("{component} in channel {channel} goes without, as it chose")]
    Shed {
        /// The channel.
        channel: String,
        /// The component.
        component: String,
    },
    /// It crosses a boundary. It was reported.
    #[error(transparent)]
    Breach(#[from] Breach),
}

/// A handle that is another's: it is the caller's, as it was.
#[derive(Debug, thiserror::Error)]
#[error("{breach}")]
#[non_exhaustive]
pub struct NotGivenBack {
    /// Who reached for what.
    pub breach: Breach,
    /// The handle.
    pub handle: ResourceHandle,
}

/// What somebody may have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceLimit {
    /// The channel.
    pub channel: String,
    /// The component in it; none for the channel as a whole.
    pub component: Option<String>,
    /// Bytes that are its alone.
    pub bytes_reserve: u64,
    /// Bytes that it may hold.
    pub bytes_max: u64,
}

/// What somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// The channel.
    pub channel: String,
    /// The component in it; none for the channel as a whole.
    pub component: Option<String>,
    /// Bytes that are counted as its: what is held, and what lies ready for it in the threads that gave it back.
    pub bytes: u64,
    /// Of a channel: units of what is counted beside the memory, by kind.
    pub counted: Vec<(String, u64)>,
}

/// Figures of a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceMetrics {
    /// The pool's tiers.
    pub tiers: Vec<Tier>,
    /// What each channel and component has.
    pub usage: Vec<ResourceUsage>,
    /// Who holds buffers.
    pub holders: Vec<Holder>,
    /// Who holds what is counted beside the memory.
    pub counted_holders: Vec<CountedHolder>,
    /// Bytes of the whole pool that are in memory, as the system says; or what it said instead.
    pub resident_bytes: Result<u64, io::ErrorKind>,
}

/// What is not as it has to be, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Violations(pub Vec<String>);

/// Who still holds something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotReleased {
    /// Buffers.
    pub holders: Vec<Holder>,
    /// What is counted beside the memory.
    pub counted: Vec<CountedHolder>,
}

impl fmt::Display for NotReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("still held: ")?;
        let mut between = "";
        for holder in &self.holders {
            let Holder { channel, component, site, buffers, bytes, oldest_seconds, .. } = holder;
            write!(
                f,
                "{between}{buffers} buffers of {bytes} bytes by {channel}/{component}, taken at {site}, \
                 the oldest {oldest_seconds} s ago"
            )?;
            between = "; ";
        }
        for CountedHolder { kind, channel, component, site, units, .. } in &self.counted {
            write!(f, "{between}{units} {kind} by {channel}/{component}, taken at {site}")?;
            between = "; ";
        }
        Ok(())
    }
}

/// The operations on resources. What one coordinator sees and may touch is its own slice: the monitoring all, the components'
/// coordinator its components, a channel itself.
///
/// ```
/// use evenkeel::prelude::*;
/// use evenkeel::resources::{Request, ResourceManager};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keel = Keel::builder("intercom").without_signals().keep_process().build()?;
/// let (left, right) = (keel.channel("left")?, keel.channel("right")?);
/// let handle = left.allocate(Request::bytes("left", "mic", 4096))?;
/// assert!(right.allocate(Request::bytes("left", "mic", 4096)).is_err());
/// assert!(right.validate_boundaries(&handle).is_err());
/// assert_eq!(left.usage()[0].bytes, 4096);
/// left.deallocate(handle)?;
/// left.verify_cleanup()?;
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
pub trait ResourceManager {
    /// Allocates.
    ///
    /// # Errors
    /// [`ResourceError`]; a request for somebody who is not of this slice is refused and reported, and one for a channel or
    /// component that cannot be, as the service's own, is refused with what is allowed.
    #[track_caller]
    fn allocate(&self, request: Request) -> Result<ResourceHandle, ResourceError>;

    /// Gives back what was allocated.
    ///
    /// # Errors
    /// [`NotGivenBack`], with the handle: it is none of this slice's. That is reported.
    fn deallocate(&self, handle: ResourceHandle) -> Result<(), Box<NotGivenBack>>;

    /// What each channel and component may have.
    fn limits(&self) -> Vec<ResourceLimit>;

    /// What each channel and component has.
    fn usage(&self) -> Vec<ResourceUsage>;

    /// Checks that no channel has more than it may, or what is another's.
    ///
    /// # Errors
    /// [`Violations`], in words.
    fn verify_isolation(&self) -> Result<(), Violations>;

    /// Checks that nothing is held any more.
    ///
    /// # Errors
    /// [`NotReleased`]: who holds what.
    fn verify_cleanup(&self) -> Result<(), NotReleased>;

    /// Checks that a handle is of this slice.
    ///
    /// # Errors
    /// [`Breach`]; that is reported.
    fn validate_boundaries(&self, handle: &ResourceHandle) -> Result<(), Breach>;

    /// Figures of this moment.
    fn metrics(&self) -> ResourceMetrics;
}

/// Who sees a slice of a pool: all that it takes to be a [`ResourceManager`].
pub trait HasResources {
    /// The slice.
    fn resource_view(&self) -> ResourceView;
}

impl<T: HasResources> ResourceManager for T {
    #[track_caller]
    fn allocate(&self, request: Request) -> Result<ResourceHandle, ResourceError> {
        self.resource_view().allocate(request)
    }

    fn deallocate(&self, handle: ResourceHandle) -> Result<(), Box<NotGivenBack>> {
        self.resource_view().deallocate(handle)
    }

    fn limits(&self) -> Vec<ResourceLimit> {
        self.resource_view().limits()
    }

    fn usage(&self) -> Vec<ResourceUsage> {
        self.resource_view().usage()
    }

    fn verify_isolation(&self) -> Result<(), Violations> {
        self.resource_view().verify_isolation()
    }

    fn verify_cleanup(&self) -> Result<(), NotReleased> {
        self.resource_view().verify_cleanup()
    }

    fn validate_boundaries(&self, handle: &ResourceHandle) -> Result<(), Breach> {
        self.resource_view().validate_boundaries(handle)
    }

    fn metrics(&self) -> ResourceMetrics {
        self.resource_view().metrics()
    }
}
