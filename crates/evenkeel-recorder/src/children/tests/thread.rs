//! The thread itself: killed, in pieces, held up.

use super::rig::{is_alive, is_child};
use super::*;
use evenkeel::threads::ThreadCoordinator;
use std::sync::Mutex;
use std::sync::mpsc::channel;

const DEAF: &str = "trap '' TERM; echo ready; sleep 1000; sleep 1000";

// REQ T8, REQ C16
#[test]
fn a_kill_ends_everything_and_nothing_more_is_told() {
    let mut rig = Rig::start(vec![never(DEAF), Exec { channel: 8, ..never(DEAF) }]);
    rig.see("ready\nready");
    let pids = rig.children.0.groups.leaders();
    assert_eq!(pids.len(), 2);
    rig.children.kill();
    for pid in &pids {
        assert!(!is_child(*pid), "a zombie is left");
    }
    let pids = pids.into_iter().collect();
    eventually("the end of the others", || proc::living_groups(&pids).is_empty());
    rig.rest();
    let ended = rig.entries_of("child-ended");
    assert!(ended.len() == 2 && ended.iter().all(|entry| entry.body["ended_by"] == "SIGKILL"));
}

// REQ T8, REQ C16
#[test]
fn a_handle_that_is_dropped_kills() {
    let (tell, news) = channel();
    let children = Children::start(
        &ThreadCoordinator::default(),
        vec![never("sleep 1000")],
        None,
        [0; 16],
        move |happened| {
            let _ = tell.send(happened);
        },
    )
    .unwrap();
    let output = news.recv().unwrap();
    let pid = children.0.groups.leaders()[0];
    drop(children);
    assert!(!is_child(pid));
    drop(output);
    assert!(news.recv().is_err(), "something was told");
}

// REQ T8, REQ S8
#[test]
fn a_kill_does_not_wait_for_who_is_told() {
    let (release, held) = channel::<()>();
    let (begun, begins) = channel();
    let children =
        Children::start(&ThreadCoordinator::default(), vec![never(DEAF)], None, [0; 16], move |_| {
            begun.send(()).unwrap();
            let _ = held.recv();
        })
        .unwrap();
    begins.recv().unwrap();
    let pid = children.0.groups.leaders()[0];
    children.kill();
    assert!(!is_alive(pid));
    drop(release);
    eventually("the end of the thread", || children.0.with(|orders| orders.gone));
    assert!(!is_child(pid));
}

// REQ E5, REQ S8
#[test]
fn a_panic_of_the_thread_is_the_fault_of_every_channel_and_leaves_no_group() {
    let (tell, news) = channel();
    let mut first = true;
    let execs = (0..3).map(|channel| Exec { channel, ..never(DEAF) }).collect();
    // Nobody else's.
    let mut run_id = [9; 16];
    run_id[..4].copy_from_slice(&std::process::id().to_le_bytes());
    run_id[8..].copy_from_slice(&crate::now().mono_ns.to_le_bytes());
    let children = Children::start(&ThreadCoordinator::default(), execs, None, run_id, move |happened| {
        assert!(!std::mem::take(&mut first), "the spring broke");
        tell.send(happened).unwrap();
    })
    .unwrap();
    for expected in 0..3 {
        let Ok(Happened::Over { channel, fault: Some(fault), .. }) = news.recv() else { panic!() };
        assert_eq!(
            (channel, &*fault),
            (expected, "the thread that watches its command panicked: the spring broke")
        );
    }
    assert!(news.recv().is_err(), "something was told after the end");
    assert!(children.0.groups.leaders().is_empty());
    let run = hex(&run_id);
    eventually("the end of the others", || !proc::pids().any(|pid| proc::belongs_to(pid, &run)));
}

// REQ E5
#[test]
fn a_panic_with_every_word_still_ends() {
    let children = Children::start(&ThreadCoordinator::default(), vec![never(DEAF)], None, [0; 16], |_| {
        panic!("always")
    })
    .unwrap();
    eventually("the end of the thread", || children.0.with(|orders| orders.gone));
    assert!(children.0.groups.leaders().is_empty());
}

// REQ T8
#[test]
fn what_is_told_may_drop_the_handle() {
    let slot: Arc<Mutex<Option<Children>>> = Arc::default();
    let (theirs, ready) = (slot.clone(), Arc::new(OnceLock::new()));
    let is_set = ready.clone();
    let tell = move |_| {
        is_set.wait();
        drop(theirs.lock().unwrap().take());
    };
    let children =
        Children::start(&ThreadCoordinator::default(), vec![never("sleep 1000")], None, [0; 16], tell)
            .unwrap();
    let shared = children.0.clone();
    *slot.lock().unwrap() = Some(children);
    ready.set(()).unwrap();
    eventually("the end of the thread", || shared.with(|orders| orders.gone));
    assert!(shared.groups.leaders().is_empty());
}

// REQ T8
#[test]
fn nothing_is_told_after_a_kill_even_in_its_midst() {
    let kill = |_: &Happened, children: &Children| children.kill();
    let execs = vec![never("sleep 1000"), Exec { channel: 8, ..never("sleep 1000") }];
    let mut rig = Rig::start_on(execs, Disk::new(), None, Settings::default(), kill);
    rig.told_first();
    rig.rest();
    assert!(rig.children.0.groups.leaders().is_empty());
}

// REQ T8
#[test]
fn who_comes_after_a_kill_is_killed() {
    let groups = Groups::default();
    groups.close();
    let spawned = spawn::spawn("sh".as_ref(), "true", "mic", "0").unwrap();
    groups.put(1, spawned.group);
    eventually("the exit", || groups.exit(1).is_some());
    assert_eq!(groups.exit(1), Some(exit::Exit::Signal(9)));
    groups.reap(1);
    assert_eq!(groups.exit(1), Some(exit::Exit::Unknown), "it is nobody's now");
    drop(spawned.gate);
}
