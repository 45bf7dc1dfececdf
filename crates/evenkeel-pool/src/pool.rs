//! Pools, and who takes from them.

use crate::account::pages;
use crate::arena::{Arena, PAGE_BYTES, Root};
use crate::beside::Taking;
use crate::buffer::Buffer;
use crate::core::{Core, Counter, Settings, TierCore};
use crate::error::{BuildError, Exhausted};
use crate::holders::Holder;
use crate::leaks::{LeakMode, Watch};
use crate::quota::{Surplus, UNITS_MAX};
use evenkeel_locks::watch::Site;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

/// Tiers that a pool may have.
const TIERS_MAX: usize = 8;
/// Slots that a tier may have.
const SLOTS_MAX: u32 = 1 << 20;
/// Kinds of things that a pool counts beside its memory.
const KINDS_MAX: usize = 16;
/// Components that may take from a pool, each once, in its life.
pub(crate) const ACCOUNTS_MAX: usize = 4096;

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
    bytes_max: Option<u64>,
    borrow_share: Option<u32>,
    resident_max: Option<u64>,
    counted: Vec<(String, u32)>,
    leaks: LeakMode,
    poisons: bool,
}

impl Default for PoolBuilder {
    fn default() -> Self {
        let tiers = [(4 << 10, 500), (64 << 10, 250), (1 << 20, 125)];
        Self {
            tiers: tiers.map(|(bytes, slots)| Tier { bytes, slots }).to_vec(),
            bytes_max: None,
            borrow_share: None,
            resident_max: None,
            counted: Vec::new(),
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

    /// Bytes that all channels may hold together, in place of all that the tiers have. What channels reserve is set
    /// aside from them. Counted in pages of 4,096, rounded up.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// A channel may borrow so many bytes for each that is then still nobody's, so that one that floods leaves some to
    /// whoever comes next: with 4 it alone has four fifths of what can be lent. Without, the first takes all.
    pub fn borrow_share(mut self, times: u32) -> Self {
        self.borrow_share = Some(times);
        self
    }

    /// Bytes of memory that the buffers may have from the system, held or not: no more than that is lent, and memory of free
    /// buffers is given back before others get any. Only what is taken [beyond](Account::take_beyond) limits exceeds it.
    pub fn resident_max(mut self, bytes: u64) -> Self {
        self.resident_max = Some(bytes);
        self
    }

    /// Counts something beside its memory in the same way: so many units of it, which channels reserve and borrow, as
    /// `threads` or `file handles`. See [`Account::count`].
    pub fn counted(mut self, kind: &str, units: u32) -> Self {
        self.counted.push((kind.to_owned(), units));
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
        let settings = self.settings()?;
        let arenas = self.tiers.iter().map(|tier| Arena::reserve(tier.bytes, tier.slots as usize));
        let arenas = arenas.collect::<Result<_, _>>().map_err(BuildError::Memory)?;
        let tiers = self.tiers.iter().map(|tier| TierCore::new(tier.bytes as u64, tier.slots)).collect();
        Ok(Pool(Arc::new(Root::new(
            Core::new(tiers, settings),
            arenas,
            Watch::new(self.leaks, self.poisons),
        ))))
    }

    fn settings(&self) -> Result<Settings, BuildError> {
        let bytes: u64 = self.tiers.iter().map(|tier| tier.bytes as u64 * u64::from(tier.slots)).sum();
        let allowed = u64::from(UNITS_MAX) * PAGE_BYTES as u64;
        if bytes > allowed {
            return Err(BuildError::Bytes { bytes, allowed });
        }
        let resident_max = self.resident_max.unwrap_or(u64::MAX);
        let whole_pages = resident_max / PAGE_BYTES as u64;
        let lent = pages(bytes.min(self.bytes_max.unwrap_or(bytes)));
        let kinds = self.counted.iter().map(|(kind, _)| kind);
        let is_double = |kind: &&String| self.counted.iter().filter(|(other, _)| other == *kind).count() > 1;
        if self.counted.len() > KINDS_MAX || kinds.clone().any(|kind| is_double(&kind)) {
            return Err(BuildError::Kinds { kinds: kinds.cloned().collect(), allowed: KINDS_MAX });
        }
        let counter = |(kind, units): &(String, u32)| Counter {
            kind: kind.clone(),
            units: (*units).min(UNITS_MAX),
            surplus: Surplus::new((*units).min(UNITS_MAX), None),
        };
        Ok(Settings {
            pages_max: lent.min(u32::try_from(whole_pages).unwrap_or(u32::MAX)),
            borrow_share: self.borrow_share,
            resident_max,
            counters: self.counted.iter().map(counter).collect(),
            accounts_max: ACCOUNTS_MAX,
        })
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
///
/// ```
/// use evenkeel_pool::{Limits, Pool, Tier};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder().tiers([Tier { bytes: 4096, slots: 8 }]).resident_max(16 << 10).build()?;
/// let mic = pool.channel("left", &Limits::default())?.component("mic", 500_000)?;
/// let held: Vec<_> = (0..4).map(|_| mic.take(1000)).collect::<Result<_, _>>()?;
/// assert!(mic.take(1000).is_err(), "four pages may be in memory");
/// drop(held);
/// assert_eq!(pool.shrink()?.resident_after, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(pub(crate) Arc<Root>);

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

    /// Who holds buffers, where they were taken and for how long: who holds most is first.
    pub fn holders(&self) -> Vec<Holder> {
        crate::holders::holders(self.0.memory())
    }

    /// How many wait for something that others have.
    pub fn waiting(&self) -> usize {
        self.0.memory().core.waiting_count()
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

/// Who takes buffers: a component of a channel. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) root: Arc<Root>,
    pub(crate) number: u32,
    pub(crate) channel: u32,
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

    pub(crate) fn core(&self) -> &Core {
        &self.root.memory().core
    }

    /// The smallest tier whose buffers have room for so many bytes.
    #[inline]
    pub(crate) fn tier_for(&self, bytes: usize) -> Option<usize> {
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
        let memory = self.root.memory();
        match self.tier_for(bytes).map(|tier| (tier, memory.core.take(tier, self.number, memory))) {
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
        match self.core().take_until(tier, self.number, until, self.root.memory()) {
            Ok(slot) => Ok(self.buffer(tier, slot, bytes, site)),
            Err(denied) => Err(self.exhausted(bytes, Some((tier, denied)))),
        }
    }

    #[inline(always)]
    pub(crate) fn buffer(&self, tier: usize, slot: u32, bytes: usize, site: Site) -> Buffer {
        let taking = Taking { account: self.number, channel: self.channel, bytes: bytes as u32, site };
        Buffer::of(self.root.lease(tier, slot, taking), 0)
    }
}
