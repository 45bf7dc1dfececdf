//! A recorder that runs beside us, and its clean end.
//!
//! One that is let go without having been stopped is killed: nothing outlives the suite.
//! So the commands of its channels are such as end by themselves when nobody reads
//! their output, or when their input ends with us.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process;

/// For what takes moments.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A channel to record.
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) source: String,
    /// The default of its source if nothing.
    pub(super) framing: Option<&'static str>,
}

/// A recorder, and the directory that is its own.
pub(super) struct Running {
    child: Child,
    evenkeel: PathBuf,
    directory: PathBuf,
    channels: usize,
    ended: bool,
}

impl Running {
    /// Starts one in its directory, with more words than its channels, and waits until it
    /// records. Its standard output is a pipe.
    ///
    /// # Errors
    /// When it does not start to record.
    pub(super) fn start(
        evenkeel: &Path,
        directory: &Path,
        channels: &[Channel],
        more: &[&str],
    ) -> Result<Self, String> {
        let said = directory.join("said");
        let said = File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
        let mut record = Command::new(evenkeel);
        record.arg("record").arg("--out").arg(directory.join("recording"));
        record.arg("--report").arg(directory.join("report.json"));
        record.args(more);
        for channel in channels {
            record.arg("--channel").arg(format!("{}={}", channel.name, channel.source));
            let framing = channel.framing.map(|framing| format!("{}={framing}", channel.name));
            record.args(framing.iter().flat_map(|framing| ["--frame", framing]));
        }
        record.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        let child = record.spawn().map_err(|error| format!("cannot start evenkeel record: {error}"))?;
        let (evenkeel, directory) = (evenkeel.to_owned(), directory.to_owned());
        let mut running = Self { child, evenkeel, directory, channels: channels.len(), ended: false };
        running.wait_until_it_records()?;
        Ok(running)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it prints; once.
    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The address at which it listens for a channel.
    ///
    /// # Errors
    /// When it has not said so.
    pub(super) fn listening(&self, channel: &str) -> Result<String, String> {
        let said = self.said();
        let address = address_in(&said, channel).map(str::to_owned);
        address.ok_or_else(|| self.trouble(&format!("listens nowhere for {channel}")))
    }

    /// Bytes that each channel has accepted so far.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn accepted_bytes(&self) -> Result<Vec<(String, u64)>, String> {
        let mut status = Command::new(&self.evenkeel);
        let printed =
            process::output(status.arg("status").arg(self.directory.join("recording")).arg("--json"))?;
        let status: Value =
            serde_json::from_slice(&printed).map_err(|error| format!("evenkeel status: {error}"))?;
        Ok(accepted_in(&status))
    }

    /// Asks it to stop, and looks at it now and then until it has; its report.
    ///
    /// # Errors
    /// When the stop is not clean, or a channel has recorded nothing.
    pub(super) fn stop(mut self, mut look: impl FnMut(u32)) -> Result<Value, String> {
        look(self.pid());
        process::run(Command::new("kill").args(["-TERM", &self.pid().to_string()]))?;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            look(self.pid());
            match self.ending()? {
                Some(status) => break status,
                None if Instant::now() > until => return Err(self.trouble("did not stop")),
                None => thread::sleep(LOOK_EVERY),
            }
        };
        if !status.success() {
            return Err(self.trouble(&status.to_string()));
        }
        let text = fs::read(self.directory.join("report.json")).map_err(|error| error.to_string());
        let report = text.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        let report: Value = report.map_err(|error| self.trouble(&format!("report: {error}")))?;
        check_report(&report, self.channels).map_err(|why| self.trouble(&why))?;
        Ok(report)
    }

    fn wait_until_it_records(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !self.said().lines().any(|line| line.starts_with("recording ")) {
            if let Some(status) = self.ending()? {
                return Err(self.trouble(&status.to_string()));
            }
            if Instant::now() > until {
                return Err(self.trouble("does not record"));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn ending(&mut self) -> Result<Option<std::process::ExitStatus>, String> {
        let status = self.child.try_wait().map_err(|error| format!("evenkeel record: {error}"))?;
        self.ended = self.ended || status.is_some();
        Ok(status)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("said")).unwrap_or_default()
    }

    fn trouble(&self, what: &str) -> String {
        format!("evenkeel record: {what}; it said: {}", self.said().trim())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("evenkeel record {}: {error}", self.pid());
        }
    }
}

/// Where the recorder says that it listens for a channel, in lines that are whole.
fn address_in<'a>(said: &'a str, channel: &str) -> Option<&'a str> {
    let (whole, _) = said.rsplit_once('\n')?;
    whole.lines().find_map(|line| line.strip_prefix(channel)?.strip_prefix(": listening on "))
}

/// What each channel of a status or a report has accepted.
fn accepted_in(told: &Value) -> Vec<(String, u64)> {
    let channels = told["channels"].as_array().into_iter().flatten();
    let accepted = channels.filter_map(|channel| {
        Some((channel["name"].as_str()?.to_owned(), channel["accepted_bytes"].as_u64()?))
    });
    accepted.collect()
}

/// Whether a report tells of a clean and complete stop of so many channels, each of which has recorded.
fn check_report(report: &Value, channels: usize) -> Result<(), String> {
    if report["clean"] != true || report["complete"] != true || report["exit_code"] != 0 {
        return Err(format!("the stop was not clean and complete: {report}"));
    }
    let accepted = accepted_in(report);
    if accepted.len() != channels {
        return Err(format!("the report has {} of {channels} channels", accepted.len()));
    }
    match accepted.iter().find(|(_, bytes)| *bytes == 0) {
        Some((name, _)) => Err(format!("{name} has recorded nothing")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("evenkeel-running-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// A program that a script plays.
    fn player(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("player");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn addresses_are_read_from_whole_lines() {
        let said = "a-1: listening on 127.0.0.1:5\na: listening on 127.0.0.1:70\nb: listening on 127.0.0.1:8";
        assert_eq!(address_in(said, "a"), Some("127.0.0.1:70"));
        assert_eq!(address_in(said, "a-1"), Some("127.0.0.1:5"));
        assert_eq!(address_in(said, "b"), None);
    }

    #[test]
    fn only_a_clean_report_with_every_channel_will_do() {
        let report = |clean: bool, code: u8, bytes: u64| {
            json!({ "clean": clean, "complete": true, "exit_code": code,
                    "channels": [{ "name": "a", "accepted_bytes": 5 }, { "name": "b", "accepted_bytes": bytes }] })
        };
        assert_eq!(check_report(&report(true, 0, 1), 2), Ok(()));
        assert!(check_report(&report(false, 0, 1), 2).is_err());
        assert!(check_report(&report(true, 1, 1), 2).is_err());
        assert!(check_report(&report(true, 0, 1), 3).is_err());
        assert!(check_report(&report(true, 0, 0), 2).unwrap_err().starts_with("b "));
        assert!(check_report(&json!({}), 0).is_err());
    }

    #[test]
    fn a_recorder_that_ends_before_it_records_is_an_error_with_what_it_said() {
        let directory = scratch("ends");
        let program = player(&directory, "echo no disk >&2; exit 3");
        let error = Running::start(&program, &directory, &[], &[]).err().unwrap();
        assert!(error.contains('3') && error.contains("no disk"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_stop_that_is_not_clean_is_an_error() {
        let directory = scratch("unclean");
        let script = |code: u8, report: &str| {
            format!(
                "trap 'echo '\\''{report}'\\'' > {}; exit {code}' TERM\necho recording none >&2\n\
                 while :; do sleep 0.01; done",
                directory.join("report.json").display()
            )
        };
        let stopped = |code: u8, report: &str| {
            let program = player(&directory, &script(code, report));
            Running::start(&program, &directory, &[], &[]).unwrap().stop(|_| {})
        };
        let clean = r#"{"clean":true,"complete":true,"exit_code":0}"#;
        assert!(stopped(0, clean).is_ok());
        assert!(stopped(1, clean).is_err());
        assert!(stopped(0, r#"{"clean":false,"complete":true,"exit_code":0}"#).is_err());
        assert!(stopped(0, "").is_err());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_recorder_that_is_let_go_is_gone() {
        let directory = scratch("drop");
        let program = player(&directory, "trap '' TERM; echo recording none >&2; exec sleep 30");
        let mut running = Running::start(&program, &directory, &[], &[]).unwrap();
        let (mut stdout, process) = (running.stdout().unwrap(), format!("/proc/{}", running.pid()));
        let began = Instant::now();
        drop(running);
        // The pipe ends when nobody has it any more.
        assert_eq!(stdout.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(20) && !Path::new(&process).exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
