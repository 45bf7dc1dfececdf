//! The thread itself: takes orders, moves every channel on, waits.

use super::ending::Act;
use super::groups::timespec;
use super::ledger::{Ledger, RETRY_NS};
use super::proc;
use super::restart::{Policy, Verdict};
use super::run::{Exited, Gated, Run};
use super::spawn::spawn;
use super::stderr::Stderr;
use super::{Exec, Happened, KILL_GRACE, Orders, Settings, Shared};
use crate::config::Restart;
use evenkeel::journal::Journal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of one read of standard error.
const READ_BYTES: usize = 64 << 10;
/// Commands that are started before it is the others' turn.
const STARTS_AT_ONCE: usize = 8;
/// Once every channel is over, what is left for the journal is waited for so long, in nanoseconds.
const LAST_WORDS_NS: u64 = 1_000_000_000;

struct Channel {
    exec: Exec,
    policy: Policy,
    stderr: Stderr,
    /// Times that its command was let run.
    runs: u64,
    state: State,
}

enum State {
    /// It is to be run at this time; after a fault, if it has been run.
    Waiting {
        at_ns: u64,
        fault: Option<String>,
    },
    Running(Box<Run>),
    Over,
}

/// Why the thread leaves.
enum Left {
    Done,
    Killed,
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    settings: Settings,
    /// The recorder's run, in hexadecimal digits.
    run_id: String,
    boot_id: Option<String>,
    pid_namespace: Option<String>,
    channels: Vec<Channel>,
    ledger: Ledger,
    tell: Box<dyn FnMut(Happened) + Send>,
    last_child: u64,
    stop_kill_ns: Option<u64>,
    /// Commands that may still be started in this turn.
    starts_left: usize,
    scratch: Vec<u8>,
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
        let channel = |exec| Channel {
            exec,
            policy: Policy::new(),
            stderr: Stderr::new(now_ns),
            runs: 0,
            state: State::Waiting { at_ns: 0, fault: None },
        };
        let channels: Vec<Channel> = execs.into_iter().map(channel).collect();
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
    pub(super) fn live(mut self) {
        let _ = self.shared.thread.set(std::thread::current().id());
        let fault = match catch_unwind(AssertUnwindSafe(|| self.work())) {
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

    fn work(&mut self) -> io::Result<Left> {
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
            self.wait(deadlines.chain(retry_ns).min(), now_ns)?;
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

    /// Does what is due in one channel; answers whether it wants a look at its group.
    fn advance(&mut self, at: usize, now_ns: u64) -> bool {
        loop {
            match &mut self.channels[at].state {
                State::Over => return false,
                State::Waiting { fault, .. } if self.stop_kill_ns.is_some() => {
                    let fault = fault.take();
                    self.over(at, fault, false);
                }
                State::Waiting { at_ns, .. } if *at_ns > now_ns || self.starts_left == 0 => return false,
                State::Waiting { .. } => self.begin(at, now_ns),
                State::Running(run) => {
                    run.note_exit(&self.shared.groups, now_ns);
                    self.pass_gate(at, now_ns);
                    let Some(act) = self.channels[at].due(now_ns) else { return false };
                    match act {
                        Act::Look => return true,
                        Act::Finish => self.finish(at, now_ns),
                        _ => self.act(at, act, now_ns),
                    }
                }
            }
        }
    }

    /// Starts a command behind its gate.
    fn begin(&mut self, at: usize, now_ns: u64) {
        self.starts_left -= 1;
        let exec = &self.channels[at].exec;
        let spawned = match spawn(&self.settings.shell, &exec.command, &exec.name, &self.run_id) {
            Ok(spawned) => spawned,
            Err(e) => return self.failed(at, e.to_string(), 0, true, now_ns),
        };
        self.last_child += 1;
        // To start others took its time.
        let until_ns = crate::now().mono_ns.saturating_add(self.settings.journal_ns);
        let run = Run::new(self.last_child, spawned, &self.shared.groups, until_ns);
        self.channels[at].state = State::Running(Box::new(run));
    }

    fn child_body(&self, at: usize, run: &Run) -> Value {
        json!({
            "pid": run.pid, "pgid": run.pid, "start_ticks": run.start_ticks, "boot_id": self.boot_id,
            "pid_namespace": self.pid_namespace, "command": self.channels[at].exec.command, "run": self.run_id,
        })
    }

    /// Lets a command run as soon as its entry is durable, or the journal has had its time.
    fn pass_gate(&mut self, at: usize, now_ns: u64) {
        let Some(run) = self.channels[at].run() else { return };
        let Some(Gated { entry, until_ns, .. }) = &run.gated else { return };
        let (mut entry, until_ns) = (*entry, *until_ns);
        if run.exited.is_some() || self.stop_kill_ns.is_some() {
            if let State::Running(run) = &mut self.channels[at].state {
                run.hold_back(now_ns);
            }
            return;
        }
        if entry.is_none() {
            let body = self.child_body(at, run);
            entry = self.ledger.append("child", &self.channels[at].exec.name, body);
        }
        let durable = !self.ledger.has_journal() || entry.is_some_and(|entry| self.ledger.is_durable(entry));
        if durable || now_ns >= until_ns {
            if !durable {
                self.go_without_journal(at, entry.is_some());
            }
            self.open_gate(at, now_ns);
        } else if let State::Running(run) = &mut self.channels[at].state
            && let Some(gated) = &mut run.gated
        {
            gated.entry = entry;
        }
    }

    /// The journal had its time: its entry follows when it can, and this is told.
    fn go_without_journal(&mut self, at: usize, is_queued: bool) {
        let Some(run) = self.channels[at].run() else { return };
        let (pid, body) = (run.pid, self.child_body(at, run));
        let name = self.channels[at].exec.name.clone();
        let why = self.ledger.trouble().unwrap_or_else(|| "the journal is slow".to_owned());
        if !is_queued {
            self.ledger.note("child", &name, body);
        }
        self.ledger.note("child-unjournalled", &name, json!({ "pid": pid, "why": why }));
        self.tell(Happened::Unjournalled { channel: self.channels[at].exec.channel, why });
    }

    fn open_gate(&mut self, at: usize, now_ns: u64) {
        let channel = &mut self.channels[at];
        let State::Running(run) = &mut channel.state else { return };
        let Some(Gated { gate, stdout, .. }) = run.gated.take() else { return };
        gate.open();
        run.began_ns = Some(now_ns);
        channel.runs += 1;
        let (is_restart, child, channel) = (channel.runs > 1, run.child, channel.exec.channel);
        if is_restart {
            self.tell(Happened::Restarted { channel });
        }
        self.tell(Happened::Output { channel, child, stdout });
    }

    fn act(&mut self, at: usize, act: Act, now_ns: u64) {
        let State::Running(run) = &mut self.channels[at].state else { return };
        run.ending.done(act, false, now_ns);
        if act == Act::CutOff {
            let child = run.child;
            self.tell(Happened::CutOff { child });
        } else {
            run.signal(act, &self.shared.groups);
        }
    }

    /// A run is over: its group is gone, its leader is reaped, its channel goes on or is over.
    fn finish(&mut self, at: usize, now_ns: u64) {
        let channel = &mut self.channels[at];
        let Some(mut run) = channel.take_run() else { return };
        let stderr = self.ledger.has_journal().then_some(&mut channel.stderr);
        run.read_last_stderr(stderr, &mut self.scratch, now_ns);
        self.shared.groups.reap(run.child);
        self.write_lines(at);
        if let Some(exited) = run.exited {
            let body = run.ended_body(&self.run_id, exited);
            self.ledger.note("child-ended", &self.channels[at].exec.name, body);
        }
        let by_itself = !run.ending.ended_by_stop();
        let ran_ns = run.began_ns.map_or(0, |began_ns| now_ns.saturating_sub(began_ns));
        match run.fault() {
            Some(fault) => self.failed(at, fault, ran_ns, by_itself, now_ns),
            None => self.over(at, None, by_itself),
        }
    }

    /// A command failed: it is run again, or its channel is over.
    pub(super) fn failed(&mut self, at: usize, fault: String, ran_ns: u64, by_itself: bool, now_ns: u64) {
        let channel = &mut self.channels[at];
        let may_restart = channel.exec.restart == Restart::OnFailure && self.stop_kill_ns.is_none();
        let verdict = may_restart.then(|| channel.policy.failed(ran_ns, now_ns));
        let after = match verdict {
            Some(Verdict::Again(after)) => Some(after),
            _ => None,
        };
        let body = json!({ "fault": fault, "again_after_ms": after.map(|after| after.as_millis() as u64) });
        self.ledger.note("child-failed", &channel.exec.name, body);
        if let Some(after) = after {
            let at_ns = now_ns.saturating_add(nanoseconds(after));
            channel.state = State::Waiting { at_ns, fault: Some(fault.clone()) };
            let channel = channel.exec.channel;
            return self.tell(Happened::Failed { channel, fault, after });
        }
        let fault = match verdict {
            Some(Verdict::GiveUp(times)) => {
                format!("failed {times} times within 60 s; the last time: {fault}")
            }
            _ => fault,
        };
        self.over(at, Some(fault), by_itself);
    }

    /// Nothing more will come of a channel; said once.
    fn over(&mut self, at: usize, fault: Option<String>, by_itself: bool) {
        let channel = &mut self.channels[at];
        if !matches!(channel.state, State::Over) {
            channel.state = State::Over;
            let channel = channel.exec.channel;
            self.tell(Happened::Over { channel, fault, by_itself });
        }
    }

    fn tell(&mut self, happened: Happened) {
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
    fn write_lines(&mut self, at: usize) -> bool {
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

impl Channel {
    fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Takes the run out; what becomes of the channel is the caller's to say.
    fn take_run(&mut self) -> Option<Box<Run>> {
        let waiting = State::Waiting { at_ns: u64::MAX, fault: None };
        match std::mem::replace(&mut self.state, waiting) {
            State::Running(run) => Some(run),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn is_gated(&self) -> bool {
        self.run().is_some_and(|run| run.gated.is_some())
    }

    /// What is due now.
    fn due(&self, now_ns: u64) -> Option<Act> {
        self.run()?.ending.next().filter(|(at_ns, _)| *at_ns <= now_ns).map(|(_, act)| act)
    }

    /// When something is due that nobody tells of.
    fn deadline(&self, now_ns: u64) -> Option<u64> {
        let skipped = self.stderr.skipped().map(|(due_ns, _)| due_ns.max(now_ns + RETRY_NS));
        let of_state = match &self.state {
            State::Waiting { at_ns, .. } => Some(*at_ns),
            State::Running(run) => {
                let gate = run.gated.as_ref().map(|gated| match gated.entry {
                    Some(_) => gated.until_ns,
                    None => gated.until_ns.min(now_ns + RETRY_NS),
                });
                run.ending.next().map(|(at_ns, _)| at_ns).into_iter().chain(gate).min()
            }
            State::Over => None,
        };
        of_state.into_iter().chain(skipped).min()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
