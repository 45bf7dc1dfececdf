//! All machines of a service: by channel, component and name.
//!
//! Invariant: it keeps none of them; a machine is there for as long as somebody has a handle, and its name is free
//! again after that.

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
use evenkeel_hierarchy::{Cap, House, MachineBook, Mutex, with_root};
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Most machines of one service.
const MACHINES_MAX: usize = 65_536;
/// Most hooks.
const HOOKS_MAX: usize = 64;

type Hook = Arc<dyn Fn(&StateEvent) + Send + Sync>;

pub(super) struct Registry {
    pub(super) threads: ThreadCoordinator,
    pub(super) journal: Option<Journal>,
    book: Mutex<MachineBook, Book>,
    has_hooks: AtomicBool,
}

#[derive(Default)]
struct Book {
    machines: BTreeMap<MachineName, Weak<dyn AnyMachine>>,
    past: Past,
    hooks: Vec<Hook>,
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
        let has_hooks = AtomicBool::new(false);
        let registry = Arc::new(Registry { threads, journal, book, has_hooks });
        if let Some(journal) = &registry.journal {
            let weak = Arc::downgrade(&registry);
            journal
                .on_snapshot(MACHINES, move || weak.upgrade().map_or(Value::Null, |all| all.for_snapshot()));
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
        let hooks = std::mem::take(&mut self.book.get_mut().hooks);
        if !hooks.is_empty() {
            contained(|| drop(hooks));
        }
    }
}

impl Registry {
    /// Looks at each; what may be the last handle of one is dropped with nothing held.
    fn each<T>(&self, mut look: impl FnMut(&dyn AnyMachine) -> T) -> Vec<T> {
        let all: Vec<_> =
            with_root(|house| self.book.lock(house).machines.values().filter_map(Weak::upgrade).collect());
        let seen = all.iter().map(|machine: &Arc<dyn AnyMachine>| look(&**machine)).collect();
        contained(|| drop(all));
        seen
    }

    /// What a snapshot of the journal has of machines: those that there are, and those that are not there again yet.
    fn for_snapshot(&self) -> Value {
        // In this order: one that is made meanwhile is in both, and the present one comes later, and counts.
        let past = with_root(|house| self.book.lock(house).past.bodies().collect::<Vec<_>>());
        let present = self
            .each(|machine| machine.is_journalled().then(|| body_of(machine.name(), &machine.snapshot())));
        Value::Array(past.into_iter().chain(present.into_iter().flatten()).collect())
    }

    /// What the past knows of a machine that is to be. It stays there until the machine [is](Self::enter): a
    /// snapshot that is taken in between has it.
    pub(super) fn claim(
        &self,
        name: &MachineName,
        begins_anew: bool,
    ) -> Result<Option<PastMachine>, MachineError> {
        with_root(|house| {
            let book = self.book.lock(house);
            if book.machines.get(name).is_some_and(|known| known.strong_count() > 0) {
                return Err(MachineError::Duplicate { machine: name.clone() });
            }
            if book.machines.len() >= MACHINES_MAX {
                return Err(MachineError::TooMany { machine: name.clone(), most: MACHINES_MAX });
            }
            Ok(book.past.get(name).filter(|_| !begins_anew).cloned())
        })
    }

    /// From now on there is this machine.
    pub(super) fn enter(
        &self,
        name: &MachineName,
        machine: Weak<dyn AnyMachine>,
    ) -> Result<(), MachineError> {
        with_root(|house| {
            let mut book = self.book.lock(house);
            match book.machines.entry(name.clone()) {
                Entry::Occupied(known) if known.get().strong_count() > 0 => {
                    return Err(MachineError::Duplicate { machine: name.clone() });
                }
                Entry::Occupied(mut gone) => drop(gone.insert(machine)),
                Entry::Vacant(place) => {
                    place.insert(machine);
                }
            }
            book.past.take(name);
            Ok(())
        })
    }

    /// The last handle of a machine is gone; another may have its name already. Where it was is remembered if it is
    /// in the journal, for snapshots, and for who makes it again.
    pub(super) fn forget(&self, name: &MachineName, last: Option<PastMachine>) {
        with_root(|house| {
            let mut book = self.book.lock(house);
            if book.machines.get(name).is_some_and(|known| known.strong_count() == 0) {
                book.machines.remove(name);
                if let Some(last) = last {
                    book.past.put(name.clone(), last);
                }
            }
        });
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
    use super::*;
    use crate::journal::JournalOptions;
    use crate::state::{COMPONENT, ComponentState};
    use evenkeel_log::sim::SimStorage;
    use std::time::Duration;

    // REQ S7, REQ Q2
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
        assert!(again.0.claim(&name, false).unwrap().is_some());
        assert_eq!(again.0.for_snapshot().as_array().unwrap().len(), 1);
        let power = again.machine(&COMPONENT, "power").build().unwrap();
        assert_eq!(power.state(), ComponentState::Running);
        assert!(again.past().is_empty());
    }
}
