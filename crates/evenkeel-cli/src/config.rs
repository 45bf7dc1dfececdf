//! What is to be recorded and how: the flags and the configuration file together.
//!
//! ```text
//! file --> document: TOML, with places --> file: what may stand there --\
//! flags ------------------------------------------------------------------> channels --> Settings
//! ```
//!
//! Both are made of the same [`words`](crate::words). Everything is checked before
//! anything is created; what is wrong is one [`Wrong`]: where, what was found, what is
//! allowed. Where both speak, the flags win; `--durability` is for the channels that say
//! nothing themselves.

mod channels;
mod document;
mod file;
mod place;

use crate::args::What;
use document::Document;
use evenkeel_recorder::{ChannelConfig, Config, Retention};
use file::FileWords;
use place::{Place, Wrong};
use std::path::PathBuf;
use std::time::Duration;

/// How long a stop may take when nothing is said.
const GRACE: Duration = Duration::from_secs(20);

/// What is said of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalWords {
    /// Bytes that are kept of it, about.
    pub(crate) bytes: Option<u64>,
    /// How long it is kept, in nanoseconds.
    pub(crate) age_ns: Option<u64>,
    /// The file of the key that its checkpoints are signed with; made where there is none.
    pub(crate) key: Option<PathBuf>,
}

/// What is to be recorded, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// At least one, which fit each other.
    pub(crate) channels: Vec<ChannelConfig>,
    /// How long a stop may take.
    pub(crate) grace: Duration,
    /// Whether a drop that a policy declares makes the exit code 1.
    pub(crate) strict: bool,
    segment_bytes: Option<u64>,
    segment_ns: Option<u64>,
    retention: Retention,
    /// How its journal is kept.
    pub(crate) journal: JournalWords,
}

impl Settings {
    /// What the flags, and the file if they name one, say together.
    pub(crate) fn of(what: &What) -> Result<Self, Wrong> {
        let Some(path) = &what.config else { return Self::together(FileWords::default(), what, None) };
        let document = Document::read(path)?;
        Self::together(file::read(&document)?, what, Some(&document))
    }

    fn together(said: FileWords, what: &What, document: Option<&Document>) -> Result<Self, Wrong> {
        if said.channels.is_empty() && what.channels.is_empty() {
            let flag = || Place::Flag("no channel".to_owned());
            let place = document.map_or_else(flag, Document::whole);
            let reason = "at least one --channel NAME=SOURCE, or [[channel]] of a --config FILE, is needed";
            return Err(Wrong::new(place, reason));
        }
        Ok(Self {
            channels: channels::join(said.channels, what)?,
            grace: what.grace.or(said.grace).unwrap_or(GRACE),
            strict: said.strict || what.strict,
            segment_bytes: said.segment_bytes,
            segment_ns: said.segment_ns,
            retention: said.retention,
            journal: said.journal,
        })
    }

    /// The recorder's configuration for a directory: the documented defaults, and what was said.
    pub(crate) fn into_config(self, dir: PathBuf) -> Config {
        let mut config = Config::new(dir, self.channels);
        config.log.segment_bytes = self.segment_bytes.unwrap_or(config.log.segment_bytes);
        config.log.segment_ns = self.segment_ns.unwrap_or(config.log.segment_ns);
        config.retention = self.retention;
        config
    }
}

#[cfg(test)]
mod tests;
