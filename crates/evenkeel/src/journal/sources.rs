//! Who is asked for a snapshot, and how: on `ek-snapshot`, a thread that is there while somebody is asked.
//!
//! What a source does is a user's and may hang. `ek-journal` begins an asking and goes on; what came of it is
//! handed to it, and one that never comes costs this one thread and the snapshots, nothing else.
//!
//! Invariants:
//! 1. One asking at a time, and one source after the other. Who is being asked is noted from before it is
//!    called until it has answered: `ek-journal` can say at any time for whom it waits.
//! 2. Who is asked is kept by the one who asks, all others are not: what a source that hangs keeps is its own.
//! 3. An asking ends with exactly one answer, however it ends.
//! 4. Nobody is asked while the house is locked, and no source is dropped on `ek-journal` while it is at work.

use super::draft::Draft;
use super::shared::Shared;
use super::snapshot::{self, MACHINES, Parts};
use crate::callback::{call, call_alone, message};
use crate::threads::{Asides, ThreadError};
use evenkeel_hierarchy::{Cap, House, JournalObservers, Mutex, with_root};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is to be appended for a snapshot, in order; or why there is none, empty where that was told.
pub(super) type Answer = Result<VecDeque<Draft>, String>;

struct Source {
    name: String,
    ask: Box<dyn Fn() -> Value + Send + Sync>,
    has_failed: AtomicBool,
    was_late: Arc<AtomicBool>,
}

/// Who is being asked: nothing of a user's.
struct Asked {
    name: String,
    was_late: Arc<AtomicBool>,
    since: Instant,
}

#[derive(Default)]
struct List {
    sources: Vec<Arc<Source>>,
    asked: Option<Asked>,
}

/// Who is asked for a snapshot, and whether it was told that all of them say too much.
#[derive(Default)]
pub(super) struct Sources {
    list: Mutex<JournalObservers, List>,
    has_told: AtomicBool,
}

impl Sources {
    pub(super) fn add(&self, name: &str, ask: Box<dyn Fn() -> Value + Send + Sync>) {
        let (has_failed, was_late) = Default::default();
        let source = Arc::new(Source { name: name.to_owned(), ask, has_failed, was_late });
        with_root(|house| {
            let mut list = self.list.lock(house);
            let at = list.sources.iter().position(|known| known.name == name);
            let before = at.map(|at| list.sources.remove(at));
            list.sources.push(source);
            drop(list);
            call_alone(house, || drop(before));
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        with_root(|house| self.list.lock(house).sources.is_empty())
    }

    /// They may hold handles of the journal, or whatever else.
    pub(super) fn clear(&self) {
        with_root(|house| {
            let sources = std::mem::take(&mut self.list.lock(house).sources);
            call_alone(house, || drop(sources));
        });
    }

    /// Who has been asked for so long and has not answered, where that was not told of it before; and when to
    /// look again.
    pub(super) fn late(&self, patience: Duration) -> (Option<String>, Instant) {
        let now = Instant::now();
        with_root(|house| {
            let list = self.list.lock(house);
            let Some(asked) = &list.asked else { return (None, now + patience) };
            let over = asked.since + patience;
            if now < over {
                return (None, over);
            }
            let why =
                format!("{}: no answer for {patience:?}; until it comes there is no snapshot", asked.name);
            ((!asked.was_late.swap(true, Ordering::Relaxed)).then_some(why), now + patience)
        })
    }

    fn names(&self, house: &mut Cap<House>) -> Vec<String> {
        self.list.lock(house).sources.iter().map(|source| source.name.clone()).collect()
    }

    /// Notes who is asked now; `None` when there are none any more.
    fn begin(&self, house: &mut Cap<House>, name: &str) -> Option<Arc<Source>> {
        let mut list = self.list.lock(house);
        let source = list.sources.iter().find(|source| source.name == name)?.clone();
        let was_late = source.was_late.clone();
        list.asked = Some(Asked { name: name.to_owned(), was_late, since: Instant::now() });
        Some(source)
    }

    /// Asks one: its answer, or what to tell of it. `None` when the journal has ended.
    fn ask_one(&self, house: &mut Cap<House>, name: &str) -> Option<Result<Value, String>> {
        let source = self.begin(house, name)?;
        let answered = match call(house, || (source.ask)()) {
            Ok(value) if name == MACHINES && !value.is_array() => Err("the answer is no list".to_owned()),
            Ok(value) => Ok(value),
            Err(panic) => Err(message(panic)),
        };
        self.list.lock(house).asked = None;
        let answered = answered.map_err(|why| {
            let was_told = source.has_failed.swap(true, Ordering::Relaxed);
            if was_told { String::new() } else { format!("{name}: {why}") }
        });
        call_alone(house, || drop(source));
        Some(answered)
    }

    /// Asks all of them; the error says who did not answer, or nothing where that was told before.
    fn ask(&self, between: impl Fn()) -> Result<Parts, String> {
        with_root(|house| {
            let (mut parts, mut untold) = (Parts { machines: json!([]), others: Map::new() }, Vec::new());
            let mut is_whole = true;
            for name in self.names(house) {
                between();
                match self.ask_one(house, &name) {
                    None => is_whole = false,
                    Some(Ok(machines)) if name == MACHINES => parts.machines = machines,
                    Some(Ok(value)) => drop(parts.others.insert(name, value)),
                    Some(Err(why)) => {
                        is_whole = false;
                        untold.extend(Some(why).filter(|why| !why.is_empty()));
                    }
                }
            }
            if is_whole { Ok(parts) } else { Err(untold.join("; ")) }
        })
    }

    /// The same again says nothing.
    fn once(&self, why: String) -> String {
        if self.has_told.swap(true, Ordering::Relaxed) { String::new() } else { why }
    }
}

/// An asking that is under way. Ends with an answer, whatever becomes of it.
struct Asking {
    shared: Arc<Shared>,
    from_entry: u64,
    answer: Answer,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.shared.answer(std::mem::replace(&mut self.answer, Err(String::new())));
    }
}

impl Asking {
    fn run(mut self, between: impl Fn()) {
        let sources = &self.shared.sources;
        let answer = sources.ask(between);
        self.answer = answer
            .and_then(|parts| snapshot::drafts(self.from_entry, &parts).map_err(|why| sources.once(why)));
    }
}

/// Begins to ask all sources what they stand for; what comes of it is handed to [`Shared::answer`].
///
/// # Errors
/// There is no thread to be had. There is an answer then as well.
pub(super) fn ask(
    shared: &Arc<Shared>,
    asides: &Asides,
    from_entry: u64,
    patience: Duration,
) -> Result<(), ThreadError> {
    let asking = Asking { shared: shared.clone(), from_entry, answer: Err(String::new()) };
    asides.start("ek-snapshot", patience, move |pulse| asking.run(|| pulse.beat()))
}
