//! Decisions as plain values: fed with events, they answer with actions.
//!
//! Nothing here does input or output, starts a thread, takes a lock or reads a
//! clock. Time is an argument, so that the same engine serves a real stop, a
//! plan, a forecast and a simulation.
//!
//! ```
//! use evenkeel_core::Mono;
//! use evenkeel_core::cleanup::{Action, Event, Outcome, Phase, Plan, PlanOptions, Run, StepSpec};
//!
//! # fn main() -> Result<(), evenkeel_core::cleanup::PlanError> {
//! let stop = StepSpec::new("stop", Phase::StoppingCapture);
//! let flush = StepSpec::new("flush", Phase::FlushingStorage).needs("stop").verified();
//! let plan = Plan::new(vec![flush, stop], PlanOptions::default())?;
//!
//! let (mut run, mut actions) = (Run::new(plan), Vec::new());
//! let now = Mono::from_nanos(0);
//! run.handle(now, Event::Begin, &mut actions);
//! // The shell does what it is told and says how it went; here, all goes well.
//! while let Some(action) = actions.pop() {
//!     match action {
//!         Action::Run { step, .. } => run.handle(now, Event::Ran { step, outcome: Outcome::Done }, &mut actions),
//!         Action::Verify { step, .. } => {
//!             run.handle(now, Event::Checked { step, outcome: Outcome::Done }, &mut actions);
//!         }
//!         Action::Intent { step, .. } => run.handle(now, Event::Journalled { step }, &mut actions),
//!         _ => {}
//!     }
//! }
//! assert!(run.ending().is_some());
//! # Ok(())
//! # }
//! ```

pub mod cleanup;
pub mod fault;
mod ids;
mod mono;
pub mod state;
pub mod supervision;
pub mod threads;
pub mod trend;

pub use ids::{NameError, check_name};
pub use mono::Mono;
