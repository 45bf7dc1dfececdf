//! A pipe, or a connection: bytes in order, to an end.

use super::Turn;
use crate::config::{Framing, OnFull};
use crate::framing::{Framer, HOT_BYTES, Sink, Stream};
use crate::hub::{Hub, Lane, Refused};
use evenkeel_log::{Batch, PAYLOAD_BYTES_MAX};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{SocketType, sockopt};
use std::io::{self, IoSliceMut};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Reads of one source before it is the next one's turn: where few are ready, a large buffer's.
pub(super) const QUANTUM_READS: RangeInclusive<usize> = 4..=16;

/// Where many are ready, a read of what is yet to be framed brings no more than this, or than
/// what is likely to find room.
const CROWDED_BYTES: usize = 4 << 10;

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
    /// Whether a read can be asked not to block, for this one call.
    may_ask: bool,
    /// Whether what a read leaves is there for the next one, as in all but sockets of packets.
    keeps_rest: bool,
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
    /// Nothing waits.
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
        let keeps_rest = sockopt::socket_type(&fd).map_or(true, |kind| kind == SocketType::STREAM);
        Self {
            fd,
            framer,
            backlog: Vec::new(),
            phase: Phase::Reading,
            hot: false,
            shared: false,
            may_ask: true,
            keeps_rest,
        }
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
        let waiting = if self.hot { self.waiting_bytes() } else { 0 };
        let share = if self.shared { turn.reads * PAYLOAD_BYTES_MAX } else { usize::MAX };
        self.framer.expect(usize::try_from(waiting).unwrap_or(usize::MAX).min(share));
        self.framer.set_crowded(turn.is_crowded());
        let mut emptied = false;
        let served = self.serve_quantum(turn, &mut emptied);
        // A batch waits for more only while more is there, and there is room for it: nobody else hands it over.
        let goes_on = matches!(served, Ok(Served::More)) && !emptied && !self.shared;
        if !goes_on || self.waiting_bytes() == 0 {
            self.framer.publish(turn.lane, turn.hub);
        }
        served
    }

    fn serve_quantum(&mut self, turn: &mut Turn<'_>, emptied: &mut bool) -> io::Result<Served> {
        for _ in 0..turn.reads {
            if !self.backlog.is_empty() {
                let taken = self.framer.take(turn.lane, turn.sink(), &self.backlog);
                self.backlog.drain(..taken);
                if !self.backlog.is_empty() {
                    return Ok(Served::Blocked);
                }
                // Seldom needed, and much where there are many.
                self.backlog = Vec::new();
                // Nobody has said that there is more.
                if self.would_block() {
                    break;
                }
            }
            let limit = match self.phase {
                Phase::Reading => self.limit(turn),
                Phase::Draining(left) => left.min(PAYLOAD_BYTES_MAX),
                Phase::Ending => 0,
            };
            if limit == 0 {
                self.phase = Phase::Ending;
                let ended = self.framer.end(turn.lane, turn.sink());
                return Ok(if ended.is_ok() { Served::Ended } else { Served::Blocked });
            }
            match self.read(turn, limit)? {
                Read::Bytes(n) => {
                    self.note_read(n);
                    *emptied = n < limit;
                }
                Read::End => self.phase = Phase::Ending,
                // What had arrived is gone: somebody else has read it.
                Read::Empty if self.phase != Phase::Reading => self.phase = Phase::Ending,
                Read::Empty => *emptied = true,
                Read::Interrupted => break,
                Read::Blocked => return Ok(Served::Blocked),
            }
            // It waits for budget, not for what may never arrive.
            if !self.backlog.is_empty() {
                return Ok(Served::Blocked);
            }
            if self.phase == Phase::Reading && (*emptied || self.would_block()) {
                break;
            }
        }
        Ok(Served::More)
    }

    /// What one read may bring. Of many that flood at once, each with short lines, what was read
    /// and finds no room would be more than all that waits.
    fn limit(&self, turn: &Turn<'_>) -> usize {
        if turn.is_crowded() && self.keeps_rest && !self.framer.is_direct() {
            self.framer.fits_medium().max(CROWDED_BYTES)
        } else {
            PAYLOAD_BYTES_MAX
        }
    }

    /// Memory that the bytes of a read will be put into. Of short lines that is many times what is read.
    fn room_for(&self, limit: usize) -> usize {
        if limit == PAYLOAD_BYTES_MAX {
            return Batch::bytes_for(limit);
        }
        let waiting = if self.hot { limit } else { usize::try_from(self.waiting_bytes()).unwrap_or(limit) };
        self.framer.least_room(waiting.min(limit))
    }

    /// Whether a read could wait for bytes that nobody has sent.
    fn would_block(&self) -> bool {
        self.phase == Phase::Reading && !self.may_ask && self.waiting_bytes() == 0
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
        let drops = turn.lane.on_full != OnFull::Block;
        // What is read and finds no room would have to be kept here, beside the budget.
        let has_room = || turn.hub.has_room(turn.lane.channel, self.room_for(limit));
        // At an end nothing comes: then nothing that waits is to make room for it.
        let makes_room = turn.lane.on_full == OnFull::DropOldest;
        let comes = !makes_room || self.framer.has_slot() || self.waiting_bytes() > 0;
        let wants_slot = self.hot && self.framer.is_direct() && comes;
        if !drops && !wants_slot && !self.framer.has_slot() && !has_room() {
            return Ok(Read::Blocked);
        }
        let sink = turn.sink();
        let slot = if wants_slot { self.framer.slot(turn.lane, sink).ok() } else { None };
        let direct = slot.is_some();
        if wants_slot && !direct && !drops {
            return Ok(Read::Blocked);
        }
        let place = slot.unwrap_or(&mut *turn.scratch);
        match read_waiting(self.fd.as_fd(), &mut place[..limit], &mut self.may_ask) {
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

/// Reads what waits. Whether the descriptor blocks is its owner's to say, who may share it with
/// us: pipes and sockets are asked not to for this one call, and whatever cannot be asked, like
/// a terminal, is read where something is known to wait.
fn read_waiting(fd: BorrowedFd<'_>, place: &mut [u8], may_ask: &mut bool) -> Result<usize, Errno> {
    if *may_ask {
        let mut places = [IoSliceMut::new(place)];
        match rustix::io::preadv2(fd, &mut places, u64::MAX, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => *may_ask = false,
            read => return read,
        }
    }
    rustix::io::read(fd, place)
}
