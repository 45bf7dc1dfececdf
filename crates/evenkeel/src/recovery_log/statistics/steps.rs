//! How long steps of stops and parts of recoveries took.

use super::StepStats;
use crate::recovery_log::said::text;
use crate::recovery_log::spread::Values;
use crate::recovery_log::tally::Tally;
use serde_json::Value;

/// Steps that are told apart.
const STEPS_MAX: usize = 512;
/// Steps that are read of one report.
const STEPS_OF_REPORT_MAX: usize = 4096;

#[derive(Clone, Debug, Default)]
struct Took {
    count: u64,
    failed: u64,
    run: Values,
    verify: Values,
}

/// Times by name.
#[derive(Debug)]
pub(super) struct Steps(Tally<Took>);

impl Default for Steps {
    fn default() -> Self {
        Self(Tally::new(STEPS_MAX))
    }
}

impl Steps {
    /// The steps of a report; one that never ran took no time.
    pub(super) fn report(&mut self, report: &Value) {
        for step in steps_of(report).take(STEPS_OF_REPORT_MAX) {
            let Some(name) = text(step, "name") else { continue };
            let took = self.0.of(name);
            took.count += 1;
            let verdict = text(step, "verdict");
            // What closes the journal is pending in the journal's own copy.
            let is_well = matches!(verdict, None | Some("Verified" | "DoneUnverified" | "Compensated"));
            took.failed += u64::from(!is_well);
            if verdict != Some("SkippedBecause") {
                took.run.push(ms(step, "run_ms"));
                took.verify.push(ms(step, "verify_ms"));
            }
        }
    }

    /// A part of a recovery, when it ended.
    pub(super) fn recovery(&mut self, body: &Value, step: &str, state: &str) {
        if !matches!(state, "done" | "failed" | "lapsed") {
            return;
        }
        let took = self.0.of(step);
        took.count += 1;
        took.failed += u64::from(state != "done");
        took.run.push(ms(body, "ms"));
    }

    /// The slowest first.
    pub(super) fn finish(self) -> Vec<StepStats> {
        let stats = |(name, took): (String, Took)| {
            let Took { count, failed, run, verify } = took;
            StepStats { name, count, failed, run_ms: run.spread(), verify_ms: verify.spread() }
        };
        let mut all: Vec<StepStats> = self.0.into_all().map(stats).collect();
        let slow = |step: &StepStats| step.run_ms.p95 + step.verify_ms.p95;
        all.sort_by(|a, b| slow(b).total_cmp(&slow(a)).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

fn ms(of: &Value, key: &str) -> f64 {
    of.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// The steps of all phases of a report.
fn steps_of(report: &Value) -> impl Iterator<Item = &Value> {
    let phases = report.get("phases").and_then(Value::as_array).into_iter().flatten();
    phases.filter_map(|phase| phase.get("steps")?.as_array()).flatten()
}
