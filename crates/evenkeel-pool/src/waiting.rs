//! Who waits for buffers, and whose turn it is.
//!
//! Invariants:
//! 1. Whoever waits is in the queue before it looks for the last time, and whoever gives back looks at the queue
//!    after it has: no wake-up is lost.
//! 2. A slot that was found for somebody is in the queue, as its answer, until it is taken out: whose time is over at that very
//!    moment takes it all the same.
//! 3. Turns go round: among those who can be served the channel that was served longest ago is first, and within
//!    a channel who came first.

use crate::sync::Signal;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Waiter {
    ticket: u64,
    pub(crate) tier: usize,
    pub(crate) account: u32,
    pub(crate) channel: u32,
    found: Option<u32>,
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
    pub(crate) fn join(&mut self, tier: usize, account: u32, channel: u32) -> (u64, Arc<Signal>) {
        self.tickets += 1;
        let (ticket, signal) = (self.tickets, Arc::new(Signal::default()));
        self.queue.push(Waiter { ticket, tier, account, channel, found: None, signal: signal.clone() });
        (ticket, signal)
    }

    /// The slot that was found for a ticket, if one was.
    pub(crate) fn found(&self, ticket: u64) -> Option<u32> {
        self.queue.iter().find(|waiter| waiter.ticket == ticket)?.found
    }

    /// Takes a ticket out of the queue; the slot that was found for it.
    pub(crate) fn leave(&mut self, ticket: u64) -> Option<u32> {
        let at = self.queue.iter().position(|waiter| waiter.ticket == ticket)?;
        let found = self.queue.remove(at).found;
        if self.queue.is_empty() {
            self.served.clear();
        }
        found
    }

    /// Whether somebody waits for what is lent of a tier.
    pub(crate) fn wants(&self, tier: usize) -> bool {
        self.queue.iter().any(|waiter| waiter.tier == tier && waiter.found.is_none())
    }

    /// Serves whoever can be, in turn.
    pub(crate) fn serve(&mut self, mut enter: impl FnMut(usize, u32) -> Option<u32>) {
        // Whoever cannot be served now is not asked again.
        let mut asked = Vec::with_capacity(self.queue.len());
        loop {
            let waits = |waiter: &&Waiter| waiter.found.is_none() && !asked.contains(&waiter.ticket);
            let turn = |waiter: &&Waiter| (self.last_turn(waiter.channel), waiter.ticket);
            let Some(next) = self.queue.iter().filter(waits).min_by_key(turn) else { return };
            let (ticket, channel) = (next.ticket, next.channel);
            asked.push(ticket);
            let Some(slot) = enter(next.tier, next.account) else { continue };
            if let Some(waiter) = self.queue.iter_mut().find(|waiter| waiter.ticket == ticket) {
                waiter.found = Some(slot);
                waiter.signal.wake();
            }
            self.had_its_turn(channel);
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
