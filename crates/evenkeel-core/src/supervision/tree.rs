//! Who belongs to whom, and who needs whom.

use super::message::{FaultId, Trouble};
use crate::fault::{Fault, Name};
use std::collections::BTreeMap;

/// A channel of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(super) u32);

/// A component of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub(super) u32);

impl ChannelId {
    /// Its place: the number of channels that were added before it.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ComponentId {
    /// Its place: the number of components that were added before it.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why something was not added to a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The name is taken.
    #[error("there is a {what} {name} already: give it another name")]
    NameTaken {
        /// `channel` or `component`.
        what: &'static str,
        /// Its name.
        name: Name,
    },
    /// It is of a channel, or needs a component, that the tree has not.
    #[error("{name} is of a channel, or needs a component, that was not added to this tree: add that first")]
    Unknown {
        /// The component that was to be added.
        name: Name,
    },
}

/// A component, as it is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentSpec {
    /// Its name: unique in each of its channels, and among those that have not exactly one.
    pub name: Name,
    /// The channels that use it. With exactly one it is that channel's; otherwise it is shared, with none by all.
    pub channels: Vec<ChannelId>,
    /// What it needs; it is told when one of them is down. They were added before, so that nothing goes round.
    pub needs: Vec<ComponentId>,
    /// Whether the system stops if it is shared and may not be restarted any more.
    pub is_essential: bool,
    /// Whether somebody can try again what failed; else it is restarted, where the policy goes further than a retry.
    pub has_retry: bool,
    /// Whether somebody can restart it; else its channel is recovered, if it has one and the policy goes so far.
    pub has_restart: bool,
}

impl ComponentSpec {
    /// One that all use and that needs nothing, can be tried again and restarted.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            channels: Vec::new(),
            needs: Vec::new(),
            is_essential: false,
            has_retry: true,
            has_restart: true,
        }
    }

    /// Used by this channel (too).
    #[must_use]
    pub fn channel(mut self, channel: ChannelId) -> Self {
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
        self
    }

    /// Needs this component (too).
    #[must_use]
    pub fn needs(mut self, component: ComponentId) -> Self {
        if !self.needs.contains(&component) {
            self.needs.push(component);
        }
        self
    }

    /// The system stops if it is shared and may not be restarted any more.
    #[must_use]
    pub fn essential(mut self) -> Self {
        self.is_essential = true;
        self
    }
}

#[derive(Clone, Debug)]
struct Node {
    spec: ComponentSpec,
    dependents: Vec<ComponentId>,
}

/// System, channels, components, and what the components need.
///
/// ```
/// use evenkeel_core::fault::Name;
/// use evenkeel_core::supervision::{ComponentSpec, Tree};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut tree = Tree::default();
/// let left = tree.add_channel(Name::new("left")?)?;
/// let writer = tree.add_component(ComponentSpec::new(Name::new("writer")?).essential())?;
/// let mic = tree.add_component(ComponentSpec::new(Name::new("mic")?).channel(left).needs(writer))?;
/// assert_eq!((tree.owner(mic), tree.owner(writer)), (Some(left), None));
/// assert_eq!(tree.dependents(writer), [mic]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tree {
    channels: Vec<(Name, Vec<ComponentId>)>,
    components: Vec<Node>,
    channel_names: BTreeMap<Name, ChannelId>,
    component_names: BTreeMap<(Option<ChannelId>, Name), ComponentId>,
}

impl Tree {
    /// Adds a channel.
    ///
    /// # Errors
    /// [`TreeError::NameTaken`].
    pub fn add_channel(&mut self, name: Name) -> Result<ChannelId, TreeError> {
        if self.channel_names.contains_key(&name) {
            return Err(TreeError::NameTaken { what: "channel", name });
        }
        let id = ChannelId(self.channels.len() as u32);
        self.channel_names.insert(name.clone(), id);
        self.channels.push((name, Vec::new()));
        Ok(id)
    }

    /// Adds a component.
    ///
    /// # Errors
    /// [`TreeError`]: its name is taken, or it is of something that is not there.
    pub fn add_component(&mut self, spec: ComponentSpec) -> Result<ComponentId, TreeError> {
        let has_channels = spec.channels.iter().all(|channel| channel.index() < self.channels.len());
        let has_needs = spec.needs.iter().all(|need| need.index() < self.components.len());
        if !has_channels || !has_needs {
            return Err(TreeError::Unknown { name: spec.name });
        }
        let shared = (spec.channels.len() != 1).then_some(None);
        let places: Vec<_> = spec.channels.iter().copied().map(Some).chain(shared).collect();
        if places.iter().any(|place| self.component_names.contains_key(&(*place, spec.name.clone()))) {
            return Err(TreeError::NameTaken { what: "component", name: spec.name });
        }
        let id = ComponentId(self.components.len() as u32);
        for place in places {
            self.component_names.insert((place, spec.name.clone()), id);
        }
        if let [channel] = spec.channels[..] {
            self.channels[channel.index()].1.push(id);
        }
        for need in &spec.needs {
            self.components[need.index()].dependents.push(id);
        }
        self.components.push(Node { spec, dependents: Vec::new() });
        Ok(id)
    }

    /// How many channels it has.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// How many components it has.
    pub fn components(&self) -> usize {
        self.components.len()
    }

    /// A component, as it was added.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn component(&self, id: ComponentId) -> &ComponentSpec {
        &self.components[id.index()].spec
    }

    /// A channel's name.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn channel_name(&self, id: ChannelId) -> &Name {
        &self.channels[id.index()].0
    }

    /// The components that are this channel's alone.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn owned(&self, id: ChannelId) -> &[ComponentId] {
        &self.channels[id.index()].1
    }

    /// The channel whose alone a component is; `None` if it is shared.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn owner(&self, id: ComponentId) -> Option<ChannelId> {
        match self.component(id).channels[..] {
            [channel] => Some(channel),
            _ => None,
        }
    }

    /// Who said that they need it.
    ///
    /// # Panics
    /// If it is of another tree, which has more.
    pub fn dependents(&self, id: ComponentId) -> &[ComponentId] {
        &self.components[id.index()].dependents
    }

    /// What supervision needs to know of a fault. A name that the tree has not is passed over: a component of
    /// nobody's is then its channel's fault, and without one the system's.
    pub fn trouble(&self, id: FaultId, fault: &Fault) -> Trouble {
        let channel = fault.channel.as_ref().and_then(|name| self.channel_names.get(name)).copied();
        let find = |place, name: &Name| self.component_names.get(&(place, name.clone())).copied();
        let component = fault.component.as_ref().and_then(|name| {
            let of_channel = channel.and_then(|channel| find(Some(channel), name));
            of_channel.or_else(|| find(None, name))
        });
        Trouble { fault: id, component, channel, code: fault.code, severity: fault.severity }
    }

    /// The channel that a fault concerns, as far as that is known and right.
    pub(super) fn concerned(&self, trouble: &Trouble) -> Option<ChannelId> {
        let Some(component) = trouble.component else { return trouble.channel };
        match &self.component(component).channels[..] {
            [] => trouble.channel,
            [owner] => Some(*owner),
            several => trouble.channel.filter(|channel| several.contains(channel)),
        }
    }

    /// Whether it is of this tree.
    pub(super) fn has(&self, component: Option<ComponentId>, channel: Option<ChannelId>) -> bool {
        component.is_none_or(|id| id.index() < self.components.len())
            && channel.is_none_or(|id| id.index() < self.channels.len())
    }
}
