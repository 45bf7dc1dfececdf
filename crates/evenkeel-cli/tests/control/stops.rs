//! Stops over the control socket.

use super::*;

// REQ W2, REQ C16
#[test]
fn stop_waits_and_exits_with_the_recorders_code() {
    let scratch = Scratch::new();
    let (dir, out) = (scratch.word("rec"), scratch.word("report.json"));
    let mut running = recording(&scratch, &["--report", &out]);
    let mut once = Some(lines(0, 1000));
    let feed = running.feed(move || once.take());
    running.wait_for_ack("a", lines(0, 1000).len() as u64);
    let child = Command::new(PROGRAM)
        .args(["stop", &dir, "--reason", "the tape is full"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    // When it returns, the process is gone and the directory is free.
    assert_eq!(running.child.try_wait().unwrap().map(code), Some(0), "{}", told(&scratch));
    assert!(!scratch.path("rec/control.sock").exists());
    drop(feed.join().unwrap());
    let report = report(&scratch);
    assert_eq!((&report["reason"], &report["exit_code"]), (&json!("the tape is full"), &json!(0)));
    assert_eq!(report["initiated_by"], format!("process {pid} (evenkeel) of user {}", user()));
    let said = stderr(&output);
    assert!(
        said.contains("stopped clean: all 5 steps verified") && said.contains("the tape is full"),
        "{said}"
    );
    assert_eq!(verify(&dir).1, 0);
    assert!(export(&dir, "a") == (lines(0, 1000), 0));
}

fn user() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

// REQ C5
#[test]
fn a_grace_period_too_short_is_the_clients_code_too() {
    let scratch = Scratch::new();
    let (mut running, _held) = beside_a_hanging_source(&scratch, "500ms");
    let output = evenkeel(&["stop", &scratch.word("rec")]);
    assert_eq!(code(output.status), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains("OUT OF TIME"), "{}", stderr(&output));
    assert_eq!(code(running.child.wait().unwrap()), 5);
    assert!(stderr(&output).contains("(evenkeel stop, from process "), "{}", stderr(&output));
}

// REQ C16
#[test]
fn a_forced_stop_begins_nothing() {
    for (words, reason) in [(&["--force"][..], "forced"), (&["--force", "--reason", "fire"], "fire")] {
        let scratch = Scratch::new();
        let (mut running, _held) = beside_a_hanging_source(&scratch, "60s");
        let dir = scratch.word("rec");
        let words: Vec<&str> = ["stop", &dir].into_iter().chain(words.iter().copied()).collect();
        let output = evenkeel(&words);
        assert_eq!(code(output.status), 4, "{}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains(&format!("({reason}, from process ")) && said.contains("(evenkeel) of user"),
            "{said}"
        );
        // With a reason it may have begun before it was forced.
        let abandoned =
            if reason == "forced" { "FORCED: abandoned nothing that ran" } else { "FORCED: abandoned" };
        assert!(said.contains(abandoned), "{said}");
        assert_eq!(code(running.child.wait().unwrap()), 4);
    }
}

// REQ C16
#[test]
fn force_ends_a_stop_that_hangs_for_all_who_wait() {
    let scratch = Scratch::new();
    let (mut running, _held) = beside_a_hanging_source(&scratch, "60s");
    let patient = waiting_stop(&scratch, &["--reason", "enough"]);
    wait_for_step(&scratch, "stop-capture/stuck");
    let forcing = waiting_stop(&scratch, &["--force"]);
    for stop in [patient, forcing] {
        let (code, said) = end(stop);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("FORCED: abandoned") && said.contains("stop-capture/stuck"), "{said}");
        assert!(said.contains("(enough, from process "), "{said}");
    }
    assert_eq!(code(running.child.wait().unwrap()), 4);
}

/// Waits until the journal says that the step is about to run.
fn wait_for_step(scratch: &Scratch, step: &str) {
    let path = scratch.path("rec/journal/000001.mcap.part");
    let sought = format!("\"step\":\"{step}\"");
    while !std::fs::read(&path).is_ok_and(|text| text.windows(sought.len()).any(|w| w == sought.as_bytes())) {
        std::thread::yield_now();
    }
}

// REQ C1, REQ C16
#[test]
fn all_who_ask_wait_for_the_same_end() {
    let scratch = Scratch::new();
    let (mut running, held) = beside_a_hanging_source(&scratch, "60s");
    let first = waiting_stop(&scratch, &["--reason", "the first"]);
    let status = status(&scratch);
    assert_eq!(status["state"], "stopping");
    assert_eq!(status["pid"], running.child.id());
    let second = waiting_stop(&scratch, &["--reason", "the second"]);
    running.signal("-TERM");
    drop(held);
    for stop in [first, second] {
        let (code, said) = end(stop);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("(the first, from process "), "{said}");
    }
    assert_eq!(running.child.try_wait().unwrap().map(code), Some(0), "{}", told(&scratch));
    assert_eq!(report(&scratch)["reason"], "the first");
    // Who came second stands in the journal.
    let journal = evenkeel(&["journal", &scratch.word("rec"), "--json", "--kind", "control"]);
    let entry: Value = serde_json::from_slice(&journal.stdout).unwrap();
    assert_eq!((&entry["body"]["reason"], &entry["body"]["force"]), (&json!("the second"), &json!(false)));
    assert!(entry["body"]["from"].as_str().unwrap().contains("(evenkeel) of user "), "{entry}");
}

// REQ C16
#[test]
fn who_waits_hears_of_a_stop_that_a_signal_began_and_ended() {
    for is_forced in [false, true] {
        let scratch = Scratch::new();
        let (mut running, held) = beside_a_hanging_source(&scratch, "60s");
        running.signal("-TERM");
        wait_for_step(&scratch, "stop-capture/stuck");
        assert_eq!(status(&scratch)["state"], "stopping");
        let stop = waiting_stop(&scratch, &[]);
        // The end of the source ends the stop in order, a second signal at once.
        let _held = is_forced.then_some(held);
        if is_forced {
            running.signal("-TERM");
        }
        let (said_code, said) = end(stop);
        assert_eq!(said_code, if is_forced { 4 } else { 0 }, "{said}");
        assert!(said.contains("(signal SIGTERM, from process "), "{said}");
        assert_eq!(code(running.child.wait().unwrap()), said_code);
    }
}

// REQ W3
#[test]
fn a_recorder_that_dies_is_not_a_stop_and_the_next_takes_its_place() {
    let scratch = Scratch::new();
    let (mut running, _held) = beside_a_hanging_source(&scratch, "60s");
    let stop = waiting_stop(&scratch, &[]);
    let pid = running.child.id();
    running.signal("-KILL");
    let (stop_code, said) = end(stop);
    assert_eq!(stop_code, 1, "{said}");
    assert!(said.contains(&format!("process {pid} died before it said how it ended")), "{said}");
    running.child.wait().unwrap();
    let place = scratch.path("rec/control.sock");
    assert!(place.exists(), "a killed recorder removes nothing");
    let output = evenkeel(&["status", &scratch.word("rec")]);
    assert_eq!(code(output.status), 3, "{}", stderr(&output));
    let mut running = recording(&scratch, &[]);
    assert_eq!(status(&scratch)["pid"], running.child.id());
    assert_eq!(code(evenkeel(&["stop", &scratch.word("rec")]).status), 0);
    assert_eq!(code(running.child.wait().unwrap()), 0, "{}", told(&scratch));
    assert!(!place.exists());
}
