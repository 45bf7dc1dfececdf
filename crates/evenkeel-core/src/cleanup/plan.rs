//! What would be done: steps with sound dependencies, and their order.
//!
//! Invariants of a [`Plan`]: names are unique; every dependency names a step of
//! the plan in the same or an earlier phase; there is no cycle.

use super::{Budget, Phase, StepId, StepSpec};
use std::collections::HashMap;
use std::time::Duration;

/// Steps of one plan, at most.
const STEPS_MAX: usize = 1 << 20;
/// Characters of a step's name, at most.
const NAME_CHARS_MAX: usize = 200;

/// Why steps are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A name that cannot stand in a report.
    #[error("{name:?} is no step name: 1 to 200 characters are allowed, none of them a control character")]
    Name {
        /// What was given.
        name: String,
    },
    /// Two steps of one name.
    #[error("there are two steps {name:?}, in {first} and in {second}; a name is given once")]
    Duplicate {
        /// The name.
        name: String,
        /// Phase of the first.
        first: Phase,
        /// Phase of the second.
        second: Phase,
    },
    /// A dependency on a step that there is not.
    #[error("step {step:?} waits for {dependency:?}, and there is no such step{}", hint(.nearest))]
    Unknown {
        /// The step.
        step: String,
        /// What it waits for.
        dependency: String,
        /// The name that looks most like it.
        nearest: Option<String>,
    },
    /// A dependency on a later phase.
    #[error(
        "step {step:?} of {phase} waits for {dependency:?} of {dependency_phase}, which comes later; only the same or an earlier phase is allowed"
    )]
    Later {
        /// The step.
        step: String,
        /// Its phase.
        phase: Phase,
        /// What it waits for.
        dependency: String,
        /// The phase of that.
        dependency_phase: Phase,
    },
    /// Steps that wait for one another.
    #[error("these steps wait for one another: {}", .path.join(" -> "))]
    Cycle {
        /// Each waits for the next; the last is the first again.
        path: Vec<String>,
    },
    /// A step that may take no time at all.
    #[error("step {step:?} has a timeout of zero; more is needed")]
    NoTime {
        /// The step.
        step: String,
    },
    /// More steps than a plan can have.
    #[error("{count} steps are too many; {STEPS_MAX} are allowed")]
    TooMany {
        /// How many were given.
        count: usize,
    },
}

fn hint(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// What a cleanup covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    #[default]
    Everything,
    /// The steps of one channel.
    Channel(String),
    /// The steps of one component.
    Component(String),
    /// One step.
    Step(String),
}

impl Scope {
    /// Whether a step is covered.
    pub fn covers(&self, step: &StepSpec) -> bool {
        match self {
            Self::Everything => true,
            Self::Channel(name) => step.channel.as_ref() == Some(name),
            Self::Component(name) => step.component.as_ref() == Some(name),
            Self::Step(name) => step.name == *name,
        }
    }
}

/// Limits of a whole cleanup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// What it may take in all.
    pub budget: Duration,
    /// Steps that run at once, at least 1.
    pub concurrency_max: usize,
    /// What it covers. Dependencies on steps outside count as met.
    pub scope: Scope,
}

impl Default for PlanOptions {
    /// 20 s, 16 at once, everything.
    fn default() -> Self {
        Self { budget: Duration::from_secs(20), concurrency_max: 16, scope: Scope::Everything }
    }
}

/// One side of a dependency, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) step: StepId,
    pub(crate) must_succeed: bool,
}

/// Sound steps; see the module's head.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<StepSpec>,
    options: PlanOptions,
    /// Whom each step waits for.
    before: Vec<Vec<Edge>>,
    /// Who waits for each step.
    behind: Vec<Vec<Edge>>,
    /// Steps in an order that satisfies all: by phase, dependencies, priority, registration.
    order: Vec<StepId>,
    budget: Budget,
}

impl Plan {
    /// Checks the steps that the scope covers.
    ///
    /// Takes time proportional to steps and dependencies: 10,000 steps in a few milliseconds.
    ///
    /// # Errors
    /// [`PlanError`], naming the steps.
    pub fn new(steps: Vec<StepSpec>, mut options: PlanOptions) -> Result<Self, PlanError> {
        options.concurrency_max = options.concurrency_max.max(1);
        if steps.len() > STEPS_MAX {
            return Err(PlanError::TooMany { count: steps.len() });
        }
        let places = places(&steps)?;
        check(&steps, &places)?;
        let before = resolve(&steps, &places, &options.scope);
        let steps: Vec<StepSpec> = steps.into_iter().filter(|step| options.scope.covers(step)).collect();
        let mut behind = vec![Vec::new(); steps.len()];
        for (at, edges) in before.iter().enumerate() {
            for edge in edges {
                behind[edge.step.index()].push(Edge { step: id(at), must_succeed: edge.must_succeed });
            }
        }
        let order = order(&steps, &before, &behind)?;
        let budget = Budget::new(&steps, &before, &order, &options);
        Ok(Self { steps, options, before, behind, order, budget })
    }

    /// All steps, in the order of registration.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// One step.
    pub fn step(&self, id: StepId) -> &StepSpec {
        &self.steps[id.index()]
    }

    /// The step of that name.
    pub fn find(&self, name: &str) -> Option<StepId> {
        self.steps.iter().position(|s| s.name == name).map(id)
    }

    /// The limits it was made with.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// Every step after all that it waits for; by phase, then priority, then registration.
    pub fn order(&self) -> &[StepId] {
        &self.order
    }

    /// The steps that a step waits for, and whether each has to have succeeded.
    pub fn dependencies(&self, id: StepId) -> impl Iterator<Item = (StepId, bool)> + '_ {
        self.before[id.index()].iter().map(|edge| (edge.step, edge.must_succeed))
    }

    /// How the time is divided.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn behind(&self, id: StepId) -> &[Edge] {
        &self.behind[id.index()]
    }

    pub(crate) fn before(&self, id: StepId) -> &[Edge] {
        &self.before[id.index()]
    }
}

pub(crate) fn id(at: usize) -> StepId {
    StepId(u32::try_from(at).expect("invariant: fewer than STEPS_MAX steps"))
}

/// Position of each name.
fn places(steps: &[StepSpec]) -> Result<HashMap<&str, usize>, PlanError> {
    let mut places = HashMap::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let chars = step.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&chars) || step.name.chars().any(char::is_control) {
            return Err(PlanError::Name { name: step.name.clone() });
        }
        if step.limits.timeout.is_zero() {
            return Err(PlanError::NoTime { step: step.name.clone() });
        }
        if let Some(first) = places.insert(step.name.as_str(), at) {
            let (first, second) = (steps[first].phase, step.phase);
            return Err(PlanError::Duplicate { name: step.name.clone(), first, second });
        }
    }
    Ok(places)
}

/// Checks every dependency of every step, in scope or not.
fn check(steps: &[StepSpec], places: &HashMap<&str, usize>) -> Result<(), PlanError> {
    for step in steps {
        for dependency in &step.dependencies {
            let Some(at) = places.get(dependency.name.as_str()) else {
                return Err(PlanError::Unknown {
                    step: step.name.clone(),
                    dependency: dependency.name.clone(),
                    nearest: most_like(&dependency.name, steps),
                });
            };
            let other = &steps[*at];
            if other.phase > step.phase {
                return Err(PlanError::Later {
                    step: step.name.clone(),
                    phase: step.phase,
                    dependency: other.name.clone(),
                    dependency_phase: other.phase,
                });
            }
        }
    }
    Ok(())
}

/// The dependencies of the steps in scope, by position among them, each once.
fn resolve(steps: &[StepSpec], places: &HashMap<&str, usize>, scope: &Scope) -> Vec<Vec<Edge>> {
    let mut kept = vec![None; steps.len()];
    let mut count = 0;
    for (at, step) in steps.iter().enumerate() {
        if scope.covers(step) {
            kept[at] = Some(id(count));
            count += 1;
        }
    }
    let mut before: Vec<Vec<Edge>> = Vec::with_capacity(count);
    // Who named each step last, and where in its list: finds what is named twice.
    let mut named = vec![(usize::MAX, 0); count];
    for (at, step) in steps.iter().filter(|step| scope.covers(step)).enumerate() {
        let mut edges: Vec<Edge> = Vec::with_capacity(step.dependencies.len());
        for dependency in &step.dependencies {
            let Some(other) = kept[places[dependency.name.as_str()]] else { continue };
            let (by, place) = &mut named[other.index()];
            if *by == at {
                edges[*place].must_succeed |= dependency.must_succeed;
            } else {
                (*by, *place) = (at, edges.len());
                edges.push(Edge { step: other, must_succeed: dependency.must_succeed });
            }
        }
        before.push(edges);
    }
    before
}

/// An order that satisfies every dependency, or the cycle that forbids one.
fn order(steps: &[StepSpec], before: &[Vec<Edge>], behind: &[Vec<Edge>]) -> Result<Vec<StepId>, PlanError> {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    let key = |at: usize| (Reverse(steps[at].phase), steps[at].priority, Reverse(at));
    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut ready: BinaryHeap<_> = (0..steps.len()).filter(|at| missing[*at] == 0).map(key).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some((_, _, Reverse(at))) = ready.pop() {
        order.push(id(at));
        for edge in &behind[at] {
            let other = edge.step.index();
            missing[other] -= 1;
            if missing[other] == 0 {
                ready.push(key(other));
            }
        }
    }
    if order.len() == steps.len() { Ok(order) } else { Err(cycle(steps, before, &missing)) }
}

/// Walks from a step that could not be ordered to one that it waits for, until
/// one comes again.
fn cycle(steps: &[StepSpec], before: &[Vec<Edge>], missing: &[usize]) -> PlanError {
    let mut at = missing.iter().position(|m| *m > 0).expect("invariant: some step was not ordered");
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut path: Vec<usize> = Vec::new();
    while !seen.contains_key(&at) {
        seen.insert(at, path.len());
        path.push(at);
        let next = before[at].iter().find(|edge| missing[edge.step.index()] > 0);
        at = next.expect("invariant: what is not ordered waits for what is not ordered").step.index();
    }
    let path = path[seen[&at]..].iter().chain([&at]);
    PlanError::Cycle { path: path.map(|at| steps[*at].name.clone()).collect() }
}

/// The name with the longest common beginning and end, when that is most of it.
fn most_like(name: &str, steps: &[StepSpec]) -> Option<String> {
    let likeness = |other: &str| {
        let same = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        let head = same(&mut name.chars(), &mut other.chars());
        let tail = same(&mut name.chars().rev(), &mut other.chars().rev());
        head + tail
    };
    let best = steps.iter().max_by_key(|step| likeness(&step.name))?;
    (likeness(&best.name) * 2 > name.chars().count()).then(|| best.name.clone())
}

#[cfg(test)]
mod tests;
