//! The stop of a recorder as cleanup steps.
//!
//! ```text
//! StoppingCapture      stop-capture/NAME   a channel's source is read to where it stands
//! FlushingStorage      flush/NAME          all that a channel accepted is stored or declared
//!                      seal                the log is ended and sealed, its last segment read back
//! ReleasingResources   release-buffers     no channel holds memory any more
//! ```
//!
//! A channel's flush follows its capture however that ended: what was accepted of
//! a source that hangs is stored all the same.

use crate::config::ChannelConfig;
use crate::hub::ChannelCounts;
use crate::recorder::{KILL_AFTER_NS, Recorder};
use evenkeel::Keel;
use evenkeel::cleanup::{ChannelReport, Phase, RegisterError, Step, StepSpec};
use std::sync::Arc;
use std::time::Duration;

/// What reading a source to where it stands may take.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(8);
/// What storing what was accepted may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// What ending, sealing and reading back may take: a segment of 256 MiB has to be read.
const SEAL_TIMEOUT: Duration = Duration::from_secs(10);
/// What giving memory back may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a recorder's stop cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A step does not fit, or the stop has begun.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// Name of the step that stops a channel's capture.
fn capture(channel: &str) -> String {
    format!("stop-capture/{channel}")
}

/// Name of the step that stores what a channel accepted.
fn flush(channel: &str) -> String {
    format!("flush/{channel}")
}

/// The steps of the stop of a recorder with these channels, as they are registered.
pub fn specs(channels: &[ChannelConfig]) -> Vec<StepSpec> {
    let step = |name: String, phase, timeout, expected_ms| {
        let mut spec = StepSpec::new(name, phase).verified().idempotent();
        spec.limits.timeout = timeout;
        spec.limits.expected = Duration::from_millis(expected_ms);
        spec
    };
    let mut specs = Vec::with_capacity(channels.len() * 2 + 2);
    for channel in channels {
        let name = &channel.name;
        let mut spec = step(capture(name), Phase::StoppingCapture, CAPTURE_TIMEOUT, 1);
        spec.channel = Some(name.clone());
        specs.push(spec);
    }
    let mut seal = step("seal".to_owned(), Phase::FlushingStorage, SEAL_TIMEOUT, 50);
    for channel in channels {
        let name = &channel.name;
        let spec = step(flush(name), Phase::FlushingStorage, FLUSH_TIMEOUT, 15);
        specs.push(StepSpec { channel: Some(name.clone()), ..spec.follows(capture(name)) });
        seal = seal.follows(flush(name));
    }
    specs.push(seal);
    let release = step("release-buffers".to_owned(), Phase::ReleasingResources, RELEASE_TIMEOUT, 1);
    specs.push(release.follows("seal"));
    specs
}

/// Waits that end only with what they wait for: a step that is told to stop and
/// cannot is named as still running, because it is.
const FOR_EVER: u64 = u64::MAX;

impl Recorder {
    /// Registers the steps of this recorder's stop.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn wire(self: &Arc<Self>, keel: &Keel, channels: &[ChannelConfig]) -> Result<(), WireError> {
        for spec in specs(channels) {
            let channel = spec.channel.as_ref();
            let at = channel.and_then(|name| channels.iter().position(|c| c.name == *name));
            let step = keel.cleanup_as(spec.clone());
            let (runs, checks) = (self.clone(), self.clone());
            let step = match (spec.phase, at) {
                (Phase::StoppingCapture, Some(at)) => step
                    .run_blocking(move |step| runs.capture_step(at, &step))
                    .verify_blocking(move |_| checks.captured(at)),
                (_, Some(at)) => step
                    .run_blocking(move |_| runs.flush_step(at))
                    .verify_blocking(move |_| checks.flushed(at)),
                (Phase::FlushingStorage, None) => {
                    step.run_blocking(move |_| runs.seal_step()).verify_blocking(move |_| checks.sealed())
                }
                _ => {
                    let keel = keel.clone();
                    // What is still held is the verification's to say.
                    let give_back = move |_: Step| drop(runs.release());
                    step.run_blocking(give_back).verify_blocking(move |_| {
                        checks.release().map_err(|e| e.to_string())?;
                        keel.buffers().verify_empty().map_err(|e| e.to_string())
                    })
                }
            };
            step.register()?;
        }
        Ok(())
    }

    fn capture_step(&self, channel: usize, step: &Step) -> Result<(), String> {
        // A command that does not end has to be made to while there is time to read the rest.
        let kill_after_ns = u64::try_from(step.remaining().as_nanos() / 4 * 3).unwrap_or(u64::MAX);
        self.order_stop_capture(crate::now().mono_ns + kill_after_ns.min(KILL_AFTER_NS));
        self.wait_captured(channel, FOR_EVER);
        Ok(())
    }

    fn captured(&self, channel: usize) -> Result<(), String> {
        let counts = self.counts(channel);
        match counts.fault {
            Some(fault) => Err(fault),
            None if counts.reading => Err("its source is still read".to_owned()),
            None => Ok(()),
        }
    }

    fn flush_step(&self, channel: usize) -> Result<(), String> {
        self.order_finish();
        if self.wait_flushed(channel, FOR_EVER) {
            Ok(())
        } else {
            Err("the log ended before everything was stored".to_owned())
        }
    }

    fn flushed(&self, channel: usize) -> Result<(), String> {
        let counts = self.counts(channel);
        if counts.is_settled() {
            return Ok(());
        }
        let (accepted, bytes) = (counts.accepted_records, counts.accepted_bytes);
        let (told, told_bytes) = counts.told();
        Err(format!(
            "{accepted} records ({bytes} bytes) accepted, {told} ({told_bytes} bytes) stored or declared dropped"
        ))
    }

    fn seal_step(&self) -> Result<(), String> {
        self.order_finish();
        let finished = self.wait_finished(FOR_EVER);
        let faults = self.seal_given_up();
        if !finished {
            return Err("the log could not be ended".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    fn sealed(&self) -> Result<(), String> {
        self.verify_last()?;
        let mut faults = self.seal_given_up();
        faults.extend(self.log_faults());
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    fn counts(&self, channel: usize) -> ChannelCounts {
        self.channels().swap_remove(channel)
    }

    /// What became of each channel, and whether nothing had to be dropped.
    pub fn reports(&self) -> (Vec<ChannelReport>, bool) {
        let report = |c: ChannelCounts| ChannelReport {
            name: c.name,
            accepted_records: c.accepted_records,
            accepted_bytes: c.accepted_bytes,
            committed_records: c.committed_records,
            committed_bytes: c.committed_bytes,
            dropped_records: c.dropped_records,
            dropped_bytes: c.dropped_bytes,
            kernel_dropped: c.kernel_dropped,
            gaps: c.gaps,
            restarts: c.restarts,
        };
        let reports: Vec<ChannelReport> = self.channels().into_iter().map(report).collect();
        let complete = reports.iter().all(|c| c.dropped_records == 0 && c.gaps == 0);
        (reports, complete)
    }
}
