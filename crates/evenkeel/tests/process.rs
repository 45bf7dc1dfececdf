//! Stops of real processes: what they exit with, and that they go.
//!
//! Each test runs this same program again as a child that plays one scene.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel::Keel;
use evenkeel::prelude::*;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

fn main_of(scene: &str, dir: &Path) -> ExitCode {
    let builder = Keel::builder(scene).journal(dir.join("journal")).report(dir.join("report.json"));
    match scene {
        "hang" => hang(builder.grace(Duration::from_millis(1500))),
        "wedged" => wedged(builder.grace(Duration::from_millis(1500))),
        "wedged-and-idle" => wedged_and_idle(builder.grace(Duration::from_millis(1000))),
        "clean" => evenkeel::main(builder, async |keel| {
            let step = keel.cleanup("flush").phase(Phase::FlushingStorage).run(|_| async {});
            step.verify(|_| async { true }).register()?;
            ready();
            Ok(())
        }),
        "slow" => {
            let begun = dir.join("begun");
            evenkeel::main(builder.grace(60.seconds()), async |keel| {
                let wait = move |step: Step| {
                    std::fs::write(&begun, "").unwrap();
                    step.wait_cancelled(60.seconds());
                };
                keel.cleanup("slow").timeout(60.seconds()).run_blocking(wait).register()?;
                ready();
                Ok(())
            })
        }
        "lives-on" => {
            let keel = builder.build().unwrap();
            keel.stop("enough", "the scene");
            drop(keel);
            ready();
            std::thread::sleep(60.seconds()); // sleep: until the parent's signal ends the process
            ExitCode::SUCCESS
        }
        "cannot" => evenkeel::main(builder, async |_| Err("no such device".into())),
        "setup-panics" => evenkeel::main(builder, async |_| panic!("the {} broke", "spring")),
        "own-stop" => own_stop(builder.grace(4.seconds()), dir),
        "two" => two(builder, dir),
        "gravest" => gravest(builder.grace(12.seconds())),
        _ => panic!("no scene {scene}"),
    }
}

/// Steps that hang, panic, block their thread and a worker of the runtime for ever.
fn hang(builder: evenkeel::Builder) -> ExitCode {
    evenkeel::main(builder, async |keel| {
        let step = |name: &str| keel.cleanup(name).phase(Phase::StoppingCapture).timeout(300.milliseconds());
        step("hangs").run(|_| std::future::pending::<()>()).register()?;
        step("panics").run_blocking(|_| -> () { panic!("the spring broke") }).register()?;
        step("blocks").run_blocking(|_| block()).register()?;
        step("blocks-a-worker").run(|_| async { block() }).register()?;
        let flush = keel.cleanup("flush").phase(Phase::FlushingStorage).run_blocking(|_| ());
        flush.verify_blocking(|_| true).register()?;
        ready();
        Ok(())
    })
}

/// An embedder's own runtime with both workers blocked, and async steps for it.
fn wedged(builder: evenkeel::Builder) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let keel = builder.runtime(runtime.handle().clone()).build().unwrap();
    let step = |name: &str| keel.cleanup(name).timeout(300.milliseconds());
    step("async").run(|_| async {}).verify(|_| async { true }).register().unwrap();
    step("blocking").run_blocking(|_| ()).verify_blocking(|_| true).register().unwrap();
    for _ in 0..2 {
        drop(runtime.spawn(async { block() }));
    }
    ready();
    let stopped = runtime.block_on(keel.run_until_signal());
    // Dropping the runtime waits for its workers, for ever.
    drop(runtime);
    ExitCode::from(stopped.exit_code())
}

/// The same without a step that would notice: all is verified, and yet nobody leaves.
fn wedged_and_idle(builder: evenkeel::Builder) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let keel = builder.build().unwrap();
    let step = keel.cleanup("blocking").run_blocking(|_| ());
    step.verify_blocking(|_| true).register().unwrap();
    drop(runtime.spawn(async { block() }));
    ready();
    keel.wait();
    drop(runtime);
    ExitCode::SUCCESS
}

/// A service that stops by itself, whose first signal comes in the midst of it.
fn own_stop(builder: evenkeel::Builder, dir: &Path) -> ExitCode {
    let keel = builder.build().unwrap();
    let (begun, sent) = (dir.join("begun"), dir.join("sent"));
    let slow = move |step: Step| {
        std::fs::write(&begun, "").unwrap();
        while !sent.exists() && !step.wait_cancelled(1.milliseconds()) {}
        // Time for the signal to be heard.
        !step.wait_cancelled(300.milliseconds())
    };
    let step = keel.cleanup("slow").timeout(3.seconds()).run_blocking(slow);
    step.verify_blocking(|_| true).register().unwrap();
    ready();
    keel.stop("enough", "the scene");
    block();
    ExitCode::SUCCESS
}

/// Two services in one process: the stop of one fails early, that of the other takes its time.
fn two(builder: evenkeel::Builder, dir: &Path) -> ExitCode {
    let quick = Keel::builder("quick").grace(300.milliseconds()).build().unwrap();
    quick.cleanup("hangs").run_blocking(|_| block()).register().unwrap();
    let slow = builder.grace(4.seconds()).build().unwrap();
    let sent = dir.join("sent");
    let run = move |step: Step| {
        while !sent.exists() && !step.wait_cancelled(1.milliseconds()) {}
        // Longer than the other has in all.
        !step.wait_cancelled(1000.milliseconds())
    };
    let step = slow.cleanup("slow").timeout(3.seconds()).run_blocking(run);
    step.verify_blocking(|_| true).register().unwrap();
    ready();
    block();
    ExitCode::SUCCESS
}

/// Two services, of which the one that has failed would stay longer than the one that has not.
fn gravest(builder: evenkeel::Builder) -> ExitCode {
    let bad = Keel::builder("bad").grace(30.seconds()).build().unwrap();
    bad.cleanup("fails").run_blocking(|_| false).register().unwrap();
    let good = builder.build().unwrap();
    let other = bad.clone();
    let wait = move |_: Step| other.wait_timeout(4.seconds()).is_some();
    good.cleanup("waits").run_blocking(wait).verify_blocking(|_| true).register().unwrap();
    ready();
    block();
    ExitCode::SUCCESS
}

fn block() {
    loop {
        std::thread::park();
    }
}

fn ready() {
    eprintln!("ready");
}

/// Not a test: the child's part.
#[test]
fn child() {
    let (Ok(scene), Ok(dir)) = (std::env::var("SCENE"), std::env::var("SCENE_DIR")) else { return };
    let code = main_of(&scene, Path::new(&dir));
    let code = (0..=255).find(|n| ExitCode::from(*n) == code).unwrap_or(99);
    std::process::exit(i32::from(code));
}

struct Scene {
    child: Child,
    dir: tempfile::TempDir,
}

impl Scene {
    /// Starts a child, and waits until it is ready.
    fn start(name: &str) -> Self {
        Self::launch(name).ready(name)
    }

    fn ready(mut self, name: &str) -> Self {
        let scene = &mut self;
        let mut told = BufReader::new(scene.child.stderr.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "{name} never got ready");
        }
        // What else it tells is read, so that it never blocks.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        self
    }

    fn launch(name: &str) -> Self {
        Self::launch_as(Command::new(std::env::current_exe().unwrap()), name)
    }

    fn launch_as(mut command: Command, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = command
            .args(["child", "--exact", "--nocapture"])
            .envs([("SCENE", name.as_ref()), ("SCENE_DIR", dir.path().as_os_str())])
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    /// Waits until a step of the stop says that it runs.
    fn wait_begun(&self) {
        while !self.dir.path().join("begun").exists() {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Exit code, report, and how long it took from now.
    fn end(mut self) -> (i32, Value, Duration) {
        let began = Instant::now();
        let status = self.child.wait().unwrap();
        let took = began.elapsed();
        let text = std::fs::read(self.dir.path().join("report.json")).unwrap();
        (status.code().unwrap_or(-1), serde_json::from_slice(&text).unwrap(), took)
    }
}

fn verdict(report: &Value, name: &str) -> (String, String) {
    let phases = report["phases"].as_array().unwrap();
    let mut steps = phases.iter().flat_map(|phase| phase["steps"].as_array().unwrap());
    let step = steps.find(|step| step["name"] == name).unwrap();
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    (text(&step["verdict"]), text(&step["detail"]))
}

/// Far more than any of them should take, far less than for ever.
const AT_MOST: Duration = Duration::from_secs(20);

// REQ C16
#[test]
fn a_signal_stops_a_service_and_says_who_sent_it() {
    let scene = Scene::start("clean");
    scene.signal("-TERM");
    let (code, report, _) = scene.end();
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["clean"], &report["reason"]), (&true.into(), &"signal SIGTERM".into()));
    let by = report["initiated_by"].as_str().unwrap();
    assert!(by.starts_with("process ") && by.contains("of user"), "{by}");
    assert_eq!(verdict(&report, "flush").0, "Verified");
    assert_eq!(verdict(&report, "close-journal").0, "Verified");
}

// REQ C5, REQ C7, REQ E5
#[test]
fn what_hangs_is_named_and_the_process_goes() {
    let scene = Scene::start("hang");
    scene.signal("-TERM");
    let (code, report, took) = scene.end();
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(verdict(&report, "hangs").0, "Failed");
    assert!(verdict(&report, "hangs").1.contains("was cancelled"));
    assert_eq!(verdict(&report, "panics"), ("Panicked".to_owned(), "the spring broke".to_owned()));
    assert_eq!(verdict(&report, "blocks").0, "TimedOutStillRunning");
    assert_eq!(verdict(&report, "blocks-a-worker").0, "TimedOutStillRunning");
    assert_eq!(verdict(&report, "flush").0, "Verified");
    assert_eq!(verdict(&report, "close-journal").0, "Verified");
    assert!(report["duration_ms"].as_f64().unwrap() <= 1500.0);
    assert!(took < AT_MOST, "{took:?}");
}

// REQ C5, REQ C16
#[test]
fn a_wedged_runtime_holds_up_neither_the_stop_nor_the_exit() {
    let scene = Scene::start("wedged");
    scene.signal("-TERM");
    let (code, report, took) = scene.end();
    assert_eq!(code, 1, "{report:#}");
    let (told, detail) = verdict(&report, "async");
    assert_eq!(told, "TimedOutStillRunning");
    assert!(detail.contains("never began it"), "{detail}");
    assert_eq!(verdict(&report, "blocking").0, "Verified");
    assert!(took < AT_MOST, "{took:?}");

    let scene = Scene::start("wedged-and-idle");
    scene.signal("-TERM");
    let (code, report, took) = scene.end();
    assert_eq!((code, &report["clean"]), (0, &true.into()), "{report:#}");
    assert!(took < AT_MOST, "{took:?}");
}

// REQ C16
#[test]
fn a_second_signal_forces_at_once() {
    let scene = Scene::start("slow");
    scene.signal("-TERM");
    scene.wait_begun();
    scene.signal("-TERM");
    let (code, report, took) = scene.end();
    assert_eq!(code, 4, "{report:#}");
    assert_eq!(verdict(&report, "slow").0, "Abandoned");
    assert!(verdict(&report, "slow").1.contains("a second signal, SIGTERM from process"));
    assert_eq!(report["abandoned"], serde_json::json!(["slow"]));
    assert_eq!(verdict(&report, "close-journal").0, "SkippedBecause");
    assert!(took < AT_MOST, "{took:?}");
}

// REQ C16
#[test]
fn a_setup_that_fails_stops_what_there_is_and_says_so() {
    let mut scene = Scene::launch("cannot");
    let status = scene.child.wait().unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut scene.child.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(told.contains("could not start: no such device"), "{told}");
}

// REQ C16
#[test]
fn who_lives_on_after_a_stop_is_not_deaf_to_signals() {
    use std::os::unix::process::ExitStatusExt;
    let mut scene = Scene::start("lives-on");
    // It may take a moment until the signals are given back.
    let status = loop {
        scene.signal("-TERM");
        if let Some(status) = scene.child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.signal(), Some(15));
}

// REQ C16
#[test]
fn a_first_signal_in_the_midst_of_a_services_own_stop_forces_nothing() {
    let scene = Scene::start("own-stop");
    scene.wait_begun();
    scene.signal("-TERM");
    std::fs::write(scene.dir.path().join("sent"), "").unwrap();
    let (code, report, took) = scene.end();
    assert_eq!((code, &report["reason"]), (0, &"enough".into()), "{report:#}");
    assert_eq!(verdict(&report, "slow").0, "Verified");
    assert!(took < AT_MOST, "{took:?}");
}

// REQ C16
#[test]
fn one_service_of_a_process_does_not_end_it_under_another() {
    let scene = Scene::start("two");
    scene.signal("-TERM");
    std::fs::write(scene.dir.path().join("sent"), "").unwrap();
    let (code, report, took) = scene.end();
    assert_eq!(verdict(&report, "slow").0, "Verified");
    assert_eq!((code, &report["exit_code"]), (5, &0.into()), "the gravest of both counts");
    assert!(took < AT_MOST, "{took:?}");

    let scene = Scene::start("gravest");
    scene.signal("-TERM");
    let (code, report, took) = scene.end();
    assert_eq!((code, &report["exit_code"]), (1, &0.into()), "the gravest of both counts");
    assert!(took < AT_MOST, "{took:?}");
}

// REQ E5
#[test]
fn a_setup_that_panics_could_not_start() {
    let (code, report, took) = Scene::launch("setup-panics").end();
    assert_eq!((code, &report["exit_code"]), (3, &3.into()), "{report:#}");
    assert_eq!(report["reason"], "could not start: its setup panicked: the spring broke");
    assert!(took < AT_MOST, "{took:?}");
}

/// Whether this process, and whatever it starts, ignores SIGHUP.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 != 0
}

// REQ C16
#[test]
fn a_hangup_that_was_inherited_as_ignored_stays_so() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    let scene = Scene::launch_as(shell, "clean").ready("clean");
    scene.signal("-HUP");
    scene.signal("-TERM");
    let (code, report, _) = scene.end();
    assert_eq!((code, &report["reason"]), (0, &"signal SIGTERM".into()), "{report:#}");

    if ignores_hangups() {
        eprintln!("not tried: this test was itself started with SIGHUP ignored, as by nohup");
        return;
    }
    let scene = Scene::start("clean");
    scene.signal("-HUP");
    let (code, report, _) = scene.end();
    assert_eq!((code, &report["reason"]), (0, &"signal SIGHUP".into()), "{report:#}");
}
