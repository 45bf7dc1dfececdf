//! One incident: what went wrong in a channel, and all that followed.

use super::moment::{Moment, in_words, place};
use evenkeel_core::fault::{Code, FaultClass, Severity};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ended {
    /// Everything that had failed worked again.
    Recovered,
    /// Nothing more was heard of it for the settle time.
    Quiet,
    /// The run stopped before all was well.
    Stopped,
    /// The channel was cut off, and not released by the end of the run or of the journal.
    Isolated,
    /// The channel was given up, and not well by the end of the run or of the journal.
    Failed,
    /// The run ended without a stop before all was well.
    Crashed,
    /// It is not over: the journal ends before.
    Open,
}

impl Ended {
    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Quiet => "quiet",
            Self::Stopped => "stopped",
            Self::Isolated => "isolated",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::Open => "open",
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What went wrong in a channel, and all that followed. The rules stand at the head of
/// [`recovery_log`](crate::recovery_log); an example is at [`RecoveryLogger`](super::RecoveryLogger).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Incident {
    /// `I-` and the number of its first entry, of five digits at least.
    pub id: String,
    /// Number of its first entry.
    pub first_entry: u64,
    /// Number of its last entry; of a recovered one, of the entry by which all was well.
    pub last_entry: u64,
    /// The channel; `None` for the system.
    pub channel: Option<String>,
    /// The component that failed first, where that is known.
    pub component: Option<String>,
    /// The code of its first fault that has one.
    pub code: Option<Code>,
    /// The class of that.
    pub class: FaultClass,
    /// The worst severity of its faults.
    pub severity: Severity,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339; `None` while it is open.
    pub over: Option<String>,
    /// From its first fault to its end, or to its last entry while it is open, in milliseconds.
    pub duration_ms: f64,
    /// How it ended.
    pub ended: Ended,
    /// Faults that belong to it, those of summaries too.
    pub faults: u64,
    /// What was done, and how often: `restart`, `recover`, `run again` and the like.
    pub done: BTreeMap<String, u64>,
    /// Everywhere it was felt: `left/writer`.
    pub places: Vec<String>,
    /// The channel's entries before it.
    pub before: Vec<Moment>,
    /// Its entries.
    pub moments: Vec<Moment>,
    /// How many more it has, left out after the first half.
    pub left_out: u64,
}

impl Incident {
    /// The id of the incident that an entry begins: `I-00042`.
    pub fn id_of(entry: u64) -> String {
        format!("I-{entry:05}")
    }

    /// The entry that an id names; zeroes, the letter and its case do not matter.
    ///
    /// ```
    /// use evenkeel::recovery_log::Incident;
    /// assert_eq!(Incident::parse_id("i-42"), Incident::parse_id(&Incident::id_of(42)));
    /// assert_eq!(Incident::parse_id("42"), Some(42));
    /// assert_eq!(Incident::parse_id("I-x"), None);
    /// ```
    pub fn parse_id(id: &str) -> Option<u64> {
        let digits = id.strip_prefix("I-").or_else(|| id.strip_prefix("i-")).unwrap_or(id);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|entry| is_number && *entry > 0)
    }

    /// Where it began: `left/writer`, `left`, or `the system`.
    pub fn place(&self) -> String {
        place(self.channel.as_deref(), self.component.as_deref())
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.duration_ms / 1e3).unwrap_or_default()
    }

    /// What was done, in words: `2 restarts`.
    pub fn done_in_words(&self) -> String {
        let done: Vec<String> = self.done.iter().map(|(what, times)| times_in_words(what, *times)).collect();
        match done.as_slice() {
            [] => "nothing was done".to_owned(),
            [one] => one.clone(),
            [all @ .., last] => format!("{} and {last}", all.join(", ")),
        }
    }

    /// What happened, how long, what was done, and whether it is well now: one sentence that may leave the process.
    pub fn headline(&self) -> String {
        let what = match self.code {
            Some(code) => format!("{} ({code})", code.explanation().title),
            None => "something failed".to_owned(),
        };
        let faults = if self.faults == 1 {
            "one fault".to_owned()
        } else {
            format!("{} faults", thousands(self.faults))
        };
        let (took, done) = (in_words(self.duration()), self.done_in_words());
        let now = match self.ended {
            Ended::Recovered => format!("all was well again after {took}"),
            Ended::Quiet => format!("nothing more was heard of it after {took}"),
            Ended::Stopped => format!("the program was stopped {took} after it began, before all was well"),
            Ended::Isolated => "it was not released since".to_owned(),
            Ended::Failed => format!("it was given up after {took}"),
            Ended::Crashed => format!("the program died {took} after it began"),
            Ended::Open => format!("not well yet, {took} after it began"),
        };
        format!("In {}: {what}; {faults}, {done}; {now}.", self.place())
    }
}

/// A count in groups of three digits.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(|group| String::from_utf8_lossy(group));
    let groups: Vec<_> = groups.collect();
    [&digits[..head], &groups.join(",")]
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(",")
}

fn times_in_words(what: &str, times: u64) -> String {
    let (one, many) = match what {
        "retry" => ("one retry", "retries"),
        "restart" => ("one restart", "restarts"),
        "recover" => ("one recovery of the channel", "recoveries of the channel"),
        "isolate" => ("the channel was cut off", "times cut off"),
        "release" => ("the channel was released", "times released"),
        "stop" => ("the system was stopped", "stops of the system"),
        "run again" if times > 1 => return format!("the command was run again {times} times"),
        "run again" => ("the command was run again", ""),
        other => return if times == 1 { other.to_owned() } else { format!("{times} x {other}") },
    };
    if times == 1 { one.to_owned() } else { format!("{times} {many}") }
}
