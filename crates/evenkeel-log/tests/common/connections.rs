//! A recorder in one thread whose streams come and go, and what it was told is safe.

use super::foreign::{indexed, linear, sealed_files};
use super::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Anchor, Batch, ChannelId, Gap, GapReason, Job, LogOptions, LogWriter, Outcome, Progress, Resume,
    Selection, StreamId, StreamIds, export, recover, remove_segments, sealed_segments, verify,
};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A message that was sent: the number of its stream, and what it carried.
pub type Sent = (u32, Vec<u8>);

/// What was sent on each channel, by sequence from 1; `None` for what was dropped and declared.
pub type Model = BTreeMap<String, Vec<Option<Sent>>>;

struct Open {
    id: StreamId,
    number: u32,
    channel: usize,
}

pub struct Connections {
    pub storage: SimStorage,
    pub writer: LogWriter,
    pub ids: StreamIds,
    pub sent: Model,
    /// Last acknowledged sequence of each channel, now and before the last step.
    pub acknowledged: BTreeMap<String, u64>,
    pub before: BTreeMap<String, u64>,
    pub now: u64,
    /// Connections that found no id.
    pub refused: u32,
    /// Whether old segments are removed, and what was told of that.
    pub retains: bool,
    pub anchor: Option<Anchor>,
    pub removals: u32,
    channels: Vec<(ChannelId, String)>,
    streams: Vec<Open>,
    jobs: VecDeque<Job>,
    steps: u32,
}

pub fn options(rng: &mut Rng) -> LogOptions {
    LogOptions {
        segment_bytes: rng.u64(2_000..40_000),
        segment_ns: 4_000_000_000,
        chunk_bytes: rng.usize(100..3_000),
        ballast_bytes: 0,
        run_id: [rng.u8(..); 16],
        streams_max: rng.u16(1..9),
        segment_streams: rng.usize(1..12),
        ..LogOptions::default()
    }
}

impl Connections {
    pub fn new(storage: SimStorage, options: LogOptions, channels: usize, steps: u32) -> Self {
        Self::resume(storage, options, Resume::default(), channels, steps)
    }

    fn resume(storage: SimStorage, options: LogOptions, resume: Resume, channels: usize, steps: u32) -> Self {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut writer = LogWriter::create(shared, options, resume, stamp(0)).unwrap();
        let names = ["left", "right", "third"].iter().take(channels);
        let channels: Vec<(ChannelId, String)> = names
            .map(|name| (writer.channel(name, "application/octet-stream"), (*name).to_owned()))
            .collect();
        Self {
            ids: writer.stream_ids(),
            sent: channels.iter().map(|(_, name)| (name.clone(), Vec::new())).collect(),
            acknowledged: BTreeMap::new(),
            before: BTreeMap::new(),
            now: 0,
            refused: 0,
            retains: false,
            anchor: None,
            removals: 0,
            storage,
            writer,
            channels,
            streams: Vec::new(),
            jobs: VecDeque::new(),
            steps,
        }
    }

    /// Does something; `false` when there is nothing left to do.
    pub fn step(&mut self, rng: &mut Rng) -> bool {
        self.before = self.acknowledged.clone();
        self.now += rng.u64(1..20_000_000);
        self.writer.retry(stamp(self.now));
        if self.steps == 0 {
            return self.end_step(rng);
        }
        self.steps -= 1;
        self.rotate_if_due(rng);
        match rng.u8(0..20) {
            0..4 => self.open(rng),
            4..10 => self.append(rng),
            10..13 => self.close(rng),
            13..17 => self.commit(),
            17 => self.drop_some(rng),
            18 if self.retains => self.retain(rng),
            _ => self.run_jobs(rng.usize(1..4)),
        }
        if rng.u8(0..10) < 4 {
            self.run_jobs(1);
        }
        true
    }

    /// As a recorder does: only when no job is under way, mostly.
    fn rotate_if_due(&mut self, rng: &mut Rng) {
        if self.writer.wants_rotation(stamp(self.now)) && (self.jobs.is_empty() || rng.u8(0..4) == 0) {
            let jobs = self.writer.rotate(stamp(self.now));
            self.jobs.extend(jobs);
        }
    }

    pub fn open(&mut self, rng: &mut Rng) {
        let channel = rng.usize(0..self.channels.len());
        let (id, name) = &self.channels[channel];
        let Some(stream) = self.ids.open(*id) else {
            self.refused += 1;
            return;
        };
        if rng.u8(0..8) == 0 {
            // Gone before anything came.
            self.writer.close_stream(stream);
            return;
        }
        let number = self.writer.state(*id).streams + 1;
        assert_eq!(self.writer.define(stream, &[("peer", &format!("{name}#{number}"))]), number);
        self.streams.push(Open { id: stream, number, channel });
    }

    fn append(&mut self, rng: &mut Rng) {
        if self.streams.is_empty() {
            return self.open(rng);
        }
        let Open { id, number, channel } = &self.streams[rng.usize(0..self.streams.len())];
        let name = &self.channels[*channel].1;
        let sent = self.sent.get_mut(name).unwrap();
        let mut batch = Batch::new(*id, sent.len() as u64 + 1, vec![0; 8192]);
        for _ in 0..rng.usize(1..5) {
            let filling: Vec<u8> = (0..rng.usize(0..300)).map(|_| rng.u8(..)).collect();
            let payload = [format!("{name}#{number}#{}|", sent.len() + 1).into_bytes(), filling].concat();
            assert!(batch.push(&payload, stamp(self.now).wall_ns));
            sent.push(Some((*number, payload)));
        }
        self.writer.append(batch, stamp(self.now));
    }

    fn close(&mut self, rng: &mut Rng) {
        if !self.streams.is_empty() {
            let open = self.streams.swap_remove(rng.usize(0..self.streams.len()));
            self.writer.close_stream(open.id);
        }
    }

    pub fn close_all(&mut self) {
        for open in self.streams.drain(..) {
            self.writer.close_stream(open.id);
        }
    }

    fn drop_some(&mut self, rng: &mut Rng) {
        let name = self.channels[rng.usize(0..self.channels.len())].1.clone();
        let sent = self.sent.get_mut(&name).unwrap();
        let (first, records) = (sent.len() as u64 + 1, rng.u64(1..4));
        sent.resize(sent.len() + records as usize, None);
        let wall = stamp(self.now).wall_ns;
        let gap = Gap {
            channel: name,
            first_sequence: first,
            last_sequence: Some(first + records - 1),
            records: Some(records),
            bytes: Some(0),
            reason: GapReason::DropNewest,
            from: wall,
            to: wall,
        };
        self.writer.declare(&gap, stamp(self.now));
    }

    /// Tells of a removal, and does it; it may fail half way.
    fn retain(&mut self, rng: &mut Rng) {
        let sealed = sealed_segments(&self.storage).unwrap();
        if sealed.is_empty() {
            return;
        }
        let through = sealed[rng.usize(0..sealed.len())].number;
        self.anchor = Some(Anchor::at(&self.storage, through).unwrap());
        self.removals += 1;
        let _ = remove_segments(&self.storage, through);
    }

    fn commit(&mut self) {
        let progress = self.writer.commit(stamp(self.now));
        let said = !progress.committed.is_empty();
        self.took(progress);
        if said {
            assert!(!self.writer.wants_commit(), "a commit leaves nothing that another would say");
        }
        if self.jobs.is_empty() {
            self.jobs.extend(self.writer.sync());
        }
    }

    fn took(&mut self, progress: Progress) {
        for (id, state) in progress.synced {
            let name = self.writer.name(id).to_owned();
            let before = self.acknowledged.insert(name, state.last_sequence);
            assert!(
                before.is_none_or(|before| before <= state.last_sequence),
                "an acknowledgement went back"
            );
        }
        self.jobs.extend(progress.jobs);
    }

    fn run_jobs(&mut self, count: usize) {
        for _ in 0..count {
            let Some(job) = self.jobs.pop_front() else { return };
            let progress = self.writer.complete(job.run(), stamp(self.now));
            self.took(progress);
        }
    }

    fn end_step(&mut self, rng: &mut Rng) -> bool {
        if (self.is_clean() && self.jobs.is_empty()) || self.now > 600_000_000_000 {
            return false;
        }
        // In every order: streams may be closed before or after the end is written.
        if rng.bool() {
            self.close_all();
        }
        self.now += 10_000_000_000;
        if self.jobs.is_empty() || self.writer.is_finished() {
            let jobs = self.writer.finish(stamp(self.now));
            self.jobs.extend(jobs);
        }
        self.run_jobs(2);
        true
    }

    pub fn is_clean(&self) -> bool {
        self.writer.is_finished() && self.writer.is_settled()
    }
}

/// The recording after a crash: recovered, it has what was acknowledged, each message
/// under its channel and its stream, as the log and as another reader sees it.
pub fn check_image(
    image: &SimStorage,
    sent: &Model,
    acknowledged: &BTreeMap<String, u64>,
    anchor: Option<&Anchor>,
    rng: &mut Rng,
) -> Result<(), String> {
    let mut disk = image.clone();
    while rng.u8(0..5) == 0 {
        let at = disk.operations() + rng.u64(0..12);
        disk.set_faults(Faults { at: Some(at), for_ever: true, pads: rng.bool(), ..Faults::default() });
        let shared: Arc<dyn Storage> = Arc::new(disk.clone());
        let _ = recover(&shared, stamp(700_000_000_000));
        disk.set_faults(Faults::default());
        disk = disk.crash(rng);
    }
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    let recovery = recover(&shared, stamp(800_000_000_000)).map_err(|e| format!("recover: {e}"))?;
    if recovery.is_loss() {
        return Err(format!("recovery found loss: {:?}", recovery.segments));
    }
    let there: BTreeMap<String, u64> =
        recovery.resume.channels.iter().map(|(name, state)| (name.clone(), state.last_sequence)).collect();
    for (name, acknowledged) in acknowledged {
        let last = there.get(name).copied().unwrap_or(0);
        if last < *acknowledged {
            return Err(format!("{name}: {acknowledged} acknowledged, {last} there after recovery"));
        }
    }
    compare(&disk, sent, &there, anchor)?;
    go_on(&disk, recovery.resume, sent, anchor, rng)
}

/// Compares what is there, up to these sequences, with what was sent; what was removed is
/// missing up to the beginning of a segment, and none of it beyond the anchor.
pub fn compare(
    disk: &SimStorage,
    sent: &Model,
    there: &BTreeMap<String, u64>,
    anchor: Option<&Anchor>,
) -> Result<(), String> {
    let verification = verify(disk, false, anchor).map_err(|e| format!("verify: {e}"))?;
    if verification.outcome > Outcome::Declared {
        return Err(format!("verify, {anchor:?}: {verification:#?}"));
    }
    let begins = Anchor::at(disk, 0).map_err(|e| format!("the first segment: {e}"))?.channels;
    let covered = |name: &String| anchor.and_then(|a| a.channels.get(name)).copied().unwrap_or(0);
    if let Some((name, first)) = begins.iter().find(|(name, first)| **first > covered(name)) {
        return Err(format!("{name} begins after {first}, beyond {anchor:?}"));
    }
    for (name, sent) in sent {
        let last = there.get(name).copied().unwrap_or(0) as usize;
        let first = begins.get(name).copied().unwrap_or(0) as usize;
        let there = sent.get(first..last).ok_or_else(|| format!("{name}: more there than was sent"))?;
        let of = |stream: Option<u32>| -> Vec<u8> {
            let wanted =
                there.iter().flatten().filter(|(number, _)| stream.is_none_or(|only| only == *number));
            wanted.flat_map(|(_, payload)| payload.iter().copied()).collect()
        };
        let streams: BTreeSet<u32> = there.iter().flatten().map(|(number, _)| *number).collect();
        for stream in std::iter::once(None).chain(streams.into_iter().map(Some)) {
            let (mut found, expected) = (Vec::new(), of(stream));
            let selection = Selection { channel: name.clone(), stream, segment: None };
            let told = export(disk, &selection, &mut found).map_err(|e| format!("export: {e}"))?;
            if told.damaged || found != expected {
                let (has, should) = (found.len(), expected.len());
                return Err(format!("{name}, stream {stream:?}: {has} bytes, should be {should}; {told:?}"));
            }
        }
    }
    foreign(disk, sent)
}

/// Another reader sees each message under the stream that it was sent on, described as it was.
fn foreign(disk: &SimStorage, sent: &Model) -> Result<(), String> {
    for (name, content) in sealed_files(disk) {
        let messages = linear(&content);
        if messages != indexed(&content) {
            return Err(format!("{name}: the index says something else than the data"));
        }
        let users = messages.iter().filter(|m| !m.topic.starts_with("/evenkeel"));
        for message in users {
            let channel = &message.topic[1..];
            let original = sent[channel].get(message.sequence as usize - 1).and_then(Option::as_ref);
            if original
                .is_none_or(|(stream, payload)| *stream != message.stream || *payload != message.payload)
            {
                return Err(format!("{name}: {channel} {} is not what was sent", message.sequence));
            }
        }
        let summary = mcap::Summary::read(&content).unwrap().unwrap();
        for channel in summary.channels.values().filter(|c| !c.topic.starts_with("/evenkeel")) {
            let (peer, stream) = (&channel.metadata["peer"], &channel.metadata["stream"]);
            if *peer != format!("{}#{stream}", &channel.topic[1..]) {
                return Err(format!("{name}: {} with peer {peer}, stream {stream}", channel.topic));
            }
        }
    }
    Ok(())
}

/// A new run goes on where the last one ended, with streams of its own.
fn go_on(
    disk: &SimStorage,
    resume: Resume,
    sent: &Model,
    anchor: Option<&Anchor>,
    rng: &mut Rng,
) -> Result<(), String> {
    let there: BTreeMap<String, u64> =
        resume.channels.iter().map(|(name, state)| (name.clone(), state.last_sequence)).collect();
    let mut run = Connections::resume(disk.clone(), options(rng), resume, sent.len(), 12);
    for (name, of_run) in &mut run.sent {
        of_run.extend_from_slice(&sent[name][..there.get(name).copied().unwrap_or(0) as usize]);
    }
    while run.step(rng) {}
    if !run.is_clean() {
        return Err("the run that went on did not end".to_owned());
    }
    let there = run.sent.iter().map(|(name, sent)| (name.clone(), sent.len() as u64)).collect();
    compare(disk, &run.sent, &there, anchor).map_err(|e| format!("after going on: {e}"))
}
