//! Standard error, in the journal.

use super::*;
use crate::children::stderr::LINES_BURST;
use evenkeel::journal::JournalOptions;
use serde_json::json;

fn texts(rig: &Rig) -> Vec<String> {
    rig.entries_of("stderr").iter().map(|entry| entry.body["text"].as_str().unwrap().to_owned()).collect()
}

fn skipped(rig: &Rig) -> (u64, u64) {
    let sum =
        |field: &str| rig.entries_of("stderr-skipped").iter().map(|e| e.body[field].as_u64().unwrap()).sum();
    (sum("lines"), sum("bytes"))
}

// REQ M4, REQ C11
#[test]
fn it_is_in_the_journal_line_by_line() {
    let command = "echo one >&2; echo out; printf 'a\\377b\\n\\nlast' >&2; exit 3";
    let mut rig = Rig::start(vec![never(command)]);
    assert_eq!(rig.end().0.as_deref(), Some("exit status 3"));
    assert_eq!(texts(&rig), ["one", "a\u{fffd}b", "", "last"]);
    assert_eq!(rig.output(), "out\n");
    // They precede the end, and name their channel.
    let entries = rig.entries();
    let of = |kind: &str| entries.iter().rposition(|entry| entry.kind == kind).unwrap();
    assert!(of("stderr") < of("child-ended"));
    assert_eq!(entries[of("stderr")].channel.as_deref(), Some("mic"));
}

// REQ M4
#[test]
fn a_long_line_goes_on_in_the_next_entry() {
    let mut rig = Rig::start(vec![never("head -c 10000 /dev/zero | tr '\\0' x >&2")]);
    rig.end();
    let lengths: Vec<usize> = texts(&rig).iter().map(String::len).collect();
    assert_eq!(lengths, [4096, 4096, 1808]);
    let goes_on: Vec<bool> =
        rig.entries_of("stderr").iter().map(|e| e.body["goes_on"] == json!(true)).collect();
    assert_eq!(goes_on, [true, true, false]);
}

// REQ E4, REQ W4
#[test]
fn a_flood_holds_up_nobody_and_every_line_is_told_or_counted() {
    const LINES: u64 = 10_000_000;
    let command = format!("yes no | head -n {LINES} >&2; echo done");
    let quiet = Exec { channel: 8, name: "quiet".to_owned(), ..never("echo heard >&2; echo out") };
    let mut rig = Rig::start(vec![never(&command), quiet]);
    assert_eq!(rig.end_of(8), (None, true));
    assert_eq!(rig.end(), (None, true));
    rig.rest();
    assert!(rig.output().contains("done"));
    let (texts, (lines, bytes)) = (texts(&rig), skipped(&rig));
    let told = texts.iter().filter(|text| *text == "no").count() as u64;
    assert_eq!((told + lines, bytes), (LINES, lines * 2));
    assert!(lines > LINES / 2 && told >= LINES_BURST, "{told} told, {lines} left out");
    assert!(texts.contains(&"heard".to_owned()));
}

// REQ E4, REQ W4
#[test]
fn a_flood_leaves_the_journal_to_the_others_however_slow_it_is() {
    let disk = Disk::new();
    let journal = disk.journal(JournalOptions::default());
    let theirs = disk.clone();
    let shut = move |happened: &Happened, _: &Children| {
        if let Happened::Output { .. } = happened {
            theirs.shut();
        }
    };
    let flood =
        "yes 'a line of some length, such as programs that are beside themselves write' | head -n 500000 >&2";
    let execs = (7..17).map(|channel| Exec { channel, ..never(flood) }).collect();
    let settings = Settings { journal_ns: 1, ..Settings::default() };
    let mut rig = Rig::start_on(execs, disk, Some(journal.clone()), settings, shut);
    for _ in 7..17 {
        // Nobody waits for the disk.
        rig.until(|happened| matches!(happened, Happened::Over { fault: None, .. }));
    }
    for number in 0..2500 {
        assert!(journal.append("audit", None, json!({})).is_some(), "no room for entry {number}");
    }
    assert_eq!(journal.refused(), 0);
    rig.disk.open();
    rig.rest();
    let (texts, (lines, _)) = (texts(&rig), skipped(&rig));
    assert_eq!(texts.len() as u64 + lines, 10 * 500_000);
    assert!(texts.len() >= 10, "{}", texts.len());
}

// REQ W4
#[test]
fn without_a_journal_it_is_read_all_the_same() {
    let flood = never("yes no | head -n 1000000 >&2; echo done");
    let mut rig = Rig::start_on(vec![flood], Disk::new(), None, Settings::default(), |_, _| ());
    assert_eq!(rig.end(), (None, true));
    assert_eq!(rig.output(), "done\n");
}
