//! A worker: takes a job, runs it, takes the next.
//!
//! ```text
//! take -> run -> take ... nothing there -> spin a little -> sleep until woken
//! ```
//!
//! Only who has just worked spins, if its last job came soon after the one before and the next one is to be
//! expected here: [`Pace`]. Others would take the processor from who gives that job; and a hand-over to one that
//! sleeps was measured to take longer when it had spun before.

use super::book::Entry;
use super::core::{Core, Turn};
use super::events::What;
use crate::callback::contained;
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::{Loss, WorkerId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

/// Turns of looking before a worker sleeps: what comes right after finds it awake, for some 10 us of
/// processor that are spent only after work.
const SPINS: u32 = 400;
/// Then it lets others go first so many times.
const YIELDS: u32 = 8;

/// A lull up to this long is worth spinning in: a sleep and a wake-up take as long.
const BRISK: Duration = Duration::from_micros(50);

/// How a worker's jobs come.
#[derive(Debug, Default)]
struct Pace {
    /// Since when it has had none, while it has none.
    lull_since: Option<Mono>,
    /// The last lull was short.
    is_brisk: bool,
    /// Its last job was a channel's, whose next one comes here too.
    was_of_channel: bool,
}

impl Pace {
    /// It has a job from now on.
    fn works(&mut self, now: Mono, is_of_channel: bool) {
        if let Some(since) = self.lull_since.take() {
            self.is_brisk = now.since(since) < BRISK;
        }
        self.was_of_channel = is_of_channel;
    }

    /// It has none from now on; answers whether to look out for the next one before it sleeps. `is_next`: one of
    /// no channel would be for it.
    fn rests(&mut self, now: Mono, is_next: bool) -> bool {
        let has_worked = self.lull_since.is_none();
        self.lull_since.get_or_insert(now);
        has_worked && self.is_brisk && (is_next || self.was_of_channel)
    }
}

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
    fn sleep(&self, until: Option<Mono>) {
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
    let mut pace = Pace::default();
    loop {
        match core.next(me) {
            Turn::Run(work, now) => {
                slot.at(work.meta().site);
                slot.busy(now);
                pace.works(now, work.meta().channel.is_some());
                let panicked = work.run(slot);
                #[cfg(test)]
                super::tests::die_of(&work.meta().name);
                // What follows may be a user's: the worker is at work until it sleeps, and is missed if it hangs.
                if let Some(message) = panicked {
                    core.tell(slot, Some(work.meta()), What::JobPanicked { message });
                }
                contained(|| drop(work));
            }
            Turn::Sleep { now, until, is_next } => {
                slot.waits();
                if !(pace.rests(now, is_next) && parker.spin()) {
                    parker.sleep(until);
                }
                slot.busy(clock::mono());
            }
            Turn::End => {
                // Nobody hears of it any more: another has its place.
                if let Some(silent_for) = slot.take_back() {
                    core.tell(slot, None, What::Recovered { silent_for });
                }
                break;
            }
        }
    }
    life.is_over = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ T5
    #[test]
    fn who_waited_long_for_its_last_job_or_is_not_the_next_does_not_spin() {
        let at = |us: u64| Mono::from_nanos(us * 1_000);
        let mut pace = Pace::default();
        assert!(!pace.rests(at(0), true), "it has not worked yet");
        pace.works(at(1_000), false);
        assert!(!pace.rests(at(1_010), true), "its job came after a millisecond");
        pace.works(at(1_030), false);
        assert!(pace.rests(at(1_040), true), "its job came after 20 us");
        assert!(!pace.rests(at(1_045), true), "it was woken for nothing");
        pace.works(at(1_060), false);
        assert!(!pace.rests(at(1_070), false), "another one would be woken");
        pace.works(at(1_080), true);
        assert!(pace.rests(at(1_090), false), "its channel's next job comes here");
        pace.works(at(1_200), true);
        assert!(!pace.rests(at(1_210), true), "its job came after 110 us");
    }
}
