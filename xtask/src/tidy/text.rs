//! Rules for every text file: white space, and no path of a developer's machine.

use super::{Findings, TextFile};

/// Directories at the root of a machine that no file of ours should name.
const MACHINE_DIRECTORIES: [&str; 3] = ["root", "home", "work"];

/// Checks one file of any kind.
pub(super) fn check(file: &TextFile, findings: &mut Findings) {
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with(|c: char| c.is_ascii_whitespace()) {
            findings.add(&file.path, index + 1, "trailing white space");
        }
        if let Some(directory) = machine_directory(line).filter(|_| file.path != "Cargo.lock") {
            findings.add(&file.path, index + 1, format!("path of a developer's machine: /{directory}/.."));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.add(&file.path, file.text.lines().count(), "no line break at the end of the file");
    }
}

/// The machine directory that an absolute path in this line lies in.
fn machine_directory(line: &str) -> Option<&'static str> {
    MACHINE_DIRECTORIES.into_iter().find(|directory| {
        let pattern = format!("/{directory}/");
        line.match_indices(&pattern).any(|(at, _)| !continues_a_path(&line[..at]))
    })
}

/// Whether a slash after this text goes on with a relative path or an address.
fn continues_a_path(before: &str) -> bool {
    before.ends_with(|c: char| c.is_alphanumeric() || "_-.~}>)]*".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut findings = Findings::default();
        check(&TextFile { path: path.to_owned(), text: text.to_owned() }, &mut findings);
        findings.0.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn white_space_is_seen() {
        assert_eq!(messages("a", "x\ny \nz\t\r\n").len(), 2);
        assert_eq!(messages("a", "x\ny"), [(2, "no line break at the end of the file".to_owned())]);
        assert!(messages("a", "x\n\ny\n").is_empty() && messages("a", "").is_empty());
    }

    #[test]
    fn machine_paths_are_seen() {
        for directory in MACHINE_DIRECTORIES {
            for before in ["", "in ", "\"", "file://", "cd=", "target:"] {
                let line = format!("{before}/{directory}/x\n");
                assert_eq!(messages("a.md", &line).len(), 1, "{line}");
                assert!(messages("Cargo.lock", &line).is_empty());
            }
            for line in [
                format!("https://a.org/{directory}/\n"),
                format!("./{directory}/\n"),
                format!("/{directory}\n"),
            ] {
                assert!(messages("a.md", &line).is_empty(), "{line}");
            }
        }
    }
}
