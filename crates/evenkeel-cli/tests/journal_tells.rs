//! What the journal tells as a whole, as people and programs read it: golden files of one journal, which was written
//! by the real thing. `EVENKEEL_REWRITE=1` writes what is expected anew, and `=story` the journal too.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;
#[path = "journal_tells/story.rs"]
mod story;

use common::{Scratch, code, evenkeel, stderr};
use evenkeel::journal::{Journal, JournalOptions, SigningKey};
use evenkeel_log::storage::DirStorage;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/journal_tells/golden").join(name)
}

/// A recording directory that has but the story's journal.
fn told(scratch: &Scratch) -> String {
    let to = scratch.path("rec/journal");
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(golden("journal")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    scratch.word("rec")
}

/// What the program prints about it.
fn printed(words: &[&str]) -> String {
    let output = evenkeel(words);
    assert_eq!(code(output.status), 0, "{words:?}: {}", stderr(&output));
    assert_eq!(stderr(&output), "", "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let place = golden(name);
    if std::env::var_os("EVENKEEL_REWRITE").is_some() {
        std::fs::write(&place, text).unwrap();
    }
    let expected = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(text == expected, "{name} differs; EVENKEEL_REWRITE=1 rewrites it. It is now:\n{text}");
}

/// Whether a text holds something that moves a cursor or turns the direction of writing.
fn is_tame(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}'))
}

/// Writes the story's journal anew, with the times of now, where that was asked for.
fn write_the_story_if_asked() {
    if std::env::var("EVENKEEL_REWRITE").as_deref() == Ok("story") {
        let _ = std::fs::remove_dir_all(golden("journal"));
        story::tell(&golden("journal"));
    }
}

// REQ M4, REQ E6
#[test]
fn people_read_it_as_it_stands_in_the_golden_files() {
    write_the_story_if_asked();
    let scratch = Scratch::new();
    let dir = told(&scratch);
    for (name, words) in [
        ("entries.txt", &["journal", &dir][..]),
        ("timeline.txt", &["journal", "timeline", &dir]),
        ("incident.txt", &["journal", "timeline", &dir, "--incident", "i-6"]),
        ("stats.txt", &["journal", "stats", &dir]),
        ("schema.txt", &["journal", "sql", &dir, "--schema"]),
        (
            "sql.txt",
            &["journal", "sql", &dir, "SELECT id, ended, headline FROM incidents ORDER BY first_entry"],
        ),
        ("page.html", &["journal", "export", &dir, "--incident", "I-00006", "--html", "-"]),
        ("public.html", &["journal", "export", &dir, "--incident", "I-00006", "--html", "-", "--public"]),
        ("public.json", &["journal", "export", &dir, "--incident", "6", "--json", "--public"]),
    ] {
        let text = printed(words);
        assert!(is_tame(&text), "{name} would move a cursor");
        assert_golden(name, &text);
    }
    let page = std::fs::read_to_string(golden("page.html")).unwrap();
    assert!(page.contains("&lt;script&gt;alert(&#39;SECRET&#39;)") && !page.contains("<script"));
    for name in ["public.html", "public.json", "sql.txt"] {
        let text = std::fs::read_to_string(golden(name)).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("--token"), "{name}");
    }
}

// REQ M4
#[test]
fn programs_read_the_same_as_json() {
    let scratch = Scratch::new();
    let dir = told(&scratch);
    let json = |words: &[&str]| serde_json::from_str::<Value>(&printed(words)).unwrap();
    let all = json(&["journal", "timeline", &dir, "--json"]);
    let of = |all: &Value| {
        let incidents = all["incidents"].as_array().unwrap().iter();
        incidents
            .map(|i| (i["id"].as_str().unwrap().to_owned(), i["ended"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let ids: Vec<String> = of(&all).into_iter().map(|(id, _)| id).collect();
    assert_eq!(
        of(&all).iter().map(|(_, ended)| ended.as_str()).collect::<Vec<_>>(),
        ["recovered", "recovered", "isolated"]
    );
    let left = json(&["journal", "timeline", &dir, "--json", "--channel", "left"]);
    assert_eq!(of(&left).len(), 2);
    // Felt there, though it began elsewhere.
    let right = json(&["journal", "timeline", &dir, "--json", "--channel", "right"]);
    assert_eq!(of(&right).len(), 2);
    let since = json(&["journal", "timeline", &dir, "--json", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(of(&since), []);
    for id in &ids {
        let incident = json(&["journal", "timeline", &dir, "--json", "--incident", id]);
        assert_eq!(incident["id"], Value::from(id.as_str()));
        assert_eq!(incident, {
            let mut exported = json(&["journal", "export", &dir, "--json", "--incident", id]);
            exported.as_object_mut().unwrap().retain(|key, _| key != "headline" && key != "private");
            exported
        });
    }
    // Without an id: the latest.
    assert_eq!(json(&["journal", "export", &dir, "--json"])["id"], Value::from(ids[2].as_str()));
    let stats = json(&["journal", "stats", &dir, "--json"]);
    assert_eq!((stats["version"].as_u64(), stats["repair"][0]["incidents"].as_u64()), (Some(1), Some(3)));
    let asked = json(&["journal", "sql", &dir, "SELECT count(*) AS n, min(entry) FROM entries", "--json"]);
    assert_eq!(
        (&asked["columns"][0], &asked["rows"][0][0]),
        (&Value::from("n"), &stats["growth"]["entries"])
    );
    assert_eq!(json(&["journal", "sql", &dir, "--schema", "--json"])["tables"].as_array().unwrap().len(), 7);
}

// REQ M4, REQ C11
#[test]
fn damage_is_said_and_what_is_whole_is_shown() {
    let scratch = Scratch::new();
    let dir = told(&scratch);
    let output = evenkeel(&["journal", "verify", &dir]);
    assert_eq!(code(output.status), 6, "{}", stderr(&output));
    assert!(stderr(&output).contains("intact, and not sealed"), "{}", stderr(&output));
    let file = scratch.path("rec/journal/000001.mcap");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|w| w == b"SIGTERM").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let output = evenkeel(&["journal", "verify", &dir, "--json"]);
    assert_eq!(code(output.status), 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["outcome"], Value::from("loss"));
    for words in [
        &["journal", "timeline", &dir][..],
        &["journal", "stats", &dir],
        &["journal", "export", &dir, "--html", "-"],
        &["journal", "export", &dir, "--json"],
        &["journal", "sql", &dir, "SELECT * FROM incidents"],
    ] {
        let output = evenkeel(words);
        assert_eq!(code(output.status), 1, "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("damage was met"), "{words:?}: {}", stderr(&output));
        // The second run is whole.
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("EK-0800"), "{words:?}: {shown}");
    }
}

// REQ M4
#[test]
fn wrong_words_and_what_is_not_there_are_named() {
    let scratch = Scratch::new();
    let dir = told(&scratch);
    let nowhere = scratch.word("nowhere");
    let to = scratch.word("page.html");
    for (words, expected, said) in [
        (&["timeline", &dir, "--incident", "x"][..], 2, "an id such as I-00042"),
        (&["timeline", &dir, "--incident", "7"], 2, "there is no incident I-00007"),
        (&["timeline", &dir, "--since", "soon"], 2, "a time such as"),
        (&["timeline", &nowhere], 3, "there is no journal"),
        (&["stats", &nowhere], 3, "there is no journal"),
        (&["verify", &nowhere], 3, "there is no journal"),
        (&["sql", &nowhere, "SELECT 1"], 3, "there is no journal"),
        (&["export", &nowhere, "--json"], 3, "there is no journal"),
        (&["export", &dir], 2, "--html"),
        (&["export", &dir, "--html", "x", "--json"], 2, "cannot be used with"),
        (&["export", &dir, "--html", "/no/such/page.html"], 3, "/no/such/page.html"),
        (&["sql", &dir], 2, "QUERY"),
        (&["sql", &dir, "SELECT 1", "--rows", "0"], 2, "--rows"),
        (&["verify", &dir, "--key", "00"], 2, "64 hexadecimal digits"),
        (&["verify", &dir, "--against", "x"], 2, "--key"),
        (&["verify", &dir, "--key", &"0".repeat(64), "--against", "/no/such"], 2, "/no/such"),
        (&["verify", &dir, "--key", &"0".repeat(64), "--against", "/dev/null"], 2, "no checkpoint in it"),
        (&["export", &dir, "--checkpoint"], 2, "no signed checkpoint"),
        (&["timeline"], 2, "DIR"),
        (&[&dir, "stats"], 2, "cannot be used with"),
    ] {
        let output = evenkeel(&[&["journal"], words].concat());
        assert_eq!(code(output.status), expected, "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
    assert_eq!(code(evenkeel(&["journal", "export", &dir, "--html", &to]).status), 0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&to).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "a private page is for its owner");
}

// REQ C11
#[test]
fn a_checkpoint_that_is_kept_elsewhere_finds_what_the_journal_alone_cannot_tell() {
    let scratch = Scratch::new();
    let (dir, kept) = (scratch.word("rec"), scratch.word("kept.json"));
    let (key, other) = (SigningKey::from_seed([7; 32]), SigningKey::from_seed([8; 32]));
    let written = |name: &str, entries: u32| {
        let options = JournalOptions { signing: Some(key), ..JournalOptions::default() };
        let storage = Arc::new(DirStorage::create(&scratch.path(name).join("journal")).unwrap());
        let (journal, _) = Journal::open(storage, options).unwrap();
        for n in 0..entries {
            journal.append("audit", None, serde_json::json!({ "n": n })).unwrap();
        }
        journal.finish(std::time::Duration::from_secs(60)).unwrap();
    };
    written("rec", 5);
    std::fs::write(&kept, printed(&["journal", "export", &dir, "--checkpoint"])).unwrap();
    let checked = |dir: &str, key: &SigningKey| {
        let key = key.public().to_string();
        let output = evenkeel(&["journal", "verify", dir, "--against", &kept, "--key", &key]);
        (code(output.status), stderr(&output))
    };
    let (status, told) = checked(&dir, &key);
    assert!(status == 0 && told.contains("the key vouches for all up to entry 5"), "{status}: {told}");
    let (status, told) = checked(&dir, &other);
    assert!(status == 1 && told.contains("foreign key"), "{status}: {told}");
    // Another one with the same key, shorter: whole in itself.
    written("short", 2);
    let short = scratch.word("short");
    assert_eq!(code(evenkeel(&["journal", "verify", &short]).status), 0);
    let (status, told) = checked(&short, &key);
    assert!(status == 1 && told.contains("its tail is cut off"), "{status}: {told}");
}

// REQ M4
#[test]
fn directories_that_are_named_like_commands_are_reached_by_a_path() {
    let scratch = Scratch::new();
    told(&scratch);
    std::fs::rename(scratch.path("rec"), scratch.path("stats")).unwrap();
    let of = |words: &[&str]| {
        let mut program = std::process::Command::new(common::PROGRAM);
        program.args(words).current_dir(scratch.path("."));
        let output = program.output().unwrap();
        (code(output.status), String::from_utf8(output.stdout).unwrap())
    };
    let (status, entries) = of(&["journal", "./stats", "--kind", "report"]);
    assert_eq!((status, entries.lines().count()), (0, 1));
    let (status, figures) = of(&["journal", "stats", "stats"]);
    assert!(status == 0 && figures.contains("time to repair:"), "{figures}");
}
