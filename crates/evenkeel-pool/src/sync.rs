//! The atomics that everything here is made of, or loom's.

#[cfg(evenkeel_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(evenkeel_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Lets others go on, for a moment.
pub(crate) fn pause(turn: u32) {
    #[cfg(evenkeel_loom)]
    {
        let _ = turn;
        loom::thread::yield_now();
    }
    #[cfg(not(evenkeel_loom))]
    if turn < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
