//! The side of the hub that stops: orders, waits, what is still held.

use super::{ChannelCounts, Hub, LogStatus, Order, State};
use evenkeel::resources::Reclaimed;
use evenkeel_hierarchy::with_root;
use std::io;
use std::time::Duration;

/// A look at the state for [`Hub::wait_until`].
pub(crate) struct Look<'a>(&'a State);

impl Look<'_> {
    /// Channels whose source is still read.
    pub(crate) fn readers(&self) -> usize {
        self.0.readers()
    }

    pub(crate) fn counts(&self, channel: usize) -> ChannelCounts {
        self.0.counts(channel)
    }

    pub(crate) fn log(&self) -> &LogStatus {
        &self.0.log
    }
}

impl Hub {
    /// Gives an order; orders only go forward. From [`Order::Finish`] on the
    /// intake is closed.
    pub(crate) fn give_order(&self, order: Order) {
        self.with(|state| state.order = state.order.max(order));
        self.log_wakes.notify_one();
        self.budget_returns.notify_all();
        self.wake_capture();
        self.signal(&self.ordered);
    }

    /// Waits until `reached` has an answer; `false` when the time is over first.
    pub(crate) fn wait_until(&self, until_ns: u64, reached: impl Fn(&Look<'_>) -> Option<bool>) -> bool {
        with_root(|house| {
            let mut state = self.state.lock(house);
            loop {
                if let Some(answer) = reached(&Look(&state)) {
                    return answer;
                }
                let now = crate::now().mono_ns;
                if now >= until_ns {
                    return false;
                }
                let _ = self.progress.wait_for(&mut state, Duration::from_nanos(until_ns - now));
            }
        })
    }

    /// Lets go of the memory: no channel takes any of the pool from now on, and what is free goes back to the system.
    /// Once the recorder is abandoned, what is queued goes too. Bytes that are still held, by channel, and what the
    /// system says of the pool's memory.
    pub(crate) fn free_buffers(&self) -> (Vec<(usize, u64)>, io::Result<Reclaimed>) {
        drop(self.with(
            |state| {
                if state.order == Order::Abandon { state.abandon_queues() } else { Vec::new() }
            },
        ));
        self.memory.close()
    }

    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.memory.resident_bytes()
    }

    /// When the log's thread was last seen at work, monotonic nanoseconds.
    pub(crate) fn seen_at_work_ns(&self) -> u64 {
        self.with(|state| state.seen_at_work_ns)
    }

    pub(crate) fn counts(&self) -> Vec<ChannelCounts> {
        self.with(|state| (0..state.channels.len()).map(|at| state.counts(at)).collect())
    }

    pub(crate) fn log_status(&self) -> LogStatus {
        self.with(|state| state.log.clone())
    }
}
