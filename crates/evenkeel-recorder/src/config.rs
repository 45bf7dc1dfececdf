//! What is to be recorded, and where.

use evenkeel_log::LogOptions;
use std::fs::File;
use std::path::PathBuf;

/// How the bytes of a source become messages. Whatever it is, their
/// concatenation is what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// What one read brings, up to 64 KiB.
    #[default]
    Chunk,
    /// A line with its line break, up to 64 KiB; a longer one goes on in the next message.
    Lines,
}

/// Where a channel's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input, to its end.
    Stdin,
    /// A file, to its end; taken up again at the committed offset.
    File(PathBuf),
}

impl Source {
    /// The source in the words of the command line.
    pub fn describe(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Its name; see [`check_name`](crate::check_name).
    pub name: String,
    /// Its source.
    pub source: Source,
    /// Its framing.
    pub framing: Framing,
}

/// A recorder.
#[derive(Debug)]
pub struct Config {
    /// The recording directory; created where it is missing.
    pub dir: PathBuf,
    /// The channels, with names that differ.
    pub channels: Vec<ChannelConfig>,
    /// Limits of the log.
    pub log: LogOptions,
    /// Group commit interval in nanoseconds.
    pub commit_ns: u64,
    /// Where a line `NAME SEQUENCE BYTES` goes for each acknowledgement.
    pub acks: Option<File>,
}

impl Config {
    /// The documented defaults for a directory and its channels.
    pub fn new(dir: PathBuf, channels: Vec<ChannelConfig>) -> Self {
        Self { dir, channels, log: LogOptions::default(), commit_ns: 10_000_000, acks: None }
    }
}
