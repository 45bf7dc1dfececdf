//! Messages that begin with their length: four bytes, big-endian, and so many more.
//!
//! The length is in the message, so that the concatenation is what came. A message is accepted when all of it is there, or
//! the next 64 KiB of it: those are a piece, a message of the recording. Invariants:
//!
//! 1. A batch ends where a piece does, and so does a position: a file that is taken up again says itself where in a message
//!    that is ([`Framer::find_place`]).
//! 2. A message that is dropped is dropped whole, and one of which a piece was accepted is accepted whole: else nobody could
//!    read what comes after it.
//! 3. A length that cannot be one (over [`LENGTH_BYTES_MAX`]) is told once, and nothing of the stream is lost: from there on
//!    what comes is recorded as it comes, until its source, or the file of it, is another.

use super::{Blocked, Framer, Sink, Stream};
use crate::config::{Framing, LENGTH_BYTES_MAX};
use crate::hub::{Hub, Lane, Trouble};
use evenkeel_log::PAYLOAD_BYTES_MAX;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a length.
const HEAD_BYTES: usize = 4;
/// What is read at once of a file in search of its messages.
const WALK_BYTES: usize = 64 << 10;

/// Where a stream stands among its messages.
pub(super) struct Lengths {
    at: At,
    /// Whether the message it stands in is dropped.
    dropping: bool,
    /// Bytes of the stream before what is carried.
    offset: u64,
    /// Who sends it, where there are several.
    peer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A length comes next.
    Begin,
    /// So many bytes of a message are still to come.
    Within(u64),
    /// Nobody knows where a message begins.
    OutOfStep,
}

/// What comes next.
enum Next {
    /// Its end has not been read.
    Unfinished,
    /// A piece of so many bytes, what is carried included, and so many of its message after it.
    Piece(usize, u64),
    /// No message can be so long.
    Absurd(u32),
}

impl Lengths {
    pub(super) fn new(stream: &Stream, offset: u64) -> Self {
        let peer = match stream {
            Stream::ToOpen { peer, .. } => Some(peer.clone()),
            Stream::Open(_) | Stream::Opened(_) => None,
        };
        Self { at: At::Begin, dropping: false, offset, peer }
    }

    /// A message begins at this byte of the stream.
    pub(super) fn begin_at(&mut self, offset: u64) {
        (self.at, self.dropping, self.offset) = (At::Begin, false, offset);
    }

    /// Whether a part of a message is accepted, and the rest of it is not.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.at, At::Within(_)) && !self.dropping
    }

    pub(super) fn is_dropping(&self) -> bool {
        self.dropping
    }

    fn next(&self, carry: &[u8], bytes: &[u8]) -> Next {
        let there = carry.len() + bytes.len();
        let left = match self.at {
            At::OutOfStep => return Next::Piece(there.min(PAYLOAD_BYTES_MAX), 0),
            At::Within(left) => left,
            At::Begin => {
                let mut head = [0; HEAD_BYTES];
                let mut read = 0;
                for (to, from) in head.iter_mut().zip(carry.iter().chain(bytes)) {
                    *to = *from;
                    read += 1;
                }
                let length = u32::from_be_bytes(head);
                match read {
                    HEAD_BYTES if length > LENGTH_BYTES_MAX => return Next::Absurd(length),
                    HEAD_BYTES => HEAD_BYTES as u64 + u64::from(length),
                    _ => return Next::Unfinished,
                }
            }
        };
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PAYLOAD_BYTES_MAX);
        if there < piece { Next::Unfinished } else { Next::Piece(piece, left - piece as u64) }
    }

    /// A piece was accepted or dropped.
    fn pass(&mut self, piece: usize, left: u64) {
        self.offset += piece as u64;
        self.at = match (self.at, left) {
            (At::OutOfStep, _) => At::OutOfStep,
            (_, 0) => At::Begin,
            (_, left) => At::Within(left),
        };
        self.dropping &= left > 0;
    }

    fn whose(&self) -> String {
        self.peer.as_ref().map_or_else(|| "its stream".to_owned(), |peer| format!("the stream of {peer}"))
    }
}

impl Framer {
    pub(super) fn take_lengths(&mut self, lane: &mut Lane, sink: Sink<'_>, bytes: &[u8]) -> usize {
        // One look at the clock for all messages of a read.
        lane.stamp();
        let mut start = 0;
        while start < bytes.len() {
            let rest = &bytes[start..];
            let (piece, left) = match self.lengths.next(&self.carry, rest) {
                Next::Piece(piece, left) => (piece, left),
                Next::Absurd(length) => {
                    self.out_of_step(lane, sink.hub, length);
                    continue;
                }
                Next::Unfinished => {
                    self.carry.extend_from_slice(rest);
                    return bytes.len();
                }
            };
            let taken = piece - self.carry.len();
            if self.lengths.dropping {
                self.carry.clear();
                self.drop_pieces(lane, sink.hub, (1, piece));
            } else if self.put_piece(lane, sink, &rest[..taken], rest.len()).is_err() {
                return start;
            }
            self.lengths.pass(piece, left);
            start += taken;
        }
        start
    }

    /// Makes a message of what is carried and of these bytes.
    fn put_piece(
        &mut self,
        lane: &mut Lane,
        sink: Sink<'_>,
        bytes: &[u8],
        expected: usize,
    ) -> Result<(), Blocked> {
        if self.carry.is_empty() {
            return self.put(lane, sink, bytes, expected);
        }
        let before = self.carry.len();
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let put = self.put(lane, sink, &carry, before + expected);
        carry.truncate(if put.is_ok() { 0 } else { before });
        self.carry = carry;
        put
    }

    /// Drops the messages that begin in these bytes, and of the last one what is still to come, if a piece of it is here.
    pub(super) fn drop_lengths(&mut self, lane: &mut Lane, hub: &Hub, bytes: &[u8]) {
        let (mut records, mut dropped, mut rest) = (0, 0, bytes);
        while !rest.is_empty() {
            match self.lengths.next(&self.carry, rest) {
                Next::Piece(piece, left) => {
                    rest = &rest[piece - self.carry.len()..];
                    self.carry.clear();
                    self.lengths.dropping = true;
                    self.lengths.pass(piece, left);
                    (records, dropped) = (records + 1, dropped + piece);
                }
                Next::Absurd(length) => self.out_of_step(lane, hub, length),
                // There may be room for it when the rest of it is here.
                Next::Unfinished => {
                    self.carry.extend_from_slice(rest);
                    break;
                }
            }
        }
        self.drop_pieces(lane, hub, (records, dropped));
    }

    fn drop_pieces(&mut self, lane: &mut Lane, hub: &Hub, (records, bytes): (u64, usize)) {
        if records > 0 {
            self.pass(bytes);
            hub.drop_newest(lane.channel, lane.drop(records, bytes as u64));
        }
    }

    /// The stream ends within a message that is dropped: what is here of it is dropped too.
    pub(super) fn drop_rest(&mut self, lane: &mut Lane, hub: &Hub) {
        let bytes = std::mem::take(&mut self.carry).len();
        self.drop_pieces(lane, hub, (u64::from(bytes > 0), bytes));
    }

    /// What there is to be said when the stream ends here: nothing, where a message does.
    pub(super) fn cut(&self) -> Option<String> {
        let lengths = &self.lengths;
        let is_cut = match lengths.at {
            _ if self.framing != Framing::LengthU32be => false,
            At::Begin => !self.carry.is_empty(),
            At::Within(_) => true,
            At::OutOfStep => false,
        };
        let at = lengths.offset + self.carry.len() as u64;
        is_cut.then(|| format!("{} ends within a message, at byte {at}", lengths.whose()))
    }

    fn out_of_step(&mut self, lane: &Lane, hub: &Hub, length: u32) {
        self.lengths.at = At::OutOfStep;
        let (whose, at) = (self.lengths.whose(), self.lengths.offset);
        let text = format!(
            "{whose} is out of step: the message at byte {at} is said to have {length} bytes, and {LENGTH_BYTES_MAX} are \
             allowed; from there on what comes is recorded as it comes"
        );
        hub.note_fault(lane.channel, Trouble::in_passing(text), false);
    }

    /// Finds out where in a message the position is that a file is taken up at: messages are followed from its begin.
    /// `false` when `go_on` says so first.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn find_place(&mut self, file: &File, go_on: impl Fn() -> bool) -> io::Result<bool> {
        let offset = self.position.as_ref().map_or(0, |position| position.offset);
        if self.framing != Framing::LengthU32be || offset == 0 {
            return Ok(true);
        }
        let mut window = vec![0; WALK_BYTES];
        let (mut at, mut from, mut read) = (0, 0, 0);
        self.lengths.at = loop {
            if at >= offset {
                break if at == offset { At::Begin } else { At::Within(at - offset) };
            }
            if at + HEAD_BYTES as u64 > from + read as u64 {
                if !go_on() {
                    return Ok(false);
                }
                (from, read) = (at, read_fully(file, &mut window, at)?);
            }
            let head = window[..read].get((at - from) as usize..).and_then(|rest| rest.first_chunk());
            match head.map(|head| u32::from_be_bytes(*head)) {
                Some(length) if length > LENGTH_BYTES_MAX => break At::OutOfStep,
                Some(length) => at += HEAD_BYTES as u64 + u64::from(length),
                // It was left within a length.
                None => break At::OutOfStep,
            }
        };
        Ok(true)
    }
}

/// Fills a place from a byte of a file on, as far as the file goes.
fn read_fully(file: &File, place: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < place.len() {
        match file.read_at(&mut place[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
