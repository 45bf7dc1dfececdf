//! Jobs come in.

use super::{NOBODY, Schedule, State};
use crate::Mono;
use crate::threads::ids::{ChannelId, Class, WorkerId};
use crate::threads::jobs::Job;
use crate::threads::outcome::{Reason, Refused, Submitted};

impl<J> Schedule<J> {
    /// Accepts a job.
    ///
    /// # Errors
    /// With the payload, when there is no place for it, or its channel or the intake is closed.
    pub fn submit(
        &mut self,
        now: Mono,
        class: Class,
        channel: Option<ChannelId>,
        payload: J,
    ) -> Result<Submitted, Refused<J>> {
        self.accept(now, class, channel, None, payload)
    }

    /// Accepts a job that is to begin before `deadline`, or not at all: then it
    /// comes out of [`Schedule::take`] or [`Schedule::expired`].
    ///
    /// # Errors
    /// As [`Schedule::submit`].
    pub fn submit_before(
        &mut self,
        now: Mono,
        class: Class,
        channel: Option<ChannelId>,
        deadline: Mono,
        payload: J,
    ) -> Result<Submitted, Refused<J>> {
        self.accept(now, class, channel, Some(deadline), payload)
    }

    fn accept(
        &mut self,
        now: Mono,
        class: Class,
        channel: Option<ChannelId>,
        deadline: Option<Mono>,
        payload: J,
    ) -> Result<Submitted, Refused<J>> {
        self.at(now);
        let channel = match self.admit(class, channel) {
            Ok(channel) => channel,
            Err(reason) => return Err(Refused { reason, payload }),
        };
        let submitted = self.now;
        let (at, id) = self.jobs.insert(|id| Job { id, class, channel, submitted, deadline, payload });
        self.counts.at(class).queued += 1;
        let wake = match channel {
            Some(channel) => self.queue(channel, class, at),
            None => {
                self.loose[class.index()].push_back(&mut self.jobs, 0, at);
                self.relay()
            }
        };
        let is_next_deadline =
            deadline.is_some() && self.jobs.earliest().is_some_and(|(_, first)| first == at);
        Ok(Submitted { id, wake, is_next_deadline })
    }

    /// Whether there is a place; gives that of the channel.
    fn admit(&self, class: Class, channel: Option<ChannelId>) -> Result<Option<u32>, Reason> {
        if !self.takes_in {
            return Err(Reason::IntakeClosed);
        }
        let at = match channel {
            None => None,
            Some(id) => Some(self.channels.find(id).ok_or(Reason::UnknownChannel(id))?),
        };
        if let (Some(id), Some(at)) = (channel, at)
            && !self.channels.get(at).is_open
        {
            return Err(Reason::ChannelClosed(id));
        }
        let reserved = if class == Class::System { 0 } else { self.limits.reserved_for_system };
        let (queued, queued_max) = (self.jobs.queued(), self.limits.queued_max - reserved);
        if queued >= queued_max { Err(Reason::Full { class, queued, queued_max }) } else { Ok(at) }
    }

    /// Puts a job into its channel; says whom to wake for it.
    fn queue(&mut self, channel: u32, class: Class, job: u32) -> Option<WorkerId> {
        let (home, is_empty) = (self.channels.get(channel).home, self.channels.get(channel).queued() == 0);
        if home == NOBODY && is_empty {
            let home = self.choose_home();
            self.channels.get_mut(channel).home = home;
            self.workers[home].homes += 1;
        }
        let (home, is_first) = (self.channels.get(channel).home, !self.channels.get(channel).has(class));
        self.channels.get_mut(channel).queues[class.index()].push_back(&mut self.jobs, 0, job);
        self.workers[home].queued += 1;
        if is_first {
            self.workers[home].lists[class.index()].push_back(&mut self.channels, class.index(), channel);
        }
        self.settle(channel);
        match WorkerId::new(home) {
            Some(home) if self.idle & home.bit() != 0 => {
                self.set(home, State::Waking);
                Some(home)
            }
            _ => self.relay(),
        }
    }

    /// Accepts nothing more; what is queued can still be taken.
    pub fn close_intake(&mut self) {
        self.takes_in = false;
    }
}
