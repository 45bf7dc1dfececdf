//! Every thread of the house is the coordinator's: nowhere else does the crates' own code start one.
//!
//! `evenkeel-locks` stands alone, and the benchmarks stand beside others. Of the library two places start
//! threads: the coordinator, and the last resort that ends the process when all else hangs.

use super::Findings;
use super::regions::TestLines;
use super::source::Source;

/// Crates that have no coordinator.
const EXEMPT: [&str; 2] = ["crates/evenkeel-locks/", "crates/evenkeel-bench/"];
/// The two places.
const STARTS: [&str; 2] = ["crates/evenkeel/src/threads/core.rs", "crates/evenkeel/src/stop/ending.rs"];
/// What starts a thread, by the last two words of its path.
const PATHS: [&str; 3] = ["thread::spawn", "thread::Builder", "thread::scope"];

/// Checks one Rust file.
pub(super) fn check(path: &str, source: &Source<'_>, tests: &TestLines, findings: &mut Findings) {
    let is_checked = path.starts_with("crates/")
        && path.contains("/src/")
        && !EXEMPT.iter().any(|exempt| path.starts_with(exempt))
        && !STARTS.contains(&path);
    if !is_checked {
        return;
    }
    for what in PATHS.into_iter().chain(["spawn_blocking"]) {
        for line in source.words(what).map(|at| source.line_of(at)).filter(|line| !tests.contains(*line)) {
            let message = format!("`{what}`: threads and jobs of the house are of `evenkeel::threads`");
            findings.add(path, line, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let (source, mut findings) = (Source::new(text), Findings::default());
        check(path, &source, &TestLines::find(path, &source), &mut findings);
        findings.0.into_iter().map(|finding| finding.line).collect()
    }

    // REQ T5
    #[test]
    fn threads_that_are_not_the_coordinators_are_seen() {
        let file = "crates/evenkeel-recorder/src/a.rs";
        assert_eq!(lines(file, "fn a() {\n    std::thread::spawn(b);\n}\n"), [2]);
        assert_eq!(lines(file, "let a = thread::Builder::new();\n"), [1]);
        assert_eq!(lines(file, "tokio::task::spawn_blocking(a);\n"), [1]);
        assert_eq!(
            lines(file, "// std::thread::spawn\nthread::park();\nlet a = \"thread::spawn\";\n"),
            [0; 0]
        );
        assert_eq!(
            lines(file, "#[cfg(test)]\nmod tests {\n    fn a() { std::thread::spawn(b); }\n}\n"),
            [0; 0]
        );
        for path in [STARTS[0], STARTS[1], "crates/evenkeel-locks/src/a.rs", "crates/evenkeel/tests/a.rs"] {
            assert_eq!(lines(path, "std::thread::spawn(b);\n"), [0; 0], "{path}");
        }
    }
}
