//! What waits between those who bring and those who take: an item in, and out again.

use crate::contender::OURS;
use evenkeel::Keel;
use evenkeel::buffers::{QueueLimits, Queued, Queues};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use std::time::Instant;

const ITEM_NS_MAX: f64 = 100.0;
const BATCHES: usize = 100;
/// Items of a batch.
const ITEMS: usize = 640;
/// Bytes that an item counts as.
const BYTES: u64 = 256;
/// Items that wait at most.
const ROOM: usize = 1024;

/// A slice of some buffer, say; here a number.
#[derive(Debug)]
struct Item(u64);

impl Queued for Item {
    fn bytes(&self) -> u64 {
        BYTES
    }
}

/// Nanoseconds of each item, by batches: so many are put in one after the other, then all are taken out, and again.
fn turns(at_once: usize, mut put: impl FnMut(Item), mut take: impl FnMut() -> u64) -> Vec<f64> {
    let expected: u64 = (0..at_once as u64).sum();
    let mut turn = || {
        (0..at_once as u64).for_each(|number| put(Item(number)));
        assert_eq!(take(), expected, "all came out");
    };
    let batch = |_| {
        let began = Instant::now();
        (0..ITEMS / at_once).for_each(|_| turn());
        ns(began.elapsed()) / ITEMS as f64
    };
    (0..BATCHES).map(batch).collect()
}

fn ours(at_once: usize) -> impl FnMut() -> Vec<f64> {
    let keel = Keel::builder("items").without_signals().keep_process().build().unwrap();
    let queues = keel.buffers().queues::<Item>("items").unwrap();
    let limits = QueueLimits { items_max: ROOM as u64, ..QueueLimits::default() };
    let (inlet, mut outlet) = (queues.open("left", limits).unwrap(), queues.outlet());
    move || {
        let put = |item| drop(inlet.put(item).unwrap());
        turns(at_once, put, || outlet.take_now(u64::MAX).unwrap().iter().map(|(_, item)| item.0).sum())
    }
}

/// The engine alone, without a lock, for one thread.
fn engine(at_once: usize) -> impl FnMut() -> Vec<f64> {
    let mut queues = Queues::new(64 << 10);
    let left = queues.add(QueueLimits { items_max: ROOM as u64, ..QueueLimits::default() });
    let mut out = Vec::new();
    let queues = std::cell::RefCell::new(queues);
    move || {
        let put = |item| drop(queues.borrow_mut().push(left, item));
        turns(at_once, put, || {
            queues.borrow_mut().take(u64::MAX, &mut out);
            out.drain(..).map(|(_, item): (usize, Item)| item.0).sum()
        })
    }
}

fn of_std(at_once: usize) -> impl FnMut() -> Vec<f64> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(ROOM);
    move || {
        turns(
            at_once,
            |item| sender.try_send(item).unwrap(),
            || receiver.try_iter().map(|item: Item| item.0).sum(),
        )
    }
}

#[cfg(feature = "peers")]
fn array_queue(at_once: usize) -> impl FnMut() -> Vec<f64> {
    let queue = crossbeam_queue::ArrayQueue::new(ROOM);
    move || {
        let take = || std::iter::from_fn(|| queue.pop()).map(|item: Item| item.0).sum();
        turns(at_once, |item| queue.push(item).unwrap(), take)
    }
}

pub(crate) fn measure(suite: &mut Suite) {
    for at_once in [1, 64] {
        let race = Race::new()
            .with_samples(OURS, ours(at_once))
            .with_samples("engine alone", engine(at_once))
            .with_samples("std mpsc", of_std(at_once));
        #[cfg(feature = "peers")]
        let race = race.with_samples("ArrayQueue", array_queue(at_once));
        let figure = Figure::of(format!("queue/{at_once}"), "ns", &race.run(), OURS, 0.5);
        suite.add(figure.goal(Goal::Below(ITEM_NS_MAX)));
    }
}
