//! What becomes a fault without anybody reporting it: findings of the thread watch, panics of jobs, steps of a stop.

use super::report::Whose;
use super::{Code, FaultCoordinator, Inner, Name, Severity};
use crate::resources::{Alert, ResourcePool};
use crate::threads::{ThreadCoordinator, ThreadEvent, What};
use evenkeel_core::cleanup::{Phase, Verdict};
use evenkeel_core::fault::Measure;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl FaultCoordinator {
    /// Has what is wrong with threads and jobs reported.
    pub(crate) fn hear_of(&self, threads: &ThreadCoordinator) {
        // No handle: the threads may outlive the service.
        let inner = Arc::downgrade(self.inner());
        threads.on_event_at_once(move |event| {
            if let Some(inner) = inner.upgrade() {
                report(&inner, event);
            }
        });
    }

    /// Has it reported when somebody reaches for resources that are another's.
    pub(crate) fn hear_of_pool(&self, pool: &ResourcePool) {
        // No handle: the pool may outlive the service.
        let inner = Arc::downgrade(self.inner());
        pool.on_breach(move |breach| {
            let Some(inner) = inner.upgrade() else { return };
            let channel = breach.channel.as_deref().and_then(|channel| Name::new(channel).ok());
            let whose = match channel {
                Some(name) => Whose { lane: inner.supervision(&name).lane, component: None },
                None => inner.of_system("resources"),
            };
            inner.fault(&whose, Code::ISOLATION, Severity::Error).text(breach.to_string()).report();
        });
    }

    /// To report what was seen of a pool, as a fault of whose it is, from where no handle is to be kept.
    pub(crate) fn alerts(&self) -> impl Fn(Alert) + Send + Sync + 'static {
        let inner = Arc::downgrade(self.inner());
        move |Alert { code, severity, whose, text }| {
            let Some(inner) = inner.upgrade() else { return };
            let name = whose.as_ref().and_then(|(channel, _)| Name::new(channel).ok());
            let component = whose.and_then(|(_, component)| component).and_then(|name| Name::new(&name).ok());
            let whose = match (name, component) {
                (Some(name), component) => Whose { lane: inner.supervision(&name).lane, component },
                (None, None) => inner.of_system("resources"),
                (None, component) => Whose { component, ..inner.of_system("resources") },
            };
            inner.fault(&whose, code, severity).text(text).report();
        }
    }

    /// A step of the stop did not end well. It is written down at once, by whoever calls: nothing is done about it any
    /// more, and the journal may be closed by the time that `ek-faults` gets to it.
    pub(crate) fn step_ended(
        &self,
        (step, channel, phase): (&str, Option<&str>, Phase),
        verdict: Verdict,
        detail: Option<&str>,
    ) {
        let Some((code, severity)) = code_of(verdict) else { return };
        let inner = self.inner();
        let channel = channel.and_then(|channel| Name::new(channel).ok());
        let of = channel.map_or_else(|| self.system(), |name| inner.supervision(&name));
        let builder = of.fault(code, severity).step(step).phase(phase);
        let builder = if let Some(detail) = detail { builder.text(detail) } else { builder };
        let (id, mut fault) = (inner.next_id(), builder.into_fault());
        fault.done.push(fault.at, Measure::Noted);
        inner.write_fault(id, &fault);
        inner.with(|book| book.remember(fault.public_face()));
        inner.told.fetch_add(1, Relaxed);
        of.lane.note(fault.public_face());
    }
}

/// Which fault a verdict is, if it is one.
fn code_of(verdict: Verdict) -> Option<(Code, Severity)> {
    match verdict {
        Verdict::Failed => Some((Code::EXECUTION, Severity::Error)),
        Verdict::Panicked => Some((Code::PANIC, Severity::Error)),
        Verdict::TimedOutStillRunning => Some((Code::TIMEOUT, Severity::Error)),
        Verdict::CompensationFailed => Some((Code::COMPLETION, Severity::Error)),
        Verdict::SkippedBecause | Verdict::Abandoned => Some((Code::DEPENDENCY, Severity::Warning)),
        _ => None,
    }
}

/// What happened to a thread, or a job on it, as a fault of whose it is.
fn report(inner: &Arc<Inner>, event: &ThreadEvent) {
    let (code, severity) = match event.what {
        What::Stuck { .. } => (Code::SILENT, Severity::Error),
        What::Runaway { .. } => (Code::RUNAWAY, Severity::Error),
        What::Died { .. } | What::JobPanicked { .. } => (Code::PANIC, Severity::Error),
        What::NotReplaced { .. } => (Code::RESOURCE, Severity::Warning),
        What::NotPlaced { .. } => (Code::ACCESS_DENIED, Severity::Notice),
        _ => return,
    };
    let whose = whose(inner, event);
    inner.fault(&whose, code, severity).text(event.to_string()).report();
}

/// The component that declared the thread as its own; else the channel of the job; else the house.
fn whose(inner: &Arc<Inner>, event: &ThreadEvent) -> Whose {
    if let Some(whose) = inner.with(|book| book.threads.get(&event.thread.name).cloned()) {
        return whose;
    }
    let channel = event.thread.doing.job.as_ref().and_then(|(_, channel)| channel.as_deref());
    match channel.and_then(|channel| Name::new(channel).ok()) {
        Some(name) => Whose { lane: inner.supervision(&name).lane, component: None },
        None => inner.of_system("threads"),
    }
}
