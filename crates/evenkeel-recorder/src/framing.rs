//! From what reads bring to messages in batches.

use crate::config::Framing;
use crate::hub::{Hub, LARGE_BYTES, Numbering, Refused};
use evenkeel_log::{Batch, PAYLOAD_BYTES_MAX, SourcePosition};

/// Reads of at least this length go into large buffers without a copy.
pub(crate) const HOT_BYTES: usize = 16 << 10;

/// One stream on its way into batches: framing, numbering, the batch in the making.
pub(crate) struct Framer {
    pub(crate) numbering: Numbering,
    framing: Framing,
    batch: Option<Batch>,
    /// The beginning of a line whose end has not been read; not accepted yet.
    carry: Vec<u8>,
    /// Where the source stands after the last message, where it can be resumed.
    position: Option<SourcePosition>,
}

/// Budget is used up; nothing was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Blocked;

impl Framer {
    pub(crate) fn new(numbering: Numbering, framing: Framing, position: Option<SourcePosition>) -> Self {
        Self { numbering, framing, batch: None, carry: Vec::new(), position }
    }

    /// A message was made of this many bytes of the source.
    fn advance(&mut self, bytes: usize) {
        self.numbering.next_sequence += 1;
        if let Some(position) = &mut self.position {
            position.offset += bytes as u64;
        }
    }

    /// Whether reads can go straight into [`Framer::slot`].
    pub(crate) fn is_direct(&self) -> bool {
        self.framing == Framing::Chunk
    }

    /// A place for a read of up to 64 KiB to go to, of which [`Framer::fill`] makes a message.
    pub(crate) fn slot(&mut self, hub: &Hub, refused: Refused) -> Result<&mut [u8], Blocked> {
        let roomy = self.batch.as_mut().and_then(Batch::slot).is_some_and(|s| s.len() >= PAYLOAD_BYTES_MAX);
        if !roomy {
            self.publish(hub);
            let buffer = hub
                .buffer(self.numbering.channel, LARGE_BYTES, refused)
                .or_else(|| hub.buffer(self.numbering.channel, Batch::bytes_for(PAYLOAD_BYTES_MAX), refused))
                .ok_or(Blocked)?;
            self.batch = Some(self.begin(buffer));
        }
        self.batch.as_mut().and_then(Batch::slot).ok_or(Blocked)
    }

    fn begin(&self, buffer: Vec<u8>) -> Batch {
        Batch::new(self.numbering.stream, self.numbering.next_sequence, buffer)
    }

    /// Makes a message of the first `bytes` of the slot.
    pub(crate) fn fill(&mut self, bytes: usize) {
        let time = self.numbering.stamp();
        if let Some(batch) = &mut self.batch {
            batch.finish(bytes, time);
            self.advance(bytes);
        }
    }

    /// Takes bytes that were read elsewhere, up to 64 KiB; answers how many it
    /// took. Fewer than all: the budget is used up, bring the rest again.
    pub(crate) fn take(&mut self, hub: &Hub, bytes: &[u8], refused: Refused) -> usize {
        match self.framing {
            // No bytes are no message.
            _ if bytes.is_empty() => 0,
            Framing::Chunk | Framing::Datagram => {
                let time = self.numbering.stamp();
                if self.put(hub, bytes, bytes.len(), time, refused).is_ok() { bytes.len() } else { 0 }
            }
            Framing::Lines => self.take_lines(hub, bytes, refused),
        }
    }

    fn take_lines(&mut self, hub: &Hub, bytes: &[u8], refused: Refused) -> usize {
        let time = self.numbering.stamp();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
            let line = &bytes[start..end];
            let left = bytes.len() - start;
            if self.carry.is_empty() {
                // A read has no more than a message may have, so nor has a line in it.
                if self.put(hub, line, left, time, refused).is_err() {
                    return start;
                }
                start = end;
            } else {
                let taken = self.put_carried(hub, line, time, refused);
                start += taken;
                if taken < line.len() {
                    return start;
                }
            }
        }
        start + self.lengthen(hub, &bytes[start..], time, refused)
    }

    /// Puts a message into the batch, beginning a new one where it does not
    /// fit; `expected` payload bytes are about to come in all.
    fn put(
        &mut self,
        hub: &Hub,
        payload: &[u8],
        expected: usize,
        time: u64,
        refused: Refused,
    ) -> Result<(), Blocked> {
        if !self.batch.as_mut().is_some_and(|batch| batch.push(payload, time)) {
            self.publish(hub);
            let buffer = self.buffer(hub, payload.len(), expected, refused).ok_or(Blocked)?;
            let mut batch = self.begin(buffer);
            let fits = batch.push(payload, time);
            assert!(fits, "invariant: a buffer is asked for that fits");
            self.batch = Some(batch);
        }
        self.advance(payload.len());
        Ok(())
    }

    /// A buffer that fits a payload of `least`, and more where more is expected.
    fn buffer(&self, hub: &Hub, least: usize, expected: usize, refused: Refused) -> Option<Vec<u8>> {
        let channel = self.numbering.channel;
        let exact = Batch::bytes_for(least);
        if expected <= exact {
            return hub.buffer(channel, exact, refused);
        }
        // Room for the heads of lines of 64 bytes; shorter ones take another batch.
        let roomy =
            if expected > HOT_BYTES { LARGE_BYTES } else { expected + expected / 64 * 31 + 64 }.max(exact);
        let medium = Batch::bytes_for(PAYLOAD_BYTES_MAX);
        let wishes = [roomy, medium.max(exact).min(roomy), exact];
        wishes.into_iter().find_map(|bytes| hub.buffer(channel, bytes, refused))
    }

    /// The end of a line that began in an earlier read; answers how much of it was taken.
    fn put_carried(&mut self, hub: &Hub, end: &[u8], time: u64, refused: Refused) -> usize {
        let before = self.carry.len();
        let fits = end.len().min(PAYLOAD_BYTES_MAX - before);
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(&end[..fits]);
        let put = self.put(hub, &carry, carry.len(), time, refused);
        carry.truncate(if put.is_ok() { 0 } else { before });
        self.carry = carry;
        match put {
            Err(Blocked) => 0,
            Ok(()) if fits == end.len() => fits,
            Ok(()) if self.put(hub, &end[fits..], end.len(), time, refused).is_ok() => end.len(),
            Ok(()) => fits,
        }
    }

    /// More of a line without its end; answers how much of it was taken. The
    /// carry stays shorter than a message may be.
    fn lengthen(&mut self, hub: &Hub, bytes: &[u8], time: u64, refused: Refused) -> usize {
        let fills = PAYLOAD_BYTES_MAX - self.carry.len();
        if bytes.len() < fills {
            self.carry.extend_from_slice(bytes);
            return bytes.len();
        }
        let taken = self.put_carried(hub, &bytes[..fills], time, refused);
        if taken < fills {
            return taken;
        }
        self.carry.extend_from_slice(&bytes[fills..]);
        bytes.len()
    }

    /// The source has ended, or is read no more: what is carried is a message too.
    pub(crate) fn end(&mut self, hub: &Hub, refused: Refused) -> Result<(), Blocked> {
        if !self.carry.is_empty() {
            let time = self.numbering.stamp();
            let carry = std::mem::take(&mut self.carry);
            let put = self.put(hub, &carry, carry.len(), time, refused);
            if put.is_err() {
                self.carry = carry;
                return put;
            }
        }
        self.publish(hub);
        Ok(())
    }

    /// Hands the batch over: its records are accepted.
    pub(crate) fn publish(&mut self, hub: &Hub) {
        if let Some(mut batch) = self.batch.take() {
            if let Some(position) = &self.position {
                batch.set_position(position.clone());
            }
            if batch.is_empty() {
                hub.return_buffer(self.numbering.channel, batch.into_buffer());
            } else {
                hub.accept(self.numbering.channel, batch);
            }
        }
    }

    /// Bytes in the batch that is not handed over yet.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.batch.as_ref().map_or(0, Batch::payload_bytes)
    }
}

#[cfg(test)]
mod tests;
