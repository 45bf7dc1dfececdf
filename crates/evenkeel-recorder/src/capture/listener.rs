//! A socket that others connect to.

use crate::listen::{Listening, peer_of};
use rustix::io::Errno;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Connections of a channel that are open at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// Connections before it is the next one's turn.
const QUANTUM_CONNECTIONS: usize = 16;
/// Descriptors that connections leave to the rest of the process: to segments, commands, and
/// whoever asks for the status. At most a quarter of all.
const DESCRIPTORS_KEPT: u64 = 64;
/// Connections that are still taken when capture stops: as many as may wait.
const BACKLOG_MAX: usize = 4096;

/// Accepts connections.
pub(crate) struct Listener {
    socket: Listening,
    /// Connections that are open.
    pub(super) open: usize,
    /// Until when it is left alone, monotonic nanoseconds; [`FULL`] until a connection ends.
    paused_until_ns: Option<u64>,
}

/// As many connections are open as may be.
const FULL: u64 = u64::MAX;
/// How long it is left alone when the system has no descriptor left.
const PAUSE_NS: u64 = 1_000_000_000;

/// A connection, and who sends.
pub(super) struct Accepted {
    pub(super) fd: OwnedFd,
    pub(super) peer: String,
}

impl Listener {
    pub(crate) fn new(socket: Listening) -> Self {
        Self { socket, open: 0, paused_until_ns: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_until_ns.is_some()
    }

    /// Goes on, if it was paused and its time has come; answers whether it does.
    pub(super) fn resume(&mut self) -> bool {
        let over = match self.paused_until_ns {
            None => false,
            Some(FULL) => self.open < CONNECTIONS_MAX,
            Some(until_ns) => crate::now().mono_ns >= until_ns,
        };
        if over {
            self.paused_until_ns = None;
        }
        over
    }

    /// Takes connections for a quantum.
    ///
    /// # Errors
    /// What the system says, when this socket will bring no more.
    pub(super) fn serve(&mut self) -> io::Result<Vec<Accepted>> {
        let most = QUANTUM_CONNECTIONS.min(CONNECTIONS_MAX.saturating_sub(self.open));
        self.paused_until_ns = (most == 0).then_some(FULL);
        self.accept(most)
    }

    /// Takes all connections that wait: what they have brought had arrived before the stop.
    pub(super) fn serve_last(&mut self) -> io::Result<Vec<Accepted>> {
        self.accept(BACKLOG_MAX)
    }

    fn accept(&mut self, most: usize) -> io::Result<Vec<Accepted>> {
        let mut accepted = Vec::new();
        for _ in 0..most {
            if !self.leaves_descriptors() {
                self.paused_until_ns = Some(crate::now().mono_ns + PAUSE_NS);
                break;
            }
            match acceptfrom_with(&self.socket.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, from)) => {
                    let peer = peer_of(&fd, from);
                    // Of a peer that is gone without a word something is heard after hours.
                    let _ = sockopt::set_socket_keepalive(&fd, true);
                    accepted.push(Accepted { fd, peer });
                }
                Err(Errno::AGAIN) => break,
                // It was gone before it was taken, or what befell it on its way is told here:
                // accept(2) says to treat these as nothing to be accepted.
                Err(
                    Errno::INTR
                    | Errno::CONNABORTED
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::OPNOTSUPP
                    | Errno::NETDOWN
                    | Errno::NETUNREACH
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NONET,
                ) => {}
                // The system has nothing left for it, or does not let us: perhaps later.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::PERM) => {
                    self.paused_until_ns = Some(crate::now().mono_ns + PAUSE_NS);
                    break;
                }
                Err(e) if accepted.is_empty() => return Err(e.into()),
                Err(_) => break,
            }
        }
        self.open += accepted.len();
        Ok(accepted)
    }

    /// Whether one more connection leaves the others what they need. A new descriptor is
    /// the lowest that is free: so it tells how many are taken.
    fn leaves_descriptors(&self) -> bool {
        let Some(limit) = getrlimit(Resource::Nofile).current else { return true };
        let kept = DESCRIPTORS_KEPT.min(limit / 4);
        fcntl_dupfd_cloexec(&self.socket.fd, 0)
            .is_ok_and(|next| u64::from(next.as_raw_fd().unsigned_abs()) < limit - kept)
    }
}
