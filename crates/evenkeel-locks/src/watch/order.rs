//! The order at run time: ranks, and classes whose order is learnt.
//!
//! A rank is compared with the mask of what is held. A class without a rank is a node of a graph: that
//! a lock of class B was taken while one of class A was held is an edge from A to B, and an edge that
//! closes a circle is a violation, even if no two threads have met on it yet. Ranks are nodes too, with
//! an edge from each to all that are greater.

use super::event::{self, Place, Violation, ViolationKind};
use super::graph;
use super::held::{Mixed, Sorted};
use super::state::State;
use super::sys::Site;
use super::tag::{Access, NO_NODE, RANKS, Tag};
use super::thread::Thread;
use crate::{Cap, Level};
use std::fmt;
use std::marker::PhantomData;

/// Nodes that the graph has room for: two megabytes of bits, of which a page is there when it is written.
pub(crate) const NODES_MAX: usize = 4096;

/// What a lock is made with, beside the place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) name: Option<&'static str>,
    pub(crate) rank: Option<u16>,
    pub(crate) class: Option<&'static Class>,
    /// Its order is learnt where it has no rank.
    pub(crate) is_ordered: bool,
}

/// A place in an order that is checked at run time: 0 to 62, and a name for reports.
///
/// ```
/// use evenkeel_locks::ranked::{Mutex, Rank};
///
/// const SESSIONS: Rank = Rank::new(10, "sessions");
/// const SOCKETS: Rank = Rank::new(20, "sockets"); // room between for what is to come
///
/// let (sessions, sockets) = (Mutex::new(SESSIONS, 1), Mutex::new(SOCKETS, 2));
/// let sessions = sessions.lock();
/// assert_eq!(*sessions + *sockets.lock(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    at: u16,
    name: &'static str,
}

impl Rank {
    /// A rank; locks of greater ranks may be taken while one of this is held.
    ///
    /// # Panics
    /// When `at` is over 62, at compile time in a constant.
    #[must_use]
    pub const fn new(at: u8, name: &'static str) -> Self {
        assert!((at as u16) < RANKS, "ranks go from 0 to 62");
        Self { at: at as u16, name }
    }

    pub(crate) const fn origin(self) -> Origin {
        Origin { name: Some(self.name), rank: Some(self.at), class: None, is_ordered: true }
    }
}

/// A class of locks that are made in several places, or several classes made in one.
///
/// ```
/// use evenkeel_locks::unranked::{Class, Mutex};
///
/// static ACCOUNT: Class = Class::new("account");
/// let (one, two) = (Mutex::of(&ACCOUNT, 1), Mutex::of(&ACCOUNT, 2));
/// drop(one.lock());
/// drop(two.lock());
/// ```
#[derive(Debug)]
pub struct Class {
    name: &'static str,
    // Two classes are told apart by address, so one must not be of no size.
    _place: u8,
}

impl Class {
    /// A class with a name for reports.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, _place: 0 }
    }

    pub(crate) const fn origin(&'static self) -> Origin {
        Origin { name: Some(self.name), rank: None, class: Some(self), is_ordered: true }
    }
}

/// The order of a watched lock: [`Ranked`], [`Learnt`] or [`OnLevel`].
pub trait Order: sealed::Order {}

/// An order that is checked when a lock is taken.
pub trait AtRunTime: Order {}

/// By rank.
#[derive(Debug)]
pub enum Ranked {}

/// By what was seen of its class.
#[derive(Debug)]
pub enum Learnt {}

/// By the compiler.
pub struct OnLevel<L>(PhantomData<fn() -> L>);

impl<L> fmt::Debug for OnLevel<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLevel")
    }
}

pub(crate) mod sealed {
    use super::{Tag, Thread};
    use crate::watch::held::Kind;

    pub trait Order {
        /// What a guard lends beside the value.
        #[doc(hidden)]
        type Lent;

        #[doc(hidden)]
        type Kind: Kind;

        #[doc(hidden)]
        fn lent() -> Self::Lent;

        /// It is plain that the lock may be taken, and that its usual slot is free. Otherwise
        /// [`look_closely`](super::look_closely) says what is wrong, if anything is.
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "nobody else implements or calls it")]
        fn is_in_order(me: &'static Thread, wanted: Tag) -> bool;
    }
}

impl Order for Ranked {}
impl Order for Learnt {}
impl<L: Level> Order for OnLevel<L> {}
impl AtRunTime for Ranked {}
impl AtRunTime for Learnt {}

impl sealed::Order for Ranked {
    type Lent = ();
    type Kind = Sorted;

    #[inline]
    fn lent() {}

    #[inline(always)]
    #[allow(private_interfaces, reason = "nobody else implements or calls it")]
    fn is_in_order(me: &'static Thread, wanted: Tag) -> bool {
        me.held.is_below(wanted.node())
    }
}

impl sealed::Order for Learnt {
    type Lent = ();
    type Kind = Mixed;

    #[inline]
    fn lent() {}

    #[inline(always)]
    #[allow(private_interfaces, reason = "nobody else implements or calls it")]
    fn is_in_order(me: &'static Thread, wanted: Tag) -> bool {
        me.held.is_without_rank(|held| graph::is_known(held.node(), wanted.node()))
    }
}

impl<L: Level> sealed::Order for OnLevel<L> {
    type Lent = Cap<L>;
    type Kind = Mixed;

    #[inline]
    fn lent() -> Cap<L> {
        Cap::new()
    }

    #[inline(always)]
    #[allow(private_interfaces, reason = "nobody else implements or calls it")]
    fn is_in_order(_: &'static Thread, _: Tag) -> bool {
        true
    }
}

/// Looks whether the lock may be taken, before it is waited for.
pub(crate) fn check<O: Order>(me: &'static Thread, state: &State, wanted: Tag, site: Site) {
    if !O::is_in_order(me, wanted) {
        look_closely(me, state, wanted, site);
    }
}

/// Looks at each lock that is held.
#[inline(never)]
fn look_closely(me: &'static Thread, state: &State, wanted: Tag, site: Site) {
    let to = wanted.node();
    me.held.each_own(|lock, tag, at| {
        let from = tag.node();
        if lock == state.address() {
            violated(me, at, wanted, site, ViolationKind::Recursive);
        } else if from == NO_NODE || to == NO_NODE {
            // In no order that is checked here.
        } else if from < RANKS && to < RANKS {
            if from >= to {
                violated(me, at, wanted, site, ViolationKind::Rank);
            }
        } else if !graph::is_known(from, to) {
            learn(me, at, wanted, site);
        }
    });
}

/// An order that was not seen before.
#[cold]
fn learn(me: &'static Thread, at: usize, wanted: Tag, site: Site) {
    let Some(hold) = me.held.hold(at) else { return };
    if hold.tag.node() == wanted.node() {
        violated(me, at, wanted, site, ViolationKind::SameClass);
    } else if let Err(earlier) = graph::add(&hold, wanted, site, &me.name()) {
        violated(me, at, wanted, site, ViolationKind::Order { earlier });
    }
}

#[cold]
fn violated(me: &'static Thread, at: usize, wanted: Tag, site: Site, kind: ViolationKind) {
    let Some(hold) = me.held.hold(at) else { return };
    event::violated(
        (hold.tag.node(), wanted.node()),
        Violation {
            kind,
            thread: me.name(),
            wanted: Place::of(wanted.number(), site),
            held: Place::of(hold.tag.number(), hold.site),
        },
    );
}

/// Whether two cannot hold a lock like this at once.
pub(crate) fn is_conflict(one: Access, two: Access) -> bool {
    one == Access::Exclusive || two == Access::Exclusive
}
