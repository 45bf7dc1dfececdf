//! The machines of the house: components, the recovery of a channel, a cleanup.

use super::Table;
use crate::cleanup::Phase;
use crate::{state_table, states};

states! {
    /// Where a component stands.
    pub enum ComponentState {
        /// Known, not yet at work.
        Registered,
        /// Getting ready.
        Initialising,
        /// At work.
        Running,
        /// At work, with less than it should have.
        Degraded,
        /// Takes nothing new, and finishes what it has.
        Draining,
        /// Told to stop.
        Stopping,
        /// Stopped in order.
        Stopped,
        /// It failed; why is told beside it.
        Failed,
    }
}

/// The component's table. A component without a beginning of its own goes straight to running.
pub static COMPONENT: Table<ComponentState> = state_table! {
    ComponentState, "component", version 1, initial Registered, final [Stopped, Failed],
    Registered -> Initialising: "start",
    Registered -> Running: "started elsewhere",
    Registered -> Stopping: "stop",
    Registered -> Failed: "error",
    Initialising -> Running: "ready",
    Initialising -> Stopping: "stop",
    Initialising -> Failed: "error",
    Running -> Degraded: "impaired",
    Running -> Draining: "drain",
    Running -> Stopping: "stop",
    Running -> Failed: "error",
    Degraded -> Running: "recovered",
    Degraded -> Draining: "drain",
    Degraded -> Stopping: "stop",
    Degraded -> Failed: "error",
    Draining -> Stopping: "drained",
    Draining -> Failed: "error",
    Stopping -> Stopped: "stopped",
    Stopping -> Failed: "error",
    Stopped -> Initialising: "restart",
    Failed -> Initialising: "restart",
};

states! {
    /// How far the recovery of a channel has come.
    pub enum RecoveryState {
        /// Nothing is to be recovered.
        Idle,
        /// Announced; what is wrong is looked at.
        Initiating,
        /// The channel's sources are stopped.
        StoppingCapture,
        /// What it had taken in is made durable.
        FlushingBuffers,
        /// It begins anew.
        Reinitialising,
        /// Its memory, threads and handles are looked at.
        VerifyingResources,
        /// Its components are looked at.
        VerifyingComponents,
        /// It works again.
        Completed,
        /// It does not; why is told beside it.
        Failed,
    }
}

/// The table of a channel's recovery.
pub static RECOVERY: Table<RecoveryState> = state_table! {
    RecoveryState, "recovery", version 1, initial Idle, final [Completed, Failed],
    Idle -> Initiating: "begin",
    Initiating -> StoppingCapture: "next",
    Initiating -> Failed: "error",
    StoppingCapture -> FlushingBuffers: "next",
    StoppingCapture -> Failed: "error",
    FlushingBuffers -> Reinitialising: "next",
    FlushingBuffers -> Failed: "error",
    Reinitialising -> VerifyingResources: "next",
    Reinitialising -> Failed: "error",
    VerifyingResources -> VerifyingComponents: "next",
    VerifyingResources -> Failed: "error",
    VerifyingComponents -> Completed: "verified",
    VerifyingComponents -> Failed: "error",
    Completed -> Idle: "ready for the next",
    Failed -> Initiating: "again",
    Failed -> Idle: "given up",
};

states! {
    /// How far a cleanup has come; the middle ones are the [`Phase`]s.
    pub enum CleanupState {
        /// Nobody asked for it.
        NotStarted,
        /// Announcing the stop, checking the state it begins in.
        Initiating,
        /// Sources are read to where they stand, then no more.
        StoppingCapture,
        /// What was taken in is made durable.
        FlushingStorage,
        /// Memory, threads, handles are given back.
        ReleasingResources,
        /// All logs are closed.
        ClosingLogs,
        /// It came to its end.
        Completed,
        /// It was forced, or ran out of time.
        Failed,
    }
}

/// The cleanup's table.
pub static CLEANUP: Table<CleanupState> = state_table! {
    CleanupState, "cleanup", version 1, initial NotStarted, final [Completed, Failed],
    NotStarted -> Initiating: "stop",
    NotStarted -> Failed: "forced",
    Initiating -> StoppingCapture: "next",
    Initiating -> Failed: "forced or out of time",
    StoppingCapture -> FlushingStorage: "next",
    StoppingCapture -> Failed: "forced or out of time",
    FlushingStorage -> ReleasingResources: "next",
    FlushingStorage -> Failed: "forced or out of time",
    ReleasingResources -> ClosingLogs: "next",
    ReleasingResources -> Failed: "forced or out of time",
    ClosingLogs -> Completed: "done",
    ClosingLogs -> Failed: "forced or out of time",
};

impl From<Phase> for CleanupState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Initiating => Self::Initiating,
            Phase::StoppingCapture => Self::StoppingCapture,
            Phase::FlushingStorage => Self::FlushingStorage,
            Phase::ReleasingResources => Self::ReleasingResources,
            Phase::ClosingLogs => Self::ClosingLogs,
        }
    }
}

/// The page of all these tables, as `docs/states.md` has it: a diagram of each.
///
/// ```
/// assert!(evenkeel_core::state::diagrams().contains("    ClosingLogs --> Completed : done\n"));
/// ```
pub fn diagrams() -> String {
    let mut page = String::from(
        "# States\n\nGenerated from the tables in `crates/evenkeel-core/src/state/instances.rs`; a test holds \
         this page to them, and\n`EVENKEEL_REWRITE=1 cargo test -p evenkeel-core --test state` rewrites it.\n",
    );
    page.push_str(&section("A component", &COMPONENT));
    page.push_str(&section("The recovery of a channel", &RECOVERY));
    page.push_str(&section("A cleanup", &CLEANUP));
    page
}

fn section<S: super::State>(title: &str, table: &Table<S>) -> String {
    format!(
        "\n## {title}\n\nTable `{}`, version {}.\n\n```mermaid\n{}```\n",
        table.name(),
        table.version(),
        table.mermaid()
    )
}
