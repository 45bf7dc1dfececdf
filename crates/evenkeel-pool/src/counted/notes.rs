//! Who took what, where and when, of what is counted beside the memory; and which of it is held for too long.
//!
//! Invariants:
//! 1. What is held has its note, from after it was counted until before it is given back: units of which there are none have
//!    none. So there are as many notes as units at most.
//! 2. What is told of is held at that moment: both are under one lock, under which only numbers are moved.
//! 3. Notes are in the order in which they were made, so that those that are old enough are the first of them, and only these
//!    are looked at. Two that come at once may be a second apart the wrong way round: the next look finds the other.

use crate::arena::Memory;
use crate::beside::OFF;
use crate::leaks::{Dated, Engine, Finding, HeldUnits, News, Seen};
use evenkeel_locks::watch::Site;
use std::collections::BTreeMap;

/// What somebody took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(super) kind: usize,
    pub(super) account: u32,
    pub(super) site: Site,
    pub(super) units: u32,
    /// The second at which it was taken; [`OFF`] where none was noted.
    pub(super) since: u32,
}

/// Who took what.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Numbers given so far.
    last: u64,
    held: BTreeMap<u64, Note>,
    told: Engine<Units>,
}

/// Units from when they were taken until they are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Units {
    number: u64,
    kind: usize,
    units: u32,
    since: u32,
}

impl Dated for Units {
    fn since(&self) -> u32 {
        self.since
    }
}

impl Notes {
    /// Notes it, and under which number; none of it is no note.
    pub(super) fn add(&mut self, note: Note) -> u64 {
        self.last += 1;
        if note.units > 0 {
            self.held.insert(self.last, note);
        }
        self.last
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.held.remove(&number);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Note> {
        self.held.values().copied().collect()
    }

    /// What is new of what is held for longer than its account may; and how many more find no room. No account may hold
    /// anything for less than `least` seconds.
    fn overdue(&mut self, now: u32, least: u32, may_hold: impl Fn(u32) -> u32) -> (Vec<News<Units>>, u64) {
        let Self { held, told, .. } = self;
        let seen = |(number, note): (&u64, &Note)| {
            let Note { kind, account, site, units, since } = *note;
            Seen { holding: Units { number: *number, kind, units, since }, account, site: Some(site) }
        };
        let timed = held.iter().filter(|(_, note)| note.since != OFF).map(seen);
        let old = timed.take_while(|seen| seen.age(now) >= least);
        let overdue: Vec<_> = old.filter(|seen| seen.age(now) >= may_hold(seen.account)).collect();
        let mut news = Vec::new();
        let no_room = told.overdue(now, &overdue, |units| held.contains_key(&units.number), &mut news);
        (news, no_room)
    }
}

/// What is new since somebody asked last, and how many more there are.
pub(crate) fn findings(memory: &Memory, now: u32, least: u32) -> (Vec<Finding>, u64) {
    let patience = |account| memory.core.account(account).counted_patience.seconds();
    let (news, untold) = memory.core.notes.with(|notes| notes.overdue(now, least, patience));
    let held = |seen: Seen<Units>| {
        let account = memory.core.account(seen.account);
        HeldUnits {
            channel: account.channel.name.clone(),
            component: account.name.clone(),
            kind: memory.core.counters[seen.holding.kind].kind.clone(),
            units: seen.holding.units,
            site: seen.site.map(ToString::to_string).unwrap_or_default(),
            seconds: seen.age(now),
        }
    };
    let words = |news| match news {
        News::TooLong(seen) | News::NeverReturned(seen) => Finding::UnitsHeldTooLong(held(seen)),
        News::Returned(seen) => Finding::UnitsReturned(held(seen)),
    };
    (news.into_iter().map(words).collect(), untold)
}
