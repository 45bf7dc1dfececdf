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
