use super::*;

fn row(name: &str, bytes_per_second: u64) -> Row {
    Row { name: name.to_owned(), bytes_per_second, ..Row::default() }
}

fn view(rows: Vec<Row>) -> View {
    View {
        elapsed: Duration::from_millis(3_723_900),
        dir: "/var/lib/recordings/today".into(),
        forecast: Some(Duration::from_micros(12_900)),
        free_bytes: Some(37 << 30),
        trouble: None,
        rows,
    }
}

fn plain(view: &View, width: usize, height: usize) -> Vec<String> {
    let text = render(view, Size { width, height }, false);
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

/// Two channels, one of which is in trouble.
fn stereo() -> View {
    let left = Row {
        records_per_second: 1_234,
        accepted_bytes: 5_400_000_000,
        waiting_bytes: 65_536,
        ..row("left", 1_500_000)
    };
    let right = Row {
        condition: Condition::Restarting,
        accepted_bytes: 999,
        dropped_records: 12_345,
        gaps: 2,
        fault: Some("exit status 3".to_owned()),
        ..row("right", 0)
    };
    view(vec![left, right])
}

// REQ M5
#[test]
fn stereo_at_120_80_and_40_columns() {
    let at_120 = [
        "recording for 1h 2m 3s into /var/lib/recordings/today",
        "1.4 MiB/s, 1,234 records/s, a stop takes about 12 ms, 37.0 GiB free",
        "  channel  state             rate  records/s  accepted   waiting  dropped   gaps",
        "  left     Running      1.4 MiB/s      1,234   5.0 GiB  64.0 KiB        0      0",
        "  right    Restarting       0 B/s          0     999 B       0 B    12.3k      2",
        "    last fault: exit status 3",
    ];
    assert_eq!(plain(&stereo(), 120, 24), at_120);
    let at_80 = [
        "recording for 1h 2m 3s into /var/lib/recordings/today",
        "1.4 MiB/s, 1,234 records/s, a stop takes about 12 ms, 37.0 GiB free",
        "  channel  state             rate  accepted   waiting  dropped   gaps",
        "  left     Running      1.4 MiB/s   5.0 GiB  64.0 KiB        0      0",
        "  right    Restarting       0 B/s     999 B       0 B    12.3k      2",
        "    last fault: exit status 3",
    ];
    assert_eq!(plain(&stereo(), 80, 24), at_80);
    let at_40 = [
        "recording for 1h 2m 3s into /var/~today",
        "1.4 MiB/s, 1,234 records/s",
        "a stop takes about 12 ms, 37.0 GiB free",
        "  channel  state             rate",
        "  left     Running      1.4 MiB/s",
        "  right    Restarting       0 B/s",
        "    last fault: exit status 3",
    ];
    assert_eq!(plain(&stereo(), 40, 24), at_40);
}

/// A hundred channels, each more active than the one before; three in trouble.
fn hundred() -> View {
    let mut rows: Vec<Row> = (0..100).map(|n| row(&format!("ch-{n:02}"), n << 10)).collect();
    rows[7] =
        Row { condition: Condition::Failed, fault: Some("no such device".to_owned()), ..row("ch-07", 0) };
    rows[8] =
        Row { condition: Condition::Restarting, fault: Some("exit status 1".to_owned()), ..row("ch-08", 9) };
    rows[9] = Row { fault: Some("exit status 2".to_owned()), ..row("ch-09", 9 << 10) };
    view(rows)
}

// REQ M5
#[test]
fn of_many_channels_those_in_trouble_come_first_and_the_most_active_next() {
    let small = [
        "recording for 1h 2m 3s into /var/lib/recordings/today",
        "4.8 MiB/s, 0 records/s, a stop takes about 12 ms, 37.0 GiB free",
        "  channel  state             rate  accepted   waiting  dropped   gaps",
        "  ch-07    Failed           0 B/s       0 B       0 B        0      0",
        "    last fault: no such device",
        "  ch-08    Restarting       9 B/s       0 B       0 B        0      0",
        "    last fault: exit status 1",
        "  ch-09    Running      9.0 KiB/s       0 B       0 B        0      0",
        "    last fault: exit status 2",
        "  ch-99    Running     99.0 KiB/s       0 B       0 B        0      0",
        "  ch-98    Running     98.0 KiB/s       0 B       0 B        0      0",
        "  ch-97    Running     97.0 KiB/s       0 B       0 B        0      0",
        "  and 94 more",
    ];
    assert_eq!(plain(&hundred(), 80, 14), small);
    let tiny = [
        "recording for 1h 2m 3s into /var/~today",
        "4.8 MiB/s, 0 records/s",
        "a stop takes about 12 ms, 37.0 GiB free",
        "  channel  state             rate",
        "  ch-07    Failed           0 B/s",
        "    last fault: no such device",
        "  ch-08    Restarting       9 B/s",
        "  and 98 more, 1 with a fault",
    ];
    assert_eq!(plain(&hundred(), 40, 9), tiny);
    // All of them fit: their own order.
    let all = plain(&hundred(), 80, 107);
    assert_eq!((all.len(), &all[3][..7], &all[105][..7]), (106, "  ch-00", "  ch-99"));
}

// REQ M5
#[test]
fn long_names_keep_both_ends_and_wide_numbers_few_digits() {
    let (left, right) = ("microphone-in-the-north-hall-left", "microphone-in-the-north-hall-right");
    let rows = [left, right].map(|name| Row {
        records_per_second: u64::MAX,
        accepted_bytes: u64::MAX,
        waiting_bytes: 1_048_575,
        dropped_records: 999_999,
        gaps: 9_999,
        ..row(name, u64::MAX)
    });
    let long =
        View { dir: format!("/{}/end", "d".repeat(300)).into(), forecast: None, ..view(rows.to_vec()) };
    let at_120 = [
        "recording for 1h 2m 3s into /dddddddddddddddddddddddddddddddddddddddddddd~ddddddddddddddddddddddddddddddddddddddddd/end",
        "16.0 EiB/s, 18.4E records/s, 37.0 GiB free",
        "  channel                             state             rate  records/s  accepted   waiting  dropped   gaps",
        "  microphone-in-the-north-hall-left   Running     16.0 EiB/s      18.4E  16.0 EiB   1.0 MiB     1.0M  9,999",
        "  microphone-in-the-north-hall-right  Running     16.0 EiB/s      18.4E  16.0 EiB   1.0 MiB     1.0M  9,999",
    ];
    assert_eq!(plain(&long, 120, 24), at_120);
    let at_80 = [
        "recording for 1h 2m 3s into /dddddddddddddddddddddddd~ddddddddddddddddddddd/end",
        "16.0 EiB/s, 18.4E records/s, 37.0 GiB free",
        "  channel                   state             rate  accepted   waiting  dropped",
        "  microphone-i~h-hall-left  Running     16.0 EiB/s  16.0 EiB   1.0 MiB     1.0M",
        "  microphone-i~-hall-right  Running     16.0 EiB/s  16.0 EiB   1.0 MiB     1.0M",
    ];
    assert_eq!(plain(&long, 80, 24), at_80);
    let at_40 = [
        "recording for 1h 2m 3s into /dddd~d/end",
        "16.0 EiB/s, 18.4E records/s",
        "37.0 GiB free",
        "  channel        state             rate",
        "  microp~l-left  Running     16.0 EiB/s",
        "  microp~-right  Running     16.0 EiB/s",
    ];
    assert_eq!(plain(&long, 40, 24), at_40);
}

// REQ E6
#[test]
fn what_others_said_moves_no_cursor() {
    let fault = Some("gone\n\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}1m".to_owned());
    let bad = View {
        dir: "/tmp/a\u{1b}[1Ab".into(),
        trouble: Some("full\r\nvery".to_owned()),
        forecast: None,
        free_bytes: None,
        ..view(vec![Row { fault, condition: Condition::Failed, ..row("left", 0) }])
    };
    let shown = [
        "recording for 1h 2m 3s into /tmp/a\\u{1b}[1Ab",
        "0 B/s, 0 records/s",
        "  full\\r\\nvery",
        "  channel  state             rate  accepted   waiting  dropped   gaps",
        "  left     Failed           0 B/s       0 B       0 B        0      0",
        "    last fault: gone\\n\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\r\\u{9b}1m",
    ];
    assert_eq!(plain(&bad, 80, 24), shown);
}

// REQ M5
#[test]
fn only_trouble_has_a_colour() {
    let painted = render(&stereo(), Size { width: 80, height: 24 }, true);
    let restarting = "\u{1b}[33mRestarting\u{1b}[0m";
    assert_eq!(painted.replace(restarting, "Restarting"), plain(&stereo(), 80, 24).join("\n") + "\n");
    let painted = render(&hundred(), Size { width: 80, height: 24 }, true);
    assert!(painted.contains("\u{1b}[31mFailed    \u{1b}[0m"), "{painted}");
    let trouble = View { trouble: Some("the disk is full".to_owned()), ..view(Vec::new()) };
    let painted = render(&trouble, Size { width: 80, height: 24 }, true);
    assert!(painted.ends_with("\n\u{1b}[31m  the disk is full\u{1b}[0m\n"), "{painted}");
}

/// Text of any kind, with what has no business on a terminal.
fn noise(rng: &mut fastrand::Rng) -> String {
    let any = ['a', ' ', '\u{1b}', '\n', '\u{7f}', '\u{9b}', '本', 'ü', '\u{301}', '~'];
    (0..rng.usize(..90)).map(|_| any[rng.usize(..any.len())]).collect()
}

// REQ M5, REQ E6
#[test]
fn whatever_is_shown_it_keeps_within_the_terminal() {
    let mut rng = fastrand::Rng::with_seed(9);
    let conditions = [Condition::Running, Condition::Restarting, Condition::Failed, Condition::Ended];
    for _ in 0..3_000 {
        let any = |rng: &mut fastrand::Rng| rng.u64(..) >> rng.u32(..64);
        let row = |rng: &mut fastrand::Rng| Row {
            name: "n".repeat(rng.usize(1..64)),
            condition: conditions[rng.usize(..4)],
            bytes_per_second: any(rng),
            records_per_second: any(rng),
            accepted_bytes: any(rng),
            waiting_bytes: any(rng),
            dropped_records: any(rng),
            gaps: any(rng),
            fault: rng.bool().then(|| noise(rng)),
        };
        let view = View {
            elapsed: Duration::from_millis(any(&mut rng)),
            dir: noise(&mut rng).into(),
            forecast: rng.bool().then(|| Duration::from_nanos(any(&mut rng))),
            free_bytes: rng.bool().then(|| any(&mut rng)),
            trouble: rng.bool().then(|| noise(&mut rng)),
            rows: (0..rng.usize(..40)).map(|_| row(&mut rng)).collect(),
        };
        let size = Size { width: rng.usize(..130), height: rng.usize(..50) };
        let text = render(&view, size, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() < size.height.max(2), "{size:?}\n{text}");
        for line in &lines {
            assert!(columns(line) < size.width.max(2), "{size:?} {line:?}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
        let without: String = render(&view, size, true);
        let without = without.replace("\u{1b}[31m", "").replace("\u{1b}[33m", "").replace("\u{1b}[0m", "");
        assert_eq!(without.lines().count(), lines.len());
        assert!(!without.contains('\u{1b}'));
    }
}
