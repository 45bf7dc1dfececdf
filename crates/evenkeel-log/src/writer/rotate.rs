//! Going on in a new segment, and ending the last one.

use super::{Condition, Job, LogWriter, Stamp, create_segment};
use crate::commit::{RUN_END, SNAPSHOT};

impl LogWriter {
    /// Whether the segment has reached a limit, or cannot take what comes next.
    pub fn wants_rotation(&self, stamp: Stamp) -> bool {
        self.condition == Condition::Writing
            && !self.finished
            && stamp.mono_ns >= self.rotate_not_before_ns
            && (self.segment.bytes >= self.options.segment_bytes
                || self.segment.index_bytes() >= self.options.index_bytes
                || self.segment.streams() >= self.segment_streams()
                || self.is_blocked()
                || stamp.mono_ns.saturating_sub(self.segment.created_mono_ns) >= self.options.segment_ns)
    }

    /// Ends the segment and goes on in a new one. The jobs sync the old one,
    /// then the new one, then seal the old one.
    pub fn rotate(&mut self, stamp: Stamp) -> Vec<Job> {
        self.write(stamp);
        if self.condition != Condition::Writing {
            return Vec::new();
        }
        let number = self.next_number;
        self.next_number += 1;
        let next = match create_segment(&*self.storage, &self.options, number, self.standing(), stamp) {
            Ok(next) => next,
            Err(e) => {
                if self.succession_failed(&e, number, stamp) && self.is_blocked() {
                    // Nothing more can be written here: as bad as an append that failed.
                    self.append_failed(&e, stamp);
                    self.rotate_not_before_ns = self.retry_at_ns;
                }
                return Vec::new();
            }
        };
        let seal = match self.segment.end(0, self.chain.written, self.changed_entries(), stamp) {
            Ok(seal) => seal,
            Err(e) => {
                if self.succession_failed(&e, number, stamp) {
                    self.append_failed(&e, stamp);
                    if self.is_blocked() {
                        self.rotate_not_before_ns = self.retry_at_ns;
                    }
                }
                return Vec::new();
            }
        };
        self.rotation_error = None;
        self.committed();
        let mut jobs: Vec<Job> = self.sync().into_iter().collect();
        let old = std::mem::replace(&mut self.segment, next);
        let ticket = self.ticket(self.asked);
        self.segment.unsynced_dir = false;
        jobs.push(Job::sync(self.segment.disk(), Some(self.storage.clone()), ticket));
        // Only the last seal of a run may spend the ballast: recording would fill what another gave back.
        jobs.push(Job::seal(self.storage.clone(), &old, Some(self.segment.disk()), None, seal));
        jobs
    }

    /// Ends the run: writes what is open, rotating where some of it has to go into
    /// another segment, and the last commit; answers the jobs that sync and seal what
    /// ended. On a full disk the ballast is spent.
    ///
    /// Until [`LogWriter::is_finished`] says so, call it again at `retry_at_ns`
    /// or give up.
    pub fn finish(&mut self, stamp: Stamp) -> Vec<Job> {
        if self.finished {
            return Vec::new();
        }
        if self.condition == Condition::Full {
            self.ballast.release();
        }
        self.retry_now(stamp);
        let mut jobs = self.write_all(stamp);
        if self.condition != Condition::Writing {
            return jobs;
        }
        let (chain, entries) = self.standing();
        match self.segment.end(RUN_END | SNAPSHOT, chain, entries, stamp) {
            Ok(seal) => {
                self.finished = true;
                self.committed();
                jobs.extend(self.sync());
                let ballast = Some(self.ballast.clone());
                jobs.push(Job::seal(self.storage.clone(), &self.segment, None, ballast, seal));
            }
            Err(e) => self.append_failed(&e, stamp),
        }
        jobs
    }

    /// Writes what is open, into as many segments as it takes; answers the jobs of the
    /// rotations. Each turn writes something, for a new segment takes at least one item,
    /// or finds out that it cannot write.
    fn write_all(&mut self, stamp: Stamp) -> Vec<Job> {
        let mut jobs = Vec::new();
        self.write(stamp);
        while self.condition == Condition::Writing && self.is_blocked() {
            jobs.extend(self.rotate(stamp));
            self.write(stamp);
        }
        jobs
    }
}
