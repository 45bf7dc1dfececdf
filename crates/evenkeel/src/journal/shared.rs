//! What the appenders and `ek-journal` share: the chain's head, and the queue.
//!
//! Invariants: numbers, times and hashes are given under the one mutex, in the
//! order of the queue; nothing under it waits for a disk or runs foreign code;
//! `durable <= head.entry`, and only `ek-journal` moves `durable` and sets `end`.

use super::entry::{Draft, Hash};
use super::{Appended, Head, JournalError};
use crate::clock;
use evenkeel_log::hex;
use serde_json::json;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
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
    state: Mutex<State>,
    /// Something for `ek-journal` to do.
    work: Condvar,
    /// Something for those who wait: durable entries, or the end.
    news: Condvar,
    observers: Mutex<Vec<Arc<Observer>>>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half way: a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn push(&mut self, draft: &Draft) -> Appended {
        let (entry, wall_ns) = (self.entry + 1, clock::wall_ns());
        let payload = draft.encode(entry, wall_ns, &self.hash);
        let prev = hex(&self.hash);
        self.hash = super::entry::hash_after(&self.hash, &payload);
        self.entry = entry;
        self.queued_bytes += payload.len();
        self.queue.push_back(Pending { wall_ns, payload, hash: self.hash });
        Appended { entry, prev }
    }

    /// Tells of what was refused, now that there is room again.
    fn tell_refused(&mut self) {
        if self.untold > 0 {
            let refused = std::mem::take(&mut self.untold);
            self.push(&Draft::new(GAP_KIND, None, &json!({ "refused": refused })));
        }
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

    /// Numbers, chains and queues an entry, unless there is no room or the journal is closed.
    pub(super) fn append(&self, draft: &Draft) -> Option<Appended> {
        let mut state = lock(&self.state);
        if state.order != Order::Run || state.end.is_some() {
            return None;
        }
        let queued = state.queue.len();
        // An empty queue takes any entry.
        if queued > 0 && (queued >= self.entries_max || state.queued_bytes + draft.bytes() > self.bytes_max) {
            state.refused += 1;
            state.untold += 1;
            return None;
        }
        let appended = state.push(draft);
        drop(state);
        self.work.notify_one();
        Some(appended)
    }

    pub(super) fn head(&self) -> Head {
        let state = lock(&self.state);
        Head { entry: state.entry, hash: hex(&state.hash) }
    }

    pub(super) fn durable_through(&self) -> u64 {
        lock(&self.state).durable
    }

    pub(super) fn refused(&self) -> u64 {
        lock(&self.state).refused
    }

    pub(super) fn trouble(&self) -> Option<String> {
        let state = lock(&self.state);
        let silent = state.busy_since.map(|since| since.elapsed()).filter(|silent| *silent >= SILENCE);
        if let Some(Err(e)) = &state.end {
            Some(e.to_string())
        } else if state.trouble.is_some() {
            state.trouble.clone()
        } else if let Some(silent) = silent {
            Some(format!("the journal's disk has not answered for {:.0} s", silent.as_secs_f64()))
        } else {
            (state.untold > 0)
                .then(|| format!("the journal's queue is full: {} entries refused", state.untold))
        }
    }

    /// What an observer is to be called with: a number that grew.
    pub(super) fn observe(&self, call: Box<dyn Fn(u64) + Send + Sync>) {
        lock(&self.observers).push(Arc::new(Observer { call, has_panicked: AtomicBool::new(false) }));
    }

    /// Whether it is `ek-journal` that asks: waiting for itself it would wait for ever.
    pub(super) fn is_own_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }

    pub(super) fn wait_durable(&self, entry: u64, timeout: Duration) -> bool {
        let until = deadline(timeout);
        let mut state = lock(&self.state);
        while state.durable < entry && state.end.is_none() && !self.is_own_thread() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.durable >= entry
    }

    /// Gives an order and waits for the end of `ek-journal`.
    pub(super) fn end(&self, order: Order, timeout: Duration) -> Result<(), JournalError> {
        let until = deadline(timeout);
        let mut state = lock(&self.state);
        state.order = state.order.max(order);
        self.work.notify_one();
        while state.end.is_none() && !self.is_own_thread() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (durable, head) = (state.durable, state.entry);
        state.end.clone().unwrap_or(Err(JournalError::TimedOut { durable, head }))
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
        let mut state = lock(&self.state);
        state.busy_since = None;
        while state.order == Order::Run && !(may_take && (!state.queue.is_empty() || state.untold > 0)) {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.busy_since = Some(Instant::now());
        let entries = if may_take || state.order != Order::Run {
            state.tell_refused();
            state.take()
        } else {
            Vec::new()
        };
        Work { entries, order: state.order, drained: state.queue.is_empty() }
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        lock(&self.state).trouble = trouble;
    }

    /// Says how far the journal is on disk, then calls the observers.
    pub(super) fn publish(&self, durable: u64) {
        {
            let mut state = lock(&self.state);
            assert!(durable <= state.entry, "invariant: only what was numbered can be durable");
            if durable <= state.durable {
                return;
            }
            state.durable = durable;
        }
        self.news.notify_all();
        let observers = lock(&self.observers).clone();
        for observer in observers {
            let called = catch_unwind(AssertUnwindSafe(|| (observer.call)(durable)));
            // Told once: telling is an entry, which calls the observers again.
            if let Err(panic) = called
                && !observer.has_panicked.swap(true, Ordering::Relaxed)
            {
                let _ = self.append(&Draft::new(
                    OBSERVER_PANIC_KIND,
                    None,
                    &json!({ "panic": message(&*panic) }),
                ));
            }
        }
    }

    /// Where the journal stands, for an error.
    pub(super) fn standing(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.durable, state.entry)
    }

    /// The thread is gone, and how; the first word counts.
    pub(super) fn close(&self, end: Result<(), JournalError>) {
        {
            let mut state = lock(&self.state);
            state.busy_since = None;
            state.end.get_or_insert(end);
        }
        self.news.notify_all();
        // They may hold handles of this journal, or whatever else.
        let observers = std::mem::take(&mut *lock(&self.observers));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(observers)));
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
