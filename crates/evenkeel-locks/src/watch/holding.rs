//! A watched lock from the moment it is had until it is let go.

use super::held::Kind as _;
use super::order::Order;
use super::state::State;
use super::sys::Site;
use super::tag::{Access, Tag};
use super::thread::Thread;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread;

/// Lives as long as the lock is held, and is dropped before it is let go.
#[derive(Debug)]
pub(crate) struct Holding<'l, O: Order> {
    order: PhantomData<fn() -> O>,
    state: &'l State,
    me: &'static Thread,
    /// Where the thread keeps it, and [`TIMED`].
    at: usize,
    /// Ends on the thread that took it, even where somebody lets parking_lot's guards go to another.
    of_this_thread: PhantomData<MutexGuard<'static, ()>>,
}

/// Of a hold that is timed. So whatever is not usual is told by one comparison.
const TIMED: usize = 1 << 16;

impl<'l, O: Order> Holding<'l, O> {
    /// Of a lock that this thread has just taken.
    #[inline(always)]
    pub(crate) fn new(state: &'l State, me: &'static Thread, tag: Tag, site: Site) -> Self {
        let at = take_in::<O>(state, me, tag, site);
        Self { order: PhantomData, state, me, at, of_this_thread: PhantomData }
    }

    /// Lets go, for a wait that takes the lock again; with where it was taken.
    pub(crate) fn pause(&mut self) -> Option<Site> {
        let site = self.me.held.site(self.place());
        self.end();
        site
    }

    /// Was taken again, after [`pause`](Self::pause).
    pub(crate) fn resume(&mut self, site: Site) {
        self.at = take_in::<O>(self.state, self.me, self.state.tag(), site);
    }

    /// Goes on as one of those that read.
    pub(crate) fn downgrade(&mut self) {
        if let Some(tag) = self.me.held.tag(self.place()) {
            self.me.held.retag(self.place(), tag.with(Access::Shared));
        }
    }

    pub(crate) fn thread(&self) -> &'static Thread {
        self.me
    }

    pub(crate) fn state(&self) -> &'l State {
        self.state
    }

    /// Where the thread keeps it.
    fn place(&self) -> usize {
        self.at & !TIMED
    }

    #[inline(always)]
    fn end(&mut self) {
        if self.at < O::Kind::USUAL_MAX { self.me.held.pop(self.at) } else { self.end_closely() }
    }

    /// The end of a hold that is timed, or is not kept where it is usual.
    #[cold]
    #[inline(never)]
    fn end_closely(&self) {
        let at = if self.at == usize::MAX { self.at } else { self.place() };
        if at != self.at
            && let (Some(since), Some(site)) = (self.me.take_time(at), self.me.held.site(at))
        {
            self.state.held_since(since, site);
        }
        self.me.held.pop(at);
    }

    /// A panic lets go of it; if it began before, the lock is as it was.
    #[cold]
    #[inline(never)]
    fn end_in_panic(&self) {
        let (tag, site) = (self.me.held.tag(self.place()), self.me.held.site(self.place()));
        let (Some(tag), Some(site)) = (tag, site) else { return };
        if !tag.is_in_panic() && tag.access() == Access::Exclusive {
            self.state.taint(site);
        }
    }
}

/// Counts an acquisition and keeps it with the thread.
#[inline(always)]
fn take_in<O: Order>(state: &State, me: &'static Thread, tag: Tag, site: Site) -> usize {
    let (nth, is_looked_at) = match tag.access() {
        Access::Exclusive => state.count_exclusive(),
        Access::Shared => state.count_shared(),
    };
    if is_looked_at || thread::panicking() {
        return take_in_closely::<O>(state, me, tag, site, (nth, is_looked_at));
    }
    me.held.push::<O::Kind>(state.address(), nth, tag, site)
}

/// The same of one that is looked at, or while the thread unwinds.
#[cold]
#[inline(never)]
fn take_in_closely<O: Order>(
    state: &State,
    me: &'static Thread,
    mut tag: Tag,
    site: Site,
    (nth, is_looked_at): (u64, bool),
) -> usize {
    if thread::panicking() {
        tag = tag.in_panic();
    }
    if !is_looked_at || !state.look() {
        return me.held.push::<O::Kind>(state.address(), nth, tag, site);
    }
    let at = me.held.push::<O::Kind>(state.address(), nth, tag, site);
    if at == usize::MAX {
        return at;
    }
    me.keep_time(at);
    at | TIMED
}

impl<O: Order> Drop for Holding<'_, O> {
    #[inline(always)]
    fn drop(&mut self) {
        if thread::panicking() {
            self.end_in_panic();
        }
        self.end();
    }
}
