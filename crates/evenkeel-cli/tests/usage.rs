//! What is wrong is refused by name, with exit code 2, and nothing is created.

mod common;

use common::{Scratch, code, evenkeel, stderr};

// REQ W1
#[test]
fn wrong_words_are_named_and_nothing_is_created() {
    let a = ["--channel", "a=stdin"];
    let cases: &[(&[&str], &str)] = &[
        (&[], "at least one --channel"),
        (&["--channel", "a"], "NAME=SOURCE"),
        (&["--channel", "=stdin"], "is no name"),
        (&["--channel", "A=stdin"], "a-z"),
        (&["--channel=-a=stdin"], "is no name"),
        (&["--channel", "a b=stdin"], "is no name"),
        (&["--channel", "a/b=stdin"], "is no name"),
        (&["--channel", &format!("{}=stdin", "x".repeat(64))], "1 to 63"),
        (&["--channel", "a=stdin", "--channel", "a=file:/dev/null"], "already"),
        (&["--channel", "a=stdin", "--channel", "b=stdin"], "channel a already"),
        (&["--channel", "a=unix:s", "--channel", "b=unix:./s"], "channel a already"),
        (&["--channel", "a=tcp:[::1]:7", "--channel", "b=tcp:[::1]:7"], "channel a already"),
        (&["--channel", "a=ftp:x"], "\"ftp:x\" is no source"),
        (
            &["--channel", "a=ftp:x"],
            "stdin, exec:COMMAND, file:PATH, tail:PATH, tcp:ADDR, unix:PATH and udp:ADDR",
        ),
        (&["--channel", "a=file:"], "path is needed"),
        (&["--channel", "a=unix:"], "path is needed"),
        (&["--channel", "a=exec:"], "command is needed"),
        (&["--channel", "a=tcp:example.org:80"], "IP:PORT, [IPv6]:PORT and localhost:PORT"),
        (&["--channel", "a=udp:127.0.0.1"], "\"127.0.0.1\" is no address"),
        (&["--channel", "a=tail:"], "path is needed"),
        (&[a[0], a[1], "--frame", "b=lines"], "no channel b"),
        (
            &[a[0], a[1], "--frame", "a=words"],
            "\"words\" is no framing; chunk, lines, length-u32be and datagram",
        ),
        (&[a[0], a[1], "--frame", "a"], "NAME=FRAMING"),
        (
            &[a[0], a[1], "--frame", "a=lines", "--frame", "a=chunk"],
            "--frame a=chunk: --frame speaks of a already",
        ),
        (&["--channel", "a=udp:[::]:0", "--frame", "a=length-u32be"], "datagram is"),
        (&[a[0], a[1], "--frame", "a=datagram"], "chunk, lines and length-u32be are allowed"),
        (&["--channel", "a=udp:[::]:0", "--frame", "a=lines"], "--frame a=lines: a: datagram is"),
        (&[a[0], a[1], "--on-full", "a"], "NAME=POLICY"),
        (&[a[0], a[1], "--on-full", "b=block"], "no channel b"),
        (&[a[0], a[1], "--on-full", "a=drop"], "\"drop\" is no policy; block, drop-newest and drop-oldest"),
        (&[a[0], a[1], "--quota", "a"], "NAME=BYTES"),
        (&[a[0], a[1], "--quota", "b=8MiB"], "no channel b"),
        (&[a[0], a[1], "--quota", "a=8"], "\"8\" is no size; a whole number of bytes"),
        (&[a[0], a[1], "--quota", "a=64KiB"], "from 68KiB (a message of full length) to 1024TiB"),
        (&[a[0], a[1], "--quota", "a=8MiB", "--quota", "a=8MiB"], "already"),
        (&[a[0], a[1], "--on-full", "a=block", "--on-full", "a=block"], "already"),
        (&[a[0], a[1], "--restart", "a"], "NAME=POLICY"),
        (&[a[0], a[1], "--restart", "b=never"], "no channel b"),
        (&[a[0], a[1], "--restart", "a=always"], "\"always\" is no policy; never and on-failure"),
        (&[a[0], a[1], "--restart", "a=on-failure"], "--restart a=on-failure: a: only exec:"),
        (&[a[0], a[1], "--restart", "a=never", "--restart", "a=never"], "already"),
        (&[a[0], a[1], "--durability", "paper"], "memory, process and disk"),
        (&[a[0], a[1], "--grace", "soon"], "a number and ms, s, m or h"),
        (&[a[0], a[1], "--grace", "0s"], "more than nothing"),
        (&[a[0], a[1], "--grace", "25h"], "at most 24h"),
        (&[a[0], a[1], "--acks", "77"], "no open descriptor"),
        (&[a[0], a[1], "--acks", "x"], "--acks"),
        (&[a[0], a[1], "--colour"], "--colour"),
        (&[a[0], a[1], "--strict=1"], "--strict"),
        (&[a[0], a[1], "--report", "/no/such/directory/report.json"], "/no/such/directory"),
        (&[a[0], a[1], "--report", "/"], "a file is needed"),
        (&[a[0], a[1], "--config", "/no/such/file.toml"], "/no/such/file.toml: cannot be read"),
    ];
    for (words, named) in cases {
        let scratch = Scratch::new();
        let dir = scratch.word("rec");
        let all: Vec<&str> = ["record", "--out", &dir].into_iter().chain(words.iter().copied()).collect();
        let output = evenkeel(&all);
        assert_eq!(code(output.status), 2, "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{words:?}: {}", stderr(&output));
        assert!(!scratch.path("rec").exists(), "{words:?} created something");
    }
}

// REQ W1
#[test]
fn every_source_and_policy_has_its_words() {
    let cases: &[&[&str]] = &[
        &["--channel", "a=stdin"],
        &["--channel", "a=file:x", "--frame", "a=lines"],
        &["--channel", "a=tail:x", "--frame", "a=length-u32be", "--quota", "a=8MiB", "--strict"],
        &["--channel", "a=stdin", "--frame", "a=length-u32be", "--on-full", "a=drop-oldest"],
        &["--channel", "a=exec:cat x=y", "--restart", "a=on-failure", "--frame", "a=chunk"],
        &["--channel", "a=tcp:127.0.0.1:0", "--on-full", "a=drop-newest"],
        &["--channel", "a=tcp:[::1]:7001", "--durability", "process"],
        &["--channel", "a=tcp:localhost:7001", "--durability", "memory"],
        &["--channel", "a=unix:a.sock", "--on-full", "a=block", "--restart", "a=never"],
        &["--channel", "a=udp:0.0.0.0:7002", "--frame", "a=datagram", "--durability", "disk"],
    ];
    for words in cases {
        let all: Vec<&str> = ["plan", "--format", "json"].into_iter().chain(words.iter().copied()).collect();
        let output = evenkeel(&all);
        assert_eq!(code(output.status), 0, "{words:?}: {}", stderr(&output));
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(plan["phases"].to_string().matches("\"stop-capture/a\"").count(), 2, "{words:?}: {plan}");
    }
}

// REQ W5
#[test]
fn commands_to_come_are_refused() {
    for command in ["channel", "doctor", "completions", "man"] {
        let output = evenkeel(&[command, "x", "--json"]);
        assert_eq!(code(output.status), 2, "{command}");
        assert!(stderr(&output).contains("not in this version"), "{command}: {}", stderr(&output));
    }
    let output = evenkeel(&["frobnicate"]);
    assert_eq!(code(output.status), 2);
    assert!(stderr(&output).contains("frobnicate"));
}

// REQ W5
#[test]
fn what_cannot_be_started_or_read_is_told() {
    let scratch = Scratch::new();
    let dir = scratch.word("rec");
    let missing = format!("a=file:{}", scratch.word("missing"));
    let output = evenkeel(&["record", "--out", &dir, "--channel", &missing]);
    assert_eq!(code(output.status), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("missing") && stderr(&output).contains("channel a"));
    assert!(!scratch.path("rec").exists());
    let file = scratch.put("plain", b"");
    for words in
        [&["verify", &dir][..], &["export", &dir, "--channel", "a"], &["recover", &dir], &["verify", &file]]
    {
        let output = evenkeel(words);
        assert_eq!(code(output.status), 3, "{words:?}: {}", stderr(&output));
    }
    std::fs::create_dir(scratch.path("empty")).unwrap();
    assert_eq!(code(evenkeel(&["verify", &scratch.word("empty")]).status), 3);
}
