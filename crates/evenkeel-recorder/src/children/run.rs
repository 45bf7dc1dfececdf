//! One run of a command, from its gate to its end: what is known of it.

use super::ending::{Act, Ending};
use super::exit::Exit;
use super::groups::Groups;
use super::spawn::{Gate, Spawned};
use super::stderr::Stderr;
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Reads of standard error once the run is over: a pipe holds less, and who goes on writing is not waited for.
const LAST_READS: usize = 32;

/// A command that does not run yet, and what it waits for.
pub(super) struct Gated {
    pub(super) gate: Gate,
    pub(super) stdout: OwnedFd,
    /// Its entry, if the journal took it.
    pub(super) entry: Option<u64>,
    /// It begins at this time whatever the journal does.
    pub(super) until_ns: u64,
}

/// How the leader ended, and the last signal that it had been sent by us.
#[derive(Clone, Copy)]
pub(super) struct Exited {
    pub(super) exit: Exit,
    pub(super) signalled: Option<&'static str>,
}

pub(super) struct Run {
    pub(super) child: u64,
    pub(super) pid: i32,
    pub(super) start_ticks: Option<u64>,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) gated: Option<Gated>,
    pub(super) stderr: Option<OwnedFd>,
    /// When it passed its gate.
    pub(super) began_ns: Option<u64>,
    pub(super) exited: Option<Exited>,
    /// Whether to see if the leader has exited, and if there is something on standard error.
    pub(super) look_for_exit: bool,
    pub(super) stderr_is_ready: bool,
    pub(super) ending: Ending,
}

impl Run {
    /// A command behind its gate, in the table of groups.
    pub(super) fn new(child: u64, spawned: Spawned, groups: &Groups, until_ns: u64) -> Self {
        let Spawned { group, start_ticks, gate, stdout, stderr } = spawned;
        groups.put(child, group.clone());
        Self {
            child,
            pid: group.pid.as_raw_pid(),
            start_ticks,
            pidfd: group.pidfd,
            gated: Some(Gated { gate, stdout, entry: None, until_ns }),
            stderr: Some(stderr),
            began_ns: None,
            exited: None,
            look_for_exit: false,
            stderr_is_ready: false,
            ending: Ending::default(),
        }
    }

    /// Sees whether the leader has exited.
    pub(super) fn note_exit(&mut self, groups: &Groups, now_ns: u64) {
        if !std::mem::take(&mut self.look_for_exit) || self.exited.is_some() {
            return;
        }
        if let Some(exit) = groups.exit(self.child) {
            self.exited = Some(Exited { exit, signalled: self.ending.signalled() });
            let was_asked = exit.was_asked_for() && self.ending.signalled().is_none();
            self.ending.exited(now_ns, was_asked);
        }
    }

    /// It will never run: nobody was given its output.
    pub(super) fn hold_back(&mut self, now_ns: u64) {
        if self.gated.take().is_some() {
            self.ending.output_ended(now_ns);
        }
    }

    pub(super) fn signal(&self, act: Act, groups: &Groups) {
        if act == Act::Terminate {
            groups.signal(self.child, Signal::TERM);
            groups.signal(self.child, Signal::CONT);
        } else {
            groups.signal(self.child, Signal::KILL);
        }
    }

    /// Reads standard error once.
    pub(super) fn read_stderr(&mut self, into: Option<&mut Stderr>, scratch: &mut [u8], now_ns: u64) -> bool {
        let Some(fd) = &self.stderr else { return false };
        match rustix::io::read(fd, &mut *scratch) {
            Ok(bytes) if bytes > 0 => {
                if let Some(stderr) = into {
                    stderr.push(&scratch[..bytes], now_ns);
                }
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // The end, or nothing that could be read ever again.
            _ => {
                self.stderr = None;
                false
            }
        }
    }

    /// Reads what is left of standard error; nothing more of it will be read.
    pub(super) fn read_last_stderr(
        &mut self,
        mut into: Option<&mut Stderr>,
        scratch: &mut [u8],
        now_ns: u64,
    ) {
        for _ in 0..LAST_READS {
            if !self.read_stderr(into.as_deref_mut(), scratch, now_ns) {
                break;
            }
        }
        self.stderr = None;
        if let Some(stderr) = into {
            stderr.end(now_ns);
        }
    }

    /// How it failed, if it did so before we signalled it.
    pub(super) fn fault(&self) -> Option<String> {
        let Exited { exit, signalled } = self.exited?;
        let is_fault = exit.failed() && signalled.is_none() && !self.ending.is_explained();
        is_fault.then(|| exit.to_string())
    }

    /// The body of its entry `child-ended`.
    pub(super) fn ended_body(&self, run: &str, exited: Exited) -> Value {
        let (status, ended_by) = (exited.exit.to_string(), exited.signalled.unwrap_or("itself"));
        json!({
            "pid": self.pid, "start_ticks": self.start_ticks, "run": run, "status": status, "ended_by": ended_by,
        })
    }
}
