//! What ends a sleep of `ek-faults`: faults in a lane, and what is posted here.
//!
//! Invariants: who rings has put before it what there is to find, and `ek-faults` looks everywhere after each ring;
//! only the first to ring since then wakes it. What is posted is bounded by who may post: one answer for each procedure
//! under way, one success for each component, one release for each channel,
//! one sum for each stop.

use super::procedure::{Outcome, Task};
use evenkeel_core::supervision::{ChannelId, ComponentId};
use evenkeel_hierarchy::{Condvar, FaultInbox, Mutex, with_root};
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Acquire};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// What happened, but for faults.
#[derive(Debug)]
pub(super) enum News {
    /// A procedure has ended.
    Answer(Task, Outcome),
    /// A component did what it is for.
    Succeeded(ComponentId),
    /// A person wants a channel released.
    Release(ChannelId),
    /// Somebody waits until all that was reported is told or summed.
    SumUp(SyncSender<()>),
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    news: Mutex<FaultInbox, Vec<News>>,
    rings: Condvar,
    is_rung: AtomicBool,
}

impl Inbox {
    pub(super) fn post(&self, news: News) {
        with_root(|house| self.news.lock(house).push(news));
        self.ring();
    }

    /// There is something to look at.
    pub(super) fn ring(&self) {
        if !self.is_rung.swap(true, AcqRel) {
            // Who is about to sleep has looked at the bell under the lock.
            with_root(|house| drop(self.news.lock(house)));
            self.rings.notify_one();
        }
    }

    /// Takes what was posted. What is put anywhere from here on rings again.
    pub(super) fn take(&self) -> Vec<News> {
        self.is_rung.swap(false, AcqRel);
        with_root(|house| std::mem::take(&mut *self.news.lock(house)))
    }

    /// Sleeps until it is rung, until a time at most.
    pub(super) fn wait(&self, until: Option<Instant>) {
        with_root(|house| {
            let mut news = self.news.lock(house);
            while !self.is_rung.load(Acquire) {
                match until {
                    None => self.rings.wait(&mut news),
                    Some(until) if self.rings.wait_until(&mut news, until).timed_out() => return,
                    Some(_) => {}
                }
            }
        });
    }

    #[cfg(test)]
    pub(super) fn is_rung(&self) -> bool {
        self.is_rung.load(Acquire)
    }
}
