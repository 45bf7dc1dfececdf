//! What a killed recorder left behind.

use super::rig::is_alive;
use super::scenes::Scene;
use super::*;
use evenkeel::journal::JournalOptions;
use evenkeel_log::storage::DirStorage;
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const PATIENT: Duration = Duration::from_secs(20);

/// Kills the recorder of a scene and ends what it left.
fn ended(scene: &Scene, patience: Duration) -> Leftover {
    scene.kill();
    let (mut left, unread) = end_leftovers(&scene.storage(), patience);
    assert_eq!((left.len(), unread), (1, None), "{left:?}");
    left.remove(0)
}

// REQ W3, REQ T8
#[test]
fn a_command_of_a_killed_recorder_is_found_and_ended() {
    let scene = Scene::start("runs");
    let pid = scene.marked();
    let mut environment = String::new();
    eventually("the channel in its environment", || {
        // There is none for a moment while it becomes another program.
        environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.contains("EVENKEEL_CHANNEL=mic\0")
    });
    assert!(!environment.contains("NOTIFY_SOCKET"));
    scene.kill();
    // Who is stopped hears nothing until it goes on.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    eventually("the pause", || proc::stat(pid).is_some_and(|stat| stat.state == b'T'));
    let left = ended(&scene, PATIENT);
    assert_eq!((left.pid, &left.how, left.channel.as_deref()), (pid, &How::Terminated, Some("mic")));
    assert!(!is_alive(pid) && left.was_there());
    let said = left.to_string();
    assert!(said.starts_with(&format!("channel mic: process group {pid} of an earlier recorder (echo")));
    assert!(said.ends_with("was still there and was ended with SIGTERM"), "{said}");
}

// REQ W3, REQ T8
#[test]
fn who_does_not_hear_is_killed() {
    let scene = Scene::start("deaf");
    let pid = scene.marked();
    let left = ended(&scene, Duration::from_millis(50));
    assert_eq!((left.pid, &left.how), (pid, &How::Killed));
    assert!(proc::living_groups(&[pid].into()).is_empty());
}

// REQ W3, REQ T8
#[test]
fn a_group_without_its_leader_is_known_by_its_mark() {
    let scene = Scene::start("orphan");
    let other = scene.marked();
    let group = proc::stat(other).unwrap().group;
    assert_ne!(other, group);
    eventually("the leader's exit", || !is_alive(group));
    scene.kill();
    // Their last parent is gone: whoever is the parent now may be slow to bury the leader.
    eventually("the leader's burial", || proc::stat(group).is_none() || !is_alive(group));
    let (left, _) = end_leftovers(&scene.storage(), PATIENT);
    assert_eq!((left[0].pid, &left[0].how), (group, &How::Terminated));
    assert!(!is_alive(other));
}

// REQ W3
#[test]
fn what_is_told_to_have_ended_is_not_looked_for_again() {
    let scene = Scene::start("runs");
    let pid = scene.marked();
    let left = ended(&scene, PATIENT);
    let storage: Arc<DirStorage> = Arc::new(scene.storage());
    let (again, _) = end_leftovers(&*storage, PATIENT);
    assert_eq!((again[0].pid, &again[0].how, again[0].was_there()), (pid, &How::Gone, false));
    let (journal, _) = Journal::open(storage.clone(), JournalOptions::default()).unwrap();
    let (kind, body) = left.entry();
    assert_eq!(kind, "leftover-ended");
    let _ = journal.append(kind, left.channel.as_deref(), body).unwrap();
    journal.finish(PATIENT).unwrap();
    assert_eq!(end_leftovers(&*storage, PATIENT), (vec![], None));
}

/// A process that is nobody's child here, in a group of its own, with or without a mark.
struct Stranger(i32);

impl Stranger {
    fn start(run: Option<&str>) -> Self {
        let mut shell = Command::new("sh");
        // The shell exits at once: somebody else takes its child.
        shell.args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]).stdout(Stdio::piped());
        if let Some(run) = run {
            shell.env(proc::RUN_VARIABLE, run);
        }
        let mut shell = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        shell.wait().unwrap();
        let pid = line.trim().parse().unwrap();
        eventually("a group of its own", || proc::stat(pid).is_some_and(|stat| stat.group == pid));
        Self(pid)
    }

    fn start_ticks(&self) -> u64 {
        proc::stat(self.0).unwrap().start_ticks
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_raw(self.0).unwrap(), Signal::KILL);
    }
}

/// The entry of a process, as if an earlier recorder had started it.
fn child(pid: i32, start_ticks: u64) -> Value {
    json!({
        "pid": pid, "pgid": pid, "start_ticks": start_ticks, "boot_id": proc::boot_id(),
        "pid_namespace": proc::pid_namespace(), "command": "a command", "run": "5eed",
    })
}

/// A journal with these entries.
fn journal(entries: &[(&str, Value)]) -> Disk {
    let disk = Disk::new();
    let journal = disk.journal(JournalOptions::default());
    for (kind, body) in entries {
        eventually("room", || journal.append(kind, Some("mic"), body.clone()).is_some());
    }
    journal.finish(PATIENT).unwrap();
    disk
}

fn hows(entries: &[(&str, Value)]) -> Vec<How> {
    let (left, unread) = end_leftovers(&journal(entries), Duration::from_secs(1));
    assert_eq!(unread, None);
    left.into_iter().map(|left| left.how).collect()
}

// REQ W3, REQ C10
#[test]
fn who_has_the_number_now_but_is_another_is_left_alone() {
    let stranger = Stranger::start(None);
    let ticks = stranger.start_ticks();
    let other_boot = |mut body: Value| {
        body["boot_id"] = json!("another boot");
        body
    };
    let other_namespace = |mut body: Value| {
        body["pid_namespace"] = json!("pid:[1]");
        body
    };
    let pid = stranger.0;
    for start in [ticks - 1, ticks + 1, 0] {
        assert_eq!(hows(&[("child", child(pid, start))]), [How::Gone]);
    }
    let mut unknown = child(pid, ticks);
    unknown["start_ticks"] = Value::Null;
    assert_eq!(hows(&[("child", unknown)]), [How::Gone]);
    assert_eq!(hows(&[("child", other_boot(child(pid, ticks)))]), []);
    assert_eq!(hows(&[("child", other_namespace(child(pid, ticks)))]), []);
    assert!(is_alive(pid), "a stranger was ended");
    // So that this test can fail: with the right name it is ended.
    assert_eq!(hows(&[("child", child(pid, ticks))]), [How::Terminated]);
    assert!(!is_alive(pid));
}

// REQ W3, REQ C10
#[test]
fn a_mark_of_another_run_proves_nothing() {
    let (ours, other) = (Stranger::start(Some("5eed")), Stranger::start(Some("5eed5")));
    let gone = |stranger: &Stranger| ("child", child(stranger.0, stranger.start_ticks() - 5));
    assert_eq!(hows(&[gone(&ours), gone(&other)]), [How::Terminated, How::Gone]);
    assert!(!is_alive(ours.0) && is_alive(other.0));
    let mut nameless = child(other.0, 1);
    nameless["run"] = json!("");
    assert_eq!(hows(&[("child", nameless)]), [How::Gone]);
    assert!(is_alive(other.0));
}

// REQ W3, REQ C10
#[test]
fn nobody_ends_themselves_or_their_own_children() {
    let own = getpid().as_raw_pid();
    let group = getpgrp().as_raw_pid();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    let of = |pid: i32| ("child", child(pid, proc::stat(pid).map_or(1, |stat| stat.start_ticks)));
    let pid = i32::try_from(sleeper.id()).unwrap();
    // Nor the first process, nor numbers that mean several.
    let nobody = [1, 0, -1].map(|pid| ("child", child(pid, proc::stat(1).unwrap().start_ticks)));
    assert_eq!(hows(&nobody), []);
    let all = hows(&[of(own), of(group), of(pid)]);
    assert!(all.iter().all(|how| *how == How::Gone), "{all:?}");
    assert!(is_alive(pid));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

// REQ W3, REQ S6
#[test]
fn a_long_journal_is_folded_in_bounded_memory() {
    let ended = |pid: i32, start_ticks: u64| json!({ "pid": pid, "start_ticks": start_ticks });
    let number = i32::MAX;
    let mut entries = Vec::new();
    for start_ticks in 0..6000 {
        entries.push(("child", child(number, start_ticks)));
        if start_ticks < 1000 {
            entries.push(("child-ended", ended(number, start_ticks)));
        }
    }
    // Ends of what nobody started, and what no recorder writes.
    entries.push(("child-ended", ended(5, 5)));
    entries.extend([("child", json!({})), ("child", json!([1])), ("child", json!({ "pid": "x" }))]);
    let (left, unread) = end_leftovers(&journal(&entries), PATIENT);
    assert_eq!((left.len(), unread), (4096, None));
    assert!(left.iter().all(|left| left.how == How::Gone));
    assert_eq!(left[0].entry().1["start_ticks"], 6000 - 4096, "the oldest are forgotten");
    // The same process told twice is one, and one end ends it.
    let twice = [("child", child(9, 9)), ("child", child(9, 9)), ("leftover-ended", ended(9, 9))];
    assert_eq!(hows(&twice), []);
    assert_eq!(hows(&[("child", child(9, 9)), ("child-ended", ended(9, 9))]), []);
    assert_eq!(hows(&[("child", child(number, 9)), ("leftover-remains", ended(number, 9))]), [How::Gone]);
}

// REQ W3, REQ E3
#[test]
fn a_journal_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DirStorage::create(&dir.path().join("journal")).unwrap();
    assert_eq!(end_leftovers(&storage, PATIENT), (vec![], None), "no journal, no leftovers");
    drop(dir);
    let (left, unread) = end_leftovers(&storage, PATIENT);
    assert!(left.is_empty() && unread.unwrap().contains("cannot be read to its end"));
}
