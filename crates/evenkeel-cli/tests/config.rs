//! The configuration file: what it may say, and how what is wrong in it is refused.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod common;

use common::{Scratch, code, evenkeel, export, stderr, verify};
use serde_json::Value;

/// A channel that nothing is wrong with, in four lines.
const SOUND: &str = "[[channel]]\nname = 'a'\nsource = 'stdin'\n\n";
const SIZES: &str = "KiB, MiB, GiB, TiB, kB, MB, GB or TB";

/// A file that is refused: text, the line of what is wrong, what was found there, what is allowed.
struct Case(&'static str, usize, &'static str, &'static str);

/// What stands in no table of channels, behind [`SOUND`], from line 5 on.
const IN_TABLES: &[Case] = &[
    // Keys and tables that there are not.
    Case(
        "[segmnt]\nbytes = '2MiB'",
        5,
        "[segmnt]",
        "strict, [[channel]], [segment], [retention], [journal] and [cleanup]",
    ),
    Case("[[channels]]\nname = 'b'", 5, "[[channels]]", "[[channel]], [segment]"),
    Case("[segment]\nbytes = '2MiB'\nsecond = 3", 7, "second = 3", "bytes and seconds"),
    Case("[retention]\nsize = 3", 6, "size = 3", "bytes, age and min_free"),
    Case("[cleanup]\n\ngrace_s = 20", 7, "grace_s = 20", "grace"),
    // Types.
    Case("[[segment]]\nbytes = '2MiB'", 5, "[[segment]]", "an array was found; a table [segment]"),
    Case("retention = 7", 4, "retention = 7", "an integer was found; a table [retention]"),
    Case("[segment]\nbytes = true", 6, "bytes = true", SIZES),
    Case("[segment]\nbytes = 2e6", 6, "bytes = 2e6", SIZES),
    Case("[segment]\nseconds = '300s'", 6, "seconds = '300s'", "a number from 1 to 31536000"),
    Case("[retention]\nage = 7", 6, "age = 7", "a string is allowed: a number and ms, s, m, h or d"),
    Case("[cleanup]\ngrace = 20", 6, "grace = 20", "a string is allowed: a number and ms, s, m or h"),
    Case("[cleanup]\ngrace = 1979-05-27", 6, "grace = 1979-05-27", "a date was found; a string"),
    Case("strict = 'yes'", 4, "strict = 'yes'", "a string was found; true and false are allowed"),
    // Measures out of bounds, or none.
    Case("[segment]\nbytes = 1048575", 6, "1048575 is out of bounds", "from 1MiB to 1024TiB"),
    Case("[segment]\nbytes = -1", 6, "bytes = -1", "from 1MiB to 1024TiB"),
    Case("[segment]\nbytes = '256mb'", 6, "\"256mb\" is no size", SIZES),
    Case("[segment]\nseconds = 0", 6, "seconds = 0", "a number from 1 to"),
    Case("[segment]\nseconds = 0.99", 6, "seconds = 0.99", "a number from 1 to"),
    Case("[segment]\nseconds = -inf", 6, "seconds = -inf", "a number from 1 to"),
    Case("[segment]\nseconds = nan", 6, "seconds = nan", "a number from 1 to"),
    Case("[retention]\nbytes = 0x0fffff", 6, "0x0fffff is out of bounds", "from 1MiB"),
    Case("[retention]\nmin_free = 99999999999999999999", 6, "99999999999999999999", "to 1024TiB"),
    Case("[retention]\nage = '0d'", 6, "\"0d\" is out of bounds", "from 1s to 36500d"),
    Case("[retention]\nage = '7 days'", 6, "\"7 days\" is no duration", "ms, s, m, h or d"),
    Case("[cleanup]\ngrace = '1d'", 6, "\"1d\" is no duration", "ms, s, m or h"),
    Case("[cleanup]\ngrace = '25h'", 6, "\"25h\" is out of bounds", "at most 24h"),
    Case("[cleanup]\ngrace = '0s'", 6, "grace = '0s'", "more than nothing"),
    // Twice.
    Case("[segment]\nbytes = '2MiB'\nbytes = '2MiB'", 7, "bytes", "allowed once"),
    Case("[segment]\n[retention]\n[segment]", 7, "segment", "allowed once"),
    Case("[channel]\nname = 'b'", 5, "channel", "allowed once"),
    // No TOML.
    Case("[segment]\nbytes 5", 6, "bytes 5", "is not TOML: key with no value, expected `=`"),
    Case("[segment", 5, "[segment", "expected `]`"),
    Case("[segment]\nseconds = soon", 6, "seconds = soon", "string values must be quoted"),
    Case("[cleanup]\ngrace = '20s", 6, "grace = '20s", "expected `'`"),
    Case("[segment]\nseconds = 1 bytes = 2", 6, "seconds = 1 bytes = 2", "expected newline"),
    Case("[retention]\nage = \"7d\nbytes = 1", 6, "age = \"7d", "invalid basic string"),
    Case("[cleanup]\n\ngrace = '''20s\n\n", 10, "the end of the file", "expected `'`"),
];

/// What stands in a table of a channel, behind [`SOUND`] and `[[channel]]`, from line 6 on.
const IN_CHANNELS: &[Case] = &[
    Case(
        "colour = 'red'",
        6,
        "colour = 'red'",
        "name, source, framing, durability, on_full, quota and restart",
    ),
    Case("name = 'b'\nframe = 'lines'", 7, "frame = 'lines'", "framing"),
    Case("name = 7", 6, "name = 7", "an integer was found; a string is allowed: 1 to 63"),
    Case("source = ['stdin']", 6, "source = ['stdin']", "an array was found; a string is allowed: stdin"),
    Case("framing = true", 6, "framing = true", "chunk, lines, length-u32be and datagram"),
    Case("durability.level = 'disk'", 6, "durability", "a table was found; a string is allowed: memory"),
    Case("name = 'B'", 6, "name = 'B'", "a-z"),
    Case("name = ''", 6, "name = ''", "a-z"),
    Case("name = 'b/c'", 6, "name = 'b/c'", "a-z"),
    Case("name = 'a'\nsource = 'exec:true'", 6, "name = 'a'", "there is a channel a already"),
    Case("name = 'b'\n", 5, "[[channel]]", "no source; name and source are needed"),
    Case("source = 'exec:true'", 5, "[[channel]]", "no name; name and source are needed"),
    Case("source = 'http:x'", 6, "\"http:x\" is no source", "stdin, exec:COMMAND, file:PATH"),
    Case("source = 'exec:'", 6, "source = 'exec:'", "a command is needed"),
    Case("source = 'file:'", 6, "source = 'file:'", "a path is needed"),
    Case("source = \"unix:a\\u0000b\"", 6, "unix:a", "NUL"),
    Case("source = 'tcp:example.org:80'", 6, "example.org:80", "IP:PORT, [IPv6]:PORT and localhost:PORT"),
    Case("source = 'udp:127.0.0.1:70000'", 6, "127.0.0.1:70000", "IP:PORT"),
    Case("source = 'tail:'", 6, "source = 'tail:'", "a path is needed"),
    Case("framing = 'words'", 6, "\"words\" is no framing", "chunk, lines, length-u32be and datagram"),
    Case("durability = 'paper'", 6, "\"paper\" is no durability", "memory, process and disk"),
    Case("on_full = 'drop'", 6, "\"drop\" is no policy", "block, drop-newest and drop-oldest"),
    Case("restart = 'always'", 6, "\"always\" is no policy", "never and on-failure"),
    Case("quota = '8'", 6, "\"8\" is no size", "68KiB"),
    Case("quota = 66559", 6, "66559 is out of bounds", "from 68KiB (a message of full length) to 1024TiB"),
    Case("quota = true", 6, "true or false was found", SIZES),
    Case("name = 'b'\nsource = 'stdin'\nquotas = '8MiB'", 8, "quotas", "on_full, quota and restart"),
    Case("name = 'b'\nsource = 'stdin'", 7, "channel b: it is that of channel a", ":3:1: source = 'stdin'"),
    Case("name = 'b'\nsource = 'file:x'\nrestart = 'on-failure'", 8, "restart = 'on-failure'", "only exec:"),
    Case(
        "name = 'b'\nsource = 'file:x'\nframing = 'datagram'",
        8,
        "'datagram'",
        "chunk, lines and length-u32be are allowed",
    ),
    Case("name = 'b'\nsource = 'udp:[::1]:7'\nframing = 'lines'", 8, "'lines'", "datagram is the framing"),
];

/// Both commands refuse the file with these parts in the message, and nothing is created.
#[track_caller]
fn assert_refused(scratch: &Scratch, file: &str, extra: &[&str], parts: &[&str]) {
    let dir = scratch.word("rec");
    let record = ["record", "--out", &dir, "--config", file];
    for command in [&record[..], &["plan", "--config", file]] {
        let words: Vec<&str> = command.iter().chain(extra).copied().collect();
        let output = evenkeel(&words);
        let told = stderr(&output);
        assert_eq!(code(output.status), 2, "{parts:?}: {told}");
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(output.stdout.is_empty(), "{parts:?}");
        assert!(!scratch.path("rec").exists(), "{words:?} created something");
    }
}

fn assert_all_refused(before: &str, cases: &[Case]) {
    for Case(text, line, found, allowed) in cases {
        let scratch = Scratch::new();
        // A value of the top level stands before every table.
        let text = match text {
            value if value.starts_with("retention =") || value.starts_with("strict =") => {
                format!("\n\n\n{value}\n{before}")
            }
            text => format!("{before}{text}\n"),
        };
        let file = scratch.put("the file.toml", text.as_bytes());
        assert_refused(&scratch, &file, &[], &[&format!("{file}:{line}:"), found, allowed]);
    }
}

// REQ W1
#[test]
fn what_is_wrong_in_the_file_is_told_with_its_line_and_nothing_is_created() {
    assert_all_refused(SOUND, IN_TABLES);
}

// REQ W1
#[test]
fn what_is_wrong_with_a_channel_of_the_file_is_told_with_its_line() {
    assert_all_refused(&format!("{SOUND}[[channel]]\n"), IN_CHANNELS);
}

// REQ W1
#[test]
fn files_that_are_no_text_are_refused_by_name() {
    let scratch = Scratch::new();
    let missing = scratch.word("missing.toml");
    assert_refused(&scratch, &missing, &[], &[&missing, "cannot be read", "No such file"]);
    let directory = scratch.word("");
    assert_refused(&scratch, &directory, &[], &[&directory, "cannot be read", "directory"]);
    let latin = scratch.put("latin.toml", b"# fine\n# \xc3\xa4 \xe4\n");
    assert_refused(&scratch, &latin, &[], &[&format!("{latin}:2:5:"), "0xe4", "UTF-8"]);
    let long = scratch.put("long.toml", &vec![b'\n'; (1 << 20) + 1]);
    assert_refused(&scratch, &long, &[], &[&long, "1 MiB"]);
    let binary = scratch.put("binary.toml", b"\0\x01\x02");
    assert_refused(&scratch, &binary, &[], &[&format!("{binary}:1:"), "is not TOML"]);
    // Allowed to be so long, but there is no channel in it.
    for text in ["", "# nothing\n", "channel = []\n", "\n".repeat(1 << 20).as_str()] {
        let empty = scratch.put("empty.toml", text.as_bytes());
        assert_refused(&scratch, &empty, &[], &[&empty, "at least one --channel NAME=SOURCE"]);
    }
    let array = scratch.put("array.toml", b"channel = [\n  7,\n]\n");
    assert_refused(&scratch, &array, &[], &[&format!("{array}:2:3: 7"), "tables [[channel]]"]);
}

// REQ W1
#[test]
fn what_is_wrong_between_file_and_flags_is_told_with_both_places() {
    let scratch = Scratch::new();
    let text =
        "[[channel]]\nname = 'a'\nsource = 'tcp:[::1]:7001'\n[[channel]]\nname = 'b'\nsource = 'stdin'\n";
    let file = scratch.put("f.toml", text.as_bytes());
    let at = |line: usize, what: &str| format!("{file}:{line}:1: {what}");
    let cases: &[(&str, &str, &str)] = &[
        ("--channel", "a=exec:true", &at(2, "name = 'a'")),
        ("--channel", "c=tcp:[::1]:7001", &at(3, "source = 'tcp:[::1]:7001'")),
        ("--channel", "c=stdin", &at(6, "source = 'stdin'")),
        ("--frame", "c=lines", "no channel c"),
        ("--on-full", "c=block", "no channel c"),
        ("--restart", "a=on-failure", "only exec:"),
        ("--frame", "a=datagram", "chunk, lines and length-u32be are allowed"),
    ];
    for (flag, word, part) in cases {
        assert_refused(&scratch, &file, &[flag, word], &[&format!("{flag} {word}: "), part]);
    }
}

fn plan(words: &[&str]) -> Value {
    let all: Vec<&str> = ["plan", "--format", "json"].into_iter().chain(words.iter().copied()).collect();
    let output = evenkeel(&all);
    assert_eq!(code(output.status), 0, "{words:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of a plan's steps, phase after phase.
fn steps(plan: &Value) -> Vec<String> {
    let phases = plan["phases"].as_array().unwrap().iter();
    let steps = phases.flat_map(|phase| phase["steps"].as_array().unwrap());
    steps.map(|step| step["name"].as_str().unwrap().to_owned()).collect()
}

fn steps_of(channels: &[&str]) -> Vec<String> {
    let of = |step: &'static str| channels.iter().map(move |channel| format!("{step}/{channel}"));
    let after = ["seal", "release-buffers", "close-journal"].map(str::to_owned);
    of("stop-capture").chain(of("flush")).chain(after).collect()
}

// REQ W1, REQ C13
#[test]
fn a_file_alone_is_enough_and_flags_add_to_it() {
    let scratch = Scratch::new();
    let text = "
        [[channel]]
        name = 'left'
        source = 'tcp:localhost:0'
        on_full = 'drop-newest'
        [[channel]]
        name = 'right'
        source = 'exec:true'
        restart = 'on-failure'
        [cleanup]
        grace = '3s'
    ";
    let file = scratch.put("f.toml", text.as_bytes());
    let of_file = plan(&["--config", &file]);
    assert_eq!(steps(&of_file), steps_of(&["left", "right"]));
    let budget = |grace: &str| plan(&["--channel", "x=stdin", "--grace", grace])["budget_ms"].clone();
    assert_eq!(of_file["budget_ms"], budget("3s"));
    let more =
        ["--config", &file, "--channel", "more=stdin", "--frame", "left=lines", "--restart", "right=never"];
    let of_both = plan(&[&more[..], &["--grace", "500ms"]].concat());
    assert_eq!(steps(&of_both), steps_of(&["left", "right", "more"]));
    assert_eq!(of_both["budget_ms"], budget("500ms"));
    assert_eq!(plan(&["--channel", "x=stdin"])["budget_ms"], budget("20s"));
    assert_ne!(budget("3s"), budget("20s"));
}

// REQ W1, REQ D1
#[test]
fn the_example_is_a_configuration() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evenkeel.example.toml");
    let plan = plan(&["--config", file]);
    assert_eq!(
        steps(&plan),
        steps_of(&["events", "system", "kernel", "access", "left", "right", "local", "radio"])
    );
}

// REQ W1, REQ W5
#[test]
fn what_the_file_says_is_recorded() {
    let scratch = Scratch::new();
    let mut bytes = vec![0; 12 << 20];
    fastrand::Rng::with_seed(3).fill(&mut bytes);
    let source = scratch.put("bytes", &bytes);
    let text = format!(
        "[[channel]]\nname = 'a'\nsource = 'file:{source}'\n[segment]\nbytes = '1MiB'\n[cleanup]\ngrace = '30s'\n"
    );
    let file = scratch.put("f.toml", text.as_bytes());
    let (dir, report) = (scratch.word("rec"), scratch.word("report.json"));
    let output = evenkeel(&["record", "--out", &dir, "--config", &file, "--report", &report]);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    assert!(export(&dir, "a") == (bytes, 0));
    assert_eq!(verify(&dir).1, 0);
    let segments = std::fs::read_dir(&dir).unwrap();
    let segments = segments.filter(|file| file.as_ref().unwrap().path().extension() == Some("mcap".as_ref()));
    assert!(segments.count() > 1, "one segment has it all");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["grace_ms"].as_f64(), Some(30_000.0));
}
