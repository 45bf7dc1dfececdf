//! Which job is next, on which worker.
//!
//! ```text
//!                  +-- home: worker 0: system [c4]  processing [c0 c4]  monitoring []
//! channels --------+-- home: worker 1: system []    processing [c1]     monitoring [c1 c2]
//! without channel ---- any worker:     system []    processing [..]     monitoring []
//! ```
//!
//! Invariants:
//! 1. A channel's jobs run one at a time, on its home, in order of submission
//!    within their class. The higher class goes first in a channel too, except for the
//!    turn that a lower class is owed. A job whose worker was lost holds its channel no longer.
//! 2. No job is lost or given out twice; every payload goes back to the caller.
//! 3. No wake-up is lost: when a worker is idle and a job is ready that it could
//!    run, then a worker that was told to wake has not asked yet, or an idle one has a timer.
//!    Whoever takes a job passes this duty on, by `wake`. Who is told to wake is trusted to
//!    ask: whoever watches the threads is to count it as busy from then on.
//! 4. An idle worker has nothing ready of its own.
//!
//! **Affinity.** A channel gets its home with its first job: an idle worker, else the
//! one with the least queued. It gets another one when its worker is lost, or when it has been
//! ready for `patience` without running while another worker is idle. One
//! idle worker at a time has a timer for that, the standby.
//!
//! **No starvation.** Of the jobs that begin on a worker after a job became the head
//! of its class there, at most this many go before it:
//!
//! | class | others before its head |
//! |---|---|
//! | system | 2 |
//! | processing | `system_turns` |
//! | monitoring | `processing_turns` + 1 |
//!
//! Within a class the channels of a worker take turns, one job each, and the jobs
//! without a channel count as one more channel: with `n` ready channels the last
//! one is the head after at most `n` turns of its class.
//!
//! Whoever has the `Schedule` keeps it under one lock: after the beginning nothing is
//! allocated in [`Schedule::submit`], [`Schedule::take`] and [`Schedule::cancel`], and what they cost does not
//! grow with the jobs (the logarithm, with deadlines) or channels.

use super::channels::{Channels, NOBODY, WAITING};
use super::counts::Counts;
use super::ids::{ChannelId, WORKERS_MAX, WorkerId, Workers};
use super::jobs::{Job, Jobs};
use super::limits::Limits;
use super::list::List;
use super::outcome::{ChannelError, Running};
use crate::Mono;
use std::fmt;

mod intake;
mod removal;
mod take;
mod workers;

/// What the schedule knows of a worker, beside the sets that it is in.
#[derive(Clone, Debug)]
struct Worker {
    /// Its channels with something queued, by class; then those that are ready, the longest first.
    lists: [List; 4],
    /// Jobs queued in its channels.
    queued: u32,
    /// Channels whose home it is.
    homes: u32,
    /// What it runs; of a stuck one, what it was running.
    running: Option<Running>,
    /// By class: how often in a row it was ready and another went.
    passed: [u32; 3],
    /// By class: channels that go before the next job without a channel.
    until_loose: [u32; 3],
}

impl Worker {
    const NEW: Self = Self {
        lists: [List::EMPTY; 4],
        queued: 0,
        homes: 0,
        running: None,
        passed: [0; 3],
        until_loose: [0; 3],
    };
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not started, or gone.
    Absent,
    /// Sleeps until woken.
    Idle,
    /// Sleeps, with a timer.
    Standby,
    /// Was told to wake, or is about to ask.
    Waking,
    /// Runs a job.
    Busy,
    /// Lost, and may come back.
    Stuck,
}

/// Queued jobs and the workers that are to run them; see the module's head.
///
/// Dropping it drops what is still queued: [`Schedule::drain_all`] gives it back.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::threads::{Class, Limits, Next, Schedule, WorkerId};
///
/// let mut schedule = Schedule::new(Limits::default());
/// let (now, worker) = (Mono::from_nanos(0), WorkerId::new(0).unwrap());
/// assert!(schedule.worker_started(now, worker));
/// let channel = schedule.channel(now).unwrap();
/// let _ = schedule.submit(now, Class::Monitoring, None, "figures").unwrap();
/// let _ = schedule.submit(now, Class::Processing, Some(channel), "frame 1").unwrap();
///
/// let Next::Run { payload, .. } = schedule.take(now, worker) else { panic!("there is a job") };
/// assert_eq!(payload, "frame 1");
/// // Asking again says that it ended.
/// let Next::Run { payload, .. } = schedule.take(now, worker) else { panic!("there is another") };
/// assert_eq!(payload, "figures");
/// assert!(matches!(schedule.take(now, worker), Next::Idle { look_again: None }));
/// ```
pub struct Schedule<J> {
    limits: Limits,
    now: Mono,
    jobs: Jobs<J>,
    channels: Channels,
    /// Those that can be, and [`NOBODY`].
    workers: Vec<Worker>,
    /// Jobs without a channel, by class.
    loose: [List; 3],
    /// Workers that sleep, the standby among them.
    idle: u64,
    /// At most one worker that sleeps with a timer.
    standby: u64,
    waking: u64,
    busy: u64,
    stuck: u64,
    /// Workers with ready channels. None of them is idle.
    behind: u64,
    takes_in: bool,
    counts: Counts,
}

impl<J> fmt::Debug for Schedule<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("limits", &self.limits)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl<J> Schedule<J> {
    /// One without workers, channels and jobs. Figures of `limits` outside of what is
    /// allowed are brought inside; room for `queued_max` jobs is reserved with the first one.
    pub fn new(limits: Limits) -> Self {
        let limits = limits.clamped();
        Self {
            limits,
            now: Mono::default(),
            jobs: Jobs::new(limits.queued_max),
            channels: Channels::new(),
            workers: vec![Worker::NEW; WORKERS_MAX + 1],
            loose: [List::EMPTY; 3],
            idle: 0,
            standby: 0,
            waking: 0,
            busy: 0,
            stuck: 0,
            behind: 0,
            takes_in: true,
            counts: Counts::default(),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Opens a channel.
    ///
    /// # Errors
    /// When there are `channels_max`, or the intake is closed.
    pub fn channel(&mut self, now: Mono) -> Result<ChannelId, ChannelError> {
        self.at(now);
        if !self.takes_in {
            return Err(ChannelError::IntakeClosed);
        }
        let channels_max = self.limits.channels_max;
        self.channels.open(channels_max).ok_or(ChannelError::TooMany { channels_max })
    }

    /// Closes a channel: it takes nothing more, and is forgotten when what it has was run.
    /// Returns whether it was open.
    pub fn close(&mut self, channel: ChannelId) -> bool {
        let Some(at) = self.channels.find(channel) else { return false };
        let was_open = std::mem::replace(&mut self.channels.get_mut(at).is_open, false);
        self.settle(at);
        was_open
    }

    /// The worker that a channel's jobs run on; `None` until it has one, and of
    /// channels that are not known.
    pub fn home(&self, channel: ChannelId) -> Option<WorkerId> {
        self.channels.find(channel).and_then(|at| WorkerId::new(self.channels.get(at).home))
    }

    /// Whether nothing is queued. Jobs may still run: see [`Schedule::is_quiet`].
    pub fn is_empty(&self) -> bool {
        self.jobs.queued() == 0
    }

    /// Whether nothing is queued and nothing runs, but on workers that were lost.
    pub fn is_quiet(&self) -> bool {
        self.is_empty() && self.counts.total().running == 0
    }

    /// Figures since the beginning.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What a worker runs; of a stuck one, what it was running when it was lost.
    pub fn running(&self, worker: WorkerId) -> Option<&Running> {
        self.workers[worker.index()].running.as_ref()
    }

    fn at(&mut self, now: Mono) {
        self.now = self.now.max(now);
    }

    /// Takes a job out of its list, and its channel out of the list of its class
    /// when it was the last one.
    fn unqueue(&mut self, at: u32) -> Job<J> {
        let (class, channel) = (self.jobs.get(at).class.index(), self.jobs.get(at).channel);
        match channel {
            None => self.loose[class].unlink(&mut self.jobs, 0, at),
            Some(place) => {
                let channel = self.channels.get_mut(place);
                channel.queues[class].unlink(&mut self.jobs, 0, at);
                let (home, is_last) = (channel.home, channel.queues[class].is_empty());
                self.workers[home].queued -= 1;
                if is_last {
                    self.leave_class(home, class, place);
                }
            }
        }
        let job = self.jobs.remove(at);
        self.counts.at(job.class).queued -= 1;
        job
    }

    /// Brings a channel into the list of waiting ones or out of it, as what it has
    /// and runs wants it; forgets it when it is closed and empty.
    fn settle(&mut self, at: u32) {
        let now = self.now;
        let channel = self.channels.get_mut(at);
        let waits = !channel.is_running && channel.queued() > 0;
        let (home, is_done) = (channel.home, !channel.is_open && !channel.is_running && !waits);
        if waits != std::mem::replace(&mut channel.is_waiting, waits) {
            if waits {
                channel.ready_since = now;
                self.workers[home].lists[WAITING].push_back(&mut self.channels, WAITING, at);
            } else {
                self.workers[home].lists[WAITING].unlink(&mut self.channels, WAITING, at);
            }
            self.note_behind(home);
        }
        if is_done && self.channels.get(at).is_used {
            self.workers[home].homes = self.workers[home].homes.saturating_sub(1);
            self.channels.forget(at);
        }
    }

    /// Takes a channel out of the list of a class, as the round was: the turn of the jobs
    /// without a channel does not go back.
    fn leave_class(&mut self, worker: usize, class: usize, channel: u32) {
        let own = &mut self.workers[worker];
        own.lists[class].unlink(&mut self.channels, class, channel);
        own.until_loose[class] = own.until_loose[class].min(own.lists[class].len());
    }

    fn note_behind(&mut self, worker: usize) {
        let Some(id) = WorkerId::new(worker) else { return };
        let bit = id.bit();
        let has_some = !self.workers[worker].lists[WAITING].is_empty();
        self.behind = self.behind & !bit | if has_some { bit } else { 0 };
    }

    /// Puts a worker into the set of its state, and out of the others.
    fn set(&mut self, worker: WorkerId, state: State) {
        let bit = worker.bit();
        for set in [&mut self.idle, &mut self.standby, &mut self.waking, &mut self.busy, &mut self.stuck] {
            *set &= !bit;
        }
        match state {
            State::Absent => {}
            State::Idle => self.idle |= bit,
            State::Standby => (self.idle, self.standby) = (self.idle | bit, self.standby | bit),
            State::Waking => self.waking |= bit,
            State::Busy => self.busy |= bit,
            State::Stuck => self.stuck |= bit,
        }
    }

    /// Tells one more idle worker to wake, if there is something for it: a job
    /// without a channel that no waking worker comes for, or channels that wait for their worker while
    /// nobody keeps an eye on them.
    fn relay(&mut self) -> Option<WorkerId> {
        if self.idle == 0 {
            return None;
        }
        let loose: u32 = self.loose.iter().map(List::len).sum();
        let is_short = loose > (self.waking & !self.behind).count_ones();
        let is_unwatched = self.behind != 0 && self.standby == 0 && self.waking == 0;
        if !is_short && !is_unwatched {
            return None;
        }
        let sleepers = self.idle & !self.standby;
        let wake = Workers(if sleepers == 0 { self.idle } else { sleepers }).first()?;
        self.set(wake, State::Waking);
        Some(wake)
    }
}

#[cfg(test)]
mod tests;
