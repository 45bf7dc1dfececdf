//! The other ways to take: beyond limits, several buffers at once, and what is to happen when there is nothing.

use crate::account::{Denied, PAGE};
use crate::buffer::Buffer;
use crate::chain::{self, Chain};
use crate::error::{Exhausted, Short};
use crate::pool::Account;
use evenkeel_locks::watch::Site;
use std::panic::Location;
use std::time::Instant;

/// What is to happen where there is nothing to be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExhausted {
    /// It is an error.
    Fail,
    /// Whoever asks waits for it until then, in turn; after that it is an error.
    WaitUntil(Instant),
    /// Whoever asks goes without, and that is [counted](Account::shed).
    Shed,
}

/// What somebody has who would rather go without than fail.
#[derive(Debug)]
#[must_use]
pub enum Taken<T> {
    /// What was asked for.
    Given(T),
    /// Nothing: there was none.
    Shed,
}

impl<T> Taken<T> {
    /// What was given, if anything.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Given(given) => Some(given),
            Self::Shed => None,
        }
    }
}

impl Account {
    /// A buffer with room for so many bytes, or what the caller chose.
    ///
    /// ```
    /// use evenkeel_pool::{Limits, Pool, WhenExhausted};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let mic = pool.channel("left", &Limits::default())?.component("mic", 4096)?;
    /// let first = mic.take_or(4096, WhenExhausted::Shed)?.given();
    /// let second = mic.take_or(4096, WhenExhausted::Shed)?.given();
    /// assert!(first.is_some() && second.is_none());
    /// assert_eq!(mic.shed(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Exhausted`], unless it is shed.
    #[track_caller]
    pub fn take_or(&self, bytes: usize, when: WhenExhausted) -> Result<Taken<Buffer>, Exhausted> {
        let site = Location::caller();
        let tier = self.tier_for(bytes).ok_or_else(|| self.exhausted(bytes, None))?;
        let memory = self.root.memory();
        let taken = match when {
            WhenExhausted::WaitUntil(until) => memory.core.take_until(tier, self.number, until, memory),
            WhenExhausted::Fail | WhenExhausted::Shed => memory.core.take(tier, self.number, memory),
        };
        match taken {
            Ok(slot) => Ok(Taken::Given(self.buffer(tier, slot, bytes, site))),
            Err(_) if when == WhenExhausted::Shed => Ok(self.goes_without()),
            Err(denied) => Err(self.exhausted(bytes, Some((tier, denied)))),
        }
    }

    /// How often it went without, as it [chose](WhenExhausted::Shed).
    pub fn shed(&self) -> u64 {
        self.core().account(self.number).shed()
    }

    pub(crate) fn goes_without<T>(&self) -> Taken<T> {
        self.core().account(self.number).has_shed();
        Taken::Shed
    }

    /// Bytes that it holds, and those that lie ready for it in the threads that gave them back.
    pub fn bytes(&self) -> u64 {
        self.core().account(self.number).bytes()
    }

    /// Bytes that it may hold.
    pub fn bytes_max(&self) -> u64 {
        self.core().account(self.number).bytes_max()
    }

    /// It may hold so many bytes at most from now on, if it may hold more; whoever waits for more than that is told. What it
    /// holds above that it keeps: it takes no more until it is below. To be allowed more is its channel's to
    /// [say](crate::Channel::set_component_bytes_max): who is limited only ever lowers its own limit.
    pub fn lower_bytes_max(&self, bytes: u64) {
        let account = self.core().account(self.number);
        account.lower_bytes_max(bytes);
        self.core().mark(account);
        self.core().limits_changed();
    }

    /// A buffer with room for so many bytes, beyond the limits in bytes of component, channel and pool, as long as its
    /// channel has one in a tier, or may borrow one; of a larger tier where the smallest that would do has none. For the
    /// last bytes of a source that is read no more: what is held above the limits is missing to whoever borrows,
    /// until it is given back, and to nobody's reserve.
    ///
    /// # Errors
    /// [`Exhausted`]: no tier has any.
    #[track_caller]
    pub fn take_beyond(&self, bytes: usize) -> Result<Buffer, Exhausted> {
        let site = Location::caller();
        let first = self.tier_for(bytes).ok_or_else(|| self.exhausted(bytes, None))?;
        let memory = self.root.memory();
        let mut denied = None;
        for tier in first..memory.core.tiers.len() {
            match memory.core.take_beyond(tier, self.number, memory) {
                Ok(slot) => return Ok(self.buffer(tier, slot, bytes, site)),
                Err(now) => denied = denied.or(Some((tier, now))),
            }
        }
        Err(self.exhausted(bytes, denied))
    }

    /// Buffers with room for so many bytes together, and little more: of large tiers what fills them, of small ones
    /// the rest. Where a tier has none, smaller ones serve.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is kept.
    #[track_caller]
    pub fn take_chain(&self, bytes: usize) -> Result<Chain, Exhausted> {
        self.chain_now(bytes, Location::caller(), |denied| self.exhausted(bytes, Some((0, denied))))
    }

    /// The same, or what the caller chose. Whoever waits is given all at once, and holds nothing meanwhile.
    ///
    /// # Errors
    /// [`Exhausted`], unless it is shed; nothing is kept.
    #[track_caller]
    pub fn take_chain_or(&self, bytes: usize, when: WhenExhausted) -> Result<Taken<Chain>, Exhausted> {
        let site = Location::caller();
        if when == WhenExhausted::Shed {
            let shed = self.chain_now(bytes, site, |_| ()).ok();
            return Ok(shed.map_or_else(|| self.goes_without(), Taken::Given));
        }
        let refused = match self.chain_now(bytes, site, |denied| self.exhausted(bytes, Some((0, denied)))) {
            Ok(chain) => return Ok(Taken::Given(chain)),
            Err(refused) => refused,
        };
        let WhenExhausted::WaitUntil(until) = when else { return Err(refused) };
        let memory = self.root.memory();
        let found = memory.core.wait_for_chain(bytes, self.number, until, memory);
        let found = found
            .map_err(|never| never.map_or(refused, |denied| self.exhausted(bytes, Some((0, denied)))))?;
        let mut left = bytes;
        let buffers = found.into_iter().map(|(tier, slot)| self.part(tier, slot, &mut left, site));
        Ok(Taken::Given(Chain::of(buffers.collect())))
    }

    /// A chain, or why not, told while what there was of it is still held.
    fn chain_now<E>(&self, bytes: usize, site: Site, why: impl FnOnce(Denied) -> E) -> Result<Chain, E> {
        let memory = self.root.memory();
        let (mut buffers, mut left) = (Vec::new(), bytes);
        let composed = chain::compose(bytes, &memory.core.sizes(), |tier| {
            let slot = memory.core.take(tier, self.number, memory)?;
            buffers.push(self.part(tier, slot, &mut left, site));
            Ok(())
        });
        composed.map_err(why)?;
        Ok(Chain::of(buffers))
    }

    /// One of several buffers for so many bytes that are left.
    fn part(&self, tier: usize, slot: u32, left: &mut usize, site: Site) -> Buffer {
        let here = (*left).min(self.core().tiers[tier].slot_bytes as usize);
        *left -= here;
        self.buffer(tier, slot, here, site)
    }

    #[cold]
    pub(crate) fn exhausted(&self, bytes: usize, denied: Option<(usize, Denied)>) -> Exhausted {
        let memory = self.root.memory();
        let account = memory.core.account(self.number);
        let channel = &account.channel;
        let in_bytes = |units: u32| u64::from(units) * PAGE;
        let (own, borrowed) = channel.pages.held();
        let (reserve, cap) = channel.pages.limits();
        let held = (in_bytes(own), in_bytes(borrowed));
        let pool_bytes = |share| Short::PoolBytes {
            held,
            reserve: in_bytes(reserve),
            free: memory.core.pages.free().max(0).cast_unsigned() * PAGE,
            share,
        };
        let short = match denied {
            None => Short::Size { largest: memory.core.tiers.last().map_or(0, |tier| tier.slot_bytes) },
            Some(_) if channel.is_closed() => Short::Closed,
            Some((_, Denied::Component)) => {
                Short::Component { held: account.bytes(), allowed: account.bytes_max() }
            }
            Some((tier, Denied::Channel)) => {
                let share = &channel.shares[tier];
                Short::Channel { held: share.held(), allowed: share.limits().1 }
            }
            Some((tier, Denied::Surplus)) => {
                let share = &channel.shares[tier];
                Short::Lent { held: share.held(), reserve: share.limits().0 }
            }
            Some((_, Denied::ChannelBytes)) => Short::ChannelBytes { held, allowed: in_bytes(cap) },
            Some((_, Denied::PoolBytes)) => pool_bytes(None),
            Some((_, Denied::ShareOfBytes)) => pool_bytes(memory.core.pages.share()),
        };
        let holders = denied.map(|(tier, _)| crate::holders::largest(memory, tier)).unwrap_or_default();
        Exhausted::new(account, (bytes as u64, "bytes"), short, holders)
    }
}
