//! What was done, step by step. It cannot say more than is known.

use super::{Ending, Phase};
use serde::Serialize;

/// Version of [`Report`]'s form.
pub const REPORT_VERSION: u32 = 1;

/// The outcome of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Verdict {
    /// Its verification found everything as it should be.
    Verified,
    /// It ended without an error, and nothing was verified.
    DoneUnverified,
    /// It was told to stop when its time was up, and is still running.
    TimedOutStillRunning,
    /// It ended with an error, or its verification found something wrong.
    Failed,
    /// It panicked.
    Panicked,
    /// It never ran; the detail says why.
    SkippedBecause,
    /// It was running when the cleanup was forced or out of time.
    Abandoned,
    /// It failed, and its compensation was done.
    Compensated,
    /// It failed, and so did its compensation.
    CompensationFailed,
}

impl Verdict {
    /// Its name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "Verified",
            Self::DoneUnverified => "DoneUnverified",
            Self::TimedOutStillRunning => "TimedOutStillRunning",
            Self::Failed => "Failed",
            Self::Panicked => "Panicked",
            Self::SkippedBecause => "SkippedBecause",
            Self::Abandoned => "Abandoned",
            Self::Compensated => "Compensated",
            Self::CompensationFailed => "CompensationFailed",
        }
    }

    /// Whether what needs the step may run.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Verified | Self::DoneUnverified)
    }
}

/// One step of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// Its channel.
    pub channel: Option<String>,
    /// Its component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Its outcome; `None` while it is pending.
    pub verdict: Option<Verdict>,
    /// Whether its intent is durable in the journal.
    pub journalled: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// Time of its runs in milliseconds, compensation included.
    pub run_ms: f64,
    /// Time of its verifications in milliseconds.
    pub verify_ms: f64,
    /// Steps that it waited for.
    pub waited_for: Vec<String>,
    /// What is to be said of it.
    pub detail: Option<String>,
}

/// One phase of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// From its beginning to its last verdict, in milliseconds.
    pub duration_ms: f64,
    /// Its steps, in the order of the plan.
    pub steps: Vec<StepReport>,
}

/// What became of one channel's data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelReport {
    /// Its name.
    pub name: String,
    /// Records read and numbered.
    pub accepted_records: u64,
    /// Their bytes.
    pub accepted_bytes: u64,
    /// Records that are safe.
    pub committed_records: u64,
    /// Their bytes.
    pub committed_bytes: u64,
    /// Records dropped and declared.
    pub dropped_records: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// What the kernel dropped before it was read, where that can be known.
    pub kernel_dropped: Option<u64>,
    /// Declared gaps.
    pub gaps: u64,
    /// How often its source was restarted.
    pub restarts: u64,
}

/// A whole cleanup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Whether every step is verified.
    pub clean: bool,
    /// Whether, besides, nothing had to be dropped.
    pub complete: bool,
    /// What the process exits with.
    pub exit_code: u8,
    /// Why it stopped.
    pub reason: String,
    /// Who or what asked for it.
    pub initiated_by: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// What it took, in milliseconds.
    pub duration_ms: f64,
    /// What it might have taken, in milliseconds.
    pub grace_ms: u64,
    /// The five phases.
    pub phases: Vec<PhaseReport>,
    /// Each channel.
    pub channels: Vec<ChannelReport>,
    /// Steps that were given up while they ran, or run still.
    pub abandoned: Vec<String>,
    /// Head of the journal's chain before the entry that holds this report, hexadecimal.
    pub journal_head: Option<String>,
}

/// What a service exits with.
pub mod exit {
    /// Stopped clean: every step verified.
    pub const CLEAN: u8 = 0;
    /// Stopped, not clean.
    pub const NOT_CLEAN: u8 = 1;
    /// It could not start.
    pub const CANNOT_START: u8 = 3;
    /// It was forced.
    pub const FORCED: u8 = 4;
    /// The grace period ran out.
    pub const OUT_OF_TIME: u8 = 5;
    /// Where several apply, the first of these counts.
    pub const GRAVEST_FIRST: [u8; 5] = [CANNOT_START, FORCED, OUT_OF_TIME, NOT_CLEAN, CLEAN];
}

/// What a process exits with after a cleanup that ended so.
pub fn exit_code(ending: &Ending, clean: bool) -> u8 {
    match ending {
        Ending::Forced { .. } => exit::FORCED,
        Ending::OutOfTime => exit::OUT_OF_TIME,
        Ending::Completed if clean => exit::CLEAN,
        Ending::Completed => exit::NOT_CLEAN,
    }
}
