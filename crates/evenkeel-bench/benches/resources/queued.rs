//! Items through the queues of the buffer manager.

use evenkeel::buffers::{BufferManager, QueueLimits, Queues};
use evenkeel::{MonitoringCoordinator, PoolOptions};
use evenkeel_bench::{Figure, Goal, Race, Suite, ns};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

const NS_MAX: f64 = 100.0;
const ITEMS: u64 = 100_000;
const BATCH: usize = 64;

const LIMITS: QueueLimits =
    QueueLimits { items_max: 1024, bytes_max: 1 << 30, weight: 1, on_full: evenkeel::buffers::OnFull::Block };

type Item = evenkeel::resources::Slice;

/// A slice of which all items are clones.
fn item() -> Item {
    let monitoring = MonitoringCoordinator::new(PoolOptions::default()).unwrap();
    monitoring.account(Some("left"), "mic").unwrap().take(4096).unwrap().freeze()
}

/// Nanoseconds an item, less what its clone takes, in the thread of who takes too.
fn each(mut pass: impl FnMut(&mut VecDeque<Item>)) -> f64 {
    let one = item();
    let mut items: VecDeque<Item> = (0..BATCH).map(|_| one.clone()).collect();
    let began = Instant::now();
    for _ in 0..ITEMS / BATCH as u64 {
        pass(&mut items);
    }
    ns(began.elapsed()) / ITEMS as f64
}

fn ours() -> f64 {
    let monitoring = MonitoringCoordinator::new(PoolOptions::default()).unwrap();
    let buffers = BufferManager::new(monitoring.pool().clone());
    let queues = buffers.queues::<Item>("queues").unwrap();
    let inlets: Vec<_> =
        ["left", "right", "front", "rear"].map(|name| queues.open(name, LIMITS).unwrap()).into();
    let mut outlet = queues.outlet();
    each(|items| {
        for (at, item) in items.drain(..).enumerate() {
            let _ = inlets[at % 4].put(item).unwrap();
        }
        items.extend(outlet.take_now(u64::MAX).unwrap().drain(..).map(|(_, item)| item));
    })
}

fn engine() -> f64 {
    let mut queues = Queues::new(64 << 10);
    let numbers = [(); 4].map(|()| queues.add(LIMITS));
    let mut out = Vec::new();
    each(|items| {
        for (at, item) in items.drain(..).enumerate() {
            let _ = queues.push(numbers[at % 4], item);
        }
        queues.take(u64::MAX, &mut out);
        items.extend(out.drain(..).map(|(_, item)| item));
    })
}

fn channel() -> f64 {
    let (give, take) = sync_channel(1024);
    each(|items| {
        items.drain(..).for_each(|item| give.send(item).unwrap());
        items.extend(take.try_iter());
    })
}

fn plain() -> f64 {
    let queue = Mutex::new(VecDeque::new());
    each(|items| {
        items.drain(..).for_each(|item| queue.lock().unwrap().push_back(item));
        items.extend(queue.lock().unwrap().drain(..));
    })
}

/// From one thread to another, which takes as much as there is.
fn ours_across() -> f64 {
    let monitoring = MonitoringCoordinator::new(PoolOptions::default()).unwrap();
    let buffers = BufferManager::new(monitoring.pool().clone());
    let queues = buffers.queues::<Item>("queues").unwrap();
    let inlet = queues.open("left", LIMITS).unwrap();
    let (one, late) = (item(), Instant::now() + Duration::from_secs(600));
    let mut outlet = queues.outlet();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| while outlet.take_until(u64::MAX, late).is_ok() {});
        for _ in 0..ITEMS {
            let _ = inlet.put_until(one.clone(), late).unwrap();
        }
        queues.close();
    });
    ns(began.elapsed()) / ITEMS as f64
}

pub(crate) fn measure(suite: &mut Suite) {
    let race = Race::new().with("ours", ours).with("engine", engine).with("across", ours_across);
    let samples = race.with("sync_channel", channel).with("Mutex<VecDeque>", plain).run();
    let median = |name| samples.quantile(name, 0.5).expect("all ran");
    let figure = Figure::lower("queued/put and take", "ns", median("ours"));
    let peers = samples.peers("ours", 0.5).filter(|(name, _)| !["engine", "across"].contains(name));
    let figure = figure.beside(peers);
    suite.add(figure.goal(Goal::Below(NS_MAX)));
    suite.add(Figure::lower("queued/engine alone", "ns", median("engine")).goal(Goal::Below(NS_MAX)));
    suite.add(Figure::lower("queued/across threads", "ns", median("across")));
}
