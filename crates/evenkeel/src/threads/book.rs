//! Which threads there are, and how many there may be.
//!
//! Invariant: a thread is in the book from before it is started until it has nothing more to do, and
//! what counts against the limit is what is in the book, but for threads of a stop.

use super::error::ThreadError;
use super::slot::{Kind, Site, Slot};
use crate::callback::contained;
use crate::resources::{Account, Counted, Exhausted, THREADS};
use evenkeel_core::threads::Class;
use evenkeel_hierarchy::{Condvar, Mutex, ThreadBook, with_root};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How a thread is watched, and how it is told to end.
#[derive(Default)]
pub(super) struct Care {
    /// How often it beats at least while it works; `None`: it is not watched.
    pub(super) heartbeat: Option<Duration>,
    /// Thousandths of a processor that it may use over a heartbeat.
    pub(super) cpu_permille_max: Option<u16>,
    /// Ends a wait of it, so that it looks whether it should stop. A user's.
    pub(super) wake: Option<Box<dyn Fn() + Send + Sync>>,
}

/// A thread in the book.
pub(super) struct Entry {
    pub(super) slot: Arc<Slot>,
    pub(super) care: Care,
}

impl Entry {
    /// Asks it to end, and wakes it.
    pub(super) fn stop(&self) {
        self.slot.ask_to_stop();
        self.wake();
    }

    /// Ends a wait of it, if it said how.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.care.wake {
            contained(wake);
        }
    }
}

/// A thread that is watched, and what is expected of it. It holds nothing of a user's.
pub(super) struct Watched {
    pub(super) slot: Arc<Slot>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) cpu_permille_max: Option<u16>,
}

#[derive(Default)]
struct Pages {
    entries: Vec<Arc<Entry>>,
    /// What stands for each in the books of the pool, by its number, where it counts against the limit.
    places: Vec<(u64, Counted)>,
    is_closed: bool,
}

impl Pages {
    fn counted(&self) -> usize {
        self.entries.iter().filter(|entry| entry.slot.kind != Kind::Stop).count()
    }
}

/// All threads of one coordinator.
pub(super) struct Book {
    threads_max: usize,
    last_id: AtomicU64,
    pages: Mutex<ThreadBook, Pages>,
    left: Condvar,
    /// Whose threads are in the books of a pool, once there is one.
    account: OnceLock<Account>,
}

impl Book {
    pub(super) fn new(threads_max: usize) -> Self {
        Self {
            threads_max,
            last_id: AtomicU64::new(0),
            pages: Mutex::default(),
            left: Condvar::new(),
            account: OnceLock::new(),
        }
    }

    pub(super) fn threads_max(&self) -> usize {
        self.threads_max
    }

    /// Takes a thread in, which is not started yet.
    ///
    /// # Errors
    /// [`ThreadError`]: there are as many as there may be, or none is to begin any more.
    pub(super) fn enter(
        &self,
        name: String,
        class: Class,
        (kind, care): (Kind, Care),
        site: Site,
    ) -> Result<Arc<Entry>, ThreadError> {
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        // First of all, with nothing held: in the pool's books it waits for nobody either.
        let mut place = self.place(kind);
        if let Some(Err(_)) = &place {
            let refused = ThreadError::TooMany { name, threads_max: self.threads_max };
            contained(|| drop(care));
            return Err(refused);
        }
        let entry = Arc::new(Entry { slot: Arc::new(Slot::new(id, name, class, kind, site)), care });
        let refused = with_root(|house| {
            let mut pages = self.pages.lock(house);
            let name = || entry.slot.name.clone();
            if kind != Kind::Stop {
                if pages.is_closed {
                    return Some(ThreadError::Ended { name: name() });
                }
                if pages.counted() >= self.threads_max {
                    return Some(ThreadError::TooMany { name: name(), threads_max: self.threads_max });
                }
            }
            pages.entries.push(entry.clone());
            pages.places.extend(place.take().and_then(Result::ok).map(|place| (id, place)));
            None
        });
        let Some(refused) = refused else { return Ok(entry) };
        // It has a closure of a user's.
        contained(|| drop(entry));
        Err(refused)
    }

    /// A place for a thread in the books of the pool, if there is one and it counts there.
    fn place(&self, kind: Kind) -> Option<Result<Counted, Exhausted>> {
        let account = self.account.get().filter(|_| kind != Kind::Stop)?;
        Some(account.count(THREADS, 1))
    }

    /// From now on threads are counted in the books of a pool too; the first that asks. Those that there are have their places
    /// as far as there are any.
    pub(super) fn count_in(&self, account: &Account) {
        if self.account.set(account.clone()).is_err() {
            return;
        }
        let ids: Vec<u64> = with_root(|house| {
            let pages = self.pages.lock(house);
            let counted = pages.entries.iter().filter(|entry| entry.slot.kind != Kind::Stop);
            counted.map(|entry| entry.slot.id).collect()
        });
        for id in ids {
            let mut place = self.place(Kind::Kept).and_then(Result::ok);
            with_root(|house| {
                let mut pages = self.pages.lock(house);
                let is_there = pages.entries.iter().any(|entry| entry.slot.id == id);
                let has_one = pages.places.iter().any(|(of, _)| *of == id);
                if is_there && !has_one {
                    pages.places.extend(place.take().map(|place| (id, place)));
                }
            });
        }
    }

    /// A thread has ended, or was never started.
    pub(super) fn leave(&self, id: u64) {
        // The entry has a closure of a user's: it is dropped outside.
        let (entry, place) = with_root(|house| {
            let mut pages = self.pages.lock(house);
            let at = pages.entries.iter().position(|entry| entry.slot.id == id);
            let place = pages.places.iter().position(|(of, _)| *of == id);
            (at.map(|at| pages.entries.remove(at)), place.map(|at| pages.places.swap_remove(at)))
        });
        drop(place);
        self.left.notify_all();
        contained(|| drop(entry));
    }

    /// All threads now.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let slot = |entry: &Arc<Entry>| entry.slot.clone();
        with_root(|house| self.pages.lock(house).entries.iter().map(slot).collect())
    }

    /// Those that somebody is to watch.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let watched = |entry: &Arc<Entry>| {
            let Care { heartbeat, cpu_permille_max, .. } = entry.care;
            let is_watched = heartbeat.is_some() || cpu_permille_max.is_some();
            is_watched.then(|| Watched { slot: entry.slot.clone(), heartbeat, cpu_permille_max })
        };
        with_root(|house| self.pages.lock(house).entries.iter().filter_map(watched).collect())
    }

    /// Asks threads to end; those that are to be woken for it.
    pub(super) fn ask_to_stop(&self, which: impl Fn(&Slot) -> bool) -> Vec<Arc<Entry>> {
        let entries: Vec<Arc<Entry>> = with_root(|house| {
            let pages = self.pages.lock(house);
            pages.entries.iter().filter(|entry| which(&entry.slot)).cloned().collect()
        });
        entries.iter().for_each(|entry| entry.slot.ask_to_stop());
        entries.into_iter().filter(|entry| entry.care.wake.is_some()).collect()
    }

    /// How many threads count against the limit.
    pub(super) fn counted(&self) -> usize {
        with_root(|house| self.pages.lock(house).counted())
    }

    /// No thread begins any more, but those of a stop.
    pub(super) fn close(&self) {
        with_root(|house| self.pages.lock(house).is_closed = true);
    }

    /// Waits until none of these is left, or for so long.
    pub(super) fn wait_gone(&self, which: impl Fn(&Slot) -> bool, until: Instant) -> bool {
        with_root(|house| {
            let mut pages = self.pages.lock(house);
            loop {
                if !pages.entries.iter().any(|entry| which(&entry.slot)) {
                    return true;
                }
                if self.left.wait_until(&mut pages, until).timed_out() {
                    return !pages.entries.iter().any(|entry| which(&entry.slot));
                }
            }
        })
    }
}
