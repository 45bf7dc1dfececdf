//! `ek-capture`: the thread that reads all sources that can be waited for.
//!
//! One epoll, level-triggered. Whatever is ready is read for a quantum, then it
//! is the next one's turn: a flood takes its share and no more. A source whose
//! budget is used up is left alone until the hub says that some came back.
//!
//! Invariant: this thread blocks in `epoll_wait` alone: a read is only made
//! where bytes are waiting.

use crate::config::Framing;
use crate::framing::{Framer, HOT_BYTES};
use crate::hub::{Hub, Numbering, Order, Refused};
use evenkeel_log::PAYLOAD_BYTES_MAX;
use rustix::event::epoll;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Reads of one source before it is the next one's turn.
const QUANTUM_READS: usize = 4;
/// Budget that comes back wakes this thread.
const WAKES: Refused = Refused::WakeCapture;
/// Token of the hub's wake-up in the epoll.
const WAKE: u64 = u64::MAX;

/// A descriptor that can be waited for.
pub(crate) struct Pollable {
    fd: OwnedFd,
    framer: Framer,
    /// Read, but the budget was used up.
    backlog: Vec<u8>,
    phase: Phase,
    hot: bool,
    waiting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// A stop: this many bytes had arrived and are still to be read.
    Draining(usize),
    /// No byte comes any more; what is carried is still to be handed over.
    Ending,
    Ended,
}

impl Pollable {
    pub(crate) fn new(fd: OwnedFd, numbering: Numbering, framing: Framing) -> Self {
        // A larger pipe means fewer switches; it is only a wish.
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, 1 << 20);
        let framer = Framer::new(numbering, framing, None);
        Self { fd, framer, backlog: Vec::new(), phase: Phase::Reading, hot: false, waiting: false }
    }
}

/// Whether epoll can wait for it: a pipe, a socket, a terminal, but no regular file.
pub(crate) fn can_be_waited_for(fd: &OwnedFd) -> io::Result<bool> {
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
    sources: Vec<Pollable>,
    scratch: Vec<u8>,
    stopping: bool,
}

impl Capture {
    pub(crate) fn new(hub: Arc<Hub>, sources: Vec<Pollable>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, hub.capture_wakes(), epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        for (at, source) in sources.iter().enumerate() {
            epoll::add(&epoll, &source.fd, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        }
        Ok(Self { hub, epoll, sources, scratch: vec![0; PAYLOAD_BYTES_MAX], stopping: false })
    }

    /// Reads until every source has ended or the intake is closed.
    pub(crate) fn run(mut self) {
        let mut events = Vec::with_capacity(64);
        while self.sources.iter().any(|s| s.phase != Phase::Ended) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                // Without a poll nothing can be read: the sources end here, with the reason.
                Err(e) => return self.fail_all(&e.into()),
            }
            let ready: Vec<u64> = events.iter().map(|e| e.data.u64()).collect();
            let woken = ready.contains(&WAKE);
            if woken && !self.woken() {
                return self.leave();
            }
            for at in 0..self.sources.len() {
                let source = &self.sources[at];
                if source.phase == Phase::Ended {
                    continue;
                }
                let again = woken && (source.waiting || source.phase != Phase::Reading);
                if again || ready.contains(&(at as u64)) || matches!(source.phase, Phase::Draining(_)) {
                    self.serve(at);
                }
            }
            self.poke_if_draining();
        }
    }

    /// Takes the hub's orders; `false` when nothing more is accepted.
    fn woken(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(self.hub.capture_wakes(), &mut count);
        let order = self.hub.order();
        if order >= Order::StopCapture && !self.stopping {
            self.stopping = true;
            for source in self.sources.iter_mut().filter(|s| s.phase == Phase::Reading) {
                let arrived = rustix::io::ioctl_fionread(&source.fd).unwrap_or(0);
                source.phase = Phase::Draining(usize::try_from(arrived).unwrap_or(usize::MAX));
            }
        }
        order < Order::Finish
    }

    /// A source that drains must not wait for more to arrive.
    fn poke_if_draining(&self) {
        let draining = |s: &Pollable| !s.waiting && matches!(s.phase, Phase::Draining(_) | Phase::Ending);
        if self.sources.iter().any(draining) {
            self.hub.wake_capture();
        }
    }

    fn serve(&mut self, at: usize) {
        let source = &mut self.sources[at];
        let done = source.serve(&self.hub, &mut self.scratch);
        match done {
            Ok(Served::More) => self.wait_for(at, true),
            // Nothing will come back while the log cannot write: what has not been read stays where it is.
            Ok(Served::Blocked) if self.stopping && self.hub.in_trouble() => {
                source.hand_over(&self.hub);
                self.end(at, None);
            }
            Ok(Served::Blocked) => self.wait_for(at, false),
            Ok(Served::Ended) => self.end(at, None),
            Err(e) => self.end(at, Some(e.to_string())),
        }
    }

    /// Polls a source, or leaves it alone until budget returns. It is taken out
    /// then: a hang-up would be told again and again, whatever is asked for.
    fn wait_for(&mut self, at: usize, interested: bool) {
        let source = &mut self.sources[at];
        if source.waiting == interested {
            let done = if interested {
                let data = epoll::EventData::new_u64(at as u64);
                epoll::add(&self.epoll, &source.fd, data, epoll::EventFlags::IN)
            } else {
                epoll::delete(&self.epoll, &source.fd)
            };
            source.waiting = !interested;
            if let Err(e) = done {
                self.end(at, Some(format!("epoll: {}", io::Error::from(e))));
            }
        }
    }

    fn end(&mut self, at: usize, fault: Option<String>) {
        let source = &mut self.sources[at];
        if source.phase != Phase::Ended {
            source.phase = Phase::Ended;
            if fault.is_some() {
                // What was read before a failure is accepted, half a line too.
                source.hand_over(&self.hub);
            }
            source.framer.publish(&self.hub);
            if !source.waiting {
                let _ = epoll::delete(&self.epoll, &source.fd);
            }
            let channel = source.framer.numbering.channel;
            if !self.stopping || fault.is_some() {
                self.hub.source_ended(channel, fault);
            }
            self.hub.read_no_more(channel);
        }
    }

    fn fail_all(&mut self, error: &io::Error) {
        for at in 0..self.sources.len() {
            self.end(at, Some(format!("epoll: {error}")));
        }
    }

    /// Nothing more is accepted: what is read but not handed over is refused, and
    /// counted as that.
    fn leave(&mut self) {
        for source in &mut self.sources {
            source.hand_over(&self.hub);
        }
    }
}

enum Served {
    More,
    Blocked,
    Ended,
}

impl Pollable {
    /// Reads for a quantum.
    fn serve(&mut self, hub: &Hub, scratch: &mut [u8]) -> io::Result<Served> {
        for _ in 0..QUANTUM_READS {
            if !self.backlog.is_empty() {
                let taken = self.framer.take(hub, &self.backlog, WAKES);
                self.backlog.drain(..taken);
                if !self.backlog.is_empty() {
                    return Ok(Served::Blocked);
                }
            }
            let limit = match self.phase {
                Phase::Reading => PAYLOAD_BYTES_MAX,
                Phase::Draining(left) => left.min(PAYLOAD_BYTES_MAX),
                Phase::Ending | Phase::Ended => 0,
            };
            if limit == 0 {
                self.phase = Phase::Ending;
                return Ok(if self.framer.end(hub, WAKES).is_ok() { Served::Ended } else { Served::Blocked });
            }
            match self.read(hub, scratch, limit)? {
                Read::Bytes(n) => self.note_read(n),
                Read::End => self.phase = Phase::Ending,
                Read::Nothing => break,
                Read::Blocked => return Ok(Served::Blocked),
            }
            if self.phase == Phase::Reading && self.waiting_bytes() == 0 {
                break;
            }
        }
        if self.waiting_bytes() == 0 || self.framer.pending_bytes() == 0 {
            self.framer.publish(hub);
        }
        Ok(Served::More)
    }

    /// Accepts what was read, beyond the budget where it must be.
    fn hand_over(&mut self, hub: &Hub) {
        let backlog = std::mem::take(&mut self.backlog);
        let taken = self.framer.take(hub, &backlog, Refused::Never);
        let ended = self.framer.end(hub, Refused::Never);
        assert!(taken == backlog.len() && ended.is_ok(), "invariant: this budget is never refused");
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

    fn read(&mut self, hub: &Hub, scratch: &mut [u8], limit: usize) -> io::Result<Read> {
        let direct = self.hot && self.framer.is_direct();
        let read = if direct {
            let Ok(slot) = self.framer.slot(hub, WAKES) else { return Ok(Read::Blocked) };
            rustix::io::read(self.fd.as_fd(), &mut slot[..limit])
        } else {
            rustix::io::read(self.fd.as_fd(), &mut scratch[..limit])
        };
        match read {
            Ok(0) => Ok(Read::End),
            Ok(n) if direct => {
                self.framer.fill(n);
                Ok(Read::Bytes(n))
            }
            Ok(n) => {
                let taken = self.framer.take(hub, &scratch[..n], WAKES);
                self.backlog.extend_from_slice(&scratch[taken..n]);
                Ok(Read::Bytes(n))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Read::Nothing),
            Err(e) => Err(e.into()),
        }
    }
}

enum Read {
    Bytes(usize),
    Nothing,
    End,
    Blocked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::budget_bytes;
    use evenkeel_log::{Batch, LogOptions, LogWriter, Resume, sim::SimStorage};
    use std::io::Write;

    /// A hub, and one stream in each of its channels.
    fn hub(names: &[String]) -> (Arc<Hub>, Vec<Numbering>) {
        let hub = Arc::new(Hub::new(names, 1 << 20).unwrap());
        let storage = Arc::new(SimStorage::new());
        let mut log =
            LogWriter::create(storage, LogOptions::default(), Resume::default(), crate::now()).unwrap();
        let mut numbering = |(channel, name): (usize, &String)| {
            let id = log.channel(name, evenkeel_log::OCTETS);
            Numbering { channel, stream: log.stream(id, &[]), next_sequence: 1, last_time_ns: 0 }
        };
        let numberings = names.iter().enumerate().map(&mut numbering).collect();
        (hub, numberings)
    }

    // REQ W2, REQ W4
    #[test]
    fn a_source_without_memory_ends_when_the_intake_is_closed() {
        let (hub, mut numberings) = hub(&["flood".to_owned()]);
        let (flood, mut feed) = io::pipe().unwrap();
        let source = Pollable::new(flood.into(), numberings.remove(0), Framing::Chunk);
        let capture = Capture::new(hub.clone(), vec![source]).unwrap();
        let readers = crate::hub::Reading::begin(hub.clone(), vec![0]);
        let reading = std::thread::spawn(move || {
            let _readers = readers;
            capture.run();
        });
        // Nobody takes anything out: the memory is used up, and more waits than still fits.
        let waiting = feed.try_clone().unwrap();
        let feeding = std::thread::spawn(move || while feed.write_all(&[1; 60_000]).is_ok() {});
        let counts = || hub.counts().remove(0);
        let least = Batch::bytes_for(PAYLOAD_BYTES_MAX);
        while counts().held_bytes + least <= budget_bytes(1)
            || rustix::io::ioctl_fionread(&waiting).unwrap() < 500_000
        {
            std::thread::yield_now();
        }
        hub.give_order(Order::StopCapture);
        let ended_after = |wait_ns: u64| {
            let until_ns = crate::now().mono_ns + wait_ns;
            hub.wait_until(until_ns, |state| (state.readers() == 0).then_some(true))
        };
        assert!(!ended_after(50_000_000), "it cannot have read all");
        hub.give_order(Order::Finish);
        let closed = counts();
        assert!(ended_after(10_000_000_000), "it waits for memory for ever");
        reading.join().unwrap();
        feeding.join().unwrap();
        let after = counts();
        assert!(!after.ended);
        assert_eq!(after.accepted_bytes, closed.accepted_bytes);
        assert!(after.refused_records < 8, "one read, and one batch: {after:?}");
    }

    // REQ E1, REQ W4
    #[test]
    fn the_fault_of_a_source_outlives_the_others_going_on() {
        let (hub, numberings) = hub(&["broken", "good"].map(str::to_owned));
        let mut numberings = numberings.into_iter();
        let mut pollable = |fd: OwnedFd| Pollable::new(fd, numberings.next().unwrap(), Framing::Chunk);
        // The writing end of a pipe that nobody reads: it is ready, and reading it fails.
        let (unread, broken) = rustix::pipe::pipe().unwrap();
        drop(unread);
        let (good, feed) = rustix::pipe::pipe().unwrap();
        let sources = vec![pollable(broken), pollable(good)];
        let capture = Capture::new(hub.clone(), sources).unwrap();
        let reading = std::thread::spawn(move || capture.run());
        let faulted = |hub: &Hub| hub.counts()[0].fault.is_some();
        while !faulted(&hub) {
            std::thread::yield_now();
        }
        // Every wake-up looks at all sources again, those that have ended too.
        for round in 1..=20 {
            rustix::io::write(&feed, b"x").unwrap();
            hub.wake_capture();
            while hub.counts()[1].accepted_bytes < round {
                std::thread::yield_now();
            }
        }
        drop(feed);
        reading.join().unwrap();
        assert!(faulted(&hub), "the fault was forgotten");
        assert!(hub.counts()[1].ended);
    }
}
