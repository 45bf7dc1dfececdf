//! What a channel may have of something that is counted: a reserve that is its alone, and more while there is a surplus.
//!
//! `N` units are shared out as reserves `R` and a surplus `N - sum of R`. A channel that holds fewer than its
//! reserve takes from it; above that it borrows from the surplus, up to its cap; what it takes at once may lie partly in
//! the one and partly in the other. An idle reserve is never lent, so that nobody has to be asked to give it back.
//! Units are the slots of one tier, pages of 4,096 bytes, or whatever else a pool counts.
//!
//! Invariants, at every moment:
//! 1. `own <= R`, and `own + borrowed <= cap`, but for what was held when limits were lowered, and what was taken
//!    [beyond](Share::enter_beyond) them. Whoever borrows has all of its reserve.
//! 2. `surplus + sum of borrowed = N - sum of R`, but for tokens on their way, which count as borrowed by nobody: the
//!    surplus is taken before it is borrowed, and given back after. Only what is taken beyond makes it negative.
//! 3. Whoever was let in finds a slot: it is put back before its quota is.
//!
//! Where many borrow, none should take all: with a [share](Surplus::new) of `n` a channel has at most `n` times what is
//! still free when it has taken it. One flood alone then has `n` of `n + 1` parts, and whoever comes next finds
//! something. (The dynamic thresholds of switches with shared memory: Choudhury and Hahne, IEEE/ACM Transactions on
//! Networking 6(2), 1998.)

use crate::sync::{AtomicI64, AtomicU64, Ordering, figure};

/// Units that one pool may count of anything: what fits into [`Share`]'s word.
pub(crate) const UNITS_MAX: u32 = (1 << 28) - 1;

/// Units above all reserves.
#[derive(Debug)]
pub(crate) struct Surplus {
    /// Those that nobody has borrowed; fewer than none while somebody took beyond its limits.
    free: AtomicI64,
    /// Those that can be: all but the reserves.
    lendable: figure::AtomicI64,
    /// How many a channel may borrow for each that stays free.
    share: Option<u32>,
}

impl Surplus {
    pub(crate) fn new(units: u32, share: Option<u32>) -> Self {
        let units = i64::from(units);
        Self { free: AtomicI64::new(units), lendable: figure::AtomicI64::new(units), share }
    }

    /// Units that nobody has borrowed.
    pub(crate) fn free(&self) -> i64 {
        self.free.load(Ordering::Relaxed)
    }

    /// How many a channel may borrow for each that stays free.
    pub(crate) fn share(&self) -> Option<u32> {
        self.share
    }

    /// Whether somebody who has borrowed so many may have so many more when so many are free.
    fn admits(&self, borrowed: u32, units: u32, free: i64) -> Result<(), Denied> {
        let after = free - i64::from(units);
        let total = i64::from(borrowed) + i64::from(units);
        match self.share {
            _ if after < 0 => Err(Denied::Surplus),
            Some(share) if total > after.saturating_mul(i64::from(share)) => Err(Denied::Share),
            _ => Ok(()),
        }
    }

    fn take(&self, borrowed: u32, units: u32) -> Result<(), Denied> {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            self.admits(borrowed, units, free)?;
            let less = free - i64::from(units);
            match self.free.compare_exchange_weak(free, less, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => free = now,
            }
        }
    }

    fn give_back(&self, units: i64) {
        if units != 0 {
            self.free.fetch_add(units, Ordering::Release);
        }
    }

    /// Takes so many out, for a reserve; otherwise says how many there are.
    pub(crate) fn set_aside(&self, units: u32) -> Result<(), u32> {
        self.set_aside_free(i64::from(units))?;
        self.lendable.fetch_sub(i64::from(units), Ordering::Relaxed);
        Ok(())
    }

    fn set_aside_free(&self, units: i64) -> Result<(), u32> {
        if units <= 0 {
            return Ok(());
        }
        // What is there now, not a moment ago: who is refused is not asked again.
        let mut free = self.free.fetch_add(0, Ordering::Acquire);
        while free >= units {
            match self.free.compare_exchange_weak(free, free - units, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => free = now,
            }
        }
        Err(free.max(0) as u32)
    }

    /// Puts back what was set aside.
    pub(crate) fn put_back(&self, units: u32) {
        self.lendable.fetch_add(i64::from(units), Ordering::Relaxed);
        self.give_back(i64::from(units));
    }
}

/// Why a channel was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has as many as it may have.
    Cap,
    /// It has its reserve, and not enough of the surplus is left.
    Surplus,
    /// It has its reserve, and as much of the surplus as it may have, seeing what is left.
    Share,
}

/// One channel's share of what is counted.
#[derive(Debug)]
pub(crate) struct Share {
    /// See [`Held`].
    held: AtomicU64,
    /// Cap in the upper half, reserve in the lower; which of the two holds says the epoch's lowest bit.
    limits: [AtomicU64; 2],
    /// What it had when its limits were set last, where that was more than they allow; it may keep that.
    kept: figure::AtomicU32,
}

/// What a channel has, in one word: own in the lower 28 bits, then borrowed in 28, then 8 bits that count changes of
/// the limits, so that who has read old ones does not get in by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    own: u32,
    borrowed: u32,
    epoch: u8,
}

impl Held {
    const fn of(word: u64) -> Self {
        let (own, borrowed) = (word as u32 & UNITS_MAX, (word >> 28) as u32 & UNITS_MAX);
        Self { own, borrowed, epoch: (word >> 56) as u8 }
    }

    const fn word(self) -> u64 {
        (self.epoch as u64) << 56 | (self.borrowed as u64) << 28 | self.own as u64
    }

    const fn total(self) -> u32 {
        self.own + self.borrowed
    }
}

impl Share {
    pub(crate) fn new(reserve: u32, cap: u32) -> Self {
        let limits = [AtomicU64::new(pair(reserve, cap)), AtomicU64::new(0)];
        Self { held: AtomicU64::new(0), limits, kept: figure::AtomicU32::new(0) }
    }

    fn limits_in(&self, held: Held) -> (u32, u32) {
        let limits = self.limits[usize::from(held.epoch & 1)].load(Ordering::Relaxed);
        (limits as u32, (limits >> 32) as u32)
    }

    fn read(&self) -> Held {
        Held::of(self.held.load(Ordering::Acquire))
    }

    /// What it has now, not a moment ago.
    fn latest(&self) -> Held {
        Held::of(self.held.fetch_or(0, Ordering::AcqRel))
    }

    /// Units that are its alone, and those that it may have.
    pub(crate) fn limits(&self) -> (u32, u32) {
        self.limits_in(self.read())
    }

    /// Own and borrowed.
    pub(crate) fn held(&self) -> (u32, u32) {
        let held = self.read();
        (held.own, held.borrowed)
    }

    /// Whether it has more than it may, since that was lowered, or since it took beyond it.
    pub(crate) fn is_over(&self) -> bool {
        let held = self.read();
        held.total() > self.limits_in(held).1
    }

    /// Whether it has no more than it may, but for what it had when that was lowered.
    pub(crate) fn is_within(&self) -> bool {
        let held = self.read();
        let (reserve, cap) = self.limits_in(held);
        held.own <= reserve && held.total() <= cap.max(self.kept.load(Ordering::Relaxed))
    }

    /// Whether so many more would be let in now. Takes nothing.
    pub(crate) fn admits(&self, units: u32, surplus: &Surplus, may_borrow: bool) -> Result<(), Denied> {
        let held = self.read();
        let (reserve, cap) = self.limits_in(held);
        let borrow = units - units.min(reserve.saturating_sub(held.own));
        match borrow {
            _ if held.total().saturating_add(units) > cap => Err(Denied::Cap),
            0 => Ok(()),
            _ if !may_borrow => Err(Denied::Surplus),
            _ => surplus.admits(held.borrowed, borrow, surplus.free()),
        }
    }

    /// Whether so many can be let in at all, when everything is given back; or whose limit it is that they cannot.
    pub(crate) fn can_ever(&self, units: u32, surplus: &Surplus) -> Result<(), Denied> {
        let (reserve, cap) = self.limits();
        let lendable = surplus.lendable.load(Ordering::Relaxed);
        match units.saturating_sub(reserve) {
            _ if units > cap => Err(Denied::Cap),
            0 => Ok(()),
            borrow => surplus.admits(0, borrow, lendable),
        }
    }

    /// The most that can be let in at all.
    pub(crate) fn most(&self, surplus: &Surplus) -> u32 {
        let (reserve, cap) = self.limits();
        let lendable = surplus.lendable.load(Ordering::Relaxed).clamp(0, i64::from(UNITS_MAX));
        cap.min(reserve + lendable as u32)
    }

    /// Lets so many more in; above its reserve only if it may borrow. Answers whether it had some of the surplus for a
    /// moment and gave it back: somebody may have been denied it meanwhile.
    pub(crate) fn enter(&self, units: u32, surplus: &Surplus, may_borrow: bool) -> Result<bool, Denied> {
        let mut gave_back = false;
        loop {
            let held = self.read();
            let (reserve, cap) = self.limits_in(held);
            let own = units.min(reserve.saturating_sub(held.own));
            let borrow = units - own;
            if held.total().saturating_add(units) > cap {
                return Err(Denied::Cap);
            }
            if borrow > 0 {
                if !may_borrow {
                    return Err(Denied::Surplus);
                }
                surplus.take(held.borrowed, borrow)?;
            }
            let new = Held { own: held.own + own, borrowed: held.borrowed + borrow, ..held };
            if self.exchange(held, new) {
                return Ok(gave_back);
            }
            surplus.give_back(i64::from(borrow));
            gave_back |= borrow > 0;
        }
    }

    /// Lets so many more in, whatever its limits are and however little of the surplus is left.
    pub(crate) fn enter_beyond(&self, units: u32, surplus: &Surplus) {
        loop {
            let held = self.read();
            let own = units.min(self.limits_in(held).0.saturating_sub(held.own));
            let borrow = units - own;
            surplus.give_back(-i64::from(borrow));
            let new = Held { own: held.own + own, borrowed: held.borrowed + borrow, ..held };
            if self.exchange(held, new) {
                return;
            }
            surplus.give_back(i64::from(borrow));
        }
    }

    /// So many have gone, and are where others find them. What is borrowed is paid back first.
    pub(crate) fn leave(&self, units: u32, surplus: &Surplus) {
        loop {
            let held = self.read();
            assert!(held.total() >= units, "invariant: only what is held is given back");
            let repaid = units.min(held.borrowed);
            let new = Held { own: held.own - (units - repaid), borrowed: held.borrowed - repaid, ..held };
            if self.exchange(held, new) {
                surplus.give_back(i64::from(repaid));
                return;
            }
        }
    }

    /// Other limits from now on; what is held stays. Of a reserve that cannot be had says how much more there is.
    /// Whoever calls it sees to it that nobody else does meanwhile.
    pub(crate) fn set(&self, reserve: u32, cap: u32, surplus: &Surplus) -> Result<(), u32> {
        loop {
            let held = self.latest();
            let before = self.limits_in(held).0;
            let own = held.total().min(reserve);
            let new = Held { own, borrowed: held.total() - own, epoch: held.epoch.wrapping_add(1) };
            // What the reserve takes out of the surplus, less what was borrowed and lies in the reserve from now on.
            let cost =
                i64::from(reserve) - i64::from(before) + i64::from(new.borrowed) - i64::from(held.borrowed);
            if let Err(left) = surplus.set_aside_free(cost) {
                if self.latest() == held {
                    return Err(left);
                }
                // What is missing it may have borrowed itself by now.
                continue;
            }
            let kept = if held.total() > cap { held.total() } else { 0 };
            self.kept.store(kept, Ordering::Relaxed);
            if self.change(held, new, reserve, cap) {
                surplus.lendable.fetch_add(i64::from(before) - i64::from(reserve), Ordering::Relaxed);
                surplus.give_back(-cost.min(0));
                return Ok(());
            }
            surplus.give_back(cost.max(0));
        }
    }

    /// Nobody gets in from now on, if nothing is held; then its reserve is the caller's, to put back or to
    /// [open](Share::reopen) it again with.
    pub(crate) fn shut(&self) -> bool {
        loop {
            let held = self.latest();
            if held.total() > 0 {
                return false;
            }
            if self.change(held, Held { epoch: held.epoch.wrapping_add(1), ..held }, 0, 0) {
                return true;
            }
        }
    }

    /// As it was before it was shut. What was taken [beyond](Self::enter_beyond) it meanwhile lies in its reserve from
    /// now on, as far as that goes.
    pub(crate) fn reopen(&self, (reserve, cap): (u32, u32), surplus: &Surplus) {
        loop {
            let held = self.latest();
            let own = held.total().min(reserve);
            let new = Held { own, borrowed: held.total() - own, epoch: held.epoch.wrapping_add(1) };
            if self.change(held, new, reserve, cap) {
                surplus.give_back(i64::from(held.borrowed) - i64::from(new.borrowed));
                return;
            }
        }
    }

    fn change(&self, held: Held, new: Held, reserve: u32, cap: u32) -> bool {
        assert!(reserve <= cap, "invariant: a reserve is within its cap");
        self.limits[usize::from(new.epoch & 1)].store(pair(reserve, cap), Ordering::Relaxed);
        self.exchange(held, new)
    }

    fn exchange(&self, held: Held, new: Held) -> bool {
        let exchanged =
            self.held.compare_exchange(held.word(), new.word(), Ordering::AcqRel, Ordering::Relaxed);
        exchanged.is_ok()
    }
}

fn pair(reserve: u32, cap: u32) -> u64 {
    assert!(reserve <= cap && cap <= UNITS_MAX, "invariant: a reserve is within its cap");
    u64::from(cap) << 32 | u64::from(reserve)
}

#[cfg(all(test, not(evenkeel_pool_loom)))]
mod tests {
    use super::*;

    // REQ R4: who has more since its limit was lowered breaks no limit; who got in above it does.
    #[test]
    fn what_was_held_when_a_limit_was_lowered_is_within_it() {
        let surplus = Surplus::new(8, None);
        let share = Share::new(0, 4);
        share.enter(3, &surplus, true).unwrap();
        share.set(0, 1, &surplus).unwrap();
        assert!(share.is_within() && share.is_over());
        share.enter_beyond(1, &surplus);
        assert!(!share.is_within());
        share.leave(2, &surplus);
        assert!(share.is_within() && share.is_over());
        share.set(0, 2, &surplus).unwrap();
        share.enter_beyond(1, &surplus);
        assert!(!share.is_within(), "it had no more than it may when that was said last");
        share.leave(3, &surplus);
        assert!(share.is_within());
    }

    // REQ R4: what is taken beyond limits while a channel that cannot be let go is shut is charged to its reserve
    // once it is open again, and to nobody else.
    #[test]
    fn what_was_taken_beyond_a_shut_share_lies_in_its_reserve() {
        let surplus = Surplus::new(8, None);
        surplus.set_aside(2).unwrap();
        let share = Share::new(2, 4);
        assert!(share.shut());
        share.enter_beyond(3, &surplus);
        share.reopen((2, 4), &surplus);
        assert_eq!((share.held(), share.limits(), surplus.free()), ((2, 1), (2, 4), 5));
        share.leave(3, &surplus);
        assert_eq!((share.held(), surplus.free()), ((0, 0), 6));
    }
}
