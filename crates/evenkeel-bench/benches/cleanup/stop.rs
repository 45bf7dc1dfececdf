//! Whole stops through the front door.

use crate::OURS;
#[cfg(feature = "peers")]
use crate::peers;
use evenkeel::Keel;
use evenkeel::cleanup::{StepBuilder, Verdict};
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

/// Nanoseconds from the call to the report, and how many steps it does not say were verified.
fn stop(keel: &Keel) -> (f64, usize) {
    let began = Instant::now();
    let report = keel.stop("the bench", "the bench");
    let took = ns(began.elapsed());
    let steps = report.phases.iter().flat_map(|phase| &phase.steps);
    (took, steps.filter(|step| step.verdict != Some(Verdict::Verified)).count())
}

/// The same where no disk can be in the way.
fn clean_stop_ns(keel: &Keel) -> f64 {
    let (took, unverified) = stop(keel);
    assert_eq!(unverified, 0, "every step was verified");
    took
}

/// What went wrong in stops with a journal.
#[derive(Default)]
struct Wrong {
    refused: Cell<u64>,
    unverified: Cell<usize>,
}

/// Nanoseconds of a stop with a journal in a new directory.
fn journalled_stop_ns(count: usize, give: Give, wrong: &Wrong) -> f64 {
    let place = place().unwrap();
    let keel = keel(Some(place.path()));
    fill(&keel, count, give);
    let (took, unverified) = stop(&keel);
    wrong.unverified.set(wrong.unverified.get() + unverified);
    wrong.refused.set(wrong.refused.get() + keel.journal().map_or(0, evenkeel::journal::Journal::refused));
    took
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
        let stops = (0..EMPTY_STOPS).map(|_| clean_stop_ns(&keel(None)));
        stops.sum::<f64>() / EMPTY_STOPS as f64 / 5.0 / 1e3
    });
    suite.add(Figure::of("empty", "us/phase", &samples.run(), OURS, 0.5).goal(Goal::Below(20.0)));
    let samples = Race::new().with(OURS, || journalled_stop_ns(0, THREADS, &Wrong::default()) / 5.0 / 1e3);
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
            clean_stop_ns(&keel)
        });
        let wrong = Wrong::default();
        let journalled = |give| journalled_stop_ns(count, give, &wrong);
        alone(format!("stop/{count} threads, journal"), &|| journalled(THREADS));
        if count == 1_000 {
            alone(format!("stop/{count} unrepeatable, journal"), &|| journalled(UNREPEATABLE));
        }
        let none = |id: String, many: f64| Figure::lower(id, "in all", many).goal(Goal::Below(1.0));
        suite.add(none(format!("stop/{count} journal, entries refused"), wrong.refused.get() as f64));
        suite.add(none(format!("stop/{count} journal, steps unverified"), wrong.unverified.get() as f64));
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
        per_step(clean_stop_ns(&keel))
    };
    Race::new()
        .with(OURS, ours)
        .with("TaskTracker", on(peers::stop::task_tracker))
        .with("tokio-graceful-shutdown", on(peers::stop::graceful_shutdown))
        .with("task-supervisor", on(peers::stop::task_supervisor))
}
