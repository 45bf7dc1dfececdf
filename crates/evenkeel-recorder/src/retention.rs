//! `ek-retention`: removes the oldest segments, and tells the journal before.
//!
//! ```text
//! every 5 s, and when a segment was read back:
//! what there is --> decide --> anchor --> entry in the journal, durable --> remove
//! ```
//!
//! Invariants:
//! 1. Nothing is removed that the journal has not been told of, durably: `verify` starts from
//!    there. Without a journal nothing is removed, and that is told.
//! 2. Of this run, only what was read back is removed: nobody looks for it any more.
//! 3. The newest segment of the recording stays.
//!
//! How it fails: what cannot be removed is told and tried again. When the disk is so full that the
//! journal cannot be written either, segments go before the entry is durable: only their
//! space lets it be. A crash in that moment leaves a recording whose beginning is missing
//! without a word.

use crate::config::Retention;
use crate::hub::Hub;
use evenkeel::journal::Journal;
use evenkeel_log::storage::{DirLock, Storage};
use evenkeel_log::{Anchor, RETENTION_KIND, SealedFile, remove_segments, sealed_segments};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often is looked at what there is, at least.
const EVERY: Duration = Duration::from_secs(5);
/// What the journal may take to make an entry durable.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// Up to which segment is removed, if any is, and why.
///
/// The oldest go until what stays is within `bytes`, none of the oldest is older than `age_ns`
/// (by the wall clock: one that was set back removes nothing), and `min_free` is free,
/// counting as free what goes.
fn decide(
    retention: &Retention,
    segments: &[SealedFile],
    free_bytes: u64,
    now_wall_ns: u64,
) -> Option<(u64, &'static str)> {
    let mut kept: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut free = free_bytes;
    let mut decided = None;
    for segment in segments {
        let age_ns = now_wall_ns.saturating_sub(segment.ended_wall_ns);
        let why = if retention.bytes.is_some_and(|most| kept > most) {
            "bytes"
        } else if retention.age_ns.is_some_and(|most| age_ns > most) {
            "age"
        } else if retention.min_free.is_some_and(|least| free < least) {
            "min_free"
        } else {
            break;
        };
        decided = Some((segment.number, why));
        kept -= segment.bytes;
        free = free.saturating_add(segment.bytes);
    }
    decided
}

#[derive(Default)]
struct State {
    poked: bool,
    closing: bool,
}

/// The handle of the thread. Dropped, it asks it to leave and does not wait.
pub(crate) struct Keeper(Arc<(Mutex<State>, Condvar)>);

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread works with.
pub(crate) struct Means {
    pub(crate) hub: Arc<Hub>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) retention: Retention,
    pub(crate) journal: Option<Journal>,
    /// Nobody else may have the directory while this thread removes from it.
    pub(crate) _lock: Option<Arc<DirLock>>,
}

impl Keeper {
    /// Starts the thread where anything is to be removed at all.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(means: Means) -> io::Result<Option<Self>> {
        if means.retention == Retention::default() {
            return Ok(None);
        }
        let keeper = Self(Arc::default());
        let shared = keeper.0.clone();
        let builder = std::thread::Builder::new().name("ek-retention".to_owned()).stack_size(256 << 10);
        builder.spawn(move || {
            while !wait(&shared) {
                let done = means.turn();
                means.hub.update_log(|log| log.retention_trouble = done.err());
            }
        })?;
        Ok(Some(keeper))
    }

    /// A segment was read back.
    pub(crate) fn poke(&self) {
        lock(&self.0.0).poked = true;
        self.0.1.notify_all();
    }

    /// Asks the thread to leave: nothing is removed any more once it is done with what it does.
    pub(crate) fn close(&self) {
        lock(&self.0.0).closing = true;
        self.0.1.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for the next turn; `true` when there is none.
fn wait((state, changed): &(Mutex<State>, Condvar)) -> bool {
    let waited = changed.wait_timeout_while(lock(state), EVERY, |state| !state.poked && !state.closing);
    let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
    state.poked = false;
    state.closing
}

impl Means {
    /// Removes what is to go; the error says why that cannot be.
    fn turn(&self) -> Result<(), String> {
        let told = |e: io::Error| format!("the oldest segments cannot be removed: {e}");
        let read_back = self.hub.log_status().read_back;
        let mut segments = sealed_segments(&*self.storage).map_err(told)?;
        segments.retain(|segment| segment.number <= read_back);
        let free = self.storage.free_bytes().map_err(told)?;
        let Some((through, why)) = decide(&self.retention, &segments, free, crate::now().wall_ns) else {
            return Ok(());
        };
        let Some(journal) = &self.journal else {
            return Err("nothing is removed: there is no journal that says so".to_owned());
        };
        segments.retain(|segment| segment.number <= through);
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let anchor = Anchor::at(&*self.storage, through).map_err(told)?;
        let entry = anchor.entry(segments.len() as u64, bytes, why);
        let full = self.retention.min_free.is_some_and(|least| free < least);
        let appended = journal.append(RETENTION_KIND, None, entry);
        let durable = appended.is_some_and(|entry| journal.wait_durable(entry.entry, JOURNAL_PATIENCE));
        if !durable && !(full && journal.trouble().is_some()) {
            let why = journal.trouble().unwrap_or_else(|| "it did not become durable in time".to_owned());
            return Err(format!("nothing is removed: the journal cannot say so: {why}"));
        }
        remove_segments(&*self.storage, through).map_err(told)
    }
}

#[cfg(test)]
mod tests;
