//! Running the program.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; a failure is the test's"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");

/// Runs the program to its end.
pub fn evenkeel(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).stdin(Stdio::null()).output().unwrap()
}

pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory that is removed afterwards, with paths as words.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn put(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.word(name)
    }
}

/// The bytes of a channel, and the exit code of the export.
pub fn export(dir: &str, channel: &str) -> (Vec<u8>, i32) {
    let output = evenkeel(&["export", dir, "--channel", channel]);
    (output.stdout, code(output.status))
}

pub fn verify(dir: &str) -> (serde_json::Value, i32) {
    let output = evenkeel(&["verify", dir, "--json"]);
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), code(output.status))
}

/// A recorder with a pipe as its standard input, and its acknowledgements in a file.
pub struct Running {
    pub child: Child,
    pub acks: PathBuf,
}

impl Running {
    pub fn start(scratch: &Scratch, words: &[&str]) -> Self {
        let stderr = Stdio::from(File::create(scratch.path("stderr")).unwrap());
        Self::of(scratch, &[&[PROGRAM], words].concat(), stderr)
    }

    /// The same with another standard error; the words begin with a program.
    pub fn of(scratch: &Scratch, words: &[&str], stderr: Stdio) -> Self {
        let acks = scratch.path("acks");
        let child = Command::new("sh")
            .args(["-c", "acks=$1; shift; exec \"$@\" --acks 3 3>\"$acks\"", "sh"])
            .arg(&acks)
            .args(words)
            .stdin(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, acks }
    }

    /// Sends bytes from a thread for as long as they are taken; answers how many were.
    pub fn feed(&mut self, mut source: impl FnMut() -> Option<Vec<u8>> + Send + 'static) -> Feed {
        let mut pipe = self.child.stdin.take().unwrap();
        std::thread::spawn(move || {
            let mut sent = 0u64;
            while let Some(piece) = source() {
                if pipe.write_all(&piece).is_err() {
                    break;
                }
                sent += piece.len() as u64;
            }
            (sent, pipe)
        })
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until the acknowledgements say that `channel` has `bytes`.
    pub fn wait_for_ack(&self, channel: &str, bytes: u64) {
        while last_ack(&self.acks, channel).is_none_or(|(_, b)| b < bytes) {
            // sleep: the condition is in another process; polled, bounded by the test's own limit.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

pub type Feed = std::thread::JoinHandle<(u64, std::process::ChildStdin)>;

/// Where a channel listens, as the recorder has told.
pub fn address(scratch: &Scratch, channel: &str) -> String {
    let sought = format!("{channel}: listening on ");
    loop {
        let told = std::fs::read_to_string(scratch.path("stderr")).unwrap_or_default();
        let mut lines = told.lines().filter(|_| told.ends_with('\n'));
        if let Some(address) = lines.find_map(|line| line.strip_prefix(&sought)) {
            return address.to_owned();
        }
        std::thread::yield_now();
    }
}

/// Sequence and bytes of the last whole line about a channel.
pub fn last_ack(path: &Path, channel: &str) -> Option<(u64, u64)> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    let whole = &text[..text.rfind('\n')? + 1];
    let line = whole.lines().rev().find_map(|l| l.strip_prefix(channel)?.strip_prefix(' '))?;
    let (sequence, bytes) = line.split_once(' ')?;
    Some((sequence.parse().ok()?, bytes.parse().ok()?))
}

/// Bytes that tell where they are: `n` numbered lines from `first` on.
pub fn lines(first: u64, n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for at in first..first + n {
        writeln!(
            out,
            "{at:012} the quick brown fox jumps over the lazy dog and goes on to the next line of this text"
        )
        .unwrap();
    }
    out
}

/// What keeps a [hanging source](hanging_source) hanging, until it is dropped.
pub struct Held(PathBuf);

impl Held {
    /// Waits until its process has left the group.
    pub fn wait(&self) {
        while !self.0.with_extension("on").exists() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A command that does not listen, and of which a part has left for a session of its own,
/// where no signal of the recorder reaches it, and keeps the output open. A stop gives it up after 5 s and a bit.
pub fn hanging_source(scratch: &Scratch) -> (String, Held) {
    let path = scratch.put("held", b"");
    let source = format!(
        "exec:trap '' TERM; setsid sh -c 'touch {path}.on; while [ -e {path} ]; do sleep 0.02; done' & wait"
    );
    (source, Held(path.into()))
}
