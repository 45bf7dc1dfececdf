//! What is not memory, in the same books: thread slots, file handles, bytes outside the pool.

use crate::account::Denied;
use crate::arena::Root;
use crate::error::{Exhausted, Short};
use crate::pool::{Account, Pool};
use crate::taking::{Taken, WhenExhausted};
use evenkeel_locks::watch::Site;
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
    site: Site,
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
        self.core().notes.with(|notes| notes.add(kind, self.number, site, units));
        Counted { root: self.root.clone(), kind, account: self.number, units, site }
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
        core.notes.with(|notes| notes.remove(self.kind, self.account, self.site, self.units));
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
        let core = &self.0.memory().core;
        let mut notes = core.notes.with(|notes| notes.0.clone());
        notes.sort_by_key(|note| std::cmp::Reverse(note.units));
        let holder = |note: Note| {
            let account = core.account(note.account);
            CountedHolder {
                kind: core.counters[note.kind].kind.clone(),
                channel: account.channel.name.clone(),
                component: account.name.clone(),
                site: note.site.to_string(),
                units: note.units,
            }
        };
        notes.into_iter().map(holder).collect()
    }
}

/// Who took what where: one for each component and place in the source that has something.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

#[derive(Clone, Copy, Debug)]
struct Note {
    kind: usize,
    account: u32,
    site: Site,
    units: u64,
}

impl Notes {
    fn find(&mut self, kind: usize, account: u32, site: Site) -> Option<usize> {
        self.0.iter().position(|note| (note.kind, note.account, note.site) == (kind, account, site))
    }

    fn add(&mut self, kind: usize, account: u32, site: Site, units: u32) {
        // None of it is no note: the first that is given back would take the others' away.
        if units == 0 {
            return;
        }
        let units = u64::from(units);
        match self.find(kind, account, site) {
            Some(at) => self.0[at].units += units,
            None => self.0.push(Note { kind, account, site, units }),
        }
    }

    fn remove(&mut self, kind: usize, account: u32, site: Site, units: u32) {
        if units == 0 {
            return;
        }
        let at = self.find(kind, account, site).expect("invariant: what is given back was noted");
        self.0[at].units -= u64::from(units);
        if self.0[at].units == 0 {
            self.0.swap_remove(at);
        }
    }
}
