//! Components: what there is, in which channel, in which state.
//!
//! ```text
//! Registered -> Running -> Stopping -> Stopped
//!      `-----------+----------+-----> Failed
//! ```

use crate::resources::ResourcePool;
use evenkeel_core::{NameError, check_name};
use evenkeel_hierarchy::{Component as Level, Mutex, with_root};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

/// Where a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComponentState {
    /// Known, not yet running.
    Registered,
    /// At work.
    Running,
    /// Told to stop.
    Stopping,
    /// Stopped in order.
    Stopped,
    /// It failed; why is told beside it.
    Failed,
}

impl ComponentState {
    /// The states that may follow.
    pub const fn followers(self) -> &'static [Self] {
        match self {
            Self::Registered => &[Self::Running, Self::Stopping, Self::Failed],
            Self::Running => &[Self::Stopping, Self::Failed],
            Self::Stopping => &[Self::Stopped, Self::Failed],
            Self::Stopped | Self::Failed => &[],
        }
    }
}

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
    #[error("component {name:?} is {from:?}; from there only {:?} are allowed, not {to:?}", .from.followers())]
    Transition {
        /// The component.
        name: String,
        /// Where it is.
        from: ComponentState,
        /// Where it was to go.
        to: ComponentState,
    },
}

type Key = (Option<String>, String);
type States = BTreeMap<Key, ComponentState>;

/// Keeps all components. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ComponentCoordinator {
    pool: ResourcePool,
    states: Arc<Mutex<Level, States>>,
}

impl fmt::Debug for ComponentCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentCoordinator").field("components", &self.list()).finish()
    }
}

impl ComponentCoordinator {
    /// Works on the pool that the monitoring created.
    pub fn new(pool: ResourcePool) -> Self {
        Self { pool, states: Arc::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut States) -> T) -> T {
        with_root(|house| act(&mut self.states.lock(house)))
    }

    /// Takes a component in, in a channel or shared.
    ///
    /// # Errors
    /// [`ComponentError`], naming it.
    pub fn register(&self, channel: Option<&str>, name: &str) -> Result<Component, ComponentError> {
        check_name(name)?;
        let key = (channel.map(str::to_owned), name.to_owned());
        let new = key.clone();
        let is_new = self.with(|states| match states.entry(new) {
            Entry::Vacant(place) => {
                place.insert(ComponentState::Registered);
                true
            }
            Entry::Occupied(_) => false,
        });
        if is_new {
            return Ok(Component { coordinator: self.clone(), key });
        }
        let scope = channel.map_or_else(|| "all channels".to_owned(), |c| format!("channel {c}"));
        Err(ComponentError::Duplicate { name: name.to_owned(), scope })
    }

    /// Every component: channel, name, state.
    pub fn list(&self) -> Vec<(Option<String>, String, ComponentState)> {
        self.with(|states| {
            states.iter().map(|((channel, name), state)| (channel.clone(), name.clone(), *state)).collect()
        })
    }

    /// Bytes of the pool that components and channels hold.
    pub fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

/// A component. Whoever has it may say where it stands.
#[derive(Clone, Debug)]
pub struct Component {
    coordinator: ComponentCoordinator,
    key: Key,
}

impl Component {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.key.1
    }

    /// Its channel.
    pub fn channel(&self) -> Option<&str> {
        self.key.0.as_deref()
    }

    /// Where it stands.
    pub fn state(&self) -> ComponentState {
        self.coordinator.with(|states| states[&self.key])
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
        self.coordinator.with(|states| {
            let state = states.get_mut(&self.key).expect("invariant: a component stays registered");
            if !state.followers().contains(&to) {
                return Err(ComponentError::Transition { name: self.key.1.clone(), from: *state, to });
            }
            *state = to;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use crate::resources::PoolLimits;

    // REQ P1, REQ S2
    #[test]
    fn a_component_goes_only_where_it_may() {
        let all = ComponentCoordinator::new(ResourcePool::new(PoolLimits::default()));
        let mic = all.register(Some("left"), "mic").unwrap();
        assert!(all.register(Some("right"), "mic").is_ok());
        assert!(all.register(Some("left"), "mic").unwrap_err().to_string().contains("channel left"));
        assert!(all.register(None, "Mic").is_err());
        assert_eq!(mic.stopped(), "stop/left/mic");
        mic.enter(ComponentState::Running).unwrap();
        let refused = mic.enter(ComponentState::Stopped).unwrap_err();
        assert!(refused.to_string().contains("only [Stopping, Failed] are allowed"), "{refused}");
        assert_eq!(mic.state(), ComponentState::Running);
    }
}
