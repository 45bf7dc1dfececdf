//! Files that grow and are rotated, with the real program, killed at random moments.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Running, Scratch, code, evenkeel, export, last_ack, lines, verify};
use fastrand::Rng;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

/// A time so far away that only what is lost reaches it.
const LONG: Duration = Duration::from_secs(60);

/// Rounds in all: `EVENKEEL_KILLS` for a longer search.
fn rounds() -> u64 {
    std::env::var("EVENKEEL_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(50) / 8
}

/// Who writes the file that is followed, rotates it, and kills who follows it.
struct Writer {
    scratch: Scratch,
    dir: String,
    frame: String,
    rng: Rng,
    running: Option<Running>,
    written: Vec<u8>,
    /// Where the file at the path begins in it.
    begin: usize,
    /// Bytes acknowledged, as far as it was told.
    acked: u64,
    files: u32,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let scratch = Scratch::new();
        let dir = scratch.word("rec");
        let frame = if seed.is_multiple_of(2) { "t=lines" } else { "t=chunk" }.to_owned();
        let rng = Rng::with_seed(seed);
        Self { scratch, dir, frame, rng, running: None, written: Vec::new(), begin: 0, acked: 0, files: 0 }
    }

    fn start(&mut self) {
        let source = format!("t=tail:{}", self.scratch.word("log"));
        let words = ["record", "--out", &self.dir, "--channel", &source, "--frame", &self.frame];
        self.running = Some(Running::start(&self.scratch, &words));
    }

    fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.signal("-KILL");
            running.child.wait().unwrap();
            self.acked = self.acked.max(last_ack(&running.acks, "t").map_or(0, |(_, bytes)| bytes));
        }
    }

    fn append(&mut self) {
        let from = self.written.len() as u64;
        let many = if self.rng.u8(0..4) == 0 { self.rng.u64(100..2_000) } else { self.rng.u64(1..20) };
        let mut bytes = lines(from, many);
        // Writes end anywhere, but those that are waited for.
        bytes.truncate(self.rng.usize(1..=bytes.len()));
        bytes.push(b'\n');
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut file = File::options().append(true).create(true).open(self.scratch.path("log")).unwrap();
        file.write_all(bytes).unwrap();
        self.written.extend_from_slice(bytes);
    }

    /// Waits until so much is acknowledged, by whoever runs then.
    fn wait_for(&mut self, bytes: usize) {
        if self.running.is_none() {
            self.start();
        }
        let acks = &self.running.as_ref().unwrap().acks;
        let begin = Instant::now();
        while last_ack(acks, "t").is_none_or(|(_, acked)| acked < bytes as u64) {
            assert!(begin.elapsed() < LONG, "never there: {bytes} bytes, {:?}", last_ack(acks, "t"));
            std::thread::yield_now();
        }
        self.acked = self.acked.max(bytes as u64);
    }

    /// Another file comes to stand at the path. What this one has is partly unread; but it is this one that is read.
    fn rename(&mut self) {
        self.wait_for(self.begin + 1);
        self.append();
        self.files += 1;
        fs::rename(self.scratch.path("log"), self.scratch.path(&format!("log.{}", self.files))).unwrap();
        self.begin = self.written.len();
        if self.rng.bool() {
            self.append();
        }
    }

    /// The file is copied and truncated. What was written since it was copied would be lost, by nature: there is none.
    fn truncate(&mut self) {
        self.wait_for(self.written.len());
        if self.rng.bool() {
            // Whoever starts next finds a file that is shorter than what it remembers.
            self.kill();
        }
        File::options().write(true).open(self.scratch.path("log")).unwrap().set_len(0).unwrap();
        self.begin = self.written.len();
        // Short, so that a look finds it short.
        self.write(b"\n");
        self.wait_for(self.written.len());
    }

    fn step(&mut self) {
        match self.rng.u8(0..12) {
            0 | 1 => self.kill(),
            2 | 3 if self.running.is_none() => self.start(),
            4 | 5 if self.written.len() > self.begin + 1 => self.rename(),
            6 if self.written.len() > self.begin + 1 => self.truncate(),
            _ => self.append(),
        }
    }
}

// REQ W1, REQ W3
#[test]
fn killed_while_the_file_is_rotated_all_that_was_written_is_there_once() {
    for seed in 0..rounds() {
        let mut writer = Writer::new(seed);
        writer.start();
        for _ in 0..40 {
            writer.step();
            assert!(writer.acked <= writer.written.len() as u64, "seed {seed}");
        }
        writer.append();
        writer.wait_for(writer.written.len());
        let mut running = writer.running.take().unwrap();
        running.signal("-TERM");
        assert_eq!(code(running.child.wait().unwrap()), 0, "seed {seed}");
        let (stored, verdict) = export(&writer.dir, "t");
        assert!(matches!(verdict, 0 | 6), "seed {seed}: export says {verdict}");
        let (there, all) = (stored.len(), writer.written.len());
        assert!(stored == writer.written, "seed {seed}: {there} bytes are there, of {all}");
        assert!(matches!(verify(&writer.dir).1, 0 | 6), "seed {seed}");
    }
}

// REQ W2
#[test]
fn a_tail_has_no_end_of_its_own_and_stops_where_it_stands() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let source = format!("t=tail:{}", scratch.word("log"));
    let words = ["record", "--out", &dir, "--report", &out, "--channel", &source, "--frame", "t=lines"];
    let mut running = Running::start(&scratch, &words);
    // It is not there when recording begins.
    let text = lines(0, 1_000);
    scratch.put("log", &[&text[..], b"half a li"].concat());
    running.wait_for_ack("t", text.len() as u64);
    let status = evenkeel(&["status", &dir, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["channels"][0]["state"], "Running", "{status:#}");
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0);
    assert_eq!(export(&dir, "t"), (text.clone(), 0));
    // The other half: neither is lost, and none of it is there twice.
    scratch.put("log", &[&text[..], b"half a line\n"].concat());
    let mut running = Running::start(&scratch, &words);
    running.wait_for_ack("t", text.len() as u64 + 12);
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0);
    assert_eq!(export(&dir, "t"), ([&text[..], b"half a line\n"].concat(), 0));
}

// REQ E1
#[test]
fn what_may_be_missing_is_in_the_journal() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let log = scratch.put("log", b"one\n");
    let words = ["record", "--out", &dir, "--channel", &format!("t=tail:{log}")];
    let mut running = Running::start(&scratch, &words);
    running.wait_for_ack("t", 4);
    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    scratch.put("more", b"");
    let mut file = File::options().append(true).open(&log).unwrap();
    file.write_all(b"2\n").unwrap();
    running.wait_for_ack("t", 6);
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0, "a rotation is no failure");
    let journal = evenkeel(&["journal", &dir, "--channel", "t", "--json"]);
    let told = String::from_utf8_lossy(&journal.stdout).into_owned();
    assert!(told.contains("log was truncated, having been read up to byte 4"), "{told}");
    assert_eq!(export(&dir, "t"), (b"one\n2\n".to_vec(), 0));
}
