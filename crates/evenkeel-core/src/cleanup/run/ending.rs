//! Verdicts, what follows from them, and the end of a run.

use super::{Action, Ending, Run, State};
use crate::cleanup::plan::id as id_of;
use crate::cleanup::{StepId, Verdict};

/// Links of a chain of causes that are told.
const CHAIN_CHARS_MAX: usize = 600;

impl Run {
    /// A step's verdict stands; what needs a step that did not succeed is skipped,
    /// and so on.
    pub(super) fn verdict_is(
        &mut self,
        id: StepId,
        verdict: Verdict,
        detail: Option<String>,
        out: &mut Vec<Action>,
    ) {
        let mut ended = vec![(id, verdict, detail)];
        while let Some((id, verdict, detail)) = ended.pop() {
            self.settle(id, verdict, detail);
            out.push(Action::Ended { step: id });
            for at in 0..self.plan.behind(id).len() {
                let edge = self.plan.behind(id)[at];
                let other = &mut self.steps[edge.step.index()];
                other.missing -= 1;
                if other.state != State::Waiting {
                    continue;
                }
                if edge.must_succeed && !verdict.is_success() {
                    // Taken out of `Waiting` at once: another failed need must not skip it again.
                    other.state = State::Ready;
                    let why = self.because(id);
                    ended.push((edge.step, Verdict::SkippedBecause, Some(why)));
                } else if other.missing == 0 && self.phase == Some(self.plan.step(edge.step).phase) {
                    self.queue(edge.step);
                }
            }
        }
    }

    fn settle(&mut self, id: StepId, verdict: Verdict, detail: Option<String>) {
        let phase = self.plan.step(id).phase.index();
        let step = &mut self.steps[id.index()];
        assert!(step.verdict.is_none(), "invariant: a step has one verdict");
        if !step.has_begun {
            step.has_begun = true;
            self.waiting[phase] -= 1;
        }
        (step.state, step.verdict, step.detail) = (State::Ended, Some(verdict), detail);
        self.open[phase] -= 1;
    }

    /// Why whatever needs this step is skipped, with the whole chain.
    fn because(&self, id: StepId) -> String {
        let step = &self.steps[id.index()];
        let verdict = step.verdict.map_or("has not ended", Verdict::name);
        let mut why = format!("it needs {}, which is {verdict}", self.plan.step(id).name);
        if let Some(detail) = &step.detail {
            why.push_str(": ");
            why.push_str(detail);
        }
        if why.len() > CHAIN_CHARS_MAX {
            let cut = (0..=CHAIN_CHARS_MAX).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
            why.truncate(cut);
            why.push_str(" ...");
        }
        why
    }

    /// The end: whatever runs is abandoned, whatever waits is skipped.
    pub(super) fn finish(&mut self, ending: Ending, out: &mut Vec<Action>) {
        if self.ending.is_some() {
            return;
        }
        let reason = match &ending {
            Ending::Completed => String::new(),
            Ending::Forced { by } => format!("the stop was forced: {by}"),
            Ending::OutOfTime => "the grace period ran out".to_owned(),
        };
        for at in 0..self.steps.len() {
            let step = &mut self.steps[at];
            let verdict = match step.state {
                State::Ended => continue,
                State::Waiting | State::Ready if step.attempt == 0 => Verdict::SkippedBecause,
                State::Intending if step.attempt == 1 => {
                    step.attempt = 0;
                    Verdict::SkippedBecause
                }
                _ => Verdict::Abandoned,
            };
            let part = self.now.since(step.mark);
            match step.state {
                State::Running | State::Compensating => step.run += part,
                State::Verifying => step.verify += part,
                _ => {}
            }
            let detail = match step.error.take() {
                Some(error) => format!("{reason}; before that: {error}"),
                None => reason.clone(),
            };
            self.settle(id_of(at), verdict, Some(detail));
            out.push(Action::Ended { step: id_of(at) });
        }
        if let Some(phase) = self.phase {
            self.phases[phase.index()].1 = self.now;
        }
        out.push(Action::Finished(ending.clone()));
        self.ending = Some(ending);
    }
}
