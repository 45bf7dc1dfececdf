//! What is odd: names and bodies that are too long or too deep, and who appends at the very end of a thread.

use super::{LONG, all, assert_whole, open, small_segments};
use evenkeel::journal::{ENTRY_BYTES_MAX, GAP_KIND, Journal};
use evenkeel_log::Outcome;
use evenkeel_log::sim::SimStorage;
use serde_json::{Value, json};
use std::cell::RefCell;

// REQ C11, REQ M4
#[test]
fn a_name_that_is_too_long_is_cut_and_the_journal_goes_on() {
    let long = "\u{1}\u{e9}".repeat(ENTRY_BYTES_MAX);
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    for (kind, channel, component) in [
        (long.as_str(), None, None),
        ("kind", Some(long.as_str()), None),
        ("kind", Some("left"), Some(long.as_str())),
    ] {
        let entry = journal.record(kind, channel, component, &json!({ "n": 1 })).unwrap();
        assert!(
            journal.wait_durable(entry.entry, LONG),
            "the journal died of a name: {:?}",
            journal.trouble()
        );
    }
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    assert_eq!(found.len(), 3);
    for entry in found {
        assert_eq!(entry.body, json!({ "n": 1 }), "what it says is not given up for its name");
        let names = [Some(&entry.kind), entry.channel.as_ref(), entry.component.as_ref()];
        let cut = names.into_iter().flatten().find(|name| name.len() > 100).unwrap();
        assert!(long.starts_with(cut.split_once(" (cut").unwrap().0), "{} bytes are left", cut.len());
    }
}

// REQ C11
#[test]
fn a_body_that_is_too_deep_to_be_read_leaves_why() {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    let deep = |levels: usize| {
        (0..levels).fold(
            json!("[{\\\"[["),
            |inside, n| if n % 2 == 0 { json!([inside]) } else { json!({ "[": inside }) },
        )
    };
    for levels in [0, 60, 100, 127, 128, 500] {
        let _ = journal.append("deep", None, deep(levels)).unwrap();
    }
    let _ = journal.append("wide", None, Value::from(vec![json!([{}]); 1_000])).unwrap();
    journal.finish(LONG).unwrap();
    let found = assert_whole(&storage, Outcome::Intact);
    assert_eq!(found[2].body, deep(100));
    assert!(found[5].body["unwritable"].is_string(), "{:?}", found[5].body);
    assert_eq!(found[6].body.as_array().unwrap().len(), 1_000);
}

struct AtTheEnd(Journal);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        let _ = self.0.append("child-of-thread", None, json!({}));
    }
}

thread_local! {
    static AT_THE_END: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

// REQ M4
#[test]
fn a_thread_may_append_while_it_ends() {
    let storage = SimStorage::new();
    let journal = open(&storage, small_segments());
    std::thread::spawn({
        let journal = journal.clone();
        move || {
            AT_THE_END.set(Some(AtTheEnd(journal.clone())));
            let _ = journal.append("child-begins", None, json!({}));
        }
    })
    .join()
    .unwrap();
    journal.finish(LONG).unwrap();
    assert_eq!(assert_whole(&storage, Outcome::Intact).len(), 2);
}

// REQ M4
#[test]
fn kinds_that_look_alike_are_counted_together() {
    let storage = SimStorage::new();
    let gate = super::Gate::over(storage.clone());
    let options = evenkeel::journal::JournalOptions { queue_entries_max: 1, ..small_segments() };
    let (journal, _) = Journal::open(std::sync::Arc::new(gate.clone()), options).unwrap();
    gate.shut();
    let _ = journal.append("first", None, json!({})).unwrap();
    gate.wait_for_someone();
    let _ = journal.append("second", None, json!({})).unwrap();
    for kind in ["alike", "alike\0", "12345678901234567890123\u{e9}", "12345678901234567890123\u{1f600}"] {
        assert_eq!(journal.append(kind, None, json!({})), None);
    }
    gate.open();
    journal.finish(LONG).unwrap();
    let told = all(&storage).into_iter().find(|entry| entry.kind == GAP_KIND).unwrap();
    let sum: u64 = told.body["kinds"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(json!(sum), told.body["refused"], "{}", told.body);
}
