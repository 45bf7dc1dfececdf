//! What a channel may have of one tier: a reserve that is its alone, and more while there is a surplus.
//!
//! `N` slots are shared out as reserves `R` and a surplus `N - sum of R`. A channel that holds fewer than its
//! reserve takes from it; above that it borrows from the surplus, up to its cap. An idle reserve is never lent, so that
//! nobody has to be asked to give it back.
//!
//! Invariants, at every moment:
//! 1. `own <= R`, `own + borrowed <= cap`.
//! 2. `surplus + sum of borrowed = N - sum of R`, but for tokens on their way, which count as borrowed by nobody: the
//!    surplus is taken before it is borrowed, and given back after.
//! 3. Whoever was let in finds a slot: it is put back before its quota is.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Slots above all reserves that nobody has borrowed.
#[derive(Debug)]
pub(crate) struct Surplus(AtomicU32);

impl Surplus {
    pub(crate) fn new(slots: u32) -> Self {
        Self(AtomicU32::new(slots))
    }

    fn take(&self) -> bool {
        self.set_aside(1).is_ok()
    }

    /// Takes so many out, for a reserve; otherwise says how many there are.
    pub(crate) fn set_aside(&self, slots: u32) -> Result<(), u32> {
        let enough = |left: u32| left.checked_sub(slots);
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, enough).map(drop)
    }

    fn give_back(&self) {
        self.put_back(1);
    }

    pub(crate) fn put_back(&self, slots: u32) {
        self.0.fetch_add(slots, Ordering::Release);
    }
}

/// Why a channel was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has as many as it may have.
    Cap,
    /// It has its reserve, and all of the surplus is borrowed.
    Surplus,
}

/// One channel's share of one tier.
#[derive(Debug)]
pub(crate) struct Share {
    /// Borrowed in the upper half, own in the lower.
    held: AtomicU64,
    reserve: u32,
    cap: u32,
}

const OWN: u64 = 1;
const BORROWED: u64 = 1 << 32;

const fn own(held: u64) -> u32 {
    held as u32
}

const fn borrowed(held: u64) -> u32 {
    (held >> 32) as u32
}

impl Share {
    pub(crate) fn new(reserve: u32, cap: u32) -> Self {
        assert!(reserve <= cap, "invariant: a reserve is within its cap");
        Self { held: AtomicU64::new(0), reserve, cap }
    }

    /// Slots that are its alone.
    pub(crate) fn reserve(&self) -> u32 {
        self.reserve
    }

    /// Slots that it may have.
    pub(crate) fn max(&self) -> u32 {
        self.cap
    }

    /// Own and borrowed.
    pub(crate) fn held(&self) -> (u32, u32) {
        let held = self.held.load(Ordering::Relaxed);
        (own(held), borrowed(held))
    }

    /// Lets one more in; above its reserve only if it may borrow.
    pub(crate) fn enter(&self, surplus: &Surplus, may_borrow: bool) -> Result<(), Denied> {
        let mut has_token = false;
        let mut held = self.held.load(Ordering::Relaxed);
        loop {
            let (own, borrowed) = (own(held), borrowed(held));
            let denied = if own < self.reserve {
                None
            } else if own + borrowed >= self.cap {
                Some(Denied::Cap)
            } else if has_token || may_borrow && surplus.take() {
                has_token = true;
                None
            } else {
                Some(Denied::Surplus)
            };
            if let Some(denied) = denied {
                if has_token {
                    surplus.give_back();
                }
                return Err(denied);
            }
            let is_own = own < self.reserve;
            let new = held + if is_own { OWN } else { BORROWED };
            match self.held.compare_exchange_weak(held, new, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    if is_own && has_token {
                        surplus.give_back();
                    }
                    return Ok(());
                }
                Err(now) => held = now,
            }
        }
    }

    /// One has gone, and its slot is where others find it. What is borrowed is paid back first.
    pub(crate) fn leave(&self, surplus: &Surplus) {
        let mut held = self.held.load(Ordering::Relaxed);
        loop {
            let is_borrowed = borrowed(held) > 0;
            assert!(is_borrowed || own(held) > 0, "invariant: only what is held is given back");
            let new = held - if is_borrowed { BORROWED } else { OWN };
            match self.held.compare_exchange_weak(held, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    if is_borrowed {
                        surplus.give_back();
                    }
                    return;
                }
                Err(now) => held = now,
            }
        }
    }
}
