//! The log thread's side of the hub.

use super::{Hub, Item, LogStatus, Order, State};
use crate::config::Durability;
use evenkeel_hierarchy::with_root;
use evenkeel_log::{ChannelId, ChannelState, JobDone, Memory};
use std::time::Duration;

/// A time further away than this was not set for what is queued: commits are closer together.
const ARRIVAL_NS: u64 = 20_000_000;

/// A channel of which everything accepted counts as safe: its last sequence, and its bytes in all.
pub(crate) struct InMemory {
    pub(crate) channel: usize,
    pub(crate) last_sequence: u64,
    pub(crate) bytes: u64,
}

/// What is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nothing,
    /// Something that the log may not have before memory comes back, or more comes.
    NotYet,
    /// Something that it may have now.
    Something,
}

/// What the log thread is to do next.
pub(crate) struct Work {
    /// In turns, each with its channel.
    pub(crate) items: Vec<(usize, Item)>,
    /// Acknowledgements of what is in the queue.
    pub(crate) in_memory: Vec<InMemory>,
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
        with_root(|house| {
            let mut state = self.state.lock(house);
            loop {
                let now = crate::now().mono_ns;
                state.seen_at_work_ns = now;
                if state.has_work(now, until_ns, self.chunk_bytes, may_write, may_end) {
                    break;
                }
                let _ = self.log_wakes.wait_for(&mut state, Duration::from_nanos(until_ns - now));
            }
            // An end has to know all there is, whether it can be written or not.
            let may_take = may_write || state.is_closed();
            let items = if may_take { state.dequeue(self.chunk_bytes) } else { Vec::new() };
            Work {
                items,
                in_memory: state.in_memory(),
                done: std::mem::take(&mut state.done),
                order: state.order,
                drained: state.is_drained(),
            }
        })
    }

    /// What is queued, as far as the log is concerned.
    pub(crate) fn waiting(&self) -> Waiting {
        self.with(|state| match (state.queued_items, state.takeable().0) {
            (0, _) => Waiting::Nothing,
            (_, 0) => Waiting::NotYet,
            _ => Waiting::Something,
        })
    }

    /// Which channels have ended and have nothing queued.
    pub(crate) fn ended_channels(&self) -> Vec<usize> {
        self.with(|state| {
            let all = state.channels.iter().enumerate();
            all.filter(|(at, c)| c.counts.ended && state.queues.is_empty(*at)).map(|(at, _)| at).collect()
        })
    }

    /// Takes note of what is committed: that is what some channels call safe.
    pub(crate) fn committed(&self, states: &[(usize, ChannelState)]) {
        self.with(|state| {
            for (at, now) in states {
                let channel = &mut state.channels[*at];
                if channel.durability == Durability::Process {
                    channel.counts.committed_records = now.records - channel.before.0;
                    channel.counts.committed_bytes = now.bytes - channel.before.1;
                }
            }
        });
    }

    /// Takes note of what is durable, and takes buffers back.
    pub(crate) fn acknowledged(
        &self,
        states: &[(ChannelId, ChannelState)],
        released: Vec<(ChannelId, Memory)>,
        index: &dyn Fn(ChannelId) -> Option<usize>,
    ) {
        let any = !released.is_empty();
        // Back in the pool before the budget grants it to somebody.
        let repaid: Vec<(usize, usize)> =
            released.into_iter().filter_map(|(id, memory)| Some((index(id)?, memory.capacity()))).collect();
        let capture = self.with(|state| {
            for (id, now) in states {
                if let Some(at) = index(*id) {
                    let channel = &mut state.channels[at];
                    let counts = &mut channel.counts;
                    counts.stored_records = now.records - channel.before.0;
                    counts.stored_bytes = now.bytes - channel.before.1;
                    // What is durable is safe at every level; some is so before.
                    counts.committed_records = counts.committed_records.max(counts.stored_records);
                    counts.committed_bytes = counts.committed_bytes.max(counts.stored_bytes);
                }
            }
            repaid.iter().for_each(|(at, bytes)| state.repay(*at, *bytes));
            any && std::mem::take(&mut state.capture_blocked)
        });
        if any {
            self.budget_returns.notify_all();
        }
        if capture {
            self.wake_capture();
        }
        self.progress.notify_all();
    }

    pub(crate) fn job_done(&self, done: JobDone) {
        self.with(|state| state.done.push(done));
        self.log_wakes.notify_one();
    }

    /// The log knows of a stream that has no more batches: its id is free, or soon will be.
    pub(crate) fn stream_closed(&self) {
        if self.with(|state| std::mem::take(&mut state.capture_blocked)) {
            self.wake_capture();
        }
    }

    /// What was accepted is given up, with a gap. It had been acknowledged where the queue is
    /// called safe, or a write: then it was in a segment that could not be made durable.
    pub(crate) fn given_up(&self, channel: usize, records: u64, bytes: u64) {
        self.with(|state| {
            let counts = &mut state.channels[channel].counts;
            counts.dropped_records += records;
            counts.dropped_bytes += bytes;
            counts.gaps += 1;
            let now = state.counts(channel);
            let counts = &mut state.channels[channel].counts;
            let kept = now.accepted_records.saturating_sub(now.dropped_records);
            counts.committed_records = counts.committed_records.min(kept);
            let kept = now.accepted_bytes.saturating_sub(now.dropped_bytes);
            counts.committed_bytes = counts.committed_bytes.min(kept);
        });
    }

    /// Records that were dropped have their gap.
    pub(crate) fn declared(&self, channel: usize, records: u64) {
        self.with(|state| {
            let counts = &mut state.channels[channel].counts;
            counts.undeclared_records -= records;
            counts.gaps += 1;
        });
        self.progress.notify_all();
    }

    pub(crate) fn note_gap(&self, channel: usize) {
        self.with(|state| state.channels[channel].counts.gaps += 1);
    }

    /// The least that was free of the shared memory since the last call.
    pub(crate) fn take_surplus_low(&self) -> isize {
        self.with(|state| {
            let free = state.surplus_free;
            std::mem::replace(&mut state.surplus_low, free)
        })
    }

    /// Whether the log cannot be written now: no budget comes back.
    pub(crate) fn in_trouble(&self) -> bool {
        self.with(|state| state.log.trouble.is_some() || state.log.gone)
    }

    pub(crate) fn update_log(&self, change: impl FnOnce(&mut LogStatus)) {
        let (gone, stopping) = self.with(|state| {
            change(&mut state.log);
            (state.log.gone, state.order >= Order::StopCapture)
        });
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
    /// Whether the log's thread has something to do, or its time has come.
    fn has_work(&self, now: u64, until_ns: u64, chunk_bytes: usize, may_write: bool, may_end: bool) -> bool {
        let (items, bytes) = self.takeable();
        let pressing = bytes >= chunk_bytes && may_write;
        let closing = self.is_closed() && (self.queued_items > 0 || may_end);
        let ending = closing || self.order == Order::Abandon;
        // The time was set while nothing was queued: the caller sets it anew.
        let arrived = may_write && items > 0 && until_ns > now + ARRIVAL_NS;
        pressing || ending || arrived || !self.done.is_empty() || now >= until_ns
    }

    /// Whether nothing is queued and nothing more can come.
    fn is_drained(&self) -> bool {
        self.is_closed() && self.queued_items == 0
    }

    /// Channels that call the queue safe and have something new in it.
    fn in_memory(&mut self) -> Vec<InMemory> {
        let mut all = Vec::new();
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let news = channel.last_sequence != channel.told_sequence;
            if channel.durability == Durability::Memory && news {
                channel.told_sequence = channel.last_sequence;
                let bytes = channel.before.1 + channel.counts.committed_bytes;
                all.push(InMemory { channel: at, last_sequence: channel.last_sequence, bytes });
            }
        }
        all
    }
}
