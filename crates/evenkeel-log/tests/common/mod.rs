//! A recorder in one thread, with a model of what it was told is safe.
#![allow(unreachable_pub, reason = "shared by test files")]
#![allow(dead_code, reason = "each test file uses its part")]

pub mod connections;
pub mod counting;
pub mod driver;
pub mod foreign;

use evenkeel_log::sim::{Bugs, Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Batch, ChannelId, Gap, GapReason, Job, LogOptions, LogWriter, Outcome, PAYLOAD_BYTES_MAX, Progress,
    Recovery, Resume, Selection, Stamp, StreamId, export, recover, verify,
};
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What is planted.
#[derive(Clone, Copy, Debug)]
pub enum Bug {
    None,
    Medium(Bugs),
    /// Acknowledges when the commit is written.
    EarlyAck,
}

/// What one channel was given and promised.
#[derive(Clone, Debug, Default)]
pub struct ChannelModel {
    /// Payload of each sequence, from 1; `None` for a declared drop.
    pub sent: Vec<Option<Vec<u8>>>,
    pub acknowledged: u64,
    pub ended: bool,
}

pub type Model = BTreeMap<String, ChannelModel>;

pub struct Workload {
    pub storage: SimStorage,
    writer: LogWriter,
    bug: Bug,
    channels: Vec<(ChannelId, StreamId, String)>,
    jobs: VecDeque<Job>,
    now: u64,
    steps: u32,
    /// What is known now, and what was known before the last step.
    pub model: Model,
    pub before: Model,
}

pub fn stamp(now: u64) -> Stamp {
    Stamp { wall_ns: 1_700_000_000_000_000_000 + now, mono_ns: now }
}

pub fn options(rng: &mut Rng) -> LogOptions {
    LogOptions {
        segment_bytes: rng.u64(2_000..20_000),
        segment_ns: 2_000_000_000,
        chunk_bytes: rng.usize(200..3_000),
        ballast_bytes: 0,
        run_id: [rng.u8(..); 16],
        ..LogOptions::default()
    }
}

impl Workload {
    pub fn new(rng: &mut Rng, bug: Bug) -> Self {
        let storage = SimStorage::new();
        let bugs = if let Bug::Medium(bugs) = bug { bugs } else { Bugs::default() };
        let pads = rng.bool();
        storage.set_faults(Faults { bugs, pads, ..Faults::default() });
        let options = options(rng);
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut writer = LogWriter::create(shared, options, Resume::default(), stamp(0)).unwrap();
        let mut channels = Vec::new();
        for name in ["left", "right", "third"].iter().take(rng.usize(1..=3)) {
            let id = writer.channel(name, "application/octet-stream");
            channels.push((id, writer.stream(id, &[]), (*name).to_owned()));
        }
        storage.watch(rng.fork());
        let model: Model = channels.iter().map(|(_, _, n)| (n.clone(), ChannelModel::default())).collect();
        let steps = rng.u32(3..30);
        Self {
            storage,
            writer,
            bug,
            channels,
            jobs: VecDeque::new(),
            now: 0,
            steps,
            before: model.clone(),
            model,
        }
    }

    /// The model of before the next step is what is known now.
    pub fn settle_model(&mut self) {
        self.before = self.model.clone();
    }

    pub fn is_clean(&self) -> bool {
        self.writer.is_finished() && self.writer.is_settled()
    }

    /// Does something; `false` when there is nothing left to do.
    pub fn step(&mut self, rng: &mut Rng) -> bool {
        self.now += rng.u64(1..20_000_000);
        self.writer.retry(stamp(self.now));
        if self.steps == 0 {
            return self.finish();
        }
        self.steps -= 1;
        if self.writer.wants_rotation(stamp(self.now)) {
            let jobs = self.writer.rotate(stamp(self.now));
            self.jobs.extend(jobs);
        }
        match rng.u8(0..10) {
            0..5 => self.append(rng),
            5..8 => self.commit(),
            8 => self.drop_some(rng),
            _ => self.run_jobs(rng.usize(1..4)),
        }
        if rng.u8(0..10) < 4 {
            self.run_jobs(1);
        }
        true
    }

    fn append(&mut self, rng: &mut Rng) {
        let (_, stream, name) = &self.channels[rng.usize(0..self.channels.len())];
        let model = self.model.get_mut(name).unwrap();
        let first = model.sent.len() as u64 + 1;
        let mut batch = Batch::new(*stream, first, vec![0; 8192]);
        if rng.u16(0..300) == 0 {
            // One that has a place of its own in the file, behind padding.
            batch = Batch::new_large(*stream, first, vec![0; Batch::large_buffer_bytes(4) + 8192]);
            for _ in 0..4 {
                let payload = vec![rng.u8(..); PAYLOAD_BYTES_MAX];
                assert!(batch.push(&payload, stamp(self.now).wall_ns));
                model.sent.push(Some(payload));
            }
        }
        for _ in 0..rng.usize(1..6) {
            let payload: Vec<u8> = (0..rng.usize(0..400)).map(|_| rng.u8(..)).collect();
            assert!(batch.push(&payload, stamp(self.now).wall_ns));
            model.sent.push(Some(payload));
        }
        self.writer.append(batch, stamp(self.now));
    }

    fn drop_some(&mut self, rng: &mut Rng) {
        let (_, _, name) = &self.channels[rng.usize(0..self.channels.len())];
        let model = self.model.get_mut(name).unwrap();
        let (first, records) = (model.sent.len() as u64 + 1, rng.u64(1..4));
        model.sent.resize(model.sent.len() + records as usize, None);
        let wall = stamp(self.now).wall_ns;
        let gap = Gap {
            channel: name.clone(),
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

    fn commit(&mut self) {
        let progress = self.writer.commit(stamp(self.now));
        if matches!(self.bug, Bug::EarlyAck) {
            // Known to the model only after the images of this step were taken: as a real early ack.
            for (id, state) in &progress.committed {
                self.acknowledge(*id, state.last_sequence);
            }
        }
        self.took(progress);
        if self.jobs.is_empty() {
            self.jobs.extend(self.writer.sync());
        }
    }

    fn acknowledge(&mut self, id: ChannelId, sequence: u64) {
        if let Some((_, _, name)) = self.channels.iter().find(|c| c.0 == id) {
            let model = self.model.get_mut(name).unwrap();
            assert!(sequence >= model.acknowledged, "an acknowledgement went back");
            model.acknowledged = sequence;
        }
    }

    fn took(&mut self, progress: Progress) {
        for (id, state) in progress.synced {
            self.acknowledge(id, state.last_sequence);
        }
    }

    fn run_jobs(&mut self, count: usize) {
        for _ in 0..count {
            let Some(job) = self.jobs.pop_front() else { return };
            let done = job.run();
            let progress = self.writer.complete(done, stamp(self.now));
            self.took(progress);
        }
    }

    fn finish(&mut self) -> bool {
        if self.is_clean() && self.jobs.is_empty() {
            return false;
        }
        self.now += 10_000_000_000;
        // Bounded: a fault that stays must not keep the test.
        if self.now > 600_000_000_000 {
            return false;
        }
        let jobs = self.writer.finish(stamp(self.now));
        self.jobs.extend(jobs);
        // Late news must not come between the end and its seal.
        let channel = self.channels[0].0;
        self.writer.set_ended(channel, !self.writer.state(channel).ended);
        let progress = self.writer.commit(stamp(self.now));
        self.took(progress);
        self.run_jobs(1);
        true
    }
}

/// Recovers an image, perhaps with crashes on the way, and compares.
pub fn check_image(image: &SimStorage, model: &Model, rng: &mut Rng) -> Result<(), String> {
    let mut disk = image.clone();
    while rng.u8(0..4) == 0 {
        let at = disk.operations() + rng.u64(0..12);
        disk.set_faults(Faults { at: Some(at), for_ever: true, pads: rng.bool(), ..Faults::default() });
        let shared: Arc<dyn Storage> = Arc::new(disk.clone());
        let _ = recover(&shared, stamp(700_000_000_000));
        disk.set_faults(Faults::default());
        disk = disk.crash(rng);
    }
    disk.set_faults(Faults { pads: rng.bool(), ..Faults::default() });
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    let recovery = recover(&shared, stamp(800_000_000_000)).map_err(|e| format!("recover: {e}"))?;
    if recovery.is_loss() {
        return Err(format!("recovery found loss: {:?}", recovery.segments));
    }
    compare(&disk, &recovery, model)?;
    go_on(&disk, &recovery, model, rng)
}

fn compare(disk: &SimStorage, recovery: &Recovery, model: &Model) -> Result<(), String> {
    let verification = verify(disk, false, None).map_err(|e| format!("verify: {e}"))?;
    if !matches!(verification.outcome, Outcome::Intact | Outcome::Declared) {
        return Err(format!("verify says {:?}: {verification:#?}", verification.outcome));
    }
    for (name, channel) in model {
        let state = recovery.resume.channels.get(name).cloned().unwrap_or_default();
        if state.last_sequence < channel.acknowledged {
            let (has, acked) = (state.last_sequence, channel.acknowledged);
            return Err(format!("{name}: {acked} acknowledged, {has} there after recovery"));
        }
        // Whatever is there is what was sent, in order and without a hole but the declared.
        let sent = channel.sent.get(..state.last_sequence as usize).ok_or("more there than was sent")?;
        let expected: Vec<u8> = sent.iter().flatten().flatten().copied().collect();
        let mut found = Vec::new();
        let selection = Selection { channel: name.clone(), stream: None, segment: None };
        let exported = export(disk, &selection, &mut found).map_err(|e| format!("export: {e}"))?;
        if found != expected || exported.damaged {
            let (has, should) = (found.len(), expected.len());
            return Err(format!("{name}: exported {has} bytes, should be {should}; {exported:?}"));
        }
    }
    Ok(())
}

/// A new run goes on where the last one ended.
fn go_on(disk: &SimStorage, recovery: &Recovery, model: &Model, rng: &mut Rng) -> Result<(), String> {
    let shared: Arc<dyn Storage> = Arc::new(disk.clone());
    let now = 900_000_000_000;
    let mut writer = LogWriter::create(shared, options(rng), recovery.resume.clone(), stamp(now))
        .map_err(|e| format!("going on: {e}"))?;
    for name in model.keys() {
        let id = writer.channel(name, "application/octet-stream");
        let stream = writer.stream(id, &[]);
        for gap in recovery.undeclared.iter().filter(|g| g.channel == *name) {
            writer.declare(gap, stamp(now));
        }
        let mut batch = Batch::new(stream, writer.state(id).last_sequence + 1, vec![0; 100]);
        assert!(batch.push(b"more", stamp(now).wall_ns));
        writer.append(batch, stamp(now));
    }
    for job in writer.finish(stamp(now)) {
        let _ = writer.complete(job.run(), stamp(now));
    }
    let verification = verify(disk, false, None).map_err(|e| format!("verify after going on: {e}"))?;
    if !matches!(verification.outcome, Outcome::Intact | Outcome::Declared) {
        return Err(format!("after going on verify says {:?}: {verification:#?}", verification.outcome));
    }
    Ok(())
}
