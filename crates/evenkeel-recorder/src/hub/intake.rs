//! The readers' side of the hub.
//!
//! Invariants:
//! 1. A batch is accepted or refused under the lock that closes the intake: what
//!    is accepted is in a queue before the log is told to write the end.
//! 2. A source that is read no more stays so, and its fault is never overwritten.
//! 3. What one thread puts into a channel comes out in the same order: a stream is
//!    defined before its first batch and closed after its last.

use super::{Hub, Order, Refused, State, Trouble};
use crate::config::{Durability, OnFull};
use evenkeel_hierarchy::with_root;
use evenkeel_log::{Batch, ChannelState, Gap, GapReason, Memory, StreamId};
use std::sync::Arc;
use std::time::Duration;

/// What waits in the queue of a channel.
#[derive(Debug)]
pub(crate) enum Item {
    /// A stream whose first batch comes next.
    Define(Define),
    /// Records of a stream.
    Batch(Batch),
    /// A stream that has no more of them.
    Close(StreamId),
    /// Records that were numbered and dropped.
    Dropped(Dropped),
}

/// A stream that was opened while recording.
#[derive(Debug)]
pub(crate) struct Define {
    pub(crate) stream: StreamId,
    /// Who sends it.
    pub(crate) peer: String,
    /// Unix time in nanoseconds.
    pub(crate) opened_ns: u64,
}

/// A range of a channel that was dropped because there was no room for it, or for what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) first_sequence: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Which rule dropped it.
    pub(crate) reason: GapReason,
    /// Log time of what came before it, and of its last record.
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

impl Dropped {
    /// The gap that declares it.
    pub(crate) fn gap(&self, channel: String) -> Gap {
        Gap {
            channel,
            first_sequence: self.first_sequence,
            last_sequence: Some(self.first_sequence + self.records - 1),
            records: Some(self.records),
            bytes: Some(self.bytes),
            reason: self.reason,
            from: self.from_ns,
            to: self.to_ns,
        }
    }

    /// Takes in what follows without a hole.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let follows = self.first_sequence + self.records == next.first_sequence && self.reason == next.reason;
        if follows {
            self.records += next.records;
            self.bytes += next.bytes;
            self.to_ns = next.to_ns;
        }
        follows
    }
}

/// A channel as the one thread that reads it sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) channel: usize,
    pub(crate) next_sequence: u64,
    /// Log times of a channel never go back, whatever the clock does.
    pub(crate) last_time_ns: u64,
    pub(crate) on_full: OnFull,
}

impl Lane {
    /// The log time of bytes that were read now.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.last_time_ns = self.last_time_ns.max(crate::now().wall_ns);
        self.last_time_ns
    }

    /// Numbers records that are dropped.
    pub(crate) fn drop(&mut self, records: u64, bytes: u64) -> Dropped {
        let from_ns = self.last_time_ns;
        let first_sequence = self.next_sequence;
        self.next_sequence += records;
        let to_ns = self.stamp();
        // Nothing was read before it: then it is as old as itself.
        let from_ns = if from_ns == 0 { to_ns } else { from_ns };
        Dropped { first_sequence, records, bytes, reason: GapReason::DropNewest, from_ns, to_ns }
    }
}

/// Says that a thread reads some channels, until it is dropped: also by a panic.
pub(crate) struct Reading {
    hub: Arc<Hub>,
    channels: Vec<usize>,
}

impl Reading {
    pub(crate) fn begin(hub: Arc<Hub>, channels: Vec<usize>) -> Self {
        hub.with(|state| {
            for channel in &channels {
                state.channels[*channel].counts.reading = true;
            }
        });
        Self { hub, channels }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for channel in &self.channels {
            if std::thread::panicking() {
                self.hub.source_ended(*channel, Some(Trouble::panicked("its reader panicked")));
            }
            self.hub.read_no_more(*channel);
        }
    }
}

impl Hub {
    pub(crate) fn set_before(
        &self,
        channel: usize,
        state: &ChannelState,
        (durability, on_full): (Durability, OnFull),
    ) {
        self.with(|hub| {
            hub.drops |= on_full != OnFull::Block;
            let of = &mut hub.channels[channel];
            of.on_full = on_full;
            of.before = (state.records, state.bytes);
            of.durability = durability;
            (of.last_sequence, of.told_sequence) = (state.last_sequence, state.last_sequence);
        });
    }

    /// A channel's source is read no more: all that it brought is handed over.
    pub(crate) fn read_no_more(&self, channel: usize) {
        let (was, none) = self.with(|state| {
            let was = std::mem::take(&mut state.channels[channel].counts.reading);
            (was, state.readers() == 0)
        });
        if was {
            self.log_wakes.notify_one();
            self.progress.notify_all();
            if none {
                self.signal(&self.ended);
            }
        }
    }

    /// Whether a channel's source is still read.
    pub(crate) fn is_reading(&self, channel: usize) -> bool {
        self.with(|state| state.channels[channel].counts.reading)
    }

    pub(crate) fn order(&self) -> Order {
        self.with(|state| state.order)
    }

    /// Memory of exactly one of these lengths for a channel, the first that there is room
    /// for, or `None` when its budget is used up.
    #[track_caller]
    pub(crate) fn buffer(&self, channel: usize, sizes: &[usize], refused: Refused) -> Option<Memory> {
        let bytes = loop {
            let (granted, oldest) = self.with(|state| {
                let granted = state.grant_one_of(channel, sizes, refused == Refused::Never);
                let makes_room = granted.is_none() && state.channels[channel].on_full == OnFull::DropOldest;
                let oldest = if makes_room { state.drop_oldest(channel) } else { Vec::new() };
                let blocked = granted.is_none() && oldest.is_empty();
                state.capture_blocked |= refused == Refused::WakeCapture && blocked;
                (granted, oldest)
            });
            if oldest.is_empty() {
                break granted?;
            }
            oldest.into_iter().for_each(|batch| self.return_buffer(channel, batch.into_memory()));
        };
        Some(self.memory.take(channel, bytes))
    }

    /// Whether a buffer of `bytes` would be granted now; if not, `ek-capture` is woken
    /// when some budget comes back.
    pub(crate) fn has_room(&self, channel: usize, bytes: usize) -> bool {
        self.with(|state| {
            let has_room = state.borrows(channel, bytes).is_some();
            state.capture_blocked |= !has_room;
            has_room
        })
    }

    /// Waits for budget to come back, for a while; `false` when the recorder is
    /// told to abandon.
    pub(crate) fn wait_for_budget(&self) -> bool {
        with_root(|house| {
            let mut state = self.state.lock(house);
            if state.order < Order::Abandon {
                // Short: a return between the refusal and this wait is not seen.
                let _ = self.budget_returns.wait_for(&mut state, Duration::from_millis(20));
            }
            state.order < Order::Abandon
        })
    }

    /// Gives back memory that was not used.
    pub(crate) fn return_buffer(&self, channel: usize, memory: Memory) {
        let bytes = memory.capacity();
        // Back in the pool before the budget grants it to somebody.
        drop(memory);
        let capture = self.with(|state| {
            state.repay(channel, bytes);
            std::mem::take(&mut state.capture_blocked)
        });
        self.budget_returns.notify_all();
        if capture {
            self.wake_capture();
        }
    }

    /// Accepts a batch, and before it its stream where that is new; once the intake
    /// is closed, refuses it and counts it as that.
    pub(crate) fn accept(&self, channel: usize, define: Option<Define>, batch: Batch) {
        let batch = batch.seal();
        match self.with(|state| state.accept(channel, define, batch, self.chunk_bytes)) {
            Ok(true) => _ = self.log_wakes.notify_one(),
            Ok(false) => {}
            Err(refused) => self.return_buffer(channel, refused.into_memory()),
        }
    }

    /// Takes note of records that were dropped because there was no room for them.
    pub(crate) fn drop_newest(&self, channel: usize, dropped: Dropped) {
        if self.with(|state| state.drop_newest(channel, dropped)) {
            self.log_wakes.notify_one();
        }
    }

    /// No more batches come of a stream that was defined.
    pub(crate) fn close_stream(&self, channel: usize, stream: StreamId) {
        let wake = self.with(|state| {
            // At the end of a run all streams are closed.
            if state.is_closed() {
                return false;
            }
            state.put(channel, Item::Close(stream));
            state.queued_items == 1
        });
        // Whoever puts the next item in finds one here, and wakes nobody.
        if wake {
            self.log_wakes.notify_one();
        }
    }

    /// `ek-capture` waits for the id of a stream: it is woken when one may be free.
    pub(crate) fn wait_for_id(&self) {
        self.with(|state| state.capture_blocked = true);
    }

    /// A source has come to its end, or failed. With the intake closed its last
    /// bytes may have been refused: then only the fault counts.
    pub(crate) fn source_ended(&self, channel: usize, trouble: Option<Trouble>) {
        if let Some(trouble) = &trouble {
            self.report(channel, trouble);
        }
        let fault = trouble.map(|trouble| trouble.text);
        self.with(|state| {
            let closed = state.is_closed();
            let counts = &mut state.channels[channel].counts;
            counts.ended |= !closed;
            counts.restarting = false;
            if counts.fault.is_none() {
                counts.last_fault = fault.clone().or(counts.last_fault.take());
                counts.fault = fault;
            }
        });
        self.log_wakes.notify_one();
    }

    /// A source failed for good, and what it had begun still comes.
    pub(crate) fn source_failed(&self, channel: usize, trouble: Trouble) {
        self.report(channel, &trouble);
        self.with(|state| {
            let counts = &mut state.channels[channel].counts;
            counts.last_fault = Some(trouble.text.clone());
            counts.fault.get_or_insert(trouble.text);
        });
    }

    /// Something went wrong with a channel, but not for good.
    pub(crate) fn note_fault(&self, channel: usize, trouble: Trouble, restarting: bool) {
        let fault = self.report(channel, &trouble);
        self.with(|state| {
            let of = &mut state.channels[channel];
            of.fault = fault;
            of.counts.last_fault = Some(trouble.text);
            of.counts.restarting |= restarting;
        });
    }

    /// Whether its command is about to be run again.
    pub(crate) fn is_restarting(&self, channel: usize) -> bool {
        self.with(|state| state.channels[channel].counts.restarting)
    }

    /// Its command runs again.
    pub(crate) fn note_restart(&self, channel: usize) {
        self.with(|state| {
            let counts = &mut state.channels[channel].counts;
            counts.restarts += 1;
            counts.restarting = false;
        });
        self.report_restart(channel);
    }

    /// Datagrams that the kernel has dropped so far.
    pub(crate) fn note_kernel_dropped(&self, channel: usize, datagrams: u64) {
        self.with(|state| state.channels[channel].counts.kernel_dropped = Some(datagrams));
    }
}

impl State {
    /// Puts a batch into its queue; answers whether the log is to be woken, or the batch where the intake is closed.
    fn accept(
        &mut self,
        channel: usize,
        define: Option<Define>,
        batch: Batch,
        chunk_bytes: usize,
    ) -> Result<bool, Box<Batch>> {
        if self.is_closed() {
            self.channels[channel].refuse(batch.records(), batch.payload_bytes());
            return Err(Box::new(batch));
        }
        let (before, first) = (self.queued_bytes, self.queued_items == 0);
        let may_take = |state: &Self| state.channels[channel].may_take(state.queues.counts(channel).memory);
        let could_take = may_take(self);
        let of = &mut self.channels[channel];
        of.accepted(batch.records(), batch.payload_bytes());
        of.last_sequence = batch.last_sequence();
        if let Some(define) = define {
            self.put(channel, Item::Define(define));
        }
        self.put(channel, Item::Batch(batch));
        // What its reader had in hand waits now: the log may have it, and the log may be asleep.
        let may_now = !could_take && may_take(self);
        Ok(first || may_now || (before < chunk_bytes && self.queued_bytes >= chunk_bytes))
    }

    /// Puts a gap into the queue; answers whether the log is to be woken.
    fn drop_newest(&mut self, channel: usize, dropped: Dropped) -> bool {
        if self.is_closed() {
            self.channels[channel].refuse(dropped.records, dropped.bytes);
            return false;
        }
        self.queues.note_dropped(channel, dropped.records, dropped.bytes);
        let of = &mut self.channels[channel];
        of.counts.undeclared_records += dropped.records;
        of.last_sequence = dropped.first_sequence + dropped.records - 1;
        // Nothing of it says that it is safe: only what comes after it does.
        let extended = match self.queues.last_control_mut(channel) {
            Some(Item::Dropped(before)) => before.extend(&dropped),
            _ => false,
        };
        if !extended {
            self.put(channel, Item::Dropped(dropped));
        }
        self.queued_items == 1
    }
}

impl super::Channel {
    fn accepted(&mut self, records: u64, bytes: u64) {
        if self.durability == Durability::Memory {
            self.counts.committed_records += records;
            self.counts.committed_bytes += bytes;
        }
    }

    fn refuse(&mut self, records: u64, bytes: u64) {
        self.counts.refused_records += records;
        self.counts.refused_bytes += bytes;
    }
}
