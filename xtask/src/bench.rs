//! `cargo xtask bench SUITE`: measures a suite and keeps its table in
//! `docs/benchmarks.md`.
//!
//! A suite yields JSON:
//!
//! ```text
//! { "suite": "..", "machine": "..", "date": "..", "commit": "..", "workload": "..",
//!   "results": [ { "id": "..", "unit": "..", "better": "lower" | "higher", "ours": 1.0,
//!                  "peers": { "..": 1.0 }, "goal": ".." | null, "met": true | false | null } ],
//!   "skipped": [ ".." ] }
//! ```
//!
//! A suite that needs whole programs lives here ([`BUILT_IN`]); any other name is a
//! bench target of the package `evenkeel-bench`, run with its peers, which prints as
//! the last line of its standard output
//!
//! ```text
//! { "suite": "..", "workload": "..", "skipped": [ ".." ],
//!   "results": [ { "id": "..", "unit": "..", "better": "lower" | "higher", "ours": 1.0, "peers": { "..": 1.0 },
//!                  "goal": { "below": 1.0 } | { "at_least": 1.0 } | { "ratio_at_most": 1.3, "peer": ".." } | null } ] }
//! ```
//!
//! The rest is added and the goals are judged here. The page keeps the suites that
//! were not run this time, and a goal that is missed stays as missed.

mod goal;
mod meter;
mod page;
mod recorder;
mod report;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::process;

const PAGE: &str = "docs/benchmarks.md";

type SuiteRun = fn(&[String]) -> Result<Value, String>;

/// The suites that live in this program, each with what runs it.
const BUILT_IN: [(&str, SuiteRun); 1] = [("recorder", recorder::run)];

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    suite: String,
    /// Where the suite's JSON goes as well.
    json: Option<PathBuf>,
    /// The page to write, instead of [`PAGE`].
    page: Option<PathBuf>,
    /// What the suite itself is given.
    rest: Vec<String>,
}

impl Options {
    /// Reads the options; those not known here are the suite's.
    ///
    /// # Errors
    /// No suite, or an option without its value.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut args = args.iter();
        let suite = args.next().filter(|suite| !suite.starts_with('-')).ok_or("which suite?")?;
        let mut options = Self { suite: suite.clone(), ..Self::default() };
        while let Some(option) = args.next() {
            match option.as_str() {
                "--json" => options.json = Some(process::option_value(option, &mut args)?.into()),
                "--page" => options.page = Some(process::option_value(option, &mut args)?.into()),
                _ => options.rest.push(option.clone()),
            }
        }
        Ok(options)
    }
}

/// Runs one suite, prints its table and writes it into the page.
///
/// # Errors
/// When the suite could not run or a file could not be written. A goal that is
/// missed is a result, not an error.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let built_in = BUILT_IN.iter().find(|(name, _)| *name == options.suite);
    let report = match built_in {
        Some((_, suite)) => suite(&options.rest)?,
        None => run_bench_target(&options.suite, &options.rest)?,
    };
    let section = page::section(&report)?;
    println!("{section}");
    if let Some(path) = &options.json {
        write(path, &format!("{report:#}\n"))?;
    }
    let page = options.page.clone().unwrap_or_else(|| process::root().join(PAGE));
    let before = fs::read_to_string(&page).unwrap_or_default();
    write(&page, &page::with_section(&before, &options.suite, &section))
}

/// Runs the bench target named as the suite.
fn run_bench_target(suite: &str, rest: &[String]) -> Result<Value, String> {
    let mut bench = process::cargo();
    bench.args(["bench", "--package", "evenkeel-bench", "--features", "peers", "--locked"]);
    bench.args(["--bench", suite, "--", "--json"]).args(rest).stderr(Stdio::inherit());
    let printed = process::text_output(&mut bench)?;
    let last = printed.lines().last().unwrap_or("");
    let printed = serde_json::from_str(last);
    report::of_bench_target(&printed.map_err(|error| format!("suite {suite} printed no JSON: {error}"))?)
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let made = directory.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_suite_are_passed_on() {
        let args = ["recorder", "--json", "a", "--bytes", "5", "--page", "b"].map(str::to_owned);
        let options = Options::parse(&args).unwrap();
        assert_eq!(options.suite, "recorder");
        assert_eq!(options.rest, ["--bytes", "5"]);
        assert_eq!((options.json, options.page), (Some("a".into()), Some("b".into())));
    }

    #[test]
    fn a_suite_is_needed() {
        assert!(Options::parse(&[]).is_err());
        assert!(Options::parse(&["--json".to_owned()]).is_err());
    }
}
