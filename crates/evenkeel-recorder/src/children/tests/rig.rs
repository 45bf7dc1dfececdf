//! Commands with somebody who reads them, and a journal whose disk can be held.

use super::super::proc;
use super::*;
use evenkeel::journal::{Entry, JournalOptions, entries};
use evenkeel::threads::ThreadCoordinator;
use evenkeel_log::sim::SimStorage;
use evenkeel_log::storage::{AppendFile, Entry as File, ReadFile, Storage};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Weak;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Far more than anything takes, far less than for ever.
const LONG: Duration = Duration::from_secs(30);
pub(super) const RUN_ID: [u8; 16] = *b"a run of a test!";

/// A time that no test comes to.
pub(super) fn far_ns() -> u64 {
    crate::now().mono_ns + 3_600_000_000_000
}

pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "never came: {what}");
        std::thread::yield_now();
    }
}

pub(super) fn exec(restart: Restart, command: &str) -> Exec {
    Exec { channel: 7, name: "mic".to_owned(), command: command.to_owned(), restart }
}

pub(super) fn never(command: &str) -> Exec {
    exec(Restart::Never, command)
}

pub(super) fn on_failure(command: &str) -> Exec {
    exec(Restart::OnFailure, command)
}

#[derive(Default)]
struct Syncs {
    shut: bool,
    waiting: u64,
}

/// A disk whose syncs wait for as long as the test wants.
#[derive(Clone)]
pub(in crate::children) struct Disk {
    inner: Arc<dyn Storage>,
    state: Arc<(Mutex<Syncs>, Condvar)>,
}

impl Disk {
    pub(in crate::children) fn new() -> Self {
        Self::over(Arc::new(SimStorage::new()))
    }

    pub(in crate::children) fn over(inner: Arc<dyn Storage>) -> Self {
        Self { inner, state: Arc::default() }
    }

    pub(in crate::children) fn shut(&self) {
        self.state.0.lock().unwrap().shut = true;
    }

    pub(in crate::children) fn open(&self) {
        self.state.0.lock().unwrap().shut = false;
        self.state.1.notify_all();
    }

    /// Waits until a sync waits.
    pub(in crate::children) fn wait_for_someone(&self) {
        let (syncs, changed) = &*self.state;
        drop(changed.wait_while(syncs.lock().unwrap(), |state| state.waiting == 0).unwrap());
    }

    pub(in crate::children) fn journal(&self, options: JournalOptions) -> Journal {
        Journal::open(Arc::new(self.clone()), options).unwrap().0
    }
}

struct DiskFile(Box<dyn AppendFile>, Disk);

impl AppendFile for DiskFile {
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.append(parts)
    }
    fn sync(&self) -> io::Result<()> {
        let (syncs, changed) = &*self.1.state;
        let mut state = syncs.lock().unwrap();
        state.waiting += 1;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.shut).unwrap();
        state.waiting -= 1;
        drop(state);
        self.0.sync()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.0.preallocate(len)
    }
}

impl Storage for Disk {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(DiskFile(self.inner.create(name)?, self.clone())))
    }
    fn reopen(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        self.inner.reopen(name)
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open(name)
    }
    fn list(&self) -> io::Result<Vec<File>> {
        self.inner.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

/// How a channel was over: its fault, and whether by itself.
pub(super) type End = (Option<String>, bool);

/// Commands, their reader, their journal.
pub(super) struct Rig {
    pub(super) children: Arc<Children>,
    pub(super) disk: Disk,
    pub(super) journal: Option<Journal>,
    news: Receiver<Happened>,
    /// What was told, in short.
    pub(super) told: Vec<String>,
    output: Arc<Mutex<Vec<u8>>>,
    /// Makes the reader of a run come to an end.
    cut_off: std::collections::BTreeMap<u64, OwnedFd>,
}

impl Rig {
    pub(super) fn start(execs: Vec<Exec>) -> Self {
        Self::start_with(execs, Disk::new(), Settings::default(), |_, _| ())
    }

    /// `hook` is called on the thread with everything that is told.
    pub(super) fn start_with(
        execs: Vec<Exec>,
        disk: Disk,
        settings: Settings,
        hook: impl FnMut(&Happened, &Children) + Send + 'static,
    ) -> Self {
        let journal = disk.journal(JournalOptions::default());
        Self::start_on(execs, disk, Some(journal), settings, hook)
    }

    pub(super) fn start_on(
        execs: Vec<Exec>,
        disk: Disk,
        journal: Option<Journal>,
        settings: Settings,
        mut hook: impl FnMut(&Happened, &Children) + Send + 'static,
    ) -> Self {
        let (tell, news) = channel();
        let known: Arc<OnceLock<Weak<Children>>> = Arc::default();
        let theirs = known.clone();
        let tell = move |happened: Happened| {
            if let Some(children) = theirs.wait().upgrade() {
                hook(&happened, &children);
            }
            // A test may have seen enough.
            let _ = tell.send(happened);
        };
        let children = Arc::new(
            Children::start_with(
                &ThreadCoordinator::default(),
                execs,
                journal.clone(),
                RUN_ID,
                tell,
                settings,
            )
            .unwrap(),
        );
        known.set(Arc::downgrade(&children)).unwrap();
        let (told, output, cut_off) = Default::default();
        Self { children, disk, journal, news, told, output, cut_off }
    }

    /// What is told next; its output is read.
    pub(super) fn next(&mut self) -> Happened {
        let happened = self.news.recv_timeout(LONG).expect("nothing was told");
        match happened {
            Happened::Output { channel, child, stdout } => {
                self.read(channel, child, stdout);
                return self.next();
            }
            Happened::CutOff { child } => {
                self.told.push("cut off".to_owned());
                self.cut_off.remove(&child);
                return self.next();
            }
            _ => {}
        }
        self.told.push(match &happened {
            Happened::Unjournalled { channel, .. } => format!("unjournalled {channel}"),
            Happened::Failed { channel, fault, after } => format!("failed {channel}: {fault}, {after:?}"),
            Happened::Restarted { channel } => format!("restarted {channel}"),
            _ => "over".to_owned(),
        });
        happened
    }

    /// Waits for one that a test wants to see.
    pub(super) fn until(&mut self, wanted: impl Fn(&Happened) -> bool) -> Happened {
        loop {
            let happened = self.next();
            if wanted(&happened) {
                return happened;
            }
        }
    }

    /// Waits until a channel is over.
    pub(super) fn end_of(&mut self, which: usize) -> End {
        match self.until(|happened| matches!(happened, Happened::Over { channel, .. } if *channel == which)) {
            Happened::Over { fault, by_itself, .. } => (fault, by_itself),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn end(&mut self) -> End {
        self.end_of(7)
    }

    /// Waits for the first word, and reads nothing.
    pub(super) fn told_first(&mut self) -> Happened {
        self.news.recv_timeout(LONG).expect("nothing was told")
    }

    /// Waits until the thread has left: nothing more is told.
    pub(super) fn rest(&mut self) {
        eventually("the end of the thread", || self.children.0.with(|orders| orders.gone));
        assert!(self.news.try_recv().is_err(), "something was told after the end");
    }

    /// Takes in what has been told by now.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.news.try_recv().is_err()
    }

    /// Waits until all outputs together hold this text.
    pub(super) fn see(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            let so_far = self.output();
            if so_far.contains(text) {
                return so_far;
            }
            assert!(begin.elapsed() < LONG, "never came: {text:?}, but {so_far:?}");
            match self.news.try_recv() {
                Ok(Happened::Output { channel, child, stdout }) => self.read(channel, child, stdout),
                Ok(other) => panic!("{other:?}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn read(&mut self, channel: usize, child: u64, stdout: OwnedFd) {
        let (end, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        self.cut_off.insert(child, stop);
        let (children, output) = (self.children.clone(), self.output.clone());
        std::thread::spawn(move || {
            read_to_end(&stdout, &end, &output);
            drop(stdout);
            children.output_ended(child);
        });
        self.told.push(format!("output {channel}"));
    }

    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// All entries of the journal by now; it is ended for that.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.disk.open();
        let journal = self.journal.as_ref().unwrap();
        journal.finish(LONG).unwrap();
        let mut all = Vec::new();
        entries(&self.disk, true, &mut |entry| {
            all.push(entry);
            Ok(())
        })
        .unwrap();
        all
    }

    pub(super) fn entries_of(&self, kind: &str) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// Number of the one process that runs.
    pub(super) fn leader(&self) -> i32 {
        let leaders = self.children.0.groups.leaders();
        assert_eq!(leaders.len(), 1);
        leaders[0]
    }

    /// Numbers of the processes that were started.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.entries_of("child").iter().map(|entry| entry.body["pid"].as_i64().unwrap() as i32).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.disk.open();
        self.children.kill();
    }
}

fn read_to_end(stdout: &OwnedFd, end: &OwnedFd, output: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match rustix::io::read(stdout, &mut *buffer) {
            Ok(0) => return,
            Ok(bytes) => {
                output.lock().unwrap().extend_from_slice(&buffer[..bytes]);
                continue;
            }
            Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => panic!("{e}"),
        }
        let mut fds = [PollFd::new(stdout, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        if fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
            return;
        }
    }
}

/// Whether a process is there and runs.
pub(super) fn is_alive(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.is_alive())
}

/// Whether a process is there, be it as a zombie, and is a child of this one.
pub(super) fn is_child(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.parent == std::process::id() as i32)
}

/// A pipe with a name.
pub(super) fn fifo(dir: &Path) -> PathBuf {
    let path = dir.join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}
