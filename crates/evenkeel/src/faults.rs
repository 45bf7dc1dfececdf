//! Faults: reported from anywhere, told in measure, and something done about them.
//!
//! ```text
//! report (any thread) --> lane of the channel --\                       /--> journal: fault, measure, recovery
//! threads, jobs, the journal, steps of a stop ---+--> ek-faults --------+--> jobs: procedures, who wants to know
//! answers of procedures --> inbox --------------/    (Supervisor)       \--> the stop
//! ```
//!
//! Who decides is [`evenkeel_core::supervision::Supervisor`]; this is its shell, on the real clock. Users say what can
//! be done: how a component is [tried again and restarted](SuperviseBuilder), how a channel is
//! [recovered and cut off](RecoveryBuilder). What nobody said how to do is answered as failed, so that the next
//! harsher measure is taken; faults of a channel of which nobody said anything are told, no more.
//!
//! Invariants:
//! 1. A report never waits, and no channel's faults take room or time of another's.
//! 2. Nothing of a user's runs on `ek-faults` or under a lock. Each procedure has a time limit, an answer that counts
//!    however late it comes, and a job of its own; its panic is a fault.
//! 3. Observers, [`FaultCoordinator::last_fault`] and [`FaultCoordinator::recent`] know public faces only. The private
//!    one is in the journal, and nowhere else.
//! 4. Memory does not grow with faults: what is too much is counted, and told as one `fault-summary`.
//! 5. From when the stop begins, faults are written down, and nothing is done about them.
//!
//! Numbers of faults count from 1 in each run.

mod act;
mod book;
mod desk;
mod inbox;
mod lane;
mod mailbox;
mod procedure;
mod recovering;
mod register;
mod report;
mod sources;
mod written;

use crate::callback::contained;
use crate::clock;
use crate::journal::Journal;
use crate::state::States;
use crate::threads::{Class, ThreadCoordinator, ThreadError};
use book::Book;
use desk::Desk;
pub use evenkeel_core::fault::{
    CODES, Code, CodeError, Explanation, FaultClass, Name, PublicFace, Severity, Text,
};
pub use evenkeel_core::supervision::{
    BreakerLimits, BreakerState, Condition, FaultId, Intensity, Limits, Policies, Policy, Reason, Rung,
};
use evenkeel_core::supervision::{Cause, Supervisor, Tree};
use evenkeel_core::{Mono, supervision};
use evenkeel_hierarchy::{FaultBook, Mutex, with_root};
use inbox::{Inbox, News};
use lane::Lane;
use mailbox::Mailbox;
pub use procedure::Attempt;
use procedure::Run;
pub(crate) use register::Supervision;
pub use register::{RecoveryBuilder, SuperviseBuilder, SuperviseError, Supervised};
pub use report::FaultBuilder;
use report::Whose;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// What somebody is told of something that they need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dependency {
    /// What they need.
    pub component: Name,
    /// Its channel; `None` if it is shared.
    pub channel: Option<Name>,
    /// How it is.
    pub condition: Condition,
    /// The fault that it is about.
    pub fault: FaultId,
}

/// How many faults there were, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Reported.
    pub reported: u64,
    /// Told one by one.
    pub told: u64,
    /// Told in sums.
    pub summed: u64,
    /// Of those in sums, the ones for which there was no room to be looked at.
    pub left_out: u64,
    /// Measures taken.
    pub measures: u64,
    /// Entries that the journal did not take.
    pub unjournalled: u64,
    /// Faults that observers were not told, because they were too slow.
    pub unheard: u64,
}

/// What a coordinator is made with.
pub(crate) struct Means {
    pub(crate) threads: ThreadCoordinator,
    /// Where the recoveries of channels are to be seen.
    pub(crate) states: States,
    pub(crate) journal: Option<Box<GetJournal>>,
    pub(crate) policies: Policies,
    pub(crate) limits: Limits,
    /// Waits are drawn from it.
    pub(crate) seed: u64,
    /// Asks for the stop of everything, for this reason.
    pub(crate) stop: Box<dyn Fn(String) + Send + Sync>,
}

type GetJournal = dyn Fn() -> Option<Journal> + Send + Sync;
type Clock = dyn Fn() -> Mono + Send + Sync;

/// What all sides share.
struct Inner {
    inbox: Inbox,
    book: Mutex<FaultBook, Book>,
    system: Arc<Lane>,
    /// How many channels there are.
    lanes: AtomicUsize,
    next: AtomicU64,
    run: Run,
    clock: Box<Clock>,
    journal: Option<Box<GetJournal>>,
    stop: Box<dyn Fn(String) + Send + Sync>,
    tell_period: Duration,
    /// The stop has begun.
    is_over: AtomicBool,
    /// Nobody has a handle any more.
    is_ending: AtomicBool,
    told: AtomicU64,
    summed: AtomicU64,
    measures: AtomicU64,
    unjournalled: AtomicU64,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("channels", &self.lanes).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(means: Means, run: Run, clock: Box<Clock>) -> Self {
        let supervisor = Supervisor::new(Tree::default(), means.policies, means.limits, means.seed);
        Self {
            inbox: Inbox::default(),
            tell_period: supervisor.limits().tell_period,
            book: Mutex::new(Book::new(supervisor, means.states)),
            system: Arc::new(Lane::new(None)),
            lanes: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            run,
            clock,
            journal: means.journal,
            stop: means.stop,
            is_over: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            told: AtomicU64::new(0),
            summed: AtomicU64::new(0),
            measures: AtomicU64::new(0),
            unjournalled: AtomicU64::new(0),
        }
    }

    /// Nothing of a user's is called or dropped in `act`.
    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        with_root(|house| act(&mut self.book.lock(house)))
    }

    fn now(&self) -> Mono {
        (self.clock)()
    }

    fn next_id(&self) -> FaultId {
        FaultId(self.next.fetch_add(1, Relaxed))
    }

    fn journal(&self) -> Option<Journal> {
        self.journal.as_ref().and_then(|journal| journal())
    }

    fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    #[track_caller]
    fn fault(self: &Arc<Self>, whose: &Whose, code: Code, severity: Severity) -> FaultBuilder {
        FaultBuilder::new(self, whose, code, severity)
    }

    /// Something of the house, in no channel.
    fn of_system(&self, component: &str) -> Whose {
        Whose { lane: self.system.clone(), component: Name::new(component).ok() }
    }

    /// A channel, which is known from now on; of too many, the system.
    fn supervision(self: &Arc<Self>, name: &Name) -> Supervision {
        let known = self.with(|book| {
            let known = book.lane(name);
            self.lanes.store(book.channels.len(), Relaxed);
            known
        });
        match known {
            Some((lane, id)) => Supervision { inner: self.clone(), lane, id: Some(id) },
            None => Supervision { inner: self.clone(), lane: self.system.clone(), id: None },
        }
    }

    fn release(&self, lane: &Lane, id: Option<supervision::ChannelId>) {
        if let Some(id) = id.filter(|_| lane.ask_for_release()) {
            self.inbox.post(News::Release(id));
        }
    }

    /// What is done where somebody panics who was told something: they are told no more.
    fn panicked(self: &Arc<Self>, whose: &Whose) -> impl Fn(String) + Send + Sync + use<> {
        let (inner, whose) = (Arc::downgrade(self), whose.clone());
        move |message| {
            if let Some(inner) = inner.upgrade() {
                inner.fault(&whose, Code::PANIC, Severity::Warning).text(message).report();
            }
        }
    }

    /// What users said how to do is theirs again; and what they want to know, when it is the end.
    fn let_go(&self, is_end: bool) {
        let (procedures, observers) = self.with(|book| {
            let observers = if is_end { std::mem::take(&mut book.observers) } else { Vec::new() };
            (book.take_procedures(), observers)
        });
        // What hangs when it is dropped holds up nobody here.
        let drop_them = move |_: &crate::threads::Pulse<'_>| contained(|| drop((procedures, observers)));
        (self.run)("faults: let go".to_owned(), None, Box::new(drop_them));
    }
}

/// The last of its handles ends what it began.
struct Owner(Arc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        // They have the journal, which is to end with the service, and not with a thread of ours.
        drop(self.0.with(Book::take_states));
        self.0.is_over.store(true, Relaxed);
        self.0.is_ending.store(true, Relaxed);
        self.0.inbox.ring();
    }
}

/// All faults of a service, and what is done about them. Cheap to clone; all clones are one.
///
/// ```
/// use evenkeel::faults::{Code, Severity};
/// use evenkeel::prelude::*;
/// use std::sync::mpsc::channel;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let (tell, told) = channel();
/// keel.faults().on_fault(move |fault| _ = tell.send(fault.to_string()));
///
/// keel.channel("left")?.fault(Code::STORAGE_FULL, Severity::Error).component("writer").report();
/// assert!(told.recv()?.starts_with("EK-1001 error in left/writer: the disk is full."));
/// assert_eq!(keel.faults().recent(10).len(), 1);
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FaultCoordinator(Arc<Owner>);

impl fmt::Debug for FaultCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultCoordinator").field("counts", &self.counts()).finish()
    }
}

impl FaultCoordinator {
    /// Starts `ek-faults`.
    pub(crate) fn start(means: Means) -> Result<Self, ThreadError> {
        let threads = means.threads.clone();
        let run = procedure::on_threads(threads.clone());
        let inner = Arc::new(Inner::new(means, run, Box::new(clock::mono)));
        let coordinator = Self(Arc::new(Owner(inner.clone())));
        let desk = Desk::new(inner);
        threads.thread("ek-faults").class(Class::System).kept().start(move |pulse| desk.live(pulse))?;
        Ok(coordinator)
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Begins to report a fault that is no channel's.
    #[track_caller]
    pub fn fault(&self, code: Code, severity: Severity) -> FaultBuilder {
        let whose = Whose { lane: self.inner().system.clone(), component: None };
        FaultBuilder::new(self.inner(), &whose, code, severity)
    }

    /// Begins to report a fault of a channel, for who has no [`Channel`](crate::Channel); of what cannot be a name, it is
    /// no channel's.
    #[track_caller]
    pub fn fault_in(&self, channel: &str, code: Code, severity: Severity) -> FaultBuilder {
        match Name::new(channel) {
            Ok(name) => self.channel(&name).fault(code, severity),
            Err(_) => self.fault(code, severity),
        }
    }

    /// Writes down that somebody who sees to a channel's faults without supervision has begun it anew, because of this
    /// fault: the journal has it among the measures.
    pub fn note_restart(&self, fault: FaultId, code: Code, channel: &str, level: u32) {
        let inner = self.inner();
        inner.measures.fetch_add(1, Relaxed);
        let cause = Cause { fault, code, reason: Reason::Policy };
        inner.write_measure(
            written::At { channel: Some(channel), component: None },
            channel,
            cause,
            "restart",
            level,
        );
    }

    /// A channel as supervision knows it.
    pub(crate) fn channel(&self, name: &Name) -> Supervision {
        self.inner().supervision(name)
    }

    /// What is no channel's.
    pub(crate) fn system(&self) -> Supervision {
        Supervision { inner: self.inner().clone(), lane: self.inner().system.clone(), id: None }
    }

    /// Has `f` called with every fault that is told from now on, in order, on jobs: who is slow loses the oldest beyond
    /// 256. One that panics is called no more, and that is told as a warning.
    pub fn on_fault(&self, f: impl Fn(&PublicFace) + Send + Sync + 'static) {
        let inner = self.inner();
        let whose = inner.of_system("on-fault");
        let observer = Mailbox::new("faults: tell".to_owned(), f, inner.panicked(&whose));
        inner.with(|book| book.observers.push(observer));
    }

    /// What befell a channel last, told or not; `None` also of a channel that nothing is known of.
    pub fn last_fault(&self, channel: &str) -> Option<PublicFace> {
        let lane = self.inner().with(|book| book.known(channel).map(|(lane, _)| lane.clone()));
        lane.and_then(|lane| lane.last())
    }

    /// The latest faults that were told, at most `most` and 256, the last one last.
    pub fn recent(&self, most: usize) -> Vec<PublicFace> {
        self.inner().with(|book| book.recent(most))
    }

    /// Has it tried whether an isolated channel works again. Answers whether there is such a channel.
    pub fn release(&self, channel: &str) -> bool {
        let known = self.inner().with(|book| book.known(channel).cloned());
        known.is_some_and(|(lane, id)| {
            let is_isolated = lane.is_isolated();
            if is_isolated {
                self.inner().release(&lane, Some(id));
            }
            is_isolated
        })
    }

    /// Whether a channel is cut off.
    pub fn is_isolated(&self, channel: &str) -> bool {
        let lane = self.inner().with(|book| book.known(channel).map(|(lane, _)| lane.clone()));
        lane.is_some_and(|lane| lane.is_isolated())
    }

    /// Whether nothing waits to be looked at, nothing is being done about anybody, and nobody is on probation.
    pub fn is_calm(&self) -> bool {
        let inner = self.inner();
        let lanes: Vec<Arc<Lane>> = inner.with(|book| book.lanes().cloned().collect());
        let is_quiet = !inner.system.has_any() && !lanes.iter().any(|lane| lane.has_any());
        is_quiet && inner.with(|book| book.supervisor.is_calm())
    }

    /// How many there were.
    pub fn counts(&self) -> FaultCounts {
        let inner = self.inner();
        let (lanes, observers): (Vec<Arc<Lane>>, _) =
            inner.with(|book| (book.lanes().cloned().collect(), book.observers.clone()));
        let mut counts = FaultCounts {
            unheard: observers.iter().map(|observer| observer.lost()).sum(),
            told: inner.told.load(Relaxed),
            summed: inner.summed.load(Relaxed),
            measures: inner.measures.load(Relaxed),
            unjournalled: inner.unjournalled.load(Relaxed),
            ..FaultCounts::default()
        };
        for lane in lanes.iter().chain([&inner.system]) {
            let (reported, left_out) = lane.counts();
            counts.reported += reported;
            counts.left_out += left_out;
        }
        counts
    }

    /// Waits until what was reported is told or summed, for so long at most: the journal is to be closed.
    pub(crate) fn sum_up(&self, patience: Duration) {
        let (waits, summed) = sync_channel(1);
        self.inner().inbox.post(News::SumUp(waits));
        let _ = summed.recv_timeout(patience);
    }

    /// The stop begins: nothing is done about faults any more.
    pub(crate) fn stop_begins(&self) {
        self.inner().is_over.store(true, Relaxed);
        self.inner().inbox.ring();
    }
}

#[cfg(test)]
mod tests;
