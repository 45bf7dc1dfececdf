#![allow(clippy::unwrap_used, reason = "a failure is the test's")]
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// An entry by its number, with what it counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    number: u64,
    items: u64,
    bytes: u64,
    memory: u64,
    is_control: bool,
}

impl Queued for Entry {
    fn items(&self) -> u64 {
        self.items
    }
    fn bytes(&self) -> u64 {
        self.bytes
    }
    fn memory(&self) -> u64 {
        self.memory
    }
    fn is_control(&self) -> bool {
        self.is_control
    }
}

fn plain(number: u64, memory: u64) -> Entry {
    Entry { number, items: 1, bytes: memory, memory, is_control: false }
}

fn control(number: u64) -> Entry {
    Entry { is_control: true, ..plain(number, 0) }
}

#[derive(Clone, Debug)]
enum Op {
    Add(OnFull, u64, u64, u32),
    Remove(usize),
    Push(usize, u64, u64),
    Always(usize, u64),
    Control(usize),
    /// Drops the oldest whose number is a multiple of this, and puts control where it was.
    Replace(usize, u64),
    Note(usize, u64),
    Take(u64),
    Drain(usize),
    Limit(usize, u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let rule = prop_oneof![Just(OnFull::Block), Just(OnFull::DropNewest), Just(OnFull::DropOldest)];
    prop_oneof![
        2 => (rule, 1..12u64, 50..900u64, 0..5u32).prop_map(|(a, b, c, d)| Op::Add(a, b, c, d)),
        1 => (0..8usize).prop_map(Op::Remove),
        20 => (0..8usize, 0..5u64, 0..300u64).prop_map(|(a, b, c)| Op::Push(a, b, c)),
        1 => (0..8usize, 0..300u64).prop_map(|(a, b)| Op::Always(a, b)),
        3 => (0..8usize).prop_map(Op::Control),
        3 => (0..8usize, 1..4u64).prop_map(|(a, b)| Op::Replace(a, b)),
        1 => (0..8usize, 0..9u64).prop_map(|(a, b)| Op::Note(a, b)),
        8 => (0..2000u64).prop_map(Op::Take),
        1 => (0..8usize).prop_map(Op::Drain),
        1 => (0..8usize, 1..12u64, 50..900u64).prop_map(|(a, b, c)| Op::Limit(a, b, c)),
    ]
}

/// Everything that ever was, in plain lists: sums are made anew each time.
#[derive(Default)]
struct Plain {
    limits: QueueLimits,
    accepted: Vec<Entry>,
    out: Vec<Entry>,
    dropped: Vec<Entry>,
    waits: Vec<Entry>,
}

impl Plain {
    fn sum(entries: &[Entry], of: impl Fn(&Entry) -> u64) -> u64 {
        entries.iter().filter(|entry| !entry.is_control).map(of).sum()
    }

    fn has_room(&self, entry: &Entry) -> bool {
        let items = Self::sum(&self.waits, |e| e.items) + entry.items;
        let memory = Self::sum(&self.waits, |e| e.memory) + entry.memory;
        (entry.items == 0 || items <= self.limits.items_max)
            && (entry.memory == 0 || memory <= self.limits.bytes_max)
    }

    fn push(&mut self, entry: Entry) -> Pushed<Entry> {
        if self.has_room(&entry) {
            self.accepted.push(entry);
            self.waits.push(entry);
            return Pushed::Taken;
        }
        if entry.items > self.limits.items_max || entry.memory > self.limits.bytes_max {
            return Pushed::TooLarge(entry);
        }
        match self.limits.on_full {
            OnFull::Block => Pushed::Full(entry),
            OnFull::DropNewest => {
                self.accepted.push(entry);
                self.dropped.push(entry);
                Pushed::Dropped(entry)
            }
            OnFull::DropOldest => {
                let mut made = Vec::new();
                while !self.has_room(&entry) {
                    let at = self.waits.iter().position(|e| !e.is_control).unwrap();
                    made.push(self.waits.remove(at));
                }
                self.dropped.extend(&made);
                self.accepted.push(entry);
                self.waits.push(entry);
                Pushed::Made(made.remove(0), made)
            }
        }
    }

    fn counts(&self) -> QueueCounts {
        let of = |entries: &[Entry]| (Self::sum(entries, |e| e.items), Self::sum(entries, |e| e.bytes));
        let ((items_in, bytes_in), (items_out, bytes_out)) = (of(&self.accepted), of(&self.out));
        let ((items_dropped, bytes_dropped), (items, bytes)) = (of(&self.dropped), of(&self.waits));
        QueueCounts {
            items_in,
            bytes_in,
            items_out,
            bytes_out,
            items_dropped,
            bytes_dropped,
            items,
            bytes,
            memory: Self::sum(&self.waits, |e| e.memory),
            entries: self.waits.len() as u64,
        }
    }
}

struct Pair {
    queues: Queues<Entry>,
    plain: BTreeMap<usize, Plain>,
    number: u64,
}

impl Pair {
    fn pick(&self, nth: usize) -> Option<usize> {
        let known: Vec<usize> = self.plain.keys().copied().collect();
        (!known.is_empty()).then(|| known[nth % known.len()])
    }

    fn entry(&mut self, items: u64, memory: u64) -> Entry {
        self.number += 1;
        Entry { items, bytes: memory / 2, ..plain(self.number, memory) }
    }

    fn replace(&mut self, at: usize, multiple: u64) {
        let of = self.plain.get_mut(&at).unwrap();
        let expected = of.waits.iter().position(|e| !e.is_control && e.number % multiple == 0);
        let found = self.queues.drop_oldest(at, |e| e.number % multiple == 0);
        assert_eq!(found.as_ref().map(|(_, place)| *place), expected);
        let Some((entry, place)) = found else { return };
        self.number += 1;
        let gap = control(self.number);
        of.dropped.push(entry);
        assert_eq!(std::mem::replace(&mut of.waits[place], gap), entry);
        self.queues.insert_control(at, place, gap);
        assert_eq!(self.queues.control_mut(at, place), Some(&mut gap.clone()));
    }

    fn take(&mut self, memory: u64) {
        let (mut out, before) = (Vec::new(), self.queues.totals());
        let taken = self.queues.take(memory, &mut out);
        assert_eq!(before.memory - self.queues.totals().memory, taken);
        let waited: usize = self.plain.values().map(|of| of.waits.len()).sum();
        let cost: u64 = out.iter().map(|(_, e)| Weight::of(e).memory.max(ENTRY_BYTES)).sum();
        let last = out.last().map_or(0, |(_, e)| Weight::of(e).memory.max(ENTRY_BYTES));
        assert!(cost - last < memory.max(1), "no more than wanted, but for the last");
        assert!(cost >= memory || out.len() == waited, "no less than there is");
        for (at, entry) in out {
            let of = self.plain.get_mut(&at).unwrap();
            assert_eq!(of.waits.remove(0), entry, "each queue's own order");
            of.out.push(entry);
        }
    }

    fn act(&mut self, op: &Op) {
        if let Op::Add(on_full, items_max, bytes_max, weight) = *op {
            if self.plain.len() < 8 {
                let limits = QueueLimits { items_max, bytes_max, weight, on_full };
                let at = self.queues.add(limits);
                assert!(self.plain.insert(at, Plain { limits, ..Plain::default() }).is_none());
            }
            return;
        }
        if let Op::Take(memory) = *op {
            return self.take(memory);
        }
        let nth = match *op {
            Op::Remove(nth) | Op::Push(nth, ..) | Op::Always(nth, _) | Op::Control(nth) => nth,
            Op::Replace(nth, _) | Op::Note(nth, _) | Op::Drain(nth) | Op::Limit(nth, ..) => nth,
            Op::Add(..) | Op::Take(_) => return,
        };
        let Some(at) = self.pick(nth) else { return };
        match *op {
            Op::Push(_, items, memory) => {
                let entry = self.entry(items, memory);
                assert_eq!(self.queues.push(at, entry), self.plain.get_mut(&at).unwrap().push(entry));
            }
            Op::Always(_, memory) => self.always(at, memory),
            Op::Control(_) => {
                self.number += 1;
                self.queues.push_always(at, control(self.number));
                self.plain.get_mut(&at).unwrap().waits.push(control(self.number));
            }
            Op::Replace(_, multiple) => self.replace(at, multiple),
            Op::Note(_, items) => {
                let noted = Entry { items, bytes: 3 * items, ..plain(0, 0) };
                self.queues.note_dropped(at, noted.items, noted.bytes);
                let of = self.plain.get_mut(&at).unwrap();
                of.accepted.push(noted);
                of.dropped.push(noted);
            }
            Op::Drain(_) => {
                let of = self.plain.get_mut(&at).unwrap();
                let left = std::mem::take(&mut of.waits);
                assert_eq!(self.queues.drain(at), left);
                of.dropped.extend(left);
            }
            Op::Limit(_, items_max, bytes_max) => {
                let of = self.plain.get_mut(&at).unwrap();
                of.limits = QueueLimits { items_max, bytes_max, ..of.limits };
                self.queues.set_limits(at, of.limits);
            }
            Op::Remove(_) => {
                let of = self.plain.remove(&at).unwrap();
                let (left, counts) = self.queues.remove(at);
                assert_eq!(left, of.waits);
                assert!(counts.is_whole());
                assert_eq!(counts.items_in, of.counts().items_in);
            }
            Op::Add(..) | Op::Take(_) => {}
        }
    }

    fn always(&mut self, at: usize, memory: u64) {
        let entry = self.entry(1, memory);
        self.queues.push_always(at, entry);
        let of = self.plain.get_mut(&at).unwrap();
        of.accepted.push(entry);
        of.waits.push(entry);
    }
}

proptest! {
    // REQ R9
    #[test]
    fn queues_do_what_plain_lists_do(ops in prop::collection::vec(op(), 0..300)) {
        let mut pair = Pair { queues: Queues::new(256), plain: BTreeMap::new(), number: 0 };
        for op in &ops {
            pair.act(op);
            for (at, of) in &pair.plain {
                prop_assert_eq!(pair.queues.counts(*at), of.counts());
                prop_assert!(pair.queues.counts(*at).is_whole());
                prop_assert_eq!(pair.queues.is_empty(*at), of.waits.is_empty());
            }
            prop_assert!(pair.queues.totals().is_whole());
        }
        pair.take(u64::MAX);
        prop_assert!(pair.queues.are_empty());
    }

    // REQ R9, REQ R4
    #[test]
    fn who_always_has_something_gets_their_share(
        weights in prop::collection::vec(1..9u32, 2..8),
        sizes in prop::collection::vec(1..2000u64, 8),
        quantum in 64..8192u64,
        takes in prop::collection::vec(1..10_000u64, 1..200),
        idle in 0..100usize,
    ) {
        let limits = |weight| QueueLimits { items_max: u64::MAX, bytes_max: u64::MAX, weight, on_full: OnFull::Block };
        let mut queues = Queues::new(quantum);
        let all: Vec<usize> = weights.iter().map(|weight| queues.add(limits(*weight))).collect();
        let mut given = vec![0u64; all.len()];
        let mut began = vec![None; all.len()];
        let mut out = Vec::new();
        for (nth, take) in takes.iter().enumerate() {
            for at in &all {
                // The first begins later: it has saved up nothing.
                if *at != 0 || nth >= idle {
                    began[*at].get_or_insert(nth);
                    while queues.counts(*at).memory <= 12_000 {
                        assert_eq!(queues.push(*at, plain(0, sizes[*at])), Pushed::Taken);
                    }
                }
            }
            if nth == idle {
                given.fill(0);
            }
            queues.take(*take, &mut out);
            out.drain(..).for_each(|(at, entry)| given[at] += entry.memory.max(ENTRY_BYTES));
            let busy: Vec<usize> = all.iter().copied().filter(|at| began[*at].is_some()).collect();
            for (one, other) in busy.iter().flat_map(|one| busy.iter().map(move |other| (*one, *other))) {
                let share = |at: usize| given[at] as f64 / f64::from(weights[at]);
                let largest = |at: usize| sizes[at].max(ENTRY_BYTES) as f64 / f64::from(weights[at]);
                let bound = 4.0 * quantum as f64 + 2.0 * largest(one).max(largest(other)) + 1.0;
                prop_assert!((share(one) - share(other)).abs() <= bound, "{given:?} with {weights:?}");
            }
        }
    }
}

// REQ R9, REQ R4
#[test]
fn who_has_little_is_not_behind_those_with_much() {
    let mut queues = Queues::new(1 << 20);
    let limits = QueueLimits { items_max: u64::MAX, bytes_max: u64::MAX, ..QueueLimits::default() };
    let floods: Vec<usize> = (0..50).map(|_| queues.add(limits)).collect();
    let little = queues.add(limits);
    let mut out = Vec::new();
    for round in 0..500 {
        for flood in &floods {
            while queues.counts(*flood).memory < 2 << 20 {
                assert_eq!(queues.push(*flood, plain(0, 64 << 10)), Pushed::Taken);
            }
        }
        assert_eq!(queues.push(little, plain(round, 100)), Pushed::Taken);
        // Once everybody has had a run.
        queues.take(if round == 0 { 51 << 20 } else { 1 << 20 }, &mut out);
        let came = out.drain(..).filter(|(at, _)| *at == little).map(|(_, entry)| entry.number);
        assert_eq!(came.collect::<Vec<_>>(), [round]);
    }
}

// REQ R9
#[test]
fn what_is_dropped_is_given_back_and_never_dropped_inside() {
    struct Theirs<'a>(u64, &'a std::cell::Cell<u64>);
    impl Queued for Theirs<'_> {
        fn bytes(&self) -> u64 {
            self.0
        }
    }
    impl Drop for Theirs<'_> {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
        }
    }
    let dropped = std::cell::Cell::new(0);
    let mut queues = Queues::new(64);
    let limits = QueueLimits { items_max: 4, bytes_max: 100, weight: 1, on_full: OnFull::DropOldest };
    let at = queues.add(limits);
    let back: Vec<_> = (0..9).map(|_| queues.push(at, Theirs(20, &dropped))).collect();
    let large = queues.push(at, Theirs(101, &dropped));
    assert!(matches!(large, Pushed::TooLarge(_)));
    let all = queues.push(at, Theirs(100, &dropped));
    assert!(matches!(&all, Pushed::Made(_, more) if more.len() == 3));
    let (left, counts) = queues.remove(at);
    assert_eq!((dropped.get(), left.len()), (0, 1));
    assert_eq!((counts.items_in, counts.items_dropped, counts.bytes_dropped), (10, 10, 9 * 20 + 100));
    drop((back, large, all, left));
    assert_eq!(dropped.get(), 11);
}

// REQ R9: whatever users answer of their items, and however much is allowed, nothing overflows and the figures stay whole.
#[test]
fn items_beyond_all_bounds_are_counted_as_the_most_there_can_be() {
    let most =
        QueueLimits { items_max: u64::MAX, bytes_max: u64::MAX, weight: u32::MAX, on_full: OnFull::Block };
    for on_full in [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest] {
        let mut queues = Queues::new(u64::MAX);
        let at = queues.add(QueueLimits { on_full, ..most });
        let vast = |number| Entry { items: u64::MAX, bytes: u64::MAX, ..plain(number, u64::MAX) };
        for round in 0..4 {
            assert_eq!(queues.push(at, vast(round)), Pushed::Taken);
            queues.push_always(at, vast(round));
            assert_eq!(queues.push(at, plain(round, 1)), Pushed::Taken);
            queues.note_dropped(at, u64::MAX, u64::MAX);
            assert!(queues.drop_oldest(at, |_| true).is_some());
            let mut out = Vec::new();
            queues.take(u64::MAX, &mut out);
            assert_eq!(out.len(), 2);
            assert!(queues.counts(at).is_whole() && queues.totals().is_whole());
        }
        assert_eq!((queues.counts(at).items, queues.counts(at).memory, queues.counts(at).entries), (0, 0, 0));
    }
}
