//! What an entry says, as far as it matters here. Read leniently: who writes may know more than this version.

use crate::journal::Entry;
use evenkeel_core::fault::{Code, Fault, FaultClass, Severity};
use serde_json::Value;

/// An entry, understood.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// A run begins.
    Start,
    /// A run ends: the report.
    Report { clean: bool, exit_code: u64 },
    /// The stop begins.
    Stop,
    /// Something went wrong.
    Fault(Failure<'a>),
    /// Many faults in one word.
    Summary { count: u64, severity: Severity, first: Option<u64>, last: Option<u64>, to_ns: Option<u64> },
    /// Something was decided about a fault.
    Measure { fault: Option<u64>, measure: &'a str },
    /// A part of a recovery.
    Recovery { fault: Option<u64>, step: &'a str, state: &'a str },
    /// A machine changed its state.
    State { to: &'a str, table: &'a str },
    /// A channel's command runs.
    Child,
    /// Text of others, of which there can be much.
    Output,
    /// About the channel, and nothing of the above.
    Other,
}

/// What is said of a fault.
#[derive(Debug)]
pub(super) struct Failure<'a> {
    /// Its number in its run.
    pub(super) id: Option<u64>,
    pub(super) code: Option<Code>,
    pub(super) severity: Severity,
    /// The component that failed.
    pub(super) component: Option<&'a str>,
    /// What goes on about it, as far as the entry itself says so.
    pub(super) course: Course,
    /// Whether it is reported by an entry of its own, which comes after this one and counts.
    pub(super) is_announced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Others decide.
    Open,
    /// A remark on what is known already.
    Remark,
    /// Nothing more is tried.
    GivenUp,
}

/// A text under a key.
pub(super) fn text<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    body.get(key)?.as_str()
}

/// A time in nanoseconds since 1970.
pub(super) fn nanoseconds(time: &str) -> Option<u64> {
    let since = humantime::parse_rfc3339(time).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

/// A number under a key.
pub(super) fn number(body: &Value, key: &str) -> Option<u64> {
    body.get(key)?.as_u64()
}

pub(super) fn severity(body: &Value) -> Option<Severity> {
    let name = text(body, "severity")?;
    Severity::ALL.into_iter().find(|severity| severity.name() == name)
}

/// The fault that an entry holds, if it is whole.
pub(super) fn whole_fault(entry: &Entry) -> Option<Fault> {
    serde::Deserialize::deserialize(entry.body.get("fault")?).ok()
}

/// The class under whose name a fault is counted.
pub(super) fn class_of(code: Option<Code>) -> FaultClass {
    code.map_or(FaultClass::Execution, Code::class)
}

impl<'a> Said<'a> {
    pub(super) fn of(entry: &'a Entry) -> Self {
        let body = &entry.body;
        match entry.kind.as_str() {
            "start" => Self::Start,
            "report" => Self::Report {
                clean: body.get("clean").and_then(Value::as_bool).unwrap_or(false),
                exit_code: number(body, "exit_code").unwrap_or(1),
            },
            "stop" => Self::Stop,
            "fault" => Self::Fault(fault(entry)),
            "child-failed" => Self::Fault(child_failed(entry)),
            "fault-summary" => Self::Summary {
                count: number(body, "count").unwrap_or(1),
                severity: severity(body).unwrap_or(Severity::Error),
                first: number(body, "first"),
                last: number(body, "last"),
                to_ns: text(body, "to").and_then(nanoseconds),
            },
            "measure" => {
                Self::Measure { fault: number(body, "fault"), measure: text(body, "measure").unwrap_or("") }
            }
            "recovery" => Self::Recovery {
                fault: number(body, "fault"),
                step: text(body, "step").unwrap_or(""),
                state: text(body, "state").unwrap_or(""),
            },
            "state" => {
                Self::State { to: text(body, "to").unwrap_or(""), table: text(body, "table").unwrap_or("") }
            }
            "child" => Self::Child,
            "stderr" => Self::Output,
            _ => Self::Other,
        }
    }
}

fn fault(entry: &Entry) -> Failure<'_> {
    let body = &entry.body;
    let Some(fault) = body.get("fault").filter(|fault| fault.is_object()) else {
        // A remark of the recorder on a channel's last fault, in words.
        let for_good = body.get("for_good").and_then(Value::as_bool).unwrap_or(false);
        let course = if for_good { Course::GivenUp } else { Course::Remark };
        return Failure {
            id: None,
            code: None,
            severity: Severity::Error,
            component: entry.component.as_deref(),
            course,
            is_announced: false,
        };
    };
    Failure {
        id: number(body, "id"),
        code: text(fault, "code").and_then(|code| code.parse().ok()),
        severity: severity(fault).unwrap_or(Severity::Error),
        component: entry.component.as_deref().or_else(|| text(fault, "component")),
        course: Course::Open,
        is_announced: false,
    }
}

/// Recorders of now report it as a fault, too; those before them said this and no more.
fn child_failed(entry: &Entry) -> Failure<'_> {
    let is_announced = entry.body.get("reported").and_then(Value::as_bool).unwrap_or(false);
    let is_run_again = number(&entry.body, "again_after_ms").is_some();
    Failure {
        id: None,
        code: (!is_announced).then_some(Code::EXITED),
        severity: Severity::Error,
        component: entry.component.as_deref(),
        course: if is_run_again { Course::Open } else { Course::GivenUp },
        is_announced,
    }
}
