//! The two faces of a fault.

use super::stored::nanos;
use super::{Code, Fault, Name, Severity, Text};
use crate::Mono;
use serde::Serialize;
use std::fmt;

/// What may leave the process. No field of it can hold text that is not the program's own or a checked name.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::fault::{Causes, Code, Fault, Severity};
/// let causes = Causes::text("TOKEN=123");
/// let fault = Fault { causes, ..Fault::new(Code::PANIC, Severity::Error, Mono::from_nanos(0)) };
/// assert!(!format!("{:?}", fault.public_face()).contains("123"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicFace {
    /// The stable code, for `evenkeel explain`.
    pub code: Code,
    /// What happened, in general.
    pub title: &'static str,
    /// What to do about it.
    pub what_to_do: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The component that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Name>,
    /// The channel that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Name>,
    /// When, in nanoseconds of the process's clock.
    #[serde(rename = "at_ns", serialize_with = "nanos::serialize")]
    pub at: Mono,
    /// When, in nanoseconds since 1970, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_ns: Option<u64>,
}

impl PublicFace {
    pub(super) fn of(fault: &Fault) -> Self {
        let explanation = fault.code.explanation();
        Self {
            code: fault.code,
            title: explanation.title,
            what_to_do: explanation.what_to_do,
            severity: fault.severity,
            component: fault.component.clone(),
            channel: fault.channel.clone(),
            at: fault.at,
            unix_ns: fault.unix_ns,
        }
    }
}

/// `left/writer`, `left`, `writer`, or `the system`.
fn place(f: &mut fmt::Formatter<'_>, channel: Option<&Name>, component: Option<&Name>) -> fmt::Result {
    match (channel, component) {
        (Some(channel), Some(component)) => write!(f, "{channel}/{component}"),
        (Some(name), None) | (None, Some(name)) => write!(f, "{name}"),
        (None, None) => f.write_str("the system"),
    }
}

/// A text of others', on one line: what would move a cursor or begin a line is written out.
struct Plain<'a>(&'a Text);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.as_str().split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    write!(f, "{}{}", &part[..at], last.escape_default())?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for PublicFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in ", self.code, self.severity)?;
        place(f, self.channel.as_ref(), self.component.as_ref())?;
        write!(f, ": {}. {}", self.title, self.what_to_do)
    }
}

/// Everything there is to a fault, as text over several lines. See [`Fault::private_face`].
#[derive(Clone, Copy, Debug)]
pub struct PrivateFace<'a>(pub(super) &'a Fault);

impl fmt::Display for PrivateFace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.0;
        write!(f, "{} {} ({}) in ", fault.code, fault.severity, fault.class())?;
        place(f, fault.channel.as_ref(), fault.component.as_ref())?;
        write!(f, ": {}", fault.code.explanation().title)?;
        if let Some(phase) = fault.phase {
            write!(f, "\n  phase: {phase}")?;
        }
        if let Some(step) = &fault.step {
            write!(f, "\n  step: {}", Plain(step))?;
        }
        let texts = fault.causes.texts();
        for (at, text) in texts.iter().enumerate() {
            if at + 1 == texts.len() && fault.causes.left_out() > 0 {
                write!(f, "\n  ({} more)", fault.causes.left_out())?;
            }
            write!(f, "\n  {} {}", if at == 0 { "because:" } else { "from:" }, Plain(text))?;
        }
        if let Some(site) = &fault.site {
            write!(f, "\n  at: {}:{}", Plain(&site.file), site.line)?;
        }
        for done in fault.done.all() {
            write!(f, "\n  done: {} ({} ms later)", done.what, done.at.since(fault.at).as_millis())?;
        }
        Ok(())
    }
}
