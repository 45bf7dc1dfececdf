//! What of a user's is called or dropped by the threads and jobs of a service.

use super::probe::Probe;
use super::{MY_LOCK, waker, within_a_minute};
use evenkeel::prelude::*;
use evenkeel::threads::{JobHandle, ThreadCoordinator};
use evenkeel_locks::with_root;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::Context;
use std::time::Duration;

/// Everything that is called of a user's.
const KINDS: &[&str] = &[
    "job",
    "drop of a job",
    "drop of an answer",
    "drop of a panic",
    "thread",
    "wake_with",
    "drop of wake_with",
    "on_event",
    "drop of on_event",
    "wake",
    "drop of a waker",
];

fn service(probe: &Arc<Probe>) -> Keel {
    let threads = ThreadCoordinator::builder().workers_max(1).heartbeat(20.milliseconds()).build();
    let (told, dropped) = (probe.clone(), probe.on_drop("drop of on_event"));
    threads.on_event(move |_| {
        let _ = &dropped;
        told.called("on_event");
    });
    let keel = Keel::builder("held").without_signals().keep_process().threads(threads).build().unwrap();
    probe.may_use(&keel);
    keel
}

/// A job that holds the one worker until it is told to go on.
fn holds(keel: &Keel) -> (JobHandle<()>, SyncSender<()>) {
    let (release, held) = sync_channel::<()>(0);
    let job = keel.threads().job("holds").run(move |pulse| _ = pulse.waiting(|| held.recv())).unwrap();
    (job, release)
}

/// Jobs and a thread that call, and hold what calls when it is dropped.
fn run_all(keel: &Keel, probe: &Arc<Probe>) {
    let left = keel.channel("left").unwrap().jobs().unwrap();
    let (holding, release) = holds(keel);
    let held = || probe.on_drop("drop of a job");
    let (job, dropped, answers) = (probe.clone(), held(), probe.clone());
    let answer = left.job("one").run(move |_| {
        let _ = &dropped;
        job.called("job");
        answers.on_drop("drop of an answer")
    });
    // Nobody waits for it: its answer is dropped by the worker.
    drop(answer.unwrap());
    let bomb = probe.on_drop("drop of a panic");
    let bad = left.job("bad").run(move |_| {
        let _bomb = bomb;
        panic!("as told");
    });
    let bad: JobHandle<()> = bad.unwrap();
    let (cancelled, late, channel) = (held(), held(), left.clone());
    let cancelled = left.job("cancelled").run(move |_| drop(cancelled)).unwrap();
    cancelled.cancel();
    let late = left.job("late").deadline(Duration::ZERO).run(move |_| drop(late)).unwrap();
    assert!(late.wait().is_err() && cancelled.wait().is_err());
    let mut awaited = pin!(left.job("awaited").run(move |_| drop(channel)).unwrap());
    let theirs = waker(probe);
    assert!(awaited.as_mut().poll(&mut Context::from_waker(&theirs)).is_pending());
    drop(theirs);
    drop(release);
    holding.wait().unwrap();
    assert!(bad.wait().is_err());
    probe.wait_for("wake");
    let (called, wakes, dropped) = (probe.clone(), probe.clone(), probe.on_drop("drop of wake_with"));
    let (wake, woken) = sync_channel(1);
    let thread = keel.threads().thread("theirs").wake_with(move || {
        let _ = &dropped;
        wakes.called("wake_with");
        let _ = wake.try_send(());
    });
    let thread = thread.start(move |pulse| {
        called.called("thread");
        pulse.waiting(|| woken.recv())
    });
    probe.wait_for("thread");
    assert!(thread.unwrap().name() == "theirs");
}

// REQ T1, REQ T9, REQ E5
#[test]
fn whatever_of_a_users_a_thread_calls_finds_nothing_held_and_may_come_back() {
    within_a_minute(|| {
        let probe = Arc::new(Probe::default());
        let keel = service(&probe);
        keel.stop_threads(5.seconds()).unwrap();
        // Of a panic that is no text nothing is called but its message is told: see `job bad`.
        run_all(&keel, &probe);
        let report = keel.stop("enough", "the test");
        assert!(report.clean, "{report:#?}");
        // The probe has the last handle.
        for kind in KINDS.iter().filter(|kind| **kind != "drop of on_event") {
            probe.wait_for(kind);
        }
        assert_eq!(probe.faults(), Vec::<String>::new());
        assert_eq!(probe.unknown(KINDS), Vec::<&str>::new());
    });
}

// REQ T1
#[test]
fn threads_and_jobs_can_be_used_and_dropped_under_a_lock_of_the_users_also_while_it_unwinds() {
    within_a_minute(|| {
        let threads = ThreadCoordinator::builder().workers_max(1).build();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            with_root(|root| {
                let _mine = MY_LOCK.lock(root);
                let threads = threads;
                let left = threads.channel("left").unwrap();
                assert_eq!(left.job("one").run(|_| 1).unwrap().wait(), Ok(1));
                let _subscription = threads.subscribe();
                let _thread = threads.thread("theirs").start(|pulse| {
                    while !pulse.should_stop() {
                        std::thread::yield_now();
                    }
                });
                let _job = left.job("two").run(|_| 2).unwrap();
                let _ = (threads.snapshot(), threads.jobs(), format!("{threads:?}"));
                panic!("a user's");
            })
        }));
        assert_eq!(unwound.unwrap_err().downcast_ref::<&str>(), Some(&"a user's"));
    });
}
