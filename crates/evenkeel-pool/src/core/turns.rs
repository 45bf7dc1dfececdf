//! Waiting for what is lent: in turn, and all of it at once.

use super::{Backing, Core};
use crate::account::{AccountState, Denied, Terms};
use crate::chain;
use crate::quota::Denied as ShareDenied;
use crate::waiting::{Ahead, Blocked, Found, Waiting, Want};
use std::time::Instant;

impl Core {
    /// A slot of a tier; where there is none, one that others give back until then, in turn with others that wait.
    ///
    /// Until the time is over the answer is a slot, or why there can never be one; after it why there was none.
    pub(crate) fn take_until(
        &self,
        tier: usize,
        account: u32,
        until: Instant,
        backing: &impl Backing,
    ) -> Result<u32, Denied> {
        let denied = match self.take(tier, account, backing) {
            Ok(slot) => return Ok(slot),
            Err(denied) => denied,
        };
        match self.wait(Want::Slot(tier), account, until) {
            Ok(Found::Slots(found)) => found.into_iter().next().ok_or(denied).map(|(tier, slot)| {
                let slot = self.with_memory(tier, slot, backing);
                self.tiers[tier].hold(slot);
                slot
            }),
            Err(Some(never)) => Err(never),
            _ => Err(denied),
        }
    }

    /// Slots with room for so many bytes together, as a [chain](chain::compose), that others give back until then. Otherwise why
    /// there can never be such, if that is so.
    pub(crate) fn wait_for_chain(
        &self,
        bytes: usize,
        account: u32,
        until: Instant,
        backing: &impl Backing,
    ) -> Result<Vec<(usize, u32)>, Option<Denied>> {
        let Found::Slots(mut found) = self.wait(Want::Chain(bytes), account, until)? else {
            return Err(None);
        };
        for (tier, slot) in &mut found {
            *slot = self.with_memory(*tier, *slot, backing);
            self.tiers[*tier].hold(*slot);
        }
        Ok(found)
    }

    /// So many units of a kind, or why not.
    pub(crate) fn count(&self, kind: usize, account: u32, units: u32) -> Result<(), Denied> {
        let state = &self.counters[kind].surplus;
        // Under the lock: nobody has for a moment what another is denied.
        self.waiting.with(|waiting| {
            let may_borrow = !waiting.ahead().contains(Ahead::kind(kind));
            let entered = self.account(account).channel.counted[kind].enter(units, state, may_borrow);
            entered.map(drop).map_err(Denied::of_units)
        })
    }

    /// The same, until then.
    pub(crate) fn count_until(
        &self,
        kind: usize,
        account: u32,
        units: u32,
        until: Instant,
    ) -> Result<(), Denied> {
        let Err(denied) = self.count(kind, account, units) else { return Ok(()) };
        let found = self.wait(Want::Units { kind, units }, account, until);
        found.map(drop).map_err(|never| never.unwrap_or(denied))
    }

    /// Gives so many units of a kind back.
    pub(crate) fn uncount(&self, kind: usize, account: u32, units: u32) {
        self.waiting.with(|waiting| {
            self.account(account).channel.counted[kind].leave(units, &self.counters[kind].surplus);
            self.serve(waiting);
        });
    }

    /// What was found until then. Otherwise why it never will be, if that is so.
    fn wait(&self, want: Want, account: u32, until: Instant) -> Result<Found, Option<Denied>> {
        if matches!(want, Want::Units { .. }) {
            // Magazines have none of these.
            return self.wait_in_turn(want, account, until);
        }
        self.calling(|| self.wait_in_turn(want, account, until))
    }

    fn wait_in_turn(&self, want: Want, account: u32, until: Instant) -> Result<Found, Option<Denied>> {
        let channel = self.account(account).channel.number;
        let (ticket, signal) = self.waiting.with(|waiting| waiting.join(want, account, channel));
        // Of limits that changed before anybody knew of this one nobody tells it.
        let can_ever = self.channels.with(|_| self.can_ever(want, account));
        if let Err(denied) = can_ever {
            self.waiting.with(|waiting| waiting.refuse(ticket, denied));
        } else {
            if !matches!(want, Want::Units { .. }) {
                // What was given back before anybody knew of this one.
                self.empty_all();
            }
            self.serve_waiting();
            self.waiting.wait(&signal, until, |waiting| waiting.is_served(ticket).then_some(()));
        }
        self.waiting.with(|waiting| {
            let found = waiting.leave(ticket);
            if matches!(found, None | Some(Found::Never(_))) {
                // Others may have waited behind this one.
                self.serve(waiting);
            }
            match found {
                Some(Found::Never(denied)) => Err(Some(denied)),
                found => found.ok_or(None),
            }
        })
    }

    /// Whether what somebody wants can be had at all, when everything is given back. To be asked under the lock of the channels:
    /// while one is let in or out its limits are for a moment what they never will be.
    fn can_ever(&self, want: Want, account: u32) -> Result<(), Denied> {
        let state = self.account(account);
        match want {
            Want::Slot(tier) => state.can_ever(self.wanted(tier)),
            Want::Chain(bytes) => self.can_ever_chain(bytes, state),
            Want::Units { kind, units } => {
                let can_ever = state.channel.counted[kind].can_ever(units, &self.counters[kind].surplus);
                can_ever.map_err(Denied::of_units)
            }
        }
    }

    /// Limits have changed: tells those who wait for what they can never have now, and serves who can be. To be called with
    /// nothing of the pool's locked.
    pub(crate) fn limits_changed(&self) {
        let waits = self.waiting.with(|waiting| waiting.unserved());
        let never = |(ticket, want, account)| Some((ticket, self.can_ever(want, account).err()?));
        let in_vain: Vec<_> = self.channels.with(|_| waits.into_iter().filter_map(never).collect());
        self.waiting.with(|waiting| {
            in_vain.into_iter().for_each(|(ticket, denied)| waiting.refuse(ticket, denied));
            self.serve(waiting);
        });
    }

    /// How many wait.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.with(|waiting| waiting.unserved().len())
    }

    /// How somebody comes in while others call.
    #[cold]
    pub(super) fn turns(&self, tier: usize, is_beyond: bool) -> Terms {
        self.waiting.with(|waiting| terms(waiting.ahead(), tier, is_beyond))
    }

    pub(crate) fn serve_waiting(&self) {
        self.waiting.with(|waiting| self.serve(waiting));
    }

    fn serve(&self, waiting: &mut Waiting) {
        waiting.serve(|want, account, ahead| match want {
            Want::Slot(tier) => {
                self.slot_for(tier, account, ahead).map(|slot| Found::Slots(vec![(tier, slot)]))
            }
            Want::Chain(bytes) => self.chain_for(bytes, account, ahead).map(Found::Slots),
            Want::Units { kind, units } => {
                let may_borrow = !ahead.contains(Ahead::kind(kind));
                let share = &self.account(account).channel.counted[kind];
                match share.enter(units, &self.counters[kind].surplus, may_borrow) {
                    Ok(_) => Ok(Found::Units),
                    Err(ShareDenied::Surplus) => Err(Blocked(Ahead::kind(kind))),
                    Err(_) => Err(Blocked::default()),
                }
            }
        });
    }

    fn slot_for(&self, tier: usize, account: u32, ahead: Ahead) -> Result<u32, Blocked> {
        self.enter(tier, account, terms(ahead, tier, false)).0.map_err(|denied| match denied {
            Denied::Surplus => Blocked(Ahead::tier(tier)),
            Denied::PoolBytes => Blocked(Ahead::BYTES),
            _ => Blocked::default(),
        })
    }

    fn chain_for(&self, bytes: usize, account: u32, ahead: Ahead) -> Result<Vec<(usize, u32)>, Blocked> {
        let mut found = Vec::new();
        let composed = chain::compose(bytes, &self.sizes(), |tier| {
            found.push((tier, self.slot_for(tier, account, ahead)?));
            Ok(())
        });
        composed.map(|()| std::mem::take(&mut found)).inspect_err(|_| {
            for (tier, slot) in found {
                self.tiers[tier].push(slot);
                self.leave(tier, account, 1);
            }
        })
    }

    /// Bytes of the slots of each tier.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.tiers.iter().map(|tier| tier.slot_bytes as usize).collect()
    }

    fn can_ever_chain(&self, bytes: usize, state: &AccountState) -> Result<(), Denied> {
        let mut slots: Vec<u32> = (self.tiers.iter().zip(&state.channel.shares))
            .map(|(tier, share)| share.most(&tier.surplus))
            .collect();
        let mut bytes_all = 0;
        chain::compose(bytes, &self.sizes(), |tier| {
            slots[tier] = slots[tier].checked_sub(1).ok_or_else(|| {
                // As many as it may have, or as many as there can be.
                let all = self.tiers[tier].held.len() as u32;
                if state.channel.shares[tier].limits().1 < all { Denied::Channel } else { Denied::Surplus }
            })?;
            bytes_all += self.tiers[tier].slot_bytes;
            Ok(())
        })?;
        state.can_ever_hold(bytes_all, &self.pages)
    }
}

fn terms(ahead: Ahead, tier: usize, is_beyond: bool) -> Terms {
    Terms {
        borrows_slots: !ahead.contains(Ahead::tier(tier)),
        borrows_bytes: !ahead.contains(Ahead::BYTES),
        is_beyond,
    }
}
