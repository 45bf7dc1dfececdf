//! `evenkeel record`.

use crate::args::Record;
use crate::config::{JournalWords, Settings};
use crate::control::{Control, SOCKET, Service};
use crate::plan::CONCURRENCY_MAX;
use crate::systemd::Systemd;
use crate::table::live::{Facts, Live};
use crate::watch::Watch;
use crate::{exit, screen, sys, text};
use evenkeel::cleanup::{Report, Verdict};
use evenkeel::faults::{Code, PublicFace};
use evenkeel::journal::{DIR_NAME, JournalOptions, JournalRetention, SigningKey};
use evenkeel::threads::{THREADS_MAX, ThreadCoordinator};
use evenkeel::{BuildError, Builder, Keel, Progress, Stopped};
use evenkeel_recorder::{
    ChannelConfig, ChannelCounts, Config, Prepared, Recorder, Source, StartError, pool_options,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Name under which the stop's requests of this program appear.
const SELF: &str = "evenkeel record";
/// `ek-journal`, `ek-screen`, `ek-control`, `ek-systemd`.
const OWN_THREADS: usize = 4;
/// How long the last words about the steps may take to be said: they wait for nobody, but for a processor.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &Record) -> u8 {
    // Who started us may ignore the end of children: then how a command ended could not be known.
    let heard = signal_hook::flag::register(signal_hook::consts::SIGCHLD, Arc::default());
    if let Err(e) = heard {
        return cannot_start(&format!("signals cannot be heard: {e}"));
    }
    match configure(arguments) {
        Ok(mut configured) => {
            // Not before: until then, the descriptor of `--acks` is nobody else's.
            let threads = threads(&mut configured.0);
            screen::start(&threads);
            let code = run_configured(arguments, configured);
            screen::close();
            code
        }
        Err((code, why)) => {
            text::complain(&why);
            code
        }
    }
}

/// The threads of the program and of the recorder. There may be more than are the default where many sources
/// have one each.
fn threads(config: &mut Config) -> ThreadCoordinator {
    let threads_max = THREADS_MAX.max(config.threads_max() + OWN_THREADS);
    let threads = ThreadCoordinator::builder().threads_max(threads_max).build();
    config.threads = threads.clone();
    threads
}

fn run_configured(arguments: &Record, (config, Ending { grace, strict }, journal): Configured) -> u8 {
    let (channels, threads) = (config.channels.clone(), config.threads.clone());
    let prepared = match Recorder::prepare(config) {
        Ok(prepared) => prepared,
        Err(e @ StartError::Lock(_)) => return cannot_start(&format!("cannot record: {e}")),
        Err(e) => return cannot_start(&format!("cannot start: {e}")),
    };
    let (said, last_word) = sync_channel(1);
    let teller = Teller { said, systemd: Systemd::from_environment(), grace, strict };
    let running: Arc<OnceLock<Weak<Recorder>>> = Arc::default();
    let keel = match build(arguments, (grace, journal), (channels.len(), &threads), &running, &teller) {
        Ok(keel) => keel,
        Err(e) => return cannot_start(&e.to_string()),
    };
    match start(prepared, &keel, &channels) {
        Ok(recorder) => {
            let _ = running.set(Arc::downgrade(&recorder));
            record(&recorder, &keel, &arguments.out, &channels, &teller, &last_word)
        }
        Err(why) => {
            keel.stop_unstarted(format!("cannot start: {why}"), SELF);
            cannot_start(&format!("cannot start: {why}"))
        }
    }
}

/// What is to be recorded, how its stop ends, and how its journal is kept.
type Configured = (Config, Ending, JournalOptions);

/// How its stop ends.
#[derive(Clone, Copy)]
struct Ending {
    /// How long it may take.
    grace: Duration,
    /// Whether a drop makes the exit code 1.
    strict: bool,
}

/// What was asked for, or the exit code and why not.
fn configure(arguments: &Record) -> Result<Configured, (u8, String)> {
    let settings = Settings::of(&arguments.what).map_err(|wrong| (exit::USAGE, wrong.to_string()))?;
    if let Some(report) = &arguments.report {
        check_report(report, &arguments.out).map_err(|wrong| (exit::USAGE, wrong))?;
    }
    let kept = settings.journal.clone();
    let ending = Ending { grace: settings.grace, strict: settings.strict };
    let mut config = settings.into_config(arguments.out.clone());
    if let Some(number) = arguments.acks {
        let adopted = sys::adopt(number);
        let told = |e| (exit::USAGE, format!("--acks {number}: no open descriptor: {e}"));
        config.acks = Some(adopted.map_err(told)?);
    }
    let run_id = random_id().map_err(|e| (exit::CANNOT, format!("no random numbers: {e}")))?;
    config.log.run_id = run_id;
    let journal = journal_options(&kept, run_id).map_err(|why| (exit::CANNOT, why))?;
    Ok((config, ending, journal))
}

/// How the journal is kept; the key is made where there is none yet.
fn journal_options(kept: &JournalWords, run_id: [u8; 16]) -> Result<JournalOptions, String> {
    let key = |path: &PathBuf| {
        let made = SigningKey::open(path).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => SigningKey::create(path),
            _ => Err(e),
        });
        made.map_err(|e| format!("the key of the journal, {}: {e}", path.display()))
    };
    let signing = kept.key.as_ref().map(key).transpose()?;
    if let Some(key) = &signing {
        text::say(&format!(
            "the journal's checkpoints are signed; who verifies them needs the key {}",
            key.public()
        ));
    }
    let retention = JournalRetention { bytes: kept.bytes, age_ns: kept.age_ns };
    Ok(JournalOptions { run_id, retention, signing, ..JournalOptions::default() })
}

/// A report that could not be written would be found out too late. The recording
/// directory itself will be there by then.
fn check_report(path: &Path, out: &Path) -> Result<(), String> {
    let told = |why: &str| Err(format!("--report {}: {why}", path.display()));
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.file_name().is_none() || path.is_dir() {
        return told("a file is needed");
    }
    match std::fs::metadata(dir) {
        _ if dir == out => Ok(()),
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => told(&format!("{} is not a directory", dir.display())),
        Err(e) => told(&format!("{}: {e}", dir.display())),
    }
}

fn cannot_start(why: &str) -> u8 {
    text::complain(why);
    exit::CANNOT
}

fn random_id() -> io::Result<[u8; 16]> {
    use std::io::Read;
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(id)
}

/// The service, which stops the recorder. A journal that cannot be kept is told,
/// and does not keep anybody from recording.
fn build(
    arguments: &Record,
    (grace, options): (Duration, JournalOptions),
    (channels, threads): (usize, &ThreadCoordinator),
    running: &Arc<OnceLock<Weak<Recorder>>>,
    teller: &Teller,
) -> Result<Keel, BuildError> {
    let builder = || {
        let (running, teller) = (running.clone(), teller.clone());
        let builder = Keel::builder(SELF)
            .deferred()
            .grace(grace)
            .strict(teller.strict)
            .concurrency(CONCURRENCY_MAX)
            .threads(threads.clone())
            .pool(pool_options(channels))
            .on_progress(move |progress| teller.tell(progress))
            .channel_reports(move || {
                let recorder = running.get().and_then(Weak::upgrade);
                recorder.map_or_else(Default::default, |recorder| recorder.reports())
            });
        match &arguments.report {
            Some(path) => builder.report(path),
            None => builder,
        }
    };
    let with_journal =
        |builder: Builder| builder.journal(arguments.out.join(DIR_NAME)).journal_options(options);
    match with_journal(builder()).build() {
        Err(e @ BuildError::Journal { .. }) => {
            text::complain(&format!("recording without a journal: {e}"));
            builder().build()
        }
        built => built,
    }
}

fn start(prepared: Prepared, keel: &Keel, channels: &[ChannelConfig]) -> Result<Arc<Recorder>, String> {
    let recorder = Arc::new(
        prepared
            .reporting_to(keel.faults().clone())
            .taking_from(keel.monitoring())
            .map_err(|e| e.to_string())?
            .start(keel.journal().cloned())
            .map_err(|e| e.to_string())?,
    );
    recorder.wire(keel, channels).map_err(|e| e.to_string())?;
    Ok(recorder)
}

fn record(
    recorder: &Arc<Recorder>,
    keel: &Keel,
    out: &Path,
    channels: &[ChannelConfig],
    teller: &Teller,
    last_word: &Receiver<()>,
) -> u8 {
    crate::recover::tell(recorder.recovery());
    recorder.leftovers().iter().for_each(|left| text::say(left));
    for (channel, address) in recorder.listening() {
        text::say(&format!("{channel}: listening on {address}"));
    }
    let (count, s) = (channels.len(), if channels.len() == 1 { "" } else { "s" });
    let recording = format!("recording {count} channel{s} into {}", out.display());
    text::say(&recording);
    if keel.threads().threads_max() > THREADS_MAX {
        let (now, usual) = (keel.threads().threads_max(), THREADS_MAX);
        text::say(&format!("{now} threads may run, and not {usual}: some sources need one each"));
    }
    note_channels(keel, channels);
    let exit_code = |stopped: &Stopped| stopped.exit_code();
    let control =
        control(out, Service::new(keel.clone(), recorder.clone(), (teller.grace, teller.strict), exit_code));
    if let Some(systemd) = &teller.systemd {
        systemd.ready(keel.threads(), &recording, recorder);
    }
    keel.arm();
    wait(recorder, keel, teller.systemd.as_ref(), table(recorder, keel, out, channels));
    let stopped = keel.wait();
    if stopped.report.exit_code > exit::NOT_CLEAN {
        // What did not end with the stop must not outlive it.
        recorder.abandon();
    }
    // What the other thread has to say about the steps comes first.
    let _ = last_word.recv_timeout(LAST_WORDS);
    tell(&stopped, &unread(recorder.unread_segments(), out));
    if let Some(systemd) = &teller.systemd {
        systemd.status(&verdict(&stopped.report));
    }
    if let Some(control) = control {
        control.close();
    }
    exit_code(&stopped)
}

/// The control socket. One that cannot be made is told, and does not keep anybody from recording.
fn control(out: &Path, service: Service) -> Option<Control> {
    let place = out.join(SOCKET);
    let told = |e| text::complain(&format!("recording without {}, signals stop it: {e}", place.display()));
    Control::start(out, service).map_err(told).ok()
}

fn note_channels(keel: &Keel, channels: &[ChannelConfig]) {
    let Some(journal) = keel.journal() else { return };
    let channel = |c: &ChannelConfig| json!({ "name": c.name, "source": c.source.describe() });
    let channels: Vec<_> = channels.iter().map(channel).collect();
    let _ = journal.append("recording", None, json!({ "channels": channels }));
}

/// Waits until the stop has begun, or the sources have ended and it is asked for;
/// tells of trouble on the way.
fn wait(recorder: &Recorder, keel: &Keel, systemd: Option<&Systemd>, mut table: Option<Table<'_>>) {
    let mut watch = Watch::new(recorder, keel, systemd);
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    while !keel.is_stopping() {
        let mut fds = [
            PollFd::from_borrowed_fd(recorder.ended(), PollFlags::IN),
            PollFd::from_borrowed_fd(keel.over(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, Some(&second));
        let has_ended = recorder.has_ended();
        let channels = channels_in_public(recorder, keel);
        watch.look(&channels);
        // What a stop does to channels is told below the last table, and not in it.
        if let Some(table) = table.as_mut().filter(|_| !keel.is_stopping()) {
            table.look(&channels, has_ended);
        }
        if has_ended {
            return keel.request_stop("every source has ended", SELF);
        }
    }
}

/// The table of the channels, where people can see it. Not over what somebody types to be recorded.
fn table<'a>(
    recorder: &'a Recorder,
    keel: &'a Keel,
    out: &Path,
    channels: &[ChannelConfig],
) -> Option<Table<'a>> {
    let is_typed =
        channels.iter().any(|channel| channel.source == Source::Stdin) && io::stdin().is_terminal();
    (screen::has_table() && !is_typed).then(|| {
        let mut table = Table { recorder, keel, live: Live::new(out), began: Instant::now() };
        table.look(&channels_in_public(recorder, keel), false);
        table
    })
}

struct Table<'a> {
    recorder: &'a Recorder,
    keel: &'a Keel,
    live: Live,
    began: Instant,
}

impl Table<'_> {
    fn look(&mut self, channels: &[ChannelCounts], is_last: bool) {
        let trouble = self.recorder.public_trouble().map(str::to_owned);
        let facts = Facts { channels, trouble, is_last };
        let forecast = || self.keel.forecast().total;
        if let Some(view) = self.live.turn(self.began.elapsed(), &facts, forecast) {
            screen::show(view);
        }
    }
}

/// Each channel's counts now, with faults as they may leave the process: what lies behind them is in the journal.
pub(crate) fn channels_in_public(recorder: &Recorder, keel: &Keel) -> Vec<ChannelCounts> {
    let mut channels = recorder.channels();
    for counts in &mut channels {
        in_public(counts, keel.faults().last_fault(&counts.name));
    }
    channels
}

fn in_public(counts: &mut ChannelCounts, last: Option<PublicFace>) {
    let is_told = counts.fault.is_some() || counts.last_fault.is_some();
    let unknown = || is_told.then(|| Code::SOURCE.explanation().title.to_owned());
    let last = last.map(|fault| fault.to_string()).or_else(unknown);
    counts.fault = counts.fault.take().and_then(|_| last.clone());
    counts.last_fault = last;
}

/// Tells of the stop as it happens: on a terminal every phase and step, elsewhere
/// what did not go well.
#[derive(Clone)]
struct Teller {
    /// Is told that the last word was said.
    said: SyncSender<()>,
    systemd: Option<Systemd>,
    grace: Duration,
    strict: bool,
}

impl Teller {
    fn tell(&self, progress: &Progress) {
        if let (Progress::Stopping { reason, .. }, Some(systemd)) = (progress, &self.systemd) {
            // First of all: people may be slow to listen.
            systemd.stopping(reason, self.grace);
        }
        if let Progress::Stopping { .. } = progress {
            screen::freeze();
        }
        tell_progress(progress);
        if let Progress::Stopped(_) = progress {
            let _ = self.said.try_send(());
        }
    }
}

fn tell_progress(progress: &Progress) {
    let all = io::stderr().is_terminal();
    match progress {
        Progress::Stopping { reason, by } if by == SELF => text::say(&format!("stopping: {reason}")),
        Progress::Stopping { reason, by } => text::say(&format!("stopping: {reason}, from {by}")),
        Progress::PhaseBegan(phase) if all => text::say(phase.name()),
        Progress::StepEnded { name, verdict, detail, .. } if all || *verdict != Verdict::Verified => {
            let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            text::say(&format!("  {name}: {}{detail}", verdict.name()));
        }
        _ => {}
    }
}

/// What is to be said of segments that were sealed on the way and not read back.
fn unread(segments: u64, out: &Path) -> String {
    let were = if segments == 1 { "1 segment was" } else { &format!("{segments} segments were") };
    let hint = format!("`evenkeel verify {}` reads all", out.display());
    if segments == 0 { String::new() } else { format!("{were} sealed and not read back: {hint}") }
}

fn tell(stopped: &Stopped, unread: &str) {
    let report = &stopped.report;
    let head = ["channel", "records", "bytes", "stored", "dropped", "gaps"].map(str::to_owned).to_vec();
    let row = |c: &evenkeel::cleanup::ChannelReport| {
        vec![
            c.name.clone(),
            text::count(c.accepted_records),
            text::bytes(c.accepted_bytes),
            text::count(c.committed_records),
            text::count(c.dropped_records),
            text::count(c.gaps),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(report.channels.iter().map(row)).collect();
    text::say_lines(text::table(&rows).trim_end());
    if let Some(fault) = &stopped.report_fault {
        text::complain(fault);
    }
    if !unread.is_empty() {
        text::say(unread);
    }
    text::say(&format!("{}, in {:.1} ms", verdict(report), report.duration_ms));
}

pub(crate) fn verdict(report: &Report) -> String {
    let steps = report.phases.iter().map(|phase| phase.steps.len()).sum::<usize>();
    match report.exit_code {
        exit::OK => format!("stopped clean: all {steps} steps verified"),
        exit::FORCED => format!("FORCED: abandoned {}", list(&report.abandoned)),
        exit::OUT_OF_TIME if report.abandoned.is_empty() => {
            "OUT OF TIME: not every step had its time".to_owned()
        }
        exit::OUT_OF_TIME => format!("OUT OF TIME: abandoned {}", list(&report.abandoned)),
        _ if report.clean => {
            let dropped = text::count(report.channels.iter().map(|channel| channel.dropped_records).sum());
            format!(
                "stopped clean, NOT complete: {dropped} records were dropped, and that is not allowed (--strict)"
            )
        }
        _ => "stopped, NOT clean".to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing that ran".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // REQ E6
    #[test]
    fn what_a_fault_came_from_does_not_leave_the_process() {
        let secret = || Some("/srv/ada: TOKEN=123".to_owned());
        let counts = || ChannelCounts { fault: secret(), last_fault: secret(), ..ChannelCounts::default() };
        let mut untold = counts();
        in_public(&mut untold, None);
        assert_eq!(untold.fault.as_deref(), Some("a source cannot be read"));
        assert_eq!(untold.last_fault, untold.fault);
        let mut well = ChannelCounts::default();
        in_public(&mut well, None);
        assert_eq!((well.fault, well.last_fault), (None, None));
    }

    // REQ W5, REQ C6
    #[test]
    fn segments_that_were_not_read_back_are_told_of() {
        let told = |segments| unread(segments, Path::new("rec"));
        assert_eq!(told(0), "");
        assert_eq!(told(1), "1 segment was sealed and not read back: `evenkeel verify rec` reads all");
        assert_eq!(told(8), "8 segments were sealed and not read back: `evenkeel verify rec` reads all");
    }
}
