//! Developer commands of the workspace, run as `cargo xtask COMMAND`.
//!
//! `check` is what a contributor runs before a commit; `interop` and `bench`
//! need programs beyond Rust and a C compiler and say plainly when one is missing.
#![expect(clippy::print_stdout, reason = "a developer command reports to the terminal")]

mod bench;
mod check;
mod deps;
mod interop;
mod process;
mod soak;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  check                        formatting, lints, documentation, tidy, deps
  tidy                         the house rules that no other tool checks
  deps                         licences, sources, reasons and number of dependencies
  interop [--evenkeel PATH] [--only CASE]    recordings as other programs read them, and what else needs more
  bench SUITE [--json FILE]    measures a suite, writes docs/benchmarks.md
        [--page FILE]          writes that page instead
    recorder: [--bytes N] [--rounds N] [--evenkeel PATH]
              [--only throughput|idle|active|acks]
    others:   `cargo bench --bench SUITE`, with the remaining options
  soak pool [--minutes 30] [--seed N]        a pool under random load: memory does not grow, and all of it comes back
  soak channels [--seconds 60] [--seed N]    fifty channels, three that misbehave: the others get what is theirs
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(message)) => {
            eprintln!("xtask: {message}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Stop::Failed(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command did not succeed.
#[derive(Debug, PartialEq)]
enum Stop {
    /// The command line is wrong; nothing was done. Exit code 2.
    Usage(String),
    /// The command ran and something is not as it should be. Exit code 1.
    Failed(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

fn dispatch(args: &[String]) -> Result<(), Stop> {
    let Some((command, rest)) = args.split_first() else {
        return Err(Stop::Usage("which command?".to_owned()));
    };
    match command.as_str() {
        "check" => no_options(rest).and_then(|()| Ok(check::run()?))?,
        "tidy" => no_options(rest).and_then(|()| Ok(tidy::run()?))?,
        "deps" => no_options(rest).and_then(|()| Ok(deps::run()?))?,
        "interop" => interop::run(&interop::Options::parse(rest).map_err(Stop::Usage)?)?,
        "bench" => bench::run(&bench::Options::parse(rest).map_err(Stop::Usage)?)?,
        "soak" => soak::run(&soak::Options::parse(rest).map_err(Stop::Usage)?)?,
        "help" | "--help" | "-h" => print!("{HELP}"),
        other => return Err(Stop::Usage(format!("unknown command `{other}`"))),
    }
    Ok(())
}

/// Refuses options for the commands that have none.
fn no_options(rest: &[String]) -> Result<(), Stop> {
    match rest.first() {
        None => Ok(()),
        Some(option) => Err(Stop::Usage(format!("unexpected `{option}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop_of(args: &[&str]) -> Option<Stop> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        dispatch(&args).err()
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        for args in
            [&[][..], &["chekc"], &["tidy", "--fast"], &["bench"], &["interop", "--evenkeel"], &["soak"]]
        {
            assert!(matches!(stop_of(args), Some(Stop::Usage(_))), "{args:?}");
        }
    }
}
