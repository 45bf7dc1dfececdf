//! A user's closures, and what may come out of them.

use super::future::BoxFuture;
use super::step::Step;
use crate::callback::{call, message};
use evenkeel_core::cleanup::Outcome;
use evenkeel_hierarchy::{Cap, House};
use std::sync::Arc;

/// One closure of a step.
#[derive(Clone)]
pub(crate) enum Work {
    /// Blocks a thread.
    Blocking(Arc<dyn Fn(Step) -> Outcome + Send + Sync>),
    /// A future for a runtime.
    Async(Arc<dyn Fn(Step) -> BoxFuture<Outcome> + Send + Sync>),
}

/// All closures of a step.
#[derive(Clone)]
pub(crate) struct Works {
    pub(crate) run: Work,
    pub(crate) verify: Option<Work>,
    pub(crate) compensate: Option<Work>,
}

/// Runs what a user wrote; a panic becomes an outcome with its message.
pub(crate) fn contained(house: &mut Cap<House>, work: impl FnOnce() -> Outcome) -> Outcome {
    call(house, work).unwrap_or_else(|panic| Outcome::Panicked(message(panic)))
}
