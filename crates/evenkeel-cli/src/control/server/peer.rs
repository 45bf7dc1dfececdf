//! One client of the server, which never waits for it.
//!
//! ```text
//! Asking --stop--> Waiting --end--> Parting --all sent, or nobody there--> Gone
//!    `--------------error, silence--'
//! ```
//!
//! It is read only while it asks and is owed nothing: what it asks without reading the
//! answers stays in its own pipe.

use super::super::protocol::{REQUEST_BYTES_MAX, line};
use rustix::event::PollFlags;
use serde::Serialize;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a client may ask nothing, or read nothing of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Waiting,
    Parting,
    Gone,
}

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its break.
    Whole(Vec<u8>),
    /// More than so many bytes without a break.
    TooLong(usize),
    /// Some bytes, and then the end.
    Half,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Peer {
    stream: UnixStream,
    state: State,
    /// Whether it will send no more.
    is_silent: bool,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Until when it has to ask or to read.
    until: Instant,
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Peer {
    /// A client that has connected with a stream that does not block.
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Self { stream, state: State::Asking, is_silent: false, incoming, outgoing, until: now + PATIENCE }
    }

    /// Whether something that it was told is not sent yet.
    pub(super) fn is_owed(&self) -> bool {
        self.state != State::Gone && !self.outgoing.is_empty()
    }

    /// Whether it waits for the end.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    fn is_read(&self) -> bool {
        self.state == State::Asking && !self.is_owed() && !self.is_silent
    }

    fn has_line(&self) -> bool {
        let is_answered = self.state == State::Asking && !self.is_owed();
        is_answered && (self.is_silent || self.incoming.contains(&b'\n') || self.is_too_long())
    }

    fn is_too_long(&self) -> bool {
        self.incoming.len() >= REQUEST_BYTES_MAX
    }

    /// What is to be polled for.
    pub(super) fn wants(&self) -> PollFlags {
        match (self.is_owed(), self.is_read()) {
            (true, _) => PollFlags::OUT,
            (false, true) => PollFlags::IN,
            (false, false) => PollFlags::empty(),
        }
    }

    /// When it has to be looked at without having been heard of.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.has_line() { Some(now) } else { self.is_timed().then_some(self.until) }
    }

    /// Whether it may not take as long as it likes.
    fn is_timed(&self) -> bool {
        self.state != State::Waiting || self.is_owed()
    }

    /// Whether its time to ask or to read is over.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.is_timed() && self.until <= now
    }

    /// Reads and writes what `ready` promises.
    pub(super) fn turn(&mut self, ready: PollFlags) {
        if ready.intersects(PollFlags::IN) && self.is_read() {
            self.read();
        }
        if ready.intersects(PollFlags::OUT) {
            self.write();
        }
        // It is gone for good, and not only silent; what it had sent before is read.
        if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) && !self.has_line() {
            self.state = State::Gone;
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_silent = true,
            Ok(n) => self.incoming.extend_from_slice(&bytes[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.state = State::Gone,
        }
    }

    fn write(&mut self) {
        while self.is_owed() {
            match self.stream.write(&self.outgoing) {
                Ok(0) => self.state = State::Gone,
                Ok(n) => drop(self.outgoing.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.state = State::Gone,
            }
        }
        if self.state == State::Parting {
            self.state = State::Gone;
        }
    }

    /// The next thing that it asks, once it is owed nothing.
    pub(super) fn line(&mut self) -> Option<Line> {
        if !self.has_line() {
            return None;
        }
        if let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n')
            && end < REQUEST_BYTES_MAX
        {
            let mut line: Vec<u8> = self.incoming.drain(..=end).collect();
            line.pop();
            return Some(Line::Whole(line));
        }
        if self.is_too_long() {
            return Some(Line::TooLong(REQUEST_BYTES_MAX));
        }
        if self.incoming.is_empty() {
            // It has said all that it wanted to.
            self.state = State::Gone;
            return None;
        }
        Some(Line::Half)
    }

    /// Tells it something; it may ask on once it has read that.
    pub(super) fn answer(&mut self, what: &impl Serialize, now: Instant) {
        self.outgoing.extend_from_slice(&line(what));
        self.until = now + PATIENCE;
        self.write();
    }

    /// From now on it waits for the end of the stop.
    pub(super) fn wait_for_end(&mut self) {
        if self.state == State::Asking {
            (self.state, self.incoming) = (State::Waiting, Vec::new());
        }
    }

    /// Tells it something, which is the last.
    pub(super) fn part(&mut self, what: &impl Serialize) {
        if matches!(self.state, State::Asking | State::Waiting) {
            self.state = State::Parting;
            self.outgoing.extend_from_slice(&line(what));
            self.write();
        }
    }

    /// The same, and if it cannot be told at once, it is not.
    pub(super) fn give_up(&mut self, what: &impl Serialize) {
        self.part(what);
        self.state = State::Gone;
    }
}
