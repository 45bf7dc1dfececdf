//! The report: into the journal, into its file, and the way out.

use super::{AskChannels, Request, Setup, Shared, Stopped};
use crate::cleanup::executor::Executor;
use crate::cleanup::{Step, Work, Workers, Works};
use crate::clock;
use crate::journal::{Draft, Journal};
use evenkeel_core::Mono;
use evenkeel_core::cleanup::{
    ChannelReport, Ending, Outcome, REPORT_VERSION, Report, Run, StepId, Verdict, exit, exit_code,
};
use evenkeel_hierarchy::{Cap, CleanupStatus, House, Mutex, with_root};
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::time::Duration;

/// How long the program may take to say what became of its channels.
const ASK_PATIENCE: Duration = Duration::from_millis(250);
/// How long the report's last entry may take to be durable where the journal was not closed.
const ENTRY_PATIENCE: Duration = Duration::from_millis(100);
/// What the report's file may take in any case, past the grace period or after a force.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);
/// The least that a user's code is given to answer.
const ANSWER_PATIENCE: Duration = Duration::from_millis(10);
/// A journal whose queue is full is waited for so long at once, and asked again after this.
const FULL_PATIENCE: Duration = Duration::from_millis(50);
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// What becomes of the report in the journal.
#[derive(Default)]
struct LastEntry {
    /// As it stands before the journal is closed; whoever takes it appends one.
    pending: Option<Arc<Report>>,
    is_appended: bool,
    /// Head of the journal before it.
    head: Option<String>,
}

/// What came of an attempt to append what was drawn up.
enum Attempt {
    /// It is in the journal, or somebody else's word is the last.
    Over,
    /// There is no room.
    Refused,
}

/// What is needed to write the end of a stop down.
#[derive(Clone)]
pub(super) struct Closing {
    pub(super) workers: Workers,
    shared: Arc<Shared>,
    journal: Option<Journal>,
    report_path: Option<PathBuf>,
    channels: Option<AskChannels>,
    strict: bool,
    request: Request,
    started: String,
    grace: Duration,
    over_at: Mono,
    last: Arc<Mutex<CleanupStatus, LastEntry>>,
}

impl Closing {
    pub(super) fn new(setup: &Setup, request: &Request, started_ns: u64, began: Mono) -> Self {
        Self {
            workers: Workers::new(setup.threads.clone()),
            shared: setup.shared.clone(),
            journal: setup.journal.clone(),
            report_path: setup.report_path.clone(),
            channels: setup.channels.clone(),
            strict: setup.strict,
            request: request.clone(),
            started: clock::rfc3339(started_ns),
            grace: setup.grace,
            over_at: began.plus(setup.grace),
            last: Arc::default(),
        }
    }

    fn last<T>(&self, act: impl FnOnce(&mut LastEntry) -> T) -> T {
        with_root(|house| act(&mut self.last.lock(house)))
    }

    /// The closures of the step that ends the journal.
    pub(super) fn works(&self, journal: &Journal) -> Works {
        let (closing, finish, verify) = (self.clone(), journal.clone(), journal.clone());
        let run = ours(move |step| {
            let written = closing.write_pending(&finish, step);
            finish.finish(step.remaining()).map_err(|e| e.to_string())?;
            written
        });
        let last = self.clone();
        let ended = move |_: &Step| {
            // Whole to its end counts only if this is its end, and the report is in it.
            verify.finish(Duration::ZERO).map_err(|e| e.to_string())?;
            if last.last(|last| last.head.is_none()) {
                return Err("the report is not in it".to_owned());
            }
            verify.verify_last()
        };
        Works { run, verify: Some(ours(ended)), compensate: None }
    }

    /// Draws up the report as it stands before the journal is closed, for its last entry.
    pub(super) fn prepare(&self, run: &Run, closing: StepId) {
        let clean = run.is_clean_but_for(closing);
        let report = self.report(run, &run.ending_so_far(), clean, Vec::new(), false);
        self.last(|last| last.pending = Some(Arc::new(report)));
    }

    /// Appends what was drawn up, with what the channels say; on the step's own thread.
    fn write_pending(&self, journal: &Journal, step: &Step) -> Result<(), String> {
        let Some(pending) = self.last(|last| last.pending.clone()) else { return Ok(()) };
        let mut report = Report::clone(&pending);
        let complete;
        (report.channels, complete) = self.ask_channels();
        report.complete = report.clean && complete;
        self.be_strict(&mut report);
        let Some(draft) = draft(&report) else { return Ok(()) };
        loop {
            let before = journal.head().entry;
            if let Attempt::Over = self.append_pending(journal, &draft, step) {
                return Ok(());
            }
            if step.remaining().is_zero() {
                return Err("the journal refused the report, its last entry".to_owned());
            }
            // Its queue is full: there is room when what is in it is on disk.
            if !journal.wait_durable(before, step.remaining().min(FULL_PATIENCE)) {
                step.wait_cancelled(FULL_PAUSE);
            }
        }
    }

    /// Appends what is pending, once: the end of the stop leaves it or takes it away, and nothing in between.
    fn append_pending(&self, journal: &Journal, draft: &Draft, step: &Step) -> Attempt {
        with_root(|house| {
            let mut last = self.last.lock(house);
            let (last, held) = last.parts();
            // Told to stop, it leaves the last entry to the stop's end.
            if last.pending.is_none() || step.is_cancelled() {
                return Attempt::Over;
            }
            let Some(appended) = journal.append_draft(held, draft) else { return Attempt::Refused };
            *last = LastEntry { pending: None, is_appended: true, head: Some(appended.prev) };
            Attempt::Over
        })
    }

    /// The end's own word, where no other is in the journal; answers its number.
    fn append_final(&self, report: &Report) -> Option<u64> {
        let (_pending, is_appended) = self.last(|last| (last.pending.take(), last.is_appended));
        // From here on nobody else appends one.
        let journal = self.journal.as_ref().filter(|_| !is_appended)?;
        let draft = draft(report)?;
        let appended = with_root(|house| journal.append_draft(house, &draft))?;
        self.last(|last| (last.is_appended, last.head) = (true, Some(appended.prev)));
        Some(appended.entry)
    }

    /// Time until the grace period is over, at most `patience`.
    fn patience(&self, patience: Duration) -> Duration {
        self.over_at.since(clock::mono()).clamp(ANSWER_PATIENCE, patience)
    }

    fn ask_channels(&self) -> (Vec<ChannelReport>, bool) {
        let Some(ask) = self.channels.clone() else { return (Vec::new(), true) };
        self.workers.ask(self.patience(ASK_PATIENCE), move || ask()).unwrap_or_default()
    }

    /// A drop is no clean end where that was asked for; nor are channels that do not say what became of them.
    fn be_strict(&self, report: &mut Report) {
        let dropped = report.channels.iter().any(|channel| channel.dropped_records > 0);
        let unknown = report.channels.is_empty() && !report.complete;
        if self.strict && report.exit_code == exit::CLEAN && (dropped || unknown) {
            report.exit_code = exit::NOT_CLEAN;
        }
    }

    fn report(
        &self,
        run: &Run,
        ending: &Ending,
        clean: bool,
        channels: Vec<ChannelReport>,
        complete: bool,
    ) -> Report {
        let exit_code =
            if self.shared.is_unstarted() { exit::CANNOT_START } else { exit_code(ending, clean) };
        Report {
            version: REPORT_VERSION,
            clean,
            complete: clean && complete,
            exit_code,
            reason: self.request.reason.clone(),
            initiated_by: self.request.by.clone(),
            started: self.started.clone(),
            duration_ms: run.duration().as_secs_f64() * 1e3,
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
            phases: run.phases(),
            channels,
            abandoned: run.abandoned(),
            journal_head: None,
        }
    }

    /// The authoritative report, written to its file.
    pub(super) fn end(&self, executor: &Executor, setup: &mut Setup) -> Stopped {
        let run = &executor.run;
        let ending = run.ending().cloned().unwrap_or(Ending::OutOfTime);
        let (channels, complete) = self.ask_channels();
        let mut report = self.report(run, &ending, run.is_clean(), channels, complete);
        self.be_strict(&mut report);
        name_what_never_began(&mut report, executor);
        let entry = self.append_final(&report);
        report.journal_head = self.last(|last| last.head.clone());
        if let Some((entry, journal)) = entry.zip(self.journal.as_ref()) {
            journal.wait_durable(entry, self.patience(ENTRY_PATIENCE));
        }
        let report_fault = self.write_file(&report, setup);
        Stopped { report, report_fault }
    }

    /// Writes on another thread: a disk that hangs must not hold up the exit, and a
    /// force while it is written leaves it little time.
    fn write_file(&self, report: &Report, setup: &mut Setup) -> Option<String> {
        let path = self.report_path.clone()?;
        let text = match serde_json::to_vec_pretty(report) {
            Ok(text) => text,
            Err(e) => return Some(format!("the report could not be written: {e}")),
        };
        let name = path.display().to_string();
        let (sender, answer) = sync_channel(1);
        let inbox = self.shared.inbox.clone();
        let write = move |_: &mut Cap<House>| {
            let _ = sender.send(write_by_rename(&path, &text));
            inbox.wake.signal();
        };
        if let Err(refused) = self.workers.run(Box::new(write)) {
            // No thread is to be had: a report is worth the risk.
            with_root(refused.task);
        }
        let least = clock::mono().plus(WRITE_PATIENCE);
        let until = if self.shared.forced().is_some() { least } else { self.over_at.max(least) };
        loop {
            self.shared.inbox.wake.clear();
            match answer.try_recv() {
                Ok(Ok(())) => return None,
                Ok(Err(e)) => return Some(format!("the report could not be written to {name}: {e}")),
                Err(TryRecvError::Disconnected) => {
                    return Some(format!("the report could not be written to {name}"));
                }
                Err(TryRecvError::Empty) => {}
            }
            let now = clock::mono();
            let is_hurried = self.shared.forced().is_some();
            if now >= until || (is_hurried && now >= least) {
                return Some(format!("the report could not be written to {name} in time"));
            }
            setup.poll(Some(if is_hurried { least } else { until }));
        }
    }
}

/// The report as an entry.
fn draft(report: &Report) -> Option<Draft> {
    let Ok(Value::Object(body)) = serde_json::to_value(report) else { return None };
    Some(Draft::with_head("report", body, "journal_head"))
}

/// A closure of ours as a step's.
fn ours(work: impl Fn(&Step) -> Result<(), String> + Send + Sync + 'static) -> Work {
    Work::Blocking(Arc::new(move |step| match work(&step) {
        Ok(()) => Outcome::Done,
        Err(why) => Outcome::Failed(why),
    }))
}

/// A step that nobody began is not just slow.
fn name_what_never_began(report: &mut Report, executor: &Executor) {
    // A report has its steps in the order of the plan.
    let steps = report.phases.iter_mut().flat_map(|phase| &mut phase.steps);
    for (step, id) in steps.zip(executor.run.plan().order()) {
        if step.verdict == Some(Verdict::TimedOutStillRunning)
            && executor.never_begun(*id)
            && let Some(detail) = &mut step.detail
        {
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
pub(super) fn end_process(code: u8) {
    let guard = || {
        std::thread::sleep(Duration::from_secs(1));
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    };
    // Of no coordinator: nothing but this may be needed for the process to go.
    let _ = std::thread::Builder::new().name("ek-exit".to_owned()).spawn(guard);
    std::process::exit(i32::from(code));
}
