//! Going on in a new segment, and ending the last one.

use super::{Ballast, Condition, Job, LogWriter, Stamp, create_segment};
use crate::commit::{RUN_END, SNAPSHOT};
use crate::segment::Segment;
use std::sync::Arc;

impl LogWriter {
    /// Whether the segment has reached a limit.
    pub fn wants_rotation(&self, stamp: Stamp) -> bool {
        self.condition == Condition::Writing
            && !self.finished
            && stamp.mono_ns >= self.rotate_not_before_ns
            && (self.segment.bytes >= self.options.segment_bytes
                || self.segment.index_bytes() >= self.options.index_bytes
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
                self.succession_failed(&e, number, stamp);
                return Vec::new();
            }
        };
        let seal = match self.segment.end(0, self.chain.written, self.changed_entries(), stamp) {
            Ok(seal) => seal,
            Err(e) => {
                if self.succession_failed(&e, number, stamp) {
                    self.append_failed(&e, stamp);
                }
                return Vec::new();
            }
        };
        self.committed();
        let mut jobs: Vec<Job> = self.sync().into_iter().collect();
        let old = std::mem::replace(&mut self.segment, next);
        let ticket = self.ticket(self.asked);
        self.segment.unsynced_dir = false;
        jobs.push(Job::sync(self.segment.disk(), Some(self.storage.clone()), ticket));
        jobs.push(self.seal_job(&old, None, seal));
        jobs
    }

    /// Only the last seal of a run may spend the ballast: recording would fill what another gave back.
    fn seal_job(&self, segment: &Segment, ballast: Option<Arc<Ballast>>, tail: Vec<u8>) -> Job {
        Job::seal(self.storage.clone(), segment, ballast, tail)
    }

    /// Ends the run: writes what is open, the last commit, and answers the jobs
    /// that sync and seal the last segment. On a full disk the ballast is spent.
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
        self.write(stamp);
        if self.condition != Condition::Writing {
            return Vec::new();
        }
        let (chain, entries) = self.standing();
        match self.segment.end(RUN_END | SNAPSHOT, chain, entries, stamp) {
            Ok(seal) => {
                self.finished = true;
                self.committed();
                let mut jobs: Vec<Job> = self.sync().into_iter().collect();
                jobs.push(self.seal_job(&self.segment, Some(self.ballast.clone()), seal));
                jobs
            }
            Err(e) => {
                self.append_failed(&e, stamp);
                Vec::new()
            }
        }
    }
}
