//! Waiting until somebody gives back.

use crate::contender::OURS;
use evenkeel_bench::{Figure, Race, Suite, ns};
use evenkeel_pool::{Limits, Pool, Tier};
use std::sync::mpsc::sync_channel;
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const TIMES: usize = 200;
const BYTES: usize = 4096;
const LONG: Duration = Duration::from_secs(60);
/// Until the one who waits is asleep.
const ASLEEP: Duration = Duration::from_micros(50);

/// Nanoseconds from before one gives back to when another has it: `wait` takes, and waits for that; dropping gives back.
fn waits<T: Send>(wait: impl Fn() -> T + Sync) -> Vec<f64> {
    let mut held = Some(wait());
    let meet = Barrier::new(2);
    let (sender, receiver) = sync_channel(1);
    let (wait, meet) = (&wait, &meet);
    thread::scope(|threads| {
        threads.spawn(move || {
            for _ in 0..TIMES {
                meet.wait();
                let taken = wait();
                sender.send((taken, Instant::now())).unwrap();
            }
        });
        let single = |_| {
            meet.wait();
            let began = Instant::now();
            while began.elapsed() < ASLEEP {}
            let gone = held.take();
            let began = Instant::now();
            drop(gone);
            let (taken, at) = receiver.recv().unwrap();
            held = Some(taken);
            ns(at.saturating_duration_since(began))
        };
        (0..TIMES).map(single).collect()
    })
}

/// A vector that is waited for.
struct Shelf(Mutex<Vec<Box<[u8]>>>, Condvar);

struct Lent<'a>(&'a Shelf, Box<[u8]>);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push(std::mem::take(&mut self.1));
        self.0.1.notify_one();
    }
}

impl Shelf {
    fn take(&self) -> Lent<'_> {
        let shelf = self.0.lock().unwrap();
        let (mut shelf, _) = self.1.wait_timeout_while(shelf, LONG, |shelf| shelf.is_empty()).unwrap();
        Lent(self, shelf.pop().unwrap())
    }
}

pub(crate) fn measure(suite: &mut Suite) {
    let pool = Pool::builder().tiers([Tier { bytes: BYTES, slots: 1 }]).build().unwrap();
    let channel = pool.channel("channel", &Limits::default()).unwrap();
    let account = channel.component("component", 1 << 20).unwrap();
    let shelf = Shelf(Mutex::new(vec![vec![0; BYTES].into()]), Condvar::new());
    let samples = Race::new()
        .with_samples(OURS, || waits(|| account.take_until(BYTES, Instant::now() + LONG).unwrap()))
        .with_samples("condvar", || waits(|| shelf.take()))
        .run();
    for (part, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let us = |figure: f64| figure / 1e3;
        let ours = samples.quantile(OURS, quantile).expect("ours ran");
        let peers = samples.peers(OURS, quantile).map(|(name, figure)| (name, us(figure)));
        suite.add(Figure::lower(format!("waits/{part}"), "us", us(ours)).beside(peers));
    }
}
