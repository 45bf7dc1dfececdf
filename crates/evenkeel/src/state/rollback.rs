//! Back to a point: compensations in reverse order with nothing held, then the machine, then the observers.

use super::inner::Inner;
use super::record::Recorded;
use super::{Cause, Change, MachineName, Point, State, StateWhat, TakeBackError, Undo};
use crate::clock;
use evenkeel_core::state::{Rollback, Undoing};
use evenkeel_hierarchy::with_root;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// A machine that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenBack<S: State> {
    /// The machine.
    pub machine: MachineName,
    /// The change that took it back, which has a number of its own.
    pub change: Change<S>,
    /// Every compensation that failed, the newest change first.
    pub failures: Vec<FailedUndo<S>>,
    /// The number of its entry. `None` where there is no journal, or that did not take it: what is compensated is not done
    /// again for that, and the next change's entry tells.
    pub entry: Option<u64>,
}

impl<S: State> Deref for TakenBack<S> {
    type Target = Change<S>;

    fn deref(&self) -> &Change<S> {
        &self.change
    }
}

/// A compensation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedUndo<S> {
    /// The change that it was to undo.
    pub undo: Undo<S>,
    /// Its name, and what it said.
    pub why: String,
}

impl<S: State> fmt::Display for FailedUndo<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Undo { sequence, from, to } = self.undo;
        write!(f, "change {sequence}, from {} to {}: {}", from.name(), to.name(), self.why)
    }
}

impl<S: State> TakenBack<S> {
    pub(super) fn failures_text(&self) -> String {
        self.failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

/// A rollback that is under way. Dropped, it is abandoned.
struct UnderWay<'a, S: State> {
    inner: &'a Arc<Inner<S>>,
    undoing: Option<Undoing<S>>,
}

impl<S: State> Drop for UnderWay<'_, S> {
    fn drop(&mut self) {
        if let Some(undoing) = self.undoing.take() {
            self.inner.abandon(undoing.ticket());
        }
    }
}

impl<S: State> Inner<S> {
    /// What a rollback would do.
    pub(super) fn rehearse(&self, point: Point) -> Result<Rollback<S>, TakeBackError<S>> {
        self.with(|core| core.machine.plan_rollback(point)).map_err(|refused| self.no_way(refused))
    }

    fn no_way(&self, refused: super::RollbackError<S>) -> TakeBackError<S> {
        TakeBackError::Refused { machine: self.name.clone(), source: Box::new(refused) }
    }

    /// Takes the machine back to a point.
    pub(super) fn roll_back(
        self: &Arc<Self>,
        point: Point,
        cause: &Cause,
        patience: Duration,
    ) -> Result<TakenBack<S>, TakeBackError<S>> {
        let since = clock::mono();
        let (undoing, sequence, base) = self.begin_rollback(point, cause, patience)?;
        let mut under_way = UnderWay { inner: self, undoing: Some(undoing) };
        let undoing = under_way.undoing.as_mut().expect("invariant: it was put there");
        let failures = self.undo_all(undoing);
        let (from, to) = (undoing.plan().from(), undoing.plan().to());
        let draft = self.journal().map(|_| {
            let (took, back) = (clock::mono().since(since), Some((point.sequence(), failures.len())));
            self.draft_change(&Recorded { sequence, from, to, cause, back, took, base: base.as_deref() })
        });
        let undoing = under_way.undoing.take().expect("invariant: it was put there");
        let tried = undoing.plan().steps().len();
        let made = with_root(|house| {
            let mut locked = self.core.lock(house);
            let (core, held) = locked.parts();
            let is_ours = core.machine.under_way().is_some_and(|(ticket, _, _)| ticket == undoing.ticket());
            // What is compensated stays so, whatever the journal says.
            let appended = if is_ours { self.append(core, held, draft.as_ref()) } else { Ok(None) };
            core.is_untold |= appended.is_err();
            let change = core.machine.finish_rollback(clock::mono(), &undoing)?;
            let turn = self.made(core, &change);
            Ok((change, appended.ok().flatten(), turn))
        });
        let machine = self.name.clone();
        let (change, appended, turn) = made.map_err(|lapsed: super::Lapsed<S>| TakeBackError::Lapsed {
            machine: machine.clone(),
            source: Box::new(lapsed),
            tried,
        })?;
        let entry = appended.as_ref().map(|appended| appended.entry);
        let _ = self.tell_made(change.clone(), appended, turn);
        let back = TakenBack { machine, change, failures, entry };
        if back.failures.is_empty() { Ok(back) } else { Err(TakeBackError::Failed(Box::new(back))) }
    }

    #[expect(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn begin_rollback(
        self: &Arc<Self>,
        point: Point,
        cause: &Cause,
        patience: Duration,
    ) -> Result<(Undoing<S>, u64, Option<Box<super::Snapshot>>), TakeBackError<S>> {
        let goal = self.rehearse(point)?.to();
        let mut wait = super::turn::Wait::new(patience);
        let mut no_way = None;
        let wants_base = self.journal().is_some();
        let begun = self.when_free(goal, &mut wait, |core, now| {
            let planned = core.machine.plan_rollback(point);
            match planned.and_then(|plan| core.machine.begin_rollback(now, plan, cause.clone())) {
                Ok(undoing) => {
                    (core.owner, core.is_undoing) = (super::inner::me(), true);
                    let base = (wants_base && core.is_untold).then(|| Box::new(core.machine.snapshot()));
                    Ok(Some((undoing, core.machine.sequence() + 1, base)))
                }
                Err(refused) => {
                    no_way = Some(refused);
                    Ok(None)
                }
            }
        })?;
        match (begun, no_way) {
            (Some(begun), _) => Ok(begun),
            (None, refused) => {
                self.with(|core| self.let_next(core));
                Err(self.no_way(refused.expect("invariant: what did not begin was refused")))
            }
        }
    }

    /// Calls every compensation, the newest change's first, and goes on after a failure.
    fn undo_all(&self, undoing: &mut Undoing<S>) -> Vec<FailedUndo<S>> {
        let mut failures = Vec::new();
        with_root(|house| {
            while let Some(undo) = undoing.next_step() {
                let Err(why) = self.rules.undo(house, undo) else {
                    undoing.compensated();
                    continue;
                };
                undoing.compensation_failed(why.clone());
                let (sequence, from, to) = (undo.sequence, undo.from.name(), undo.to.name());
                self.told(house, StateWhat::CompensationFailed { sequence, from, to, why: why.clone() });
                failures.push(FailedUndo { undo, why });
            }
        });
        failures
    }
}
