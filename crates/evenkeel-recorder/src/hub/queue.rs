//! What waits for the log: a queue of each channel, drained fairly.
//!
//! Memory bounds the queues, by the budget: here everything finds room. Of a channel that drops its oldest the log takes no
//! more than half of what the channel may have before it is durable: what the log has cannot be dropped, and while a disk is
//! slow the newest is to be kept. A gap alone waits until something comes behind it, or nothing is with the log any more:
//! what is dropped meanwhile is one gap, and a disk that stands still is told of no new one every 10 ms.

use super::budget::{QUARTER_BYTES, RESERVE_BYTES, SURPLUS_BYTES, cost};
use super::{ChannelCounts, Dropped, Item, State};
use crate::config::OnFull;
use evenkeel::buffers::{QueueLimits, Queued};
use evenkeel_log::{Batch, GapReason, StreamId};

/// Of a channel that drops its oldest, what may be in the log's hands, in bytes of memory.
const LOG_SHARE_BYTES: usize = (RESERVE_BYTES + SURPLUS_BYTES) / 2;

impl Queued for Item {
    fn items(&self) -> u64 {
        if let Self::Batch(batch) = self { batch.records() } else { 0 }
    }

    fn bytes(&self) -> u64 {
        if let Self::Batch(batch) = self { batch.payload_bytes() } else { 0 }
    }

    fn memory(&self) -> u64 {
        if let Self::Batch(batch) = self { cost(batch.buffer_bytes()) as u64 } else { 0 }
    }

    fn is_control(&self) -> bool {
        !matches!(self, Self::Batch(_))
    }
}

impl Dropped {
    /// What is told of a batch that made room for others.
    fn oldest(batch: &Batch) -> Self {
        let (from_ns, to_ns) = batch.times_ns();
        Self {
            first_sequence: batch.first_sequence(),
            records: batch.records(),
            bytes: batch.payload_bytes(),
            reason: GapReason::DropOldest,
            from_ns,
            to_ns,
        }
    }
}

/// The places of the oldest batch that may go, and of those that go with it: no message of which a part stays, or was
/// taken, goes.
fn oldest<'a>(entries: impl Iterator<Item = &'a Item>) -> Option<Vec<usize>> {
    let mut begun: Vec<(StreamId, Vec<usize>)> = Vec::new();
    for (place, item) in entries.enumerate() {
        let Item::Batch(batch) = item else { continue };
        let stream = batch.stream();
        let (goes_on, is_open) = batch.joined();
        let before = begun.iter().position(|(of, _)| *of == stream).map(|at| begun.swap_remove(at));
        let mut places = match (goes_on, before) {
            (false, _) => Vec::new(),
            (true, Some((_, places))) => places,
            // The log has what it goes on with; what begins in it cannot go without it.
            (true, None) => continue,
        };
        places.push(place);
        if !is_open {
            return Some(places);
        }
        begun.push((stream, places));
    }
    None
}

/// Nothing but the budget bounds a queue.
pub(super) const UNBOUNDED: QueueLimits = QueueLimits {
    items_max: u64::MAX,
    bytes_max: u64::MAX,
    weight: 1,
    on_full: evenkeel::buffers::OnFull::Block,
};

impl State {
    pub(super) fn put(&mut self, channel: usize, item: Item) {
        self.queued_items += 1;
        self.queued_bytes += item.memory() as usize;
        self.queues.push_always(channel, item);
    }

    /// A run of each channel in turn, until `bytes` are together.
    pub(super) fn dequeue(&mut self, bytes: usize) -> Vec<(usize, Item)> {
        let mut taken = Vec::new();
        let closed = self.is_closed();
        let (channels, queues) = (&self.channels, &mut self.queues);
        let may = |at: usize, waits: u64| closed || channels[at].may_take(waits);
        let mut sum = queues.take_of(bytes as u64, may, &mut taken);
        // Who has little does not wait for the turns of those who have much.
        let little = |at: usize, waits: u64| waits < QUARTER_BYTES as u64 && may(at, waits);
        sum += queues.take_of(bytes as u64, little, &mut taken);
        self.queued_bytes -= sum as usize;
        self.queued_items -= taken.len();
        taken
    }

    /// Entries that the log may have now, and their memory.
    pub(super) fn takeable(&self) -> (usize, usize) {
        let mut all = (self.queued_items, self.queued_bytes);
        if self.drops && !self.is_closed() && self.queued_items > 0 {
            for (at, channel) in self.channels.iter().enumerate() {
                let counts = self.queues.counts(at);
                if !channel.may_take(counts.memory) {
                    all.0 -= counts.entries as usize;
                    all.1 -= counts.memory as usize;
                }
            }
        }
        all
    }

    /// Drops the oldest batch of a channel that the log has not taken, and those that are of no use without it, with gaps
    /// in their places; their memory is the caller's to give back.
    pub(super) fn drop_oldest(&mut self, channel: usize) -> Vec<Batch> {
        let places = oldest(self.queues.entries(channel)).unwrap_or_default();
        let mut dropped = Vec::with_capacity(places.len());
        // From behind: the places before stay where they are.
        for place in places.into_iter().rev() {
            let Some(Item::Batch(batch)) = self.queues.drop_at(channel, place) else { continue };
            self.queued_items -= 1;
            self.queued_bytes -= cost(batch.buffer_bytes());
            self.channels[channel].counts.undeclared_records += batch.records();
            self.put_gap(channel, place, Dropped::oldest(&batch));
            dropped.push(batch);
        }
        dropped
    }

    /// Puts a gap into a place, one with that behind it and that before it where they follow.
    fn put_gap(&mut self, channel: usize, place: usize, mut gap: Dropped) {
        if let Some(Item::Dropped(behind)) = self.queues.control_mut(channel, place)
            && gap.extend(behind)
        {
            self.queues.remove_control(channel, place);
            self.queued_items -= 1;
        }
        let before = place.checked_sub(1).and_then(|before| self.queues.control_mut(channel, before));
        if let Some(Item::Dropped(before)) = before
            && before.extend(&gap)
        {
            return;
        }
        self.queues.insert_control(channel, place, Item::Dropped(gap));
        self.queued_items += 1;
    }

    /// What a channel has taken in and stored.
    pub(super) fn counts(&self, at: usize) -> ChannelCounts {
        let (channel, queue) = (&self.channels[at], self.queues.counts(at));
        let mut counts = channel.counts.clone();
        counts.accepted_records = queue.items_in;
        counts.accepted_bytes = queue.bytes_in;
        counts.dropped_records += queue.items_dropped - channel.abandoned.0;
        counts.dropped_bytes += queue.bytes_dropped - channel.abandoned.1;
        counts.queued_records = queue.items;
        counts.queued_bytes = queue.bytes;
        counts
    }

    /// Nobody writes what is queued any more: it is neither stored nor declared.
    pub(super) fn abandon_queues(&mut self) -> Vec<(usize, Item)> {
        let left = self.queues.drain_all();
        for (at, item) in &left {
            let abandoned = &mut self.channels[*at].abandoned;
            *abandoned = (abandoned.0 + item.items(), abandoned.1 + item.bytes());
        }
        (self.queued_items, self.queued_bytes) = (0, 0);
        left
    }
}

impl super::Channel {
    /// Whether the log may take more, where so many bytes of memory wait.
    pub(super) fn may_take(&self, waits: u64) -> bool {
        let with_log = self.counts.held_bytes.saturating_sub(waits as usize);
        if self.on_full == OnFull::Block || with_log == 0 {
            return true;
        }
        let is_gap_alone = waits == 0 && self.counts.undeclared_records > 0;
        !is_gap_alone && (self.on_full == OnFull::DropNewest || with_log < LOG_SHARE_BYTES)
    }
}
