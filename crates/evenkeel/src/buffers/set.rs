//! Queues of one kind of item, a queue for each channel: many put in, one or several take out, fairly.
//!
//! ```text
//! Inlet of left  --> queue --\                       /--> Outlet, what it took in hand until it takes again
//! Inlet of right --> queue ---+-- by weight, in runs +
//!                            /                       \--> Outlet
//! ```
//!
//! What holds:
//! * One lock, held for moves of a few words; nothing of a user's is called or dropped under it. What an item
//!   counts as is asked before, what has to go is dropped after.
//! * Who changes what somebody waits for wakes them, under that lock: no wake-up is lost. Who waits has no place in here
//!   but in the line of their channel, and takes themselves out of it, however the wait ends.
//! * Those who wait to put into one queue do so in the order in which they came: what is large is not passed by.

use super::error::{BufferError, Why};
use super::inlet::Inlet;
use super::limits::{QueueCounts, QueueLimits, Queued};
use super::outlet::Outlet;
use super::queues::{Pushed, Queues};
use crate::callback::contained;
use evenkeel_core::check_name;
use evenkeel_hierarchy::{BufferState, Condvar, Mutex, with_root};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Channels that queues may have, once each, in their life.
const CHANNELS_MAX: usize = 4096;
/// What may wait in a queue beyond its items, and counts as none.
const CONTROL_MAX: u64 = 1024;
/// Bytes that come of one channel before it is the next one's turn, for each unit of weight.
const QUANTUM_BYTES: u64 = 64 << 10;

/// An item with what it counts as: asked before any lock is taken, for it is a user's who answers.
pub(super) struct Weighed<T> {
    pub(super) item: T,
    items: u64,
    bytes: u64,
    memory: u64,
    is_control: bool,
    /// How many were put in before it, and itself.
    pub(super) nth: u64,
}

impl<T: Queued> Weighed<T> {
    #[inline]
    pub(super) fn of(item: T) -> Self {
        let is_control = item.is_control();
        let of = |figure: fn(&T) -> u64| if is_control { 0 } else { figure(&item) };
        let (items, bytes, memory) = (of(T::items), of(T::bytes), of(T::memory));
        Self { item, items, bytes, memory, is_control, nth: 0 }
    }
}

impl<T> Queued for Weighed<T> {
    #[inline]
    fn items(&self) -> u64 {
        self.items
    }
    #[inline]
    fn bytes(&self) -> u64 {
        self.bytes
    }
    #[inline]
    fn memory(&self) -> u64 {
        self.memory
    }
    #[inline]
    fn is_control(&self) -> bool {
        self.is_control
    }
}

/// The end of a queue where things come in.
pub(super) struct Side {
    pub(super) name: Arc<str>,
    pub(super) is_open: bool,
    /// How often it was opened: who came in by an opening that was closed has no part in the next.
    pub(super) opening: u64,
    /// Entries that were ever put in.
    pub(super) entered: u64,
    /// Tickets of those who wait for room, who came first at the front.
    pub(super) line: VecDeque<u64>,
    pub(super) room: Arc<Condvar>,
}

impl Side {
    /// Whether it takes in what comes by an opening of it.
    #[inline]
    pub(super) fn is_open_for(&self, opening: u64) -> bool {
        self.is_open && self.opening == opening
    }
}

/// What one outlet has taken and is not done with.
pub(super) struct Hand {
    pub(super) outlet: u64,
    /// Which take it was; `None` once it is done with.
    pub(super) take: Option<u64>,
    pub(super) entries: u64,
    /// Whose it is.
    pub(super) channels: Vec<usize>,
}

pub(super) struct State<T> {
    pub(super) queues: Queues<Weighed<T>>,
    pub(super) sides: Vec<Side>,
    pub(super) hands: Vec<Hand>,
    pub(super) is_closed: bool,
    /// Numbers given so far: of tickets, takes and outlets.
    pub(super) numbers: u64,
    /// Entries that somebody had in hand who panicked: nobody knows what became of them.
    pub(super) unfinished: u64,
}

impl<T> State<T> {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Puts an item in where nothing stands in its way; otherwise leaves it where it is.
    #[inline]
    pub(super) fn push_if_free(
        &mut self,
        (at, opening): (usize, u64),
        item: &mut Option<Weighed<T>>,
    ) -> bool {
        let side = &mut self.sides[at];
        let Some(weighed) = item.as_mut().filter(|weighed| weighed.items > 0) else { return false };
        weighed.nth = side.entered + 1;
        let is_free = side.is_open_for(opening) && side.line.is_empty();
        let is_put = is_free && self.queues.push_if_room(at, item);
        side.entered += u64::from(is_put);
        is_put
    }

    /// Puts an item in, or says why not.
    #[inline]
    pub(super) fn push(&mut self, at: usize, mut item: Weighed<T>) -> Pushed<Weighed<T>> {
        item.nth = self.sides[at].entered + 1;
        if item.items == 0 {
            let most = self.queues.limits(at).items_max.saturating_add(CONTROL_MAX);
            if self.queues.counts(at).entries >= most {
                return Pushed::Full(item);
            }
        }
        let pushed = self.queues.push(at, item);
        self.sides[at].entered += u64::from(matches!(pushed, Pushed::Taken | Pushed::Made(..)));
        pushed
    }
}

pub(super) struct Shared<T> {
    pub(super) name: Arc<str>,
    pub(super) state: Mutex<BufferState, State<T>>,
    pub(super) arrived: Condvar,
    /// Something was taken, done with or dropped.
    pub(super) progress: Condvar,
}

impl<T> Shared<T> {
    #[inline]
    pub(super) fn with<A>(&self, act: impl FnOnce(&mut State<T>) -> A) -> A {
        with_root(|house| act(&mut self.state.lock(house)))
    }

    /// No more is taken in by an opening of one queue.
    pub(super) fn close(&self, at: usize, opening: u64) {
        self.with(|state| {
            let side = &mut state.sides[at];
            if side.is_open_for(opening) {
                side.is_open = false;
                side.room.notify_all();
            }
        });
    }

    /// No more is taken in by any, and there are no new ones either.
    fn close_all(&self) {
        self.with(|state| {
            state.is_closed = true;
            for side in &mut state.sides {
                side.is_open = false;
                side.room.notify_all();
            }
            self.arrived.notify_all();
        });
    }

    /// Takes what waits in a queue, which counts as dropped, and lets in who waits for room.
    fn discard(&self, at: usize) -> Vec<Weighed<T>> {
        self.with(|state| {
            let left = state.queues.drain(at);
            state.sides[at].room.notify_all();
            self.progress.notify_all();
            left
        })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let left = self.state.get_mut().queues.drain_all();
        if !left.is_empty() {
            contained(|| drop(left));
        }
    }
}

/// Queues of one kind of item, a queue for each channel. Cheap to clone; all clones are one. Made by
/// [`BufferManager::queues`](super::BufferManager::queues).
///
/// ```
/// use evenkeel::buffers::QueueLimits;
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keel = Keel::builder("intercom").without_signals().keep_process().build()?;
/// let to_disk = keel.buffers().queues::<Vec<u8>>("to-disk")?;
/// let left = keel.channel("left")?.inlet(&to_disk, QueueLimits::default())?;
/// left.put(b"some sound".to_vec())?;
///
/// let mut writer = to_disk.outlet();
/// for (channel, sound) in writer.take_now(64 << 10)? {
///     assert_eq!((to_disk.channel_name(*channel), &sound[..]), (Some("left".into()), &b"some sound"[..]));
/// }
/// writer.done();
/// assert_eq!(left.counts().items_out, 1);
/// keel.buffers().verify_empty()?;
/// # keel.stop("enough", "the example");
/// # Ok(())
/// # }
/// ```
pub struct BufferQueues<T>(pub(super) Arc<Shared<T>>);

impl<T> Clone for BufferQueues<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for BufferQueues<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferQueues").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<T: Send> BufferQueues<T> {
    pub(super) fn new(name: &str) -> Self {
        let state = State {
            queues: Queues::new(QUANTUM_BYTES),
            sides: Vec::new(),
            hands: Vec::new(),
            is_closed: false,
            numbers: 0,
            unfinished: 0,
        };
        Self(Arc::new(Shared {
            name: name.into(),
            state: Mutex::new(state),
            arrived: Condvar::new(),
            progress: Condvar::new(),
        }))
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Opens the queue of a channel, for whoever puts things in. One that was closed is opened again, with the limits said
    /// now; what waits in it and what it has counted stay. Inlets from before it was closed stay closed.
    ///
    /// # Errors
    /// [`BufferError`]: the name, that it is open, that there are too many, or that nothing more is taken in.
    pub fn open(&self, channel: &str, limits: QueueLimits) -> Result<Inlet<T>, BufferError> {
        check_name(channel)?;
        let queues = || self.0.name.to_string();
        let (name, room): (Arc<str>, Arc<Condvar>) = (channel.into(), Arc::default());
        let opened = self.0.with(|state| {
            if state.is_closed {
                return Err(BufferError::Closed { queues: queues() });
            }
            if let Some(at) = state.sides.iter().position(|side| *side.name == *name) {
                if state.sides[at].is_open {
                    return Err(BufferError::Open { queues: queues(), channel: channel.to_owned() });
                }
                let side = &mut state.sides[at];
                side.is_open = true;
                side.opening += 1;
                state.queues.set_limits(at, limits);
                return Ok(((at, side.opening), side.room.clone()));
            }
            if state.sides.len() >= CHANNELS_MAX {
                return Err(BufferError::TooMany { name: channel.to_owned(), allowed: CHANNELS_MAX });
            }
            let at = state.queues.add(limits);
            let (line, room_there) = (VecDeque::new(), room.clone());
            let (name, is_open) = (name.clone(), true);
            state.sides.push(Side { name, is_open, opening: 0, entered: 0, line, room: room_there });
            assert_eq!(at + 1, state.sides.len(), "invariant: no queue is ever removed");
            Ok(((at, 0), room))
        });
        let (at, room) = opened?;
        Ok(Inlet::new(self.0.clone(), at, name, room))
    }

    /// One more who takes things out. Several share the work: each item is taken once.
    pub fn outlet(&self) -> Outlet<T> {
        Outlet::new(self.0.clone())
    }

    /// No queue takes anything in any more, and none is opened; what waits can still be taken out.
    pub fn close(&self) {
        self.0.close_all();
    }

    /// Takes what waits of a channel, to be dropped by the caller: it counts as dropped. Nothing if there is no such channel.
    pub fn discard(&self, channel: &str) -> Vec<T> {
        let at = self.0.with(|state| state.sides.iter().position(|side| *side.name == *channel));
        let left = at.map(|at| self.0.discard(at)).unwrap_or_default();
        left.into_iter().map(|weighed| weighed.item).collect()
    }

    /// What has passed a channel's queue, and waits in it.
    pub fn counts(&self, channel: &str) -> Option<QueueCounts> {
        self.0.with(|state| {
            let at = state.sides.iter().position(|side| *side.name == *channel)?;
            Some(state.queues.counts(at))
        })
    }

    /// The same of all queues together.
    pub fn totals(&self) -> QueueCounts {
        self.0.with(|state| state.queues.totals())
    }

    /// The channel of a number that an outlet gave.
    pub fn channel_name(&self, number: usize) -> Option<Arc<str>> {
        self.0.with(|state| state.sides.get(number).map(|side| side.name.clone()))
    }
}

/// What a push said, as why it was refused.
pub(super) fn refused<T>(pushed: Pushed<Weighed<T>>) -> Result<Pushed<Weighed<T>>, (Weighed<T>, Why)> {
    match pushed {
        Pushed::Full(item) => Err((item, Why::Full)),
        Pushed::TooLarge(item) => Err((item, Why::TooLarge)),
        taken => Ok(taken),
    }
}
