//! What the handles of one machine share, and what of it is under its lock.
//!
//! Invariants: `seen` is the machine's state and sequence, stored under the lock with each change; nothing of a
//! user's is called or dropped under the lock.

use super::deliver::{Delivering, Place};
use super::observe::Observers;
use super::registry::Registry;
use super::rules::Rules;
use super::{Change, MachineName, PastMachine, State, Table};
use evenkeel_core::state::Machine;
use evenkeel_hierarchy::{Condvar, MachineState, Mutex, MutexGuard, with_root};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Bits of the packed word that are the state's position; the others are the sequence.
const STATE_BITS: u32 = 6;

/// Bounds and habits of one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How long a change waits for its turn, unless it says otherwise.
    pub(super) patience: Duration,
    /// How long guards and invariants of one change may take while another waits.
    pub(super) rules_within: Duration,
    /// An observer that takes longer gets a mailbox.
    pub(super) slow_after: Duration,
    /// Changes that may wait for an observer's mailbox.
    pub(super) mailbox_max: usize,
    /// Changes that may wait to be told.
    pub(super) outbox_max: usize,
    /// Whether a change is made that the journal does not take.
    pub(super) is_best_effort: bool,
    /// Whether it is in the journal, where there is one.
    pub(super) is_journalled: bool,
    /// Whether it begins in the initial state, whatever was.
    pub(super) begins_anew: bool,
    /// Whether every observer has a mailbox from the beginning.
    pub(super) is_aside: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
            rules_within: Duration::from_secs(30),
            slow_after: Duration::from_millis(1),
            mailbox_max: 1024,
            outbox_max: 1024,
            is_best_effort: false,
            is_journalled: true,
            begins_anew: false,
            is_aside: false,
        }
    }
}

pub(super) struct Inner<S: State> {
    pub(super) name: MachineName,
    pub(super) table: &'static Table<S>,
    pub(super) rules: Rules<S>,
    pub(super) options: Options,
    /// Most changes that can be rolled back: who reads the journal has to know.
    pub(super) points_max: usize,
    pub(super) registry: Arc<Registry>,
    /// State and sequence in one word.
    seen: AtomicU64,
    pub(super) core: Mutex<MachineState, Core<S>>,
    /// The machine's turn is free, or somebody left the line.
    pub(super) turn: Condvar,
    /// An observer has come further.
    pub(super) settled: Condvar,
    pub(super) settling: AtomicU32,
    pub(super) place: Place,
    /// For the journal: when a refusal was told last, and how many were not.
    pub(super) refusals: super::record::Ration,
}

/// What is under the lock.
pub(super) struct Core<S: State> {
    pub(super) machine: Machine<S>,
    /// The thread whose change is under way; 0 for none.
    pub(super) owner: u64,
    /// Who waits for its turn, the first at the front.
    pub(super) line: VecDeque<u64>,
    pub(super) line_next: u64,
    /// Changes that are to be told, but for the one that is being told.
    pub(super) outbox: VecDeque<Change<S>>,
    pub(super) delivering: Option<Delivering<S>>,
    pub(super) deliveries: u64,
    pub(super) observers: Observers<S>,
    /// Whether what is under way is a rollback.
    pub(super) is_undoing: bool,
    /// Whether the journal lacks changes that were made.
    pub(super) is_untold: bool,
    /// What was found under the lock, and is to be told without it.
    pub(super) untold: Vec<super::StateWhat>,
}

pub(super) type Locked<'a, S> = MutexGuard<'a, MachineState, Core<S>>;

impl<S: State> Inner<S> {
    pub(super) fn new(
        name: MachineName,
        machine: Machine<S>,
        rules: Rules<S>,
        (options, points_max): (Options, usize),
        registry: Arc<Registry>,
    ) -> Self {
        let seen = AtomicU64::new(pack(machine.state(), machine.sequence()));
        let table = machine.table();
        let core = Core {
            machine,
            owner: 0,
            line: VecDeque::new(),
            line_next: 0,
            outbox: VecDeque::new(),
            delivering: None,
            deliveries: 0,
            observers: Observers::default(),
            is_undoing: false,
            is_untold: false,
            untold: Vec::new(),
        };
        Self {
            name,
            table,
            rules,
            options,
            points_max,
            registry,
            seen,
            core: Mutex::new(core),
            turn: Condvar::new(),
            settled: Condvar::new(),
            settling: AtomicU32::new(0),
            place: Place::default(),
            refusals: super::record::Ration::default(),
        }
    }

    /// State and sequence, of the same moment.
    pub(super) fn seen(&self) -> (S, u64) {
        let word = self.seen.load(Ordering::Acquire);
        (S::ALL[(word & ((1 << STATE_BITS) - 1)) as usize], word >> STATE_BITS)
    }

    /// Shows where the machine is now; under the lock.
    pub(super) fn show(&self, core: &Core<S>) {
        self.seen.store(pack(core.machine.state(), core.machine.sequence()), Ordering::Release);
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Core<S>) -> T) -> T {
        with_root(|house| look(&mut self.core.lock(house)))
    }
}

impl<S: State> Drop for Inner<S> {
    fn drop(&mut self) {
        let is_remembered = self.journal().is_some() && !self.options.begins_anew;
        let core = self.core.get_mut();
        let last = is_remembered.then(|| PastMachine::at(core.machine.snapshot(), core.is_untold));
        // First of all: until then its name is not free, and who takes a snapshot waits for it.
        self.registry.forget(&self.name, last);
        let observers = std::mem::take(&mut self.core.get_mut().observers);
        let delivering = self.core.get_mut().delivering.take();
        // They are users'. Nothing of the house is held: handles are not dropped under its locks.
        with_root(|house| observers.drop_each(house));
        crate::callback::contained(|| drop(delivering));
    }
}

fn pack<S: State>(state: S, sequence: u64) -> u64 {
    debug_assert!(S::ALL.len() <= 1 << STATE_BITS, "invariant: a table has 64 states at most");
    sequence << STATE_BITS | state.index() as u64
}

/// A number of this thread, never 0 and never another's.
pub(super) fn me() -> u64 {
    thread_local! {
        static ME: Cell<u64> = const { Cell::new(0) };
    }
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let me = ME.get();
    if me != 0 {
        return me;
    }
    let me = NEXT.fetch_add(1, Ordering::Relaxed);
    ME.set(me);
    me
}
