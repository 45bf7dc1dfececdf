//! `docs/benchmarks.md`: a section with one table for each suite.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench SUITE`, a section for each suite; a suite that was
not run keeps its last figures. Ours and the peers ran in turns on one machine.
A goal that is missed stays here as missed.
";

/// The section of one suite, from its JSON.
///
/// # Errors
/// When the JSON is not a suite's.
pub(super) fn section(report: &Value) -> Result<String, String> {
    let text =
        |field: &str| report[field].as_str().ok_or_else(|| format!("the suite's JSON has no `{field}`"));
    let results = report["results"].as_array().ok_or("the suite's JSON has no `results`")?;

    let mut section = format!("## {}\n\n", text("suite")?);
    let (machine, date, commit) = (text("machine")?, text("date")?, text("commit")?);
    section.push_str(&format!("{machine}; {date}; commit {commit}\n"));
    if let Some(workload) = report["workload"].as_str() {
        section.push_str(&format!("\n{workload}\n"));
    }
    section.push_str(
        "\n| figure | unit | better | ours | peers | goal | met |\n|---|---|---|---:|---|---|---|\n",
    );
    for result in results {
        row(&mut section, result)?;
    }
    let skipped: Vec<&str> =
        report["skipped"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for skipped in skipped {
        section.push_str(&format!("\nSkipped: {skipped}\n"));
    }
    Ok(section)
}

fn row(section: &mut String, result: &Value) -> Result<(), String> {
    let text = |field: &str| result[field].as_str().ok_or_else(|| format!("a result has no `{field}`"));
    let ours = result["ours"].as_f64().ok_or("a result has no figure `ours`")?;
    let peers = result["peers"].as_object().into_iter().flatten();
    let peers = peers.map(|(peer, figure)| format!("{peer} {figure}")).collect::<Vec<_>>().join(", ");
    let goal = result["goal"].as_str().unwrap_or("");
    let met = match (result["met"].as_bool(), goal) {
        (Some(true), _) => "yes",
        (Some(false), _) => "**missed**",
        (None, "") => "",
        (None, _) => "not judged",
    };
    let (id, unit, better) = (text("id")?, text("unit")?, text("better")?);
    writeln!(section, "| {id} | {unit} | {better} | {ours} | {peers} | {goal} | {met} |")
        .map_err(|error| error.to_string())
}

/// The page with this suite's section in the place of its old one, the others as they were.
pub(super) fn with_section(before: &str, suite: &str, section: &str) -> String {
    let heading = format!("## {suite}\n");
    let mut sections: Vec<String> = sections_of(before).filter(|old| !old.starts_with(&heading)).collect();
    sections.push(section.trim_end().to_owned());
    sections.sort();
    format!("{HEAD}\n{}\n", sections.join("\n\n"))
}

/// The sections of a page, each from its heading on, without blank lines behind it.
fn sections_of(page: &str) -> impl Iterator<Item = String> {
    let after_head = page.find("\n## ").map_or("", |at| &page[at + 1..]);
    after_head.split("\n## ").filter(|section| !section.is_empty()).map(|section| {
        let heading = if section.starts_with("## ") { "" } else { "## " };
        format!("{heading}{}", section.trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(suite: &str, met: &Value) -> Value {
        json!({ "suite": suite, "machine": "2 x m", "date": "2026-01-02", "commit": "abc", "workload": "much",
                "results": [{ "id": "a/b", "unit": "ns", "better": "lower", "ours": 15.5, "peers": { "std": 10.0 },
                              "goal": "ratio to std <= 1.03", "met": met }],
                "skipped": ["peer: not installed"] })
    }

    #[test]
    fn a_section_shows_everything() {
        let expected = "## locks\n\n2 x m; 2026-01-02; commit abc\n\nmuch\n\n\
            | figure | unit | better | ours | peers | goal | met |\n|---|---|---|---:|---|---|---|\n\
            | a/b | ns | lower | 15.5 | std 10.0 | ratio to std <= 1.03 | **missed** |\n\n\
            Skipped: peer: not installed\n";
        assert_eq!(section(&report("locks", &json!(false))).unwrap(), expected);
        assert!(section(&report("locks", &json!(null))).unwrap().contains("| not judged |"));
        assert!(section(&report("locks", &json!(true))).unwrap().contains("| yes |"));
    }

    #[test]
    fn other_json_is_refused() {
        assert!(section(&json!({})).is_err());
        assert!(
            section(&json!({ "suite": "a", "machine": "m", "date": "d", "commit": "c", "results": [{}] }))
                .is_err()
        );
    }

    #[test]
    fn other_suites_are_kept_and_the_same_is_replaced() {
        let locks = section(&report("locks", &json!(false))).unwrap();
        let state = section(&report("state", &json!(true))).unwrap();
        let one = with_section("", "state", &state);
        let both = with_section(&one, "locks", &locks);
        assert!(both.starts_with(HEAD) && both.contains(locks.trim_end()) && both.contains(state.trim_end()));
        let again = with_section(&both, "locks", &locks);
        assert_eq!(again, both);
        assert_eq!(again.matches("\n## ").count(), 2);
    }
}
