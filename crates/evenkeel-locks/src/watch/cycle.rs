//! Who waits for whom.
//!
//! A look takes what each thread waits for, and what it holds. A circle is told only when it was
//! found twice: each thread in it is in the same wait as before, so it let go of nothing in between, and
//! all of it was so at one moment.

use super::event;
use super::held::Hold;
use super::order::is_conflict;
use super::stats::human;
use super::sys::Site;
use super::tag::Access;
use super::thread::{self, Thread, Wait};
use std::collections::BTreeMap;
use std::fmt;
use std::ptr;
use std::time::Duration;

/// Threads of which each waits for the next, and the last for the first.
///
/// ```
/// use evenkeel_locks::watch::{Event, take_events};
///
/// for event in take_events() {
///     if let Event::Deadlock(cycle) = event {
///         eprintln!("{cycle}"); // a line for each thread, with both places
///         eprintln!("{} threads", cycle.parties.len());
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cycle {
    /// The threads, first the one that told.
    pub parties: Vec<Party>,
}

/// A thread that waits for the next party.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// The thread's name.
    pub thread: String,
    /// The name of the lock it waits for.
    pub lock: String,
    /// The lock's number in this process.
    pub number: u32,
    /// How it wants the lock.
    pub wants: Access,
    /// Where it wants it.
    pub wanted_at: Site,
    /// How long it had waited.
    pub waited: Duration,
    /// Why the next party is in its way.
    pub because: Because,
    /// Where the next party took the lock, or waits for it.
    pub since: Site,
}

/// Why one thread is in the way of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because {
    /// It holds the lock.
    Holds(Access),
    /// It waits to write, and those that come to read wait behind it.
    IsFirst,
}

/// Somebody who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The thread's name, or the task's number.
    pub thread: String,
    /// It is a task, not a thread.
    pub is_task: bool,
    /// How it holds the lock.
    pub access: Access,
    /// Where it took it.
    pub site: Site,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.access == Access::Shared { "reads" } else { "holds" };
        let kind = if self.is_task { "task" } else { "thread" };
        write!(f, "{kind} `{}` {verb} it since {}", self.thread, self.site)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadlock:")?;
        for (at, party) in self.parties.iter().enumerate() {
            let next = &self.parties[(at + 1) % self.parties.len()].thread;
            let because = match party.because {
                Because::Holds(Access::Exclusive) => "holds",
                Because::Holds(Access::Shared) => "reads",
                Because::IsFirst => "waits before it to write",
            };
            write!(
                f,
                "\n  thread `{}` waits for `{}` at {} for {}; thread `{next}` {because} it since {}",
                party.thread,
                party.lock,
                party.wanted_at,
                human(party.waited),
                party.since
            )?;
        }
        Ok(())
    }
}

/// What is in the way of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    Hold(Hold),
    Queue(Wait),
}

/// A circle that was seen once.
#[derive(Debug)]
pub(crate) struct Suspicion {
    links: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    thread: &'static Thread,
    wait: Wait,
    /// Of the next link.
    obstacle: Obstacle,
}

/// A thread that waits, and what it holds.
struct Node {
    thread: &'static Thread,
    wait: Wait,
    holds: Vec<Hold>,
}

impl Suspicion {
    /// Looks for a circle with this thread, which waits.
    pub(crate) fn of(me: &'static Thread) -> Option<Self> {
        let nodes: Vec<Node> = thread::all()
            .into_iter()
            // The wait first: what is held is then held for as long as the wait is the same.
            .filter_map(|thread| {
                Some(Node { thread, wait: thread.wait()?, holds: thread.held.holds().collect() })
            })
            .collect();
        let start = nodes.iter().position(|node| ptr::eq(node.thread, me))?;
        let mut is_seen = vec![false; nodes.len()];
        let mut path = Vec::new();
        leads_back(&nodes, start, start, &mut is_seen, &mut path).then(|| {
            let link = |(at, obstacle): &(usize, Obstacle)| Link {
                thread: nodes[*at].thread,
                wait: nodes[*at].wait,
                obstacle: *obstacle,
            };
            Self { links: path.iter().map(link).collect() }
        })
    }

    /// The circle, if it is still there. Only then it was there at all.
    pub(crate) fn confirm(&self) -> Option<Cycle> {
        let is_there = |at: usize| {
            let (link, next) = (&self.links[at], &self.links[(at + 1) % self.links.len()]);
            link.thread.wait().is_some_and(|wait| wait.nth == link.wait.nth)
                && match link.obstacle {
                    Obstacle::Hold(hold) => next.thread.held.holds().any(|held| held == hold),
                    Obstacle::Queue(wait) => next.wait == wait,
                }
        };
        let count = self.links.len();
        // Waits last: a hold that is there while the wait is the same was there all along.
        let is_confirmed = (0..count).all(is_there)
            && self.links.iter().all(|link| link.thread.wait().is_some_and(|wait| wait.nth == link.wait.nth));
        is_confirmed.then(|| Cycle { parties: self.links.iter().map(Link::party).collect() })
    }

    /// The same threads in the same waits.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.links.len() == other.links.len()
            && self
                .links
                .iter()
                .zip(&other.links)
                .all(|(one, two)| ptr::eq(one.thread, two.thread) && one.wait.nth == two.wait.nth)
    }

    /// Of all in the circle, this thread is the one to tell.
    pub(crate) fn is_told_by(&self, me: &'static Thread) -> bool {
        self.links.iter().all(|link| ptr::from_ref(me) <= ptr::from_ref(link.thread))
    }
}

impl Link {
    fn party(&self) -> Party {
        let (because, since) = match self.obstacle {
            Obstacle::Hold(hold) => (Because::Holds(hold.tag.access()), hold.site),
            Obstacle::Queue(wait) => (Because::IsFirst, wait.site),
        };
        Party {
            thread: self.thread.name(),
            lock: event::name(self.wait.tag.number()),
            number: self.wait.tag.number(),
            wants: self.wait.tag.access(),
            wanted_at: self.wait.site,
            waited: self.wait.since.elapsed(),
            because,
            since,
        }
    }
}

/// Goes on from the node `at`, and leaves the way in `path` if it leads to `goal`.
fn leads_back(
    nodes: &[Node],
    at: usize,
    goal: usize,
    is_seen: &mut [bool],
    path: &mut Vec<(usize, Obstacle)>,
) -> bool {
    is_seen[at] = true;
    for (next, node) in nodes.iter().enumerate() {
        let Some(obstacle) = obstacle(&nodes[at], node, at == next) else { continue };
        if next != goal && is_seen[next] {
            continue;
        }
        path.push((at, obstacle));
        if next == goal || leads_back(nodes, next, goal, is_seen, path) {
            return true;
        }
        path.pop();
    }
    false
}

/// Why the one waits for the other.
fn obstacle(waiter: &Node, other: &Node, is_same: bool) -> Option<Obstacle> {
    let Wait { lock, tag, .. } = waiter.wait;
    let hold =
        other.holds.iter().find(|hold| hold.lock == lock && is_conflict(hold.tag.access(), tag.access()));
    if let Some(hold) = hold {
        return Some(Obstacle::Hold(*hold));
    }
    let is_before = !is_same
        && tag.access() == Access::Shared
        && other.wait.lock == lock
        && other.wait.tag.access() == Access::Exclusive;
    is_before.then_some(Obstacle::Queue(other.wait))
}

/// Who holds a lock, as far as is known; with it which acquisition each is.
pub(crate) fn holders(lock: usize) -> Vec<(&'static Thread, Hold)> {
    let holds =
        thread::all().into_iter().flat_map(|thread| thread.held.holds().map(move |hold| (thread, hold)));
    holds.filter(|(_, hold)| hold.lock == lock).collect()
}

/// The same, in words.
pub(crate) fn named(holders: &[(&'static Thread, Hold)]) -> Vec<Holder> {
    let holder = |(thread, hold): &(&'static Thread, Hold)| Holder {
        thread: thread.name(),
        is_task: false,
        access: hold.tag.access(),
        site: hold.site,
    };
    holders.iter().map(holder).collect()
}

/// Who holds which lock, by the locks' numbers: each did at some moment during the look.
pub(crate) fn all_holders() -> BTreeMap<u32, Vec<Holder>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for thread in thread::all() {
        for hold in thread.held.holds() {
            all.entry(hold.tag.number()).or_default().extend(named(&[(thread, hold)]));
        }
    }
    all
}
