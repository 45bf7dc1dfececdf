//! Who may go in, and who waits, in the order in which they came.
//!
//! * What is let go is handed on at once: a waiter that is not in the queue any more has it, polled or not.
//! * Nobody goes past the queue, so neither readers nor writers starve.
//! * The mutex here is held for moves of a few words. Wakers are users' code: they are cloned before,
//!   woken and dropped after.

use crate::watch::Access;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Those that read, or [`WRITES`].
    inside: usize,
    last_ticket: u64,
    /// By ticket, which go up.
    queue: VecDeque<Waiter>,
}

/// One is inside, alone.
const WRITES: usize = usize::MAX;

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    access: Access,
    waker: Waker,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { state: Mutex::new(State { inside: 0, last_ticket: 0, queue: VecDeque::new() }) }
    }

    /// Waits to go in. Who was let in and is dropped before it knows goes out again.
    pub(crate) const fn enter(&self, access: Access) -> Enter<'_> {
        Enter { gate: self, access, ticket: None }
    }

    /// Goes in if nobody is in the way or waits.
    pub(crate) fn try_enter(&self, access: Access) -> bool {
        let mut state = self.state.lock();
        state.queue.is_empty() && state.let_in(access)
    }

    /// One goes out.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        assert!(state.inside > 0, "nobody is inside");
        state.inside = if state.inside == WRITES { 0 } else { state.inside - 1 };
        let let_in = state.hand_on();
        drop(state);
        let_in.wake();
    }

    /// The one that writes goes on as one that reads.
    pub(crate) fn downgrade(&self) {
        let mut state = self.state.lock();
        assert!(state.inside == WRITES, "nobody writes");
        state.inside = 1;
        let let_in = state.hand_on();
        drop(state);
        let_in.wake();
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.state.lock().queue.len()
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.state.lock().inside > 0
    }
}

impl State {
    fn let_in(&mut self, access: Access) -> bool {
        match (access, self.inside) {
            (Access::Exclusive, 0) => self.inside = WRITES,
            (Access::Shared, readers) if readers < WRITES - 1 => self.inside += 1,
            _ => return false,
        }
        true
    }

    /// Lets those in at the head of the queue for whom there is room.
    fn hand_on(&mut self) -> LetIn {
        let mut let_in = LetIn { first: None, others: Vec::new() };
        while let Some(head) = self.queue.front().map(|head| head.access)
            && self.let_in(head)
        {
            let Some(waiter) = self.queue.pop_front() else { break };
            match let_in.first {
                None => let_in.first = Some(waiter.waker),
                Some(_) => let_in.others.push(waiter.waker),
            }
        }
        let_in
    }

    fn position(&self, ticket: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }
}

/// Those that were let in and do not know yet.
#[must_use]
struct LetIn {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl LetIn {
    fn wake(self) {
        self.first.into_iter().chain(self.others).for_each(Waker::wake);
    }
}

/// A wait to go in.
#[derive(Debug)]
#[must_use = "nobody goes in who does not wait"]
pub(crate) struct Enter<'g> {
    gate: &'g Gate,
    access: Access,
    /// In the queue, or let in since.
    ticket: Option<u64>,
}

impl Future for Enter<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.ticket.is_none() && self.gate.try_enter(self.access) {
            return Poll::Ready(());
        }
        let mut waker = context.waker().clone();
        let mut state = self.gate.state.lock();
        if let Some(ticket) = self.ticket {
            let Some(at) = state.position(ticket) else {
                drop(state);
                self.ticket = None;
                return Poll::Ready(());
            };
            std::mem::swap(&mut state.queue[at].waker, &mut waker);
            drop(state);
            return Poll::Pending;
        }
        // Whoever was in the way may be gone since.
        if state.queue.is_empty() && state.let_in(self.access) {
            drop(state);
            return Poll::Ready(());
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.queue.push_back(Waiter { ticket, access: self.access, waker });
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Enter<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.gate.state.lock();
        let Some(at) = state.position(ticket) else {
            drop(state);
            return self.gate.leave();
        };
        let gone = state.queue.remove(at);
        // Those behind it may have waited for nobody else.
        let let_in = state.hand_on();
        drop(state);
        drop(gone);
        let_in.wake();
    }
}

#[cfg(test)]
mod tests;
