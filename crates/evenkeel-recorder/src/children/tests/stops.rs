//! Commands that are asked to end, and those that are made to.

use super::rig::{fifo, is_alive, is_child};
use super::*;
use rustix::process::{Pid, Signal, kill_process};

/// A stop whose SIGKILL comes soon.
fn soon_ns() -> u64 {
    crate::now().mono_ns + 100_000_000
}

fn ended(rig: &Rig) -> (String, String) {
    let entries = rig.entries_of("child-ended");
    assert_eq!(entries.len(), 1);
    let text = |field: &str| entries[0].body[field].as_str().unwrap().to_owned();
    (text("status"), text("ended_by"))
}

fn said(status: &str, ended_by: &str) -> (String, String) {
    (status.to_owned(), ended_by.to_owned())
}

// REQ W2, REQ T8
#[test]
fn who_hears_sigterm_has_the_last_word() {
    let command = "trap 'echo bye; exit 4' TERM; echo ready; while :; do :; done";
    let mut rig = Rig::start(vec![never(command)]);
    rig.see("ready");
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(rig.output(), "ready\nbye\n");
    assert_eq!(ended(&rig), said("exit status 4", "SIGTERM"));
}

// REQ W2, REQ T8
#[test]
fn who_does_not_is_killed() {
    let mut rig = Rig::start(vec![never("trap '' TERM; echo ready; sleep 1000; sleep 1000")]);
    rig.see("ready");
    let pid = rig.leader();
    rig.children.stop(soon_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(ended(&rig), said("killed by SIGKILL", "SIGKILL"));
    assert!(!is_child(pid), "a zombie is left");
    // The whole group is gone.
    assert!(proc::living_groups(&[pid].into()).is_empty());
}

// REQ W2, REQ T8
#[test]
fn who_was_stopped_hears_too() {
    let mut rig = Rig::start(vec![never("echo ready; kill -STOP $$; echo never")]);
    rig.see("ready");
    let pid = rig.leader();
    eventually("the pause", || proc::stat(pid).is_some_and(|stat| stat.state == b'T'));
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(ended(&rig), said("killed by SIGTERM", "SIGTERM"));
}

// REQ W2, REQ T8
#[test]
fn the_group_is_ended_also_when_its_leader_is_gone() {
    let mut rig = Rig::start(vec![never("(trap '' TERM; sleep 1000; sleep 1000) & echo $!")]);
    let other: i32 = rig.see("\n").trim().parse().unwrap();
    let pid = rig.leader();
    eventually("the leader's exit", || !is_alive(pid));
    assert!(is_alive(other));
    rig.children.stop(soon_ns());
    assert_eq!(rig.end(), (None, false));
    assert!(!is_alive(other) && !is_child(pid));
    assert_eq!(ended(&rig), said("exit status 0", "itself"));
}

// REQ W2, REQ E1
#[test]
fn a_failure_before_the_stop_is_a_fault_all_the_same() {
    let mut rig = Rig::start(vec![on_failure("(sleep 1000) & echo ready; exit 3")]);
    rig.see("ready");
    let pid = rig.leader();
    eventually("the leader's exit", || !is_alive(pid));
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (Some("exit status 3".to_owned()), false));
    assert_eq!(rig.told, ["output 7", "over"]);
}

// REQ W2, REQ E1
#[test]
fn who_dies_of_the_signal_that_stops_us_too_has_not_failed() {
    // As under a service manager that signals all of a control group at once.
    let mut rig = Rig::start(vec![on_failure("echo ready; exec sleep 1000")]);
    rig.see("ready");
    let pid = rig.leader();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    eventually("its end", || !is_alive(pid));
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(rig.told, ["output 7", "over"]);
}

// REQ W2, REQ E1
#[test]
fn a_failure_that_the_thread_has_not_seen_when_the_stop_comes_is_a_fault() {
    // The thread is held in what it tells until the command has failed and the stop is ordered.
    let hold = |happened: &Happened, children: &Children| {
        if let Happened::Output { .. } = happened {
            let pid = children.0.groups.leaders()[0];
            eventually("the exit", || !is_alive(pid));
            children.stop(far_ns());
        }
    };
    let mut rig = Rig::start_with(vec![never("exit 3")], Disk::new(), Settings::default(), hold);
    assert_eq!(rig.end().0.as_deref(), Some("exit status 3"));
}

// REQ W2, REQ E1
#[test]
fn what_had_ended_when_the_stop_came_ended_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let pid_path = dir.path().join("pid");
    let command = format!("echo $$ > '{}'; read x < '{}'; exit 3", pid_path.display(), fifo.display());
    // The thread is held until the channel has ended in every way, unseen. Its output has been
    // told by then: another command, that fails again and again, brings the moment.
    let mut is_read = None;
    let hold = move |happened: &Happened, children: &Children| {
        if let Some(child) = is_read.take() {
            std::fs::write(&fifo, "go\n").unwrap();
            let pid = std::fs::read_to_string(&pid_path).unwrap().trim().parse().unwrap();
            eventually("the end", || {
                !is_alive(pid) && children.0.with(|orders| orders.ended_outputs.contains(&child))
            });
            children.stop(far_ns());
        }
        if let Happened::Output { channel: 7, child, .. } = happened {
            is_read = Some(*child);
        }
    };
    let other = Exec { channel: 8, ..never("sleep 1000") };
    let failing = Exec { channel: 9, ..on_failure("exit 3") };
    let mut rig =
        Rig::start_with(vec![never(&command), other, failing], Disk::new(), Settings::default(), hold);
    assert_eq!(rig.end(), (Some("exit status 3".to_owned()), true));
    assert_eq!(rig.end_of(8), (None, false));
}

// REQ W2
#[test]
fn what_waits_to_be_run_again_is_not() {
    let stop = |happened: &Happened, children: &Children| {
        if let Happened::Failed { .. } = happened {
            children.stop(far_ns());
        }
    };
    let mut rig = Rig::start_with(vec![on_failure("exit 3")], Disk::new(), Settings::default(), stop);
    assert_eq!(rig.end(), (Some("exit status 3".to_owned()), false));
    rig.rest();
    assert_eq!(rig.pids().len(), 1);
}

/// A command with somebody outside its group who holds its output, and their number.
fn escaped(first: &str, last: &str) -> (Rig, i32) {
    let rig = Rig::start(vec![never(&format!("{first}; setsid sleep 1000 2>/dev/null & echo $!; {last}"))]);
    let mut rig = rig;
    let other: i32 = rig.see("\n").trim().parse().unwrap();
    eventually("a session of its own", || proc::stat(other).is_some_and(|stat| stat.group == other));
    (rig, other)
}

fn end(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

// REQ W2, REQ W4
#[test]
fn output_that_somebody_outside_holds_is_cut_off() {
    let (mut rig, other) = escaped("true", "true");
    let pid = rig.leader();
    eventually("the leader's exit", || !is_alive(pid));
    assert!(rig.is_quiet(), "the output goes on");
    // Nobody of the group is left to wait for.
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(rig.told, ["output 7", "cut off", "over"]);
    assert!(is_alive(other), "who left the group is not ours to end");
    end(other);

    let (mut rig, other) = escaped("trap '' TERM", "sleep 1000; sleep 1000");
    rig.children.stop(soon_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(rig.told, ["output 7", "cut off", "over"]);
    assert_eq!(ended(&rig), said("killed by SIGKILL", "SIGKILL"));
    end(other);
}

// REQ W2
#[test]
fn a_stop_before_anything_runs_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let disk = Disk::new();
    let settings = Settings { journal_ns: u64::MAX, ..Settings::default() };
    let journal = disk.journal(Default::default());
    disk.shut();
    let command = never(&format!("touch '{}'", mark.display()));
    let mut rig = Rig::start_on(vec![command], disk, Some(journal), settings, |_, _| ());
    eventually("the gate", || !rig.children.0.groups.leaders().is_empty());
    let pid = rig.children.0.groups.leaders()[0];
    rig.children.stop(far_ns());
    assert_eq!(rig.end(), (None, false));
    assert_eq!(rig.told, ["over"]);
    assert!(!mark.exists() && !is_child(pid));
}

// REQ W2, REQ T8
#[test]
fn who_is_behind_the_gate_goes_at_a_stop_also_where_sigterm_is_ignored() {
    let scene = scenes::Scene::start("stopped");
    assert!(!scene.path("mark").exists(), "the command ran");
}
