//! A pool's look at itself: what is noted at takes, and what is found by looking at the slots.
//!
//! Invariants:
//! 1. Slots are looked at, and words are made, outside of locks; under one only numbers are moved. What was found is looked at
//!    once more under it, so that two who look at the same time tell of nothing that has gone.
//! 2. A slot that was just taken and not noted yet is nobody's for a moment: its time is taken away when it is given back,
//!    and says so. So nothing is told of as held by the one before, or with its time.
//! 3. No more than [`TRACES_MAX`] backtraces are kept, and no more than [`DAMAGES_MAX`] damages that nobody asked for.

use super::engine::{Engine, Holding, News, OPEN_MAX, Seen};
use super::told::{Damage, Finding, Held, Leaks, Trace};
use super::{LeakMode, LeakQuery, PATIENCE_SECONDS};
use crate::arena::{Memory, Slot};
use crate::beside::{ATTEND, FREE, NOWHERE, OFF, SECONDS_MAX};
use crate::patterns::{WINDOW_SECONDS, roll};
use evenkeel_locks::{Mutex, lock_order, with_root_of};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Backtraces that are kept at a time, each a few kilobytes.
pub(crate) const TRACES_MAX: usize = 4096;
/// Damages that are kept until somebody asks.
pub(crate) const DAMAGES_MAX: usize = 64;

lock_order! {
    /// None of a pool's notes is locked. Its own, since whoever takes or drops a buffer may hold whatever it likes.
    root NotesRoot;
    /// What was told, and what is to be; under it only numbers are moved.
    Notes;
    /// Backtraces; under it they are only moved.
    Traces;
}

/// What a pool notes, and what it has told.
#[derive(Debug)]
pub(crate) struct Watch {
    /// [`Mode`] as one word.
    mode: AtomicU64,
    seconds: AtomicU32,
    poisons: bool,
    started: Instant,
    /// No account's patience is less.
    patience_min: AtomicU32,
    /// The same of what is counted beside the memory.
    counted_patience_min: AtomicU32,
    notes: Mutex<Notes, Ledger>,
    traces: Mutex<Traces, BTreeMap<(u8, u32), Trace>>,
}

#[derive(Debug, Default)]
struct Ledger {
    engine: Engine,
    /// What is to be told to whoever asks next.
    news: Vec<News>,
    /// News that found no room.
    news_lost: u64,
    /// Who had it last, where it was taken, and which byte is the first that is not what it was.
    damages: Vec<(Seen, u64)>,
    damages_lost: u64,
    /// When the window began over which takes are counted.
    window_began: Option<u32>,
}

const fn word(mode: LeakMode) -> u64 {
    match mode {
        LeakMode::Off => 0,
        LeakMode::Sites => 1,
        LeakMode::Full => 2,
        LeakMode::Sampled { one_in } => (one_in.get() as u64) << 2 | 3,
    }
}

fn mode(word: u64) -> LeakMode {
    match (word & 3, NonZeroU32::new((word >> 2) as u32)) {
        (0, _) => LeakMode::Off,
        (2, _) => LeakMode::Full,
        (3, Some(one_in)) => LeakMode::Sampled { one_in },
        _ => LeakMode::Sites,
    }
}

impl Watch {
    pub(crate) fn new(mode: LeakMode, poisons: bool) -> Self {
        Self {
            mode: AtomicU64::new(word(mode)),
            seconds: AtomicU32::new(0),
            poisons,
            started: Instant::now(),
            patience_min: AtomicU32::new(PATIENCE_SECONDS),
            counted_patience_min: AtomicU32::new(PATIENCE_SECONDS),
            notes: Mutex::new(Ledger::default()),
            traces: Mutex::new(BTreeMap::new()),
        }
    }

    fn with_notes<R>(&self, look: impl FnOnce(&mut Ledger) -> R) -> R {
        with_root_of::<NotesRoot, _>(|root| look(&mut self.notes.lock(root)))
    }

    fn with_traces<R>(&self, look: impl FnOnce(&mut BTreeMap<(u8, u32), Trace>) -> R) -> R {
        with_root_of::<NotesRoot, _>(|root| look(&mut self.traces.lock(root)))
    }

    pub(crate) fn mode(&self) -> LeakMode {
        mode(self.mode.load(Ordering::Relaxed))
    }

    pub(crate) fn poisons(&self) -> bool {
        self.poisons
    }

    /// Seconds that somebody counts.
    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// Nanoseconds of the pool's clock.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The tick of slots that are taken from now on.
    pub(crate) fn tick(&self) -> u32 {
        match self.mode() {
            mode if self.poisons || mode.attends() => ATTEND,
            LeakMode::Off => OFF,
            _ => self.seconds(),
        }
    }

    pub(crate) fn set_mode(&self, memory: &Memory, mode: LeakMode) {
        self.with_notes(|_| {
            self.mode.store(word(mode), Ordering::Relaxed);
            memory.tick.store(self.tick(), Ordering::Relaxed);
        });
    }

    /// It is so many seconds now.
    pub(crate) fn set_seconds(&self, memory: &Memory, seconds: u32) {
        let window = self.with_notes(|ledger| {
            self.seconds.store(seconds.min(SECONDS_MAX), Ordering::Relaxed);
            memory.tick.store(self.tick(), Ordering::Relaxed);
            // The clock's first word says where it stands, not how much time has passed.
            let window = ledger.window_began.map(|began| seconds.saturating_sub(began));
            let ended = window.is_none_or(|window| window >= WINDOW_SECONDS);
            if ended {
                ledger.window_began = Some(seconds);
            }
            ended.then_some(window.unwrap_or(0))
        });
        if let Some(seconds) = window {
            roll(memory, seconds);
        }
    }

    pub(crate) fn lower_patience_to(&self, seconds: u32) {
        self.patience_min.fetch_min(seconds, Ordering::Relaxed);
    }

    pub(crate) fn lower_counted_patience_to(&self, seconds: u32) {
        self.counted_patience_min.fetch_min(seconds, Ordering::Relaxed);
    }

    /// When what is counted beside the memory was taken, if it is now.
    pub(crate) fn counted_since(&self) -> u32 {
        if self.mode() == LeakMode::Off { OFF } else { self.seconds() }
    }

    /// Keeps the way that this thread has come; whether there was room.
    pub(crate) fn trace(&self, tier: u8, slot: u32) -> bool {
        let trace = Trace::capture();
        // What is not kept is dropped outside of the lock.
        let kept = self.with_traces(|traces| {
            if traces.len() < TRACES_MAX { Ok(traces.insert((tier, slot), trace)) } else { Err(trace) }
        });
        kept.is_ok()
    }

    pub(crate) fn untrace(&self, tier: u8, slot: u32) {
        let gone = self.with_traces(|traces| traces.remove(&(tier, slot)));
        drop(gone);
    }

    /// A slot that was given back was written, from a byte on.
    pub(crate) fn was_written_after(&self, slot: &Slot, at: usize) {
        // Its time was taken away when it was given back; its place is still there.
        let seen = Seen { site: slot.site.load().filter(|site| *site != NOWHERE), ..note_of(slot) };
        self.with_notes(|ledger| {
            if ledger.damages.len() < DAMAGES_MAX {
                ledger.damages.push((seen, at as u64));
            } else {
                ledger.damages_lost += 1;
            }
        });
    }
}

/// What stands with a slot.
fn note_of(slot: &Slot) -> Seen {
    let turn = slot.turn.load(Ordering::Acquire);
    let since = slot.since.load(Ordering::Acquire);
    Seen {
        holding: Holding { tier: slot.tier, slot: slot.number, turn, since },
        account: slot.account.load(Ordering::Acquire),
        site: slot.site.load().filter(|_| since != OFF),
    }
}

/// What is seen of a slot, if it is held.
pub(crate) fn look(memory: &Memory, tier: usize, slot: u32) -> Option<Seen> {
    let flag = &memory.core.tiers[tier].held[slot as usize];
    let seen = note_of(&memory.slots[tier][slot as usize]);
    // All of it belongs together if nobody took it meanwhile.
    let is_known = flag.is_set() && seen.holding.since != FREE && memory.core.known(seen.account).is_some();
    (is_known && is_held(memory, &seen.holding)).then_some(seen)
}

fn is_held(memory: &Memory, holding: &Holding) -> bool {
    let slot = &memory.slots[holding.tier as usize][holding.slot as usize];
    memory.core.tiers[holding.tier as usize].held[holding.slot as usize].is_set()
        && slot.turn.load(Ordering::Acquire) == holding.turn
        && slot.since.load(Ordering::Acquire) == holding.since
}

/// All that is held and answers a question about its slot.
fn held_where(memory: &Memory, mut wanted: impl FnMut(&Slot) -> bool) -> Vec<Seen> {
    let mut found = Vec::new();
    for tier in 0..memory.core.tiers.len() {
        for slot in memory.core.held(tier) {
            if wanted(&memory.slots[tier][slot as usize]) {
                found.extend(look(memory, tier, slot));
            }
        }
    }
    found
}

/// In words; the backtrace too where the holding still is one.
fn held(memory: &Memory, now: u32, seen: &Seen) -> Held {
    let Holding { tier, slot, since, .. } = seen.holding;
    let account = memory.core.known(seen.account);
    let is_traced = is_held(memory, &seen.holding);
    let trace =
        is_traced.then(|| memory.watch.with_traces(|traces| traces.get(&(tier, slot)).cloned())).flatten();
    Held {
        channel: account.map(|account| account.channel.name.clone()).unwrap_or_default(),
        component: account.map(|account| account.name.clone()).unwrap_or_default(),
        site: seen.site.map(ToString::to_string),
        slot_bytes: memory.core.tiers[tier as usize].slot_bytes,
        seconds: (since != OFF).then(|| now.saturating_sub(since)),
        trace,
    }
}

fn leaks(memory: &Memory, mut found: Vec<Seen>, named_max: usize) -> Leaks {
    let now = memory.watch.seconds();
    found.sort_by_key(|seen| seen.holding.since);
    let bytes = |seen: &Seen| memory.core.tiers[seen.holding.tier as usize].slot_bytes;
    Leaks {
        buffers: found.len() as u64,
        bytes: found.iter().map(bytes).sum(),
        held: found.iter().take(named_max).map(|seen| held(memory, now, seen)).collect(),
    }
}

/// What is held and answers a question.
pub(crate) fn find(memory: &Memory, query: &LeakQuery) -> Leaks {
    let (now, older_than) = (memory.watch.seconds(), query.older_than);
    let is_asked_for = |slot: &Slot| now.saturating_sub(slot.since.load(Ordering::Relaxed)) >= older_than;
    leaks(memory, held_where(memory, is_asked_for), query.named_max)
}

/// Whoever has one of these accounts holds nothing any more, as it says: what it holds is told of.
pub(crate) fn finish(memory: &Memory, mut is_one: impl FnMut(u32) -> bool) -> Leaks {
    let found = held_where(memory, |slot| is_one(slot.account.load(Ordering::Relaxed)));
    memory.watch.with_notes(|ledger| {
        let mut news = Vec::new();
        ledger.news_lost += ledger.engine.never_returned(&found, &mut news);
        for one in news {
            if ledger.news.len() < OPEN_MAX {
                ledger.news.push(one);
            } else {
                ledger.news_lost += 1;
            }
        }
    });
    leaks(memory, found, LeakQuery::default().named_max)
}

/// What is new since somebody asked last.
pub(crate) fn findings(memory: &Memory) -> Vec<Finding> {
    let watch = &memory.watch;
    let (now, least) = (watch.seconds(), watch.patience_min.load(Ordering::Relaxed));
    let mut overdue =
        held_where(memory, |slot| now.saturating_sub(slot.since.load(Ordering::Relaxed)) >= least);
    overdue.retain(|seen| {
        memory.core.known(seen.account).is_some_and(|account| seen.age(now) >= account.patience.seconds())
    });
    let (news, damages, untold) = watch.with_notes(|ledger| {
        overdue.retain(|seen| is_held(memory, &seen.holding));
        let mut news = std::mem::take(&mut ledger.news);
        let no_room = ledger.engine.overdue(now, &overdue, |holding| is_held(memory, holding), &mut news);
        let lost = std::mem::take(&mut ledger.news_lost) + std::mem::take(&mut ledger.damages_lost);
        (news, std::mem::take(&mut ledger.damages), lost + no_room)
    });
    let words = |news: &News| match news {
        News::TooLong(seen) => Finding::HeldTooLong(held(memory, now, seen)),
        News::NeverReturned(seen) => Finding::NeverReturned(held(memory, now, seen)),
        News::Returned(seen) => Finding::Returned(held(memory, now, seen)),
    };
    let mut all: Vec<_> = news.iter().map(words).collect();
    let (of_units, units_untold) =
        crate::counted::findings(memory, now, watch.counted_patience_min.load(Ordering::Relaxed));
    all.extend(of_units);
    let untold = untold + units_untold;
    all.extend(damages.iter().map(|(seen, at)| Finding::WrittenAfterReturn(damage(memory, seen, *at))));
    if untold > 0 {
        all.push(Finding::Untold { findings: untold });
    }
    all
}

fn damage(memory: &Memory, seen: &Seen, at: u64) -> Damage {
    let Held { channel, component, site, slot_bytes, .. } = held(memory, 0, seen);
    Damage { channel, component, site, slot_bytes, at }
}
