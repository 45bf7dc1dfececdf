//! How machines moved.

use super::{Count, EdgeStats, MachineStats};
use crate::journal::Entry;
use crate::recovery_log::moment::{place, word};
use crate::recovery_log::said::text;
use crate::recovery_log::tally::Tally;

/// Machines that are told apart.
const MACHINES_MAX: usize = 2048;
/// Edges, and sequences, of one machine that are told apart.
const EDGES_MAX: usize = 64;
/// Sequences that are told.
const SEQUENCES_TOLD: usize = 5;
/// Stands between the states of a sequence.
const ARROW: &str = " -> ";

#[derive(Clone, Debug, Default)]
struct Edge {
    count: u64,
    dwelt: u64,
    dwell_ns: u128,
}

#[derive(Clone, Debug)]
struct Machine {
    changes: u64,
    rollbacks: u64,
    refused: u64,
    flapping: u64,
    edges: Tally<Edge>,
    sequences: Tally<u64>,
    /// The state before the last change, the one after it, and when that was.
    last: Option<(String, String, u64)>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            changes: 0,
            rollbacks: 0,
            refused: 0,
            flapping: 0,
            edges: Tally::new(EDGES_MAX),
            sequences: Tally::new(EDGES_MAX),
            last: None,
        }
    }
}

/// All machines.
#[derive(Debug)]
pub(super) struct Machines(Tally<Machine>);

impl Default for Machines {
    fn default() -> Self {
        Self(Tally::new(MACHINES_MAX))
    }
}

impl Machines {
    pub(super) fn observe(&mut self, entry: &Entry, now_ns: u64) {
        let machine = word(text(&entry.body, "machine"));
        let name = format!("{} {machine}", place(entry.channel.as_deref(), entry.component.as_deref()));
        let machine = self.0.of(&name);
        match entry.kind.as_str() {
            "state" => machine.change(entry, now_ns),
            "state-refused" => machine.refused += 1,
            "state-flapping" => machine.flapping += 1,
            _ => {}
        }
    }

    /// The busiest first.
    pub(super) fn finish(self, per_hour: &dyn Fn(u64) -> f64) -> Vec<MachineStats> {
        let mut all: Vec<_> =
            self.0.into_all().map(|(name, machine)| machine.finish(name, per_hour)).collect();
        all.sort_by(|a, b| b.changes.cmp(&a.changes).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

impl Machine {
    fn change(&mut self, entry: &Entry, now_ns: u64) {
        let (from, to) = (word(text(&entry.body, "from")), word(text(&entry.body, "to")));
        self.changes += 1;
        self.rollbacks += u64::from(entry.body.get("back_to").is_some_and(|point| !point.is_null()));
        let edge = self.edges.of(&format!("{from}{ARROW}{to}"));
        edge.count += 1;
        // What was missed in between is not guessed.
        if let Some((before, at, since_ns)) = self.last.take().filter(|(_, at, _)| at == from) {
            edge.dwelt += 1;
            edge.dwell_ns += u128::from(now_ns.saturating_sub(since_ns));
            self.sequences.add(&format!("{before}{ARROW}{at}{ARROW}{to}"), 1);
        }
        self.last = Some((from.to_owned(), to.to_owned(), now_ns));
    }

    fn finish(self, name: String, per_hour: &dyn Fn(u64) -> f64) -> MachineStats {
        let edge = |(edge, of): (String, Edge)| {
            let (from, to) = edge.split_once(ARROW).unwrap_or((&edge, ""));
            let mean = (of.dwelt > 0).then(|| of.dwell_ns as f64 / of.dwelt as f64 / 1e6);
            EdgeStats { from: from.to_owned(), to: to.to_owned(), count: of.count, mean_dwell_ms: mean }
        };
        let mut edges: Vec<_> = self.edges.into_all().map(edge).collect();
        edges.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
        let sequences = self.sequences.ranked().into_iter().take(SEQUENCES_TOLD);
        let sequence = |(name, count)| Count { name, count, per_hour: per_hour(count) };
        MachineStats {
            name,
            changes: self.changes,
            rollbacks: self.rollbacks,
            refused: self.refused,
            flapping: self.flapping,
            edges,
            sequences: sequences.map(sequence).collect(),
        }
    }
}
