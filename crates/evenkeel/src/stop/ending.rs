//! The report: into the journal, into its file, and the way out.

use super::{AskChannels, Request, Setup, Stopped, ours};
use crate::cleanup::executor::Executor;
use crate::cleanup::{Workers, Works};
use crate::clock;
use crate::journal::Journal;
use evenkeel_core::cleanup::{
    ChannelReport, Ending, REPORT_VERSION, Report, Run, StepId, Verdict, exit_code,
};
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the program may take to say what became of its channels.
const ASK_PATIENCE: Duration = Duration::from_millis(250);
/// How long the report's last entry may take to be durable where the journal was not closed.
const ENTRY_PATIENCE: Duration = Duration::from_millis(100);
/// What the report's file may take in any case, in the tail of the grace period or past it.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);

/// What is needed to write the end of a stop down.
pub(super) struct Closing {
    pub(super) workers: Workers,
    journal: Option<Journal>,
    report_path: Option<PathBuf>,
    channels: Option<AskChannels>,
    request: Request,
    started: String,
    grace: Duration,
    over_at: evenkeel_core::Mono,
    /// Head of the journal before the report's entry, once that is written.
    head: Option<String>,
}

impl Closing {
    pub(super) fn new(setup: &Setup, request: &Request, started_ns: u64) -> Self {
        Self {
            workers: Workers::default(),
            journal: setup.journal.clone(),
            report_path: setup.report_path.clone(),
            channels: setup.channels.clone(),
            request: request.clone(),
            started: clock::rfc3339(started_ns),
            grace: setup.grace,
            over_at: clock::mono().plus(setup.grace),
            head: None,
        }
    }

    /// The closures of the step that ends the journal.
    pub(super) fn works(&self, journal: &Journal) -> Works {
        let (finish, verify) = (journal.clone(), journal.clone());
        let run = ours(move |step| finish.finish(step.remaining()).map_err(|e| e.to_string()));
        // Whole to its end counts only if this is its end.
        let ended = move |_| {
            verify.finish(Duration::ZERO).map_err(|e| e.to_string())?;
            verify.verify_last()
        };
        let verify = ours(ended);
        Works { run, verify: Some(verify), compensate: None }
    }

    /// Writes the report as it stands before the journal is closed, as its last entry.
    pub(super) fn write_pending(&mut self, run: &Run, closing: StepId) {
        let (channels, complete) = self.ask_channels();
        let clean = run.is_clean_but_for(closing);
        let report = self.report(run, &run.ending_so_far(), clean, channels, complete);
        self.append(&report);
    }

    fn append(&mut self, report: &Report) -> Option<u64> {
        let journal = self.journal.as_ref()?;
        let Ok(Value::Object(body)) = serde_json::to_value(report) else { return None };
        let appended = journal.append_with_head("report", body, "journal_head")?;
        self.head = Some(appended.prev);
        Some(appended.entry)
    }

    fn ask_channels(&self) -> (Vec<ChannelReport>, bool) {
        let Some(ask) = self.channels.clone() else { return (Vec::new(), true) };
        self.workers.ask(ASK_PATIENCE, move || ask()).unwrap_or_default()
    }

    fn report(
        &self,
        run: &Run,
        ending: &Ending,
        clean: bool,
        channels: Vec<ChannelReport>,
        complete: bool,
    ) -> Report {
        Report {
            version: REPORT_VERSION,
            clean,
            complete: clean && complete,
            exit_code: exit_code(ending, clean),
            reason: self.request.reason.clone(),
            initiated_by: self.request.by.clone(),
            started: self.started.clone(),
            duration_ms: run.duration().as_secs_f64() * 1e3,
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
            phases: run.phases(),
            channels,
            abandoned: run.abandoned(),
            journal_head: self.head.clone(),
        }
    }

    /// The authoritative report, written to its file.
    pub(super) fn end(mut self, executor: &Executor) -> Stopped {
        let run = &executor.run;
        let ending = run.ending().cloned().unwrap_or(Ending::OutOfTime);
        let (channels, complete) = self.ask_channels();
        let mut report = self.report(run, &ending, run.is_clean(), channels, complete);
        name_what_never_began(&mut report, executor);
        if self.head.is_none()
            && let Some(entry) = self.append(&report)
        {
            report.journal_head.clone_from(&self.head);
            if let Some(journal) = &self.journal {
                journal.wait_durable(entry, ENTRY_PATIENCE);
            }
        }
        let report_fault = self.write_file(&report);
        Stopped { report, report_fault }
    }

    /// Writes on another thread: a disk that hangs must not hold up the exit.
    fn write_file(&self, report: &Report) -> Option<String> {
        let path = self.report_path.clone()?;
        let text = match serde_json::to_vec_pretty(report) {
            Ok(text) => text,
            Err(e) => return Some(format!("the report could not be written: {e}")),
        };
        let patience = self.over_at.since(clock::mono()).max(WRITE_PATIENCE);
        let name = path.display().to_string();
        match self.workers.ask(patience, move || write_by_rename(&path, &text)) {
            Some(Ok(())) => None,
            Some(Err(e)) => Some(format!("the report could not be written to {name}: {e}")),
            None => Some(format!("the report could not be written to {name} in time")),
        }
    }
}

/// A step that nobody began is not just slow.
fn name_what_never_began(report: &mut Report, executor: &Executor) {
    let steps = report.phases.iter_mut().flat_map(|phase| &mut phase.steps);
    for step in steps.filter(|step| step.verdict == Some(Verdict::TimedOutStillRunning)) {
        let id = executor.run.plan().find(&step.name);
        if let (true, Some(detail)) = (id.is_some_and(|id| executor.never_begun(id)), &mut step.detail) {
            detail.push_str("; the runtime that it was given to never began it");
        }
    }
}

/// Writes a file that is there whole or not at all.
fn write_by_rename(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = dir.join(temporary);
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text)?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    let done = written.and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done.and_then(|()| std::fs::File::open(dir)?.sync_all())
}

/// Ends the process, also when something that runs at exit hangs.
pub(super) fn exit(code: u8) {
    let guard = || {
        std::thread::sleep(Duration::from_secs(1));
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    };
    let _ = std::thread::Builder::new().name("ek-exit".to_owned()).spawn(guard);
    std::process::exit(i32::from(code));
}
