//! The memory that waits between readers and log: a reserve for each channel,
//! and a surplus for whoever is fast.
//!
//! Of the surplus a channel may borrow up to [`BORROW_SHARE`] times what is then still free:
//! one flood alone takes four fifths of it, two of them four ninths each, and there is
//! always some left for whoever comes next. (The dynamic thresholds of switches with shared
//! memory: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.)

use super::memory::pages;
use super::{Hub, State};
use crate::config::OnFull;

/// A buffer that holds one message of full length.
pub(crate) const MEDIUM_BYTES: usize = pages(1);
/// Budget that only its channel can use: a message of full length. With a commit every 10 ms
/// that is 6 MB/s, whatever the others do.
pub(crate) const RESERVE_BYTES: usize = MEDIUM_BYTES;
/// A large buffer is a chunk: then nothing of it is copied on its way to the disk.
pub(crate) const LARGE_BYTES: usize = pages(16);
/// What one of several floods brings in its turn.
pub(crate) const QUARTER_BYTES: usize = pages(4);
/// Budget that whoever is fast can use.
pub(crate) const SURPLUS_BYTES: usize = 13 << 19;

/// Who wants a large buffer and holds this much waits for one: crumbs would cost more than they bring.
const PATIENT_BYTES: usize = 3 * LARGE_BYTES;

/// What a batch costs at least: beside its bytes there is what is known of it, in the queue and in the log's hands, and
/// what the allocator adds. Without, single bytes would take eight times what the budget has.
const BATCH_BYTES_MIN: usize = 512;

/// How much of the surplus one channel may borrow for each byte that stays free.
const BORROW_SHARE: isize = 4;

/// Bytes of memory that the records of so many channels can take between reader and disk.
pub const fn budget_bytes(channels: usize) -> usize {
    channels * RESERVE_BYTES + SURPLUS_BYTES
}

/// The least that a channel's quota can be: what a message of full length takes.
pub const fn quota_bytes_min() -> u64 {
    RESERVE_BYTES as u64
}

/// What a batch in so many bytes of memory costs.
pub(super) const fn cost(bytes: usize) -> usize {
    if bytes < BATCH_BYTES_MIN { BATCH_BYTES_MIN } else { bytes }
}

/// What happens when the budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The capture thread is woken when some comes back.
    WakeCapture,
    /// The reader waits for it.
    Wait,
    /// It is granted all the same: the last bytes of a source that is read no
    /// more, at most one read for each source.
    Never,
}

impl Hub {
    /// Limits what a channel may have, its reserve and what it borrows together.
    pub(crate) fn set_quota(&self, channel: usize, bytes: Option<u64>) {
        let bytes = bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        self.with(|state| state.channels[channel].quota = bytes);
    }
}

impl State {
    fn grant(&mut self, channel: usize, bytes: usize, always: bool) -> bool {
        let borrow = match self.borrows(channel, bytes) {
            None if always => self.beyond_reserve(channel, cost(bytes)).1,
            None => return false,
            Some(borrow) => borrow,
        };
        self.surplus_free -= borrow;
        self.surplus_low = self.surplus_low.min(self.surplus_free);
        self.channels[channel].counts.held_bytes += cost(bytes);
        true
    }

    /// The first of these sizes that there is room for, largest first.
    pub(super) fn grant_one_of(&mut self, channel: usize, sizes: &[usize], always: bool) -> Option<usize> {
        let is_patient = self.channels[channel].counts.held_bytes >= PATIENT_BYTES;
        let patient = is_patient && sizes.first() == Some(&LARGE_BYTES) && !always;
        // Nor does who can wait take less than a message of full length, where more than that is about to come.
        let waits = self.channels[channel].on_full == OnFull::Block && !always;
        let crumbs = waits && sizes.first().is_some_and(|best| *best >= MEDIUM_BYTES);
        let sizes = if patient { &sizes[..1] } else { sizes };
        let sizes = sizes.iter().filter(|bytes| !crumbs || **bytes >= MEDIUM_BYTES);
        sizes.copied().find(|bytes| self.grant(channel, *bytes, always))
    }

    /// What a buffer of `bytes` would take out of the surplus; `None` if it may not.
    pub(super) fn borrows(&self, channel: usize, bytes: usize) -> Option<isize> {
        let (of, bytes) = (&self.channels[channel], cost(bytes));
        if of.quota.is_some_and(|quota| of.counts.held_bytes + bytes > quota) {
            return None;
        }
        let (before, borrow) = self.beyond_reserve(channel, bytes);
        let free_after = self.surplus_free - borrow;
        let fair = free_after >= 0 && before + borrow <= BORROW_SHARE * free_after;
        (borrow == 0 || fair).then_some(borrow)
    }

    /// What a channel has borrowed, and what it would borrow more for a buffer.
    fn beyond_reserve(&self, channel: usize, bytes: usize) -> (isize, isize) {
        let held = self.channels[channel].counts.held_bytes;
        let before = held.saturating_sub(RESERVE_BYTES).cast_signed();
        let after = (held + bytes).saturating_sub(RESERVE_BYTES).cast_signed();
        (before, after - before)
    }

    /// Memory of so many bytes is nobody's again.
    pub(super) fn repay(&mut self, channel: usize, bytes: usize) {
        let held = &mut self.channels[channel].counts.held_bytes;
        let before = *held;
        *held =
            before.checked_sub(cost(bytes)).expect("invariant: memory returns to the channel that holds it");
        let repaid = before.saturating_sub(RESERVE_BYTES) - held.saturating_sub(RESERVE_BYTES);
        self.surplus_free += repaid.cast_signed();
    }
}

#[cfg(test)]
impl Hub {
    /// Makes the memory scarce.
    pub(crate) fn set_surplus(&self, bytes: usize) {
        self.with(|state| state.surplus_free = bytes.cast_signed());
    }

    /// Bytes of the buffers in a channel's queue.
    pub(crate) fn queued_memory(&self, channel: usize) -> usize {
        self.with(|state| state.queues.counts(channel).memory as usize)
    }

    /// Whether `ek-capture` was refused memory, and none has come back since.
    pub(crate) fn capture_waits(&self) -> bool {
        self.with(|state| state.capture_blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, Order};

    // REQ R9
    #[test]
    fn who_holds_much_waits_for_a_large_buffer_and_takes_no_crumbs() {
        let hub = Hub::new(&["flood".to_owned(), "other".to_owned()], 1 << 20).unwrap();
        let sizes = [LARGE_BYTES, RESERVE_BYTES];
        let flood = || hub.buffer(0, &sizes, Refused::Wait).map(|memory| memory.capacity());
        let taken: Vec<usize> = std::iter::from_fn(flood).collect();
        assert!(taken.len() >= 3 && taken.iter().all(|bytes| *bytes == LARGE_BYTES), "{taken:?}");
        // It is not that there is no room, and who asks for little has it.
        assert!(hub.has_room(0, RESERVE_BYTES));
        assert!(hub.buffer(0, &[RESERVE_BYTES], Refused::Wait).is_some());
        assert!(hub.buffer(1, &sizes, Refused::Wait).is_some());
    }

    // REQ R5, REQ R9
    #[test]
    fn who_can_wait_for_much_takes_no_crumbs_and_who_drops_takes_them() {
        let hub = Hub::new(&["waits".to_owned(), "drops".to_owned()], 1 << 20).unwrap();
        let state = evenkeel_log::ChannelState::default();
        hub.set_before(1, &state, (crate::config::Durability::Disk, OnFull::DropNewest));
        hub.set_surplus(0);
        let (small, much) = ([4 << 10; 3], [QUARTER_BYTES, MEDIUM_BYTES, 4 << 10]);
        let take = |channel, sizes: &[usize]| hub.buffer(channel, sizes, Refused::Wait);
        let held = [0, 1].map(|channel| take(channel, &small).unwrap());
        assert!(take(0, &much).is_none() && take(0, &small).is_some(), "what is little is not refused");
        assert_eq!(take(1, &much).unwrap().capacity(), 4 << 10);
        hub.return_buffer(0, held.into_iter().next().unwrap());
        // Of its own reserve there is what it waits for, once all is back.
        assert!(take(0, &much).is_none());
        hub.return_buffer(0, vec![0; 4 << 10].into());
        assert_eq!(take(0, &much).unwrap().capacity(), MEDIUM_BYTES);
    }

    // REQ R3
    #[test]
    fn a_quota_is_never_passed_and_its_least_has_room_for_a_message_of_full_length() {
        let hub = Hub::new(&["limited".to_owned(), "other".to_owned()], 1 << 20).unwrap();
        for quota in [RESERVE_BYTES, 2 * RESERVE_BYTES + 1, QUARTER_BYTES, 3 * LARGE_BYTES + 5] {
            hub.set_quota(0, Some(quota as u64));
            let mut held = Vec::new();
            while let Some(buffer) =
                hub.buffer(0, &[LARGE_BYTES, QUARTER_BYTES, RESERVE_BYTES], Refused::Wait)
            {
                held.push(buffer);
            }
            let bytes = hub.counts()[0].held_bytes;
            assert!(bytes <= quota && bytes + RESERVE_BYTES > quota, "{bytes} of {quota}");
            assert!(!hub.has_room(0, RESERVE_BYTES) && hub.has_room(1, LARGE_BYTES));
            // The end of a stop waits for nobody.
            held.extend(hub.buffer(0, &[RESERVE_BYTES], Refused::Never));
            assert_eq!(hub.counts()[0].held_bytes, bytes + RESERVE_BYTES);
            held.into_iter().for_each(|buffer| hub.return_buffer(0, buffer));
        }
    }

    // REQ R3, REQ R4
    #[test]
    fn a_flood_takes_four_fifths_and_leaves_a_fifth_to_who_comes_next() {
        let hub = Hub::new(&["flood".to_owned(), "next".to_owned()], 1 << 20).unwrap();
        let take_all = |channel| {
            let mut held = Vec::new();
            while let Some(buffer) = hub.buffer(channel, &[QUARTER_BYTES], Refused::Wait) {
                held.push(buffer);
            }
            held.len() * QUARTER_BYTES
        };
        let flood = take_all(0) - RESERVE_BYTES;
        let share = SURPLUS_BYTES / 5 * 4;
        assert!(flood > share - 2 * QUARTER_BYTES && flood <= share, "{flood} of {SURPLUS_BYTES}");
        // Of what is left the next one has four fifths again.
        let next = take_all(1) - RESERVE_BYTES;
        let share = (SURPLUS_BYTES - flood) / 5 * 4;
        assert!(next > share - 2 * QUARTER_BYTES && next <= share + QUARTER_BYTES, "{next} of {share}");
    }

    // REQ W2
    #[test]
    fn orders_only_go_forward() {
        let hub = Hub::new(&["x".to_owned()], 1 << 20).unwrap();
        hub.give_order(Order::Finish);
        hub.give_order(Order::StopCapture);
        assert_eq!(hub.order(), Order::Finish);
    }
}
