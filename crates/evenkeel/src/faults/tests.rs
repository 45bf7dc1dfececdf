//! The shell in virtual time: its desk is driven by hand, and its jobs run when the test says so.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod rest;
mod storm;
mod storms;

use super::desk::Desk;
use super::procedure::{Job, Run};
use super::*;
use crate::journal::{JournalOptions, entries};
use crate::state::RecoveryState;
use crate::threads::Pulse;
use evenkeel_log::sim::SimStorage;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Mutex as Plain;

/// A job that was given: when, its name, itself.
struct Given {
    at: Mono,
    name: String,
    job: Job,
}

/// A coordinator without threads, on a clock of the test's.
struct Rig {
    inner: Arc<Inner>,
    desk: Desk,
    now: Arc<AtomicU64>,
    given: Arc<Plain<VecDeque<Given>>>,
    /// Every job that was given, in order.
    log: Vec<(Mono, String)>,
    stops: Arc<Plain<Vec<String>>>,
    storage: SimStorage,
    journal: Journal,
}

impl Rig {
    fn new(policies: Policies, limits: Limits, seed: u64) -> Self {
        let (now, given) =
            (Arc::new(AtomicU64::new(1_000_000_000)), Arc::<Plain<VecDeque<Given>>>::default());
        let (clock, queue, at) = (now.clone(), given.clone(), now.clone());
        let run: Run = Arc::new(move |name, _, job| {
            let at = Mono::from_nanos(at.load(Relaxed));
            queue.lock().unwrap().push_back(Given { at, name, job });
        });
        let storage = SimStorage::new();
        let options = JournalOptions {
            run_id: [7; 16],
            queue_entries_max: 1 << 20,
            queue_bytes_max: 1 << 24,
            ..JournalOptions::default()
        };
        let (journal, _) = Journal::open(Arc::new(storage.clone()), options).unwrap();
        let stops = Arc::<Plain<Vec<String>>>::default();
        let asked = stops.clone();
        let means = Means {
            threads: ThreadCoordinator::default(),
            states: crate::state::States::default(),
            journal: Some(Box::new(journal.downgrade())),
            policies,
            limits,
            seed,
            stop: Box::new(move |reason| asked.lock().unwrap().push(reason)),
        };
        let clock = move || Mono::from_nanos(clock.load(Relaxed));
        let inner = Arc::new(Inner::new(means, run, Box::new(clock)));
        let desk = Desk::new(inner.clone());
        Self { inner, desk, now, given, log: Vec::new(), stops, storage, journal }
    }

    fn plain() -> Self {
        Self::new(Policies::default(), Limits::default(), 7)
    }

    fn now(&self) -> Mono {
        Mono::from_nanos(self.now.load(Relaxed))
    }

    fn channel(&self, name: &str) -> Supervision {
        self.inner.supervision(&Name::new(name).unwrap())
    }

    fn system(&self) -> Supervision {
        Supervision { inner: self.inner.clone(), lane: self.inner.system.clone(), id: None }
    }

    /// The jobs that were given since the last call.
    fn take_jobs(&mut self) -> Vec<Given> {
        let jobs: Vec<Given> = self.given.lock().unwrap().drain(..).collect();
        self.log.extend(jobs.iter().map(|given| (given.at, given.name.clone())));
        jobs
    }

    /// Looks, and runs what is given, until there is nothing to do at this moment.
    fn settle(&mut self) {
        loop {
            while self.desk.round() {}
            let jobs = self.take_jobs();
            if jobs.is_empty() && self.is_quiet() {
                return;
            }
            jobs.into_iter().for_each(|given| run(given.job));
        }
    }

    /// Looks, and leaves what is given to the test.
    fn look(&mut self) -> Vec<Given> {
        while self.desk.round() || !self.is_quiet() {}
        self.take_jobs()
    }

    fn is_quiet(&self) -> bool {
        let lanes: Vec<_> = self.inner.with(|book| book.lanes().cloned().collect());
        !self.inner.inbox.is_rung()
            && !self.inner.system.has_any()
            && !lanes.iter().any(|lane: &Arc<Lane>| lane.has_any())
    }

    /// So much later, with all that is due on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.now().plus(time);
        self.settle();
        while let Some(at) = self.desk.next_deadline().filter(|at| *at <= end) {
            self.now.store(at.max(self.now()).as_nanos(), Relaxed);
            self.settle();
        }
        self.now.store(end.as_nanos(), Relaxed);
        self.settle();
    }

    /// Goes to what is due next, until there is a job; runs nothing.
    fn until_job(&mut self) -> Given {
        for _ in 0..10_000 {
            let jobs = self.look();
            if let Some(given) = jobs.into_iter().next() {
                return given;
            }
            let at = self.desk.next_deadline().expect("something is to come");
            self.now.store(at.max(self.now()).as_nanos(), Relaxed);
        }
        panic!("no job came");
    }

    /// What the journal has: kind, channel, body.
    fn written(&self) -> Vec<(String, Option<String>, Value)> {
        self.journal.finish(Duration::from_secs(30)).unwrap();
        let mut all = Vec::new();
        let mut visit = |entry: crate::journal::Entry| {
            let mut body = entry.body;
            body["component"] = entry.component.into();
            all.push((entry.kind, entry.channel, body));
            Ok(())
        };
        entries(&self.storage, false, &mut visit).unwrap();
        all
    }
}

fn run(job: Job) {
    Pulse::unwatched(|pulse| job(pulse));
}

fn fine(_: &Attempt<'_>) -> Result<(), String> {
    Ok(())
}

/// The states of the recovery entries of a step, in order.
fn states(written: &[(String, Option<String>, Value)], step: &str) -> Vec<String> {
    let of = |(kind, _, body): &&(String, Option<String>, Value)| kind == "recovery" && body["step"] == step;
    written.iter().filter(of).map(|(_, _, body)| body["state"].as_str().unwrap().to_owned()).collect()
}

fn measures(written: &[(String, Option<String>, Value)]) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |(_, _, body): &(String, Option<String>, Value)| {
        (text(&body["measure"]), text(&body["who"]), text(&body["reason"]))
    };
    written.iter().filter(|(kind, ..)| kind == "measure").map(of).collect()
}

// REQ E3, REQ E4
#[test]
fn a_procedure_that_hangs_lapses_and_its_late_answer_counts() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let mic = left.supervise("mic").restart(fine).register().unwrap();
    mic.fault(Code::PANIC, Severity::Error).report();
    let hung = rig.until_job();
    assert_eq!(hung.name, "faults: restart left/mic");
    // Nothing of it is begun again while it may still be at work; the channel is cut off.
    rig.pass(Duration::from_secs(200));
    assert!(left.is_isolated() && !mic.may_use());
    assert!(!rig.log[1..].iter().any(|(_, name)| name.contains("restart")), "{:?}", rig.log);
    run(hung.job);
    // Once it has answered, the channel is tried again when its time has come.
    rig.pass(Duration::from_secs(900));
    assert!(!left.is_isolated() && mic.may_use());
    let written = rig.written();
    assert_eq!(states(&written, "restart"), ["begun", "lapsed", "done"]);
    let taken: Vec<_> = measures(&written).into_iter().map(|(what, _, why)| (what, why)).collect();
    let word = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
    let expected = [("restart", "policy"), ("isolate", "still-under-way"), ("release", "still-under-way")];
    assert_eq!(taken, expected.map(word));
}

// REQ E3
#[test]
fn a_recovery_runs_its_parts_in_order_and_the_components_after_the_resources() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let order = Arc::<Plain<Vec<&str>>>::default();
    let does = |what: &'static str| {
        let order = order.clone();
        move |_: &Attempt<'_>| {
            order.lock().unwrap().push(what);
            Ok::<(), String>(())
        }
    };
    left.recovery()
        .verify(does("verify"))
        .reinitialise(does("resources"))
        .flush(does("flush"))
        .stop_capture(does("stop-capture"))
        .register()
        .unwrap();
    let writer = left.supervise("writer").restart(does("writer")).register().unwrap();
    let mic = left.supervise("mic").needs(&writer).restart(does("mic")).verify(does("mic works"));
    mic.register().unwrap();
    let machine = left.recovery_state().unwrap();
    assert_eq!(
        (machine.state(), machine.name().to_string()),
        (RecoveryState::Idle, "left: recovery".to_owned())
    );
    left.fault(Code::STORAGE, Severity::Error).report();
    rig.pass(Duration::from_secs(60));
    let expected = ["stop-capture", "flush", "resources", "writer", "mic", "verify", "mic works"];
    assert_eq!(*order.lock().unwrap(), expected);
    assert!(rig.inner.with(|book| book.supervisor.is_calm()));
    assert_eq!((machine.state(), machine.sequence()), (RecoveryState::Completed, 7));
    let written = rig.written();
    for step in ["stop-capture", "flush", "reinitialise", "verify"] {
        assert_eq!(states(&written, step), ["begun", "done"], "{step}");
    }
}

// REQ E3
#[test]
fn what_nobody_said_how_to_do_has_failed_and_the_next_measure_is_taken() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let mic = left.supervise("mic").register().unwrap();
    mic.fault(Code::EXECUTION, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    assert!(left.is_isolated() && rig.log.is_empty(), "{:?}", rig.log);
    let written = rig.written();
    let taken: Vec<_> = measures(&written).into_iter().map(|(what, ..)| what).collect();
    assert_eq!(taken, ["recover", "recover", "isolate"]);
    assert_eq!(states(&written, "reinitialise"), ["begun", "failed", "begun", "failed"]);

    // Of a channel of which nobody said anything, faults are told, no more.
    let mut rig = Rig::plain();
    let right = rig.channel("right");
    right.fault(Code::SECURITY, Severity::Critical).report();
    rig.pass(Duration::from_secs(100));
    assert!(!right.is_isolated() && right.last_fault().is_some());
    assert_eq!(measures(&rig.written()), []);
}

// REQ E5, REQ E1
#[test]
fn a_panic_in_a_procedure_is_a_fault_of_its_own_and_counts_as_its_failure() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    let restart = move |_: &Attempt<'_>| -> Result<(), String> {
        assert!(count.fetch_add(1, Relaxed) > 0, "the first time it panics");
        Ok(())
    };
    let mic = left.supervise("mic").restart(restart).register().unwrap();
    mic.fault(Code::EXITED, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    assert_eq!(times.load(Relaxed), 2);
    assert!(mic.may_use() && !mic.is_troubled());
    let written = rig.written();
    assert_eq!(states(&written, "restart"), ["begun", "failed", "begun", "done"]);
    let codes: Vec<&Value> = written
        .iter()
        .filter(|(kind, ..)| kind == "fault")
        .map(|(_, _, body)| &body["fault"]["code"])
        .collect();
    assert_eq!(codes, ["EK-0201", "EK-0800"]);
}

// REQ E2
#[test]
fn who_needs_what_is_down_is_told_and_siblings_are_not() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let told = Arc::<Plain<Vec<String>>>::default();
    let tells = |who: &'static str| {
        let told = told.clone();
        move |on: &Dependency| {
            told.lock().unwrap().push(format!("{who}: {} {:?}", on.component, on.condition));
        }
    };
    let disk = rig.system().supervise("disk").restart(fine).register().unwrap();
    let mic =
        left.supervise("mic").needs(&disk).restart(fine).on_dependency(tells("mic")).register().unwrap();
    left.supervise("meter").needs(&mic).on_dependency(tells("meter")).register().unwrap();
    left.supervise("lamp").on_dependency(tells("lamp")).register().unwrap();
    disk.fault(Code::PANIC, Severity::Error).report();
    rig.pass(Duration::from_secs(60));
    assert_eq!(*told.lock().unwrap(), ["mic: disk Down", "mic: disk Up"]);
    told.lock().unwrap().clear();
    mic.fault(Code::PANIC, Severity::Error).report();
    rig.pass(Duration::from_secs(60));
    assert_eq!(*told.lock().unwrap(), ["meter: mic Down", "meter: mic Up"]);
}

// REQ E3, REQ E4
#[test]
fn isolation_cuts_off_and_a_person_releases() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let order = Arc::<Plain<Vec<&str>>>::default();
    let (cut, back) = (order.clone(), order.clone());
    left.recovery()
        .reinitialise(fine)
        .on_isolate(move || cut.lock().unwrap().push("cut off"))
        .on_release(move || back.lock().unwrap().push("back"))
        .register()
        .unwrap();
    let mic = left.supervise("mic").restart(fine).register().unwrap();
    mic.fault(Code::SECURITY, Severity::Error).report();
    rig.pass(Duration::from_secs(100_000));
    assert_eq!(*order.lock().unwrap(), ["cut off"]);
    assert!(left.is_isolated() && !mic.may_use() && mic.breaker() == BreakerState::Closed);
    assert_eq!(left.recovery_state().unwrap().state(), RecoveryState::Idle);
    left.release();
    left.release();
    rig.pass(Duration::from_secs(20));
    assert_eq!(*order.lock().unwrap(), ["cut off", "back"]);
    assert!(!left.is_isolated() && mic.may_use());
    assert_eq!(left.recovery_state().unwrap().state(), RecoveryState::Completed);
}

// REQ E3
#[test]
fn a_retry_that_fails_hangs_or_helps_is_heard_of() {
    let mut rig = Rig::plain();
    let left = rig.channel("left");
    let helps = left.supervise("helps").retry(fine).register().unwrap();
    helps.fault(Code::EXECUTION, Severity::Error).report();
    rig.pass(Duration::from_secs(1));
    assert!(!helps.is_troubled(), "its success is one of the component");

    let fails = |_: &Attempt<'_>| Err::<(), _>(std::io::Error::other("it does not help"));
    let fails = left.supervise("fails").retry(fails).restart(fine).register().unwrap();
    fails.fault(Code::EXECUTION, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    let jobs = |rig: &Rig, name: &str| rig.log.iter().filter(|(_, job)| job == name).count();
    assert_eq!((jobs(&rig, "faults: retry left/fails"), jobs(&rig, "faults: restart left/fails")), (4, 1));
    assert!(!fails.is_troubled());

    let hangs = left.supervise("hangs").retry(fine).restart(fine).register().unwrap();
    hangs.fault(Code::EXECUTION, Severity::Error).report();
    let hung = rig.until_job();
    rig.pass(Duration::from_secs(60));
    assert_eq!(jobs(&rig, "faults: restart left/hangs"), 1, "{:?}", rig.log);
    run(hung.job);
}

// REQ E3, REQ E1
#[test]
fn a_critical_fault_stops_the_system_where_its_policy_says_so_and_then_nothing_is_done() {
    let mut policies = Policies::default();
    policies[FaultClass::Storage].stops_system_when_critical = true;
    let mut rig = Rig::new(policies, Limits::default(), 7);
    let left = rig.channel("left");
    let mic = left.supervise("mic").restart(fine).register().unwrap();
    left.fault(Code::STORAGE_FULL, Severity::Critical).text("/srv/ada is full").report();
    rig.settle();
    assert_eq!(*rig.stops.lock().unwrap(), ["fault EK-1001: the disk is full"]);
    mic.fault(Code::PANIC, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    assert!(rig.log.is_empty());
    let kinds: Vec<String> = rig.written().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds[..2], ["fault", "measure"]);

    // The stop has begun for another reason: faults are still told.
    let mut rig = Rig::plain();
    let mic = rig.channel("left").supervise("mic").restart(fine).register().unwrap();
    mic.fault(Code::PANIC, Severity::Error).report();
    rig.look();
    rig.inner.is_over.store(true, Relaxed);
    mic.fault(Code::EXITED, Severity::Error).report();
    rig.pass(Duration::from_secs(100));
    assert!(!rig.log.iter().any(|(_, name)| name.contains("restart")), "{:?}", rig.log);
    assert!(matches!(rig.channel("left").supervise("late").register(), Err(SuperviseError::Stopping)));
    let written = rig.written();
    assert_eq!(written.iter().filter(|(kind, ..)| kind == "fault").count(), 2);
    assert_eq!(measures(&written), [], "nothing is said to be done");
}

// REQ E5
#[test]
fn one_who_panics_when_told_is_told_no_more_and_that_is_told_once() {
    let mut rig = Rig::plain();
    let coordinator = FaultCoordinator(Arc::new(Owner(rig.inner.clone())));
    rig.inner.is_over.store(false, Relaxed);
    let heard = Arc::<Plain<Vec<String>>>::default();
    let hears = heard.clone();
    coordinator.on_fault(|_| panic!("not again"));
    coordinator.on_fault(move |fault| hears.lock().unwrap().push(fault.code.to_string()));
    let left = rig.channel("left");
    for _ in 0..3 {
        left.fault(Code::EXITED, Severity::Error).report();
        rig.settle();
    }
    assert_eq!(*heard.lock().unwrap(), ["EK-0201", "EK-0800", "EK-0201", "EK-0201"]);
    let last = coordinator.recent(3).first().cloned().unwrap();
    assert_eq!((last.severity, last.component.unwrap().as_str()), (Severity::Warning, "on-fault"));
    assert_eq!((coordinator.counts().told, coordinator.counts().reported), (4, 4));
}

// REQ E1
#[test]
fn who_cannot_be_supervised_is_told_why() {
    let rig = Rig::plain();
    let left = rig.channel("left");
    left.supervise("mic").register().unwrap();
    let taken = left.supervise("mic").register().unwrap_err();
    assert_eq!(taken.to_string(), "there is a component mic already: give it another name");
    assert!(matches!(left.supervise("Mic!").register(), Err(SuperviseError::Name(_))));
    left.recovery().register().unwrap();
    let twice = left.recovery().register().unwrap_err();
    assert!(twice.to_string().contains("channel left is recovered was said already"), "{twice}");
    let other = Rig::plain().system().supervise("disk").register().unwrap();
    assert!(matches!(left.supervise("x").needs(&other).register(), Err(SuperviseError::Foreign { .. })));
}
