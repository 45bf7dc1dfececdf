//! Back to a point: planned, rehearsed, done.
//!
//! A [`Rollback`] says what would be undone; whoever only rehearses looks at it and drops it. Compensations are called by
//! the shell, the newest change first, and go on after a failure: [`Undoing`] keeps what came of each. The
//! machine's state changes once, when all were tried.

use super::{Cause, Change, ChangeKind, Lapsed, Machine, Outcome, Point, State, Ticket};
use crate::Mono;

/// A change that is undone by a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo<S> {
    /// Its number.
    pub sequence: u64,
    /// Where it began.
    pub from: S,
    /// Where it led.
    pub to: S,
}

/// What a rollback would do. A plan is also its rehearsal: making it changes nothing.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::state::{COMPONENT, ComponentState, Limits, Machine};
///
/// let now = Mono::from_nanos(0);
/// let mut machine = Machine::new(&COMPONENT, Limits::default(), now);
/// let point = machine.checkpoint();
/// for to in [ComponentState::Initialising, ComponentState::Running] {
///     let proposal = machine.propose(now, to, "start").unwrap();
///     let _ = machine.commit(now, proposal).unwrap();
/// }
/// let plan = machine.plan_rollback(point).unwrap();
/// assert_eq!(plan.steps().iter().map(|undo| undo.sequence).collect::<Vec<_>>(), [2, 1]);
///
/// let mut undoing = machine.begin_rollback(now, plan, "asked for").unwrap();
/// while let Some(_undo) = undoing.next_step() {
///     // Here the shell calls the compensation of that edge, with no lock held.
///     undoing.compensated();
/// }
/// let change = machine.finish_rollback(now, &undoing).unwrap();
/// assert_eq!((change.sequence, change.to), (3, ComponentState::Registered));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback<S> {
    point: Point,
    sequence: u64,
    from: S,
    to: S,
    steps: Vec<Undo<S>>,
}

impl<S: State> Rollback<S> {
    /// Where it leads: the moment.
    pub fn point(&self) -> Point {
        self.point
    }

    /// Where the machine is.
    pub fn from(&self) -> S {
        self.from
    }

    /// Where it leads: the state.
    pub fn to(&self) -> S {
        self.to
    }

    /// What is undone, in this order: the newest change first.
    pub fn steps(&self) -> &[Undo<S>] {
        &self.steps
    }
}

/// Why a rollback is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError<S: State> {
    /// The point is older than what is kept.
    #[error("{table} is {}, and {point} is no longer kept: {oldest}, where it was {}, is the oldest", .state.name(), .oldest_state.name())]
    NotRetained {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        state: S,
        /// The point.
        point: Point,
        /// The oldest there is.
        oldest: Point,
        /// Where the machine was then.
        oldest_state: S,
    },
    /// The change before the point was itself rolled back.
    #[error("{table} is {}, and {point} was itself rolled back: there is no way to do it again", .state.name())]
    Undone {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        state: S,
        /// The point.
        point: Point,
    },
    /// The point is yet to come.
    #[error("{table} is {} since {newest}: there was no {point} yet", .state.name())]
    Unknown {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        state: S,
        /// The point.
        point: Point,
        /// The newest there is.
        newest: Point,
    },
    /// Nothing changed since the point.
    #[error("{table} is {} as it was at {point}: there is nothing to undo", .state.name())]
    NothingToUndo {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        state: S,
        /// The point.
        point: Point,
    },
    /// Another change is under way.
    #[error("{table} is {}, and {ticket} is about to make it {}: roll back to {} after that", .from.name(), .other.name(), .to.name())]
    UnderWay {
        /// The table.
        table: &'static str,
        /// Where the machine is.
        from: S,
        /// Where it was to be taken back.
        to: S,
        /// Where the other change leads.
        other: S,
        /// The other change.
        ticket: Ticket,
    },
    /// The machine has changed since the plan was made.
    #[error("{table} was {} at {planned} when the rollback to {} was planned, and is {} at {newest}: plan again", .from.name(), .to.name(), .state.name())]
    Stale {
        /// The table.
        table: &'static str,
        /// Where the machine was.
        from: S,
        /// Where it was to be taken back.
        to: S,
        /// The moment of the plan.
        planned: Point,
        /// Where the machine is.
        state: S,
        /// Since when.
        newest: Point,
    },
}

/// A compensation that failed, or was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompensationFailure<'a, S> {
    /// The change that it was to undo.
    pub undo: Undo<S>,
    /// Why it failed.
    pub why: &'a str,
}

/// A rollback that is under way, and what came of each compensation so far.
#[derive(Debug)]
#[must_use = "it keeps all other changes out until it is finished or abandoned"]
pub struct Undoing<S> {
    ticket: Ticket,
    plan: Rollback<S>,
    /// What came of the steps so far: `None` is well, otherwise why it failed.
    answers: Vec<Option<String>>,
}

impl<S: State> Undoing<S> {
    /// What it is abandoned by.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// What it does.
    pub fn plan(&self) -> &Rollback<S> {
        &self.plan
    }

    /// The step that waits for its answer; `None` when all have theirs.
    pub fn next_step(&self) -> Option<Undo<S>> {
        self.plan.steps.get(self.answers.len()).copied()
    }

    /// The step's compensation ran, or it needs none. Without a step that waits, nothing.
    pub fn compensated(&mut self) {
        self.answer(None);
    }

    /// The step's compensation failed; the next one is tried all the same.
    pub fn compensation_failed(&mut self, why: impl Into<String>) {
        self.answer(Some(why.into()));
    }

    fn answer(&mut self, answer: Option<String>) {
        if self.answers.len() < self.plan.steps.len() {
            self.answers.push(answer);
        }
    }

    /// Every step whose compensation failed or was not tried, in order.
    pub fn failures(&self) -> impl Iterator<Item = CompensationFailure<'_, S>> {
        self.plan.steps.iter().enumerate().filter_map(|(at, undo)| {
            let why = match self.answers.get(at) {
                None => "it was not tried",
                Some(answer) => answer.as_deref()?,
            };
            Some(CompensationFailure { undo: *undo, why })
        })
    }
}

impl<S: State> Machine<S> {
    /// What a rollback to a point would undo. Nothing is changed: this is the rehearsal, too.
    ///
    /// # Errors
    /// [`RollbackError`], if the point is not retained, was itself rolled back, is to come, or is the present.
    pub fn plan_rollback(&self, point: Point) -> Result<Rollback<S>, RollbackError<S>> {
        let (table, state) = (self.table.name(), self.state);
        let Some((to, remaining)) = self.points.find(point) else {
            let (oldest, oldest_state) = self.points.base();
            let (oldest, newest) = (Point::after(oldest), self.checkpoint());
            return Err(if point > newest {
                RollbackError::Unknown { table, state, point, newest }
            } else if point < oldest {
                RollbackError::NotRetained { table, state, point, oldest, oldest_state }
            } else {
                RollbackError::Undone { table, state, point }
            });
        };
        let undo =
            |step: &super::points::Step<S>| Undo { sequence: step.sequence, from: step.from, to: step.to };
        let steps: Vec<_> = self.points.undone(remaining).map(undo).collect();
        if steps.is_empty() {
            return Err(RollbackError::NothingToUndo { table, state, point });
        }
        Ok(Rollback { point, sequence: self.sequence, from: state, to, steps })
    }

    /// Begins a rollback: compensations are to be called. The state is as it was until it is finished.
    ///
    /// # Errors
    /// [`RollbackError`], if the machine has changed since the plan was made, or another change is under way.
    pub fn begin_rollback(
        &mut self,
        now: Mono,
        plan: Rollback<S>,
        cause: impl Into<Cause>,
    ) -> Result<Undoing<S>, RollbackError<S>> {
        let (table, state, newest) = (self.table.name(), self.state, self.checkpoint());
        let (from, to) = (plan.from, plan.to);
        let refused = match self.under_way() {
            Some((ticket, other, _)) => {
                Some(RollbackError::UnderWay { table, from: state, to, other, ticket })
            }
            // A plan of this very moment, whoever made it; not of another machine that happens to be as old.
            None if self.plan_rollback(plan.point).as_ref() != Ok(&plan) => {
                let planned = Point::after(plan.sequence);
                Some(RollbackError::Stale { table, from, to, planned, state, newest })
            }
            None => None,
        };
        if let Some(refused) = refused {
            self.count_refused();
            return Err(refused);
        }
        let now = self.clock(now);
        let ticket = self.begin(now, to, cause.into(), None);
        let answers = Vec::with_capacity(plan.steps.len());
        Ok(Undoing { ticket, plan, answers })
    }

    /// Takes the machine back, whatever came of the compensations: what failed, or has no answer, is counted in the change
    /// and told by [`Undoing::failures`].
    ///
    /// # Errors
    /// [`Lapsed`] if it was abandoned or finished before; the state is as it was.
    pub fn finish_rollback(&mut self, now: Mono, undoing: &Undoing<S>) -> Result<Change<S>, Lapsed<S>> {
        let (from, point) = (undoing.plan.from, undoing.plan.point);
        let attempt = self.take(undoing.ticket, from, undoing.plan.to)?;
        let now = self.clock(now);
        let failed = undoing.failures().count();
        let to = self.points.roll_back(point, self.sequence + 1);
        let to = to.expect("invariant: a point stays while its rollback is under way");
        let (cause, took) = (attempt.cause.clone(), now.since(attempt.since));
        self.arrive(now, attempt, Outcome::RolledBack { to: point, failed });
        let kind = ChangeKind::Rollback { to: point, failed };
        Ok(Change { sequence: self.sequence, from, to, cause, at: now, took, kind, flapping: None })
    }
}
