//! Where a word stands, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;

/// Where a word stands, so that whoever wrote it finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the command line: the flag with its value.
    Flag(String),
    /// In a configuration file, or all of it.
    File { path: PathBuf, spot: Option<Spot> },
}

/// A place inside a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Counted from 1.
    pub(crate) line: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// What stands there, made short.
    pub(crate) said: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(words) => f.write_str(words),
            Self::File { path, spot: None } => write!(f, "{}", path.display()),
            Self::File { path, spot: Some(Spot { line, column, said }) } => {
                write!(f, "{}:{line}:{column}: {said}", path.display())
            }
        }
    }
}

/// A value, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What is wrong: where, what was found there, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) place: Place,
    pub(crate) reason: String,
}

impl Wrong {
    pub(crate) fn new(place: Place, reason: impl Into<String>) -> Self {
        Self { place, reason: reason.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}
