//! The control socket: `status`, `stop`, and what strangers send.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/stops.rs"]
mod stops;

use common::{
    Held, PROGRAM, Running, Scratch, code, evenkeel, export, hanging_source, lines, stderr, verify,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A connection to the control socket, and what it says.
struct Talk {
    stream: UnixStream,
    said: BufReader<UnixStream>,
}

impl Talk {
    fn new(stream: UnixStream) -> Self {
        let said = BufReader::new(stream.try_clone().unwrap());
        Self { stream, said }
    }

    fn with(scratch: &Scratch) -> Self {
        Self::new(UnixStream::connect(scratch.path("rec/control.sock")).unwrap())
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next object; `None` when the other side has hung up.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.said.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Waits until the recorder can be reached.
fn wait_for_control(scratch: &Scratch) {
    while UnixStream::connect(scratch.path("rec/control.sock")).is_err() {
        std::thread::yield_now();
    }
}

fn told(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.path("stderr")).unwrap()
}

fn status(scratch: &Scratch) -> Value {
    let output = evenkeel(&["status", &scratch.word("rec"), "--json"]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn wait_for_status(scratch: &Scratch, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = status(scratch);
        if is_it(&status) {
            return status;
        }
    }
}

/// A recorder of standard input, reachable.
fn recording(scratch: &Scratch, more: &[&str]) -> Running {
    let dir = scratch.word("rec");
    let words = ["record", "--out", &dir, "--channel", "a=stdin", "--frame", "a=lines"];
    let words: Vec<&str> = words.into_iter().chain(more.iter().copied()).collect();
    let running = Running::start(scratch, &words);
    wait_for_control(scratch);
    running
}

/// Beside it a source that hangs until it is let go.
fn beside_a_hanging_source(scratch: &Scratch, grace: &str) -> (Running, Held) {
    let (stuck, held) = hanging_source(scratch);
    let (source, report) = (format!("stuck={stuck}"), scratch.word("report.json"));
    let running = recording(scratch, &["--channel", &source, "--grace", grace, "--report", &report]);
    held.wait();
    (running, held)
}

/// An `evenkeel stop` that the recorder has heard, and that waits.
fn waiting_stop(scratch: &Scratch, more: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = Command::new(PROGRAM)
        .args(["stop", &scratch.word("rec")])
        .args(more)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("is stopping"), "{line}");
    (child, said)
}

/// How it ended: exit code, and what it said.
fn end((mut child, mut said): (Child, BufReader<std::process::ChildStderr>)) -> (i32, String) {
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    (code(child.wait().unwrap()), rest)
}

fn report(scratch: &Scratch) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path("report.json")).unwrap()).unwrap()
}

// REQ W1, REQ C14, REQ T5, REQ T7
#[test]
fn status_tells_what_each_channel_has_done() {
    let scratch = Scratch::new();
    let file = scratch.put("input", b"hello");
    let mut running = recording(&scratch, &["--channel", &format!("b=file:{file}")]);
    let text = lines(0, 1000);
    let bytes = text.len() as u64;
    let mut once = Some(text);
    let feed = running.feed(move || once.take());
    running.wait_for_ack("a", bytes);
    running.wait_for_ack("b", 5);
    let status = wait_for_status(&scratch, |status| status["channels"][1]["state"] == "Ended");
    let channel = |name: &str, state: &str, records: u64, bytes: u64| {
        json!({
            "name": name, "state": state, "accepted_records": records, "accepted_bytes": bytes,
            "committed_records": records, "committed_bytes": bytes, "dropped_records": 0, "dropped_bytes": 0,
            "kernel_dropped": null, "queue_records": 0, "queue_bytes": 0, "gaps": 0, "restarts": 0,
            "last_fault": null, "listening": null,
        })
    };
    let channels = json!([channel("a", "Running", 1000, bytes), channel("b", "Ended", 1, 5)]);
    assert_eq!(status["channels"], channels);
    assert_eq!((&status["version"], &status["pid"]), (&json!(1), &json!(running.child.id())));
    assert_eq!((&status["state"], &status["alerts"]), (&json!("recording"), &json!([])));
    assert!(status["uptime_s"].as_f64().unwrap() > 0.0, "{status}");
    // Capture, flush, seal, buffers and the journal, as they are expected.
    assert!(status["stop_forecast_ms"].as_f64().unwrap() >= 72.0, "{status}");
    let fields: Vec<&String> = status.as_object().unwrap().keys().collect();
    let known = [
        "alerts",
        "channels",
        "pid",
        "state",
        "stop_forecast_ms",
        "strict",
        "threads",
        "threads_max",
        "uptime_s",
        "version",
    ];
    assert_eq!(fields, known);
    let threads: Vec<&str> =
        status["threads"].as_array().unwrap().iter().map(|thread| thread["name"].as_str().unwrap()).collect();
    for name in
        ["ek-capture", "ek-control", "ek-disk", "ek-journal", "ek-log", "ek-screen", "ek-stop", "ek-watch"]
    {
        assert!(threads.contains(&name), "{name} is none of {threads:?}");
    }
    assert_eq!(status["threads_max"], 20);
    let output = evenkeel(&["status", &scratch.word("rec"), "--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("\"version\"").count(), 1);
    let output = evenkeel(&["status", &scratch.word("rec")]);
    assert_eq!((code(output.status), &*output.stdout), (0, &b""[..]));
    for shown in [
        "recording for ",
        " threads, 20 at most, have used ",
        "  a        Running    1,000  96.7 KiB   1,000  ",
        "  b        Ended          1       5 B  ",
    ] {
        assert!(stderr(&output).contains(shown), "{shown}: {}", stderr(&output));
    }
    running.signal("-TERM");
    assert_eq!(code(running.child.wait().unwrap()), 0);
    drop(feed.join().unwrap());
}

// REQ C14, REQ E1
#[test]
fn what_somebody_should_look_at_is_an_alert() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("rec")).unwrap();
    scratch.put("rec/journal", b"in the way");
    // Reading it at its beginning is an error.
    let mut running = recording(&scratch, &["--channel", "mem=file:/proc/self/mem", "--grace", "50ms"]);
    let status = wait_for_status(&scratch, |status| status["channels"][1]["state"] == "Failed");
    let fault = status["channels"][1]["last_fault"].as_str().unwrap();
    let alerts: Vec<&str> =
        status["alerts"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let expected = ["no journal is kept".to_owned(), format!("mem: {fault}")];
    assert_eq!(alerts[..2], expected, "{alerts:?}");
    assert!(
        alerts[2].starts_with("a stop is expected to take 4") && alerts[2].contains("of 50 ms"),
        "{alerts:?}"
    );
    assert_eq!(alerts.len(), 3, "{alerts:?}");
    let shown = stderr(&evenkeel(&["status", &scratch.word("rec")]));
    assert!(shown.contains("ALERT: no journal is kept") && shown.contains("mem: last fault: "), "{shown}");
    running.signal("-KILL");
    running.child.wait().unwrap();
}

// REQ W2
#[test]
fn where_nothing_runs_that_is_said() {
    let scratch = Scratch::new();
    let file = scratch.put("input", b"hello");
    let finished = scratch.word("finished");
    let output = evenkeel(&["record", "--out", &finished, "--channel", &format!("a=file:{file}")]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(!scratch.path("finished/control.sock").exists());
    std::fs::create_dir(scratch.path("stale")).unwrap();
    drop(UnixListener::bind(scratch.path("stale/control.sock")).unwrap());
    for dir in ["missing", "input", "finished", "stale"] {
        for words in [&["status"][..], &["status", "--json"], &["stop"], &["stop", "--force"]] {
            let dir = scratch.word(dir);
            let words: Vec<&str> = words.iter().copied().chain([&*dir]).collect();
            let output = evenkeel(&words);
            assert_eq!(
                (code(output.status), &*output.stdout),
                (3, &b""[..]),
                "{words:?}: {}",
                stderr(&output)
            );
            let said = format!("nothing runs in {dir}");
            assert!(stderr(&output).contains(&said), "{words:?}: {}", stderr(&output));
        }
    }
    assert!(!scratch.path("missing").exists());
}

// REQ W1, REQ W2
#[test]
fn a_path_longer_than_an_address_is_a_place_like_any_other() {
    let scratch = Scratch::new();
    let dir = scratch.word(&["x".repeat(150), "y".repeat(150)].join("/"));
    let mut running = Running::start(&scratch, &["record", "--out", &dir, "--channel", "a=stdin"]);
    while evenkeel(&["status", &dir]).status.code() != Some(0) {}
    assert!(Path::new(&dir).join("control.sock").metadata().unwrap().file_type().is_socket());
    let output = evenkeel(&["stop", &dir]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(running.child.try_wait().unwrap().is_some());
    assert!(!Path::new(&dir).join("control.sock").exists());
    assert_eq!(verify(&dir).1, 0);
}

// REQ C10
#[test]
fn only_its_owner_may_use_the_socket() {
    let scratch = Scratch::new();
    let (dir, name) = (scratch.word("rec"), scratch.path("rec/control.sock"));
    let mut child = Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" record --out \"$1\" --channel a=stdin", PROGRAM, &dir])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_control(&scratch);
    let found = std::fs::symlink_metadata(&name).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    drop(child.stdin.take());
    assert_eq!(code(child.wait().unwrap()), 0);
    assert!(!name.exists());
}

// REQ W4, REQ W2
#[test]
fn something_in_its_place_is_left_alone_and_recording_goes_on() {
    for in_the_way in ["file", "directory", "link"] {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path("rec")).unwrap();
        let (dir, place) = (scratch.word("rec"), scratch.path("rec/control.sock"));
        let _socket = UnixListener::bind(scratch.path("elsewhere")).unwrap();
        match in_the_way {
            "file" => std::fs::write(&place, b"precious").unwrap(),
            "directory" => std::fs::create_dir(&place).unwrap(),
            _ => std::os::unix::fs::symlink(scratch.path("elsewhere"), &place).unwrap(),
        }
        let before = std::fs::symlink_metadata(&place).unwrap();
        let mut running = Running::start(&scratch, &["record", "--out", &dir, "--channel", "a=stdin"]);
        let mut once = Some(b"hello".to_vec());
        let feed = running.feed(move || once.take());
        running.wait_for_ack("a", 5);
        while !told(&scratch).contains("recording without") {
            std::thread::yield_now();
        }
        assert!(told(&scratch).contains("not a socket"), "{}", told(&scratch));
        if in_the_way == "file" {
            let output = evenkeel(&["status", &dir]);
            // Something runs there: that is not the code of nothing.
            assert_eq!(code(output.status), 1, "{}", stderr(&output));
            let said = format!("in use by process {}, which has no control socket", running.child.id());
            assert!(stderr(&output).contains(&said), "{}", stderr(&output));
        }
        running.signal("-TERM");
        assert_eq!(code(running.child.wait().unwrap()), 0, "{in_the_way}: {}", told(&scratch));
        drop(feed.join().unwrap());
        let after = std::fs::symlink_metadata(&place).unwrap();
        assert_eq!(before.file_type(), after.file_type(), "{in_the_way} is gone");
        if in_the_way == "file" {
            assert_eq!(std::fs::read(&place).unwrap(), b"precious");
        }
        assert_eq!(export(&dir, "a"), (b"hello".to_vec(), 0));
    }
}

/// Plays a recorder that answers every client with `answer`, and then hangs up.
fn play(scratch: &Scratch, answer: &'static [u8]) {
    std::fs::create_dir(scratch.path("rec")).unwrap();
    let listener = UnixListener::bind(scratch.path("rec/control.sock")).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = String::new();
            BufReader::new(client.try_clone().unwrap()).read_line(&mut request).unwrap();
            client.write_all(answer).unwrap();
        }
    });
}

// REQ C18
#[test]
fn a_recorder_that_speaks_otherwise_is_not_misread() {
    for (answer, said) in [
        (&b"{\"version\":2,\"pid\":1,\"condition\":\"well\"}\n"[..], "version 2 of the control protocol"),
        (
            b"{\"version\":2,\"error\":\"version 1 is not spoken here\"}\n",
            "version 2 of the control protocol",
        ),
        (b"{\"pid\":1}\n", "version null"),
        (b"{\"version\":1}\n", "not understood"),
        (b"[]\n", "no JSON object"),
        (b"\x1b[2J\n", "no JSON object"),
        (b"{\"version\":1,\"error\":\"it \\u001b[2J cannot\"}\n", "it \\u{1b}[2J cannot"),
    ] {
        let scratch = Scratch::new();
        play(&scratch, answer);
        for command in ["status", "stop"] {
            let output = evenkeel(&[command, &scratch.word("rec")]);
            assert_eq!(code(output.status), 1, "{said}: {}", stderr(&output));
            assert!(stderr(&output).contains(said), "{said}: {}", stderr(&output));
            assert!(!stderr(&output).contains('\u{1b}'));
        }
    }
}
