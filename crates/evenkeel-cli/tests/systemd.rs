//! systemd's protocol, with a service manager that the test plays.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{PROGRAM, Scratch, code, export, hanging_source};
use std::fs::File;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A recorder of standard input, and of what else is said, under a manager's environment.
fn start(scratch: &Scratch, notify: &str, environment: &[(&str, &str)], more: &[&str]) -> Child {
    Command::new(PROGRAM)
        .args(["record", "--out", &scratch.word("rec"), "--channel", "a=stdin"])
        .args(more)
        .env("NOTIFY_SOCKET", notify)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stderr(File::create(scratch.path("stderr")).unwrap())
        .spawn()
        .unwrap()
}

fn signal(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

fn terminate(child: &mut Child) -> ExitStatus {
    // The end of its input would be another reason to stop.
    let _stdin = child.stdin.take();
    signal(child);
    child.wait().unwrap()
}

fn told(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.path("stderr")).unwrap()
}

/// The manager's side.
struct Manager(UnixDatagram);

impl Manager {
    fn at(scratch: &Scratch) -> (Self, String) {
        let name = scratch.word("notify");
        let socket = UnixDatagram::bind(&name).unwrap();
        // A word that never comes is a failure, not a wait for ever.
        socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        (Self(socket), name)
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    fn wait_for(&self, words: &str) -> String {
        loop {
            let heard = self.hear();
            if heard.starts_with(words) {
                return heard;
            }
        }
    }

    /// What is left of a recorder that is gone.
    fn rest(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        let mut rest = Vec::new();
        while let Ok(n) = self.0.recv(&mut bytes) {
            rest.push(String::from_utf8(bytes[..n].to_vec()).unwrap());
        }
        rest
    }
}

// REQ P2, REQ T6, REQ C5
#[test]
fn systemd_hears_when_it_is_ready_alive_and_stopping() {
    let scratch = Scratch::new();
    let (manager, name) = Manager::at(&scratch);
    let mut child = start(&scratch, &name, &[("WATCHDOG_USEC", "20000")], &["--grace", "7s"]);
    let ready = format!("READY=1\nSTATUS=recording 1 channel into {}", scratch.word("rec"));
    assert_eq!(manager.hear(), ready, "the first word");
    for _ in 0..10 {
        assert_eq!(manager.hear(), "WATCHDOG=1");
    }
    signal(&child);
    let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=8000000\nSTATUS=stopping: signal SIGTERM";
    let mut heard: Vec<String> = Vec::new();
    while heard.last().is_none_or(|word| !word.starts_with("STATUS=stopped")) {
        // A slow machine hears some of it again.
        heard.push(manager.hear());
        heard.retain(|word| word != "WATCHDOG=1" && !word.starts_with("EXTEND_TIMEOUT_USEC="));
    }
    assert_eq!(heard, [stopping, "STATUS=stopped clean: all 5 steps verified"]);
    assert_eq!(code(child.wait().unwrap()), 0, "{}", told(&scratch));
}

// REQ P2, REQ T6, REQ C5
#[test]
fn a_long_stop_is_alive_and_asks_for_its_time_again() {
    let scratch = Scratch::new();
    let (manager, name) = Manager::at(&scratch);
    let (stuck, held) = hanging_source(&scratch);
    let channel = format!("stuck={stuck}");
    let more = ["--grace", "60s", "--channel", &channel];
    let mut child = start(&scratch, &name, &[("WATCHDOG_USEC", "100000")], &more);
    manager.wait_for("READY=1");
    held.wait();
    signal(&child);
    assert!(manager.wait_for("STOPPING=1").contains("\nEXTEND_TIMEOUT_USEC=61000000\n"));
    let mut left_us = 61_000_000;
    for _ in 0..2 {
        assert_eq!(manager.wait_for("WATCHDOG=1"), "WATCHDOG=1");
        let extend = manager.wait_for("EXTEND_TIMEOUT_USEC=");
        let asked: u64 = extend.split_once('=').unwrap().1.parse().unwrap();
        assert!(asked < left_us && asked > 1_000_000, "{asked} after {left_us}");
        left_us = asked;
    }
    drop(held);
    assert_eq!(code(child.wait().unwrap()), 0, "{}", told(&scratch));
}

// REQ P2
#[test]
fn an_abstract_socket_is_a_socket_too() {
    let scratch = Scratch::new();
    let name = format!("evenkeel-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    let mut child = start(&scratch, &format!("@{name}"), &[], &[]);
    assert!(manager.hear().starts_with("READY=1\n"));
    assert_eq!(code(terminate(&mut child)), 0, "{}", told(&scratch));
    let rest = manager.rest();
    assert!(rest[0].starts_with("STOPPING=1\n"), "{rest:?}");
    assert!(rest.iter().all(|word| word != "WATCHDOG=1"), "nobody asked for that: {rest:?}");
}

// REQ P2
#[test]
fn the_watchdog_of_somebody_else_is_not_ours() {
    let scratch = Scratch::new();
    let (manager, name) = Manager::at(&scratch);
    let environment = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut child = start(&scratch, &name, &environment, &[]);
    let ready = manager.wait_for("READY=1");
    assert_eq!(code(terminate(&mut child)), 0, "{}", told(&scratch));
    let rest = manager.rest();
    assert!(rest.iter().all(|word| word != "WATCHDOG=1"), "{ready}, then {rest:?}");
}

// REQ P2, REQ W4
#[test]
fn a_manager_that_cannot_be_told_harms_nothing() {
    let scratch = Scratch::new();
    let plain = scratch.put("plain", b"");
    let gone = scratch.word("gone");
    drop(UnixDatagram::bind(&gone).unwrap());
    let (missing, long) = (scratch.word("missing"), format!("/{}", "x".repeat(200)));
    for (notify, is_told) in [
        (&*plain, false),
        (&*gone, false),
        (&*missing, false),
        (&*long, true),
        ("relative", true),
        ("vsock:2:1234", true),
        ("", true),
    ] {
        let scratch = Scratch::new();
        let mut child = start(&scratch, notify, &[("WATCHDOG_USEC", "1000")], &[]);
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        assert_eq!(code(child.wait().unwrap()), 0, "{notify}: {}", told(&scratch));
        assert_eq!(told(&scratch).contains("systemd is not told anything"), is_told, "{}", told(&scratch));
        assert_eq!(export(&scratch.word("rec"), "a"), (b"hello".to_vec(), 0));
    }
}

// REQ P2, REQ W4
#[test]
fn a_manager_that_does_not_listen_delays_nothing_and_hears_it_later() {
    let scratch = Scratch::new();
    let (manager, name) = Manager::at(&scratch);
    let noise = UnixDatagram::unbound().unwrap();
    noise.set_nonblocking(true).unwrap();
    while noise.send_to(b"noise", &name).is_ok() {}
    let mut child = start(&scratch, &name, &[("WATCHDOG_USEC", "1000")], &["--grace", "60s"]);
    // It records: what is sent now goes to a manager that is deaf.
    while evenkeel_status(&scratch) != 0 {}
    assert!(manager.wait_for("READY=1").contains("recording 1 channel"));
    // Deaf once more, until the end: whoever waits for the process waits for nobody else.
    while noise.send_to(b"noise", &name).is_ok() {}
    let output = common::evenkeel(&["stop", &scratch.word("rec")]);
    assert_eq!(code(output.status), 0, "{}", common::stderr(&output));
    assert_eq!(child.try_wait().unwrap().map(code), Some(0), "{}", told(&scratch));
}

fn evenkeel_status(scratch: &Scratch) -> i32 {
    code(common::evenkeel(&["status", &scratch.word("rec")]).status)
}
