//! The readers' side of the hub.
//!
//! Invariants:
//! 1. A batch is accepted or refused under the lock that closes the intake: what
//!    is accepted is in a queue before the log is told to write the end.
//! 2. A source that is read no more stays so, and its fault is never overwritten.

use super::{Hub, Order, Refused};
use crate::hub::LARGE_BYTES;
use evenkeel_log::{Batch, ChannelState, StreamId};
use std::sync::Arc;
use std::time::Duration;

/// Channel and stream of a source, and the sequence it gives next.
#[derive(Debug)]
pub(crate) struct Numbering {
    pub(crate) channel: usize,
    pub(crate) stream: StreamId,
    pub(crate) next_sequence: u64,
    /// Log times of a channel never go back, whatever the clock does.
    pub(crate) last_time_ns: u64,
}

impl Numbering {
    /// The log time of bytes that were read now.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.last_time_ns = self.last_time_ns.max(crate::now().wall_ns);
        self.last_time_ns
    }
}

/// Says that a thread reads some channels, until it is dropped: also by a panic.
pub(crate) struct Reading {
    hub: Arc<Hub>,
    channels: Vec<usize>,
}

impl Reading {
    pub(crate) fn begin(hub: Arc<Hub>, channels: Vec<usize>) -> Self {
        let mut state = hub.lock();
        for channel in &channels {
            state.channels[*channel].counts.reading = true;
        }
        drop(state);
        Self { hub, channels }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for channel in &self.channels {
            if std::thread::panicking() {
                self.hub.source_ended(*channel, Some("its reader panicked".to_owned()));
            }
            self.hub.read_no_more(*channel);
        }
    }
}

impl Hub {
    pub(crate) fn set_before(&self, channel: usize, state: &ChannelState) {
        self.lock().channels[channel].before = (state.records, state.bytes);
    }

    /// A channel's source is read no more: all that it brought is handed over.
    pub(crate) fn read_no_more(&self, channel: usize) {
        let mut state = self.lock();
        let was = std::mem::take(&mut state.channels[channel].counts.reading);
        let none = state.readers() == 0;
        drop(state);
        if was {
            self.log_wakes.notify_one();
            self.progress.notify_all();
            if none {
                self.signal(&self.ended);
            }
        }
    }

    pub(crate) fn order(&self) -> Order {
        self.lock().order
    }

    /// A buffer of exactly `bytes` for a channel, or `None` when its budget is used up.
    pub(crate) fn buffer(&self, channel: usize, bytes: usize, refused: Refused) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let granted = state.grant(channel, bytes, refused == Refused::Never);
        state.capture_blocked |= refused == Refused::WakeCapture && !granted;
        let spare = if granted && bytes == LARGE_BYTES { state.spare.pop() } else { None };
        drop(state);
        granted.then(|| spare.unwrap_or_else(|| vec![0; bytes]))
    }

    /// Waits for budget to come back, for a while; `false` when the recorder is
    /// told to abandon.
    pub(crate) fn wait_for_budget(&self) -> bool {
        let state = self.lock();
        if state.order < Order::Abandon {
            // Short: a return between the refusal and this wait is not seen.
            drop(self.budget_returns.wait_timeout(state, Duration::from_millis(20)));
        }
        self.order() < Order::Abandon
    }

    /// Gives back a buffer that was not used.
    pub(crate) fn return_buffer(&self, channel: usize, buffer: Vec<u8>) {
        let mut state = self.lock();
        let dropped = state.release(channel, buffer);
        drop(state);
        drop(dropped);
    }

    /// Accepts a batch; once the intake is closed, refuses it and counts it as that.
    pub(crate) fn accept(&self, channel: usize, batch: Batch) {
        let batch = batch.seal();
        let mut state = self.lock();
        if state.is_closed() {
            let counts = &mut state.channels[channel].counts;
            counts.refused_records += batch.records();
            counts.refused_bytes += batch.payload_bytes();
            let dropped = state.release(channel, batch.into_buffer());
            drop(state);
            drop(dropped);
            return;
        }
        let before = state.queued_bytes;
        state.queued_bytes += batch.buffer_bytes();
        let of = &mut state.channels[channel];
        of.counts.accepted_records += batch.records();
        of.counts.accepted_bytes += batch.payload_bytes();
        of.queue.push_back(batch);
        let wake = before == 0 || (before < self.chunk_bytes && state.queued_bytes >= self.chunk_bytes);
        drop(state);
        if wake {
            self.log_wakes.notify_one();
        }
    }

    /// A source has come to its end, or failed. With the intake closed its last
    /// bytes may have been refused: then only the fault counts.
    pub(crate) fn source_ended(&self, channel: usize, fault: Option<String>) {
        let mut state = self.lock();
        let closed = state.is_closed();
        let counts = &mut state.channels[channel].counts;
        counts.ended |= !closed;
        if counts.fault.is_none() {
            counts.fault = fault;
        }
        drop(state);
        self.log_wakes.notify_one();
    }
}
