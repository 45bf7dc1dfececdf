//! A socket that receives datagrams: each is a message.

use super::Turn;
use super::stream::Served;
use crate::config::{Framing, OnFull};
use crate::framing::{Framer, Sink, Stream};
use crate::hub::{Hub, LARGE_BYTES, Lane, Refused};
use crate::sys;
use evenkeel_log::{Batch, PAYLOAD_BYTES_MAX};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Datagrams before it is the next one's turn.
const QUANTUM_DATAGRAMS: usize = 64;
/// How often the kernel is asked what it dropped, in nanoseconds.
const ASK_NS: u64 = 100_000_000;
/// Bytes of the receive buffer that the kernel takes for a datagram beside what it holds, at least:
/// its descriptor alone has more.
const OVERHEAD_BYTES: usize = 256;

/// A bound datagram socket.
pub(crate) struct Datagrams {
    fd: OwnedFd,
    framer: Framer,
    /// Received, but the budget was used up.
    held: Option<Vec<u8>>,
    /// A stop: bytes of the receive buffer that may still be emptied, at most all of it.
    draining: Option<usize>,
    /// Whether the last turn was used up: then more are about to come.
    hot: bool,
    asked_ns: u64,
}

impl Datagrams {
    pub(crate) fn new(fd: OwnedFd, stream: Stream) -> Self {
        let framer = Framer::new(stream, Framing::Datagram, None);
        Self { fd, framer, held: None, draining: None, hot: false, asked_ns: 0 }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A stop: what has arrived by now is received, and no more than the receive buffer holds.
    pub(super) fn drain(&mut self) {
        let buffered = sockopt::socket_recv_buffer_size(&self.fd).unwrap_or(PAYLOAD_BYTES_MAX);
        self.draining.get_or_insert(buffered);
    }

    pub(super) fn is_pressing(&self) -> bool {
        self.draining.is_some()
    }

    /// Receives for a quantum.
    pub(super) fn serve(&mut self, turn: &mut Turn<'_>) -> io::Result<Served> {
        let served = self.serve_quantum(turn)?;
        // After a turn that was used up there may be no other: then nothing is ready any more.
        let is_last = || rustix::io::ioctl_fionread(&self.fd).unwrap_or(0) == 0;
        if served != Served::More || !self.hot || is_last() {
            self.framer.publish(turn.lane, turn.hub);
        }
        let now_ns = turn.lane.last_time_ns;
        if served == Served::Ended || now_ns >= self.asked_ns.saturating_add(ASK_NS) {
            self.asked_ns = now_ns;
            self.note_dropped(turn.lane.channel, turn.hub);
        }
        Ok(served)
    }

    fn serve_quantum(&mut self, turn: &mut Turn<'_>) -> io::Result<Served> {
        if self.hot {
            self.framer.expect_growth();
        } else {
            self.framer.expect(0);
        }
        self.hot = false;
        if let Some(held) = self.held.take()
            && self.framer.take_datagram(turn.lane, turn.sink(), &held).is_err()
        {
            self.held = Some(held);
            return Ok(Served::Blocked);
        }
        for _ in 0..QUANTUM_DATAGRAMS {
            if self.draining == Some(0) {
                return Ok(Served::Ended);
            }
            let drops = turn.lane.on_full != OnFull::Block;
            if !drops && !turn.hub.has_room(turn.lane.channel, Batch::bytes_for(PAYLOAD_BYTES_MAX)) {
                return Ok(Served::Blocked);
            }
            match recv(&self.fd, &mut *turn.scratch, RecvFlags::DONTWAIT) {
                Ok((n, _)) => {
                    // Small ones count too: a stop has to come to an end, whoever goes on sending.
                    self.draining = self.draining.map(|left| left.saturating_sub(n + OVERHEAD_BYTES));
                    let bytes = &turn.scratch[..n];
                    if self.framer.take_datagram(turn.lane, turn.sink(), bytes).is_err() {
                        self.held = Some(bytes.to_vec());
                        return Ok(Served::Blocked);
                    }
                }
                Err(Errno::AGAIN) if self.draining.is_some() => return Ok(Served::Ended),
                Err(Errno::AGAIN) => return Ok(Served::More),
                // What an earlier answer of somebody else ran into is not this channel's fault.
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.hot = true;
        Ok(Served::More)
    }

    fn note_dropped(&self, channel: usize, hub: &Hub) {
        if let Ok(datagrams) = sys::datagrams_dropped(self.fd.as_fd()) {
            hub.note_kernel_dropped(channel, datagrams.into());
        }
    }

    /// Accepts what was received, beyond the budget where it must be.
    pub(super) fn hand_over(&mut self, lane: &mut Lane, hub: &Hub) {
        if let Some(held) = self.held.take() {
            let sink = Sink { hub, refused: Refused::Never };
            let taken = self.framer.take_datagram(lane, sink, &held);
            assert!(taken.is_ok(), "invariant: this budget is never refused");
        }
        self.framer.publish(lane, hub);
        self.note_dropped(lane.channel, hub);
    }

    pub(super) fn close(mut self, lane: &Lane, hub: &Hub) {
        self.framer.close(lane, hub);
    }
}

const _: () = assert!(PAYLOAD_BYTES_MAX > u16::MAX as usize && LARGE_BYTES > PAYLOAD_BYTES_MAX);
