//! One budget for a whole cleanup, and what each step gets of it.
//!
//! A step gets the least of its own timeout and what remains, less what is
//! reserved for the steps that come after it. Each phase has a reserve: what its
//! steps may take, but not more than its share of the budget. So no step,
//! however long it hangs, takes the time that is needed for flushing and closing,
//! and a cleanup in which nothing hangs never notices.
//!
//! Invariant: the deadlines of all steps lie within the budget, and every step
//! of a later phase finds at least its phase's reserve.

use super::plan::{Edge, PlanOptions};
use super::{Phase, StepId, StepSpec};
use crate::Mono;
use std::time::Duration;

/// What may be reserved of the budget for each phase, in hundredths. Flushing
/// and closing come to half of it; a third is never reserved.
const SHARES: [u32; 5] = [2, 10, 35, 5, 15];
/// Kept after the last step's deadline, so that a last step which hangs is named
/// before the budget ends: a fiftieth of the budget, at most this.
const MARGIN_MAX: Duration = Duration::from_millis(100);

/// How the time is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    total: Duration,
    concurrency_max: usize,
    /// What is reserved for each phase.
    reserves: [Duration; 5],
    /// What is reserved for one round of steps in each phase.
    round: [Duration; 5],
    /// Steps of the same phase that follow each step one after another.
    chain: Vec<u32>,
}

/// How far a phase has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) end: Mono,
    pub(crate) now: Mono,
    /// Steps of the phase that have not begun, this one left out.
    pub(crate) waiting: usize,
}

impl Budget {
    pub(crate) fn new(
        steps: &[StepSpec],
        before: &[Vec<Edge>],
        order: &[StepId],
        options: &PlanOptions,
    ) -> Self {
        let mut chain = vec![0u32; steps.len()];
        for id in order.iter().rev() {
            for edge in &before[id.index()] {
                let other = edge.step.index();
                if steps[other].phase == steps[id.index()].phase {
                    chain[other] = chain[other].max(chain[id.index()] + 1);
                }
            }
        }
        let (mut reserves, mut round) = ([Duration::ZERO; 5], [Duration::ZERO; 5]);
        for phase in Phase::ALL {
            let of_phase = || steps.iter().enumerate().filter(|(_, s)| s.phase == phase);
            let count = of_phase().count();
            let longest = of_phase().map(|(at, _)| chain[at] + 1).max().unwrap_or(0);
            let rounds = rounds(count, options.concurrency_max, longest);
            let timeout = of_phase().map(|(_, s)| s.limits.timeout).max().unwrap_or_default();
            let share = options.budget / 100 * SHARES[phase.index()];
            if rounds > 0 {
                reserves[phase.index()] = timeout.saturating_mul(rounds).min(share);
                round[phase.index()] = reserves[phase.index()] / rounds;
            }
        }
        let concurrency_max = options.concurrency_max;
        Self { total: options.budget, concurrency_max, reserves, round, chain }
    }

    /// The whole of it.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// What is kept for a phase while those before it run.
    pub fn reserved(&self, phase: Phase) -> Duration {
        self.reserves[phase.index()]
    }

    /// What is kept for all phases after this one, and for the end itself.
    pub fn reserved_after(&self, phase: Phase) -> Duration {
        let phases: Duration = self.reserves[phase.index() + 1..].iter().sum();
        phases + (self.total / 50).min(MARGIN_MAX)
    }

    /// Until when a step may take that begins now.
    pub(crate) fn deadline(&self, id: StepId, step: &StepSpec, standing: Standing) -> Mono {
        let Standing { end, now, waiting } = standing;
        let after = rounds(waiting, self.concurrency_max, self.chain[id.index()]);
        let phase_end = end.minus(self.reserved_after(step.phase));
        let kept = self.round[step.phase.index()].saturating_mul(after);
        let left = phase_end.since(now);
        // Whoever comes late in a phase that others have used up still has its part of the rest.
        let time = left.saturating_sub(kept).max(left / (after + 1));
        now.plus(time.min(step.limits.timeout))
    }

    /// Until when a step may at most be extended.
    pub(crate) fn latest(&self, step: &StepSpec, end: Mono) -> Mono {
        end.minus(self.reserved_after(step.phase))
    }
}

/// Rounds that `count` steps take when `at_once` run together, and `chain` of them one after another.
fn rounds(count: usize, at_once: usize, chain: u32) -> u32 {
    u32::try_from(count.div_ceil(at_once)).unwrap_or(u32::MAX).max(chain)
}
