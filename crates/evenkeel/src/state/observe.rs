//! Who is told of changes.

use super::inner::{Inner, me};
use super::mailbox::Mailbox;
use super::{Change, MachineName, ObserveError, State, StateWhat};
use crate::callback::call_alone;
use evenkeel_hierarchy::{Cap, House, MachineCallbacks, Mutex, with_root};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Most observers of one machine.
pub(super) const OBSERVERS_MAX: usize = 256;

/// All observers of one machine at one moment.
pub(super) type Snapshot<S> = Arc<Vec<Arc<Observer<S>>>>;

/// What is called.
pub(super) type Call<S> = Box<dyn Fn(&Change<S>) + Send + Sync>;

/// How an observer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the thread that tells.
    Inline,
    /// Through its mailbox.
    Aside,
    /// Nobody wants to be told any more.
    Gone,
    /// It could not keep up, or panicked too often.
    Detached,
}

impl Mode {
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Gone | Self::Detached)
    }

    fn of(word: u8) -> Self {
        match word {
            0 => Self::Inline,
            1 => Self::Aside,
            2 => Self::Gone,
            _ => Self::Detached,
        }
    }
}

pub(super) struct Observer<S: State> {
    pub(super) name: Arc<str>,
    pub(super) call: Call<S>,
    /// The last change before it subscribed.
    pub(super) since: u64,
    mode: AtomicU8,
    /// The last change that it was told of.
    seen: AtomicU64,
    panics: AtomicU32,
    /// The thread that is inside of it; 0 for none.
    caller: AtomicU64,
    /// How many threads are inside, or were just now, from which the turn to tell was taken.
    left_inside: AtomicU32,
    pub(super) mailbox: Mutex<MachineCallbacks, Mailbox<S>>,
}

impl<S: State> Observer<S> {
    pub(super) fn mode(&self) -> Mode {
        Mode::of(self.mode.load(Ordering::Acquire))
    }

    /// From now on it is told through its mailbox; whether that is new.
    pub(super) fn move_aside(&self) -> bool {
        let (inline, aside) = (Mode::Inline as u8, Mode::Aside as u8);
        self.mode.compare_exchange(inline, aside, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// From now on it is told nothing; after which change, if that is new.
    fn detach(&self) -> Option<u64> {
        let end = |mode: u8| (!Mode::of(mode).is_over()).then_some(Mode::Detached as u8);
        self.mode.fetch_update(Ordering::AcqRel, Ordering::Acquire, end).ok()?;
        Some(self.seen.load(Ordering::SeqCst))
    }

    fn leave(&self) {
        let end = |mode: u8| (!Mode::of(mode).is_over()).then_some(Mode::Gone as u8);
        let _ = self.mode.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
    }

    /// The turn to tell is taken from a thread that is inside, or was just now: nobody else may go in meanwhile.
    pub(super) fn is_left_inside(&self) {
        self.left_inside.fetch_add(1, Ordering::SeqCst);
    }

    /// That thread is outside again, or was not taken the turn.
    pub(super) fn is_outside(&self) {
        self.left_inside.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn has_one_inside(&self) -> bool {
        self.left_inside.load(Ordering::SeqCst) > 0
    }

    /// The calling thread goes in.
    pub(super) fn enter(&self) {
        self.caller.store(me(), Ordering::Relaxed);
    }

    /// It is outside again, and was told of this change.
    pub(super) fn has_left(&self, sequence: u64) {
        self.caller.store(0, Ordering::Relaxed);
        self.seen.store(sequence, Ordering::SeqCst);
    }

    /// Whether it is the calling thread that is inside.
    pub(super) fn is_called_by_me(&self) -> bool {
        self.caller.load(Ordering::Relaxed) == me()
    }

    pub(super) fn has_seen(&self, sequence: u64) -> bool {
        self.mode().is_over() || self.seen.load(Ordering::SeqCst) >= sequence
    }

    pub(super) fn panicked(&self) -> u32 {
        self.panics.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn is_well(&self) {
        if self.panics.load(Ordering::Relaxed) != 0 {
            self.panics.store(0, Ordering::Relaxed);
        }
    }
}

/// Who is told, in the order in which they came.
pub(super) struct Observers<S: State>(Option<Snapshot<S>>);

impl<S: State> Default for Observers<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: State> Observers<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Observer<S>>> {
        self.0.iter().flat_map(|all| all.iter())
    }

    pub(super) fn snapshot(&self) -> Snapshot<S> {
        self.0.clone().unwrap_or_default()
    }

    /// Takes one in; the list that was before is for the caller to drop, outside.
    #[must_use]
    fn add(&mut self, new: Arc<Observer<S>>) -> Option<Snapshot<S>> {
        let all = self.iter().cloned().chain([new]).collect();
        self.0.replace(Arc::new(all))
    }

    /// Takes out whoever is over; the list that was before is for the caller to drop, outside.
    #[must_use]
    fn sweep(&mut self) -> Option<Snapshot<S>> {
        if self.iter().all(|observer| !observer.mode().is_over()) {
            return None;
        }
        let left: Vec<_> = self.iter().filter(|observer| !observer.mode().is_over()).cloned().collect();
        std::mem::replace(&mut self.0, (!left.is_empty()).then(|| Arc::new(left)))
    }

    pub(super) fn drop_each(self, house: &mut Cap<House>) {
        if let Some(all) = self.0 {
            drop_outside(house, all);
        }
    }
}

/// Drops observers of a list that nobody else has; they are users'.
pub(super) fn drop_outside<S: State>(house: &mut Cap<House>, observers: Snapshot<S>) {
    let Some(alone) = Arc::into_inner(observers) else { return };
    for observer in alone {
        call_alone(house, || drop(observer));
    }
}

/// Drops one handle of an observer, which is a user's.
pub(super) fn drop_observer<S: State>(house: &mut Cap<House>, observer: Arc<Observer<S>>) {
    call_alone(house, || drop(observer));
}

/// How an observer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObserverStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The last change that it was told of, or before which it came.
    pub seen: u64,
    /// Whether it was too slow once and is told through a mailbox since.
    pub is_aside: bool,
    /// Whether it is told nothing any more: it could not keep up, or panicked too often.
    pub is_detached: bool,
    /// Changes that wait in its mailbox.
    pub waiting: usize,
    /// How often it panicked in a row.
    pub panics: u32,
}

impl<S: State> Inner<S> {
    /// Takes an observer in: it is told of every change after this moment.
    pub(super) fn observe(
        self: &Arc<Self>,
        name: Arc<str>,
        call: Call<S>,
    ) -> Result<Observation<S>, ObserveError> {
        let mode = if self.options.is_aside { Mode::Aside } else { Mode::Inline };
        let new = |since| Observer {
            name,
            call,
            since,
            mode: AtomicU8::new(mode as u8),
            seen: AtomicU64::new(since),
            panics: AtomicU32::new(0),
            caller: AtomicU64::new(0),
            left_inside: AtomicU32::new(0),
            mailbox: Mutex::new(Mailbox::default()),
        };
        with_root(|house| {
            let mut core = self.core.lock(house);
            if core.observers.iter().count() >= OBSERVERS_MAX {
                drop(core);
                let observer = new(0);
                let (machine, text) = (self.name.clone(), observer.name.to_string());
                call_alone(house, || drop(observer));
                return Err(ObserveError::TooMany { machine, observer: text, most: OBSERVERS_MAX });
            }
            let (since, state) = (core.machine.sequence(), core.machine.state());
            let observer = Arc::new(new(since));
            let before = core.observers.add(observer.clone());
            drop(core);
            if let Some(before) = before {
                drop_outside(house, before);
            }
            let inner = Arc::downgrade(self);
            Ok(Observation { inner, observer: Some(observer), since: (since, state) })
        })
    }

    /// Takes out whoever is over.
    fn sweep(&self, house: &mut Cap<House>) {
        let before = self.core.lock(house).observers.sweep();
        if let Some(before) = before {
            drop_outside(house, before);
        }
        self.has_settled(house);
    }

    /// An observer is told nothing any more, and everybody is told that.
    pub(super) fn detach(&self, house: &mut Cap<House>, observer: &Observer<S>, why: String) {
        if let Some(after) = observer.detach() {
            let observer = observer.name.clone();
            self.told(house, StateWhat::ObserverDetached { observer, after, why });
            self.sweep(house);
        }
    }

    pub(super) fn observers(&self) -> Vec<ObserverStatus> {
        with_root(|house| {
            let all = self.core.lock(house).observers.snapshot();
            let status = all.iter().map(|observer| observer.status(house)).collect();
            drop_outside(house, all);
            status
        })
    }
}

impl<S: State> Observer<S> {
    fn status(&self, house: &mut Cap<House>) -> ObserverStatus {
        let mode = self.mode();
        ObserverStatus {
            name: self.name.clone(),
            seen: self.seen.load(Ordering::SeqCst),
            is_aside: mode == Mode::Aside,
            is_detached: mode == Mode::Detached,
            waiting: self.mailbox.lock(house).len(),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }
}

/// A subscription; dropped, it ends at once, and waits for nothing: a call that is under way goes on.
///
/// It does not keep its machine.
#[must_use = "dropped, it ends; to keep it for as long as the machine, see `keep`"]
pub struct Observation<S: State> {
    inner: Weak<Inner<S>>,
    observer: Option<Arc<Observer<S>>>,
    since: (u64, S),
}

impl<S: State> fmt::Debug for Observation<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation").field("status", &self.status()).finish()
    }
}

impl<S: State> Observation<S> {
    /// Where the machine was when it began, and after which change; it is told of everything since.
    pub fn since(&self) -> (S, u64) {
        (self.since.1, self.since.0)
    }

    /// How it stands.
    ///
    /// # Panics
    /// Never: the observer is there until this is dropped.
    pub fn status(&self) -> ObserverStatus {
        let observer = self.observer.as_ref().expect("invariant: it has its observer until it is dropped");
        with_root(|house| observer.status(house))
    }

    /// The name of its machine, while there is one.
    pub fn machine(&self) -> Option<MachineName> {
        self.inner.upgrade().map(|inner| inner.name.clone())
    }

    /// Keeps it for as long as the machine is there.
    pub fn keep(mut self) {
        self.inner = Weak::new();
        if let Some(observer) = self.observer.take() {
            with_root(|house| call_alone(house, || drop(observer)));
        }
    }
}

impl<S: State> Drop for Observation<S> {
    fn drop(&mut self) {
        let Some(observer) = self.observer.take() else { return };
        observer.leave();
        if let Some(inner) = self.inner.upgrade() {
            with_root(|house| inner.sweep(house));
            crate::callback::contained(|| drop(inner));
        }
        crate::callback::contained(|| drop(observer));
    }
}
