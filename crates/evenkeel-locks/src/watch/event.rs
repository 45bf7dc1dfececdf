//! What is found: violations of the order, long waits and holds, deadlocks.
//!
//! The thread that finds something puts it into a bounded queue and goes on; no code of a user
//! runs there. [`super::Watch`] has a thread of its own that holds nothing and calls the user.

use super::cycle::Cycle;
use super::registry;
use super::stats::human;
use super::sys::Site;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Events that are kept until somebody takes them. Later ones are only counted, but violations and deadlocks
/// take the place of those that tell of something slow.
pub(crate) const QUEUE_MAX: usize = 256;

/// What is done when a thread is about to take a lock against the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OnViolation {
    /// The thread panics with the report, before it waits. The default of debug builds.
    Panic = 0,
    /// An [`Event`], once for each pair of classes; the thread goes on. The default of release builds.
    Report = 1,
    /// It is counted; the thread goes on.
    Count = 2,
}

static ON_VIOLATION: AtomicU8 =
    AtomicU8::new(if cfg!(debug_assertions) { OnViolation::Panic } else { OnViolation::Report } as u8);

/// Says what is done from now on when the order is violated, in the whole process.
///
/// ```
/// use evenkeel_locks::watch::{OnViolation, on_violation};
///
/// on_violation(OnViolation::Report);
/// ```
pub fn on_violation(action: OnViolation) {
    ON_VIOLATION.store(action as u8, Ordering::Relaxed);
}

/// A lock, and where it was taken or wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The name of its class.
    pub lock: String,
    /// Where; not known of an order that follows from ranks.
    pub site: Option<Site>,
}

impl Place {
    pub(crate) fn of(number: u32, site: Site) -> Self {
        Self { lock: name(number), site: Some(site) }
    }
}

/// What a lock is called in reports.
pub(crate) fn name(number: u32) -> String {
    registry::lock(number).map_or_else(|| format!("lock {number}"), |lock| lock.class.name.clone())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Some(site) => write!(f, "`{}` at {site}", self.lock),
            None => write!(f, "`{}`", self.lock),
        }
    }
}

/// How an order was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// The rank that is held is not less than the rank that is wanted.
    Rank,
    /// The thread holds the very lock that it wants.
    Recursive,
    /// Two locks of one class: another thread may take them the other way round.
    SameClass,
    /// The classes were taken the other way round before.
    Order {
        /// How they came to be in that order.
        earlier: Vec<Earlier>,
    },
}

/// A lock was taken while another was held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Earlier {
    /// What was held, and where it was taken.
    pub held: Place,
    /// What was taken then, and where.
    pub wanted: Place,
    /// Who did; nobody where it follows from ranks.
    pub thread: Option<String>,
}

/// A thread is about to take a lock against the order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// How.
    pub kind: ViolationKind,
    /// Who.
    pub thread: String,
    /// What is wanted, and where.
    pub wanted: Place,
    /// What is held, and where it was taken.
    pub held: Place,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock order: thread `{}` wants {} and holds {}", self.thread, self.wanted, self.held)?;
        match &self.kind {
            ViolationKind::Rank => write!(f, ", which has no lesser rank"),
            ViolationKind::Recursive => write!(f, ": the same lock"),
            ViolationKind::SameClass => write!(f, ": two of one class, which nothing orders"),
            ViolationKind::Order { earlier } => earlier.iter().try_for_each(|edge| match &edge.thread {
                Some(thread) => write!(f, "; thread `{thread}` held {} and took {}", edge.held, edge.wanted),
                None => write!(f, "; by rank {} is before {}", edge.held, edge.wanted),
            }),
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A thread took a lock against the order.
    Violation(Violation),
    /// A thread waits for over 5 ms.
    LongWait {
        /// Who.
        thread: String,
        /// For what, and where.
        wanted: Place,
        /// Those that hold it, as far as is known.
        holders: Vec<super::Holder>,
    },
    /// A lock is held for longer than the [`Watch`](super::Watch) was told.
    LongHold {
        /// Who holds it.
        thread: String,
        /// What, and where it was taken.
        held: Place,
        /// So long at least.
        at_least: Duration,
    },
    /// Threads wait for each other.
    Deadlock(Cycle),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::LongWait { thread, wanted, holders } => {
                write!(f, "long wait: thread `{thread}` waits for {wanted}")?;
                holders.iter().try_for_each(|holder| write!(f, ", {holder}"))
            }
            Self::LongHold { thread, held, at_least } => {
                write!(f, "long hold: thread `{thread}` holds {held} for over {}", human(*at_least))
            }
            Self::Deadlock(cycle) => cycle.fmt(f),
        }
    }
}

impl Event {
    /// Nothing is wrong, it only takes long.
    fn is_only_slow(&self) -> bool {
        matches!(self, Self::LongWait { .. } | Self::LongHold { .. })
    }
}

/// How much was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Locks taken against the order.
    pub violations: u64,
    /// Waits over 5 ms.
    pub long_waits: u64,
    /// Holds longer than the [`Watch`](super::Watch) was told.
    pub long_holds: u64,
    /// Deadlocks.
    pub deadlocks: u64,
    /// Events that were not kept, because nobody took those before.
    pub lost: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violations, long_waits, long_holds, deadlocks, lost } = self;
        write!(
            f,
            "{violations} violations, {deadlocks} deadlocks, {long_waits} long waits, {long_holds} long holds, \
             {lost} events lost"
        )
    }
}

/// Events that wait to be taken.
#[derive(Debug)]
struct Queue {
    events: VecDeque<Event>,
    /// Pairs of nodes that were reported.
    reported: BTreeSet<(u16, u16)>,
}

impl Queue {
    /// Keeps it, and where there is no room drops the oldest of what is only slow for what is wrong. Says
    /// whether nothing was lost.
    fn keep(&mut self, event: Event) -> bool {
        let has_room = self.events.len() < QUEUE_MAX;
        if !has_room {
            if event.is_only_slow() {
                return false;
            }
            let Some(at) = self.events.iter().position(Event::is_only_slow) else { return false };
            self.events.remove(at);
        }
        self.events.push_back(event);
        has_room
    }

    /// Keeps the first of a pair of nodes that there is room for. Says whether nothing was lost.
    fn keep_once(&mut self, nodes: (u16, u16), violation: Violation) -> bool {
        if self.reported.contains(&nodes) {
            return true;
        }
        if self.events.len() == QUEUE_MAX && !self.events.iter().any(Event::is_only_slow) {
            return false;
        }
        self.reported.insert(nodes);
        self.keep(Event::Violation(violation))
    }
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { events: VecDeque::new(), reported: BTreeSet::new() });
static CHANGED: Condvar = Condvar::new();
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);
static LONG_WAITS: AtomicU64 = AtomicU64::new(0);
static LONG_HOLDS: AtomicU64 = AtomicU64::new(0);
static DEADLOCKS: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// How much was found since the process began.
#[must_use]
pub(crate) fn found() -> Found {
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Found {
        violations: of(&VIOLATIONS),
        long_waits: of(&LONG_WAITS),
        long_holds: of(&LONG_HOLDS),
        deadlocks: of(&DEADLOCKS),
        lost: of(&LOST),
    }
}

/// Takes what was found since the last time; a [`Watch`](super::Watch) takes it first where there is one.
#[must_use]
pub fn take_events() -> Vec<Event> {
    QUEUE.lock().events.drain(..).collect()
}

/// The same, after waiting for the first one so long at most.
pub(crate) fn wait_for_events(patience: Duration) -> Vec<Event> {
    let mut queue = QUEUE.lock();
    if queue.events.is_empty() {
        CHANGED.wait_for(&mut queue, patience);
    }
    queue.events.drain(..).collect()
}

/// Wakes those that wait for events.
pub(crate) fn wake() {
    // With the mutex, or it could come between a look and the wait.
    let _queue = QUEUE.lock();
    CHANGED.notify_all();
}

/// Counts an event and keeps it.
pub(crate) fn tell(event: Event) {
    let count = match event {
        Event::Violation(_) => &VIOLATIONS,
        Event::LongWait { .. } => &LONG_WAITS,
        Event::LongHold { .. } => &LONG_HOLDS,
        Event::Deadlock(_) => &DEADLOCKS,
    };
    count.fetch_add(1, Ordering::Relaxed);
    keep(event);
}

fn keep(event: Event) {
    if !QUEUE.lock().keep(event) {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    CHANGED.notify_all();
}

/// Does what the user chose.
#[cold]
pub(crate) fn violated(nodes: (u16, u16), violation: Violation) {
    VIOLATIONS.fetch_add(1, Ordering::Relaxed);
    let action = ON_VIOLATION.load(Ordering::Relaxed);
    if action == OnViolation::Panic as u8 {
        // A second panic while a thread unwinds would end the process.
        if !std::thread::panicking() {
            panic!("{violation}");
        }
    } else if action == OnViolation::Report as u8 {
        if !QUEUE.lock().keep_once(nodes, violation) {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        CHANGED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lock: &str) -> Place {
        Place { lock: lock.to_owned(), site: None }
    }

    fn long_wait() -> Event {
        Event::LongWait { thread: String::new(), wanted: place("busy"), holders: Vec::new() }
    }

    fn violation(held: &str) -> Violation {
        let (wanted, held) = (place("wanted"), place(held));
        Violation { kind: ViolationKind::Rank, thread: String::new(), wanted, held }
    }

    fn violations(queue: &Queue) -> Vec<&str> {
        queue
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Violation(violation) => Some(&violation.held.lock[..]),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn what_is_wrong_displaces_what_is_only_slow() {
        let mut queue = Queue { events: VecDeque::new(), reported: BTreeSet::new() };
        (0..QUEUE_MAX).for_each(|_| assert!(queue.keep(long_wait())));
        assert!(!queue.keep(long_wait()));
        assert!(!queue.keep(Event::Deadlock(Cycle { parties: Vec::new() })), "one long wait is lost");
        assert!(!queue.keep_once((1, 2), violation("first")));
        assert!(queue.keep_once((1, 2), violation("again")), "nothing is lost of what was told");
        assert_eq!((queue.events.len(), violations(&queue)), (QUEUE_MAX, vec!["first"]));
        assert!(queue.events.iter().any(|event| matches!(event, Event::Deadlock(_))));
    }

    #[test]
    #[cfg_attr(miri, ignore = "hundreds of reports, and nothing unsafe")]
    fn a_violation_that_was_not_kept_is_reported_the_next_time() {
        let mut queue = Queue { events: VecDeque::new(), reported: BTreeSet::new() };
        (0..QUEUE_MAX).for_each(|at| assert!(queue.keep_once((at as u16, 0), violation("early"))));
        assert!(!queue.keep_once((1, 999), violation("late")));
        queue.events.clear();
        assert!(queue.keep_once((1, 999), violation("late")));
        assert_eq!(violations(&queue), ["late"]);
    }
}
