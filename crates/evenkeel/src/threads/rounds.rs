//! What `ek-watch` looks at besides threads, once a second, for other parts of the house. None of it is a user's.
//!
//! Invariant: what has gone is looked at no more, and what is looked at holds no lock of this.

use super::ThreadCoordinator;
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_hierarchy::{Mutex, ThreadEvents, with_root};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

type Look = dyn Fn() + Send + Sync;

#[derive(Default)]
struct Known {
    looks: Vec<Weak<Look>>,
    next: Option<Mono>,
}

#[derive(Default)]
pub(super) struct Rounds(Mutex<ThreadEvents, Known>);

impl Rounds {
    /// Looks at what is due; when to come again.
    pub(super) fn go(&self, now: Mono) -> Option<Mono> {
        let due: Vec<Arc<Look>> = with_root(|house| {
            let mut known = self.0.lock(house);
            known.looks.retain(|look| look.strong_count() > 0);
            if known.looks.is_empty() {
                known.next = None;
            }
            if known.next.is_none_or(|next| next > now) {
                return Vec::new();
            }
            known.next = Some(now.plus(EVERY));
            known.looks.iter().filter_map(Weak::upgrade).collect()
        });
        due.iter().for_each(|look| look());
        with_root(|house| self.0.lock(house).next)
    }
}

impl ThreadCoordinator {
    /// Has `ek-watch` look at something once a second, for as long as the caller keeps it.
    pub(crate) fn each_second(&self, look: &Arc<Look>) {
        with_root(|house| {
            let mut known = self.core().rounds.0.lock(house);
            known.looks.push(Arc::downgrade(look));
            known.next.get_or_insert(clock::mono().plus(EVERY));
        });
        self.core().watch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    // REQ R6, REQ M2
    #[test]
    fn what_is_kept_is_looked_at_once_a_second_and_what_has_gone_no_more() {
        let threads = ThreadCoordinator::default();
        let rounds = &threads.core().rounds;
        let at = |millis: u64| Mono::from_nanos(clock::mono().as_nanos() + millis * 1_000_000);
        assert_eq!(Rounds::default().go(at(0)), None);
        let (seen, sees) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counted = seen.clone();
        let look: Arc<Look> = Arc::new(move || {
            counted.fetch_add(1, Relaxed);
        });
        drop(sees);
        with_root(|house| {
            let mut known = rounds.0.lock(house);
            known.looks.push(Arc::downgrade(&look));
            known.next = Some(at(1000));
        });
        assert!(rounds.go(at(10)).is_some());
        assert_eq!(seen.load(Relaxed), 0);
        let next = rounds.go(at(1500)).unwrap();
        assert_eq!(seen.load(Relaxed), 1);
        assert!(next > at(2000));
        drop(look);
        assert_eq!(rounds.go(next), None);
        assert_eq!(seen.load(Relaxed), 1);
    }
}
