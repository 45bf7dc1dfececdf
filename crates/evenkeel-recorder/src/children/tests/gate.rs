//! No command before its word is on disk.

use super::rig::is_child;
use super::*;
use evenkeel::journal::JournalOptions;
use std::path::Path;

fn touch(mark: &Path) -> Exec {
    never(&format!("touch '{}'; echo ran", mark.display()))
}

fn for_ever() -> Settings {
    Settings { journal_ns: u64::MAX, ..Settings::default() }
}

// REQ C11, REQ W3
#[test]
fn a_command_waits_until_its_entry_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let disk = Disk::new();
    let journal = disk.journal(JournalOptions::default());
    disk.shut();
    let mut rig = Rig::start_on(vec![touch(&mark)], disk, Some(journal.clone()), for_ever(), |_, _| ());
    eventually("the entry", || journal.head().entry == 1);
    assert!(rig.is_quiet() && !mark.exists() && journal.durable_through() == 0);
    rig.disk.open();
    assert_eq!(rig.end(), (None, true));
    assert_eq!((rig.output().as_str(), mark.exists()), ("ran\n", true));
}

// REQ C11, REQ W4
#[test]
fn a_sick_journal_delays_and_is_told_and_the_entries_follow() {
    let disk = Disk::new();
    // A queue that holds one entry, and a disk that is busy with another.
    let options = JournalOptions { queue_entries_max: 1, ..JournalOptions::default() };
    let journal = disk.journal(options);
    disk.shut();
    let head = journal.append("other", None, Default::default()).unwrap().entry;
    disk.wait_for_someone();
    eventually("a full queue", || journal.append("other", None, Default::default()).is_none());
    let settings = Settings { journal_ns: 20_000_000, ..Settings::default() };
    let mut rig = Rig::start_on(vec![never("echo ran")], disk, Some(journal.clone()), settings, |_, _| ());
    let told = rig.until(|happened| matches!(happened, Happened::Unjournalled { channel: 7, .. }));
    let Happened::Unjournalled { why, .. } = told else { panic!("{told:?}") };
    assert!(why.contains("the journal"), "{why}");
    assert_eq!(rig.end(), (None, true));
    assert_eq!(
        (rig.told.as_slice(), rig.output().as_str()),
        (&["unjournalled 7", "output 7", "over"].map(str::to_owned)[..], "ran\n")
    );
    assert!(journal.durable_through() < head);
    rig.disk.open();
    rig.rest();
    let kinds: Vec<String> = rig.entries().into_iter().map(|entry| entry.kind).collect();
    let ours: Vec<&str> = kinds.iter().map(|kind| &**kind).filter(|kind| kind.starts_with("child")).collect();
    assert_eq!(ours, ["child", "child-unjournalled", "child-ended"], "{kinds:?}");
}

// REQ C11, REQ W4
#[test]
fn who_waits_for_the_journal_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mark, fifo) = (dir.path().join("mark"), rig::fifo(dir.path()));
    let (m, f) = (mark.display(), fifo.display());
    let waits = never(&format!("echo waits; read x < '{f}'; echo went on; echo told >&2; exit 2"));
    let fails = Exec { channel: 8, ..on_failure(&format!("test -e '{m}' || {{ touch '{m}'; exit 3; }}")) };
    let disk = Disk::new();
    let theirs = disk.clone();
    let shut = move |happened: &Happened, _: &Children| {
        if let Happened::Failed { .. } = happened {
            theirs.shut();
        }
    };
    let mut rig = Rig::start_with(vec![waits, fails], disk, for_ever(), shut);
    rig.until(|happened| matches!(happened, Happened::Failed { channel: 8, .. }));
    // Both have passed their gate once; the second is behind it again.
    rig.see("waits");
    eventually("the second gate", || rig.children.0.groups.leaders().len() == 2);
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(rig.end_of(7), (Some("exit status 2".to_owned()), true));
    assert!(!rig.told.contains(&"restarted 8".to_owned()), "{:?}", rig.told);
    rig.disk.open();
    assert_eq!(rig.end_of(8), (None, true));
    assert!(rig.told.contains(&"restarted 8".to_owned()));
}

// REQ C11, REQ W3
#[test]
fn one_that_dies_behind_its_gate_is_a_fault_and_told_no_output() {
    let disk = Disk::new();
    let journal = disk.journal(JournalOptions::default());
    disk.shut();
    let mut rig = Rig::start_on(vec![never("echo ran")], disk, Some(journal), for_ever(), |_, _| ());
    eventually("the gate", || !rig.children.0.groups.leaders().is_empty());
    let pid = rig.leader();
    rig.children.0.groups.signal(1, rustix::process::Signal::KILL);
    assert_eq!(rig.end(), (Some("killed by SIGKILL".to_owned()), true));
    assert_eq!(rig.told, ["over"]);
    assert!(!is_child(pid));
}

// REQ W3
#[test]
fn a_recorder_that_dies_before_the_word_is_on_disk_leaves_nothing_that_runs() {
    let scene = scenes::Scene::start("gated");
    let gated = scene.process("sh\0-c\0read");
    assert_eq!(proc::stat(gated).unwrap().group, gated, "a group of its own");
    scene.kill();
    eventually("the end of the gated process", || !rig::is_alive(gated));
    assert!(!scene.path("mark").exists(), "the command ran");
}

// REQ W3
#[test]
fn a_gate_that_is_dropped_lets_nobody_through_and_a_wrong_word_neither() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let command = format!("touch '{}'", mark.display());
    let spawned = spawn::spawn("sh".as_ref(), &command, "mic", "0").unwrap();
    assert!(spawned.start_ticks.is_some());
    let groups = Groups::default();
    groups.put(1, spawned.group);
    drop(spawned.gate);
    let mut exit = None;
    eventually("its exit", || {
        exit = groups.exit(1);
        exit.is_some()
    });
    assert!(exit.unwrap().failed());
    groups.reap(1);
    assert!(!mark.exists());
    let mut said = String::new();
    std::fs::File::from(spawned.stderr).read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
