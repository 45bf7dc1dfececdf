//! The pool: tiers, accounts, and the way of a slot from one to the other.
#![allow(unsafe_code, reason = "prototype")]

use crate::arena::Arena;
use crate::depot::Depot;
use crate::magazine::{Entry, Magazine, ROOM};
use crate::quota::{Denied, Share, Surplus};
use crate::seat::{SEATS, seat};
use crate::sync::{AtomicU32, Ordering};
use std::io;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, OnceLock};

/// Buffers of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Bytes of a buffer, whole pages.
    pub bytes: usize,
    /// How many there are.
    pub slots: u32,
}

/// No buffer is left for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no buffer left")]
pub struct Exhausted;

#[repr(align(64))]
struct Meta {
    site: AtomicPtr<Location<'static>>,
    account: AtomicU32,
}

struct TierState {
    bytes: usize,
    room: u32,
    arena: Arena,
    depot: Depot,
    surplus: Surplus,
    metas: Box<[Meta]>,
}

struct AccountState {
    shares: Box<[Share]>,
}

struct Inner {
    tiers: Box<[TierState]>,
    magazines: Box<[Magazine]>,
    accounts: Box<[OnceLock<AccountState>]>,
    accounts_used: AtomicU32,
    calls: AtomicU32,
}

/// Tiers of buffers.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

/// Who may take buffers.
#[derive(Clone)]
pub struct Account {
    inner: Arc<Inner>,
    id: u32,
}

/// A buffer.
pub struct Buffer {
    inner: NonNull<Inner>,
    at: NonNull<u8>,
    len: usize,
    slot: u32,
    account: u32,
    tier: u32,
}

unsafe impl Send for Buffer {}

impl Pool {
    /// Reserves all tiers.
    pub fn new(tiers: &[Tier], accounts_max: usize) -> io::Result<Self> {
        let tier = |tier: &Tier| {
            Ok(TierState {
                bytes: tier.bytes,
                room: if tier.bytes <= 16 << 10 { ROOM as u32 } else if tier.bytes <= 128 << 10 { 4 } else { 2 },
                arena: Arena::reserve(tier.bytes, tier.slots as usize)?,
                depot: Depot::full(tier.slots),
                surplus: Surplus::new(tier.slots),
                metas: (0..tier.slots)
                    .map(|_| Meta { site: AtomicPtr::default(), account: AtomicU32::new(0) })
                    .collect(),
            })
        };
        let states: Box<[_]> = tiers.iter().map(tier).collect::<io::Result<_>>()?;
        let magazines = (0..SEATS * states.len()).map(|_| Magazine::default()).collect();
        Ok(Self(Arc::new(Inner {
            tiers: states,
            magazines,
            accounts: (0..accounts_max).map(|_| OnceLock::new()).collect(),
            accounts_used: AtomicU32::new(0),
            calls: AtomicU32::new(0),
        })))
    }

    /// A new account.
    pub fn account(&self, cap: u32) -> Account {
        let id = self.0.accounts_used.fetch_add(1, Ordering::Relaxed);
        let shares = self.0.tiers.iter().map(|_| Share::new(0, cap)).collect();
        let _ = self.0.accounts[id as usize].set(AccountState { shares });
        Account { inner: self.0.clone(), id }
    }
}

impl Inner {
    #[inline]
    fn magazine(&self, tier: u32) -> &Magazine {
        &self.magazines[seat() * self.tiers.len() + tier as usize]
    }

    #[cold]
    #[inline(never)]
    fn take_slow(&self, tier: u32, account: u32) -> Result<u32, Exhausted> {
        let state = &self.tiers[tier as usize];
        let share = &self.accounts[account as usize].get().ok_or(Exhausted)?.shares[tier as usize];
        let mut denied = match share.enter(&state.surplus) {
            Ok(()) => return Ok(self.pop(state, tier)),
            Err(denied) => denied,
        };
        // What is in magazines is counted as somebody's.
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut taken = None;
        'all: for magazine in self.magazines.iter().skip(tier as usize).step_by(self.tiers.len()) {
            let mut opened = magazine.open();
            if let Some(slot) = opened.take(account) {
                taken = Some(slot);
                break 'all;
            }
            if denied == Denied::Surplus {
                while let Some(entry) = opened.take_any() {
                    self.put_back(state, tier, entry);
                }
                match share.enter(&state.surplus) {
                    Ok(()) => {
                        taken = Some(self.pop(state, tier));
                        break 'all;
                    }
                    Err(now) => denied = now,
                }
            }
        }
        self.calls.fetch_sub(1, Ordering::SeqCst);
        taken.ok_or(Exhausted)
    }

    /// Whoever is let in finds a slot, if not at once.
    fn pop(&self, state: &TierState, _tier: u32) -> u32 {
        let mut turn = 0;
        loop {
            if let Some(slot) = state.depot.pop() {
                return slot;
            }
            crate::sync::pause(turn);
            turn += 1;
        }
    }

    fn put_back(&self, state: &TierState, tier: u32, entry: Entry) {
        state.depot.push(entry.slot);
        if let Some(account) = self.accounts[entry.account as usize].get() {
            account.shares[tier as usize].leave(&state.surplus);
        }
    }

    #[cold]
    #[inline(never)]
    fn give_slow(&self, tier: u32, entry: Entry) {
        self.put_back(&self.tiers[tier as usize], tier, entry);
    }
}

impl Account {
    /// A buffer of a tier.
    #[inline]
    #[track_caller]
    pub fn acquire(&self, tier: u32) -> Result<Buffer, Exhausted> {
        let inner = &*self.inner;
        let state = &inner.tiers[tier as usize];
        let cached = inner.magazine(tier).try_open().and_then(|mut opened| opened.take(self.id));
        let slot = match cached {
            Some(slot) => slot,
            None => inner.take_slow(tier, self.id)?,
        };
        let meta = &state.metas[slot as usize];
        meta.site.store(std::ptr::from_ref(Location::caller()).cast_mut(), Ordering::Relaxed);
        meta.account.store(self.id, Ordering::Relaxed);
        Ok(Buffer {
            inner: NonNull::from(inner),
            at: state.arena.slot(slot),
            len: state.bytes,
            slot,
            account: self.id,
            tier,
        })
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: prototype: the pool outlives it.
        let inner = unsafe { self.inner.as_ref() };
        let state = &inner.tiers[self.tier as usize];
        let entry = Entry { slot: self.slot, account: self.account };
        let left = match inner.magazine(self.tier).try_open() {
            Some(mut opened) if inner.calls.load(Ordering::Relaxed) == 0 => opened.put(entry, state.room),
            _ => Some(entry),
        };
        if let Some(entry) = left {
            inner.give_slow(self.tier, entry);
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}
