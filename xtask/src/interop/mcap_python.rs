//! Our files as the Python package `mcap` reads them.
//!
//! The package is installed into an environment of its own under `target/`, in the
//! one version that the script was written for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{CaseResult, Context, Unmet};
use crate::process;

const VERSION: &str = "1.2.2";

/// Python with the package, and the script that uses it.
pub(super) struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// Makes the environment, or finds it made.
    ///
    /// # Errors
    /// What this machine lacks.
    pub(super) fn prepare() -> Result<Self, String> {
        let environment = process::root().join("target/interop-venv");
        let python = Self { interpreter: environment.join("bin/python") };
        if python.has_package() {
            return Ok(python);
        }
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear"]).arg(&environment);
        process::output(&mut create).map_err(|error| lacking("python3 with venv", &error))?;
        let mut install = Command::new(&python.interpreter);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.arg(format!("mcap=={VERSION}"));
        process::output(&mut install).map_err(|error| lacking("the Python package mcap", &error))?;
        if python.has_package() {
            Ok(python)
        } else {
            Err(format!("the Python package mcap {VERSION} does not load"))
        }
    }

    fn has_package(&self) -> bool {
        let mut ask = Command::new(&self.interpreter);
        ask.args(["-c", "import mcap.reader, importlib.metadata as m; print(m.version('mcap'))"]);
        process::text_output(&mut ask).is_ok_and(|version| version == VERSION)
    }

    /// What the script prints over a channel of a recording.
    pub(super) fn read(&self, directory: &Path, channel: &str) -> Result<Value, String> {
        self.script(|script| script.arg(directory).arg(channel))
    }

    pub(super) fn hash(&self, path: &Path) -> Result<Value, String> {
        self.script(|script| script.arg("--sha256").arg(path))
    }

    /// What the script finds when it follows a journal's chain.
    fn follow_journal(&self, directory: &Path) -> Result<Value, String> {
        self.run("read_journal.py", |script| script.arg(directory))
    }

    fn script(&self, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<Value, String> {
        self.run("read_mcap.py", arguments)
    }

    fn run(&self, name: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<Value, String> {
        let mut script = Command::new(&self.interpreter);
        script.arg(process::root().join("xtask/interop").join(name));
        let printed = process::output(arguments(&mut script))?;
        serde_json::from_slice(&printed).map_err(|error| format!("{name} printed no JSON: {error}"))
    }
}

fn lacking(what: &str, error: &str) -> String {
    format!("{what} is not available ({})", error.lines().last().unwrap_or("").trim())
}

/// The channel as Python joins it, as `export` prints it and as it went in are the same bytes.
pub(super) fn agrees(context: &Context<'_>, channel: &str) -> CaseResult {
    let python = context.python()?;
    let recording = context.recording()?;
    let source = python.hash(&recording.source_of(channel))?;
    let exported = python.hash(&recording.export(channel)?)?;
    let read = python.read(&recording.directory(), channel)?;
    same("`evenkeel export`", &exported, &source)?;
    same("the Python reader", &read, &source)?;
    Ok(())
}

pub(super) fn same(who: &str, found: &Value, source: &Value) -> Result<(), String> {
    for what in ["bytes", "sha256"] {
        if source[what].is_null() || found[what] != source[what] {
            return Err(format!("{who} has {what} {}, the source {}", found[what], source[what]));
        }
    }
    Ok(())
}

/// The journal opens like any other log; its chain, followed by another program, is whole, and
/// ends in the report that the stop wrote.
pub(super) fn follows_the_journal(context: &Context<'_>) -> CaseResult {
    let python = context.python()?;
    let recording = context.recording()?;
    let journal = recording.directory().join("journal");
    let read = python.read(&journal, "journal")?;
    let followed = python.follow_journal(&journal)?;
    let report = recording.report()?;
    let expected = [
        ("entries", &followed["entries"], &read["messages"]),
        ("head before the report", &followed["last_prev"], &report["journal_head"]),
        ("kind of the last entry", &followed["last_kind"], &Value::from("report")),
    ];
    for (what, found, expected) in expected {
        if found != expected {
            return Err(Unmet::Failed(format!("{what}: found {found}, expected {expected}")));
        }
    }
    let verified = recording.verify()?;
    if verified["journal"]["head"] == followed["head"] {
        Ok(())
    } else {
        Err(Unmet::Failed(format!("`evenkeel verify` says {verified}, Python {followed}")))
    }
}

/// A recording that reads as good is refused once one bit of it is flipped, so
/// that a pass above means something.
pub(super) fn sees_damage(context: &Context<'_>) -> CaseResult {
    let python = context.python()?;
    let recording = context.recording()?;
    python.read(&recording.directory(), "a")?;
    let damaged = recording.beside("damaged");
    damage_first_segment(&recording.directory(), &damaged)
        .map_err(|error| format!("{}: {error}", damaged.display()))?;
    match python.read(&damaged, "a") {
        Err(message) if message.contains("damaged:") => Ok(()),
        Err(message) => Err(Unmet::Failed(message)),
        Ok(read) => Err(Unmet::Failed(format!("a flipped bit was read as good: {read}"))),
    }
}

/// Copies the first sealed segment with one bit flipped in its middle.
fn damage_first_segment(recording: &Path, damaged: &Path) -> std::io::Result<()> {
    const FIRST: &str = "000001.mcap";
    let mut bytes = fs::read(recording.join(FIRST))?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x10;
    }
    fs::create_dir_all(damaged)?;
    fs::write(damaged.join(FIRST), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differing_bytes_are_seen() {
        let source = json!({ "bytes": 3, "sha256": "aa" });
        assert!(same("x", &json!({ "bytes": 3, "sha256": "aa", "messages": 1 }), &source).is_ok());
        assert!(same("x", &json!({ "bytes": 3, "sha256": "ab" }), &source).is_err());
        assert!(same("x", &json!({ "bytes": 2, "sha256": "aa" }), &source).is_err());
        assert!(same("x", &json!({}), &json!({})).is_err());
    }
}
