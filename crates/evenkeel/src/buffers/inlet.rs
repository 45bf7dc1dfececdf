//! Where things come in.

use super::error::{NotPut, Why};
use super::limits::{QueueCounts, QueueLimits, Queued};
use super::queues::Pushed;
use super::set::{Shared, State, Weighed, refused};
use evenkeel_hierarchy::{Condvar, with_root};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// What had to go so that something was taken in, or that itself, as the rule of the queue says; it counts as dropped.
/// It is the caller's to look at, and to drop.
#[derive(Debug, PartialEq, Eq)]
pub struct Dropped<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Dropped<T> {
    /// Whether nothing had to go.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl<T> IntoIterator for Dropped<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

struct Inner<T> {
    shared: Arc<Shared<T>>,
    at: usize,
    /// Which of the queue's openings it came by.
    opening: u64,
    channel: Arc<str>,
    room: Arc<Condvar>,
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.shared.close(self.at, self.opening);
    }
}

/// Puts things into the queue of one channel. Cheap to clone; with the last of them the queue is closed.
pub struct Inlet<T>(Arc<Inner<T>>);

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Inlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet")
            .field("queues", &self.0.shared.name)
            .field("channel", &self.0.channel)
            .finish()
    }
}

impl<T> Inlet<T> {
    pub(super) fn new(
        shared: Arc<Shared<T>>,
        (at, opening): (usize, u64),
        channel: Arc<str>,
        room: Arc<Condvar>,
    ) -> Self {
        Self(Arc::new(Inner { shared, at, opening, channel, room }))
    }

    /// Its channel.
    pub fn channel(&self) -> &str {
        &self.0.channel
    }

    /// The number of its channel, as outlets give it.
    pub fn number(&self) -> usize {
        self.0.at
    }

    /// What has passed its queue, and waits in it.
    pub fn counts(&self) -> QueueCounts {
        self.0.shared.with(|state| state.queues.counts(self.0.at))
    }

    /// What its queue may hold.
    pub fn limits(&self) -> QueueLimits {
        self.0.shared.with(|state| state.queues.limits(self.0.at))
    }

    /// Changes that. What waits stays, also where it is more. Once the queue was opened anew, its limits are the new
    /// inlet's, and this does nothing.
    pub fn set_limits(&self, limits: QueueLimits) {
        self.0.shared.with(|state| {
            if state.sides[self.0.at].opening == self.0.opening {
                state.queues.set_limits(self.0.at, limits);
                self.0.room.notify_all();
            }
        });
    }

    /// Takes nothing more in; who waits for room is told. What waits can still be taken out.
    pub fn close(&self) {
        self.0.shared.close(self.0.at, self.0.opening);
    }

    fn not_put(&self, (weighed, why): (Weighed<T>, Why)) -> NotPut<T> {
        let (queues, channel) = (self.0.shared.name.clone(), self.0.channel.clone());
        NotPut { item: weighed.item, why, queues, channel }
    }

    fn dropped(pushed: Pushed<Weighed<T>>) -> Dropped<T> {
        match pushed {
            Pushed::Made(first, more) => {
                let more = more.into_iter().map(|weighed| weighed.item).collect();
                Dropped { first: Some(first.item), more }
            }
            Pushed::Dropped(newest) => Dropped { first: Some(newest.item), more: Vec::new() },
            _ => Dropped { first: None, more: Vec::new() },
        }
    }

    /// What is to be told to others once something was put in, under the lock.
    fn told(&self, state: &State<T>, pushed: &Pushed<Weighed<T>>) {
        if matches!(pushed, Pushed::Taken | Pushed::Made(..)) {
            self.0.shared.arrived.notify_one();
        }
        if !matches!(pushed, Pushed::Taken) {
            self.0.shared.progress.notify_all();
        }
        if !state.sides[self.0.at].line.is_empty() {
            self.0.room.notify_all();
        }
    }
}

impl<T: Queued + Send> Inlet<T> {
    /// Puts an item in, or answers at once. What had to go for it is given back.
    ///
    /// # Errors
    /// [`NotPut`] with the item: the queue is full and its rule is to wait, or others wait before; the item is too large;
    /// the queue is closed.
    #[inline]
    pub fn put(&self, item: T) -> Result<Dropped<T>, NotPut<T>> {
        let mut weighed = Some(Weighed::of(item));
        let is_put = self.0.shared.with(|state| {
            let is_put = state.push_if_free((self.0.at, self.0.opening), &mut weighed);
            if is_put {
                self.0.shared.arrived.notify_one();
            }
            is_put
        });
        match weighed {
            Some(weighed) if !is_put => self.put_later(weighed),
            _ => Ok(Dropped { first: None, more: Vec::new() }),
        }
    }

    /// There was no room a moment ago, or it is closed.
    #[cold]
    fn put_later(&self, weighed: Weighed<T>) -> Result<Dropped<T>, NotPut<T>> {
        let put = self.0.shared.with(|state| {
            let side = &state.sides[self.0.at];
            if !side.is_open_for(self.0.opening) {
                return Err((weighed, Why::Closed));
            }
            if !side.line.is_empty() {
                return Err((weighed, Why::Full));
            }
            let pushed = refused(state.push(self.0.at, weighed))?;
            self.told(state, &pushed);
            Ok(pushed)
        });
        put.map(Self::dropped).map_err(|not| self.not_put(not))
    }

    /// The same; where the rule is to wait, waits for room until then, in the order in which others came.
    ///
    /// # Errors
    /// [`NotPut`] with the item: the time is over; otherwise as [`put`](Self::put).
    pub fn put_until(&self, item: T, until: Instant) -> Result<Dropped<T>, NotPut<T>> {
        let mut weighed = Weighed::of(item);
        let (at, mut ticket, mut is_late) = (self.0.at, None, false);
        let put = with_root(|house| {
            let mut state = self.0.shared.state.lock(house);
            let put = loop {
                let side = &state.sides[at];
                if !side.is_open_for(self.0.opening) {
                    break Err((weighed, Why::Closed));
                }
                if side.line.front().is_none_or(|first| Some(*first) == ticket) {
                    match refused(state.push(at, weighed)) {
                        Err((again, Why::Full)) => weighed = again,
                        other => break other,
                    }
                }
                if is_late {
                    break Err((weighed, Why::Full));
                }
                if ticket.is_none() {
                    let number = state.number();
                    state.sides[at].line.push_back(number);
                    ticket = Some(number);
                }
                is_late = self.0.room.wait_until(&mut state, until).timed_out();
            };
            if let Some(ticket) = ticket {
                state.sides[at].line.retain(|waits| *waits != ticket);
                // Whose turn it is now.
                self.0.room.notify_all();
            }
            if let Ok(pushed) = &put {
                self.told(&state, pushed);
            }
            put
        });
        put.map(Self::dropped).map_err(|not| self.not_put(not))
    }
}
