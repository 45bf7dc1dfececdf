//! `ek-capture`: the thread that reads all sources that can be waited for.
//!
//! One epoll, level-triggered. Whatever is ready is read for a quantum, then it
//! is the next one's turn: a flood takes its share and no more. A source whose
//! budget is used up is left alone until the hub says that some came back.
//!
//! ```text
//! lane      a channel: its numbers, its policy         (one for each channel read here)
//! member    a pipe, a connection, a listener, a datagram socket: what epoll waits for
//! ```
//!
//! Invariants:
//! 1. This thread blocks in `epoll_wait` alone: a read is only made where bytes
//!    are waiting, or where it does not block.
//! 2. Members of one lane share its numbers: each publishes its batch before it yields.
//! 3. A token is a member's place. An event of a member that is gone can meet
//!    another in its place only if that one's descriptor does not block.

mod datagrams;
mod listener;
mod stream;

use crate::config::Framing;
use crate::framing::{Sink, Stream};
use crate::hub::{Hub, Lane, Order, Refused, Trouble};
pub(crate) use datagrams::Datagrams;
use evenkeel::threads::Pulse;
use evenkeel_log::{ChannelId, PAYLOAD_BYTES_MAX, StreamIds};
use listener::Accepted;
pub(crate) use listener::Listener;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
pub(crate) use stream::Pollable;
use stream::{QUANTUM_READS, Served};

/// Token of the hub's wake-up in the epoll.
const WAKE: u64 = u64::MAX;
/// A listener that is left alone is looked at this often.
const PAUSE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What is told to this thread on its way.
pub(crate) enum Arrival {
    /// A command runs: its output is to be read.
    Output { channel: usize, child: u64, fd: OwnedFd },
    /// The output of a command will not end by itself: what is there is to be read.
    CutOff { child: u64 },
}

/// How the streams of a lane that are opened on the way begin.
pub(crate) struct Opening {
    pub(crate) ids: StreamIds,
    pub(crate) id: ChannelId,
    pub(crate) framing: Framing,
    /// Who sends, where nobody connects.
    pub(crate) peer: String,
    /// What a pipe is to hold.
    pub(crate) pipe_bytes: usize,
}

/// A channel that is read here.
pub(crate) struct CaptureLane {
    pub(crate) lane: Lane,
    pub(crate) source: CaptureSource,
}

/// Where its bytes come from.
pub(crate) enum CaptureSource {
    Stream(Pollable),
    Listener(Listener, Opening),
    Datagrams(Datagrams),
    /// Somebody else runs it, tells of its output, and ends the channel.
    Command(Opening),
}

/// What a lane has beside its members.
struct Known {
    lane: Lane,
    opening: Option<Opening>,
    /// Place of its listener while it has one.
    listener: Option<usize>,
    is_command: bool,
}

enum Kind {
    Stream(Pollable),
    Datagrams(Datagrams),
    Listener(Listener),
}

struct Member {
    lane: usize,
    kind: Kind,
    /// Which command's output it is.
    child: Option<u64>,
    /// Whether it waits for budget, outside the epoll.
    waiting: bool,
    ready: bool,
}

/// What a member has during its turn.
struct Turn<'a> {
    hub: &'a Hub,
    lane: &'a mut Lane,
    scratch: &'a mut [u8],
    /// Reads that a stream has before it is the next one's turn.
    reads: usize,
}

impl<'a> Turn<'a> {
    /// Whether more than two streams are ready at once.
    fn is_crowded(&self) -> bool {
        self.reads < *QUANTUM_READS.end() / 2
    }

    fn sink(&self) -> Sink<'a> {
        Sink { hub: self.hub, refused: Refused::WakeCapture }
    }
}

/// Whether epoll can wait for it: a pipe, a socket, a terminal, but no regular file.
pub(crate) fn can_be_waited_for(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let probe = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    match epoll::add(&probe, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

pub(crate) struct Capture {
    hub: Arc<Hub>,
    epoll: OwnedFd,
    arrivals: Receiver<Arrival>,
    /// Called when all output of a command is handed over.
    output_ended: Box<dyn Fn(u64) + Send>,
    lanes: Vec<Known>,
    members: Vec<Option<Member>>,
    scratch: Vec<u8>,
    turn: usize,
    reads: usize,
    stopping: bool,
}

impl Capture {
    pub(crate) fn new(
        hub: Arc<Hub>,
        lanes: Vec<CaptureLane>,
        arrivals: Receiver<Arrival>,
        output_ended: Box<dyn Fn(u64) + Send>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, hub.capture_wakes(), epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let mut capture = Self {
            hub,
            epoll,
            arrivals,
            output_ended,
            lanes: Vec::new(),
            members: Vec::new(),
            scratch: vec![0; PAYLOAD_BYTES_MAX],
            turn: 0,
            reads: 1,
            stopping: false,
        };
        for lane in lanes {
            capture.add_lane(lane)?;
        }
        Ok(capture)
    }

    fn add_lane(&mut self, CaptureLane { lane, source }: CaptureLane) -> io::Result<()> {
        let at = self.lanes.len();
        self.lanes.push(Known { lane, opening: None, listener: None, is_command: false });
        match source {
            CaptureSource::Stream(stream) => _ = self.add(at, Kind::Stream(stream), None)?,
            CaptureSource::Datagrams(datagrams) => _ = self.add(at, Kind::Datagrams(datagrams), None)?,
            CaptureSource::Listener(listener, opening) => {
                let place = self.add(at, Kind::Listener(listener), None)?;
                let known = &mut self.lanes[at];
                (known.listener, known.opening) = (Some(place), Some(opening));
            }
            CaptureSource::Command(opening) => {
                let known = &mut self.lanes[at];
                (known.opening, known.is_command) = (Some(opening), true);
            }
        }
        Ok(())
    }

    /// Puts a member into a free place and polls it.
    fn add(&mut self, lane: usize, kind: Kind, child: Option<u64>) -> io::Result<usize> {
        let place = self.members.iter().position(Option::is_none).unwrap_or(self.members.len());
        epoll::add(&self.epoll, kind.fd(), epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
        let member = Member { lane, kind, child, waiting: false, ready: false };
        if place == self.members.len() {
            self.members.push(None);
        }
        self.members[place] = Some(member);
        Ok(place)
    }

    /// Reads until every source has ended or the intake is closed.
    pub(crate) fn run(mut self, pulse: &Pulse<'_>) {
        let _told = ToldWhenPanicking { hub: self.hub.clone(), commands: self.commands().collect() };
        let mut events = Vec::with_capacity(64);
        while !self.is_over() {
            events.clear();
            let timeout = self.has_paused().then_some(PAUSE);
            let (epoll, room) = (&self.epoll, rustix::buffer::spare_capacity(&mut events));
            match pulse.waiting(|| epoll::wait(epoll, room, timeout.as_ref())) {
                Ok(_) | Err(Errno::INTR) => {}
                // Without a poll nothing can be read: the sources end here, with the reason.
                Err(e) => return self.fail_all(&e.into()),
            }
            let mut woken = false;
            for event in &events {
                match event.data.u64() {
                    WAKE => woken = true,
                    place => {
                        if let Some(Some(member)) = self.members.get_mut(place as usize) {
                            member.ready = true;
                        }
                    }
                }
            }
            if woken && !self.woken() {
                return self.leave();
            }
            self.resume_listeners();
            self.serve_all(woken);
        }
    }

    /// Channels of commands.
    fn commands(&self) -> impl Iterator<Item = usize> {
        self.lanes.iter().filter(|known| known.is_command).map(|known| known.lane.channel)
    }

    /// Whether nothing can come any more.
    fn is_over(&self) -> bool {
        self.members.iter().all(Option::is_none) && !self.commands().any(|at| self.hub.is_reading(at))
    }

    /// Takes the hub's orders and what has arrived; `false` when nothing more is accepted.
    fn woken(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(self.hub.capture_wakes(), &mut count);
        let order = self.hub.order();
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.arrived(arrival);
        }
        if order >= Order::StopCapture && !self.stopping {
            self.stopping = true;
            self.stop_listening();
            // The output of a command is read to its end: it has been told to stop.
            for member in self.members.iter_mut().flatten().filter(|member| member.child.is_none()) {
                member.kind.drain();
            }
        }
        order < Order::Finish
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Output { channel, child, fd } => {
                let lane = self.lanes.iter().position(|known| known.lane.channel == channel);
                let lane = lane.expect("invariant: output comes of channels that are read here");
                let added = self.open_stream(lane, fd, None, Some(child));
                if let Err(e) = added {
                    let text = format!("its output cannot be read: {e}");
                    self.hub.note_fault(channel, Trouble::of_source(text), false);
                    (self.output_ended)(child);
                }
            }
            Arrival::CutOff { child } => {
                for member in self.members.iter_mut().flatten().filter(|m| m.child == Some(child)) {
                    member.kind.drain();
                }
            }
        }
    }

    /// A stream that begins now: a connection, or a command's output.
    fn open_stream(
        &mut self,
        lane: usize,
        fd: OwnedFd,
        peer: Option<String>,
        child: Option<u64>,
    ) -> io::Result<usize> {
        let opening = self.lanes[lane].opening.as_ref();
        let opening = opening.expect("invariant: a lane whose streams begin on the way says how");
        let stream = Stream::ToOpen {
            ids: opening.ids.clone(),
            channel: opening.id,
            peer: peer.unwrap_or_else(|| opening.peer.clone()),
            opened_ns: crate::now().wall_ns,
        };
        let pollable = Pollable::new(fd, stream, opening.framing, opening.pipe_bytes).shared();
        self.add(lane, Kind::Stream(pollable), child)
    }

    /// A stop: whoever has connected by now is heard, and nobody else.
    fn stop_listening(&mut self) {
        for lane in 0..self.lanes.len() {
            let Some(place) = self.lanes[lane].listener else { continue };
            let member = self.members[place].as_mut();
            if let Some(Member { kind: Kind::Listener(listener), .. }) = member {
                let last = listener.serve_last().unwrap_or_default();
                self.connected(lane, last);
            }
            self.end(place, None);
        }
    }

    fn connected(&mut self, lane: usize, accepted: Vec<Accepted>) {
        for Accepted { fd, peer } in accepted {
            if let Err(e) = self.open_stream(lane, fd, Some(peer.clone()), None) {
                let channel = self.lanes[lane].lane.channel;
                let text = format!("{peer} cannot be heard: {e}");
                self.hub.note_fault(channel, Trouble::in_passing(text), false);
            }
        }
    }

    /// Whether a listener waits for better times.
    fn has_paused(&self) -> bool {
        self.members.iter().flatten().any(|member| member.kind.is_paused())
    }

    fn resume_listeners(&mut self) {
        for lane in 0..self.lanes.len() {
            let Some(place) = self.lanes[lane].listener else { continue };
            let member = self.members[place].as_mut();
            if let Some(Member { kind: Kind::Listener(listener), .. }) = member
                && listener.resume()
            {
                self.wait_for(place, true);
            }
        }
    }

    fn serve_all(&mut self, woken: bool) {
        let is_due = |member: &Member| {
            member.ready || member.kind.is_pressing() || (woken && member.waiting && !member.kind.is_paused())
        };
        let mut due: Vec<usize> = (0..self.members.len())
            .filter(|place| self.members[*place].as_ref().is_some_and(is_due))
            .collect();
        if !due.is_empty() {
            // Another one begins each time: where there is not enough for all, all have some.
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % due.len();
            due.rotate_left(first);
        }
        let (least, most) = QUANTUM_READS.into_inner();
        self.reads = (most / due.len().max(1)).max(least);
        for place in due {
            self.serve(place, woken);
        }
        self.poke_if_pressing();
    }

    /// A member that drains must not wait for more to arrive.
    fn poke_if_pressing(&self) {
        if self.members.iter().flatten().any(|member| !member.waiting && member.kind.is_pressing()) {
            self.hub.wake_capture();
        }
    }

    fn serve(&mut self, place: usize, woken: bool) {
        let Some(member) = &mut self.members[place] else { return };
        member.ready = false;
        if member.waiting && !woken {
            return;
        }
        let lane = member.lane;
        let mut turn = Turn {
            hub: &self.hub,
            lane: &mut self.lanes[lane].lane,
            scratch: &mut self.scratch,
            reads: self.reads,
        };
        let served = match &mut member.kind {
            Kind::Stream(stream) => stream.serve(&mut turn),
            Kind::Datagrams(datagrams) => datagrams.serve(&mut turn),
            Kind::Listener(listener) => match listener.serve() {
                Ok(accepted) => {
                    let paused = listener.is_paused();
                    self.connected(lane, accepted);
                    return self.wait_for(place, !paused);
                }
                Err(e) => Err(e),
            },
        };
        match served {
            Ok(Served::More) => self.wait_for(place, true),
            // Nothing will come back while the log cannot write: what has not been read stays where it is.
            Ok(Served::Blocked) if self.stopping && self.hub.in_trouble() => {
                self.hand_over(place);
                self.end(place, None);
            }
            Ok(Served::Blocked) => self.wait_for(place, false),
            Ok(Served::Ended) => self.end(place, None),
            Err(e) => {
                // What was read before a failure is accepted, half a line too.
                self.hand_over(place);
                self.end(place, Some(e.to_string()));
            }
        }
    }

    /// Polls a member, or leaves it alone until budget returns. It is taken out
    /// then: a hang-up would be told again and again, whatever is asked for.
    fn wait_for(&mut self, place: usize, interested: bool) {
        let Some(member) = &mut self.members[place] else { return };
        if member.waiting == interested {
            let fd = member.kind.fd();
            let done = if interested {
                epoll::add(&self.epoll, fd, epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)
            } else {
                epoll::delete(&self.epoll, fd)
            };
            member.waiting = !interested;
            if let Err(e) = done {
                self.end(place, Some(format!("epoll: {}", io::Error::from(e))));
            }
        }
    }

    fn hand_over(&mut self, place: usize) {
        if let Some(member) = &mut self.members[place] {
            let lane = &mut self.lanes[member.lane].lane;
            match &mut member.kind {
                Kind::Stream(stream) => stream.hand_over(lane, &self.hub),
                Kind::Datagrams(datagrams) => datagrams.hand_over(lane, &self.hub),
                Kind::Listener(_) => {}
            }
        }
    }

    /// A member is done. Its channel is, when it has no other and none can come.
    fn end(&mut self, place: usize, fault: Option<String>) {
        let Some(member) = self.members[place].take() else { return };
        if !member.waiting {
            let _ = epoll::delete(&self.epoll, member.kind.fd());
        }
        let known = &mut self.lanes[member.lane];
        let is_listener = matches!(member.kind, Kind::Listener(_));
        match member.kind {
            Kind::Stream(stream) => stream.close(&known.lane, &self.hub),
            Kind::Datagrams(datagrams) => datagrams.close(&known.lane, &self.hub),
            // Its socket goes, and its name.
            Kind::Listener(listener) => drop(listener),
        }
        let channel = known.lane.channel;
        if let Some(child) = member.child {
            if let Some(fault) = fault {
                self.hub.note_fault(channel, Trouble::in_passing(fault), false);
            }
            return (self.output_ended)(child);
        }
        if is_listener {
            known.listener = None;
        }
        let is_connection = known.opening.is_some() && !is_listener;
        match (is_connection, fault) {
            // A peer that hangs up is nobody's failure.
            (true, Some(fault)) => self.hub.note_fault(channel, Trouble::in_passing(fault), false),
            // What is connected goes on: after a crash nobody knows what else it brought.
            (false, Some(fault)) if is_listener => {
                self.hub.source_failed(channel, Trouble::of_source(fault));
            }
            (false, Some(fault)) => self.hub.source_ended(channel, Some(Trouble::of_source(fault))),
            (false, None) if !self.stopping => self.hub.source_ended(channel, None),
            _ => {}
        }
        self.note_closed(member.lane);
    }

    /// One less is open in a lane.
    fn note_closed(&mut self, lane: usize) {
        let open = self.members.iter().flatten().filter(|member| member.lane == lane).count();
        let known = &self.lanes[lane];
        if let Some(Some(Member { kind: Kind::Listener(listener), .. })) =
            known.listener.map(|place| self.members[place].as_mut())
        {
            listener.open = open - 1;
        } else if open == 0 {
            // Nothing connects any more by itself, or by a stop.
            if !self.stopping {
                self.hub.source_ended(known.lane.channel, None);
            }
            self.hub.read_no_more(known.lane.channel);
        }
    }

    fn fail_all(&mut self, error: &io::Error) {
        for place in 0..self.members.len() {
            self.hand_over(place);
            self.end(place, Some(format!("epoll: {error}")));
        }
    }

    /// Nothing more is accepted: what is read but not handed over is refused, and
    /// counted as that.
    fn leave(&mut self) {
        for place in 0..self.members.len() {
            self.hand_over(place);
            if let Some(Member { child: Some(child), .. }) = &self.members[place] {
                (self.output_ended)(*child);
            }
        }
    }
}

/// A thread that is gone reads nothing of commands either.
struct ToldWhenPanicking {
    hub: Arc<Hub>,
    commands: Vec<usize>,
}

impl Drop for ToldWhenPanicking {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for channel in &self.commands {
                self.hub.source_ended(*channel, Some(Trouble::panicked("its reader panicked")));
                self.hub.read_no_more(*channel);
            }
        }
    }
}

impl Kind {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(stream) => stream.fd(),
            Self::Datagrams(datagrams) => datagrams.fd(),
            Self::Listener(listener) => listener.fd(),
        }
    }

    fn drain(&mut self) {
        match self {
            Self::Stream(stream) => stream.drain(),
            Self::Datagrams(datagrams) => datagrams.drain(),
            Self::Listener(_) => {}
        }
    }

    fn is_pressing(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.is_pressing(),
            Self::Datagrams(datagrams) => datagrams.is_pressing(),
            Self::Listener(_) => false,
        }
    }

    fn is_paused(&self) -> bool {
        matches!(self, Self::Listener(listener) if listener.is_paused())
    }
}

#[cfg(test)]
mod tests;
