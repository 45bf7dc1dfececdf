//! What is a user's and may hang is done aside: hooks, wakers, the drops of closures that will not run.
//!
//! Who finds something out, or gives something up, answers first and leaves the rest to `ek-aside`, a thread that
//! is there while there is something for it, whatever the limit. So a hook or a drop that hangs holds up the
//! ones behind it, and is told of as stuck; it blinds nobody, and no termination waits for it.

use super::ThreadCoordinator;
use super::core::Core;
use super::dedicated::ThreadBuilder;
use super::error::ThreadError;
use super::slot::{Kind, Pulse};
use crate::callback::contained;
use evenkeel_core::threads::Class;
use evenkeel_hierarchy::{Mutex, ThreadEvents, with_root};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What is to be done, in order.
pub(super) type Errand = Box<dyn FnOnce() + Send>;

/// A user's code runs on it: as much as a thread has by default.
const STACK_BYTES: usize = 2 << 20;
/// Events that wait for hooks. Of more, hooks are not called: subscriptions count what they lose.
const EVENTS_MAX: usize = 1024;

#[derive(Default)]
struct Errands {
    waiting: VecDeque<Errand>,
    /// Somebody does them.
    is_served: bool,
}

/// What waits for `ek-aside`.
#[derive(Default)]
pub(super) struct Aside {
    errands: Mutex<ThreadEvents, Errands>,
}

impl Aside {
    /// Answers whether somebody has to be started for it.
    fn push(&self, errand: Errand) -> bool {
        with_root(|house| {
            let mut errands = self.errands.lock(house);
            errands.waiting.push_back(errand);
            !std::mem::replace(&mut errands.is_served, true)
        })
    }

    /// Does what there is, in order, until there is nothing.
    fn serve(&self, mut between: impl FnMut()) {
        let next = || {
            with_root(|house| {
                let mut errands = self.errands.lock(house);
                let next = errands.waiting.pop_front();
                errands.is_served = next.is_some();
                next
            })
        };
        while let Some(errand) = next() {
            contained(errand);
            between();
        }
    }

    /// Whether hooks keep up with events.
    fn has_room(&self) -> bool {
        with_root(|house| self.errands.lock(house).waiting.len() < EVENTS_MAX)
    }
}

impl Core {
    /// Does what is a user's, soon, and never on this thread where there can be another.
    pub(super) fn aside(self: &Arc<Self>, errand: impl FnOnce() + Send + 'static) {
        if !self.aside.push(Box::new(errand)) {
            return;
        }
        let core = self.clone();
        let builder = ThreadBuilder::new(self, "ek-aside".to_owned()).class(Class::Monitoring);
        let thread = builder.stack_bytes(STACK_BYTES).of_kind(Kind::Stop);
        if thread.start(move |pulse: &Pulse<'_>| core.aside.serve(|| pulse.beat())).is_err() {
            self.aside.serve(|| ());
        }
    }

    /// The same for what is done with an event: it is left out where too many wait.
    pub(super) fn aside_if_room(self: &Arc<Self>, errand: impl FnOnce() + Send + 'static) {
        if self.aside.has_room() {
            self.aside(errand);
        }
    }
}

/// Threads for what is a user's, of somebody of the house that may outlive the coordinator's handles: it is
/// none itself, and ends nothing.
pub(crate) struct Asides(Arc<Core>);

impl ThreadCoordinator {
    /// Threads for what is a user's, for as long as they are needed.
    pub(crate) fn asides(&self) -> Asides {
        Asides(self.core().clone())
    }
}

impl Asides {
    /// Starts one that no limit holds up and no termination waits for. One that is silent for that long is told
    /// of as stuck.
    ///
    /// # Errors
    /// [`ThreadError`]: what the system says. `work` is dropped then.
    pub(crate) fn start(
        &self,
        name: &str,
        heartbeat: Duration,
        work: impl FnOnce(&Pulse<'_>) + Send + 'static,
    ) -> Result<(), ThreadError> {
        let builder = ThreadBuilder::new(&self.0, name.to_owned()).class(Class::Monitoring);
        let thread = builder.stack_bytes(STACK_BYTES).of_a_stop().heartbeat(heartbeat);
        thread.start(work).map(drop)
    }
}
