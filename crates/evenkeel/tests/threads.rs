//! Threads and jobs where users' code does what it should not: it blocks, panics, comes back, or goes on after all.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::threads::{
    Class, JobChannel, JobError, JobHandle, JobState, Kind, NotStopped, Subscription, ThreadCoordinator,
    ThreadError, ThreadEvent, What,
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::yield_now;
use std::time::Duration;

/// Long enough that it only comes when something is broken.
const LONG: Duration = Duration::from_secs(20);
const SHORT_BEAT: Duration = Duration::from_millis(20);

/// The next event of which this holds.
fn next(events: &Subscription, wanted: impl Fn(&ThreadEvent) -> bool) -> Arc<ThreadEvent> {
    loop {
        let event = events.next(LONG).expect("an event comes");
        if wanted(&event) {
            return event;
        }
    }
}

fn is_stuck(event: &ThreadEvent) -> bool {
    matches!(event.what, What::Stuck { .. })
}

fn is_recovered(event: &ThreadEvent) -> bool {
    matches!(event.what, What::Recovered { .. })
}

/// A job that has begun, and goes on until what is given back is dropped.
fn held(threads: &ThreadCoordinator, channel: Option<&JobChannel>) -> (JobHandle<()>, SyncSender<()>) {
    let (begun, begins) = sync_channel(0);
    let (release, held) = sync_channel::<()>(0);
    let job = channel.map_or_else(|| threads.job("held"), |channel| channel.job("held"));
    let job = job.run(move |pulse| {
        begun.send(()).unwrap();
        let _ = pulse.waiting(|| held.recv());
    });
    begins.recv().unwrap();
    (job.unwrap(), release)
}

/// Its drop says that it has begun, and ends when it may.
struct SlowDrop(SyncSender<()>, Receiver<()>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
        let _ = self.1.recv();
    }
}

fn slow_drop() -> (SlowDrop, Receiver<()>, Sender<()>) {
    let (begun, begins) = sync_channel(1);
    let (release, held) = channel();
    (SlowDrop(begun, held), begins, release)
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

// REQ T5
#[test]
fn jobs_of_one_channel_never_run_at_once_though_nobody_keeps_its_handle() {
    let threads = ThreadCoordinator::builder().workers_max(2).build();
    let (one, release_one) = held(&threads, None);
    let (other, release_other) = held(&threads, None);
    drop(release_other);
    other.wait().unwrap();
    let (first, release) = held(&threads, Some(&threads.channel("left").unwrap()));
    drop(release_one);
    one.wait().unwrap();
    let second = threads.channel("left").unwrap().job("second").run(|_| ()).unwrap();
    // The other worker takes turns: after two of these it would have had the second one.
    for _ in 0..2 {
        threads.job("beside").run(|_| ()).unwrap().wait().unwrap();
    }
    assert_eq!(second.state(), JobState::Queued, "the first one of its channel still runs");
    drop(release);
    first.wait().unwrap();
    second.wait().unwrap();
}

// REQ T5
#[test]
fn channels_that_nobody_has_any_more_give_their_places_back() {
    let threads = ThreadCoordinator::builder().workers_max(2).build();
    for at in 0..3_000 {
        let channel = threads.channel(&format!("channel-{at}")).unwrap();
        let job = channel.job("one").run(|_| ()).unwrap();
        drop(channel);
        job.wait().unwrap();
    }
}

// REQ T5
#[test]
fn a_job_that_is_given_up_says_so_while_its_closure_is_dropped() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (first, release_first) = held(&threads, None);
    let (slow, dropping, release) = slow_drop();
    let job = threads.job("late").deadline(Duration::from_millis(1)).run(move |_| drop(slow)).unwrap();
    dropping.recv().unwrap();
    let seen = job.state();
    drop(release);
    assert!(matches!(seen, JobState::Failed(JobError::Expired { .. })), "{seen:?}");
    assert!(matches!(job.wait(), Err(JobError::Expired { .. })));
    drop(release_first);
    first.wait().unwrap();
}

// REQ T6
#[test]
fn an_answer_whose_drop_hangs_is_found_and_holds_no_other_job_up() {
    let threads = ThreadCoordinator::builder().workers_max(1).heartbeat(SHORT_BEAT).build();
    let (slow, dropping, release) = slow_drop();
    let (go, gone) = channel::<()>();
    let job = threads.job("slow").run(move |pulse| {
        let _ = pulse.waiting(|| gone.recv());
        slow
    });
    drop(job.unwrap());
    drop(go);
    dropping.recv().unwrap();
    let mut after = threads.job("after").run(|_| 5).unwrap();
    assert_eq!(after.wait_for(LONG), Some(Ok(5)));
    drop(release);
}

// REQ T6, REQ E5
#[test]
fn a_hook_that_hangs_on_a_worker_holds_no_channel_up() {
    let threads = ThreadCoordinator::builder().workers_max(1).heartbeat(SHORT_BEAT).build();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    threads.on_event(move |event| {
        if matches!(event.what, What::JobPanicked { .. }) {
            let _ = held.lock().unwrap().recv();
        }
    });
    let left = threads.channel("left").unwrap();
    let bad = left.job("bad").run(|_| panic!("as it was told")).unwrap();
    let mut after = left.job("after").run(|_| 5).unwrap();
    assert!(bad.wait().is_err());
    assert_eq!(after.wait_for(LONG), Some(Ok(5)));
    drop(release);
}

// REQ T5
#[test]
fn a_place_that_becomes_free_goes_to_jobs_that_wait_for_a_worker() {
    let threads = ThreadCoordinator::builder().threads_max(3).workers_max(2).heartbeat(SHORT_BEAT).build();
    let events = threads.subscribe();
    let (leave, stays) = channel::<()>();
    let thread = threads.thread("stays").start(move |pulse| pulse.waiting(|| stays.recv())).unwrap();
    let (release, hangs) = channel::<()>();
    let hung = threads.job("hangs").run(move |_| hangs.recv()).unwrap();
    let mut waits = threads.job("waits").run(|_| 5).unwrap();
    next(&events, |event| matches!(event.what, What::NotReplaced { .. }));
    drop(leave);
    assert!(thread.join().unwrap().is_err());
    assert_eq!(waits.wait_for(LONG), Some(Ok(5)));
    drop(release);
    assert!(hung.wait().unwrap().is_err());
}

// REQ T5
#[test]
fn every_job_that_is_accepted_is_answered_when_the_system_has_no_threads() {
    // No thread has a stack of this size.
    let threads = ThreadCoordinator::builder().stack_bytes(Class::Processing, 1 << 60).build();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if let Ok(mut job) = threads.job("one").run(|_| ()) {
                        assert!(job.wait_for(LONG).expect("it is answered").is_err());
                    }
                }
            });
        }
    });
}

// REQ T5
#[test]
fn what_a_refused_thread_holds_may_use_the_coordinator_when_it_goes() {
    let threads = ThreadCoordinator::builder().threads_max(2).build();
    let (leave, stays) = channel::<()>();
    let thread = threads.thread("stays").start(move |pulse| pulse.waiting(|| stays.recv())).unwrap();
    let left = threads.channel("left").unwrap();
    let wake = move || _ = left.job("wake").run(|_| ());
    let refused = threads.thread("refused").wake_with(wake).start(|_| ());
    assert!(matches!(refused, Err(ThreadError::TooMany { .. })));
    drop(leave);
    assert!(thread.join().unwrap().is_err());
}

// REQ T8
#[test]
fn a_time_without_end_is_a_time() {
    let threads = ThreadCoordinator::builder().heartbeat(Duration::MAX).build();
    let job = threads.job("one").deadline(Duration::MAX).run(|_| 5).unwrap();
    assert_eq!(job.wait(), Ok(5));
    let mut thread = threads.thread("one").start(|_| 6).unwrap();
    assert_eq!(thread.join_for(Duration::MAX), Some(Ok(6)));
    assert!(threads.terminate(Duration::MAX).is_clean());
}

// REQ T6
#[test]
fn who_goes_on_while_its_silence_is_told_is_not_given_up() {
    let threads = ThreadCoordinator::builder().workers_max(1).heartbeat(SHORT_BEAT).build();
    let events = threads.subscribe();
    let (release, hangs) = channel::<()>();
    let (begun, begins) = channel();
    let hook = Mutex::new(Some((release, begins)));
    threads.on_event(move |event| {
        if let (true, Some((release, begins))) = (is_stuck(event), hook.lock().unwrap().take()) {
            drop(release);
            begins.recv().unwrap();
        }
    });
    let left = threads.channel("left").unwrap();
    let hung = threads.job("hangs").run(move |_| hangs.recv()).unwrap();
    let (end, ends) = channel::<()>();
    let runs = left.job("runs").run(move |pulse| {
        begun.send(()).unwrap();
        let _ = pulse.waiting(|| ends.recv());
    });
    let waits = left.job("waits").run(|_| ()).unwrap();
    assert!(hung.wait().unwrap().is_err());
    next(&events, is_recovered);
    while threads.jobs().total().lost > 0 {
        yield_now();
    }
    assert_eq!(waits.state(), JobState::Queued, "its channel runs another");
    drop(end);
    runs.unwrap().wait().unwrap();
    waits.wait().unwrap();
}

// REQ T6
#[test]
fn a_job_on_a_worker_that_is_back_is_not_called_stuck() {
    let heartbeat = Duration::from_millis(400);
    let threads = ThreadCoordinator::builder().threads_max(2).heartbeat(heartbeat).build();
    let events = threads.subscribe();
    let (release, hangs) = channel::<()>();
    let hung = threads.job("hangs").run(move |_| hangs.recv()).unwrap();
    let (begun, begins) = sync_channel(0);
    let (end, ends) = channel::<()>();
    let runs = threads.job("runs").run(move |pulse| {
        begun.send(()).unwrap();
        let _ = pulse.waiting(|| ends.recv());
    });
    let runs = runs.unwrap();
    next(&events, is_stuck);
    assert!(matches!(hung.state(), JobState::Stuck { .. }));
    drop(release);
    begins.recv().unwrap();
    assert!(matches!(runs.state(), JobState::Running { .. }), "{:?}", runs.state());
    drop(end);
    runs.wait().unwrap();
}

// REQ T6
#[test]
fn who_is_stuck_stays_so_when_it_no_longer_uses_too_much_of_a_processor() {
    let threads = ThreadCoordinator::builder().heartbeat(SHORT_BEAT).build();
    let events = threads.subscribe();
    let (hang, hangs) = channel::<()>();
    let (release, held) = channel::<()>();
    let (silent, silence) = channel();
    let thread = threads.thread("spins").cpu_share_max(0.001).start(move |pulse| {
        while hangs.try_recv() == Err(TryRecvError::Empty) {
            pulse.beat();
        }
        // More than it may in the measurement that its silence begins in.
        (0..100_000).for_each(|_| pulse.beat());
        silent.send(()).unwrap();
        held.recv()
    });
    let thread = thread.unwrap();
    next(&events, |event| matches!(event.what, What::Runaway { .. }));
    drop(hang);
    silence.recv().unwrap();
    // One that is silent later is found later: by then its measurement is over, and another one too.
    for name in ["first", "second"] {
        let (_release, hangs) = channel::<()>();
        drop(threads.thread(name).start(move |_| hangs.recv()).unwrap());
        next(&events, |event| is_stuck(event) && event.thread.name == name);
    }
    assert!(matches!(thread.state(), JobState::Stuck { .. }), "{:?}", thread.state());
    drop(release);
    assert!(thread.join().unwrap().is_err());
}

// REQ T6, REQ E5
#[test]
fn a_drop_that_panics_costs_nobody_the_watch() {
    let threads = ThreadCoordinator::builder().heartbeat(SHORT_BEAT).build();
    let events = threads.subscribe();
    let panics = PanicsInDrop;
    let (release, hangs) = channel::<()>();
    let short = threads.thread("short").wake_with(move || _ = &panics).start(move |_| hangs.recv());
    drop(short.unwrap());
    next(&events, is_stuck);
    drop(release);
    while threads.snapshot().threads.iter().any(|thread| thread.name == "short") {
        yield_now();
    }
    let (release, hangs) = channel::<()>();
    let late = threads.thread("late").start(move |_| hangs.recv()).unwrap();
    let event = next(&events, is_stuck);
    assert_eq!(event.thread.name, "late");
    drop(release);
    assert!(late.join().unwrap().is_err());
}

// REQ T8
#[test]
fn a_hook_may_end_all_threads() {
    let threads = ThreadCoordinator::builder().heartbeat(SHORT_BEAT).build();
    let (told, tells) = channel();
    let (release, hangs) = channel::<()>();
    let ours = Mutex::new(Some((threads.clone(), release)));
    threads.on_event(move |event| {
        let ours = ours.lock().unwrap().take();
        if let (true, Some((threads, release))) = (is_stuck(event), ours) {
            drop(release);
            let _ = told.send(threads.terminate(Duration::from_secs(3_600)));
        }
    });
    let _ = threads.thread("hangs").start(move |_| hangs.recv()).unwrap();
    let ended = tells.recv_timeout(LONG).expect("it does not wait for itself");
    assert!(ended.is_clean(), "{ended}");
}

// REQ T6
#[test]
fn a_wait_inside_of_a_wait_is_a_wait() {
    let threads = ThreadCoordinator::default();
    let (release, held) = channel::<()>();
    let (begun, begins) = sync_channel(0);
    let thread = threads.thread("waits").start(move |pulse| {
        pulse.waiting(|| {
            pulse.waiting(|| ());
            begun.send(()).unwrap();
            held.recv()
        })
    });
    begins.recv().unwrap();
    let seen = threads.snapshot();
    let waits = seen.threads.iter().find(|thread| thread.name == "waits").unwrap();
    assert_eq!(waits.busy_for, None);
    drop(release);
    assert!(thread.unwrap().join().unwrap().is_err());
}

// REQ T7
#[test]
fn a_job_with_a_deadline_does_not_wake_the_watch() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let wakes = || {
        let seen = threads.snapshot();
        let watch = seen.threads.iter().find(|thread| thread.kind == Kind::Watch);
        watch.and_then(|watch| watch.usage).map_or(0, |usage| usage.voluntary_switches)
    };
    let run = |deadline| threads.job("one").deadline(deadline).run(|_| ()).unwrap().wait().unwrap();
    run(LONG);
    let before = wakes();
    (0..1_000).for_each(|_| run(2 * LONG));
    let woken = wakes() - before;
    assert!(woken < 50, "woken {woken} times for 1,000 jobs");
}

// REQ T8
#[test]
fn a_job_may_end_all_of_its_threads_and_two_at_once() {
    let is_worker = |left: &NotStopped| left.name.starts_with("ek-work-");
    for (times, within) in [(1, Duration::from_secs(3_600)), (2, Duration::from_millis(50))] {
        let threads = ThreadCoordinator::builder().workers_max(2).build();
        let terminate = |_| {
            let ours = threads.clone();
            threads.job("ends").run(move |_| ours.terminate(within))
        };
        let jobs: Vec<_> = (0..times).map(terminate).collect();
        for mut job in jobs.into_iter().flatten() {
            // The second one may have been given up, or run after.
            if let Ok(ended) = job.wait_for(LONG).expect("it waits for no worker of its own") {
                assert!(ended.left.iter().any(is_worker), "{ended}");
            }
        }
        assert!(threads.terminate(LONG).is_clean());
    }
}

// REQ T8
#[test]
fn the_last_handle_may_go_inside_of_a_job_a_hook_and_a_drop() {
    let threads = ThreadCoordinator::builder().workers_max(2).build();
    let (told, tells) = channel();
    let left = Mutex::new(Some(threads.channel("left").unwrap()));
    threads.on_event(move |_| {
        drop(left.lock().unwrap().take());
        let _ = told.send(());
    });
    let bad = threads.job("bad").run(|_| panic!("as it was told")).unwrap();
    assert!(bad.wait().is_err());
    tells.recv_timeout(LONG).unwrap();
    let (release, held) = channel::<()>();
    let ours = (threads.clone(), threads.channel("other").unwrap());
    let mut job = threads
        .job("ends")
        .run(move |_| {
            let _ = held.recv();
            let never = ours.0.job("never").deadline(LONG).run(|_| ());
            drop(ours);
            never.is_ok()
        })
        .unwrap();
    let waits = threads.channel("other").unwrap().job("waits").run(|_| ()).unwrap();
    drop(threads);
    drop(release);
    assert_eq!(job.wait_for(LONG), Some(Ok(true)));
    let _ = waits.wait();
    assert_eq!(tells.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected), "its hook went with it");
}

// REQ T5, REQ T6
#[test]
fn when_as_many_workers_as_there_are_places_hang_the_jobs_behind_run_once_one_is_back() {
    let heartbeat = Duration::from_millis(50);
    let threads = ThreadCoordinator::builder().threads_max(65).workers_max(64).heartbeat(heartbeat);
    let threads = threads.stack_bytes(Class::Processing, 64 << 10).build();
    let events = threads.subscribe();
    let (release, hangs) = channel::<()>();
    let hangs = Arc::new(Mutex::new(hangs));
    let hung: Vec<_> = (0..64)
        .map(|_| {
            let hangs = hangs.clone();
            threads.job("hangs").run(move |_| hangs.lock().unwrap().recv()).unwrap()
        })
        .collect();
    let left = threads.channel("left").unwrap();
    let behind: Vec<_> = (0..10).map(|at| left.job("behind").run(move |_| at)).collect();
    (0..64).for_each(|_| drop(next(&events, is_stuck)));
    assert_eq!(threads.jobs().total().lost, 64);
    drop(release);
    for (at, job) in behind.into_iter().enumerate() {
        assert_eq!(job.unwrap().wait_for(LONG), Some(Ok(at)));
    }
    hung.into_iter().for_each(|job| assert!(job.wait().unwrap().is_err()));
    assert!(threads.terminate(LONG).is_clean());
}

/// A thread that is silent, and what ends it.
fn silent(threads: &ThreadCoordinator) -> Sender<()> {
    let (release, held) = channel::<()>();
    let thread = threads.thread("silent").start(move |_| held.recv());
    assert!(thread.is_ok());
    release
}

// REQ T6, REQ T9
#[test]
fn neither_a_drop_nor_a_hook_that_hangs_blinds_the_watch() {
    let threads = ThreadCoordinator::builder().workers_max(1).heartbeat(SHORT_BEAT).build();
    let events = threads.subscribe();
    let (holding, release) = held(&threads, None);
    let (slow, begins, end) = slow_drop();
    let late = threads.job("late").deadline(Duration::from_millis(1)).run(move |_| drop(slow)).unwrap();
    assert!(matches!(late.wait(), Err(JobError::Expired { .. })), "it is answered first");
    begins.recv().unwrap();
    let first = silent(&threads);
    // Who hangs is told of as well.
    let mut stuck = std::collections::BTreeSet::new();
    while stuck.len() < 2 {
        stuck.insert(next(&events, is_stuck).thread.name.clone());
    }
    assert_eq!(Vec::from_iter(stuck), ["ek-aside", "silent"]);
    drop((end, first));
    let (told, hangs) = sync_channel(0);
    let (go_on, held) = channel::<()>();
    let held = Mutex::new(held);
    threads.on_event(move |_| {
        let _ = told.send(());
        let _ = held.lock().unwrap().recv();
    });
    let _second = silent(&threads);
    hangs.recv().unwrap();
    let _third = silent(&threads);
    next(&events, |event| is_stuck(event) && event.thread.name == "silent");
    next(&events, |event| is_stuck(event) && event.thread.name == "silent");
    drop((hangs, go_on, release));
    holding.wait().unwrap();
}

// REQ T8
#[test]
fn a_termination_waits_for_no_drop_and_no_wake_that_hangs() {
    let threads = ThreadCoordinator::builder().workers_max(1).build();
    let (holding, release) = held(&threads, None);
    let (slow, _begins, end) = slow_drop();
    let queued = threads.job("queued").run(move |_| drop(slow)).unwrap();
    let (go_on, held) = channel::<()>();
    let held = Mutex::new(held);
    let waits = threads.thread("waits").wake_with(move || _ = held.lock().unwrap().recv());
    let (wake, woken) = channel::<()>();
    let waits = waits.start(move |pulse| _ = pulse.waiting(|| woken.recv())).unwrap();
    // Both would hang for ever: nothing ends them before this is over.
    let ended = threads.terminate(Duration::from_millis(50));
    let mut left: Vec<&str> = ended.left.iter().map(|left| &*left.name).collect();
    left.sort_unstable();
    assert_eq!((left, ended.given_up_jobs), (vec!["ek-work-1", "waits"], 1), "{ended}");
    assert!(matches!(queued.wait(), Err(JobError::Ended { .. })));
    drop((end, go_on, release, wake));
    waits.join().unwrap();
    holding.wait().unwrap();
}
