//! A worker asks for its next job.

use super::{Schedule, State, WAITING};
use crate::Mono;
use crate::threads::ids::{ChannelId, Class, WorkerId, Workers};
use crate::threads::outcome::{Next, Running};

impl<J> Schedule<J> {
    /// What a worker is to do next. What it was running is done by asking.
    pub fn take(&mut self, now: Mono, worker: WorkerId) -> Next<J> {
        self.at(now);
        if self.live() & worker.bit() == 0 {
            return Next::Lost;
        }
        self.finish(worker);
        let class = match self.choose_class(worker) {
            Some(class) => class,
            None if self.take_over(worker) => {
                let class = self.choose_class(worker);
                class.expect("invariant: a channel that is taken over has something queued")
            }
            None => return self.rest(worker),
        };
        let at = self.head(worker, class);
        if self.jobs.get(at).deadline.is_some_and(|deadline| deadline <= self.now) {
            self.set(worker, State::Waking);
            return Next::Expired(self.expire(at));
        }
        self.count_turn(worker, class);
        self.begin(worker, at)
    }

    /// What the worker was running is done.
    pub(super) fn finish(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers[worker.index()].running.take() {
            self.counts.at(running.class).running -= 1;
            self.counts.at(running.class).done += 1;
            self.release(running.channel);
        }
    }

    /// A channel's job holds it no longer.
    pub(super) fn release(&mut self, channel: Option<ChannelId>) {
        if let Some(at) = channel.and_then(|id| self.channels.find(id)) {
            self.channels.get_mut(at).is_running = false;
            self.settle(at);
        }
    }

    fn is_ready(&self, worker: WorkerId, class: Class) -> bool {
        let class = class.index();
        !self.loose[class].is_empty() || !self.workers[worker.index()].lists[class].is_empty()
    }

    /// The highest class that has something, unless a lower one has its turn.
    fn choose_class(&self, worker: WorkerId) -> Option<Class> {
        let passed = &self.workers[worker.index()].passed;
        for (class, most) in
            [(Class::Processing, self.limits.system_turns), (Class::Monitoring, self.limits.processing_turns)]
        {
            if passed[class.index()] >= most && self.is_ready(worker, class) {
                return Some(class);
            }
        }
        Class::ALL.into_iter().find(|class| self.is_ready(worker, *class))
    }

    /// The job of a class whose turn it is: of the channel in front, or one without.
    fn head(&self, worker: WorkerId, class: Class) -> u32 {
        let own = &self.workers[worker.index()];
        let list = own.lists[class.index()];
        match (list.front(), self.loose[class.index()].front()) {
            (Some(_), Some(loose)) if own.until_loose[class.index()] == 0 => loose,
            (Some(channel), _) => {
                let first = self.channels.get(channel).queues[class.index()].front();
                first.expect("invariant: a channel in a class's list has a job of it")
            }
            (None, loose) => loose.expect("invariant: a class that is chosen has something"),
        }
    }

    /// Remembers who was passed over by a job of this class.
    fn count_turn(&mut self, worker: WorkerId, class: Class) {
        for other in Class::ALL {
            let passed = if other != class && self.is_ready(worker, other) {
                self.workers[worker.index()].passed[other.index()] + 1
            } else {
                0
            };
            self.workers[worker.index()].passed[other.index()] = passed;
        }
    }

    fn begin(&mut self, worker: WorkerId, at: u32) -> Next<J> {
        let job = self.unqueue(at);
        self.set(worker, State::Busy);
        let (mut moved, waited) = (false, self.now.since(job.submitted));
        let counts = self.counts.at(job.class);
        counts.running += 1;
        counts.longest_wait = counts.longest_wait.max(waited);
        let class = job.class.index();
        let own = &mut self.workers[worker.index()];
        if let Some(at) = job.channel {
            // Its turn is over: to the end of the round.
            let channel = self.channels.get_mut(at);
            channel.is_running = true;
            let (is_in, last) = (channel.has(job.class), channel.last.replace(worker));
            if is_in {
                own.lists[class].unlink(&mut self.channels, class, at);
                own.lists[class].push_back(&mut self.channels, class, at);
            }
            own.until_loose[class] = match own.until_loose[class] {
                0 => own.lists[class].len() - u32::from(is_in),
                until => until - 1,
            };
            moved = last.is_some_and(|last| last != worker);
            counts.moves += u64::from(moved);
            counts.same_worker += u64::from(last == Some(worker));
            self.settle(at);
        } else {
            own.until_loose[class] = own.lists[class].len();
        }
        let channel = job.channel.map(|at| self.channels.id(at));
        let running = Running { id: job.id, channel, class: job.class, since: self.now };
        self.workers[worker.index()].running = Some(running);
        let wake = self.relay();
        Next::Run { id: job.id, channel, class: job.class, payload: job.payload, waited, moved, wake }
    }

    /// When the channel that waits longest for its worker may be taken over, and whose it is.
    fn next_overdue(&self) -> Option<(Mono, u32)> {
        let oldest = |worker: WorkerId| self.workers[worker.index()].lists[WAITING].front();
        let ready = |at: u32| (self.channels.get(at).ready_since.plus(self.limits.patience), at);
        Workers(self.behind).filter_map(oldest).map(ready).min()
    }

    /// Makes an idle worker the home of a channel whose own does not keep up.
    fn take_over(&mut self, worker: WorkerId) -> bool {
        match self.next_overdue() {
            Some((due, at)) if due <= self.now => {
                self.rehome(at, worker.index());
                // Nothing of its own was ready: nothing was passed over.
                self.workers[worker.index()].passed = [0; 3];
                true
            }
            _ => false,
        }
    }

    fn rest(&mut self, worker: WorkerId) -> Next<J> {
        self.set(worker, State::Idle);
        let look_again = if self.standby == 0 { self.next_overdue().map(|(due, _)| due) } else { None };
        if look_again.is_some() {
            self.set(worker, State::Standby);
        }
        Next::Idle { look_again }
    }
}
