//! All machines of a service: by channel, component and name.
//!
//! Invariants:
//! 1. It keeps none of them; a machine is there for as long as somebody has a handle, and its name is free
//!    again after that.
//! 2. What is to be remembered of a name is always at one place: in the machine, or in the past. It leaves the past when
//!    the machine is entered, and is back there before the name is free.
//! 3. One at a time makes a machine of a name.

use super::past::body_of;
use super::view::{AnyMachine, MachineView};
use super::{
    MachineBuilder, MachineError, MachineInfo, MachineName, Past, PastMachine, State, StateEvent,
    StateReader, StateWhat, Table,
};
use crate::callback::{call_alone, contained};
use crate::journal::{Journal, MACHINES};
use crate::threads::ThreadCoordinator;
use evenkeel_core::state::Snapshot;
use evenkeel_hierarchy::{Cap, Condvar, House, MachineBook, Mutex, with_root};
use serde_json::Value;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Most machines of one service, those that are remembered too.
const MACHINES_MAX: usize = 65_536;
/// Most hooks.
const HOOKS_MAX: usize = 64;

/// A machine whose last handle is being dropped is gone after less.
const GOING: Duration = Duration::from_secs(1);

type Held = BTreeMap<MachineName, Arc<dyn AnyMachine>>;
type Hook = Arc<dyn Fn(&StateEvent) + Send + Sync>;

pub(super) struct Registry {
    pub(super) threads: ThreadCoordinator,
    pub(super) journal: Option<Journal>,
    book: Mutex<MachineBook, Book>,
    /// A machine has gone, or nobody looks at all of them any more.
    gone: Condvar,
    has_hooks: AtomicBool,
    /// For snapshots of the journal when there is no registry any more: what was left.
    left: Arc<OnceLock<Value>>,
}

#[derive(Default)]
struct Book {
    machines: BTreeMap<MachineName, Weak<dyn AnyMachine>>,
    past: Past,
    hooks: Vec<Hook>,
    /// Names whose machines are being made.
    making: BTreeSet<MachineName>,
    /// How many look at all machines now, and so have handles of them.
    looking: u32,
}

/// The right to make the machine of a name; dropped, somebody else may.
pub(super) struct Claim<'a> {
    registry: &'a Registry,
    name: &'a MachineName,
    pub(super) past: Option<PastMachine>,
}

impl Claim<'_> {
    /// From now on there is this machine.
    pub(super) fn enter(self, machine: Weak<dyn AnyMachine>) {
        with_root(|house| {
            let mut book = self.registry.book.lock(house);
            drop(book.past.take(self.name));
            book.machines.insert(self.name.clone(), machine);
        });
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        with_root(|house| self.registry.book.lock(house).making.remove(self.name));
    }
}

/// The machines of a service; see [`Keel::states`](crate::Keel::states). Cheap to clone; all clones are one.
///
/// ```
/// use evenkeel::state::{COMPONENT, ComponentState, States};
///
/// let all = States::default();
/// let power = all.machine(&COMPONENT, "power").build()?;
/// power.change(ComponentState::Running, "plugged in")?;
/// let shown: Vec<String> = all.list().iter().map(|it| format!("{} {}", it.name, it.state)).collect();
/// assert_eq!(shown, ["power Running"]);
/// assert!(all.check().is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct States(Arc<Registry>);

impl Default for States {
    fn default() -> Self {
        Self::new(ThreadCoordinator::default(), None, Past::default())
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("machines", &self.len()).finish_non_exhaustive()
    }
}

/// What a check of all machines found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// How many were looked at.
    pub machines: usize,
    /// What is wrong, with the machine that it is wrong with.
    pub faults: Vec<(MachineName, String)>,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

impl States {
    /// None yet. Observers that take long are told by jobs of these threads; changes go into the journal, if there is
    /// one; and a machine that the past knows goes on where it was.
    pub fn new(threads: ThreadCoordinator, journal: Option<Journal>, past: Past) -> Self {
        let book = Mutex::new(Book { past, ..Book::default() });
        let (gone, has_hooks, left) = (Condvar::new(), AtomicBool::new(false), Arc::default());
        let registry = Arc::new(Registry { threads, journal, book, gone, has_hooks, left });
        if let Some(journal) = &registry.journal {
            let (weak, left) = (Arc::downgrade(&registry), registry.left.clone());
            journal.on_snapshot(MACHINES, move || {
                let machines = weak.upgrade().map_or_else(|| left.get().cloned(), |all| all.for_snapshot());
                // A snapshot has all of them, or there is none now.
                machines.unwrap_or_else(|| resume_unwind(Box::new("machines come and go".to_owned())))
            });
        }
        Self(registry)
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.0
    }

    /// Describes a machine that is of no channel.
    pub fn machine<S: State>(&self, table: &'static Table<S>, name: &str) -> MachineBuilder<S> {
        self.machine_of(None, None, table, name)
    }

    /// The same for one of a channel, or of a component.
    pub(crate) fn machine_of<S: State>(
        &self,
        channel: Option<&str>,
        component: Option<&str>,
        table: &'static Table<S>,
        name: &str,
    ) -> MachineBuilder<S> {
        MachineBuilder::new(self.clone(), table, MachineName::new(channel, component, name))
    }

    /// How many machines there are.
    pub fn len(&self) -> usize {
        with_root(|house| self.0.book.lock(house).machines.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn each<T>(&self, look: impl FnMut(&dyn AnyMachine) -> T) -> Vec<T> {
        self.0.each(look)
    }

    /// How each of them stands, in the order of channels, components and names.
    pub fn list(&self) -> Vec<MachineInfo> {
        self.each(|machine| machine.info())
    }

    /// One of them, whatever its states are.
    pub fn view(&self, name: &MachineName) -> Option<MachineView> {
        let found = with_root(|house| self.0.book.lock(house).machines.get(name).and_then(Weak::upgrade));
        found.map(MachineView)
    }

    /// One of them, to read and observe.
    ///
    /// # Errors
    /// [`MachineError`]: there is none, or its states are others.
    pub fn reader<S: State>(
        &self,
        name: &MachineName,
        table: &'static Table<S>,
    ) -> Result<StateReader<S>, MachineError> {
        let found = self.view(name).ok_or_else(|| MachineError::Unknown { machine: name.clone() })?;
        let (expected, other) = (table.name(), found.info().table);
        let any: Arc<dyn Any + Send + Sync> = found.0.any();
        let typed = any.downcast().map(StateReader);
        typed.map_err(|_| MachineError::Table { machine: name.clone(), expected, found: other })
    }

    /// Whether each of them is what its own changes say, and shows what it is. Some microseconds a machine.
    pub fn check(&self) -> Checked {
        let mut checked = Checked::default();
        self.each(|machine| {
            checked.machines += 1;
            if let Err(why) = machine.check() {
                checked.faults.push((machine.name().clone(), why));
            }
        });
        checked
    }

    /// Each of them as text, with its name. Each is of one moment; all together are not.
    pub fn snapshot(&self) -> Vec<(MachineName, Snapshot)> {
        self.each(|machine| (machine.name().clone(), machine.snapshot()))
    }

    /// What is known of a machine that ran before and is not there again yet.
    pub fn past(&self) -> Vec<MachineName> {
        with_root(|house| self.0.book.lock(house).past.names())
    }

    /// Has `f` called with whatever happens to machines besides changes, with nothing held, by the thread that found
    /// it: let it be short. A panic in it ends with it. Of more than 64, none is kept.
    pub fn on_event(&self, f: impl Fn(&StateEvent) + Send + Sync + 'static) {
        let hook: Hook = Arc::new(f);
        let refused = with_root(|house| {
            let hooks = &mut self.0.book.lock(house).hooks;
            if hooks.len() >= HOOKS_MAX {
                return Some(hook);
            }
            hooks.push(hook);
            None
        });
        self.0.has_hooks.store(true, Ordering::Release);
        contained(|| drop(refused));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let book = self.book.get_mut();
        if self.journal.is_some() {
            let _ = self.left.set(Value::Array(book.past.bodies().collect()));
        }
        let hooks = std::mem::take(&mut book.hooks);
        if !hooks.is_empty() {
            contained(|| drop(hooks));
        }
    }
}

impl Registry {
    /// Looks at each; what may be the last handle of one is dropped with nothing held.
    fn each<T>(&self, mut look: impl FnMut(&dyn AnyMachine) -> T) -> Vec<T> {
        let (all, _) = self.hold(|_| ());
        let seen = all.values().map(|machine| look(&**machine)).collect();
        self.let_go(all);
        seen
    }

    /// Handles of all machines, and something of the book at the same moment; `None` of that if one was going all the
    /// while.
    fn hold<T>(&self, look: impl FnOnce(&Book) -> T) -> (Held, Option<T>) {
        let until = Instant::now() + GOING;
        let mut held = Held::new();
        with_root(|house| {
            let mut book = self.book.lock(house);
            book.looking += 1;
            loop {
                let mut is_whole = true;
                for (name, machine) in &book.machines {
                    if !held.contains_key(name) {
                        match machine.upgrade() {
                            Some(machine) => drop(held.insert(name.clone(), machine)),
                            None => is_whole = false,
                        }
                    }
                }
                if is_whole {
                    let seen = look(&book);
                    return (held, Some(seen));
                }
                // Its last handle is being dropped: soon it is in the past.
                if self.gone.wait_until(&mut book, until).timed_out() {
                    return (held, None);
                }
            }
        })
    }

    fn let_go(&self, all: Held) {
        contained(|| drop(all));
        with_root(|house| self.book.lock(house).looking -= 1);
        self.gone.notify_all();
    }

    /// What a snapshot of the journal has of machines: those that there are, and those that are not there again yet.
    fn for_snapshot(&self) -> Option<Value> {
        let (all, past) = self.hold(|book| book.past.bodies().collect::<Vec<_>>());
        let journalled = all.values().filter(|machine| machine.is_journalled());
        let present: Vec<_> =
            journalled.map(|machine| body_of(machine.name(), &machine.snapshot())).collect();
        self.let_go(all);
        Some(Value::Array(past?.into_iter().chain(present).collect()))
    }

    /// What the past knows of a machine that is to be, and the right to make it.
    pub(super) fn claim<'a>(
        &'a self,
        name: &'a MachineName,
        begins_anew: bool,
    ) -> Result<Claim<'a>, MachineError> {
        let until = Instant::now() + GOING;
        with_root(|house| {
            let mut book = self.book.lock(house);
            while let Some(known) = book.machines.get(name) {
                // It goes just now, or who looks at all of them may have its last handle.
                let may_go = known.strong_count() == 0 || book.looking > 0;
                if !may_go || self.gone.wait_until(&mut book, until).timed_out() {
                    return Err(MachineError::Duplicate { machine: name.clone() });
                }
            }
            let past = book.past.get(name).cloned();
            let made = book.machines.len() + book.making.len();
            // Whatever goes has a place in the past, where it is remembered.
            let remembered = if begins_anew || past.is_some() { 0 } else { book.past.len() };
            if made + remembered >= MACHINES_MAX {
                return Err(MachineError::TooMany { machine: name.clone(), most: MACHINES_MAX });
            }
            if !book.making.insert(name.clone()) {
                return Err(MachineError::Duplicate { machine: name.clone() });
            }
            Ok(Claim { registry: self, name, past: past.filter(|_| !begins_anew) })
        })
    }

    /// The last handle of a machine is gone. Where it was is remembered if it is in the journal, for snapshots, and
    /// for who makes it again.
    pub(super) fn forget(&self, name: &MachineName, last: Option<PastMachine>) {
        with_root(|house| {
            let mut book = self.book.lock(house);
            if book.machines.remove(name).is_some()
                && let Some(last) = last
            {
                book.past.put(name.clone(), last);
            }
        });
        self.gone.notify_all();
    }

    pub(super) fn tell(&self, house: &mut Cap<House>, machine: &MachineName, what: StateWhat) {
        if !self.has_hooks.load(Ordering::Acquire) {
            return;
        }
        let hooks = self.book.lock(house).hooks.clone();
        let event = StateEvent { machine: machine.clone(), what };
        for hook in &hooks {
            call_alone(house, || hook(&event));
        }
        // Only the registry's drop takes hooks away, and that is after this.
        drop(hooks);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use crate::journal::JournalOptions;
    use crate::state::{COMPONENT, ComponentState};
    use evenkeel_log::sim::SimStorage;
    use std::time::Duration;

    // REQ S6, REQ Q2
    #[test]
    fn a_machine_that_is_being_made_again_is_in_every_snapshot() {
        let storage = SimStorage::new();
        let (journal, _) = Journal::open(Arc::new(storage.clone()), JournalOptions::default()).unwrap();
        let all = States::new(ThreadCoordinator::default(), Some(journal.clone()), Past::default());
        let power = all.machine(&COMPONENT, "power").build().unwrap();
        power.change_durable(ComponentState::Running, "on", Duration::from_secs(60)).unwrap();
        journal.finish(Duration::from_secs(60)).unwrap();
        let again = States::new(ThreadCoordinator::default(), None, Past::read(&storage).unwrap());
        let name = MachineName::new(None, None, "power");
        let claim = again.0.claim(&name, false).unwrap();
        assert!(claim.past.is_some());
        assert_eq!(again.0.for_snapshot().unwrap().as_array().unwrap().len(), 1);
        drop(claim);
        let power = again.machine(&COMPONENT, "power").build().unwrap();
        assert_eq!(power.state(), ComponentState::Running);
        assert!(again.past().is_empty());
    }
}
