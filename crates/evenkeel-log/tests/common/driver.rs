//! A recorder in one thread that runs every job at once and remembers what it sent.

use super::stamp;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Batch, ChannelId, Gap, GapReason, Job, LogOptions, LogWriter, Progress, Resume, SealedSegment, StreamId,
};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub stream: u32,
    pub log_time_ns: u64,
    pub payload: Vec<u8>,
}

/// What was sent, by channel and sequence.
pub type Originals = BTreeMap<String, BTreeMap<u64, Sent>>;

/// A channel while it records.
struct Source {
    id: ChannelId,
    stream: StreamId,
    number: u32,
    next: u64,
}

pub struct Driver {
    pub writer: LogWriter,
    pub now: u64,
    pub sent: Originals,
    pub gaps: Vec<Gap>,
    sources: BTreeMap<String, Source>,
    jobs: VecDeque<Job>,
    pub sealed: Vec<SealedSegment>,
    /// Highest acknowledged sequence of each channel.
    pub acknowledged: BTreeMap<String, u64>,
}

/// Options with which nothing rotates by itself.
pub fn quiet_options() -> LogOptions {
    LogOptions { ballast_bytes: 0, run_id: [7; 16], segment_ns: u64::MAX, ..LogOptions::default() }
}

impl Driver {
    pub fn new(storage: Arc<dyn Storage>, options: LogOptions) -> Self {
        Self::resume(storage, options, Resume::default(), 0)
    }

    pub fn resume(storage: Arc<dyn Storage>, options: LogOptions, resume: Resume, now: u64) -> Self {
        let writer = LogWriter::create(storage, options, resume, stamp(now)).unwrap();
        Self {
            writer,
            now,
            sent: Originals::new(),
            gaps: Vec::new(),
            sources: BTreeMap::new(),
            jobs: VecDeque::new(),
            sealed: Vec::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Opens a new stream of the channel, which becomes the one that is appended to.
    pub fn stream(&mut self, name: &str) {
        let id = self.writer.channel(name, "application/octet-stream");
        let stream = self.writer.stream(id, &[("peer", "test")]);
        let state = self.writer.state(id).clone();
        let next = self.sources.get(name).map_or(state.last_sequence + 1, |s| s.next);
        self.sources.insert(name.to_owned(), Source { id, stream, number: state.streams, next });
        self.sent.entry(name.to_owned()).or_default();
    }

    /// Appends one batch.
    pub fn append(&mut self, name: &str, payloads: &[Vec<u8>]) {
        self.now += 1_000;
        let source = self.sources.get_mut(name).unwrap();
        let bytes: usize = payloads.iter().map(|p| Batch::bytes_for(p.len())).sum();
        let mut batch = if bytes < Batch::large_buffer_bytes(4) {
            Batch::new(source.stream, source.next, vec![0xA5; bytes])
        } else {
            Batch::new_large(source.stream, source.next, vec![0xA5; bytes + 4096])
        };
        for payload in payloads {
            self.now += 1;
            let log_time_ns = stamp(self.now).wall_ns;
            assert!(batch.push(payload, log_time_ns));
            let sent = Sent { stream: source.number, log_time_ns, payload: payload.clone() };
            self.sent.get_mut(name).unwrap().insert(source.next, sent);
            source.next += 1;
        }
        self.writer.append(batch, stamp(self.now));
    }

    /// Appends a message that tells its own channel and sequence; see [`parse_told`].
    pub fn append_told(&mut self, name: &str, filling: usize, rng: &mut Rng) {
        let payload = told(name, self.sources[name].next, filling, rng);
        self.append(name, &[payload]);
    }

    /// Declares that `records` were dropped.
    pub fn gap(&mut self, name: &str, records: u64) {
        let source = self.sources.get_mut(name).unwrap();
        let first = source.next;
        source.next += records;
        let wall = stamp(self.now).wall_ns;
        let gap = Gap {
            channel: name.to_owned(),
            first_sequence: first,
            last_sequence: Some(first + records - 1),
            records: Some(records),
            bytes: Some(records * 10),
            reason: GapReason::DropOldest,
            from: wall,
            to: wall + 1,
        };
        self.gaps.push(gap.clone());
        self.writer.declare(&gap, stamp(self.now));
    }

    /// Commits, without a sync.
    pub fn commit(&mut self) {
        self.now += 10_000_000;
        let progress = self.writer.commit(stamp(self.now));
        self.took(progress);
    }

    /// Commits and syncs.
    pub fn commit_sync(&mut self) {
        self.commit();
        self.jobs.extend(self.writer.sync());
        self.run();
    }

    pub fn rotate(&mut self) {
        self.now += 1;
        let jobs = self.writer.rotate(stamp(self.now));
        self.jobs.extend(jobs);
        self.run();
    }

    /// Rotates when a limit says so, as a recorder does.
    pub fn rotate_if_due(&mut self) {
        if self.writer.wants_rotation(stamp(self.now)) {
            self.rotate();
        }
    }

    /// One attempt to end the run; answers whether it has ended.
    pub fn finish(&mut self) -> bool {
        self.now += 10_000_000_000;
        let jobs = self.writer.finish(stamp(self.now));
        self.jobs.extend(jobs);
        self.run();
        self.writer.is_finished() && self.writer.is_settled()
    }

    pub fn end_sources(&mut self) {
        for source in self.sources.values() {
            self.writer.set_ended(source.id, true);
        }
    }

    fn run(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            let progress = self.writer.complete(job.run(), stamp(self.now));
            self.took(progress);
        }
    }

    fn took(&mut self, progress: Progress) {
        for (id, state) in progress.synced {
            let name = self.writer.name(id).to_owned();
            self.acknowledged.insert(name, state.last_sequence);
        }
        self.sealed.extend(progress.sealed);
        self.jobs.extend(progress.jobs);
    }
}

/// A payload that says whose it is: name and sequence, its length, and a CRC.
pub fn told(name: &str, sequence: u64, filling: usize, rng: &mut Rng) -> Vec<u8> {
    let mut payload = vec![name.len() as u8];
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(&sequence.to_le_bytes());
    payload.extend_from_slice(&(filling as u32).to_le_bytes());
    payload.extend((0..filling).map(|_| rng.u8(..)));
    payload
}

/// Takes an export of `name` apart and answers the sequences in it.
///
/// # Panics
/// When it is not made of original messages in order.
pub fn parse_told(name: &str, mut bytes: &[u8], originals: &Originals) -> Vec<u64> {
    let mut sequences = Vec::new();
    while !bytes.is_empty() {
        let head = 1 + name.len() + 12;
        assert!(bytes.len() >= head, "{name}: the export ends inside a message");
        assert_eq!(&bytes[1..=name.len()], name.as_bytes(), "a message of another channel");
        let number = &bytes[head - 12..head];
        let sequence = u64::from_le_bytes(number[..8].try_into().unwrap());
        let filling = u32::from_le_bytes(number[8..].try_into().unwrap()) as usize;
        let original = originals[name].get(&sequence).expect("a sequence that was never sent");
        let (message, rest) = bytes.split_at((head + filling).min(bytes.len()));
        assert!(message == original.payload, "{name}: message {sequence} is altered");
        assert!(sequences.last().is_none_or(|last| *last < sequence), "{name}: {sequence} out of order");
        sequences.push(sequence);
        bytes = rest;
    }
    sequences
}

/// How large a told recording is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of each segment, about.
    pub segments: &'static [usize],
    /// Bytes of a message, at most.
    pub filling: usize,
    /// Messages between commits.
    pub per_commit: usize,
    /// Whether the last segment is ended and sealed.
    pub sealed: bool,
}

/// A recording of told messages on `names`, and what was sent.
pub fn told_recording(names: &[&str], shape: Shape, seed: u64) -> (SimStorage, Originals) {
    let storage = SimStorage::new();
    let options = told_options();
    let mut driver = Driver::new(Arc::new(storage.clone()), options);
    let mut rng = Rng::with_seed(seed);
    for name in names {
        driver.stream(name);
    }
    for (at, bytes) in shape.segments.iter().enumerate() {
        let mut written = 0;
        while written < *bytes {
            for _ in 0..shape.per_commit {
                let name = names[rng.usize(0..names.len())];
                let filling = rng.usize(0..shape.filling);
                driver.append_told(name, filling, &mut rng);
                written += filling + 60;
            }
            driver.commit_sync();
        }
        if at + 1 < shape.segments.len() {
            driver.rotate();
        }
    }
    if shape.sealed {
        driver.end_sources();
        assert!(driver.finish());
    }
    (storage, driver.sent)
}

pub fn told_options() -> LogOptions {
    LogOptions { chunk_bytes: 4_000, ..quiet_options() }
}
