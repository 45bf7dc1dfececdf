//! The programs that take turns.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::bench::meter::Fed;
use crate::process;

/// Ours, framed by chunk.
pub(super) const CHUNK: &str = "evenkeel chunk";
/// Ours, framed by line.
pub(super) const LINES: &str = "evenkeel lines";
/// The line logger of the package s6.
pub(super) const S6_LOG: &str = "s6-log";

/// One of the programs.
pub(super) struct Program {
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    Cat,
    Dd,
    S6Log,
    Evenkeel { program: PathBuf, framing: &'static str },
}

/// The programs in the order of their turns, and those that are missing here.
pub(super) fn all(evenkeel: &Path) -> (Vec<Program>, Vec<String>) {
    let ours = |framing| Kind::Evenkeel { program: evenkeel.to_owned(), framing };
    let mut programs = vec![
        Program { name: "cat", kind: Kind::Cat },
        Program { name: "dd", kind: Kind::Dd },
        Program { name: CHUNK, kind: ours("chunk") },
        Program { name: LINES, kind: ours("lines") },
    ];
    if process::on_path(S6_LOG) {
        programs.insert(2, Program { name: S6_LOG, kind: Kind::S6Log });
        return (programs, Vec::new());
    }
    (programs, vec![format!("{S6_LOG}: not installed")])
}

impl Program {
    /// How to start it with its output in this directory, which exists.
    pub(super) fn start(&self, directory: &Path) -> Fed {
        let out = directory.join("out");
        let (program, args, stdout) = match &self.kind {
            Kind::Cat => (Path::new("cat"), Vec::new(), Some(out)),
            Kind::Dd => {
                (Path::new("dd"), vec!["bs=64k".into(), "status=none".into(), joined("of=", &out)], None)
            }
            Kind::S6Log => (Path::new(S6_LOG), vec!["n20".into(), "s100000000".into(), out.into()], None),
            Kind::Evenkeel { program, framing } => {
                (program.as_path(), record(&recording(directory), framing), None)
            }
        };
        Fed { program: program.into(), args, stdout }
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

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(prefix);
    joined.push(path);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_started_as_the_suite_says() {
        let (programs, skipped) = all(Path::new("bin/evenkeel"));
        assert_eq!(programs.len() + skipped.len(), 5);
        let shown = |name: &str| {
            let fed = programs.iter().find(|program| program.name == name).unwrap().start(Path::new("d"));
            let words: Vec<_> =
                std::iter::once(&fed.program).chain(&fed.args).map(|word| word.to_string_lossy()).collect();
            words.join(" ")
        };
        assert_eq!(shown("dd"), "dd bs=64k status=none of=d/out");
        assert_eq!(shown(LINES), "bin/evenkeel record --out d/recording --channel x=stdin --frame x=lines");
    }
}
