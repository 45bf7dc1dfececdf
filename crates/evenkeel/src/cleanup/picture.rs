//! A plan for people and programs: as text, as JSON, as a picture.

use evenkeel_core::cleanup::{Phase, Plan, StepId, forecast, worst_case};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Version of [`PlanPicture`]'s form.
const VERSION: u32 = 1;

/// What a stop would do, and how long it would take.
///
/// [`Display`](fmt::Display) is a table for people, [`Serialize`] is for programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanPicture {
    /// Version of this form.
    pub version: u32,
    /// What all steps may take together, in milliseconds.
    pub budget_ms: f64,
    /// What it takes if every step takes what it is expected to.
    pub expected_ms: f64,
    /// What it takes if every step takes all the time that it is given.
    pub worst_case_ms: f64,
    /// Steps that may run at once.
    pub concurrency_max: usize,
    /// Most steps that would run at once.
    pub concurrency: usize,
    /// The steps that the expected time hangs on, first to last.
    pub critical_path: Vec<String>,
    /// The phases in order.
    pub phases: Vec<PhasePicture>,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhasePicture {
    /// Which.
    pub phase: Phase,
    /// What is kept of the budget for it while those before it run.
    pub reserved_ms: f64,
    /// Its steps in the order in which they are planned.
    pub steps: Vec<StepPicture>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepPicture {
    /// Its name.
    pub name: String,
    /// Its channel.
    pub channel: Option<String>,
    /// Of several that could run, the higher goes first.
    pub priority: i32,
    /// What it waits for.
    pub waits_for: Vec<WaitPicture>,
    /// When it is expected to begin, from the beginning of the stop.
    pub begins_ms: f64,
    /// What it is expected to take.
    pub expected_ms: f64,
    /// What it may take.
    pub timeout_ms: f64,
    /// Attempts after the first.
    pub retries: u32,
    /// Whether there is a verification.
    pub verified: bool,
    /// Whether it can be run twice without harm.
    pub idempotent: bool,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitPicture {
    /// The other step.
    pub name: String,
    /// Whether it has to have succeeded.
    pub must_succeed: bool,
}

impl PlanPicture {
    /// Draws a plan.
    pub fn of(plan: &Plan) -> Self {
        let (expected, worst) = (forecast(plan), worst_case(plan));
        let begins: HashMap<StepId, Duration> =
            expected.spans.iter().map(|span| (span.step, span.begins)).collect();
        let name = |id: &StepId| plan.step(*id).name.clone();
        let phase = |phase: Phase| PhasePicture {
            phase,
            reserved_ms: milliseconds(plan.budget().reserved(phase)),
            steps: plan
                .order()
                .iter()
                .filter(|id| plan.step(**id).phase == phase)
                .map(|id| step(plan, *id, begins.get(id).copied().unwrap_or_default()))
                .collect(),
        };
        Self {
            version: VERSION,
            budget_ms: milliseconds(plan.options().budget),
            expected_ms: milliseconds(expected.total),
            worst_case_ms: milliseconds(worst.total),
            concurrency_max: plan.options().concurrency_max,
            concurrency: expected.concurrency,
            critical_path: expected.critical_path.iter().map(name).collect(),
            phases: Phase::ALL.into_iter().map(phase).collect(),
        }
    }

    /// A flow chart in mermaid's words; the critical path stands out.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        let steps: Vec<&StepPicture> = self.phases.iter().flat_map(|phase| &phase.steps).collect();
        let places: HashMap<&str, usize> =
            steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
        let id = |name: &str| places.get(name).copied().unwrap_or_default();
        for phase in self.phases.iter().filter(|phase| !phase.steps.is_empty()) {
            let _ = writeln!(out, "  subgraph {}", phase.phase);
            for step in &phase.steps {
                let label = step.name.replace('"', "'");
                let _ = writeln!(out, "    s{}[\"{label}<br/>{}\"]", id(&step.name), time(step.expected_ms));
            }
            out.push_str("  end\n");
        }
        let full: Vec<_> = self.phases.iter().filter(|phase| !phase.steps.is_empty()).collect();
        for pair in full.windows(2) {
            let _ = writeln!(out, "  {} --> {}", pair[0].phase, pair[1].phase);
        }
        for step in &steps {
            for wait in &step.waits_for {
                let arrow = if wait.must_succeed { "-->" } else { "-.->" };
                let _ = writeln!(out, "  s{} {arrow} s{}", id(&wait.name), id(&step.name));
            }
        }
        out.push_str("  classDef critical stroke-width:3px\n");
        if !self.critical_path.is_empty() {
            let path: Vec<String> = self.critical_path.iter().map(|name| format!("s{}", id(name))).collect();
            let _ = writeln!(out, "  class {} critical", path.join(","));
        }
        out
    }
}

fn step(plan: &Plan, id: StepId, begins: Duration) -> StepPicture {
    let spec = plan.step(id);
    let wait = |(on, must_succeed)| WaitPicture { name: plan.step(on).name.clone(), must_succeed };
    StepPicture {
        name: spec.name.clone(),
        channel: spec.channel.clone(),
        priority: spec.priority,
        waits_for: plan.dependencies(id).map(wait).collect(),
        begins_ms: milliseconds(begins),
        expected_ms: milliseconds(spec.limits.expected),
        timeout_ms: milliseconds(spec.limits.timeout),
        retries: spec.limits.retries,
        verified: spec.is_verified,
        idempotent: spec.is_idempotent,
    }
}

/// What a step waits for, short enough for a table.
const WAITS_SHOWN_MAX: usize = 3;

impl fmt::Display for PlanPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = || self.phases.iter().flat_map(|phase| &phase.steps);
        let width = steps().map(|step| step.name.chars().count()).max().unwrap_or(4).max(4);
        writeln!(
            f,
            "{:<18} {:<width$} {:>9} {:>9} {:>9}  waits for",
            "phase", "step", "begins", "expected", "at most"
        )?;
        for phase in &self.phases {
            for step in &phase.steps {
                let mut waits: Vec<&str> = step.waits_for.iter().map(|wait| wait.name.as_str()).collect();
                let more = waits.len().saturating_sub(WAITS_SHOWN_MAX);
                waits.truncate(WAITS_SHOWN_MAX);
                let mut waits = waits.join(", ");
                if more > 0 {
                    let _ = write!(waits, " and {more} more");
                }
                let (begins, expected, most) =
                    (time(step.begins_ms), time(step.expected_ms), time(step.timeout_ms));
                let name = format!("{:<18}", phase.phase.name());
                let line =
                    format!("{name} {:<width$} {begins:>9} {expected:>9} {most:>9}  {waits}", step.name);
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        writeln!(f, "expected {}, along {}", time(self.expected_ms), self.critical_path.join(" -> "))?;
        writeln!(
            f,
            "at worst {} of {}; at most {} steps at once of {} allowed",
            time(self.worst_case_ms),
            time(self.budget_ms),
            self.concurrency,
            self.concurrency_max
        )
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Milliseconds in a unit that people read.
fn time(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 && ms > 0.0 => format!("{:.0} us", ms * 1e3),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use evenkeel_core::cleanup::{PlanOptions, StepSpec};

    fn plan() -> Plan {
        let step = |name: &str, phase, ms| {
            let mut spec = StepSpec::new(name, phase).verified();
            spec.limits.expected = Duration::from_millis(ms);
            spec
        };
        let steps = vec![
            step("stop/left", Phase::StoppingCapture, 10),
            step("stop/right", Phase::StoppingCapture, 30),
            step("flush", Phase::FlushingStorage, 100).follows("stop/left").needs("stop/right"),
            step("close", Phase::ClosingLogs, 5),
        ];
        Plan::new(steps, PlanOptions::default()).unwrap()
    }

    // REQ C13
    #[test]
    fn the_table_reads_well() {
        let expected = "\
phase              step          begins  expected   at most  waits for
StoppingCapture    stop/left       0 ms     10 ms     5.0 s
StoppingCapture    stop/right      0 ms     30 ms     5.0 s
FlushingStorage    flush          30 ms    100 ms     5.0 s  stop/left, stop/right
ClosingLogs        close         130 ms      5 ms     5.0 s
expected 135 ms, along stop/right -> flush -> close
at worst 14.7 s of 20.0 s; at most 2 steps at once of 16 allowed
";
        assert_eq!(PlanPicture::of(&plan()).to_string(), expected);
    }

    // REQ C13
    #[test]
    fn the_picture_has_every_step_and_every_wait() {
        let picture = PlanPicture::of(&plan());
        let drawn = picture.mermaid();
        assert!(drawn.starts_with("flowchart LR\n  subgraph StoppingCapture\n"));
        assert!(drawn.contains("s0 -.-> s2") && drawn.contains("s1 --> s2"), "{drawn}");
        assert!(drawn.contains("StoppingCapture --> FlushingStorage\n"));
        assert!(drawn.ends_with("  class s1,s2,s3 critical\n"), "{drawn}");
        let json = serde_json::to_value(&picture).unwrap();
        assert_eq!(json["critical_path"], serde_json::json!(["stop/right", "flush", "close"]));
        assert_eq!(json["phases"][1]["steps"][1]["begins_ms"], 0.0);
        assert_eq!(json["phases"][2]["steps"][0]["waits_for"][0]["must_succeed"], false);
    }
}
