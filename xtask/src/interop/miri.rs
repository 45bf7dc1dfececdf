//! What is unsafe, thread-local or read by other threads in the locks and in the pool, run by Miri.
//!
//! Tests that take thousands of rounds say themselves that Miri is not to run them.

use super::loom::tests_pass;
use super::{CaseResult, Context, Unmet};
use crate::process;
use std::process::Command;

/// parking_lot keeps pointers in integers.
const FLAGS: &str = "-Zmiri-permissive-provenance";
/// Beside the unit tests: roots of threads; taint, condition variables and holds in other threads' eyes.
const TESTS: [&str; 3] = ["groups", "levels", "watch"];

pub(super) fn finds_nothing_in_the_locks(_: &Context<'_>) -> CaseResult {
    finds_nothing("evenkeel-locks", &TESTS)
}

pub(super) fn finds_nothing_in_the_pool(_: &Context<'_>) -> CaseResult {
    finds_nothing("evenkeel-pool", &["pool"])
}

fn finds_nothing(package: &str, tests: &[&str]) -> CaseResult {
    // Not the cargo that runs us: rustup's, which knows of other toolchains.
    let miri = |command: &str| {
        let mut cargo = Command::new("cargo");
        cargo.args(["+nightly", "miri", command]).current_dir(process::root());
        cargo
    };
    if process::output(&mut miri("--version")).is_err() {
        return Err(Unmet::Skipped("not run: no nightly with miri".to_owned()));
    }
    let mut test = miri("test");
    test.args(["--locked", "--package", package, "--lib"]);
    tests.iter().for_each(|name| _ = test.args(["--test", name]));
    test.arg("--target-dir").arg(process::root().join("target/interop-miri"));
    // A backtrace takes Miri seconds for each panic, and many here are planned.
    tests_pass(test.env("MIRIFLAGS", FLAGS).env("RUST_BACKTRACE", "0"))
}
