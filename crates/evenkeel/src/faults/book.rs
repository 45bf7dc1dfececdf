//! Who is supervised, and by which procedures.
//!
//! Invariants:
//! 1. Places in `components` and `channels` are those of the supervisor's tree.
//! 2. What is a user's is handed out or taken out, and called and dropped outside of the lock.
//! 3. There are at most [`CHANNELS_MAX`] channels and [`COMPONENTS_MAX`] components, [`RECENT_MAX`] faults are kept.

use super::inbox::News;
use super::lane::Lane;
use super::mailbox::Mailbox;
use super::procedure::Procedure;
use super::recovering::Recovering;
use super::report::Whose;
use super::{Dependency, Inner};
use crate::state::States;
use evenkeel_core::fault::{Name, PublicFace};
use evenkeel_core::supervision::{
    BreakerState, ChannelId, ComponentId, ComponentSpec, FaultId, RecoveryStep, Supervisor, TreeError,
    Trouble,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// Channels that have faults of their own; those of more are the system's.
pub(super) const CHANNELS_MAX: usize = 1024;
/// Components that can be supervised.
pub(super) const COMPONENTS_MAX: usize = 16_384;
/// Faults whose public faces are kept.
const RECENT_MAX: usize = 256;

/// What is to be seen of a component without a lock.
#[derive(Debug, Default)]
pub(super) struct Seen {
    breaker: AtomicU8,
    /// Something is being done about it, or it is on probation: its successes count.
    pub(super) is_troubled: AtomicBool,
    /// A success of it was posted.
    pub(super) has_succeeded: AtomicBool,
}

impl Seen {
    pub(super) fn set_breaker(&self, state: BreakerState) {
        let number = match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        self.breaker.store(number, Relaxed);
    }

    pub(super) fn breaker(&self) -> BreakerState {
        match self.breaker.load(Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// It did what it is for.
    pub(super) fn succeeded(&self, inner: &Inner, id: ComponentId) {
        if self.is_troubled.load(Relaxed) && !self.has_succeeded.swap(true, Relaxed) {
            inner.inbox.post(News::Succeeded(id));
        }
    }
}

/// A component, and what users said about it.
pub(super) struct Component {
    pub(super) whose: Whose,
    pub(super) seen: Arc<Seen>,
    pub(super) retry: Option<Procedure>,
    pub(super) restart: Option<Procedure>,
    pub(super) verify: Option<Procedure>,
    pub(super) told: Option<Arc<Mailbox<Dependency>>>,
}

/// A channel is cut off, or takes part again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Isolated,
    Released,
}

/// A channel, and what users said about it.
pub(super) struct Channel {
    pub(super) lane: Arc<Lane>,
    pub(super) parts: [Option<Procedure>; RecoveryStep::ALL.len()],
    pub(super) cut: Option<Arc<Mailbox<Cut>>>,
    /// How far its recovery is, for who looks.
    pub(super) recovering: Option<Recovering>,
    /// Somebody has said how it is recovered or cut off.
    pub(super) is_supervised: bool,
}

/// Everything under the lock.
pub(super) struct Book {
    pub(super) supervisor: Supervisor,
    pub(super) components: Vec<Component>,
    pub(super) channels: Vec<Channel>,
    lanes: BTreeMap<Name, (Arc<Lane>, ChannelId)>,
    /// Whose a thread of this name is.
    pub(super) threads: BTreeMap<String, Whose>,
    pub(super) observers: Vec<Arc<Mailbox<PublicFace>>>,
    recent: VecDeque<PublicFace>,
    /// Where machines are made, as long as there is a service.
    pub(super) states: Option<States>,
}

impl Book {
    pub(super) fn new(supervisor: Supervisor, states: States) -> Self {
        Self {
            supervisor,
            components: Vec::new(),
            channels: Vec::new(),
            lanes: BTreeMap::new(),
            threads: BTreeMap::new(),
            observers: Vec::new(),
            recent: VecDeque::new(),
            states: Some(states),
        }
    }

    /// A channel's lane; `None` when there are too many.
    pub(super) fn lane(&mut self, name: &Name) -> Option<(Arc<Lane>, ChannelId)> {
        if let Some(known) = self.lanes.get(name) {
            return Some(known.clone());
        }
        if self.lanes.len() >= CHANNELS_MAX {
            return None;
        }
        let id =
            self.supervisor.add_channel(name.clone()).expect("invariant: lanes and channels are the same");
        let lane = Arc::new(Lane::new(Some(name.clone())));
        let channel = Channel {
            lane: lane.clone(),
            parts: Default::default(),
            cut: None,
            recovering: None,
            is_supervised: false,
        };
        self.channels.push(channel);
        self.lanes.insert(name.clone(), (lane.clone(), id));
        Some((lane, id))
    }

    pub(super) fn known(&self, name: &str) -> Option<&(Arc<Lane>, ChannelId)> {
        self.lanes.get(name)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.channels.iter().map(|channel| &channel.lane)
    }

    /// Takes a component in; what is refused comes back, to be dropped where nothing is locked.
    pub(super) fn add(
        &mut self,
        spec: ComponentSpec,
        component: Component,
    ) -> Result<ComponentId, Box<(TreeError, Component)>> {
        match self.supervisor.add_component(spec) {
            Ok(id) => {
                self.components.push(component);
                Ok(id)
            }
            Err(error) => Err(Box::new((error, component))),
        }
    }

    /// Whether there is somebody to do something about a fault.
    pub(super) fn is_supervised(&self, trouble: &Trouble) -> bool {
        let is_channel = |id: ChannelId| self.channels[id.index()].is_supervised;
        trouble.component.is_some() || trouble.channel.is_some_and(is_channel)
    }

    /// A component as people name it.
    pub(super) fn name(&self, id: ComponentId) -> String {
        let tree = self.supervisor.tree();
        let name = &tree.component(id).name;
        match tree.owner(id) {
            Some(channel) => format!("{}/{name}", tree.channel_name(channel)),
            None => name.to_string(),
        }
    }

    /// What a component is told of another.
    pub(super) fn dependency(
        &self,
        on: ComponentId,
        condition: super::Condition,
        fault: FaultId,
    ) -> Dependency {
        let tree = self.supervisor.tree();
        let channel = tree.owner(on).map(|channel| tree.channel_name(channel).clone());
        Dependency { component: tree.component(on).name.clone(), channel, condition, fault }
    }

    pub(super) fn remember(&mut self, face: PublicFace) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(face);
    }

    /// The latest that were told, the last one last.
    pub(super) fn recent(&self, most: usize) -> Vec<PublicFace> {
        let skipped = self.recent.len().saturating_sub(most);
        self.recent.iter().skip(skipped).cloned().collect()
    }

    /// The registry of machines, and those that were made.
    pub(super) fn take_states(&mut self) -> (Option<States>, Vec<Recovering>) {
        let machines = self.channels.iter_mut().filter_map(|channel| channel.recovering.take());
        (self.states.take(), machines.collect())
    }

    /// All that users said how to do: nothing of it is done any more.
    pub(super) fn take_procedures(&mut self) -> Vec<Box<dyn std::any::Any + Send>> {
        let mut taken: Vec<Box<dyn std::any::Any + Send>> = Vec::new();
        for component in &mut self.components {
            let procedures = [component.retry.take(), component.restart.take(), component.verify.take()];
            taken.push(Box::new((procedures, component.told.take())));
        }
        for channel in &mut self.channels {
            taken.push(Box::new((std::mem::take(&mut channel.parts), channel.cut.take())));
        }
        taken
    }
}
