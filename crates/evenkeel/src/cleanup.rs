//! Cleanup steps: what they are, who keeps them, who runs them.
//!
//! ```text
//! StepBuilder -> CleanupCoordinator (registry) -> Plan -> Run <-> Executor -> threads, runtime
//! ```

mod coordinator;
pub(crate) mod executor;
mod future;
mod picture;
mod step;
mod work;
mod workers;

pub(crate) use coordinator::CLOSE_JOURNAL;
pub use coordinator::{CleanupCoordinator, CleanupHandle, RegisterError};
pub use evenkeel_core::cleanup::{
    Backoff, ChannelReport, Dependency, Forecast, Limits, Outcome, Phase, PhaseReport, Plan, PlanError,
    PlanOptions, Report, Scope, Span, StepId, StepReport, StepSpec, Verdict, exit, forecast, worst_case,
};
#[cfg(not(feature = "tokio"))]
pub(crate) use future::drive;
pub use future::{Abort, BoxFuture, Spawn};
pub use picture::{PhasePicture, PlanPicture, StepPicture, WaitPicture};
pub use step::{Step, StepBuilder, StepOutput};
pub(crate) use work::{Work, Works};
pub(crate) use workers::Workers;
