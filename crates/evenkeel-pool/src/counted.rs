//! What is not memory, in the same books: thread slots, file handles, bytes outside the pool.

mod notes;

pub(crate) use notes::{Notes, findings};

use crate::account::Denied;
use crate::arena::Root;
use crate::beside::OFF;
use crate::error::{Exhausted, Short};
use crate::pool::{Account, Pool};
use crate::taking::{Taken, WhenExhausted};
use evenkeel_locks::watch::Site;
use notes::Note;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Units of something that a pool counts, held by one component; given back by dropping, in any thread.
///
/// ```
/// use evenkeel_pool::{Limits, Pool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder().counted("threads", 20).build()?;
/// let limits = Limits { counted: vec![("threads".to_owned(), 2, 4)], ..Limits::default() };
/// let mic = pool.channel("left", &limits)?.component("mic", 500_000)?;
/// let three = mic.count("threads", 3)?;
/// assert!(mic.count("threads", 2).is_err(), "its channel may have four");
/// assert_eq!(pool.counted_holders()[0].units, 3);
/// drop(three);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Counted {
    root: Arc<Root>,
    kind: usize,
    account: u32,
    units: u32,
    /// Under which it is in the [`Notes`].
    note: u64,
}

/// Units that one component took at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountedHolder {
    /// What is counted.
    pub kind: String,
    /// The channel.
    pub channel: String,
    /// The component in it.
    pub component: String,
    /// Where in the source they were taken, as `file:line:column`.
    pub site: String,
    /// How many.
    pub units: u64,
    /// For how long the oldest have been held, in seconds as the pool was told of them.
    pub oldest_seconds: u32,
}

impl Account {
    /// So many units of a kind that the pool [counts](crate::PoolBuilder::counted), or an answer at once.
    ///
    /// # Errors
    /// [`Exhausted`]: whose limit was met; [`Short::Kind`] if the pool does not count these.
    #[track_caller]
    pub fn count(&self, kind: &str, units: u32) -> Result<Counted, Exhausted> {
        let site = Location::caller();
        let found = self.kind(kind, units)?;
        let counted = self.core().count(found, self.number, units);
        counted
            .map(|()| self.counted(found, units, site))
            .map_err(|denied| self.too_many(found, units, denied))
    }

    /// The same, or what the caller chose.
    ///
    /// # Errors
    /// [`Exhausted`], unless it is shed.
    #[track_caller]
    pub fn count_or(&self, kind: &str, units: u32, when: WhenExhausted) -> Result<Taken<Counted>, Exhausted> {
        let site = Location::caller();
        let found = self.kind(kind, units)?;
        let counted = match when {
            WhenExhausted::WaitUntil(until) => self.core().count_until(found, self.number, units, until),
            WhenExhausted::Fail | WhenExhausted::Shed => self.core().count(found, self.number, units),
        };
        match counted {
            Ok(()) => Ok(Taken::Given(self.counted(found, units, site))),
            Err(_) if when == WhenExhausted::Shed => Ok(self.goes_without()),
            Err(denied) => Err(self.too_many(found, units, denied)),
        }
    }

    fn kind(&self, kind: &str, units: u32) -> Result<usize, Exhausted> {
        let core = self.core();
        let asked = (u64::from(units), kind);
        let unknown = || Exhausted::new(core.account(self.number), asked, Short::Kind, Vec::new());
        core.kind(kind).ok_or_else(unknown)
    }

    fn counted(&self, kind: usize, units: u32, site: Site) -> Counted {
        let memory = self.root.memory();
        let taken = Note { kind, account: self.number, site, units, since: memory.watch.counted_since() };
        let note = memory.core.notes.with(|notes| notes.add(taken));
        Counted { root: self.root.clone(), kind, account: self.number, units, note }
    }

    #[cold]
    fn too_many(&self, kind: usize, units: u32, denied: Denied) -> Exhausted {
        let core = self.core();
        let account = core.account(self.number);
        let (counter, share) = (&core.counters[kind], &account.channel.counted[kind]);
        let (held, (reserve, allowed)) = (share.held(), share.limits());
        let short = match denied {
            _ if account.channel.is_closed() => Short::Closed,
            Denied::Channel => Short::ChannelUnits { held, allowed },
            _ => Short::LentUnits { held, reserve, free: counter.surplus.free().max(0) as u32 },
        };
        Exhausted::new(account, (u64::from(units), &counter.kind), short, Vec::new())
    }
}

impl Counted {
    /// How many.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// What is counted.
    pub fn kind(&self) -> &str {
        &self.root.memory().core.counters[self.kind].kind
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let core = &self.root.memory().core;
        core.notes.with(|notes| notes.remove(self.note));
        core.uncount(self.kind, self.account, self.units);
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counted({} of {})", self.units, self.kind())
    }
}

impl Pool {
    /// Who holds units of what is counted beside the memory, and where they were taken: who holds most is first.
    pub fn counted_holders(&self) -> Vec<CountedHolder> {
        let memory = self.0.memory();
        let (core, now) = (&memory.core, memory.watch.seconds());
        let mut taken: BTreeMap<(usize, u32, Site), (u64, u32)> = BTreeMap::new();
        for Note { kind, account, site, units, since } in core.notes.with(|notes| notes.all()) {
            let (all, oldest_seconds) = taken.entry((kind, account, site)).or_default();
            *all += u64::from(units);
            if since != OFF {
                *oldest_seconds = now.saturating_sub(since).max(*oldest_seconds);
            }
        }
        let mut taken: Vec<_> = taken.into_iter().collect();
        taken.sort_by_key(|(_, (units, _))| std::cmp::Reverse(*units));
        let holder = |((kind, account, site), (units, oldest_seconds)): ((usize, u32, Site), _)| {
            let account = core.account(account);
            let kind = core.counters[kind].kind.clone();
            let (channel, component) = (account.channel.name.clone(), account.name.clone());
            CountedHolder { kind, channel, component, site: site.to_string(), units, oldest_seconds }
        };
        taken.into_iter().map(holder).collect()
    }
}
