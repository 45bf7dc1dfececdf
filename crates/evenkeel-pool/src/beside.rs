//! What is known of a slot beside what every take notes: how many takes it had, and of few of them how long they lasted,
//! what they were for and which way the thread had come.
//!
//! Of about [`EVERY`] takes of a slot one is looked at, at distances that are drawn, so that no habit of a program falls in step
//! with them. The count of all takes is exact: each draw is counted when it is used up, or when the slot passes to another.
//!
//! Invariants:
//! 1. All but `drawn` is written by whoever holds the slot; `drawn` less the lower half of the slot's turn is how many takes of
//!    its account are not counted yet.
//! 2. A slot has marks only while it is held, and each is seen to when it is given back.

use crate::arena::{Memory, Slot};
use crate::leaks::LeakMode;
use evenkeel_locks::watch::Site;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A tick at which nothing is noted of a take.
pub(crate) const OFF: u32 = u32::MAX;
/// A tick at which each take is looked at.
pub(crate) const ATTEND: u32 = u32::MAX - 1;
/// In place of the second at which a slot was taken: it is free, or nobody has noted who has taken it just now.
pub(crate) const FREE: u32 = u32::MAX - 2;
/// The last second that is told apart: a hundred and thirty years.
pub(crate) const SECONDS_MAX: u32 = FREE - 1;
/// An account that there is not.
pub(crate) const NOBODY: u32 = u32::MAX;
/// What is given back is filled with, where the pool was asked to: no text, no small number, no address.
pub(crate) const POISON: u8 = 0xDB;
/// Of so many takes of a slot one is looked at, in the mean.
pub(crate) const EVERY: u32 = 2048;

/// A place that was not noted.
pub(crate) const NOWHERE: Site = Location::caller();

/// Who takes a slot, what for and where.
#[derive(Clone, Copy)]
pub(crate) struct Taking {
    pub(crate) account: u32,
    pub(crate) channel: u32,
    pub(crate) bytes: u32,
    pub(crate) site: Site,
}

/// What is to be done when a slot is given back.
#[derive(Clone, Copy)]
pub(crate) struct Marks(pub(crate) u8);

impl Marks {
    /// How long it was held is counted.
    pub(crate) const TIMED: u8 = 1;
    /// It has a backtrace.
    pub(crate) const TRACED: u8 = 2;
    /// It is filled with a pattern.
    pub(crate) const POISONED: u8 = 4;

    pub(crate) const fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }
}

/// One slot's.
#[derive(Debug)]
pub(crate) struct Beside {
    /// Takes from one that is looked at to the next, or from when the slot passed to its account.
    drawn: AtomicU32,
    /// From which draws come.
    random: AtomicU32,
    /// Nanoseconds of the pool's clock when the take began that is being timed.
    began: AtomicU64,
    /// Bytes that are filled, of one that is being timed.
    filled: AtomicU32,
}

impl Beside {
    /// Those of a tier.
    pub(crate) fn all(tier: usize, slots: usize) -> Box<[Self]> {
        let one = |number: usize| {
            // Any numbers that are not alike, and never zero.
            let seed = ((tier << 24 | number) as u32).wrapping_mul(0x9E37_79B9) | 1;
            let random = next(next(seed));
            let (drawn, random) = (AtomicU32::new(1 + random % (2 * EVERY - 1)), AtomicU32::new(random));
            Self { drawn, random, began: AtomicU64::new(0), filled: AtomicU32::new(0) }
        };
        (0..slots).map(one).collect()
    }

    /// The turn of a slot that nobody has taken yet.
    pub(crate) fn first_turn(&self) -> u32 {
        self.drawn.load(Ordering::Relaxed)
    }

    /// Takes by the slot's account that are not counted yet.
    pub(crate) fn uncounted(&self, slot: &Slot) -> u64 {
        let left = u32::from(slot.turn.load(Ordering::Relaxed) as u16);
        // A reader may meet a turn that is newer than the draw.
        u64::from(self.drawn.load(Ordering::Relaxed).saturating_sub(left))
    }

    fn draw(&self) -> u32 {
        let random = next(self.random.load(Ordering::Relaxed));
        self.random.store(random, Ordering::Relaxed);
        random
    }

    /// Looks whether anybody wrote after the slot was given back, and tells of it.
    pub(crate) fn inspect(&self, memory: &Memory, slot: &Slot, bytes: &[u8]) {
        let written = slot.written.load(Ordering::Relaxed) as usize;
        let (poisoned, untouched) = bytes.split_at(written);
        let first = poisoned.iter().position(|byte| *byte != POISON);
        let first = first.or_else(|| untouched.iter().position(|byte| *byte != 0).map(|at| written + at));
        if let Some(first) = first {
            memory.watch.was_written_after(slot, first);
            // Nobody knows how far it went: all of it is wiped before another channel has it.
            slot.written.store(bytes.len() as u32, Ordering::Relaxed);
        }
    }

    /// The slot passes to the account that has taken it, if another had it before; whether it has to be wiped.
    pub(crate) fn passes_on(&self, memory: &Memory, slot: &Slot, taking: Taking) -> bool {
        let before = slot.account.load(Ordering::Relaxed);
        if before == taking.account {
            return false;
        }
        // This take is not the one's before any more.
        let left = u32::from(slot.turn.load(Ordering::Relaxed) as u16) + 1;
        let drawn = self.drawn.load(Ordering::Relaxed);
        self.drawn.store(left, Ordering::Relaxed);
        if let Some(account) = memory.core.known(before) {
            account.habits.of(slot.tier).took(u64::from(drawn.saturating_sub(left)));
        }
        slot.account.store(taking.account, Ordering::Relaxed);
        let is_anothers = slot.bytes_of.load(Ordering::Relaxed) != taking.channel;
        slot.bytes_of.store(taking.channel, Ordering::Relaxed);
        is_anothers && slot.written.load(Ordering::Relaxed) > 0
    }

    /// Notes what the modes of the pool and the slot's turn ask for.
    pub(crate) fn note(&self, memory: &Memory, slot: &Slot, taking: Taking) {
        let mode = memory.watch.mode();
        slot.asked.store(taking.bytes, Ordering::Relaxed);
        // Release: who sees when it was taken sees by whom, and where.
        if mode == LeakMode::Off {
            slot.site.store(NOWHERE);
            slot.since.store(OFF, Ordering::Release);
        } else {
            slot.site.store(taking.site);
            slot.since.store(memory.watch.seconds(), Ordering::Release);
        }
        let is_sample = slot.turn.load(Ordering::Relaxed) as u16 == 0;
        let mut marks = 0;
        if is_sample {
            self.sample(memory, slot, taking);
            marks |= Marks::TIMED;
        }
        if mode.traces(is_sample, self.draw()) && memory.watch.trace(slot.tier, slot.number) {
            marks |= Marks::TRACED;
        }
        if memory.watch.poisons() {
            marks |= Marks::POISONED;
        }
        slot.marks.store(marks, Ordering::Relaxed);
    }

    fn sample(&self, memory: &Memory, slot: &Slot, taking: Taking) {
        let turn = slot.turn.load(Ordering::Relaxed);
        let drawn = 1 + self.draw() % (2 * EVERY - 1);
        let used = self.drawn.swap(drawn, Ordering::Relaxed);
        slot.turn.store((turn >> 16).wrapping_add(1) << 16 | drawn, Ordering::Relaxed);
        if let Some(account) = memory.core.known(taking.account) {
            let habit = account.habits.of(slot.tier);
            habit.took(u64::from(used));
            habit.asked(taking.bytes);
        }
        self.began.store(memory.watch.nanos(), Ordering::Relaxed);
        self.filled.store(0, Ordering::Relaxed);
    }

    /// So many bytes of it are filled.
    pub(crate) fn is_filled(&self, bytes: usize) {
        self.filled.store(bytes as u32, Ordering::Relaxed);
    }

    /// Sees to the marks of a slot that is given back.
    pub(crate) fn end(&self, memory: &Memory, slot: &Slot, marks: Marks) {
        if marks.has(Marks::TIMED)
            && let Some(account) = memory.core.known(slot.account.load(Ordering::Relaxed))
        {
            let held = memory.watch.nanos().saturating_sub(self.began.load(Ordering::Relaxed));
            account.habits.of(slot.tier).gave_back(held, self.filled.load(Ordering::Relaxed));
        }
        if marks.has(Marks::TRACED) {
            memory.watch.untrace(slot.tier, slot.number);
        }
    }
}

/// The next of a row of numbers that look like any: xorshift, by G. Marsaglia.
const fn next(mut random: u32) -> u32 {
    random ^= random << 13;
    random ^= random >> 17;
    random ^ random << 5
}
