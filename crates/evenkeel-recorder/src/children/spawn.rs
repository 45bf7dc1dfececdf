//! Starting a command, but behind a gate: it does not run before it is told to.
//!
//! What is started is a shell in a process group of its own that reads a line from a
//! pipe. On `go` it becomes `sh -c COMMAND`, the same process; when the pipe ends
//! without it, because it was dropped or because this process died, it exits. So a
//! process is known by number and start before the command does anything, and a
//! command of which nobody will ever know never begins.

use super::groups::Group;
use super::proc::{self, CHANNEL_VARIABLE, RUN_VARIABLE};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

/// Reads the word in single bytes, so that nothing of the pipe is left; a variable of this
/// name is nobody's, and is not handed on.
const GATE: &str = r#"read -r _evenkeel_go && [ "$_evenkeel_go" = go ] && exec sh -c "$1" </dev/null"#;

/// A command behind its gate.
pub(super) struct Spawned {
    pub(super) group: Group,
    /// With the number, what names this process for ever; `None` where `/proc` cannot be read.
    pub(super) start_ticks: Option<u64>,
    pub(super) gate: Gate,
    /// Both do not block.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What holds a command back. Dropped, it will never run.
pub(super) struct Gate(ChildStdin);

impl Gate {
    /// Lets the command run.
    pub(super) fn open(mut self) {
        // Should nobody read it any more, the process has ended, and that will be seen.
        let _ = self.0.write_all(b"go\n");
    }
}

/// Starts a command behind its gate. `shell` is a shell's path or name.
///
/// # Errors
/// What the system says; nothing is left running.
pub(super) fn spawn(shell: &OsStr, command: &str, channel: &str, run: &str) -> io::Result<Spawned> {
    let mut process = Command::new(shell);
    process
        .args(["-c", GATE, "sh", command])
        .process_group(0)
        .env(RUN_VARIABLE, run)
        .env(CHANNEL_VARIABLE, channel)
        // Whoever supervises us is not to take word from it.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = process.spawn().map_err(|e| {
        let shell = shell.to_string_lossy();
        io::Error::new(e.kind(), format!("{shell} could not be started: {e}"))
    })?;
    let pid = Pid::from_child(&child);
    hold(&mut child, pid).inspect_err(|_| {
        // It was not reaped, so the group is ours; killed, it is waited for no longer than that takes.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = child.wait();
    })
}

fn hold(child: &mut Child, pid: Pid) -> io::Result<Spawned> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| {
        io::Error::new(io::Error::from(e).kind(), format!("a process cannot be watched: {e}"))
    })?;
    let missing = || io::Error::other("a pipe is missing");
    let gate = Gate(child.stdin.take().ok_or_else(missing)?);
    let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
    let stderr = OwnedFd::from(child.stderr.take().ok_or_else(missing)?);
    // These are our ends: for the command its own block as ever.
    for fd in [&stdout, &stderr] {
        fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    }
    let start_ticks = proc::stat(pid.as_raw_pid()).map(|stat| stat.start_ticks);
    Ok(Spawned { group: Group { pid, pidfd: Arc::new(pidfd) }, start_ticks, gate, stdout, stderr })
}
