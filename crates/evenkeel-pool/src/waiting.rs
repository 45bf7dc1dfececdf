//! Who waits, and whose turn it is.
//!
//! Invariants:
//! 1. Whoever waits is in the queue before it looks for the last time, and whoever gives back looks at the queue
//!    after it has: no wake-up is lost.
//! 2. What was found for somebody is in the queue, as its answer, until it is taken out: whose time is over at that very
//!    moment takes it all the same.
//! 3. Turns go round: among those who can be served the channel that was served longest ago is first, and within
//!    a channel who came first.
//! 4. Whoever can never have what it waits for, since limits changed meanwhile, is told at once: who changes them looks at the
//!    queue after it has, and whoever waits looks at the limits once it is in the queue.
//! 5. What somebody waits for that others have borrowed is borrowed by nobody who is behind it: who wants much is not
//!    starved by those who want little. Who waits for what only its own channel or component can give back holds up nobody.

use crate::account::Denied;
use crate::sync::Signal;
use std::sync::Arc;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A slot of a tier.
    Slot(usize),
    /// Slots for so many bytes, all of them.
    Chain(usize),
    /// So many units of a kind that is counted.
    Units {
        /// The kind.
        kind: usize,
        /// How many.
        units: u32,
    },
}

/// What was found for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Slots, with their tiers, as they were popped.
    Slots(Vec<(usize, u32)>),
    /// As many units as it wanted.
    Units,
    /// Nothing, and nothing is to be had any more: whose limit it is.
    Never(Denied),
}

/// What those who are ahead wait for others to give back: tiers, kinds, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead(u64);

impl Ahead {
    /// Bytes of the pool.
    pub(crate) const BYTES: Self = Self(1 << 63);

    /// Slots of a tier.
    pub(crate) const fn tier(tier: usize) -> Self {
        Self(1 << tier)
    }

    /// Units of a kind.
    pub(crate) const fn kind(kind: usize) -> Self {
        Self(1 << (32 + kind))
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why somebody could not be served: what it waits for others to give back; nothing, if they cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocked(pub(crate) Ahead);

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    want: Want,
    account: u32,
    channel: u32,
    found: Option<Found>,
    blocked: Blocked,
    signal: Arc<Signal>,
}

/// Those who wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    tickets: u64,
    turns: u64,
    queue: Vec<Waiter>,
    /// When each channel was served last, for those that wait or waited a while ago.
    served: Vec<(u32, u64)>,
}

impl Waiting {
    pub(crate) fn join(&mut self, want: Want, account: u32, channel: u32) -> (u64, Arc<Signal>) {
        self.tickets += 1;
        let (ticket, signal) = (self.tickets, Arc::new(Signal::default()));
        let (found, blocked) = (None, Blocked::default());
        self.queue.push(Waiter { ticket, want, account, channel, found, blocked, signal: signal.clone() });
        (ticket, signal)
    }

    /// Whether something was found for a ticket.
    pub(crate) fn is_served(&self, ticket: u64) -> bool {
        self.queue.iter().any(|waiter| waiter.ticket == ticket && waiter.found.is_some())
    }

    /// Those for whom nothing was found so far: ticket, what, and who.
    pub(crate) fn unserved(&self) -> Vec<(u64, Want, u32)> {
        let waits = self.queue.iter().filter(|waiter| waiter.found.is_none());
        waits.map(|waiter| (waiter.ticket, waiter.want, waiter.account)).collect()
    }

    /// Who has a ticket can never have what it waits for; nothing, if something was found for it just now.
    pub(crate) fn refuse(&mut self, ticket: u64, denied: Denied) {
        let waits = self.queue.iter_mut().find(|waiter| waiter.ticket == ticket && waiter.found.is_none());
        if let Some(waiter) = waits {
            waiter.found = Some(Found::Never(denied));
            waiter.signal.wake();
        }
    }

    /// Takes a ticket out of the queue; what was found for it.
    pub(crate) fn leave(&mut self, ticket: u64) -> Option<Found> {
        let at = self.queue.iter().position(|waiter| waiter.ticket == ticket)?;
        let found = self.queue.remove(at).found;
        if self.queue.is_empty() {
            self.served.clear();
        }
        found
    }

    /// What somebody waits for others to give back.
    pub(crate) fn ahead(&self) -> Ahead {
        let waits = self.queue.iter().filter(|waiter| waiter.found.is_none());
        waits.fold(Ahead::default(), |ahead, waiter| ahead.and(waiter.blocked.0))
    }

    /// Serves whoever can be, in turn. `enter` is told what those wait for that are ahead.
    pub(crate) fn serve(&mut self, mut enter: impl FnMut(Want, u32, Ahead) -> Result<Found, Blocked>) {
        // Whoever cannot be served now is not asked again.
        let mut asked = Vec::with_capacity(self.queue.len());
        let mut ahead = Ahead::default();
        loop {
            let waits = |waiter: &(usize, &Waiter)| waiter.1.found.is_none() && !asked.contains(&waiter.0);
            let turn = |(_, waiter): &(usize, &Waiter)| (self.last_turn(waiter.channel), waiter.ticket);
            let next = self.queue.iter().enumerate().filter(waits).min_by_key(turn);
            let Some((at, Waiter { want, account, channel, .. })) = next else { return };
            let (channel, answer) = (*channel, enter(*want, *account, ahead));
            asked.push(at);
            let waiter = &mut self.queue[at];
            match answer {
                Ok(found) => {
                    waiter.found = Some(found);
                    waiter.signal.wake();
                    self.had_its_turn(channel);
                }
                Err(blocked) => {
                    waiter.blocked = blocked;
                    ahead = ahead.and(blocked.0);
                }
            }
        }
    }

    fn last_turn(&self, channel: u32) -> u64 {
        self.served.iter().find(|(served, _)| *served == channel).map_or(0, |(_, turn)| *turn)
    }

    fn had_its_turn(&mut self, channel: u32) {
        self.turns += 1;
        let turn = self.turns;
        match self.served.iter_mut().find(|(served, _)| *served == channel) {
            Some(place) => place.1 = turn,
            None => self.served.push((channel, turn)),
        }
    }
}

#[cfg(all(test, not(evenkeel_pool_loom)))]
mod tests {
    use super::*;
    use fastrand::Rng;
    use std::collections::BTreeMap;

    fn serve_one(waiting: &mut Waiting, units: &mut u32) {
        waiting.serve(|want, _, _| match want {
            Want::Units { units: wanted, .. } if wanted <= *units => {
                *units -= wanted;
                Ok(Found::Units)
            }
            _ => Err(Blocked(Ahead::kind(0))),
        });
    }

    // REQ R5: whatever comes and goes, between two turns of a channel each other that waits has at most one, and
    // within a channel who came first is first.
    #[cfg_attr(miri, ignore = "thousands of rounds")]
    #[test]
    fn turns_go_round_among_channels() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let mut waiting = Waiting::default();
            let mut tickets: Vec<(u64, u32)> = Vec::new();
            // For each channel that waits: how often each other was served since it came, or was served.
            let mut passed: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
            for _ in 0..300 {
                if tickets.len() < 12 && rng.bool() {
                    let channel = rng.u32(..4);
                    let (ticket, _) = waiting.join(Want::Units { kind: 0, units: 1 }, channel, channel);
                    tickets.push((ticket, channel));
                    passed.entry(channel).or_default();
                    continue;
                }
                serve_one(&mut waiting, &mut 1);
                let served: Vec<_> =
                    tickets.iter().copied().filter(|(ticket, _)| waiting.is_served(*ticket)).collect();
                assert_eq!(served.len(), usize::from(!tickets.is_empty()), "one unit serves one");
                for (ticket, channel) in served {
                    let first = tickets.iter().find(|(_, of)| *of == channel).map(|(first, _)| *first);
                    assert_eq!(first, Some(ticket), "who came first is first");
                    assert_eq!(waiting.leave(ticket), Some(Found::Units));
                    tickets.retain(|(other, _)| *other != ticket);
                    passed.retain(|waits, _| tickets.iter().any(|(_, of)| of == waits));
                    for (waits, turns) in &mut passed {
                        let count = turns.entry(channel).or_default();
                        *count += 1;
                        assert!(
                            *waits == channel || *count <= 1,
                            "seed {seed}: {channel} again before {waits}"
                        );
                    }
                    if let Some(turns) = passed.get_mut(&channel) {
                        turns.clear();
                    }
                }
            }
        }
    }

    // REQ R5: what those who are ahead wait for is told to those behind, and to whoever did not wait.
    #[test]
    fn what_is_waited_for_is_known_to_those_behind() {
        let mut waiting = Waiting::default();
        let (much, _) = waiting.join(Want::Units { kind: 0, units: 5 }, 0, 0);
        let (little, _) = waiting.join(Want::Units { kind: 0, units: 1 }, 1, 1);
        let mut seen = Vec::new();
        waiting.serve(|want, _, ahead| {
            seen.push((want, ahead.contains(Ahead::kind(0))));
            Err(Blocked(Ahead::kind(0)))
        });
        let wants = |units| Want::Units { kind: 0, units };
        assert_eq!(seen, [(wants(5), false), (wants(1), true)]);
        assert!(waiting.ahead().contains(Ahead::kind(0)) && !waiting.ahead().contains(Ahead::BYTES));
        waiting.leave(much);
        waiting.serve(|_, _, _| Err(Blocked::default()));
        assert_eq!(waiting.ahead(), Ahead::default(), "its own limit holds up nobody");
        assert_eq!(waiting.leave(little), None);
    }
}
