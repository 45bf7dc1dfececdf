//! `evenkeel journal stats`: figures over the whole journal, as tables.

use super::shown::{milliseconds, text as shown};
use super::timeline::duration;
use super::{done, opened, with_output};
use crate::args::journal::Stats;
use crate::text::{bytes, count, table};
use evenkeel::recovery_log::{
    Count, EdgeStats, MachineStats, RecoveryLogOptions, RepairStats, RunEnd, RunStats, Statistics, StepStats,
    analyse,
};
use std::fmt::Write as _;
use std::time::Duration;

/// Rows of a table that people are shown; `--json` has all.
const ROWS_MAX: usize = 20;
/// Edges of a machine that people are shown.
const EDGES_MAX: usize = 8;

pub(super) fn run(arguments: &Stats) -> u8 {
    let read = opened(&arguments.dir).and_then(|(storage, live)| {
        let (statistics, read) = analyse(&storage, live, RecoveryLogOptions::default(), &mut |_| ())?;
        with_output(|out| {
            if arguments.json {
                serde_json::to_writer_pretty(&mut *out, &statistics)?;
                return writeln!(out);
            }
            out.write_all(page(&statistics).as_bytes())
        })?;
        Ok(Some(read.damaged))
    });
    done(&arguments.dir, read)
}

/// Everything, as people read it.
fn page(statistics: &Statistics) -> String {
    let mut page = String::new();
    growth(&mut page, statistics);
    runs(&mut page, statistics);
    repair(&mut page, statistics);
    faults(&mut page, statistics);
    steps(&mut page, "slowest steps of stops", &statistics.steps);
    steps(&mut page, "slowest parts of recoveries", &statistics.recovery);
    machines(&mut page, &statistics.machines);
    page
}

/// A titled table of so many rows at most, and how many more there are.
fn section<T>(page: &mut String, title: &str, head: &[&str], of: &[T], row: impl Fn(&T) -> Vec<String>) {
    if of.is_empty() {
        return;
    }
    let head = head.iter().map(|word| (*word).to_owned()).collect();
    let rows: Vec<_> = std::iter::once(head).chain(of.iter().take(ROWS_MAX).map(row)).collect();
    let _ = write!(page, "\n{title}:\n{}", table(&rows));
    if of.len() > ROWS_MAX {
        let _ = writeln!(page, "  and {} more; --json has them", count((of.len() - ROWS_MAX) as u64));
    }
}

fn growth(page: &mut String, statistics: &Statistics) {
    let growth = &statistics.growth;
    let ran = duration(Duration::try_from_secs_f64(statistics.run_time_s).unwrap_or_default());
    let _ =
        write!(page, "{} entries, {}, over {ran} of run time", count(growth.entries), bytes(growth.bytes));
    if let (Some(first), Some(last)) = (&growth.first_time, &growth.last_time) {
        let _ = write!(page, ", {}Z to {}Z", shown(milliseconds(first)), shown(milliseconds(last)));
    }
    let _ = writeln!(page);
    if statistics.run_time_s > 0.0 {
        let _ = writeln!(page, "it grows by {} an hour", bytes(growth.bytes_per_hour as u64));
    }
    if growth.gaps > 0 {
        let (times, refused) = (count(growth.gaps), count(growth.refused));
        let times = if growth.gaps == 1 { "once".to_owned() } else { format!("{times} times") };
        let _ = writeln!(page, "the journal was full {times}: {refused} entries are not in it");
    }
    section(page, "entries", &["kind", "count", "an hour"], &growth.by_kind, counted);
}

fn counted(of: &Count) -> Vec<String> {
    vec![shown(&of.name), count(of.count), rate(of.per_hour)]
}

fn rate(per_hour: f64) -> String {
    if per_hour >= 100.0 { count(per_hour.round() as u64) } else { format!("{per_hour:.2}") }
}

fn ms(ms: f64) -> String {
    duration(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default())
}

fn runs(page: &mut String, statistics: &Statistics) {
    let total = statistics.runs.len() as u64 + statistics.runs_left_out;
    let title = if total > ROWS_MAX as u64 {
        format!("runs, the latest of {}", count(total))
    } else {
        "runs".to_owned()
    };
    let latest = &statistics.runs[statistics.runs.len().saturating_sub(ROWS_MAX)..];
    section(page, &title, &["run", "began", "lasted", "ended", "faults"], latest, |run: &RunStats| {
        let end = match (run.end, run.exit_code) {
            (RunEnd::Clean, _) => "clean".to_owned(),
            (RunEnd::Unclean, Some(code)) => format!("not clean, exit code {code}"),
            (RunEnd::Crashed, _) => "without a stop".to_owned(),
            (RunEnd::Open, _) => "under way, or killed".to_owned(),
            (_, _) => "not clean".to_owned(),
        };
        let began = format!("{}Z", shown(milliseconds(&run.began)));
        vec![run.run.to_string(), began, ms(run.duration_ms), end, count(run.faults)]
    });
}

fn repair(page: &mut String, statistics: &Statistics) {
    section(page, "incidents", &["ended", "count", "an hour"], &statistics.incidents, counted);
    if statistics.crowded_out > 0 {
        let left_out = count(statistics.crowded_out);
        let _ = writeln!(page, "  {left_out} faults are in none: too many channels were in trouble at once");
    }
    let head = [
        "of",
        "which",
        "incidents",
        "repaired",
        "mean",
        "median",
        "p95",
        "longest",
        "between failures",
        "an hour",
    ];
    section(page, "time to repair", &head, &statistics.repair, |repair: &RepairStats| {
        let times = &repair.time_to_repair_ms;
        let or_none = |value: f64| if repair.repaired == 0 { "-".to_owned() } else { ms(value) };
        vec![
            repair.by.to_owned(),
            if repair.by == "all" { String::new() } else { shown(&repair.name) },
            count(repair.incidents),
            count(repair.repaired),
            or_none(times.mean),
            or_none(times.median),
            or_none(times.p95),
            or_none(times.max),
            ms(repair.mtbf_s * 1e3),
            rate(repair.per_hour),
        ]
    });
}

fn faults(page: &mut String, statistics: &Statistics) {
    if statistics.faults > 0 {
        let _ = writeln!(page, "\n{} faults", count(statistics.faults));
    }
    section(
        page,
        "faults by code",
        &["code", "what", "class", "count", "an hour"],
        &statistics.by_code,
        |code| {
            vec![
                code.code.to_string(),
                code.title.to_owned(),
                code.class.to_string(),
                count(code.count),
                rate(code.per_hour),
            ]
        },
    );
    section(page, "faults by class", &["class", "count", "an hour"], &statistics.by_class, counted);
    section(page, "faults by channel", &["channel", "count", "an hour"], &statistics.by_channel, counted);
    section(page, "commands that ran", &["channel", "count", "an hour"], &statistics.commands, counted);
    section(
        page,
        "commands that failed",
        &["channel", "count", "an hour"],
        &statistics.commands_failed,
        counted,
    );
}

fn steps(page: &mut String, title: &str, steps: &[StepStats]) {
    let head = ["step", "times", "failed", "run p95", "run median", "verify p95", "longest"];
    section(page, title, &head, steps, |step: &StepStats| {
        vec![
            shown(&step.name),
            count(step.count),
            count(step.failed),
            ms(step.run_ms.p95),
            ms(step.run_ms.median),
            ms(step.verify_ms.p95),
            ms(step.run_ms.max),
        ]
    });
}

fn machines(page: &mut String, machines: &[MachineStats]) {
    let head = ["machine", "changes", "rolled back", "refused", "flapping"];
    section(page, "states", &head, machines, |machine: &MachineStats| {
        vec![
            shown(&machine.name),
            count(machine.changes),
            count(machine.rollbacks),
            count(machine.refused),
            count(machine.flapping),
        ]
    });
    for machine in machines.iter().take(ROWS_MAX) {
        let edges = &machine.edges[..machine.edges.len().min(EDGES_MAX)];
        let title = format!("{}, its changes", shown(&machine.name));
        let head = ["from", "to", "count", "there before, on average"];
        section(page, &title, &head, edges, |edge: &EdgeStats| {
            let dwell = edge.mean_dwell_ms.map_or_else(|| "-".to_owned(), ms);
            vec![shown(&edge.from), shown(&edge.to), count(edge.count), dwell]
        });
        for sequence in &machine.sequences {
            let _ = writeln!(page, "  {} x {}", count(sequence.count), shown(&sequence.name));
        }
    }
}
