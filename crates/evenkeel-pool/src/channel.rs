//! Channels of a pool: taken in with limits, which may change, and let go.

use crate::account::{AccountState, ChannelState, PAGE, pages};
use crate::arena::Root;
use crate::core::Core;
use crate::error::{Refused, What};
use crate::foreign::Foreign;
use crate::pool::{ACCOUNTS_MAX, Account, Pool};
use crate::quota::{Share, Surplus, UNITS_MAX};
use std::sync::Arc;

/// What a channel may have: buffers of each tier, the smallest first, bytes, and what the pool counts beside its
/// memory. Tiers and kinds that are not named have `0` and all; what there is not, or is named twice, is refused.
///
/// A buffer needs both a place in its tier and its bytes. What is reserved of both is there, whatever others do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Buffers that are its alone, whatever others do.
    pub reserve: Vec<u32>,
    /// Buffers that it may have at most.
    pub max: Vec<u32>,
    /// Bytes that are its alone; at least those of the buffers that are. Counted in pages of 4,096, rounded up.
    pub bytes_reserve: u64,
    /// Bytes that it may have at most, rounded up likewise; without, as many as the pool has.
    pub bytes_max: Option<u64>,
    /// Of kinds that the [pool counts](crate::PoolBuilder::counted): name, units that are its alone, and units at most.
    pub counted: Vec<(String, u32, u32)>,
}

/// What somebody has of what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Of its reserve.
    pub own: u64,
    /// Above its reserve.
    pub borrowed: u64,
    /// What is its alone.
    pub reserve: u64,
    /// What it may have.
    pub max: u64,
}

impl Used {
    fn of(share: &Share, unit: u64) -> Self {
        let ((own, borrowed), (reserve, max)) = (share.held(), share.limits());
        let [own, borrowed, reserve, max] =
            [own, borrowed, reserve, max].map(|units| u64::from(units) * unit);
        Self { own, borrowed, reserve, max }
    }

    /// Own and borrowed.
    pub const fn held(&self) -> u64 {
        self.own + self.borrowed
    }
}

/// What a channel has: what its components hold, and what lies ready for them in the threads that gave it back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Buffers of each tier, the smallest first.
    pub tiers: Vec<Used>,
    /// Bytes of all of them.
    pub bytes: Used,
    /// Units of each kind that the pool counts beside its memory.
    pub counted: Vec<(String, Used)>,
    /// Of which buffers or units it has more than it may, though it had no more when that was said: none, unless the books
    /// are wrong.
    pub exceeded: Vec<What>,
}

/// A channel of a pool: whoever has it may let components of it take buffers. Cheap to clone; all clones are one.
///
/// ```
/// use evenkeel_pool::{Limits, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder().bytes_max(1 << 20).build()?;
/// let limits = Limits { bytes_reserve: 16 << 10, bytes_max: Some(64 << 10), ..Limits::default() };
/// let left = pool.channel("left", &limits)?;
/// let mic = left.component("mic", 500_000)?;
/// let buffer = mic.take(20_000)?;
/// assert_eq!((left.usage().bytes.own, left.usage().bytes.borrowed), (16 << 10, 48 << 10));
/// assert!(left.close().is_err(), "it still holds a buffer");
/// drop(buffer);
/// left.close()?;
/// assert!(mic.take(1).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    pub(crate) root: Arc<Root>,
    pub(crate) state: Arc<ChannelState>,
}

/// Reserve and cap, and what is shared out.
struct Part<'a> {
    what: What,
    surplus: &'a Surplus,
    reserve: u32,
    cap: u32,
}

/// Whether limits name only what there is, each once.
fn check(core: &Core, name: &str, limits: &Limits) -> Result<(), Refused> {
    let channel = || name.to_owned();
    let allowed = core.tiers.len();
    for (what, named) in [("reserve", limits.reserve.len()), ("max", limits.max.len())] {
        if named > allowed {
            return Err(Refused::Tiers { channel: channel(), what, named, allowed });
        }
    }
    for (at, (kind, ..)) in limits.counted.iter().enumerate() {
        let (kind, allowed) = (kind.clone(), core.kinds());
        if core.kind(&kind).is_none() {
            return Err(Refused::Kind { channel: channel(), kind, allowed });
        }
        if limits.counted[..at].iter().any(|(other, ..)| *other == kind) {
            return Err(Refused::Twice { channel: channel(), kind, allowed });
        }
    }
    Ok(())
}

/// What each share of a channel is to be: its tiers', its pages', its kinds'.
fn parts<'a>(core: &'a Core, name: &str, limits: &Limits) -> Result<Vec<Part<'a>>, Refused> {
    check(core, name, limits)?;
    let mut parts = Vec::with_capacity(core.tiers.len() + 1 + core.counters.len());
    let mut reserved = 0_u64;
    for (at, tier) in core.tiers.iter().enumerate() {
        let slots = tier.held.len() as u32;
        let reserve = limits.reserve.get(at).copied().unwrap_or(0);
        let cap = limits.max.get(at).copied().unwrap_or(slots);
        reserved = reserved.saturating_add(u64::from(reserve) * tier.slot_bytes);
        parts.push(Part {
            what: What::Buffers { bytes: tier.slot_bytes },
            surplus: &tier.surplus,
            reserve,
            cap,
        });
    }
    let reserve = pages(limits.bytes_reserve.max(reserved));
    let cap = limits.bytes_max.map_or(core.pages_max.max(reserve), pages);
    parts.push(Part { what: What::Bytes, surplus: &core.pages, reserve, cap });
    for counter in &core.counters {
        let named = limits.counted.iter().find(|(kind, ..)| *kind == counter.kind);
        let (reserve, cap) = named.map_or((0, counter.units), |(_, reserve, cap)| (*reserve, *cap));
        parts.push(Part {
            what: What::Units { kind: counter.kind.clone() },
            surplus: &counter.surplus,
            reserve,
            cap,
        });
    }
    for part in &mut parts {
        if part.reserve > part.cap {
            let (reserve, max) = (part.what.amount(part.reserve), part.what.amount(part.cap));
            return Err(Refused::Limits { channel: name.to_owned(), what: part.what.clone(), reserve, max });
        }
        part.cap = part.cap.min(UNITS_MAX);
        part.reserve = part.reserve.min(UNITS_MAX);
    }
    Ok(parts)
}

/// Does one part after the other; where one cannot be, undoes those before.
fn all_or_none(
    name: &str,
    parts: &[Part<'_>],
    act: impl Fn(usize, &Part<'_>) -> Result<(), u32>,
    undo: impl Fn(usize, &Part<'_>),
) -> Result<(), Refused> {
    for (at, part) in parts.iter().enumerate() {
        if let Err(left) = act(at, part) {
            parts[..at].iter().enumerate().for_each(|(at, part)| undo(at, part));
            let (reserve, left) = (part.what.amount(part.reserve), part.what.amount(left));
            return Err(Refused::Reserve {
                channel: name.to_owned(),
                what: part.what.clone(),
                reserve,
                left,
            });
        }
    }
    Ok(())
}

impl Pool {
    /// Takes a channel in, and sets its reserves aside.
    ///
    /// # Errors
    /// [`Refused`]: there is one of that name, the limits contradict each other or name what there is not, or the reserves
    /// are more than is left.
    pub fn channel(&self, name: &str, limits: &Limits) -> Result<Channel, Refused> {
        let core = &self.0.memory().core;
        let parts = parts(core, name, limits)?;
        let state = called_in(core, || admit(core, name, &parts));
        // What is reserved is lent no more; what was set aside for a moment others may have been denied.
        core.limits_changed();
        Ok(Channel { root: self.0.clone(), state: state? })
    }
}

/// Does what may be refused for want of what lies in magazines: then once more without that.
fn called_in<T>(core: &Core, act: impl Fn() -> Result<T, Refused>) -> Result<T, Refused> {
    match act() {
        Err(Refused::Reserve { .. }) => core.calling(|| {
            core.empty_all();
            act()
        }),
        answer => answer,
    }
}

fn admit(core: &Core, name: &str, parts: &[Part<'_>]) -> Result<Arc<ChannelState>, Refused> {
    core.channels.with(|channels| {
        if channels.iter().any(|channel| channel.name == name) {
            return Err(Refused::Name { channel: name.to_owned() });
        }
        let aside = |_, part: &Part<'_>| part.surplus.set_aside(part.reserve);
        all_or_none(name, parts, aside, |_, part| part.surplus.put_back(part.reserve))?;
        let mut shares = parts.iter().map(|part| Share::new(part.reserve, part.cap));
        let tiers = shares.by_ref().take(core.tiers.len()).collect();
        let pages = shares.next().expect("invariant: bytes are behind the tiers");
        let number = core.channel_number();
        let state = Arc::new(ChannelState::new(name.to_owned(), number, tiers, pages, shares.collect()));
        channels.push(state.clone());
        Ok(state)
    })
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
    /// [`Refused::Closed`]: it was let go. [`Refused::Full`]: as many as a pool can tell apart have been taken in. Those of
    /// channels that were let go count: a number always means the same component.
    pub fn component(&self, name: &str, bytes_max: u64) -> Result<Account, Refused> {
        let account = Arc::new(AccountState::new(name.to_owned(), self.state.clone(), bytes_max));
        let admitted = self.core().channels.with(|_| match self.state.is_closed() {
            true => Err(Refused::Closed { channel: self.name().to_owned() }),
            false => Ok(self.core().admit(account)),
        });
        let number = admitted?.map_err(|_| Refused::Full { name: name.to_owned(), allowed: ACCOUNTS_MAX })?;
        Ok(Account { root: self.root.clone(), number, channel: self.state.number })
    }

    /// What it has, and may have. Each figure is of a moment; not all are of the same.
    pub fn usage(&self) -> Usage {
        let kinds = self.core().counters.iter().map(|counter| counter.kind.clone());
        let tiers = self.core().tiers.iter().map(|tier| What::Buffers { bytes: tier.slot_bytes });
        let tiers = tiers.zip(&self.state.shares);
        let units = kinds.clone().map(|kind| What::Units { kind }).zip(&self.state.counted);
        let exceeded = tiers.chain(units).filter(|(_, share)| !share.is_within()).map(|(what, _)| what);
        Usage {
            exceeded: exceeded.collect(),
            tiers: self.state.shares.iter().map(|share| Used::of(share, 1)).collect(),
            bytes: Used::of(&self.state.pages, PAGE),
            counted: kinds.zip(self.state.counted.iter().map(|share| Used::of(share, 1))).collect(),
        }
    }

    /// What one of its components may hold in bytes from now on, more or less than before; whoever waits for more than that is
    /// told. What it holds above that it keeps: it takes no more until it is below.
    ///
    /// ```
    /// use evenkeel_pool::{Limits, Pool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder().build()?;
    /// let left = pool.channel("left", &Limits::default())?;
    /// let mic = left.component("mic", 4096)?;
    /// assert!(mic.take(64 << 10).is_err());
    /// left.set_component_bytes_max(&mic, 1 << 20)?;
    /// assert!(mic.take(64 << 10).is_ok());
    /// // The component itself can only lower it.
    /// mic.lower_bytes_max(u64::MAX);
    /// assert_eq!(mic.bytes_max(), 1 << 20);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Foreign`]: it is another channel's.
    pub fn set_component_bytes_max(&self, account: &Account, bytes_max: u64) -> Result<(), Foreign> {
        self.accepts(account)?;
        let (core, number) = (self.core(), account.number());
        core.account(number).set_bytes_max(bytes_max);
        core.mark(core.account(number));
        core.limits_changed();
        Ok(())
    }

    /// Other limits from now on. Whoever waits for more than they allow is told. What it holds above them it keeps: it takes no
    /// more until it is below.
    ///
    /// # Errors
    /// [`Refused`], and all is as it was: the limits contradict each other or name what there is not, its reserves are more
    /// than is left, or it was let go.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), Refused> {
        let core = self.core();
        let parts = parts(core, self.name(), limits)?;
        let set = called_in(core, || self.set(&parts));
        core.mark_channel(&self.state);
        // Also where it was refused: what was set aside for a moment others may have been denied.
        core.limits_changed();
        set
    }

    fn set(&self, parts: &[Part<'_>]) -> Result<(), Refused> {
        self.core().channels.with(|_| {
            if self.state.is_closed() {
                return Err(Refused::Closed { channel: self.name().to_owned() });
            }
            let before: Vec<_> = (0..parts.len()).map(|at| self.share(at).limits()).collect();
            // First what can be refused: reserves that grow. What is given up for them others may have at once.
            let grow = |at: usize, part: &Part<'_>| match part.reserve > before[at].0 {
                true => self.share(at).set(part.reserve, part.cap, part.surplus),
                false => Ok(()),
            };
            let set = |at: usize, (reserve, cap): (u32, u32)| {
                let set = self.share(at).set(reserve, cap, parts[at].surplus);
                assert!(set.is_ok(), "invariant: a reserve can always be lowered");
            };
            all_or_none(self.name(), parts, grow, |at, _| set(at, before[at]))?;
            for (at, part) in parts.iter().enumerate() {
                set(at, (part.reserve, part.cap));
            }
            Ok(())
        })
    }

    /// Lets it go: its reserves are others', and its name is free. Its components take nothing from then on, and those that
    /// wait for something are told.
    ///
    /// # Errors
    /// [`Refused::Holds`], and all is as it was: it has buffers, or what else is counted.
    pub fn close(&self) -> Result<(), Refused> {
        // What lies in magazines it does not hold.
        let shut = self.core().calling(|| {
            self.core().empty_all();
            self.shut()
        });
        // Also where it was refused: for a moment its own may have been denied.
        self.core().limits_changed();
        shut
    }

    fn shut(&self) -> Result<(), Refused> {
        let core = self.core();
        core.channels.with(|channels| {
            if self.state.is_closed() {
                return Ok(());
            }
            let surpluses = core.surpluses();
            // Who holds something is refused before anything is shut: its own notice nothing of it.
            if (0..surpluses.len()).any(|at| self.share(at).held() != (0, 0)) {
                return Err(self.holds());
            }
            let mut limits = Vec::with_capacity(surpluses.len());
            for at in 0..surpluses.len() {
                let before = self.share(at).limits();
                if !self.share(at).shut() {
                    let opened = limits.into_iter().zip(&surpluses).enumerate();
                    opened.for_each(|(at, (before, surplus))| self.share(at).reopen(before, surplus));
                    return Err(self.holds());
                }
                limits.push(before);
            }
            self.state.has_closed();
            surpluses.iter().zip(limits).for_each(|(surplus, (reserve, _))| surplus.put_back(reserve));
            channels.retain(|channel| !Arc::ptr_eq(channel, &self.state));
            Ok(())
        })
    }

    fn holds(&self) -> Refused {
        let usage = self.usage();
        let buffers = usage.tiers.iter().map(Used::held).sum();
        let counted = usage.counted.iter().map(|(_, used)| used.held()).sum();
        Refused::Holds { channel: self.name().to_owned(), buffers, counted }
    }

    fn core(&self) -> &Core {
        &self.root.memory().core
    }

    /// Its tiers', its pages', its kinds', in the order of [`parts`].
    fn share(&self, at: usize) -> &Share {
        let tiers = self.state.shares.len();
        match at.checked_sub(tiers) {
            None => &self.state.shares[at],
            Some(0) => &self.state.pages,
            Some(kind) => &self.state.counted[kind - 1],
        }
    }
}
