//! Telling observers, each change to all of them, in order, with nothing held.
//!
//! ```text
//! commit --> outbox --> turn to tell (one thread) --> observer 1, 2, 3 .. --> the next change, or no turn
//! ```
//!
//! Who commits and finds nobody telling has the turn to tell, and tells in its own thread until nothing waits; after
//! many changes a job goes on. What it stands at is one atomic word: number of the turn, and position of the
//! observer. Before each observer it moves the word on. Who finds it standing for too long moves it on itself, which
//! takes the turn away: the observer that hangs gets a mailbox, the others get their changes, and the thread
//! that comes back at last finds that it has nothing more to do.

use super::inner::{Core, Inner, me};
use super::observe::{Mode, Observer, Snapshot, drop_observer};
use super::{Change, State, StateWhat};
use crate::callback::{call, message};
use crate::clock;
use crate::threads::Class;
use evenkeel_core::Mono;
use evenkeel_hierarchy::{Cap, House, with_root};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Position before the first observer that is to be told.
const START: u64 = 0x7FFF;
/// Set in a position while the observer there is called, and not merely given mail.
const CALLS: u64 = 0x8000;
const POSITION_BITS: u32 = 16;
/// Who stands at an observer for so many times what makes it slow loses the turn.
const STALLED_TIMES: u32 = 10;
/// Changes that one thread tells before a job goes on.
const TOLD_MAX: u32 = 256;
/// An observer that panics so often in a row is detached.
const PANICS_MAX: u32 = 100;

/// Where the turn to tell stands.
#[derive(Default)]
pub(super) struct Place {
    /// Number of the turn, and position.
    word: AtomicU64,
    /// Since when, in nanoseconds.
    since: AtomicU64,
}

impl Place {
    fn set(&self, turn: u64, now: Mono) {
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        self.word.store(turn << POSITION_BITS | START, Ordering::Release);
    }

    /// Goes from one position to another, unless the turn was taken away.
    fn advance(&self, turn: u64, from: u64, to: u64, now: Mono) -> bool {
        self.since.store(now.as_nanos(), Ordering::Relaxed);
        let (from, to) = (turn << POSITION_BITS | from, turn << POSITION_BITS | to);
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// What is being told.
pub(super) struct Delivering<S: State> {
    number: u64,
    /// Who tells; 0 while that is handed over.
    pub(super) thread: u64,
    change: Change<S>,
    observers: Snapshot<S>,
    /// The first of them that whoever has the turn now tells.
    first: usize,
}

/// The turn to tell, and what is to be told first.
pub(super) struct Turn<S: State> {
    number: u64,
    change: Change<S>,
    observers: Snapshot<S>,
    /// Of the observers.
    first: usize,
    /// One that hangs, from whose thread the turn was taken, and that is to be told.
    stalled: Option<(Arc<Observer<S>>, Duration)>,
}

/// What a thread that told one change does then.
enum Next<S: State> {
    Change(Box<Turn<S>>),
    Over,
    /// Another has the turn, which was taken away at this position.
    Lost(u64),
}

impl<S: State> Inner<S> {
    /// Puts a change where observers get it; the turn to tell, if nobody has it. Under the lock.
    pub(super) fn post(&self, core: &mut Core<S>, change: &Change<S>, now: Mono) -> Option<Turn<S>> {
        if core.observers.is_empty() {
            return None;
        }
        if core.delivering.is_some() {
            core.outbox.push_back(change.clone());
            return self.take_over(core, now);
        }
        Some(self.start(core, change.clone(), now))
    }

    fn start(&self, core: &mut Core<S>, change: Change<S>, now: Mono) -> Turn<S> {
        core.deliveries += 1;
        let (number, observers) = (core.deliveries, core.observers.snapshot());
        self.place.set(number, now);
        let told = Delivering {
            number,
            thread: me(),
            change: change.clone(),
            observers: observers.clone(),
            first: 0,
        };
        // What was there before has no observers' last handle: who told it has one, too.
        core.delivering = Some(told);
        Turn { number, change, observers, first: 0, stalled: None }
    }

    /// Takes the turn to tell from a thread that stands for too long. Under the lock.
    pub(super) fn take_over(&self, core: &mut Core<S>, now: Mono) -> Option<Turn<S>> {
        let told = core.delivering.as_mut()?;
        let since = Mono::from_nanos(self.place.since.load(Ordering::Relaxed));
        let stood = now.since(since);
        if told.thread == me() || stood < self.options.slow_after.saturating_mul(STALLED_TIMES) {
            return None;
        }
        let word = self.place.word.load(Ordering::Acquire);
        let position = word & (START | CALLS);
        if position != START && position & CALLS == 0 {
            // It is not inside of a user's code: it only has not got a processor.
            return None;
        }
        let hangs = (position != START).then_some((position & !CALLS) as usize);
        if let Some(at) = hangs {
            // Before its thread can see that it lost the turn, and before anybody else can have it.
            told.observers[at].is_left_inside();
        }
        let number = core.deliveries + 1;
        let new = number << POSITION_BITS | START;
        if self.place.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            if let Some(at) = hangs {
                told.observers[at].is_outside();
            }
            return None;
        }
        self.place.since.store(now.as_nanos(), Ordering::Relaxed);
        (core.deliveries, told.number, told.thread) = (number, number, me());
        let (change, observers) = (told.change.clone(), told.observers.clone());
        let mut stalled = None;
        if let Some(at) = hangs {
            told.first = at + 1;
            // Under the lock: whoever has the next turn finds it so.
            stalled = observers[at].move_aside().then(|| (observers[at].clone(), stood));
        }
        Some(Turn { number, change, observers, first: told.first, stalled })
    }

    /// Tells until nothing waits, or the turn is taken away.
    pub(super) fn tell(self: &Arc<Self>, turn: Turn<S>) {
        with_root(|house| self.tell_on(house, turn));
    }

    fn tell_on(self: &Arc<Self>, house: &mut Cap<House>, mut turn: Turn<S>) {
        for told in 0.. {
            if let Some((observer, took)) = turn.stalled.take() {
                self.told(house, StateWhat::ObserverSlow { observer: observer.name.clone(), took });
                drop_observer(house, observer);
            }
            let next = match self.tell_all(house, &turn) {
                Ok(position) => self.next(house, turn.number, position),
                Err(position) => Next::Lost(position),
            };
            if let Next::Lost(position) = next
                && position != START
            {
                // It was taken away inside of this one.
                self.came_back(house, &turn.observers[(position & !CALLS) as usize]);
            }
            super::observe::drop_outside(house, turn.observers);
            let Next::Change(next) = next else { return };
            turn = *next;
            if told >= TOLD_MAX {
                match self.hand_over(house, turn) {
                    Ok(()) => return,
                    Err(back) => turn = *back,
                }
            }
        }
    }

    /// Tells one change to all; where the turn stands then, or where it was when it was taken away.
    fn tell_all(self: &Arc<Self>, house: &mut Cap<House>, turn: &Turn<S>) -> Result<u64, u64> {
        let mut now = clock::mono();
        let mut position = START;
        for (at, observer) in turn.observers.iter().enumerate().skip(turn.first) {
            // Asked before: from here on others may set it aside.
            let mode = if observer.since < turn.change.sequence { observer.mode() } else { Mode::Gone };
            let calls = if mode == Mode::Inline { CALLS } else { 0 };
            if !self.place.advance(turn.number, position, at as u64 | calls, now) {
                return Err(position);
            }
            position = at as u64 | calls;
            match mode {
                Mode::Inline => self.call_inline(house, observer, &turn.change, &mut now),
                Mode::Aside => self.mail(house, observer, &turn.change),
                Mode::Gone | Mode::Detached => {}
            }
        }
        Ok(position)
    }

    /// Calls one observer, and has a mailbox for it if it took too long.
    fn call_inline(
        self: &Arc<Self>,
        house: &mut Cap<House>,
        observer: &Arc<Observer<S>>,
        change: &Change<S>,
        now: &mut Mono,
    ) {
        let began = *now;
        self.call_one(house, observer, change);
        *now = clock::mono();
        let took = now.since(began);
        if took > self.options.slow_after && observer.move_aside() {
            self.told(house, StateWhat::ObserverSlow { observer: observer.name.clone(), took });
        }
    }

    /// Calls one observer, here or from its mailbox. Its panics are told: the first, and then ever more rarely.
    pub(super) fn call_one(&self, house: &mut Cap<House>, observer: &Observer<S>, change: &Change<S>) {
        if observer.mode().is_over() {
            return;
        }
        observer.enter();
        let panicked = call(house, || (observer.call)(change)).err();
        observer.has_left(change.sequence);
        self.has_settled(house);
        let Some(panic) = panicked else { return observer.is_well() };
        let (text, panics) = (message(panic), observer.panicked());
        let observer_name = observer.name.clone();
        if panics.is_power_of_two() {
            self.told(house, StateWhat::ObserverPanicked { observer: observer_name.clone(), panics, text });
        }
        if panics >= PANICS_MAX {
            self.detach(house, observer, format!("it panicked {panics} times in a row"));
        }
    }

    /// The next change to tell; without one, the turn is given back.
    fn next(&self, house: &mut Cap<House>, number: u64, position: u64) -> Next<S> {
        let over = {
            let mut core = self.core.lock(house);
            if core.delivering.as_ref().is_none_or(|told| told.number != number) {
                return Next::Lost(position);
            }
            let was_full = core.outbox.len() >= self.options.outbox_max;
            if let Some(change) = core.outbox.pop_front() {
                if was_full {
                    self.let_next(&core);
                }
                return Next::Change(Box::new(self.start(&mut core, change, clock::mono())));
            }
            core.delivering.take()
        };
        if let Some(over) = over {
            super::observe::drop_outside(house, over.observers);
        }
        Next::Over
    }

    /// Has a job go on telling; gives the turn back where there is no place for one.
    fn hand_over(self: &Arc<Self>, house: &mut Cap<House>, turn: Turn<S>) -> Result<(), Box<Turn<S>>> {
        let (number, back) = (turn.number, turn.copy());
        if let Some(told) = self.core.lock(house).delivering.as_mut().filter(|told| told.number == number) {
            told.thread = 0;
        }
        let inner = self.clone();
        let job = self.registry.threads.job("tell of changes").class(Class::System);
        let given = house.outside(|| {
            job.run(move |_| {
                let is_mine = inner.with(|core| {
                    let told = core.delivering.as_mut().filter(|told| told.number == number);
                    told.map(|told| told.thread = me()).is_some()
                });
                if is_mine {
                    inner.tell(turn);
                }
            })
        });
        if given.is_ok() {
            super::observe::drop_outside(house, back.observers);
            return Ok(());
        }
        if let Some(told) = self.core.lock(house).delivering.as_mut().filter(|told| told.number == number) {
            told.thread = me();
        }
        Err(Box::new(back))
    }
}

impl<S: State> Turn<S> {
    fn copy(&self) -> Self {
        let (change, observers) = (self.change.clone(), self.observers.clone());
        Self { number: self.number, change, observers, first: self.first, stalled: None }
    }
}
