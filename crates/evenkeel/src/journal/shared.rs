//! What the appenders and `ek-journal` share: the chain's head, and the queue.
//!
//! Invariants: numbers, times and hashes are given under the one mutex, in the
//! order of the queue; nothing under it waits for a disk or runs foreign code;
//! `durable <= head.entry`, and only `ek-journal` moves `durable` and sets `end`.

use super::draft::Draft;
use super::entry::{Hash, hash_after};
use super::time::Times;
use super::{Appended, Head, JournalError};
use crate::callback::{call, call_alone, message};
use crate::clock;
use evenkeel_hierarchy::{After, Cap, Condvar, JournalObservers, JournalQueue, Level, Mutex, with_root};
use evenkeel_log::hex;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Kind of the entry that says how many entries were refused.
pub const GAP_KIND: &str = "journal-gap";
/// Kind of the entry that says that an observer panicked.
pub const OBSERVER_PANIC_KIND: &str = "journal-observer-panicked";
/// A disk that does not answer for so long is trouble.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes of entries that are written at once, about: one chunk.
const TAKEN_BYTES_MAX: usize = 1 << 20;

/// What `ek-journal` is to do, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Run,
    /// No handle is left: write what is queued, and go.
    Leave,
    /// Write what is queued, end and seal the log.
    Finish,
}

/// An entry on its way to the disk.
pub(super) struct Pending {
    pub(super) wall_ns: u64,
    pub(super) payload: Vec<u8>,
    /// The chain after it.
    pub(super) hash: Hash,
}

/// What `ek-journal` is given.
pub(super) struct Work {
    pub(super) entries: Vec<Pending>,
    pub(super) order: Order,
    /// Whether nothing is left in the queue.
    pub(super) drained: bool,
}

struct State {
    /// Number of the last entry given, and the chain after it.
    entry: u64,
    hash: Hash,
    times: Times,
    queue: VecDeque<Pending>,
    queued_bytes: usize,
    durable: u64,
    refused: u64,
    /// Refused entries that no entry tells of yet.
    untold: u64,
    trouble: Option<String>,
    busy_since: Option<Instant>,
    order: Order,
    end: Option<Result<(), JournalError>>,
}

struct Observer {
    call: Box<dyn Fn(u64) + Send + Sync>,
    has_panicked: AtomicBool,
}

pub(super) struct Shared {
    state: Mutex<JournalQueue, State>,
    /// Something for `ek-journal` to do.
    work: Condvar,
    /// Something for those who wait: durable entries, or the end.
    news: Condvar,
    observers: Mutex<JournalObservers, Vec<Arc<Observer>>>,
    thread: OnceLock<ThreadId>,
    entries_max: usize,
    bytes_max: usize,
}

/// When a time that begins now is over; a time without an end is a year.
fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout.min(YEAR)).unwrap_or(now)
}

impl State {
    fn push(&mut self, draft: &Draft) -> Appended {
        let (entry, wall_ns) = (self.entry + 1, clock::wall_ns());
        let mut payload = Vec::new();
        draft.encode(&mut payload, &mut self.times, (entry, wall_ns), &self.hash);
        let prev = hex(&self.hash);
        self.hash = hash_after(&self.hash, &payload);
        self.entry = entry;
        self.queued_bytes += payload.len();
        self.queue.push_back(Pending { wall_ns, payload, hash: self.hash });
        Appended { entry, prev }
    }

    /// Tells of what was refused, now that there is room again.
    fn tell_refused(&mut self) {
        if self.untold > 0 {
            let refused = std::mem::take(&mut self.untold);
            self.push(&Draft::of(GAP_KIND, None, None, &json!({ "refused": refused })));
        }
    }

    /// Takes an entry in, unless there is no room or the journal is closed.
    fn admit(&mut self, draft: &Draft, entries_max: usize, bytes_max: usize) -> Option<Appended> {
        if self.order != Order::Run || self.end.is_some() {
            return None;
        }
        let queued = self.queue.len();
        // An empty queue takes any entry.
        if queued > 0 && (queued >= entries_max || self.queued_bytes + draft.bytes() > bytes_max) {
            self.refused += 1;
            self.untold += 1;
            return None;
        }
        Some(self.push(draft))
    }

    fn trouble(&self) -> Option<String> {
        let silent = self.busy_since.map(|since| since.elapsed()).filter(|silent| *silent >= SILENCE);
        if let Some(Err(e)) = &self.end {
            Some(e.to_string())
        } else if self.trouble.is_some() {
            self.trouble.clone()
        } else if let Some(silent) = silent {
            Some(format!("the journal's disk has not answered for {:.0} s", silent.as_secs_f64()))
        } else {
            let untold = self.untold;
            (untold > 0).then(|| format!("the journal's queue is full: {untold} entries refused"))
        }
    }

    /// What `ek-journal` is to do now; from here on it is busy.
    fn hand_over(&mut self, may_take: bool) -> Work {
        self.busy_since = Some(Instant::now());
        let entries = if may_take || self.order != Order::Run {
            self.tell_refused();
            self.take()
        } else {
            Vec::new()
        };
        Work { entries, order: self.order, drained: self.queue.is_empty() }
    }

    fn take(&mut self) -> Vec<Pending> {
        let (mut taken, mut bytes) = (Vec::with_capacity(self.queue.len()), 0);
        while bytes < TAKEN_BYTES_MAX
            && let Some(pending) = self.queue.pop_front()
        {
            bytes += pending.payload.len();
            taken.push(pending);
        }
        self.queued_bytes -= bytes;
        taken
    }
}

impl Shared {
    pub(super) fn new(entry: u64, hash: Hash, entries_max: usize, bytes_max: usize) -> Self {
        let state = State {
            entry,
            hash,
            times: Times::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            durable: entry,
            refused: 0,
            untold: 0,
            trouble: None,
            busy_since: None,
            order: Order::Run,
            end: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            news: Condvar::new(),
            observers: Mutex::default(),
            thread: OnceLock::new(),
            entries_max,
            bytes_max,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    /// Numbers, chains and queues an entry, unless there is no room or the journal is closed.
    pub(super) fn append<Held: Level>(&self, held: &mut Cap<Held>, draft: &Draft) -> Option<Appended>
    where
        JournalQueue: After<Held>,
    {
        let appended = self.state.lock(held).admit(draft, self.entries_max, self.bytes_max)?;
        self.work.notify_one();
        Some(appended)
    }

    pub(super) fn head(&self) -> Head {
        let (entry, hash) = self.with(|state| (state.entry, state.hash));
        Head { entry, hash: hex(&hash) }
    }

    pub(super) fn durable_through(&self) -> u64 {
        self.with(|state| state.durable)
    }

    pub(super) fn refused(&self) -> u64 {
        self.with(|state| state.refused)
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.with(|state| state.trouble())
    }

    /// What an observer is to be called with: a number that grew.
    pub(super) fn observe(&self, call: Box<dyn Fn(u64) + Send + Sync>) {
        let observer = Arc::new(Observer { call, has_panicked: AtomicBool::new(false) });
        with_root(|house| self.observers.lock(house).push(observer));
    }

    /// Whether it is `ek-journal` that asks: waiting for itself it would wait for ever.
    pub(super) fn is_own_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }

    pub(super) fn wait_durable(&self, entry: u64, timeout: Duration) -> bool {
        self.wait_for_news(deadline(timeout), |state| state.durable >= entry || state.end.is_some());
        self.durable_through() >= entry
    }

    /// Gives an order and waits for the end of `ek-journal`.
    pub(super) fn end(&self, order: Order, timeout: Duration) -> Result<(), JournalError> {
        let until = deadline(timeout);
        self.with(|state| state.order = state.order.max(order));
        self.work.notify_one();
        self.wait_for_news(until, |state| state.end.is_some());
        self.with(|state| {
            let (durable, head) = (state.durable, state.entry);
            state.end.clone().unwrap_or(Err(JournalError::TimedOut { durable, head }))
        })
    }

    /// Waits until something is so, a time at most; not at all where `ek-journal` itself asks.
    fn wait_for_news(&self, until: Instant, is_so: impl Fn(&State) -> bool) {
        if self.is_own_thread() {
            return;
        }
        with_root(|house| {
            let mut state = self.state.lock(house);
            while !is_so(&state) && !self.news.wait_until(&mut state, until).timed_out() {}
        });
    }
}

/// What only `ek-journal` does.
impl Shared {
    /// Notes whose thread this is.
    pub(super) fn enter(&self) {
        let _ = self.thread.set(std::thread::current().id());
    }

    /// Waits until there is something to do, and takes it. Entries are taken only
    /// when `may_take`, or when there is an order to come to an end.
    pub(super) fn wait(&self, may_take: bool, until: Option<Instant>) -> Work {
        with_root(|house| {
            let mut state = self.state.lock(house);
            state.busy_since = None;
            while state.order == Order::Run && !(may_take && (!state.queue.is_empty() || state.untold > 0)) {
                match until {
                    None => self.work.wait(&mut state),
                    Some(until) if self.work.wait_until(&mut state, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            state.hand_over(may_take)
        })
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.with(|state| state.trouble = trouble);
    }

    /// Says how far the journal is on disk, then calls the observers.
    pub(super) fn publish(&self, durable: u64) {
        let has_moved = self.with(|state| {
            assert!(durable <= state.entry, "invariant: only what was numbered can be durable");
            let has_moved = durable > state.durable;
            state.durable = state.durable.max(durable);
            has_moved
        });
        if !has_moved {
            return;
        }
        self.news.notify_all();
        with_root(|house| {
            let observers = self.observers.lock(house).clone();
            for observer in &observers {
                let called = call(house, || (observer.call)(durable));
                // Told once: telling is an entry, which calls the observers again.
                if let Err(panic) = called
                    && !observer.has_panicked.swap(true, Ordering::Relaxed)
                {
                    let body = json!({ "panic": message(panic) });
                    let _ = self.append(house, &Draft::of(OBSERVER_PANIC_KIND, None, None, &body));
                }
            }
            call_alone(house, || drop(observers));
        });
    }

    /// Where the journal stands, for an error.
    pub(super) fn standing(&self) -> (u64, u64) {
        self.with(|state| (state.durable, state.entry))
    }

    /// The thread is gone, and how; the first word counts.
    pub(super) fn close(&self, end: Result<(), JournalError>) {
        self.with(|state| {
            state.busy_since = None;
            state.end.get_or_insert(end);
        });
        self.news.notify_all();
        with_root(|house| {
            // They may hold handles of this journal, or whatever else.
            let observers = std::mem::take(&mut *self.observers.lock(house));
            call_alone(house, || drop(observers));
        });
    }
}
