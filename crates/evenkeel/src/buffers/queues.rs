//! Bounded queues of many channels, drained fairly: a plain value, for whoever puts it under a lock of their own.
//!
//! What holds:
//! * A queue holds no more than its limits, but for what [`push_always`](Queues::push_always) put in.
//! * What came in went out, was dropped or waits: counted from the first item on.
//! * Nothing is dropped in here: what has to go is handed to the caller, who may have to drop it elsewhere.
//! * What one queue took in comes out in the same order.
//!
//! **Fairness.** Each queue has a mark, the work it was given so far divided by its weight; who has something and the
//! lowest mark is next, for a run of at most a quantum. Who was idle begins a quantum before the mark that is served now,
//! and no further back: it has saved up little, and comes before those that always have something until it has had as
//! much. (Start-time fair queueing: Goyal, Vin and Cheng, IEEE/ACM Transactions on Networking 5(5), 1997; the quantum ahead
//! is that of the new flows of RFC 8290.) So two queues that both have something all the time differ, in what they were
//! given divided by their weights, by at most four quanta and twice their largest entries; and who has little waits for
//! nobody who has had a run.

use super::limits::{OnFull, QueueCounts, QueueLimits, Queued, Weight};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What an entry costs at least, in bytes of memory: what it takes to move it.
const ENTRY_BYTES: u64 = 64;
/// Bits of a mark behind its point, so that dividing by a weight loses nothing that counts.
const MARK_BITS: u32 = 32;

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is given back is the caller's to drop"]
pub enum Pushed<T> {
    /// It waits.
    Taken,
    /// It waits, and the oldest made room for it: one, and often no more.
    Made(T, Vec<T>),
    /// There is no room, and it was not accepted: it can be tried again.
    Full(T),
    /// There is no room; it was counted as accepted and dropped.
    Dropped(T),
    /// It is more than the whole queue may hold, and was not accepted.
    TooLarge(T),
}

#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<T>,
    limits: QueueLimits,
    counts: QueueCounts,
    /// Work it was given, divided by its weight.
    mark: u128,
    /// Whether it has its entry in the order.
    is_in_turn: bool,
}

/// Bounded queues, each with a number.
///
/// ```
/// use evenkeel::buffers::{OnFull, Pushed, QueueLimits, Queues};
///
/// let mut queues = Queues::new(64 << 10);
/// let left = queues.add(QueueLimits { items_max: 2, on_full: OnFull::DropOldest, ..QueueLimits::default() });
/// assert_eq!(queues.push(left, b"one".to_vec()), Pushed::Taken);
/// assert_eq!(queues.push(left, b"two".to_vec()), Pushed::Taken);
/// assert_eq!(queues.push(left, b"three".to_vec()), Pushed::Made(b"one".to_vec(), vec![]));
///
/// let mut out = Vec::new();
/// queues.take(u64::MAX, &mut out);
/// assert_eq!(out, [(left, b"two".to_vec()), (left, b"three".to_vec())]);
/// let counts = queues.counts(left);
/// assert_eq!((counts.items_in, counts.items_out, counts.items_dropped, counts.items), (3, 2, 1, 0));
/// ```
#[derive(Debug)]
pub struct Queues<T> {
    queues: Vec<Option<Queue<T>>>,
    /// Those that have something, by mark; one that was emptied otherwise leaves when it is met.
    order: BinaryHeap<Reverse<(u128, usize)>>,
    /// The mark that is served now.
    now: u128,
    quantum: u64,
    /// What left with queues that were removed.
    gone: QueueCounts,
}

impl<T: Queued> Queues<T> {
    /// None yet. A run is of `quantum_bytes` of memory for each unit of weight: the more, the longer what is of one queue
    /// stays together.
    pub fn new(quantum_bytes: u64) -> Self {
        let quantum = quantum_bytes.max(ENTRY_BYTES);
        Self {
            queues: Vec::new(),
            order: BinaryHeap::new(),
            now: u128::from(quantum) << MARK_BITS,
            quantum,
            gone: QueueCounts::default(),
        }
    }

    /// One more; its number, which may be one that was removed before.
    pub fn add(&mut self, limits: QueueLimits) -> usize {
        let queue = Queue {
            entries: VecDeque::new(),
            limits,
            counts: QueueCounts::default(),
            mark: 0,
            is_in_turn: false,
        };
        if let Some(free) = self.queues.iter().position(Option::is_none) {
            self.queues[free] = Some(queue);
            return free;
        }
        self.queues.push(Some(queue));
        self.queues.len() - 1
    }

    /// Takes one out: what waited in it, which counts as dropped, and what it counted.
    ///
    /// # Panics
    /// If there is none of that number, as everywhere here.
    pub fn remove(&mut self, at: usize) -> (Vec<T>, QueueCounts) {
        let left = self.drain(at);
        self.order.retain(|Reverse((_, other))| *other != at);
        let queue = self.queues[at].take().expect("invariant: who has the number has the queue");
        self.gone.add(&queue.counts);
        (left, queue.counts)
    }

    fn of(&self, at: usize) -> &Queue<T> {
        self.queues[at].as_ref().expect("invariant: who has the number has the queue")
    }

    fn of_mut(&mut self, at: usize) -> &mut Queue<T> {
        self.queues[at].as_mut().expect("invariant: who has the number has the queue")
    }

    /// Puts an item in, if there is room, or as the queue's rule for a full one says.
    #[inline]
    pub fn push(&mut self, at: usize, item: T) -> Pushed<T> {
        let weight = Weight::of(&item);
        let queue = self.of_mut(at);
        if queue.has_room(weight) {
            self.put(at, item, weight);
            return Pushed::Taken;
        }
        self.push_full(at, item, weight)
    }

    /// Puts an item in if there is room; otherwise leaves it where it is.
    #[inline]
    pub(super) fn push_if_room(&mut self, at: usize, item: &mut Option<T>) -> bool {
        let Some(weight) = item.as_ref().map(Weight::of) else { return false };
        if !self.of(at).has_room(weight) {
            return false;
        }
        item.take().into_iter().for_each(|item| self.put(at, item, weight));
        true
    }

    fn push_full(&mut self, at: usize, item: T, weight: Weight) -> Pushed<T> {
        let queue = self.of_mut(at);
        if weight.items > queue.limits.items_max || weight.memory > queue.limits.bytes_max {
            return Pushed::TooLarge(item);
        }
        match queue.limits.on_full {
            OnFull::Block => Pushed::Full(item),
            OnFull::DropNewest => {
                queue.counts.pass_by(weight.items, weight.bytes);
                Pushed::Dropped(item)
            }
            OnFull::DropOldest => {
                let (mut first, mut more) = (None, Vec::new());
                while !self.of(at).has_room(weight) {
                    let Some((oldest, _)) = self.drop_oldest(at, |_| true) else { break };
                    match first {
                        None => first = Some(oldest),
                        Some(_) => more.push(oldest),
                    }
                }
                self.put(at, item, weight);
                first.map_or(Pushed::Taken, |first| Pushed::Made(first, more))
            }
        }
    }

    /// Puts an item in whatever the limits say: control, or the last words of an end.
    pub fn push_always(&mut self, at: usize, item: T) {
        let weight = Weight::of(&item);
        self.put(at, item, weight);
    }

    #[inline]
    fn put(&mut self, at: usize, item: T, weight: Weight) {
        let queue = self.of_mut(at);
        queue.counts.enter(weight);
        queue.entries.push_back(item);
        self.put_in_turn(at);
    }

    #[inline]
    fn put_in_turn(&mut self, at: usize) {
        let earliest = self.now.saturating_sub(u128::from(self.quantum) << MARK_BITS);
        let queue = self.of_mut(at);
        if !queue.is_in_turn {
            queue.is_in_turn = true;
            queue.mark = queue.mark.max(earliest);
            let mark = queue.mark;
            self.order.push(Reverse((mark, at)));
        }
    }

    /// Counts what was accepted and dropped by the caller, for whom there was no room before it became an item.
    pub fn note_dropped(&mut self, at: usize, items: u64, bytes: u64) {
        self.of_mut(at).counts.pass_by(items, bytes);
    }

    /// Drops the oldest item that may go, to make room: it is counted as dropped, and given to the caller with the place
    /// where it was, for [`insert_control`](Self::insert_control). Control is never dropped. `None` if nothing may.
    pub fn drop_oldest(&mut self, at: usize, mut may: impl FnMut(&T) -> bool) -> Option<(T, usize)> {
        let place = self.of(at).entries.iter().position(|item| !item.is_control() && may(item))?;
        self.drop_at(at, place).map(|item| (item, place))
    }

    /// Drops the item in a place, likewise; `None` if it is control, or nothing is there.
    pub fn drop_at(&mut self, at: usize, place: usize) -> Option<T> {
        let queue = self.of_mut(at);
        queue.entries.get(place).filter(|item| !item.is_control())?;
        let item = queue.entries.remove(place)?;
        queue.counts.leave(Weight::of(&item), true);
        Some(item)
    }

    /// What waits in a queue, the oldest first, in the order of the places.
    pub fn entries(&self, at: usize) -> impl Iterator<Item = &T> {
        self.of(at).entries.iter()
    }

    /// Puts control in a place, before what is there now: where something was dropped.
    ///
    /// # Panics
    /// If it is no control, or there is no such place.
    pub fn insert_control(&mut self, at: usize, place: usize, item: T) {
        assert!(item.is_control(), "only control goes out of turn");
        let queue = self.of_mut(at);
        queue.counts.enter(Weight::default());
        queue.entries.insert(place, item);
        self.put_in_turn(at);
    }

    /// Takes the control out of a place, if it is control.
    pub fn remove_control(&mut self, at: usize, place: usize) -> Option<T> {
        let queue = self.of_mut(at);
        queue.entries.get(place).filter(|item| item.is_control())?;
        let item = queue.entries.remove(place)?;
        queue.counts.leave(Weight::default(), false);
        Some(item)
    }

    /// The control in a place, to be made longer, say; `None` if it is no control, or nothing is there.
    pub fn control_mut(&mut self, at: usize, place: usize) -> Option<&mut T> {
        self.of_mut(at).entries.get_mut(place).filter(|item| item.is_control())
    }

    /// The control that came last, if that came last.
    pub fn last_control_mut(&mut self, at: usize) -> Option<&mut T> {
        self.of_mut(at).entries.back_mut().filter(|item| item.is_control())
    }

    /// Takes entries out until `memory` bytes are together, each with the number of its queue: a run of each queue in turn,
    /// as the head of this module says. An entry costs its memory, and 64 bytes at least. How many bytes of
    /// memory they keep: the last may go beyond.
    pub fn take(&mut self, memory: u64, out: &mut Vec<(usize, T)>) -> u64 {
        self.take_with(memory, |_, _| true, |at, item| out.push((at, item)))
    }

    /// The same of some queues only: `may` is asked before each run of one, with its number and the bytes of memory
    /// that wait in it.
    pub fn take_of(
        &mut self,
        memory: u64,
        may: impl FnMut(usize, u64) -> bool,
        out: &mut Vec<(usize, T)>,
    ) -> u64 {
        self.take_with(memory, may, |at, item| out.push((at, item)))
    }

    /// The same, each handed to `out`.
    pub(super) fn take_with(
        &mut self,
        memory: u64,
        mut may: impl FnMut(usize, u64) -> bool,
        mut out: impl FnMut(usize, T),
    ) -> u64 {
        let (mut cost, mut taken) = (0, 0);
        let mut passed_over = Vec::new();
        while cost < memory {
            let Some(Reverse((mark, at))) = self.order.pop() else { break };
            let queue = self.queues[at].as_mut().expect("invariant: a queue that is gone has no turn");
            if !may(at, queue.counts.memory) {
                passed_over.push(Reverse((mark, at)));
                continue;
            }
            let weight = u64::from(queue.limits.weight.max(1));
            let run_max = self.quantum.saturating_mul(weight).min(memory - cost);
            let (mut run, mut entries, mut all) = (0, 0, Weight::default());
            while run < run_max
                && let Some(item) = queue.entries.pop_front()
            {
                let of = Weight::of(&item);
                all.items += of.items;
                all.bytes += of.bytes;
                all.memory += of.memory;
                entries += 1;
                run = of.memory.max(ENTRY_BYTES).saturating_add(run);
                out(at, item);
            }
            queue.counts.leave_all(all, entries, false);
            taken += all.memory;
            // It may have been emptied otherwise: then this is no service.
            if run > 0 {
                self.now = self.now.max(mark);
                queue.mark = mark + (u128::from(run) << MARK_BITS) / u128::from(weight);
            }
            cost = run.saturating_add(cost);
            queue.is_in_turn = !queue.entries.is_empty();
            if queue.is_in_turn {
                self.order.push(Reverse((queue.mark, at)));
            }
        }
        self.order.extend(passed_over);
        taken
    }

    /// Takes everything of a queue; it counts as dropped.
    pub fn drain(&mut self, at: usize) -> Vec<T> {
        let queue = self.of_mut(at);
        let left: Vec<T> = std::mem::take(&mut queue.entries).into();
        for item in &left {
            queue.counts.leave(Weight::of(item), true);
        }
        left
    }

    /// The same of all queues, at an end that does not wait.
    pub fn drain_all(&mut self) -> Vec<(usize, T)> {
        let numbers = (0..self.queues.len()).filter(|at| self.queues[*at].is_some()).collect::<Vec<_>>();
        numbers.into_iter().flat_map(|at| self.drain(at).into_iter().map(move |item| (at, item))).collect()
    }

    /// What has passed a queue, and waits in it.
    pub fn counts(&self, at: usize) -> QueueCounts {
        self.of(at).counts
    }

    /// The same of all, with those that were removed.
    pub fn totals(&self) -> QueueCounts {
        let mut all = self.gone;
        self.queues.iter().flatten().for_each(|queue| all.add(&queue.counts));
        all
    }

    /// What a queue may hold.
    pub fn limits(&self, at: usize) -> QueueLimits {
        self.of(at).limits
    }

    /// Changes what a queue may hold. What waits stays, also where it is more.
    pub fn set_limits(&mut self, at: usize, limits: QueueLimits) {
        self.of_mut(at).limits = limits;
    }

    /// Whether nothing waits in a queue, not even control.
    pub fn is_empty(&self, at: usize) -> bool {
        self.of(at).entries.is_empty()
    }

    /// Whether nothing waits in any.
    pub fn are_empty(&self) -> bool {
        // Some may have been emptied since they got into the order.
        self.order.iter().all(|Reverse((_, at))| self.of(*at).entries.is_empty())
    }
}

impl<T> Queue<T> {
    #[inline]
    fn has_room(&self, weight: Weight) -> bool {
        let within =
            |now: u64, more: u64, max: u64| more == 0 || now.checked_add(more).is_some_and(|all| all <= max);
        within(self.counts.items, weight.items, self.limits.items_max)
            && within(self.counts.memory, weight.memory, self.limits.bytes_max)
    }
}

#[cfg(test)]
mod tests;
