//! The JSON of a suite: the figures, judged, with where, when and of what they were measured.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::goal::Goal;
use crate::process;

/// Which way a figure should go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Better {
    Higher,
    Lower,
}

/// One figure, ours beside the peers'.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    pub(super) id: &'a str,
    pub(super) unit: &'a str,
    pub(super) better: Better,
    pub(super) ours: f64,
    pub(super) peers: BTreeMap<&'a str, f64>,
    pub(super) goal: Option<Goal<'a>>,
}

impl<'a> Measured<'a> {
    /// A result as a bench target prints it.
    fn parse(result: &'a Value) -> Result<Self, String> {
        let text = |field: &str| result[field].as_str().ok_or_else(|| format!("no `{field}` in {result}"));
        let figure =
            |value: &Value| value.as_f64().ok_or_else(|| format!("`{value}` is no figure in {result}"));
        let (id, unit) = (text("id")?, text("unit")?);
        let better = match text("better")? {
            "higher" => Better::Higher,
            "lower" => Better::Lower,
            other => return Err(format!("{id}: `{other}` is neither `higher` nor `lower`")),
        };
        let peers = result["peers"].as_object().into_iter().flatten();
        let peers = peers.map(|(peer, theirs)| Ok((peer.as_str(), figure(theirs)?)));
        let goal = match &result["goal"] {
            Value::Null => None,
            goal => Some(Goal::parse(goal, unit).ok_or_else(|| format!("{id}: `{goal}` is no goal"))?),
        };
        let (ours, peers) = (figure(&result["ours"])?, peers.collect::<Result<_, String>>()?);
        Ok(Self { id, unit, better, ours, peers, goal })
    }

    fn to_json(&self) -> Value {
        let peers: BTreeMap<_, _> =
            self.peers.iter().map(|(peer, figure)| (*peer, rounded(*figure))).collect();
        json!({
            "id": self.id,
            "unit": self.unit,
            "better": match self.better { Better::Higher => "higher", Better::Lower => "lower" },
            "ours": rounded(self.ours),
            "peers": peers,
            "goal": self.goal.map(|goal| goal.to_string()),
            "met": self.goal.and_then(|goal| goal.is_met(self.ours, &self.peers)),
        })
    }
}

/// The report of what a bench target printed.
///
/// # Errors
/// When that is not the JSON of a bench target.
pub(super) fn of_bench_target(printed: &Value) -> Result<Value, String> {
    let text =
        |field: &str| printed[field].as_str().ok_or_else(|| format!("the suite's JSON has no `{field}`"));
    let results = printed["results"].as_array().ok_or("the suite's JSON has no `results`")?;
    let results = results.iter().map(Measured::parse).collect::<Result<Vec<_>, String>>()?;
    let skipped = printed["skipped"].as_array().into_iter().flatten();
    let skipped: Vec<String> = skipped.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(report(text("suite")?, text("workload")?, &results, &skipped))
}

/// The whole report of a suite, with where, when and of what it was measured.
pub(super) fn report(suite: &str, workload: &str, results: &[Measured<'_>], skipped: &[String]) -> Value {
    json!({
        "suite": suite,
        "machine": machine(),
        "date": process::text_output(Command::new("date").args(["-u", "+%F"])).unwrap_or_default(),
        "commit": commit(),
        "workload": workload,
        "results": results.iter().map(Measured::to_json).collect::<Vec<_>>(),
        "skipped": skipped,
    })
}

/// The middle one; the mean of the two middle ones of an even number; 0 of none.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.as_slice() {
        [] => 0.0,
        sorted if sorted.len() % 2 == 1 => sorted[middle],
        sorted => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The least figure that so large a part of all does not exceed; 0 of none.
pub(super) fn quantile(mut figures: Vec<f64>, part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let rank = (figures.len() as f64 * part).ceil().max(1.0) as usize;
    figures.get(rank - 1).or(figures.last()).copied().unwrap_or(0.0)
}

/// Four significant digits: what repeats from run to run.
fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().unwrap_or(figure)
}

/// Processors, their model, and memory.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
    let kibibytes =
        field(&meminfo, "MemTotal").and_then(|total| total.split(' ').next()?.parse::<u64>().ok());
    let memory =
        kibibytes.map_or(String::new(), |kibibytes| format!(", {} GiB", kibibytes.div_ceil(1 << 20)));
    format!("{processors} x {model}{memory}")
}

/// The value of the first line `NAME : VALUE`.
fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The commit measured, marked when files differ from it.
fn commit() -> String {
    let git =
        |args: &[&str]| process::text_output(Command::new("git").args(args).current_dir(process::root()));
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|_| "none".to_owned());
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|changes| !changes.is_empty());
    if changed { format!("{commit} with changes") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).to_string(), "2.5");
        assert_eq!(median(Vec::new()).to_string(), "0");
    }

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let of_hundred = |part| quantile(hundred.clone(), part).to_string();
        assert_eq!([0.0, 0.5, 0.99, 0.991, 1.0].map(of_hundred), ["1", "50", "99", "100", "100"]);
        let of_three = |part| quantile(vec![3.0, 1.0, 2.0], part).to_string();
        assert_eq!([0.33, 0.34, 0.5, 0.99].map(of_three), ["1", "2", "2", "3"]);
        assert_eq!(quantile(Vec::new(), 0.99).to_string(), "0");
    }

    #[test]
    fn figures_keep_four_digits() {
        assert_eq!([1234.56, 0.012_345_6, 0.0].map(rounded), [1235.0, 0.012_35, 0.0]);
    }

    #[test]
    fn a_report_has_the_fields_that_were_agreed() {
        let measured = Measured {
            id: "a/b",
            unit: "ns",
            better: Better::Lower,
            ours: 15.0,
            peers: BTreeMap::from([("std", 10.0)]),
            goal: Some(Goal::RatioAtMost("std", 1.03)),
        };
        let report = report("locks", "work", &[measured], &["x: not installed".to_owned()]);
        for field in ["suite", "machine", "date", "commit", "workload", "results", "skipped"] {
            assert!(!report[field].is_null(), "{field}");
        }
        let expected = json!({ "id": "a/b", "unit": "ns", "better": "lower", "ours": 15.0, "peers": { "std": 10.0 },
                               "goal": "ratio to std <= 1.03", "met": false });
        assert_eq!(report["results"][0], expected);
    }

    #[test]
    fn what_a_bench_target_prints_is_judged() {
        let result = |ours: f64, goal: &Value| json!({ "id": "a/b", "unit": "us", "better": "higher", "ours": ours, "peers": { "raw": 10.0 }, "goal": goal });
        let goal = json!({ "at_least": 15.0 });
        let printed = |results: &[Value]| json!({ "suite": "locks", "workload": "work", "results": results, "skipped": ["x: missing"] });
        let report = of_bench_target(&printed(&[result(15.0, &goal), result(14.0, &goal)])).unwrap();
        assert_eq!(
            (&report["results"][0]["met"], &report["results"][1]["met"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(report["results"][0]["goal"], ">= 15 us");
        assert_eq!(report["results"][0]["peers"], json!({ "raw": 10.0 }));
        assert_eq!(report["skipped"], json!(["x: missing"]));
        for bad in
            [printed(&[result(1.0, &json!("fast"))]), printed(&[json!({})]), json!({ "suite": "locks" })]
        {
            assert!(of_bench_target(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_are_found() {
        assert_eq!(field("a\t: b c\nd: e\n", "a"), Some("b c"));
        assert_eq!(field("a: b\n", "c"), None);
    }
}
