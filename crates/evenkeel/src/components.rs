//! Components: what there is, in which channel, in which state.
//!
//! Each has a state machine of the table [`COMPONENT`], called `state`, in the registry of all machines: it can be
//! observed, has a history, and is in the journal if there is one. Its changes are made whatever becomes of
//! the journal: nothing that only writes down may hold up a stop.
//!
//! What it takes: less than 4 KB each.

use crate::resources::{Account, HasResources, Refused as NoAccount, ResourcePool, ResourceView, SHARED};
use crate::state::{
    COMPONENT, Cause, ChangeError, ChangeKind, FlappingLimits, Limits, MachineError, Refused, StateMachine,
    StateReader, StateSet, States,
};
use evenkeel_core::state::ComponentState;
use evenkeel_core::{NameError, check_name};
use evenkeel_hierarchy::{Component as Level, Mutex, with_root};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

/// Name of the machine of a component.
const MACHINE: &str = "state";
/// Small: there are many of them, and each goes a short way.
const LIMITS: Limits = Limits {
    history_max: 8,
    points_max: 8,
    flapping: FlappingLimits {
        returns_max: 5,
        window: std::time::Duration::from_secs(10),
        is_refused: false,
    },
};

/// Why a component is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one of that name in that channel.
    #[error("there is a component {name:?} in {scope} already")]
    Duplicate {
        /// The name.
        name: String,
        /// The channel, or that it is shared.
        scope: String,
    },
    /// It cannot go from one state to the other.
    #[error("component {name:?} is {from:?}; from there only [{allowed}] are allowed, not {to:?}")]
    Transition {
        /// The component.
        name: String,
        /// Where it is.
        from: ComponentState,
        /// Where it was to go.
        to: ComponentState,
        /// The states that may follow.
        allowed: StateSet<ComponentState>,
    },
    /// It cannot go there now.
    #[error("component {name:?}: {source}")]
    Change {
        /// The component.
        name: String,
        /// Why.
        source: Box<ChangeError<ComponentState>>,
    },
    /// It can have no state machine.
    #[error("component {name:?}: {source}")]
    Machine {
        /// The component.
        name: String,
        /// Why.
        source: Box<MachineError>,
    },
}

/// Channel and name.
type Key = (Option<String>, String);
type Machines = BTreeMap<Key, Entry>;

struct Entry {
    machine: StateMachine<ComponentState>,
    needs: Box<[Key]>,
}

/// What a component says of itself when it is registered.
#[derive(Clone, Debug, Default)]
pub struct ComponentOptions {
    bytes_max: Option<u64>,
    needs: Vec<Key>,
}

impl ComponentOptions {
    /// Bytes of buffers that it may hold, in place of what all may: 500,000 if nothing else was said.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// It needs another component, of any channel: what that holds is released after what this one holds. Whatever it needs is
    /// there before it, so that nothing goes round.
    pub fn needs(mut self, other: &Component) -> Self {
        self.needs.push(other.key());
        self
    }
}

/// Keeps all components. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ComponentCoordinator {
    pool: ResourcePool,
    states: States,
    machines: Arc<Mutex<Level, Machines>>,
}

impl fmt::Debug for ComponentCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentCoordinator").field("components", &self.list()).finish()
    }
}

impl ComponentCoordinator {
    /// Works on the pool that the monitoring created, with machines of this registry.
    pub fn new(pool: ResourcePool, states: States) -> Self {
        Self { pool, states, machines: Arc::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Machines) -> T) -> T {
        with_root(|house| act(&mut self.machines.lock(house)))
    }

    /// Takes a component in, in a channel or shared.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn register(&self, channel: Option<&str>, name: &str) -> Result<Component, ComponentError> {
        self.register_with(channel, name, ComponentOptions::default())
    }

    /// The same for one that needs others, or more memory than others.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn register_with(
        &self,
        channel: Option<&str>,
        name: &str,
        options: ComponentOptions,
    ) -> Result<Component, ComponentError> {
        check_name(name)?;
        let builder = self.states.machine_of(channel, Some(name), &COMPONENT, MACHINE);
        let machine =
            builder.limits(LIMITS).best_effort().anew().build().map_err(|refused| match refused {
                MachineError::Duplicate { .. } => {
                    let scope = channel.map_or_else(|| "all channels".to_owned(), |c| format!("channel {c}"));
                    ComponentError::Duplicate { name: name.to_owned(), scope }
                }
                refused => ComponentError::Machine { name: name.to_owned(), source: Box::new(refused) },
            })?;
        let key = (channel.map(str::to_owned), name.to_owned());
        let ComponentOptions { bytes_max, needs } = options;
        let entry = Entry { machine: machine.clone(), needs: needs.into() };
        self.with(|machines| machines.insert(key, entry));
        Ok(Component { machine, pool: self.pool.clone(), bytes_max })
    }

    /// To look at what needs what, from where no handle is to be kept.
    pub(crate) fn needs(&self) -> Needs {
        Needs(Arc::downgrade(&self.machines))
    }

    /// Every component: channel, name, state.
    pub fn list(&self) -> Vec<(Option<String>, String, ComponentState)> {
        let row =
            |((channel, name), entry): (&Key, &Entry)| (channel.clone(), name.clone(), entry.machine.state());
        self.with(|machines| machines.iter().map(row).collect())
    }

    /// Bytes of the pool that components and channels hold.
    pub fn in_use(&self) -> u64 {
        self.pool.in_use()
    }
}

impl HasResources for ComponentCoordinator {
    /// What is its components'.
    fn resource_view(&self) -> ResourceView {
        let machines = self.machines.clone();
        ResourceView::of(self.pool.clone(), "the components", move |channel, component| {
            let channel = (channel != SHARED).then(|| channel.to_owned());
            let key = (channel, component.to_owned());
            with_root(|house| machines.lock(house).contains_key(&key))
        })
    }
}

/// Who needs whom.
pub(crate) struct Needs(Weak<Mutex<Level, Machines>>);

impl Needs {
    /// What a component needs, and what needs it: channels and names.
    pub(crate) fn of(&self, channel: Option<&str>, name: &str) -> (Vec<Key>, Vec<Key>) {
        let Some(machines) = self.0.upgrade() else { return Default::default() };
        let key = (channel.map(str::to_owned), name.to_owned());
        with_root(|house| {
            let machines = machines.lock(house);
            let needs = machines.get(&key).map(|entry| entry.needs.to_vec()).unwrap_or_default();
            let needed_by = machines.iter().filter(|(_, entry)| entry.needs.contains(&key));
            (needs, needed_by.map(|(key, _)| key.clone()).collect())
        })
    }
}

/// A component. Whoever has it may say where it stands.
///
/// ```
/// use evenkeel::prelude::*;
/// use evenkeel::ComponentState;
///
/// let keel = Keel::builder("intercom").without_signals().keep_process().build()?;
/// let mic = keel.channel("left")?.component("mic")?;
/// let _told = mic.state_machine().observe("log", |change| println!("mic is {}", change.to))?;
/// mic.enter(ComponentState::Running)?;
/// mic.enter_because(ComponentState::Stopping, "nobody listens")?;
/// assert_eq!(&*mic.state_machine().history()[1].cause, "nobody listens");
/// # keel.stop("enough", "the example");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Component {
    machine: StateMachine<ComponentState>,
    pool: ResourcePool,
    bytes_max: Option<u64>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("channel", &self.channel())
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}

impl Component {
    /// Its name.
    ///
    /// # Panics
    /// Never: its machine is a component's.
    pub fn name(&self) -> &str {
        self.machine.name().component().expect("invariant: the machine of a component names it")
    }

    /// Its channel.
    pub fn channel(&self) -> Option<&str> {
        self.machine.name().channel()
    }

    /// Where it stands.
    pub fn state(&self) -> ComponentState {
        self.machine.state()
    }

    /// Its state machine, to read and observe.
    pub fn state_machine(&self) -> StateReader<ComponentState> {
        self.machine.reader()
    }

    fn key(&self) -> Key {
        (self.channel().map(str::to_owned), self.name().to_owned())
    }

    /// Its account: whoever has it takes buffers, and whatever else is counted, as this component. What it holds is to be given back by
    /// the end of the stop: a step `release/CHANNEL/NAME` verifies that.
    ///
    /// # Errors
    /// [`Refused`](crate::resources::Refused): there are too many accounts, or what is reserved for its channel is more than is left.
    pub fn account(&self) -> Result<Account, NoAccount> {
        self.pool.account(self.channel(), self.name(), self.bytes_max)
    }

    /// Name that a step which stops it should have, for others to wait for.
    pub fn stopped(&self) -> String {
        match self.channel() {
            Some(channel) => format!("stop/{channel}/{}", self.name()),
            None => format!("stop/{}", self.name()),
        }
    }

    /// Says where it stands now.
    ///
    /// # Errors
    /// [`ComponentError::Transition`], with what is allowed.
    pub fn enter(&self, to: ComponentState) -> Result<(), ComponentError> {
        self.enter_because(to, "told so")
    }

    /// The same, with the reason.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn enter_because(&self, to: ComponentState, cause: impl Into<Cause>) -> Result<(), ComponentError> {
        let changed = self.machine.change(to, cause).map_err(|source| self.refused(source))?;
        debug_assert_eq!(changed.kind, ChangeKind::Edge, "invariant: nobody takes a component back");
        Ok(())
    }

    fn refused(&self, source: ChangeError<ComponentState>) -> ComponentError {
        let name = self.name().to_owned();
        if let ChangeError::Refused { source, .. } = &source
            && let Refused::NotAllowed { from, to, allowed, .. } = **source
        {
            return ComponentError::Transition { name, from, to, allowed };
        }
        ComponentError::Change { name, source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use crate::resources::PoolOptions;

    // REQ P1, REQ S2
    #[test]
    fn a_component_goes_only_where_it_may() {
        let pool = ResourcePool::new(PoolOptions::default()).unwrap();
        let all = ComponentCoordinator::new(pool, States::default());
        let mic = all.register(Some("left"), "mic").unwrap();
        assert!(all.register(Some("right"), "mic").is_ok());
        assert!(all.register(Some("left"), "mic").unwrap_err().to_string().contains("channel left"));
        assert!(all.register(None, "Mic").is_err());
        assert_eq!(mic.stopped(), "stop/left/mic");
        mic.enter(ComponentState::Running).unwrap();
        let refused = mic.enter(ComponentState::Stopped).unwrap_err();
        let allowed =
            "is Running; from there only [Degraded, Draining, Stopping, Failed] are allowed, not Stopped";
        assert!(refused.to_string().contains(allowed), "{refused}");
        assert_eq!(mic.state(), ComponentState::Running);
        assert_eq!(all.list().len(), 2);
    }
}
