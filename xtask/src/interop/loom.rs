//! All interleavings of what a thread writes of its locks and others read, by loom.

use super::{CaseResult, Context, Unmet};
use crate::process;
use std::process::Command;

/// So many lines of what a failing test printed are shown.
const SHOWN_LINES_MAX: usize = 20;

/// The watch over locks.
pub(super) fn tries_the_locks(_: &Context<'_>) -> CaseResult {
    tries("evenkeel-locks", "evenkeel_loom", None)
}

/// The books of a pool.
pub(super) fn tries_the_pool(_: &Context<'_>) -> CaseResult {
    // All of them would take hours.
    tries("evenkeel-pool", "evenkeel_pool_loom", Some("4"))
}

/// Tries a crate, with a flag of its own that turns its atomics into loom's; with a bound, only what so many
/// interruptions of a thread in one run can bring about.
fn tries(package: &str, flag: &str, interruptions_max: Option<&str>) -> CaseResult {
    let mut test = process::cargo();
    if let Some(most) = interruptions_max {
        test.env("LOOM_MAX_PREEMPTIONS", most);
    }
    test.args(["test", "--locked", "--release", "--package", package, "--lib", "--target-dir"]);
    // Its own: all that is built with other flags is built anew.
    test.arg(process::root().join("target/interop-loom")).arg("interleavings");
    tests_pass(test.env("RUSTFLAGS", format!("--cfg {flag}")).env_remove("CARGO_ENCODED_RUSTFLAGS"))
}

/// Runs a command that runs tests. That none ran is a failure: a name may have changed.
pub(super) fn tests_pass(command: &mut Command) -> CaseResult {
    let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let told = if said.contains("test result: FAILED") { &said } else { &complained };
        return Err(Unmet::Failed(format!("{}\n{}", output.status, last_lines(told))));
    }
    match passed(&said) {
        0 => Err(Unmet::Failed("no test ran".to_owned())),
        _ => Ok(()),
    }
}

/// How many tests passed, by the harness's own words.
fn passed(said: &str) -> u32 {
    let results = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|result| result.split(' ').next()?.parse::<u32>().ok()).sum()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CaseResult {
        tests_pass(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn tests_that_pass_are_counted_over_all_files() {
        let said =
            "running 2 tests\ntest result: ok. 2 passed; 0 failed\n\ntest result: ok. 31 passed; 0 failed\n";
        assert_eq!((passed(said), passed("nothing")), (33, 0));
        assert!(shell("echo 'test result: ok. 1 passed; 0 failed'").is_ok());
    }

    #[test]
    fn that_no_test_ran_is_a_failure_and_a_failure_shows_what_was_said() {
        let none = shell("echo 'test result: ok. 0 passed; 0 failed'");
        assert!(matches!(none, Err(Unmet::Failed(message)) if message == "no test ran"));
        let failed = "echo 'planted at 7'; echo 'test result: FAILED. 1 passed'; echo noise >&2; exit 101";
        let Err(Unmet::Failed(message)) = shell(failed) else { panic!("it passed") };
        assert!(message.contains("planted at 7") && !message.contains("noise"), "{message}");
        let Err(Unmet::Failed(message)) = shell("echo 'does not build' >&2; exit 1") else {
            panic!("it passed")
        };
        assert!(message.contains("does not build"), "{message}");
    }
}
