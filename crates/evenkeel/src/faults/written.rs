//! What is done about faults, as it is written into the journal.
//!
//! How it fails: a journal that is gone, closed or full takes nothing; that is counted, and nobody waits for it.

use super::Inner;
use super::lane::Overflow;
use super::procedure::{Outcome, Task};
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::fault::{Fault, FaultClass, Name};
use evenkeel_core::supervision::{Cause, FaultId, Summary};
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Kinds of entries.
const FAULT_KIND: &str = "fault";
const SUMMARY_KIND: &str = "fault-summary";
const MEASURE_KIND: &str = "measure";
const RECOVERY_KIND: &str = "recovery";

/// Where an entry belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At<'a> {
    pub(super) channel: Option<&'a str>,
    pub(super) component: Option<&'a str>,
}

impl Inner {
    fn write(&self, kind: &str, at: At<'_>, body: &Value) {
        let Some(journal) = self.journal() else { return };
        if journal.record(kind, at.channel, at.component, body).is_none() {
            self.unjournalled.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn write_fault(&self, id: FaultId, fault: &Fault) {
        let at = At {
            channel: fault.channel.as_ref().map(Name::as_str),
            component: fault.component.as_ref().map(Name::as_str),
        };
        let body = json!({ "id": id.0, "fault": fault, "public": fault.public_face().to_string() });
        self.write(FAULT_KIND, at, &body);
    }

    pub(super) fn write_measure(&self, at: At<'_>, who: &str, cause: Cause, measure: &str, level: u32) {
        let body = json!({
            "fault": cause.fault.0, "code": cause.code, "measure": measure, "who": who, "level": level,
            "reason": cause.reason.name(),
        });
        self.write(MEASURE_KIND, at, &body);
    }

    pub(super) fn write_recovery(&self, at: At<'_>, task: Task, fault: FaultId, state: &str, took: Duration) {
        self.write_recovery_for(at, task, fault, (state, took, None));
    }

    pub(super) fn write_outcome(
        &self,
        at: At<'_>,
        task: Task,
        fault: FaultId,
        outcome: &Outcome,
        took: Duration,
    ) {
        let state = if matches!(outcome, Outcome::Done(_)) { "done" } else { "failed" };
        self.write_recovery_for(at, task, fault, (state, took, outcome.why()));
    }

    fn write_recovery_for(
        &self,
        at: At<'_>,
        task: Task,
        fault: FaultId,
        (state, took, why): (&str, Duration, Option<String>),
    ) {
        let step = match task {
            // The measure says it all.
            Task::Retry(_) => return,
            Task::Restart(_) => "restart",
            Task::Part(_, step) => step.name(),
        };
        let ms = took.as_secs_f64() * 1e3;
        let body = json!({
            "fault": fault.0, "step": step, "state": state, "ms": ms, "why": why,
        });
        self.write(RECOVERY_KIND, at, &body);
    }

    pub(super) fn write_summary(&self, at: At<'_>, who: &str, sum: &Overflow) {
        let by_class: Map<String, Value> = FaultClass::ALL
            .into_iter()
            .zip(sum.by_class)
            .filter(|(_, count)| *count > 0)
            .map(|(class, count)| (class.name().to_owned(), count.into()))
            .collect();
        let body = json!({
            "who": who, "count": sum.count, "first": sum.first.0, "last": sum.last.0, "severity": sum.severity,
            "by_class": by_class, "from": clock::rfc3339(sum.from_ns), "to": clock::rfc3339(sum.to_ns),
        });
        self.write(SUMMARY_KIND, at, &body);
    }
}

/// A summary of the supervisor's, with its times as people know them.
pub(super) fn sum(summary: &Summary, now: Mono) -> Overflow {
    let wall_ns = clock::wall_ns();
    let unix_ns = |at: Mono| {
        let ago = u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX);
        wall_ns.saturating_sub(ago)
    };
    Overflow {
        count: summary.count,
        first: summary.first.0,
        last: summary.last.0,
        from_ns: unix_ns(summary.first.1),
        to_ns: unix_ns(summary.last.1),
        severity: summary.severity,
        by_class: summary.by_class,
    }
}
