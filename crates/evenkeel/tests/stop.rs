//! Stops in this process: every way a step can end, and what the report says.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::Keel;
use evenkeel::cleanup::{Backoff, Report, StepReport, Verdict};
use evenkeel::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn keel(grace: Duration) -> Keel {
    Keel::builder("test").without_signals().keep_process().grace(grace).build().unwrap()
}

fn step<'a>(report: &'a Report, name: &str) -> &'a StepReport {
    let mut steps = report.phases.iter().flat_map(|phase| &phase.steps);
    steps.find(|step| step.name == name).unwrap()
}

fn verdict(report: &Report, name: &str) -> Verdict {
    step(report, name).verdict.unwrap()
}

fn panic_now(message: &str) {
    panic!("{message}");
}

fn hang(_: Step) {
    loop {
        std::thread::park();
    }
}

// REQ C2, REQ C4, REQ C6
#[test]
fn steps_run_in_order_and_a_verified_stop_is_clean() {
    let keel = keel(20.seconds());
    let (left, log) = (keel.channel("left").unwrap(), Arc::new(Mutex::new(Vec::new())));
    let note = |what: &'static str| {
        let log = log.clone();
        move |_: Step| log.lock().unwrap().push(what)
    };
    let close = keel.cleanup("close").phase(Phase::ClosingLogs);
    close.run_blocking(note("close")).verify_blocking(|_| true).register().unwrap();
    let stop = left.cleanup("stop/left").phase(Phase::StoppingCapture);
    let stop = stop.run_blocking(note("stop")).verify_blocking(note("stopped")).register().unwrap();
    let flush = left.cleanup("flush/left").phase(Phase::FlushingStorage).after(&stop);
    let flushing = note("flush");
    let flush = flush.run(move |step| {
        flushing(step);
        async { Ok::<(), std::io::Error>(()) }
    });
    flush.verify(|_| async { Ok::<bool, std::io::Error>(true) }).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(*log.lock().unwrap(), ["stop", "stopped", "flush", "close"]);
    assert!(report.clean && report.complete, "{report:#?}");
    assert_eq!((report.exit_code, report.reason.as_str()), (0, "enough"));
    assert_eq!(report.initiated_by, "the test");
    assert_eq!(step(&report, "flush/left").waited_for, ["stop/left"]);
    assert_eq!(step(&report, "flush/left").channel.as_deref(), Some("left"));
    let refused = keel.cleanup("late").run_blocking(|_| ()).register().unwrap_err();
    assert!(refused.to_string().contains("too late"), "{refused}");
}

// REQ C5, REQ C7, REQ E5
#[test]
fn every_bad_step_has_its_verdict_and_the_rest_is_done() {
    let keel = keel(20.seconds());
    let plain = |name: &str| keel.cleanup(name).phase(Phase::StoppingCapture);
    let short = |name: &str| plain(name).timeout(200.milliseconds());
    short("hangs").run_blocking(hang).register().unwrap();
    short("hangs-async").run(|_| std::future::pending::<()>()).register().unwrap();
    short("blocks-async").run(|step| async move { hang(step) }).register().unwrap();
    plain("panics").run_blocking(|_| -> () { panic!("the {} broke", "spring") }).register().unwrap();
    plain("panics-async").run(|_| async { panic_now("so did the clock") }).register().unwrap();
    let broken = || std::io::Error::other("no such device");
    plain("fails").run_blocking(move |_| Err::<(), _>(broken())).register().unwrap();
    plain("listens")
        .timeout(2.seconds())
        .run_blocking(|step: Step| _ = step.wait_cancelled(60.seconds()))
        .register()
        .unwrap();
    plain("needs").after("panics").run_blocking(|_| ()).register().unwrap();
    plain("lies").run_blocking(|_| ()).verify_blocking(|_| false).register().unwrap();
    let close = keel.cleanup("close").phase(Phase::ClosingLogs);
    close.run_blocking(|_| ()).verify_blocking(|_| true).register().unwrap();

    let report = keel.stop("enough", "the test");
    let told = |name: &str| (verdict(&report, name), step(&report, name).detail.clone().unwrap_or_default());
    assert_eq!(told("hangs").0, Verdict::TimedOutStillRunning);
    assert_eq!(told("hangs-async").0, Verdict::Failed);
    assert!(told("hangs-async").1.contains("was cancelled"));
    assert_eq!(told("blocks-async").0, Verdict::TimedOutStillRunning);
    assert_eq!(told("panics"), (Verdict::Panicked, "the spring broke".to_owned()));
    assert_eq!(told("panics-async"), (Verdict::Panicked, "so did the clock".to_owned()));
    assert_eq!(told("fails"), (Verdict::Failed, "no such device".to_owned()));
    assert_eq!(told("listens").0, Verdict::DoneUnverified, "it stopped when it was told to");
    let chain = "it needs panics, which is Panicked: the spring broke".to_owned();
    assert_eq!(told("needs"), (Verdict::SkippedBecause, chain));
    assert_eq!(told("lies"), (Verdict::Failed, "not verified: it said no".to_owned()));
    assert_eq!(told("close").0, Verdict::Verified);
    assert_eq!((report.exit_code, report.clean), (1, false));
    let mut abandoned = report.abandoned.clone();
    abandoned.sort();
    assert_eq!(abandoned, ["blocks-async", "hangs"]);
}

// REQ C5
#[test]
fn a_step_is_tried_again_and_may_ask_for_more_time() {
    let keel = keel(20.seconds());
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let backoff = Backoff { first: 1.milliseconds(), max: 1.milliseconds() };
    let third = move |step: Step| {
        counted.fetch_add(1, Ordering::Relaxed);
        if step.attempt() < 3 { Err("not yet") } else { Ok(()) }
    };
    let flaky = keel.cleanup("flaky").retries(3, backoff).run_blocking(third);
    flaky.verify_blocking(|step: Step| step.attempt() == 3).register().unwrap();
    let renew = |step: Step| {
        // Six leases of 100 ms: longer than its timeout in all.
        for _ in 0..6 {
            let before = step.deadline();
            step.extend(200.milliseconds());
            if step.wait_cancelled(50.milliseconds()) {
                return Err("cancelled in the midst of progress");
            }
            while step.deadline() == before {
                if step.wait_cancelled(1.milliseconds()) {
                    return Err("nobody said how much time it has now");
                }
            }
        }
        Ok(())
    };
    let slow = keel.cleanup("slow").timeout(150.milliseconds()).run_blocking(renew);
    slow.verify_blocking(|_| true).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "flaky"), Verdict::Verified);
    assert_eq!((step(&report, "flaky").attempts, tries.load(Ordering::Relaxed)), (3, 3));
    assert_eq!(verdict(&report, "slow"), Verdict::Verified, "{:?}", step(&report, "slow"));
    assert!(report.clean);
}

// REQ C8
#[test]
fn a_failed_step_is_compensated() {
    let keel = keel(20.seconds());
    let undone = Arc::new(AtomicU32::new(0));
    let undo = undone.clone();
    let step = keel.cleanup("moves").run_blocking(|_| Err::<(), _>("half-way"));
    let undo = move |_: Step| _ = undo.fetch_add(1, Ordering::Relaxed);
    step.compensate_blocking(undo).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "moves"), Verdict::Compensated);
    assert_eq!(undone.load(Ordering::Relaxed), 1);
    assert_eq!(report.exit_code, 1);
}

// REQ C16
#[test]
fn a_force_names_what_was_abandoned() {
    let keel = keel(20.seconds());
    let (begun, seen) = std::sync::mpsc::sync_channel(2);
    let begins = begun.clone();
    let hangs = move |step: Step| {
        begun.send(()).unwrap();
        hang(step);
    };
    keel.cleanup("hangs").run_blocking(hangs).register().unwrap();
    let (told, is_told) = std::sync::mpsc::sync_channel(1);
    let listens = move |step: Step| {
        begins.send(()).unwrap();
        told.send(step.wait_cancelled(60.seconds())).unwrap();
    };
    keel.cleanup("listens").priority(1).run_blocking(listens).register().unwrap();
    keel.cleanup("close").phase(Phase::ClosingLogs).run_blocking(|_| ()).register().unwrap();
    keel.request_stop("enough", "the test");
    // Both: one whose thread has not begun yet has nothing that could be told.
    seen.iter().take(2).for_each(drop);
    keel.force("an impatient test");
    let stopped = keel.wait();
    assert_eq!(stopped.report.exit_code, 4);
    assert_eq!(stopped.report.abandoned, ["hangs", "listens"]);
    assert!(is_told.recv().unwrap(), "who is abandoned is told so");
    assert_eq!(verdict(&stopped.report, "close"), Verdict::SkippedBecause);
    assert_eq!(
        step(&stopped.report, "hangs").detail.as_deref(),
        Some("the stop was forced: an impatient test")
    );
}

// REQ C5
#[test]
fn a_grace_period_too_short_is_told_apart() {
    let keel = keel(1.seconds());
    keel.cleanup("hangs").phase(Phase::StoppingCapture).run_blocking(hang).register().unwrap();
    let flush = keel.cleanup("flush").phase(Phase::FlushingStorage).run_blocking(|_| ());
    flush.verify_blocking(|_| true).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "hangs"), Verdict::TimedOutStillRunning);
    assert_eq!(verdict(&report, "flush"), Verdict::Verified);
    assert_eq!(report.exit_code, 5);
}

// REQ C4
#[test]
fn concurrency_is_limited_and_priority_decides() {
    let builder = Keel::builder("test").without_signals().keep_process().concurrency(1);
    let keel = builder.build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, priority) in [("low", -1), ("plain", 0), ("high", 9), ("plain-too", 0)] {
        let order = order.clone();
        let step = keel.cleanup(name).priority(priority);
        step.run_blocking(move |_| order.lock().unwrap().push(name)).register().unwrap();
    }
    keel.stop("enough", "the test");
    assert_eq!(*order.lock().unwrap(), ["high", "plain", "plain-too", "low"]);
}

// REQ C3
#[test]
fn a_registration_that_does_not_fit_is_refused() {
    let keel = keel(20.seconds());
    keel.cleanup("a").phase(Phase::FlushingStorage).run_blocking(|_| ()).register().unwrap();
    let refused = |step: evenkeel::cleanup::StepBuilder| step.register().unwrap_err().to_string();
    assert!(refused(keel.cleanup("a").run_blocking(|_| ())).contains("two steps \"a\""));
    assert!(refused(keel.cleanup("b").after("c").run_blocking(|_| ())).contains("no such step"));
    let early = keel.cleanup("b").phase(Phase::StoppingCapture).after("a").run_blocking(|_| ());
    assert!(refused(early).contains("comes later"));
    assert!(refused(keel.cleanup("b")).contains("nothing to run"));
    assert!(keel.channel("Left").is_err());
    let handle = keel.cleanup("b").follows("a").run_blocking(|_| ()).register().unwrap();
    assert!(handle.unregister() && !handle.unregister());
    assert_eq!(keel.plan().steps().len(), 1);
}

// REQ C9, REQ C11
#[test]
fn the_journal_has_every_intent_and_outcome_and_the_report_last() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Keel::builder("test").without_signals().keep_process().journal(dir.path().join("journal"));
    let report_path = dir.path().join("report.json");
    let keel = builder.report(&report_path).build().unwrap();
    let journal_at_run = Arc::new(Mutex::new(0));
    let (seen, journal) = (journal_at_run.clone(), keel.journal().unwrap().clone());
    let once = move |_: Step| *seen.lock().unwrap() = journal.durable_through();
    keel.cleanup("once").run_blocking(once).verify_blocking(|_| true).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert!(report.clean, "{report:#?}");
    assert!(step(&report, "once").journalled && step(&report, "close-journal").journalled);
    assert_eq!(verdict(&report, "close-journal"), Verdict::Verified);

    let storage = evenkeel_log::storage::DirStorage::open(&dir.path().join("journal")).unwrap();
    let found = evenkeel::journal::verify(&storage, false).unwrap();
    assert_eq!(found.outcome, evenkeel_log::Outcome::Intact, "{found:?}");
    let mut entries = Vec::new();
    evenkeel::journal::entries(&storage, false, &mut |entry| {
        entries.push((entry.kind.clone(), entry.body.clone(), entry.prev.clone(), entry.entry));
        Ok(())
    })
    .unwrap();
    let kinds: Vec<&str> = entries.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds.first(), Some(&"start"));
    assert_eq!(kinds.last(), Some(&"report"));
    let intent =
        entries.iter().find(|(kind, body, ..)| kind == "step-intent" && body["step"] == "once").unwrap();
    assert!(*journal_at_run.lock().unwrap() >= intent.3, "it ran before its intent was durable");
    assert!(entries.iter().any(|(kind, body, ..)| kind == "step-outcome" && body["verdict"] == "Verified"));
    let (_, body, prev, _) = entries.last().unwrap();
    assert_eq!(body["journal_head"], prev.as_str());
    let of_file: serde_json::Value = serde_json::from_slice(&std::fs::read(report_path).unwrap()).unwrap();
    assert_eq!(of_file["journal_head"], prev.as_str());
    let closing = |report: &serde_json::Value| report["phases"][4]["steps"][0]["verdict"].clone();
    assert_eq!((closing(body), closing(&of_file)), (serde_json::Value::Null, "Verified".into()));
    assert_eq!((&body["clean"], &of_file["clean"]), (&true.into(), &true.into()));
}

// REQ C5
#[test]
fn a_sick_journal_never_stops_a_stop() {
    use evenkeel_log::sim::{Faults, SimStorage};
    let storage = SimStorage::new();
    let builder = Keel::builder("test").without_signals().keep_process();
    let keel = builder.journal_on(Arc::new(storage.clone())).build().unwrap();
    let ran = Arc::new(AtomicU32::new(0));
    let counted = ran.clone();
    let count = move |_: Step| _ = counted.fetch_add(1, Ordering::Relaxed);
    keel.cleanup("once").run_blocking(count.clone()).verify_blocking(|_| true).register().unwrap();
    let again = keel.cleanup("again").idempotent().run_blocking(count).verify_blocking(|_| true);
    again.register().unwrap();
    assert!(keel.journal().unwrap().wait_durable(1, 10.seconds()));
    storage.set_faults(Faults { at: Some(0), for_ever: true, ..Faults::default() });
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "once"), Verdict::SkippedBecause);
    assert!(step(&report, "once").detail.as_deref().unwrap().starts_with("journal"));
    assert_eq!(verdict(&report, "again"), Verdict::Verified);
    assert!(!step(&report, "again").journalled && !report.clean);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_ne!(verdict(&report, "close-journal"), Verdict::Verified);
    assert_eq!(report.exit_code, 1);
}

// REQ C16
#[test]
fn the_last_handle_dropped_asks_for_a_stop_and_waits_for_it() {
    let stopped = Arc::new(AtomicU32::new(0));
    let counted = stopped.clone();
    let keel = keel(20.seconds());
    keel.cleanup("a").run_blocking(move |_| _ = counted.fetch_add(1, Ordering::Relaxed)).register().unwrap();
    let other = keel.clone();
    drop(keel);
    assert_eq!(stopped.load(Ordering::Relaxed), 0);
    drop(other);
    assert_eq!(stopped.load(Ordering::Relaxed), 1);
}

// REQ C13
#[test]
fn progress_is_told_and_a_listener_that_panics_harms_nobody() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let (over, is_over) = std::sync::mpsc::sync_channel(1);
    let builder = Keel::builder("test").without_signals().keep_process().on_progress(move |progress| {
        heard.lock().unwrap().push(format!("{progress:?}"));
        if matches!(progress, evenkeel::Progress::Stopped(_)) {
            over.send(()).unwrap();
        }
        panic!("a listener's own trouble");
    });
    let keel = builder.build().unwrap();
    keel.cleanup("a").run_blocking(|_| ()).register().unwrap();
    assert_eq!(verdict(&keel.stop("enough", "the test"), "a"), Verdict::DoneUnverified);
    is_over.recv_timeout(10.seconds()).unwrap();
    let told = told.lock().unwrap();
    assert!(told[0].contains("enough") && told.iter().any(|line| line.contains("DoneUnverified")));
}

// REQ R1
#[test]
fn resources_are_asked_of_the_monitoring_and_seen_by_all() {
    let keel = keel(20.seconds());
    let held = keel.monitoring().account(Some("left"), "mic").unwrap().take(1000).unwrap();
    assert_eq!(keel.components().in_use(), 4096);
    let told = keel.buffers().verify_empty().unwrap_err().to_string();
    assert!(told.starts_with("still held: 4096 bytes by left/mic"), "{told}");
    drop(held);
    keel.buffers().verify_empty().unwrap();
    keel.stop("enough", "the test");
}

// REQ C16
#[test]
fn a_deferred_stop_waits_until_its_service_is_whole() {
    let builder = Keel::builder("test").without_signals().keep_process().deferred();
    let keel = builder.build().unwrap();
    keel.request_stop("early", "the test");
    assert!(keel.wait_timeout(50.milliseconds()).is_none() && !keel.is_stopping());
    keel.cleanup("a").run_blocking(|_| ()).verify_blocking(|_| true).register().unwrap();
    keel.arm();
    assert_eq!(verdict(&keel.wait().report, "a"), Verdict::Verified);
}

// REQ C16
#[test]
fn a_force_before_the_stop_began_begins_nothing() {
    let keel = keel(20.seconds());
    let ran = Arc::new(AtomicU32::new(0));
    let counted = ran.clone();
    let step = keel.cleanup("waits").phase(Phase::Initiating).timeout(20.seconds());
    let run = move |step: Step| {
        counted.fetch_add(1, Ordering::Relaxed);
        step.wait_cancelled(60.seconds());
    };
    step.run_blocking(run).register().unwrap();
    keel.force("an impatient test");
    let report = keel.wait().report.clone();
    assert_eq!((report.exit_code, verdict(&report, "waits")), (4, Verdict::SkippedBecause));
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

// REQ C3
#[test]
fn the_name_of_the_step_that_ends_the_journal_is_taken() {
    let storage = evenkeel_log::sim::SimStorage::new();
    let builder = Keel::builder("test").without_signals().keep_process();
    let keel = builder.journal_on(Arc::new(storage)).build().unwrap();
    let refused = keel.cleanup("close-journal").run_blocking(|_| ()).register().unwrap_err();
    assert!(refused.to_string().contains("close-journal"), "{refused}");
    assert!(keel.stop("enough", "the test").clean);
}

struct BadRuntime;

impl evenkeel::cleanup::Spawn for BadRuntime {
    fn spawn(&self, _: evenkeel::cleanup::BoxFuture<()>) -> Box<dyn evenkeel::cleanup::Abort> {
        panic!("no reactor");
    }
}

// REQ C7, REQ E5
#[test]
fn a_runtime_that_panics_fails_its_steps_and_no_others() {
    let builder = Keel::builder("test").without_signals().keep_process().runtime(BadRuntime);
    let keel = builder.build().unwrap();
    keel.cleanup("async").run(|_| async {}).register().unwrap();
    keel.cleanup("blocking").run_blocking(|_| ()).verify_blocking(|_| true).register().unwrap();
    keel.request_stop("enough", "the test");
    let stopped = keel.wait_timeout(60.seconds()).expect("the stop has died");
    assert_eq!(verdict(&stopped.report, "async"), Verdict::Failed);
    let detail = step(&stopped.report, "async").detail.as_deref();
    assert_eq!(detail, Some("the runtime panicked: no reactor"));
    assert_eq!(verdict(&stopped.report, "blocking"), Verdict::Verified);
}

struct CountedWaker(AtomicU32);

impl std::task::Wake for CountedWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a waker's own trouble");
    }
}

// REQ C16
#[test]
fn who_no_longer_waits_leaves_nothing_behind() {
    let keel = keel(20.seconds());
    let waker = Arc::new(CountedWaker(AtomicU32::new(0)));
    let task = std::task::Waker::from(waker.clone());
    let poll = |future: &mut evenkeel::RunUntilSignal| {
        std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(&task)).is_ready()
    };
    for _ in 0..100 {
        assert!(!poll(&mut keel.run_until_signal()));
    }
    assert_eq!(Arc::strong_count(&waker), 2, "only this test and its task know the waker");
    let mut waits = keel.run_until_signal();
    assert!(!poll(&mut waits) && !poll(&mut waits));
    assert_eq!(Arc::strong_count(&waker), 3);
    keel.request_stop("enough", "the test");
    assert!(keel.wait_timeout(Duration::MAX).is_some());
    let began = std::time::Instant::now();
    while waker.0.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody was woken");
        std::thread::yield_now();
    }
    assert!(poll(&mut waits));
}

// REQ C16
#[test]
fn closures_go_when_the_stop_is_over() {
    let keel = keel(20.seconds());
    let held = Arc::new(());
    let (known, inner) = (Arc::downgrade(&held), keel.clone());
    // It holds a handle of its own service: a circle, until the stop breaks it.
    keel.cleanup("a").run_blocking(move |_| _ = (&held, inner.name())).register().unwrap();
    keel.stop("enough", "the test");
    assert_eq!(keel.plan().steps().len(), 1, "what was planned can still be asked");
    let began = std::time::Instant::now();
    while known.upgrade().is_some() {
        assert!(began.elapsed() < Duration::from_secs(60), "its closure lives for ever");
        std::thread::yield_now();
    }
}

// REQ C4
#[test]
fn a_future_that_parks_its_own_thread_still_hears_its_waker() {
    let keel = keel(20.seconds());
    let future = |step: Step| {
        let mut polls = 0;
        std::future::poll_fn(move |context| {
            polls += 1;
            if polls == 2 {
                return std::task::Poll::Ready(!step.is_cancelled());
            }
            context.waker().wake_by_ref();
            // As something that blocks on its own may: the token is gone.
            std::thread::park();
            std::task::Poll::Pending
        })
    };
    keel.cleanup("parks").timeout(2.seconds()).run(future).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "parks"), Verdict::DoneUnverified, "{:?}", step(&report, "parks"));
}

struct Idle;

impl evenkeel::cleanup::Spawn for Idle {
    fn spawn(&self, future: evenkeel::cleanup::BoxFuture<()>) -> Box<dyn evenkeel::cleanup::Abort> {
        LATE.lock().unwrap().push(future);
        Box::new(Self)
    }
}

impl evenkeel::cleanup::Abort for Idle {
    fn abort(&self) {
        panic!("an abort's own trouble");
    }
}

static LATE: Mutex<Vec<evenkeel::cleanup::BoxFuture<()>>> = Mutex::new(Vec::new());

// REQ C4
#[test]
fn what_a_runtime_begins_after_its_time_does_nothing() {
    let keel = Keel::builder("test").without_signals().keep_process().runtime(Idle).build().unwrap();
    let ran = Arc::new(AtomicU32::new(0));
    let counted = ran.clone();
    let run = move |_: Step| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    };
    keel.cleanup("late").timeout(100.milliseconds()).run(run).register().unwrap();
    keel.request_stop("enough", "the test");
    let stopped = keel.wait_timeout(60.seconds()).expect("the stop has died");
    assert_eq!(verdict(&stopped.report, "late"), Verdict::TimedOutStillRunning);
    assert!(step(&stopped.report, "late").detail.as_deref().unwrap().contains("never began"));
    for mut future in LATE.lock().unwrap().drain(..) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

// REQ C5
#[test]
fn a_channel_report_that_hangs_or_panics_leaves_the_report_incomplete() {
    for hangs in [true, false] {
        let ask = move || -> (Vec<evenkeel::cleanup::ChannelReport>, bool) {
            if hangs {
                std::thread::park();
            }
            panic!("a channel's own trouble");
        };
        let builder = Keel::builder("test").without_signals().keep_process().channel_reports(ask);
        let report = builder.build().unwrap().stop("enough", "the test");
        assert!(report.clean && !report.complete);
    }
}

// REQ C16
#[test]
fn a_service_that_could_not_start_says_so_in_its_report() {
    let report = keel(20.seconds()).stop_unstarted("no such device", "the test");
    assert_eq!(report.exit_code, 3);
}

/// Fills the journal's queue and holds its thread, until one entry more was refused.
fn fill(journal: &evenkeel::journal::Journal) {
    let note = || journal.append("filler", None, serde_json::Value::Null);
    let (held, is_held) = std::sync::mpsc::sync_channel(0);
    let (go, may_go) = std::sync::mpsc::sync_channel::<()>(0);
    let gate = Mutex::new(Some((held, may_go)));
    journal.on_durable(move |_| {
        if let Some((held, may_go)) = gate.lock().unwrap().take() {
            held.send(()).unwrap();
            let _ = may_go.recv();
        }
    });
    assert!(note().is_some());
    is_held.recv().unwrap();
    while note().is_some() {}
    let (journal, refused) = (journal.clone(), journal.refused());
    std::thread::spawn(move || {
        while journal.refused() == refused && journal.trouble().is_some() {
            std::thread::yield_now();
        }
        drop(go);
    });
}

// REQ C2
#[test]
fn the_report_is_the_last_entry_of_a_journal_whose_queue_is_full() {
    use evenkeel::journal::{Journal, JournalOptions, entries};
    let storage = evenkeel_log::sim::SimStorage::new();
    let options = JournalOptions { queue_entries_max: 2, ..JournalOptions::default() };
    let to_fill: Arc<Mutex<Option<Journal>>> = Arc::default();
    let journal = to_fill.clone();
    // The channels are asked right before the report is appended.
    let ask = move || {
        let journal = journal.lock().unwrap().take();
        journal.iter().for_each(fill);
        (Vec::new(), true)
    };
    let builder = Keel::builder("test").without_signals().keep_process().channel_reports(ask);
    let keel = builder.journal_on(Arc::new(storage.clone())).journal_options(options).build().unwrap();
    *to_fill.lock().unwrap() = keel.journal().cloned();
    let report = keel.stop("enough", "the test");
    assert!(report.clean && report.journal_head.is_some(), "{:?}", step(&report, "close-journal").detail);
    assert!(keel.journal().unwrap().refused() > 1, "its queue was not full");
    let mut last = String::new();
    let mut kind = |entry: evenkeel::journal::Entry| {
        last = entry.kind;
        Ok(())
    };
    entries(&storage, false, &mut kind).unwrap();
    assert_eq!(last, "report");
}

// REQ C13
#[test]
fn a_listener_that_is_slow_still_hears_the_last_word() {
    let (go, may_go) = std::sync::mpsc::sync_channel::<()>(1);
    let (over, is_over) = std::sync::mpsc::sync_channel(1);
    let may_go = Mutex::new(Some(may_go));
    let listener = move |progress: &evenkeel::Progress| {
        if let Some(may_go) = may_go.lock().unwrap().take() {
            may_go.recv().unwrap();
        }
        if matches!(progress, evenkeel::Progress::Stopped(_)) {
            over.send(()).unwrap();
        }
    };
    let builder = Keel::builder("test").without_signals().keep_process().on_progress(listener);
    let keel = builder.build().unwrap();
    // All in one round, so that nothing is short of time: more than may wait to be told.
    let first = keel.cleanup("first").run_blocking(|_| false).register().unwrap();
    for at in 0..5000 {
        keel.cleanup(format!("step-{at}")).after(&first).run_blocking(|_| ()).register().unwrap();
    }
    keel.stop("enough", "the test");
    go.send(()).unwrap();
    is_over.recv_timeout(60.seconds()).expect("the last word was left out");
}

// REQ C16
#[test]
fn a_report_that_cannot_be_written_is_told_and_a_disk_that_hangs_gives_way_to_a_force() {
    let dir = tempfile::tempdir().unwrap();
    let builder = |path: std::path::PathBuf| {
        let builder = Keel::builder("test").without_signals().keep_process().grace(120.seconds());
        builder.report(path).build().unwrap()
    };
    let keel = builder(dir.path().join("nowhere/report.json"));
    assert!(keel.stop("enough", "the test").clean);
    let stopped = keel.wait();
    assert_eq!((stopped.report.exit_code, stopped.exit_code()), (0, 1));
    assert!(stopped.report_fault.as_deref().unwrap().contains("nowhere/report.json"));

    // Opening a pipe that nobody reads hangs.
    let pipe = dir.path().join(format!("report.json.{}.new", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let keel = builder(dir.path().join("report.json"));
    keel.request_stop("enough", "the test");
    assert!(keel.wait_timeout(300.milliseconds()).is_none(), "it did not wait for its report");
    keel.force("an impatient test");
    let stopped = keel.wait_timeout(60.seconds()).expect("it waits for a disk that hangs");
    assert!(stopped.report.clean && stopped.exit_code() == 1);
    assert!(stopped.report_fault.as_deref().unwrap().ends_with("in time"));
}

// REQ C5, REQ C9
#[test]
fn each_attempt_of_a_step_that_cannot_be_repeated_has_an_intent_of_its_own() {
    let builder = Keel::builder("test").without_signals().keep_process();
    let keel = builder.journal_on(Arc::new(evenkeel_log::sim::SimStorage::new())).build().unwrap();
    let backoff = Backoff { first: 1.milliseconds(), max: 1.milliseconds() };
    let second = |step: Step| step.attempt() == 2;
    let step_of = keel.cleanup("second").retries(1, backoff).run_blocking(second);
    step_of.verify_blocking(second).register().unwrap();
    let report = keel.stop("enough", "the test");
    assert_eq!(verdict(&report, "second"), Verdict::Verified, "{:?}", step(&report, "second"));
    assert_eq!(step(&report, "second").attempts, 2);
}
