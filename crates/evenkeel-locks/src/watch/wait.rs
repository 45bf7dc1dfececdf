//! Waiting for a lock that is not free.
//!
//! A few rounds without looking at the clock; then in steps, after each of which is looked at what is
//! going on: past 5 ms a long wait is told of, past 50 ms it is looked for a deadlock, and again ever
//! more seldom. Nothing is ended by that: who gave a time limit gets an error when it is over,
//! which has the deadlock in it if there is one.

use super::cycle::{self, Cycle, Suspicion};
use super::event::{self, Event, Place};
use super::held::Hold;
use super::order::{self, Order, is_conflict};
use super::state::State;
use super::stats::human;
use super::sys::Site;
use super::tag::{Access, Tag};
use super::thread::Thread;
use crate::watch::Holder;
use std::fmt;
use std::hint;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Rounds of trying before the clock is read.
const SPINS: u32 = 5;

/// When a wait is looked at, counted from its beginning; then each [`LATER`].
const LOOKS: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];
const LATER: Duration = Duration::from_secs(1);

/// Between seeing a circle and seeing it again.
const TWICE: Duration = Duration::from_millis(1);

/// A lock that was not had.
///
/// ```
/// use evenkeel_locks::unranked::Mutex;
/// use std::time::Duration;
///
/// let lock = Mutex::named("settings", 0);
/// let held = lock.lock();
/// std::thread::scope(|threads| {
///     let other = || lock.lock_for(Duration::from_millis(5)).map(drop).unwrap_err();
///     let error = threads.spawn(other).join().unwrap();
///     assert!(error.cycle.is_none()); // this thread is busy, and waits for nobody
///     println!("{error}"); // .. was not free within 5.1 ms, thread `main` holds it since ..
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitError {
    /// What was wanted, and where.
    pub wanted: Place,
    /// How long it was waited for.
    pub waited: Duration,
    /// Those that held it at the end, as far as is known.
    pub holders: Vec<Holder>,
    /// The deadlock, if that was why.
    pub cycle: Option<Cycle>,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was not free within {}", self.wanted, human(self.waited))?;
        match &self.cycle {
            Some(cycle) => write!(f, ": {cycle}"),
            None => self.holders.iter().try_for_each(|holder| write!(f, ", {holder}")),
        }
    }
}

impl std::error::Error for WaitError {}

/// A wait, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'l> {
    pub(crate) me: &'static Thread,
    pub(crate) state: &'l State,
    pub(crate) access: Access,
    pub(crate) site: Site,
    pub(crate) deadline: Option<Instant>,
}

/// Takes a lock, whatever is held already and whoever has it; `attempt` tries to, at once or for so long.
pub(crate) fn take<O: Order, G>(
    request: Request<'_>,
    attempt: impl Fn(Option<Duration>) -> Option<G>,
) -> Result<G, WaitError> {
    order::check::<O>(request.me, request.state, request.tag(), request.site);
    attempt(None).map_or_else(|| wait(request, attempt), Ok)
}

/// Waits for a lock that is not free.
#[cold]
#[inline(never)]
fn wait<G>(request: Request<'_>, attempt: impl Fn(Option<Duration>) -> Option<G>) -> Result<G, WaitError> {
    for round in 0..SPINS {
        (0..1 << round).for_each(|_| hint::spin_loop());
        if let Some(guard) = attempt(None) {
            request.state.cold().contended.fetch_add(1, Ordering::Relaxed);
            return Ok(guard);
        }
    }
    let began = Instant::now();
    let waiting = request.me.begin_wait(request.state.address(), request.tag(), request.site);
    let outcome = request.park(began, &attempt);
    drop(waiting);
    if outcome.is_err() {
        request.state.gave_up();
    }
    request.state.waited(began.elapsed());
    outcome
}

impl Request<'_> {
    fn tag(&self) -> Tag {
        self.state.tag().with(self.access)
    }

    fn park<G>(
        &self,
        began: Instant,
        attempt: &impl Fn(Option<Duration>) -> Option<G>,
    ) -> Result<G, WaitError> {
        if self.waits_for_itself() {
            return Err(self.error(began, Suspicion::of(self.me).and_then(|circle| circle.confirm())));
        }
        let mut last_holders = Vec::new();
        let mut told = None;
        for look in 0.. {
            let next = began + LOOKS.get(look).copied().unwrap_or_else(|| later(look));
            let until = self.deadline.map_or(next, |deadline| deadline.min(next));
            if let Some(guard) = attempt(Some(until.saturating_duration_since(Instant::now()))) {
                return Ok(guard);
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return self.give_up(began, attempt);
            }
            let holders = cycle::holders(self.state.address());
            // Who held it at the last look holds it since then.
            last_holders.retain(|last: &(Hold, Instant)| holders.iter().any(|(_, hold)| *hold == last.0));
            self.note_holds(&last_holders);
            let now = Instant::now();
            for (_, hold) in &holders {
                if !last_holders.iter().any(|last| last.0 == *hold) {
                    last_holders.push((*hold, now));
                }
            }
            if look == 0 {
                event::tell(Event::LongWait {
                    thread: self.me.name(),
                    wanted: Place::of(self.tag().number(), self.site),
                    holders: cycle::named(&holders),
                });
            } else if let Some(guard) = self.look_for_deadlock(attempt, &mut told) {
                return Ok(guard);
            }
        }
        unreachable!("the looks do not end");
    }

    /// Knows how long the lock was held at least by those that hold it still.
    fn note_holds(&self, holders: &[(Hold, Instant)]) {
        for (hold, since) in holders {
            self.state.cold().held_at_least(since.elapsed(), hold.site);
        }
    }

    fn waits_for_itself(&self) -> bool {
        let lock = self.state.address();
        self.me.held.holds().any(|hold| hold.lock == lock && is_conflict(hold.tag.access(), self.access))
    }

    /// Tells of a deadlock, unless it is the one that was `told`; or has the lock meanwhile.
    fn look_for_deadlock<G>(
        &self,
        attempt: &impl Fn(Option<Duration>) -> Option<G>,
        told: &mut Option<Suspicion>,
    ) -> Option<G> {
        let circle = Suspicion::of(self.me)?;
        if told.as_ref().is_some_and(|told| told.is_same(&circle)) {
            return None;
        }
        if let Some(guard) = attempt(Some(TWICE)) {
            return Some(guard);
        }
        if circle.is_told_by(self.me)
            && let Some(cycle) = circle.confirm()
        {
            event::tell(Event::Deadlock(cycle));
            *told = Some(circle);
        }
        None
    }

    /// The time limit is over.
    fn give_up<G>(
        &self,
        began: Instant,
        attempt: &impl Fn(Option<Duration>) -> Option<G>,
    ) -> Result<G, WaitError> {
        let Some(circle) = Suspicion::of(self.me) else { return Err(self.error(began, None)) };
        match attempt(Some(TWICE)) {
            Some(guard) => Ok(guard),
            None => Err(self.error(began, circle.confirm())),
        }
    }

    fn error(&self, began: Instant, cycle: Option<Cycle>) -> WaitError {
        WaitError {
            wanted: Place::of(self.tag().number(), self.site),
            waited: began.elapsed(),
            holders: cycle::named(&cycle::holders(self.state.address())),
            cycle,
        }
    }
}

fn later(look: usize) -> Duration {
    LATER * u32::try_from(look - LOOKS.len() + 1).unwrap_or(u32::MAX)
}

/// Without a time limit the only error is that the thread waits for itself.
#[cold]
#[track_caller]
pub(crate) fn waits_for_itself(error: &WaitError) -> ! {
    panic!("the thread would wait for itself for ever: {error}")
}
