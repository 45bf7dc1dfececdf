//! Queues by channel: what they take, what they drop, who waits for what, and that nobody waits in vain.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::buffers::{
    BufferError, BufferManager, BufferQueues, FlushProgress, OnFull, QueueLimits, Queued, Why,
};
use evenkeel::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any test lasts: a wait that ends with it was in vain.
fn never() -> Instant {
    Instant::now() + Duration::from_secs(300)
}

/// A moment that has gone.
fn now() -> Instant {
    Instant::now()
}

fn keel() -> Keel {
    Keel::builder("buffers").without_signals().keep_process().build().unwrap()
}

fn limits(items_max: u64, on_full: OnFull) -> QueueLimits {
    QueueLimits { items_max, bytes_max: 1 << 20, weight: 1, on_full }
}

/// An item that knows which it is, and says when it is dropped.
struct Item(u64, usize, Arc<AtomicU64>);

impl Queued for Item {
    fn bytes(&self) -> u64 {
        self.1 as u64
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.2.fetch_add(1, SeqCst);
    }
}

fn bytes(number: u8) -> Vec<u8> {
    vec![number; 10]
}

// REQ R9
#[test]
fn what_finds_its_queue_full_goes_as_the_rule_says_and_is_counted() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let open = |name: &str, rule| keel.channel(name).unwrap().inlet(&queues, limits(2, rule)).unwrap();
    let (block, newest, oldest) = (
        open("block", OnFull::Block),
        open("newest", OnFull::DropNewest),
        open("oldest", OnFull::DropOldest),
    );
    for inlet in [&block, &newest, &oldest] {
        assert!(inlet.put(bytes(1)).unwrap().is_empty());
        assert!(inlet.put(bytes(2)).unwrap().is_empty());
    }
    let refused = block.put(bytes(3)).unwrap_err();
    assert_eq!((refused.why, &refused.item), (Why::Full, &bytes(3)));
    assert_eq!(refused.to_string(), "the queue of channel block in to-disk is full");
    assert_eq!(block.put_until(bytes(3), now()).unwrap_err().why, Why::Full);
    assert_eq!(newest.put(bytes(3)).unwrap().into_iter().collect::<Vec<_>>(), [bytes(3)]);
    assert_eq!(oldest.put(bytes(3)).unwrap().into_iter().collect::<Vec<_>>(), [bytes(1)]);
    let large = oldest.put(vec![0; 2 << 20]).unwrap_err();
    assert_eq!(large.why, Why::TooLarge);
    for (inlet, (items_in, dropped)) in [(&block, (2, 0)), (&newest, (3, 1)), (&oldest, (3, 1))] {
        let counts = inlet.counts();
        assert_eq!((counts.items_in, counts.items_dropped, counts.items), (items_in, dropped, 2));
        assert_eq!((counts.bytes_in, counts.bytes_dropped), (items_in * 10, dropped * 10));
        assert!(counts.is_whole());
    }
    let held = keel.buffers().verify_empty().unwrap_err().to_string();
    assert!(held.contains("2 items (20 bytes) of oldest wait in to-disk"), "{held}");

    let mut outlet = queues.outlet();
    let taken = outlet.take_now(u64::MAX).unwrap();
    let of_oldest = taken.iter().filter(|(at, _)| *at == oldest.number()).map(|(_, item)| item.clone());
    assert_eq!(of_oldest.collect::<Vec<_>>(), [bytes(2), bytes(3)]);
    let held = keel.buffers().verify_empty().unwrap_err().to_string();
    assert_eq!(held, "still held: 6 entries were taken out of to-disk, and are not done with");
    outlet.done();
    keel.buffers().verify_empty().unwrap();
    assert_eq!(queues.totals().items_out, 6);
    keel.stop("enough", "the test");
}

// REQ R9
#[test]
fn names_are_taken_once_and_a_queue_is_opened_again_with_what_it_counted() {
    let keel = keel();
    let buffers: &BufferManager = keel.buffers();
    let queues = buffers.queues::<Vec<u8>>("to-disk").unwrap();
    assert!(matches!(buffers.queues::<u8x>("to-disk"), Err(BufferError::Duplicate { .. })));
    assert!(matches!(buffers.queues::<Vec<u8>>("To Disk"), Err(BufferError::Name(_))));
    let left = queues.open("left", limits(4, OnFull::Block)).unwrap();
    assert!(matches!(queues.open("left", limits(4, OnFull::Block)), Err(BufferError::Open { .. })));
    left.put(bytes(1)).unwrap();
    let clone = left.clone();
    drop(left);
    clone.put(bytes(2)).unwrap();
    drop(clone);
    let again = queues.open("left", limits(4, OnFull::Block)).unwrap();
    assert_eq!(again.counts().items, 2);
    again.close();
    assert_eq!(again.put(bytes(3)).unwrap_err().why, Why::Closed);
    assert_eq!(queues.discard("left"), [bytes(1), bytes(2)]);
    assert_eq!(queues.counts("left").unwrap().items_dropped, 2);
    queues.close();
    assert!(matches!(queues.open("right", limits(4, OnFull::Block)), Err(BufferError::Closed { .. })));
    assert!(queues.outlet().take_until(1, never()).is_err());
    drop((queues, again));
    buffers.queues::<Vec<u8>>("to-disk").unwrap();
    keel.stop("enough", "the test");
}

/// A kind of item of its own.
#[allow(non_camel_case_types, reason = "a name that says that it is small")]
struct u8x;

impl Queued for u8x {
    fn bytes(&self) -> u64 {
        1
    }
}

// REQ R9, REQ R5
#[test]
fn who_waits_is_served_in_turn_and_what_is_large_is_not_passed_by() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let only = QueueLimits { items_max: 100, bytes_max: 100, ..QueueLimits::default() };
    let left = queues.open("left", only).unwrap();
    left.put(vec![0; 90]).unwrap();
    let waiting = || keel.buffers().statuses()[0].waiting;
    let put = |item: Vec<u8>| {
        let (inlet, before) = (left.clone(), waiting());
        let thread = thread::spawn(move || inlet.put_until(item, never()).map(drop).unwrap());
        while waiting() == before {
            thread::yield_now();
        }
        thread
    };
    let (large, small) = (put(vec![1; 60]), put(vec![2; 20]));
    // There would be room for the small one.
    assert_eq!(left.put(vec![3; 5]).unwrap_err().why, Why::Full);
    assert_eq!(left.put_until(vec![3; 5], now()).unwrap_err().why, Why::Full);
    let mut outlet = queues.outlet();
    assert_eq!(outlet.take_now(1).unwrap().len(), 1);
    large.join().unwrap();
    small.join().unwrap();
    let order: Vec<usize> = outlet.take_now(u64::MAX).unwrap().iter().map(|(_, item)| item.len()).collect();
    assert_eq!(order, [60, 20]);
    keel.stop("enough", "the test");
}

// REQ R9
#[test]
fn closing_wakes_whoever_waits_for_room_or_for_something_to_come() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let left = queues.open("left", limits(1, OnFull::Block)).unwrap();
    left.put(bytes(1)).unwrap();
    let puts = thread::spawn({
        let left = left.clone();
        move || left.put_until(bytes(2), never()).unwrap_err().why
    });
    while keel.buffers().statuses()[0].waiting == 0 {
        thread::yield_now();
    }
    left.close();
    assert_eq!(puts.join().unwrap(), Why::Closed);
    let takes = thread::spawn({
        let mut outlet = queues.outlet();
        move || {
            let mut all = 0;
            while let Ok(taken) = outlet.take_until(1, never()) {
                all += taken.len();
            }
            all
        }
    });
    queues.close();
    assert_eq!(takes.join().unwrap(), 1, "what waited is taken out first");
    keel.stop("enough", "the test");
}

// REQ R9, REQ S7
#[test]
fn a_flush_is_over_when_what_came_before_it_is_done_with() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let open = |name: &str| queues.open(name, limits(100, OnFull::Block)).unwrap();
    let (left, right) = (open("left"), open("right"));
    left.put(bytes(1)).unwrap();
    left.put(bytes(2)).unwrap();
    right.put(bytes(3)).unwrap();
    let (mut of_left, mut of_all) = (keel.buffers().flush(Some("left")), keel.buffers().flush(None));
    left.put(bytes(4)).unwrap();
    let progress = |flush: &mut evenkeel::buffers::Flush| {
        let FlushProgress { entries, waiting, in_hand, .. } = flush.look();
        (entries, waiting, in_hand)
    };
    assert_eq!((progress(&mut of_left), progress(&mut of_all)), ((2, 2, 0), (3, 3, 0)));
    let late = of_all.wait_until(now(), |_| ()).unwrap_err().to_string();
    assert_eq!(
        late,
        "not flushed: of 3 entries 3 wait, and 0 were taken and are not done with; to-disk was last"
    );
    let (mut one, mut other) = (queues.outlet(), queues.outlet());
    // In turn: of left, of right, of left.
    for outlet in [&mut one, &mut other] {
        outlet.take_now(1).unwrap();
    }
    let mut rest = queues.outlet();
    rest.take_now(1).unwrap();
    rest.done();
    assert_eq!(of_left.look().waiting, 0);
    assert!(!of_left.look().is_done(), "one of left is in somebody's hand");
    one.done();
    other.done();
    assert!(of_left.look().is_done());
    let mut told = Vec::new();
    assert!(of_all.wait_until(never(), |progress| told.push(progress)).unwrap().is_done());
    assert_eq!(told.len(), 1);
    // What came later is still there.
    assert_eq!(left.counts().items, 1);
    keel.stop("enough", "the test");
}

// REQ R9
#[test]
fn a_flush_tells_of_its_progress_while_others_work() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let left = queues.open("left", limits(100, OnFull::Block)).unwrap();
    (0..5).for_each(|number| drop(left.put(bytes(number)).unwrap()));
    let (go, gone) = channel::<()>();
    let mut outlet = queues.outlet();
    let takes = thread::spawn(move || {
        while gone.recv().is_ok() {
            let _ = outlet.take_until(1, never());
        }
    });
    let mut told = Vec::new();
    // It comes back to us while it tells: nothing is held.
    let flushed = keel.buffers().flush(None).wait_until(never(), |progress| {
        told.push(progress.waiting);
        let _ = left.counts();
        let _ = go.send(());
    });
    assert!(flushed.unwrap().is_done());
    assert!(told.len() > 5 && told.is_sorted_by(|before, after| before >= after), "{told:?}");
    drop(go);
    queues.close();
    takes.join().unwrap();
    keel.stop("enough", "the test");
}

// REQ R9, REQ E5
#[test]
fn what_a_consumer_had_in_hand_when_it_panicked_is_told() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let left = queues.open("left", limits(100, OnFull::Block)).unwrap();
    left.put(bytes(1)).unwrap();
    let mut outlet = queues.outlet();
    let panicked = thread::spawn(move || {
        let _ = outlet.take_now(1).unwrap();
        panic!("the test's");
    });
    assert!(panicked.join().is_err());
    let held = keel.buffers().verify_empty().unwrap_err().to_string();
    assert!(held.contains("1 entries were taken out of to-disk by somebody who panicked"), "{held}");
    keel.stop("enough", "the test");
}

// REQ S7, REQ T9
#[test]
fn items_are_asked_and_dropped_with_nothing_held() {
    /// Calls back whenever it is asked or dropped.
    struct Nosy(Keel);
    impl Queued for Nosy {
        fn bytes(&self) -> u64 {
            self.0.buffers().statuses().len() as u64
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = self.0.buffers().statuses();
        }
    }
    let keel = keel();
    let queues = keel.buffers().queues::<Nosy>("nosy").unwrap();
    let left = queues.open("left", limits(2, OnFull::DropOldest)).unwrap();
    for _ in 0..5 {
        drop(left.put(Nosy(keel.clone())).unwrap());
    }
    let mut outlet = queues.outlet();
    outlet.take_now(1).unwrap();
    outlet.done();
    drop((outlet, left, queues));
    keel.stop("enough", "the test");
}

/// Puts so many items in, and counts what was dropped of them.
fn produce(queues: &BufferQueues<Item>, name: &str, items: u64, rule: OnFull, seen: &Arc<AtomicU64>) -> u64 {
    let inlet =
        queues.open(name, QueueLimits { items_max: 8, bytes_max: 500, weight: 1, on_full: rule }).unwrap();
    let mut dropped = 0;
    for number in 0..items {
        let item = Item(number, 1 + (number as usize * 7) % 90, seen.clone());
        let put = match number % 3 {
            0 => inlet.put_until(item, never()).unwrap(),
            _ => inlet.put(item).unwrap_or_else(|not| inlet.put_until(not.item, never()).unwrap()),
        };
        dropped += put.into_iter().count() as u64;
    }
    assert_eq!(inlet.counts().items_in, items);
    dropped
}

// REQ R9, REQ T1
#[test]
fn many_put_and_take_at_once_and_nothing_is_lost_or_doubled_and_nobody_waits_in_vain() {
    const ITEMS: u64 = 20_000;
    let keel = keel();
    let queues = keel.buffers().queues::<Item>("storm").unwrap();
    let gone = Arc::new(AtomicU64::new(0));
    let rules = [OnFull::Block, OnFull::Block, OnFull::DropNewest, OnFull::DropOldest];
    let consumers: Vec<_> = (0..3)
        .map(|at| {
            let mut outlet = queues.outlet();
            thread::spawn(move || {
                let mut seen: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
                while let Ok(taken) = outlet.take_until(1 + at * 200, never()) {
                    for (channel, item) in taken.drain(..) {
                        seen.entry(channel).or_default().push(item.0);
                    }
                }
                seen
            })
        })
        .collect();
    let producers: Vec<_> = rules
        .iter()
        .enumerate()
        .map(|(at, rule)| {
            let (queues, gone, rule) = (queues.clone(), gone.clone(), *rule);
            thread::spawn(move || produce(&queues, &format!("channel-{at}"), ITEMS, rule, &gone))
        })
        .collect();
    let dropped: u64 = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
    keel.buffers().flush(None).wait_until(never(), |_| ()).unwrap();
    queues.close();
    let mut all: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for consumer in consumers {
        for (channel, seen) in consumer.join().unwrap() {
            assert!(seen.is_sorted_by(|before, after| before < after), "each takes them in their order");
            all.entry(channel).or_default().extend(seen);
        }
    }
    let totals = queues.totals();
    assert_eq!((totals.items_in, totals.items_dropped), (4 * ITEMS, dropped));
    let taken: u64 = all.values().map(|seen| seen.len() as u64).sum();
    assert_eq!((totals.items_out, totals.items), (taken, 0));
    for seen in all.values_mut() {
        seen.sort_unstable();
        assert!(seen.is_sorted_by(|before, after| before < after), "each is taken once");
    }
    assert_eq!(gone.load(SeqCst), 4 * ITEMS, "none is left over");
    keel.buffers().verify_empty().unwrap();
    keel.stop("enough", "the test");
}

// REQ R9, REQ R4
#[test]
fn a_channel_that_is_stuck_or_floods_keeps_nothing_from_another() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let flood = queues.open("flood", limits(10_000, OnFull::DropOldest)).unwrap();
    let stuck = queues.open("stuck", limits(1, OnFull::Block)).unwrap();
    let fair = queues.open("fair", limits(1, OnFull::Block)).unwrap();
    stuck.put(bytes(0)).unwrap();
    let waits = thread::spawn({
        let stuck = stuck.clone();
        move || stuck.put_until(bytes(1), never()).map(drop)
    });
    let mut outlet = queues.outlet();
    // Once everybody has had a run.
    drop(flood.put(bytes(0)).unwrap());
    outlet.take_now(u64::MAX).unwrap();
    for round in 0..1000 {
        (0..200).for_each(|_| drop(flood.put(vec![0; 1000]).unwrap()));
        fair.put(bytes(1)).unwrap();
        let taken = outlet.take_now(64 << 10).unwrap();
        let came = taken.iter().filter(|(at, _)| *at == fair.number()).count();
        assert_eq!(came, 1, "in round {round}");
    }
    waits.join().unwrap().unwrap();
    keel.stop("enough", "the test");
}

// REQ R9, REQ R5: who waits for room of which there is none any more is told at once, and so are those behind.
#[test]
fn whoever_waits_for_more_than_new_limits_allow_is_told() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let inlet = queues.open("left", limits(1, OnFull::Block)).unwrap();
    inlet.put(bytes(1)).unwrap();
    std::thread::scope(|scope| {
        let wait = || scope.spawn(|| inlet.put_until(bytes(2), never()).unwrap_err().why);
        let all = [wait(), wait(), wait()];
        while keel.buffers().statuses()[0].waiting < 3 {
            std::thread::yield_now();
        }
        inlet.set_limits(limits(0, OnFull::Block));
        assert_eq!(all.map(|waits| waits.join().unwrap()), [Why::TooLarge; 3]);
    });
    keel.stop("enough", "the test");
}

// REQ R9: who came in by an opening that was closed has no part in the next: neither puts into it, nor closes it, nor changes it.
#[test]
fn an_inlet_of_before_has_no_part_in_a_queue_that_was_opened_anew() {
    let keel = keel();
    let queues = keel.buffers().queues::<Vec<u8>>("to-disk").unwrap();
    let old = queues.open("left", limits(4, OnFull::Block)).unwrap();
    old.close();
    let new = queues.open("left", limits(4, OnFull::Block)).unwrap();
    assert_eq!(old.put(bytes(1)).unwrap_err().why, Why::Closed);
    assert_eq!(old.put_until(bytes(1), never()).unwrap_err().why, Why::Closed);
    old.set_limits(limits(1, OnFull::DropNewest));
    old.close();
    drop(old);
    assert_eq!(new.limits(), limits(4, OnFull::Block));
    new.put(bytes(2)).unwrap();
    assert_eq!(new.counts().items, 1);
    new.close();
    assert_eq!(new.put(bytes(3)).unwrap_err().why, Why::Closed);
    keel.stop("enough", "the test");
}

/// A word on what follows, or a sound.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Word,
    Sound(u8),
}

impl Queued for Entry {
    fn bytes(&self) -> u64 {
        10
    }
    fn is_control(&self) -> bool {
        *self == Self::Word
    }
}

// REQ R9: control counts as nothing and makes room for nothing; and a flush waits for it also where all that came with it was
// dropped.
#[test]
fn control_stays_where_the_oldest_make_room() {
    let keel = keel();
    let queues = keel.buffers().queues::<Entry>("to-disk").unwrap();
    let left = queues.open("left", limits(1, OnFull::DropOldest)).unwrap();
    assert!(left.put(Entry::Word).unwrap().is_empty());
    assert!(left.put(Entry::Sound(1)).unwrap().is_empty());
    let mut flush = keel.buffers().flush(None);
    for sound in 2..6 {
        let dropped: Vec<_> = left.put(Entry::Sound(sound)).unwrap().into_iter().collect();
        assert_eq!(dropped, [Entry::Sound(sound - 1)]);
    }
    assert_eq!((left.counts().items, left.counts().items_dropped), (1, 4));
    assert_eq!(flush.look().waiting, 1, "the word waits");
    let mut outlet = queues.outlet();
    let at = left.number();
    assert_eq!(*outlet.take_now(1 << 20).unwrap(), [(at, Entry::Word), (at, Entry::Sound(5))]);
    assert_eq!(flush.look().waiting, 0);
    outlet.done();
    assert!(flush.look().is_done());
    keel.stop("enough", "the test");
}
