//! A real recording with a command that fails: what its journal tells.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod common;

use common::{Scratch, code, evenkeel, stderr};
use serde_json::Value;

fn json(words: &[&str]) -> Value {
    let output = evenkeel(words);
    assert_eq!(code(output.status), 0, "{words:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(words: &[&str]) -> String {
    let output = evenkeel(words);
    assert_eq!(code(output.status), 0, "{words:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

// REQ M4, REQ W4
#[test]
fn a_command_that_failed_and_ran_again_is_told_of_as_one_repaired_incident() {
    let scratch = Scratch::new();
    let (dir, flag) = (scratch.word("rec"), scratch.word("flag"));
    // Fails twice, then works.
    let source = format!(
        "left=exec:if [ -e {flag}2 ]; then echo well; exit 0; fi; if [ -e {flag} ]; then : > {flag}2; else : > {flag}; fi; \
         echo '<b>broken</b>' >&2; exit 3"
    );
    let words = ["record", "--out", &dir, "--channel", &source, "--restart", "left=on-failure"];
    let output = evenkeel(&words);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));

    let all = json(&["journal", "timeline", &dir, "--json"]);
    let incidents = all["incidents"].as_array().unwrap();
    assert_eq!(incidents.len(), 1, "{all}");
    assert_eq!(incidents[0]["ended"], Value::from("recovered"), "{all}");
    assert_eq!(incidents[0]["channel"], Value::from("left"));
    assert_eq!(incidents[0]["done"]["run again"], Value::from(2), "{all}");
    let id = incidents[0]["id"].as_str().unwrap();
    assert!(text(&["journal", "timeline", &dir]).contains(id));
    let told = text(&["journal", "timeline", &dir, "--incident", id]);
    assert!(told.contains("its command failed, again in") && told.contains("exit status 3"), "{told}");

    let stats = json(&["journal", "stats", &dir, "--json"]);
    let repair = &stats["repair"][0];
    assert_eq!((&repair["incidents"], &repair["repaired"]), (&Value::from(1), &Value::from(1)));
    assert!(repair["time_to_repair_ms"]["mean"].as_f64().unwrap() > 0.0, "{repair}");
    assert_eq!(stats["commands_failed"][0]["count"], Value::from(2));
    assert_eq!(stats["commands"][0]["count"], Value::from(3));
    assert_eq!(stats["runs"][0]["end"], Value::from("clean"), "{stats}");
    let steps: Vec<&str> =
        stats["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(steps.contains(&"flush/left") && steps.contains(&"close-journal"), "{steps:?}");
    assert!(text(&["journal", "stats", &dir]).contains("commands that failed:"));

    let page = text(&["journal", "export", &dir, "--html", "-"]);
    assert!(page.contains("&lt;b&gt;broken&lt;/b&gt;") && !page.contains("<b>"), "{page}");
    let page = text(&["journal", "export", &dir, "--html", "-", "--public"]);
    assert!(
        !page.contains("broken") && !page.contains("exit 3") && page.contains("all was well again"),
        "{page}"
    );

    let asked = json(&[
        "journal",
        "sql",
        &dir,
        "--json",
        "SELECT i.id, count(*) FROM incidents i JOIN entries e ON e.channel = i.channel AND e.kind = 'child-failed' GROUP BY 1",
    ]);
    assert_eq!(asked["rows"], serde_json::json!([[id, 2]]));
    assert_eq!(code(evenkeel(&["journal", "verify", &dir]).status), 0);
}

// REQ C11
#[test]
fn a_recorder_with_a_key_signs_its_journal_and_a_cut_or_strange_one_is_found() {
    let scratch = Scratch::new();
    let (dir, key, kept) = (scratch.word("rec"), scratch.word("journal.key"), scratch.word("kept.json"));
    let config = scratch.put("config.toml", format!("[journal]\nkey = {key:?}\nbytes = '1MiB'\n").as_bytes());
    let record = |dir: &str| {
        let words = ["record", "--out", dir, "--config", &config, "--channel", "a=exec:echo hello"];
        let output = evenkeel(&words);
        assert_eq!(code(output.status), 0, "{}", stderr(&output));
        stderr(&output)
    };
    let said = record(&dir);
    let public = said.lines().find_map(|line| line.split_once("needs the key ")).unwrap().1.to_owned();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&kept, text(&["journal", "export", &dir, "--checkpoint"])).unwrap();
    let checked = |dir: &str| {
        let output = evenkeel(&["journal", "verify", dir, "--against", &kept, "--key", &public]);
        (code(output.status), stderr(&output))
    };
    assert_eq!(checked(&dir).0, 0, "{}", checked(&dir).1);
    // It goes on with the same key, and what was kept still holds.
    assert!(record(&dir).contains(&public));
    assert_eq!(checked(&dir).0, 0, "{}", checked(&dir).1);
    assert_eq!(code(evenkeel(&["verify", &dir]).status), 0);
    // Another recording, whole in itself, is not what was signed.
    let other = scratch.word("other");
    record(&other);
    let (status, told) = checked(&other);
    assert!(status == 1 && told.contains("entry"), "{status}: {told}");
    // A key that others may read is none.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output =
        evenkeel(&["record", "--out", &scratch.word("no"), "--config", &config, "--channel", "a=stdin"]);
    assert!(code(output.status) == 3 && stderr(&output).contains("journal.key"), "{}", stderr(&output));
    assert!(!scratch.path("no").exists());
}
