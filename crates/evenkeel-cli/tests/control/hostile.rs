//! What is said over the control socket, line by line, and what is not to be said.

use super::*;
use std::net::Shutdown;

// REQ W2
#[test]
fn the_protocol_is_one_object_a_line() {
    let scratch = Scratch::new();
    let mut running = recording(&scratch, &["--grace", "7s"]);
    let mut talk = Talk::with(&scratch);
    // Two at once, and the third in pieces.
    talk.say("{\"version\":1,\"command\":\"status\"}\n{\"version\":1,\"command\":\"status\"}\n{\"version\":");
    for _ in 0..2 {
        assert_eq!(talk.hear().unwrap()["state"], "recording");
    }
    talk.say("1,\"command\":\"stop\",\"reason\":\"a test\"}\n");
    let pid = running.child.id();
    let stopping = json!({ "version": 1, "state": "stopping", "pid": pid, "grace_ms": 7000 });
    assert_eq!(talk.hear().unwrap(), stopping);
    // Who says no more can listen all the same.
    talk.stream.shutdown(Shutdown::Write).unwrap();
    let mut end = talk.hear().unwrap();
    let by = end["initiated_by"].take();
    assert!(by.as_str().unwrap().starts_with(&format!("process {} (", std::process::id())), "{by}");
    assert!(end["duration_ms"].take().as_f64().unwrap() > 0.0);
    let expected = json!({
        "version": 1, "exit_code": 0, "clean": true, "complete": true, "reason": "a test",
        "initiated_by": null, "duration_ms": null, "abandoned": [], "report_fault": null,
        "verdict": "stopped clean: all 5 steps verified",
    });
    assert_eq!(end, expected);
    assert_eq!(talk.hear(), None);
    assert_eq!(code(running.child.wait().unwrap()), 0);
}

// REQ W2
#[test]
fn who_asks_for_a_stop_need_not_stay_for_it() {
    let scratch = Scratch::new();
    let mut running = recording(&scratch, &[]);
    // Its end would be a reason of its own.
    let _stdin = running.child.stdin.take();
    Talk::with(&scratch).say("{\"version\":1,\"command\":\"stop\"}\n");
    assert_eq!(code(running.child.wait().unwrap()), 0, "{}", told(&scratch));
    assert!(told(&scratch).contains("stopping: evenkeel stop, from process "), "{}", told(&scratch));
}

/// What no recorder understands, with what it says to it.
fn garbage() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (b"garbage\n".to_vec(), "a request is JSON"),
        (b"\n".to_vec(), "a request is JSON"),
        (vec![0, 255, 254, b'\n'], "a request is JSON"),
        ([vec![b'['; 50_000], b"\n".to_vec()].concat(), "a request is JSON"),
        (b"{\"version\":2,\"command\":\"status\"}\n".to_vec(), "version 2"),
        (b"{\"version\":1,\"command\":\"dance\"}\n".to_vec(), "dance"),
        (b"{\"version\":1,\"command\":\"stop\",\"channel\":\"a\"}\n".to_vec(), "unknown field `channel`"),
        (b"{\"version\":1,\"command\":\"stop\",\"reason\":\"\"}\n".to_vec(), "reason"),
        (vec![b'x'; 66_000], "65536 bytes at most"),
        ([vec![b' '; 66_000], b"{\"version\":1,\"command\":\"stop\"}\n".to_vec()].concat(), "65536 bytes"),
    ]
}

// REQ E6, REQ W4
#[test]
fn garbage_is_refused_by_name_and_harms_nobody() {
    let scratch = Scratch::new();
    let mut running = recording(&scratch, &[]);
    for (bytes, said) in garbage() {
        let mut talk = Talk::with(&scratch);
        // It may hang up before it has all of it.
        let _ = talk.stream.write_all(&bytes);
        let answer = talk.hear().unwrap_or_default();
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(said)), "{said}: {answer}");
        assert_eq!((&answer["version"], &answer["busy"]), (&json!(1), &json!(false)));
        assert_eq!(talk.hear(), None, "{said}");
    }
    let mut half = Talk::with(&scratch);
    half.say("{\"version\":1,\"command\":\"stop\"}");
    half.stream.shutdown(Shutdown::Write).unwrap();
    assert!(half.hear().unwrap()["error"].as_str().unwrap().contains("line break"));
    assert_eq!(half.hear(), None);
    assert_eq!(status(&scratch)["state"], "recording");
    assert_eq!(code(evenkeel(&["stop", &scratch.word("rec")]).status), 0);
    assert_eq!(code(running.child.wait().unwrap()), 0, "{}", told(&scratch));
}

// REQ W4, REQ R5
#[test]
fn silent_slow_and_many_clients_delay_nothing() {
    let scratch = Scratch::new();
    let mut running = recording(&scratch, &[]);
    let mut at = 0;
    let feed = running.feed(move || {
        // sleep: a flow that lasts, and does not fill the disk.
        std::thread::sleep(std::time::Duration::from_millis(1));
        at += 100;
        Some(lines(at - 100, 100))
    });
    let clients: Vec<Talk> = (0..100).map(|_| Talk::with(&scratch)).collect();
    let acked = || common::last_ack(&running.acks, "a").map_or(0, |(_, bytes)| bytes);
    running.wait_for_ack("a", acked() + 1_000_000);
    // Who comes now has a place as soon as the silent ones have lost theirs.
    assert_eq!(status(&scratch)["state"], "recording");
    let mut placed = 0;
    for mut client in clients {
        let answer = client.hear().unwrap();
        let error = answer["error"].as_str().unwrap();
        placed += u32::from(error.contains("nothing was asked for too long"));
        assert_eq!(answer["busy"], error.contains("32 clients are connected already"), "{answer}");
        assert_eq!(client.hear(), None);
    }
    assert!((1..=32).contains(&placed), "{placed} of 100 had a place at once");
    // Another lot is there when the stop comes, and is not waited for: one floods and does
    // not read, one says half a line, the others say nothing.
    let mut flood = Talk::with(&scratch);
    std::thread::spawn(
        move || {
            while flood.stream.write_all(b"{\"version\":1,\"command\":\"status\"}\n").is_ok() {}
        },
    );
    let mut others: Vec<Talk> = (0..20).map(|_| Talk::with(&scratch)).collect();
    others[0].say("{\"version\":1,");
    running.wait_for_ack("a", acked() + 1_000_000);
    assert_eq!(status(&scratch)["state"], "recording");
    let output = evenkeel(&["stop", &scratch.word("rec")]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert_eq!(running.child.try_wait().unwrap().map(code), Some(0), "{}", told(&scratch));
    let (sent, _pipe) = feed.join().unwrap();
    let (stored, verdict) = export(&scratch.word("rec"), "a");
    let (acked, line) = (common::last_ack(&running.acks, "a").unwrap().1, lines(0, 1).len() as u64);
    assert_eq!((verdict, stored.len() as u64), (0, acked));
    assert!(lines(0, sent / line + 100).starts_with(&stored), "{} bytes are not what was sent", stored.len());
}
