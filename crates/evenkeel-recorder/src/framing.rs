//! From what reads bring to messages in batches.

use crate::config::{Framing, OnFull};
use crate::hub::{Define, Hub, Lane, Refused, Trouble};
use evenkeel_log::{Batch, ChannelId, PAYLOAD_BYTES_MAX, SourcePosition, StreamId, StreamIds};
use lengths::Lengths;
use room::Room;

/// Reads of at least this length go into large buffers without a copy.
pub(crate) const HOT_BYTES: usize = 16 << 10;

/// The stream that a framer's messages belong to.
pub(crate) enum Stream {
    /// The log knows it.
    Open(StreamId),
    /// To be opened with its first message: a peer that says nothing leaves nothing.
    ToOpen {
        ids: StreamIds,
        channel: ChannelId,
        /// Who sends it.
        peer: String,
        /// Unix time in nanoseconds.
        opened_ns: u64,
    },
    /// Has its id; its definition goes with its first batch.
    Opened(Define),
}

impl Stream {
    /// Its id; `None` while every id is taken.
    fn id(&mut self) -> Option<StreamId> {
        if let Self::ToOpen { ids, channel, peer, opened_ns } = self {
            let stream = ids.open(*channel)?;
            *self = Self::Opened(Define { stream, peer: std::mem::take(peer), opened_ns: *opened_ns });
        }
        match self {
            Self::Open(id) | Self::Opened(Define { stream: id, .. }) => Some(*id),
            Self::ToOpen { .. } => None,
        }
    }

    /// What the log is to be told before the first batch.
    fn definition(&mut self) -> Option<Define> {
        match self {
            Self::Opened(Define { stream, .. }) => {
                let known = Self::Open(*stream);
                match std::mem::replace(self, known) {
                    Self::Opened(define) => Some(define),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// One stream on its way into batches: framing, the batch in the making.
///
/// The numbers come from the channel's [`Lane`], which several streams may share: a
/// framer that yields to another one of its channel has published its batch.
pub(crate) struct Framer {
    stream: Stream,
    framing: Framing,
    batch: Option<Batch>,
    /// Whether it goes on with a message of which a part was accepted before.
    goes_on: bool,
    /// The beginning of a message whose end has not been read; not accepted yet.
    carry: Vec<u8>,
    /// Where the source stands after the last message, where it can be resumed.
    position: Option<SourcePosition>,
    /// Where it stands among messages that begin with their length.
    lengths: Lengths,
    room: Room,
}

/// Budget is used up; nothing was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blocked;

/// Where bytes come from and go to: the hub, and what is to happen without budget.
#[derive(Clone, Copy)]
pub(crate) struct Sink<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) refused: Refused,
}

impl Framer {
    pub(crate) fn new(stream: Stream, framing: Framing, position: Option<SourcePosition>) -> Self {
        let lengths = Lengths::new(&stream, position.as_ref().map_or(0, |position| position.offset));
        Self {
            stream,
            framing,
            batch: None,
            goes_on: false,
            carry: Vec::new(),
            position,
            lengths,
            room: Room::for_much(),
        }
    }

    /// From here on it is another file, or another place in it, whose messages begin here.
    pub(crate) fn stand_at(&mut self, position: SourcePosition) {
        self.lengths.begin_at(position.offset);
        self.position = Some(position);
    }

    /// A message was made of this many bytes of the source.
    fn advance(&mut self, lane: &mut Lane, bytes: usize) {
        lane.next_sequence += 1;
        self.pass(bytes);
    }

    fn pass(&mut self, bytes: usize) {
        if let Some(position) = &mut self.position {
            position.offset += bytes as u64;
        }
    }

    /// How many bytes are about to come.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.room.expect(bytes);
    }

    /// Whether several are in full flow.
    pub(crate) fn set_crowded(&mut self, crowded: bool) {
        self.room.set_crowded(crowded);
    }

    /// That twice as much is about to come as the last batch had.
    pub(crate) fn expect_growth(&mut self) {
        self.room.expect_growth();
    }

    /// Bytes of the source that a buffer is likely to hold which has room for a message of full length.
    pub(crate) fn fits_medium(&self) -> usize {
        self.room.fits_medium()
    }

    /// The least memory that so many bytes of the source will be put into.
    pub(crate) fn least_room(&self, coming: usize) -> usize {
        self.room.lengths(1, coming)[1]
    }

    /// Whether reads can go straight into [`Framer::slot`].
    pub(crate) fn is_direct(&self) -> bool {
        self.framing == Framing::Chunk
    }

    /// Whether the batch in the making has room for a message of full length.
    pub(crate) fn has_slot(&self) -> bool {
        let room = self.batch.as_ref().map_or(0, Batch::spare_bytes);
        room >= Batch::bytes_for(PAYLOAD_BYTES_MAX)
    }

    /// A place for a read of up to 64 KiB to go to, of which [`Framer::fill`] makes a message.
    pub(crate) fn slot(&mut self, lane: &Lane, sink: Sink<'_>) -> Result<&mut [u8], Blocked> {
        if !self.has_slot() {
            self.publish(lane, sink.hub);
            self.begin(lane, sink, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX)?;
        }
        self.batch.as_mut().and_then(Batch::slot).ok_or(Blocked)
    }

    /// Begins a batch that has room for a payload of `least`, of `coming` bytes to be put in.
    fn begin(&mut self, lane: &Lane, sink: Sink<'_>, least: usize, coming: usize) -> Result<(), Blocked> {
        let stream = match self.stream.id() {
            None if sink.refused == Refused::WakeCapture => {
                sink.hub.wait_for_id();
                // One that was freed in between wakes nobody.
                self.stream.id().ok_or(Blocked)?
            }
            found => found.ok_or(Blocked)?,
        };
        let memory =
            sink.hub.buffer(lane.channel, &self.room.lengths(least, coming), sink.refused).ok_or(Blocked)?;
        self.batch = Some(Batch::new(stream, lane.next_sequence, memory));
        self.goes_on = self.lengths.is_within();
        Ok(())
    }

    /// Makes a message of the first `bytes` of the slot.
    pub(crate) fn fill(&mut self, lane: &mut Lane, bytes: usize) {
        let time = lane.stamp();
        if let Some(batch) = &mut self.batch {
            batch.finish(bytes, time);
            self.room.took(bytes);
            self.advance(lane, bytes);
        }
    }

    /// Takes bytes that were read elsewhere, up to 64 KiB; answers how many it
    /// took. Fewer than all: the budget is used up, bring the rest again.
    pub(crate) fn take(&mut self, lane: &mut Lane, sink: Sink<'_>, bytes: &[u8]) -> usize {
        self.room.took(bytes.len());
        let taken = match self.framing {
            // No bytes are no message.
            _ if bytes.is_empty() => 0,
            Framing::Lines => self.take_lines(lane, sink, bytes),
            Framing::LengthU32be => self.take_lengths(lane, sink, bytes),
            Framing::Chunk | Framing::Datagram => {
                if self.put(lane, sink, bytes, bytes.len()).is_ok() {
                    bytes.len()
                } else {
                    0
                }
            }
        };
        if taken < bytes.len() && lane.on_full != OnFull::Block && sink.refused != Refused::Never {
            // What has begun to be recorded is recorded whole: it waits for room.
            if self.framing == Framing::LengthU32be && self.lengths.is_within() {
                return taken;
            }
            self.drop_newest(lane, sink.hub, &bytes[taken..]);
            return bytes.len();
        }
        taken
    }

    /// Takes a datagram, which may be empty.
    pub(crate) fn take_datagram(
        &mut self,
        lane: &mut Lane,
        sink: Sink<'_>,
        bytes: &[u8],
    ) -> Result<(), Blocked> {
        let put = self.put(lane, sink, bytes, bytes.len());
        if put.is_err() && lane.on_full != OnFull::Block {
            let dropped = lane.drop(1, bytes.len() as u64);
            sink.hub.drop_newest(lane.channel, dropped);
            return Ok(());
        }
        put
    }

    fn take_lines(&mut self, lane: &mut Lane, sink: Sink<'_>, bytes: &[u8]) -> usize {
        let mut start = 0;
        // One look at the clock for all lines of a read.
        lane.stamp();
        if !self.carry.is_empty()
            && let Some(end) = memchr::memchr(b'\n', bytes)
        {
            start = self.put_carried(lane, sink, &bytes[..=end]);
            if start <= end {
                return start;
            }
        }
        loop {
            start += self.push_lines(lane, &bytes[start..]);
            let Some(end) = memchr::memchr(b'\n', &bytes[start..]) else { break };
            // A read has no more than a message may have, so nor has a line in it.
            let (line, left) = (&bytes[start..=start + end], bytes.len() - start);
            if self.put(lane, sink, line, left).is_err() {
                return start;
            }
            start += line.len();
        }
        start + self.lengthen(lane, sink, &bytes[start..])
    }

    /// Copies whole lines into the batch as long as they fit; answers how many bytes it took.
    fn push_lines(&mut self, lane: &mut Lane, bytes: &[u8]) -> usize {
        let Some(batch) = &mut self.batch else { return 0 };
        let before = batch.records();
        let taken = batch.push_lines(bytes, lane.last_time_ns);
        lane.next_sequence += batch.records() - before;
        self.pass(taken);
        taken
    }

    /// Puts a message into the batch, beginning a new one where it does not
    /// fit; `expected` payload bytes are about to come in all.
    fn put(
        &mut self,
        lane: &mut Lane,
        sink: Sink<'_>,
        payload: &[u8],
        expected: usize,
    ) -> Result<(), Blocked> {
        let is_stamped = matches!(self.framing, Framing::Lines | Framing::LengthU32be);
        let time = if is_stamped { lane.last_time_ns } else { lane.stamp() };
        if !self.batch.as_mut().is_some_and(|batch| batch.push(payload, time)) {
            self.publish(lane, sink.hub);
            self.begin(lane, sink, payload.len(), expected)?;
            let fits = self.batch.as_mut().is_some_and(|batch| batch.push(payload, time));
            assert!(fits, "invariant: a buffer is asked for that fits");
        }
        self.advance(lane, payload.len());
        Ok(())
    }

    /// The end of a line that began in an earlier read; answers how much of it was taken.
    fn put_carried(&mut self, lane: &mut Lane, sink: Sink<'_>, end: &[u8]) -> usize {
        let before = self.carry.len();
        let fits = end.len().min(PAYLOAD_BYTES_MAX - before);
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(&end[..fits]);
        let put = self.put(lane, sink, &carry, carry.len());
        carry.truncate(if put.is_ok() { 0 } else { before });
        self.carry = carry;
        match put {
            Err(Blocked) => 0,
            Ok(()) if fits == end.len() => fits,
            Ok(()) if self.put(lane, sink, &end[fits..], end.len()).is_ok() => end.len(),
            Ok(()) => fits,
        }
    }

    /// More of a line without its end; answers how much of it was taken. The
    /// carry stays shorter than a message may be.
    fn lengthen(&mut self, lane: &mut Lane, sink: Sink<'_>, bytes: &[u8]) -> usize {
        let fills = PAYLOAD_BYTES_MAX - self.carry.len();
        if bytes.len() < fills {
            self.carry.extend_from_slice(bytes);
            return bytes.len();
        }
        let taken = self.put_carried(lane, sink, &bytes[..fills]);
        if taken < fills {
            return taken;
        }
        self.carry.extend_from_slice(&bytes[fills..]);
        bytes.len()
    }

    /// Drops what there is no room for: it is numbered as if it had been taken, and
    /// declared. A line whose end has not been read stays: there may be room for it then.
    fn drop_newest(&mut self, lane: &mut Lane, hub: &Hub, bytes: &[u8]) {
        self.publish(lane, hub);
        if self.framing == Framing::LengthU32be {
            return self.drop_lengths(lane, hub, bytes);
        }
        let (mut records, mut dropped, mut rest) = (0, 0, bytes);
        if self.framing == Framing::Lines {
            while let Some(end) = self.end_of_message(rest) {
                records += 1;
                dropped += self.carry.len() + end;
                self.carry.clear();
                rest = &rest[end..];
            }
            self.carry.extend_from_slice(rest);
        } else {
            (records, dropped) = (1, bytes.len());
        }
        if records > 0 {
            self.pass(dropped);
            hub.drop_newest(lane.channel, lane.drop(records, dropped as u64));
        }
    }

    /// Where the message ends that begins with what is carried, if it ends in these bytes.
    fn end_of_message(&self, bytes: &[u8]) -> Option<usize> {
        let fits = PAYLOAD_BYTES_MAX - self.carry.len();
        let window = &bytes[..fits.min(bytes.len())];
        memchr::memchr(b'\n', window).map(|at| at + 1).or((bytes.len() >= fits).then_some(fits))
    }

    /// The source has ended, or is read no more: what is carried is a message too.
    pub(crate) fn end(&mut self, lane: &mut Lane, sink: Sink<'_>) -> Result<(), Blocked> {
        if self.lengths.is_dropping() {
            self.drop_rest(lane, sink.hub);
        }
        let cut = self.cut();
        if !self.carry.is_empty() {
            lane.stamp();
            let carry = std::mem::take(&mut self.carry);
            if let Err(blocked) = self.put(lane, sink, &carry, carry.len()) {
                self.carry = carry;
                if lane.on_full == OnFull::Block || sink.refused == Refused::Never {
                    return Err(blocked);
                }
                let dropped = self.carry.len();
                self.carry.clear();
                self.pass(dropped);
                sink.hub.drop_newest(lane.channel, lane.drop(1, dropped as u64));
            }
        }
        self.publish(lane, sink.hub);
        if let Some(cut) = cut {
            sink.hub.note_fault(lane.channel, Trouble::in_passing(cut), false);
        }
        self.lengths.begin_at(0);
        Ok(())
    }

    /// Hands the batch over: its records are accepted.
    pub(crate) fn publish(&mut self, lane: &Lane, hub: &Hub) {
        if let Some(mut batch) = self.batch.take() {
            self.room.note(&batch);
            if let Some(position) = &self.position {
                batch.set_position(position.clone());
            }
            batch.set_joined(self.goes_on, self.lengths.is_within());
            if batch.is_empty() {
                hub.return_buffer(lane.channel, batch.into_memory());
            } else {
                hub.accept(lane.channel, self.stream.definition(), batch);
            }
        }
    }

    /// Its stream has no more messages: the log may forget it.
    pub(crate) fn close(&mut self, lane: &Lane, hub: &Hub) {
        self.publish(lane, hub);
        // One that has its id and was never heard of gives it back too.
        if let Stream::Open(stream) | Stream::Opened(Define { stream, .. }) = self.stream {
            hub.close_stream(lane.channel, stream);
        }
    }
}

mod lengths;
mod room;
#[cfg(test)]
mod tests;
