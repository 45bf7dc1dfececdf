//! Suite `recorder`: the whole program, in parts.
//!
//! | part | what it measures |
//! |---|---|
//! | [`throughput`] | one channel in full flow, beside others that write a pipe to disk, and the disk itself |
//! | [`idle`] | what a hundred quiet channels cost |
//! | [`active`] | the memory of a hundred channels in full flow |
//! | [`acks`] | how soon a quiet channel is acknowledged beside a flood |
//!
//! A recorder that does not stop clean fails the suite. What a part leaves behind,
//! processes too, goes with it, however it ends.

mod acks;
mod active;
mod data;
mod idle;
mod proc;
mod programs;
mod running;
mod throughput;

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::report::{Measured, report};
use crate::process;
use data::LINE_BYTES;

/// Channels of the parts that have many.
const CHANNELS: usize = 100;

type PartRun = fn(&Context) -> Result<Part, String>;

/// The parts, in their order.
const PARTS: [(&str, PartRun); 4] =
    [("throughput", throughput::run), ("idle", idle::run), ("active", active::run), ("acks", acks::run)];

/// What a part has measured.
struct Part {
    /// What its rows mean: a paragraph of the page.
    workload: String,
    results: Vec<Measured<'static>>,
    /// What could not be measured here, and why.
    skipped: Vec<String>,
}

impl Part {
    /// Nothing was measured.
    fn skipped(why: String) -> Self {
        Self { workload: String::new(), results: Vec::new(), skipped: vec![why] }
    }
}

/// What the parts are given.
struct Context {
    evenkeel: PathBuf,
    place: Place,
    bytes: u64,
    rounds: u32,
}

struct Options {
    bytes: u64,
    rounds: u32,
    evenkeel: Option<PathBuf>,
    /// The only part to run.
    only: Option<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { bytes: 2_000_000_000, rounds: 9, evenkeel: None, only: None };
        let mut rest = args.iter();
        while let Some(option) = rest.next() {
            let value = process::option_value(option, &mut rest)?;
            let bad = |error: std::num::ParseIntError| format!("`{option} {value}`: {error}");
            match option.as_str() {
                "--bytes" => options.bytes = value.parse().map_err(bad)?,
                "--rounds" => options.rounds = value.parse().map_err(bad)?,
                "--evenkeel" => options.evenkeel = Some(value.into()),
                "--only" => options.only = Some(part_named(value)?),
                _ => return Err(format!("suite recorder has no option `{option}`")),
            }
        }
        if options.bytes < LINE_BYTES || options.rounds == 0 {
            return Err("at least one line and one round".to_owned());
        }
        Ok(options)
    }

    fn asks_for(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn part_named(name: &str) -> Result<String, String> {
    let names = PARTS.map(|(part, _)| part);
    let known = names.contains(&name).then(|| name.to_owned());
    known.ok_or_else(|| format!("`--only {name}`: the parts are {}", names.join(", ")))
}

/// Runs the suite and returns its JSON.
///
/// # Errors
/// When a program fails, a recorder does not stop clean, or what was recorded is not what was sent.
pub(super) fn run(args: &[String]) -> Result<Value, String> {
    let options = Options::parse(args)?;
    let evenkeel = process::evenkeel(options.evenkeel.as_deref())?;
    let place = Place::make().map_err(|error| format!("target/bench-tmp: {error}"))?;
    let context = Context { evenkeel, place, bytes: options.bytes, rounds: options.rounds };
    let (mut workload, mut results, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (name, part) in PARTS {
        if !options.asks_for(name) {
            skipped.push(format!("{name}: not asked for"));
            continue;
        }
        println!("== {name}");
        let part = part(&context)?;
        workload.extend(Some(part.workload).filter(|text| !text.is_empty()));
        results.extend(part.results);
        skipped.extend(part.skipped);
    }
    Ok(report("recorder", &workload.join("\n\n"), &results, &skipped))
}

/// The suite's directory, on the file system of the workspace. Goes when dropped.
struct Place {
    root: PathBuf,
}

impl Place {
    fn make() -> io::Result<Self> {
        let root = process::root().join("target/bench-tmp");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// An empty directory of this name.
    fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        self.clear(name)?;
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Removes the directory of this name.
    fn clear(&self, name: &str) -> Result<(), String> {
        let path = self.path(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

/// Bytes as mebibytes.
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The name of a channel of many.
fn numbered(kind: &str, number: usize) -> String {
    format!("{kind}-{number:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let parse =
            |words: &[&str]| Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let options = parse(&["--bytes", "1100", "--rounds", "3", "--only", "acks"]).unwrap();
        assert_eq!((options.bytes, options.rounds), (1100, 3));
        assert!(options.asks_for("acks") && !options.asks_for("idle"));
        assert!(PARTS.iter().all(|(part, _)| parse(&[]).unwrap().asks_for(part)));
        for bad in [
            &["--bytes"][..],
            &["--bytes", "x"],
            &["--rounds", "0"],
            &["--bytes", "9"],
            &["--fast", "1"],
            &["--only", "ack"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
