//! SIGTERM, SIGINT and SIGHUP, with who sent them.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::origin::{Origin, WithOrigin};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A signal that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) name: &'static str,
    /// Who sent it, as far as the system tells.
    pub(crate) sender: String,
}

/// The signals that stop a service, but not those of SIGINT and SIGHUP that this
/// process inherited as ignored, as under `nohup`.
pub(crate) struct Signals(SignalDelivery<UnixStream, WithOrigin>);

impl Signals {
    pub(crate) fn register() -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = [SIGTERM, SIGINT, SIGHUP];
        let heard = wanted.into_iter().filter(|n| *n == SIGTERM || ignored >> (n - 1) & 1 == 0);
        let (ours, theirs) = UnixStream::pair()?;
        let signals: Vec<i32> = heard.collect();
        Ok(Self(SignalDelivery::with_pipe(ours, theirs, WithOrigin::default(), signals)?))
    }

    /// What has arrived since the last call.
    pub(crate) fn pending(&mut self) -> Vec<Arrived> {
        self.0
            .pending()
            .map(|origin| Arrived { name: name(origin.signal), sender: sender(&origin) })
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        _ => "another signal",
    }
}

/// The sender's process, its name while it still runs, and its user.
fn sender(origin: &Origin) -> String {
    let Some(process) = &origin.process else { return "the system".to_owned() };
    let pid = process.pid;
    let of_name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let name = of_name.map(|name| format!(" ({})", name.trim())).unwrap_or_default();
    format!("process {pid}{name} of user {}", process.uid)
}

/// The mask of ignored signals, as the kernel tells it.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
