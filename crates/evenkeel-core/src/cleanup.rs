//! Stopping in order: what is to be done, the doing, and what was done.
//!
//! ```text
//! StepSpec --> Plan --> Run --> Report
//!                 \--> Forecast
//! ```
//!
//! Phases follow one another; a phase begins when every step of the one before
//! has its verdict. Inside a phase steps run concurrently as far as their
//! dependencies and the limit allow.

mod budget;
mod forecast;
mod plan;
mod report;
mod run;
mod step;

pub use budget::Budget;
pub use forecast::{Forecast, Span, forecast, worst_case};
pub use plan::{Plan, PlanError, PlanOptions, Scope};
pub use report::{ChannelReport, PhaseReport, REPORT_VERSION, Report, StepReport, Verdict, exit, exit_code};
pub use run::{Action, Ending, Event, Outcome, Run};
pub use step::{Backoff, Dependency, Limits, Phase, StepId, StepSpec};
