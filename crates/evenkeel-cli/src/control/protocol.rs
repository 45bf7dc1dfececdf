//! What is said over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of the protocol, and of the status.
pub(super) const VERSION: u64 = 1;
/// Bytes of a request, its line break included.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Bytes of a reason for a stop.
const REASON_BYTES_MAX: usize = 1000;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// How the recorder does.
    Status {},
    /// The end of the recording, in order or at once.
    Stop {
        #[serde(default)]
        force: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// With the version that each object has.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u64,
    #[serde(flatten)]
    what: &'a T,
}

/// An object as a line.
pub(super) fn line(what: &impl Serialize) -> Vec<u8> {
    let versioned = Versioned { version: VERSION, what };
    let mut line = serde_json::to_vec(&versioned).expect("invariant: what is said here is plain JSON");
    line.push(b'\n');
    line
}

impl Request {
    /// Reads a request, without its line break.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|e| format!("a request is JSON: {e}"))?;
        let Value::Object(mut fields) = value else {
            return Err("a request is a JSON object".to_owned());
        };
        match fields.remove("version") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "version {version} of the control protocol is asked for; this recorder speaks version {VERSION}"
                ));
            }
            None => return Err(format!("a request has a version; this recorder speaks version {VERSION}")),
        }
        let request: Self = serde_json::from_value(Value::Object(fields)).map_err(|e| e.to_string())?;
        if let Self::Stop { reason: Some(reason), .. } = &request {
            check_reason(reason).map_err(|wrong| format!("reason: {wrong}"))?;
        }
        Ok(request)
    }
}

/// Whether this can be the reason of a stop: it is shown to people, and kept.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > REASON_BYTES_MAX {
        return Err(format!("1 to {REASON_BYTES_MAX} bytes of text are allowed, not {}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("text without control characters is allowed".to_owned());
    }
    Ok(text.to_owned())
}

/// The answer to what cannot be answered otherwise.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
    /// Whether it is worth to ask again.
    #[serde(default)]
    pub(super) busy: bool,
}

/// How a recorder does: the object of `status --json`, but for the version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) state: String,
    pub(crate) uptime_s: f64,
    pub(crate) stop_forecast_ms: f64,
    pub(crate) channels: Vec<ChannelStatus>,
    pub(crate) alerts: Vec<String>,
    /// Most threads at once.
    #[serde(default)]
    pub(crate) threads_max: usize,
    #[serde(default)]
    pub(crate) threads: Vec<ThreadStatus>,
    /// What a later recorder of this version may say besides.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// How one channel does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChannelStatus {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) accepted_records: u64,
    pub(crate) accepted_bytes: u64,
    pub(crate) committed_records: u64,
    pub(crate) committed_bytes: u64,
    pub(crate) dropped_records: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) kernel_dropped: Option<u64>,
    pub(crate) queue_records: u64,
    pub(crate) queue_bytes: u64,
    pub(crate) gaps: u64,
    pub(crate) restarts: u64,
    pub(crate) last_fault: Option<String>,
    /// Where it listens, if it does.
    pub(crate) listening: Option<String>,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// How one thread does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThreadStatus {
    pub(crate) name: String,
    pub(crate) class: String,
    /// `busy`, `waiting` or `stuck`.
    pub(crate) state: String,
    /// Time on a processor, and time that it could have run and had none.
    pub(crate) cpu_ms: f64,
    pub(crate) run_queue_wait_ms: f64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// The first answer to a request for a stop: it is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stopping {
    pub(crate) state: String,
    pub(crate) pid: u32,
    pub(crate) grace_ms: u64,
}

/// The second: it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    /// What the recorder's process exits with.
    pub(crate) exit_code: u8,
    pub(crate) clean: bool,
    pub(crate) complete: bool,
    pub(crate) reason: String,
    pub(crate) initiated_by: String,
    pub(crate) duration_ms: f64,
    pub(crate) abandoned: Vec<String>,
    /// Why the report's file could not be written, if it could not.
    pub(crate) report_fault: Option<String>,
    /// All that in the words that the recorder has for people.
    pub(crate) verdict: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is the test's")]
    use super::*;

    // REQ W2
    #[test]
    fn requests_read_back() {
        let stop = |force, reason: Option<&str>| Request::Stop { force, reason: reason.map(str::to_owned) };
        for request in [Request::Status {}, stop(false, None), stop(true, Some("the tape is full"))] {
            let line = line(&request);
            let (end, line) = line.split_last().unwrap();
            assert_eq!((*end, Request::parse(line)), (b'\n', Ok(request)));
            assert!(!line.contains(&b'\n'));
        }
        assert_eq!(Request::parse(br#"{"version":1,"command":"stop"}"#), Ok(stop(false, None)));
    }

    // REQ W2, REQ E6
    #[test]
    fn what_is_no_request_is_told_by_name() {
        let long = format!(r#"{{"version":1,"command":"stop","reason":"{}"}}"#, "x".repeat(1001));
        let deep = "[".repeat(10_000);
        for (wrong, told) in [
            ("", "JSON"),
            ("garbage", "JSON"),
            ("\u{0}\u{1}", "JSON"),
            (&deep, "JSON"),
            ("[1]", "JSON object"),
            (r#"{"command":"status"}"#, "has a version"),
            (r#"{"version":2,"command":"status"}"#, "version 2"),
            (r#"{"version":"1","command":"status"}"#, "version \"1\""),
            (r#"{"version":1}"#, "command"),
            (r#"{"version":1,"command":"dance"}"#, "dance"),
            // What it does not know might make all the difference.
            (r#"{"version":1,"command":"stop","channel":"left"}"#, "channel"),
            (r#"{"version":1,"command":"status","channel":"left"}"#, "channel"),
            (r#"{"version":1,"command":"stop","force":"yes"}"#, "boolean"),
            (r#"{"version":1,"command":"stop","reason":" "}"#, "reason"),
            (r#"{"version":1,"command":"stop","reason":"\u001b[2J"}"#, "control characters"),
            (&long, "1 to 1000 bytes"),
        ] {
            let error = Request::parse(wrong.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
