//! The journal that is told: everything a journal has, and what somebody hostile would put into it.

use evenkeel::journal::{Journal, JournalOptions};
use evenkeel_log::storage::DirStorage;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// What is not to leave the process, nor to be understood by a terminal or a browser.
pub(crate) const HOSTILE: &str = "<script>alert('SECRET')</script>\u{1b}[2J\u{202e}&amp;";

struct Teller(Journal);

impl Teller {
    /// Adds an entry about `left/writer`, `left`, or `-`.
    fn say(&self, kind: &str, place: &str, body: &Value) -> &Self {
        let (channel, component) = match place.split_once('/') {
            Some((channel, component)) => (Some(channel), Some(component)),
            None => (Some(place).filter(|place| *place != "-"), None),
        };
        assert!(self.0.record(kind, channel, component, body).is_some());
        self
    }

    fn fault(&self, place: &str, id: u64, code: &str, severity: &str, causes: &[&str]) -> &Self {
        let (channel, component) = place.split_once('/').unwrap();
        let fault = json!({
            "code": code, "class": "x", "severity": severity, "component": component, "channel": channel,
            "phase": null, "step": "write /srv/SECRET.wav", "causes": { "texts": causes, "left_out": 0 },
            "site": { "file": "src/SECRET.rs", "line": 7 }, "at_ns": 1, "unix_ns": null,
            "done": { "all": [], "left_out": 0 },
        });
        self.say("fault", place, &json!({ "id": id, "fault": fault, "public": "in words" }))
    }

    fn measure(&self, place: &str, fault: u64, code: &str, measure: &str, reason: &str) -> &Self {
        let body = json!({ "fault": fault, "code": code, "measure": measure, "who": place, "level": 1,
                           "reason": reason });
        self.say("measure", place, &body)
    }

    fn state(&self, place: &str, sequence: u64, from: &str, to: &str, cause: &str) -> &Self {
        let body = json!({ "machine": "component", "table": "component", "sequence": sequence, "from": from,
                           "to": to, "cause": cause, "back_to": null, "failed": 0, "took_ns": 120 });
        self.say("state", place, &body)
    }

    fn recovery(&self, fault: u64, step: &str, state: &str) -> &Self {
        let ms = if state == "begun" { Value::Null } else { json!(12.5) };
        self.say(
            "recovery",
            "left",
            &json!({ "fault": fault, "step": step, "state": state, "ms": ms, "why": null }),
        )
    }

    fn pause(&self, ms: u64) -> &Self {
        // sleep: only when the story is told anew, so that its times differ.
        std::thread::sleep(Duration::from_millis(ms));
        self
    }
}

/// Tells the story into a directory: two runs, the second killed.
pub(crate) fn tell(place: &Path) {
    let options = JournalOptions { ballast_bytes: 0, run_id: [7; 16], ..JournalOptions::default() };
    let open = || Teller(Journal::open(Arc::new(DirStorage::create(place).unwrap()), options).unwrap().0);
    let teller = open();
    begins(&teller);
    a_full_disk(&teller);
    a_command_that_fails(&teller);
    the_rest(&teller);
    teller.0.append_with_head("report", report(), "journal_head").unwrap();
    teller.0.finish(LONG).unwrap();
    let teller = open();
    teller.say("start", "-", &json!({ "name": "recorder", "pid": 43, "grace_ms": 20000 }));
    teller.state("left/mic", 1, "Registered", "Running", "start").pause(20);
    teller.fault("left/mic", 1, "EK-0700", "warning", &["it was late"]).pause(20);
    teller.fault("left/mic", 2, "EK-0800", "critical", &["panicked at 'SECRET'"]);
    teller
        .state("left/mic", 2, "Running", "Failed", "error")
        .measure("left", 2, "EK-0800", "isolate", "breaker");
    assert!(teller.0.wait_durable(teller.0.head().entry, LONG));
    // Killed: what is on disk stays without an end.
    std::mem::forget(teller);
}

fn begins(teller: &Teller) {
    teller.say("start", "-", &json!({ "name": "recorder", "pid": 42, "grace_ms": 20000 }));
    teller.say("recording", "-", &json!({ "channels": [{ "name": "left", "source": "exec:capture" }] }));
    teller.state("left/mic", 1, "Registered", "Running", "start").state(
        "left/writer",
        1,
        "Registered",
        "Running",
        "start",
    );
    teller.say("stderr", "left", &json!({ "text": HOSTILE })).pause(40);
}

fn a_full_disk(teller: &Teller) {
    let causes = [HOSTILE, "no space left on device (os error 28)"];
    teller.fault("left/writer", 1, "EK-1001", "error", &causes);
    teller.measure("left/writer", 1, "EK-1001", "restart", "policy").pause(30);
    teller.state("left/writer", 2, "Running", "Failed", HOSTILE);
    teller
        .fault("left/writer", 2, "EK-1001", "error", &causes)
        .measure("left", 2, "EK-1001", "recover", "twice");
    teller.measure("right/reader", 2, "EK-0301", "note", "dependent");
    for step in ["stop-capture", "flush", "reinitialise", "verify"] {
        teller.recovery(2, step, "begun").pause(13).recovery(2, step, "done");
    }
    teller.state("left/writer", 3, "Failed", "Initialising", "restart");
    teller.state("left/writer", 4, "Initialising", "Running", "ready").pause(20);
    let summary = json!({ "who": "left", "count": 9990, "first": 3, "last": 9992, "severity": "notice",
                          "by_class": { "storage": 9990 }, "from": "x", "to": "y" });
    teller.say("fault-summary", "left", &summary);
}

fn a_command_that_fails(teller: &Teller) {
    for _ in 0..2 {
        teller
            .say("child-failed", "right", &json!({ "fault": "exit code 3", "again_after_ms": 100 }))
            .pause(25);
        teller.say("child", "right", &json!({ "pid": 77, "command": "capture --token SECRET" }));
    }
}

fn the_rest(teller: &Teller) {
    let refused =
        json!({ "machine": "component", "from": "Stopped", "to": "Running", "by": "table", "why": HOSTILE });
    teller.say("state-refused", "left/mic", &refused);
    let flaps = json!({ "machine": "component", "state": "Running", "other": "Degraded", "returns": 5, "within_ms": 100 });
    teller.say("state-flapping", "left/mic", &flaps);
    let observer =
        json!({ "machine": "component", "observer": "ui", "event": "slow", "took_ns": 5, "text": HOSTILE });
    teller.say("observer", "left/mic", &observer);
    teller.say("snapshot", "-", &json!({ "from_entry": 30, "machines": [{}, {}], "parts": {} }));
    teller.say("checkpoint", "-", &json!({ "of_entry": 31, "head": "aa", "key": "bb", "signature": "cc" }));
    teller.say("journal-gap", "-", &json!({ "refused": 12 }));
    teller.say("anchor", "-", &json!({ "first_entry": 2, "prev": "00", "removed": ["000001.mcap"] }));
    teller.say("thread", "left", &json!({ "thread": "x", "event": "stuck", "text": HOSTILE }));
    teller.say("a kind of\nothers", "-", &json!({ "n": 1 }));
    teller.say("stop", "-", &json!({ "reason": "signal SIGTERM", "initiated_by": "process 1", "steps": 2 }));
    teller.say("phase", "-", &json!({ "phase": "FlushingStorage", "state": "begun" }));
    teller.say(
        "step-outcome",
        "left",
        &json!({ "step": "flush/left", "verdict": "Verified", "attempts": 1 }),
    );
}

fn report() -> Map<String, Value> {
    let step = |name: &str, channel: Option<&str>, verdict: &str, run_ms: f64| {
        json!({ "name": name, "channel": channel, "verdict": verdict, "journalled": true, "attempts": 1,
                "run_ms": run_ms, "verify_ms": 0.5, "waited_for": [], "detail": null })
    };
    let steps =
        json!([step("flush/left", Some("left"), "Verified", 12.5), step("seal", None, "Failed", 250.0)]);
    let report = json!({ "version": 1, "clean": false, "complete": true, "exit_code": 1, "reason": "signal SIGTERM",
                         "phases": [{ "phase": "FlushingStorage", "duration_ms": 263.0, "steps": steps }] });
    let Value::Object(report) = report else { unreachable!("it is written as one") };
    report
}
