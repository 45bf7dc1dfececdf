//! What the control socket's server says and does: the recorder as it asks for it.

use super::protocol::{ChannelStatus, End, Status, Stopping, ThreadStatus};
use evenkeel::journal::Journal;
use evenkeel::threads::ThreadInfo;
use evenkeel::{Keel, Stopped};
use evenkeel_recorder::{ChannelCounts, Condition, Recorder};
use rustix::net::UCred;
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Part of the grace period that a stop may be expected to take without an alert.
const FORECAST_SHARE_MAX: f64 = 0.8;
/// Entries in the journal about clients that ask for a stop.
const NOTES_MAX: u32 = 16;
/// The reason of a stop that was given none.
const REASON: &str = "evenkeel stop";

/// A recorder that can be asked and stopped.
pub(crate) struct Service {
    keel: Keel,
    recorder: Arc<Recorder>,
    grace: Duration,
    /// Whether a drop makes the exit code 1.
    strict: bool,
    exit_code: Box<dyn Fn(&Stopped) -> u8 + Send>,
    began: Instant,
    /// Whether a client has asked for a stop: it begins a moment later.
    is_asked_to_stop: bool,
    /// Entries that clients may still cause in the journal: its room belongs to the stop.
    notes_left: u32,
}

impl Service {
    /// `exit_code` says what the process will exit with.
    pub(crate) fn new(
        keel: Keel,
        recorder: Arc<Recorder>,
        (grace, strict): (Duration, bool),
        exit_code: impl Fn(&Stopped) -> u8 + Send + 'static,
    ) -> Self {
        let (exit_code, began) = (Box::new(exit_code), Instant::now());
        Self {
            keel,
            recorder,
            grace,
            strict,
            exit_code,
            began,
            is_asked_to_stop: false,
            notes_left: NOTES_MAX,
        }
    }

    pub(super) fn keel(&self) -> &Keel {
        &self.keel
    }

    /// Why the log cannot be written now, or the oldest of it not be removed.
    fn trouble(&self) -> Vec<String> {
        let retention = self.recorder.retention().and_then(Result::err);
        let trouble = self.recorder.public_trouble().map(str::to_owned);
        trouble.into_iter().chain(retention).collect()
    }

    fn state(&self) -> &'static str {
        if self.is_asked_to_stop || self.keel.is_stopping() { "stopping" } else { "recording" }
    }

    pub(super) fn status(&self) -> Status {
        let forecast = self.keel.forecast().total;
        let channels = crate::record::channels_in_public(&self.recorder, &self.keel);
        let threads = self.keel.threads().snapshot();
        let alerts = alerts(&Facts {
            trouble: self.trouble(),
            journal: self.keel.journal().map(Journal::trouble),
            faults: self.recorder.faults(),
            channels: &channels,
            threads: &threads.threads,
            forecast,
            grace: self.grace,
        });
        let listening = self.recorder.listening();
        let channel = |counts: ChannelCounts| {
            let address = listening.iter().find(|(name, _)| *name == counts.name);
            channel(counts, address.map(|(_, address)| address.clone()))
        };
        Status {
            pid: std::process::id(),
            state: self.state().to_owned(),
            uptime_s: self.began.elapsed().as_secs_f64(),
            stop_forecast_ms: forecast.as_secs_f64() * 1e3,
            channels: channels.into_iter().map(channel).collect(),
            alerts,
            threads_max: threads.threads_max,
            threads: threads.threads.iter().map(thread).collect(),
            more: Map::from_iter([("strict".to_owned(), self.strict.into())]),
        }
    }

    /// Asks for the stop.
    pub(super) fn stop(&mut self, force: bool, reason: Option<&str>, by: &str) -> Stopping {
        self.note(force, reason, by);
        self.is_asked_to_stop = true;
        // Who forces without a word wants nothing to begin before it is forced.
        if !force || reason.is_some() {
            self.keel.request_stop(reason.unwrap_or(REASON), by);
        }
        if force {
            self.keel.force(by);
        }
        Stopping {
            state: self.state().to_owned(),
            pid: std::process::id(),
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Writes down who asks for what the journal's entry of the stop will not say: force, or
    /// what is under way already.
    fn note(&mut self, force: bool, reason: Option<&str>, by: &str) {
        let is_more = force || self.state() == "stopping";
        if let (true, 1.., Some(journal)) = (is_more, self.notes_left, self.keel.journal()) {
            self.notes_left -= 1;
            let body = json!({ "command": "stop", "force": force, "reason": reason, "from": by });
            let _ = journal.append("control", None, body);
        }
    }

    pub(super) fn end(&self, stopped: &Stopped) -> End {
        let report = &stopped.report;
        End {
            exit_code: (self.exit_code)(stopped),
            clean: report.clean,
            complete: report.complete,
            reason: report.reason.clone(),
            initiated_by: report.initiated_by.clone(),
            duration_ms: report.duration_ms,
            abandoned: report.abandoned.clone(),
            report_fault: stopped.report_fault.clone(),
            verdict: crate::record::verdict(report),
        }
    }
}

/// What alerts are drawn from.
struct Facts<'a> {
    /// Why the log cannot be written now, or the oldest of it not be removed.
    trouble: Vec<String>,
    /// The journal, if there is one, and what is wrong with it.
    journal: Option<Option<String>>,
    faults: Vec<String>,
    channels: &'a [ChannelCounts],
    threads: &'a [ThreadInfo],
    forecast: Duration,
    grace: Duration,
}

/// What somebody should look at.
fn alerts(facts: &Facts<'_>) -> Vec<String> {
    let mut alerts: Vec<String> = facts.trouble.clone();
    match &facts.journal {
        Some(trouble) => alerts.extend(trouble.iter().map(|trouble| format!("journal: {trouble}"))),
        None => alerts.push("no journal is kept".to_owned()),
    }
    // What is to be said of channels is in their counts. Among the faults is also what does
    // not add up, as it never does while records are on their way.
    let is_told = |rest: &str| rest.starts_with(": ");
    let of_channel =
        |fault: &&String| facts.channels.iter().any(|c| fault.strip_prefix(&*c.name).is_some_and(is_told));
    alerts.extend(facts.faults.iter().filter(|fault| !of_channel(fault)).cloned());
    for counts in facts.channels {
        // One that is about to be run again says why; it may be well by the next look.
        let restarting = counts.last_fault.as_ref().filter(|_| counts.restarting);
        let fault = counts.fault.as_ref().or(restarting);
        alerts.extend(fault.map(|fault| format!("{}: {fault}", counts.name)));
    }
    alerts.extend(facts.threads.iter().filter_map(|thread| {
        let silent_for = thread.silent_for?;
        Some(format!("thread {}: nothing heard for {silent_for:.1?}", thread.name))
    }));
    if facts.forecast > facts.grace.mul_f64(FORECAST_SHARE_MAX) {
        let (forecast, grace) = (facts.forecast.as_millis(), facts.grace.as_millis());
        alerts.push(format!("a stop is expected to take {forecast} ms of a grace period of {grace} ms"));
    }
    alerts
}

fn thread(info: &ThreadInfo) -> ThreadStatus {
    let usage = info.usage.unwrap_or_default();
    let state = match (info.silent_for, info.busy_for) {
        (Some(_), _) => "stuck",
        (None, Some(_)) => "busy",
        (None, None) => "waiting",
    };
    ThreadStatus {
        name: info.name.clone(),
        class: info.class.name().to_owned(),
        state: state.to_owned(),
        cpu_ms: usage.cpu.as_secs_f64() * 1e3,
        run_queue_wait_ms: usage.run_queue_wait.as_secs_f64() * 1e3,
        voluntary_switches: usage.voluntary_switches,
        involuntary_switches: usage.involuntary_switches,
        more: Map::new(),
    }
}

fn channel(counts: ChannelCounts, listening: Option<String>) -> ChannelStatus {
    ChannelStatus {
        state: condition(counts.condition()).to_owned(),
        accepted_records: counts.accepted_records,
        accepted_bytes: counts.accepted_bytes,
        committed_records: counts.committed_records,
        committed_bytes: counts.committed_bytes,
        dropped_records: counts.dropped_records,
        dropped_bytes: counts.dropped_bytes,
        kernel_dropped: counts.kernel_dropped,
        queue_records: counts.queued_records,
        queue_bytes: counts.queued_bytes,
        gaps: counts.gaps,
        restarts: counts.restarts,
        last_fault: counts.last_fault.or(counts.fault),
        listening,
        name: counts.name,
        more: Map::new(),
    }
}

/// A channel's state in the words of the status.
pub(crate) fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Running => "Running",
        Condition::Restarting => "Restarting",
        Condition::Ended => "Ended",
        Condition::Failed => "Failed",
        Condition::Stopped => "Stopped",
        _ => "Unknown",
    }
}

/// A client's process, its name while it still runs, and its user; in the words in
/// which the sender of a signal is told.
pub(super) fn client(credentials: Option<UCred>) -> String {
    let Some(UCred { pid, uid, .. }) = credentials else {
        return "a process that the system does not name".to_owned();
    };
    let of_name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let name = of_name.map(|name| format!(" ({})", name.trim())).unwrap_or_default();
    format!("process {pid}{name} of user {uid}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;
    use evenkeel::threads::ThreadCoordinator;
    use serde_json::Value;

    fn counts() -> ChannelCounts {
        ChannelCounts { name: "left".to_owned(), reading: true, ..ChannelCounts::default() }
    }

    // REQ W1
    #[test]
    fn each_count_has_its_own_field() {
        let counts = ChannelCounts {
            accepted_records: 1,
            accepted_bytes: 2,
            committed_records: 3,
            committed_bytes: 4,
            dropped_records: 5,
            dropped_bytes: 6,
            kernel_dropped: Some(7),
            queued_records: 8,
            queued_bytes: 9,
            gaps: 10,
            restarts: 11,
            last_fault: Some("it stumbled".to_owned()),
            ..counts()
        };
        let status = serde_json::to_value(channel(counts, Some("127.0.0.1:7".to_owned()))).unwrap();
        let expected = json!({
            "name": "left", "state": "Running", "accepted_records": 1, "accepted_bytes": 2,
            "committed_records": 3, "committed_bytes": 4, "dropped_records": 5, "dropped_bytes": 6,
            "kernel_dropped": 7, "queue_records": 8, "queue_bytes": 9, "gaps": 10, "restarts": 11,
            "last_fault": "it stumbled", "listening": "127.0.0.1:7",
        });
        assert_eq!(status, expected);
    }

    // REQ P2
    #[test]
    fn a_channels_state_is_one_of_five_words() {
        let fault = || Some("it broke".to_owned());
        for (counts, state, last_fault) in [
            (counts(), "Running", Value::Null),
            (ChannelCounts { restarting: true, ..counts() }, "Restarting", Value::Null),
            (ChannelCounts { ended: true, ..counts() }, "Ended", Value::Null),
            (ChannelCounts { fault: fault(), ..counts() }, "Failed", json!("it broke")),
            (ChannelCounts { reading: false, ..counts() }, "Stopped", Value::Null),
        ] {
            let status = channel(counts, None);
            assert_eq!((status.state, json!(status.last_fault)), (state.to_owned(), last_fault));
        }
    }

    fn well(channels: &[ChannelCounts]) -> Facts<'_> {
        Facts {
            trouble: Vec::new(),
            journal: Some(None),
            faults: Vec::new(),
            channels,
            threads: &[],
            forecast: Duration::from_millis(800),
            grace: Duration::from_secs(1),
        }
    }

    // REQ T6, REQ T7
    #[test]
    fn a_thread_that_is_stuck_is_an_alert_and_its_state() {
        let threads = ThreadCoordinator::builder().heartbeat(Duration::from_millis(5)).build();
        let events = threads.subscribe();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hangs = threads.thread("hangs").start(move |_| held.recv()).unwrap();
        let event = events.next(Duration::from_secs(60)).unwrap();
        assert!(event.to_string().starts_with("thread hangs is stuck"), "{event}");
        let seen = threads.snapshot().threads;
        let told = alerts(&Facts { threads: &seen, ..well(&[]) });
        assert!(told.len() == 1 && told[0].starts_with("thread hangs: nothing heard for "), "{told:?}");
        let hung = seen.iter().find(|info| info.name == "hangs").unwrap();
        assert_eq!(thread(hung).state, "stuck");
        drop(release);
        assert!(hangs.join().unwrap().is_err());
    }

    // REQ C14, REQ E1
    #[test]
    fn alerts_are_what_somebody_should_look_at() {
        let broken = ChannelCounts { fault: Some("it broke".to_owned()), ..counts() };
        assert_eq!(alerts(&well(&[counts()])), [""; 0]);
        let late = Facts { forecast: Duration::from_millis(801), ..well(&[]) };
        assert_eq!(alerts(&late), ["a stop is expected to take 801 ms of a grace period of 1000 ms"]);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let ill = Facts {
            trouble: words(&["the disk is full"]),
            journal: Some(Some("it refuses entries".to_owned())),
            faults: words(&["left: it broke", "left: 2 records accepted, 1 stored", "left over: segment 3"]),
            ..well(std::slice::from_ref(&broken))
        };
        let all =
            ["the disk is full", "journal: it refuses entries", "left over: segment 3", "left: it broke"];
        assert_eq!(alerts(&ill), all);
        assert_eq!(alerts(&Facts { journal: None, ..well(&[]) }), ["no journal is kept"]);
    }
}
