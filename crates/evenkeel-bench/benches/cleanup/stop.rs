//! Whole stops through the front door.

use crate::OURS;
#[cfg(feature = "peers")]
use crate::peers;
use evenkeel::Keel;
use evenkeel::cleanup::StepBuilder;
use evenkeel_bench::{Figure, Goal, Race, Suite, ns, place};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

/// Empty stops of one turn.
const EMPTY_STOPS: usize = 20;
/// More than any of these stops takes, on any disk.
const GRACE: Duration = Duration::from_secs(300);

/// How a step is given its work.
type Give = fn(StepBuilder) -> StepBuilder;

const THREADS: Give = |step| step.idempotent().run_blocking(|_| ()).verify_blocking(|_| true);
const UNREPEATABLE: Give = |step| step.run_blocking(|_| ()).verify_blocking(|_| true);
#[cfg(feature = "peers")]
const FUTURES: Give = |step| step.idempotent().run(|_| async {}).verify(|_| async { true });

fn keel(journal: Option<&Path>) -> Keel {
    let builder = Keel::builder("bench").without_signals().keep_process().grace(GRACE);
    match journal {
        Some(directory) => builder.journal(directory).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn fill(keel: &Keel, count: usize, give: Give) {
    for at in 0..count {
        give(keel.cleanup(format!("step-{at}"))).register().unwrap();
    }
}

/// Nanoseconds from the call to the report, which says that every step was verified.
fn stop_ns(keel: &Keel) -> f64 {
    let began = Instant::now();
    let report = keel.stop("the bench", "the bench");
    let took = ns(began.elapsed());
    assert!(report.clean, "{:?}", report.abandoned);
    took
}

/// A stop with a journal in a new directory, and how many entries the journal refused.
fn journalled_stop(count: usize, give: Give) -> (f64, u64) {
    let place = place().unwrap();
    let keel = keel(Some(place.path()));
    fill(&keel, count, give);
    let took = stop_ns(&keel);
    (took, keel.journal().map_or(0, evenkeel::journal::Journal::refused))
}

pub(crate) fn register(suite: &mut Suite) {
    const STEPS: usize = 10_000;
    let samples = Race::new().with(OURS, || {
        let keel = keel(None);
        let began = Instant::now();
        fill(&keel, STEPS, THREADS);
        ns(began.elapsed()) / STEPS as f64 / 1e3
    });
    suite.add(Figure::of("register", "us/step", &samples.run(), OURS, 0.5));
}

pub(crate) fn empty(suite: &mut Suite) {
    let samples = Race::new().with(OURS, || {
        let stops = (0..EMPTY_STOPS).map(|_| stop_ns(&keel(None)));
        stops.sum::<f64>() / EMPTY_STOPS as f64 / 5.0 / 1e3
    });
    suite.add(Figure::of("empty", "us/phase", &samples.run(), OURS, 0.5).goal(Goal::Below(20.0)));
    let samples = Race::new().with(OURS, || journalled_stop(0, THREADS).0 / 5.0 / 1e3);
    suite.add(Figure::of("empty with journal", "us/phase", &samples.run(), OURS, 0.5));
}

pub(crate) fn whole(suite: &mut Suite) {
    for count in [1_000, 10_000] {
        let per_step = move |took: f64| took / count as f64 / 1e3;
        #[cfg(feature = "peers")]
        {
            let samples = futures(count, per_step).run();
            suite.add(Figure::of(format!("stop/{count} futures"), "us/step", &samples, OURS, 0.5));
        }
        let mut alone = |id: String, stop: &dyn Fn() -> f64| {
            let samples = Race::new().with(OURS, || per_step(stop())).run();
            suite.add(Figure::of(id, "us/step", &samples, OURS, 0.5));
        };
        alone(format!("stop/{count} threads"), &|| {
            let keel = keel(None);
            fill(&keel, count, THREADS);
            stop_ns(&keel)
        });
        let refused = Cell::new(0);
        let journalled = |give| {
            let (took, more) = journalled_stop(count, give);
            refused.set(refused.get() + more);
            took
        };
        alone(format!("stop/{count} threads, journal"), &|| journalled(THREADS));
        if count == 1_000 {
            alone(format!("stop/{count} unrepeatable, journal"), &|| journalled(UNREPEATABLE));
        }
        let id = format!("stop/{count} journal, refused");
        suite.add(Figure::lower(id, "entries", refused.get() as f64).goal(Goal::Below(1.0)));
    }
}

/// Ours beside the peers, all on one runtime.
#[cfg(feature = "peers")]
fn futures(count: usize, per_step: impl Fn(f64) -> f64 + Copy + 'static) -> Race<'static> {
    let runtime = std::rc::Rc::new(peers::stop::runtime());
    let on = |stop: fn(&tokio::runtime::Runtime, usize) -> Duration| {
        let runtime = runtime.clone();
        move || per_step(ns(stop(&runtime, count)))
    };
    let theirs = runtime.clone();
    let ours = move || {
        let builder = Keel::builder("bench").without_signals().keep_process().grace(GRACE);
        let keel = builder.runtime(theirs.handle().clone()).build().unwrap();
        fill(&keel, count, FUTURES);
        per_step(stop_ns(&keel))
    };
    Race::new()
        .with(OURS, ours)
        .with("TaskTracker", on(peers::stop::task_tracker))
        .with("tokio-graceful-shutdown", on(peers::stop::graceful_shutdown))
        .with("task-supervisor", on(peers::stop::task_supervisor))
}
