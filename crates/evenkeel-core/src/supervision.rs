//! What is done about faults: retry, restart, recover the channel, isolate it, stop the system.
//!
//! ```text
//! system > channels > components (one may be shared by several channels)
//!
//! retry --no more--> restart --no more--> recover the channel --no more--> isolate it --calm--> try to release it
//!   |   never more than so many at once, one forgiven every so often (Intensity), at each of the rungs   |
//!   +-- after a wait: backoff with full jitter, and not before an open circuit breaker half-opens -------+
//! ```
//!
//! [`Supervisor`] is a plain value: it is told what happened and when, and answers with what is to be done.
//!
//! Invariants:
//! 1. No channel hears of another's faults, except who declared that it depends on the component that failed.
//! 2. In any time `t`, a component has at most `max + t / forgiven_every` retries and as many restarts by their
//!    intensity, a channel as many recoveries by its own. Nothing is done more often, whatever the faults.
//! 3. A component is never restarted, nor a channel recovered, while that may still be under way, however late.
//! 4. Every wait has an end: what is not answered in its time has failed; what is quiet for `settle` is well.
//! 5. A fault costs the logarithm of the tree, and memory does not grow with faults.
//! 6. Of a channel's faults at most [`Limits::tells_max`] are told one by one in a period; the others of it
//!    are told at its end as one summary.
//! 7. What is being done already is not begun again by more faults; only what needs a higher rung goes on to it.
//!
//! **Who is told.** A component that declared to need another is told when that one is down and when it is up
//! again ([`Action::TellDependent`]). Only who needs it directly: what they make of it is theirs, and if it is a fault,
//! it is told on from there.
//!
//! **Probation.** What was retried, restarted or recovered is on probation until it reports success or is quiet for
//! `settle`. A fault on probation goes on at the rung that it is on probation from: who panics after a restart is
//! not retried first.
//!
//! **Shared components** have no channel that could be recovered for them. One that may not be restarted any more stops
//! the system if it is [essential](ComponentSpec::essential); otherwise it is tried again as the intensity forgives.

mod breaker;
mod bucket;
mod engine;
mod message;
mod policy;
mod tell;
mod tree;

pub use breaker::{BreakerLimits, BreakerState};
pub use bucket::Intensity;
pub use engine::Supervisor;
pub use message::{Action, Cause, Condition, Event, FaultId, Reason, RecoveryStep, Summary, Trouble, Who};
pub use policy::{Limits, Policies, Policy, Rung};
pub use tree::{ChannelId, ComponentId, ComponentSpec, Tree, TreeError};

#[cfg(test)]
mod tests;
