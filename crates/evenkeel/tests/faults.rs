//! Faults of a whole service on the real clock: told, acted on, contained, and never more of them told than may be.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::faults::{
    CODES, Code, FaultClass, Intensity, Limits, Name, Policies, PublicFace, Rung, Severity, Supervised,
};
use evenkeel::journal::{Entry, JournalOptions, entries};
use evenkeel::prelude::*;
use evenkeel::threads::{Class, ThreadCoordinator};
use evenkeel::{Channel, Keel};
use evenkeel_log::sim::SimStorage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A service with a journal in memory.
struct House {
    keel: Keel,
    storage: SimStorage,
    told: Receiver<PublicFace>,
}

impl House {
    fn of(threads: ThreadCoordinator, policies: Policies, limits: Limits) -> Self {
        let storage = SimStorage::new();
        let options = JournalOptions { ballast_bytes: 0, run_id: [7; 16], ..JournalOptions::default() };
        let builder = Keel::builder("house").without_signals().keep_process().threads(threads);
        let builder = builder.journal_on(Arc::new(storage.clone())).journal_options(options);
        let keel = builder.supervision(policies, limits).build().unwrap();
        let (tell, told) = channel();
        keel.faults().on_fault(move |fault| _ = tell.send(fault.clone()));
        Self { keel, storage, told }
    }

    fn new() -> Self {
        Self::of(ThreadCoordinator::default(), Policies::default(), Limits::default())
    }

    fn channel(&self, name: &str) -> Channel {
        self.keel.channel(name).unwrap()
    }

    fn next(&self) -> PublicFace {
        self.told.recv_timeout(LONG).expect("a fault is told")
    }

    /// Stops it; what the journal has.
    fn end(self) -> Vec<Entry> {
        self.keel.stop("the test is over", "the test");
        let mut all = Vec::new();
        let mut visit = |entry| {
            all.push(entry);
            Ok(())
        };
        assert!(!entries(&self.storage, false, &mut visit).unwrap().damaged);
        all
    }
}

fn of_kind<'a>(entries: &'a [Entry], kind: &str) -> Vec<&'a Value> {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.body).collect()
}

/// A component whose restarts are told, and work.
fn restarted(channel: &Channel, name: &str, tell: &Sender<String>) -> Supervised {
    let (tell, of) = (tell.clone(), format!("{}/{name}", channel.name()));
    let restart = move |_: &evenkeel::faults::Attempt<'_>| tell.send(of.clone());
    channel.supervise(name).restart(restart).register().unwrap()
}

// REQ E2, REQ E5, REQ P4
#[test]
fn a_job_that_panics_is_a_fault_of_its_channel_and_a_thread_that_dies_of_its_component() {
    let house = House::new();
    let (tell, restarts) = channel();
    let left = house.channel("left");
    let reads = |_: &evenkeel::threads::Pulse<'_>| panic!("TOKEN=123");
    let mic = left.supervise("mic").thread("mic-reader");
    let mic = mic.restart(move |_| tell.send(())).register().unwrap();
    let job = left.jobs().unwrap().job("compress").run(|_| panic!("TOKEN=123")).unwrap();
    assert!(job.wait().is_err());
    let face = house.next();
    let place = (face.channel.as_ref().map(Name::as_str), face.component.is_none());
    assert_eq!((face.code, place), (Code::PANIC, (Some("left"), true)));

    house.keel.threads().thread("mic-reader").class(Class::Monitoring).start(reads).unwrap();
    let face = house.next();
    assert_eq!((face.code, face.component.unwrap().as_str()), (Code::PANIC, "mic"));
    restarts.recv_timeout(LONG).expect("the component is restarted");
    assert!(mic.is_troubled(), "it is on probation");
    let entries = house.end();
    let faults = of_kind(&entries, "fault");
    assert!(faults.iter().all(|fault| fault["fault"]["causes"].to_string().contains("TOKEN=123")));
    assert_eq!(faults.len(), 2);
    // They are among the events of threads as well.
    assert_eq!(of_kind(&entries, "thread").len(), 2);
}

// REQ E2, REQ T6
#[test]
fn a_thread_that_is_stuck_is_a_fault_of_its_component() {
    let threads = ThreadCoordinator::builder().heartbeat(Duration::from_millis(20)).build();
    let house = House::of(threads, Policies::default(), Limits::default());
    let (tell, restarts) = channel();
    let (release, held) = channel::<()>();
    let mic = house.channel("left").supervise("mic").thread("mic-reader");
    mic.restart(move |_| tell.send(())).register().unwrap();
    let thread = house.keel.threads().thread("mic-reader").start(move |_| held.recv()).unwrap();
    let face = loop {
        let face = house.next();
        if face.component.as_ref().is_some_and(|name| name.as_str() == "mic") {
            break face;
        }
    };
    assert_eq!(face.code, Code::SILENT);
    restarts.recv_timeout(LONG).expect("the component is restarted");
    drop(release);
    assert!(thread.join().unwrap().is_err());
    house.end();
}

// REQ E4, REQ W4
#[test]
fn a_procedure_that_hangs_holds_up_nobody_else() {
    let house = House::new();
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (begins, begun) = channel();
    let hangs = move |_: &evenkeel::faults::Attempt<'_>| {
        begins.send(()).unwrap();
        held.lock().unwrap().recv()
    };
    let left = house.channel("left").supervise("mic").restart(hangs).register().unwrap();
    left.fault(Code::EXITED, Severity::Error).report();
    left.fault(Code::PANIC, Severity::Error).report();
    begun.recv_timeout(LONG).expect("the restart begins");
    let (tell, restarts) = channel();
    let right = restarted(&house.channel("right"), "mic", &tell);
    right.fault(Code::PANIC, Severity::Error).report();
    assert_eq!(restarts.recv_timeout(LONG).as_deref(), Ok("right/mic"));
    drop(release);
    let entries = house.end();
    let steps = of_kind(&entries, "recovery");
    assert!(steps.iter().any(|body| body["state"] == "begun" && body["step"] == "restart"));
}

// REQ E2, REQ E4, REQ W4
#[test]
fn a_real_storm_leaves_the_other_channels_alone() {
    const OTHERS: usize = 49;
    let house = House::new();
    let (tell, restarts) = channel();
    let flood = restarted(&house.channel("flood"), "mic", &tell);
    let others: Vec<Supervised> =
        (0..OTHERS).map(|at| restarted(&house.channel(&format!("c{at}")), "mic", &tell)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    flood.fault(Code::EXECUTION, Severity::Error).text("it broke again").report();
                }
            });
        }
        others.iter().for_each(|other| _ = other.fault(Code::PANIC, Severity::Error).report());
    });
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while seen.keys().filter(|name| !name.starts_with("flood")).count() < OTHERS {
        *seen.entry(restarts.recv_timeout(LONG).expect("each is restarted")).or_default() += 1;
    }
    assert!(seen.iter().all(|(name, times)| name.starts_with("flood") || *times == 1), "{seen:?}");
    // All is told or counted, once it is quiet.
    let all = |counts: evenkeel::faults::FaultCounts| counts.told + counts.summed == 10_000 + OTHERS as u64;
    let until = std::time::Instant::now() + LONG;
    while !all(house.keel.faults().counts()) && std::time::Instant::now() < until {
        std::thread::yield_now();
    }
    let counts = house.keel.faults().counts();
    assert!(all(counts), "{counts:?}");
    assert_eq!(counts.reported, 10_000 + OTHERS as u64);
    assert_eq!(counts.unjournalled, 0);
    let entries = house.end();
    let flood =
        |kind| entries.iter().filter(move |e| e.kind == kind && e.channel.as_deref() == Some("flood"));
    assert!(flood("fault").count() <= 100, "{} faults", flood("fault").count());
    assert!(flood("fault-summary").count() > 0);
    let told = entries.iter().filter(|e| e.kind == "fault" && e.channel.as_deref() != Some("flood")).count();
    assert_eq!(told, OTHERS, "of the others each one is told");
}

// REQ E1, REQ E4
#[test]
fn what_was_reported_right_before_the_stop_is_told_or_counted_in_the_journal() {
    let house = House::new();
    let (left, right) = (house.channel("left"), house.channel("right"));
    for _ in 0..500 {
        left.fault(Code::EXECUTION, Severity::Error).report();
        right.fault(Code::EXITED, Severity::Error).report();
    }
    let keel = house.keel.clone();
    let entries = house.end();
    let told = of_kind(&entries, "fault").len() as u64;
    let sums: Vec<u64> =
        of_kind(&entries, "fault-summary").iter().map(|body| body["count"].as_u64().unwrap()).collect();
    assert_eq!(told + sums.iter().sum::<u64>(), 1_000, "{told} told, and sums {sums:?}");
    assert_eq!(entries.last().unwrap().kind, "report");
    let counts = keel.faults().counts();
    assert_eq!(counts.told + counts.summed, counts.reported);
}

// REQ T9
#[test]
fn a_flood_from_who_has_only_a_component_does_not_keep_the_thread() {
    let threads = ThreadCoordinator::default();
    let house = House::of(threads.clone(), Policies::default(), Limits::default());
    let mics: Vec<Supervised> =
        (0..8).map(|at| house.channel(&format!("c{at}")).supervise("mic").register().unwrap()).collect();
    let is_there = || threads.snapshot().threads.iter().any(|thread| thread.name == "ek-faults");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in 0..3 {
            let (mics, is_over) = (&mics, &is_over);
            scope.spawn(move || {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    mics.iter().cycle().skip(at).take(64).for_each(|mic| {
                        mic.fault(Code::EXECUTION, Severity::Error).report();
                    });
                }
            });
        }
        assert!(is_there());
        house.end();
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while is_there() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        let is_there = is_there();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!is_there, "it goes on for who is left");
    });
}

// REQ T6, REQ E5
#[test]
fn an_observer_that_is_slow_is_not_taken_for_stuck() {
    const HEARTBEAT: Duration = Duration::from_millis(100);
    let threads = ThreadCoordinator::builder().heartbeat(HEARTBEAT).build();
    let house = House::of(threads, Policies::default(), Limits::default());
    let (tell, told) = channel();
    let seen = std::sync::Mutex::new(tell);
    house.keel.faults().on_fault(move |fault| {
        // sleep: it is slow, and this is about how long that takes in all.
        std::thread::sleep(HEARTBEAT / 4);
        _ = seen.lock().unwrap().send(fault.code);
    });
    for at in 0..20 {
        house.channel(&format!("c{at}")).fault(Code::EXITED, Severity::Error).report();
    }
    let codes: Vec<Code> = (0..20).map(|_| told.recv_timeout(LONG).unwrap()).collect();
    assert!(codes.iter().all(|code| *code == Code::EXITED), "{codes:?}");
    let entries = house.end();
    let told = of_kind(&entries, "fault");
    assert_eq!((told.len(), of_kind(&entries, "thread").len()), (20, 0), "{told:?}");
}

// REQ C7, REQ E1
#[test]
fn a_step_of_the_stop_that_fails_is_written_down_as_a_fault_before_the_report() {
    let house = House::new();
    let left = house.channel("left");
    let step = left.cleanup("flush/left").phase(Phase::FlushingStorage).timeout(5.seconds());
    step.run(|_| async { Err::<(), _>(std::io::Error::other("TOKEN=123")) }).register().unwrap();
    let panics = left.cleanup("free/left").phase(Phase::ReleasingResources);
    panics.run_blocking(|_| -> Result<(), std::io::Error> { panic!("TOKEN=123") }).register().unwrap();
    let keel = house.keel.clone();
    let entries = house.end();
    let faults = of_kind(&entries, "fault");
    let of = |step: &str| faults.iter().find(|body| body["fault"]["step"] == step).unwrap();
    assert_eq!(of("flush/left")["fault"]["code"], "EK-0200");
    assert_eq!(of("flush/left")["fault"]["phase"], "FlushingStorage");
    assert_eq!(of("free/left")["fault"]["code"], "EK-0800");
    assert_eq!(entries.last().unwrap().kind, "report");
    let counts = keel.faults().counts();
    assert_eq!((counts.told, counts.reported), (faults.len() as u64, faults.len() as u64));
    let face = keel.faults().last_fault("left").unwrap().to_string();
    assert!(face.starts_with("EK-0800 error in left: ") && !face.contains("TOKEN"), "{face}");
}

// REQ E3
#[test]
fn a_fault_whose_policy_says_so_stops_the_system() {
    let mut policies = Policies::default();
    policies[FaultClass::Storage].stops_system_when_critical = true;
    let house = House::of(ThreadCoordinator::default(), policies, Limits::default());
    house.channel("left").fault(Code::STORAGE_DAMAGED, Severity::Critical).text("/srv/ada").report();
    let stopped = house.keel.wait_timeout(LONG).expect("it stops");
    assert_eq!(stopped.report.reason, "fault EK-1002: stored data is damaged");
    assert_eq!(stopped.report.initiated_by, "evenkeel's supervision");
}

// REQ E4, REQ E3
#[test]
fn what_keeps_failing_ends_in_isolation_and_comes_back_when_it_is_released() {
    let mut policies = Policies::default();
    for class in FaultClass::ALL {
        policies[class].backoff = evenkeel::cleanup::Backoff { first: Duration::ZERO, max: Duration::ZERO };
    }
    policies[FaultClass::Panic].last = Rung::IsolateChannel;
    let never = Intensity { max: 1, forgiven_every: Duration::from_secs(3_600) };
    let limits = Limits { restarts: never, recoveries: never, ..Limits::default() };
    let house = House::of(ThreadCoordinator::default(), policies, limits);
    let left = house.channel("left");
    let (tell, acts) = channel::<&str>();
    let (cut, back) = (tell.clone(), tell.clone());
    let works = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let verifies = works.clone();
    left.recovery()
        .reinitialise(|_| Ok::<_, String>(()))
        .verify(move |_| {
            let works = verifies.load(std::sync::atomic::Ordering::Relaxed);
            if works { Ok(()) } else { Err("it does not work") }
        })
        .on_isolate(move || cut.send("cut off").unwrap())
        .on_release(move || back.send("back").unwrap())
        .register()
        .unwrap();
    let mic = left.supervise("mic").restart(|_| Err::<(), _>("no microphone")).register().unwrap();
    mic.fault(Code::PANIC, Severity::Error).report();
    assert_eq!(acts.recv_timeout(LONG), Ok("cut off"));
    assert!(left.is_isolated() && house.keel.faults().is_isolated("left") && !mic.may_use());
    // Its own restart fails when the channel is begun anew: it stays cut off.
    assert!(house.keel.faults().release("left") && !house.keel.faults().release("nobody"));
    works.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(acts.recv_timeout(LONG), Ok("cut off"));
    let entries = house.end();
    let measures: Vec<&str> =
        of_kind(&entries, "measure").iter().map(|body| body["measure"].as_str().unwrap()).collect();
    assert_eq!(measures, ["restart", "recover", "isolate", "isolate"]);
}

/// Whatever is asked of it, it says the secret.
#[derive(Debug)]
struct Tells;

const SECRET: &str = "hunter2-TOKEN";

impl fmt::Display for Tells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/srv/{SECRET}/x: {SECRET}\n{SECRET}")
    }
}

impl std::error::Error for Tells {}

// REQ E6
#[test]
fn what_is_private_is_in_the_journal_and_nowhere_else() {
    let house = House::new();
    let left = house.channel("left");
    let fails = |_: &evenkeel::faults::Attempt<'_>| Err::<(), _>(Tells);
    let mic = left.supervise("mic").retry(fails).restart(fails).register().unwrap();
    let mut public = Vec::new();
    for (at, entry) in CODES.iter().enumerate() {
        let channel = house.channel(&format!("c{at}"));
        for severity in Severity::ALL {
            let fault = channel.fault(entry.code, severity).component("mic").cause(&Tells).step(SECRET);
            public.push(format!("{fault:?}"));
            fault.phase(Phase::FlushingStorage).report();
        }
        public.push(format!("{:?} {:?}", channel.last_fault(), channel));
    }
    // A name that cannot be one is no way out either.
    left.fault(Code::EXECUTION, Severity::Error).component(&format!("/{SECRET}")).report();
    mic.fault(Code::EXECUTION, Severity::Error).text(SECRET).report();
    house.keel.threads().job("x").run(|_| panic!("{SECRET}")).unwrap().wait().unwrap_err();
    let count = CODES.len() * 4 + 3;
    let faces: Vec<PublicFace> = (0..count).map(|_| house.next()).collect();
    for face in faces.iter().chain(&house.keel.faults().recent(usize::MAX)) {
        public.push(format!("{face} {face:?} {}", serde_json::to_string(face).unwrap()));
    }
    public.push(format!("{:?} {mic:?} {:?}", house.keel.faults(), house.keel));
    for text in &public {
        assert!(!text.contains("hunter2") && !text.contains("TOKEN"), "{text}");
    }
    let entries = house.end();
    let faults = of_kind(&entries, "fault");
    let has_it = faults.iter().filter(|fault| fault["fault"].to_string().contains(SECRET)).count();
    assert!(has_it >= CODES.len() * 4, "the journal has it: {has_it}");
    for fault in faults {
        assert!(!fault["public"].to_string().contains("hunter2"), "{fault}");
        assert!(fault["fault"]["site"]["file"].as_str().is_some());
    }
}

// REQ T9, REQ E5
#[test]
fn who_is_told_may_come_back_by_any_way_and_a_service_that_is_let_go_ends() {
    let house = House::new();
    let (tell, told) = channel();
    let keel = house.keel.clone();
    house.keel.faults().on_fault(move |face| {
        if face.code == Code::EXITED {
            let right = keel.channel("right").unwrap();
            right.fault(Code::DEPENDENCY, Severity::Warning).report();
            let seen = (keel.faults().recent(9).len(), keel.faults().is_calm(), keel.faults().counts().told);
            tell.send(seen.0).unwrap();
        }
    });
    let keel = house.keel.clone();
    let left = house.channel("left");
    let mic = left.supervise("mic");
    let mic = mic.restart(move |_| {
        keel.channel("left")?
            .supervise("more")
            .register()
            .map(drop)
            .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
    });
    mic.register().unwrap().fault(Code::EXITED, Severity::Error).report();
    assert!(told.recv_timeout(LONG).unwrap() >= 1);
    assert_eq!((house.next().code, house.next().code), (Code::EXITED, Code::DEPENDENCY));
    house.end();
}
