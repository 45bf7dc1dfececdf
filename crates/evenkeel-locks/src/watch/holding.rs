//! A watched lock from the moment it is had until it is let go.

use super::state::State;
use super::sys::Site;
use super::tag::{Access, Tag};
use super::thread::Thread;
use std::thread;
use std::time::Instant;

/// Lives as long as the lock is held, and is dropped before it is let go.
#[derive(Debug)]
pub(crate) struct Holding<'l> {
    state: &'l State,
    me: &'static Thread,
    tag: Tag,
    at: usize,
    site: Site,
    /// Of a hold that is timed.
    since: Option<Instant>,
    was_panicking: bool,
}

impl<'l> Holding<'l> {
    /// Of a lock that this thread has just taken.
    #[inline]
    pub(crate) fn new(state: &'l State, me: &'static Thread, access: Access, site: Site) -> Self {
        let tag = state.tag().with(access);
        let (nth, since) = match access {
            Access::Exclusive => state.count_exclusive(),
            Access::Shared => state.count_shared(),
        };
        let at = me.held.push(state.address(), nth, tag, site);
        Self { state, me, tag, at, site, since, was_panicking: thread::panicking() }
    }

    /// Lets go, for a wait that takes the lock again.
    pub(crate) fn pause(&mut self) {
        self.end();
        self.since = None;
    }

    /// Was taken again, after [`pause`](Self::pause).
    pub(crate) fn resume(&mut self) {
        let (nth, since) = self.state.count_exclusive();
        self.since = since;
        self.at = self.me.held.push(self.state.address(), nth, self.tag, self.site);
    }

    /// Goes on as one of those that read.
    pub(crate) fn downgrade(&mut self) {
        self.tag = self.tag.with(Access::Shared);
        self.me.held.retag(self.at, self.tag);
    }

    pub(crate) fn thread(&self) -> &'static Thread {
        self.me
    }

    pub(crate) fn state(&self) -> &'l State {
        self.state
    }

    pub(crate) fn site(&self) -> Site {
        self.site
    }

    #[inline]
    fn end(&mut self) {
        if let Some(since) = self.since {
            self.state.held_since(since, self.site);
        }
        self.me.held.pop(self.at, self.tag);
    }
}

impl Drop for Holding<'_> {
    #[inline]
    fn drop(&mut self) {
        if thread::panicking() && !self.was_panicking && self.tag.access() == Access::Exclusive {
            self.state.taint(self.site);
        }
        self.end();
    }
}
