//! `ek-watch`: finds who is stuck or runs away, and whose time is up.
//!
//! It decides nothing: [`Watch`] says what is found and when to look next. A worker that is found stuck or
//! running away is given up: what it has goes to others, and another is started where that is needed.

use super::book::Watched;
use super::core::Core;
use super::dedicated::ThreadBuilder;
use super::error::ThreadError;
use super::events::What;
use super::job::Runnable;
use super::slot::{Kind, Pulse, Slot};
use super::usage::cpu_of;
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::{Class, Finding, FindingKind, Removed, Sample, Watch, WatchId, WatchSpec};
use evenkeel_hierarchy::{Condvar, Mutex, ThreadEvents, with_root};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What there is for nobody to miss: a heartbeat that never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Ends a sleep of `ek-watch`.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_rung: Mutex<ThreadEvents, bool>,
    rings: Condvar,
    /// Until when it sleeps, monotonic nanoseconds; 0: it is awake, or sleeps without an end, and is to be rung
    /// for anything.
    sleeps_until: AtomicU64,
}

impl Bell {
    pub(super) fn ring(&self) {
        with_root(|house| *self.is_rung.lock(house) = true);
        self.rings.notify_all();
    }

    /// Rings unless it is awake by then anyhow.
    pub(super) fn ring_before(&self, when: Option<Mono>) {
        let until = self.sleeps_until.load(Relaxed);
        if until == 0 || when.is_some_and(|when| when.as_nanos() < until) {
            self.ring();
        }
    }

    /// From now on all has to be rung for: before it is found out until when to sleep.
    fn is_awake(&self) {
        self.sleeps_until.store(0, Relaxed);
    }

    fn wait(&self, until: Option<Mono>) {
        // Who rings for something that was not known when `until` was found out comes after that, by the lock of
        // the schedule, and sees this or that all has to be rung for.
        self.sleeps_until.store(until.map_or(0, Mono::as_nanos), Relaxed);
        let left = until.map(|until| until.since(clock::mono()));
        let until = left.and_then(|left| Instant::now().checked_add(left));
        with_root(|house| {
            let mut is_rung = self.is_rung.lock(house);
            while !*is_rung {
                match until {
                    None => self.rings.wait(&mut is_rung),
                    Some(until) if self.rings.wait_until(&mut is_rung, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            *is_rung = false;
        });
    }
}

pub(super) fn start(core: &Arc<Core>) -> Result<(), ThreadError> {
    let builder = ThreadBuilder::new(core, "ek-watch".to_owned()).class(Class::System).of_kind(Kind::Watch);
    let watched = core.clone();
    let thread = builder.unwatched().start(move |pulse| Round::default().live(&watched, pulse))?;
    drop(thread);
    Ok(())
}

/// The threads that are watched.
#[derive(Default)]
struct Round {
    watch: Watch,
    known: BTreeMap<u64, Known>,
}

/// What is kept of a thread from look to look. Nothing of a user's: that goes with its thread.
struct Known {
    slot: Arc<Slot>,
    /// Its last beat, as it was seen.
    last_beat: Mono,
}

impl Round {
    fn live(mut self, core: &Arc<Core>, pulse: &Pulse<'_>) {
        while !pulse.should_stop() {
            core.bell.is_awake();
            let mut findings = Vec::new();
            self.look(core, &mut findings);
            for finding in findings {
                self.deal_with(core, finding);
            }
            expire(core);
            let round = core.rounds.go(clock::mono());
            let deadline = core.with(|state| state.schedule.next_deadline());
            let next = self.watch.next_look(clock::mono());
            let until = next.into_iter().chain(deadline).chain(round).min();
            pulse.waiting(|| core.bell.wait(until));
            if let Some(until) = until {
                let now = clock::mono();
                self.watch.woke_late(now, now.since(until));
            }
        }
    }

    /// Takes in what all threads look like.
    fn look(&mut self, core: &Core, findings: &mut Vec<Finding>) {
        let watched = core.book.watched();
        self.known.retain(|id, _| {
            let stays = watched.iter().any(|thread| thread.slot.id == *id);
            if !stays {
                self.watch.forget(WatchId(*id));
            }
            stays
        });
        for Watched { slot, heartbeat, cpu_permille_max } in watched {
            let (id, now, last_beat) = (slot.id, clock::mono(), slot.last_beat());
            let known = self.known.entry(id).or_insert_with(|| {
                let heartbeat = heartbeat.unwrap_or(NEVER);
                self.watch.watch(now, WatchId(id), WatchSpec { heartbeat, cpu_share_max: cpu_permille_max });
                Known { slot: slot.clone(), last_beat }
            });
            known.last_beat = last_beat;
            let sample = Sample {
                busy_since: slot.busy_since(),
                last_beat,
                beats: slot.beats(),
                cpu: slot.tid().and_then(cpu_of),
            };
            self.watch.sample(now, WatchId(id), sample, findings);
        }
    }

    fn deal_with(&self, core: &Arc<Core>, finding: Finding) {
        let Some(Known { slot, last_beat }) = self.known.get(&finding.id.0) else { return };
        let (what, is_silent) = match finding.kind {
            FindingKind::Stuck { silent_for, .. } => (What::Stuck { silent_for }, true),
            // One that beats is told of, and goes on.
            FindingKind::Runaway { over, cpu, is_silent, .. } => (What::Runaway { over, cpu }, is_silent),
            FindingKind::Recovered { after, was_silent } => {
                if was_silent {
                    slot.take_back();
                }
                (What::Recovered { silent_for: after }, false)
            }
            _ => return,
        };
        // First of all: meanwhile, and in a hook, it may go on.
        let (is_lost, job) = if is_silent {
            core.give_up_silent(slot, *last_beat)
        } else {
            (false, core.with(|state| state.job_of(slot)))
        };
        core.tell(slot, job.as_deref().map(Runnable::meta), what);
        // The last of it, with its answer, if it has ended meanwhile.
        if job.is_some() {
            core.aside(move || drop(job));
        }
        if is_lost {
            core.replace(slot);
        }
    }
}

/// Tells those whose deadline came before their turn.
fn expire(core: &Arc<Core>) {
    let now = clock::mono();
    loop {
        let mut expired = Vec::new();
        core.with(|state| state.schedule.expired(now, &mut expired));
        if expired.is_empty() {
            return;
        }
        for Removed { payload, .. } in expired {
            let remains = payload.give_up(payload.meta().expired());
            core.aside(move || {
                remains.clear();
                drop(payload);
            });
        }
    }
}
