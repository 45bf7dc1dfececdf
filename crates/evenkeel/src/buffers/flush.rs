//! Waiting until what was put in is through: taken out, and done with.
//!
//! A flush has marks: how many entries had come into each queue when it began. It is over when as many have left, and who
//! took them is done with what they have had in hand since. It has no place in the queues: dropping it changes nothing.

use super::limits::{QueueCounts, QueueLimits};
use super::set::Shared;
use crate::callback::call_alone;
use evenkeel_hierarchy::with_root;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A queue of a channel, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// The queues that it is one of.
    pub queues: Arc<str>,
    /// Its channel.
    pub channel: Arc<str>,
    /// What it may hold.
    pub limits: QueueLimits,
    /// What has passed it, and waits in it.
    pub counts: QueueCounts,
    /// Who waits to put something in.
    pub waiting: usize,
    /// Whether it takes anything in.
    pub is_open: bool,
}

/// How far a flush is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushProgress {
    /// Entries that it was begun for.
    pub entries: u64,
    /// Those of them that still wait in a queue.
    pub waiting: u64,
    /// Entries in the hands of those who took some of them, and are not done.
    pub in_hand: u64,
}

impl FlushProgress {
    /// Whether everything is through.
    pub fn is_done(&self) -> bool {
        self.waiting == 0 && self.in_hand == 0
    }
}

impl fmt::Display for FlushProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, waiting, in_hand } = self;
        write!(f, "of {entries} entries {waiting} wait, and {in_hand} were taken and are not done with")
    }
}

/// A flush was not through in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not flushed: {progress}{}", .slowest.as_ref().map(|name| format!("; {name} was last")).unwrap_or_default())]
pub struct NotFlushed {
    /// How far it was.
    pub progress: FlushProgress,
    /// The queues that it waited for.
    pub slowest: Option<Arc<str>>,
}

/// Entries of each queue that a flush is for, and the last take that counts for it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    queues: Vec<(usize, u64)>,
    entries: u64,
    take: Option<u64>,
    seen: FlushProgress,
}

/// Queues of any kind of item.
pub(super) trait Set: Send + Sync {
    fn name(&self) -> &Arc<str>;
    fn statuses(&self) -> Vec<QueueStatus>;
    /// Entries that are in hands, and those whose outlets panicked.
    fn in_hands(&self) -> (u64, u64);
    fn mark(&self, channel: Option<&str>) -> Marks;
    /// How far it is; waits until it is further, or until then.
    fn look(&self, marks: &mut Marks, until: Option<Instant>) -> FlushProgress;
}

impl<T: Send> Set for Shared<T> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn statuses(&self) -> Vec<QueueStatus> {
        self.with(|state| {
            let status = |(at, side): (usize, &super::set::Side)| QueueStatus {
                queues: self.name.clone(),
                channel: side.name.clone(),
                limits: state.queues.limits(at),
                counts: state.queues.counts(at),
                waiting: side.line.len(),
                is_open: side.is_open,
            };
            state.sides.iter().enumerate().map(status).collect()
        })
    }

    fn in_hands(&self) -> (u64, u64) {
        self.with(|state| (state.hands.iter().map(|hand| hand.entries).sum(), state.unfinished))
    }

    fn mark(&self, channel: Option<&str>) -> Marks {
        self.with(|state| {
            let all = state.sides.iter().enumerate();
            let wanted = all.filter(|(_, side)| channel.is_none_or(|channel| *side.name == *channel));
            let queues: Vec<(usize, u64)> = wanted.map(|(at, side)| (at, side.entered)).collect();
            let entries = queues.iter().map(|(at, _)| state.queues.counts(*at).entries).sum();
            Marks { queues, entries, ..Marks::default() }
        })
    }

    fn look(&self, marks: &mut Marks, until: Option<Instant>) -> FlushProgress {
        with_root(|house| {
            let mut state = self.state.lock(house);
            loop {
                let left = |(at, mark): &(usize, u64)| {
                    let has_left = state.sides[*at].entered - state.queues.counts(*at).entries;
                    // Control stays where what came after it was dropped: then more have left than came before the mark.
                    let is_there = state.queues.entries(*at).next().is_some_and(|first| first.nth <= *mark);
                    mark.saturating_sub(has_left).max(u64::from(is_there))
                };
                let waiting: u64 = marks.queues.iter().map(left).sum();
                if waiting == 0 {
                    marks.take.get_or_insert(state.numbers);
                }
                let newest = marks.take.unwrap_or(u64::MAX);
                let counts = |hand: &&super::set::Hand| {
                    let of_these = |(at, _): &(usize, u64)| hand.channels.contains(at);
                    hand.take.is_some_and(|take| take <= newest) && marks.queues.iter().any(of_these)
                };
                let in_hand = state.hands.iter().filter(counts).map(|hand| hand.entries).sum();
                let now = FlushProgress { entries: marks.entries, waiting, in_hand };
                let is_news = std::mem::replace(&mut marks.seen, now) != now;
                let Some(until) = until.filter(|_| !is_news && !now.is_done()) else { return now };
                if self.progress.wait_until(&mut state, until).timed_out() {
                    return now;
                }
            }
        })
    }
}

/// A flush that was begun. Dropping it changes nothing.
pub struct Flush(Vec<(Arc<dyn Set>, Marks)>);

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(set, _)| set.name())).finish()
    }
}

impl Flush {
    pub(super) fn begin(sets: Vec<Arc<dyn Set>>, channel: Option<&str>) -> Self {
        let marked = sets.into_iter().map(|set| {
            let marks = set.mark(channel);
            (set, marks)
        });
        Self(marked.collect())
    }

    /// How far it is.
    pub fn look(&mut self) -> FlushProgress {
        let mut all = FlushProgress::default();
        for (set, marks) in &mut self.0 {
            let one = set.look(marks, None);
            all.entries += one.entries;
            all.waiting += one.waiting;
            all.in_hand += one.in_hand;
        }
        all
    }

    /// Waits until everything is through, and tells how far it is whenever it is further. From a lock of the house that
    /// would be a panic; nothing of it is held while `tell` is called.
    ///
    /// # Errors
    /// [`NotFlushed`], when the time is over.
    pub fn wait_until(
        &mut self,
        until: Instant,
        mut tell: impl FnMut(FlushProgress),
    ) -> Result<FlushProgress, NotFlushed> {
        let mut told = None;
        loop {
            let progress = self.look();
            if told.replace(progress) != Some(progress) {
                with_root(|house| call_alone(house, || tell(progress)));
            }
            if progress.is_done() {
                return Ok(progress);
            }
            let open = self.0.iter_mut().find(|(_, marks)| !marks.seen.is_done());
            let Some((set, marks)) = open else { continue };
            if Instant::now() >= until {
                return Err(NotFlushed { progress, slowest: Some(set.name().clone()) });
            }
            set.look(marks, Some(until));
        }
    }
}
