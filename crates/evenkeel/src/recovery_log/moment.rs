//! One entry in words: what everybody may read, and what is private.

use super::said::{self, number, text};
use super::unix_ns;
use crate::journal::Entry;
use evenkeel_core::check_name;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Longest text of a moment, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Which part an entry has in an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Something went wrong.
    Fault,
    /// Something was decided about it.
    Measure,
    /// A channel was recovered, a command was run again.
    Recovery,
    /// A state changed.
    State,
    /// What a command or a thread said.
    Output,
    /// Anything else.
    Other,
}

/// An entry in words.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Moment {
    /// Number of the entry.
    pub entry: u64,
    /// When, RFC 3339.
    pub time: String,
    /// The same in nanoseconds since 1970; 0 where the entry says no time.
    pub unix_ns: u64,
    /// Its kind.
    pub kind: String,
    /// Its part in an incident.
    pub role: Role,
    /// The channel it is about.
    pub channel: Option<String>,
    /// The component it is about.
    pub component: Option<String>,
    /// What may leave the process: the program's own words, codes, checked names, numbers.
    pub public: String,
    /// What happened, with texts of others. Private, and not tamed: control characters are as they came.
    pub text: String,
    /// Why, from the outermost cause to the root. Private.
    pub causes: Vec<String>,
}

impl Moment {
    /// An entry in words.
    ///
    /// ```
    /// # use evenkeel::journal::{Journal, JournalOptions, entries};
    /// # use evenkeel::recovery_log::Moment;
    /// # use std::{sync::Arc, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let storage = Arc::new(evenkeel_log::storage::DirStorage::create(dir.path())?);
    /// # let (journal, _) = Journal::open(storage.clone(), JournalOptions::default())?;
    /// journal.append("stderr", Some("left"), serde_json::json!({ "text": "the password is 123" }));
    /// # journal.finish(Duration::from_secs(10))?;
    /// entries(&*storage, false, &mut |entry| {
    ///     let moment = Moment::of(&entry);
    ///     assert_eq!(moment.public, "a line of standard error");
    ///     assert_eq!(moment.text, "standard error: the password is 123");
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(entry: &Entry) -> Self {
        let words = Words::of(entry);
        let Words { role, public, text, causes } = words;
        Self {
            entry: entry.entry,
            time: cut(&entry.time),
            unix_ns: unix_ns(entry).unwrap_or(0),
            kind: cut(&entry.kind),
            role,
            channel: entry.channel.as_deref().map(cut),
            component: entry
                .component
                .as_deref()
                .or_else(|| entry.body.get("fault")?.get("component")?.as_str())
                .map(cut),
            text: if text.is_empty() { public.clone() } else { cut(&text) },
            public,
            causes: causes.iter().map(|cause| cut(cause)).collect(),
        }
    }

    /// Where it happened: `left/writer`, `left`, `writer`, or `the system`.
    pub fn place(&self) -> String {
        place(self.channel.as_deref(), self.component.as_deref())
    }
}

/// Where something happened, of checked names only.
pub(super) fn place(channel: Option<&str>, component: Option<&str>) -> String {
    match (channel.map(name), component.map(name)) {
        (Some(channel), Some(component)) => format!("{channel}/{component}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "the system".to_owned(),
    }
}

/// A name, if it is one.
fn name(text: &str) -> &str {
    if check_name(text).is_ok() { text } else { "?" }
}

/// An identifier of the program, if it looks like one: the name of a state, a machine, a step of a recovery.
pub(super) fn word(text: Option<&str>) -> &str {
    let is_word = |text: &&str| {
        (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    text.filter(is_word).unwrap_or("?")
}

/// A text of bounded length.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_BYTES_MAX - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}

struct Words {
    role: Role,
    public: String,
    /// As `public` where it is empty.
    text: String,
    causes: Vec<String>,
}

impl Words {
    fn new(role: Role, public: String) -> Self {
        Self { role, public, text: String::new(), causes: Vec::new() }
    }

    /// With a private reason.
    fn because(mut self, why: Option<&str>) -> Self {
        self.causes.extend(why.filter(|why| !why.is_empty()).map(str::to_owned));
        self
    }

    fn private(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    fn of(entry: &Entry) -> Self {
        let body = &entry.body;
        match entry.kind.as_str() {
            "fault" => fault(entry),
            "fault-summary" => summary(body),
            "measure" => measure(body),
            "recovery" => recovery(body),
            "state" => state(body),
            "state-refused" => {
                let (machine, by) = (word(text(body, "machine")), word(text(body, "by")));
                let (from, to) = (word(text(body, "from")), word(text(body, "to")));
                Self::new(Role::State, format!("{machine}: {from} -> {to} refused by {by}"))
                    .because(text(body, "why"))
            }
            "state-flapping" => {
                let (machine, state) = (word(text(body, "machine")), word(text(body, "state")));
                let (other, times) = (word(text(body, "other")), number(body, "returns").unwrap_or(0));
                Self::new(
                    Role::State,
                    format!("{machine} flaps between {state} and {other}: {times} returns"),
                )
            }
            "observer" => {
                let (machine, event) = (word(text(body, "machine")), word(text(body, "event")));
                Self::new(Role::Other, format!("an observer of {machine}: {event}"))
                    .because(text(body, "text"))
            }
            "child" | "child-failed" | "child-ended" | "stderr" => child(&entry.kind, body),
            "thread" => {
                let event = word(text(body, "event"));
                Self::new(Role::Output, format!("a thread: {event}"))
                    .private(text(body, "text").unwrap_or("a thread").to_owned())
            }
            kind => of_the_house(kind, body),
        }
    }
}

/// Whatever is not of a channel's life.
fn of_the_house(kind: &str, body: &Value) -> Words {
    let public = match kind {
        "start" => "a run begins".to_owned(),
        "stop" => "the stop begins".to_owned(),
        "report" => {
            let clean = body.get("clean").and_then(Value::as_bool).unwrap_or(false);
            let code = number(body, "exit_code").unwrap_or(1);
            format!("the run ends, {}clean, exit code {code}", if clean { "" } else { "not " })
        }
        "phase" => format!("phase {} {}", word(text(body, "phase")), word(text(body, "state"))),
        "step-outcome" => format!("a step of the stop: {}", word(text(body, "verdict"))),
        "snapshot" => {
            let machines = body.get("machines").and_then(Value::as_array).map_or(0, Vec::len);
            format!(
                "snapshot of {machines} machines, from entry {} on",
                number(body, "from_entry").unwrap_or(0)
            )
        }
        "checkpoint" => format!("signed checkpoint of entry {}", number(body, "of_entry").unwrap_or(0)),
        "anchor" => {
            format!("entries before {} were removed on purpose", number(body, "first_entry").unwrap_or(0))
        }
        "journal-gap" => {
            let refused = number(body, "refused").unwrap_or(0);
            format!("the journal was full: {refused} entries are not in it")
        }
        kind => word(Some(kind)).to_owned(),
    };
    let private = match kind {
        "stop" => text(body, "reason").map(|reason| format!("the stop begins: {reason}")),
        "step-outcome" => text(body, "step").map(|step| format!("{step}: {}", word(text(body, "verdict")))),
        "start" | "report" | "phase" | "snapshot" | "checkpoint" | "anchor" | "journal-gap" => None,
        kind => Some(format!("{kind} {body}")),
    };
    let detail = text(body, "detail").filter(|_| kind == "step-outcome");
    Words::new(Role::Other, public).private(private.unwrap_or_default()).because(detail)
}

fn fault(entry: &Entry) -> Words {
    let Some(fault) = said::whole_fault(entry) else {
        let for_good = entry.body.get("for_good").and_then(Value::as_bool).unwrap_or(false);
        let public = if for_good { "a fault, for good" } else { "a fault" };
        let why = text(&entry.body, "fault");
        let all = entry.body.to_string();
        return Words::new(Role::Fault, public.to_owned()).because(why.or(Some(&all)));
    };
    let title = fault.code.explanation().title;
    let mut words = Words::new(Role::Fault, format!("{} {}: {title}", fault.code, fault.severity));
    if let Some(step) = &fault.step {
        words.text = format!("{} (step {step})", words.public);
    }
    words.causes = fault.causes.texts().iter().map(ToString::to_string).collect();
    if fault.causes.left_out() > 0 {
        words.causes.push(format!("({} more causes)", fault.causes.left_out()));
    }
    if let Some(site) = &fault.site {
        words.causes.push(format!("at {}:{}", site.file, site.line));
    }
    words
}

fn summary(body: &Value) -> Words {
    let count = number(body, "count").unwrap_or(0);
    let severity = said::severity(body).map_or("unknown", evenkeel_core::fault::Severity::name);
    let classes = body.get("by_class").and_then(Value::as_object).into_iter().flatten().take(16);
    let classes: Vec<String> = classes
        .map(|(class, count)| format!("{} {}", word(Some(class)), count.as_u64().unwrap_or(0)))
        .collect();
    let classes = if classes.is_empty() { String::new() } else { format!(" ({})", classes.join(", ")) };
    Words::new(Role::Fault, format!("{count} more faults, {severity} at worst{classes}"))
}

fn measure(body: &Value) -> Words {
    let measure = word(text(body, "measure"));
    let code = text(body, "code").and_then(|code| code.parse::<evenkeel_core::fault::Code>().ok());
    let who = text(body, "who").unwrap_or("");
    let who = match who.split_once('/') {
        Some((channel, component)) => place(Some(channel), Some(component)),
        None if who.is_empty() => String::new(),
        None => place(Some(who), None),
    };
    let of = code.map_or(String::new(), |code| format!(" for {code}"));
    let public = if who.is_empty() { format!("{measure}{of}") } else { format!("{measure} {who}{of}") };
    let reason = text(body, "reason").filter(|reason| *reason != "policy");
    Words::new(Role::Measure, public).because(reason)
}

fn recovery(body: &Value) -> Words {
    let (step, state) = (word(text(body, "step")), word(text(body, "state")));
    let ms = body.get("ms").and_then(Value::as_f64).map_or(String::new(), |ms| {
        format!(" in {}", in_words(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()))
    });
    Words::new(Role::Recovery, format!("recovery: {step} {state}{ms}")).because(text(body, "why"))
}

fn state(body: &Value) -> Words {
    let (machine, from, to) = (text(body, "machine"), text(body, "from"), text(body, "to"));
    let back = number(body, "back_to").map_or(String::new(), |point| format!(", rolled back to {point}"));
    Words::new(Role::State, format!("{}: {} -> {}{back}", word(machine), word(from), word(to)))
        .because(text(body, "cause"))
}

fn child(kind: &str, body: &Value) -> Words {
    let pid = number(body, "pid").map_or(String::new(), |pid| format!(", process {pid}"));
    match kind {
        "child" => {
            Words::new(Role::Recovery, format!("its command runs{pid}")).because(text(body, "command"))
        }
        "child-ended" => {
            Words::new(Role::Other, format!("its command ended{pid}")).because(text(body, "status"))
        }
        "child-failed" => {
            let again = number(body, "again_after_ms").map_or("for good".to_owned(), |ms| {
                format!("again in {}", in_words(Duration::from_millis(ms)))
            });
            Words::new(Role::Fault, format!("its command failed, {again}")).because(text(body, "fault"))
        }
        _ => Words::new(Role::Output, "a line of standard error".to_owned())
            .private(format!("standard error: {}", text(body, "text").unwrap_or(""))),
    }
}

/// A duration as people say it, to three digits.
///
/// ```
/// use evenkeel::recovery_log::in_words;
/// use std::time::Duration;
///
/// assert_eq!(in_words(Duration::from_millis(1234)), "1.23 s");
/// ```
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s if s < 120.0 => (s, "s"),
        s if s < 7200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3600.0, "h"),
        s => (s / 86_400.0, "days"),
    };
    let digits = if value >= 99.95 || value == 0.0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ M4
    #[test]
    fn durations_are_said_as_people_say_them() {
        for (ns, said) in [
            (0, "0 us"),
            (1_500, "1.5 us"),
            (100_000_000, "100 ms"),
            (1_234_000_000, "1.23 s"),
            (90_000_000_000, "90 s"),
            (600_000_000_000, "10 min"),
            (86_400_000_000_000, "24 h"),
            (864_000_000_000_000, "10 days"),
        ] {
            assert_eq!(in_words(Duration::from_nanos(ns)), said);
        }
    }

    // REQ E6
    #[test]
    fn only_identifiers_and_names_are_public() {
        assert_eq!((word(Some("Running")), word(Some("/srv/ada")), word(None)), ("Running", "?", "?"));
        assert_eq!(place(Some("left"), Some("../x")), "left/?");
        assert_eq!(place(None, None), "the system");
        assert_eq!(cut(&"é".repeat(600)).len(), 1023);
    }
}
