//! A machine whatever its states are: as names and numbers.

use super::inner::Inner;
use super::{MachineName, Outcome, Snapshot, State};
use crate::clock;
use evenkeel_core::Mono;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How a machine stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MachineInfo {
    /// Its name.
    pub name: MachineName,
    /// Its table.
    pub table: &'static str,
    /// That table's version.
    pub version: u32,
    /// Where it is.
    pub state: &'static str,
    /// Since when.
    pub since: Mono,
    /// How many changes it has made.
    pub sequence: u64,
    /// Whether it may rest there for good.
    pub is_final: bool,
    /// Where a change leads that is under way, and for how long it has been.
    pub under_way: Option<(&'static str, Duration)>,
    /// How many changes were not even tried.
    pub refused: u64,
    /// How many observers it has.
    pub observers: usize,
    /// How many changes wait to be told to them, but for those in mailboxes.
    pub untold: usize,
    /// Whether it is said to go to and fro.
    pub is_flapping: bool,
}

/// What became of the changes along one edge, as names and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EdgeFigures {
    /// Where it begins.
    pub from: &'static str,
    /// Where it leads.
    pub to: &'static str,
    /// Changes that were made.
    pub done: u64,
    /// Changes that were refused by a guard, an invariant or the journal, or abandoned.
    pub undone: u64,
    /// A bound that half of those that were made took less than.
    pub half_took: Option<Duration>,
}

/// A machine whatever its states are. It keeps the machine.
///
/// ```
/// use evenkeel::state::{COMPONENT, ComponentState, MachineName, States};
///
/// let all = States::default();
/// let power = all.machine(&COMPONENT, "power").build()?;
/// power.change(ComponentState::Running, "plugged in")?;
/// let view = all.view(power.name()).expect("it is there");
/// assert_eq!(view.info().state, "Running");
/// assert!(view.history()[0].contains("change 1: Registered -> Running, plugged in"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MachineView(pub(super) Arc<dyn AnyMachine>);

impl fmt::Debug for MachineView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MachineView").field(&self.info()).finish()
    }
}

impl MachineView {
    /// How it stands.
    pub fn info(&self) -> MachineInfo {
        self.0.info()
    }

    /// What was tried, the oldest first, a line each.
    pub fn history(&self) -> Vec<String> {
        self.0.history()
    }

    /// What became of the changes along each edge that was tried.
    pub fn figures(&self) -> Vec<EdgeFigures> {
        self.0.figures()
    }

    /// The machine as text.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// A diagram of its table, in mermaid's words.
    pub fn diagram(&self) -> String {
        self.0.diagram()
    }
}

/// What the registry asks of a machine.
pub(super) trait AnyMachine: Send + Sync {
    fn name(&self) -> &MachineName;
    fn info(&self) -> MachineInfo;
    fn is_journalled(&self) -> bool;
    fn history(&self) -> Vec<String>;
    fn figures(&self) -> Vec<EdgeFigures>;
    fn snapshot(&self) -> Snapshot;
    fn diagram(&self) -> String;
    fn check(&self) -> Result<(), String>;
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<S: State> AnyMachine for Inner<S> {
    fn name(&self) -> &MachineName {
        &self.name
    }

    fn is_journalled(&self) -> bool {
        self.options.is_journalled
    }

    fn info(&self) -> MachineInfo {
        let now = clock::mono();
        self.with(|core| MachineInfo {
            name: self.name.clone(),
            table: self.table.name(),
            version: self.table.version(),
            state: core.machine.state().name(),
            since: core.machine.since(),
            sequence: core.machine.sequence(),
            is_final: core.machine.is_final(),
            under_way: core.machine.under_way().map(|(_, to, since)| (to.name(), now.since(since))),
            refused: core.machine.refused(),
            observers: core.observers.iter().count(),
            untold: core.outbox.len() + usize::from(core.delivering.is_some()),
            is_flapping: core.machine.is_flapping(now),
        })
    }

    fn history(&self) -> Vec<String> {
        let entries: Vec<_> = self.with(|core| core.machine.history().cloned().collect());
        entries.iter().map(line).collect()
    }

    fn figures(&self) -> Vec<EdgeFigures> {
        let all = self.with(|core| core.machine.metrics());
        let figures = all.into_iter().map(|edge| EdgeFigures {
            from: edge.from.name(),
            to: edge.to.name(),
            done: edge.done,
            undone: edge.guard_refused + edge.invariant_failed + edge.not_journalled + edge.abandoned,
            half_took: edge.took.quantile(0.5),
        });
        figures.filter(|edge| edge.done + edge.undone > 0).collect()
    }

    fn snapshot(&self) -> Snapshot {
        self.with(|core| core.machine.snapshot())
    }

    fn diagram(&self) -> String {
        self.table.mermaid()
    }

    fn check(&self) -> Result<(), String> {
        self.with(|core| {
            core.machine.check().map_err(|fault| fault.to_string())?;
            let (state, sequence) = self.seen();
            let is = (core.machine.state(), core.machine.sequence());
            if is == (state, sequence) {
                return Ok(());
            }
            Err(format!(
                "it shows {} after change {sequence}, and is {} after change {}",
                state.name(),
                is.0.name(),
                is.1
            ))
        })
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// One attempt as a line of text.
fn line<S: State>(entry: &super::Entry<S>) -> String {
    let (from, to, cause) = (entry.from.name(), entry.to.name(), &entry.cause);
    let way = format!("{from} -> {to}, {cause}");
    match &entry.outcome {
        Outcome::Done => format!("change {}: {way} ({:.1?})", entry.sequence, entry.took),
        Outcome::RolledBack { to, failed: 0 } => format!("change {}: back to {to}: {way}", entry.sequence),
        Outcome::RolledBack { to, failed } => {
            format!("change {}: back to {to}: {way}; {failed} compensations failed", entry.sequence)
        }
        Outcome::GuardRefused { why } => format!("{}: {way}: refused by guard {why}", entry.ticket),
        Outcome::InvariantFailed { why } => format!("{}: {way}: would break {why}", entry.ticket),
        Outcome::NotJournalled { why } => format!("{}: {way}: not journalled: {why}", entry.ticket),
        _ => format!("{}: {way}: abandoned", entry.ticket),
    }
}
