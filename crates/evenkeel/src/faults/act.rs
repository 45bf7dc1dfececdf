//! Doing what the supervisor decided, and hearing how it went.
//!
//! What hangs is written down as lapsed when its time is over: the supervisor, which has the same limits, goes on
//! without it, and begins nothing of it again before it has answered. Its answer counts whenever it comes.

use super::Inner;
use super::book::{Book, Cut};
use super::desk::Desk;
use super::inbox::News;
use super::procedure::{Answer, Attempt, Outcome, Procedure, Task, run_all};
use super::report::Whose;
use super::written::At;
use crate::threads::Pulse;
use evenkeel_core::Mono;
use evenkeel_core::fault::{Code, Name, Severity};
use evenkeel_core::supervision::{Action, Cause, ChannelId, ComponentId, Event, RecoveryStep};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A retry has this part of the time after which who is quiet counts as well.
const RETRY_SHARE: f64 = 0.9;

/// A procedure that has not answered.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    at: Mono,
    pub(super) until: Mono,
    pub(super) is_lapsed: bool,
    cause: Cause,
    whose: Whose,
}

impl Begun {
    fn place(&self) -> At<'_> {
        place(&self.whose)
    }
}

fn place(whose: &Whose) -> At<'_> {
    At {
        channel: whose.lane.name.as_ref().map(Name::as_str),
        component: whose.component.as_ref().map(Name::as_str),
    }
}

impl Desk {
    pub(super) fn perform(&mut self, now: Mono, action: Action) {
        let is_over = self.inner.is_over();
        if matches!(action, Action::StopSystem { .. }) {
            self.supervision_is_over();
        }
        match action {
            Action::Summarise { who, summary } => self.summarise(now, who, &summary),
            // The stop sees to all of them.
            _ if is_over => {}
            Action::Retry { component, level, cause } => self.retry(now, component, level, cause),
            Action::RestartComponent { component, level, cause } => {
                self.restart(now, component, level, cause);
            }
            Action::RecoverChannel { channel, step, cause } => self.recover(now, channel, step, cause),
            Action::IsolateChannel { channel, cause, .. } => self.cut(channel, Cut::Isolated, cause),
            Action::ReleaseChannel { channel, cause } => self.cut(channel, Cut::Released, cause),
            Action::StopSystem { cause } => {
                self.measure(At::default(), "the system", cause, "stop", 1);
                (self.inner.stop)(format!("fault {}: {}", cause.code, cause.code.explanation().title));
            }
            Action::TellDependent { dependent, on, condition, fault } => {
                let (told, dependency) = self.inner.with(|book| {
                    (book.components[dependent.index()].told.clone(), book.dependency(on, condition, fault))
                });
                if let Some(told) = told {
                    let of = dependency.clone();
                    let replaces = move |other: &super::Dependency| {
                        (&other.channel, &other.component) == (&of.channel, &of.component)
                    };
                    told.push(&self.inner.run, dependency, replaces);
                }
            }
            Action::Breaker { component, state } => {
                self.inner.with(|book| book.components[component.index()].seen.set_breaker(state));
            }
            // Told with its fault, where that is at hand; and what a later version of the engine may answer.
            _ => {}
        }
    }

    fn measure(&self, at: At<'_>, who: &str, cause: Cause, measure: &str, level: u32) {
        self.inner.measures.fetch_add(1, Relaxed);
        self.inner.write_measure(at, who, cause, measure, level);
    }

    fn retry(&mut self, now: Mono, id: ComponentId, level: u32, cause: Cause) {
        let (whose, name, retry, settle) = self.inner.with(|book| {
            let component = &book.components[id.index()];
            let settle = book.supervisor.limits().settle;
            (component.whose.clone(), book.name(id), component.retry.clone(), settle)
        });
        self.measure(place(&whose), &name, cause, "retry", level);
        // Who has no procedure tries again by itself: its breaker lets it.
        let Some(retry) = retry else { return };
        let task = Task::Retry(id);
        if self.under_way.contains_key(&task) {
            let fault = self.inner.fault(&whose, Code::TIMEOUT, Severity::Error);
            fault.text("the retry before this one has not ended").report();
            return;
        }
        let limit = settle.mul_f64(RETRY_SHARE);
        let begun = Begun { at: now, until: now.plus(limit), is_lapsed: false, cause, whose };
        self.begin(task, begun, (format!("faults: retry {name}"), level, limit), vec![retry], None);
    }

    fn restart(&mut self, now: Mono, id: ComponentId, level: u32, cause: Cause) {
        let (whose, name, restart, limit) = self.inner.with(|book| {
            let component = &book.components[id.index()];
            let limit = book.supervisor.limits().restart_timeout;
            (component.whose.clone(), book.name(id), component.restart.clone(), limit)
        });
        self.measure(place(&whose), &name, cause, "restart", level);
        let begun = Begun { at: now, until: now.plus(limit), is_lapsed: false, cause, whose };
        let none = Outcome::failed("nobody said how it is restarted");
        let name = format!("faults: restart {name}");
        self.begin(Task::Restart(id), begun, (name, level, limit), Vec::from_iter(restart), Some(none));
    }

    fn recover(&mut self, now: Mono, id: ChannelId, step: RecoveryStep, cause: Cause) {
        let inner = self.inner.clone();
        let (whose, name, procedures, none, limit) = inner.with(|book| {
            self.troubled.extend(book.supervisor.tree().owned(id));
            let channel = &book.channels[id.index()];
            let whose = Whose { lane: channel.lane.clone(), component: None };
            let name = book.supervisor.tree().channel_name(id).clone();
            let limit = book.supervisor.limits().recovery_step_timeout;
            (whose, name, procedures(book, id, step), nothing(book, id, step), limit)
        });
        let is_first = step == RecoveryStep::StopCapture;
        if let Some(recovering) = inner.recovering(id) {
            recovering.begins(step, &cause.code.to_string());
        }
        // A release is told when it has worked.
        if is_first {
            self.measure(place(&whose), name.as_str(), cause, "recover", 1);
        }
        let begun = Begun { at: now, until: now.plus(limit), is_lapsed: false, cause, whose };
        let job = format!("faults: {} {name}", step.name());
        self.begin(Task::Part(id, step), begun, (job, 1, limit), procedures, Some(none));
    }

    /// Writes down that it begins, and begins it. `none` is the answer where there is nothing to do.
    fn begin(
        &mut self,
        task: Task,
        begun: Begun,
        (name, level, limit): (String, u32, Duration),
        procedures: Vec<Procedure>,
        none: Option<Outcome>,
    ) {
        let inner = self.inner.clone();
        let (cause, whose) = (begun.cause, begun.whose.clone());
        inner.write_recovery(begun.place(), task, cause.fault, "begun", Duration::ZERO);
        self.under_way.insert(task, begun);
        if let (true, Some(none)) = (procedures.is_empty(), none) {
            inner.inbox.post(News::Answer(task, none));
            return;
        }
        let answer = Answer::new(&inner, task);
        let within: Arc<Inner> = inner.clone();
        let job = move |pulse: &Pulse<'_>| {
            let attempt = Attempt { pulse, cause, level };
            answer.give(run_all(&within, &whose, &procedures, &attempt));
        };
        (inner.run)(name, Some(limit), Box::new(job));
    }

    fn cut(&mut self, id: ChannelId, cut: Cut, cause: Cause) {
        let inner = self.inner.clone();
        let (whose, mailbox) = inner.with(|book| {
            self.troubled.extend(book.supervisor.tree().owned(id));
            let channel = &book.channels[id.index()];
            (Whose { lane: channel.lane.clone(), component: None }, channel.cut.clone())
        });
        let name = whose.lane.name.as_ref().map_or("the system", Name::as_str);
        let word = if cut == Cut::Isolated { "isolate" } else { "release" };
        self.measure(place(&whose), name, cause, word, 1);
        whose.lane.set_isolated(cut == Cut::Isolated);
        if let (Cut::Isolated, Some(recovering)) = (cut, inner.recovering(id)) {
            recovering.failed(&cause.code.to_string());
        }
        if let Some(mailbox) = mailbox {
            mailbox.push(&inner.run, cut, |_| false);
        }
    }

    /// A procedure has ended, in its time or late.
    pub(super) fn answered(&mut self, task: Task, outcome: Outcome) {
        let now = self.inner.now();
        let begun = self.under_way.remove(&task);
        if let Some(begun) = &begun {
            let took = now.since(begun.at);
            self.inner.write_outcome(begun.place(), task, begun.cause.fault, &outcome, took);
        }
        let is_ok = matches!(outcome, Outcome::Done(_));
        match (task, outcome) {
            (Task::Restart(component), _) => self.handle(Event::RestartDone { component, is_up: is_ok }),
            (Task::Part(channel, step), _) => {
                if let (Some(recovering), Some(begun)) = (self.inner.recovering(channel), &begun) {
                    let cause = begun.cause.code.to_string();
                    match step {
                        _ if begun.is_lapsed => {}
                        RecoveryStep::Verify if is_ok => recovering.is_verified(&cause),
                        RecoveryStep::Reinitialise | RecoveryStep::Verify if !is_ok => {
                            recovering.failed(&cause);
                        }
                        _ => {}
                    }
                }
                self.handle(Event::RecoveryStep { channel, step, is_ok });
            }
            (Task::Retry(component), Outcome::Done(_)) => self.handle(Event::Succeeded { component }),
            (Task::Retry(_), Outcome::Failed { causes, is_told: false }) => {
                if let Some(begun) = begun {
                    let fault = self.inner.fault(&begun.whose, begun.cause.code, Severity::Error);
                    fault.causes(causes).report();
                }
            }
            (Task::Retry(_), Outcome::Failed { .. }) => {}
        }
    }

    /// Writes down what did not end in its time.
    pub(super) fn lapse(&mut self, now: Mono) {
        for (task, begun) in &mut self.under_way {
            if begun.is_lapsed || begun.until > now {
                continue;
            }
            begun.is_lapsed = true;
            let took = now.since(begun.at);
            self.inner.write_recovery(begun.place(), *task, begun.cause.fault, "lapsed", took);
            if let Task::Retry(_) = task {
                let fault = self.inner.fault(&begun.whose, Code::TIMEOUT, Severity::Error);
                fault.text("a retry did not end in its time").report();
            }
        }
    }
}

/// What there is to do for a part: resources first, then components.
fn procedures(book: &Book, id: ChannelId, step: RecoveryStep) -> Vec<Procedure> {
    let part = book.channels[id.index()].parts[step.index()].clone();
    let of_component = |id: &ComponentId| {
        let component = &book.components[id.index()];
        match step {
            RecoveryStep::Reinitialise => component.restart.clone(),
            RecoveryStep::Verify => component.verify.clone(),
            RecoveryStep::StopCapture | RecoveryStep::Flush => None,
        }
    };
    let components = book.supervisor.tree().owned(id).iter().filter_map(of_component);
    part.into_iter().chain(components).collect()
}

/// What is answered where there is nothing to do.
fn nothing(book: &Book, id: ChannelId, step: RecoveryStep) -> Outcome {
    let verifies = !procedures(book, id, RecoveryStep::Verify).is_empty();
    match step {
        RecoveryStep::Reinitialise if !verifies => Outcome::failed("nobody said how it is begun anew"),
        RecoveryStep::Verify => Outcome::Done(Some("nobody said how it is verified")),
        _ => Outcome::Done(Some("nobody said how: there is nothing to do")),
    }
}
