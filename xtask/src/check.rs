//! `cargo xtask check`: every check in order, stopping at the first that fails.

use std::time::Instant;

use crate::{deps, process, tidy};

type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: [Step; 5] = [
    ("formatting", formatting),
    ("lints", lints),
    ("documentation", documentation),
    ("tidy", tidy::run),
    ("deps", deps::run),
];

/// Runs all checks, with a heading and the time of each.
///
/// # Errors
/// The first check that fails, by name.
pub(crate) fn run() -> Result<(), String> {
    run_steps(&STEPS)
}

fn run_steps(steps: &[Step]) -> Result<(), String> {
    for (name, step) in steps {
        println!("== {name}");
        let started = Instant::now();
        let outcome = step();
        println!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
        outcome.map_err(|message| format!("{name} failed: {message}"))?;
    }
    Ok(())
}

fn formatting() -> Result<(), String> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

/// The benches, whose peers are left out: two of them are built from C, which takes minutes and a `make`.
/// `cargo xtask bench` builds them.
const WITH_PEERS: &str = "evenkeel-bench";

fn lints() -> Result<(), String> {
    clippy(&["--workspace", "--exclude", WITH_PEERS, "--all-features"])?;
    clippy(&["--package", WITH_PEERS])
}

fn clippy(what: &[&str]) -> Result<(), String> {
    let mut clippy = process::cargo();
    clippy.arg("clippy").args(what).args(["--all-targets", "--locked"]);
    process::run(clippy.args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<(), String> {
    let mut doc = process::cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    process::run(&mut doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stops_the_checks() {
        let steps: [Step; 3] =
            [("good", || Ok(())), ("bad", || Err("planted".to_owned())), ("late", || panic!("not reached"))];
        assert_eq!(run_steps(&steps), Err("bad failed: planted".to_owned()));
        assert_eq!(run_steps(&steps[..1]), Ok(()));
    }
}
