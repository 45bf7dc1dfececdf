//! Jobs leave without having run.

use super::Schedule;
use crate::Mono;
use crate::threads::ids::{Class, JobId};
use crate::threads::jobs::Job;
use crate::threads::outcome::Removed;

/// Most jobs that one call of [`Schedule::expired`] gives out.
const EXPIRED_AT_ONCE: usize = 64;

impl<J> Schedule<J> {
    /// Takes a queued job back; `None` when it is not queued (any more).
    ///
    /// It wakes nobody: a worker that was told to wake for it finds nothing.
    pub fn cancel(&mut self, id: JobId) -> Option<J> {
        let at = self.jobs.find(id)?;
        let job = self.remove(at);
        self.counts.at(job.class).cancelled += 1;
        Some(job.payload)
    }

    /// The earliest deadline of all queued jobs.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.jobs.earliest().map(|(deadline, _)| deadline)
    }

    /// Appends to `out` jobs whose deadline has come, the earliest first; at most 64 a
    /// call, so that it stays short: [`Schedule::next_deadline`] tells whether there are more.
    pub fn expired(&mut self, now: Mono, out: &mut Vec<Removed<J>>) {
        self.at(now);
        for _ in 0..EXPIRED_AT_ONCE {
            match self.jobs.earliest() {
                Some((deadline, at)) if deadline <= self.now => {
                    let removed = self.expire(at);
                    out.push(removed);
                }
                _ => break,
            }
        }
    }

    pub(super) fn expire(&mut self, at: u32) -> Removed<J> {
        let removed = self.remove_whole(at);
        self.counts.at(removed.class).expired += 1;
        removed
    }

    /// Takes all queued jobs back, in the order of the channels and classes.
    pub fn drain_all(&mut self, out: &mut Vec<Removed<J>>) {
        out.reserve(self.jobs.queued());
        for class in Class::ALL {
            while let Some(at) = self.loose[class.index()].front() {
                self.drain(at, out);
            }
            for channel in 0..self.channels.places() {
                while let Some(at) = self.channels.get(channel).queues[class.index()].front() {
                    self.drain(at, out);
                }
            }
        }
    }

    fn drain(&mut self, at: u32, out: &mut Vec<Removed<J>>) {
        let removed = self.remove_whole(at);
        self.counts.at(removed.class).drained += 1;
        out.push(removed);
    }

    fn remove_whole(&mut self, at: u32) -> Removed<J> {
        let channel = self.jobs.get(at).channel.map(|channel| self.channels.id(channel));
        let Job { id, class, payload, .. } = self.remove(at);
        Removed { id, channel, class, payload }
    }

    /// Takes out a queued job that is not to run.
    fn remove(&mut self, at: u32) -> Job<J> {
        let job = self.unqueue(at);
        if let Some(channel) = job.channel {
            self.settle(channel);
        }
        job
    }
}
