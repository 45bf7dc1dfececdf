//! A machine in the journal: its changes as records, before they are made; what was refused as notes, a few at a time.
//!
//! ```text
//! state          {"machine","table","version","fingerprint","points_max","sequence","from","to","cause","back_to","failed","took_ns","snapshot"?}
//! state-refused  {"machine","from","to","by","why","untold"}
//! state-flapping {"machine","state","other","returns","within_ms"}
//! observer       {"machine","observer","event","took_ns","text"}
//! ```
//!
//! `snapshot` is the machine before this change, where the journal lacks some before it.

use super::inner::{Core, Inner};
use super::{Cause, Snapshot, State, StateWhat};
use crate::clock;
use crate::journal::{Appended, Draft, Journal};
use evenkeel_core::Mono;
use evenkeel_hierarchy::{Cap, House, MachineState};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) const STATE_KIND: &str = "state";
/// Refusals of one machine are noted so often at most.
const REFUSED_EVERY: Duration = Duration::from_millis(100);

/// When something was noted last, and how often it was not since.
#[derive(Default)]
pub(super) struct Ration {
    /// In nanoseconds; 0 for never.
    last: AtomicU64,
    untold: AtomicU64,
}

impl Ration {
    /// How often it was not told before, if it is to be told now.
    fn take(&self, now: Mono) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        let is_time = last == 0 || now.since(Mono::from_nanos(last)) >= REFUSED_EVERY;
        let new = now.as_nanos().max(1);
        let is_ours =
            is_time && self.last.compare_exchange(last, new, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_ours {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[derive(Serialize)]
struct ChangeBody<'a> {
    machine: &'a str,
    table: &'a str,
    version: u32,
    fingerprint: &'a str,
    points_max: usize,
    sequence: u64,
    from: &'a str,
    to: &'a str,
    cause: &'a str,
    back_to: Option<u64>,
    failed: usize,
    took_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<&'a Snapshot>,
}

/// What of a change goes into its entry.
pub(super) struct Recorded<'a, S> {
    pub(super) sequence: u64,
    pub(super) from: S,
    pub(super) to: S,
    pub(super) cause: &'a Cause,
    /// The point, and how many compensations failed.
    pub(super) back: Option<(u64, usize)>,
    pub(super) took: Duration,
    pub(super) base: Option<&'a Snapshot>,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<S: State> Inner<S> {
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.registry.journal.as_ref().filter(|_| self.options.is_journalled)
    }

    fn draft(&self, kind: &str, body: &impl Serialize) -> Draft {
        Draft::of(kind, self.name.channel(), self.name.component(), body)
    }

    /// The entry of a change, but for its place.
    pub(super) fn draft_change(&self, change: &Recorded<'_, S>) -> Draft {
        let body = ChangeBody {
            machine: self.name.name(),
            table: self.table.name(),
            version: self.table.version(),
            fingerprint: &format!("{:016x}", self.table.fingerprint()),
            points_max: self.points_max,
            sequence: change.sequence,
            from: change.from.name(),
            to: change.to.name(),
            cause: change.cause,
            back_to: change.back.map(|(point, _)| point),
            failed: change.back.map_or(0, |(_, failed)| failed),
            took_ns: nanos(change.took),
            snapshot: change.base,
        };
        self.draft(STATE_KIND, &body)
    }

    /// Appends the entry of a change that is about to be made, under the machine's lock, so that the journal's order is
    /// that of the changes. `Err` if it was not taken and must have been.
    pub(super) fn append(
        &self,
        core: &mut Core<S>,
        held: &mut Cap<MachineState>,
        draft: Option<&Draft>,
    ) -> Result<Option<Appended>, ()> {
        let Some((journal, draft)) = self.journal().zip(draft) else { return Ok(None) };
        let appended = journal.append_draft(held, draft);
        if appended.is_none() && !self.options.is_best_effort {
            return Err(());
        }
        core.is_untold = appended.is_none();
        Ok(appended)
    }

    /// Writes down what happened besides changes.
    pub(super) fn note(&self, house: &mut Cap<House>, what: &StateWhat) {
        let Some(journal) = self.journal() else { return };
        let machine = self.name.name();
        let draft = match what {
            StateWhat::Refused { from, to, by, why } => {
                let Some(untold) = self.refusals.take(clock::mono()) else { return };
                let body = serde_json::json!({
                    "machine": machine, "from": from, "to": to, "by": by, "why": why, "untold": untold,
                });
                self.draft("state-refused", &body)
            }
            StateWhat::GivenUp { from, to, took } => {
                let why = format!("given up after {took:.1?}");
                let body = serde_json::json!({
                    "machine": machine, "from": from, "to": to, "by": "guard", "why": why, "untold": 0,
                });
                self.draft("state-refused", &body)
            }
            StateWhat::Flapping { state, other, returns, within } => {
                let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
                let body = serde_json::json!({
                    "machine": machine, "state": state, "other": other, "returns": returns, "within_ms": within_ms,
                });
                self.draft("state-flapping", &body)
            }
            // What failed of a rollback is counted in its entry.
            StateWhat::CompensationFailed { sequence, from, to, why } => {
                let why = format!("change {sequence} was not undone: {why}");
                let body = serde_json::json!({
                    "machine": machine, "from": to, "to": from, "by": "compensation", "why": why, "untold": 0,
                });
                self.draft("state-refused", &body)
            }
            StateWhat::ObserverSlow { observer, took } => {
                self.draft("observer", &observed(machine, observer, "slow", *took, "it has a mailbox now"))
            }
            StateWhat::ObserverPanicked { observer, panics, text } => {
                let text = format!("{panics} in a row: {text}");
                self.draft("observer", &observed(machine, observer, "panicked", Duration::ZERO, &text))
            }
            StateWhat::ObserverDetached { observer, after, why } => {
                let text = format!("told nothing after change {after}: {why}");
                self.draft("observer", &observed(machine, observer, "detached", Duration::ZERO, &text))
            }
        };
        // What has no room is told by the journal itself.
        let _ = journal.append_draft(house, &draft);
    }
}

fn observed(machine: &str, observer: &str, event: &str, took: Duration, text: &str) -> serde_json::Value {
    serde_json::json!({
        "machine": machine, "observer": observer, "event": event, "took_ns": nanos(took), "text": text,
    })
}
