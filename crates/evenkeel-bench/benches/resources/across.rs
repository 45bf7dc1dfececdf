//! Taken and touched by one thread, given back by another.

use crate::contender::{Source, TIERS, add, race};
use crate::pair::times;
use crate::sys::touch;
use crate::together::{Together, both, pause};
use evenkeel_bench::{Suite, ns};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

const BATCHES: usize = 50;
/// Buffers that are on their way at most.
const ROOM: usize = 32;
fn send<T>(channel: &SyncSender<T>, mut value: T) {
    let mut turn = 0;
    while let Err(full) = channel.try_send(value) {
        let (TrySendError::Full(back) | TrySendError::Disconnected(back)) = full;
        value = back;
        pause(&mut turn);
    }
}

/// The next that was sent.
fn receive<T>(channel: &Receiver<T>) -> T {
    let mut turn = 0;
    loop {
        if let Ok(value) = channel.try_recv() {
            return value;
        }
        pause(&mut turn);
    }
}

/// Nanoseconds of each, by batches, of what one thread makes and another drops.
fn handed_over<T: Send>(bytes: usize, mut make: impl FnMut() -> T) -> Vec<f64> {
    let (sender, receiver) = sync_channel(ROOM);
    let times = times(bytes);
    let drops = move |together: &Together<'_>| {
        for _ in 0..BATCHES {
            together.meet();
            (0..times).for_each(|_| drop(receive(&receiver)));
        }
    };
    let makes = |together: &Together<'_>| {
        let batch = |_| {
            together.meet();
            let began = Instant::now();
            (0..times).for_each(|_| send(&sender, make()));
            ns(began.elapsed()) / times as f64
        };
        (0..BATCHES).map(batch).collect()
    };
    both(makes, drops).0
}

fn pairs<S: Source>(source: &S, bytes: usize) -> Vec<f64> {
    handed_over(bytes, || {
        let mut held = source.take();
        S::touch(&mut held);
        held
    })
}

fn alone(bytes: usize) -> impl Fn() -> Vec<f64> {
    move || {
        let mut memory = vec![0; bytes];
        handed_over(bytes, || touch(&mut memory))
    }
}

pub(crate) fn measure(suite: &mut Suite) {
    for tier in TIERS {
        let bytes = tier.1;
        let samples = race!(bytes, |source: &_| pairs(source, bytes), alone(bytes));
        add(suite, "across", tier, &samples, None);
    }
}
