//! How a process ended, in words.

use rustix::process::WaitIdStatus;
use std::fmt;

/// Names of the signals 1 to 31 of Linux, as on most of its architectures.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else in this process waited for it: nobody can say.
    Unknown,
}

impl Exit {
    pub(super) fn failed(self) -> bool {
        self != Self::Status(0)
    }

    /// Whether somebody asked it to end, as far as that shows: SIGHUP, SIGINT or SIGTERM, or
    /// the status that a shell makes of them.
    pub(super) fn was_asked_for(self) -> bool {
        matches!(self, Self::Signal(1 | 2 | 15) | Self::Status(129 | 130 | 143))
    }
}

impl From<WaitIdStatus> for Exit {
    fn from(status: WaitIdStatus) -> Self {
        let by_signal = status.terminating_signal().map(Self::Signal);
        by_signal.or_else(|| status.exit_status().map(Self::Status)).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(number) => {
                let name = usize::try_from(number - 1).ok().and_then(|at| SIGNALS.get(at));
                match name {
                    Some(name) => write!(f, "killed by {name}"),
                    None => write!(f, "killed by signal {number}"),
                }
            }
            Self::Unknown => f.write_str(
                "exit status unknown: something else in this process took it, or SIGCHLD is ignored",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;

    // REQ E1
    #[test]
    fn exits_read_as_people_say_them() {
        let said = |exit: Exit| exit.to_string();
        assert_eq!(said(Exit::Status(3)), "exit status 3");
        for (signal, name) in [
            (Signal::HUP, "SIGHUP"),
            (Signal::KILL, "SIGKILL"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::TERM, "SIGTERM"),
            (Signal::SYS, "SIGSYS"),
        ] {
            assert_eq!(said(Exit::Signal(signal.as_raw())), format!("killed by {name}"));
        }
        assert_eq!(said(Exit::Signal(34)), "killed by signal 34");
        assert_eq!(said(Exit::Signal(0)), "killed by signal 0");
        assert!(!Exit::Status(0).failed() && Exit::Status(1).failed() && Exit::Unknown.failed());
        assert!(Exit::Signal(15).failed());
        assert!(Exit::Signal(15).was_asked_for() && Exit::Status(143).was_asked_for());
        assert!(!Exit::Signal(9).was_asked_for() && !Exit::Status(15).was_asked_for());
    }
}
