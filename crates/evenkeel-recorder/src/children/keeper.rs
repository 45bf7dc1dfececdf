//! The thread itself: takes orders, moves every channel on, waits.

use super::channel::{Channel, State, nanoseconds};
use super::ending::Act;
use super::groups::timespec;
use super::ledger::{Ledger, RETRY_NS};
use super::proc;
use super::run::Exited;
use super::{Exec, Happened, KILL_GRACE, Orders, Settings, Shared};
use evenkeel::journal::Journal;
use evenkeel::threads::Pulse;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::json;
use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of one read of standard error.
const READ_BYTES: usize = 64 << 10;
/// Commands that are started before it is the others' turn.
const STARTS_AT_ONCE: usize = 8;
/// Once every channel is over, what is left for the journal is waited for so long, in nanoseconds.
const LAST_WORDS_NS: u64 = 1_000_000_000;

/// Why the thread leaves.
enum Left {
    Done,
    Killed,
}

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    /// The recorder's run, in hexadecimal digits.
    pub(super) run_id: String,
    pub(super) boot_id: Option<String>,
    pub(super) pid_namespace: Option<String>,
    pub(super) channels: Vec<Channel>,
    pub(super) ledger: Ledger,
    tell: Box<dyn FnMut(Happened) + Send>,
    pub(super) last_child: u64,
    pub(super) stop_kill_ns: Option<u64>,
    /// Commands that may still be started in this turn.
    pub(super) starts_left: usize,
    pub(super) scratch: Vec<u8>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        execs: Vec<Exec>,
        journal: Option<Journal>,
        run_id: String,
        tell: Box<dyn FnMut(Happened) + Send>,
        settings: Settings,
    ) -> Self {
        let now_ns = crate::now().mono_ns;
        let channels: Vec<Channel> = execs.into_iter().map(|exec| Channel::new(exec, now_ns)).collect();
        Self {
            shared,
            settings,
            run_id,
            boot_id: proc::boot_id(),
            pid_namespace: proc::pid_namespace(),
            ledger: Ledger::new(journal, channels.len()),
            channels,
            tell,
            last_child: 0,
            stop_kill_ns: None,
            starts_left: 0,
            scratch: vec![0; READ_BYTES],
        }
    }

    /// The thread's life, to its end.
    pub(super) fn live(mut self, pulse: &Pulse<'_>) {
        let _ = self.shared.thread.set(std::thread::current().id());
        let fault = match catch_unwind(AssertUnwindSafe(|| self.work(pulse))) {
            Ok(Ok(Left::Done)) => None,
            Ok(Ok(Left::Killed)) => {
                self.bury();
                None
            }
            Ok(Err(e)) => Some(format!("its command cannot be watched any more: {e}")),
            Err(panic) => Some(format!("the thread that watches its command panicked: {}", message(&*panic))),
        };
        if let Some(fault) = fault {
            // No second panic may keep a channel from being told over, or a group alive.
            let _ = catch_unwind(AssertUnwindSafe(|| self.bury()));
            self.shared.groups.close();
            for at in 0..self.channels.len() {
                let _ = catch_unwind(AssertUnwindSafe(|| self.over(at, Some(fault.clone()), true)));
            }
        }
        let shared = self.shared.clone();
        // What the teller and the journal hold goes first: who waits for us waits for that too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
        shared.leave();
    }

    fn work(&mut self, pulse: &Pulse<'_>) -> io::Result<Left> {
        let mut last_words_ns = None;
        loop {
            let orders = self.shared.take_orders();
            if orders.killed {
                return Ok(Left::Killed);
            }
            // Before what it matters for is looked at: what becomes durable from here on wakes us.
            self.shared.wants_durable.store(true, Ordering::SeqCst);
            let now_ns = crate::now().mono_ns;
            self.take(&orders, now_ns);
            self.starts_left = STARTS_AT_ONCE;
            self.move_on(now_ns);
            let written = self.write_down(now_ns);
            if self.channels.iter().all(|channel| matches!(channel.state, State::Over)) {
                let until_ns = *last_words_ns.get_or_insert(now_ns + LAST_WORDS_NS);
                if written || now_ns >= until_ns {
                    self.channels.iter_mut().for_each(|channel| channel.stderr.give_up());
                    self.write_down(now_ns);
                    return Ok(Left::Done);
                }
            }
            let wants_durable = !written || self.channels.iter().any(Channel::is_gated);
            self.shared.wants_durable.store(wants_durable, Ordering::SeqCst);
            let retry_ns = (!written).then_some(now_ns + RETRY_NS);
            let deadlines = self.channels.iter().filter_map(|channel| channel.deadline(now_ns));
            let until_ns = deadlines.chain(retry_ns).min();
            pulse.waiting(|| self.wait(until_ns, now_ns))?;
            self.read_stderrs();
        }
    }

    fn take(&mut self, orders: &Orders, now_ns: u64) {
        let is_new = orders.stop_kill_ns != self.stop_kill_ns;
        self.stop_kill_ns = orders.stop_kill_ns;
        for channel in &mut self.channels {
            let State::Running(run) = &mut channel.state else { continue };
            if orders.ended_outputs.contains(&run.child) {
                run.ending.output_ended(now_ns);
            }
            if let Some(kill_ns) = orders.stop_kill_ns.filter(|_| is_new) {
                // Who has failed by now did so before our signal.
                run.look_for_exit = true;
                run.note_exit(&self.shared.groups, now_ns);
                run.ending.stop(kill_ns);
            }
        }
    }

    /// Does all that is due in every channel.
    fn move_on(&mut self, now_ns: u64) {
        loop {
            let looks: Vec<usize> = (0..self.channels.len()).filter(|at| self.advance(*at, now_ns)).collect();
            if looks.is_empty() {
                return;
            }
            // One look at the system serves all who want it.
            let group = |at: &usize| self.channels[*at].run().map(|run| run.pid);
            let living = proc::living_groups(&looks.iter().filter_map(group).collect::<BTreeSet<i32>>());
            for at in looks {
                if let State::Running(run) = &mut self.channels[at].state {
                    run.ending.done(Act::Look, !living.contains(&run.pid), now_ns);
                }
            }
        }
    }

    pub(super) fn tell(&mut self, happened: Happened) {
        if !self.shared.is_killed() {
            (self.tell)(happened);
        }
    }

    /// Kills every group, and says in the journal what became of them.
    fn bury(&mut self) {
        let until_ns = crate::now().mono_ns.saturating_add(nanoseconds(KILL_GRACE) / 2);
        let buried = self.shared.groups.bury(until_ns);
        for channel in &mut self.channels {
            let Some(run) = channel.take_run() else { continue };
            let exit = buried.iter().find(|(child, _)| *child == run.child).map(|(_, exit)| *exit);
            let exited = run.exited.or(exit.map(|exit| Exited { exit, signalled: Some("SIGKILL") }));
            if let Some(exited) = exited {
                self.ledger.note("child-ended", &channel.exec.name, run.ended_body(&self.run_id, exited));
            }
        }
    }

    /// Puts what waits into the journal; `false` when something is left.
    fn write_down(&mut self, now_ns: u64) -> bool {
        if !self.ledger.has_journal() {
            return true;
        }
        self.ledger.settle();
        self.ledger.pay();
        let mut written = !self.ledger.owes();
        for at in 0..self.channels.len() {
            written &= self.write_lines(at);
            let channel = &mut self.channels[at];
            let is_over = matches!(channel.state, State::Over);
            let Some((due_ns, skipped)) = channel.stderr.skipped() else { continue };
            if due_ns > now_ns && !is_over {
                continue;
            }
            let body = json!({ "lines": skipped.lines, "bytes": skipped.bytes });
            if self.ledger.append("stderr-skipped", &channel.exec.name, body).is_some() {
                channel.stderr.clear_skipped();
            } else {
                written = false;
            }
        }
        written
    }

    /// Puts a channel's lines into the journal as far as there is room; `false` when some are left.
    pub(super) fn write_lines(&mut self, at: usize) -> bool {
        let Channel { exec, stderr, .. } = &mut self.channels[at];
        while let Some(line) = stderr.front() {
            if !self.ledger.line(at, &exec.name, line) {
                return false;
            }
            stderr.pop();
        }
        true
    }

    /// Waits for something to happen.
    fn wait(&mut self, until_ns: Option<u64>, now_ns: u64) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        for run in self.channels.iter().filter_map(Channel::run) {
            if run.exited.is_none() {
                fds.push(PollFd::new(&*run.pidfd, PollFlags::IN));
            }
            if let Some(stderr) = &run.stderr {
                fds.push(PollFd::new(stderr, PollFlags::IN));
            }
        }
        let timeout = until_ns.map(|until_ns| timespec(until_ns.saturating_sub(now_ns)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().skip(1).map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        for channel in &mut self.channels {
            let State::Running(run) = &mut channel.state else { continue };
            run.look_for_exit = run.exited.is_none() && ready.next().unwrap_or(false);
            run.stderr_is_ready = run.stderr.is_some() && ready.next().unwrap_or(false);
        }
        Ok(())
    }

    /// Reads each standard error that has something, once: then it is the others' turn.
    fn read_stderrs(&mut self) {
        let now_ns = crate::now().mono_ns;
        let keeps = self.ledger.has_journal();
        for Channel { state, stderr, .. } in &mut self.channels {
            if let State::Running(run) = state
                && std::mem::take(&mut run.stderr_is_ready)
            {
                run.read_stderr(keeps.then_some(stderr), &mut self.scratch, now_ns);
            }
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
