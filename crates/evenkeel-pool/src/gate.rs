//! A lock for moves of a few words: one exchange to enter, one move to leave, and nobody sleeps.
//!
//! Under loom, which has no end with threads that try again and again, it is loom's mutex; this one is tried alone.

#[cfg(not(evenkeel_pool_loom))]
pub(crate) use own::{Entered, Gate};
#[cfg(evenkeel_pool_loom)]
pub(crate) use under_loom::{Entered, Gate};

#[cfg_attr(evenkeel_pool_loom, allow(dead_code, reason = "tried alone"))]
pub(crate) mod own {
    use crate::sync::{AtomicU32, Ordering, pause};

    const OPEN: u32 = 0;
    const TAKEN: u32 = 1;

    #[derive(Debug)]
    pub(crate) struct Gate(AtomicU32);

    /// Left when it is dropped.
    pub(crate) struct Entered<'a>(&'a Gate);

    impl Default for Gate {
        fn default() -> Self {
            Self(AtomicU32::new(OPEN))
        }
    }

    impl Drop for Entered<'_> {
        #[inline]
        fn drop(&mut self) {
            self.0.0.store(OPEN, Ordering::Release);
        }
    }

    impl Gate {
        #[inline]
        pub(crate) fn try_enter(&self) -> Option<Entered<'_>> {
            // Lazily: who did not get in must not leave.
            (self.0.swap(TAKEN, Ordering::Acquire) == OPEN).then(|| Entered(self))
        }

        #[inline]
        pub(crate) fn enter(&self) -> Entered<'_> {
            self.try_enter().unwrap_or_else(|| self.enter_later())
        }

        #[cold]
        fn enter_later(&self) -> Entered<'_> {
            let mut turn = 0;
            loop {
                pause(turn);
                turn += 1;
                if let Some(entered) = self.try_enter() {
                    return entered;
                }
            }
        }
    }
}

#[cfg(evenkeel_pool_loom)]
mod under_loom {
    use loom::sync::{Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Gate(Mutex<()>);

    pub(crate) type Entered<'a> = MutexGuard<'a, ()>;

    impl Gate {
        pub(crate) fn try_enter(&self) -> Option<Entered<'_>> {
            self.0.try_lock().ok()
        }

        pub(crate) fn enter(&self) -> Entered<'_> {
            self.0.lock().expect("no test panics in it")
        }
    }
}
