//! Random plans done by the real executor: order, verdicts and waits hold whatever
//! the steps do, with and without a runtime, forced or not, on sick journals too.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::Keel;
use evenkeel::cleanup::{
    Backoff, Dependency, Phase, Report, Step, StepBuilder, StepReport, StepSpec, Verdict,
};
use evenkeel::prelude::*;
use evenkeel_log::sim::{Faults, SimStorage};
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Runs in all, if `STORM_RUNS` does not say more, and how many of them at once.
const RUNS: u64 = 320;
const AT_ONCE: u64 = 4;
/// Far more than any run takes, far less than for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

/// What one part of a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Good,
    Bad,
    Panic,
    /// Waits so many milliseconds, and ends when it is told to stop.
    Listens(u64),
    /// Asks for more time than it has, several times.
    Extends,
    /// Does not listen, until the test lets it go.
    Hangs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Run,
    Check,
    Undo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Began(Part),
    Ended(Part, bool),
    /// It was dropped, or it panicked.
    Gone(Part),
}

/// What happened to one step, with the moments of one clock for all.
#[derive(Default)]
struct Diary {
    facts: Vec<(u64, Fact)>,
    active: u32,
    overlapped: bool,
}

#[derive(Default)]
struct World {
    stamp: AtomicU64,
    diaries: Vec<Mutex<Diary>>,
    is_released: (Mutex<bool>, Condvar),
}

impl World {
    fn note(&self, at: usize, fact: Fact, active: i32) {
        let mut diary = self.diaries[at].lock().unwrap();
        // Under the lock, so that each diary is in order.
        diary.facts.push((self.stamp.fetch_add(1, Ordering::SeqCst), fact));
        diary.active = diary.active.checked_add_signed(active).unwrap();
        diary.overlapped |= diary.active > 1;
    }

    fn hang(&self) {
        let mut released = self.is_released.0.lock().unwrap();
        while !*released {
            released = self.is_released.1.wait(released).unwrap();
        }
    }

    fn release(&self) {
        *self.is_released.0.lock().unwrap() = true;
        self.is_released.1.notify_all();
    }
}

/// Notes the end of a part, however it comes.
struct Under {
    world: Arc<World>,
    at: usize,
    part: Part,
    end: Option<bool>,
}

impl Under {
    fn begin(world: &Arc<World>, at: usize, part: Part) -> Self {
        world.note(at, Fact::Began(part), 1);
        Self { world: world.clone(), at, part, end: None }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let fact = self.end.map_or(Fact::Gone(self.part), |good| Fact::Ended(self.part, good));
        self.world.note(self.at, fact, -1);
    }
}

#[derive(Clone, Debug)]
struct Script {
    spec: StepSpec,
    /// By attempt; the last one again and again.
    acts: [Vec<Act>; 3],
    is_async: [bool; 3],
}

fn act(rng: &mut Rng) -> Act {
    match rng.u8(..20) {
        0..11 => Act::Good,
        11..14 => Act::Bad,
        14 => Act::Panic,
        15..17 => Act::Listens(rng.u64(1..60)),
        17 => Act::Extends,
        18 => Act::Listens(10_000),
        _ => Act::Hangs,
    }
}

fn scripts(rng: &mut Rng) -> Vec<Script> {
    let count = rng.usize(1..12);
    let mut phases: Vec<Phase> = (0..count).map(|_| Phase::ALL[rng.usize(..5)]).collect();
    phases.sort();
    let script = |(at, phase): (usize, Phase)| {
        let mut spec = StepSpec::new(format!("s{at}"), phase);
        for _ in 0..rng.usize(..3).min(at) {
            let name = format!("s{}", rng.usize(..at));
            spec.dependencies.push(Dependency { name, must_succeed: rng.bool() });
        }
        spec.priority = rng.i32(-1..2);
        spec.limits.timeout = Duration::from_millis(rng.u64(10..60));
        spec.limits.retries = rng.u32(..3);
        spec.limits.backoff = Backoff { first: 1.milliseconds(), max: 3.milliseconds() };
        (spec.is_verified, spec.is_compensated) = (rng.bool(), rng.u8(..4) == 0);
        spec.is_idempotent = rng.bool();
        let mut acts = || (0..rng.usize(1..3)).map(|_| act(rng)).collect();
        let acts = [acts(), acts(), acts()];
        Script { spec, acts, is_async: [rng.bool(), rng.bool(), rng.bool()] }
    };
    phases.into_iter().enumerate().map(script).collect()
}

/// What a part does, when it blocks.
fn play(world: &Arc<World>, at: usize, part: Part, act: Act, step: &Step) -> bool {
    let mut under = Under::begin(world, at, part);
    let good = match act {
        Act::Good => true,
        Act::Bad => false,
        Act::Panic => panic!("as the storm wills"),
        Act::Listens(ms) => {
            step.wait_cancelled(ms.milliseconds());
            true
        }
        Act::Extends => {
            for _ in 0..4 {
                step.extend(50.milliseconds());
                step.wait_cancelled(15.milliseconds());
            }
            true
        }
        Act::Hangs => {
            world.hang();
            true
        }
    };
    under.end = Some(good);
    good
}

/// The same as a future: what listens is one that is dropped.
async fn play_async(world: Arc<World>, at: usize, part: Part, act: Act, step: Step) -> bool {
    if !matches!(act, Act::Listens(10_000)) {
        // To be polled more than once.
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        return play(&world, at, part, act, &step);
    }
    let _under = Under::begin(&world, at, part);
    std::future::pending().await
}

fn closures(mut step: StepBuilder, world: &Arc<World>, at: usize, script: &Script) -> StepBuilder {
    for (place, part) in [Part::Run, Part::Check, Part::Undo].into_iter().enumerate() {
        let asked = [true, script.spec.is_verified, script.spec.is_compensated][place];
        if !asked {
            continue;
        }
        let (world, acts) = (world.clone(), script.acts[place].clone());
        let act = move |step: &Step| acts[(step.attempt() as usize - 1).min(acts.len() - 1)];
        if script.is_async[place] {
            let work = move |step: Step| play_async(world.clone(), at, part, act(&step), step);
            step = match part {
                Part::Run => step.run(work),
                Part::Check => step.verify(work),
                Part::Undo => step.compensate(work),
            };
        } else {
            let work = move |step: Step| play(&world, at, part, act(&step), &step);
            step = match part {
                Part::Run => step.run_blocking(work),
                Part::Check => step.verify_blocking(work),
                Part::Undo => step.compensate_blocking(work),
            };
        }
    }
    step
}

struct Storm {
    scripts: Vec<Script>,
    world: Arc<World>,
    report: Report,
    is_forced: bool,
    storage: Option<SimStorage>,
    is_sick: bool,
    told: u64,
}

fn storm(seed: u64) -> Storm {
    let mut rng = Rng::with_seed(seed);
    let scripts = scripts(&mut rng);
    let diaries = scripts.iter().map(|_| Mutex::default()).collect();
    let world = Arc::new(World { diaries, ..World::default() });
    let runtime = rng.bool().then(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(rng.usize(1..3)).build().unwrap()
    });
    let storage = (rng.u8(..3) > 0).then(SimStorage::new);
    let told = Arc::new(AtomicU64::new(0));
    let counted = told.clone();
    let mut builder = Keel::builder("storm")
        .without_signals()
        .keep_process()
        .grace(rng.u64(100..500).milliseconds())
        .concurrency(rng.usize(1..5))
        .on_progress(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
    if let Some(runtime) = &runtime {
        builder = builder.runtime(runtime.handle().clone());
    }
    if let Some(storage) = &storage {
        builder = builder.journal_on(Arc::new(storage.clone()));
    }
    let keel = builder.build().unwrap();
    for (at, script) in scripts.iter().enumerate() {
        closures(keel.cleanup_as(script.spec.clone()), &world, at, script).register().unwrap();
    }
    let is_sick = storage.is_some() && rng.bool();
    if let Some(storage) = storage.as_ref().filter(|_| is_sick) {
        let at = Some(rng.u64(..40));
        storage.set_faults(Faults { at, for_ever: rng.bool(), ..Faults::default() });
    }
    let is_forced = rng.u8(..4) == 0;
    if !is_forced || rng.u8(..4) > 0 {
        keel.request_stop("enough", "the storm");
    }
    let loses_runtime = rng.u8(..4) == 0;
    let at_most = if is_forced || loses_runtime { rng.u64(..120).milliseconds() } else { FOR_EVER };
    let early = keel.wait_timeout(at_most);
    let runtime = match runtime {
        Some(runtime) if loses_runtime => {
            runtime.shutdown_background();
            None
        }
        runtime => runtime,
    };
    if is_forced {
        keel.force("the storm");
    }
    let stopped = early.or_else(|| keel.wait_timeout(FOR_EVER)).expect("it waits for ever");
    let storm = Storm {
        scripts,
        world,
        report: stopped.report.clone(),
        is_forced,
        storage,
        is_sick,
        told: told.load(Ordering::Relaxed),
    };
    storm.check();
    storm.world.release();
    if let Some(runtime) = runtime {
        runtime.shutdown_background();
    }
    storm
}

impl Storm {
    fn steps(&self) -> HashMap<&str, &StepReport> {
        let all = self.report.phases.iter().flat_map(|phase| &phase.steps);
        let count = all.clone().count();
        let steps: HashMap<_, _> = all.map(|step| (step.name.as_str(), step)).collect();
        assert_eq!(steps.len(), count, "a step is in the report twice");
        assert_eq!(count, self.scripts.len() + usize::from(self.storage.is_some()));
        steps
    }

    fn check(&self) {
        let steps = self.steps();
        let diaries: Vec<_> = self.world.diaries.iter().map(|diary| diary.lock().unwrap()).collect();
        for (script, diary) in self.scripts.iter().zip(&diaries) {
            let step = steps[script.spec.name.as_str()];
            assert!(!diary.overlapped, "it ran twice at once: {:?}", diary.facts);
            check_step(script, diary, step);
            assert!(
                diary.active == 0 || self.report.abandoned.contains(&step.name),
                "it runs still and nobody says so: {step:?}"
            );
            if self.storage.is_some() && !script.spec.is_idempotent && !diary.facts.is_empty() {
                assert!(step.journalled, "it ran before its intent was durable: {step:?}");
            }
            for dependency in script.spec.dependencies.iter().filter(|d| d.must_succeed) {
                let needed = steps[dependency.name.as_str()].verdict.unwrap();
                let fits = needed.is_success() || step.verdict == Some(Verdict::SkippedBecause);
                assert!(fits, "it needs {needed:?}: {step:?}");
            }
        }
        for (at, one) in self.scripts.iter().enumerate() {
            for (before, other) in self.scripts[..at].iter().enumerate() {
                let waits = one.spec.dependencies.iter().any(|d| d.name == other.spec.name);
                if waits || one.spec.phase > other.spec.phase {
                    let verdict = steps[other.spec.name.as_str()].verdict.unwrap();
                    check_order(&diaries[before], verdict, &diaries[at]);
                }
            }
        }
        self.check_whole(&steps);
    }

    fn check_whole(&self, steps: &HashMap<&str, &StepReport>) {
        let report = &self.report;
        let is_clean = steps.values().all(|step| step.verdict == Some(Verdict::Verified));
        assert!(!report.clean || is_clean, "clean, and not all is verified");
        assert_eq!(report.exit_code == 0, report.clean);
        assert!([0, 1, 4, 5].contains(&report.exit_code));
        assert!(report.exit_code != 4 || self.is_forced);
        assert!(!is_clean || report.clean || report.exit_code > 1);
        // A stop, five phases at most twice, every step, the end.
        assert!(self.told <= 7 + steps.len() as u64);
        let Some(storage) = &self.storage else { return };
        if steps["close-journal"].verdict != Some(Verdict::Verified) {
            return;
        }
        let mut last = None;
        let mut outcomes = HashMap::new();
        evenkeel::journal::entries(storage, false, &mut |entry| {
            if entry.kind == "step-outcome" {
                let text = |field: &str| entry.body[field].as_str().unwrap().to_owned();
                assert_eq!(outcomes.insert(text("step"), text("verdict")), None, "two outcomes");
            }
            last = Some(entry);
            Ok(())
        })
        .unwrap();
        let last = last.unwrap();
        assert_eq!((last.kind.as_str(), Some(&last.prev)), ("report", report.journal_head.as_ref()));
        for script in &self.scripts {
            let name = script.spec.name.as_str();
            assert_eq!(outcomes.get(name).map(String::as_str), steps[name].verdict.map(Verdict::name));
        }
        if !self.is_sick {
            let found = evenkeel::journal::verify(storage, false).unwrap();
            assert_eq!(found.outcome, evenkeel_log::Outcome::Intact, "{found:?}");
        }
    }
}

/// The verdict of a step agrees with what it did.
fn check_step(script: &Script, diary: &Diary, step: &StepReport) {
    let facts = &diary.facts;
    let last = facts.last().map(|(_, fact)| *fact);
    let told = || format!("{step:?} of {script:?}: {facts:?}");
    let begun = |part| facts.iter().filter(|(_, fact)| *fact == Fact::Began(part)).count() as u32;
    assert!(begun(Part::Run) <= step.attempts, "{}", told());
    assert!(step.attempts <= script.spec.limits.retries + 1, "{}", told());
    assert!(begun(Part::Check) <= step.attempts && begun(Part::Undo) <= 1, "{}", told());
    let agrees = match step.verdict.unwrap() {
        Verdict::Verified => last == Some(Fact::Ended(Part::Check, true)),
        Verdict::DoneUnverified => last == Some(Fact::Ended(Part::Run, true)),
        Verdict::TimedOutStillRunning => step.detail.as_deref().unwrap().contains("still running"),
        Verdict::Failed => {
            let done = last == Some(Fact::Ended(Part::Run, true)) && !script.spec.is_verified;
            !done && last != Some(Fact::Ended(Part::Check, true)) && !script.spec.is_compensated
        }
        Verdict::Panicked => last == Some(Fact::Gone(Part::Run)) && !script.spec.is_compensated,
        Verdict::SkippedBecause => facts.is_empty() && step.detail.is_some() && step.attempts == 0,
        Verdict::Abandoned => step.attempts > 0,
        Verdict::Compensated => last == Some(Fact::Ended(Part::Undo, true)),
        Verdict::CompensationFailed => {
            // One that was given up may end before anybody looks here.
            let detail = step.detail.as_deref().unwrap();
            script.spec.is_compensated && last != Some(Fact::Ended(Part::Undo, true))
                || detail.contains("it ended")
                || detail.contains("its compensation: still running")
        }
    };
    assert!(agrees, "{}", told());
}

/// What came after did not begin before what it had to wait for was over.
fn check_order(before: &Diary, verdict: Verdict, after: &Diary) {
    let Some((first, _)) = after.facts.first() else { return };
    let may_run_on =
        matches!(verdict, Verdict::TimedOutStillRunning | Verdict::Abandoned | Verdict::CompensationFailed);
    let counts = |fact: &Fact| !may_run_on || matches!(fact, Fact::Began(_));
    let last = before.facts.iter().filter(|(_, fact)| counts(fact)).map(|(stamp, _)| *stamp).max();
    assert!(last.is_none_or(|last| last < *first), "{:?} before {:?}", after.facts, before.facts);
}

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let named = |task: std::io::Result<std::fs::DirEntry>| {
        let comm = std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        (comm.trim() == name).then_some(())
    };
    tasks.filter_map(named).count()
}

// REQ C3, REQ C4, REQ C5, REQ C6, REQ C7, REQ C8, REQ C16
#[test]
fn in_any_storm_order_and_verdicts_hold_and_nobody_waits_for_ever() {
    // Panics of the storm's own are told nobody.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"as the storm wills") {
            hook(panic);
        }
    }));
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (only, runs) = (number("STORM_SEED"), number("STORM_RUNS").unwrap_or(RUNS));
    let seeds = || (0..runs).filter(move |seed| only.is_none_or(|only| only == *seed));
    let verdicts: Mutex<HashMap<Verdict, u32>> = Mutex::default();
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let verdicts = &verdicts;
            scope.spawn(move || {
                for seed in seeds().filter(|seed| seed % AT_ONCE == worker) {
                    let ran = std::panic::catch_unwind(|| storm(seed));
                    let storm = ran.unwrap_or_else(|_| panic!("STORM_SEED={seed} fails"));
                    for step in storm.report.phases.iter().flat_map(|phase| &phase.steps) {
                        *verdicts.lock().unwrap().entry(step.verdict.unwrap()).or_default() += 1;
                    }
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    assert!(only.is_some() || verdicts.len() == 9, "the storm was too mild: {verdicts:?}");
    let began = Instant::now();
    while threads("ek-stop") + threads("ek-tell") + threads("ek-journal") + threads("ek-step") > 0 {
        assert!(began.elapsed() < FOR_EVER, "a thread waits for ever");
        std::thread::sleep(20.milliseconds()); // sleep: idle threads leave after a while; nothing tells when
    }
}
