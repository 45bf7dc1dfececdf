//! What `ek-stop` and everybody else share: requests in, the outcome out.
//!
//! Invariants: nothing that a user wrote runs under the mutex, wakers included;
//! a request is written down before the wake is signalled, so that none is missed.

use super::{Request, Stopped};
use crate::cleanup::executor::Inbox;
use crate::signals::Arrived;
use crate::wake::Wake;
use evenkeel_hierarchy::{CleanupShutdown, Condvar, Mutex, with_root};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    request: Option<Request>,
    force: Option<String>,
    /// Whether a signal has been heard; the next one forces.
    has_heard_signal: bool,
    /// Whether a stop may begin; until then requests are kept.
    is_armed: bool,
    has_begun: bool,
    is_unstarted: bool,
    stopped: Option<Arc<Stopped>>,
    /// By ticket: each future that waits has one.
    wakers: BTreeMap<u64, Waker>,
    next_ticket: u64,
    /// Nobody is left who could want the process to go.
    is_forsaken: bool,
}

/// See the module's head.
pub(crate) struct Shared {
    state: Mutex<CleanupShutdown, State>,
    changed: Condvar,
    pub(super) inbox: Arc<Inbox>,
    /// Readable once the stop is over.
    over: Wake,
}

impl Shared {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let inbox = Arc::new(Inbox::new()?);
        Ok(Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), inbox, over: Wake::new()? }))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    /// Asks for a stop; the first to ask gives the reason.
    pub(crate) fn request(&self, request: Request) {
        self.with(|state| _ = state.request.get_or_insert(request));
        self.inbox.wake.signal();
    }

    /// Asks for an end at once.
    pub(crate) fn force(&self, by: String) {
        let request = Request::of_program("forced".to_owned(), by.clone());
        self.with(|state| {
            state.request.get_or_insert(request);
            state.force.get_or_insert(by);
        });
        self.inbox.wake.signal();
    }

    /// From now on a stop may begin.
    pub(crate) fn arm(&self) {
        self.with(|state| state.is_armed = true);
        self.inbox.wake.signal();
    }

    /// It is a service that could not start.
    pub(crate) fn not_started(&self) {
        self.with(|state| state.is_unstarted = true);
    }

    pub(super) fn is_unstarted(&self) -> bool {
        self.with(|state| state.is_unstarted)
    }

    /// The journal has made something durable, or the like: look again.
    pub(crate) fn nudge(&self) {
        self.inbox.wake.signal();
    }

    pub(crate) fn forsake(&self) {
        self.with(|state| state.is_forsaken = true);
    }

    pub(super) fn is_forsaken(&self) -> bool {
        self.with(|state| state.is_forsaken)
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.with(|state| state.has_begun)
    }

    pub(crate) fn stopped(&self) -> Option<Arc<Stopped>> {
        self.with(|state| state.stopped.clone())
    }

    pub(crate) fn over(&self) -> &Wake {
        &self.over
    }

    /// Takes signals in: the first there ever was asks for a stop, also while the
    /// program stops by itself already; each later one forces. Answers whether
    /// the first was among them.
    pub(super) fn hear(&self, signals: &[Arrived]) -> bool {
        if signals.is_empty() {
            return false;
        }
        self.with(|state| {
            let is_first = !state.has_heard_signal;
            for signal in signals {
                if state.has_heard_signal {
                    let by = format!("a second signal, {} from {}", signal.name, signal.sender);
                    state.force.get_or_insert(by);
                }
                state.has_heard_signal = true;
                state.request.get_or_insert_with(|| Request::from(signal));
            }
            is_first
        })
    }

    pub(super) fn has_heard_signal(&self) -> bool {
        self.with(|state| state.has_heard_signal)
    }

    /// Who wants an end at once, if anybody does.
    pub(super) fn forced(&self) -> Option<String> {
        self.with(|state| state.force.clone())
    }

    /// The request, if there is one and it may begin; then it has.
    pub(super) fn begin(&self) -> Option<Request> {
        self.with(|state| {
            let may_begin = state.is_armed || state.force.is_some();
            let request = state.request.clone().filter(|_| may_begin);
            state.has_begun = request.is_some();
            request
        })
    }

    /// A ticket for somebody who will wait.
    pub(crate) fn ticket(&self) -> u64 {
        self.with(|state| {
            state.next_ticket += 1;
            state.next_ticket
        })
    }

    /// The answer, or a promise to wake `waker` when there is one.
    pub(crate) fn stopped_or_wake(&self, ticket: u64, waker: &Waker) -> Option<Arc<Stopped>> {
        with_root(|house| {
            // Cloning and dropping a waker is foreign code. Its panic is its task's.
            let waker = house.outside(|| waker.clone());
            let mut state = self.state.lock(house);
            let stopped = state.stopped.clone();
            let known = if stopped.is_none() { state.wakers.insert(ticket, waker) } else { Some(waker) };
            drop(state);
            house.outside(|| drop(known));
            stopped
        })
    }

    /// Whoever had this ticket waits no more.
    pub(crate) fn wait_no_more(&self, ticket: u64) {
        with_root(|house| {
            let waker = self.state.lock(house).wakers.remove(&ticket);
            house.outside(|| drop(waker));
        });
    }

    /// Waits for the end of the stop, for ever without a timeout.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<Arc<Stopped>> {
        // A time too far to be told is for ever.
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        with_root(|house| {
            let mut state = self.state.lock(house);
            while state.stopped.is_none() {
                match until {
                    None => self.changed.wait(&mut state),
                    Some(until) if self.changed.wait_until(&mut state, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            state.stopped.clone()
        })
    }

    /// Says how it ended, once. Whoever is to be woken is handed over: wakers are foreign code.
    pub(super) fn publish(&self, stopped: Stopped) -> Vec<Waker> {
        let stopped = Arc::new(stopped);
        let wakers = self.with(|state| {
            state.stopped.get_or_insert(stopped);
            std::mem::take(&mut state.wakers)
        });
        self.changed.notify_all();
        self.over.signal();
        wakers.into_values().collect()
    }
}
