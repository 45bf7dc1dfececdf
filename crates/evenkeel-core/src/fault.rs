//! A fault: an error with its context, and its two faces.
//!
//! ```text
//! Fault  -- public_face() -->  PublicFace   status, HTTP, metrics, people
//!   |
//!   +----- private_face() -->  text; serde: the recovery log, and nowhere else
//! ```
//!
//! Invariants:
//! 1. A fault is bounded, however long the texts and chains are that it is made of: at most
//!    [`CAUSES_MAX`] causes and [`TRAIL_MAX`] measures, no text over [`TEXT_BYTES_MAX`]. What was left out is said.
//! 2. [`PublicFace`] has only fields whose types cannot hold private text: a [`Code`], texts of the program itself,
//!    checked [`Name`]s, numbers. A cause, a step, a place in the source cannot get into it.
//! 3. The class follows from the code, also when it is read back: the two never disagree.
//!
//! [`Fault`] has no `Display`, so that nobody prints the private face by mistake.

use crate::Mono;
use crate::cleanup::Phase;
use serde::{Deserialize, Serialize};

mod code;
mod face;
mod kind;
mod name;
mod stored;
mod text;
mod trail;

pub use code::{CODES, Code, CodeError, Explanation};
pub use face::{PrivateFace, PublicFace};
pub use kind::{FaultClass, Severity};
pub use name::Name;
pub use text::{CAUSES_MAX, Causes, TEXT_BYTES_MAX, Text};
pub use trail::{Done, Measure, TRAIL_MAX, Trail};

/// Where in the source a fault was noticed. Private.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The file.
    pub file: Text,
    /// Its line, from 1.
    pub line: u32,
}

impl Site {
    /// The place of the caller.
    #[track_caller]
    pub fn here() -> Self {
        let place = std::panic::Location::caller();
        Self { file: Text::from(place.file()), line: place.line() }
    }
}

/// An error with its context: where it happened, what it is, why, and what was done about it.
///
/// ```
/// use evenkeel_core::Mono;
/// use evenkeel_core::fault::{Causes, Code, Fault, Name, Severity, Site};
///
/// # fn main() -> Result<(), evenkeel_core::NameError> {
/// let error = std::io::Error::other("/srv/ada/left.wav: no space left");
/// let fault = Fault {
///     channel: Some(Name::new("left")?),
///     component: Some(Name::new("writer")?),
///     causes: Causes::of(&error),
///     site: Some(Site::here()),
///     ..Fault::new(Code::STORAGE_FULL, Severity::Error, Mono::from_nanos(1))
/// };
/// let public = fault.public_face().to_string();
/// assert!(public.starts_with("EK-1001 error in left/writer: "));
/// assert!(!public.contains("ada"));
/// assert!(fault.private_face().to_string().contains("/srv/ada/left.wav"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "stored::Stored", into = "stored::Stored")]
pub struct Fault {
    /// What it is, and by that of which class.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The component that failed.
    pub component: Option<Name>,
    /// The channel that it concerns.
    pub channel: Option<Name>,
    /// The phase of a cleanup in which it happened.
    pub phase: Option<Phase>,
    /// The step in which it happened. Private.
    pub step: Option<Text>,
    /// Why, from the outermost error to the root. Private.
    pub causes: Causes,
    /// Where in the source. Private.
    pub site: Option<Site>,
    /// When it was noticed, on the clock that supervision uses.
    pub at: Mono,
    /// The same for people, in nanoseconds since 1970, where it is known.
    pub unix_ns: Option<u64>,
    /// What was done about it.
    pub done: Trail,
}

impl Fault {
    /// A fault without context; the rest is filled in with `..`.
    pub fn new(code: Code, severity: Severity, at: Mono) -> Self {
        Self {
            code,
            severity,
            component: None,
            channel: None,
            phase: None,
            step: None,
            causes: Causes::default(),
            site: None,
            at,
            unix_ns: None,
            done: Trail::default(),
        }
    }

    /// Its class: that of its code.
    pub const fn class(&self) -> FaultClass {
        self.code.class()
    }

    /// What may leave the process.
    pub fn public_face(&self) -> PublicFace {
        PublicFace::of(self)
    }

    /// Everything, as text over several lines: for the recovery log.
    pub const fn private_face(&self) -> PrivateFace<'_> {
        PrivateFace(self)
    }
}

#[cfg(test)]
mod tests;
