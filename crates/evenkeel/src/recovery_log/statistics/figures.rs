//! Entries and incidents in, figures out.

use super::machines::Machines;
use super::runs::Runs;
use super::steps::Steps;
use super::{CodeCount, Count, Growth, RepairStats, Statistics};
use crate::journal::Entry;
use crate::recovery_log::incident::{Ended, Incident};
use crate::recovery_log::moment::{place, word};
use crate::recovery_log::said::{Failure, Said, class_of, number};
use crate::recovery_log::spread::Values;
use crate::recovery_log::tally::Tally;
use crate::recovery_log::unix_ns;
use evenkeel_core::fault::{Code, FaultClass};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names of one sort that are told apart.
const NAMES_MAX: usize = 1024;

/// What there is to say of incidents with something in common.
#[derive(Clone, Debug, Default)]
struct Repair {
    incidents: u64,
    times: Values,
}

/// Figures as they come.
#[derive(Debug)]
pub(in crate::recovery_log) struct Figures {
    growth: Growth,
    by_kind: Tally<u64>,
    runs: Runs,
    incidents: BTreeMap<Ended, u64>,
    /// Of all, by class, by channel, by component.
    repair: [(&'static str, Tally<Repair>); 4],
    faults: u64,
    by_code: BTreeMap<Code, u64>,
    by_class: Tally<u64>,
    by_channel: Tally<u64>,
    commands: Tally<u64>,
    commands_failed: Tally<u64>,
    steps: Steps,
    recovery: Steps,
    machines: Machines,
    now_ns: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            growth: Growth::default(),
            by_kind: Tally::new(NAMES_MAX),
            runs: Runs::default(),
            incidents: BTreeMap::new(),
            repair: ["all", "class", "channel", "component"].map(|by| (by, Tally::new(NAMES_MAX))),
            faults: 0,
            by_code: BTreeMap::new(),
            by_class: Tally::new(NAMES_MAX),
            by_channel: Tally::new(NAMES_MAX),
            commands: Tally::new(NAMES_MAX),
            commands_failed: Tally::new(NAMES_MAX),
            steps: Steps::default(),
            recovery: Steps::default(),
            machines: Machines::default(),
            now_ns: 0,
        }
    }
}

/// How many faults an entry tells of. What the recorder remarks on a fault in words is told elsewhere, too.
pub(super) fn faults_of(said: &Said<'_>) -> u64 {
    match said {
        Said::Fault(Failure { code: Some(_), .. }) => 1,
        Said::Summary { count, .. } => *count,
        _ => 0,
    }
}

impl Figures {
    pub(in crate::recovery_log) fn observe(&mut self, entry: &Entry) {
        let said = Said::of(entry);
        self.now_ns = unix_ns(entry).unwrap_or(0).max(self.now_ns);
        self.grow(entry);
        self.runs.observe(entry, &said, self.now_ns);
        let channel = || place(entry.channel.as_deref(), None);
        let faults = faults_of(&said);
        if faults > 0 {
            self.faults = self.faults.saturating_add(faults);
            self.by_channel.add(&channel(), faults);
        }
        if entry.kind == "child-failed" {
            self.commands_failed.add(&channel(), 1);
        }
        match said {
            Said::Fault(Failure { code: Some(code), .. }) => {
                *self.by_code.entry(code).or_default() += 1;
                self.by_class.add(class_of(Some(code)).name(), 1);
            }
            Said::Summary { .. } => self.summary(&entry.body),
            Said::Report { .. } => self.steps.report(&entry.body),
            Said::Recovery { step, state, .. } => {
                self.recovery.recovery(&entry.body, word(Some(step)), state);
            }
            Said::Child => self.commands.add(&channel(), 1),
            _ if entry.kind.starts_with("state") => self.machines.observe(entry, self.now_ns),
            _ => {}
        }
    }

    fn grow(&mut self, entry: &Entry) {
        let growth = &mut self.growth;
        growth.entries += 1;
        growth.bytes += entry.payload.len() as u64;
        growth.first_entry.get_or_insert(entry.entry);
        growth.first_time.get_or_insert_with(|| entry.time.clone());
        growth.last_entry = Some(entry.entry);
        growth.last_time.get_or_insert_default().clone_from(&entry.time);
        if entry.kind == crate::journal::GAP_KIND {
            growth.gaps += 1;
            growth.refused = growth.refused.saturating_add(number(&entry.body, "refused").unwrap_or(0));
        }
        self.by_kind.add(&entry.kind, 1);
    }

    /// The classes of faults that stand in no entry of their own.
    fn summary(&mut self, body: &Value) {
        for (class, count) in body.get("by_class").and_then(Value::as_object).into_iter().flatten() {
            if let Some(class) = FaultClass::ALL.into_iter().find(|known| known.name() == class) {
                self.by_class.add(class.name(), count.as_u64().unwrap_or(0));
            }
        }
    }

    /// Takes an incident that is over.
    pub(in crate::recovery_log) fn incident(&mut self, incident: &Incident) {
        *self.incidents.entry(incident.ended).or_default() += 1;
        let channel = place(incident.channel.as_deref(), None);
        let component = incident.component.is_some().then(|| incident.place());
        let names = [Some("all"), Some(incident.class.name()), Some(&channel), component.as_deref()];
        for ((_, repair), name) in self.repair.iter_mut().zip(names) {
            let Some(name) = name else { continue };
            let repair = repair.of(name);
            repair.incidents += 1;
            if incident.ended == Ended::Recovered {
                repair.times.push(incident.duration_ms);
            }
        }
    }

    pub(in crate::recovery_log) fn finish(self, crowded_out: u64) -> Statistics {
        let (runs, runs_left_out, run_time_ns) = self.runs.finish();
        let run_time_s = run_time_ns as f64 / 1e9;
        let hourly = |of: f64| if run_time_s > 0.0 { of * 3600.0 / run_time_s } else { 0.0 };
        let per_hour = |count: u64| hourly(count as f64);
        let count = |(name, count): (String, u64)| Count { name, count, per_hour: per_hour(count) };
        let counts = |tally: Tally<u64>| tally.ranked().into_iter().map(count).collect::<Vec<_>>();
        let mut growth = self.growth;
        growth.bytes_per_hour = hourly(growth.bytes as f64);
        growth.by_kind = counts(self.by_kind);
        let code = |(code, count): (Code, u64)| CodeCount {
            code,
            class: code.class(),
            title: code.explanation().title,
            count,
            per_hour: per_hour(count),
        };
        let mut by_code: Vec<CodeCount> = self.by_code.into_iter().map(code).collect();
        by_code.sort_by_key(|code| std::cmp::Reverse(code.count));
        let repair = |by: &'static str, (name, Repair { incidents, times }): (String, Repair)| {
            let time_to_repair_ms = times.spread();
            let (repaired, mtbf_s) = (time_to_repair_ms.count, run_time_s / incidents as f64);
            let per_hour = per_hour(incidents);
            RepairStats { by, name, incidents, repaired, time_to_repair_ms, mtbf_s, per_hour }
        };
        let all = self.repair.into_iter().flat_map(|(by, of)| of.into_all().map(move |of| repair(by, of)));
        let ended = |(ended, count): (Ended, u64)| (ended.name().to_owned(), count);
        Statistics {
            version: 1,
            growth,
            runs,
            runs_left_out,
            run_time_s,
            incidents: self.incidents.into_iter().map(ended).map(count).collect(),
            crowded_out,
            repair: all.collect(),
            faults: self.faults,
            by_code,
            by_class: counts(self.by_class),
            by_channel: counts(self.by_channel),
            commands: counts(self.commands),
            commands_failed: counts(self.commands_failed),
            steps: self.steps.finish(),
            recovery: self.recovery.finish(),
            machines: self.machines.finish(&per_hour),
        }
    }
}
