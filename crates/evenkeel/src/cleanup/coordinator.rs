//! The registry of cleanup steps.
//!
//! Invariant: what is registered is a sound plan at every moment. A step's
//! dependencies are there when it is registered, in the same or an earlier phase,
//! so that there can be no cycle; a stop never finds that it cannot be planned.

use super::work::Works;
use evenkeel_core::cleanup::{Phase, Plan, PlanError, PlanOptions, StepSpec};
use evenkeel_hierarchy::{CleanupSteps, Mutex, with_root};
use std::fmt;
use std::sync::Arc;

/// Steps that may be registered at once: a plan has room for one of ours besides.
const STEPS_MAX: usize = (1 << 20) - 1;
/// Name of the step that ends the journal.
pub(crate) const CLOSE_JOURNAL: &str = "close-journal";

/// Why a step is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It does not fit the steps that are there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was given nothing to do.
    #[error("step {step:?} has nothing to run; give it a run or a run_blocking")]
    NothingToRun {
        /// The step.
        step: String,
    },
    /// The name is that of a step of ours.
    #[error("step {step:?} cannot have that name: it is the step that ends the journal")]
    Reserved {
        /// The step.
        step: String,
    },
    /// The stop is under way or over.
    #[error("step {step:?} comes too late: the stop has begun")]
    Stopping {
        /// The step.
        step: String,
    },
}

#[derive(Default)]
struct Registry {
    steps: Vec<StepSpec>,
    /// The closures of each step, until the stop takes them.
    works: Vec<Works>,
    places: std::collections::HashMap<String, Phase>,
    is_closed: bool,
}

impl Registry {
    /// Takes a step in, and its closures with it; what is refused leaves them where they are.
    fn add(&mut self, spec: StepSpec, works: &mut Option<Works>) -> Result<(), RegisterError> {
        if self.is_closed {
            return Err(RegisterError::Stopping { step: spec.name });
        }
        if self.steps.len() >= STEPS_MAX {
            return Err(PlanError::TooMany { count: STEPS_MAX + 1 }.into());
        }
        if let Some(first) = self.places.get(&spec.name) {
            let (first, second) = (*first, spec.phase);
            return Err(PlanError::Duplicate { name: spec.name, first, second }.into());
        }
        for dependency in &spec.dependencies {
            let dependency = dependency.name.clone();
            let Some(phase) = self.places.get(&dependency).copied() else {
                return Err(PlanError::Unknown { step: spec.name, dependency, nearest: None }.into());
            };
            if phase > spec.phase {
                let (phase, dependency_phase) = (spec.phase, phase);
                return Err(PlanError::Later { step: spec.name, phase, dependency, dependency_phase }.into());
            }
        }
        self.places.insert(spec.name.clone(), spec.phase);
        self.steps.push(spec);
        self.works.extend(works.take());
        Ok(())
    }

    /// Takes a step out, and answers what is to be dropped.
    fn remove(&mut self, name: &str) -> Option<(StepSpec, Works)> {
        if self.is_closed {
            return None;
        }
        self.places.remove(name)?;
        let at = self.steps.iter().position(|step| step.name == name)?;
        let gone = (self.steps.remove(at), self.works.remove(at));
        for step in &mut self.steps {
            step.dependencies.retain(|dependency| dependency.name != name);
        }
        Some(gone)
    }
}

/// Keeps the steps of a stop. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct CleanupCoordinator(Arc<Mutex<CleanupSteps, Registry>>);

impl fmt::Debug for CleanupCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanupCoordinator")
            .field("steps", &self.with(|registry| registry.steps.len()))
            .finish()
    }
}

impl CleanupCoordinator {
    fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        with_root(|house| act(&mut self.0.lock(house)))
    }

    /// Takes a step in.
    pub(crate) fn register(&self, spec: StepSpec, works: Works) -> Result<CleanupHandle, RegisterError> {
        // Checked alone first, for its name and limits; its dependencies below.
        if spec.name == CLOSE_JOURNAL {
            return Err(RegisterError::Reserved { step: spec.name });
        }
        let alone = StepSpec { dependencies: Vec::new(), ..spec.clone() };
        Plan::new(vec![alone], PlanOptions::default())?;
        let name = spec.name.clone();
        // Whatever is refused of a user's is dropped at the end, with nothing held.
        let mut works = Some(works);
        self.with(|registry| registry.add(spec, &mut works))?;
        Ok(CleanupHandle { name, coordinator: self.clone() })
    }

    /// Has a step that is there already wait for one that came after it, in the same phase. Only for the house's own steps,
    /// whose order is that of what needs what, so that nothing goes round. Nothing where one of them is gone.
    pub(crate) fn add_dependency(&self, step: &str, on: &str) {
        self.with(|registry| {
            let (of, after) = (registry.places.get(step).copied(), registry.places.get(on).copied());
            if registry.is_closed || of.is_none() || of != after {
                return;
            }
            if let Some(spec) = registry.steps.iter_mut().find(|spec| spec.name == step) {
                let old = std::mem::replace(spec, StepSpec::new("", Phase::Initiating));
                *spec = old.follows(on);
            }
        });
    }

    /// Whether there is a step of that name.
    pub(crate) fn has(&self, step: &str) -> bool {
        self.with(|registry| registry.places.contains_key(step))
    }

    /// The steps there are, in the order of registration.
    pub fn steps(&self) -> Vec<StepSpec> {
        self.with(|registry| registry.steps.clone())
    }

    /// The plan of a stop that would begin now.
    ///
    /// # Errors
    /// None with what can be registered; the type says what a plan can refuse.
    pub fn plan(&self, options: PlanOptions) -> Result<Plan, PlanError> {
        Plan::new(self.steps(), options)
    }

    /// Takes no more steps from now on, and hands over what there is. The closures
    /// go along: they may hold handles of the service that holds this registry.
    pub(crate) fn close(&self) -> (Vec<StepSpec>, Vec<Works>) {
        self.with(|registry| {
            registry.is_closed = true;
            (registry.steps.clone(), std::mem::take(&mut registry.works))
        })
    }

    /// For tests: what cannot be, a step without closures.
    #[cfg(test)]
    pub(crate) fn break_it(&self) {
        self.with(|registry| registry.steps.push(StepSpec::new("hollow", Phase::Initiating)));
    }

    fn unregister(&self, name: &str) -> bool {
        // The closures are a user's, and so are their drops: nothing is held by now.
        self.with(|registry| registry.remove(name)).is_some()
    }
}

/// A registered step. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct CleanupHandle {
    name: String,
    coordinator: CleanupCoordinator,
}

impl CleanupHandle {
    /// The step's name, as others wait for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the step out of the plan; what waits for it waits no more. `false` when
    /// it is gone already, or the stop has begun.
    pub fn unregister(&self) -> bool {
        self.coordinator.unregister(&self.name)
    }
}

impl AsRef<str> for CleanupHandle {
    fn as_ref(&self) -> &str {
        &self.name
    }
}
