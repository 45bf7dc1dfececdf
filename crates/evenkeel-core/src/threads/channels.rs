//! The channels: what each has queued, and who is its home.
//!
//! Invariants: a channel is in its home's list of a class exactly when it has
//! jobs of that class, and in its home's list of waiting ones exactly when it has
//! jobs and none of them runs. One that runs a job runs it on its home.

use super::ids::{ChannelId, Class, WORKERS_MAX, WorkerId};
use super::list::{Link, List, NIL, Nodes};
use crate::Mono;

/// The home of channels that have none: a worker that never takes anything.
pub(super) const NOBODY: usize = WORKERS_MAX;
/// The list of channels that wait, beside those of the three classes.
pub(super) const WAITING: usize = 3;

/// A channel.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    generation: u32,
    /// Whether somebody has it; a closed one is kept until it is empty.
    pub(super) is_used: bool,
    pub(super) is_open: bool,
    pub(super) is_running: bool,
    /// Whether it is in its home's list of waiting ones.
    pub(super) is_waiting: bool,
    pub(super) home: usize,
    /// Where its last job began.
    pub(super) last: Option<WorkerId>,
    /// Its jobs, by class.
    pub(super) queues: [List; 3],
    pub(super) ready_since: Mono,
    links: [Link; 4],
}

impl Channel {
    pub(super) fn queued(&self) -> u32 {
        self.queues.iter().map(List::len).sum()
    }

    pub(super) fn has(&self, class: Class) -> bool {
        !self.queues[class.index()].is_empty()
    }
}

/// All of them.
pub(super) struct Channels {
    places: Vec<Channel>,
    /// First free place; free ones are chained by their first link.
    free: u32,
}

impl Nodes for Channels {
    fn link(&mut self, at: u32, which: usize) -> &mut Link {
        &mut self.places[at as usize].links[which]
    }
}

impl Channels {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: NIL }
    }

    pub(super) fn get(&self, at: u32) -> &Channel {
        &self.places[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Channel {
        &mut self.places[at as usize]
    }

    /// How many places there are, used or not.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    pub(super) fn id(&self, at: u32) -> ChannelId {
        ChannelId { slot: at, generation: self.get(at).generation }
    }

    pub(super) fn find(&self, id: ChannelId) -> Option<u32> {
        let channel = self.places.get(id.slot())?;
        (channel.is_used && channel.generation == id.generation).then_some(id.slot)
    }

    /// A new one; `None` when there are `channels_max`.
    pub(super) fn open(&mut self, channels_max: usize) -> Option<ChannelId> {
        let at = match self.free {
            NIL if self.places.len() >= channels_max => return None,
            NIL => {
                if self.places.is_empty() {
                    self.places.reserve_exact(channels_max);
                }
                self.places.push(Channel {
                    generation: 0,
                    is_used: false,
                    is_open: false,
                    is_running: false,
                    is_waiting: false,
                    home: NOBODY,
                    last: None,
                    queues: [List::EMPTY; 3],
                    ready_since: Mono::default(),
                    links: [Link::NONE; 4],
                });
                self.places() - 1
            }
            at => {
                self.free = self.get(at).links[0].next;
                at
            }
        };
        let channel = self.get_mut(at);
        (channel.is_used, channel.is_open, channel.home, channel.last) = (true, true, NOBODY, None);
        channel.links = [Link::NONE; 4];
        Some(self.id(at))
    }

    /// Forgets one that is empty, runs nothing and is in no list.
    pub(super) fn forget(&mut self, at: u32) {
        let free = self.free;
        let channel = self.get_mut(at);
        assert!(!channel.is_running && channel.queued() == 0, "a channel is forgotten when it is empty");
        (channel.is_used, channel.is_open) = (false, false);
        channel.generation = channel.generation.wrapping_add(1);
        channel.links[0].next = free;
        self.free = at;
    }
}
