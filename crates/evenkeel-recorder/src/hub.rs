//! Where all threads of a recorder meet: queues, budget, counts, orders.
//!
//! One mutex, held for moves of a few words, never across input or output.
//! Readers put batches in and wait for budget; the log thread takes batches out
//! and gives budget back.

use evenkeel_log::{Batch, ChannelId, ChannelState, JobDone, StreamId};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Budget that only its channel can use: two messages of full length.
pub(crate) const RESERVE_BYTES: usize = 2 * Batch::bytes_for(evenkeel_log::PAYLOAD_BYTES_MAX);
/// A large buffer holds four messages of full length.
pub(crate) const LARGE_BYTES: usize = 4 * Batch::bytes_for(evenkeel_log::PAYLOAD_BYTES_MAX);
/// Budget that whoever is fast can use.
const SURPLUS_BYTES: usize = 14 << 20;

/// Bytes that all channels together can hold.
pub(crate) const fn budget_bytes(channels: usize) -> usize {
    channels * RESERVE_BYTES + SURPLUS_BYTES
}

/// A time further away than this was not set for what is queued: commits are closer together.
const ARRIVAL_NS: u64 = 20_000_000;

/// What a channel has taken in and stored, in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// Its name.
    pub name: String,
    /// Records read and numbered.
    pub accepted_records: u64,
    /// Their payload bytes.
    pub accepted_bytes: u64,
    /// Records acknowledged.
    pub committed_records: u64,
    /// Their payload bytes.
    pub committed_bytes: u64,
    /// Records dropped and declared.
    pub dropped_records: u64,
    /// Their payload bytes.
    pub dropped_bytes: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Bytes waiting to be acknowledged.
    pub held_bytes: usize,
    /// Whether the source has ended.
    pub ended: bool,
    /// Why the source failed, if it did.
    pub fault: Option<String>,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Record.
    #[default]
    Run,
    /// Read what has arrived, then no more.
    StopCapture,
    /// Write the end, seal.
    Finish,
    /// Stop at once.
    Abandon,
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

#[derive(Default)]
struct Channel {
    queue: VecDeque<Batch>,
    counts: ChannelCounts,
    /// Counts of the whole recording before this run.
    before: (u64, u64),
}

#[derive(Default)]
struct State {
    channels: Vec<Channel>,
    /// Negative when the end of a stop had to take more than there was.
    surplus_free: isize,
    spare: Vec<Vec<u8>>,
    queued_bytes: usize,
    done: Vec<JobDone>,
    order: Order,
    /// Threads that still read.
    readers: usize,
    /// Whether a reader of `ek-capture` waits for budget.
    capture_blocked: bool,
    turn: usize,
    log: LogStatus,
}

/// What the log thread tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogStatus {
    pub(crate) finished: bool,
    pub(crate) gone: bool,
    /// Why the log cannot write now.
    pub(crate) trouble: Option<String>,
    /// What went wrong for good.
    pub(crate) faults: Vec<String>,
    pub(crate) last_sealed: Option<String>,
    pub(crate) given_up: Vec<u64>,
}

pub(crate) struct Hub {
    state: Mutex<State>,
    log_wakes: Condvar,
    budget_returns: Condvar,
    progress: Condvar,
    /// Wakes the capture thread out of its poll.
    capture_wakes: OwnedFd,
    /// Readable when every source has ended, or the log is gone.
    ended: OwnedFd,
    budget_bytes: usize,
    chunk_bytes: usize,
}

/// What the log thread is to do next.
pub(crate) struct Work {
    pub(crate) batches: Vec<Batch>,
    pub(crate) done: Vec<JobDone>,
    pub(crate) order: Order,
    /// Whether every reader is gone and every queue empty.
    pub(crate) drained: bool,
}

impl Hub {
    pub(crate) fn new(names: &[String], chunk_bytes: usize) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let channel = |name: &String| Channel {
            counts: ChannelCounts { name: name.clone(), ..ChannelCounts::default() },
            ..Channel::default()
        };
        let state = State {
            channels: names.iter().map(channel).collect(),
            surplus_free: SURPLUS_BYTES.cast_signed(),
            ..State::default()
        };
        Ok(Self {
            state: Mutex::new(state),
            log_wakes: Condvar::new(),
            budget_returns: Condvar::new(),
            progress: Condvar::new(),
            capture_wakes: eventfd(0, flags)?,
            ended: eventfd(0, flags)?,
            budget_bytes: budget_bytes(names.len()),
            chunk_bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way: the state is always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- readers

    pub(crate) fn set_readers(&self, count: usize) {
        self.lock().readers = count;
    }

    pub(crate) fn set_before(&self, channel: usize, state: &ChannelState) {
        self.lock().channels[channel].before = (state.records, state.bytes);
    }

    /// A reader thread is gone.
    pub(crate) fn reader_gone(&self) {
        let mut state = self.lock();
        state.readers -= 1;
        let all = state.readers == 0;
        drop(state);
        self.log_wakes.notify_one();
        self.progress.notify_all();
        if all {
            self.signal(&self.ended);
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
        let dropped = state.release(channel, buffer, self.budget_bytes);
        drop(state);
        drop(dropped);
    }

    /// Accepts a batch.
    pub(crate) fn accept(&self, channel: usize, batch: Batch) {
        let batch = batch.seal();
        let mut state = self.lock();
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

    pub(crate) fn source_ended(&self, channel: usize, fault: Option<String>) {
        let mut state = self.lock();
        let counts = &mut state.channels[channel].counts;
        counts.ended = true;
        counts.fault = fault;
        drop(state);
        self.log_wakes.notify_one();
    }

    // ---- the log thread

    /// Waits until there is work or `until_ns` (monotonic) has come, then takes
    /// up to a chunk of batches, a quantum from each channel in turn.
    /// With `may_end`, an ordered end is work too.
    pub(crate) fn take(&self, until_ns: u64, may_write: bool, may_end: bool) -> Work {
        let mut state = self.lock();
        loop {
            let drained = state.readers == 0 && state.queued_bytes == 0;
            let pressing = state.queued_bytes >= self.chunk_bytes && may_write;
            let ending = drained && may_end && state.order >= Order::Finish || state.order == Order::Abandon;
            let now = crate::now().mono_ns;
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
        let batches = if may_write || state.order >= Order::Finish {
            state.dequeue(self.chunk_bytes)
        } else {
            Vec::new()
        };
        Work {
            batches,
            done: std::mem::take(&mut state.done),
            order: state.order,
            drained: state.readers == 0 && state.queued_bytes == 0,
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
                unwanted.extend(state.release(at, buffer, self.budget_bytes));
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

    // ---- the owner

    pub(crate) fn give_order(&self, order: Order) {
        let mut state = self.lock();
        state.order = state.order.max(order);
        drop(state);
        self.log_wakes.notify_one();
        self.budget_returns.notify_all();
        self.wake_capture();
    }

    /// Waits until `reached` holds or the time is over; answers whether it holds.
    pub(crate) fn wait_until(&self, until_ns: u64, reached: impl Fn(&Look<'_>) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if reached(&Look(&state)) {
                return true;
            }
            let now = crate::now().mono_ns;
            if now >= until_ns {
                return false;
            }
            let timeout = Duration::from_nanos(until_ns - now);
            state = match self.progress.wait_timeout(state, timeout) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    pub(crate) fn counts(&self) -> Vec<ChannelCounts> {
        self.lock().channels.iter().map(|c| c.counts.clone()).collect()
    }

    pub(crate) fn log_status(&self) -> LogStatus {
        self.lock().log.clone()
    }

    pub(crate) fn capture_wakes(&self) -> &OwnedFd {
        &self.capture_wakes
    }

    pub(crate) fn ended_fd(&self) -> &OwnedFd {
        &self.ended
    }

    pub(crate) fn wake_capture(&self) {
        self.signal(&self.capture_wakes);
    }

    fn signal(&self, fd: &OwnedFd) {
        // It can only fail when it is signalled already.
        let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
    }
}

/// A look at the state for [`Hub::wait_until`].
pub(crate) struct Look<'a>(&'a State);

impl Look<'_> {
    pub(crate) fn readers(&self) -> usize {
        self.0.readers
    }

    pub(crate) fn log(&self) -> &LogStatus {
        &self.0.log
    }
}

impl State {
    fn grant(&mut self, channel: usize, bytes: usize, always: bool) -> bool {
        let held = self.channels[channel].counts.held_bytes;
        let borrow = (held + bytes).saturating_sub(RESERVE_BYTES) - held.saturating_sub(RESERVE_BYTES);
        let borrow = borrow.cast_signed();
        let granted = always || borrow == 0 || borrow <= self.surplus_free;
        if granted {
            self.surplus_free -= borrow;
            self.channels[channel].counts.held_bytes += bytes;
        }
        granted
    }

    /// Takes a buffer back; answers it when it is not worth keeping, to be
    /// freed outside the lock.
    fn release(&mut self, channel: usize, buffer: Vec<u8>, budget_bytes: usize) -> Option<Vec<u8>> {
        let held = &mut self.channels[channel].counts.held_bytes;
        let before = *held;
        *held = before
            .checked_sub(buffer.len())
            .expect("invariant: a buffer returns to the channel that holds it");
        let repaid = before.saturating_sub(RESERVE_BYTES) - held.saturating_sub(RESERVE_BYTES);
        self.surplus_free += repaid.cast_signed();
        let held: usize = self.channels.iter().map(|c| c.counts.held_bytes).sum();
        let keep = buffer.len() == LARGE_BYTES && held + (self.spare.len() + 1) * LARGE_BYTES <= budget_bytes;
        if keep {
            self.spare.push(buffer);
            None
        } else {
            Some(buffer)
        }
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
