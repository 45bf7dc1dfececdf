//! The programs that take turns.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::meter::Fed;
use crate::process;

/// Ours, framed by chunk.
pub(super) const CHUNK: &str = "evenkeel chunk";
/// Ours, framed by line.
pub(super) const LINES: &str = "evenkeel lines";
/// The line logger of the package s6.
pub(super) const S6_LOG: &str = "s6-log";
/// `dd` that ends when all it wrote is on disk.
pub(super) const DD_FDATASYNC: &str = "dd fdatasync";
/// The disk, without the page cache, no pipe between.
pub(super) const RAW_WRITE: &str = "raw write";
pub(super) const RAW_READ: &str = "raw read";

/// One of the programs.
pub(super) struct Program {
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    Cat,
    Dd,
    S6Log,
    Evenkeel {
        program: PathBuf,
        framing: &'static str,
    },
    DdFdatasync,
    /// Writes what it reads from this file.
    RawWrite(PathBuf),
    /// Reads this file.
    RawRead(PathBuf),
}

/// The programs in the order of their turns, and those that cannot be measured here.
/// `scratch` is a directory on the disk in question, for what is tried there.
///
/// # Errors
/// When nothing can be written there.
pub(super) fn all(
    evenkeel: &Path,
    input: &Path,
    scratch: &Path,
) -> Result<(Vec<Program>, Vec<String>), String> {
    let small = scratch.join("small");
    let failed = |error: std::io::Error| format!("{}: {error}", small.display());
    fs::write(&small, vec![b'\n'; 1 << 20]).map_err(failed)?;
    let (mut programs, mut skipped) = (Vec::new(), Vec::new());
    for (program, trial) in candidates(evenkeel, input).into_iter().zip(candidates(evenkeel, &small)) {
        match trial.refusal(scratch, &small) {
            None => programs.push(program),
            Some(why) => skipped.push(format!("{}: {why}", program.name)),
        }
    }
    Ok((programs, skipped))
}

fn candidates(evenkeel: &Path, input: &Path) -> Vec<Program> {
    let ours = |framing| Kind::Evenkeel { program: evenkeel.to_owned(), framing };
    vec![
        Program { name: "cat", kind: Kind::Cat },
        Program { name: "dd", kind: Kind::Dd },
        Program { name: S6_LOG, kind: Kind::S6Log },
        Program { name: CHUNK, kind: ours("chunk") },
        Program { name: LINES, kind: ours("lines") },
        Program { name: DD_FDATASYNC, kind: Kind::DdFdatasync },
        Program { name: RAW_WRITE, kind: Kind::RawWrite(input.to_owned()) },
        Program { name: RAW_READ, kind: Kind::RawRead(input.to_owned()) },
    ]
}

impl Program {
    /// How to start it with its output in this directory, which exists.
    pub(super) fn start(&self, directory: &Path) -> Fed {
        let out = directory.join("out");
        let (program, args, stdout) = match &self.kind {
            Kind::Cat => (Path::new("cat"), Vec::new(), Some(out)),
            Kind::Dd => (Path::new("dd"), dd(&["bs=64k"], None, &out), None),
            Kind::S6Log => (Path::new(S6_LOG), vec!["n20".into(), "s100000000".into(), out.into()], None),
            Kind::Evenkeel { program, framing } => {
                (program.as_path(), record(&recording(directory), framing), None)
            }
            Kind::DdFdatasync => {
                (Path::new("dd"), dd(&["bs=64k", "iflag=fullblock", "conv=fdatasync"], None, &out), None)
            }
            Kind::RawWrite(input) => {
                (Path::new("dd"), dd(&["bs=1M", "oflag=direct"], Some(input), &out), None)
            }
            Kind::RawRead(input) => {
                (Path::new("dd"), dd(&["bs=1M", "iflag=direct"], Some(input), Path::new("/dev/null")), None)
            }
        };
        Fed { program: program.into(), args, stdout }
    }

    /// Whether it reads the pipe.
    pub(super) fn is_fed(&self) -> bool {
        !matches!(self.kind, Kind::RawWrite(_) | Kind::RawRead(_))
    }

    /// Why it cannot be measured here, if so: it is not there, or `dd` or the disk does not know the way.
    fn refusal(&self, scratch: &Path, input: &Path) -> Option<String> {
        match self.kind {
            Kind::Cat | Kind::Dd | Kind::Evenkeel { .. } => return None,
            Kind::S6Log => return (!process::on_path(S6_LOG)).then(|| "not installed".to_owned()),
            Kind::DdFdatasync | Kind::RawWrite(_) | Kind::RawRead(_) => {}
        }
        let fed = self.start(scratch);
        let mut command = Command::new(&fed.program);
        match File::open(input) {
            Ok(input) => process::output(command.args(&fed.args).stdin(input)).err(),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Where ours records to, in its output directory.
pub(super) fn recording(directory: &Path) -> PathBuf {
    directory.join("recording")
}

fn record(out: &Path, framing: &str) -> Vec<OsString> {
    let frame = format!("x={framing}");
    vec![
        "record".into(),
        "--out".into(),
        out.into(),
        "--channel".into(),
        "x=stdin".into(),
        "--frame".into(),
        frame.into(),
    ]
}

/// The words of `dd`; it reads its standard input unless a file is given.
fn dd(how: &[&str], input: Option<&Path>, out: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = how.iter().map(OsString::from).collect();
    words.push("status=none".into());
    words.extend(input.map(|input| joined("if=", input)));
    words.push(joined("of=", out));
    words
}

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(prefix);
    joined.push(path);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(program: &Program) -> String {
        let fed = program.start(Path::new("d"));
        let words: Vec<_> =
            std::iter::once(&fed.program).chain(&fed.args).map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn programs_are_started_as_the_suite_says() {
        let programs = candidates(Path::new("bin/evenkeel"), Path::new("i"));
        let find = |name: &str| programs.iter().find(|program| program.name == name).unwrap();
        assert_eq!(shown(find("dd")), "dd bs=64k status=none of=d/out");
        assert_eq!(
            shown(find(DD_FDATASYNC)),
            "dd bs=64k iflag=fullblock conv=fdatasync status=none of=d/out"
        );
        assert_eq!(shown(find(RAW_WRITE)), "dd bs=1M oflag=direct status=none if=i of=d/out");
        assert_eq!(shown(find(RAW_READ)), "dd bs=1M iflag=direct status=none if=i of=/dev/null");
        assert_eq!(
            shown(find(LINES)),
            "bin/evenkeel record --out d/recording --channel x=stdin --frame x=lines"
        );
        let fed: Vec<_> = programs.iter().filter(|program| program.is_fed()).map(|p| p.name).collect();
        assert_eq!(fed, ["cat", "dd", S6_LOG, CHUNK, LINES, DD_FDATASYNC]);
    }

    #[test]
    fn what_cannot_be_measured_says_why() {
        let scratch = std::env::temp_dir().join(format!("evenkeel-programs-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let (programs, skipped) = all(Path::new("e"), Path::new("i"), &scratch).unwrap();
        assert_eq!(programs.len() + skipped.len(), 8);
        fs::remove_dir_all(&scratch).unwrap();
        let lacking = Program { name: RAW_READ, kind: Kind::RawRead(scratch.join("gone")) };
        assert!(lacking.refusal(&scratch, Path::new("/dev/null")).is_some());
        assert!(all(Path::new("e"), Path::new("i"), &scratch).is_err());
    }
}
