//! Observers that take long: each has a mailbox, which a job of the coordinator's empties.
//!
//! Invariant: one thread at a time calls an observer. Who serves its mailbox has `is_served`; and nobody serves it while
//! a thread still is inside of an inline call which took too long ([`Observer::is_left_inside`]): that one serves it then.

use super::inner::Inner;
use super::observe::Observer;
use super::{Change, State};
use crate::threads::{Class, Pulse};
use evenkeel_hierarchy::{Cap, House, with_root};
use std::collections::VecDeque;
use std::sync::Arc;

/// Changes that one job tells; then it goes to the back of the queue.
const SERVED_MAX: u32 = 256;

pub(super) struct Mailbox<S> {
    queue: VecDeque<Change<S>>,
    is_served: bool,
}

impl<S> Default for Mailbox<S> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), is_served: false }
    }
}

impl<S> Mailbox<S> {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// That a mailbox is served. Dropped by a job that never ran, it is not any more.
struct Serving<S: State>(Option<Served<S>>);

type Served<S> = (Arc<Inner<S>>, Arc<Observer<S>>);

impl<S: State> Drop for Serving<S> {
    fn drop(&mut self) {
        if let Some((_, observer)) = &self.0 {
            with_root(|house| observer.mailbox.lock(house).is_served = false);
        }
    }
}

impl<S: State> Inner<S> {
    /// Puts a change into a mailbox; an observer whose mailbox is full is detached.
    pub(super) fn mail(self: &Arc<Self>, house: &mut Cap<House>, to: &Arc<Observer<S>>, change: &Change<S>) {
        let (waiting, begins) = {
            let mut mailbox = to.mailbox.lock(house);
            let waiting = mailbox.queue.len();
            if waiting < self.options.mailbox_max {
                mailbox.queue.push_back(change.clone());
            }
            let begins = !mailbox.is_served && !to.has_one_inside();
            mailbox.is_served |= begins;
            (waiting, begins)
        };
        if waiting >= self.options.mailbox_max {
            self.detach(house, to, format!("{waiting} changes waited for it"));
        }
        if begins {
            self.serve_soon(house, to);
        }
    }

    /// The thread is back from which the turn to tell was taken while it was inside of an observer.
    pub(super) fn came_back(self: &Arc<Self>, house: &mut Cap<House>, observer: &Arc<Observer<S>>) {
        observer.is_outside();
        let serves = {
            let mut mailbox = observer.mailbox.lock(house);
            !std::mem::replace(&mut mailbox.is_served, true)
        };
        if serves {
            self.serve_soon(house, observer);
        }
    }

    /// Has a job empty the mailbox, which is said to be served already.
    fn serve_soon(self: &Arc<Self>, house: &mut Cap<House>, observer: &Arc<Observer<S>>) {
        let serving = Serving(Some((self.clone(), observer.clone())));
        let job = self.registry.threads.job("observer of changes").class(Class::Processing);
        // Where there is no place for one, the next change tries again.
        let _ = house.outside(|| job.run(move |pulse| serve(serving, pulse)));
    }
}

fn serve<S: State>(mut serving: Serving<S>, pulse: &Pulse<'_>) {
    for _ in 0..SERVED_MAX {
        let Some((inner, observer)) = &serving.0 else { return };
        let next = with_root(|house| {
            let mut mailbox = observer.mailbox.lock(house);
            if observer.mode().is_over() {
                mailbox.queue = VecDeque::new();
            }
            let next = mailbox.queue.pop_front();
            // Under the same lock: nobody puts one in who believes that it is served.
            mailbox.is_served = next.is_some();
            next
        });
        let Some(change) = next else {
            // Not served any more, and maybe by another already.
            return drop(serving.0.take());
        };
        pulse.beat();
        with_root(|house| inner.call_one(house, observer, &change));
    }
    if let Some((inner, observer)) = serving.0.take() {
        with_root(|house| inner.serve_soon(house, &observer));
    }
}
