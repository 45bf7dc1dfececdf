//! What is to be recorded, and where.

use crate::hub::quota_bytes_min;
use evenkeel::threads::ThreadCoordinator;
use evenkeel_hierarchy::{Mutex, RecorderReader, with_root};
use evenkeel_log::LogOptions;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The longest length that [`Framing::LengthU32be`] takes for one: 64 MiB.
pub const LENGTH_BYTES_MAX: u32 = 64 << 20;

/// How the bytes of a source become messages. Whatever it is, their
/// concatenation is what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// What one read brings, up to 64 KiB.
    #[default]
    Chunk,
    /// A line with its line break, up to 64 KiB; a longer one goes on in the next message.
    Lines,
    /// A length of four bytes, big-endian, and so many bytes: both are the message. What is longer than 64 KiB goes on in
    /// the next message. A length over [`LENGTH_BYTES_MAX`] means that the stream is out of step: that is a fault, and
    /// from there on it is recorded as it comes.
    LengthU32be,
    /// A datagram; the only framing of [`Source::Udp`], and of nothing else.
    Datagram,
}

/// Where a channel's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Standard input, to its end.
    Stdin,
    /// A file, to its end; a regular one is taken up again at the committed offset.
    File(PathBuf),
    /// A file as it grows, whatever is renamed, removed, truncated or made anew at its path. It has no end; it is taken up
    /// again at the committed offset, in the file that has the path by then or in the one that had it, beside it.
    Tail(PathBuf),
    /// Standard output of `sh -c COMMAND`, in a process group of its own.
    Exec(String),
    /// Connections to this address; each is a stream.
    Tcp(SocketAddr),
    /// Connections to a socket of this path, however long; each is a stream.
    Unix(PathBuf),
    /// Datagrams to this address.
    Udp(SocketAddr),
    /// Whatever an embedder has.
    Reader(ReaderSource),
}

/// A source of an embedder's own, read to its end on a thread of its own. One that
/// blocks is given up when its stop is out of time, and what it brings after that
/// is refused.
#[derive(Clone)]
pub struct ReaderSource {
    name: String,
    reader: Arc<Mutex<RecorderReader, Option<Box<dyn Read + Send>>>>,
}

impl ReaderSource {
    /// A source with a name for people. It is read by the first recorder that is
    /// started with it or a clone of it.
    pub fn new(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        Self { name: name.into(), reader: Arc::new(Mutex::new(Some(Box::new(reader)))) }
    }

    pub(crate) fn take(&self) -> Option<Box<dyn Read + Send>> {
        with_root(|house| self.reader.lock(house).take())
    }
}

impl fmt::Debug for ReaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReaderSource").field(&self.name).finish()
    }
}

impl PartialEq for ReaderSource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.reader, &other.reader)
    }
}

impl Eq for ReaderSource {}

impl Source {
    /// The source in the words of the command line.
    pub fn describe(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Tail(path) => format!("tail:{}", path.display()),
            Self::Exec(command) => format!("exec:{command}"),
            Self::Tcp(address) => format!("tcp:{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Udp(address) => format!("udp:{address}"),
            Self::Reader(reader) => format!("reader:{}", reader.name),
        }
    }

    /// The framing that it has when nothing is said.
    pub fn default_framing(&self) -> Framing {
        match self {
            Self::Udp(_) => Framing::Datagram,
            _ => Framing::Chunk,
        }
    }
}

/// What happens to what is read while a channel's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The source is not read until there is room.
    #[default]
    Block,
    /// It is numbered, dropped, and declared as a gap.
    DropNewest,
    /// What waits longest makes room for it: it is dropped, and declared as a gap. What the log has, it keeps: where all
    /// that waits is there, it is as [`OnFull::DropNewest`]. Not with [`Durability::Memory`], which acknowledges what waits.
    DropOldest,
}

/// When a record counts as safe, and is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// In the queue: survives a stop.
    Memory,
    /// Written, with the commit record over it: survives the death of the process.
    Process,
    /// Synced: survives power loss, as far as the device honours a flush.
    #[default]
    Disk,
}

/// What happens when a command fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// The channel has failed.
    #[default]
    Never,
    /// It is run again, after a pause that grows; five times a minute, then the channel has failed.
    OnFailure,
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
    /// What happens while its queue is full.
    pub on_full: OnFull,
    /// When its records are acknowledged.
    pub durability: Durability,
    /// Bytes of memory that it may have at most between its source and the disk, [`quota_bytes_min`](crate::quota_bytes_min)
    /// at least; the end of a stop may take one read more. As much as it can borrow if nothing is said.
    pub quota: Option<u64>,
    /// What happens when its command fails.
    pub restart: Restart,
}

impl ChannelConfig {
    /// A channel with the documented defaults.
    pub fn new(name: impl Into<String>, source: Source) -> Self {
        let framing = source.default_framing();
        Self {
            name: name.into(),
            source,
            framing,
            on_full: OnFull::default(),
            durability: Durability::default(),
            quota: None,
            restart: Restart::default(),
        }
    }

    /// Whether its parts fit each other.
    ///
    /// # Errors
    /// What does not, in words, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (&self.source, self.framing) {
            (Source::Udp(_), Framing::Datagram) => {}
            (Source::Udp(_), _) => return Err(format!("{name}: datagram is the framing of udp: sources")),
            (_, Framing::Datagram) => {
                return Err(format!(
                    "{name}: datagram is for udp: sources; chunk, lines and length-u32be are allowed"
                ));
            }
            _ => {}
        }
        if (self.on_full, self.durability) == (OnFull::DropOldest, Durability::Memory) {
            return Err(format!(
                "{name}: what is acknowledged in memory cannot be dropped to make room; with drop-oldest the durabilities \
                 process and disk are allowed"
            ));
        }
        let least = quota_bytes_min();
        if let Some(quota) = self.quota.filter(|quota| *quota < least) {
            return Err(format!(
                "{name}: a quota of {quota} bytes is too small; {least}, a message of full length, is the least"
            ));
        }
        if self.restart != Restart::Never && !matches!(self.source, Source::Exec(_)) {
            return Err(format!("{name}: only exec: sources can be restarted"));
        }
        Ok(())
    }
}

/// When sealed segments are removed, the oldest first. Nothing is if nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of sealed segments that are kept at most.
    pub bytes: Option<u64>,
    /// Nanoseconds after its last commit that a segment is kept at most.
    pub age_ns: Option<u64>,
    /// Bytes that are to stay free on the disk.
    pub min_free: Option<u64>,
}

/// `ek-capture`, `ek-log`, `ek-disk`, `ek-readback`, `ek-retention`, `ek-acks`, `ek-exec`, and `ek-watch`.
const HOUSE_THREADS: usize = 8;

/// A recorder.
#[derive(Debug)]
pub struct Config {
    /// The recording directory; created where it is missing.
    pub dir: PathBuf,
    /// The channels, with names that differ.
    pub channels: Vec<ChannelConfig>,
    /// Limits of the log.
    pub log: LogOptions,
    /// What is kept of sealed segments.
    pub retention: Retention,
    /// Group commit interval in nanoseconds.
    pub commit_ns: u64,
    /// Where a line `NAME SEQUENCE BYTES` goes for each acknowledgement.
    pub acks: Option<File>,
    /// Where its threads are: [`Config::threads_max`] of them at most.
    pub threads: ThreadCoordinator,
}

impl Config {
    /// The documented defaults for a directory and its channels.
    pub fn new(dir: PathBuf, channels: Vec<ChannelConfig>) -> Self {
        Self {
            dir,
            channels,
            log: LogOptions::default(),
            retention: Retention::default(),
            commit_ns: 10_000_000,
            acks: None,
            threads: ThreadCoordinator::default(),
        }
    }

    /// How many threads it starts at most: 8 of its own, and one for each source that cannot be waited for.
    #[must_use]
    pub fn threads_max(&self) -> usize {
        let may_block = |channel: &&ChannelConfig| {
            matches!(channel.source, Source::Stdin | Source::File(_) | Source::Tail(_) | Source::Reader(_))
        };
        HOUSE_THREADS + self.channels.iter().filter(may_block).count()
    }
}
