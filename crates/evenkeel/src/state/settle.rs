//! Waiting until every observer has seen every change that was made.

use super::State;
use super::inner::{Inner, me};
use crate::clock;
use evenkeel_hierarchy::{Cap, House, with_root};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Who waits looks so often whether an observer hangs whose thread keeps the others waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl<S: State> Inner<S> {
    /// Waits until all observers have seen all changes up to now; whether they have. From inside of an observer
    /// of the same machine it does not wait: that would be for itself.
    pub(super) fn settle(self: &Arc<Self>, timeout: Duration) -> bool {
        let until = clock::mono().plus(timeout);
        let (_, sequence) = self.seen();
        self.settling.fetch_add(1, Ordering::SeqCst);
        let settled = loop {
            let mut relieves = None;
            let over = with_root(|house| {
                let mut core = self.core.lock(house);
                loop {
                    if core.observers.iter().all(|observer| observer.has_seen(sequence)) {
                        return Some(true);
                    }
                    let now = clock::mono();
                    // By its mailbox, too, or by a thread that lost the turn to tell meanwhile.
                    let tells = core.delivering.as_ref().is_some_and(|told| told.thread == me())
                        || core.observers.iter().any(|observer| observer.is_called_by_me());
                    if now >= until || tells {
                        return Some(false);
                    }
                    relieves = self.take_over(&mut core, now);
                    if relieves.is_some() {
                        return None;
                    }
                    let patience = until.since(now).min(LOOK_AGAIN);
                    let _ = self.settled.wait_until(&mut core, Instant::now() + patience);
                }
            });
            if let Some(turn) = relieves {
                self.tell(turn);
            }
            if let Some(over) = over {
                break over;
            }
        };
        self.settling.fetch_sub(1, Ordering::SeqCst);
        settled
    }

    /// An observer has come further, or is no more.
    pub(super) fn has_settled(&self, house: &mut Cap<House>) {
        if self.settling.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that nobody looks before and waits after.
            let _core = self.core.lock(house);
            self.settled.notify_all();
        }
    }
}
