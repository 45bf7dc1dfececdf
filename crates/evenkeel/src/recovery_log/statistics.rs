//! Figures over a whole journal.

mod figures;
mod machines;
mod runs;
mod steps;

use super::spread::Spread;
use evenkeel_core::fault::{Code, FaultClass};
pub(super) use figures::Figures;
use serde::Serialize;

/// Figures over a whole journal; made by a [`RecoveryLogger`](super::RecoveryLogger), where an example is.
///
/// Names are bounded: of more than there is room for, the rest stands under `(others)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// Version of this form: 1.
    pub version: u32,
    /// Runs, entries, bytes.
    pub growth: Growth,
    /// The latest runs, at most 1,000.
    pub runs: Vec<RunStats>,
    /// Earlier runs that are not among them.
    pub runs_left_out: u64,
    /// Time in which the program ran, in seconds: from each run's first entry to its last.
    pub run_time_s: f64,
    /// Incidents, by how they ended.
    pub incidents: Vec<Count>,
    /// Faults that began no incident because there were too many channels.
    pub crowded_out: u64,
    /// Repairs of all, then by class, channel, and component.
    pub repair: Vec<RepairStats>,
    /// Faults, those of summaries too.
    pub faults: u64,
    /// Faults by their code, the most frequent first.
    pub by_code: Vec<CodeCount>,
    /// Faults by their class, the most frequent first, with those of summaries.
    pub by_class: Vec<Count>,
    /// Faults by channel, the most frequent first.
    pub by_channel: Vec<Count>,
    /// Runs of channels' commands.
    pub commands: Vec<Count>,
    /// Runs of channels' commands that failed.
    pub commands_failed: Vec<Count>,
    /// Steps of stops, the slowest 95th percentile first.
    pub steps: Vec<StepStats>,
    /// Parts of recoveries, likewise.
    pub recovery: Vec<StepStats>,
    /// Machines, the busiest first.
    pub machines: Vec<MachineStats>,
}

/// Something, and how often.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
    /// How often in an hour of run time.
    pub per_hour: f64,
}

/// How often a fault was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CodeCount {
    /// Its code.
    pub code: Code,
    /// Its class.
    pub class: FaultClass,
    /// What it is, in a few words.
    pub title: &'static str,
    /// How often.
    pub count: u64,
    /// How often in an hour of run time.
    pub per_hour: f64,
}

/// How the journal grew.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Growth {
    /// Entries.
    pub entries: u64,
    /// Number of the first of them.
    pub first_entry: Option<u64>,
    /// Number of the last of them.
    pub last_entry: Option<u64>,
    /// When the first was appended, RFC 3339.
    pub first_time: Option<String>,
    /// When the last was appended, RFC 3339.
    pub last_time: Option<String>,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Bytes in an hour of run time.
    pub bytes_per_hour: f64,
    /// Entries by kind, the most frequent first.
    pub by_kind: Vec<Count>,
    /// Entries that tell that others were refused.
    pub gaps: u64,
    /// Entries that were refused.
    pub refused: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RunEnd {
    /// Stopped, and every step verified.
    Clean,
    /// Stopped, not clean.
    Unclean,
    /// It has no report, and another run followed.
    Crashed,
    /// It has no report, and is the last: it is under way, or was killed.
    Open,
}

/// One run of the program.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunStats {
    /// Counted from 1 in what is there of the journal.
    pub run: u64,
    /// Number of its first entry.
    pub first_entry: u64,
    /// Number of its last entry.
    pub last_entry: u64,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended, or its last entry was appended, RFC 3339.
    pub over: String,
    /// Between the two, in milliseconds.
    pub duration_ms: f64,
    /// How it ended.
    pub end: RunEnd,
    /// The exit code of its report.
    pub exit_code: Option<u64>,
    /// Faults in it.
    pub faults: u64,
}

/// How long it takes until all is well again, and how long it stays well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RepairStats {
    /// `all`, `class`, `channel` or `component`.
    pub by: &'static str,
    /// Which.
    pub name: String,
    /// Incidents.
    pub incidents: u64,
    /// Those that recovered.
    pub repaired: u64,
    /// Their times to repair in milliseconds; the mean is the MTTR.
    pub time_to_repair_ms: Spread,
    /// Run time divided by incidents, in seconds: the mean time between failures.
    pub mtbf_s: f64,
    /// Incidents in an hour of run time.
    pub per_hour: f64,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepStats {
    /// Its name.
    pub name: String,
    /// How often it was done.
    pub count: u64,
    /// How often it did not succeed.
    pub failed: u64,
    /// Its runs in milliseconds.
    pub run_ms: Spread,
    /// Its verifications in milliseconds.
    pub verify_ms: Spread,
}

/// How a machine moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MachineStats {
    /// Which: `left/writer component`.
    pub name: String,
    /// Changes, rollbacks too.
    pub changes: u64,
    /// Rollbacks among them.
    pub rollbacks: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// How often flapping was told.
    pub flapping: u64,
    /// Its edges, the busiest first.
    pub edges: Vec<EdgeStats>,
    /// Three states in a row, the most frequent first, at most 5: `Running -> Failed -> Initialising`.
    pub sequences: Vec<Count>,
}

/// How often an edge was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EdgeStats {
    /// From this state.
    pub from: String,
    /// To this.
    pub to: String,
    /// How often.
    pub count: u64,
    /// How long the machine had been in the first, on average in milliseconds, as far as that is known.
    pub mean_dwell_ms: Option<f64>,
}
