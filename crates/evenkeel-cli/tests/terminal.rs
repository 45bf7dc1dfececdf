//! What people see on a terminal: the table, and that a terminal which takes nothing holds up nothing.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{PROGRAM, Running, Scratch, code, evenkeel, verify};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Action, Winsize, tcflow, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes, with a disk that takes seconds for a sync; much shorter than the grace period.
const AT_MOST: Duration = Duration::from_secs(60);
const GRACE: &str = "600s";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + AT_MOST;
    while !is_so() {
        assert!(Instant::now() < until, "never came: {what}");
        // sleep: the condition is in another process; polled.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A terminal: the program's side, and ours.
fn terminal(width: u16, height: u16) -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
    resize(&theirs, width, height);
    (theirs, ours)
}

fn resize(terminal: &OwnedFd, width: u16, height: u16) {
    let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

/// Everything that comes to a terminal.
struct Seen {
    text: Arc<Mutex<String>>,
    thread: JoinHandle<()>,
}

impl Seen {
    fn start(ours: OwnedFd) -> Self {
        let text: Arc<Mutex<String>> = Arc::default();
        let (all, mut ours) = (text.clone(), File::from(ours));
        let thread = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // At the end it is an error.
            while let Ok(n @ 1..) = ours.read(&mut piece) {
                all.lock().unwrap().push_str(std::str::from_utf8(&piece[..n]).unwrap());
            }
        });
        Self { text, thread }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// The last table, if it has come whole.
    fn table(&self) -> String {
        let text = self.so_far();
        text.rfind("recording for ").map(|at| text[at..].to_owned()).unwrap_or_default()
    }

    fn wait_for(&self, what: &str) {
        wait_until(what, || self.so_far().contains(what));
    }

    /// All of it, when nobody has the terminal open any more.
    fn all(self) -> String {
        self.thread.join().unwrap();
        let text = self.text.lock().unwrap();
        text.clone()
    }
}

/// What a terminal shows that has room for all of it. Other sequences than the few that are
/// sent are not known here.
fn shown(sent: &str) -> Vec<String> {
    let (mut lines, mut line, mut column) = (vec![String::new()], 0, 0);
    let mut rest = sent;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => column = 0,
            '\n' => line += 1,
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (number, kind) = (&rest[1..end], &rest[end..=end]);
                match (&rest[..1], number, kind) {
                    ("[", n, "A") => line -= n.parse::<usize>().unwrap(),
                    ("[", "", "J") => {
                        lines.truncate(line + 1);
                        lines[line].truncate(column);
                    }
                    ("[", "0" | "31" | "33", "m") => {}
                    other => panic!("{other:?}"),
                }
                rest = &rest[end + 1..];
            }
            c => {
                assert!(!c.is_control() && column == lines[line].len(), "{c:?} over {:?}", lines[line]);
                lines[line].push(c);
                column += c.len_utf8();
            }
        }
        if line == lines.len() {
            lines.push(String::new());
        }
    }
    assert_eq!(lines.pop().as_deref(), Some(""), "the cursor is not on a line of its own");
    lines
}

/// Its end; it is killed if that does not come.
fn ended(running: &mut Running) -> ExitStatus {
    let until = Instant::now() + AT_MOST;
    loop {
        if let Some(status) = running.child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
            panic!("it does not end");
        }
        // sleep: the condition is in another process; polled.
        std::thread::sleep(Duration::from_millis(2));
    }
}

// REQ M5, REQ W2
#[test]
fn a_table_appears_changes_and_stays_above_the_stop() {
    let (scratch, (theirs, ours)) = (Scratch::new(), terminal(80, 24));
    let seen = Seen::start(ours);
    let modes = format!("{:?}", tcgetattr(&theirs).unwrap());
    let (dir, file) = (scratch.word("rec"), format!("b=file:{}", scratch.put("some", &[7; 2048])));
    let words = ["env", "-u", "NO_COLOR", "TERM=xterm", PROGRAM, "record", "--out", &dir];
    let words = [&words[..], &["--channel", "a=stdin", "--channel", &file]].concat();
    let mut running = Running::of(&scratch, &words, theirs.try_clone().unwrap().into());
    seen.wait_for("  b        Ended ");
    assert!(
        seen.so_far().contains("  a        Running          0 B/s       0 B       0 B        0      0\r\n")
    );
    let mut pipe = running.child.stdin.take().unwrap();
    pipe.write_all(&[b'x'; 1000]).unwrap();
    wait_until("the table with a thousand bytes", || seen.table().contains("  1000 B       0 B   "));
    resize(&theirs, 40, 24);
    pipe.write_all(&[b'x'; 9000]).unwrap();
    let narrow = "  channel  state             rate\r\n  a        Running";
    wait_until("a narrow table", || seen.table().contains(narrow));
    running.signal("-TERM");
    let status = ended(&mut running);
    assert_eq!(modes, format!("{:?}", tcgetattr(&theirs).unwrap()), "the terminal's modes");
    drop((theirs, running));
    let sent = seen.all();
    assert_eq!(code(status), 0, "{sent}");
    assert_stop_below_the_table(&shown(&sent), &dir);
    assert_eq!(verify(&dir).1, 0);
}

/// One table, then every phase and step, then how it ended.
fn assert_stop_below_the_table(lines: &[String], dir: &str) {
    let screen = lines.join("\n");
    assert_eq!(lines[0], format!("recording 2 channels into {dir}"));
    assert!(lines[1].starts_with("recording for "), "{screen}");
    let found = |start: &str| {
        let found: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with(start)).collect();
        assert_eq!(found.len(), 1, "{start:?} in\n{screen}");
        found[0]
    };
    let wanted = [
        "recording for ",
        "  channel  state ",
        "  a        Running",
        "  b        Ended",
        "stopping: signal SIGTERM, from process ",
        "Initiating",
        "StoppingCapture",
        "  stop-capture/a: Verified",
        "FlushingStorage",
        "  flush/a: Verified",
        "  seal: Verified",
        "ReleasingResources",
        "  release-buffers: Verified",
        "ClosingLogs",
        "  close-journal: Verified",
        "  channel  records ",
        "stopped clean: all ",
    ];
    let places = wanted.map(found);
    assert!(places.is_sorted(), "{places:?}\n{screen}");
    let [.., last] = places;
    assert_eq!(last, lines.len() - 1, "{screen}");
}

// REQ M5, REQ E6
#[test]
fn dumb_terminals_have_no_table_and_who_wants_no_colour_has_none() {
    for (setting, has_table, has_colour) in [
        (["NO_COLOR=", "TERM=xterm"], true, true),
        (["NO_COLOR=1", "TERM=xterm"], true, false),
        (["NO_COLOR=", "TERM=dumb"], false, false),
    ] {
        let (scratch, (theirs, ours)) = (Scratch::new(), terminal(80, 24));
        let seen = Seen::start(ours);
        let dir = scratch.word("rec\u{1b}[2J");
        let words = ["env", setting[0], setting[1], PROGRAM, "record", "--out", &dir];
        let words = [&words[..], &["--channel", "bad=exec:exit 3"]].concat();
        let mut running = Running::of(&scratch, &words, theirs.into());
        let status = ended(&mut running);
        drop(running);
        let sent = seen.all();
        assert_eq!(code(status), 1, "{sent}");
        let screen = shown(&sent).join("\n");
        assert!(screen.contains("evenkeel: bad: "), "{screen}");
        assert!(screen.contains("\nClosingLogs\n"), "{screen}");
        assert_eq!(screen.contains("recording for "), has_table, "{screen}");
        assert_eq!(screen.contains("  bad      Failed "), has_table, "{screen}");
        assert_eq!(sent.contains("\u{1b}[31m"), has_colour, "{sent}");
        assert!(has_table || !sent.contains('\u{1b}'), "{sent}");
    }
}

// REQ M5
#[test]
fn elsewhere_nothing_is_said_but_what_always_was() {
    let scratch = Scratch::new();
    let (dir, file) = (scratch.word("rec"), format!("b=file:{}", scratch.put("some", &[7; 2048])));
    let words = ["record", "--out", &dir, "--channel", &file];
    let output =
        Command::new(PROGRAM).args(words).env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let (start, took) = said.split_once(", in ").unwrap();
    let expected = format!(
        "recording 1 channel into {dir}\n\
         stopping: every source has ended\n\
         \x20 channel  records    bytes  stored  dropped  gaps\n\
         \x20 b              1  2.0 KiB       1        0     0\n\
         stopped clean: all 5 steps verified"
    );
    assert_eq!(start, expected);
    let took = took.strip_suffix(" ms\n").unwrap();
    assert!(took.parse::<f64>().is_ok(), "{took}");
    assert_eq!(code(output.status), 0);
}

/// Who takes nothing of what the program says.
#[derive(Clone, Copy, Debug)]
enum Deaf {
    /// A terminal stopped with Ctrl-S, from the beginning.
    Stopped,
    /// A terminal whose other side is not read, later.
    FullLater,
    /// A pipe that is not read, from the beginning.
    Pipe,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Signal,
    Sources,
    Asked,
}

/// Writes until nothing more is taken.
fn fill(side: &OwnedFd) {
    let flags = rustix::fs::fcntl_getfl(side).unwrap();
    fcntl_setfl(side, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(side, &[b'.'; 512]) != Err(Errno::AGAIN) {}
    while rustix::io::write(side, b".") != Err(Errno::AGAIN) {}
    fcntl_setfl(side, flags).unwrap();
}

/// A recorder with some bytes that are safe, and nobody who hears it.
fn unheard(scratch: &Scratch, deaf: Deaf) -> (Running, ChildStdin, (OwnedFd, OwnedFd)) {
    let (theirs, ours) = match deaf {
        Deaf::Pipe => {
            let (ours, theirs) = std::io::pipe().unwrap();
            (theirs.into(), ours.into())
        }
        _ => terminal(80, 24),
    };
    match deaf {
        Deaf::Stopped => tcflow(&theirs, Action::OOff).unwrap(),
        Deaf::FullLater => {}
        Deaf::Pipe => fill(&theirs),
    }
    let dir = scratch.word("rec");
    let words =
        ["env", "TERM=xterm", PROGRAM, "record", "--out", &dir, "--channel", "a=stdin", "--grace", GRACE];
    let mut running = Running::of(scratch, &words, theirs.try_clone().unwrap().into());
    let mut pipe = running.child.stdin.take().unwrap();
    pipe.write_all(&[b'x'; 1000]).unwrap();
    wait_until("the acknowledgement", || common::last_ack(&running.acks, "a") == Some((1, 1000)));
    if let Deaf::FullLater = deaf {
        fill(&theirs);
    }
    (running, pipe, (theirs, ours))
}

// REQ C5, REQ T8, REQ W2
#[test]
fn a_terminal_that_takes_nothing_holds_up_neither_the_recording_nor_the_stop() {
    for deaf in [Deaf::Stopped, Deaf::FullLater, Deaf::Pipe] {
        for end in [End::Signal, End::Sources, End::Asked] {
            println!("{deaf:?}, {end:?}");
            let scratch = Scratch::new();
            let (mut running, pipe, sides) = unheard(&scratch, deaf);
            let dir = scratch.word("rec");
            let pipe = match end {
                End::Signal => {
                    running.signal("-TERM");
                    Some(pipe)
                }
                End::Sources => {
                    drop(pipe);
                    None
                }
                End::Asked => {
                    wait_until("somebody to ask", || code(evenkeel(&["status", &dir]).status) == 0);
                    std::thread::spawn(move || evenkeel(&["stop", &dir]));
                    Some(pipe)
                }
            };
            let status = ended(&mut running);
            assert_eq!(code(status), 0, "{deaf:?}, {end:?}");
            drop((pipe, sides));
            assert_eq!(verify(&scratch.word("rec")).1, 0);
        }
    }
}
