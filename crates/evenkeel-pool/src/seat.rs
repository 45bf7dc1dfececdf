//! Which magazines a thread uses: a number that it keeps for as long as it lives, and that another has after it.
//!
//! There are [`SEATS`]. Threads beyond that share: magazines have locks, so that sharing costs time and nothing else.

#[cfg(not(evenkeel_pool_loom))]
pub(crate) use own::{SEATS, seat, seated};
#[cfg(evenkeel_pool_loom)]
pub(crate) use under_loom::{SEATS, seat, seated, sit};

#[cfg(evenkeel_pool_loom)]
mod under_loom {
    use std::cell::Cell;

    /// Few: each is looked through.
    pub(crate) const SEATS: usize = 2;

    loom::thread_local! {
        static SEAT: Cell<usize> = Cell::new(0);
    }

    pub(crate) fn seat() -> usize {
        SEAT.with(Cell::get)
    }

    pub(crate) fn seated() -> Option<usize> {
        Some(seat())
    }

    /// Has this thread sit there.
    pub(crate) fn sit(seat: usize) {
        SEAT.with(|own| own.set(seat));
    }
}

#[cfg(not(evenkeel_pool_loom))]
mod own {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How many threads have magazines of their own at a time.
    pub(crate) const SEATS: usize = 64;
    const UNSEATED: u32 = u32::MAX;

    /// A bit for each seat that is taken.
    static TAKEN: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static SEAT: Cell<u32> = const { Cell::new(UNSEATED) };
        static LEAVING: Leaving = const { Leaving(Cell::new(None)) };
    }

    /// Gives the seat back when its thread ends.
    struct Leaving(Cell<Option<u32>>);

    impl Drop for Leaving {
        fn drop(&mut self) {
            if let Some(seat) = self.0.get() {
                TAKEN.fetch_and(!(1 << seat), Ordering::Relaxed);
                // Whatever this thread still does, it does on a shared seat.
                let _ = SEAT.try_with(|own| own.set(0));
            }
        }
    }

    /// This thread's seat.
    #[inline]
    pub(crate) fn seat() -> usize {
        let seat = SEAT.with(Cell::get);
        if seat == UNSEATED { sit_down() } else { seat as usize }
    }

    /// This thread's seat, if it has sat down.
    #[inline]
    pub(crate) fn seated() -> Option<usize> {
        let seat = SEAT.with(Cell::get);
        (seat != UNSEATED).then_some(seat as usize)
    }

    #[cold]
    fn sit_down() -> usize {
        let free = |taken: u64| (taken != u64::MAX).then(|| taken | 1 << (!taken).trailing_zeros());
        let seat = match TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
            Ok(before) => {
                let seat = (!before).trailing_zeros();
                // A thread that is ending already keeps no seat.
                if LEAVING.try_with(|leaving| leaving.0.set(Some(seat))).is_err() {
                    TAKEN.fetch_and(!(1 << seat), Ordering::Relaxed);
                }
                seat
            }
            Err(_) => 0,
        };
        SEAT.with(|own| own.set(seat));
        seat as usize
    }
}
