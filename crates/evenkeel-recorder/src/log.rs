//! `ek-log`: the one owner of the log's writer.
//!
//! Takes batches out of the hub in turns, appends them, commits every 10 ms
//! while there is something to commit, rotates, and ends the log. Nothing here
//! waits for a sync: jobs go to `ek-disk` and come back through the hub.

use crate::acks::Acks;
use crate::config::Durability;
use crate::disk::Disk;
use crate::hub::{Define, Dropped, Hub, InMemory, Item, Order, Sealing, Waiting};
use crate::readback::Readback;
use evenkeel::faults::{Code, Severity};
use evenkeel::threads::Pulse;
use evenkeel_log::storage::DirLock;
use evenkeel_log::{ChannelId, ChannelState, Condition, GapReason, Job, LogWriter, Progress, Stamp};
use std::sync::Arc;
use std::time::Duration;

/// Looks at the state of the disk and the segment's age at least this often.
const IDLE_NS: u64 = 1_000_000_000;
/// What waits to be durable is not kept waiting for a commit's time when it is as much as this:
/// the memory that holds it bounds how much can be recorded meanwhile.
const PRESSING_BYTES: usize = 2 << 20;
/// Attempts to write the end on a disk that is full, the ballast spent.
const FULL_ATTEMPTS: u32 = 2;
/// Attempts to write the end on a disk that fails.
const BROKEN_ATTEMPTS: u32 = 3;
/// How long a reader of the acknowledgements may take for the last ones.
const ACKS_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct LogThread {
    pub(crate) hub: Arc<Hub>,
    pub(crate) writer: LogWriter,
    /// Channels in the order of the configuration.
    pub(crate) ids: Vec<ChannelId>,
    /// When each of them counts as safe.
    pub(crate) levels: Vec<Durability>,
    /// Last sequence of each that was told as safe.
    pub(crate) told: Vec<u64>,
    pub(crate) commit_ns: u64,
    pub(crate) acks: Option<Acks>,
    pub(crate) disk: Disk,
    pub(crate) readback: Readback,
    /// Nobody else may have the directory while this thread writes to it.
    pub(crate) lock: Option<Arc<DirLock>>,
    pub(crate) under_way: usize,
    pub(crate) last_commit_ns: u64,
    pub(crate) ballast_at_ns: u64,
    pub(crate) attempts: u32,
}

impl LogThread {
    pub(crate) fn run(mut self, pulse: &Pulse<'_>) {
        let _told = ToldWhenPanicking(self.hub.clone());
        let order = loop {
            let may_write = self.writer.condition().0 == Condition::Writing;
            let waiting = if may_write { self.hub.waiting() } else { Waiting::Nothing };
            let due_ns = self.due_ns(waiting);
            let work = pulse.waiting(|| self.hub.take(due_ns, may_write, self.under_way == 0));
            let stamp = crate::now();
            for done in work.done {
                self.under_way -= 1;
                let progress = self.writer.complete(done, stamp);
                self.progress(progress);
            }
            for (channel, item) in work.items {
                self.append(channel, item, stamp);
            }
            self.tell_in_memory(&work.in_memory);
            self.note_ended();
            self.writer.retry(stamp);
            if work.order == Order::Abandon {
                break work.order;
            }
            self.commit_when_due();
            self.keep_house();
            if work.drained && self.finish() {
                break work.order;
            }
        };
        self.close(order);
    }

    fn append(&mut self, channel: usize, item: Item, stamp: Stamp) {
        match item {
            Item::Batch(batch) => self.writer.append(batch, stamp),
            Item::Define(Define { stream, peer, opened_ns }) => {
                let opened = opened_ns.to_string();
                self.writer.define(stream, &[("peer", &*peer), ("opened", &*opened)]);
            }
            Item::Close(stream) => {
                self.writer.close_stream(stream);
                self.hub.stream_closed();
            }
            Item::Dropped(dropped) => self.declare(channel, &dropped, stamp),
        }
    }

    /// Records that their reader had no room for become a gap, in their place.
    fn declare(&mut self, channel: usize, dropped: &Dropped, stamp: Stamp) {
        let gap = dropped.gap(self.writer.name(self.ids[channel]).to_owned());
        self.writer.declare(&gap, stamp);
        self.hub.declared(channel, dropped.records);
    }

    /// When the next thing is due, monotonic nanoseconds.
    fn due_ns(&self, waiting: Waiting) -> u64 {
        let now = crate::now().mono_ns;
        let commit = match waiting {
            _ if self.writer.wants_commit() => self.last_commit_ns + self.commit_ns,
            Waiting::Something => self.last_commit_ns + self.commit_ns,
            // There is nothing to do for what may not be taken, and nobody says when that changes.
            Waiting::NotYet => now + self.commit_ns,
            Waiting::Nothing => now + IDLE_NS,
        };
        self.writer.retry_at_ns().unwrap_or(commit).min(now + IDLE_NS)
    }

    /// A source that has ended, all of it appended, leaves no gap in a crash.
    fn note_ended(&mut self) {
        for at in self.hub.ended_channels() {
            if !self.writer.state(self.ids[at]).ended && self.writer.is_written(self.ids[at]) {
                self.writer.set_ended(self.ids[at], true);
            }
        }
    }

    fn commit_when_due(&mut self) {
        let stamp = crate::now();
        let pressed = self.under_way == 0 && self.writer.unacknowledged_bytes() >= PRESSING_BYTES;
        let due = pressed || stamp.mono_ns >= self.last_commit_ns + self.commit_ns;
        if due && self.writer.wants_commit() {
            self.last_commit_ns = stamp.mono_ns;
            let progress = self.writer.commit(stamp);
            self.progress(progress);
        }
        if self.under_way == 0 && self.writer.wants_rotation(stamp) {
            let jobs = self.writer.rotate(stamp);
            self.start(jobs);
        }
        if self.under_way == 0 {
            let job = self.writer.sync();
            self.start(job);
        }
    }

    fn start(&mut self, jobs: impl IntoIterator<Item = Job>) {
        for job in jobs {
            // A thread that is gone has panicked: its job is never done, and nothing
            // is acknowledged any more.
            self.under_way += 1;
            let _ = self.disk.run(job);
        }
    }

    fn progress(&mut self, progress: Progress) {
        let Progress { committed, synced, released, sealed, jobs } = progress;
        self.tell_committed(committed);
        if !synced.is_empty() || !released.is_empty() {
            let ids = &self.ids;
            let index = |id: ChannelId| ids.iter().position(|known| *known == id);
            self.hub.acknowledged(&synced, released, &index);
            self.tell(&synced, Durability::Disk);
            self.tell(&synced, Durability::Process);
        }
        if let Some(sealed) = sealed {
            // The run's last is for whoever stops to read back.
            let in_background = !self.writer.is_finished();
            self.hub.update_log(|log| log.last_sealed = log.last_sealed.max(Some(sealed.number)));
            if in_background {
                self.readback.sealed(sealed);
            }
        }
        self.start(jobs);
    }

    /// What is written is safe for some channels.
    fn tell_committed(&mut self, committed: Vec<(ChannelId, ChannelState)>) {
        if self.levels.contains(&Durability::Process) && !committed.is_empty() {
            self.tell(&committed, Durability::Process);
            let known = |(id, state)| Some((self.ids.iter().position(|known| *known == id)?, state));
            let states: Vec<_> = committed.into_iter().filter_map(known).collect();
            self.hub.committed(&states);
        }
    }

    /// Acknowledges what is safe for the channels of a level.
    fn tell(&mut self, safe: &[(ChannelId, ChannelState)], level: Durability) {
        let Some(acks) = &self.acks else { return };
        for (id, state) in safe {
            let at = self.ids.iter().position(|known| known == id);
            let Some(at) = at.filter(|at| self.levels[*at] == level) else { continue };
            // What is written is told before what is durable, which is less.
            if self.told[at] <= state.last_sequence {
                self.told[at] = state.last_sequence;
                acks.post(self.writer.name(*id), state.last_sequence, state.bytes);
            }
        }
    }

    fn tell_in_memory(&self, news: &[InMemory]) {
        let Some(acks) = &self.acks else { return };
        for InMemory { channel, last_sequence, bytes } in news {
            acks.post(self.writer.name(self.ids[*channel]), *last_sequence, *bytes);
        }
    }

    /// Tells of trouble, and takes the ballast up again once there is room.
    fn keep_house(&mut self) {
        let (condition, error) = self.writer.condition();
        let trouble = (condition != Condition::Writing).then(|| match condition {
            Condition::Full => FULL.to_owned(),
            _ => format!("{UNWRITABLE}: {}", error.unwrap_or("unknown")),
        });
        let rotation = self.writer.rotation_error();
        let rotation = rotation.map(|e| format!("{UNROTATED}: {e}"));
        let told = self.hub.log_status();
        if (&told.trouble, &told.rotation_trouble) != (&trouble, &rotation) {
            let code = if condition == Condition::Full { Code::STORAGE_FULL } else { Code::STORAGE };
            if let Some(trouble) = trouble.as_ref().filter(|_| told.trouble != trouble) {
                self.hub.report_log(code, Severity::Error, trouble);
            }
            if let Some(rotation) = rotation.as_ref().filter(|_| told.rotation_trouble != rotation) {
                self.hub.report_log(Code::STORAGE, Severity::Warning, rotation);
            }
            self.hub.update_log(|log| {
                log.trouble = trouble;
                log.rotation_trouble = rotation;
            });
        }
        let now = crate::now().mono_ns;
        if condition == Condition::Writing && now >= self.ballast_at_ns {
            self.ballast_at_ns = now + IDLE_NS;
            self.writer.ballast().hold();
        }
    }

    /// Writes the end; `true` when it is written and durable, or given up.
    fn finish(&mut self) -> bool {
        if self.writer.is_finished() {
            return self.under_way == 0 && self.writer.is_settled();
        }
        if self.under_way > 0 {
            return false;
        }
        let stamp = crate::now();
        self.writer.write(stamp);
        self.note_ended();
        let jobs = self.writer.finish(stamp);
        self.start(jobs);
        if self.writer.is_finished() {
            return false;
        }
        self.attempts += 1;
        match self.writer.condition().0 {
            Condition::Writing => false,
            Condition::Full if self.attempts < FULL_ATTEMPTS => false,
            Condition::Full if self.attempts == FULL_ATTEMPTS => {
                self.declare_unwritten();
                false
            }
            Condition::Broken if self.attempts < BROKEN_ATTEMPTS => false,
            _ => {
                let reason = self.writer.condition().1.unwrap_or("unknown").to_owned();
                let fault = format!("the end could not be written: {reason}");
                self.hub.report_log(Code::STORAGE, Severity::Error, &fault);
                self.hub.update_log(|log| log.faults.push(fault));
                true
            }
        }
    }

    /// What does not fit on the disk becomes a gap, so that the rest can be sealed.
    fn declare_unwritten(&mut self) {
        let given_up = self.writer.give_up_unwritten(GapReason::DiskFull, crate::now());
        for (id, records, bytes) in given_up.lost {
            if let Some(at) = self.ids.iter().position(|known| *known == id) {
                self.hub.given_up(at, records, bytes);
                let name = self.writer.name(id).to_owned();
                let fault = format!("{name}: {records} records did not fit on the full disk");
                self.hub.update_log(|log| log.faults.push(fault));
            }
        }
        let ids = &self.ids;
        let index = |id: ChannelId| ids.iter().position(|known| *known == id);
        self.hub.acknowledged(&[], given_up.released, &index);
    }

    fn close(self, order: Order) {
        let Self { hub, writer, acks, disk, readback, lock, .. } = self;
        drop(readback);
        disk.close();
        if let Some(acks) = &acks {
            acks.close(if order == Order::Abandon { Duration::ZERO } else { ACKS_PATIENCE });
        }
        let finished = writer.is_finished() && writer.is_settled();
        let given_up = writer.poisoned().iter().map(|number| (*number, Sealing::Unsealed)).collect();
        // The writer takes the ballast away: after this, nothing here touches the directory.
        drop((writer, lock));
        hub.update_log(|log| {
            log.finished = finished;
            log.given_up = given_up;
            log.gone = true;
        });
    }
}

/// What is told of the log while it cannot be written.
const FULL: &str = "the disk is full; recording waits for space";
const UNWRITABLE: &str = "the log cannot be written";
const UNROTATED: &str = "no new segment can be begun, and the old one grows";

/// One of these, without what the system said.
pub(crate) fn in_public(trouble: &str) -> &'static str {
    [FULL, UNWRITABLE].into_iter().find(|told| trouble.starts_with(told)).unwrap_or(UNROTATED)
}

/// A log that is gone by a panic is gone too: nobody waits for it.
struct ToldWhenPanicking(Arc<Hub>);

impl Drop for ToldWhenPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.update_log(|log| {
                log.faults.push("the log's thread panicked".to_owned());
                log.gone = true;
            });
        }
    }
}
