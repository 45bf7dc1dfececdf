//! Commands that an earlier recorder left behind, because it was killed.
//!
//! Its journal names each process that it started and each that has ended. Of those
//! that have not, two kinds are proved to be still what they were: a leader of the same
//! number *and* start in the same boot; and, where the leader is gone, a group of that
//! number in which somebody carries the mark of that run in their environment. Everybody
//! of such a group is ended. A number that means something else by now is left alone.
//!
//! Invariant: every process is signalled through a descriptor of it, which was opened
//! between two looks that found the same process: a number that is used again under our
//! hands harms nobody.
//!
//! How it fails: what cannot be read is told, and what is known is ended all the same.

use super::groups::timespec;
use super::proc::{self, Stat};
use evenkeel::journal::{Entry, entries};
use evenkeel_log::storage::Storage;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, getpid, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Commands that are remembered while the journal is read; of more the oldest are forgotten.
const REMEMBERED_MAX: usize = 4096;
/// Characters of a command that are remembered.
const COMMAND_CHARACTERS_MAX: usize = 200;
/// Groups are looked at again after this at the latest, in nanoseconds.
const LOOK_NS: u64 = 50_000_000;
/// What was killed is waited for so long, in nanoseconds.
const KILLED_NS: u64 = 500_000_000;

/// What became of a command that was left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing of it was there any more.
    Gone,
    /// It ended after SIGTERM.
    Terminated,
    /// It ended after SIGKILL.
    Killed,
    /// These processes of it are still there.
    Remains(Vec<i32>),
}

/// A command that an earlier recorder started, and of which its journal tells no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Number of its process, and of its group.
    pub(crate) pid: i32,
    /// The channel that it was the source of.
    pub(crate) channel: Option<String>,
    /// What it was, perhaps cut.
    pub(crate) command: String,
    /// What became of it.
    pub(crate) how: How,
    run: String,
    start_ticks: Option<u64>,
}

impl Leftover {
    /// Whether something of it is still there.
    pub(crate) fn remains(&self) -> bool {
        matches!(self.how, How::Remains(_))
    }

    /// Whether there was something to do: the others are for the journal alone.
    pub(crate) fn was_there(&self) -> bool {
        self.how != How::Gone
    }

    /// Kind and body of the entry that says what became of it; of its channel.
    pub(crate) fn entry(&self) -> (&'static str, Value) {
        let (kind, how) = match &self.how {
            How::Gone => ("leftover-ended", json!("gone")),
            How::Terminated => ("leftover-ended", json!("SIGTERM")),
            How::Killed => ("leftover-ended", json!("SIGKILL")),
            How::Remains(pids) => ("leftover-remains", json!(pids)),
        };
        let Self { pid, start_ticks, command, run, .. } = self;
        (kind, json!({ "pid": pid, "start_ticks": start_ticks, "command": command, "run": run, "how": how }))
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.channel.as_deref().unwrap_or("?");
        write!(f, "channel {channel}: process group {} of an earlier recorder ({})", self.pid, self.command)?;
        match &self.how {
            How::Gone => f.write_str(" had ended"),
            How::Terminated => f.write_str(" was still there and was ended with SIGTERM"),
            How::Killed => f.write_str(" was still there and was ended with SIGKILL"),
            How::Remains(pids) => write!(f, " is still there and cannot be ended: processes {pids:?}"),
        }
    }
}

/// Ends what an earlier recorder left running: SIGTERM, and SIGKILL after `patience`.
/// Call it before [`Children::start`](super::Children::start), with the recording
/// locked; put each answer's [`entry`](Leftover::entry) into the journal.
///
/// Answers what was left behind, and why the journal could not be read to its end.
pub(crate) fn end_leftovers(journal: &dyn Storage, patience: Duration) -> (Vec<Leftover>, Option<String>) {
    let (mut left, unread) = remembered(journal);
    let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    let mut hunt = Hunt::new(&left);
    let mut how = |signal, grace_ns: u64, how: &How| {
        let living = hunt.signal(&left, signal, crate::now().mono_ns.saturating_add(grace_ns));
        for (leftover, was_there) in left.iter_mut().zip(&hunt.was_there) {
            if *was_there && matches!(leftover.how, How::Gone | How::Remains(_)) {
                leftover.how = how.clone();
            }
        }
        for (at, pids) in living {
            left[at].how = How::Remains(pids.into_iter().collect());
        }
        left.iter().any(|leftover| matches!(leftover.how, How::Remains(_)))
    };
    if how(Signal::TERM, patience_ns, &How::Terminated) {
        how(Signal::KILL, KILLED_NS, &How::Killed);
    }
    (left, unread)
}

/// The commands of this boot that no entry ends.
fn remembered(journal: &dyn Storage) -> (Vec<Leftover>, Option<String>) {
    let (Some(boot_id), namespace) = (proc::boot_id(), proc::pid_namespace()) else {
        return (Vec::new(), Some("this boot of the system has no name".to_owned()));
    };
    let mut fold = Fold::default();
    let read = entries(journal, true, &mut |entry| {
        fold.take(&entry, &boot_id, namespace.as_deref());
        Ok(())
    });
    let unread = read.err().map(|e| format!("the journal cannot be read to its end: {e}"));
    (fold.running.into_values().collect(), unread)
}

/// What the journal says of commands, so far.
#[derive(Default)]
struct Fold {
    /// By number of their entry.
    running: BTreeMap<u64, Leftover>,
    /// The same by the name of their process.
    entries: BTreeMap<(i32, Option<u64>), u64>,
}

impl Fold {
    fn take(&mut self, entry: &Entry, boot_id: &str, namespace: Option<&str>) {
        let body = &entry.body;
        let Some(pid) = body["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()) else { return };
        let process = (pid, body["start_ticks"].as_u64());
        match entry.kind.as_str() {
            "child" => {
                let same = |field: &str, ours: Option<&str>| body[field].as_str() == ours;
                if pid <= 1 || !same("boot_id", Some(boot_id)) || !same("pid_namespace", namespace) {
                    return;
                }
                let command = body["command"].as_str().unwrap_or_default();
                let command = command.chars().take(COMMAND_CHARACTERS_MAX).collect();
                let run = body["run"].as_str().unwrap_or_default().to_owned();
                let channel = entry.channel.clone();
                let leftover =
                    Leftover { pid, channel, command, how: How::Gone, run, start_ticks: process.1 };
                self.running.insert(entry.entry, leftover);
                if let Some(earlier) = self.entries.insert(process, entry.entry) {
                    self.running.remove(&earlier);
                }
            }
            "child-ended" | "leftover-ended" => {
                if let Some(number) = self.entries.remove(&process) {
                    self.running.remove(&number);
                }
            }
            _ => {}
        }
        if self.running.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.running.pop_first()
        {
            self.entries.remove(&(oldest.pid, oldest.start_ticks));
        }
    }
}

/// A process of a leftover, held by a descriptor of it.
struct Held {
    leftover: usize,
    pidfd: OwnedFd,
}

/// The search for the processes of all leftovers.
struct Hunt {
    /// Where in the list a group is.
    groups: BTreeMap<i32, usize>,
    /// Of which something was found.
    was_there: Vec<bool>,
}

impl Hunt {
    fn new(left: &[Leftover]) -> Self {
        // Neither the group that we are in, nor what we started ourselves.
        let ours = |pid: i32| {
            pid == getpgrp().as_raw_pid()
                || proc::stat(pid).is_some_and(|stat| stat.parent == getpid().as_raw_pid())
        };
        let groups = left.iter().enumerate().map(|(at, leftover)| (leftover.pid, at));
        Self { groups: groups.filter(|(pid, _)| !ours(*pid)).collect(), was_there: vec![false; left.len()] }
    }

    /// Signals everybody once, and waits until nobody is left or the time is over.
    /// Answers who is left.
    fn signal(&mut self, left: &[Leftover], signal: Signal, until_ns: u64) -> BTreeMap<usize, BTreeSet<i32>> {
        let mut held: BTreeMap<(i32, u64), Held> = BTreeMap::new();
        let mut was_quiet = false;
        loop {
            let mut living: BTreeMap<usize, BTreeSet<i32>> = BTreeMap::new();
            let found = self.find(left);
            held.retain(|process, _| found.contains_key(process));
            for (process, at) in found {
                self.was_there[at] = true;
                living.entry(at).or_default().insert(process.0);
                if held.contains_key(&process) {
                    continue;
                }
                if let Some(pidfd) = hold(process) {
                    // Who may not be signalled remains, and is told.
                    let _ = pidfd_send_signal(&pidfd, signal);
                    if signal == Signal::TERM {
                        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
                    }
                    held.insert(process, Held { leftover: at, pidfd });
                }
            }
            let now_ns = crate::now().mono_ns;
            // Who was born while we looked is found by a second look.
            let is_quiet = living.is_empty();
            if is_quiet && was_quiet || now_ns >= until_ns {
                return living;
            }
            was_quiet = is_quiet;
            if is_quiet {
                continue;
            }
            let pidfds =
                held.values().filter(|held| living.contains_key(&held.leftover)).map(|held| &held.pidfd);
            let mut fds: Vec<PollFd<'_>> = pidfds.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
            // Whatever it answers, the next look tells.
            let _ = poll(&mut fds, Some(&timespec((until_ns - now_ns).min(LOOK_NS))));
        }
    }

    /// Everybody who runs in the leftovers' groups, by number and start.
    fn find(&self, left: &[Leftover]) -> BTreeMap<(i32, u64), usize> {
        let mut members: BTreeMap<usize, Vec<(i32, Stat)>> = BTreeMap::new();
        for (pid, stat) in proc::pids().filter_map(|pid| Some((pid, proc::stat(pid)?))) {
            let is_leader =
                |at: &&usize| left[**at].pid == pid && left[**at].start_ticks == Some(stat.start_ticks);
            let leads = self.groups.get(&pid).filter(is_leader);
            if let Some(at) = leads.or_else(|| self.groups.get(&stat.group)) {
                members.entry(*at).or_default().push((pid, stat));
            }
        }
        let mut found = BTreeMap::new();
        for (at, members) in members {
            let Leftover { pid: leader, start_ticks, run, .. } = &left[at];
            // A leader that is there, be it as a zombie, holds the number for its group.
            let is_led =
                members.iter().any(|(pid, stat)| pid == leader && Some(stat.start_ticks) == *start_ticks);
            if is_led || !run.is_empty() && members.iter().any(|(pid, _)| proc::belongs_to(*pid, run)) {
                let alive = members
                    .into_iter()
                    .filter(|(pid, stat)| stat.is_alive() && *pid != getpid().as_raw_pid());
                found.extend(alive.map(|(pid, stat)| ((pid, stat.start_ticks), at)));
            }
        }
        found
    }
}

/// A descriptor of a process that was seen with this number and start; `None` when it is no more.
fn hold((pid, start_ticks): (i32, u64)) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // It is the same before and after the opening, so what was opened is it.
    let stat = proc::stat(pid)?;
    (stat.start_ticks == start_ticks).then_some(pidfd)
}
