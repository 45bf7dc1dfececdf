//! What is another channel's is refused, by name, where it crosses a boundary.
//!
//! Within a program the types see to it: a buffer is given back by dropping it, and no method takes another channel's. Where
//! handles are handed about as values, whoever takes one in asks its channel first.

use crate::arena::Lease;
use crate::buffer::Buffer;
use crate::chain::Chain;
use crate::channel::Channel;
use crate::pool::Account;
use crate::slice::Slice;

/// What is another channel's, and whose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a {what} of channel {held_by} (component {component}{}) is not channel {asked}'s: it is neither read, resized nor given back through it",
    if *.of_another_pool { ", of another pool" } else { "" }
)]
#[non_exhaustive]
pub struct Foreign {
    /// What it is: `buffer`, `slice` or `account`.
    pub what: &'static str,
    /// The channel whose it is.
    pub held_by: String,
    /// The component in it.
    pub component: String,
    /// The channel that was asked.
    pub asked: String,
    /// Whether it is not even of the same pool.
    pub of_another_pool: bool,
}

/// What belongs to a channel: a [`Buffer`], a [`Slice`], a [`Chain`], an [`Account`].
pub trait Owned: sealed::Owned {}

mod sealed {
    /// Asked by a channel whether it is its own.
    pub trait Owned {
        #[doc(hidden)]
        fn is_of(&self, channel: &super::Channel) -> Result<(), super::Foreign>;
    }
}

fn of_lease(what: &'static str, lease: &Lease, channel: &Channel) -> Result<(), Foreign> {
    let is_of_pool = lease.is_of(channel.root());
    if is_of_pool && lease.channel() == channel.number() {
        return Ok(());
    }
    let (held_by, component) = lease.holder();
    let (held_by, component) = (held_by.to_owned(), component.to_owned());
    Err(Foreign { what, held_by, component, asked: channel.name().to_owned(), of_another_pool: !is_of_pool })
}

impl sealed::Owned for Buffer {
    fn is_of(&self, channel: &Channel) -> Result<(), Foreign> {
        of_lease("buffer", self.lease(), channel)
    }
}

impl sealed::Owned for Slice {
    fn is_of(&self, channel: &Channel) -> Result<(), Foreign> {
        of_lease("slice", self.lease(), channel)
    }
}

impl sealed::Owned for Chain {
    fn is_of(&self, channel: &Channel) -> Result<(), Foreign> {
        self.buffers().iter().try_for_each(|buffer| sealed::Owned::is_of(buffer, channel))
    }
}

impl sealed::Owned for Account {
    fn is_of(&self, channel: &Channel) -> Result<(), Foreign> {
        let is_of_pool = self.root().is(channel.root());
        if is_of_pool && self.channel_number() == channel.number() {
            return Ok(());
        }
        let (held_by, component) = self.names();
        let (held_by, component) = (held_by.to_owned(), component.to_owned());
        let (what, asked, of_another_pool) = ("account", channel.name().to_owned(), !is_of_pool);
        Err(Foreign { what, held_by, component, asked, of_another_pool })
    }
}

impl Owned for Buffer {}
impl Owned for Slice {}
impl Owned for Chain {}
impl Owned for Account {}

impl Channel {
    /// Whether a buffer, slice, chain or account is this channel's.
    ///
    /// # Errors
    /// [`Foreign`]: whose it is.
    ///
    /// ```
    /// use evenkeel_pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let (left, right) = (pool.channel("left", &Limits::default())?, pool.channel("right", &Limits::default())?);
    /// let buffer = left.component("mic", 500_000)?.take(4096)?;
    /// assert!(left.accepts(&buffer).is_ok());
    /// let refused = right.accepts(&buffer).unwrap_err();
    /// assert_eq!((refused.held_by.as_str(), refused.asked.as_str()), ("left", "right"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn accepts(&self, owned: &impl Owned) -> Result<(), Foreign> {
        owned.is_of(self)
    }
}
