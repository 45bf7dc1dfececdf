//! What threads meet on: atomics, and one lock with who waits for it. Under `--cfg evenkeel_pool_loom` those of loom,
//! which tries every order in which things can happen.

#[cfg(evenkeel_pool_loom)]
pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(evenkeel_pool_loom))]
pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

/// Figures that order nothing else: what one thread sees of them need not be tried against what another does.
pub(crate) mod figure {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
}

/// Lets others go on, for a moment.
pub(crate) fn pause(turn: u32) {
    #[cfg(evenkeel_pool_loom)]
    {
        let _ = turn;
        loom::thread::yield_now();
    }
    #[cfg(not(evenkeel_pool_loom))]
    if turn < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(not(evenkeel_pool_loom))]
mod monitor {
    use evenkeel_locks::{Condvar, Mutex, lock_order, with_root_of};
    use std::time::Instant;

    lock_order! {
        /// Nothing of a pool's is locked. Its own, since whoever drops a buffer may hold whatever it likes.
        root PoolRoot;
        /// Who waits for buffers, or which channels there are; under it only numbers are moved.
        Waiting;
    }

    /// A value under the one lock of a pool.
    #[derive(Debug)]
    pub(crate) struct Monitor<T>(Mutex<Waiting, T>);

    /// Wakes one who waits.
    #[derive(Debug, Default)]
    pub(crate) struct Signal(Condvar);

    impl Signal {
        pub(crate) fn wake(&self) {
            self.0.notify_one();
        }
    }

    impl<T> Monitor<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
            with_root_of::<PoolRoot, _>(|root| look(&mut self.0.lock(root)))
        }

        /// Waits for a signal until there is an answer, or the time is over.
        pub(crate) fn wait<R>(
            &self,
            signal: &Signal,
            until: Instant,
            mut answer: impl FnMut(&mut T) -> Option<R>,
        ) -> Option<R> {
            with_root_of::<PoolRoot, _>(|root| {
                let mut value = self.0.lock(root);
                loop {
                    if let Some(answer) = answer(&mut value) {
                        return Some(answer);
                    }
                    if signal.0.wait_until(&mut value, until).timed_out() {
                        return answer(&mut value);
                    }
                }
            })
        }
    }
}

#[cfg(evenkeel_pool_loom)]
mod monitor {
    use loom::sync::{Condvar, Mutex};
    use std::time::Instant;

    #[derive(Debug)]
    pub(crate) struct Monitor<T>(Mutex<T>);

    #[derive(Debug, Default)]
    pub(crate) struct Signal(Condvar);

    impl Signal {
        pub(crate) fn wake(&self) {
            self.0.notify_one();
        }
    }

    impl<T> Monitor<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
            look(&mut self.0.lock().expect("no test panics under it"))
        }

        /// Without an end: loom knows no time, and who is not woken is a deadlock that it finds.
        pub(crate) fn wait<R>(
            &self,
            signal: &Signal,
            _: Instant,
            mut answer: impl FnMut(&mut T) -> Option<R>,
        ) -> Option<R> {
            let mut value = self.0.lock().expect("no test panics under it");
            loop {
                if let Some(answer) = answer(&mut value) {
                    return Some(answer);
                }
                value = signal.0.wait(value).expect("no test panics under it");
            }
        }
    }
}

pub(crate) use monitor::{Monitor, Signal};
