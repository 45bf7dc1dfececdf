//! Who has more than it may: since its limits were lowered, or since it took beyond them.
//!
//! What lies in magazines is paid for, and taken again without asking. So whoever is over a limit has nothing there: what it
//! gives back goes to the free ones, until it is within its limits again.
//!
//! Invariants:
//! 1. Who is over is marked, after it became so; marks are counted in the upper half of the core's `calls`, so that
//!    nobody looks for them as long as there are none.
//! 2. A mark is taken off by whoever gives back, who looks once more after it has: one that was set meanwhile stays. Who
//!    sets one looks once more likewise: whose last was given back meanwhile has nobody else to take it off.

use super::Core;
use crate::account::{AccountState, ChannelState};
use crate::quota::Share;
use crate::sync::{AtomicU32, Ordering};

/// One mark, in `calls`.
pub(super) const OVER: u32 = 1 << 16;
/// The callers, in `calls`.
pub(super) const CALLERS: u32 = OVER - 1;

/// Whether somebody has more than it may.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU32);

impl Mark {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

impl Core {
    /// Marks an account, its channel and the pool, where they have more than they may; then nothing of theirs lies in
    /// magazines.
    pub(crate) fn mark(&self, account: &AccountState) {
        let marked = self.whose(account).map(|(mark, who)| who.is_over() && self.set(mark));
        if marked.contains(&true) {
            self.empty_all();
            // Who gave back before the marks were set did not take them off.
            self.whose(account).into_iter().for_each(|(mark, who)| self.take_off(mark, who));
        }
    }

    /// Marks a channel, where it has more than it may.
    pub(crate) fn mark_channel(&self, channel: &ChannelState) {
        if Who::Channel(channel).is_over() && self.set(&channel.over) {
            self.empty_all();
            self.take_off(&channel.over, Who::Channel(channel));
        }
    }

    /// Whether what an account gives back goes to the free ones.
    pub(super) fn is_marked(&self, account: u32) -> bool {
        self.whose(self.account(account)).iter().any(|(mark, _)| mark.is_set())
    }

    /// Takes off the marks of those who are within their limits again.
    pub(super) fn unmark(&self, account: u32) {
        self.whose(self.account(account)).into_iter().for_each(|(mark, who)| self.take_off(mark, who));
    }

    fn take_off(&self, mark: &Mark, who: Who<'_>) {
        if mark.is_set() && !who.is_over() && mark.0.swap(0, Ordering::AcqRel) != 0 {
            self.calls.fetch_sub(OVER, Ordering::SeqCst);
            if who.is_over() {
                self.set(mark);
            }
        }
    }

    /// How many have more than they may.
    #[cfg(evenkeel_pool_loom)]
    pub(crate) fn marks(&self) -> u32 {
        self.calls.load(Ordering::SeqCst) / OVER
    }

    fn set(&self, mark: &Mark) -> bool {
        let is_new = mark.0.swap(1, Ordering::AcqRel) == 0;
        if is_new {
            self.calls.fetch_add(OVER, Ordering::SeqCst);
        }
        is_new
    }

    /// Whose marks matter for an account: its own, its channel's, the pool's.
    fn whose<'a>(&'a self, account: &'a AccountState) -> [(&'a Mark, Who<'a>); 3] {
        let channel = &account.channel;
        [
            (&account.over, Who::Component(account)),
            (&channel.over, Who::Channel(channel)),
            (&self.over, Who::Pool(self)),
        ]
    }
}

/// Who may be over a limit.
#[derive(Clone, Copy)]
enum Who<'a> {
    Component(&'a AccountState),
    Channel(&'a ChannelState),
    Pool(&'a Core),
}

impl Who<'_> {
    fn is_over(self) -> bool {
        match self {
            Self::Component(account) => account.bytes() > account.bytes_max(),
            Self::Channel(channel) => channel.shares.iter().chain([&channel.pages]).any(Share::is_over),
            Self::Pool(core) => core.pages.free() < 0,
        }
    }
}
