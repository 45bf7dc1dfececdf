//! `cargo xtask interop`: what needs more than Rust and a C compiler.
//!
//! A list of named cases, each run for itself. A case whose needs are not met on
//! this machine is skipped and says so; it never counts as passed. The last line
//! is `N passed, N failed, N skipped`.

mod flow;
mod full_disk;
mod killed;
mod loom;
mod mcap_python;
mod miri;
mod recording;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Instant;

use crate::process;
use mcap_python::Python;
use recording::Recording;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The program to test, instead of one built in release.
    evenkeel: Option<PathBuf>,
    /// Only cases whose name begins so.
    only: Option<String>,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown option, or one without its value.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            match option.as_str() {
                "--evenkeel" => options.evenkeel = Some(process::option_value(option, &mut rest)?.into()),
                "--only" => options.only = Some(process::option_value(option, &mut rest)?.clone()),
                other => return Err(format!("unknown option `{other}`")),
            }
        }
        Ok(options)
    }
}

/// Why a case did not pass.
#[derive(Debug)]
enum Unmet {
    Failed(String),
    /// This machine lacks something.
    Skipped(String),
}

impl From<String> for Unmet {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

type CaseResult = Result<(), Unmet>;

/// One thing to show. Later cases (loop devices, other programs, a browser) join [`CASES`].
struct Case {
    name: &'static str,
    run: fn(&Context<'_>) -> CaseResult,
}

const CASES: [Case; 13] = [
    Case { name: "mcap-python/file-chunk", run: |context| mcap_python::agrees(context, "a") },
    Case { name: "mcap-python/stdin-lines", run: |context| mcap_python::agrees(context, "b") },
    Case { name: "mcap-python/journal", run: mcap_python::follows_the_journal },
    Case { name: "mcap-python/damage-is-seen", run: mcap_python::sees_damage },
    Case { name: "mcap-python/four-sources-in-full-flow", run: flow::agrees },
    Case { name: "full-disk/waits-and-goes-on", run: full_disk::waits_and_goes_on },
    Case { name: "full-disk/stops-sealed", run: full_disk::stops_sealed },
    Case { name: "full-disk/drops-and-declares", run: full_disk::drops_and_declares },
    Case { name: "killed/at-each-call", run: killed::at_each_call },
    Case { name: "loom/locks", run: loom::tries_the_locks },
    Case { name: "loom/pool", run: loom::tries_the_pool },
    Case { name: "miri/locks", run: miri::finds_nothing_in_the_locks },
    Case { name: "miri/pool", run: miri::finds_nothing_in_the_pool },
];

/// What cases share. Each part is made when the first case asks for it.
struct Context<'a> {
    options: &'a Options,
    recording: OnceCell<Result<Recording, String>>,
    python: OnceCell<Result<Python, String>>,
}

impl<'a> Context<'a> {
    fn new(options: &'a Options) -> Self {
        Self { options, recording: OnceCell::new(), python: OnceCell::new() }
    }

    /// Two channels recorded by the program under test. That they cannot be is a failure.
    fn recording(&self) -> Result<&Recording, Unmet> {
        let made = self.recording.get_or_init(|| Recording::make(self.options.evenkeel.as_deref()));
        made.as_ref().map_err(|message| Unmet::Failed(message.clone()))
    }

    /// The program under test.
    fn program(&self) -> Result<PathBuf, Unmet> {
        process::evenkeel(self.options.evenkeel.as_deref()).map_err(Unmet::Failed)
    }

    /// Python with its MCAP package. That it is missing skips the case.
    fn python(&self) -> Result<&Python, Unmet> {
        let made = self.python.get_or_init(Python::prepare);
        made.as_ref().map_err(|message| Unmet::Skipped(message.clone()))
    }
}

/// Runs every case and prints the outcome of each.
///
/// # Errors
/// When a case failed.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let is_wanted = |case: &&Case| options.only.as_ref().is_none_or(|only| case.name.starts_with(only));
    let cases: Vec<_> = CASES.iter().filter(is_wanted).collect();
    if cases.is_empty() {
        let known = CASES.map(|case| case.name).join(", ");
        return Err(format!(
            "no case begins with {:?}; there are {known}",
            options.only.as_deref().unwrap_or("")
        ));
    }
    run_cases(&cases, &Context::new(options))
}

fn run_cases(cases: &[&Case], context: &Context<'_>) -> Result<(), String> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        let started = Instant::now();
        let outcome = (case.run)(context);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("passed: {} ({seconds:.1} s)", case.name);
            }
            Err(Unmet::Failed(message)) => {
                failed += 1;
                println!("FAILED: {}: {message}", case.name);
            }
            Err(Unmet::Skipped(reason)) => {
                skipped += 1;
                println!("skipped: {}: {reason}", case.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Ok(()) } else { Err(format!("{failed} interop cases failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_case_fails_the_run_and_a_skipped_one_does_not() {
        let options = Options::default();
        let context = Context::new(&options);
        let good = || Case { name: "good", run: |_| Ok(()) };
        let lacking = || Case { name: "lacking", run: |_| Err(Unmet::Skipped("no moon".to_owned())) };
        let bad = || Case { name: "bad", run: |_| Err(Unmet::Failed("planted".to_owned())) };
        assert!(run_cases(&[&good(), &lacking()], &context).is_ok());
        assert!(run_cases(&[&bad(), &good(), &lacking()], &context).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure() {
        let options = Options { evenkeel: Some(PathBuf::from("no/such/evenkeel")), ..Options::default() };
        assert!(matches!(Context::new(&options).recording(), Err(Unmet::Failed(_))));
    }

    #[test]
    fn options_are_read() {
        let args = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let options = Options::parse(&args(&["--evenkeel", "x"])).unwrap();
        assert_eq!(options.evenkeel, Some(PathBuf::from("x")));
        assert!(Options::parse(&args(&["--evenkeel"])).is_err());
        let nothing = Options::parse(&args(&["--only", "moon/"])).unwrap();
        assert!(run(&nothing).unwrap_err().contains("mcap-python/journal"));
        assert!(Options::parse(&args(&["--fast"])).is_err());
    }
}
