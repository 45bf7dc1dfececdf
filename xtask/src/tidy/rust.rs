//! Rules for Rust files.

use super::source::{Source, is_whole, is_word_byte};
use super::{Findings, functions, locks, regions, threads};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// Letters that a requirement's id may start with.
const REQUIREMENT_LETTERS: &str = "IRSETCPMQDW";

/// Checks one Rust file.
pub(super) fn check(path: &str, source: &Source<'_>, findings: &mut Findings) {
    let tests = regions::TestLines::find(path, source);
    file_length(path, source, findings);
    function_lengths(path, source, &tests, findings);
    tabs(path, source, findings);
    unfinished(path, source, findings);
    attributes(path, source, findings);
    sleeps(path, source, &tests, findings);
    requirements(path, source, &tests, findings);
    locks::check(path, source, &tests, findings);
    threads::check(path, source, &tests, findings);
}

fn file_length(path: &str, source: &Source<'_>, findings: &mut Findings) {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.add(path, FILE_LINES_MAX + 1, format!("file has {lines} lines, at most {FILE_LINES_MAX}"));
    }
}

fn function_lengths(path: &str, source: &Source<'_>, tests: &regions::TestLines, findings: &mut Findings) {
    for function in functions::with_body(source) {
        let (name, lines) = (function.name, function.line_count);
        if lines > FUNCTION_LINES_MAX && !tests.contains(function.line) {
            let message = format!("function `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            findings.add(path, function.line, message);
        }
    }
}

fn tabs(path: &str, source: &Source<'_>, findings: &mut Findings) {
    for (index, _) in source.text.lines().enumerate().filter(|(_, line)| line.contains('\t')) {
        findings.add(path, index + 1, "tab");
    }
}

/// Work left open: in code by macro, in comments by the usual marks.
fn unfinished(path: &str, source: &Source<'_>, findings: &mut Findings) {
    for word in ["todo", "unimplemented"] {
        for at in source.words(word).filter(|at| source.code[at + word.len()..].starts_with('!')) {
            findings.add(path, source.line_of(at), format!("`{word}!`"));
        }
    }
    for mark in ["FIXME", "XXX"] {
        for (at, _) in source.comments.match_indices(mark) {
            if is_whole(&source.comments, at, mark.len()) {
                findings.add(path, source.line_of(at), mark);
            }
        }
    }
}

/// No ignored tests; no lint level changed without its reason.
fn attributes(path: &str, source: &Source<'_>, findings: &mut Findings) {
    for attribute in regions::attributes(source) {
        let line = source.line_of(attribute.start);
        let body = &source.code[attribute.start..attribute.end];
        if attribute.body == "ignore" || attribute.body.starts_with("ignore ") {
            findings.add(path, line, "ignored test");
        }
        let changes_lint = ["allow(", "expect("].iter().any(|level| has_word_start(body, level));
        if changes_lint && !has_reason(body) {
            findings.add(path, line, "lint level changed without `reason = \"..\"`");
        }
    }
}

/// Whether `pattern` stands in the text with no word before it.
fn has_word_start(text: &str, pattern: &str) -> bool {
    text.match_indices(pattern).any(|(at, _)| at == 0 || !is_word_byte(text.as_bytes()[at - 1]))
}

fn has_reason(attribute: &str) -> bool {
    attribute.split("reason").skip(1).any(|after| after.trim_start().starts_with('='))
}

/// Tests wait for conditions. One that must sleep says why in a comment
/// `// sleep: ..` on its line or the one before.
fn sleeps(path: &str, source: &Source<'_>, tests: &regions::TestLines, findings: &mut Findings) {
    let comments: Vec<&str> = source.comments.lines().collect();
    let explained = |line: usize| comments.get(line).is_some_and(|comment| comment.contains("// sleep:"));
    for (at, _) in source.code.match_indices("thread::sleep") {
        let line = source.line_of(at);
        let here_or_before = explained(line - 1) || (line >= 2 && explained(line - 2));
        if tests.contains(line) && !here_or_before {
            findings.add(path, line, "test sleeps without a comment `// sleep: ..` saying why");
        }
    }
}

/// The id behind each mark `REQ` in comments of tests is that of a requirement.
fn requirements(path: &str, source: &Source<'_>, tests: &regions::TestLines, findings: &mut Findings) {
    for (at, mark) in source.comments.match_indices("REQ ") {
        let line = source.line_of(at);
        if !tests.contains(line) || !is_whole(&source.comments, at, mark.len() - 1) {
            continue;
        }
        let behind = &source.comments[at + mark.len()..];
        let id = first_word(behind);
        if !is_requirement(id) {
            let message = format!("`{id}` is no requirement ({REQUIREMENT_LETTERS} and a number)");
            findings.add(path, line, message);
        }
        let next = first_word(behind[id.len()..].strip_prefix(", ").unwrap_or(""));
        if is_requirement(next) {
            findings.add(path, line, format!("`{next}` needs its own `REQ`, or no search finds it"));
        }
    }
}

fn first_word(text: &str) -> &str {
    let length = text.bytes().take_while(|byte| is_word_byte(*byte)).count();
    &text[..length]
}

fn is_requirement(id: &str) -> bool {
    let Some(letter) = id.chars().next() else { return false };
    let number = &id[letter.len_utf8()..];
    REQUIREMENT_LETTERS.contains(letter)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut findings = Findings::default();
        check(path, &Source::new(text), &mut findings);
        findings.0.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    /// The line of the only finding.
    fn only_line(path: &str, text: &str) -> usize {
        let found = messages(path, text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found[0].0
    }

    fn assert_clean(path: &str, text: &str) {
        assert_eq!(messages(path, text), [], "{text}");
    }

    #[test]
    fn long_files_are_seen() {
        assert_eq!(only_line("a.rs", &"\n".repeat(701)), 701);
        assert_clean("a.rs", &"\n".repeat(700));
    }

    #[test]
    fn long_functions_are_seen_outside_tests_only() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        assert_eq!(only_line("a.rs", &format!("\n{}", function(71))), 2);
        assert_clean("a.rs", &function(70));
        assert_clean("tests/a.rs", &function(71));
        assert_clean("a.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(71)));
    }

    #[test]
    fn tabs_are_seen() {
        assert_eq!(only_line("a.rs", "fn a() {\n\tb();\n}\n"), 2);
    }

    #[test]
    fn unfinished_work_is_seen() {
        assert_eq!(only_line("a.rs", "fn a() { todo!() }\n"), 1);
        assert_eq!(only_line("a.rs", "\nfn a() { unimplemented!(\"b\") }\n"), 2);
        assert_eq!(only_line("a.rs", "// FIXME: b\n"), 1);
        assert_eq!(only_line("a.rs", "/* b\n XXX */\n"), 2);
        assert_clean("a.rs", "let todo = \"todo!() FIXME\"; // XXXXXX is a pattern\n");
    }

    #[test]
    fn ignored_tests_are_seen() {
        assert_eq!(only_line("a.rs", "#[ignore]\nfn a() {}\n"), 1);
        assert_eq!(only_line("a.rs", "#[ignore = \"slow\"]\nfn a() {}\n"), 1);
        assert_clean("a.rs", "#[ignored_by(us)]\nfn a() {}\n");
    }

    #[test]
    fn lint_levels_need_a_reason() {
        assert_eq!(only_line("a.rs", "#[allow(dead_code)]\nfn a() {}\n"), 1);
        assert_eq!(only_line("a.rs", "#![expect(\n    dead_code,\n)]\n"), 1);
        assert_eq!(only_line("a.rs", "#[cfg_attr(unix, allow(dead_code))]\n"), 1);
        assert_clean("a.rs", "#[allow(dead_code, reason = \"b\")]\nfn a() {}\n");
        assert_clean("a.rs", "#[expect(\n    dead_code,\n    reason = \"b\"\n)]\n");
        assert_clean("a.rs", "#[should_panic(expected = \"allow(\")]\nfn a() { b.expect(\"c\") }\n");
    }

    #[test]
    fn tests_that_sleep_say_why() {
        assert_eq!(only_line("tests/a.rs", "fn a() {\n    std::thread::sleep(b);\n}\n"), 2);
        assert_eq!(only_line("tests/a.rs", "use std::thread::sleep;\n"), 1);
        assert_clean("tests/a.rs", "// sleep: the kernel has no event for it\nthread::sleep(b);\n");
        assert_clean("tests/a.rs", "thread::sleep(b); // sleep: as above\n");
        assert_clean("src/a.rs", "fn a() { std::thread::sleep(b); }\n");
        assert_eq!(
            only_line("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() { thread::sleep(b); }\n}\n"),
            3
        );
    }

    #[test]
    fn requirement_ids_are_well_formed() {
        assert_clean("tests/a.rs", "// REQ C9, REQ S10: holds, Always\n// REQUIRED X9\n");
        assert_eq!(only_line("tests/a.rs", "// REQ C9, S10\n"), 1);
        assert_eq!(only_line("tests/a.rs", "\n// REQ X9\n"), 2);
        assert_eq!(only_line("tests/a.rs", "// REQ C9, REQ B1\n"), 1);
        assert_eq!(only_line("tests/a.rs", "// REQ c9\n"), 1);
        assert_eq!(only_line("tests/a.rs", "// REQ C\n"), 1);
        assert_clean("src/a.rs", "// REQ X9\n");
    }
}
