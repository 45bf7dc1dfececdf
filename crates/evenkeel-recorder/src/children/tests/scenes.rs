//! A process that plays the recorder, to be killed: this test program itself.

use super::*;
use evenkeel::journal::JournalOptions;
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::storage::DirStorage;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Not a test: the other process's part.
#[test]
fn child() {
    let (Ok(scene), Ok(dir)) = (std::env::var("SCENE"), std::env::var("SCENE_DIR")) else { return };
    play(&scene, Path::new(&dir));
}

fn play(scene: &str, dir: &Path) {
    let disk = Disk::over(Arc::new(DirStorage::create(&dir.join("journal")).unwrap()));
    let journal = disk.journal(JournalOptions::default());
    let settings = Settings { journal_ns: u64::MAX, ..Settings::default() };
    let mark = dir.join("mark");
    let mark = mark.display();
    let command = match scene {
        "gated" | "stopped" => {
            disk.shut();
            format!("touch '{mark}'; sleep 1000")
        }
        "runs" => format!("echo $$ > '{mark}.new'; mv '{mark}.new' '{mark}'; exec sleep 1000"),
        "deaf" => {
            format!("trap '' TERM; echo $$ > '{mark}.new'; mv '{mark}.new' '{mark}'; sleep 1000; sleep 1000")
        }
        // The leader is gone, one of its group is not.
        "orphan" => format!("sleep 1000 & echo $! > '{mark}.new'; mv '{mark}.new' '{mark}'"),
        _ => panic!("no scene {scene}"),
    };
    let (tell, news) = std::sync::mpsc::channel();
    let tell = move |happened| tell.send(happened).unwrap();
    let children = Children::start_with(
        &ThreadCoordinator::default(),
        vec![never(&command)],
        Some(journal),
        run_id(dir),
        tell,
        settings,
    );
    let children = children.unwrap();
    if scene == "stopped" {
        eventually("the gate", || !children.0.groups.leaders().is_empty());
        children.stop(far_ns());
        let told = news.recv_timeout(Duration::from_secs(20));
        assert!(matches!(told, Ok(Happened::Over { fault: None, by_itself: false, .. })), "{told:?}");
    }
    eprintln!("ready");
    loop {
        std::thread::park();
    }
}

/// Each scene is a run of its own.
fn run_id(dir: &Path) -> [u8; 16] {
    let mut id = [0; 16];
    let name = dir.as_os_str().as_encoded_bytes();
    id.iter_mut().zip(name.iter().rev()).for_each(|(byte, of_name)| *byte = *of_name);
    id
}

pub(super) struct Scene {
    process: Child,
    dir: tempfile::TempDir,
    killed: std::cell::Cell<bool>,
}

impl Scene {
    /// Starts the other process, and waits until it is ready.
    pub(super) fn start(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Somebody in a scene may have to be deaf from the beginning.
        let ignored = if name == "stopped" { "TERM" } else { "USR1" };
        let mut process = Command::new("sh")
            .args(["-c", &format!("trap '' {ignored}; exec \"$@\""), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["children::tests::scenes::child", "--exact", "--nocapture"])
            .envs([("SCENE", name.as_ref()), ("SCENE_DIR", dir.path().as_os_str())])
            .env("NOTIFY_SOCKET", "/nobody/listens")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "{name} never got ready");
        }
        Self { process, dir, killed: false.into() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn storage(&self) -> DirStorage {
        DirStorage::create(&self.path("journal")).unwrap()
    }

    /// The process of this scene whose command line begins so.
    pub(super) fn process(&self, words: &str) -> i32 {
        let run = hex(&run_id(self.dir.path()));
        let mut found = None;
        eventually(words, || {
            found = proc::pids().find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with(words.as_bytes()) && proc::belongs_to(*pid, &run)
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// The number that the command wrote down.
    pub(super) fn marked(&self) -> i32 {
        let mark = self.path("mark");
        eventually("the mark", || mark.exists());
        std::fs::read_to_string(mark).unwrap().trim().parse().unwrap()
    }

    /// As the system does when memory is short.
    pub(super) fn kill(&self) {
        if self.killed.get() {
            return;
        }
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        self.killed.set(true);
        eventually("the recorder's end", || !rig::is_alive(pid.as_raw_pid()));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !self.killed.get() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
