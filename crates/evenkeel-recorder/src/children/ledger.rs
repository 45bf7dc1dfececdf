//! The journal as this thread sees it: it never waits for it.
//!
//! Invariants:
//! 1. Of the journal's queue the lines of standard error take a quarter at most,
//!    however fast they come and however slow the disk is: no more of them are
//!    appended until earlier ones are durable. Each channel has its share.
//! 2. An entry that the journal refused is kept and tried again, in order; so many
//!    are kept and no more.

use super::stderr::Line;
use evenkeel::journal::Journal;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Lines of standard error in the journal's queue at most, and their bytes.
const LINES_MAX: usize = 1024;
const BYTES_MAX: usize = 256 << 10;
/// About what an entry takes beside its text, in bytes.
const FRAME_BYTES: usize = 384;
/// Refused entries that are kept.
const OWED_MAX: usize = 1024;
/// Refused entries are tried again after this, in nanoseconds.
pub(super) const RETRY_NS: u64 = 50_000_000;

struct Owed {
    kind: &'static str,
    channel: String,
    body: Value,
}

/// A line of standard error that is not durable yet.
struct Queued {
    entry: u64,
    channel: usize,
    bytes: usize,
}

/// What one channel, or all, have in the queue.
#[derive(Clone, Copy, Default)]
struct Load {
    lines: usize,
    bytes: usize,
}

impl Load {
    fn has_room(self, bytes: usize, share: usize) -> bool {
        self.lines == 0 || (self.lines < LINES_MAX / share && self.bytes + bytes <= BYTES_MAX / share)
    }
}

/// The way to the journal.
pub(super) struct Ledger {
    journal: Option<Journal>,
    owed: VecDeque<Owed>,
    queued: VecDeque<Queued>,
    all: Load,
    channels: Vec<Load>,
    /// Of each channel whose command runs the entry that names it, where that is known.
    running: Vec<Option<Option<u64>>>,
}

impl Ledger {
    pub(super) fn new(journal: Option<Journal>, channels: usize) -> Self {
        let (owed, queued) = (VecDeque::new(), VecDeque::new());
        let (all, running) = (Load::default(), vec![None; channels]);
        Self { journal, owed, queued, all, channels: vec![Load::default(); channels], running }
    }

    pub(super) fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.journal.as_ref()?.trouble()
    }

    /// Whether an entry is on disk.
    pub(super) fn is_durable(&self, entry: u64) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.durable_through() >= entry)
    }

    /// The command of a channel runs, by an entry that names it; `None` when that comes later.
    pub(super) fn began(&mut self, channel: usize, entry: Option<u64>) {
        self.running[channel] = Some(entry);
        self.keep();
    }

    /// It has ended, which was noted.
    pub(super) fn ended(&mut self, channel: usize) {
        self.running[channel] = None;
        self.keep();
    }

    /// Says from where on the journal is needed by who looks for commands that were left behind: from the first that
    /// runs. While something is owed, what was said before stays.
    fn keep(&self) {
        let Some(journal) = &self.journal else { return };
        let next = journal.head().entry + 1;
        let first = self.running.iter().flatten().copied().min_by_key(|entry| entry.unwrap_or(0));
        if self.owed.is_empty()
            && let Some(first) = first.unwrap_or(Some(next))
        {
            journal.keep_from("child", first);
        }
    }

    /// Appends at once or not at all; answers the entry's number.
    pub(super) fn append(&self, kind: &str, channel: &str, body: Value) -> Option<u64> {
        Some(self.journal.as_ref()?.append(kind, Some(channel), body)?.entry)
    }

    /// Appends, now or as soon as the journal takes it.
    pub(super) fn note(&mut self, kind: &'static str, channel: &str, body: Value) {
        if self.journal.is_none() {
            return;
        }
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(Owed { kind, channel: channel.to_owned(), body });
        self.pay();
    }

    /// Tries again what was refused.
    pub(super) fn pay(&mut self) {
        while let Some(Owed { kind, channel, body }) = self.owed.front() {
            if self.append(kind, channel, body.clone()).is_none() {
                return;
            }
            self.owed.pop_front();
        }
    }

    /// Whether the journal refused something that it is still to be told.
    pub(super) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Forgets those lines that have become durable: they are in nobody's way.
    pub(super) fn settle(&mut self) {
        let Some(journal) = &self.journal else { return };
        let durable = journal.durable_through();
        while let Some(Queued { channel, bytes, .. }) =
            self.queued.front().filter(|line| line.entry <= durable)
        {
            for load in [&mut self.all, &mut self.channels[*channel]] {
                load.lines -= 1;
                load.bytes -= bytes;
            }
            self.queued.pop_front();
        }
    }

    /// Appends a line of standard error if there is room for it now.
    pub(super) fn line(&mut self, channel: usize, name: &str, line: &Line) -> bool {
        let bytes = FRAME_BYTES + json_bytes(&line.text);
        let share = self.channels.len();
        if !(self.all.has_room(bytes, 1) && self.channels[channel].has_room(bytes, share)) {
            return false;
        }
        let mut body = json!({ "text": line.text });
        if line.goes_on {
            body["goes_on"] = json!(true);
        }
        let Some(entry) = self.append("stderr", name, body) else { return false };
        for load in [&mut self.all, &mut self.channels[channel]] {
            load.lines += 1;
            load.bytes += bytes;
        }
        self.queued.push_back(Queued { entry, channel, bytes });
        true
    }
}

/// Bytes of a text in JSON, at most.
fn json_bytes(text: &str) -> usize {
    let of = |byte: u8| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::rig::Disk;
    use super::*;
    use evenkeel::journal::{JournalOptions, JournalRetention, entries};
    use evenkeel_log::sim::SimStorage;
    use std::sync::Arc;

    // REQ W4, REQ C11
    #[test]
    fn the_journal_keeps_who_runs_and_lets_go_of_who_has_ended() {
        let storage = SimStorage::new();
        let retention = JournalRetention { bytes: Some(0), age_ns: None };
        let options = JournalOptions {
            retention,
            segment_bytes: 3_000,
            ballast_bytes: 0,
            snapshot_entries: 10,
            ..JournalOptions::default()
        };
        let (journal, _) = Journal::open(Arc::new(storage.clone()), options).unwrap();
        // Without a snapshot nothing goes.
        journal.on_snapshot("test", || json!(1));
        let mut ledger = Ledger::new(Some(journal.clone()), 2);
        let has = |entry: u64| {
            let mut found = false;
            let read = entries(&storage, true, &mut |read| {
                found |= read.entry == entry;
                Ok(())
            });
            read.unwrap();
            found
        };
        let pass = || {
            for _ in 0..60 {
                let entry = journal.append("audit", None, json!({ "n": 1 })).unwrap().entry;
                assert!(journal.wait_durable(entry, std::time::Duration::from_secs(30)));
            }
        };
        // What goes, goes once a snapshot has come.
        let goes = |entry: u64| {
            let step = std::time::Duration::from_millis(1);
            (0..30_000).any(|_| {
                !has(entry) || journal.wait_durable(journal.durable_through() + 1, step) && !has(entry)
            })
        };
        let first = ledger.append("child", "left", json!({ "pid": 7 }));
        ledger.began(0, first);
        pass();
        let second = ledger.append("child", "right", json!({ "pid": 8 }));
        ledger.began(1, second);
        pass();
        assert!(has(first.unwrap()) && has(second.unwrap()), "both run");
        ledger.note("child-ended", "left", json!({ "pid": 7 }));
        ledger.ended(0);
        pass();
        assert!(goes(first.unwrap()) && has(second.unwrap()), "the second runs");
        ledger.note("child-ended", "right", json!({ "pid": 8 }));
        ledger.ended(1);
        pass();
        assert!(goes(second.unwrap()), "nobody runs");
    }

    // REQ E4, REQ W4
    #[test]
    fn no_channel_takes_the_share_of_another_and_all_together_a_quarter() {
        let disk = Disk::new();
        let journal = disk.journal(Default::default());
        disk.shut();
        let mut ledger = Ledger::new(Some(journal.clone()), 4);
        let short = Line { text: "no".to_owned(), goes_on: false };
        let long = Line { text: "\u{1}".repeat(4096), goes_on: true };
        let mut taken = |channel: usize, line: &Line| {
            (0..10_000).take_while(|_| ledger.line(channel, "mic", line)).count()
        };
        assert_eq!(taken(0, &short), BYTES_MAX / 4 / (FRAME_BYTES + 2));
        // What it is in JSON counts: six bytes for each of these.
        assert_eq!((taken(1, &long), taken(1, &long)), (2, 0));
        assert!(taken(2, &short) > 100 && taken(3, &short) > 10);
        assert_eq!(taken(0, &short), 0);
        for _ in 0..500 {
            assert!(journal.append("other", None, json!({})).is_some());
        }
        let head = journal.head().entry;
        disk.open();
        assert!(journal.wait_durable(head, std::time::Duration::from_secs(30)));
        assert!(!ledger.line(0, "mic", &short), "nobody has looked yet");
        ledger.settle();
        assert!(ledger.line(0, "mic", &short));
        assert!(ledger.queued.len() == 1 && ledger.all.lines == 1 && ledger.all.bytes == FRAME_BYTES + 2);
    }
}
