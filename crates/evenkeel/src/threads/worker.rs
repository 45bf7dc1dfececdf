//! A worker: takes a job, runs it, takes the next.
//!
//! ```text
//! take -> run -> take ... nothing there -> spin a little -> sleep until woken
//! ```
//!
//! Only who has just worked spins, and only if it is to be expected that the next job wakes it: the others
//! would take the processor from who gives that job.

use super::book::Entry;
use super::core::{Core, Turn};
use super::events::What;
use crate::callback::contained;
use crate::clock;
use evenkeel_core::threads::{Loss, WorkerId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// Turns of looking before a worker sleeps: what comes right after finds it awake, for some 10 us of
/// processor that are spent only after work.
const SPINS: u32 = 400;
/// Then it lets others go first so many times.
const YIELDS: u32 = 8;

/// Where a worker sleeps.
#[derive(Debug, Default)]
pub(super) struct Parker {
    is_woken: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Parker {
    /// Wakes its worker, now or when it next goes to sleep.
    pub(super) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        // Nobody is told to wake a worker that has not asked for work, which is after this is set.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn take(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed) && self.is_woken.swap(false, Ordering::Acquire)
    }

    /// Looks for a moment; answers whether it was woken.
    fn spin(&self) -> bool {
        for spin in 0..SPINS + YIELDS {
            if self.take() {
                return true;
            }
            if spin < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
        }
        false
    }

    /// Sleeps until woken, or until a time.
    fn sleep(&self, until: Option<evenkeel_core::Mono>) {
        while !self.take() {
            match until {
                None => thread::park(),
                Some(until) => {
                    let left = until.since(clock::mono());
                    if left.is_zero() {
                        return;
                    }
                    thread::park_timeout(left);
                }
            }
        }
    }
}

/// However its thread ends, nobody counts on a worker that is gone.
struct Life<'a> {
    core: &'a Arc<Core>,
    me: WorkerId,
    entry: &'a Entry,
    is_over: bool,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        let Self { core, me, entry, is_over } = self;
        entry.slot.waits();
        if *is_over {
            core.retire_worker(*me);
        } else {
            // A panic that nothing contained: a bug of ours. What it has goes to others.
            let message = "a panic outside of a job".to_owned();
            core.tell(&entry.slot, None, What::Died { message });
            core.lose_worker(*me, Loss::Dead);
            core.forget_worker(*me);
            core.replace(&entry.slot);
        }
    }
}

/// The life of a worker.
pub(super) fn live(core: &Arc<Core>, me: WorkerId, entry: &Arc<Entry>, parker: &Parker) {
    let _ = parker.thread.set(thread::current());
    let mut life = Life { core, me, entry, is_over: false };
    let slot = &entry.slot;
    // Whether it has worked since it last slept, and then whether for a channel, whose next job comes here too.
    let mut worked: Option<bool> = None;
    loop {
        match core.next(me) {
            Turn::Run(work, now) => {
                slot.at(work.meta().site);
                slot.busy(now);
                worked = Some(work.meta().channel.is_some());
                let panicked = work.run(slot);
                #[cfg(test)]
                super::tests::die_of(&work.meta().name);
                // What follows may be a user's: the worker is at work until it sleeps, and is missed if it hangs.
                if let Some(message) = panicked {
                    core.tell(slot, Some(work.meta()), What::JobPanicked { message });
                }
                contained(|| drop(work));
            }
            Turn::Sleep { until, is_next } => {
                let is_expectant = worked.take().is_some_and(|for_channel| for_channel || is_next);
                slot.waits();
                if !(is_expectant && parker.spin()) {
                    parker.sleep(until);
                }
                slot.busy(clock::mono());
            }
            Turn::End => break,
        }
    }
    life.is_over = true;
}
