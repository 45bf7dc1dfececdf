//! The runs of a journal.

use super::{RunEnd, RunStats};
use crate::journal::Entry;
use crate::recovery_log::said::Said;
use std::collections::VecDeque;

/// Runs that are kept.
const RUNS_MAX: usize = 1000;

/// Runs as they come.
#[derive(Debug, Default)]
pub(super) struct Runs {
    done: VecDeque<RunStats>,
    left_out: u64,
    current: Option<(RunStats, u64)>,
    run: u64,
    time_ns: u64,
    last_ns: u64,
}

impl Runs {
    pub(super) fn observe(&mut self, entry: &Entry, said: &Said<'_>, now_ns: u64) {
        if matches!(said, Said::Start) {
            self.end(RunEnd::Crashed, None);
        }
        let (run, _) = self.current.get_or_insert_with(|| {
            self.run += 1;
            let run = RunStats {
                run: self.run,
                first_entry: entry.entry,
                last_entry: entry.entry,
                began: entry.time.clone(),
                over: String::new(),
                duration_ms: 0.0,
                end: RunEnd::Open,
                exit_code: None,
                faults: 0,
            };
            (run, now_ns)
        });
        run.last_entry = entry.entry;
        run.over.clone_from(&entry.time);
        run.faults = run.faults.saturating_add(super::figures::faults_of(said));
        self.last_ns = now_ns;
        if let Said::Report { clean, exit_code } = said {
            let end = if *clean { RunEnd::Clean } else { RunEnd::Unclean };
            self.end(end, Some(*exit_code));
        }
    }

    fn end(&mut self, end: RunEnd, exit_code: Option<u64>) {
        let Some((mut run, began_ns)) = self.current.take() else { return };
        let ran_ns = self.last_ns.saturating_sub(began_ns);
        self.time_ns = self.time_ns.saturating_add(ran_ns);
        run.duration_ms = ran_ns as f64 / 1e6;
        (run.end, run.exit_code) = (end, exit_code);
        if self.done.len() == RUNS_MAX {
            self.done.pop_front();
            self.left_out += 1;
        }
        self.done.push_back(run);
    }

    /// The runs, how many earlier ones there were, and the time of all in nanoseconds.
    pub(super) fn finish(mut self) -> (Vec<RunStats>, u64, u64) {
        self.end(RunEnd::Open, None);
        (self.done.into(), self.left_out, self.time_ns)
    }
}
