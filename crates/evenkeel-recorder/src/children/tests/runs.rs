//! Commands that come to their end by themselves.

use super::rig::{fifo, is_alive, is_child};
use super::*;
use std::path::Path;

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

// REQ W1, REQ C11
#[test]
fn a_command_that_ends_with_zero_has_ended() {
    let mut rig = Rig::start(vec![never("echo one; echo two; cat; echo $EVENKEEL_CHANNEL $EVENKEEL_RUN")]);
    assert_eq!(rig.end(), (None, true));
    rig.rest();
    let run = hex(&rig::RUN_ID);
    assert_eq!(rig.output(), format!("one\ntwo\nmic {run}\n"));
    assert_eq!(rig.told, ["output 7", "over"]);
    let entries = rig.entries();
    let kinds: Vec<&str> = entries.iter().map(|entry| &*entry.kind).collect();
    assert_eq!(kinds, ["child", "child-ended"]);
    assert!(entries.iter().all(|entry| entry.channel.as_deref() == Some("mic")));
    let (child, ended) = (&entries[0].body, &entries[1].body);
    assert_eq!((&child["pid"], &child["run"]), (&child["pgid"], &run.into()));
    assert_eq!(child["boot_id"], proc::boot_id().unwrap());
    assert!(child["start_ticks"].as_u64().unwrap() > 0);
    assert!(child["command"].as_str().unwrap().starts_with("echo one"));
    for field in ["pid", "start_ticks", "run"] {
        assert_eq!(child[field], ended[field]);
    }
    assert_eq!((&ended["status"], &ended["ended_by"]), (&"exit status 0".into(), &"itself".into()));
}

// REQ W4, REQ E1
#[test]
fn one_that_fails_is_a_fault_that_says_how() {
    for (command, fault) in [
        ("exit 3", "exit status 3"),
        ("kill -SEGV $$", "killed by SIGSEGV"),
        ("exec kill -9 $$", "killed by SIGKILL"),
        ("no-such-command-as-this", "exit status 127"),
    ] {
        let mut rig = Rig::start(vec![never(command)]);
        assert_eq!(rig.end(), (Some(fault.to_owned()), true), "{command}");
        let ended = rig.entries_of("child-ended");
        assert_eq!((&ended[0].body["status"], &ended[0].body["ended_by"]), (&fault.into(), &"itself".into()));
        assert_eq!(rig.entries_of("child-failed")[0].body["fault"], fault);
    }
}

// REQ W4, REQ E3
#[test]
fn what_cannot_be_started_is_a_fault() {
    let mut rig = Rig::start(vec![never("a\0b")]);
    let (fault, by_itself) = rig.end();
    assert!(by_itself && fault.unwrap().contains("sh could not be started"));
    assert_eq!(rig.entries_of("child").len(), 0);
    let settings = Settings { shell: "/no/such/shell".into(), ..Settings::default() };
    let mut rig = Rig::start_with(vec![never("true")], Disk::new(), settings, |_, _| ());
    let fault = rig.end().0.unwrap();
    assert!(fault.contains("/no/such/shell could not be started: No such file"), "{fault}");
}

// REQ W4, REQ E3
#[test]
fn one_that_fails_is_run_again_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mark = quoted(&dir.path().join("mark"));
    let command = format!("echo run; test -e {mark} || {{ touch {mark}; exit 3; }}");
    let mut rig = Rig::start(vec![on_failure(&command)]);
    assert_eq!(rig.end(), (None, true));
    let failed = "failed 7: exit status 3, 200ms";
    assert_eq!(rig.told, ["output 7", failed, "restarted 7", "output 7", "over"]);
    assert_eq!(rig.output(), "run\nrun\n");
    let entries = rig.entries();
    let kinds: Vec<&str> = entries.iter().map(|entry| &*entry.kind).collect();
    assert_eq!(kinds, ["child", "child-ended", "child-failed", "child", "child-ended"]);
    assert_eq!(entries[2].body["again_after_ms"], 200);
}

// REQ E4
#[test]
fn one_that_fails_again_and_again_is_over() {
    // In virtual time: the thread's own decision, without the thread.
    let (tell, news) = std::sync::mpsc::channel();
    let tell = Box::new(move |happened| tell.send(happened).unwrap());
    let shared = Arc::new(Shared::new().unwrap());
    let execs = vec![on_failure("exit 3")];
    let mut keeper = Keeper::new(shared, execs, None, String::new(), tell, Settings::default());
    for failure in 0..6 {
        keeper.failed(0, "exit status 3".to_owned(), 0, true, failure * 9_000_000_000);
    }
    let news: Vec<Happened> = news.try_iter().collect();
    assert_eq!(news.len(), 6);
    assert!(matches!(&news[4], Happened::Failed { after, .. } if after.as_millis() == 3200));
    let Happened::Over { fault: Some(fault), by_itself: true, .. } = &news[5] else { panic!("{news:?}") };
    assert_eq!(fault, "failed 6 times within 60 s; the last time: exit status 3");
}

// REQ W1, REQ R6
#[test]
fn nothing_of_ours_is_inherited() {
    // `ls` is a child of the shell: what it inherited is what the shell has.
    let list = "ls -l /proc/$$/fd; readlink /proc/$$/fd/0";
    let other = Exec { channel: 8, ..never(list) };
    // What this process was given to hand on is not ours.
    let handed_on: Vec<i32> = (3..4096).filter(|number| is_inheritable(*number)).collect();
    let mut rig = Rig::start(vec![never("exec cat /dev/null"), never(list), other]);
    for _ in 0..3 {
        rig.until(|happened| matches!(happened, Happened::Over { fault: None, .. }));
    }
    let output = rig.output();
    assert_eq!(output.lines().filter(|line| *line == "/dev/null").count(), 2, "{output}");
    let before = output.lines().filter_map(|line| line.split_once(" -> ")).map(|(before, _)| before);
    let numbers: Vec<i32> =
        before.map(|before| before.split(' ').next_back().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() >= 6, "{output}");
    for number in numbers.into_iter().filter(|number| *number > 2) {
        assert!(handed_on.contains(&number), "descriptor {number} was inherited: {output}");
    }
}

/// Whether this process has a descriptor of this number that a child gets.
fn is_inheritable(number: i32) -> bool {
    let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    // O_CLOEXEC.
    i32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0
}

// REQ W1
#[test]
fn a_group_that_goes_on_with_the_output_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let path = quoted(&fifo);
    let mut rig =
        Rig::start(vec![never(&format!("mkfifo {path}; (read x < {path}; echo late) & echo early"))]);
    rig.see("early");
    let pid = rig.leader();
    // The leader is kept as a zombie: its number is the group's.
    eventually("the leader's exit", || proc::stat(pid).is_some_and(|stat| !stat.is_alive()));
    assert!(rig.is_quiet());
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(rig.end(), (None, true));
    assert_eq!(rig.output(), "early\nlate\n");
    assert!(!is_child(pid), "a zombie is left");
}

// REQ W1, REQ T8
#[test]
fn who_lives_on_without_output_is_ended_and_no_zombie_is_left() {
    let command = "trap '' TERM; sleep 1000 >/dev/null 2>&1 & echo $!";
    let mut rig = Rig::start(vec![never(command)]);
    assert_eq!(rig.end(), (None, true));
    let stray: i32 = rig.output().trim().parse().unwrap();
    eventually("the end of the stray", || !is_alive(stray));
    for pid in rig.pids() {
        assert!(!is_child(pid), "a zombie is left");
    }
}

// REQ W1, REQ T8
#[test]
fn who_lives_on_has_time_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mark = quoted(&dir.path().join("mark"));
    let deaf_for_a_while = format!("trap 'echo bye > {mark}; exit' TERM; while :; do :; done");
    let mut rig = Rig::start(vec![never(&format!("({deaf_for_a_while}) >/dev/null 2>&1 & echo out"))]);
    assert_eq!(rig.end(), (None, true));
    assert_eq!(std::fs::read_to_string(dir.path().join("mark")).unwrap(), "bye\n");
}

// REQ M4, REQ W1
#[test]
fn what_is_left_on_standard_error_at_the_end_is_read() {
    let spawned = spawn::spawn("sh".as_ref(), "echo one >&2; printf two >&2; exit 1", "mic", "0").unwrap();
    let groups = Groups::default();
    let mut run = run::Run::new(1, spawned, &groups, 0);
    run.gated.take().unwrap().gate.open();
    eventually("the exit", || groups.exit(1).is_some());
    let mut stderr = super::super::stderr::Stderr::new(0);
    run.read_last_stderr(Some(&mut stderr), &mut [0; 5], 0);
    let mut lines = Vec::new();
    while let Some(line) = stderr.front() {
        lines.push(line.text.clone());
        stderr.pop();
    }
    assert_eq!(lines, ["one", "two"]);
    groups.reap(1);
}

// REQ W1
#[test]
fn one_that_ends_its_output_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let path = quoted(&fifo);
    let command = format!("echo out; exec >/dev/null; read x < {path}; exit 5");
    let mut rig = Rig::start(vec![never(&command)]);
    rig.see("out");
    // The reader of the fifo comes after the end of the output.
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(rig.end(), (Some("exit status 5".to_owned()), true));
}

// REQ W1, REQ T5
#[test]
fn many_at_once_are_told_apart() {
    let execs = (0..40).map(|channel| Exec {
        channel,
        name: format!("c{channel}"),
        command: format!("echo {channel}; exit {channel}"),
        restart: Restart::Never,
    });
    let mut rig = Rig::start(execs.collect());
    let mut ends = std::collections::BTreeMap::new();
    while ends.len() < 40 {
        if let Happened::Over { channel, fault, .. } = rig.next() {
            assert!(ends.insert(channel, fault).is_none());
        }
    }
    for (channel, fault) in ends {
        assert_eq!(fault, (channel > 0).then(|| format!("exit status {channel}")));
    }
    rig.rest();
    assert_eq!(rig.output().lines().count(), 40);
    assert!(rig.pids().into_iter().all(|pid| !is_child(pid)));
}

// REQ W1
#[test]
fn without_commands_there_is_nothing_to_do() {
    let mut rig = Rig::start(Vec::new());
    rig.rest();
    rig.children.stop(0);
    rig.children.kill();
}
