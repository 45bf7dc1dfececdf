//! All watched locks that were ever taken and are still there, and their classes.
//!
//! A lock comes in when it is first taken and goes when it is dropped. A class is never forgotten: it
//! stands for a place in the source. The registry's mutex is held for moves of a few words, and no
//! other is taken meanwhile.

use super::histogram::Counts;
use super::order::{NODES_MAX, Origin};
use super::stats::{ClassStats, Totals};
use super::sys::Site;
use super::tag::{NO_NODE, RANKS};
use super::tasks::Tasks;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Locks that are made in one place, or share what they were given.
#[derive(Debug)]
pub(crate) struct ClassInfo {
    pub(crate) name: String,
    pub(crate) site: Site,
    /// Its place in the order that is checked at run time, or [`NO_NODE`].
    pub(crate) node: u16,
    /// What its locks counted that are dropped.
    gone: Mutex<Totals>,
}

/// The cold part of a lock: what others find it by.
#[derive(Debug)]
pub(crate) struct Cold {
    pub(crate) number: u32,
    pub(crate) class: &'static ClassInfo,
    pub(crate) acquisitions: AtomicU64,
    pub(crate) contended: AtomicU64,
    pub(crate) given_up: AtomicU64,
    pub(crate) waits: Counts,
    pub(crate) holds: Counts,
    pub(crate) longest_wait_ns: AtomicU64,
    /// Those that hold it, where it is awaited.
    pub(crate) tasks: Tasks,
    longest_hold: Mutex<Option<(Duration, Site)>>,
}

/// What makes two locks of one class.
type Key = (u16, &'static str, u32, u32, usize, Option<&'static str>);

#[derive(Debug)]
struct Registry {
    classes: BTreeMap<Key, &'static ClassInfo>,
    /// Classes without a rank, by their node.
    nodes: Vec<&'static ClassInfo>,
    locks: BTreeMap<u32, Weak<Cold>>,
    last_number: u32,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    classes: BTreeMap::new(),
    nodes: Vec::new(),
    locks: BTreeMap::new(),
    last_number: 0,
});

impl Cold {
    /// Takes in a lock that was not known.
    pub(crate) fn register(origin: Origin, site: Site) -> Arc<Self> {
        let mut registry = REGISTRY.lock();
        let class = registry.class(origin, site);
        let number = registry.free_number();
        let cold = Arc::new(Self {
            number,
            class,
            acquisitions: AtomicU64::new(0),
            contended: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            waits: Counts::new(),
            holds: Counts::new(),
            longest_wait_ns: AtomicU64::new(0),
            tasks: Tasks::new(),
            longest_hold: Mutex::new(None),
        });
        registry.locks.insert(number, Arc::downgrade(&cold));
        cold
    }

    /// Counts a wait that is over.
    pub(crate) fn waited(&self, duration: Duration) {
        self.waits.add(duration);
        self.longest_wait_ns.fetch_max(nanoseconds(duration), Ordering::Relaxed);
    }

    /// Knows of a hold that took at least so long.
    pub(crate) fn held_at_least(&self, duration: Duration, site: Site) {
        let mut longest = self.longest_hold.lock();
        if longest.is_none_or(|(held, _)| held < duration) {
            *longest = Some((duration, site));
        }
    }

    pub(crate) fn longest_hold(&self) -> Option<(Duration, Site)> {
        *self.longest_hold.lock()
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            acquisitions: self.acquisitions.load(Ordering::Relaxed),
            contended: self.contended.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            waits: self.waits.read(),
            holds: self.holds.read(),
            longest_wait: Duration::from_nanos(self.longest_wait_ns.load(Ordering::Relaxed)),
            longest_hold: self.longest_hold(),
        }
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        self.class.gone.lock().merge(&self.totals());
        REGISTRY.lock().locks.remove(&self.number);
    }
}

impl Registry {
    fn class(&mut self, origin: Origin, site: Site) -> &'static ClassInfo {
        let by_class = origin.class.map_or(0, |class| std::ptr::from_ref(class).addr());
        let (file, line, column) =
            if by_class == 0 { (site.file(), site.line(), site.column()) } else { ("", 0, 0) };
        let rank = origin.rank.unwrap_or(NO_NODE);
        let key = (rank, file, line, column, by_class, origin.name);
        if let Some(known) = self.classes.get(&key) {
            return known;
        }
        let next = RANKS as usize + 1 + self.nodes.len();
        let node = match origin.rank {
            Some(rank) => rank,
            None if origin.is_ordered && next < NODES_MAX => next as u16,
            None => NO_NODE,
        };
        let made: &'static ClassInfo = Box::leak(Box::new(ClassInfo {
            name: origin.name.map_or_else(|| site.to_string(), str::to_owned),
            site,
            node,
            gone: Mutex::new(Totals::default()),
        }));
        if node > RANKS && node != NO_NODE {
            self.nodes.push(made);
        }
        self.classes.insert(key, made);
        made
    }

    fn free_number(&mut self) -> u32 {
        loop {
            self.last_number = self.last_number.wrapping_add(1);
            if self.last_number != 0 && !self.locks.contains_key(&self.last_number) {
                return self.last_number;
            }
        }
    }
}

/// The lock of this number, if it is still there.
pub(crate) fn lock(number: u32) -> Option<Arc<Cold>> {
    REGISTRY.lock().locks.get(&number)?.upgrade()
}

/// What a node of the order is called.
pub(crate) fn node_name(node: u16) -> String {
    let registry = REGISTRY.lock();
    let of_rank = || registry.classes.values().find(|class| class.node == node);
    let class = match node.checked_sub(RANKS + 1) {
        Some(at) => registry.nodes.get(at as usize),
        None => of_rank(),
    };
    class.map_or_else(|| format!("rank {node}"), |class| class.name.clone())
}

/// All locks that are there.
pub(crate) fn locks() -> Vec<Arc<Cold>> {
    let registry = REGISTRY.lock();
    // An `Arc` that is the last one must not be dropped here: its lock leaves the registry.
    registry.locks.values().filter_map(Weak::upgrade).collect()
}

/// What each class counted, those locks included that are gone.
pub(crate) fn classes() -> Vec<ClassStats> {
    let mut infos: Vec<_> = REGISTRY.lock().classes.values().copied().collect();
    infos.sort_by_key(|class| (class.node, class.site.file(), class.site.line()));
    let locks = locks();
    let stats = infos.into_iter().map(|class| {
        let mut totals = class.gone.lock().clone();
        let live = locks.iter().filter(|lock| std::ptr::eq(lock.class, class));
        let live = live.map(|lock| totals.merge(&lock.totals())).count();
        ClassStats { name: class.name.clone(), site: class.site, locks: live, totals }
    });
    stats.collect()
}

/// Classes that are in no order because there were too many before them.
pub(crate) fn has_too_many_classes() -> bool {
    RANKS as usize + 1 + REGISTRY.lock().nodes.len() >= NODES_MAX
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
