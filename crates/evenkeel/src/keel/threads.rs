//! The threads of a service: what happens to them goes into the journal, and its stop ends them.

use super::{Channel, Keel};
use crate::cleanup::{CleanupHandle, Phase, RegisterError};
use crate::clock;
use crate::journal::Journal;
use crate::threads::{ChannelRefused, JobChannel, NotStopped, ThreadCoordinator, ThreadEvent};
use evenkeel_core::Mono;
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Kind of the journal's entries on threads.
const THREAD_KIND: &str = "thread";
/// Events of a second that are told each; of more only how many there were.
const EACH_SECOND_MAX: u64 = 20;

/// How many were told in this second, and how many not since one was.
#[derive(Debug, Default)]
struct Ration {
    second: AtomicU64,
    told: AtomicU64,
    left_out: AtomicU64,
}

impl Ration {
    /// Whether one more may be told, and how many were not before it. Who comes at the same moment
    /// as another may be told beyond the measure.
    fn take(&self, now: Mono) -> Option<u64> {
        let second = now.as_nanos() / 1_000_000_000;
        if self.second.swap(second, Relaxed) != second {
            self.told.store(0, Relaxed);
        }
        if self.told.fetch_add(1, Relaxed) < EACH_SECOND_MAX {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

/// Has what happens to threads told to the journal.
pub(super) fn journal_events(threads: &ThreadCoordinator, journal: &Journal) {
    // No handle: the threads may outlive the service, and its journal is to end with it.
    let (journal, ration) = (journal.downgrade(), Ration::default());
    threads.on_event_at_once(move |event| {
        if let (Some(journal), Some(left_out)) = (journal(), ration.take(clock::mono())) {
            append(&journal, event, left_out);
        }
    });
}

fn append(journal: &Journal, event: &ThreadEvent, left_out: u64) {
    let job = event.thread.doing.job.as_ref();
    let channel = job.and_then(|(_, channel)| channel.as_deref());
    let body = json!({
        "thread": event.thread.name,
        "class": event.thread.class.name(),
        "event": event.kind(),
        "job": job.map(|(name, _)| name),
        "text": event.to_string(),
        "left_out_before": left_out,
    });
    let _ = journal.append(THREAD_KIND, channel, body);
}

/// Threads that did not stop.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(NotStopped::to_string).collect::<Vec<_>>().join("; "))]
struct StillThere(Vec<NotStopped>);

fn none_left(threads: &ThreadCoordinator) -> Result<(), StillThere> {
    let left = threads.not_stopped();
    if left.is_empty() { Ok(()) } else { Err(StillThere(left)) }
}

impl Keel {
    /// Puts a step `stop-threads` into the plan of the stop, in [`Phase::ReleasingResources`]: it
    /// [terminates](ThreadCoordinator::terminate) all threads and jobs, and finds that none is left.
    ///
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keel = Keel::builder("example").without_signals().keep_process().build()?;
    /// keel.stop_threads(2.seconds())?;
    /// let left = keel.channel("left")?.jobs()?;
    /// left.job("compress").run(|_pulse| "compressed")?;
    ///
    /// let report = keel.stop("the example is over", "the example");
    /// assert!(report.clean);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RegisterError`]: there is one already, or the stop has begun.
    pub fn stop_threads(&self, timeout: Duration) -> Result<CleanupHandle, RegisterError> {
        let (ending, ended) = (self.threads().clone(), self.threads().clone());
        self.cleanup("stop-threads")
            .phase(Phase::ReleasingResources)
            .timeout(timeout)
            .idempotent()
            // A tenth is the verification's.
            .run_blocking(move |step| {
                let _ = ending.terminate(step.remaining().mul_f32(0.9));
                none_left(&ending)
            })
            .verify_blocking(move |_| none_left(&ended))
            .register()
    }
}

impl Channel {
    /// Its jobs: they run one after the other, on one thread while that keeps up.
    ///
    /// # Errors
    /// [`ChannelRefused`]: there are as many channels of jobs as there may be, or the threads have ended.
    pub fn jobs(&self) -> Result<JobChannel, ChannelRefused> {
        self.keel.threads().channel(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ T6
    #[test]
    fn a_storm_of_events_is_told_in_measure_and_counted() {
        let ration = Ration::default();
        let at = |second: u64| Mono::from_nanos(second * 1_000_000_000);
        let told = (0..10_000).filter_map(|_| ration.take(at(5))).count();
        assert_eq!(told as u64, EACH_SECOND_MAX);
        assert_eq!(ration.take(at(6)), Some(10_000 - EACH_SECOND_MAX));
        assert_eq!(ration.take(at(6)), Some(0));
    }
}
