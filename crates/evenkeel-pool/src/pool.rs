//! Pools, and who takes from them.

use crate::account::{AccountState, ChannelState, Denied};
use crate::arena::{Arena, PAGE_BYTES, Root};
use crate::beside::Taking;
use crate::buffer::Buffer;
use crate::chain::{self, Chain};
use crate::core::{Core, TierCore};
use crate::error::{BuildError, Exhausted, Refused, Short};
use crate::holders::Holder;
use crate::leaks::{LeakMode, Watch};
use crate::quota::Share;
use evenkeel_locks::watch::Site;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

/// Tiers that a pool may have.
const TIERS_MAX: usize = 8;
/// Slots that a tier may have.
const SLOTS_MAX: u32 = 1 << 20;
/// Components that may take from a pool, each once, in its life.
const ACCOUNTS_MAX: usize = 4096;

/// Buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Bytes of each: whole pages of 4,096.
    pub bytes: usize,
    /// How many there are.
    pub slots: u32,
}

/// Describes a [`Pool`].
#[derive(Clone, Debug)]
pub struct PoolBuilder {
    tiers: Vec<Tier>,
    leaks: LeakMode,
    poisons: bool,
}

impl Default for PoolBuilder {
    fn default() -> Self {
        let tiers = [(4 << 10, 500), (64 << 10, 250), (1 << 20, 125)];
        Self {
            tiers: tiers.map(|(bytes, slots)| Tier { bytes, slots }).to_vec(),
            leaks: LeakMode::default(),
            poisons: false,
        }
    }
}

impl PoolBuilder {
    /// Its tiers, the smallest first, in place of 500 of 4 KiB, 250 of 64 KiB and 125 of 1 MiB.
    pub fn tiers(mut self, tiers: impl IntoIterator<Item = Tier>) -> Self {
        self.tiers = tiers.into_iter().collect();
        self
    }

    /// What is noted of each buffer when it is taken, in place of the place and the time.
    pub fn leaks(mut self, mode: LeakMode) -> Self {
        self.leaks = mode;
        self
    }

    /// Fills what is given back with a pattern, so that whoever still reads it sees that, and looks at the pattern when it is taken
    /// again, so that whoever still writes it is [found](Pool::findings). For debugging: it reads all of each buffer.
    pub fn poison(mut self) -> Self {
        self.poisons = true;
        self
    }

    /// Reserves the memory: address space, of which a page takes memory once it is used.
    ///
    /// # Errors
    /// [`BuildError`]: what is wrong with the tiers, or what the system says.
    pub fn build(self) -> Result<Pool, BuildError> {
        check(&self.tiers)?;
        let arenas = self.tiers.iter().map(|tier| Arena::reserve(tier.bytes, tier.slots as usize));
        let arenas = arenas.collect::<Result<_, _>>().map_err(BuildError::Memory)?;
        let tiers = self.tiers.iter().map(|tier| TierCore::new(tier.bytes as u64, tier.slots)).collect();
        Ok(Pool(Arc::new(Root::new(
            Core::new(tiers, ACCOUNTS_MAX),
            arenas,
            Watch::new(self.leaks, self.poisons),
        ))))
    }
}

fn check(tiers: &[Tier]) -> Result<(), BuildError> {
    if tiers.is_empty() || tiers.len() > TIERS_MAX {
        return Err(BuildError::Tiers { tiers: tiers.len(), allowed: TIERS_MAX });
    }
    let mut before = 0;
    for Tier { bytes, slots } in tiers.iter().copied() {
        if !bytes.is_multiple_of(PAGE_BYTES) || bytes <= before || bytes > 1 << 31 {
            return Err(BuildError::Size { bytes, before, page: PAGE_BYTES });
        }
        if slots == 0 || slots > SLOTS_MAX {
            return Err(BuildError::Slots { bytes, slots, allowed: SLOTS_MAX });
        }
        before = bytes;
    }
    Ok(())
}

/// Tiers of buffers. Cheap to clone; all clones are one. The memory goes when the last handle and the last
/// buffer have gone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Root>);

/// What a channel may have of each tier, the smallest first; tiers that are not named have `0` and all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Buffers that are its alone, whatever others do.
    pub reserve: Vec<u32>,
    /// Buffers that it may have at most.
    pub max: Vec<u32>,
}

impl Pool {
    /// Begins to describe one.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Its tiers, the smallest first.
    pub fn tiers(&self) -> Vec<Tier> {
        let core = &self.0.memory().core;
        let tier = |tier: &TierCore| Tier { bytes: tier.slot_bytes as usize, slots: tier.held.len() as u32 };
        core.tiers.iter().map(tier).collect()
    }

    /// Takes a channel in, and sets its reserves aside.
    ///
    /// # Errors
    /// [`Refused`]: there is one of that name, or the reserves are more than is left.
    pub fn channel(&self, name: &str, limits: &Limits) -> Result<Channel, Refused> {
        let core = &self.0.memory().core;
        let mut shares = Vec::with_capacity(core.tiers.len());
        for (at, tier) in core.tiers.iter().enumerate() {
            let slots = tier.held.len() as u32;
            let reserve = limits.reserve.get(at).copied().unwrap_or(0);
            let max = limits.max.get(at).copied().unwrap_or(slots);
            if reserve > max {
                return Err(Refused::Limits {
                    channel: name.to_owned(),
                    bytes: tier.slot_bytes,
                    reserve,
                    max,
                });
            }
            shares.push((reserve, max));
        }
        for (at, (reserve, _)) in shares.iter().enumerate() {
            if let Err(left) = core.tiers[at].surplus.set_aside(*reserve) {
                shares[..at]
                    .iter()
                    .enumerate()
                    .for_each(|(at, (set, _))| core.tiers[at].surplus.put_back(*set));
                let (bytes, reserve) = (core.tiers[at].slot_bytes, *reserve);
                return Err(Refused::Reserve { channel: name.to_owned(), bytes, reserve, left });
            }
        }
        let number = core.channel_number();
        let shares = shares.into_iter().map(|(reserve, max)| Share::new(reserve, max)).collect();
        let state = Arc::new(ChannelState { name: name.to_owned(), number, shares });
        Ok(Channel { root: self.0.clone(), state })
    }

    /// Who holds buffers, where they were taken and for how long: who holds most is first.
    pub fn holders(&self) -> Vec<Holder> {
        crate::holders::holders(self.0.memory(), None)
    }

    /// Counts seconds, by which it is known for how long buffers are held. To be called once a second or so.
    pub fn tick(&self, seconds: u32) {
        let memory = self.0.memory();
        memory.watch.set_seconds(memory, seconds);
    }

    pub(crate) fn root(&self) -> &Root {
        &self.0
    }
}

/// A channel of a pool: whoever has it may let components of it take buffers.
#[derive(Clone, Debug)]
pub struct Channel {
    root: Arc<Root>,
    state: Arc<ChannelState>,
}

impl Channel {
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn number(&self) -> u32 {
        self.state.number
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Takes a component in, which may hold so many bytes.
    ///
    /// # Errors
    /// [`Refused::Full`]: as many as a pool can tell apart have been taken in.
    pub fn component(&self, name: &str, bytes_max: u64) -> Result<Account, Refused> {
        let account = Arc::new(AccountState::new(name.to_owned(), self.state.clone(), bytes_max));
        let admitted = self.root.memory().core.admit(account);
        let number = admitted.map_err(|_| Refused::Full { name: name.to_owned(), allowed: ACCOUNTS_MAX })?;
        Ok(Account { root: self.root.clone(), number, channel: self.state.number })
    }
}

/// Who takes buffers: a component of a channel. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Account {
    root: Arc<Root>,
    number: u32,
    channel: u32,
}

impl Account {
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn channel_number(&self) -> u32 {
        self.channel
    }

    /// Its channel's name, and its own.
    pub(crate) fn names(&self) -> (&str, &str) {
        let account = self.core().account(self.number);
        (&account.channel.name, &account.name)
    }

    fn core(&self) -> &Core {
        &self.root.memory().core
    }

    /// The smallest tier whose buffers have room for so many bytes.
    #[inline]
    fn tier_for(&self, bytes: usize) -> Option<usize> {
        self.core().tiers.iter().position(|tier| tier.slot_bytes >= bytes as u64)
    }

    /// A buffer with room for so many bytes, or an answer at once.
    ///
    /// # Errors
    /// [`Exhausted`]: whose limit was met, and who holds most.
    #[inline(always)]
    #[track_caller]
    pub fn take(&self, bytes: usize) -> Result<Buffer, Exhausted> {
        let site = Location::caller();
        match self.tier_for(bytes).map(|tier| (tier, self.core().take(tier, self.number))) {
            Some((tier, Ok(slot))) => Ok(self.buffer(tier, slot, bytes, site)),
            Some((tier, Err(denied))) => Err(self.exhausted(bytes, Some((tier, denied)))),
            None => Err(self.exhausted(bytes, None)),
        }
    }

    /// The same; where there is none, one that somebody gives back until then. Those who wait are served
    /// in turn, channel by channel.
    ///
    /// # Errors
    /// [`Exhausted`], when the time is over; at once if no tier has so large ones.
    #[track_caller]
    pub fn take_until(&self, bytes: usize, until: Instant) -> Result<Buffer, Exhausted> {
        let site = Location::caller();
        let tier = self.tier_for(bytes).ok_or_else(|| self.exhausted(bytes, None))?;
        match self.core().take_until(tier, self.number, until) {
            Ok(slot) => Ok(self.buffer(tier, slot, bytes, site)),
            Err(denied) => Err(self.exhausted(bytes, Some((tier, denied)))),
        }
    }

    /// Buffers with room for so many bytes together, and little more: of large tiers what fills them, of small ones
    /// the rest. Where a tier has none, smaller ones serve.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is kept.
    #[track_caller]
    pub fn take_chain(&self, bytes: usize) -> Result<Chain, Exhausted> {
        let site = Location::caller();
        let sizes: Vec<usize> = self.core().tiers.iter().map(|tier| tier.slot_bytes as usize).collect();
        let (mut buffers, mut left) = (Vec::new(), bytes);
        let taken = chain::compose(bytes, &sizes, |tier| {
            let slot = self.core().take(tier, self.number)?;
            let here = left.min(sizes[tier]);
            left -= here;
            buffers.push(self.buffer(tier, slot, here, site));
            Ok(())
        });
        match taken {
            Ok(()) => Ok(Chain::of(buffers)),
            Err(denied) => Err(self.exhausted(bytes, Some((0, denied)))),
        }
    }

    #[inline(always)]
    fn buffer(&self, tier: usize, slot: u32, bytes: usize, site: Site) -> Buffer {
        let taking = Taking { account: self.number, channel: self.channel, bytes: bytes as u32, site };
        Buffer::of(self.root.lease(tier, slot, taking), 0)
    }

    #[cold]
    fn exhausted(&self, bytes: usize, denied: Option<(usize, Denied)>) -> Exhausted {
        let memory = self.root.memory();
        let account = memory.core.account(self.number);
        let short = match denied {
            None => Short::Size { largest: memory.core.tiers.last().map_or(0, |tier| tier.slot_bytes) },
            Some((_, Denied::Component)) => {
                Short::Component { held: account.bytes(), allowed: account.bytes_max }
            }
            Some((tier, Denied::Channel)) => {
                let share = &account.channel.shares[tier];
                Short::Channel { held: share.held(), allowed: share.max() }
            }
            Some((tier, Denied::Surplus)) => {
                let share = &account.channel.shares[tier];
                Short::Lent { held: share.held(), reserve: share.reserve() }
            }
        };
        let (component, channel) = (account.name.clone(), account.channel.name.clone());
        let holders = denied.map(|(tier, _)| crate::holders::largest(memory, tier)).unwrap_or_default();
        Exhausted::new(component, channel, bytes, short, holders)
    }
}
