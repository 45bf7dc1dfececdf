//! `ek-control`: serves the control socket, and waits for no client.

mod peer;

use super::place::{BACKLOG, Listening, Place};
use super::protocol::{Refusal, Request};
use super::service::{Service, client};
use super::timespec;
use evenkeel::Stopped;
use evenkeel::threads::{Class, Pulse};
use peer::{Line, Peer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::socket_peercred;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Clients at once.
const CLIENTS_MAX: usize = 32;
/// What telling the end may take.
const END_PATIENCE: Duration = Duration::from_millis(300);
/// What whoever waits for that is to allow it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);
/// Pause after a round of answers: who asks and asks gets no more of a processor than this leaves.
const PACE: Duration = Duration::from_millis(5);
/// How long nobody is accepted after that could not be done: descriptors may have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// As much as a thread has by default.
const STACK_BYTES: usize = 2 << 20;

/// A control socket that is served.
pub(crate) struct Control {
    closed: Receiver<()>,
}

impl Control {
    /// Makes the socket, with the directory's lock held, and starts to serve it.
    ///
    /// # Errors
    /// What the system says, or what is in the way.
    pub(crate) fn start(dir: &Path, service: Service) -> io::Result<Self> {
        let listening = Place::open(dir)?.listen()?;
        listening.listener.set_nonblocking(true)?;
        let (tell, closed) = sync_channel(1);
        let server = Server { listening, service, peers: Vec::new(), accepts_from: None };
        let threads = server.service.keel().threads().clone();
        threads.thread("ek-control").class(Class::System).stack_bytes(STACK_BYTES).kept().start(
            move |pulse| {
                // The connections end with the process: whoever has heard the end can wait for that.
                let _peers = server.serve(pulse);
                let _ = tell.try_send(());
                pulse.waiting(|| {
                    loop {
                        std::thread::park();
                    }
                })
            },
        )?;
        Ok(Self { closed })
    }

    /// Waits, once the stop is over, until the socket is gone and everybody who waits has
    /// been told; half a second at most.
    pub(crate) fn close(self) {
        let _ = self.closed.recv_timeout(CLOSE_PATIENCE);
    }
}

struct Server {
    listening: Listening,
    service: Service,
    peers: Vec<Peer>,
    /// Nobody is accepted before then.
    accepts_from: Option<Instant>,
}

impl Server {
    /// Serves until the stop is over and told; hands over who may still be connected.
    fn serve(mut self, pulse: &Pulse<'_>) -> Vec<Peer> {
        loop {
            let is_over = pulse.waiting(|| self.wait());
            if let Some(stopped) = is_over.then(|| self.service.keel().wait_timeout(Duration::ZERO)).flatten()
            {
                self.tell_end(&stopped);
                return self.peers;
            }
            self.accept(CLIENTS_MAX);
            self.attend();
        }
    }

    /// Waits until there is something to do, and does what the sockets let it; answers
    /// whether the stop is over.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let accepts = self.accepts_from.is_none_or(|from| from <= now);
        let next = self.peers.iter().filter_map(|peer| peer.due(now));
        let next = next.chain(self.accepts_from.filter(|_| !accepts)).min();
        let timeout = next.map(|next| timespec(next.saturating_duration_since(now)));
        let keel = self.service.keel().clone();
        let mut fds = vec![PollFd::from_borrowed_fd(keel.over(), PollFlags::IN)];
        let hears = if accepts { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.listening.listener, hears));
        fds.extend(self.peers.iter().map(|peer| PollFd::new(peer, peer.wants())));
        if let Err(e) = poll(&mut fds, timeout.as_ref())
            && e != rustix::io::Errno::INTR
        {
            // Memory has run out: no reason to spin.
            std::thread::sleep(ACCEPT_PAUSE);
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        for (peer, ready) in self.peers.iter_mut().zip(&ready[2..]) {
            peer.turn(*ready);
        }
        ready[0].contains(PollFlags::IN)
    }

    /// Accepts who has connected, and tells those who are too many.
    fn accept(&mut self, peers_max: usize) {
        let now = Instant::now();
        if self.accepts_from.is_some_and(|from| from > now) {
            return;
        }
        self.accepts_from = None;
        // As many as may wait at once; a flood of clients has its turn like everybody else.
        for _ in 0..=BACKLOG {
            match self.listening.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_err() => {}
                Ok((stream, _)) => {
                    let mut peer = Peer::new(stream, now);
                    if self.peers.len() < peers_max {
                        self.peers.push(peer);
                    } else {
                        let error = format!("{CLIENTS_MAX} clients are connected already; try again");
                        peer.part(&Refusal { error, busy: true });
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    self.accepts_from = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Answers one request of each client that has one, and gives up whose time is over.
    fn attend(&mut self) {
        let now = Instant::now();
        let mut has_answered = false;
        for peer in &mut self.peers {
            if let Some(line) = peer.line() {
                answer(&mut self.service, peer, &line, now);
                has_answered = true;
            } else if peer.is_expired(now) {
                peer.give_up(&Refusal { error: "nothing was asked for too long".to_owned(), busy: false });
            }
        }
        self.peers.retain(|peer| !peer.is_gone());
        if has_answered {
            std::thread::sleep(PACE);
        }
    }

    /// Takes the socket away, and tells everybody who waits how it ended; also those who
    /// had only just connected, or asked.
    fn tell_end(&mut self, stopped: &Stopped) {
        self.listening.remove();
        self.accepts_from = None;
        self.accept(usize::MAX);
        let now = Instant::now();
        for peer in &mut self.peers {
            peer.turn(PollFlags::IN);
            while let Some(line) = peer.line() {
                answer(&mut self.service, peer, &line, now);
            }
        }
        let end = self.service.end(stopped);
        for peer in self.peers.iter_mut().filter(|peer| peer.is_waiting()) {
            peer.part(&end);
        }
        self.send_rest(now + END_PATIENCE);
    }

    /// Sends what is still owed, until then at most.
    fn send_rest(&mut self, until: Instant) {
        loop {
            let owed = self.peers.iter().filter(|peer| peer.is_owed());
            let mut fds: Vec<PollFd<'_>> = owed.map(|peer| PollFd::new(peer, PollFlags::OUT)).collect();
            let left = until.saturating_duration_since(Instant::now());
            if fds.is_empty() || left.is_zero() {
                return;
            }
            let _ = poll(&mut fds, Some(&timespec(left)));
            drop(fds);
            self.peers.iter_mut().filter(|peer| peer.is_owed()).for_each(|peer| peer.turn(PollFlags::OUT));
        }
    }
}

fn answer(service: &mut Service, peer: &mut Peer, line: &Line, now: Instant) {
    let request = match line {
        Line::Whole(line) => Request::parse(line),
        Line::TooLong(most) => Err(format!("a request has {most} bytes at most")),
        Line::Half => Err("a request ends with a line break".to_owned()),
    };
    match request {
        Ok(Request::Status {}) => peer.answer(&service.status(), now),
        Ok(Request::Stop { force, reason }) => {
            // A process of another namespace has no number here.
            let by = client(socket_peercred(&*peer).ok());
            let stopping = service.stop(force, reason.as_deref(), &by);
            peer.answer(&stopping, now);
            peer.wait_for_end();
        }
        Err(error) => peer.part(&Refusal { error, busy: false }),
    }
}
