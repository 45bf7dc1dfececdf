//! The pool that everything large is taken from, who may take how much of it, and who is asked.
//!
//! ```text
//! MonitoringCoordinator --creates--> ResourcePool --given to--> ComponentCoordinator, BufferManager
//!   ^                                     |
//!   `-- components and channels ask ------'--> Account of a component in a channel --> Buffer, Chain, Counted
//! ```
//!
//! The memory, the quotas and the books are those of [`evenkeel_pool`]; here is who has which account. What components that
//! all channels share take is that of the channel [`SHARED`], what the service itself takes that of [`HOUSE`]: no channel
//! can have these names.
//!
//! What holds:
//! * A component in a channel has one account, however often it is asked for; it may hold what was declared when it was
//!   registered, and 500,000 bytes if nothing was.
//! * Whoever takes from an account asks nobody here: the books of the pool have no lock of this house.

mod manager;
mod options;
mod view;
mod watch;

pub use evenkeel_pool::{
    Account, Buffer, BuildError, Chain, Counted, CountedHolder, Exhausted, Holder, Limits, PoolBuilder,
    Reclaimed, Refused, Short, Slice, Taken, Tier, Usage, Used, What, WhenExhausted,
};
pub use manager::{
    HasResources, NotGivenBack, NotReleased, Request, ResourceError, ResourceHandle, ResourceLimit,
    ResourceManager, ResourceMetrics, ResourceUsage, Violations, Want,
};
pub use options::PoolOptions;
pub(crate) use view::is_own_thread;
pub use view::{Breach, ResourceView};
pub(crate) use watch::{Alert, PoolWatch};

use evenkeel_core::{NameError, check_name};
use evenkeel_hierarchy::{ComponentResource, Mutex, with_root};
use evenkeel_pool::{Channel, Pool};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

/// The channel in the books for components that all channels share.
pub const SHARED: &str = "(shared)";
/// The channel in the books for the service itself.
pub const HOUSE: &str = "(house)";
/// What is counted beside the memory: threads of the service.
pub const THREADS: &str = "threads";
/// What is counted beside the memory: open files, sockets and the like, by whoever says so.
pub const FILES: &str = "files";
/// What is counted beside the memory: memory that is not the pool's, in pages of 4,096 bytes.
pub const OUTSIDE: &str = "pages outside the pool";

/// Bytes of one of the [`OUTSIDE`] pages.
const PAGE_BYTES: u64 = 4096;

struct Entry {
    channel: Channel,
    components: BTreeMap<String, Account>,
}

/// Components of a channel, by name.
pub(crate) type Components = Vec<(String, Account)>;
type Book = BTreeMap<String, Entry>;

/// Is told of what crossed a boundary.
type Breached = dyn Fn(&Breach) + Send + Sync;
/// Is told of the first account of a component.
type Admitted = dyn Fn(&str, &str, Admission<'_>) + Send + Sync;

/// A first account.
pub(crate) struct Admission<'a> {
    pub(crate) account: &'a Account,
    /// Whether it is a part of the service, which sees itself to the release of what it holds.
    pub(crate) is_of_service: bool,
}

struct Inner {
    pool: Pool,
    options: PoolOptions,
    /// Who has which account. The pool's own locks are taken under it; they are on an order of their own, and nothing of a
    /// user's is called under them.
    book: Mutex<ComponentResource, Book>,
    /// What else of the house wants to know; set once, when the service is put together.
    breached: OnceLock<Box<Breached>>,
    admitted: OnceLock<Box<Admitted>>,
}

/// Buffers in tiers, with quotas, and what is counted beside them. Cheap to clone; all clones are one.
///
/// ```
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keel = Keel::builder("intercom").without_signals().keep_process().build()?;
/// let left = keel.channel("left")?;
/// let mic = left.component("mic")?;
///
/// let mut buffer = mic.account()?.take(64 << 10)?;
/// buffer.fill_from(b"some sound");
/// assert_eq!(keel.monitoring().pool().holders()[0].component, "mic");
///
/// // 500,000 bytes are the most that it may have; more has to be declared.
/// let refused = mic.account()?.take(1 << 20).unwrap_err();
/// assert!(refused.to_string().contains("declare a higher limit"));
/// let file = left.component_with("file", ComponentOptions::default().bytes_max(4 << 20))?;
/// let large = file.account()?.take(1 << 20)?;
///
/// // Whoever still held something at the stop would be named.
/// drop((buffer, large));
/// assert!(keel.stop("the example is over", "the example").clean);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ResourcePool(Arc<Inner>);

impl fmt::Debug for ResourcePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePool").field("tiers", &self.tiers()).finish_non_exhaustive()
    }
}

impl ResourcePool {
    /// Only the monitoring creates one.
    pub(crate) fn new(options: PoolOptions) -> Result<Self, BuildError> {
        let outside = u32::try_from(options.outside_bytes_max.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX);
        let builder = options.tiers_of.clone().counted(THREADS, options.threads_max);
        let pool = builder.counted(FILES, options.files_max).counted(OUTSIDE, outside).build()?;
        // What no channel can have is found now, and not when one takes something first.
        let tried = pool.channel(SHARED, &options.channel).and_then(|channel| channel.close());
        tried.map_err(BuildError::Channel)?;
        Ok(Self(Arc::new(Inner {
            pool,
            options,
            book: Mutex::default(),
            breached: OnceLock::new(),
            admitted: OnceLock::new(),
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        with_root(|house| act(&mut self.0.book.lock(house)))
    }

    /// The way to it from where no handle is to be kept.
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.0);
        move || inner.upgrade().map(Self)
    }

    /// Has somebody told of what crossed a boundary. Once.
    pub(crate) fn on_breach(&self, tell: impl Fn(&Breach) + Send + Sync + 'static) {
        let _ = self.0.breached.set(Box::new(tell));
    }

    /// Has somebody told of each account, when it is made. Once.
    pub(crate) fn on_admitted(&self, tell: impl Fn(&str, &str, Admission<'_>) + Send + Sync + 'static) {
        let _ = self.0.admitted.set(Box::new(tell));
    }

    pub(crate) fn breached(&self, breach: &Breach) {
        if let Some(tell) = self.0.breached.get() {
            tell(breach);
        }
    }

    /// The same pool, and not one that looks like it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The channel in the pool, taken in if it is not.
    fn entry<'b>(&self, book: &'b mut Book, channel: &str) -> Result<&'b mut Entry, Refused> {
        if !book.contains_key(channel) {
            // What is said of channels is not said of the service, whose threads are counted there.
            let (of_service, of_channels) = (Limits::default(), &self.0.options.channel);
            let limits = if channel == HOUSE { &of_service } else { of_channels };
            let made = self.0.pool.channel(channel, limits)?;
            book.insert(channel.to_owned(), Entry { channel: made, components: BTreeMap::new() });
        }
        Ok(book.get_mut(channel).expect("invariant: it was put in just now"))
    }

    /// The account of a component, made if there is none; then it may hold so many bytes, or as many as any.
    pub(crate) fn account(
        &self,
        channel: Option<&str>,
        component: &str,
        bytes_max: Option<u64>,
    ) -> Result<Account, Refused> {
        if let Some(channel) = channel {
            check("channel", channel)?;
        }
        check("component", component)?;
        self.account_as(channel.unwrap_or(SHARED), component, (bytes_max, false))
    }

    /// The same of a part of the service; what it takes for itself is of [`HOUSE`].
    pub(crate) fn account_of_service(
        &self,
        channel: &str,
        part: &str,
        bytes_max: Option<u64>,
    ) -> Result<Account, Refused> {
        if channel != HOUSE {
            check("channel", channel)?;
        }
        check("component", part)?;
        self.account_as(channel, part, (bytes_max, true))
    }

    fn account_as(
        &self,
        channel: &str,
        component: &str,
        (bytes_max, is_of_service): (Option<u64>, bool),
    ) -> Result<Account, Refused> {
        let bytes_max = bytes_max.unwrap_or(self.0.options.component_bytes_max);
        let (account, is_new) = self.with(|book| {
            let entry = self.entry(book, channel)?;
            if let Some(account) = entry.components.get(component) {
                return Ok((account.clone(), false));
            }
            let account = entry.channel.component(component, bytes_max)?;
            entry.components.insert(component.to_owned(), account.clone());
            Ok((account, true))
        })?;
        if let (true, Some(tell)) = (is_new, self.0.admitted.get()) {
            tell(channel, component, Admission { account: &account, is_of_service });
        }
        Ok(account)
    }

    /// What a channel may have from now on, in place of what all have at first. Reserves are its alone.
    pub(crate) fn set_limits(&self, channel: &str, limits: &Limits) -> Result<(), Refused> {
        if channel != SHARED {
            check("channel", channel)?;
        }
        let made = self.with(|book| Ok::<_, Refused>(self.entry(book, channel)?.channel.clone()))?;
        made.set_limits(limits)
    }

    /// What a component may hold from now on, in place of what it declared; its account is made if there is none.
    pub(crate) fn set_component_bytes_max(
        &self,
        channel: Option<&str>,
        component: &str,
        bytes_max: u64,
    ) -> Result<(), Refused> {
        let account = self.account(channel, component, Some(bytes_max))?;
        let name = channel.unwrap_or(SHARED);
        let made = self.with(|book| book.get(name).map(|entry| entry.channel.clone()));
        let made = made.expect("invariant: who has an account in a channel is in its entry");
        let set = made.set_component_bytes_max(&account, bytes_max);
        set.expect("invariant: the account was made by this channel");
        Ok(())
    }

    /// What a channel has, and may have; none if it never took anything.
    pub fn usage(&self, channel: &str) -> Option<Usage> {
        let made = self.with(|book| book.get(channel).map(|entry| entry.channel.clone()));
        made.map(|channel| channel.usage())
    }

    /// Every channel that has an account, with its components: name, account.
    pub(crate) fn accounts(&self) -> Vec<(String, Channel, Components)> {
        let components =
            |entry: &Entry| entry.components.iter().map(|(n, a)| (n.clone(), a.clone())).collect();
        let row = |(name, entry): (&String, &Entry)| (name.clone(), entry.channel.clone(), components(entry));
        self.with(|book| book.iter().map(row).collect())
    }

    /// Its tiers, the smallest first.
    pub fn tiers(&self) -> Vec<Tier> {
        self.0.pool.tiers()
    }

    /// Who holds buffers, where they were taken and for how long: who holds most is first.
    pub fn holders(&self) -> Vec<Holder> {
        self.0.pool.holders()
    }

    /// Who holds what is counted beside the memory, who holds most is first.
    pub fn counted_holders(&self) -> Vec<CountedHolder> {
        self.0.pool.counted_holders()
    }

    /// Bytes of buffers that somebody holds.
    pub fn in_use(&self) -> u64 {
        self.holders().iter().map(|holder| holder.bytes).sum()
    }

    /// Bytes of its buffers, held or not, that are in memory, as the system says.
    ///
    /// # Errors
    /// What the system says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.0.pool.resident_bytes()
    }

    /// Gives the memory of all buffers that nobody holds back to the system, and shows that it is.
    ///
    /// # Errors
    /// What the system says.
    pub fn shrink(&self) -> io::Result<Reclaimed> {
        self.0.pool.shrink()
    }

    /// How it was described.
    pub fn options(&self) -> &PoolOptions {
        &self.0.options
    }
}

/// Whether a channel or component can have that name: none can have the house's.
fn check(what: &'static str, name: &str) -> Result<(), Refused> {
    let no_such = |why: NameError| Refused::NoSuch { what, name: name.to_owned(), why: why.to_string() };
    check_name(name).map_err(no_such)
}

/// Takes account of memory that is not the pool's, rounded up to pages; it is given back by dropping the answer.
///
/// # Errors
/// [`Exhausted`]: whose limit was met.
#[track_caller]
pub fn count_outside(account: &Account, bytes: u64) -> Result<Counted, Exhausted> {
    account.count(OUTSIDE, u32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
