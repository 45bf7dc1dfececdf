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
//! 2. `give` does all that it does to the pool under the lock of one magazine of the tier, in which it also looks whether
//!    the pool is [closing](Core::close): so who has closed it, and then had each magazine's lock, knows who is still to
//!    come.
//! 3. Who was denied calls for what lies in magazines before it gives up: nobody keeps what another
//!    is entitled to, and a denial was true at some moment between call and return.
//! 4. A slot goes back to the magazine of the seat that it was taken on, if nobody is in that at the moment, and otherwise
//!    to that of the thread that gives it back. So where one thread takes and another gives back, the first finds them
//!    again, and the books are not asked. Whose thread is gone has its seat's magazine, which whoever calls looks through.

mod over;
mod turns;
mod warmth;

use crate::account::{AccountState, ChannelState, Denied, Terms, Wanted};
use crate::counted::Notes;
use crate::depot::Depot;
use crate::magazine::{Entry, Magazine, Opened, ROOM};
use crate::quota::Surplus;
use crate::seat::{SEATS, seat, seated};
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
    /// For each slot whether it is held.
    pub(crate) held: Box<[Flag]>,
    /// Of each seat one.
    magazines: Box<[Magazine; SEATS]>,
}

const _: () = assert!(SEATS.is_power_of_two(), "a seat is found without a division");

/// Whether a slot is held, and on which seat it was taken. On a line of its own: neighbours do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Flag(AtomicU32);

impl Flag {
    #[inline]
    fn set(&self, seat: usize) {
        self.0.store(seat as u32 + 1, Ordering::Relaxed);
    }

    #[inline]
    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// On which seat it was taken, while it is held.
    #[inline]
    fn seat(&self) -> usize {
        self.0.load(Ordering::Relaxed).wrapping_sub(1) as usize
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
            magazines: Box::new(std::array::from_fn(|_| Magazine::default())),
        }
    }

    #[inline]
    fn magazine(&self, seat: usize) -> &Magazine {
        &self.magazines[seat % SEATS]
    }

    /// Whoever is on this seat has the slot now.
    pub(crate) fn hold(&self, slot: u32) {
        self.held[slot as usize].set(seat());
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
        Self {
            tiers,
            pages: Surplus::new(pages_max, borrow_share),
            pages_max,
            counters,
            warmth: Warmth::new(resident_max),
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

    /// What is to be entered for a slot of a tier.
    pub(crate) fn wanted(&self, tier: usize) -> Wanted<'_> {
        let TierCore { slot_bytes, surplus, .. } = &self.tiers[tier];
        Wanted { tier, bytes: *slot_bytes, slots: surplus, pages: &self.pages }
    }

    /// A slot of a tier, paid for by an account.
    // What is seldom stands apart, also here and in `give`: a call in the middle costs more than these few moves.
    #[inline]
    pub(crate) fn take(&self, tier: usize, account: u32, backing: &impl Backing) -> Result<u32, Denied> {
        let Some(seat) = seated() else { return self.take_seated(tier, account, backing) };
        let state = &self.tiers[tier];
        let mut opened = state.magazine(seat).try_open();
        if let Some(opened) = &mut opened
            && let Some(slot) = opened.take_top(account)
        {
            state.held[slot as usize].set(seat);
            return Ok(slot);
        }
        self.take_past_top(opened, tier, account, backing)
    }

    #[cold]
    #[inline(never)]
    fn take_seated(&self, tier: usize, account: u32, backing: &impl Backing) -> Result<u32, Denied> {
        let opened = self.tiers[tier].magazine(seat()).try_open();
        self.take_past_top(opened, tier, account, backing)
    }

    #[inline(never)]
    fn take_past_top(
        &self,
        opened: Option<Opened<'_>>,
        tier: usize,
        account: u32,
        backing: &impl Backing,
    ) -> Result<u32, Denied> {
        let slot = match opened.and_then(|mut opened| opened.take(account)) {
            Some(slot) => slot,
            None => self.take_anew(tier, account, false, backing)?,
        };
        self.tiers[tier].hold(slot);
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
        self.tiers[tier].hold(slot);
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
        let mut denied = denied;
        loop {
            let all = denied.is_of_bytes();
            for seat in 0..SEATS {
                if let Some(slot) = self.tiers[tier].magazine(seat).open().take(account) {
                    return Ok(slot);
                }
                let of_tiers = (0..self.tiers.len()).filter(|of_tier| all || *of_tier == tier);
                let mut had_any = false;
                for of_tier in of_tiers {
                    had_any |= self.empty(seat, of_tier);
                }
                // Most are empty. After the last it asks once more, for what others gave back meanwhile.
                if had_any || seat == SEATS - 1 {
                    match self.enter(tier, account, self.terms(tier, is_beyond)).0 {
                        Ok(slot) => return Ok(slot),
                        Err(now) => denied = now,
                    }
                }
            }
            if all || !denied.is_of_bytes() {
                return Err(denied);
            }
        }
    }

    /// Puts what is in a magazine back to the free ones; whether there was any.
    fn empty(&self, seat: usize, tier: usize) -> bool {
        let mut opened = self.tiers[tier].magazine(seat).open();
        let mut had_any = false;
        while let Some(entry) = opened.take_any() {
            self.put_back(tier, entry);
            had_any = true;
        }
        had_any
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
        self.put_all_back(tier, entry.account, &[entry.slot]);
    }

    /// Puts slots that one account paid for back to the free ones, the last on top: first all of them, then what was paid.
    fn put_all_back(&self, tier: usize, account: u32, slots: &[u32]) {
        self.tiers[tier].warm.push_all(slots);
        self.leave(tier, account, slots.len() as u32);
    }

    /// An account has so many slots less, which are where others find them.
    fn leave(&self, tier: usize, account: u32, slots: u32) {
        self.account(account).leave(self.wanted(tier), slots);
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
        let state = &self.tiers[tier];
        let held = &state.held[slot as usize];
        match state.magazine(held.seat()).try_open() {
            Some(opened) => self.give_into(opened, state, held, tier, Entry { slot, account }),
            None => self.give_here(tier, Entry { slot, account }),
        }
    }

    /// Gives it to this thread's own magazine.
    #[inline(never)]
    fn give_here(&self, tier: usize, entry: Entry) -> Given {
        let state = &self.tiers[tier];
        let opened = state.magazine(seat()).open();
        self.give_into(opened, state, &state.held[entry.slot as usize], tier, entry)
    }

    #[inline(always)]
    fn give_into(
        &self,
        mut opened: Opened<'_>,
        state: &TierCore,
        held: &Flag,
        tier: usize,
        entry: Entry,
    ) -> Given {
        if self.calls.load(Ordering::Relaxed) != 0 || self.is_closing.load(Ordering::Relaxed) != 0 {
            return self.give_elsewhere(opened, tier, entry);
        }
        held.clear();
        if opened.put(entry, state.room) {
            return Given::Back;
        }
        self.make_room(opened, tier, entry)
    }

    /// Puts a slot into a magazine that is full: the oldest go, some at once, so that the next find room.
    #[cold]
    #[inline(never)]
    fn make_room(&self, mut opened: Opened<'_>, tier: usize, entry: Entry) -> Given {
        let room = self.tiers[tier].room;
        if let Some(oldest) = opened.push_out(room.div_ceil(2)) {
            self.put_all_back(tier, oldest.account, oldest.slots());
        }
        // A pool of a few slots has no room at all.
        if !opened.put(entry, room) {
            self.put_back(tier, entry);
        }
        Given::Back
    }

    #[cold]
    #[inline(never)]
    fn give_elsewhere(&self, mut opened: Opened<'_>, tier: usize, entry: Entry) -> Given {
        if self.is_closing.load(Ordering::Relaxed) == 0 {
            let state = &self.tiers[tier];
            state.held[entry.slot as usize].clear();
            let is_called = self.calls.load(Ordering::Relaxed) & CALLERS != 0;
            if is_called || self.is_marked(entry.account) {
                self.put_back(tier, entry);
            } else if !opened.put(entry, state.room) {
                return self.make_room(opened, tier, entry);
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
