//! `cargo xtask tidy`: the house rules that rustfmt, clippy and rustdoc do not check.
//!
//! Reads every text file that git tracks or would add, reports every finding as
//! `path:line: message`, and fails when there is one. The Rust rules look at a
//! masked view of the source ([`source::Source`]), so that a word inside a string
//! is never taken for code.

mod functions;
mod invariants;
mod locks;
mod regions;
mod rust;
mod source;
mod text;
mod threads;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::Command;

use crate::process;
use source::Source;

/// One broken rule, where it is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// A text file of the tree.
struct TextFile {
    /// Relative to the workspace's root, with `/`.
    path: String,
    text: String,
}

/// Checks the whole tree and prints what it finds.
///
/// # Errors
/// When something was found, or git could not list the files.
pub(crate) fn run() -> Result<(), String> {
    let files = text_files()?;
    let findings = check(&files);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("   {} files are tidy", files.len());
        return Ok(());
    }
    Err(format!("{} findings", findings.len()))
}

/// All findings of all rules, sorted.
fn check(files: &[TextFile]) -> BTreeSet<Finding> {
    let mut findings = Findings::default();
    let mut function_names = BTreeSet::new();
    for file in files {
        text::check(file, &mut findings);
        if file.path.ends_with(".rs") {
            let source = Source::new(&file.text);
            function_names.extend(functions::names(&source));
            rust::check(&file.path, &source, &mut findings);
        }
    }
    for file in files.iter().filter(|file| file.path.ends_with("ARCHITECTURE.md")) {
        invariants::check(file, &function_names, &mut findings);
    }
    findings.0
}

/// Collects what the rules find.
#[derive(Default)]
struct Findings(BTreeSet<Finding>);

impl Findings {
    fn add(&mut self, path: &str, line: usize, message: impl Into<String>) {
        self.0.insert(Finding { path: path.to_owned(), line, message: message.into() });
    }
}

/// The files that git tracks, and the new ones that it does not ignore, as far
/// as they are text. A tracked file that was deleted is passed over.
fn text_files() -> Result<Vec<TextFile>, String> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(process::root());
    let listed = process::output(&mut list)?;
    let mut files = Vec::new();
    for path in String::from_utf8_lossy(&listed).split('\0').filter(|path| !path.is_empty()) {
        let full = process::root().join(path);
        let is_file = full.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            continue;
        }
        let bytes = fs::read(&full).map_err(|error| format!("{path}: {error}"))?;
        if let Some(text) = as_text(bytes) {
            files.push(TextFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

/// The text of a file, or nothing for a binary one.
fn as_text(bytes: Vec<u8>) -> Option<String> {
    if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_finding_reads_as_path_line_message() {
        let findings = check(&[file("a/b.txt", "good\nbad \n")]);
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a/b.txt:2: trailing white space"]);
    }

    #[test]
    fn every_rule_reports_and_none_hides_another() {
        let planted = [
            file("a.rs", "fn held() {\n\ttodo!()\n}"),
            file("ARCHITECTURE.md", "1. Kept (held by `held`).\n2. Not kept (held by `a::gone`).\n"),
        ];
        let findings = check(&planted);
        assert_eq!(findings.len(), 4, "{findings:?}");
    }

    #[test]
    fn binary_files_are_not_text() {
        assert_eq!(as_text(vec![b'a', 0, b'b']), None);
        assert_eq!(as_text(vec![0xff, 0xfe]), None);
        assert_eq!(as_text(b"plain".to_vec()).as_deref(), Some("plain"));
    }
}
