#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use super::*;
use evenkeel_core::threads::Class::{Monitoring, Processing, System};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Condvar, Mutex};

/// Long enough that it only comes when something is broken.
const LONG: Duration = Duration::from_secs(60);
/// A job of this name ends its worker by a panic that nothing contains.
const DEADLY: &str = "deadly";

pub(super) fn die_of(job: &str) {
    assert!(job != DEADLY, "a worker dies, as it was told");
}

/// Holds up whoever comes until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// The next event of which this holds.
fn next(events: &Subscription, wanted: impl Fn(&ThreadEvent) -> bool) -> Arc<ThreadEvent> {
    loop {
        let event = events.next(LONG).expect("an event comes");
        if wanted(&event) {
            return event;
        }
    }
}

/// A job that has begun and goes on until it is released.
fn held(threads: &ThreadCoordinator, name: &'static str) -> (JobHandle<()>, SyncSender<()>) {
    let (begun, begins) = sync_channel(0);
    let (release, held) = sync_channel::<()>(0);
    let job = threads.job(name).run(move |_| {
        begun.send(()).unwrap();
        let _ = held.recv();
    });
    begins.recv().unwrap();
    (job.unwrap(), release)
}

// REQ T5, REQ E5
#[test]
fn a_handle_tells_the_truth() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (first, release) = held(&threads, "first");
    assert!(
        matches!(first.state(), JobState::Running { ref thread, is_late: false, .. } if thread == "ek-work-1")
    );
    let second = threads.job("second").run(|_| 2).unwrap();
    let third = threads.job("third").run(|_| -> u32 { panic!("as it was told") }).unwrap();
    let fourth = threads.job("fourth").run(|_| std::panic::panic_any(5_u8)).unwrap();
    assert_eq!((second.state(), third.is_over()), (JobState::Queued, false));
    drop(release);
    first.wait().unwrap();
    assert_eq!(second.wait(), Ok(2));
    let told = third.wait().unwrap_err();
    assert_eq!(told.to_string(), "job third panicked: as it was told");
    assert!(fourth.wait().unwrap_err().to_string().ends_with("a panic without words"));
    let after = threads.job("after").run(|pulse| pulse.thread().to_owned()).unwrap();
    assert_eq!(after.wait().unwrap(), "ek-work-1", "a panic costs no worker");
}

// REQ T5
#[test]
fn a_job_that_nobody_wants_any_more_does_not_run_and_one_that_runs_is_told() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (begun, begins) = sync_channel(0);
    let running = threads.job("running").run(move |pulse| {
        begun.send(()).unwrap();
        while !pulse.should_stop() {
            std::thread::yield_now();
        }
    });
    let (ran, told) = (Arc::new(AtomicBool::new(false)), running.unwrap());
    begins.recv().unwrap();
    let seen = ran.clone();
    let queued = threads.job("queued").run(move |_| seen.store(true, SeqCst)).unwrap();
    queued.cancel();
    assert_eq!(queued.wait().unwrap_err(), JobError::Cancelled { job: "job queued".to_owned() });
    told.cancel();
    told.wait().unwrap();
    assert!(!ran.load(SeqCst) && Arc::strong_count(&ran) == 1, "its closure is gone");
    assert_eq!(threads.jobs().total().cancelled, 1);
}

// REQ T5
#[test]
fn a_job_whose_deadline_comes_before_its_turn_does_not_run() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (first, release) = held(&threads, "first");
    let late = threads.job("late").deadline(Duration::from_millis(5)).run(|_| ()).unwrap();
    let told = late.wait().unwrap_err();
    assert!(told.to_string().starts_with("job late did not run: it waited "), "{told}");
    let next = threads.job("next").deadline(LONG).run(|pulse| pulse.deadline().is_some()).unwrap();
    drop(release);
    first.wait().unwrap();
    assert_eq!(next.wait(), Ok(true));
    let slow = threads.job("slow").deadline(Duration::from_millis(1)).run(|pulse| {
        while !pulse.should_stop() {
            std::thread::yield_now();
        }
    });
    // It is told of its deadline, if its turn came before.
    let _ = slow.unwrap().wait();
}

/// Who ran what: worker, class, channel, number in the channel and class.
type Log = Arc<Mutex<Vec<(String, Class, Option<usize>, usize)>>>;

const CHANNELS: usize = 60;

/// 100,000 jobs of three classes, of channels and of none, given while all workers are held.
fn saturate(threads: &ThreadCoordinator, gate: &Arc<Gate>, log: &Log, jobs: usize) -> Vec<JobHandle<()>> {
    let channels: Vec<JobChannel> =
        (0..CHANNELS).map(|at| threads.channel(&format!("channel-{at}")).unwrap()).collect();
    let mut numbers = HashMap::new();
    let mut random = fastrand::Rng::with_seed(7);
    (0..jobs)
        .map(|_| {
            let class = Class::ALL[random.usize(..3)];
            let channel = Some(random.usize(..CHANNELS + 10)).filter(|at| *at < CHANNELS);
            let number = numbers.entry((class, channel)).or_insert(0);
            *number += 1;
            let (log, number, gate) = (log.clone(), *number, gate.clone());
            let job = match channel {
                Some(at) => channels[at].job("one"),
                None => threads.job("one"),
            };
            let job = job.class(class).run(move |pulse| {
                gate.pass();
                log.lock().unwrap().push((pulse.thread().to_owned(), class, channel, number));
            });
            job.unwrap()
        })
        .collect()
}

fn of_many(workers: usize, heartbeat: Duration) -> ThreadCoordinator {
    let limits = Limits { queued_max: 200_000, ..Limits::default() };
    ThreadCoordinator::builder().workers_max(workers).limits(limits).heartbeat(heartbeat).build()
}

/// That each ran once, and each channel's in order within their class.
fn assert_all_in_order(log: &Log, jobs: usize) {
    let log = log.lock().unwrap();
    assert_eq!(log.len(), jobs, "each ran, and once");
    let mut last: BTreeMap<(Class, usize), usize> = BTreeMap::new();
    for (_, class, channel, number) in log.iter() {
        if let Some(channel) = channel {
            let before = last.insert((*class, *channel), *number).unwrap_or(0);
            assert_eq!(before + 1, *number, "channel {channel}, class {class}");
        }
    }
}

// REQ T5
#[test]
fn a_hundred_thousand_jobs_of_three_classes_lose_none_and_starve_none() {
    const JOBS: usize = 100_000;
    let threads = of_many(8, LONG);
    let (gate, log) = (Arc::new(Gate::default()), Log::default());
    let jobs = saturate(&threads, &gate, &log, JOBS);
    gate.open();
    for mut job in jobs {
        job.wait_for(LONG).expect("it ends").unwrap();
    }
    assert_all_in_order(&log, JOBS);
    let counts = threads.jobs();
    assert!(counts.affinity() > 0.99, "affinity {}", counts.affinity());
    let log = log.lock().unwrap();
    // Waiting, in jobs that went before: all were given before the first went.
    let mean = |class| {
        let of_class: Vec<usize> =
            log.iter().enumerate().filter(|(_, job)| job.1 == class).map(|(at, _)| at).collect();
        of_class.iter().sum::<usize>() / of_class.len()
    };
    let (system, processing, monitoring) = (mean(System), mean(Processing), mean(Monitoring));
    assert!(system < processing && processing < monitoring, "{system} {processing} {monitoring}");
    // Jobs without a channel are there for every worker until the last of their class has gone.
    let last = log.iter().rposition(|job| job.1 == Monitoring && job.2.is_none()).unwrap();
    let mut passed: HashMap<&str, u32> = HashMap::new();
    let bound = Limits::default().processing_turns + 1;
    for (worker, class, ..) in &log[..last] {
        let passed = passed.entry(worker).or_default();
        *passed = if *class == Monitoring { 0 } else { *passed + 1 };
        assert!(*passed <= bound, "{passed} in a row before one of class monitoring");
    }
}

// REQ T5, REQ T6
#[test]
fn a_worker_that_dies_and_one_that_is_stuck_for_ever_lose_no_job_of_any_channel() {
    const JOBS: usize = 20_000;
    let threads = of_many(4, Duration::from_millis(50));
    let events = threads.subscribe();
    let (gate, log) = (Arc::new(Gate::default()), Log::default());
    let stuck = threads.channel("channel-3").unwrap();
    let (never, hangs) = sync_channel::<()>(0);
    let hung = stuck.job("hangs").run(move |_| hangs.recv()).unwrap();
    let deadly = threads.channel("channel-4").unwrap().job(DEADLY).run(|_| ()).unwrap();
    gate.open();
    let jobs = saturate(&threads, &gate, &log, JOBS);
    for mut job in jobs {
        job.wait_for(LONG).expect("it ends").unwrap();
    }
    assert_all_in_order(&log, JOBS);
    deadly.wait().unwrap();
    let event = next(&events, |event| matches!(event.what, What::Died { .. }));
    assert!(
        event.to_string().contains("job deadly") || event.to_string().contains("a panic outside"),
        "{event}"
    );
    // Those of its channel ran, so it was found; its handle says so.
    assert!(matches!(hung.state(), JobState::Stuck { .. }), "{:?}", hung.state());
    let before = threads.jobs().total().lost;
    drop(never);
    assert!(hung.wait().unwrap().is_err());
    assert_eq!(before, 2, "the dead one's and the stuck one's");
}

// REQ T6
#[test]
fn who_is_stuck_is_told_of_with_what_it_does_and_when_it_is_back() {
    let threads = ThreadCoordinator::builder().heartbeat(Duration::from_millis(20)).build();
    let events = threads.subscribe();
    let (release, held) = channel::<()>();
    let line = line!() + 2;
    let thread = threads.thread("hangs").start(move |pulse| {
        pulse.beat();
        let _ = held.recv();
        pulse.beat();
        // Well again, it waits without being missed.
        pulse.waiting(|| held.recv())
    });
    let event = next(&events, |event| matches!(event.what, What::Stuck { .. }));
    let told = event.to_string();
    assert!(told.starts_with("thread hangs is stuck: nothing heard for ") && event.is_fault(), "{told}");
    assert!(told.contains(&format!("threads/tests.rs:{line}:")), "{told}");
    assert_eq!(event.thread.doing.in_kernel.as_ref().unwrap().state, 'S');
    let thread = thread.unwrap();
    assert!(matches!(thread.state(), JobState::Stuck { .. }));
    let seen = threads.snapshot();
    assert!(seen.threads.iter().any(|thread| thread.name == "hangs" && thread.silent_for.is_some()));
    release.send(()).unwrap();
    next(&events, |event| matches!(event.what, What::Recovered { .. }));
    drop(release);
    assert!(thread.join().unwrap().is_err());
}

// REQ T6
#[test]
fn who_uses_more_of_a_processor_than_it_may_is_told_of_though_it_beats() {
    let threads = ThreadCoordinator::builder().heartbeat(Duration::from_millis(20)).build();
    let events = threads.subscribe();
    let spins = threads.thread("spins").cpu_share_max(0.02).start(|pulse| {
        while !pulse.should_stop() {
            pulse.beat();
        }
    });
    let event = next(&events, |event| matches!(event.what, What::Runaway { .. }));
    assert!(event.to_string().starts_with("thread spins runs away: "), "{event}");
    let spins = spins.unwrap();
    assert!(matches!(spins.state(), JobState::Running { .. }));
    spins.stop();
    spins.join().unwrap();
}

// REQ T6, REQ E5
#[test]
fn who_dies_is_told_of_with_its_words() {
    let threads = ThreadCoordinator::default();
    let events = threads.subscribe();
    let dies = threads.thread("dies").start(|_| panic!("in its own words")).unwrap();
    assert_eq!(
        dies.join().unwrap_err(),
        JobError::Panicked { job: "thread dies".to_owned(), message: "in its own words".to_owned() }
    );
    let event = next(&events, |event| matches!(event.what, What::Died { .. }));
    assert!(event.to_string().starts_with("thread dies died: in its own words"), "{event}");
    let job = threads.channel("left").unwrap().job("bad").run(|_| panic!("of a job")).unwrap();
    assert!(job.wait().is_err());
    let event = next(&events, |event| matches!(event.what, What::JobPanicked { .. }));
    assert!(event.to_string().contains("job bad of channel left"), "{event}");
}

// REQ T5
#[test]
fn there_are_no_more_threads_than_there_may_be_and_the_system_knows_their_names() {
    let threads = ThreadCoordinator::builder().threads_max(3).build();
    let (gate, names) = (Arc::new(Gate::default()), ["t5-first", "t5-second"]);
    let begun = Arc::new(AtomicU32::new(0));
    let start = |name: &str| {
        let (gate, begun) = (gate.clone(), begun.clone());
        threads.thread(name).start(move |pulse| {
            begun.fetch_add(1, SeqCst);
            pulse.waiting(|| gate.pass());
        })
    };
    let running: Vec<_> = names.iter().map(|name| start(name).unwrap()).collect();
    let refused = start("t5-fourth").unwrap_err();
    assert!(matches!(refused, ThreadError::TooMany { threads_max: 3, .. }), "{refused}");
    let refused = threads.job("fifth").run(|_| ()).unwrap_err();
    assert!(matches!(refused, JobRefused::NoWorker { .. }), "{refused}");
    let refused = start("a name of sixteen").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a thread's name has 1 to 15 bytes and none of them 0, which \"a name of sixteen\" is not"
    );
    while begun.load(SeqCst) < 2 {
        std::thread::yield_now();
    }
    let seen = threads.snapshot();
    for name in names {
        let tid = seen.threads.iter().find(|thread| thread.name == name).unwrap().tid.unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap().trim(), name);
    }
    assert!(!seen.is_raised() && seen.threads.iter().any(|thread| thread.kind == Kind::Watch));
    gate.open();
    running.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A thread that waits for its end, and how it is woken.
fn waits(threads: &ThreadCoordinator) -> ThreadHandle<()> {
    let (wake, woken): (SyncSender<()>, Receiver<()>) = sync_channel(1);
    let thread = threads.thread("waits").wake_with(move || _ = wake.try_send(()));
    thread
        .start(move |pulse| {
            while !pulse.should_stop() {
                let _ = pulse.waiting(|| woken.recv());
            }
        })
        .unwrap()
}

// REQ T8
#[test]
fn a_termination_lets_what_is_queued_run_and_stops_all() {
    let threads = ThreadCoordinator::builder().workers_max(2).build();
    let left = threads.channel("left").unwrap();
    let jobs: Vec<_> = (0..1_000).map(|at| left.job("one").run(move |_| at).unwrap()).collect();
    let waits = waits(&threads);
    let ended = threads.terminate(LONG);
    assert!(ended.is_clean(), "{ended}");
    // Who woke the one that waits may be on its way out.
    let is_left = threads.snapshot().threads.iter().any(|thread| thread.kind != Kind::Stop);
    assert!(ended.stopped >= 3 && !is_left, "{ended}");
    for (at, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.wait(), Ok(at));
    }
    waits.join().unwrap();
    assert!(matches!(threads.thread("late").start(|_| ()), Err(ThreadError::Ended { .. })));
    assert!(threads.job("late").run(|_| ()).unwrap_err().to_string().contains("terminating"));
    assert!(threads.channel("new").is_err());
}

// REQ T8
#[test]
fn what_does_not_stop_in_time_is_named() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (hangs, release) = held(&threads, "hangs");
    let queued = threads.job("queued").run(|_| ()).unwrap();
    let (begun, begins) = sync_channel(0);
    let listens = threads.thread("listens").start(move |pulse| {
        begun.send(()).unwrap();
        while !pulse.should_stop() {
            std::thread::yield_now();
        }
    });
    begins.recv().unwrap();
    let ended = threads.terminate(Duration::from_millis(50));
    let names: Vec<&str> = ended.left.iter().map(|left| &*left.name).collect();
    assert_eq!((names, ended.given_up_jobs), (vec!["ek-work-1"], 1), "{ended}");
    let told = ended.to_string();
    assert!(
        told.contains("thread ek-work-1 did not stop (job hangs, last at ") && told.contains("busy for"),
        "{told}"
    );
    assert_eq!(queued.wait().unwrap_err(), JobError::Ended { job: "job queued".to_owned() });
    listens.unwrap().join().unwrap();
    drop(release);
    hangs.wait().unwrap();
    let again = threads.terminate(LONG);
    assert!(again.is_clean(), "{again}");
}

// REQ T8
#[test]
fn the_last_handle_ends_all_and_waits_for_nothing() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (hangs, release) = held(&threads, "hangs");
    let queued = threads.job("queued").run(|_| ()).unwrap();
    let waits = waits(&threads);
    drop(threads);
    assert!(matches!(queued.wait(), Err(JobError::Ended { .. })));
    waits.join().unwrap();
    drop(release);
    hangs.wait().unwrap();
}

// REQ T5
#[test]
fn blocking_work_is_awaited_on_any_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let threads = ThreadCoordinator::default();
    let answers = runtime.block_on(async {
        let jobs: Vec<_> =
            (0..50_u64).map(|at| threads.job("square").run(move |_| at * at).unwrap()).collect();
        let mut sum = 0;
        for job in jobs {
            sum += job.await.unwrap();
        }
        let bad = threads.job("bad").run(|_| panic!("awaited")).unwrap().await;
        (sum, bad.unwrap_err().to_string())
    });
    assert_eq!(answers, ((0..50).map(|at| at * at).sum(), "job bad panicked: awaited".to_owned()));
}

// REQ T7
#[test]
fn threads_say_what_they_have_used() {
    let threads = ThreadCoordinator::default();
    let (first, release) = held(&threads, "first");
    let seen = threads.snapshot();
    let worker = seen.threads.iter().find(|thread| thread.kind == Kind::Worker).unwrap();
    assert_eq!(worker.doing.job, Some(("first".to_owned(), None)));
    assert!(worker.usage.unwrap().voluntary_switches > 0, "it waits in its job");
    assert!(seen.cpu() > Duration::ZERO && worker.busy_for.is_some());
    drop(release);
    first.wait().unwrap();
}

/// Uses so many pages of the stack.
fn deep(pages: usize) -> usize {
    let page = std::hint::black_box([1_u8; 4096]);
    if pages == 0 { 0 } else { deep(pages - 1) + usize::from(std::hint::black_box(&page)[pages % 4096]) }
}

// REQ T5
#[test]
fn a_thread_has_the_stack_of_its_class_and_workers_have_the_largest() {
    let threads = ThreadCoordinator::builder().stack_bytes(Monitoring, 32 << 20).build();
    // 10 MiB at least: more than any class has otherwise. A stack that is too small ends the process.
    let own = threads.thread("deep").class(Monitoring).start(|_| deep(2_560)).unwrap();
    assert_eq!(own.join(), Ok(2_560));
    assert_eq!(threads.job("deep").run(|_| deep(2_560)).unwrap().wait(), Ok(2_560));
}
