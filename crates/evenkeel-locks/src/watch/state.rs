//! What a watched lock carries beside its value.
//!
//! * `exclusive` and the looks are written by whoever holds the lock alone; `shared` by all readers.
//! * Every so often an acquisition is looked at closely: the counts are passed on to where others read
//!   them, and at times its hold is timed. So no clock is read otherwise, and what [`super::snapshot`]
//!   says lags by [`LOOK_EVERY`] acquisitions at most.

use super::cycle;
use super::order::Origin;
use super::registry::Cold;
use super::stats::LockStats;
use super::sys::Site;
use super::tag::{Access, Tag};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Acquisitions between two that are looked at closely, at most.
const LOOK_EVERY: u64 = 64;

/// Acquisitions between two that are timed, at most; each that is looked at is, in the first so many.
const TIME_EVERY: u64 = 512;

/// Which acquisition of a lock it is, of those that are alone or of those that read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nth {
    pub(crate) count: u64,
    /// It is looked at closely.
    pub(crate) is_looked_at: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    tag: AtomicU64,
    exclusive: AtomicU64,
    look_at: AtomicU64,
    shared: AtomicU64,
    cold: OnceLock<Arc<Cold>>,
    taint: Mutex<Option<Site>>,
    origin: Origin,
    site: Site,
}

impl State {
    pub(crate) const fn new(origin: Origin, site: Site) -> Self {
        Self {
            tag: AtomicU64::new(0),
            exclusive: AtomicU64::new(0),
            look_at: AtomicU64::new(1),
            shared: AtomicU64::new(0),
            cold: OnceLock::new(),
            taint: Mutex::new(None),
            origin,
            site,
        }
    }

    /// What the lock is known by; asking for it makes it known.
    #[inline]
    pub(crate) fn tag(&self) -> Tag {
        match Tag::of_bits(self.tag.load(Ordering::Relaxed)) {
            Tag::UNKNOWN => self.make_known(),
            known => known,
        }
    }

    #[cold]
    fn make_known(&self) -> Tag {
        let cold = self.cold();
        let tag = Tag::new(cold.number, cold.class.node, Access::Exclusive);
        self.tag.store(tag.bits(), Ordering::Relaxed);
        tag
    }

    pub(crate) fn cold(&self) -> &Arc<Cold> {
        self.cold.get_or_init(|| Cold::register(self.origin, self.site))
    }

    /// Where it stands.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Counts an acquisition by one alone, who has it.
    #[inline]
    pub(crate) fn count_exclusive(&self) -> Nth {
        let count = self.exclusive.load(Ordering::Relaxed).wrapping_add(1);
        self.exclusive.store(count, Ordering::Relaxed);
        Nth { count, is_looked_at: count >= self.look_at.load(Ordering::Relaxed) }
    }

    /// Counts an acquisition by a reader.
    #[inline]
    pub(crate) fn count_shared(&self) -> Nth {
        let count = self.shared.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        Nth { count, is_looked_at: count % LOOK_EVERY == 1 }
    }

    /// Looks at an acquisition; says whether it is to be timed.
    pub(crate) fn look(&self) -> bool {
        let nth = self.exclusive.load(Ordering::Relaxed);
        self.look_at.store(nth + (nth / 16).clamp(1, LOOK_EVERY), Ordering::Relaxed);
        self.pass_on();
        let all = self.acquisitions();
        all < TIME_EVERY || all % TIME_EVERY < LOOK_EVERY
    }

    /// Lets others read how often it was taken.
    fn pass_on(&self) {
        // The greatest: two may pass it on at once.
        self.cold().acquisitions.fetch_max(self.acquisitions(), Ordering::Relaxed);
    }

    fn acquisitions(&self) -> u64 {
        self.exclusive.load(Ordering::Relaxed) + self.shared.load(Ordering::Relaxed)
    }

    /// A hold that was timed is over.
    #[cold]
    pub(crate) fn held_since(&self, since: Instant, site: Site) {
        let held = since.elapsed();
        self.cold().holds.add(held);
        self.cold().held_at_least(held, site);
    }

    /// A wait is over, and the lock was not had.
    pub(crate) fn gave_up(&self) {
        self.cold().given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// A wait is over.
    pub(crate) fn waited(&self, duration: Duration) {
        self.cold().contended.fetch_add(1, Ordering::Relaxed);
        self.cold().waited(duration);
        self.pass_on();
    }

    /// A panic let go of it that began while it was held.
    #[cold]
    pub(crate) fn taint(&self, site: Site) {
        *self.taint.lock() = Some(site);
    }

    pub(crate) fn tainted_at(&self) -> Option<Site> {
        *self.taint.lock()
    }

    pub(crate) fn clear_taint(&self) {
        *self.taint.lock() = None;
    }

    /// What it counted until now.
    pub(crate) fn stats(&self) -> LockStats {
        self.pass_on();
        let holders = cycle::all_holders().remove(&self.cold().number);
        LockStats::of(self.cold(), holders.unwrap_or_default())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(cold) = self.cold.get() {
            cold.acquisitions.store(self.acquisitions(), Ordering::Relaxed);
        }
    }
}
