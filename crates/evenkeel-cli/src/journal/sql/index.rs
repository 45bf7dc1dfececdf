//! Filling the index, with those tables only that are asked for.

use super::schema::{TABLES, at};
use evenkeel::journal::{Entry, entries};
use evenkeel::recovery_log::{Incident, Moment, RecoveryLogger, RunStats};
use evenkeel_log::storage::DirStorage;
use rusqlite::{Connection, Params, Statement, params};
use serde_json::Value;
use std::io;
use std::time::UNIX_EPOCH;

/// Reads the journal into those of the tables whose bits are set; answers whether damage was met.
pub(super) fn fill(
    index: &mut Connection,
    wanted: u32,
    storage: &DirStorage,
    live: bool,
) -> io::Result<bool> {
    let transaction = index.transaction().map_err(other)?;
    let damaged = {
        let statements = TABLES.iter().map(|table| transaction.prepare(&table.insert()));
        let statements: Vec<_> = statements.collect::<rusqlite::Result<_>>().map_err(other)?;
        Filling { statements, wanted }.read(storage, live)?
    };
    transaction.commit().map_err(other)?;
    Ok(damaged)
}

#[expect(clippy::needless_pass_by_value, reason = "that is how `map_err` calls it")]
fn other(e: rusqlite::Error) -> io::Error {
    io::Error::other(format!("the index cannot be made: {e}"))
}

struct Filling<'a> {
    /// One for each table.
    statements: Vec<Statement<'a>>,
    wanted: u32,
}

impl Filling<'_> {
    fn wants(&self, table: usize) -> bool {
        self.wanted & (1 << table) != 0
    }

    fn add(&mut self, table: usize, row: impl Params) -> rusqlite::Result<()> {
        self.statements[table].execute(row).map(|_| ())
    }

    fn read(mut self, storage: &DirStorage, live: bool) -> io::Result<bool> {
        let groups = self.wants(at::RUNS) || self.wants(at::INCIDENTS);
        let mut logger = groups.then(RecoveryLogger::default);
        let mut told = Ok(());
        let read = entries(storage, live, &mut |entry| {
            self.entry(&entry).map_err(other)?;
            if let Some(logger) = &mut logger {
                logger.observe(&entry, &mut |incident| told = self.incident(&incident));
            }
            std::mem::replace(&mut told, Ok(())).map_err(other)
        })?;
        if let Some(logger) = logger {
            let mut left = Vec::new();
            let statistics = logger.finish(&mut |incident| left.push(incident));
            left.iter().try_for_each(|incident| self.incident(incident)).map_err(other)?;
            if self.wants(at::RUNS) {
                statistics.runs.iter().try_for_each(|run| self.run(run)).map_err(other)?;
            }
        }
        Ok(read.damaged)
    }

    fn entry(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let Entry { time, kind, channel, component, body, .. } = entry;
        let (number, ns) = (entry.entry as i64, unix_ns(entry));
        if self.wants(at::ENTRIES) {
            let (text, bytes) = (body.to_string(), entry.payload.len() as i64);
            self.add(at::ENTRIES, params![number, time, ns, kind, channel, component, text, bytes])?;
        }
        match kind.as_str() {
            "state" | "state-refused" if self.wants(at::STATES) => self.state(entry),
            // It is reported as a fault, which comes after it.
            "child-failed" if body.get("reported").is_some() => Ok(()),
            "fault" | "fault-summary" | "child-failed" if self.wants(at::FAULTS) => self.fault(entry),
            "measure" | "recovery" if self.wants(at::MEASURES) => {
                let measure = text(body, "measure").or_else(|| text(body, "step"));
                let reason = text(body, "reason").or_else(|| text(body, "why"));
                let ms = body.get("ms").and_then(Value::as_f64);
                let (fault, code) = (integer(body, "fault"), text(body, "code"));
                let (state, who) = (text(body, "state"), text(body, "who"));
                self.add(
                    at::MEASURES,
                    params![
                        number, time, ns, channel, component, fault, code, measure, state, who, reason, ms
                    ],
                )
            }
            "report" if self.wants(at::STEPS) => self.steps(entry),
            _ => Ok(()),
        }
    }

    fn state(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let Entry { time, channel, component, body, .. } = entry;
        let (number, ns) = (entry.entry as i64, unix_ns(entry));
        let [machine, from, to, by] = ["machine", "from", "to", "by"].map(|key| text(body, key));
        let cause = text(body, "cause").or_else(|| text(body, "why"));
        let (back_to, took_ns) = (integer(body, "back_to"), integer(body, "took_ns"));
        self.add(
            at::STATES,
            params![number, time, ns, channel, component, machine, from, to, cause, back_to, took_ns, by],
        )
    }

    fn fault(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let Entry { time, channel, body, .. } = entry;
        let (number, ns) = (entry.entry as i64, unix_ns(entry));
        let moment = Moment::of(entry);
        let fault = body.get("fault").filter(|fault| fault.is_object()).unwrap_or(&Value::Null);
        let [code, class] = ["code", "class"].map(|key| text(fault, key));
        let severity = text(fault, "severity").or_else(|| text(body, "severity")).unwrap_or("error");
        let count = integer(body, "count").unwrap_or(1);
        let (id, causes) = (integer(body, "id"), moment.causes.join("\n"));
        self.add(
            at::FAULTS,
            params![
                number,
                time,
                ns,
                channel,
                moment.component,
                id,
                code,
                class,
                severity,
                count,
                moment.public,
                causes
            ],
        )
    }

    fn steps(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let (number, ns) = (entry.entry as i64, unix_ns(entry));
        for phase in list(&entry.body, "phases") {
            for step in list(phase, "steps") {
                let [name, channel, verdict, detail] =
                    ["name", "channel", "verdict", "detail"].map(|key| text(step, key));
                let ms = |key: &str| step.get(key).and_then(Value::as_f64);
                let (phase, attempts) = (text(phase, "phase"), integer(step, "attempts"));
                let (run, verify) = (ms("run_ms"), ms("verify_ms"));
                self.add(
                    at::STEPS,
                    params![
                        number, entry.time, ns, phase, name, channel, verdict, attempts, run, verify, detail
                    ],
                )?;
            }
        }
        Ok(())
    }

    fn run(&mut self, run: &RunStats) -> rusqlite::Result<()> {
        let ended = serde_json::to_value(run.end).unwrap_or_default();
        let (number, first, last) = (run.run as i64, run.first_entry as i64, run.last_entry as i64);
        let exit_code = run.exit_code.map(|code| code as i64);
        let faults = run.faults as i64;
        self.add(
            at::RUNS,
            params![
                number,
                first,
                last,
                run.began,
                run.over,
                run.duration_ms,
                ended.as_str(),
                exit_code,
                faults
            ],
        )
    }

    fn incident(&mut self, incident: &Incident) -> rusqlite::Result<()> {
        if !self.wants(at::INCIDENTS) {
            return Ok(());
        }
        let Incident { id, channel, component, began, over, duration_ms, .. } = incident;
        let (first, last) = (incident.first_entry as i64, incident.last_entry as i64);
        let code = incident.code.map(|code| code.to_string());
        let (class, severity, ended) =
            (incident.class.name(), incident.severity.name(), incident.ended.name());
        let (faults, headline) = (incident.faults as i64, incident.headline());
        self.add(
            at::INCIDENTS,
            params![
                id,
                first,
                last,
                channel,
                component,
                code,
                class,
                severity,
                began,
                over,
                duration_ms,
                ended,
                faults,
                headline
            ],
        )
    }
}

fn unix_ns(entry: &Entry) -> Option<i64> {
    i64::try_from(entry.at()?.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn text<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    of.get(key)?.as_str()
}

fn integer(of: &Value, key: &str) -> Option<i64> {
    of.get(key)?.as_i64()
}

fn list<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    of.get(key).and_then(Value::as_array).into_iter().flatten()
}
