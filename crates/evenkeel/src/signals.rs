//! SIGTERM, SIGINT and SIGHUP, with who sent them.

use evenkeel_hierarchy::{Mutex, StopSignals, with_root};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::origin::{Origin, WithOrigin};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

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
        // From here on its drop gives back what is counted, also where one cannot be registered.
        let signals = Self(delivery);
        hearers(|hearers| hearers.add(&heard))?;
        Ok(signals)
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
        let is_last = hearers(|hearers| {
            hearers.count -= 1;
            let is_last = hearers.count == 0;
            hearers.nobody.store(is_last, Ordering::SeqCst);
            is_last
        });
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

impl Hearers {
    /// One more hears these. A system call each, once in a process: nobody may stop hearing meanwhile.
    fn add(&mut self, heard: &[i32]) -> io::Result<()> {
        self.count += 1;
        self.nobody.store(false, Ordering::SeqCst);
        for signal in heard {
            if !self.known.contains(signal) {
                signal_hook::flag::register_conditional_default(*signal, self.nobody.clone())?;
                self.known.push(*signal);
            }
        }
        Ok(())
    }
}

fn hearers<T>(act: impl FnOnce(&mut Hearers) -> T) -> T {
    static HEARERS: LazyLock<Mutex<StopSignals, Hearers>> =
        LazyLock::new(|| Mutex::new(Hearers { count: 0, nobody: Arc::default(), known: Vec::new() }));
    with_root(|house| act(&mut HEARERS.lock(house)))
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
