//! Whatever of a user's is called or dropped, no lock of the house is held, and it may come back to us.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

#[path = "held/probe.rs"]
mod probe;
#[path = "held/states.rs"]
mod states;
#[path = "held/threads.rs"]
mod threads;

use evenkeel::cleanup::{Abort, BoxFuture, Spawn};
use evenkeel::journal::JournalOptions;
use evenkeel::prelude::*;
use evenkeel_locks::{Mutex as Locked, lock_order, with_root};
use probe::{OnDrop, Probe, Watched};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

lock_order! { Mine; }
static MY_LOCK: Locked<Mine, ()> = Locked::new(());

/// Fails, and does not hang, when something waits for itself.
fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = sync_channel(1);
    let run = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let ended = is_done.recv_timeout(Duration::from_secs(60));
    if ended != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        run.join().unwrap();
    }
    assert_eq!(ended, Ok(()), "it waits for itself");
}

/// A runtime of a user's.
struct Runtime(tokio::runtime::Handle, Arc<Probe>);

struct Aborting(tokio::task::AbortHandle, Arc<Probe>);

impl Spawn for Runtime {
    fn spawn(&self, future: BoxFuture<()>) -> Box<dyn Abort> {
        self.1.called("spawn");
        Box::new(Aborting(self.0.spawn(future).abort_handle(), self.1.clone()))
    }
}

impl Abort for Aborting {
    fn abort(&self) {
        self.1.called("abort");
        self.0.abort();
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.1.called("drop of an abort");
    }
}

/// A waker of a user's.
struct Waking(OnDrop);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.0.probe.called("wake");
    }
}

fn waker(probe: &Arc<Probe>) -> Waker {
    Waker::from(Arc::new(Waking(probe.on_drop("drop of a waker"))))
}

/// A service that calls `probe` wherever it calls its user.
fn service(probe: &Arc<Probe>, runtime: &tokio::runtime::Runtime) -> Keel {
    let (asked, told, durable) = (probe.clone(), probe.clone(), probe.clone());
    let (asks, tells, observes) = (
        probe.on_drop("drop of channel_reports"),
        probe.on_drop("drop of on_progress"),
        probe.on_drop("drop of on_durable"),
    );
    let keel = Keel::builder("held")
        .without_signals()
        .keep_process()
        .journal_on(Arc::new(Watched::new(probe.clone())))
        .journal_options(JournalOptions::default())
        .runtime(Runtime(runtime.handle().clone(), probe.clone()))
        .channel_reports(move || {
            let _ = &asks;
            asked.called("channel_reports");
            (Vec::new(), true)
        })
        .on_progress(move |_| {
            let _ = &tells;
            told.called("on_progress");
        })
        .build()
        .unwrap();
    keel.journal().unwrap().on_durable(move |_| {
        let _ = &observes;
        durable.called("on_durable");
    });
    keel
}

/// Steps with a closure of every kind.
fn register_all(keel: &Keel, probe: &Arc<Probe>) {
    let call = |kind: &'static str, answer: Result<(), &'static str>| {
        let (probe, dropped) = (probe.clone(), probe.on_drop("drop of a step"));
        move |step: Step| {
            let _ = &dropped;
            step.extend(Duration::from_millis(1));
            step.wait_cancelled(Duration::ZERO);
            probe.called(kind);
            answer
        }
    };
    let blocking = keel.cleanup("blocking").run_blocking(call("run_blocking", Err("as told")));
    let blocking = blocking.verify_blocking(call("verify_blocking", Err("as told")));
    blocking.compensate_blocking(call("compensate_blocking", Ok(()))).register().unwrap();
    let future = |kind: &'static str, answer: Result<(), &'static str>| {
        let (made, polled) = (call("making a future", Ok(())), call(kind, answer));
        let (polled, probe) = (Arc::new(polled), probe.clone());
        move |step: Step| {
            let (polled, dropped) = (polled.clone(), probe.on_drop("drop of a future"));
            let _ = made(step.clone());
            async move {
                let _dropped = dropped;
                polled(step)
            }
        }
    };
    let polled = keel.cleanup("polled").run(future("run", Err("as told")));
    let polled = polled.verify(future("verify", Err("as told")));
    polled.compensate(future("compensate", Ok(()))).register().unwrap();
    let hangs = keel.cleanup("hangs").timeout(50.milliseconds());
    hangs.run(|_| std::future::pending::<()>()).register().unwrap();
    // Refused, and taken back: dropped with what they hold.
    let twice = keel.cleanup("hangs").run_blocking(call("never", Ok(())));
    assert!(twice.register().is_err());
    let taken_back = keel.cleanup("taken-back").run_blocking(call("never", Ok(())));
    assert!(taken_back.register().unwrap().unregister());
}

// REQ T1, REQ T9
#[test]
fn whatever_of_a_users_is_called_finds_nothing_held_and_may_come_back() {
    within_a_minute(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let probe = Arc::new(Probe::default());
        let keel = service(&probe, &runtime);
        probe.may_use(&keel);
        register_all(&keel, &probe);
        // One is woken at the end; one is dropped before, by the drop of its future alone.
        let mut woken = Box::pin(keel.run_until_signal());
        let mut dropped = Box::pin(keel.run_until_signal());
        for waits in [&mut woken, &mut dropped] {
            let waker = waker(&probe);
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(dropped);
        probe.wait_for("drop of a waker");
        let report = keel.stop("enough", "the test");
        assert!(!report.clean, "{report:#?}");
        for kind in KINDS {
            probe.wait_for(kind);
        }
        keel.force("the test");
        assert_eq!(probe.faults(), Vec::<String>::new());
        assert_eq!(probe.unknown(KINDS), Vec::<&str>::new());
    });
}

/// Everything that is called of a user's.
const KINDS: &[&str] = &[
    "run_blocking",
    "verify_blocking",
    "compensate_blocking",
    "making a future",
    "run",
    "verify",
    "compensate",
    "drop of a future",
    "drop of a step",
    "spawn",
    "abort",
    "drop of an abort",
    "on_progress",
    "drop of on_progress",
    "channel_reports",
    "drop of channel_reports",
    "on_durable",
    "drop of on_durable",
    "wake",
    "drop of a waker",
    "storage: create",
    "storage: rename",
    "storage: list",
    "storage: free_bytes",
    "storage: sync_dir",
    "storage: append",
    "storage: sync",
    "storage: truncate",
    "storage: open",
    "storage: preallocate",
    "storage: remove",
];

// REQ T1, REQ T9
#[test]
fn the_setup_of_a_main_finds_nothing_held_and_may_come_back() {
    within_a_minute(|| {
        let probe = Arc::new(Probe::default());
        let theirs = probe.clone();
        let builder = Keel::builder("held").without_signals().keep_process();
        let code = evenkeel::main(builder, async move |keel| {
            theirs.may_use(&keel);
            theirs.called("main");
            keel.request_stop("enough", "the test");
            Ok(())
        });
        probe.wait_for("main");
        assert_eq!((probe.faults(), code), (Vec::new(), ExitCode::SUCCESS));
    });
}

// REQ T1
#[test]
fn every_entry_works_while_its_caller_holds_a_lock_of_its_own() {
    within_a_minute(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let probe = Arc::new(Probe::default());
        let keel = service(&probe, &runtime);
        probe.may_use(&keel);
        let report = with_root(|root| {
            let _mine = MY_LOCK.lock(root);
            probe.called("under a lock of the user's");
            register_all(&keel, &probe);
            assert!(pin!(keel.run_until_signal()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            keel.stop("enough", "the test")
        });
        assert!(!report.clean, "{report:#?}");
        assert_eq!(probe.faults(), Vec::<String>::new());
    });
}

// REQ T1
#[test]
fn handles_can_be_dropped_while_a_thread_unwinds_under_a_lock_of_its_own() {
    within_a_minute(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let probe = Arc::new(Probe::default());
        let keel = service(&probe, &runtime);
        let pool = keel.monitoring().pool().clone();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            with_root(|root| {
                let _mine = MY_LOCK.lock(root);
                let _buffer = keel.monitoring().account_of_service("test").unwrap().take(5).unwrap();
                let mut waits = Box::pin(keel.run_until_signal());
                assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                let _journal = keel.journal().cloned();
                // The last handle: its drop asks for a stop, and waits for it.
                let _keel = keel;
                panic!("a user's");
            })
        }));
        let said = unwound.unwrap_err();
        assert_eq!(said.downcast_ref::<&str>(), Some(&"a user's"));
        assert_eq!(pool.in_use(), 0);
        probe.wait_for("on_progress");
        assert_eq!(probe.faults(), Vec::<String>::new());
    });
}
