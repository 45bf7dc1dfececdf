//! Workers come and go, and channels move between them.

use super::{NOBODY, Schedule, State, WAITING, Worker};
use crate::Mono;
use crate::threads::ids::{Class, WorkerId, Workers};
use crate::threads::outcome::{Loss, Lost};

impl<J> Schedule<J> {
    /// A worker's thread begins, and will [`take`](Schedule::take). Returns whether its number was
    /// free; if not, nothing changes.
    ///
    /// Should its thread not begin after all: [`Schedule::worker_lost`].
    pub fn worker_started(&mut self, now: Mono, worker: WorkerId) -> bool {
        self.at(now);
        if (self.live() | self.stuck) & worker.bit() != 0 {
            return false;
        }
        self.workers[worker.index()] = Worker::NEW;
        self.set(worker, State::Waking);
        for at in 0..self.channels.places() {
            if self.channels.get(at).home == NOBODY && self.channels.get(at).queued() > 0 {
                self.rehome(at, worker.index());
            }
        }
        true
    }

    /// A worker is dead or stuck. Its channels go to others; what it was running
    /// holds its channel no longer, and is counted as lost until a stuck worker comes back.
    pub fn worker_lost(&mut self, now: Mono, worker: WorkerId, loss: Loss) -> Lost {
        self.at(now);
        let (bit, state) = match loss {
            Loss::Dead => (worker.bit(), State::Absent),
            Loss::Stuck => (worker.bit(), State::Stuck),
        };
        if self.live() & bit == 0 {
            if self.stuck & bit != 0 && loss == Loss::Dead {
                self.workers[worker.index()].running = None;
                self.set(worker, State::Absent);
            }
            return Lost::default();
        }
        let running = self.workers[worker.index()].running;
        if let Some(running) = running {
            self.counts.at(running.class).running -= 1;
            self.counts.at(running.class).lost += 1;
            self.release(running.channel);
        }
        self.set(worker, state);
        let mut lost = self.leave(worker);
        if loss == Loss::Dead {
            self.workers[worker.index()].running = None;
        }
        lost.running = running;
        lost
    }

    /// A stuck worker goes on after all; what it was running is done. With `again` it
    /// gets work again, otherwise its number is free and its thread is to end.
    /// Returns whether it was stuck; if not, nothing changes.
    pub fn worker_returned(&mut self, now: Mono, worker: WorkerId, again: bool) -> bool {
        self.at(now);
        if self.stuck & worker.bit() == 0 {
            return false;
        }
        if let Some(running) = self.workers[worker.index()].running.take() {
            self.counts.at(running.class).lost -= 1;
            self.counts.at(running.class).done += 1;
        }
        self.set(worker, State::Absent);
        !again || self.worker_started(now, worker)
    }

    /// A worker's thread ends in order; what it was running is done. Its channels go to others.
    pub fn worker_retired(&mut self, now: Mono, worker: WorkerId) -> Lost {
        self.at(now);
        if self.live() & worker.bit() == 0 {
            return Lost::default();
        }
        self.finish(worker);
        self.set(worker, State::Absent);
        self.leave(worker)
    }

    /// The workers that are neither lost nor gone.
    pub fn workers(&self) -> Workers {
        Workers(self.live())
    }

    /// The workers that sleep, and have nothing to do.
    pub fn idle(&self) -> Workers {
        Workers(self.idle)
    }

    pub(super) fn live(&self) -> u64 {
        self.idle | self.waking | self.busy
    }

    /// Gives a worker's channels to others; says whom to wake.
    fn leave(&mut self, worker: WorkerId) -> Lost {
        let mut lost = Lost::default();
        for at in 0..self.channels.places() {
            let channel = self.channels.get(at);
            if !channel.is_used || channel.home != worker.index() {
                continue;
            }
            if channel.queued() == 0 {
                self.rehome(at, NOBODY);
                continue;
            }
            let home = self.choose_home();
            self.rehome(at, home);
            lost.moved += 1;
            if let Some(home) = WorkerId::new(home)
                && self.idle & home.bit() != 0
            {
                self.set(home, State::Waking);
                lost.wake.insert(home);
            }
        }
        while let Some(wake) = self.relay() {
            lost.wake.insert(wake);
        }
        lost
    }

    /// An idle worker, else the one with the least to do; [`NOBODY`] without any.
    pub(super) fn choose_home(&self) -> usize {
        let load = |id: &WorkerId| {
            let worker = &self.workers[id.index()];
            let queued = worker.queued + u32::from(worker.running.is_some());
            (self.idle & id.bit() == 0, queued, worker.homes)
        };
        Workers(self.live()).min_by_key(load).map_or(NOBODY, WorkerId::index)
    }

    /// Moves a channel that runs nothing, with all that it has queued.
    pub(super) fn rehome(&mut self, at: u32, to: usize) {
        let now = self.now;
        let channel = self.channels.get_mut(at);
        assert!(!channel.is_running, "a channel stays while a job of it runs");
        let from = std::mem::replace(&mut channel.home, to);
        let (queued, is_waiting) = (channel.queued(), channel.is_waiting);
        channel.ready_since = now;
        for class in Class::ALL.map(Class::index) {
            if !self.channels.get(at).queues[class].is_empty() {
                self.leave_class(from, class, at);
                self.workers[to].lists[class].push_back(&mut self.channels, class, at);
            }
        }
        if is_waiting {
            self.workers[from].lists[WAITING].unlink(&mut self.channels, WAITING, at);
            self.workers[to].lists[WAITING].push_back(&mut self.channels, WAITING, at);
        }
        self.workers[from].queued -= queued;
        self.workers[to].queued += queued;
        self.workers[from].homes = self.workers[from].homes.saturating_sub(1);
        self.workers[to].homes += 1;
        self.note_behind(from);
        self.note_behind(to);
    }
}
