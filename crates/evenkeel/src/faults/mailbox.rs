//! Telling somebody who wants to know, in order, on a job of theirs: who is slow, or hangs, holds up nobody else.
//!
//! Invariants: a mailbox has one job at most; what waits is bounded, and the oldest goes first; one who panicked is told
//! no more.

use super::procedure::Run;
use crate::callback::{call, contained, message};
use crate::threads::Pulse;
use evenkeel_hierarchy::{FaultTells, Mutex, with_root};
use std::collections::VecDeque;
use std::sync::Arc;

/// What waits for one.
const WAITING_MAX: usize = 256;

struct Queue<T> {
    waiting: VecDeque<T>,
    /// There is a job for it.
    is_served: bool,
    is_over: bool,
    lost: u64,
}

type Told<T> = dyn Fn(&T) + Send + Sync;
/// Is told that it panicked, and what that said.
type Panicked = dyn Fn(String) + Send + Sync;

/// Somebody who wants to know.
pub(super) struct Mailbox<T> {
    name: String,
    /// Somebody else's; `None` only while this is dropped.
    told: Option<Box<Told<T>>>,
    panicked: Box<Panicked>,
    queue: Mutex<FaultTells, Queue<T>>,
}

impl<T: Send + 'static> Mailbox<T> {
    /// `name` is that of its jobs.
    pub(super) fn new(
        name: String,
        told: impl Fn(&T) + Send + Sync + 'static,
        panicked: impl Fn(String) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let queue = Queue { waiting: VecDeque::new(), is_served: false, is_over: false, lost: 0 };
        let (told, panicked) = (Some(Box::new(told) as Box<Told<T>>), Box::new(panicked));
        Arc::new(Self { name, told, panicked, queue: Mutex::new(queue) })
    }

    /// Has it told, in the place of what waits and is replaced by it.
    pub(super) fn push(self: &Arc<Self>, run: &Run, item: T, replaces: impl Fn(&T) -> bool) {
        let (is_to_be_served, gone) = with_root(|house| {
            let mut queue = self.queue.lock(house);
            if queue.is_over {
                return (false, vec![item]);
            }
            let mut gone = Vec::new();
            if let Some(at) = queue.waiting.iter().position(replaces) {
                gone.extend(queue.waiting.remove(at));
            } else if queue.waiting.len() == WAITING_MAX {
                gone.extend(queue.waiting.pop_front());
                queue.lost += 1;
            }
            queue.waiting.push_back(item);
            (!std::mem::replace(&mut queue.is_served, true), gone)
        });
        drop(gone);
        if is_to_be_served {
            let mut served = Served { mailbox: self.clone(), has_run: false };
            let job = move |pulse: &Pulse<'_>| {
                served.has_run = true;
                served.mailbox.serve(pulse);
            };
            run(self.name.clone(), None, Box::new(job));
        }
    }

    /// How many were not told, because too many waited.
    pub(super) fn lost(&self) -> u64 {
        with_root(|house| self.queue.lock(house).lost)
    }

    fn serve(&self, pulse: &Pulse<'_>) {
        let next = || {
            with_root(|house| {
                let mut queue = self.queue.lock(house);
                let next = queue.waiting.pop_front();
                queue.is_served = next.is_some();
                next
            })
        };
        let Some(told) = &self.told else { return };
        while let Some(item) = next() {
            if let Err(panic) = with_root(|house| call(house, || told(&item))) {
                let waiting = with_root(|house| {
                    let mut queue = self.queue.lock(house);
                    queue.is_over = true;
                    std::mem::take(&mut queue.waiting)
                });
                drop(waiting);
                (self.panicked)(message(panic));
                return;
            }
            // Slow is not stuck: each that was told is a sign of life.
            pulse.beat();
        }
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let told = self.told.take();
        contained(|| drop(told));
    }
}

/// Its job: after one that never ran there may be another.
struct Served<T> {
    mailbox: Arc<Mailbox<T>>,
    has_run: bool,
}

impl<T> Drop for Served<T> {
    fn drop(&mut self) {
        if !self.has_run {
            with_root(|house| self.mailbox.queue.lock(house).is_served = false);
        }
    }
}
