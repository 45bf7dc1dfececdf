//! What a run says of itself.

use super::{Phase, PhaseReport, Run, StepReport};
use crate::Mono;
use crate::cleanup::plan::id as id_of;
use crate::cleanup::{StepId, Verdict};
use std::time::Duration;

impl Run {
    /// Every phase with its steps, in the order in which they are planned.
    pub fn phases(&self) -> Vec<PhaseReport> {
        let mut phases: Vec<PhaseReport> = Phase::ALL
            .iter()
            .map(|phase| {
                let (began, ended) = self.phases[phase.index()];
                let ended = if self.phase() == Some(*phase) { self.now } else { ended };
                PhaseReport {
                    phase: *phase,
                    duration_ms: milliseconds(ended.since(began)),
                    steps: Vec::new(),
                }
            })
            .collect();
        for id in self.plan.order() {
            phases[self.plan.step(*id).phase.index()].steps.push(self.step_report(*id));
        }
        phases
    }

    fn step_report(&self, id: StepId) -> StepReport {
        let (spec, step) = (self.plan.step(id), &self.steps[id.index()]);
        StepReport {
            name: spec.name.clone(),
            channel: spec.channel.clone(),
            component: spec.component.clone(),
            verdict: step.verdict,
            journalled: step.journalled,
            attempts: step.attempt,
            run_ms: milliseconds(step.run),
            verify_ms: milliseconds(step.verify),
            waited_for: self.plan.dependencies(id).map(|(on, _)| self.plan.step(on).name.clone()).collect(),
            detail: step.detail.clone(),
        }
    }

    /// Names of the steps that were given up while they ran, and of those that may run still.
    pub fn abandoned(&self) -> Vec<String> {
        let given_up = self.steps.iter().enumerate().filter(|(_, step)| {
            step.verdict == Some(Verdict::Abandoned) || (step.verdict.is_some() && step.under_way)
        });
        given_up.map(|(at, _)| self.plan.step(id_of(at)).name.clone()).collect()
    }

    /// Whether it has ended with every step verified.
    pub fn is_clean(&self) -> bool {
        self.ending == Some(super::Ending::Completed)
            && self.steps.iter().all(|step| step.verdict == Some(Verdict::Verified))
    }

    /// Whether every step but `except` has ended verified: what can be said
    /// while the last of them, which writes this down, still runs.
    pub fn is_clean_but_for(&self, except: StepId) -> bool {
        let mut others = self.steps.iter().enumerate().filter(|(at, _)| *at != except.index());
        others.all(|(_, step)| step.verdict == Some(Verdict::Verified))
    }

    /// Time since it began; up to its end, if it has ended.
    pub fn duration(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| self.now.since(begun))
    }

    /// When the budget ends.
    pub fn end_of_budget(&self) -> Mono {
        self.end
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
