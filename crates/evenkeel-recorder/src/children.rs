//! `ek-exec`: the thread that owns the commands of `exec:` channels.
//!
//! ```text
//! Waiting -- spawn --> behind its gate -- its entry is durable --> runs -- exited, output ended --> finished
//!    ^                                                                                                 |
//!    '------------------------------- failed, and the policy says again ------------------------------'--> over
//! ```
//!
//! A command runs in a process group of its own; its standard output is handed out,
//! its standard error goes to the journal line by line, its standard input is empty.
//!
//! Entries of the journal, all with their channel:
//!
//! ```text
//! child               pid, pgid, start_ticks, boot_id, pid_namespace, command, run   before the command begins
//! child-ended         pid, start_ticks, run, status, ended_by: itself, SIGTERM or SIGKILL
//! child-failed        fault, again_after_ms: null when it is not run again; reported: it is told as a fault, too
//! child-unjournalled  pid, why                    it began before its entry was durable
//! stderr              text, goes_on: true         a line; goes_on only where the next is the rest of it
//! stderr-skipped      lines, bytes                left out of standard error since it was last told
//! leftover-ended      pid, start_ticks, run, command, how: gone, SIGTERM or SIGKILL
//! leftover-remains    the same, how: the processes that could not be ended
//! ```
//!
//! Invariants:
//! 1. No command begins before the entry that names its process is durable, or the
//!    journal has had 250 ms. If this process dies before, the command never runs.
//! 2. Nobody is signalled but the groups that this thread started, or, at the next start
//!    ([`end_leftovers`]), processes that an earlier recorder is proved to have started.
//! 3. Once a channel is over no process of its group is left that can be killed, and no zombie.
//!    Whoever lives on in a group whose output and leader have ended has a second to
//!    end too, and is then made to: a command that runs again finds nobody of the run before.
//! 4. A channel is told to be over exactly once, whatever happens, unless all are killed.
//! 5. This thread waits in `poll` alone: for no journal, no command, no reader.
//!
//! How it fails: what the system refuses is a fault of the channel. A sick journal
//! delays a command's beginning and is told. If the thread itself fails, its groups are
//! killed and every channel is over with that fault.

mod channel;
mod ending;
mod exit;
mod groups;
mod keeper;
mod ledger;
mod leftovers;
mod proc;
mod restart;
mod run;
mod spawn;
mod stderr;
#[cfg(test)]
mod tests;

use crate::config::Restart;
use evenkeel::journal::Journal;
use evenkeel::threads::{Class, ThreadCoordinator};
use evenkeel_hierarchy::{ChildOrders, Condvar, Mutex, with_root};
use evenkeel_log::hex;
use groups::Groups;
use keeper::Keeper;
pub(crate) use leftovers::end_leftovers;
#[cfg(test)]
use leftovers::{How, Leftover};
use rustix::event::{EventfdFlags, eventfd};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// An entry of the journal may take so long to become durable; then its command begins without.
const JOURNAL_NS: u64 = 250_000_000;
/// What was killed is waited for no longer than this.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// A command that is the source of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Exec {
    /// Whatever the caller calls the channel by.
    pub(crate) channel: usize,
    /// The channel's name.
    pub(crate) name: String,
    /// What `sh -c` is given.
    pub(crate) command: String,
    /// What happens when it fails.
    pub(crate) restart: Restart,
}

/// What the thread tells, from that thread and under no lock.
#[derive(Debug)]
pub(crate) enum Happened {
    /// A command runs.
    Output {
        /// Its channel.
        channel: usize,
        /// This run of it.
        child: u64,
        /// A pipe that does not block, to be read to its end. Then call [`Children::output_ended`].
        stdout: OwnedFd,
    },
    /// The output of this run will not end by itself any more, because somebody outside its
    /// group holds it, or cannot be killed: read what is there, and end.
    CutOff {
        /// The run.
        child: u64,
    },
    /// The journal did not take the word of a command in time; the command runs all the same.
    Unjournalled {
        /// Its channel.
        channel: usize,
        /// What is wrong with the journal.
        why: String,
    },
    /// A command failed, and will be run again.
    Failed {
        /// Its channel.
        channel: usize,
        /// How.
        fault: String,
        /// After this pause.
        after: Duration,
    },
    /// It runs again; its output follows.
    Restarted {
        /// Its channel.
        channel: usize,
    },
    /// Nothing more will come of a channel.
    Over {
        /// The channel.
        channel: usize,
        /// Why it failed for good, or how it had failed when a stop came before it was run again.
        fault: Option<String>,
        /// Whether it had ended before a stop asked it to; `false` with a fault when
        /// the command had failed by then, but its group still had the output.
        by_itself: bool,
    },
}

/// What can differ between the real thing and a test.
#[derive(Clone, Debug)]
struct Settings {
    shell: OsString,
    journal_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shell: "sh".into(), journal_ns: JOURNAL_NS }
    }
}

/// What others want of the thread.
#[derive(Default)]
struct Orders {
    /// Runs whose output was handed over.
    ended_outputs: Vec<u64>,
    /// A stop, with SIGKILL at this time.
    stop_kill_ns: Option<u64>,
    killed: bool,
    /// The thread has left.
    gone: bool,
}

struct Shared {
    wake: OwnedFd,
    orders: Mutex<ChildOrders, Orders>,
    gone: Condvar,
    groups: Groups,
    /// Whether the thread wants to hear of what becomes durable.
    wants_durable: AtomicBool,
    thread: OnceLock<ThreadId>,
}

impl Shared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            orders: Mutex::default(),
            gone: Condvar::new(),
            groups: Groups::default(),
            wants_durable: AtomicBool::new(false),
            thread: OnceLock::new(),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Orders) -> T) -> T {
        with_root(|house| act(&mut self.orders.lock(house)))
    }

    fn wake(&self) {
        // It can only fail when it is signalled already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// What was ordered since the last time; the stop again and again.
    fn take_orders(&self) -> Orders {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        self.with(|orders| Orders { ended_outputs: std::mem::take(&mut orders.ended_outputs), ..*orders })
    }

    fn is_killed(&self) -> bool {
        self.with(|orders| orders.killed)
    }

    /// The thread leaves.
    fn leave(&self) {
        self.with(|orders| orders.gone = true);
        self.gone.notify_all();
    }
}

/// A handle of the thread. Dropped, it kills all groups.
pub(crate) struct Children(Arc<Shared>);

impl Children {
    /// Starts the thread, which starts the commands. Without a journal they begin at
    /// once, what they write to standard error is read and lost, and nothing of them will
    /// be found by a later recorder. `tell` should be quick: all children wait for it.
    ///
    /// # Errors
    /// What the system says; nothing is left running.
    pub(crate) fn start(
        threads: &ThreadCoordinator,
        execs: Vec<Exec>,
        journal: Option<Journal>,
        run_id: [u8; 16],
        tell: impl FnMut(Happened) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(threads, execs, journal, run_id, tell, Settings::default())
    }

    fn start_with(
        threads: &ThreadCoordinator,
        execs: Vec<Exec>,
        journal: Option<Journal>,
        run_id: [u8; 16],
        tell: impl FnMut(Happened) + Send + 'static,
        settings: Settings,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new()?);
        if let Some(journal) = &journal {
            // The journal keeps this for as long as it lives.
            let shared = Arc::downgrade(&shared);
            journal.on_durable(move |_| {
                if let Some(shared) = shared.upgrade().filter(|s| s.wants_durable.load(Ordering::SeqCst)) {
                    shared.wake();
                }
            });
        }
        let keeper = Keeper::new(shared.clone(), execs, journal, hex(&run_id), Box::new(tell), settings);
        let builder = threads.thread("ek-exec").class(Class::System).kept();
        builder.start(move |pulse| keeper.live(pulse))?;
        Ok(Self(shared))
    }

    /// All output of this run has been handed over: it ended, or failed, or was cut off.
    pub(crate) fn output_ended(&self, child: u64) {
        self.0.with(|orders| orders.ended_outputs.push(child));
        self.0.wake();
    }

    /// Ends all commands: SIGTERM to every group now, SIGKILL at `kill_at_ns`
    /// (monotonic; of several the earliest counts). What waits to be run is not run.
    pub(crate) fn stop(&self, kill_at_ns: u64) {
        self.0.with(|orders| {
            let before = orders.stop_kill_ns.unwrap_or(u64::MAX);
            orders.stop_kill_ns = Some(before.min(kill_at_ns));
        });
        self.0.wake();
    }

    /// SIGKILL to every group at once, also when the thread hangs in what it tells.
    /// Nothing is told any more. Waits until all are buried, a second at most.
    pub(crate) fn kill(&self) {
        self.0.with(|orders| orders.killed = true);
        self.0.groups.close();
        self.0.wake();
        if self.0.thread.get() == Some(&std::thread::current().id()) {
            return;
        }
        let until = Instant::now() + KILL_GRACE;
        with_root(|house| {
            let mut orders = self.0.orders.lock(house);
            while !orders.gone && !self.0.gone.wait_until(&mut orders, until).timed_out() {}
        });
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.kill();
    }
}
