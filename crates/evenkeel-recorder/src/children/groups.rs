//! The process groups that this process started, and nobody else's.
//!
//! A number of a process or a group is used again once nobody has it. So the leader
//! of a group is not reaped while the group may be signalled: as long as it is there,
//! be it as a zombie, its number means this group and no other.
//!
//! Invariants:
//! 1. A group is signalled and its leader is reaped only under the one mutex, and what
//!    was reaped is in the table no more.
//! 2. Once the table is closed, what is put into it is killed at once.
//!
//! How it fails: where somebody else in this process reaps our children (or has SIGCHLD
//! ignored), the system says that there is no such child; the group is then forgotten,
//! and never signalled again.

use super::exit::Exit;
use evenkeel_hierarchy::{ChildGroups, Mutex, with_root};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A group by its leader.
#[derive(Clone)]
pub(super) struct Group {
    /// Of the leader, and of the group.
    pub(super) pid: Pid,
    /// Readable once the leader has exited.
    pub(super) pidfd: Arc<OwnedFd>,
}

impl Group {
    /// Signals the group; `false` when somebody else has reaped its leader, and the number may be anybody's.
    fn signal(&self, signal: Signal) -> bool {
        assert!(!self.pid.is_init(), "invariant: a child of ours is not the first process");
        let is_ours = self.exit().is_ok();
        if is_ours {
            // Nobody of the group runs, or nobody whom we may signal: both are found out elsewhere.
            let _ = kill_process_group(self.pid, signal);
        }
        is_ours
    }

    fn wait(&self, options: WaitIdOptions) -> Result<Option<Exit>, Errno> {
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options | WaitIdOptions::EXITED)?;
        Ok(status.map(Exit::from))
    }

    /// How its leader ended; `None` while it runs. It stays a zombie.
    fn exit(&self) -> Result<Option<Exit>, Errno> {
        self.wait(WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }
}

#[derive(Default)]
struct Table {
    closed: bool,
    groups: BTreeMap<u64, Group>,
}

/// The groups that run, each by the number of its run.
#[derive(Default)]
pub(super) struct Groups(Mutex<ChildGroups, Table>);

impl Groups {
    /// A signal is sent or it is not: the table is whole in any case. What is taken out of it is dropped
    /// later, for it closes a descriptor.
    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        with_root(|house| act(&mut self.0.lock(house)))
    }

    /// From now on its group can be signalled. Nobody has reaped its leader yet.
    pub(super) fn put(&self, child: u64, group: Group) {
        self.with(|table| {
            if table.closed && !group.signal(Signal::KILL) {
                Some(group)
            } else {
                table.groups.insert(child, group)
            }
        });
    }

    /// Signals a group, if it is still ours.
    pub(super) fn signal(&self, child: u64, signal: Signal) {
        self.with(|table| {
            let is_theirs = table.groups.get(&child).is_some_and(|group| !group.signal(signal));
            is_theirs.then(|| table.groups.remove(&child))
        });
    }

    /// How the leader ended; `None` while it runs.
    pub(super) fn exit(&self, child: u64) -> Option<Exit> {
        let (exit, _forgotten) = self.with(|table| match table.groups.get(&child).map(Group::exit) {
            Some(Ok(exit)) => (exit, None),
            Some(Err(_)) | None => (Some(Exit::Unknown), table.groups.remove(&child)),
        });
        exit
    }

    /// Ends whoever may be left of a group, and reaps its leader, who has exited:
    /// its numbers are nobody's from now on.
    pub(super) fn reap(&self, child: u64) {
        self.with(|table| {
            let group = table.groups.remove(&child)?;
            group.signal(Signal::KILL);
            // It has exited, so this finds it; if somebody else has reaped it there is nothing to do.
            let _ = group.wait(WaitIdOptions::NOHANG);
            Some(group)
        });
    }

    /// Numbers of the leaders.
    #[cfg(test)]
    pub(super) fn leaders(&self) -> Vec<i32> {
        self.with(|table| table.groups.values().map(|group| group.pid.as_raw_pid()).collect())
    }

    /// SIGKILL to every group, now and to those to come.
    pub(super) fn close(&self) {
        self.with(|table| {
            table.closed = true;
            table.groups.retain(|_, group| group.signal(Signal::KILL));
        });
    }

    /// Closes, and reaps the leaders as they go, until `until_ns` at the latest. Answers how they ended.
    pub(super) fn bury(&self, until_ns: u64) -> Vec<(u64, Exit)> {
        self.close();
        let mut ended = Vec::new();
        loop {
            let left: Vec<(u64, Group)> = self
                .with(|table| table.groups.iter().map(|(child, group)| (*child, group.clone())).collect());
            let now_ns = crate::now().mono_ns;
            for (child, _) in &left {
                if let Some(exit) = self.exit(*child) {
                    self.reap(*child);
                    ended.push((*child, exit));
                }
            }
            let running: Vec<&Group> = left
                .iter()
                .filter(|(child, _)| !ended.iter().any(|(done, _)| done == child))
                .map(|(_, g)| g)
                .collect();
            if running.is_empty() || now_ns >= until_ns {
                return ended;
            }
            let mut fds: Vec<PollFd<'_>> =
                running.iter().map(|group| PollFd::new(&*group.pidfd, PollFlags::IN)).collect();
            // An error is a signal that came, or time that is over: both are seen above.
            let _ = poll(&mut fds, Some(&timespec(until_ns - now_ns)));
        }
    }
}

/// A time of so many nanoseconds for a poll.
pub(super) fn timespec(ns: u64) -> Timespec {
    const SECOND_NS: u64 = 1_000_000_000;
    let seconds = i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: (ns % SECOND_NS) as _ }
}
