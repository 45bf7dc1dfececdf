//! The recording that readers are tried on: channel `a` from a file of
//! pseudo-random bytes, framed by chunk, and channel `b` from standard input,
//! framed by line.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process;

const RANDOM_BYTES: usize = 20_000_000;
const LINES: u64 = 200_000;

/// Longer than a message may be, so that one line goes over several.
const LONG_LINE_BYTES: usize = 150_000;

/// A recording and what went into it. Its directory goes when it is dropped.
pub(super) struct Recording {
    root: PathBuf,
    program: PathBuf,
}

impl Recording {
    /// Writes the sources and records them, with the program given or one built here.
    ///
    /// # Errors
    /// What went wrong, with the program's exit status.
    pub(super) fn make(given: Option<&Path>) -> Result<Self, String> {
        let program = process::evenkeel(given)?;
        let root = process::root().join("target/interop-tmp");
        let recording = Self { root, program };
        recording.write_sources().map_err(|error| format!("{}: {error}", recording.root.display()))?;
        recording.record()?;
        Ok(recording)
    }

    /// The recording's directory.
    pub(super) fn directory(&self) -> PathBuf {
        self.root.join("recording")
    }

    /// A path beside the recording, for a case's own files.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The bytes that were recorded as this channel.
    pub(super) fn source_of(&self, channel: &str) -> PathBuf {
        self.root.join(format!("source-{channel}"))
    }

    /// Exports a channel into a file and returns its path.
    ///
    /// # Errors
    /// When `evenkeel export` does not exit with 0.
    pub(super) fn export(&self, channel: &str) -> Result<PathBuf, String> {
        let path = self.beside(&format!("export-{channel}"));
        let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut export = Command::new(&self.program);
        export.arg("export").arg(self.directory()).args(["--channel", channel]).stdout(file);
        process::run(&mut export)?;
        Ok(path)
    }

    /// The report of the recording's stop.
    ///
    /// # Errors
    /// When there is none, or it is no JSON.
    pub(super) fn report(&self) -> Result<Value, String> {
        let path = self.beside("report.json");
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What `evenkeel verify` says.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub(super) fn verify(&self) -> Result<Value, String> {
        let printed =
            process::output(Command::new(&self.program).arg("verify").arg(self.directory()).arg("--json"))?;
        serde_json::from_slice(&printed).map_err(|error| format!("evenkeel verify: {error}"))
    }

    fn write_sources(&self) -> io::Result<()> {
        if self.root.exists() {
            fs::remove_dir_all(&self.root)?;
        }
        fs::create_dir_all(&self.root)?;
        fs::write(self.source_of("a"), random_bytes(RANDOM_BYTES))?;
        let mut lines = BufWriter::new(File::create(self.source_of("b"))?);
        write_lines(&mut lines)?;
        lines.flush()
    }

    fn record(&self) -> Result<(), String> {
        let mut record = Command::new(&self.program);
        record.arg("record").arg("--out").arg(self.directory()).arg("--channel");
        record.arg(format!("a=file:{}", self.source_of("a").display()));
        record.arg("--report").arg(self.beside("report.json"));
        record.args(["--channel", "b=stdin", "--frame", "b=lines"]).stdin(Stdio::piped());
        let mut child = record.spawn().map_err(|error| format!("cannot start evenkeel: {error}"))?;

        let fed = File::open(self.source_of("b")).and_then(|mut lines| match child.stdin.take() {
            Some(mut stdin) => io::copy(&mut lines, &mut stdin),
            None => Ok(0),
        });
        let status = child.wait().map_err(|error| format!("evenkeel record: {error}"))?;
        if !status.success() {
            return Err(format!("evenkeel record: {status}"));
        }
        fed.map(drop).map_err(|error| format!("evenkeel record did not read its standard input: {error}"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

/// Bytes that no compression shortens, the same in every run (xorshift64*).
pub(super) fn random_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Lines of every length from nothing to 255 bytes, one far longer in the middle,
/// and the last without a line break.
fn write_lines(out: &mut impl Write) -> io::Result<()> {
    const FILL: [u8; 256] = [b'.'; 256];
    for number in 1..LINES {
        let length = usize::try_from(number * 7919 % 256).unwrap_or(0);
        let mut line = format!("{number} ").into_bytes();
        line.extend_from_slice(&FILL);
        line.truncate(length);
        if number == LINES / 2 {
            line.resize(LONG_LINE_BYTES, b'+');
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.write_all("the last line, with no break and an é".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_the_same_each_time_and_vary() {
        let bytes = random_bytes(1001);
        assert_eq!(bytes.len(), 1001);
        assert_eq!(bytes, random_bytes(1001));
        assert!((0..=255).all(|byte| random_bytes(100_000).contains(&byte)));
    }

    #[test]
    fn lines_have_the_edges_that_matter() {
        let mut text = Vec::new();
        write_lines(&mut text).unwrap();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len() as u64, LINES);
        assert!(lines.iter().any(|line| line.is_empty()));
        assert!(lines.iter().any(|line| line.len() == LONG_LINE_BYTES));
        assert!(!text.ends_with(b"\n"));
    }
}
