//! The hash chain that commits carry: in every one, over rotations, crashes,
//! recoveries, failed writes and what is replayed after them.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::driver::quiet_options;
use common::stamp;
use evenkeel_log::sim::{Faults, SimStorage};
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Batch, ChannelId, Found, Job, LogOptions, LogWriter, Outcome, Resume, Selection, StreamId, read, recover,
    verify,
};
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;

const CHANNEL: &str = "journal";

/// The chain after message `sequence`: for the log it is any 32 bytes.
fn chain_of(sequence: u64) -> [u8; 32] {
    let mut chain = [0xC5; 32];
    chain[..8].copy_from_slice(&sequence.to_le_bytes());
    chain
}

fn journal() -> Selection {
    Selection { channel: CHANNEL.to_owned(), stream: None, segment: None }
}

/// A chained log, driven operation by operation.
struct Chained {
    storage: SimStorage,
    writer: LogWriter,
    id: ChannelId,
    stream: StreamId,
    next: u64,
    acknowledged: u64,
    jobs: VecDeque<Job>,
    now: u64,
}

impl Chained {
    fn new(storage: &SimStorage, options: LogOptions, resume: Resume, now: u64) -> Self {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut resume = Resume { chain: resume.chain.or(Some(chain_of(0))), ..resume };
        resume.opening.insert(CHANNEL.to_owned());
        let mut writer = LogWriter::create(shared, options, resume, stamp(now)).unwrap();
        let id = writer.channel(CHANNEL, "json");
        let stream = writer.stream(id, &[]);
        let next = writer.state(id).last_sequence + 1;
        Self {
            storage: storage.clone(),
            writer,
            id,
            stream,
            next,
            acknowledged: 0,
            jobs: VecDeque::new(),
            now,
        }
    }

    fn append(&mut self, messages: u64) {
        let mut batch = Batch::new(self.stream, self.next, vec![0; 4096]);
        for _ in 0..messages {
            let payload = format!("message {}", self.next);
            assert!(batch.push(payload.as_bytes(), stamp(self.now).wall_ns));
            self.next += 1;
        }
        batch.set_chain(chain_of(self.next - 1));
        self.writer.append(batch, stamp(self.now));
    }

    fn commit(&mut self) {
        let progress = self.writer.commit(stamp(self.now));
        self.jobs.extend(progress.jobs);
        if self.jobs.is_empty() {
            self.jobs.extend(self.writer.sync());
        }
    }

    fn run_jobs(&mut self, count: usize) {
        for _ in 0..count {
            let Some(job) = self.jobs.pop_front() else { return };
            let progress = self.writer.complete(job.run(), stamp(self.now));
            for (id, state) in progress.synced {
                if id == self.id {
                    self.acknowledged = state.last_sequence;
                }
            }
            self.jobs.extend(progress.jobs);
        }
    }

    fn rotate(&mut self) {
        let jobs = self.writer.rotate(stamp(self.now));
        self.jobs.extend(jobs);
    }

    fn step(&mut self, rng: &mut Rng) {
        self.now += rng.u64(1..400_000_000);
        self.writer.retry(stamp(self.now));
        match rng.u8(0..10) {
            0..4 => self.append(rng.u64(1..5)),
            4..7 => self.commit(),
            7 => self.rotate(),
            _ => self.run_jobs(rng.usize(1..4)),
        }
    }

    fn finish(&mut self) -> bool {
        for _ in 0..8 {
            self.now += 10_000_000_000;
            let jobs = self.writer.finish(stamp(self.now));
            self.jobs.extend(jobs);
            self.run_jobs(usize::MAX);
            if self.writer.is_finished() && self.writer.is_settled() {
                return true;
            }
        }
        false
    }
}

/// Every commit and every segment's beginning must say the chain of its last
/// message; answers the last sequence, and how many commits there were.
fn check_chain(storage: &SimStorage) -> Result<(u64, u64), String> {
    let (mut last, mut commits, mut wrong) = (0, 0, Vec::new());
    let summary = read(storage, false, &journal(), &mut |found| {
        match found {
            Found::Segment { name, chain, first_sequence } => {
                if first_sequence != last + 1 || chain != Some(chain_of(last)) {
                    wrong.push(format!("{name} begins at {first_sequence} with {chain:?}, after {last}"));
                }
            }
            Found::Message { sequence, payload, .. } => {
                if sequence != last + 1 || payload != format!("message {sequence}").as_bytes() {
                    wrong.push(format!("message {sequence} after {last}"));
                }
                last = sequence;
            }
            Found::Commit { chain, last_sequence } => {
                commits += 1;
                if last_sequence != last || chain != Some(chain_of(last)) {
                    wrong.push(format!("a commit at {last_sequence} with {chain:?}, after {last}"));
                }
            }
            other => wrong.push(format!("{other:?}")),
        }
        Ok(())
    });
    match (summary, wrong.first()) {
        (Ok(summary), None) if !summary.damaged => Ok((last, commits)),
        (summary, wrong) => Err(format!("{wrong:?}, {summary:?}")),
    }
}

/// Recovers, checks, goes on for a little, and checks again.
fn check_image(image: &SimStorage, acknowledged: u64) -> Result<(), String> {
    let shared: Arc<dyn Storage> = Arc::new(image.clone());
    let recovery = recover(&shared, stamp(1 << 50)).map_err(|e| format!("recover: {e}"))?;
    let (last, _) = check_chain(image)?;
    if last < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {last} there"));
    }
    let resumed = recovery.resume.channels.get(CHANNEL).map_or(0, |s| s.last_sequence);
    if resumed != last || recovery.resume.chain.unwrap_or(chain_of(0)) != chain_of(last) {
        return Err(format!("resumed at {resumed} with {:?}, {last} there", recovery.resume.chain));
    }
    let mut next = Chained::new(image, quiet_options(), recovery.resume, 1 << 51);
    next.append(2);
    assert!(next.finish());
    let (after, _) = check_chain(image)?;
    if after == last + 2 { Ok(()) } else { Err(format!("{after} after going on from {last}")) }
}

fn small_segments(rng: &mut Rng) -> LogOptions {
    LogOptions { chunk_bytes: rng.usize(30..400), run_id: [rng.u8(..); 16], ..quiet_options() }
}

// REQ C11, REQ S6
#[test]
fn every_commit_carries_the_chain_over_rotations_and_runs() {
    let storage = SimStorage::new();
    let mut log = Chained::new(&storage, quiet_options(), Resume::default(), 0);
    for _ in 0..3 {
        log.append(2);
        log.commit();
        log.append(1);
        log.commit();
        log.run_jobs(9);
        log.rotate();
        log.run_jobs(9);
    }
    assert!(log.finish());
    // Four segments: a first commit each, two in each of three, and the ends.
    assert_eq!(check_chain(&storage).unwrap(), (9, 4 + 6 + 4));
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let resume = recover(&shared, stamp(1 << 50)).unwrap().resume;
    assert_eq!(resume.chain, Some(chain_of(9)));
    let mut log = Chained::new(&storage, quiet_options(), resume, 1 << 51);
    log.append(1);
    assert!(log.finish());
    assert_eq!(check_chain(&storage).unwrap().0, 10);
    assert_eq!(verify(&storage, false, None).unwrap().outcome, Outcome::Intact);
}

// REQ C11, REQ S6, REQ Q2
#[test]
fn the_chain_survives_every_crash() {
    let mut images = 0;
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let storage = SimStorage::new();
        storage.set_faults(Faults { pads: rng.bool(), ..Faults::default() });
        let mut log = Chained::new(&storage, small_segments(&mut rng), Resume::default(), 0);
        storage.watch(rng.fork());
        for _ in 0..rng.u32(3..25) {
            let acknowledged = log.acknowledged;
            log.step(&mut rng);
            for image in storage.take_images() {
                images += 1;
                check_image(&image, acknowledged)
                    .unwrap_or_else(|e| panic!("seed {seed}, image {images}: {e}"));
            }
        }
    }
    assert!(images > 2_000, "only {images} images");
}

// REQ C11, REQ Q2
#[test]
fn what_is_replayed_after_a_failure_takes_its_chain_along() {
    let (mut points, mut poisoned) = (0, 0);
    for seed in 0..40 {
        let run = |at: Option<u64>, for_ever: bool| {
            let mut rng = Rng::with_seed(seed);
            let storage = SimStorage::new();
            let mut log = Chained::new(&storage, small_segments(&mut rng), Resume::default(), 0);
            storage.set_faults(Faults { at, for_ever, ..Faults::default() });
            for _ in 0..20 {
                log.step(&mut rng);
            }
            (log, rng)
        };
        let operations = run(None, false).0.storage.operations();
        for at in 4..operations {
            for for_ever in [false, true] {
                let context = format!("seed {seed}, operation {at} failing, for ever: {for_ever}");
                let (mut log, mut rng) = run(Some(at), for_ever);
                assert!(log.finish() || for_ever, "{context}");
                log.storage.set_faults(Faults::default());
                points += 1;
                poisoned += u64::from(!log.writer.poisoned().is_empty());
                if !for_ever {
                    let (last, _) = check_chain(&log.storage).unwrap_or_else(|e| panic!("{context}: {e}"));
                    assert_eq!(last, log.next - 1, "{context}");
                }
                let image = log.storage.crash(&mut rng);
                check_image(&image, log.acknowledged).unwrap_or_else(|e| panic!("{context}: {e}"));
            }
        }
    }
    assert!(poisoned > 200, "{poisoned} of {points} runs lost a segment");
}

// REQ C11
#[test]
fn a_log_without_a_chain_has_none() {
    let storage = SimStorage::new();
    let mut driver = common::driver::Driver::new(Arc::new(storage.clone()), quiet_options());
    driver.stream(CHANNEL);
    driver.append(CHANNEL, &[b"message 1".to_vec()]);
    driver.commit_sync();
    assert!(driver.finish());
    let (mut chains, mut messages) = (0, 0);
    let summary = read(&storage, false, &journal(), &mut |found| {
        match found {
            Found::Segment { chain, .. } | Found::Commit { chain, .. } => {
                chains += u64::from(chain.is_some());
            }
            Found::Message { .. } => messages += 1,
            _ => {}
        }
        Ok(())
    });
    assert_eq!((chains, messages, summary.unwrap().records), (0, 1, 1));
    let absent = Selection { segment: Some("000009.mcap".to_owned()), ..journal() };
    let error = read(&storage, false, &absent, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
