//! One channel of the thread: what state it is in, and what moves it on.

use super::ending::Act;
use super::keeper::Keeper;
use super::ledger::RETRY_NS;
use super::restart::{Policy, Verdict};
use super::run::{Gated, Run};
use super::spawn::spawn;
use super::stderr::Stderr;
use super::{Exec, Happened};
use crate::config::Restart;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Channel {
    pub(super) exec: Exec,
    pub(super) policy: Policy,
    pub(super) stderr: Stderr,
    /// Times that its command was let run.
    pub(super) runs: u64,
    pub(super) state: State,
}

pub(super) enum State {
    /// It is to be run at this time; after a fault, if it has been run.
    Waiting {
        at_ns: u64,
        fault: Option<String>,
    },
    Running(Box<Run>),
    Over,
}

impl Channel {
    pub(super) fn new(exec: Exec, now_ns: u64) -> Self {
        Self {
            exec,
            policy: Policy::new(),
            stderr: Stderr::new(now_ns),
            runs: 0,
            state: State::Waiting { at_ns: 0, fault: None },
        }
    }

    pub(super) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Takes the run out; what becomes of the channel is the caller's to say.
    pub(super) fn take_run(&mut self) -> Option<Box<Run>> {
        let waiting = State::Waiting { at_ns: u64::MAX, fault: None };
        match std::mem::replace(&mut self.state, waiting) {
            State::Running(run) => Some(run),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn is_gated(&self) -> bool {
        self.run().is_some_and(|run| run.gated.is_some())
    }

    /// What is due now.
    pub(super) fn due(&self, now_ns: u64) -> Option<Act> {
        self.run()?.ending.next().filter(|(at_ns, _)| *at_ns <= now_ns).map(|(_, act)| act)
    }

    /// When something is due that nobody tells of.
    pub(super) fn deadline(&self, now_ns: u64) -> Option<u64> {
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

impl Keeper {
    /// Does what is due in one channel; answers whether it wants a look at its group.
    pub(super) fn advance(&mut self, at: usize, now_ns: u64) -> bool {
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
        let after_ms = after.map(|after| after.as_millis() as u64);
        let body = json!({ "fault": fault, "again_after_ms": after_ms, "reported": true });
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
    pub(super) fn over(&mut self, at: usize, fault: Option<String>, by_itself: bool) {
        let channel = &mut self.channels[at];
        if !matches!(channel.state, State::Over) {
            channel.state = State::Over;
            let channel = channel.exec.channel;
            self.tell(Happened::Over { channel, fault, by_itself });
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
