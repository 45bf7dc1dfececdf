//! Sources to record from, and what came of them.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a test that fails may panic")]

use evenkeel_log::storage::Storage;
use evenkeel_log::{LogOptions, Selection, export};
use evenkeel_recorder::{ChannelConfig, Config, Framing, ReaderSource, Source};
use std::io::{PipeReader, PipeWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A time so far away that only a hang reaches it.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Monotonic nanoseconds a while from now.
pub(crate) fn after(wait: Duration) -> u64 {
    evenkeel_recorder::now().mono_ns + wait.as_nanos() as u64
}

/// Waits for something that has no condition to wait on.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "never came: {what}");
        std::thread::yield_now();
    }
}

/// A source of an embedder's own, which hangs in a read until its writing end says something.
pub(crate) struct Silent {
    pub(crate) source: Source,
    pub(crate) feed: PipeWriter,
}

/// Says when it is about to be read, which then hangs for as long as nothing is said.
pub(crate) struct Telling {
    reader: PipeReader,
    tell: SyncSender<()>,
}

impl Read for Telling {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        // Whoever does not listen is not told.
        let _ = self.tell.try_send(());
        self.reader.read(buf)
    }
}

/// A silent source, and what tells of every read of it that begins.
pub(crate) fn telling() -> (Silent, Receiver<()>) {
    let (reader, feed) = std::io::pipe().unwrap();
    let (tell, told) = sync_channel(8);
    let source = Source::Reader(ReaderSource::new("telling", Telling { reader, tell }));
    (Silent { source, feed }, told)
}

pub(crate) fn silent() -> Silent {
    let (reader, feed) = std::io::pipe().unwrap();
    Silent { source: Source::Reader(ReaderSource::new("silent", reader)), feed }
}

pub(crate) fn put(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

pub(crate) fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("line {n} of {count}\n").into_bytes()).collect()
}

pub(crate) fn channel(name: &str, path: &Path, framing: Framing) -> ChannelConfig {
    ChannelConfig { framing, ..ChannelConfig::new(name, Source::File(path.to_owned())) }
}

/// Small segments, fast commits, no ballast.
pub(crate) fn config(dir: &Path, channels: Vec<ChannelConfig>) -> Config {
    let log = LogOptions { ballast_bytes: 0, ..LogOptions::default() };
    Config { log, commit_ns: 1_000_000, ..Config::new(dir.to_owned(), channels) }
}

/// What is stored of a channel, none of it damaged.
pub(crate) fn stored(storage: &dyn Storage, channel: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let selection = Selection { channel: channel.to_owned(), stream: None, segment: None };
    let exported = export(storage, &selection, &mut out).unwrap();
    assert!(!exported.damaged, "{channel}: {exported:?}");
    out
}
