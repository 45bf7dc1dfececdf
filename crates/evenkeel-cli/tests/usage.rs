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
        (&["--channel", "a=stdin", "--channel", "b=stdin"], "another channel"),
        (&["--channel", "a=ftp:x"], "no source"),
        (&["--channel", "a=file:"], "path is needed"),
        (&["--channel", "a=exec:true"], "not in this version"),
        (&["--channel", "a=tcp:127.0.0.1:1"], "not in this version"),
        (&[a[0], a[1], "--frame", "b=lines"], "no channel b"),
        (&[a[0], a[1], "--frame", "a=words"], "no framing"),
        (&[a[0], a[1], "--frame", "a"], "NAME=FRAMING"),
        (&[a[0], a[1], "--frame", "a=lines", "--frame", "a=chunk"], "already"),
        (&[a[0], a[1], "--frame", "a=length-u32be"], "not in this version"),
        (&[a[0], a[1], "--durability", "paper"], "memory, process and disk"),
        (&[a[0], a[1], "--grace", "soon"], "number and a unit"),
        (&[a[0], a[1], "--grace", "0s"], "more than nothing"),
        (&[a[0], a[1], "--acks", "77"], "no open descriptor"),
        (&[a[0], a[1], "--acks", "x"], "--acks"),
        (&[a[0], a[1], "--colour"], "--colour"),
        (&[a[0], a[1], "--report", "/no/such/directory/report.json"], "/no/such/directory"),
        (&[a[0], a[1], "--report", "/"], "a file is needed"),
        (&[a[0], a[1], "--config", "x.toml"], "not in this version"),
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
