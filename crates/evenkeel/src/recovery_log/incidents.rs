//! Which entries belong together; the rules stand in `recovery_log.rs`.

use super::incident::{Ended, Incident};
use super::moment::{Moment, Role, word};
use super::said::{Course, Failure, Said, class_of};
use super::{RecoveryLogOptions, unix_ns};
use crate::journal::Entry;
use evenkeel_core::fault::{Code, Severity};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Channels that are told apart; what concerns a further one is left out, and counted.
const CHANNELS_MAX: usize = 1024;
/// Faults of which it is known to which incident they belong; the oldest are forgotten first.
const FAULTS_MAX: usize = 65_536;
/// Things that failed in one incident and do not work yet, by name; of more only that there are.
const UNWELL_MAX: usize = 64;
/// Places and measures of one incident.
const WORDS_MAX: usize = 64;

/// A channel; `None` is the system.
type Key = Option<String>;

/// An incident that is not over.
#[derive(Debug)]
struct Open {
    incident: Incident,
    began_ns: u64,
    /// Its last entry that counts.
    last: (u64, u64),
    /// What failed and does not work yet, by component; `None` for the channel's own.
    unwell: BTreeSet<Option<String>>,
    /// Entry and time by which all was well.
    well: Option<(u64, u64)>,
    is_isolated: bool,
    is_given_up: bool,
}

#[derive(Debug, Default)]
struct Channel {
    open: Option<Box<Open>>,
    recent: VecDeque<Moment>,
}

/// Finds incidents in entries.
#[derive(Debug)]
pub(super) struct Grouping {
    options: RecoveryLogOptions,
    channels: BTreeMap<Key, Channel>,
    /// The channel of each fault of this run that has a number and belongs to an incident.
    faults: BTreeMap<u64, Key>,
    /// The latest time so far.
    now_ns: u64,
    /// No incident is quiet for long enough before.
    look_again_ns: u64,
    /// Whether there were entries since the last report.
    is_running: bool,
    /// Whether every channel has an incident open, and there is room for none.
    is_crowded: bool,
    crowded_out: u64,
}

impl Default for Grouping {
    fn default() -> Self {
        Self::new(RecoveryLogOptions::default())
    }
}

impl Grouping {
    pub(super) fn new(options: RecoveryLogOptions) -> Self {
        Self {
            options,
            channels: BTreeMap::new(),
            faults: BTreeMap::new(),
            now_ns: 0,
            look_again_ns: u64::MAX,
            is_running: false,
            is_crowded: false,
            crowded_out: 0,
        }
    }

    pub(super) fn observe(&mut self, entry: &Entry, closed: &mut dyn FnMut(Incident)) {
        let said = Said::of(entry);
        if matches!(said, Said::Start) {
            // Who began anew without a report had died.
            let ended = if self.is_running { Ended::Crashed } else { Ended::Stopped };
            self.close_all(ended, closed);
            self.faults.clear();
        }
        // Clocks may be set back; what happened does not go back.
        self.now_ns = unix_ns(entry).unwrap_or(0).max(self.now_ns);
        if self.now_ns >= self.look_again_ns {
            self.close_quiet(closed);
        }
        self.place(entry, &said);
        // What begins in the middle of a run is of one, too.
        self.is_running = !matches!(said, Said::Report { .. });
        if !self.is_running {
            self.close_all(Ended::Stopped, closed);
        }
    }

    /// The journal ends; answers how many faults were left out because there were too many channels.
    pub(super) fn finish(mut self, closed: &mut dyn FnMut(Incident)) -> u64 {
        if self.now_ns >= self.look_again_ns {
            self.close_quiet(closed);
        }
        self.close_all(Ended::Open, closed);
        self.crowded_out
    }

    /// Puts an entry where it belongs.
    fn place(&mut self, entry: &Entry, said: &Said<'_>) {
        let of = match said {
            Said::Measure { fault, .. } | Said::Recovery { fault, .. } => {
                fault.and_then(|fault| self.faults.get(&fault)).cloned()
            }
            _ => None,
        };
        let key = of.unwrap_or_else(|| entry.channel.clone());
        if !self.channels.contains_key(&key) && !self.has_room() {
            self.crowded_out += u64::from(matches!(said, Said::Fault(_) | Said::Summary { .. }));
            return;
        }
        let (now_ns, options) = (self.now_ns, self.options);
        let channel = self.channels.entry(key.clone()).or_default();
        let begins = channel.open.is_none() && is_grave(said);
        if begins {
            channel.open = Some(Box::new(Open::begin(entry, said, now_ns, &mut channel.recent)));
        }
        if let Some(open) = &mut channel.open {
            open.take(entry, said, now_ns, options.moments_max);
            let quiet_at = open.quiet_at(options.settle.as_nanos());
            self.look_again_ns = self.look_again_ns.min(quiet_at);
            if let Said::Fault(Failure { id: Some(id), .. }) = said {
                self.know(*id, key);
            } else if let Said::Summary { first, last, .. } = said {
                [first, last].into_iter().flatten().for_each(|id| self.know(*id, key.clone()));
            }
        } else if options.before_max > 0 {
            if channel.recent.len() == options.before_max {
                channel.recent.pop_front();
            }
            channel.recent.push_back(Moment::of(entry));
        }
    }

    /// Whether one more channel can be told apart; those without an incident make room.
    fn has_room(&mut self) -> bool {
        if self.channels.len() >= CHANNELS_MAX && !self.is_crowded {
            self.channels.retain(|_, channel| channel.open.is_some());
            self.is_crowded = self.channels.len() >= CHANNELS_MAX;
        }
        self.channels.len() < CHANNELS_MAX
    }

    fn know(&mut self, id: u64, key: Key) {
        if self.faults.len() >= FAULTS_MAX {
            self.faults.pop_first();
        }
        self.faults.insert(id, key);
    }

    fn close_quiet(&mut self, closed: &mut dyn FnMut(Incident)) {
        let (now_ns, settle_ns) = (self.now_ns, self.options.settle.as_nanos());
        (self.look_again_ns, self.is_crowded) = (u64::MAX, false);
        for channel in self.channels.values_mut() {
            let Some(open) = &channel.open else { continue };
            let quiet_at = open.quiet_at(settle_ns);
            if now_ns < quiet_at {
                self.look_again_ns = self.look_again_ns.min(quiet_at);
            } else if let Some(open) = channel.open.take() {
                closed(open.close(Ended::Quiet));
            }
        }
    }

    /// Closes what is open, in the order in which it began.
    fn close_all(&mut self, ended: Ended, closed: &mut dyn FnMut(Incident)) {
        let mut all: Vec<_> = self.channels.values_mut().filter_map(|channel| channel.open.take()).collect();
        all.sort_by_key(|open| open.incident.first_entry);
        all.into_iter().for_each(|open| closed(open.close(ended)));
        (self.look_again_ns, self.is_crowded) = (u64::MAX, false);
    }
}

/// Whether an entry begins an incident.
fn is_grave(said: &Said<'_>) -> bool {
    match said {
        Said::Fault(Failure { severity, .. }) | Said::Summary { severity, .. } => {
            *severity >= Severity::Error
        }
        _ => false,
    }
}

impl Open {
    fn begin(entry: &Entry, said: &Said<'_>, now_ns: u64, recent: &mut VecDeque<Moment>) -> Self {
        let failed = match said {
            Said::Fault(failure) => failure.component.map(str::to_owned),
            _ => entry.component.as_deref().map(str::to_owned),
        };
        let incident = Incident {
            id: Incident::id_of(entry.entry),
            first_entry: entry.entry,
            last_entry: entry.entry,
            channel: entry.channel.clone(),
            component: failed,
            code: None,
            class: class_of(None),
            severity: Severity::Error,
            began: entry.time.clone(),
            over: None,
            duration_ms: 0.0,
            ended: Ended::Open,
            faults: 0,
            done: BTreeMap::new(),
            places: Vec::new(),
            before: recent.drain(..).collect(),
            moments: Vec::new(),
            left_out: 0,
        };
        Self {
            incident,
            began_ns: now_ns,
            last: (entry.entry, now_ns),
            unwell: BTreeSet::new(),
            well: None,
            is_isolated: false,
            is_given_up: false,
        }
    }

    /// When it will have been quiet for long enough.
    fn quiet_at(&self, settle_ns: u128) -> u64 {
        if self.is_isolated || self.is_given_up {
            return u64::MAX;
        }
        let (_, since) = self.well.unwrap_or(self.last);
        since.saturating_add(u64::try_from(settle_ns).unwrap_or(u64::MAX))
    }

    /// Takes an entry that belongs to it.
    fn take(&mut self, entry: &Entry, said: &Said<'_>, now_ns: u64, moments_max: usize) {
        let here = (entry.entry, now_ns);
        match said {
            Said::Fault(failure) => self.fault(failure, here),
            Said::Summary { count, severity, to_ns, .. } => {
                self.incident.faults = self.incident.faults.saturating_add(*count);
                self.incident.severity = self.incident.severity.max(*severity);
                // It tells of what was before: perhaps all was well since.
                let is_news = self.well.is_none_or(|(_, well_ns)| to_ns.is_none_or(|to_ns| to_ns > well_ns));
                if is_news && *severity >= Severity::Error {
                    self.unwell_again(entry.component.clone(), here);
                }
            }
            Said::Measure { measure, .. } => self.measure(measure, here),
            Said::Recovery { step, state, .. } => {
                self.recovery(entry.component.as_deref(), step, state, here);
            }
            Said::State { to, table } => self.state(entry.component.as_deref(), table, to, here),
            Said::Child => {
                self.count("run again");
                self.is_given_up = false;
                self.all_well(here);
            }
            Said::Stop | Said::Start | Said::Report { .. } | Said::Output | Said::Other => {}
        }
        let moment = Moment::of(entry);
        let place = moment.place();
        if self.incident.places.len() < WORDS_MAX && !self.incident.places.contains(&place) {
            self.incident.places.push(place);
        }
        self.keep(moment, moments_max);
    }

    fn fault(&mut self, failure: &Failure<'_>, here: (u64, u64)) {
        self.incident.severity = self.incident.severity.max(failure.severity);
        match failure.course {
            // It was told already by who is nearer to it, unless it begins the incident.
            Course::Remark if self.incident.faults > 0 => return,
            Course::GivenUp => self.is_given_up = true,
            Course::Remark | Course::Open => {}
        }
        if failure.is_announced {
            self.unwell_again(failure.component.map(str::to_owned), here);
            return;
        }
        self.incident.faults = self.incident.faults.saturating_add(1);
        // The general code of a command that ended gives way to what is known better.
        if self.incident.code.is_none_or(|code| code == Code::EXITED) && failure.code.is_some() {
            self.incident.code = failure.code;
            self.incident.class = class_of(failure.code);
        }
        if failure.severity >= Severity::Error {
            self.unwell_again(failure.component.map(str::to_owned), here);
        }
    }

    fn measure(&mut self, measure: &str, here: (u64, u64)) {
        if !matches!(measure, "note" | "noted") {
            self.count(word(Some(measure)));
        }
        match measure {
            "retry" | "restart" | "recover" | "stop" => self.last = here,
            "isolate" => {
                self.is_isolated = true;
                self.well = None;
                self.last = here;
            }
            "release" => {
                self.is_isolated = false;
                self.is_given_up = false;
                self.all_well(here);
            }
            _ => {}
        }
    }

    fn recovery(&mut self, of: Option<&str>, step: &str, state: &str, here: (u64, u64)) {
        self.last = here;
        match (step, state) {
            ("restart", "done") if of.is_some() => self.well_again(of, here),
            ("verify" | "restart", "done") => self.all_well(here),
            (_, "failed" | "lapsed") => self.unwell_again(of.map(str::to_owned), here),
            _ => {}
        }
    }

    fn state(&mut self, of: Option<&str>, table: &str, to: &str, here: (u64, u64)) {
        match (table, to) {
            ("component", "Running") => self.well_again(of, here),
            ("component", "Failed") => self.unwell_again(of.map(str::to_owned), here),
            ("recovery", "Completed") => self.all_well(here),
            _ if self.well.is_none() => self.last = here,
            _ => {}
        }
    }

    fn unwell_again(&mut self, what: Option<String>, here: (u64, u64)) {
        self.well = None;
        self.last = here;
        if self.unwell.len() < UNWELL_MAX {
            self.unwell.insert(what);
        }
    }

    fn well_again(&mut self, what: Option<&str>, here: (u64, u64)) {
        let was_unwell = self.unwell.remove(&what.map(str::to_owned));
        // What failed in the channel's own name is mended when its components run.
        if was_unwell && self.unwell.iter().all(Option::is_none) {
            self.all_well(here);
        }
    }

    fn all_well(&mut self, here: (u64, u64)) {
        self.unwell.clear();
        self.last = here;
        if !self.is_isolated && self.well.is_none() {
            self.well = Some(here);
        }
    }

    fn count(&mut self, what: &str) {
        if self.incident.done.len() < WORDS_MAX || self.incident.done.contains_key(what) {
            let times = self.incident.done.entry(what.to_owned()).or_default();
            *times = times.saturating_add(1);
        }
    }

    /// Of more than there is room for, the first half stays, and of the rest the latest; output goes first.
    fn keep(&mut self, moment: Moment, moments_max: usize) {
        let moments = &mut self.incident.moments;
        if moments.len() >= moments_max.max(2) {
            let half = moments.len() / 2;
            let output = moments[half..].iter().position(|moment| moment.role == Role::Output);
            if output.is_none() && moment.role == Role::Output {
                self.incident.left_out += 1;
                return;
            }
            moments.remove(half + output.unwrap_or(0));
            self.incident.left_out += 1;
        }
        moments.push(moment);
    }

    fn close(self: Box<Self>, ended: Ended) -> Incident {
        let mut incident = self.incident;
        let ended = match ended {
            _ if self.well.is_some() => Ended::Recovered,
            Ended::Stopped | Ended::Open if self.is_isolated => Ended::Isolated,
            Ended::Stopped | Ended::Open if self.is_given_up => Ended::Failed,
            ended => ended,
        };
        let (last_entry, last_ns) = self.well.unwrap_or(self.last);
        incident.ended = ended;
        incident.last_entry = last_entry;
        incident.duration_ms = last_ns.saturating_sub(self.began_ns) as f64 / 1e6;
        if ended == Ended::Recovered {
            // What came after all was well is none of it.
            incident.moments.retain(|moment| moment.entry <= last_entry);
        }
        let is_over = ended != Ended::Open;
        incident.over = is_over.then(|| crate::clock::rfc3339(last_ns));
        incident
    }
}
