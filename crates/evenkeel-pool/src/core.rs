//! The way of a slot: depot, magazine, holder, and back.
//!
//! ```text
//!            take: enters the quota                 take: paid for already
//!   warm  ------------------------> held <-------------------------------- magazine
//!     ^ |                            ^ | give: stays paid for                 ^ |
//!     | | its memory goes            | `--------------------------------------' |
//!     | v                            |                                          |
//!     | cold ------------------------'                                          |
//!     `---- emptied: leaves the quota ------------------------------------------'
//! ```
//!
//! Invariants:
//! 1. A slot is warm, cold, in one magazine, held, or on its way between two of these in one thread's
//!    hands; whatever is not warm or cold is paid for by one account, or on its way between these two.
//! 2. `give` does all that it does to the pool under the lock of its magazine, in which it also looks whether the pool is
//!    [closing](Core::close): so who has closed it, and then had each magazine's lock, knows who is still to come.
//! 3. Who was denied calls for what lies in magazines before it gives up: nobody keeps what another
//!    is entitled to, and a denial was true at some moment between call and return.

mod over;
mod turns;
mod warmth;

use crate::account::{AccountState, ChannelState, Denied, Terms, Wanted};
use crate::counted::Notes;
use crate::depot::Depot;
use crate::magazine::{Entry, Magazine, Opened, ROOM};
use crate::quota::Surplus;
use crate::seat::{SEATS, seat};
use crate::sync::{AtomicI64, AtomicU32, Monitor, Ordering, fence, pause};
use crate::waiting::Waiting;
use over::{CALLERS, OVER};
use std::sync::{Arc, OnceLock};
use warmth::{COLD, Warmth};

pub(crate) use over::Mark;
pub(crate) use warmth::Backing;

/// What a pool that is not closing has in place of how many are still held.
const OPEN: i64 = 1 << 40;

#[derive(Debug)]
pub(crate) struct TierCore {
    pub(crate) slot_bytes: u64,
    /// Slots that a magazine keeps.
    room: u32,
    /// Free slots that have memory, and what was last in it.
    pub(crate) warm: Depot,
    /// Free slots without memory: zeroes.
    pub(crate) cold: Depot,
    pub(crate) surplus: Surplus,
    /// For each slot whether it is held; each on a line of its own.
    pub(crate) held: Box<[Flag]>,
}

/// On a line of its own: neighbours do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Flag(AtomicU32);

impl Flag {
    #[inline]
    fn set(&self, is_held: bool) {
        self.0.store(u32::from(is_held), Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

impl TierCore {
    pub(crate) fn new(slot_bytes: u64, slots: u32) -> Self {
        // What lies in magazines is idle memory: a megabyte is dear.
        let room = match slot_bytes {
            0..=16_384 => ROOM as u32,
            16_385..=131_072 => 4,
            _ => 2,
        };
        Self {
            slot_bytes,
            room: room.min(slots.div_ceil(16)),
            warm: Depot::empty(slots),
            cold: Depot::full(slots),
            surplus: Surplus::new(slots, None),
            held: (0..slots).map(|_| Flag::default()).collect(),
        }
    }

    /// A free slot, one with memory first; marked with [`COLD`] if it has none.
    fn pop(&self) -> Option<u32> {
        self.warm.pop().or_else(|| self.cold.pop().map(|slot| slot | COLD))
    }

    /// Puts back what was popped, as it was.
    fn push(&self, slot: u32) {
        if slot & COLD == 0 {
            self.warm.push(slot);
        } else {
            self.cold.push(slot & !COLD);
        }
    }
}

/// What is counted beside a pool's memory.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) kind: String,
    pub(crate) units: u32,
    pub(crate) surplus: Surplus,
}

/// What limits a pool as a whole, but for its tiers.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Pages that may be held.
    pub(crate) pages_max: u32,
    /// How many pages a channel may borrow for each that stays free.
    pub(crate) borrow_share: Option<u32>,
    /// Bytes of slots that have memory.
    pub(crate) resident_max: u64,
    pub(crate) counters: Box<[Counter]>,
    pub(crate) accounts_max: usize,
}

/// What is left to do for whoever gave a slot back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Given {
    /// Nothing.
    Back,
    /// The pool is closed, and this was the last that was held: its memory can go.
    Last,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) tiers: Box<[TierCore]>,
    /// Pages that are nobody's reserve, and not lent.
    pub(crate) pages: Surplus,
    /// Pages that may be held.
    pub(crate) pages_max: u32,
    pub(crate) counters: Box<[Counter]>,
    pub(crate) warmth: Warmth,
    /// Of each seat one for each tier.
    magazines: Box<[Magazine]>,
    /// Never taken out again while the pool lives: a number always means the same account.
    accounts: Box<[OnceLock<Arc<AccountState>>]>,
    /// In the lower half how many look for what lies in magazines, or wait; meanwhile nothing is put there. In the upper
    /// half how many have more than they may: they put nothing there.
    calls: AtomicU32,
    /// Whether more is held than is lent and reserved.
    over: Mark,
    waiting: Monitor<Waiting>,
    /// Who has what is counted beside the memory.
    pub(crate) notes: Monitor<Notes>,
    /// The channels that are in. Whoever lets one in or out, or changes its limits, does so under this.
    pub(crate) channels: Monitor<Vec<Arc<ChannelState>>>,
    /// [`OPEN`], less those that were given back since it is closing; then how many are still held.
    outstanding: AtomicI64,
    channel_numbers: AtomicU32,
    is_closing: AtomicU32,
}

impl Core {
    pub(crate) fn new(tiers: Box<[TierCore]>, settings: Settings) -> Self {
        let Settings { pages_max, borrow_share, resident_max, counters, accounts_max } = settings;
        let magazines = (0..SEATS * tiers.len()).map(|_| Magazine::default()).collect();
        Self {
            tiers,
            pages: Surplus::new(pages_max, borrow_share),
            pages_max,
            counters,
            warmth: Warmth::new(resident_max),
            magazines,
            accounts: (0..accounts_max).map(|_| OnceLock::new()).collect(),
            calls: AtomicU32::new(0),
            over: Mark::default(),
            waiting: Monitor::new(Waiting::default()),
            notes: Monitor::new(Notes::default()),
            channels: Monitor::new(Vec::new()),
            outstanding: AtomicI64::new(OPEN),
            channel_numbers: AtomicU32::new(0),
            is_closing: AtomicU32::new(0),
        }
    }

    /// All accounts, with their numbers.
    pub(crate) fn all_accounts(&self) -> impl Iterator<Item = (u32, &AccountState)> {
        let known = self.accounts.iter().map_while(OnceLock::get);
        known.enumerate().map(|(number, account)| (number as u32, &**account))
    }

    /// The account of a number, where there is one.
    pub(crate) fn known(&self, number: u32) -> Option<&AccountState> {
        self.accounts.get(number as usize)?.get().map(|account| &**account)
    }

    #[cfg(evenkeel_pool_loom)]
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Arc<AccountState>> {
        self.accounts.iter().map_while(OnceLock::get)
    }

    /// Takes an account in under the next number; none is left: gives it back.
    pub(crate) fn admit(&self, account: Arc<AccountState>) -> Result<u32, Arc<AccountState>> {
        let mut account = account;
        for (number, place) in self.accounts.iter().enumerate() {
            match place.set(account) {
                Ok(()) => return Ok(number as u32),
                Err(again) => account = again,
            }
        }
        Err(account)
    }

    /// A number that no channel has had.
    pub(crate) fn channel_number(&self) -> u32 {
        self.channel_numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What is nobody's: of the tiers, of the pages, of the kinds.
    pub(crate) fn surpluses(&self) -> Vec<&Surplus> {
        let tiers = self.tiers.iter().map(|tier| &tier.surplus);
        let counters = self.counters.iter().map(|counter| &counter.surplus);
        tiers.chain([&self.pages]).chain(counters).collect()
    }

    /// Which of those that are counted beside the memory it is.
    pub(crate) fn kind(&self, kind: &str) -> Option<usize> {
        self.counters.iter().position(|counter| counter.kind == kind)
    }

    /// All that are counted beside the memory.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.counters.iter().map(|counter| counter.kind.clone()).collect()
    }

    pub(crate) fn account(&self, number: u32) -> &AccountState {
        self.accounts[number as usize].get().expect("invariant: numbers are given to those who are in")
    }

    #[inline]
    fn magazine(&self, tier: usize) -> &Magazine {
        &self.magazines[seat() * self.tiers.len() + tier]
    }

    /// What is to be entered for a slot of a tier.
    pub(crate) fn wanted(&self, tier: usize) -> Wanted<'_> {
        let TierCore { slot_bytes, surplus, .. } = &self.tiers[tier];
        Wanted { tier, bytes: *slot_bytes, slots: surplus, pages: &self.pages }
    }

    /// A slot of a tier, paid for by an account.
    #[inline]
    pub(crate) fn take(&self, tier: usize, account: u32, backing: &impl Backing) -> Result<u32, Denied> {
        let cached = self.magazine(tier).try_open().and_then(|mut opened| opened.take(account));
        let slot = match cached {
            Some(slot) => slot,
            None => self.take_anew(tier, account, false, backing)?,
        };
        self.tiers[tier].held[slot as usize].set(true);
        Ok(slot)
    }

    /// The same, whatever the limits in bytes are. A slot there must be.
    pub(crate) fn take_beyond(
        &self,
        tier: usize,
        account: u32,
        backing: &impl Backing,
    ) -> Result<u32, Denied> {
        let slot = self.take_anew(tier, account, true, backing)?;
        self.mark(self.account(account));
        self.tiers[tier].held[slot as usize].set(true);
        Ok(slot)
    }

    #[cold]
    #[inline(never)]
    fn take_anew(
        &self,
        tier: usize,
        account: u32,
        is_beyond: bool,
        backing: &impl Backing,
    ) -> Result<u32, Denied> {
        let (entered, gave_back) = self.enter(tier, account, self.terms(tier, is_beyond));
        let slot = match entered {
            Ok(slot) => {
                if gave_back {
                    self.serve_who_calls();
                }
                slot
            }
            Err(denied) => self.calling(|| self.call_in(tier, account, is_beyond, denied))?,
        };
        Ok(self.with_memory(tier, slot, backing))
    }

    /// Who was denied calls for slots; meanwhile nothing is put into magazines.
    pub(crate) fn calling<T>(&self, work: impl FnOnce() -> T) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let done = work();
        // Others may have been denied what this one had for a moment.
        if self.calls.fetch_sub(1, Ordering::SeqCst) & CALLERS > 1 {
            self.serve_waiting();
        }
        done
    }

    /// Serves whoever waits, if there may be somebody: what was given back before this is seen by whoever
    /// calls later.
    fn serve_who_calls(&self) {
        fence(Ordering::SeqCst);
        if self.calls.load(Ordering::Relaxed) & CALLERS != 0 {
            self.serve_waiting();
        }
    }

    /// How somebody who did not wait comes in: out of turn nobody borrows what others wait for.
    fn terms(&self, tier: usize, is_beyond: bool) -> Terms {
        let is_called = self.calls.load(Ordering::Relaxed) & CALLERS != 0;
        if is_called {
            self.turns(tier, is_beyond)
        } else {
            Terms { borrows_slots: true, borrows_bytes: true, is_beyond }
        }
    }

    /// Lets an account in, and finds a slot for it; with that whether something was given back on the way.
    fn enter(&self, tier: usize, account: u32, terms: Terms) -> (Result<u32, Denied>, bool) {
        let (entered, gave_back) = self.account(account).enter(self.wanted(tier), terms);
        if let Err(denied) = entered {
            self.is_less(account);
            return (Err(denied), gave_back);
        }
        // Whoever is let in finds a slot: it was put back before its quota was.
        let mut turn = 0;
        loop {
            if let Some(slot) = self.tiers[tier].pop() {
                return (Ok(slot), gave_back);
            }
            pause(turn);
            turn += 1;
        }
    }

    /// Looks through the magazines of all threads for what keeps an account out: those of the tier, and once it is
    /// bytes that are missing, those of all.
    fn call_in(&self, tier: usize, account: u32, is_beyond: bool, denied: Denied) -> Result<u32, Denied> {
        let tiers = self.tiers.len();
        let mut denied = denied;
        loop {
            let all = denied.is_of_bytes();
            for seat in 0..SEATS {
                if let Some(slot) = self.magazines[seat * tiers + tier].open().take(account) {
                    return Ok(slot);
                }
                for of_tier in (0..tiers).filter(|of_tier| all || *of_tier == tier) {
                    self.empty(seat, of_tier);
                }
                match self.enter(tier, account, self.terms(tier, is_beyond)).0 {
                    Ok(slot) => return Ok(slot),
                    Err(now) => denied = now,
                }
            }
            if all || !denied.is_of_bytes() {
                return Err(denied);
            }
        }
    }

    /// Puts what is in a magazine back to the free ones.
    fn empty(&self, seat: usize, tier: usize) {
        let mut opened = self.magazines[seat * self.tiers.len() + tier].open();
        while let Some(entry) = opened.take_any() {
            self.put_back(tier, entry);
        }
    }

    /// Empties all magazines.
    pub(crate) fn empty_all(&self) {
        for seat in 0..SEATS {
            for tier in 0..self.tiers.len() {
                self.empty(seat, tier);
            }
        }
    }

    fn put_back(&self, tier: usize, entry: Entry) {
        self.tiers[tier].warm.push(entry.slot);
        self.leave(tier, entry.account);
    }

    /// An account has one slot less, which is where others find it.
    fn leave(&self, tier: usize, account: u32) {
        self.account(account).leave(self.wanted(tier));
        self.is_less(account);
    }

    /// An account has less than it had: it may be over a limit no more.
    fn is_less(&self, account: u32) {
        if self.calls.load(Ordering::Relaxed) >= OVER {
            self.unmark(account);
        }
    }

    /// Gives a slot back that an account paid for. The pool may be gone when this has returned.
    #[inline]
    pub(crate) fn give(&self, tier: usize, slot: u32, account: u32) -> Given {
        let mut opened = self.magazine(tier).open();
        let entry = Entry { slot, account };
        if self.calls.load(Ordering::Relaxed) != 0 || self.is_closing.load(Ordering::Relaxed) != 0 {
            return self.give_elsewhere(opened, tier, entry);
        }
        let state = &self.tiers[tier];
        state.held[slot as usize].set(false);
        if let Some(entry) = opened.put(entry, state.room) {
            self.put_back(tier, entry);
        }
        Given::Back
    }

    #[cold]
    #[inline(never)]
    fn give_elsewhere(&self, mut opened: Opened<'_>, tier: usize, entry: Entry) -> Given {
        if self.is_closing.load(Ordering::Relaxed) == 0 {
            let state = &self.tiers[tier];
            state.held[entry.slot as usize].set(false);
            let is_called = self.calls.load(Ordering::Relaxed) & CALLERS != 0;
            let goes_back = if is_called || self.is_marked(entry.account) {
                Some(entry)
            } else {
                opened.put(entry, state.room)
            };
            if let Some(entry) = goes_back {
                self.put_back(tier, entry);
            }
            if is_called {
                self.serve_waiting();
            }
            drop(opened);
            return Given::Back;
        }
        // It stays marked as held: who closes counts the marks, and this takes one off again.
        drop(opened);
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 { Given::Last } else { Given::Back }
    }

    /// No handle is left: nobody takes, and what is held is given back one after the other. Once.
    pub(crate) fn close(&self) -> Given {
        self.is_closing.store(1, Ordering::SeqCst);
        self.empty_all();
        let held: usize =
            self.tiers.iter().map(|tier| tier.held.iter().filter(|flag| flag.is_set()).count()).sum();
        let less = held as i64 - OPEN;
        if self.outstanding.fetch_add(less, Ordering::AcqRel) + less == 0 { Given::Last } else { Given::Back }
    }

    /// Slots of a tier that are held, by their numbers.
    pub(crate) fn held(&self, tier: usize) -> impl Iterator<Item = u32> {
        let flags = self.tiers[tier].held.iter().enumerate();
        flags.filter(|(_, flag)| flag.is_set()).map(|(slot, _)| slot as u32)
    }
}
