use super::measure::*;
use super::*;
use std::time::Duration;

/// Each word is refused, and the refusal has the word and what is allowed.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, String>, words: &[&str], allowed: &str) {
    for word in words {
        let reason = parse(word).expect_err(word);
        assert!(reason.contains(&format!("{word:?}")), "{word}: {reason}");
        assert!(reason.contains(allowed), "{word}: {reason}");
    }
}

/// The words that are told as allowed, one by one.
fn told(allowed: &str) -> Vec<&str> {
    allowed.split(", ").flat_map(|words| words.split(" and ")).collect()
}

// REQ W1
#[test]
fn sources_have_their_words() {
    let address = |word: &str| word.parse::<SocketAddr>().unwrap();
    let cases = [
        ("stdin", Source::Stdin),
        ("file:a/b", Source::File("a/b".into())),
        ("file:a:b=c", Source::File("a:b=c".into())),
        ("file: ", Source::File(" ".into())),
        ("tail:a:b/c.log", Source::Tail("a:b/c.log".into())),
        ("exec:ls -l | cat", Source::Exec("ls -l | cat".to_owned())),
        ("exec:a:b", Source::Exec("a:b".to_owned())),
        ("unix:./a.sock", Source::Unix("./a.sock".into())),
        ("tcp:127.0.0.1:80", Source::Tcp(address("127.0.0.1:80"))),
        ("tcp:[::1]:0", Source::Tcp(address("[::1]:0"))),
        ("tcp:localhost:65535", Source::Tcp(address("127.0.0.1:65535"))),
        ("udp:0.0.0.0:0", Source::Udp(address("0.0.0.0:0"))),
        ("udp:localhost:9", Source::Udp(address("127.0.0.1:9"))),
    ];
    for (word, source) in cases {
        assert_eq!(parse_source(word), Ok(source), "{word}");
    }
}

// REQ W1
#[test]
fn what_is_no_source_is_refused() {
    let none = ["", "stdin:", "std", "Stdin", "FILE:a", "ftp:x", "file", "exec", ":", " stdin", "tcp"];
    assert_refused(parse_source, &none, SOURCES);
    assert_refused(parse_source, &["exec:", "exec: \t"], "a command is needed after");
    assert_refused(parse_source, &["file:", "tail:", "unix:"], "a path is needed after");
    assert_refused(parse_source, &["file:a\0b", "exec:a\0", "unix:\0a"], "NUL");
}

// REQ W1
#[test]
fn addresses_are_numbers_and_nobody_is_asked() {
    let none = [
        "",
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.256:1",
        "::1:80",
        "[::1]",
        "example.org:80",
        "localhost",
        "localhost:",
        "localhost:+1",
        "localhost:65536",
        "LOCALHOST:1",
        " 127.0.0.1:1",
    ];
    assert_refused(parse_address, &none, ADDRESSES);
    for kind in ["tcp", "udp"] {
        let reason = parse_source(&format!("{kind}:example.org:80")).unwrap_err();
        assert!(reason.contains("example.org:80") && reason.contains("not looked up"), "{reason}");
    }
}

// REQ W1, REQ W3
#[test]
fn what_is_told_as_allowed_is_allowed() {
    fn parsed<T>(parse: fn(&str) -> Result<T, String>, allowed: &str) -> Vec<T> {
        told(allowed).into_iter().map(|word| parse(word).unwrap()).collect()
    }
    assert_eq!(
        parsed(parse_framing, FRAMINGS),
        [Framing::Chunk, Framing::Lines, Framing::LengthU32be, Framing::Datagram]
    );
    let durabilities = [Durability::Memory, Durability::Process, Durability::Disk];
    assert_eq!(parsed(parse_durability, DURABILITIES), durabilities);
    let on_fulls = [OnFull::Block, OnFull::DropNewest, OnFull::DropOldest];
    assert_eq!(parsed(parse_on_full, ON_FULLS), on_fulls);
    assert_eq!(parsed(parse_restart, RESTARTS), [Restart::Never, Restart::OnFailure]);
}

// REQ W1
#[test]
fn what_is_none_of_the_words_is_refused() {
    assert_refused(parse_framing, &["", "Lines", "line", "words", "length", "length-u32"], FRAMINGS);
    assert_refused(parse_durability, &["", "paper", "DISK", "disk "], DURABILITIES);
    assert_refused(parse_on_full, &["", "drop", "drop_newest"], ON_FULLS);
    assert_refused(parse_restart, &["", "always", "on_failure"], RESTARTS);
    assert_refused(parse_name, &["", "A", "-a", "_a", "a b", "a/b", "ä", &"x".repeat(64)], "a-z");
}

// REQ W1
#[test]
fn sizes_have_units_and_bounds() {
    let cases = [
        ("1MiB", 1 << 20),
        ("1024KiB", 1 << 20),
        ("256MiB", 256 << 20),
        ("3GiB", 3 << 30),
        ("1024TiB", 1 << 50),
        ("2000kB", 2_000_000),
        ("2MB", 2_000_000),
        ("1GB", 1_000_000_000),
        ("7TB", 7_000_000_000_000),
    ];
    for (word, bytes) in cases {
        assert_eq!(parse_size(word), Ok(bytes), "{word}");
    }
    let none = ["", "1", "1048576", "MiB", "1 MiB", "1.5GiB", "-1MiB", "1mib", "1M", "1MiBs", "1e9kB"];
    assert_refused(parse_size, &none, "is no size");
    let far = [
        "0MiB",
        "1023KiB",
        "1048kB",
        "1025TiB",
        "18014398509483008KiB",
        "18446744073709551615KiB",
        "99999999999999999999MiB",
    ];
    assert_refused(parse_size, &far, "1MiB to 1024TiB");
    assert_eq!(size_in_bounds((1 << 20) - 1), None);
    assert_eq!(size_in_bounds(1 << 20), Some(1 << 20));
    assert_eq!(size_in_bounds((1 << 50) + 1), None);
}

// REQ R3
#[test]
fn quotas_have_units_and_the_least_is_a_message_of_full_length() {
    for (word, bytes) in [("68KiB", 68 << 10), ("8MiB", 8 << 20), ("100kB", 100_000), ("1024TiB", 1 << 50)] {
        assert_eq!(parse_quota(word), Ok(bytes), "{word}");
    }
    assert_refused(parse_quota, &["", "65", "8 MiB", "8M", "all"], "is no size");
    assert_refused(
        parse_quota,
        &["64KiB", "0MiB", "66kB", "1025TiB"],
        "68KiB (a message of full length) to 1024TiB",
    );
    assert_eq!(quota_in_bounds((68 << 10) - 1), None);
}

// REQ C5
#[test]
fn durations_have_units_and_bounds() {
    assert_eq!(parse_grace("20s"), Ok(Duration::from_secs(20)));
    assert_eq!(parse_grace("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(parse_grace("1.5m"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_grace("24h"), Ok(Duration::from_secs(86_400)));
    assert_refused(
        parse_grace,
        &["", "20", "s", "-1s", "1d", "1e3s", "1..2s", "20 s", "soon"],
        "is no duration",
    );
    assert_refused(parse_grace, &["0s", "0.0ms", "99h", "86401s"], "more than nothing and at most 24h");
    assert_refused(parse_grace, &[&format!("{}h", "9".repeat(400))], "out of bounds");
}

// REQ W1
#[test]
fn ages_may_be_days_and_long() {
    assert_eq!(parse_age("1s"), Ok(1_000_000_000));
    assert_eq!(parse_age("36h"), Ok(36 * 3_600_000_000_000));
    assert_eq!(parse_age("7d"), Ok(7 * 86_400_000_000_000));
    assert_eq!(parse_age("36500d"), Ok(36_500 * 86_400_000_000_000));
    assert_refused(parse_age, &["", "7", "d", "1w", "-1d"], "is no duration");
    assert_refused(parse_age, &["0d", "999ms", "36501d", &format!("{}d", "9".repeat(400))], "1s to 36500d");
}

// REQ W1
#[test]
fn seconds_are_a_number_in_bounds() {
    assert_eq!(seconds_in_bounds(1.0), Some(1_000_000_000));
    assert_eq!(seconds_in_bounds(2.5), Some(2_500_000_000));
    assert_eq!(seconds_in_bounds(31_536_000.0), Some(31_536_000_000_000_000));
    for wrong in [0.0, 0.999, -1.0, 31_536_000.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(seconds_in_bounds(wrong), None, "{wrong}");
    }
}
