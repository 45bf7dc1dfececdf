//! Signals, as bytes of a descriptor.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// SIGTERM, SIGINT and SIGHUP, but not those of the last two that this process
/// inherited as ignored, as under `nohup`.
pub(crate) struct Signals {
    streams: Vec<(&'static str, UnixStream)>,
}

impl Signals {
    pub(crate) fn register() -> io::Result<Self> {
        let ignored = ignored_signals();
        let mut streams = Vec::new();
        for (name, number) in [("SIGTERM", SIGTERM), ("SIGINT", SIGINT), ("SIGHUP", SIGHUP)] {
            let is_ignored = ignored >> (number - 1) & 1 == 1;
            if number == SIGTERM || !is_ignored {
                let (ours, theirs) = UnixStream::pair()?;
                signal_hook::low_level::pipe::register(number, theirs)?;
                streams.push((name, ours));
            }
        }
        Ok(Self { streams })
    }

    /// Waits for a signal, answering its name; or for `other` to become
    /// readable, or `timeout` to pass, answering `None`.
    pub(crate) fn wait(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        timeout: Option<std::time::Duration>,
    ) -> io::Result<Option<&'static str>> {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        loop {
            let mut fds: Vec<PollFd<'_>> = self
                .streams
                .iter()
                .map(|(_, s)| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN))
                .collect();
            fds.extend(other.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            let ready = fds.iter().position(|fd| !fd.revents().is_empty());
            return match ready.and_then(|at| self.streams.get_mut(at)) {
                Some((name, stream)) => {
                    // One byte a signal: a second one is told apart.
                    stream.read_exact(&mut [0])?;
                    Ok(Some(*name))
                }
                None => Ok(None),
            };
        }
    }
}

/// The mask of ignored signals, as the kernel tells it.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
