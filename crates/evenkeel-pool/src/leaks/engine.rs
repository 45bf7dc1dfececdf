//! Which of what is seen is new: a plain value, fed with what a look at the slots found, or at what is counted beside the memory.
//!
//! Invariants:
//! 1. A holding is told of as held too long once, and again only when its age has doubled since; as never given back once;
//!    and as given back once, if it was told of before.
//! 2. No more than [`OPEN_MAX`] are remembered; what finds no room is counted, and told of when there is some.

use evenkeel_locks::watch::Site;
use std::collections::BTreeMap;

/// Holdings that are remembered as told of.
pub(crate) const OPEN_MAX: usize = 1024;

/// A slot, from when it was taken until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holding {
    pub(crate) tier: u8,
    pub(crate) slot: u32,
    /// Another at every take of the slot.
    pub(crate) turn: u32,
    /// The second at which it was taken; [`OFF`](crate::beside::OFF) where none was noted.
    pub(crate) since: u32,
}

/// What somebody holds, told apart from all that is or was held otherwise.
pub(crate) trait Dated: Copy + Ord {
    /// The second at which it was taken.
    fn since(&self) -> u32;
}

impl Dated for Holding {
    fn since(&self) -> u32 {
        self.since
    }
}

/// What was seen of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen<H = Holding> {
    pub(crate) holding: H,
    pub(crate) account: u32,
    pub(crate) site: Option<Site>,
}

impl<H: Dated> Seen<H> {
    /// Seconds that it has been held.
    pub(crate) fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.holding.since())
    }
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News<H = Holding> {
    /// It has been held for longer than its account may.
    TooLong(Seen<H>),
    /// Whoever holds it has said to hold nothing any more.
    NeverReturned(Seen<H>),
    /// One that was told of was given back.
    Returned(Seen<H>),
}

#[derive(Clone, Copy, Debug)]
struct Open<H> {
    seen: Seen<H>,
    /// The age at which it is told of again as held too long; 0 if it never was.
    again_at: u32,
    is_never_returned: bool,
}

/// What was told of.
#[derive(Debug)]
pub(crate) struct Engine<H = Holding> {
    open: BTreeMap<H, Open<H>>,
    /// How many found no room when they were looked at last.
    no_room: u64,
}

impl<H> Default for Engine<H> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), no_room: 0 }
    }
}

impl<H: Dated> Engine<H> {
    /// Told of what is held longer than its account may, at a second: what is new goes to `out`. Answers how many more than before
    /// are not told of, since there is no room to remember them.
    ///
    /// `is_held` answers for a holding that was told of whether it still is one.
    pub(crate) fn overdue(
        &mut self,
        now: u32,
        overdue: &[Seen<H>],
        mut is_held: impl FnMut(&H) -> bool,
        out: &mut Vec<News<H>>,
    ) -> u64 {
        self.open.retain(|holding, open| {
            let is_held = is_held(holding);
            if !is_held {
                out.push(News::Returned(open.seen));
            }
            is_held
        });
        let mut no_room = 0_u64;
        for seen in overdue.iter().copied() {
            let age = seen.age(now);
            let Some(open) = self.remember(seen) else {
                no_room += 1;
                continue;
            };
            if age >= open.again_at {
                open.again_at = age.saturating_mul(2).max(1);
                out.push(News::TooLong(seen));
            }
        }
        no_room.saturating_sub(std::mem::replace(&mut self.no_room, no_room))
    }

    /// Told of what is still held by somebody who has said to hold nothing any more. Answers how many find no room.
    pub(crate) fn never_returned(&mut self, held: &[Seen<H>], out: &mut Vec<News<H>>) -> u64 {
        let mut no_room = 0_u64;
        for seen in held.iter().copied() {
            let Some(open) = self.remember(seen) else {
                no_room += 1;
                continue;
            };
            if !open.is_never_returned {
                open.is_never_returned = true;
                out.push(News::NeverReturned(seen));
            }
        }
        no_room
    }

    fn remember(&mut self, seen: Seen<H>) -> Option<&mut Open<H>> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&seen.holding) {
            return None;
        }
        let new = || Open { seen, again_at: 0, is_never_returned: false };
        Some(self.open.entry(seen.holding).or_insert_with(new))
    }
}
