//! `ek-journal`: the one owner of the journal's log.
//!
//! Takes all that is queued, appends it, commits and syncs, all on this thread; what arrives
//! meanwhile is the next group. While many come one upon the other, what is there is on its way to the disk already
//! before the rest has come, and one commit and one sync end them all. A lone entry is durable after one sync. While the disk
//! fails nothing is taken: the log replays what it holds when its time has come, and the queue fills up to its bound.

use super::JournalError;
use super::checkpoint::Checkpoints;
use super::entry::Hash;
use super::queue::Entries;
use super::retention::Removals;
use super::shared::{Order, Shared, Work};
use super::snapshot::Snapshots;
use crate::clock::stamp as now;
use crate::threads::Pulse;
use evenkeel_log::storage::Storage;
use evenkeel_log::{
    Batch, ChannelId, Condition, Job, LogWriter, Progress, StreamId, part_name, seal_given_up,
};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Attempts to write the end on a disk that fails: a sick journal does not hold up a stop.
const END_ATTEMPTS: u32 = 4;
/// Bytes of entries that are written at once, about: one chunk.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// However long a sync takes, entries that keep coming are waited for no longer.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// The ballast is taken up again at most this often.
const BALLAST_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) writer: LogWriter,
    pub(super) channel: ChannelId,
    pub(super) stream: StreamId,
    pub(super) next_entry: u64,
    /// A buffer to be used again.
    pub(super) spare: Vec<u8>,
    pub(super) ballast_at: Instant,
    /// Whether the segment holds an entry: one that is empty is not rotated.
    pub(super) has_entries: bool,
    /// How long a commit and its sync take, about: what coming entries are waited for, at most.
    pub(super) sync_takes: Duration,
    pub(super) snapshots: Snapshots,
    pub(super) removals: Removals,
    pub(super) checkpoints: Checkpoints,
    /// The last entry that was given to the log, and the chain after it.
    pub(super) written: (u64, Hash),
}

/// Says that the thread died, unless it said before how it ended.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.close(Err(JournalError::Died));
    }
}

impl Keeper {
    pub(super) fn run(mut self, pulse: &Pulse<'_>) {
        let gone = Gone(self.shared.clone());
        self.shared.enter();
        let end = loop {
            let may_take = self.writer.condition().0 == Condition::Writing;
            let gather = self.sync_takes.min(GATHER_MAX);
            let mut work = pulse.waiting(|| self.shared.wait(may_take, self.look_at(), gather));
            self.writer.retry(now());
            let until = Instant::now() + gather;
            while work.goes_on && self.writer.condition().0 == Condition::Writing {
                self.take(work.entries, work.own);
                self.writer.write_ahead(now());
                work = self.shared.more(until);
            }
            let Work { entries, order, drained, own, .. } = work;
            self.take(entries, own);
            self.commit();
            if order == Order::Run {
                if self.snapshots.keep(&self.shared) {
                    self.removals.snapshot_taken();
                }
                self.checkpoints.keep(&self.shared);
                let taken = self.snapshots.last;
                self.removals.keep(&self.shared, &*self.storage, taken, &self.checkpoints, now().wall_ns);
            }
            self.keep_house();
            if order != Order::Run && drained {
                break if order == Order::Finish { self.finish() } else { self.leave() };
            }
        };
        // The writer lets go of the directory before anybody is told that it is over.
        drop(self);
        gone.0.close(end);
    }

    /// Gives entries to the log, and counts those that are not its own.
    fn take(&mut self, entries: Entries, own: (u64, u64)) {
        self.append(&entries);
        let bytes = (entries.bytes.len() as u64).saturating_sub(own.1);
        let count = (entries.queued.len() as u64).saturating_sub(own.0);
        self.snapshots.count(count, bytes);
        self.checkpoints.count(count);
        self.shared.recycle(entries);
    }

    /// When there is something to do even if nothing comes.
    fn look_at(&self) -> Option<Instant> {
        self.retry_at().into_iter().chain(self.snapshots.look_at()).min()
    }

    /// When a disk that fails is to be tried again.
    fn retry_at(&self) -> Option<Instant> {
        let left = self.writer.retry_at_ns()?.saturating_sub(now().mono_ns);
        Instant::now().checked_add(Duration::from_nanos(left))
    }

    fn append(&mut self, entries: &Entries) {
        let (mut at, mut begin) = (0, 0);
        while at < entries.queued.len() {
            let rest = &entries.queued[at..];
            let count = rest.iter().take_while(|entry| entry.end - begin <= BATCH_BYTES_MAX).count().max(1);
            let (group, end) = (&rest[..count], rest[count - 1].end);
            let mut buffer = std::mem::take(&mut self.spare);
            buffer.resize(end - begin + count * Batch::bytes_for(0), 0);
            let mut batch = Batch::new(self.stream, self.next_entry, buffer);
            for entry in group {
                let fits = batch.push(&entries.bytes[begin..entry.end], entry.wall_ns);
                assert!(fits, "invariant: the buffer was made to fit, and drafts are bounded");
                begin = entry.end;
            }
            batch.set_chain(group[count - 1].hash);
            self.next_entry += batch.records();
            self.written = (self.next_entry - 1, group[count - 1].hash);
            self.writer.append(batch, now());
            self.has_entries = true;
            at += count;
        }
    }

    /// Commits and syncs until there is nothing to, or the disk fails.
    fn commit(&mut self) {
        while self.writer.condition().0 == Condition::Writing && self.writer.wants_commit() {
            let began = Instant::now();
            let progress = self.writer.commit(now());
            let mut jobs: Vec<Job> = self.took(progress);
            jobs.extend(self.writer.sync());
            self.work_off(jobs);
            self.sync_takes = (3 * self.sync_takes + began.elapsed()) / 4;
        }
        if self.has_entries && self.writer.wants_rotation(now()) {
            let jobs = self.writer.rotate(now());
            // A rotation that failed asks for no job and is tried again in a second.
            self.has_entries = jobs.is_empty();
            if !jobs.is_empty() {
                self.snapshots.segment_begins();
                self.removals.segment_begins();
            }
            self.work_off(jobs);
        }
    }

    fn work_off(&mut self, jobs: impl IntoIterator<Item = Job>) {
        let mut jobs: VecDeque<Job> = jobs.into_iter().collect();
        while let Some(job) = jobs.pop_front() {
            let progress = self.writer.complete(job.run(), now());
            jobs.extend(self.took(progress));
        }
    }

    fn took(&mut self, progress: Progress) -> Vec<Job> {
        let Progress { synced, released, jobs, .. } = progress;
        let longest = released.into_iter().max_by_key(|(_, memory)| memory.capacity());
        if let Some(spare) = longest.and_then(|(_, memory)| memory.into_vec()) {
            self.spare = spare;
        }
        if let Some((_, state)) = synced.iter().find(|(id, _)| *id == self.channel) {
            self.shared.publish(state.last_sequence, self.written);
        }
        jobs
    }

    /// Tells of trouble, and takes the ballast up again once there is room.
    fn keep_house(&mut self) {
        let trouble = match self.writer.condition() {
            (Condition::Writing, _) => self.removals.trouble(),
            (Condition::Full, _) => Some("the disk is full; the journal waits for space".to_owned()),
            (_, error) => Some(format!("the journal cannot be written: {}", error.unwrap_or("unknown"))),
        };
        let is_writing = self.writer.condition().0 == Condition::Writing;
        if is_writing && Instant::now() >= self.ballast_at {
            self.ballast_at = Instant::now() + BALLAST_EVERY;
            self.writer.ballast().hold();
        }
        self.shared.set_trouble(trouble);
    }

    fn reason(&self) -> String {
        self.writer.condition().1.unwrap_or("unknown").to_owned()
    }

    fn unwritten(&self) -> JournalError {
        let (durable, head) = self.shared.standing();
        JournalError::Unwritten { reason: self.reason(), durable, head }
    }

    /// No handle is left. What is there is committed; recovery ends the log.
    fn leave(&mut self) -> Result<(), JournalError> {
        if self.writer.is_settled() { Ok(()) } else { Err(self.unwritten()) }
    }

    /// Writes the end, durable, and seals the log.
    fn finish(&mut self) -> Result<(), JournalError> {
        if let Some(checkpoint) = self.checkpoints.draft(&self.shared) {
            let entries = self.shared.append_last(&checkpoint);
            self.append(&entries);
            self.commit();
        }
        for _ in 0..END_ATTEMPTS {
            let jobs = self.writer.finish(now());
            self.work_off(jobs);
            if self.writer.is_finished() && self.writer.is_settled() {
                return self.seal_given_up();
            }
        }
        Err(self.unwritten())
    }

    /// Seals what had to be given up on the way.
    fn seal_given_up(&self) -> Result<(), JournalError> {
        for number in self.writer.poisoned() {
            let name = part_name(*number);
            let why = match seal_given_up(&self.storage, *number, now()) {
                Ok(sealed) if sealed.losses.is_empty() => continue,
                Ok(sealed) => format!("{name}: {} places of it are damaged", sealed.losses.len()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => format!("{name}: {e}"),
            };
            return Err(JournalError::Unsealed { reason: why });
        }
        Ok(())
    }
}
