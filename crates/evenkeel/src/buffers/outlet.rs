//! Where things go out.

use super::set::{Hand, Shared, Weighed};
use crate::callback::contained;
use evenkeel_hierarchy::with_root;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Nothing is left, and nothing will come: the queues are closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queues {queues} are closed, and nothing is left in them")]
pub struct Ended {
    /// The queues.
    pub queues: Arc<str>,
}

/// Takes things out, each with the number of its channel. What was taken is in its hand until it takes again or says that
/// it is [done](Outlet::done): until then a flush waits for it. Dropping it is being done, but in a panic: then what it had
/// in hand is told as unfinished.
pub struct Outlet<T> {
    shared: Arc<Shared<T>>,
    number: u64,
    taken: Vec<(usize, T)>,
}

impl<T> fmt::Debug for Outlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("queues", &self.shared.name).field("taken", &self.taken.len()).finish()
    }
}

impl<T> Outlet<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        let number = shared.with(|state| {
            let outlet = state.number();
            state.hands.push(Hand { outlet, take: None, entries: 0, channels: Vec::new() });
            outlet
        });
        Self { shared, number, taken: Vec::new() }
    }

    /// Done with what was taken last: what is left of it is dropped.
    pub fn done(&mut self) {
        self.forget();
        let number = self.number;
        self.shared.with(|state| {
            let hand = state.hands.iter_mut().find(|hand| hand.outlet == number);
            if hand.is_some_and(Hand::put_down) {
                self.shared.progress.notify_all();
            }
        });
    }

    /// A user's values.
    fn forget(&mut self) {
        if !self.taken.is_empty() {
            contained(|| self.taken.clear());
        }
    }
}

impl Hand {
    /// Whether there was something in it.
    fn put_down(&mut self) -> bool {
        self.entries = 0;
        self.channels.clear();
        self.take.take().is_some()
    }
}

impl<T: Send> Outlet<T> {
    /// Is done with what it took last, and takes what there is, until `memory` bytes are together: the last may go
    /// beyond. Nothing when nothing is there.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn take_now(&mut self, memory: u64) -> Result<&mut Vec<(usize, T)>, Ended> {
        self.take(memory, None)
    }

    /// The same; where nothing is there, waits for something until then.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn take_until(&mut self, memory: u64, until: Instant) -> Result<&mut Vec<(usize, T)>, Ended> {
        self.take(memory, Some(until))
    }

    fn take(&mut self, memory: u64, until: Option<Instant>) -> Result<&mut Vec<(usize, T)>, Ended> {
        self.forget();
        let (shared, number, taken) = (&self.shared, self.number, &mut self.taken);
        let ended = with_root(|house| {
            let mut state = shared.state.lock(house);
            let at = state.hands.iter().position(|hand| hand.outlet == number);
            let mut at = at.expect("invariant: an outlet has its hand as long as it lives");
            if state.hands[at].put_down() {
                shared.progress.notify_all();
            }
            let mut is_late = until.is_none();
            loop {
                if shared.take(&mut state, at, memory, taken) {
                    return false;
                }
                if state.is_closed || is_late {
                    return state.is_closed;
                }
                let until = until.expect("invariant: who does not wait is late from the beginning");
                is_late = shared.arrived.wait_until(&mut state, until).timed_out();
                // Others may have left meanwhile.
                let now = state.hands.iter().position(|hand| hand.outlet == number);
                at = now.expect("invariant: an outlet has its hand as long as it lives");
            }
        });
        if ended { Err(Ended { queues: self.shared.name.clone() }) } else { Ok(&mut self.taken) }
    }
}

impl<T> Shared<T> {
    /// Takes into a hand what is due; whether there was something.
    fn take(
        &self,
        state: &mut super::set::State<T>,
        at: usize,
        memory: u64,
        taken: &mut Vec<(usize, T)>,
    ) -> bool {
        let hand = &mut state.hands[at];
        // At least one: to want nothing is to wait for ever.
        state.queues.take_with(
            memory.max(1),
            |_, _| true,
            |channel, weighed: Weighed<T>| {
                if hand.channels.last() != Some(&channel) {
                    hand.channels.push(channel);
                }
                taken.push((channel, weighed.item));
            },
        );
        if taken.is_empty() {
            return false;
        }
        hand.entries = taken.len() as u64;
        for channel in &state.hands[at].channels {
            let side = &state.sides[*channel];
            if !side.line.is_empty() {
                side.room.notify_all();
            }
        }
        let take = state.number();
        state.hands[at].take = Some(take);
        if !state.queues.are_empty() {
            self.arrived.notify_one();
        }
        self.progress.notify_all();
        true
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        let is_lost = std::thread::panicking();
        self.forget();
        let number = self.number;
        self.shared.with(|state| {
            if let Some(at) = state.hands.iter().position(|hand| hand.outlet == number) {
                let hand = state.hands.swap_remove(at);
                state.unfinished += if is_lost { hand.entries } else { 0 };
            }
            self.shared.progress.notify_all();
            // A wake-up that was this one's is another's.
            self.shared.arrived.notify_one();
        });
    }
}
