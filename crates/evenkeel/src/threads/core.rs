//! What all sides of the coordinator share: the schedule under its lock, the workers, who is told.
//!
//! Invariants:
//! 1. What a schedule gives out, and whom it says to wake, is dealt with after the lock.
//! 2. A worker is in `workers` from when it is decided on until its thread ends; one that is
//!    `replaced` gets no work any more.
//! 3. `of_use` and `is_arriving` are what `workers` says: who changes that, counts again.
//! 4. A worker is at work, and watched, from when it wakes until it sleeps: what users' values do when they are
//!    dropped, and hooks, is done in between.
//! 5. Who was refused a thread for want of a place is thought of when one becomes free.

use super::Options;
use super::aside::Aside;
use super::book::{Book, Care, Entry};
use super::channel::Inner;
use super::error::{JobRefused, ThreadError};
use super::events::{Doing, Subject, Tellers, ThreadEvent, What};
use super::job::{Meta, Remains, Runnable};
use super::rounds::Rounds;
use super::slot::{Kind, Slot};
use super::usage::InKernel;
use super::watcher::{self, Bell};
use super::worker::{self, Parker};
use crate::callback::contained;
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::{Class, JobId, Loss, Next, Refused, Removed, Schedule, WORKERS_MAX, WorkerId};
use evenkeel_hierarchy::{Mutex, MutexGuard, ThreadSchedule, with_root};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// A job as it is queued. Its channel is open until it is dropped: whoever asks for one of that name
/// until then gets the same.
pub(super) struct Work {
    pub(super) task: Arc<dyn Runnable>,
    pub(super) channel: Option<Arc<Inner>>,
}

impl Deref for Work {
    type Target = dyn Runnable;

    fn deref(&self) -> &Self::Target {
        &*self.task
    }
}

/// A worker, from outside.
pub(super) struct Worker {
    pub(super) entry: Arc<Entry>,
    pub(super) parker: Arc<Parker>,
    /// What it runs, which it alone keeps: what is a user's is dropped by the worker, while it is watched.
    pub(super) current: Option<Weak<dyn Runnable>>,
    /// Its thread has asked for work.
    pub(super) has_arrived: bool,
    /// It was given up: it ends when it comes back.
    pub(super) is_replaced: bool,
}

/// What the lock is for.
pub(super) struct State {
    pub(super) schedule: Schedule<Work>,
    pub(super) workers: Vec<Option<Worker>>,
    /// How many workers get work.
    of_use: usize,
    /// One of them has not asked for work yet.
    is_arriving: bool,
    pub(super) channels: BTreeMap<String, Weak<Inner>>,
    /// Workers end when nothing is queued.
    pub(super) is_ending: bool,
}

impl State {
    fn parker(&self, worker: WorkerId) -> Option<Arc<Parker>> {
        self.workers[worker.index()].as_ref().map(|worker| worker.parker.clone())
    }

    /// The workers have changed. That is rare; how many there are is asked with every job.
    fn count_workers(&mut self) {
        (self.of_use, self.is_arriving) = self.counted();
    }

    /// What `of_use` and `is_arriving` should be.
    fn counted(&self) -> (usize, bool) {
        let of_use = self.workers.iter().flatten().filter(|worker| !worker.is_replaced);
        of_use.fold((0, false), |(count, any), worker| (count + 1, any || !worker.has_arrived))
    }

    /// Whose thread this is.
    fn worker_of(&self, slot: &Slot) -> Option<WorkerId> {
        let is_it = |worker: &Option<Worker>| worker.as_ref().is_some_and(|it| it.entry.slot.id == slot.id);
        self.workers.iter().position(is_it).and_then(WorkerId::new)
    }

    /// What a worker runs. It is to be dropped where no lock is held.
    pub(super) fn job_of(&self, slot: &Slot) -> Option<Arc<dyn Runnable>> {
        let worker = self.workers[self.worker_of(slot)?.index()].as_ref();
        worker.and_then(|worker| worker.current.as_ref()?.upgrade())
    }

    /// Gives what a worker has to others; says whom to wake.
    fn lose(&mut self, now: Mono, me: WorkerId, loss: Loss) -> Vec<Arc<Parker>> {
        if let Some(worker) = &mut self.workers[me.index()] {
            worker.is_replaced = true;
        }
        self.count_workers();
        let lost = self.schedule.worker_lost(now, me, loss);
        lost.wake.filter_map(|worker| self.parker(worker)).collect()
    }

    /// Whether there is something to do that no worker is about to.
    fn wants_worker(&self, workers_max: usize) -> bool {
        debug_assert_eq!(
            (self.of_use, self.is_arriving),
            self.counted(),
            "workers are counted when they change"
        );
        self.of_use < workers_max
            && !self.is_arriving
            && self.schedule.idle().is_empty()
            && !self.schedule.is_empty()
    }

    /// Whether this worker, which has nothing to do, is the one that a job of no channel wakes.
    fn is_next_woken(&self, me: WorkerId) -> bool {
        self.schedule.idle().next() == Some(me)
    }
}

/// What a worker is to do next.
pub(super) enum Turn {
    /// This, from now on; then it asks again.
    Run(Work, Mono),
    /// Sleep.
    Sleep {
        /// From now on.
        now: Mono,
        /// Until then at most.
        until: Option<Mono>,
        /// The next job wakes it, unless that belongs to another's channel.
        is_next: bool,
    },
    /// End.
    End,
}

/// What is to be done once the lock is open.
#[derive(Default)]
struct Dealt {
    turn: Option<Turn>,
    expired: Option<Removed<Work>>,
    wake: Option<Arc<Parker>>,
    start: bool,
}

pub(super) struct Core {
    pub(super) options: Options,
    pub(super) book: Book,
    pub(super) tellers: Tellers,
    pub(super) bell: Bell,
    pub(super) aside: Aside,
    /// What `ek-watch` looks at besides, for the house.
    pub(super) rounds: Rounds,
    watch_is_started: AtomicBool,
    workers_started: AtomicU64,
    state: Mutex<ThreadSchedule, State>,
}

impl Core {
    pub(super) fn new(options: Options) -> Self {
        let state = State {
            schedule: Schedule::new(options.limits),
            workers: (0..WORKERS_MAX).map(|_| None).collect(),
            of_use: 0,
            is_arriving: false,
            channels: BTreeMap::new(),
            is_ending: false,
        };
        Self {
            book: Book::new(options.threads_max),
            tellers: Tellers::default(),
            aside: Aside::default(),
            rounds: Rounds::default(),
            bell: Bell::default(),
            watch_is_started: AtomicBool::new(false),
            workers_started: AtomicU64::new(0),
            state: Mutex::new(state),
            options,
        }
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(&mut MutexGuard<'_, ThreadSchedule, State>) -> R) -> R {
        with_root(|house| look(&mut self.state.lock(house)))
    }

    /// Queues a job, and sees to it that somebody runs it.
    pub(super) fn submit(self: &Arc<Self>, work: Work) -> Result<JobId, JobRefused> {
        let channel = work.channel.as_ref().map(|channel| channel.id);
        let (now, class, deadline) = (work.meta().given, work.meta().class, work.meta().control.deadline);
        let submitted = self.with(|state| {
            let submitted = match deadline {
                None => state.schedule.submit(now, class, channel, work),
                Some(deadline) => state.schedule.submit_before(now, class, channel, deadline, work),
            }?;
            let parker = submitted.wake.and_then(|worker| state.parker(worker));
            let start = parker.is_none() && state.wants_worker(self.options.workers_max);
            Ok((submitted, parker, start))
        });
        let (submitted, parker, start) = match submitted {
            Ok(submitted) => submitted,
            Err(refused) => {
                let Refused { reason, payload } = refused;
                let job = payload.meta().name.to_string();
                contained(|| drop(payload));
                return Err(JobRefused::Queue { job, reason });
            }
        };
        if let Some(parker) = parker {
            parker.wake();
        }
        if submitted.is_next_deadline {
            self.bell.ring_before(deadline);
        }
        if start {
            self.start_worker().map(drop).or_else(|why| self.without_worker(submitted.id, why))?;
        }
        Ok(submitted.id)
    }

    /// No worker could be started: that matters when there is none at all. Others may have counted on it.
    fn without_worker(&self, id: JobId, source: ThreadError) -> Result<(), JobRefused> {
        let mut others = Vec::new();
        let taken_back = self.with(|state| {
            if state.of_use > 0 {
                return None;
            }
            let taken_back = state.schedule.cancel(id);
            // One that is stuck may come back for them; and where all places are taken, somebody took the last.
            let is_alone = state.workers.iter().all(Option::is_none);
            if is_alone && matches!(source, ThreadError::System { .. }) {
                state.schedule.drain_all(&mut others);
            }
            taken_back
        });
        for Removed { payload, .. } in others {
            payload.give_up(payload.meta().without_worker()).clear();
        }
        match taken_back {
            None => Ok(()),
            Some(work) => {
                let job = work.meta().name.to_string();
                contained(|| drop(work));
                Err(JobRefused::NoWorker { job, source })
            }
        }
    }

    /// Takes back a job that has not begun.
    pub(super) fn cancel(&self, id: JobId) {
        if let Some(work) = self.with(|state| state.schedule.cancel(id)) {
            let why = work.meta().cancelled();
            // It is the caller's, and dropped where it cancels.
            work.give_up(why).clear();
        }
    }

    /// What a worker does next. Asking says that it is done with what it ran.
    pub(super) fn next(self: &Arc<Self>, me: WorkerId) -> Turn {
        loop {
            let now = clock::mono();
            let Dealt { turn, expired, wake, start } = self.with(|state| self.deal(state, me, now));
            if let Some(parker) = wake {
                parker.wake();
            }
            if start {
                // Without one, those that are there do the work, if a little later.
                let _ = self.start_worker();
            }
            if let Some(Removed { payload, .. }) = expired {
                payload.give_up(payload.meta().expired()).clear();
            }
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    fn deal(&self, state: &mut State, me: WorkerId, now: Mono) -> Dealt {
        let turn = |turn| Dealt { turn: Some(turn), ..Dealt::default() };
        let Some(own) = &mut state.workers[me.index()] else { return turn(Turn::End) };
        own.current = None;
        if !std::mem::replace(&mut own.has_arrived, true) {
            state.schedule.worker_started(now, me);
            state.count_workers();
        } else if own.is_replaced && !Self::take_back(state, me, now, self.options.workers_max) {
            return turn(Turn::End);
        }
        match state.schedule.take(now, me) {
            Next::Run { payload, wake, .. } => {
                if let Some(own) = &mut state.workers[me.index()] {
                    own.current = Some(Arc::downgrade(&payload.task));
                }
                let wake = wake.and_then(|worker| state.parker(worker));
                let start = wake.is_none() && state.wants_worker(self.options.workers_max);
                // The schedule's time may be ahead of ours; a worker never seems silent from before its job began.
                let since = state.schedule.running(me).map_or(now, |running| running.since);
                Dealt { turn: Some(Turn::Run(payload, since)), wake, start, expired: None }
            }
            Next::Expired(removed) => Dealt { expired: Some(removed), ..Dealt::default() },
            Next::Idle { .. } if state.is_ending && state.schedule.is_empty() => turn(Turn::End),
            Next::Idle { look_again } => {
                turn(Turn::Sleep { now, until: look_again, is_next: state.is_next_woken(me) })
            }
            Next::Lost => turn(Turn::End),
        }
    }

    /// One that was given up is back: it gets work again when one more is wanted. Answers whether it does.
    fn take_back(state: &mut State, me: WorkerId, now: Mono, workers_max: usize) -> bool {
        let is_wanted = state.wants_worker(workers_max);
        if let Some(own) = &mut state.workers[me.index()] {
            own.is_replaced = !is_wanted;
        }
        state.count_workers();
        state.schedule.worker_returned(now, me, is_wanted);
        is_wanted
    }

    /// Starts one more worker; answers its name, or `None` when none is wanted after all.
    pub(super) fn start_worker(self: &Arc<Self>) -> Result<Option<String>, ThreadError> {
        let name = format!("ek-work-{}", self.workers_started.fetch_add(1, Relaxed) + 1);
        let care = Care { heartbeat: Some(self.options.heartbeat), ..Care::default() };
        let entry =
            self.book.enter(name.clone(), Class::Processing, (Kind::Worker, care), Location::caller())?;
        let parker = Arc::new(Parker::default());
        let place = self.with(|state| {
            if !state.wants_worker(self.options.workers_max) {
                return None;
            }
            let me = state.workers.iter().position(Option::is_none).and_then(WorkerId::new)?;
            let (entry, parker) = (entry.clone(), parker.clone());
            state.workers[me.index()] =
                Some(Worker { entry, parker, current: None, has_arrived: false, is_replaced: false });
            state.count_workers();
            Some(me)
        });
        let Some(me) = place else {
            self.book.leave(entry.slot.id);
            return Ok(None);
        };
        let stack_bytes = self.options.stack_bytes.into_iter().max().unwrap_or(0);
        let theirs = entry.clone();
        let started = self.spawn(&entry, stack_bytes, move |core| worker::live(core, me, &theirs, &parker));
        if let Err(why) = started {
            self.forget_worker(me);
            return Err(why);
        }
        self.watch();
        Ok(Some(name))
    }

    /// A worker's thread is gone, or goes now. What it ran is told that it has no answer, if it has none.
    pub(super) fn forget_worker(&self, me: WorkerId) {
        let gone = self.with(|state| {
            let gone = state.workers[me.index()].take();
            state.count_workers();
            gone
        });
        // What nobody keeps any more has nobody who waits for it.
        if let Some(work) = gone.and_then(|worker| worker.current?.upgrade()) {
            work.give_up(work.meta().ended()).clear();
            contained(|| drop(work));
        }
    }

    /// A worker does not go on: what it has goes to others.
    pub(super) fn lose_worker(self: &Arc<Self>, me: WorkerId, loss: Loss) {
        let now = clock::mono();
        let parkers = self.with(|state| state.lose(now, me, loss));
        parkers.iter().for_each(|parker| parker.wake());
    }

    /// A thread was silent after this beat. If it is a worker, what it has goes to others, but when it has gone
    /// on since. Answers whether it is one that was given up, and what it runs.
    pub(super) fn give_up_silent(&self, slot: &Slot, after: Mono) -> (bool, Option<Arc<dyn Runnable>>) {
        slot.give_up(after);
        let now = clock::mono();
        let (parkers, job) = self.with(|state| {
            let Some(me) = state.worker_of(slot) else { return (None, None) };
            // What it was given after that beat it has not begun yet.
            let has_another = state.schedule.running(me).is_some_and(|job| job.since > after);
            if has_another || !slot.is_given_up() {
                return (None, None);
            }
            let job = state.job_of(slot);
            (Some(state.lose(now, me, Loss::Stuck)), job)
        });
        parkers.iter().flatten().for_each(|parker| parker.wake());
        (parkers.is_some(), job)
    }

    /// A worker's thread ends in order.
    pub(super) fn retire_worker(&self, me: WorkerId) {
        let now = clock::mono();
        let parkers = self.with(|state| {
            let left = state.schedule.worker_retired(now, me);
            // Whoever ends because nothing is left tells those that sleep.
            let wake = if state.is_ending { state.schedule.workers() } else { left.wake };
            wake.filter_map(|worker| state.parker(worker)).collect::<Vec<_>>()
        });
        parkers.iter().for_each(|parker| parker.wake());
        self.forget_worker(me);
    }

    /// Starts another worker where one was lost, if there is something to do, and tells so.
    pub(super) fn replace(self: &Arc<Self>, lost: &Slot) {
        match self.start_worker() {
            Ok(Some(by)) => self.tell(lost, None, What::Replaced { by }),
            Ok(None) => {}
            Err(why) => self.tell(lost, None, What::NotReplaced { why: why.to_string() }),
        }
    }

    /// Starts a thread for an entry of the book, which it leaves at its end.
    pub(super) fn spawn(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        stack_bytes: usize,
        live: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Result<(), ThreadError> {
        /// The thread is gone, however it went.
        struct Gone {
            core: Arc<Core>,
            id: u64,
            has_run: bool,
        }
        impl Drop for Gone {
            fn drop(&mut self) {
                self.core.book.leave(self.id);
                if self.has_run {
                    self.core.use_place();
                }
            }
        }
        let mut gone = Gone { core: self.clone(), id: entry.slot.id, has_run: false };
        let slot = entry.slot.clone();
        let builder = std::thread::Builder::new().name(slot.name.clone()).stack_size(stack_bytes);
        let spawned = builder.spawn(move || {
            slot.enter();
            gone.has_run = true;
            live(&gone.core);
            drop(gone);
        });
        // When there is no thread, the closure is dropped, and with it `gone`.
        spawned.map(drop).map_err(|source| ThreadError::System { name: entry.slot.name.clone(), source })
    }

    /// A thread has ended: its place is for a worker, if one could not be started before.
    fn use_place(self: &Arc<Self>) {
        if self.with(|state| state.wants_worker(self.options.workers_max)) {
            let _ = self.start_worker();
        }
    }

    /// Sees to it that somebody watches.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.watch_is_started.swap(true, Relaxed) && watcher::start(self).is_err() {
            // Without a thread to be had nobody watches; the next one to begin tries again.
            self.watch_is_started.store(false, Relaxed);
        }
        self.bell.ring();
    }

    /// What a thread does now.
    pub(super) fn doing(slot: &Slot, job: Option<&Meta>) -> Doing {
        Doing {
            job: job.map(|job| (job.name.to_string(), job.channel.as_deref().map(str::to_owned))),
            site: slot.site(),
            in_kernel: slot.tid().and_then(InKernel::of),
        }
    }

    /// Tells everybody what happened to a thread.
    pub(super) fn tell(self: &Arc<Self>, slot: &Slot, job: Option<&Meta>, what: What) {
        let thread = Subject {
            name: slot.name.clone(),
            class: slot.class,
            kind: slot.kind,
            tid: slot.tid(),
            doing: Self::doing(slot, job),
        };
        let event = Arc::new(ThreadEvent { at: clock::mono(), thread, what });
        let hooks = self.tellers.tell(&event);
        if !hooks.is_empty() {
            self.aside_if_room(move || hooks.iter().for_each(|hook| contained(|| hook(&event))));
        }
    }

    /// Asks threads to end, and has them woken.
    fn stop(self: &Arc<Self>, which: impl Fn(&Slot) -> bool) {
        let wakes = self.book.ask_to_stop(which);
        if !wakes.is_empty() {
            self.aside(move || wakes.iter().for_each(|entry| entry.wake()));
        }
    }

    /// Nothing more is accepted; workers end when nothing is left, all others now.
    pub(super) fn close(self: &Arc<Self>) {
        self.book.close();
        let parkers = self.with(|state| {
            state.schedule.close_intake();
            state.is_ending = true;
            state.workers.iter().flatten().map(|worker| worker.parker.clone()).collect::<Vec<_>>()
        });
        parkers.iter().for_each(|parker| parker.wake());
        self.stop(|slot| slot.kind == Kind::Dedicated);
        self.bell.ring();
    }

    /// Gives up all that is queued, and asks what runs to end. Answers how much that was.
    pub(super) fn give_up_queued(self: &Arc<Self>) -> usize {
        let mut removed = Vec::new();
        self.with(|state| state.schedule.drain_all(&mut removed));
        let count = removed.len();
        let answered = removed.into_iter().map(|Removed { payload, .. }| {
            let remains = payload.give_up(payload.meta().ended());
            (payload, remains)
        });
        let answered: Vec<_> = answered.collect();
        self.stop(|slot| !matches!(slot.kind, Kind::Kept | Kind::Stop));
        self.bell.ring();
        if count > 0 {
            self.aside(move || answered.into_iter().for_each(|(payload, remains)| clear(payload, remains)));
        }
        count
    }
}

/// Clears what is left of a job, and then drops what it came with.
fn clear(payload: Work, remains: Remains) {
    remains.clear();
    contained(|| drop(payload));
}
