//! Saying who is supervised, and what is done about their faults.

use super::book::{COMPONENTS_MAX, Component, Cut, Seen};
use super::lane::Lane;
use super::mailbox::Mailbox;
use super::procedure::{Attempt, Procedure, procedure};
use super::report::{FaultBuilder, Whose};
use super::{Dependency, Inner};
use crate::state::{RecoveryState, StateReader};
use evenkeel_core::NameError;
use evenkeel_core::fault::{Code, Name, Severity};
use evenkeel_core::supervision::{
    BreakerState, ChannelId, ComponentId, ComponentSpec, RecoveryStep, TreeError,
};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Why somebody is not supervised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its name is taken.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It was said already how this channel is recovered.
    #[error("how channel {channel} is recovered was said already: say it once")]
    Recovery {
        /// The channel.
        channel: String,
    },
    /// It needs, or is used by, what belongs to another service.
    #[error("{name} needs a component, or is used by a channel, of another service: use those of its own")]
    Foreign {
        /// The component.
        name: String,
    },
    /// There are too many.
    #[error("there are {max} {what} already, and no more can be supervised")]
    TooMany {
        /// `channels` or `components`.
        what: &'static str,
        /// How many may be.
        max: usize,
    },
    /// The stop has begun: nothing is done about faults any more.
    #[error("the stop has begun: nobody is supervised any more")]
    Stopping,
}

/// A channel as supervision knows it.
#[derive(Clone, Debug)]
pub(crate) struct Supervision {
    pub(super) inner: Arc<Inner>,
    pub(super) lane: Arc<Lane>,
    /// `None`: the system, or one of too many channels.
    pub(super) id: Option<ChannelId>,
}

impl Supervision {
    #[track_caller]
    pub(crate) fn fault(&self, code: Code, severity: Severity) -> FaultBuilder {
        let whose = Whose { lane: self.lane.clone(), component: None };
        FaultBuilder::new(&self.inner, &whose, code, severity)
    }

    pub(crate) fn last_fault(&self) -> Option<evenkeel_core::fault::PublicFace> {
        self.lane.last()
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.lane.is_isolated()
    }

    pub(crate) fn recovery_state(&self) -> Option<StateReader<RecoveryState>> {
        self.id.and_then(|id| self.inner.recovering(id)).map(|recovering| recovering.reader())
    }

    pub(crate) fn release(&self) {
        self.inner.release(&self.lane, self.id);
    }

    pub(crate) fn supervise(&self, name: &str) -> SuperviseBuilder {
        SuperviseBuilder {
            inner: self.inner.clone(),
            lane: self.lane.clone(),
            channels: self.id.into_iter().collect(),
            is_too_many: self.id.is_none() && self.lane.name.is_some(),
            name: name.to_owned(),
            is_foreign: false,
            needs: Vec::new(),
            is_essential: false,
            threads: Vec::new(),
            retry: None,
            restart: None,
            verify: None,
            told: None,
        }
    }

    pub(crate) fn recovery(&self) -> RecoveryBuilder {
        RecoveryBuilder { of: self.clone(), parts: Default::default(), isolate: None, release: None }
    }
}

type Told = Box<dyn Fn(&Dependency) + Send + Sync>;
type Act = Box<dyn Fn() + Send + Sync>;

/// Describes a component that is supervised; see [`Channel::supervise`](crate::Channel::supervise).
///
/// What nobody said how to do is not possible: who has no [`retry`](Self::retry) is restarted where it would be tried
/// again, who has no [`restart`](Self::restart) has its channel recovered, and a channel without a
/// [recovery](crate::Channel::recovery) is isolated.
///
/// ```
/// use evenkeel::faults::{Code, Severity};
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let disk = keel.supervise("disk").restart(|_| Ok::<_, std::io::Error>(())).register()?;
/// let left = keel.channel("left")?;
/// let mic = left
///     .supervise("mic")
///     .needs(&disk)
///     .restart(|_attempt| Ok::<_, std::io::Error>(())) // opens the microphone again
///     .on_dependency(|disk| println!("{} is {:?}", disk.component, disk.condition))
///     .register()?;
/// if mic.may_use() {
///     mic.succeeded(); // it did what it is for
/// }
/// mic.fault(Code::EXITED, Severity::Error).report();
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
#[must_use = "a component that is not registered is not supervised"]
pub struct SuperviseBuilder {
    inner: Arc<Inner>,
    lane: Arc<Lane>,
    channels: Vec<ChannelId>,
    is_too_many: bool,
    is_foreign: bool,
    name: String,
    needs: Vec<ComponentId>,
    is_essential: bool,
    threads: Vec<String>,
    retry: Option<Procedure>,
    restart: Option<Procedure>,
    verify: Option<Procedure>,
    told: Option<Told>,
}

impl fmt::Debug for SuperviseBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuperviseBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SuperviseBuilder {
    /// Needs this component (too): it is told when that one is down, and when it is up again.
    pub fn needs(mut self, component: &Supervised) -> Self {
        self.is_foreign |= !Arc::ptr_eq(&self.inner, &component.inner);
        if !self.needs.contains(&component.id) {
            self.needs.push(component.id);
        }
        self
    }

    /// For a shared one: it is used by this channel (too). Used by none in particular, it is used by all.
    pub fn used_by(mut self, channel: &crate::Channel) -> Self {
        let of = channel.supervision();
        self.is_foreign |= !Arc::ptr_eq(&self.inner, &of.inner);
        self.is_too_many |= of.id.is_none();
        self.channels.extend(of.id.filter(|id| !self.channels.contains(id)));
        self
    }

    /// The service stops if it is shared and may not be restarted any more.
    pub fn essential(mut self) -> Self {
        self.is_essential = true;
        self
    }

    /// A thread of this name is its own: that it is stuck, runs away or dies is a fault of this component.
    pub fn thread(mut self, name: &str) -> Self {
        self.threads.push(name.to_owned());
        self
    }

    /// How what failed is tried again. Its success is one of the component.
    pub fn retry<E: Into<Box<dyn Error + Send + Sync>>>(
        mut self,
        retry: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.retry = Some(procedure(retry));
        self
    }

    /// How it is restarted: what is left of it is ended, and it is begun anew. When its channel is recovered, this is
    /// called too, after the channel's own [`reinitialise`](RecoveryBuilder::reinitialise).
    pub fn restart<E: Into<Box<dyn Error + Send + Sync>>>(
        mut self,
        restart: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.restart = Some(procedure(restart));
        self
    }

    /// How it is found out that it works, when its channel was begun anew; after the channel's own
    /// [`verify`](RecoveryBuilder::verify).
    pub fn verify<E: Into<Box<dyn Error + Send + Sync>>>(
        mut self,
        verify: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.verify = Some(procedure(verify));
        self
    }

    /// Is told, on a job of its own and in order, how something is that it needs. Who is slow is told only the latest
    /// of each.
    pub fn on_dependency(mut self, told: impl Fn(&Dependency) + Send + Sync + 'static) -> Self {
        self.told = Some(Box::new(told));
        self
    }

    /// Registers it. What it needs was registered before, so that nothing goes round.
    ///
    /// # Errors
    /// [`SuperviseError`], naming it.
    pub fn register(self) -> Result<Supervised, SuperviseError> {
        let name = Name::new(&self.name)?;
        if self.is_foreign {
            return Err(SuperviseError::Foreign { name: self.name });
        }
        if self.is_too_many {
            return Err(SuperviseError::TooMany { what: "channels", max: super::book::CHANNELS_MAX });
        }
        let whose = Whose { lane: self.lane, component: Some(name.clone()) };
        let label = format!("faults: tell {}", self.name);
        let told = self.told.map(|told| Mailbox::new(label, told, self.inner.panicked(&whose)));
        let seen = Arc::new(Seen::default());
        let spec = ComponentSpec {
            channels: self.channels,
            needs: self.needs,
            is_essential: self.is_essential,
            has_retry: self.retry.is_some(),
            has_restart: self.restart.is_some(),
            ..ComponentSpec::new(name)
        };
        let (retry, restart, verify) = (self.retry, self.restart, self.verify);
        let component = Component { whose: whose.clone(), seen: seen.clone(), retry, restart, verify, told };
        let mut component = Some(component);
        let (inner, threads) = (self.inner, self.threads);
        let added = inner.with(|book| {
            if inner.is_over() {
                return Err(SuperviseError::Stopping);
            }
            if book.components.len() >= COMPONENTS_MAX {
                return Err(SuperviseError::TooMany { what: "components", max: COMPONENTS_MAX });
            }
            let whole = component.take().expect("invariant: it is there until it is added");
            let added = book.add(spec, whole).map_err(|refused| {
                let (error, whole) = *refused;
                component = Some(whole);
                error.into()
            });
            if added.is_ok() {
                book.threads.extend(threads.into_iter().map(|thread| (thread, whose.clone())));
            }
            added
        });
        // What is refused is dropped where nothing is locked.
        drop(component);
        let id = added?;
        Ok(Supervised { inner, whose, id, seen })
    }
}

/// A component that is supervised. Cheap to clone; all clones are one. Dropping them changes nothing.
#[derive(Clone)]
pub struct Supervised {
    inner: Arc<Inner>,
    whose: Whose,
    id: ComponentId,
    seen: Arc<Seen>,
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("name", &self.name()).field("breaker", &self.breaker()).finish()
    }
}

impl Supervised {
    /// Its name.
    pub fn name(&self) -> &str {
        self.whose.component.as_ref().map_or("", Name::as_str)
    }

    /// Its channel; `None` if it is shared.
    pub fn channel(&self) -> Option<&str> {
        self.whose.lane.name.as_ref().map(Name::as_str)
    }

    /// Begins to report a fault of it.
    #[track_caller]
    pub fn fault(&self, code: Code, severity: Severity) -> FaultBuilder {
        FaultBuilder::new(&self.inner, &self.whose, code, severity)
    }

    /// It did what it is for. As long as all is well this costs next to nothing.
    pub fn succeeded(&self) {
        self.seen.succeeded(&self.inner, self.id);
    }

    /// How its circuit breaker is. Takes no lock.
    pub fn breaker(&self) -> BreakerState {
        self.seen.breaker()
    }

    /// Whether it may be used: its breaker is closed and its channel not isolated. Takes no lock.
    pub fn may_use(&self) -> bool {
        self.breaker() == BreakerState::Closed && !self.whose.lane.is_isolated()
    }

    /// Whether something is being done about it, or it is on probation. Takes no lock.
    pub fn is_troubled(&self) -> bool {
        self.seen.is_troubled.load(Relaxed)
    }
}

/// Describes how a channel is recovered and cut off; see [`Channel::recovery`](crate::Channel::recovery).
///
/// A recovery does its parts in this order: no more is [taken in](Self::stop_capture); what was taken in is
/// [stored](Self::flush); it is [begun anew](Self::reinitialise), first what is said here, then the restarts of the
/// channel's components in the order of their registration; it is [looked at](Self::verify) whether it works, the channel
/// and then its components. How far it is can be [read](crate::Channel::recovery_state). A part
/// that is not said is passed over, but one of the last two or a restart there must be, or a recovery has failed.
///
/// ```
/// use evenkeel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let keel = Keel::builder("example").without_signals().keep_process().build()?;
/// let left = keel.channel("left")?;
/// left.recovery()
///     .stop_capture(|_| Ok::<_, std::io::Error>(()))
///     .flush(|_| Ok::<_, std::io::Error>(()))
///     .reinitialise(|_| Ok::<_, std::io::Error>(()))
///     .verify(|_| Ok::<_, std::io::Error>(()))
///     .on_isolate(|| println!("left is cut off"))
///     .on_release(|| println!("left takes part again"))
///     .register()?;
/// assert!(!left.is_isolated());
/// # keel.stop("the example is over", "the example");
/// # Ok(())
/// # }
/// ```
#[must_use = "a recovery that is not registered is not done"]
pub struct RecoveryBuilder {
    of: Supervision,
    parts: [Option<Procedure>; RecoveryStep::ALL.len()],
    isolate: Option<Act>,
    release: Option<Act>,
}

impl fmt::Debug for RecoveryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryBuilder").field("channel", &self.of.lane.name).finish_non_exhaustive()
    }
}

impl RecoveryBuilder {
    fn part(mut self, step: RecoveryStep, part: Procedure) -> Self {
        self.parts[step.index()] = Some(part);
        self
    }

    /// How it takes in no more.
    pub fn stop_capture<E: Into<Box<dyn Error + Send + Sync>>>(
        self,
        part: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.part(RecoveryStep::StopCapture, procedure(part))
    }

    /// How what it took in is made durable.
    pub fn flush<E: Into<Box<dyn Error + Send + Sync>>>(
        self,
        part: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.part(RecoveryStep::Flush, procedure(part))
    }

    /// How its resources are made anew, before its components are restarted.
    pub fn reinitialise<E: Into<Box<dyn Error + Send + Sync>>>(
        self,
        part: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.part(RecoveryStep::Reinitialise, procedure(part))
    }

    /// How it is found out that it works.
    pub fn verify<E: Into<Box<dyn Error + Send + Sync>>>(
        self,
        part: impl Fn(&Attempt<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.part(RecoveryStep::Verify, procedure(part))
    }

    /// Is called, on a job, when it is cut off: nothing of it is to run or to be taken in.
    pub fn on_isolate(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.isolate = Some(Box::new(act));
        self
    }

    /// Is called, on a job, when it takes part again: it was begun anew and verified.
    pub fn on_release(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.release = Some(Box::new(act));
        self
    }

    /// Registers it.
    ///
    /// # Errors
    /// [`SuperviseError`], naming the channel.
    pub fn register(self) -> Result<(), SuperviseError> {
        let Supervision { inner, lane, id } = self.of;
        let Some(id) = id else {
            return Err(SuperviseError::TooMany { what: "channels", max: super::book::CHANNELS_MAX });
        };
        let (isolate, release) = (self.isolate, self.release);
        let told = move |cut: &Cut| {
            let act = if *cut == Cut::Isolated { &isolate } else { &release };
            act.iter().for_each(|act| act());
        };
        let name = lane.name.as_ref().map(Name::to_string).unwrap_or_default();
        let whose = Whose { lane, component: None };
        let cut = Mailbox::new(format!("faults: cut off {name}"), told, inner.panicked(&whose));
        let (mut parts, mut cut) = (self.parts, Some(cut));
        // What is not taken is dropped where nothing is locked.
        inner.with(|book| {
            let channel = &mut book.channels[id.index()];
            if inner.is_over() {
                return Err(SuperviseError::Stopping);
            }
            if channel.is_supervised {
                return Err(SuperviseError::Recovery { channel: name });
            }
            channel.is_supervised = true;
            std::mem::swap(&mut channel.parts, &mut parts);
            std::mem::swap(&mut channel.cut, &mut cut);
            Ok(())
        })?;
        // It is in the registry from now on.
        let _ = inner.recovering(id);
        Ok(())
    }
}
