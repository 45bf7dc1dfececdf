//! A watched lock from the moment it is had until it is let go.

use super::held::{Kept, NOWHERE};
use super::order::Order;
use super::state::{Nth, State};
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
    kept: Kept,
    /// Ends on the thread that took it, even where somebody lets parking_lot's guards go to another.
    of_this_thread: PhantomData<MutexGuard<'static, ()>>,
}

impl<'l, O: Order> Holding<'l, O> {
    /// Of a lock that this thread has just taken, and that [was plain](is_plain).
    #[inline(always)]
    pub(crate) fn plain(state: &'l State, me: &'static Thread, tag: Tag, site: Site, nth: Nth) -> Self {
        let kept = if nth.is_looked_at {
            take_in::<O>(state, me, tag, site, nth)
        } else {
            me.held.push_usual::<O::Kind>(state.address(), nth.count, tag, site)
        };
        Self { order: PhantomData, state, me, kept, of_this_thread: PhantomData }
    }

    /// Of one that was taken whatever is held.
    pub(crate) fn new(state: &'l State, me: &'static Thread, tag: Tag, site: Site, nth: Nth) -> Self {
        if is_plain::<O>(me, tag) {
            return Self::plain(state, me, tag, site, nth);
        }
        let kept = take_in::<O>(state, me, tag, site, nth);
        Self { order: PhantomData, state, me, kept, of_this_thread: PhantomData }
    }

    /// Lets go, for a wait that takes the lock again; with where it was taken.
    pub(crate) fn pause(&mut self) -> Option<Site> {
        let site = self.me.held.site(self.place());
        self.end();
        site
    }

    /// Was taken again, after [`pause`](Self::pause).
    pub(crate) fn resume(&mut self, site: Site) {
        let nth = self.state.count_exclusive();
        self.kept = take_in::<O>(self.state, self.me, self.state.tag(), site, nth);
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
        self.kept.place::<O::Kind>()
    }

    fn end(&self) {
        if !self.me.held.pop_last::<O::Kind>(self.kept) {
            self.end_closely();
        }
    }

    /// The end of a hold that is timed, or is not the last one of its kind that began.
    #[cold]
    fn end_closely(&self) {
        let at = self.place();
        if self.kept.is_timed()
            && let (Some(since), Some(site)) = (self.me.take_time(at), self.me.held.site(at))
        {
            self.state.held_since(since, site);
        }
        self.me.held.pop(at);
    }

    /// The end of a hold that is not the usual one, or comes while the thread unwinds.
    #[cold]
    #[inline(never)]
    fn drop_closely(&self) {
        if thread::panicking() {
            self.end_in_panic();
        }
        self.end();
    }

    /// A panic lets go of it; if it began before, the lock is as it was.
    fn end_in_panic(&self) {
        let (tag, site) = (self.me.held.tag(self.place()), self.me.held.site(self.place()));
        let (Some(tag), Some(site)) = (tag, site) else { return };
        if !tag.is_in_panic() && tag.access() == Access::Exclusive {
            self.state.taint(site);
        }
    }
}

/// Nothing has to be looked at before this lock is taken. Asked before, where it costs least: past a locked
/// instruction each load has to wait.
#[inline(always)]
pub(crate) fn is_plain<O: Order>(me: &'static Thread, wanted: Tag) -> bool {
    O::is_in_order(me, wanted) && !thread::panicking()
}

/// Keeps an acquisition with the thread, whatever it is like.
#[inline(never)]
fn take_in<O: Order>(state: &State, me: &'static Thread, mut tag: Tag, site: Site, nth: Nth) -> Kept {
    if thread::panicking() {
        tag = tag.in_panic();
    }
    let is_timed = nth.is_looked_at && state.look();
    let kept = me.held.push::<O::Kind>(state.address(), nth.count, tag, site);
    match kept.place::<O::Kind>() {
        place if is_timed && place != NOWHERE => {
            me.keep_time(place);
            kept.timed::<O::Kind>()
        }
        _ => kept,
    }
}

impl<O: Order> Drop for Holding<'_, O> {
    /// One comparison tells all that is not usual, and one call sees to it: with more of them this is not
    /// inlined where a guard is dropped, which costs a fifth of a mutex.
    #[inline(always)]
    fn drop(&mut self) {
        if thread::panicking() || !self.me.held.pop_last::<O::Kind>(self.kept) {
            self.drop_closely();
        }
    }
}
