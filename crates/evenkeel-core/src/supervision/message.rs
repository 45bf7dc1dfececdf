//! What a supervisor is told, and what it answers.

use super::breaker::BreakerState;
use super::tree::{ChannelId, ComponentId};
use crate::Mono;
use crate::fault::{Code, FaultClass, Measure, Severity};

/// A fault: whatever number the caller gives it, as that of its entry in the recovery log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

/// What supervision needs to know of a fault; see [`Tree::trouble`](super::Tree::trouble).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its number.
    pub fault: FaultId,
    /// The component that failed.
    pub component: Option<ComponentId>,
    /// The channel that it concerns. Not needed where the component has but one.
    pub channel: Option<ChannelId>,
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
}

/// Who a fault is laid to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A component.
    Component(ComponentId),
    /// A channel, or a component together with its channel.
    Channel(ChannelId),
    /// Neither one channel nor one component.
    System,
}

/// The parts of a channel's recovery, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecoveryStep {
    /// No more is taken in.
    StopCapture,
    /// What was taken in is made durable.
    Flush,
    /// The channel's components are begun anew.
    Reinitialise,
    /// It is looked at whether the channel works.
    Verify,
}

impl RecoveryStep {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::StopCapture, Self::Flush, Self::Reinitialise, Self::Verify];

    /// Place in [`RecoveryStep::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name, for a journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StopCapture => "stop-capture",
            Self::Flush => "flush",
            Self::Reinitialise => "reinitialise",
            Self::Verify => "verify",
        }
    }

    pub(super) const fn next(self) -> Option<Self> {
        match self {
            Self::StopCapture => Some(Self::Flush),
            Self::Flush => Some(Self::Reinitialise),
            Self::Reinitialise => Some(Self::Verify),
            Self::Verify => None,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something failed.
    Fault(Trouble),
    /// Something failed, and others do what there is to be done about it: it is told and counted, no more, unless its
    /// policy stops the system for it.
    Noted(Trouble),
    /// A component did what it is for.
    Succeeded {
        /// Which.
        component: ComponentId,
    },
    /// The answer to [`Action::RestartComponent`], however late.
    RestartDone {
        /// Which.
        component: ComponentId,
        /// Whether it runs again.
        is_up: bool,
    },
    /// The answer to [`Action::RecoverChannel`], however late.
    RecoveryStep {
        /// Which.
        channel: ChannelId,
        /// What was done.
        step: RecoveryStep,
        /// Whether it worked.
        is_ok: bool,
    },
    /// A person wants an isolated channel to be tried again now.
    Release {
        /// Which.
        channel: ChannelId,
    },
    /// Nothing; it is [`Supervisor::next_deadline`](super::Supervisor::next_deadline).
    Tick,
}

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The fault that led to it.
    pub fault: FaultId,
    /// Its code.
    pub code: Code,
    /// Why this and nothing milder.
    pub reason: Reason,
}

/// Why a measure and nothing milder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The policy of the fault's class begins with it.
    Policy,
    /// It failed on probation from the same.
    OnProbation,
    /// As many retries were made as may be.
    RetriesUsedUp,
    /// As many restarts were made as may be.
    RestartsUsedUp,
    /// As many recoveries were made as may be.
    RecoveriesUsedUp,
    /// It did not work, or was not answered in its time.
    DidNotHelp,
    /// What was begun before may still be under way.
    StillUnderWay,
    /// Nobody said how something milder is done.
    NoProcedure,
    /// It was quiet, or a person wants it.
    Calm,
}

impl Reason {
    /// Its name, for a journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::OnProbation => "on-probation",
            Self::RetriesUsedUp => "retries-used-up",
            Self::RestartsUsedUp => "restarts-used-up",
            Self::RecoveriesUsedUp => "recoveries-used-up",
            Self::DidNotHelp => "did-not-help",
            Self::StillUnderWay => "still-under-way",
            Self::NoProcedure => "no-procedure",
            Self::Calm => "calm",
        }
    }
}

/// How something that others need is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// It does not work for now.
    Down,
    /// It works again.
    Up,
}

/// Faults that were not told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// The first of them, and when.
    pub first: (FaultId, Mono),
    /// The last of them, and when.
    pub last: (FaultId, Mono),
    /// The worst.
    pub severity: Severity,
    /// How many of each class, in the order of [`FaultClass::ALL`].
    pub by_class: [u64; FaultClass::ALL.len()],
}

/// What is to be done, in the order in which it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Try again now what failed.
    Retry {
        /// Which.
        component: ComponentId,
        /// How many retries of it count at the moment, this one included.
        level: u32,
        /// Why.
        cause: Cause,
    },
    /// Restart it now; answered by [`Event::RestartDone`].
    RestartComponent {
        /// Which.
        component: ComponentId,
        /// How many restarts of it count at the moment, this one included.
        level: u32,
        /// Why.
        cause: Cause,
    },
    /// Do this part of a recovery now; answered by [`Event::RecoveryStep`].
    RecoverChannel {
        /// Which.
        channel: ChannelId,
        /// What.
        step: RecoveryStep,
        /// Why.
        cause: Cause,
    },
    /// Cut the channel off: nothing of it runs, nothing more of it is taken in.
    IsolateChannel {
        /// Which.
        channel: ChannelId,
        /// Until when at least; `None`: until a person releases it.
        until: Option<Mono>,
        /// Why.
        cause: Cause,
    },
    /// An isolated channel was begun anew and verified: it takes part again.
    ReleaseChannel {
        /// Which.
        channel: ChannelId,
        /// The fault that it was isolated for.
        cause: Cause,
    },
    /// Stop everything. Nothing is answered after it.
    StopSystem {
        /// Why.
        cause: Cause,
    },
    /// Tell of a fault and of what is done about it.
    Tell {
        /// Whose it is.
        who: Who,
        /// Which.
        fault: FaultId,
        /// What is done about it.
        measure: Measure,
    },
    /// Tell of faults that were too many.
    Summarise {
        /// Whose they are: a channel's or the system's.
        who: Who,
        /// Which they were.
        summary: Summary,
    },
    /// Tell a component how something is that it needs.
    TellDependent {
        /// Who is told.
        dependent: ComponentId,
        /// Of whom.
        on: ComponentId,
        /// How it is.
        condition: Condition,
        /// The fault that it is about.
        fault: FaultId,
    },
    /// Who wants to use the component is to ask for this first.
    Breaker {
        /// Whose.
        component: ComponentId,
        /// How it is now.
        state: BreakerState,
    },
}

impl Action {
    /// What is done about which fault, for its [`Trail`](crate::fault::Trail); `None` if it is about none in particular.
    pub const fn measure(&self) -> Option<(FaultId, Measure)> {
        let (cause, measure) = match self {
            Self::Retry { cause, .. } => (cause, Measure::Retry { after_ns: 0 }),
            Self::RestartComponent { cause, .. } => (cause, Measure::RestartComponent { after_ns: 0 }),
            Self::RecoverChannel { cause, .. } => (cause, Measure::RecoverChannel { after_ns: 0 }),
            Self::IsolateChannel { cause, .. } => (cause, Measure::IsolateChannel),
            Self::ReleaseChannel { cause, .. } => (cause, Measure::ReleaseChannel),
            Self::StopSystem { cause } => (cause, Measure::StopSystem),
            Self::Tell { fault, measure, .. } => return Some((*fault, *measure)),
            Self::Summarise { .. } | Self::TellDependent { .. } | Self::Breaker { .. } => return None,
        };
        Some((cause.fault, measure))
    }
}
