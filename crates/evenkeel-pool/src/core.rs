//! The way of a slot: depot, magazine, holder, and back.
//!
//! ```text
//!            take: enters the quota                 take: paid for already
//!   depot ------------------------> held <-------------------------------- magazine
//!     ^                              | give: stays paid for                   ^ |
//!     |                              `----------------------------------------' |
//!     `---- emptied: leaves the quota ------------------------------------------'
//! ```
//!
//! Invariants:
//! 1. A slot is in the depot, in one magazine, held, or on its way between two of these in one thread's
//!    hands; whatever is not in the depot is paid for by one account.
//! 2. `give` does all that it does to the pool under the lock of its magazine, in which it also looks whether the pool is
//!    [closing](Core::close): so who has closed it, and then had each magazine's lock, knows who is still to come.
//! 3. Who was denied calls for what lies in magazines before it gives up: nobody keeps what another
//!    is entitled to, and a denial was true at some moment between call and return.

use crate::account::{AccountState, Denied};
use crate::depot::Depot;
use crate::magazine::{Entry, Magazine, Opened, ROOM};
use crate::quota::Surplus;
use crate::seat::{SEATS, seat};
use crate::sync::{AtomicI64, AtomicU32, Monitor, Ordering, pause};
use crate::waiting::Waiting;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What a pool that is not closing has in place of how many are still held.
const OPEN: i64 = 1 << 40;

#[derive(Debug)]
pub(crate) struct TierCore {
    pub(crate) slot_bytes: u64,
    /// Slots that a magazine keeps.
    room: u32,
    pub(crate) depot: Depot,
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
            depot: Depot::full(slots),
            surplus: Surplus::new(slots),
            held: (0..slots).map(|_| Flag::default()).collect(),
        }
    }
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
    /// Of each seat one for each tier.
    magazines: Box<[Magazine]>,
    /// Never taken out again while the pool lives: a number always means the same account.
    accounts: Box<[OnceLock<Arc<AccountState>>]>,
    /// How many look for what lies in magazines, or wait; meanwhile nothing is put there.
    calls: AtomicU32,
    waiting: Monitor<Waiting>,
    /// [`OPEN`], less those that were given back since it is closing; then how many are still held.
    outstanding: AtomicI64,
    channels: AtomicU32,
    is_closing: AtomicU32,
}

impl Core {
    pub(crate) fn new(tiers: Box<[TierCore]>, accounts_max: usize) -> Self {
        let magazines = (0..SEATS * tiers.len()).map(|_| Magazine::default()).collect();
        Self {
            tiers,
            magazines,
            accounts: (0..accounts_max).map(|_| OnceLock::new()).collect(),
            calls: AtomicU32::new(0),
            waiting: Monitor::new(Waiting::default()),
            outstanding: AtomicI64::new(OPEN),
            channels: AtomicU32::new(0),
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
        self.channels.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn account(&self, number: u32) -> &AccountState {
        self.accounts[number as usize].get().expect("invariant: numbers are given to those who are in")
    }

    #[inline]
    fn magazine(&self, tier: usize) -> &Magazine {
        &self.magazines[seat() * self.tiers.len() + tier]
    }

    /// A slot of a tier, paid for by an account.
    #[inline]
    pub(crate) fn take(&self, tier: usize, account: u32) -> Result<u32, Denied> {
        let cached = self.magazine(tier).try_open().and_then(|mut opened| opened.take(account));
        let slot = match cached {
            Some(slot) => slot,
            None => self.take_anew(tier, account)?,
        };
        self.tiers[tier].held[slot as usize].set(true);
        Ok(slot)
    }

    #[cold]
    #[inline(never)]
    fn take_anew(&self, tier: usize, account: u32) -> Result<u32, Denied> {
        match self.enter(tier, account, !self.is_wanted(tier)) {
            Ok(slot) => Ok(slot),
            Err(denied) => self.calling(|| self.call_in(tier, account, denied)),
        }
    }

    /// The same; where there is none, one that others give back until then, in turn with others that wait.
    ///
    /// Until the time is over the answer is a slot; after it why there was none.
    pub(crate) fn take_until(&self, tier: usize, account: u32, until: Instant) -> Result<u32, Denied> {
        let denied = match self.take(tier, account) {
            Ok(slot) => return Ok(slot),
            Err(denied) => denied,
        };
        let channel = self.account(account).channel.number;
        let slot = self.calling(|| {
            let (ticket, signal) = self.waiting.with(|waiting| waiting.join(tier, account, channel));
            // What was given back before anybody knew of this one.
            self.empty_all();
            self.waiting.with(|waiting| self.serve(waiting));
            self.waiting.wait(&signal, until, |waiting| waiting.found(ticket));
            self.waiting.with(|waiting| waiting.leave(ticket))
        });
        let slot = slot.ok_or(denied)?;
        self.tiers[tier].held[slot as usize].set(true);
        Ok(slot)
    }

    fn calling<T>(&self, work: impl FnOnce() -> T) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let done = work();
        self.calls.fetch_sub(1, Ordering::SeqCst);
        done
    }

    /// Whether somebody waits for what is lent of a tier: then nobody borrows out of turn.
    fn is_wanted(&self, tier: usize) -> bool {
        self.calls.load(Ordering::Relaxed) != 0 && self.waiting.with(|waiting| waiting.wants(tier))
    }

    fn serve(&self, waiting: &mut Waiting) {
        waiting.serve(|tier, account| self.enter(tier, account, true).ok());
    }

    fn enter(&self, tier: usize, account: u32, may_borrow: bool) -> Result<u32, Denied> {
        let state = &self.tiers[tier];
        self.account(account).enter(tier, state.slot_bytes, &state.surplus, may_borrow)?;
        // Whoever is let in finds a slot: it was put back before its quota was.
        let mut turn = 0;
        loop {
            if let Some(slot) = state.depot.pop() {
                return Ok(slot);
            }
            pause(turn);
            turn += 1;
        }
    }

    /// Looks through the magazines of all threads for what keeps an account out.
    fn call_in(&self, tier: usize, account: u32, mut denied: Denied) -> Result<u32, Denied> {
        let tiers = self.tiers.len();
        for seat in 0..SEATS {
            let mut opened = self.magazines[seat * tiers + tier].open();
            if let Some(slot) = opened.take(account) {
                return Ok(slot);
            }
            drop(opened);
            for of_tier in 0..tiers {
                // Only a component's bytes are counted over all tiers.
                if of_tier == tier || denied == Denied::Component {
                    self.empty(seat, of_tier);
                }
            }
            match self.enter(tier, account, !self.is_wanted(tier)) {
                Ok(slot) => return Ok(slot),
                Err(now) => denied = now,
            }
        }
        Err(denied)
    }

    /// Puts what is in a magazine back into the depot.
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
        let state = &self.tiers[tier];
        state.depot.push(entry.slot);
        self.account(entry.account).leave(tier, state.slot_bytes, &state.surplus);
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
    fn give_elsewhere(&self, opened: Opened<'_>, tier: usize, entry: Entry) -> Given {
        if self.is_closing.load(Ordering::Relaxed) == 0 {
            self.tiers[tier].held[entry.slot as usize].set(false);
            self.put_back(tier, entry);
            self.waiting.with(|waiting| self.serve(waiting));
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
