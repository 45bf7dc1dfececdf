use super::document::Document;
use super::*;
use crate::args::{Arguments, Command};
use clap::Parser;
use evenkeel_log::LogOptions;
use evenkeel_recorder::{Durability, Framing, OnFull, Restart, Source};
use std::path::Path;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evenkeel.example.toml");

/// What the flags say, without reading a file that they name.
fn flags(words: &[&str]) -> What {
    let all = ["evenkeel", "plan"].into_iter().chain(words.iter().copied());
    match Arguments::try_parse_from(all).unwrap().command {
        Command::Plan(plan) => plan.what,
        other => panic!("{other:?}"),
    }
}

/// What a file of this text and the flags say together.
fn settings(text: &str, words: &[&str]) -> Result<Settings, String> {
    let document = Document::new(Path::new("f.toml"), text);
    let said = file::read(&document).map_err(|wrong| wrong.to_string())?;
    Settings::together(said, &flags(words), Some(&document)).map_err(|wrong| wrong.to_string())
}

#[track_caller]
fn refused(text: &str, words: &[&str]) -> String {
    settings(text, words).expect_err(text)
}

fn example() -> String {
    std::fs::read_to_string(EXAMPLE).unwrap()
}

// REQ W1
#[test]
fn the_example_says_what_holds_when_nothing_is_said() {
    let settings = settings(&example(), &[]).unwrap();
    let sources: Vec<String> = settings.channels.iter().map(|c| c.source.describe()).collect();
    assert_eq!(
        sources,
        [
            "stdin",
            "file:/var/log/syslog",
            "exec:dmesg --follow",
            "tail:/var/log/nginx/access.log",
            "tcp:127.0.0.1:7001",
            "tcp:[::1]:7001",
            "unix:local.sock",
            "udp:0.0.0.0:7002"
        ]
    );
    for channel in &settings.channels {
        let plain = ChannelConfig::new(channel.name.clone(), channel.source.clone());
        let framing = channel.framing;
        assert_eq!(*channel, ChannelConfig { framing, ..plain });
    }
    assert_eq!(settings.channels[0].framing, Framing::Chunk);
    assert_eq!((settings.grace, settings.strict), (GRACE, false));
    // They are written out in the file, so that it is they which are compared.
    assert!(settings.segment_bytes.is_some() && settings.segment_ns.is_some());
    let config = settings.into_config("rec".into());
    let (log, usual) = (config.log, LogOptions::default());
    assert_eq!((log.segment_bytes, log.segment_ns), (usual.segment_bytes, usual.segment_ns));
    assert_eq!(config.retention, Retention::default());
}

// REQ W1
#[test]
fn what_the_example_has_commented_out_can_be_switched_on() {
    let is_off = |line: &str| line.starts_with('#') && !line[1..].starts_with([' ', '\n']) && line.len() > 1;
    let on: Vec<String> = example()
        .lines()
        .map(|line| if is_off(line) { line[1..].to_owned() } else { line.to_owned() })
        .collect();
    let settings = settings(&on.join("\n"), &[]).unwrap();
    assert_eq!(settings.channels.last().unwrap().on_full, OnFull::DropNewest);
    assert_eq!(settings.channels[0].quota, Some(8 << 20));
    let key = Some("/etc/evenkeel/journal.key".into());
    let journal = JournalWords { bytes: Some(1 << 30), age_ns: Some(90 * 86_400_000_000_000), key };
    assert_eq!(settings.journal, journal);
    let config = settings.into_config("rec".into());
    let retention =
        Retention { bytes: Some(100 << 30), age_ns: Some(7 * 86_400_000_000_000), min_free: Some(10 << 30) };
    assert_eq!(config.retention, retention);
}

// REQ W1
#[test]
fn everything_said_in_a_file_arrives() {
    let text = "
        strict = true
        segment = { bytes = 2_000_000, seconds = 1.5 }
        retention.bytes = 0x200000
        retention.age = '36h'
        retention.min_free = '1GB'
        journal = { bytes = '2MiB', age = '1h', key = 'keys/journal' }
        cleanup.grace = '1.5m'
        [[channel]]
        name = 'a'
        source = 'exec:echo a=b'
        framing = 'lines'
        on_full = 'drop-oldest'
        quota = 100_000
        restart = 'on-failure'
        [[channel]]
        source = 'udp:localhost:0'
        name = 'b'
        durability = 'process'
        quota = '1MiB'
        [[channel]]
        name = 'c'
        source = 'tail:c'
        framing = 'length-u32be'
        durability = 'memory'
    ";
    let settings = settings(text, &[]).unwrap();
    assert_eq!((settings.grace, settings.strict), (Duration::from_secs(90), true));
    let key = Some("keys/journal".into());
    let journal = JournalWords { bytes: Some(2 << 20), age_ns: Some(3_600_000_000_000), key };
    assert_eq!(settings.journal, journal);
    let config = settings.into_config("rec".into());
    assert_eq!(config.dir, Path::new("rec"));
    let a = ChannelConfig {
        framing: Framing::Lines,
        on_full: OnFull::DropOldest,
        quota: Some(100_000),
        restart: Restart::OnFailure,
        ..ChannelConfig::new("a", Source::Exec("echo a=b".to_owned()))
    };
    let b = ChannelConfig {
        durability: Durability::Process,
        quota: Some(1 << 20),
        ..ChannelConfig::new("b", Source::Udp(([127, 0, 0, 1], 0).into()))
    };
    assert_eq!(b.framing, Framing::Datagram);
    let (framing, durability) = (Framing::LengthU32be, Durability::Memory);
    let c = ChannelConfig { framing, durability, ..ChannelConfig::new("c", Source::Tail("c".into())) };
    assert_eq!(config.channels, [a, b, c]);
    assert_eq!((config.log.segment_bytes, config.log.segment_ns), (2_000_000, 1_500_000_000));
    let retention = Retention {
        bytes: Some(2 << 20),
        age_ns: Some(36 * 3_600_000_000_000),
        min_free: Some(1_000_000_000),
    };
    assert_eq!(config.retention, retention);
}

const TWO: &str = "
[[channel]]
name = 'a'
source = 'stdin'
framing = 'lines'
on_full = 'drop-newest'
quota = '2MiB'
durability = 'process'
[[channel]]
name = 'b'
source = 'exec:true'
restart = 'on-failure'
[cleanup]
grace = '3s'
";

// REQ W1
#[test]
fn flags_win_over_the_file_and_add_to_it() {
    let words = [
        ["--channel", "c=udp:127.0.0.1:5"],
        ["--frame", "a=chunk"],
        ["--frame", "b=lines"],
        ["--on-full", "a=block"],
        ["--on-full", "c=drop-newest"],
        ["--restart", "b=never"],
        ["--quota", "b=1MiB"],
        ["--durability", "memory"],
        ["--grace", "7s"],
    ];
    let settings = settings(TWO, words.as_flattened()).unwrap();
    let said: Vec<_> = settings
        .channels
        .iter()
        .map(|c| (&c.name[..], c.framing, c.on_full, c.restart, c.durability))
        .collect();
    let expected = [
        // Its own word about durability is not a default, and stays.
        ("a", Framing::Chunk, OnFull::Block, Restart::Never, Durability::Process),
        ("b", Framing::Lines, OnFull::Block, Restart::Never, Durability::Memory),
        ("c", Framing::Datagram, OnFull::DropNewest, Restart::Never, Durability::Memory),
    ];
    assert_eq!(said, expected);
    let quotas: Vec<_> = settings.channels.iter().map(|c| c.quota).collect();
    assert_eq!((quotas, settings.strict), (vec![Some(2 << 20), Some(1 << 20), None], false));
    assert_eq!(settings.grace, Duration::from_secs(7));
}

// REQ W1
#[test]
fn without_flags_the_file_holds_and_without_both_the_defaults() {
    let said = settings(TWO, &[]).unwrap();
    let parts = (said.channels[0].framing, said.channels[0].on_full, said.channels[1].restart);
    assert_eq!(parts, (Framing::Lines, OnFull::DropNewest, Restart::OnFailure));
    assert_eq!((said.grace, said.channels[1].durability), (Duration::from_secs(3), Durability::Disk));
    let plain = settings("", &["--channel", "a=stdin"]).unwrap();
    assert_eq!(plain.grace, Duration::from_secs(20));
    assert_eq!(plain.channels, [ChannelConfig::new("a", Source::Stdin)]);
    let config = plain.into_config("rec".into());
    let usual = LogOptions::default();
    assert_eq!((config.log.segment_bytes, config.log.segment_ns), (usual.segment_bytes, usual.segment_ns));
}

// REQ W1
#[test]
fn what_does_not_fit_is_shown_where_it_stands() {
    let only_exec = "a: only exec: sources can be restarted";
    assert_eq!(refused(TWO, &["--restart", "a=on-failure"]), format!("--restart a=on-failure: {only_exec}"));
    let text = "[[channel]]\nrestart = 'on-failure'\nname = 'a'\nframing = 'chunk'\nsource = 'stdin'\n";
    assert_eq!(refused(text, &[]), format!("f.toml:2:1: restart = 'on-failure': {only_exec}"));
    assert_eq!(settings(text, &["--restart", "a=never"]).map(|s| s.channels.len()), Ok(1));
    let safe = "[[channel]]\nname = 'a'\nsource = 'stdin'\non_full = 'drop-oldest'\n";
    let dropped = refused(safe, &["--durability", "memory"]);
    assert!(
        dropped.starts_with("f.toml:4:1: on_full = 'drop-oldest': a: what is acknowledged in memory"),
        "{dropped}"
    );
    let datagram = refused(TWO, &["--frame", "a=datagram"]);
    assert!(datagram.starts_with("--frame a=datagram: a: datagram is for udp:"), "{datagram}");
    let both = format!("{TWO}[[channel]]\n  name = 'c'\n  source = 'udp:[::1]:0'\n  framing = 'lines'\n");
    let lines = refused(&both, &[]);
    assert!(lines.starts_with("f.toml:18:3: framing = 'lines': c: datagram is the framing"), "{lines}");
    assert_eq!(settings(&both, &["--frame", "c=datagram"]).map(|s| s.channels.len()), Ok(3));
}

// REQ W1
#[test]
fn two_channels_do_not_share_what_only_one_can_have() {
    let shared = ["stdin", "tcp:127.0.0.1:5", "udp:[::1]:5", "unix:a.sock"];
    for source in shared {
        let (one, other) = (format!("one={source}"), format!("other={source}"));
        let wrong = refused("", &["--channel", &one, "--channel", &other]);
        let expected = format!(
            "--channel {other}: cannot be the source of channel other: \
             it is that of channel one already (--channel {one})"
        );
        assert_eq!(wrong, expected);
    }
    let same_in_other_words = [
        ("unix:a.sock", "unix:./a.sock"),
        ("unix:a.sock", "unix:.//a.sock"),
        ("tcp:localhost:5", "tcp:127.0.0.1:5"),
        ("udp:[::1]:5", "udp:[0:0:0:0:0:0:0:1]:5"),
    ];
    for (one, other) in same_in_other_words {
        let (one, other) = (format!("one={one}"), format!("other={other}"));
        let wrong = refused("", &["--channel", &one, "--channel", &other]);
        assert!(wrong.contains("channel other") && wrong.contains("channel one"), "{wrong}");
    }
    let each = [
        ("tcp:127.0.0.1:0", "tcp:127.0.0.1:0"),
        ("udp:127.0.0.1:0", "udp:127.0.0.1:0"),
        ("tcp:127.0.0.1:5", "udp:127.0.0.1:5"),
        ("tcp:127.0.0.1:5", "tcp:127.0.0.1:6"),
        ("unix:a", "unix:b"),
        ("unix:a", "file:a"),
        ("file:a", "file:a"),
        ("exec:a", "exec:a"),
        ("stdin", "exec:a"),
    ];
    for (one, other) in each {
        let (one, other) = (format!("one={one}"), format!("other={other}"));
        assert!(settings("", &["--channel", &one, "--channel", &other]).is_ok(), "{one} {other}");
    }
}

// REQ W1
#[test]
fn places_are_lines_and_characters() {
    let wrong = |text: &str| refused(text, &[]);
    assert!(wrong("\u{feff}x = 1").starts_with("f.toml:1:1: x = 1: "));
    assert!(wrong("# ä\r\n\r\n  x = 'ö'  # y\r\n").starts_with("f.toml:3:3: x = 'ö': "));
    assert!(wrong("a.b.c = 1").starts_with("f.toml:1:1: a: "));
    assert!(wrong("segment = { 'ä' = 1 }").starts_with("f.toml:1:13: 'ä' = 1: \"ä\" is no key"));
    assert!(wrong("[ x ]\ny = 1\n").starts_with("f.toml:1:1: [ x ]: "));
    assert!(wrong("x = [\n1,\n]\n").starts_with("f.toml:1:1: x = [: "));
    let long = wrong(&format!("x = '{}'", "ä".repeat(100)));
    assert!(long.contains(&format!("x = '{}...: ", "ä".repeat(55))), "{long}");
    // Nothing of a file reaches the terminal as a command.
    assert!(!wrong("x = \"\u{1b}[2J\"").contains('\u{1b}'));
    assert!(!wrong("[[channel]]\nname = \"\\u001b[2J\"").contains('\u{1b}'));
    assert!(!wrong("\"\\u001b\" = 1").contains('\u{1b}'));
}

// REQ W1
#[test]
fn the_first_thing_that_is_wrong_is_told() {
    let text = "zebra = 1\n[segment]\nx = 1\n[cleanup]\ny = 1\n";
    assert!(refused(text, &[]).starts_with("f.toml:1:1: zebra"));
    let text = "[segment]\nx = 1\n[cleanup]\ny = 1\n[apple]\n";
    assert!(refused(text, &[]).starts_with("f.toml:2:1: x"));
}

// REQ W1
#[test]
fn no_text_makes_it_panic() {
    let mut rng = fastrand::Rng::with_seed(11);
    let example: Vec<char> = example().chars().collect();
    let pieces = [
        "\n", "\"", "'", "[", "]]", "{", "}", "=", ".", ",", "#", "\\", "ä", "\r", "\0", "7", "\u{feff}", ":",
    ];
    let mut refused = 0;
    for _ in 0..5_000 {
        let mut text = example.clone();
        for _ in 0..rng.usize(1..4) {
            let from = rng.usize(..text.len());
            let to = (from + rng.usize(..30)).min(text.len());
            let piece = pieces[rng.usize(..pieces.len())];
            text.splice(from..to, piece.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(wrong) = settings(&text, &[]) {
            refused += 1;
            assert!(wrong.starts_with("f.toml") && wrong.lines().count() == 1, "{wrong}");
        }
    }
    assert!((1_000..5_000).contains(&refused), "{refused}");
}
