//! Files that grow, and whatever becomes of their names meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{LONG, after, config, eventually, stored};
use evenkeel_log::sim::SimStorage;
use evenkeel_recorder::{ChannelConfig, Condition, Framing, OnFull, Recorder, Source, StartError};
use fastrand::Rng;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path that is followed, into a medium that outlives its recorders.
struct Rig {
    dir: tempfile::TempDir,
    storage: SimStorage,
    framing: Framing,
    recorder: Option<Recorder>,
    /// Bytes stored by recorders before.
    before: u64,
}

impl Rig {
    fn new(framing: Framing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, storage: SimStorage::new(), framing, recorder: None, before: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn try_start(&self, path: PathBuf) -> Result<Recorder, StartError> {
        let channel =
            ChannelConfig { framing: self.framing, ..ChannelConfig::new("log", Source::Tail(path)) };
        let config = config(Path::new("simulated"), vec![channel]);
        Recorder::start_on(Arc::new(self.storage.clone()), None, config)
    }

    fn start(&mut self) {
        let recorder = self.try_start(self.path("log")).unwrap();
        self.recorder = Some(recorder);
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().unwrap()
    }

    /// Waits until so many bytes are accepted, of all runs together.
    fn wait_for(&self, bytes: u64) {
        let before = self.before;
        eventually("all of it", || self.recorder().channels()[0].accepted_bytes + before >= bytes);
        assert_eq!(self.recorder().channels()[0].accepted_bytes + before, bytes, "too much was accepted");
    }

    fn said(&self) -> String {
        self.recorder().channels()[0].last_fault.clone().unwrap_or_default()
    }

    fn wait_until_said(&self, what: &str) {
        eventually(what, || self.said().contains(what));
    }

    fn stop(&mut self) -> Vec<u8> {
        let recorder = self.recorder.take().unwrap();
        assert_eq!(recorder.channels()[0].condition(), Condition::Running);
        assert!(!recorder.has_ended());
        let ending = recorder.stop(after(LONG));
        assert!(ending.clean, "{:?}", ending.faults);
        let stored = stored(&self.storage, "log");
        self.before = stored.len() as u64;
        stored
    }
}

// REQ W1
#[test]
fn a_file_is_followed_as_it_grows_is_renamed_and_is_made_anew() {
    let mut rig = Rig::new(Framing::Chunk);
    rig.start();
    rig.append("log", b"one ");
    rig.wait_for(4);
    rig.append("log", b"two ");
    rig.wait_for(8);
    rig.rename("log", "log.1");
    // Who writes has not noticed yet.
    rig.append("log.1", b"three ");
    rig.wait_for(14);
    rig.append("log", b"");
    rig.append("log.1", b"four ");
    rig.wait_for(19);
    rig.append("log", b"five ");
    rig.wait_for(24);
    fs::remove_file(rig.path("log")).unwrap();
    rig.append("log", b"six ");
    rig.wait_for(28);
    assert_eq!(rig.said(), "");
    assert_eq!(rig.stop(), b"one two three four five six ");
}

// REQ W1
#[test]
fn what_is_not_there_yet_is_waited_for() {
    let mut rig = Rig::new(Framing::Chunk);
    rig.recorder = Some(rig.try_start(rig.path("later/log")).unwrap());
    fs::create_dir(rig.path("later")).unwrap();
    rig.append("later/log", b"at last");
    rig.wait_for(7);
    assert_eq!(rig.stop(), b"at last");
}

// REQ W1
#[test]
fn what_cannot_be_followed_is_refused_at_the_start_and_told_later() {
    let rig = Rig::new(Framing::Chunk);
    let refused = rig.try_start(rig.path("")).err().unwrap().to_string();
    assert!(refused.contains("is a directory; a regular file is needed"), "{refused}");
    let mut rig = Rig::new(Framing::Chunk);
    rig.start();
    fs::create_dir(rig.path("log")).unwrap();
    rig.wait_until_said("is a directory; a regular file is needed");
    fs::remove_dir(rig.path("log")).unwrap();
    rig.append("log", b"well again");
    rig.wait_for(10);
    assert_eq!(rig.stop(), b"well again");
}

// REQ W1
#[test]
fn a_truncated_file_is_read_from_its_start_and_that_is_told() {
    let mut rig = Rig::new(Framing::Lines);
    rig.append("log", b"a line\nhalf of ");
    rig.start();
    rig.wait_for(7);
    rig.append("log", b"another\nand a h");
    rig.wait_for(23);
    // The half is read, or it is not: only its line would tell.
    File::options().write(true).open(rig.path("log")).unwrap().set_len(0).unwrap();
    rig.wait_until_said("was truncated, having been read up to byte");
    let accepted = rig.recorder().channels()[0].accepted_bytes;
    rig.append("log", b"anew\n");
    rig.wait_for(accepted + 5);
    let stored = rig.stop();
    let half = &b"and a h"[..accepted as usize - 23];
    assert_eq!(stored, [b"a line\nhalf of another\n", half, b"anew\n"].concat());
}

// REQ W1
#[test]
fn a_link_that_comes_to_point_elsewhere_is_followed() {
    let mut rig = Rig::new(Framing::Chunk);
    let link = |to: &str| {
        std::os::unix::fs::symlink(rig.path(to), rig.path("new")).unwrap();
        rig.rename("new", "log");
    };
    rig.append("0", b"zero ");
    rig.append("1", b"one ");
    link("0");
    let recorder = rig.try_start(rig.path("log")).unwrap();
    eventually("the first", || recorder.channels()[0].accepted_bytes == 5);
    link("1");
    eventually("the second", || recorder.channels()[0].accepted_bytes == 9);
    rig.recorder = Some(recorder);
    assert_eq!(rig.stop(), b"zero one ");
}

// REQ W1
#[test]
fn the_rest_of_a_line_in_the_old_file_is_a_message_of_its_own() {
    let mut rig = Rig::new(Framing::Lines);
    rig.start();
    rig.append("log", b"whole\nhalf");
    rig.wait_for(6);
    rig.rename("log", "log.1");
    rig.append("log", b"new\n");
    rig.wait_for(14);
    assert_eq!(rig.recorder().channels()[0].accepted_records, 3);
    assert_eq!(rig.stop(), b"whole\nhalfnew\n");
}

// REQ W3
#[test]
fn it_is_taken_up_where_it_was_left_though_it_was_renamed() {
    let mut rig = Rig::new(Framing::Lines);
    rig.append("log", b"one\ntw");
    rig.start();
    rig.wait_for(4);
    // What has no end is not accepted: the next run reads it again.
    assert_eq!(rig.stop(), b"one\n");
    rig.append("log", b"o\nthree\n");
    rig.rename("log", "log.1");
    rig.append("log", b"four\n");
    rig.start();
    rig.wait_for(19);
    assert_eq!((rig.said(), rig.stop()), (String::new(), b"one\ntwo\nthree\nfour\n".to_vec()));
    // Again, but the old one is gone.
    rig.append("log", b"lost\n");
    fs::remove_file(rig.path("log")).unwrap();
    // So that the new one is another.
    rig.append("other", b"");
    rig.append("log", b"six\n");
    rig.start();
    rig.wait_for(23);
    let said = rig.said();
    assert!(
        said.contains("up to byte 5 is not there any more: what came after that may be missing"),
        "{said}"
    );
    assert_eq!(rig.stop(), b"one\ntwo\nthree\nfour\nsix\n");
    // Again, but it is shorter.
    fs::write(rig.path("log"), b"7\n").unwrap();
    rig.start();
    rig.wait_for(25);
    assert!(rig.said().contains("was truncated"), "{}", rig.said());
    assert_eq!(rig.stop(), b"one\ntwo\nthree\nfour\nsix\n7\n");
}

// REQ W3, REQ E1
#[test]
fn what_was_replaced_twice_while_nobody_read_is_told() {
    let mut rig = Rig::new(Framing::Lines);
    rig.append("log", b"one\n");
    rig.start();
    rig.wait_for(4);
    rig.stop();
    let set_age = |name: &str, seconds: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        File::options().write(true).open(rig.path(name)).unwrap().set_modified(time).unwrap();
    };
    set_age("log", 20);
    rig.rename("log", "log.2");
    rig.append("log.1", b"unread\n");
    set_age("log.1", 10);
    rig.append("log", b"three\n");
    rig.start();
    rig.wait_for(10);
    assert!(
        rig.said().contains("more than once while nobody read it: log.1 may be missing"),
        "{}",
        rig.said()
    );
    assert_eq!(rig.stop(), b"one\nthree\n");
}

/// What is done to a path, and what must have been recorded of it in the end.
struct Model {
    rig: Rig,
    rng: Rng,
    written: Vec<u8>,
    /// Where the file at the path begins in it.
    begin: usize,
    names: u32,
}

impl Model {
    /// Bytes that are read, and not accepted before the rest of their line is.
    fn carried(&self) -> usize {
        let end = self.written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if self.rig.framing == Framing::Lines { self.written.len() - end.max(self.begin) } else { 0 }
    }

    fn wait(&self) {
        self.rig.wait_for((self.written.len() - self.carried()) as u64);
    }

    fn append(&mut self) {
        let bytes = if self.rng.u8(0..8) == 0 { self.rng.usize(1..200_000) } else { self.rng.usize(1..300) };
        let rng = &mut self.rng;
        let piece: Vec<u8> =
            std::iter::repeat_with(|| if rng.u8(0..40) == 0 { b'\n' } else { rng.u8(b'a'..=b'z') })
                .take(bytes)
                .collect();
        self.rig.append("log", &piece);
        self.written.extend(piece);
    }

    fn step(&mut self) {
        match self.rng.u8(0..12) {
            0 if self.written.len() - self.carried() > self.begin && self.rig.recorder.is_some() => {
                // Seen by the recorder, so that nothing of it can be gone unread.
                self.wait();
                let by_name = self.rng.bool();
                if by_name && self.rng.bool() {
                    self.rig.stop();
                }
                self.append();
                self.begin = self.written.len();
                if by_name {
                    self.names += 1;
                    self.rig.rename("log", &format!("log.{}", self.names));
                    self.append();
                } else {
                    fs::remove_file(self.rig.path("log")).unwrap();
                    self.append();
                    // A stop would leave it unread, for ever.
                    self.wait();
                }
            }
            1 if self.carried() == 0
                && self.written.len() > self.begin + 1
                && self.rig.recorder.is_some() =>
            {
                self.wait();
                let is_down = self.rng.bool();
                if is_down {
                    self.rig.stop();
                }
                File::options().write(true).open(self.rig.path("log")).unwrap().set_len(0).unwrap();
                self.begin = self.written.len();
                // One byte alone is less than was there: a look can tell.
                self.rig.append("log", b"\n");
                self.written.push(b'\n');
                if is_down {
                    self.rig.start();
                }
                self.wait();
            }
            2 if self.rig.recorder.is_some() => drop(self.rig.stop()),
            3 | 4 if self.rig.recorder.is_none() => self.rig.start(),
            _ => self.append(),
        }
    }
}

// REQ W1, REQ W3
#[test]
fn whatever_becomes_of_the_path_what_was_written_is_recorded_once() {
    for seed in 0..12 {
        let framing = if seed % 2 == 0 { Framing::Lines } else { Framing::Chunk };
        let rig = Rig::new(framing);
        let mut model = Model { rig, rng: Rng::with_seed(seed), written: Vec::new(), begin: 0, names: 0 };
        for _ in 0..80 {
            model.step();
        }
        model.rig.append("log", b"\n");
        model.written.push(b'\n');
        if model.rig.recorder.is_none() {
            model.rig.start();
        }
        model.wait();
        let stored = model.rig.stop();
        assert!(stored == model.written, "seed {seed}: {} of {}", stored.len(), model.written.len());
    }
}

// REQ R9, REQ W4
#[test]
fn what_there_is_no_room_for_is_declared_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let sent = common::lines(400_000);
    fs::write(&path, &sent).unwrap();
    let storage = SimStorage::new();
    let (framing, on_full) = (Framing::Lines, OnFull::DropNewest);
    let quota = Some(100_000);
    let channel = ChannelConfig { framing, on_full, quota, ..ChannelConfig::new("log", Source::Tail(path)) };
    let config = config(Path::new("simulated"), vec![channel]);
    let recorder = Recorder::start_on(Arc::new(storage.clone()), None, config).unwrap();
    eventually("all of it", || recorder.channels()[0].accepted_bytes == sent.len() as u64);
    let ending = recorder.stop(after(LONG));
    let counts = &ending.channels[0];
    assert!(ending.clean && !ending.complete && counts.dropped_records > 0, "{counts:?}");
    assert_eq!(counts.accepted_bytes, counts.stored_bytes + counts.dropped_bytes);
    assert_eq!(stored(&storage, "log").len() as u64, counts.stored_bytes);
}

// REQ W1
#[test]
fn files_that_come_and_go_faster_than_anybody_looks_are_gone_after() {
    let mut rig = Rig::new(Framing::Lines);
    rig.start();
    let mut sent = Vec::new();
    for burst in 0..60 {
        for n in 0..10 {
            let line = format!("{burst:03} {n}\n");
            rig.append("log", line.as_bytes());
            sent.push(line);
            let name = format!("log.{burst}.{n}");
            rig.rename("log", &name);
            if n % 3 == 0 {
                // As one that moves all of them on does.
                rig.rename(&name, &format!("{name}.old"));
            }
        }
        rig.wait_for(6 * sent.len() as u64);
    }
    assert_eq!(rig.said(), "");
    let stored = String::from_utf8(rig.stop()).unwrap();
    let mut lines: Vec<&str> = stored.split_inclusive('\n').collect();
    lines.sort_unstable();
    assert!(lines == sent, "{} lines of {}", lines.len(), sent.len());
}

// REQ W1, REQ E1
#[test]
fn what_was_gone_before_anybody_could_open_it_is_told() {
    let mut rig = Rig::new(Framing::Lines);
    rig.start();
    eventually("a file that nobody saw", || {
        rig.append("log", b"a line\n");
        fs::remove_file(rig.path("log")).unwrap();
        rig.said().contains("came and went faster than they could be opened; some may be missing")
    });
    rig.stop();
    // More than may wait at once.
    let mut rig = Rig::new(Framing::Lines);
    rig.start();
    for n in 0..3000 {
        rig.append("log", b"a line\n");
        rig.rename("log", &format!("log.{n}"));
    }
    let all = 3000 * 7;
    eventually("all of it, or a word", || {
        let accepted = rig.recorder().channels()[0].accepted_bytes;
        assert!(accepted <= all, "something was read twice");
        accepted == all || rig.said().contains("some may be missing")
    });
    rig.stop();
}
