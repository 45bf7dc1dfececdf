//! A pipe, or a connection: bytes in order, to an end.

use super::Turn;
use crate::config::{Framing, OnFull};
use crate::framing::{Framer, HOT_BYTES, Sink, Stream};
use crate::hub::{Hub, Lane, Refused};
use evenkeel_log::{Batch, PAYLOAD_BYTES_MAX};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Reads of one source before it is the next one's turn.
const QUANTUM_READS: usize = 4;

/// A descriptor that can be waited for.
pub(crate) struct Pollable {
    fd: OwnedFd,
    framer: Framer,
    /// Read, but the budget was used up.
    backlog: Vec<u8>,
    phase: Phase,
    hot: bool,
    /// Whether other streams share its lane: then it publishes before it yields.
    shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// A stop: this many bytes had arrived and are still to be read.
    Draining(usize),
    /// No byte comes any more; what is carried is still to be handed over.
    Ending,
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// There may be more to come.
    More,
    /// The budget is used up.
    Blocked,
    /// It is over, and all of it is handed over.
    Ended,
}

enum Read {
    Bytes(usize),
    Empty,
    Interrupted,
    End,
    Blocked,
}

impl Pollable {
    /// `pipe_bytes` is what a pipe is to hold: a larger one means fewer switches, and a stop has
    /// to read what is in it. It is only a wish.
    pub(crate) fn new(fd: OwnedFd, stream: Stream, framing: Framing, pipe_bytes: usize) -> Self {
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, pipe_bytes);
        let framer = Framer::new(stream, framing, None);
        Self { fd, framer, backlog: Vec::new(), phase: Phase::Reading, hot: false, shared: false }
    }

    /// One of several streams of its channel.
    pub(super) fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A stop: what has arrived by now is read, and no more.
    pub(super) fn drain(&mut self) {
        if self.phase == Phase::Reading {
            self.phase = Phase::Draining(usize::try_from(self.waiting_bytes()).unwrap_or(usize::MAX));
        }
    }

    /// Whether it must be served although nothing arrives.
    pub(super) fn is_pressing(&self) -> bool {
        self.phase != Phase::Reading
    }

    /// Reads for a quantum.
    pub(super) fn serve(&mut self, turn: &mut Turn<'_>) -> io::Result<Served> {
        let served = self.serve_quantum(turn);
        if self.shared || self.waiting_bytes() == 0 || self.framer.pending_bytes() == 0 {
            self.framer.publish(turn.lane, turn.hub);
        }
        served
    }

    fn serve_quantum(&mut self, turn: &mut Turn<'_>) -> io::Result<Served> {
        for _ in 0..QUANTUM_READS {
            if !self.backlog.is_empty() {
                let taken = self.framer.take(turn.lane, turn.sink(), &self.backlog);
                self.backlog.drain(..taken);
                if !self.backlog.is_empty() {
                    return Ok(Served::Blocked);
                }
                // Nobody has said that there is more: a read could block.
                if self.phase == Phase::Reading && self.waiting_bytes() == 0 {
                    break;
                }
            }
            let limit = match self.phase {
                Phase::Reading => PAYLOAD_BYTES_MAX,
                Phase::Draining(left) => left.min(PAYLOAD_BYTES_MAX),
                Phase::Ending => 0,
            };
            if limit == 0 {
                self.phase = Phase::Ending;
                let ended = self.framer.end(turn.lane, turn.sink());
                return Ok(if ended.is_ok() { Served::Ended } else { Served::Blocked });
            }
            match self.read(turn, limit)? {
                Read::Bytes(n) => self.note_read(n),
                Read::End => self.phase = Phase::Ending,
                // What had arrived is gone: somebody else has read it.
                Read::Empty if self.phase != Phase::Reading => self.phase = Phase::Ending,
                Read::Empty | Read::Interrupted => break,
                Read::Blocked => return Ok(Served::Blocked),
            }
            // It waits for budget, not for what may never arrive.
            if !self.backlog.is_empty() {
                return Ok(Served::Blocked);
            }
            if self.phase == Phase::Reading && self.waiting_bytes() == 0 {
                break;
            }
        }
        Ok(Served::More)
    }

    /// Accepts what was read, beyond the budget where it must be.
    pub(super) fn hand_over(&mut self, lane: &mut Lane, hub: &Hub) {
        let sink = Sink { hub, refused: Refused::Never };
        let backlog = std::mem::take(&mut self.backlog);
        let taken = self.framer.take(lane, sink, &backlog);
        // Without an id for its stream, a connection that was never heard ends unheard.
        let ended = self.framer.end(lane, sink);
        let lost = taken < backlog.len() || ended.is_err();
        assert!(!lost || self.shared, "invariant: this budget is never refused");
    }

    pub(super) fn close(mut self, lane: &Lane, hub: &Hub) {
        self.framer.close(lane, hub);
    }

    fn note_read(&mut self, bytes: usize) {
        self.hot = bytes >= HOT_BYTES;
        if let Phase::Draining(left) = &mut self.phase {
            *left -= bytes;
        }
    }

    fn waiting_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.fd).unwrap_or(0)
    }

    fn read(&mut self, turn: &mut Turn<'_>, limit: usize) -> io::Result<Read> {
        let drops = turn.lane.on_full == OnFull::DropNewest;
        // What is read and finds no room would have to be kept here, beside the budget.
        if !drops && !turn.hub.has_room(turn.lane.channel, Batch::bytes_for(limit)) {
            return Ok(Read::Blocked);
        }
        let sink = turn.sink();
        let slot =
            if self.hot && self.framer.is_direct() { self.framer.slot(turn.lane, sink).ok() } else { None };
        let direct = slot.is_some();
        let place = slot.unwrap_or(&mut *turn.scratch);
        match rustix::io::read(self.fd.as_fd(), &mut place[..limit]) {
            Ok(0) => Ok(Read::End),
            Ok(n) if direct => {
                self.framer.fill(turn.lane, n);
                Ok(Read::Bytes(n))
            }
            Ok(n) => {
                let taken = self.framer.take(turn.lane, sink, &turn.scratch[..n]);
                self.backlog.extend_from_slice(&turn.scratch[taken..n]);
                Ok(Read::Bytes(n))
            }
            Err(Errno::AGAIN) => Ok(Read::Empty),
            Err(Errno::INTR) => Ok(Read::Interrupted),
            Err(e) => Err(e.into()),
        }
    }
}
