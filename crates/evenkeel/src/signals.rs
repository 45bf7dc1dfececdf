//! SIGTERM, SIGINT and SIGHUP, with who sent them.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::origin::{Origin, WithOrigin};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

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
        let heard: Vec<i32> = heard.collect();
        let (ours, theirs) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(ours, theirs, WithOrigin::default(), &heard)?;
        let mut hearers = hearers();
        hearers.count += 1;
        hearers.nobody.store(false, Ordering::SeqCst);
        for signal in heard {
            if !hearers.known.contains(&signal) {
                signal_hook::flag::register_conditional_default(signal, hearers.nobody.clone())?;
                hearers.known.push(signal);
            }
        }
        drop(hearers);
        Ok(Self(delivery))
    }

    /// What has arrived since the last call.
    pub(crate) fn pending(&mut self) -> Vec<Arrived> {
        self.0
            .pending()
            .map(|origin| Arrived { name: name(origin.signal), sender: sender(&origin) })
            .collect()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let mut hearers = hearers();
        hearers.count -= 1;
        let is_last = hearers.count == 0;
        hearers.nobody.store(is_last, Ordering::SeqCst);
        drop(hearers);
        if is_last {
            // What came before that has nobody to hear it either.
            for origin in self.0.pending() {
                let _ = signal_hook::low_level::emulate_default_handler(origin.signal);
            }
        }
    }
}

/// Who hears signals in this process.
struct Hearers {
    count: usize,
    /// True when nobody does: then signals do what they do by default. A process
    /// that lives on after its stop must not be deaf to them.
    nobody: Arc<AtomicBool>,
    /// Signals whose default is registered.
    known: Vec<i32>,
}

fn hearers() -> MutexGuard<'static, Hearers> {
    static HEARERS: LazyLock<Mutex<Hearers>> =
        LazyLock::new(|| Mutex::new(Hearers { count: 0, nobody: Arc::default(), known: Vec::new() }));
    HEARERS.lock().unwrap_or_else(PoisonError::into_inner)
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
