//! A user's closures, and what may come out of them.

use super::future::BoxFuture;
use super::step::Step;
use evenkeel_core::cleanup::Outcome;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
pub(crate) fn contained(work: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Outcome::Panicked(message(panic)))
}

/// Calls what a user wrote and wants nothing of; a panic ends with it.
pub(crate) fn contained_call(call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        let _ = message(panic);
    }
}

/// What a panic said.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| {
        // Of a type of the user's, whose drop is a user's code too, and may panic in its turn.
        std::mem::forget(panic);
        "a panic without words".to_owned()
    })
}
