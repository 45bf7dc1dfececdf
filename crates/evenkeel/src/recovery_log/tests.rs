//! Incidents and figures, against stories with a known end and against a naive model.

mod figures;
mod model;

use super::*;
use crate::clock::rfc3339;
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;
/// When every story begins.
const DAWN: u64 = 1_795_253_400 * SECOND;

/// Entries as they come, with a clock.
#[derive(Default)]
pub(super) struct Story {
    pub(super) entries: Vec<Entry>,
    pub(super) now_ns: u64,
}

impl Story {
    pub(super) fn at(&mut self, seconds: f64) -> &mut Self {
        self.now_ns = (seconds * SECOND as f64) as u64;
        self
    }

    /// Adds an entry about `left/writer`, `left`, or `-`.
    pub(super) fn say(&mut self, kind: &str, place: &str, body: Value) -> &mut Self {
        let (channel, component) = match place.split_once('/') {
            Some((channel, component)) => (channel, Some(component.to_owned())),
            None => (place, None),
        };
        self.entries.push(Entry {
            version: 2,
            entry: self.entries.len() as u64 + 1,
            time: rfc3339(DAWN + self.now_ns),
            kind: kind.to_owned(),
            channel: (channel != "-").then(|| channel.to_owned()),
            component,
            prev: String::new(),
            payload: body.to_string().into_bytes(),
            body,
        });
        self
    }

    pub(super) fn fault(&mut self, place: &str, id: u64, code: &str, severity: &str) -> &mut Self {
        let (channel, component) = place.split_once('/').map_or((place, None), |(a, b)| (a, Some(b)));
        let fault = json!({
            "code": code, "class": "x", "severity": severity, "component": component,
            "channel": Some(channel).filter(|channel| *channel != "-"), "phase": null, "step": null,
            "causes": { "texts": ["it burst", "SECRET\u{1b}[2J"], "left_out": 0 }, "site": null, "at_ns": 1,
            "unix_ns": null, "done": { "all": [], "left_out": 0 },
        });
        self.say("fault", place, json!({ "id": id, "fault": fault, "public": "SECRET" }))
    }

    pub(super) fn measure(&mut self, place: &str, fault: u64, measure: &str) -> &mut Self {
        let body = json!({ "fault": fault, "code": "EK-0200", "measure": measure, "who": place,
                           "level": 1, "reason": "policy" });
        self.say("measure", place, body)
    }

    pub(super) fn state(&mut self, place: &str, from: &str, to: &str) -> &mut Self {
        let body = json!({ "machine": "component", "table": "component", "sequence": 1, "from": from, "to": to,
                           "cause": "SECRET", "back_to": null, "failed": 0, "took_ns": 1 });
        self.say("state", place, body)
    }

    pub(super) fn told(&self) -> (Vec<Incident>, Statistics) {
        self.told_with(RecoveryLogOptions::default())
    }

    pub(super) fn told_with(&self, options: RecoveryLogOptions) -> (Vec<Incident>, Statistics) {
        let (mut logger, mut incidents) = (RecoveryLogger::new(options), Vec::new());
        for entry in &self.entries {
            logger.observe(entry, &mut |incident| incidents.push(incident));
        }
        let statistics = logger.finish(&mut |incident| incidents.push(incident));
        (incidents, statistics)
    }
}

/// What matters of incidents.
fn short(incidents: &[Incident]) -> Vec<(&str, u64, u64, Ended, u64)> {
    incidents.iter().map(|i| (i.id.as_str(), i.first_entry, i.last_entry, i.ended, i.faults)).collect()
}

// REQ M4
#[test]
fn a_fault_its_measures_and_its_recovery_are_one_incident() {
    let mut story = Story::default();
    story.at(0.0).say("start", "-", json!({ "name": "recorder" }));
    story.at(1.0).state("left/writer", "Registered", "Running").say("other", "right", json!({}));
    story.at(10.0).fault("left/writer", 7, "EK-1001", "error");
    story.at(10.1).measure("left/writer", 7, "restart");
    story.at(10.2).state("left/writer", "Running", "Failed").state("right/writer", "Registered", "Running");
    story.at(10.5).state("left/writer", "Failed", "Initialising");
    story.at(11.0).state("left/writer", "Initialising", "Running");
    story.at(12.0).say("stderr", "left", json!({ "text": "I am back" }));
    story.at(90.0).say("other", "-", json!({}));
    let (incidents, statistics) = story.told();
    assert_eq!(short(&incidents), [("I-00004", 4, 9, Ended::Recovered, 1)]);
    let incident = &incidents[0];
    assert_eq!(incident.moments.iter().map(|m| m.entry).collect::<Vec<_>>(), [4, 5, 6, 8, 9]);
    assert_eq!(incident.before.iter().map(|m| m.entry).collect::<Vec<_>>(), [2]);
    assert_eq!((incident.duration_ms, incident.place()), (1000.0, "left/writer".to_owned()));
    assert_eq!(
        incident.headline(),
        "In left/writer: the disk is full (EK-1001); one fault, one restart; all was well again after 1 s."
    );
    let repair = &statistics.repair;
    assert_eq!(
        repair.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["all", "storage", "left", "left/writer"]
    );
    assert!(repair.iter().all(|r| r.repaired == 1 && r.time_to_repair_ms.mean == 1000.0), "{repair:?}");
}

// REQ M4
#[test]
fn a_crash_loop_is_one_incident_and_other_channels_are_their_own() {
    let mut story = Story::default();
    story.at(0.0).say("start", "-", json!({}));
    for n in 0..4 {
        story.at(f64::from(n) * 20.0);
        story.say("child-failed", "left", json!({ "fault": "exit code 3", "again_after_ms": 100 }));
        story.say("child-failed", "right", json!({ "fault": "exit code 3", "again_after_ms": null }));
        story.say("fault", "left", json!({ "fault": "exit code 3", "for_good": false }));
        story.say("child", "left", json!({ "pid": 42, "command": "capture" }));
    }
    // Long after: a new one.
    story.at(200.0).say("child-failed", "left", json!({ "fault": "exit code 3", "again_after_ms": 100 }));
    story.at(201.0).say("report", "-", json!({ "clean": true, "exit_code": 0 }));
    let (incidents, statistics) = story.told();
    assert_eq!(
        short(&incidents),
        [
            ("I-00002", 2, 17, Ended::Recovered, 4),
            // Who was given up is not well because nothing more is heard of it.
            ("I-00003", 3, 15, Ended::Failed, 4),
            ("I-00018", 18, 18, Ended::Stopped, 1),
        ]
    );
    assert_eq!(incidents[0].done["run again"], 4);
    assert_eq!((statistics.commands[0].count, statistics.commands_failed[0].count), (4, 5));
    assert_eq!(statistics.faults, 9, "what the recorder remarks is told by the command's own entry");
}

// REQ M4
#[test]
fn a_command_that_failed_is_one_fault_though_two_entries_tell_of_it() {
    let mut story = Story::default();
    story.at(0.0).say("start", "-", json!({}));
    for (at, id, after_ms) in [(1.0, 1, Some(200)), (2.0, 2, None)] {
        let body = json!({ "fault": "exit status 1", "again_after_ms": after_ms, "reported": true });
        story.at(at).say("child-failed", "left", body);
        story.fault("left", id, "EK-0201", "error");
        if after_ms.is_some() {
            story.at(1.2).say("child", "left", json!({ "pid": 42, "command": "capture" }));
        }
    }
    story.at(90.0).say("report", "-", json!({ "clean": true, "exit_code": 0 }));
    let (incidents, statistics) = story.told();
    assert_eq!(short(&incidents), [("I-00002", 2, 6, Ended::Failed, 2)]);
    assert_eq!(incidents[0].code.map(|code| code.to_string()).as_deref(), Some("EK-0201"));
    assert_eq!((statistics.faults, statistics.commands_failed[0].count), (2, 2));
}

// REQ M4, REQ E2
#[test]
fn what_names_a_fault_belongs_to_its_incident_wherever_it_happens() {
    let mut story = Story::default();
    story.at(0.0).say("start", "-", json!({})).fault("left/writer", 7, "EK-0800", "error");
    story.at(0.1).measure("right/reader", 7, "note").measure("right/reader", 8, "restart");
    story.at(0.2).say(
        "recovery",
        "left",
        json!({ "fault": 7, "step": "verify", "state": "done", "ms": 1.2 }),
    );
    let (incidents, _) = story.told();
    assert_eq!(incidents[0].moments.iter().map(|m| m.entry).collect::<Vec<_>>(), [2, 3, 5]);
    assert_eq!(incidents[0].places, ["left/writer", "right/reader", "left"]);
    // A number of another run is another fault.
    story.at(1.0).say("start", "-", json!({})).fault("left/writer", 1, "EK-0800", "error");
    story.measure("right/reader", 7, "restart");
    let (incidents, _) = story.told();
    let expected = [("I-00002", 2, 5, Ended::Recovered, 1), ("I-00007", 7, 7, Ended::Open, 1)];
    assert_eq!(short(&incidents), expected);
    assert_eq!((incidents[0].moments.len(), incidents[1].moments.len()), (3, 1));
}

// REQ M4
#[test]
fn an_incident_ends_as_the_rules_say() {
    let grave = |story: &mut Story| {
        story.at(0.0).say("start", "-", json!({})).fault("left/mic", 1, "EK-0200", "error");
    };
    let ends = |tell: &dyn Fn(&mut Story)| {
        let mut story = Story::default();
        grave(&mut story);
        tell(&mut story);
        let (incidents, _) = story.told();
        assert_eq!(incidents.len(), 1);
        (incidents[0].ended, incidents[0].over.is_some())
    };
    let later = |story: &mut Story, seconds: f64| {
        story.at(seconds).say("other", "-", json!({}));
    };
    assert_eq!(ends(&|_| ()), (Ended::Open, false));
    assert_eq!(ends(&|story| later(story, 59.9)), (Ended::Open, false));
    assert_eq!(ends(&|story| later(story, 60.0)), (Ended::Quiet, true));
    assert_eq!(
        ends(&|s| {
            s.say("report", "-", json!({}));
        }),
        (Ended::Stopped, true)
    );
    assert_eq!(
        ends(&|s| {
            s.say("start", "-", json!({}));
        }),
        (Ended::Crashed, true)
    );
    let isolated = |s: &mut Story| {
        s.measure("left", 1, "isolate");
        later(s, 1000.0);
    };
    assert_eq!(ends(&isolated), (Ended::Isolated, true));
    let released = |s: &mut Story| {
        isolated(s);
        s.measure("left", 1, "release");
    };
    assert_eq!(ends(&released), (Ended::Recovered, true));
    let other_component = |s: &mut Story| {
        s.state("left/other", "Initialising", "Running");
    };
    assert_eq!(ends(&other_component), (Ended::Open, false));
    let lapsed = |s: &mut Story| {
        s.say("recovery", "left", json!({ "fault": 1, "step": "verify", "state": "lapsed" }));
    };
    assert_eq!(ends(&lapsed), (Ended::Open, false));
    // A clock that is set back lets nothing end, and nothing take less than no time.
    let back = |s: &mut Story| {
        s.at(5.0).state("left/mic", "Running", "Failed");
        s.at(0.0).state("left/mic", "Initialising", "Running");
    };
    assert_eq!(ends(&back), (Ended::Recovered, true));
}

// REQ M4
#[test]
fn mild_faults_begin_nothing_and_summaries_count() {
    let mut story = Story::default();
    story.at(0.0).say("start", "-", json!({})).fault("left/mic", 1, "EK-0200", "warning");
    assert_eq!(story.told().0, []);
    let summary = json!({ "who": "left", "count": 9990, "first": 2, "last": 9991, "severity": "error",
                          "by_class": { "storage": 9000, "timeout": 990, "SECRET": 1 }, "from": "x", "to": "y" });
    story.say("fault-summary", "left", summary).measure("right", 9991, "note");
    let (incidents, statistics) = story.told();
    assert_eq!(short(&incidents), [("I-00003", 3, 3, Ended::Open, 9990)]);
    assert_eq!(incidents[0].moments.len(), 2);
    assert_eq!((statistics.faults, statistics.by_class[0].name.as_str()), (9991, "storage"));
}

// REQ M4
#[test]
fn a_summary_that_comes_late_makes_nothing_ill_again() {
    for (severity, to_s, ended) in
        [("error", 1, Ended::Recovered), ("error", 3, Ended::Open), ("notice", 3, Ended::Recovered)]
    {
        let mut story = Story::default();
        story.at(0.0).fault("left/mic", 1, "EK-0200", "error");
        story.at(2.0).state("left/mic", "Initialising", "Running");
        let summary = json!({ "count": 12_345, "severity": severity, "to": rfc3339(DAWN + to_s * SECOND) });
        story.at(4.0).say("fault-summary", "left/mic", summary);
        let incident = &story.told().0[0];
        assert_eq!((incident.ended, incident.faults), (ended, 12_346));
        assert!(incident.headline().contains("; 12,346 faults, "), "{}", incident.headline());
    }
}

// REQ E6
#[test]
fn nothing_private_is_in_what_is_public() {
    let mut story = Story::default();
    story.at(0.0).fault("left/writer", 1, "EK-1001", "error").measure("left/writer", 1, "restart");
    story.state("left/writer", "SECRET /x", "Running").say("stderr", "left", json!({ "text": "SECRET" }));
    story.say("child-failed", "left", json!({ "fault": "SECRET", "again_after_ms": 5 }));
    story.say("child", "left", json!({ "command": "SECRET", "pid": 1 }));
    story.say("SECRET kind", "left", json!({ "x": "SECRET" })).say(
        "fault",
        "left",
        json!({ "fault": "SECRET" }),
    );
    story.say("fault", "left", json!({ "fault": { "code": "SECRET", "severity": "SECRET" } }));
    story.say("recovery", "left", json!({ "step": "SECRET !", "state": "done", "why": "SECRET" }));
    story.say("state-refused", "left", json!({ "machine": "m", "by": "guard", "why": "SECRET" }));
    story.say("thread", "left", json!({ "text": "SECRET" })).say(
        "stop",
        "left",
        json!({ "reason": "SECRET" }),
    );
    story.say("step-outcome", "left", json!({ "step": "/SECRET", "verdict": "Failed", "detail": "SECRET" }));
    story.say("observer", "left", json!({ "text": "SECRET" })).say("x", "SECRET/../x", json!({}));
    story.say("measure", "left", json!({ "measure": "retry", "who": "SECRET/x y", "reason": "SECRET" }));
    let (incidents, _) = story.told();
    let incident = &incidents[0];
    assert_eq!(incident.moments.len(), story.entries.len() - 1);
    let public: Vec<&str> = incident.moments.iter().map(|moment| moment.public.as_str()).collect();
    let public = format!("{public:?} {}", incident.headline());
    assert!(!public.contains("SECRET"), "{public}");
    let private = |moment: &Moment| format!("{} {:?}", moment.text, moment.causes).contains("SECRET");
    let kept = incident.moments.iter().filter(|moment| private(moment)).count();
    assert!(kept >= 14, "{kept}: what is private is told where it may be");
}

// REQ M4
#[test]
fn memory_is_bounded_however_strange_the_journal_is() {
    let mut story = Story::default();
    for n in 0..3000u64 {
        let place = format!("c{n}/x{n}");
        story.fault(&place, n, "EK-0200", "error").say(&format!("kind-{n}"), &place, json!({ "n": n }));
        story.state("left/m", &format!("S{n}"), &format!("S{}", n + 1));
    }
    for n in 0..2000 {
        story.fault("c0/x", 5000 + n, "EK-0200", "error");
    }
    for n in 0..500 {
        story.say("stderr", "c1", json!({ "text": format!("line {n}") }));
        if n % 100 == 50 {
            story.fault("c1/x1", 9000 + n, "EK-0200", "error");
        }
    }
    let options = RecoveryLogOptions { moments_max: 10, ..RecoveryLogOptions::default() };
    let (incidents, statistics) = story.told_with(options);
    assert_eq!((incidents.len(), statistics.crowded_out), (1024, 3000 - 1024));
    assert!(incidents.iter().all(|incident| incident.moments.len() <= 10 && incident.places.len() <= 64));
    assert_eq!((incidents[0].faults, incidents[0].left_out), (2001, 2002 - 10));
    // Output gives way to all else, and not all else to output.
    assert_eq!(incidents[1].moments.iter().filter(|m| m.role != Role::Output).count(), 7);
    assert!(statistics.growth.by_kind.len() <= 1025 && statistics.machines[0].edges.len() <= 65);
    assert_eq!(
        statistics.growth.by_kind.iter().map(|kind| kind.count).sum::<u64>(),
        story.entries.len() as u64
    );
}
