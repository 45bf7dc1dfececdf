//! The real program, killed at each system call that changes its files, in turn.
//!
//! `strace` ends it: the call's first, second, third time in a thread, until a run gets by. After each
//! kill nothing needs a hand: the next run goes on, and what was acknowledged is there.

use super::recording::random_bytes;
use super::{CaseResult, Context, Unmet};
use crate::process;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The calls by which a recorder changes what is on the disk.
const CALLS: [&str; 9] =
    ["pwrite64", "pwritev", "fdatasync", "fsync", "rename", "fallocate", "ftruncate", "unlink", "flock"];
/// More times than any thread of so short a run does any of them.
const TIMES_MAX: u32 = 100;
const SOURCE_BYTES: usize = 300_000;
/// Fewer kills than this are not what was meant.
const KILLS_MIN: u32 = 20;

struct Place {
    root: PathBuf,
    program: PathBuf,
    source: Vec<u8>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Place {
    fn new(program: PathBuf) -> Result<Self, String> {
        let root = process::root().join("target/interop-killed");
        let place = Self { root, program, source: random_bytes(SOURCE_BYTES) };
        let _ = fs::remove_dir_all(&place.root);
        let made = fs::create_dir_all(&place.root).and_then(|()| fs::write(place.source(), &place.source));
        made.map_err(|error| format!("{}: {error}", place.root.display()))?;
        Ok(place)
    }

    fn source(&self) -> PathBuf {
        self.root.join("source")
    }

    fn recording(&self) -> PathBuf {
        self.root.join("rec")
    }

    /// Begins a recording anew, or goes on with it.
    fn record(&self, begun_by: Option<(&Path, &[&str])>) -> Result<Output, String> {
        let mut record = match begun_by {
            None => Command::new(&self.program),
            Some((tracer, words)) => {
                let mut traced = Command::new(tracer);
                traced.args(words).arg(&self.program);
                traced
            }
        };
        record.arg("record").arg("--out").arg(self.recording()).args(["--acks", "1", "--channel"]);
        record.arg(format!("f=file:{}", self.source().display()));
        record.args(["--channel", "c=exec:echo one; echo two >&2; echo three"]);
        record.output().map_err(|error| format!("cannot start evenkeel: {error}"))
    }

    fn ask(&self, words: &[&str], rest: &[&str]) -> Result<Output, String> {
        let mut command = Command::new(&self.program);
        let output = command.args(words).arg(self.recording()).args(rest).output();
        output.map_err(|error| format!("cannot start evenkeel: {error}"))
    }
}

/// The bytes of the file's channel that were acknowledged.
fn acknowledged(output: &Output) -> usize {
    let said = String::from_utf8_lossy(&output.stdout);
    let whole = said.lines().filter(|line| line.split(' ').count() == 3);
    let of_file = whole.filter_map(|line| line.strip_prefix("f ")?.split(' ').nth(1)?.parse().ok());
    of_file.max().unwrap_or(0)
}

pub(super) fn at_each_call(context: &Context<'_>) -> CaseResult {
    let program = context.program()?;
    if !process::on_path("strace") {
        return Err(Unmet::Skipped("strace is not installed".to_owned()));
    }
    let tracer = Path::new("strace");
    let traced = process::output(Command::new(tracer).args(["-f", "-qq", "-o", "/dev/null", "true"]));
    traced.map_err(|error| Unmet::Skipped(format!("nothing can be traced here: {error}")))?;
    let place = Place::new(program)?;
    let mut kills = 0;
    for call in CALLS {
        for time in 1..=TIMES_MAX {
            let _ = fs::remove_dir_all(place.recording());
            let (trace, inject) =
                (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={time}"));
            let words = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let output = place.record(Some((tracer, &words)))?;
            // A tracer ends as what it traced did.
            if output.status.code() == Some(0) {
                break;
            }
            if output.status.code().is_some() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(Unmet::Failed(format!("{call} {time}: {}: {said}", output.status)));
            }
            kills += 1;
            after(&place, acknowledged(&output))
                .map_err(|why| Unmet::Failed(format!("killed at {call} {time}: {why}")))?;
        }
    }
    println!("   {kills} kills");
    if kills < KILLS_MIN {
        return Err(Unmet::Failed(format!("only {kills} kills: at least {KILLS_MIN} were to come")));
    }
    Ok(())
}

/// The recording goes on, and has what was acknowledged and then everything.
fn after(place: &Place, acknowledged: usize) -> Result<(), String> {
    if place.recording().exists() {
        let verdict = place.ask(&["verify"], &["--json"])?;
        let code = verdict.status.code();
        // 3: killed before there was a first commit, with nothing acknowledged.
        if !(matches!(code, Some(0 | 6)) || code == Some(3) && acknowledged == 0) {
            return Err(format!("verify: {}: {}", verdict.status, told(&verdict)));
        }
        let stored = place.ask(&["export"], &["--channel", "f"])?.stdout;
        if stored.len() < acknowledged || !place.source.starts_with(&stored) {
            return Err(format!("{acknowledged} bytes acknowledged, {} there", stored.len()));
        }
    }
    let again = place.record(None)?;
    if again.status.code() != Some(0) {
        return Err(format!("the next run: {}: {}", again.status, told(&again)));
    }
    let verdict = place.ask(&["verify"], &["--json"])?;
    let report: Value = serde_json::from_slice(&verdict.stdout).map_err(|e| format!("verify: {e}"))?;
    if !matches!(verdict.status.code(), Some(0 | 6)) {
        return Err(format!("verify after the next run: {}: {report}", verdict.status));
    }
    let stored = place.ask(&["export"], &["--channel", "f"])?.stdout;
    if stored != place.source {
        return Err(format!("after the next run {} bytes of {SOURCE_BYTES} are there", stored.len()));
    }
    let journal = place.ask(&["journal"], &["--json"])?;
    if journal.status.code() != Some(0) {
        return Err(format!("the journal: {}: {}", journal.status, told(&journal)));
    }
    Ok(())
}

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}
