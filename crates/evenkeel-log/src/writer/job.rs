//! Blocking work of the log that does not belong on the writer's thread.

use super::Ballast;
use crate::segment::{Disk, Segment, part_name, sealed_name};
use crate::storage::{Storage, is_full};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Which commits a sync covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) epoch: u64,
    pub(super) group: u64,
    pub(super) segment: u64,
    pub(super) bytes: u64,
}

/// A segment under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its number.
    pub number: u64,
    /// Its file name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32 of all of it, as it was written.
    pub crc: u32,
}

enum Kind {
    Sync { disk: Disk, dir: Option<Arc<dyn Storage>>, ticket: Ticket },
    Seal(Box<Seal>),
}

struct Seal {
    storage: Arc<dyn Storage>,
    disk: Disk,
    /// The segment that was begun after it; none after the last.
    successor: Option<Disk>,
    ballast: Option<Arc<Ballast>>,
    tail: Vec<u8>,
    data_bytes: u64,
    sealed: SealedSegment,
}

/// A sync or a seal, to be run on a thread that may block.
#[must_use = "a job that is not run and handed back acknowledges nothing"]
pub struct Job(Kind);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Sync { ticket, .. } => f.debug_tuple("Sync").field(ticket).finish(),
            Kind::Seal(seal) => f.debug_tuple("Seal").field(&seal.sealed).finish(),
        }
    }
}

pub(super) enum Outcome {
    Synced(Ticket, io::Result<()>),
    Sealed(SealedSegment, io::Result<()>),
}

/// A job that has run; hand it to [`LogWriter::complete`](super::LogWriter::complete).
#[must_use = "hand it to LogWriter::complete"]
pub struct JobDone {
    pub(super) outcome: Outcome,
}

impl Job {
    pub(super) fn sync(disk: Disk, dir: Option<Arc<dyn Storage>>, ticket: Ticket) -> Self {
        Self(Kind::Sync { disk, dir, ticket })
    }

    pub(super) fn seal(
        storage: Arc<dyn Storage>,
        segment: &Segment,
        successor: Option<Disk>,
        ballast: Option<Arc<Ballast>>,
        tail: Vec<u8>,
    ) -> Self {
        let sealed = SealedSegment {
            number: segment.number,
            name: sealed_name(segment.number),
            bytes: segment.bytes + tail.len() as u64,
            crc: segment.crc_with(&tail),
        };
        let (disk, data_bytes) = (segment.disk(), segment.bytes);
        Self(Kind::Seal(Box::new(Seal { storage, disk, successor, ballast, tail, data_bytes, sealed })))
    }

    /// Does it; blocks for as long as the disk takes.
    pub fn run(self) -> JobDone {
        let outcome = match self.0 {
            Kind::Sync { disk, dir, ticket } => {
                let done = disk.sync().and_then(|()| dir.map_or(Ok(()), |dir| dir.sync_dir()));
                if done.is_ok() {
                    disk.note_durable();
                }
                Outcome::Synced(ticket, done)
            }
            Kind::Seal(seal) => {
                let done = seal.run();
                Outcome::Sealed(seal.sealed, done)
            }
        };
        JobDone { outcome }
    }
}

impl Seal {
    fn run(&self) -> io::Result<()> {
        if self.successor.as_ref().is_some_and(|successor| !successor.is_durable()) {
            // A sealed segment is followed by one: retention removes it on the strength of that.
            return Err(io::Error::other("the segment after it could not be made durable"));
        }
        let file = self.disk.file()?;
        if let Err(e) = file.append(&mut [IoSlice::new(&self.tail)]) {
            let Some(ballast) = self.ballast.as_ref().filter(|_| is_full(&e)) else { return Err(e) };
            // This is the day the ballast is for.
            file.truncate(self.data_bytes)?;
            ballast.release();
            file.append(&mut [IoSlice::new(&self.tail)])?;
        }
        // Its whole length and no zero more.
        file.truncate(self.data_bytes + self.tail.len() as u64)?;
        self.disk.sync()?;
        self.storage.rename(&part_name(self.sealed.number), &self.sealed.name)?;
        self.storage.sync_dir()
    }
}
