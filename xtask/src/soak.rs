//! `cargo xtask soak SCENE`: the pool under load for as long as it takes to see what a test of seconds does not.
//!
//! A scene is a test of `evenkeel-pool` that runs with fixed counts among the others; here it runs alone, in release, for
//! the time asked for, and shows what it found. It fails, and this with it, where something is not as it should be.
//!
//! * `pool`: threads that come and go take, cut, chain, wait and give back at random. What is resident must not
//!   grow, all slots of each tier must be there at once at the end, and nothing may stay held or resident.
//! * `channels`: fifty channels, one greedy, one that leaks, one that is stuck. The others must have their reserve at
//!   every request, and the three must be named.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::process;

const SCENES: [Scene; 2] = [
    Scene {
        name: "pool",
        target: "soak",
        test: "whatever_happens_memory_stays_and_all_of_it_comes_back",
        seconds: 30 * 60,
    },
    Scene {
        name: "channels",
        target: "channels",
        test: "whoever_misbehaves_every_other_channel_has_its_reserve_at_every_request",
        seconds: 60,
    },
];

/// Where it is, and how long it runs unless told otherwise.
#[derive(Debug, PartialEq)]
struct Scene {
    name: &'static str,
    target: &'static str,
    test: &'static str,
    seconds: u64,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    scene: &'static Scene,
    seconds: u64,
    seed: u64,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// No scene or an unknown one, an unknown option, or a value that is no number.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut rest = args.iter();
        let known = SCENES.each_ref().map(|scene| scene.name).join(", ");
        let name = rest.next().ok_or_else(|| format!("which scene? There are {known}"))?;
        let scene = SCENES.iter().find(|scene| scene.name == name);
        let scene = scene.ok_or_else(|| format!("no scene is named `{name}`; there are {known}"))?;
        let mut options = Self { scene, seconds: scene.seconds, seed: 1 };
        while let Some(option) = rest.next() {
            let place = match option.as_str() {
                "--minutes" | "--seconds" => &mut options.seconds,
                "--seed" => &mut options.seed,
                other => return Err(format!("unknown option `{other}`")),
            };
            let value = process::option_value(option, &mut rest)?;
            *place = value.parse().map_err(|_| format!("`{option}` needs a number, not `{value}`"))?;
            if option == "--minutes" {
                options.seconds = options.seconds.saturating_mul(60);
            }
        }
        Ok(options)
    }
}

/// Runs a scene, and shows what it says while it runs.
///
/// # Errors
/// When something was not as it should be, or the test is not there.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Scene { target, test, .. } = options.scene;
    let mut cargo = process::cargo();
    cargo.args(["test", "--release", "--locked", "--package", "evenkeel-pool", "--test", target]);
    cargo.args(["--", "--exact", test, "--nocapture"]);
    cargo.env("EVENKEEL_SOAK_SECONDS", options.seconds.to_string());
    cargo.env("EVENKEEL_SOAK_SEED", options.seed.to_string());
    // glibc gives threads arenas of their own, which grow to what each ever had: it would be seen as growth of ours.
    cargo.env("MALLOC_ARENA_MAX", "1");
    println!("{} for {} s, seed {}", options.scene.name, options.seconds, options.seed);
    shown(&mut cargo)
}

/// Passes on what a command prints, line by line. That no test ran is a failure: a name may have changed.
fn shown(command: &mut Command) -> Result<(), String> {
    let started = command.stdout(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let mut has_run = false;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(|error| format!("what the scene says cannot be read: {error}"))?;
        has_run |= line.starts_with("test result: ok. 1 passed");
        println!("{line}");
    }
    let status = child.wait().map_err(|error| format!("the scene cannot be waited for: {error}"))?;
    match (status.success(), has_run) {
        (true, true) => Ok(()),
        (true, false) => Err("no scene ran".to_owned()),
        (false, _) => Err("something is not as it should be".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<(&'static str, u64, u64), String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Options::parse(&words).map(|options| (options.scene.name, options.seconds, options.seed))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parsed(&["pool"]), Ok(("pool", 1_800, 1)));
        assert_eq!(parsed(&["pool", "--minutes", "2", "--seed", "7"]), Ok(("pool", 120, 7)));
        assert_eq!(parsed(&["channels", "--seconds", "5"]), Ok(("channels", 5, 1)));
        for wrong in
            [&[][..], &["sea"], &["pool", "--minutes"], &["pool", "--minutes", "x"], &["pool", "--fast"]]
        {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_scene_that_fails_or_is_not_there_is_a_failure() {
        let shell = |script: &str| shown(Command::new("sh").args(["-c", script]));
        assert_eq!(shell("echo 'test result: ok. 1 passed; 0 failed'"), Ok(()));
        assert!(shell("echo 'test result: ok. 0 passed; 0 failed'").is_err());
        assert!(shell("echo 'test result: ok. 1 passed'; exit 101").is_err());
    }
}
