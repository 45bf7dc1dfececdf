//! What the appenders and `ek-journal` share: the chain's head, and the queue.
//!
//! Invariants: numbers, times and hashes are given under the one mutex, in the
//! order of the queue; nothing under it waits for a disk or runs foreign code;
//! `durable <= head.entry`, and only `ek-journal` moves `durable` and sets `end`.

use super::draft::Draft;
use super::entry::{Hash, hash_after, hex_digits};
use super::queue::{Entries, Queue, Refused};
use super::sources::{Answer, Sources};
use super::time::Times;
use super::weight::Weight;
use super::{Appended, Head, JournalError};
use crate::callback::{call, call_alone, message};
use crate::clock;
use evenkeel_hierarchy::{
    After, Cap, Condvar, JournalObservers, JournalQueue, Level, Mutex, MutexGuard, with_root,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Kind of the entry that says how many entries were refused.
pub const GAP_KIND: &str = "journal-gap";
/// Kind of the entry that says that an observer panicked.
pub const OBSERVER_PANIC_KIND: &str = "journal-observer-panicked";
/// A disk that does not answer for so long is trouble.
const SILENCE: Duration = Duration::from_secs(1);
/// While entries come closer than this, they make one group.
const GATHER_QUIET: Duration = Duration::from_micros(6);
/// So many that came one upon the other are written while more come.
const GATHER_ENTRIES: u64 = 128;

/// What `ek-journal` is to do, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Run,
    /// No handle is left: write what is queued, and go.
    Leave,
    /// Write what is queued, end and seal the log.
    Finish,
}

/// What `ek-journal` is given.
pub(super) struct Work {
    pub(super) entries: Entries,
    pub(super) order: Order,
    /// Whether nothing is left in the queue.
    pub(super) drained: bool,
    /// Whether more comes at this moment, so that it is to be [taken](Shared::more) before all is synced.
    pub(super) goes_on: bool,
    /// How many of the entries, and of their bytes, are `ek-journal`'s own.
    pub(super) own: (u64, u64),
}

struct State {
    /// Number of the last entry given, and the chain after it.
    entry: u64,
    hash: Hash,
    times: Times,
    queue: Queue,
    durable: u64,
    /// An entry that is on disk, mostly the last of those, and the chain after it.
    durable_chain: (u64, Hash),
    /// Whether `ek-journal` has to be woken for an entry.
    sleeps: bool,
    /// How many wait for room.
    waiting: u32,
    /// Entries and bytes in the queue that are `ek-journal`'s own.
    own: (u64, u64),
    /// From which entry on somebody needs the journal, by name.
    holds: BTreeMap<String, u64>,
    trouble: Option<String>,
    busy_since: Option<Instant>,
    /// What came of asking for a snapshot.
    answer: Option<Answer>,
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
    /// Number of the last entry: to see without the mutex whether more come.
    last: AtomicU64,
    /// Who is asked for a snapshot.
    pub(super) sources: Sources,
}

/// A hash in 64 digits, for who asks.
fn hex_text(hash: &Hash) -> String {
    let digits = hex_digits(hash);
    std::str::from_utf8(&digits).expect("invariant: digits are ASCII").to_owned()
}

/// When a time that begins now is over; a time without an end is a year.
pub(super) fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout.min(YEAR)).unwrap_or(now)
}

impl State {
    fn push(&mut self, draft: &Draft) -> Appended {
        let (entry, wall_ns) = (self.entry + 1, clock::wall_ns());
        let before = self.hash;
        let Self { queue, times, .. } = self;
        let mut after = before;
        queue.push(wall_ns, |out| {
            let begin = out.len();
            draft.encode(out, times, (entry, wall_ns), &before);
            after = hash_after(&before, &out[begin..]);
            after
        });
        (self.entry, self.hash) = (entry, after);
        Appended { entry, prev: hex_text(&before) }
    }

    /// Tells of what was refused, now that there is room again.
    fn tell_refused(&mut self) {
        if let Some(body) = self.queue.take_untold() {
            self.push(&Draft::of(GAP_KIND, None, None, &body));
        }
    }

    /// Whether there is something to do while the disk is well.
    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.queue.untold() > 0 || self.answer.is_some()
    }

    fn is_open(&self) -> bool {
        self.order == Order::Run && self.end.is_none()
    }

    /// Takes an entry in, unless there is no room or the journal is closed.
    fn admit(&mut self, draft: &Draft) -> Option<Appended> {
        if !self.is_open() {
            return None;
        }
        if !self.queue.has_room(draft.weight(), draft.bytes()) {
            self.queue.refuse(draft);
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
            let untold = self.queue.untold();
            (untold > 0).then(|| format!("the journal's queue is full: {untold} entries refused"))
        }
    }

    /// What `ek-journal` is to do now; from here on it is busy.
    fn hand_over(&mut self, may_take: bool) -> Work {
        self.busy_since = Some(Instant::now());
        let (entries, own) = if may_take || self.order != Order::Run {
            self.tell_refused();
            (self.queue.take(), std::mem::take(&mut self.own))
        } else {
            Default::default()
        };
        Work { entries, order: self.order, drained: self.queue.is_empty(), goes_on: false, own }
    }
}

impl Shared {
    pub(super) fn new(entry: u64, hash: Hash, entries_max: usize, bytes_max: usize) -> Self {
        let state = State {
            entry,
            hash,
            times: Times::default(),
            queue: Queue::new(entries_max, bytes_max),
            durable: entry,
            durable_chain: (entry, hash),
            sleeps: false,
            waiting: 0,
            own: (0, 0),
            holds: BTreeMap::new(),
            trouble: None,
            busy_since: None,
            answer: None,
            order: Order::Run,
            end: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            news: Condvar::new(),
            observers: Mutex::default(),
            thread: OnceLock::new(),
            last: AtomicU64::new(entry),
            sources: Sources::default(),
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
        let mut state = self.state.lock(held);
        let appended = state.admit(draft)?;
        self.was_appended(state, &appended);
        Some(appended)
    }

    /// Lets go of the lock, and wakes `ek-journal` where it sleeps.
    fn was_appended(&self, mut state: MutexGuard<'_, JournalQueue, State>, appended: &Appended) {
        let sleeps = std::mem::take(&mut state.sleeps);
        self.last.store(appended.entry, Ordering::Relaxed);
        drop(state);
        if sleeps {
            self.work.notify_one();
        }
    }

    /// The same, waiting for room until a time.
    pub(super) fn append_until(&self, draft: &Draft, until: Instant) -> Option<Appended> {
        with_root(|house| {
            let mut state = self.state.lock(house);
            let waits =
                |state: &State| state.is_open() && !state.queue.has_room(draft.weight(), draft.bytes());
            if waits(&state) && !self.is_own_thread() {
                state.waiting += 1;
                while waits(&state) && !self.news.wait_until(&mut state, until).timed_out() {}
                state.waiting -= 1;
            }
            let appended = state.admit(draft)?;
            self.was_appended(state, &appended);
            Some(appended)
        })
    }

    pub(super) fn head(&self) -> Head {
        let (entry, hash) = self.with(|state| (state.entry, state.hash));
        Head { entry, hash: hex_text(&hash) }
    }

    /// The end of the chain.
    pub(super) fn chain(&self) -> (u64, Hash) {
        self.with(|state| (state.entry, state.hash))
    }

    /// The last entry that is known to be on disk, and the chain after it.
    pub(super) fn durable_chain(&self) -> (u64, Hash) {
        self.with(|state| state.durable_chain)
    }

    pub(super) fn durable_through(&self) -> u64 {
        self.with(|state| state.durable)
    }

    pub(super) fn refused(&self) -> Refused {
        self.with(|state| state.queue.refused())
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.with(|state| state.trouble())
    }

    pub(super) fn keep_from(&self, name: &str, entry: u64) {
        let name = name.to_owned();
        self.with(|state| state.holds.insert(name, entry));
    }

    pub(super) fn holds(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.holds.clone())
    }

    /// What an observer is to be called with: a number that grew.
    pub(super) fn observe(&self, call: Box<dyn Fn(u64) + Send + Sync>) {
        let observer = Arc::new(Observer { call, has_panicked: AtomicBool::new(false) });
        with_root(|house| self.observers.lock(house).push(observer));
    }

    /// Hands over what came of asking for a snapshot, and wakes `ek-journal` where it sleeps.
    pub(super) fn answer(&self, answer: Answer) {
        let sleeps = self.with(|state| {
            state.answer = Some(answer);
            std::mem::take(&mut state.sleeps)
        });
        if sleeps {
            self.work.notify_one();
        }
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
    /// when `may_take`, or when there is an order to come to an end. While more come they
    /// are waited for, at most `gather`, or until there is enough to be written.
    pub(super) fn wait(&self, may_take: bool, until: Option<Instant>, gather: Duration) -> Work {
        let is_to_gather = with_root(|house| {
            let mut state = self.state.lock(house);
            state.busy_since = None;
            while state.order == Order::Run && !(may_take && state.has_work()) {
                state.sleeps = may_take;
                match until {
                    None => self.work.wait(&mut state),
                    Some(until) if self.work.wait_until(&mut state, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            state.sleeps = false;
            may_take && state.order == Order::Run && !state.queue.is_filling()
        });
        let goes_on = is_to_gather && self.gather(Instant::now() + gather);
        self.take(may_take, goes_on)
    }

    /// What has come since work [went on](Work::goes_on); the sync does not wait for it beyond `until`.
    pub(super) fn more(&self, until: Instant) -> Work {
        let goes_on = self.gather(until);
        self.take(true, goes_on)
    }

    fn take(&self, may_take: bool, goes_on: bool) -> Work {
        let (work, waiting) = self.with(|state| (state.hand_over(may_take), state.waiting));
        if waiting > 0 {
            self.news.notify_all();
        }
        Work { goes_on: goes_on && work.order == Order::Run, ..work }
    }

    /// Lets entries come as long as they come one upon the other: what is written together costs one sync. Whether more
    /// come, and there is enough to be written meanwhile.
    fn gather(&self, until: Instant) -> bool {
        let first = self.last.load(Ordering::Relaxed);
        let (mut last, mut since) = (first, Instant::now());
        loop {
            std::thread::yield_now();
            let (seen, now) = (self.last.load(Ordering::Relaxed), Instant::now());
            if seen != last {
                (last, since) = (seen, now);
            }
            if now >= until || now.duration_since(since) >= GATHER_QUIET {
                return false;
            }
            if last - first >= GATHER_ENTRIES {
                return true;
            }
        }
    }

    /// Appends an entry of `ek-journal`'s own, where there is room; refused it does not count.
    pub(super) fn offer(&self, draft: &Draft) -> Option<Appended> {
        let appended = self.with(|state| {
            // However much they weigh, nobody's records are refused for them.
            if !state.is_open() || !state.queue.has_room(Weight::Note, draft.bytes()) {
                return None;
            }
            let appended = state.push(draft);
            state.own.0 += 1;
            state.own.1 += draft.bytes() as u64;
            Some(appended)
        })?;
        self.last.store(appended.entry, Ordering::Relaxed);
        Some(appended)
    }

    /// Appends the very last entry, of a journal that takes no more, and hands over what waits.
    pub(super) fn append_last(&self, draft: &Draft) -> Entries {
        self.with(|state| {
            state.push(draft);
            state.queue.take()
        })
    }

    /// What came of asking for a snapshot, once it has.
    pub(super) fn take_answer(&self) -> Option<Answer> {
        self.with(|state| state.answer.take())
    }

    /// Tells, where it was not told before, why sources of snapshots did not answer.
    pub(super) fn tell_failed_source(&self, why: &str) {
        if !why.is_empty() {
            let told = Draft::of(OBSERVER_PANIC_KIND, None, None, &json!({ "snapshot": why }));
            if self.offer(&told).is_none() {
                self.with(|state| {
                    if state.is_open() {
                        state.queue.refuse(&told);
                    }
                });
            }
        }
    }

    /// Gives buffers back.
    pub(super) fn recycle(&self, entries: Entries) {
        self.with(|state| state.queue.recycle(entries));
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        self.with(|state| state.trouble = trouble);
    }

    /// Says how far the journal is on disk, then calls the observers. `written` is the last entry
    /// that was given to the log, and the chain after it.
    pub(super) fn publish(&self, durable: u64, written: (u64, Hash)) {
        let has_moved = self.with(|state| {
            if written.0 <= durable {
                state.durable_chain = written;
            }
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
        self.sources.clear();
    }
}
