//! `ek-watch`: finds who is stuck or runs away, and whose time is up.
//!
//! It decides nothing: [`Watch`] says what is found and when to look next. A worker that is found stuck or
//! running away is given up: what it has goes to others, and another is started where that is needed.

use super::book::Entry;
use super::core::Core;
use super::dedicated::ThreadBuilder;
use super::error::ThreadError;
use super::events::What;
use super::job::Runnable;
use super::slot::{Kind, Pulse};
use super::usage::cpu_of;
use crate::callback::contained;
use crate::clock;
use evenkeel_core::Mono;
use evenkeel_core::threads::{
    Class, Finding, FindingKind, Loss, Removed, Sample, Watch, WatchId, WatchSpec, WorkerId,
};
use evenkeel_hierarchy::{Condvar, Mutex, ThreadEvents, with_root};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What there is for nobody to miss: a heartbeat that never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Ends a sleep of `ek-watch`.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_rung: Mutex<ThreadEvents, bool>,
    rings: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        with_root(|house| *self.is_rung.lock(house) = true);
        self.rings.notify_all();
    }

    fn wait(&self, until: Option<Mono>) {
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
    known: BTreeMap<u64, Arc<Entry>>,
}

impl Round {
    fn live(mut self, core: &Arc<Core>, pulse: &Pulse<'_>) {
        while !pulse.should_stop() {
            let mut findings = Vec::new();
            self.look(core, &mut findings);
            for finding in findings {
                self.deal_with(core, finding);
            }
            expire(core);
            let deadline = core.with(|state| state.schedule.next_deadline());
            let next = self.watch.next_look(clock::mono());
            let until = next.into_iter().chain(deadline).min();
            pulse.waiting(|| core.bell.wait(until));
        }
    }

    /// Takes in what all threads look like.
    fn look(&mut self, core: &Core, findings: &mut Vec<Finding>) {
        let entries = core.book.entries();
        self.known.retain(|id, _| {
            let stays = entries.iter().any(|entry| entry.slot.id == *id);
            if !stays {
                self.watch.forget(WatchId(*id));
            }
            stays
        });
        for entry in entries {
            let (id, care) = (entry.slot.id, &entry.care);
            if care.heartbeat.is_none() && care.cpu_permille_max.is_none() {
                continue;
            }
            let now = clock::mono();
            if !self.known.contains_key(&id) {
                let heartbeat = care.heartbeat.unwrap_or(NEVER);
                self.watch.watch(
                    now,
                    WatchId(id),
                    WatchSpec { heartbeat, cpu_share_max: care.cpu_permille_max },
                );
                self.known.insert(id, entry.clone());
            }
            let slot = &entry.slot;
            let sample = Sample {
                busy_since: slot.busy_since(),
                last_beat: slot.last_beat(),
                beats: slot.beats(),
                cpu: slot.tid().and_then(cpu_of),
            };
            self.watch.sample(now, WatchId(id), sample, findings);
        }
    }

    fn deal_with(&self, core: &Arc<Core>, finding: Finding) {
        let Some(entry) = self.known.get(&finding.id.0) else { return };
        let slot = &entry.slot;
        let (what, is_given_up) = match finding.kind {
            FindingKind::Stuck { silent_for, .. } => (What::Stuck { silent_for }, true),
            // One that beats is told of, and goes on.
            FindingKind::Runaway { over, cpu, is_silent, .. } => (What::Runaway { over, cpu }, is_silent),
            FindingKind::Recovered { after, .. } => (What::Recovered { silent_for: after }, false),
            _ => return,
        };
        slot.give_up(is_given_up);
        let worker = core.with(|state| {
            let is_it = |worker: &super::core::Worker| worker.entry.slot.id == slot.id;
            let at = state.workers.iter().position(|worker| worker.as_ref().is_some_and(is_it))?;
            let current = state.workers[at].as_ref().and_then(|worker| worker.current.clone());
            Some((WorkerId::new(at)?, current))
        });
        let current = worker.as_ref().and_then(|(_, current)| current.as_deref());
        core.tell(slot, current.map(Runnable::meta), what);
        if let (Some((me, current)), true) = (worker, is_given_up) {
            core.lose_worker(me, Loss::Stuck);
            core.replace(slot);
            contained(|| drop(current));
        }
    }
}

/// Tells those whose deadline came before their turn.
fn expire(core: &Core) {
    let now = clock::mono();
    loop {
        let mut expired = Vec::new();
        core.with(|state| state.schedule.expired(now, &mut expired));
        if expired.is_empty() {
            return;
        }
        for Removed { payload, .. } in expired {
            payload.give_up(payload.meta().expired());
            contained(|| drop(payload));
        }
    }
}
