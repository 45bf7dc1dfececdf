//! The log thread's side of the hub.

use super::{Hub, LogStatus, Order, State};
use evenkeel_log::{Batch, ChannelId, ChannelState, JobDone};
use std::time::Duration;

/// A time further away than this was not set for what is queued: commits are closer together.
const ARRIVAL_NS: u64 = 20_000_000;

/// What the log thread is to do next.
pub(crate) struct Work {
    pub(crate) batches: Vec<Batch>,
    pub(crate) done: Vec<JobDone>,
    pub(crate) order: Order,
    /// Whether nothing is queued and nothing more can come.
    pub(crate) drained: bool,
}

impl Hub {
    /// Waits until there is work or `until_ns` (monotonic) has come, then takes
    /// up to a chunk of batches, a quantum from each channel in turn.
    /// With `may_end`, an ordered end is work too; what is queued then always is.
    pub(crate) fn take(&self, until_ns: u64, may_write: bool, may_end: bool) -> Work {
        let mut state = self.lock();
        loop {
            let pressing = state.queued_bytes >= self.chunk_bytes && may_write;
            let closing = state.is_closed() && (state.queued_bytes > 0 || may_end);
            let ending = closing || state.order == Order::Abandon;
            let now = crate::now().mono_ns;
            state.seen_at_work_ns = now;
            // The time was set while nothing was queued: the caller sets it anew.
            let arrived = may_write && state.queued_bytes > 0 && until_ns > now + ARRIVAL_NS;
            if pressing || ending || arrived || !state.done.is_empty() || now >= until_ns {
                break;
            }
            let timeout = Duration::from_nanos(until_ns - now);
            state = match self.log_wakes.wait_timeout(state, timeout) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        // An end has to know all there is, whether it can be written or not.
        let batches =
            if may_write || state.is_closed() { state.dequeue(self.chunk_bytes) } else { Vec::new() };
        Work {
            batches,
            done: std::mem::take(&mut state.done),
            order: state.order,
            drained: state.is_drained(),
        }
    }

    pub(crate) fn has_queued(&self) -> bool {
        self.lock().queued_bytes > 0
    }

    /// Which channels have ended and have nothing queued.
    pub(crate) fn ended_channels(&self) -> Vec<usize> {
        let state = self.lock();
        let ended = state.channels.iter().enumerate().filter(|(_, c)| c.counts.ended && c.queue.is_empty());
        ended.map(|(at, _)| at).collect()
    }

    /// Takes note of what is acknowledged, and takes buffers back.
    pub(crate) fn acknowledged(
        &self,
        states: &[(ChannelId, ChannelState)],
        released: Vec<(ChannelId, Vec<u8>)>,
        index: &dyn Fn(ChannelId) -> Option<usize>,
    ) {
        let mut unwanted = Vec::new();
        let mut state = self.lock();
        for (id, now) in states {
            if let Some(at) = index(*id) {
                let channel = &mut state.channels[at];
                channel.counts.committed_records = now.records - channel.before.0;
                channel.counts.committed_bytes = now.bytes - channel.before.1;
            }
        }
        let any = !released.is_empty();
        for (id, buffer) in released {
            if let Some(at) = index(id) {
                unwanted.extend(state.release(at, buffer));
            }
        }
        let capture = any && std::mem::take(&mut state.capture_blocked);
        drop(state);
        if any {
            self.budget_returns.notify_all();
        }
        if capture {
            self.wake_capture();
        }
        self.progress.notify_all();
    }

    pub(crate) fn job_done(&self, done: JobDone) {
        self.lock().done.push(done);
        self.log_wakes.notify_one();
    }

    pub(crate) fn dropped(&self, channel: usize, records: u64, bytes: u64) {
        let mut state = self.lock();
        let counts = &mut state.channels[channel].counts;
        counts.dropped_records += records;
        counts.dropped_bytes += bytes;
        counts.gaps += 1;
    }

    pub(crate) fn note_gap(&self, channel: usize) {
        self.lock().channels[channel].counts.gaps += 1;
    }

    /// Whether the log cannot be written now.
    pub(crate) fn in_trouble(&self) -> bool {
        self.lock().log.trouble.is_some()
    }

    pub(crate) fn update_log(&self, change: impl FnOnce(&mut LogStatus)) {
        let mut state = self.lock();
        change(&mut state.log);
        let (gone, stopping) = (state.log.gone, state.order >= Order::StopCapture);
        drop(state);
        self.progress.notify_all();
        if stopping {
            self.wake_capture();
        }
        if gone {
            self.signal(&self.ended);
        }
    }
}

impl State {
    /// Whether nothing is queued and nothing more can come.
    fn is_drained(&self) -> bool {
        self.is_closed() && self.queued_bytes == 0
    }

    /// One batch from each channel in turn, until `bytes` are together.
    fn dequeue(&mut self, bytes: usize) -> Vec<Batch> {
        let (mut taken, mut sum, mut idle) = (Vec::new(), 0, 0);
        let count = self.channels.len();
        while sum < bytes && idle < count {
            let at = self.turn % count;
            self.turn = (at + 1) % count;
            match self.channels[at].queue.pop_front() {
                Some(batch) => {
                    idle = 0;
                    sum += batch.buffer_bytes();
                    taken.push(batch);
                }
                None => idle += 1,
            }
        }
        self.queued_bytes -= sum;
        taken
    }
}
