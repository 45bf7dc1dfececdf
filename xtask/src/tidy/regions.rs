//! Which lines of a Rust file are test code.
//!
//! Test code is a file under `tests/` or named `tests.rs`, an item under
//! `#[cfg(test)]`, and a function under `#[test]`.

use super::source::{Source, is_whole};

/// An attribute of the source: `#[..]` or `#![..]`.
pub(super) struct Attribute<'a> {
    /// Offset of the `#`.
    pub(super) start: usize,
    /// Offset after the `]`.
    pub(super) end: usize,
    /// What stands between the brackets, as code.
    pub(super) body: &'a str,
    is_inner: bool,
}

/// Every attribute, in order.
pub(super) fn attributes<'s>(source: &'s Source<'_>) -> Vec<Attribute<'s>> {
    let mut found = Vec::new();
    for (start, _) in source.code.match_indices('#') {
        let after = &source.code[start + 1..];
        let is_inner = after.starts_with("![");
        if !is_inner && !after.starts_with('[') {
            continue;
        }
        let open = start + 1 + usize::from(is_inner);
        let end = source.end_of_group(open);
        let body = source.code[open + 1..end].trim_end_matches(']').trim();
        found.push(Attribute { start, end, body, is_inner });
    }
    found
}

/// The lines of test code, as ranges of line numbers from 1, both ends included.
pub(super) struct TestLines(Vec<(usize, usize)>);

impl TestLines {
    /// Finds the test code of a file.
    pub(super) fn find(path: &str, source: &Source<'_>) -> Self {
        if is_test_file(path) {
            return Self(vec![(1, usize::MAX)]);
        }
        let mut ranges = Vec::new();
        for attribute in attributes(source).iter().filter(|attribute| marks_test(attribute.body)) {
            if attribute.is_inner {
                return Self(vec![(1, usize::MAX)]);
            }
            let end = end_of_item(source, attribute.end);
            ranges.push((source.line_of(attribute.start), source.line_of(end.saturating_sub(1))));
        }
        Self(ranges)
    }

    /// Whether a line is test code.
    pub(super) fn contains(&self, line: usize) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }
}

fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// `test`, or a `cfg` that holds in tests only.
fn marks_test(body: &str) -> bool {
    if body == "test" {
        return true;
    }
    let names_test = body.match_indices("test").any(|(at, word)| is_whole(body, at, word.len()));
    body.starts_with("cfg(") && names_test && !body.contains("not(") && !body.contains("any(")
}

/// The offset after the item that starts behind an attribute: after its braces,
/// its semicolon, or, for a field or a variant, its comma.
fn end_of_item(source: &Source<'_>, from: usize) -> usize {
    let bytes = source.code.as_bytes();
    let mut at = skip_attributes(source, from);
    let ends_at_comma = !starts_with_item_keyword(&source.code[at..]);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' => return source.end_of_group(at),
            b';' => return at + 1,
            b',' if ends_at_comma => return at + 1,
            b'}' => return at,
            b'(' | b'[' => at = source.end_of_group(at),
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_attributes(source: &Source<'_>, from: usize) -> usize {
    let mut at = from;
    loop {
        at += source.code[at..].len() - source.code[at..].trim_start().len();
        if !source.code[at..].starts_with("#[") {
            return at;
        }
        at = source.end_of_group(at + 1);
    }
}

fn starts_with_item_keyword(code: &str) -> bool {
    const KEYWORDS: [&str; 16] = [
        "pub",
        "mod",
        "fn",
        "use",
        "impl",
        "struct",
        "enum",
        "const",
        "static",
        "type",
        "trait",
        "unsafe",
        "async",
        "extern",
        "macro_rules",
        "let",
    ];
    KEYWORDS.iter().any(|keyword| code.starts_with(keyword) && is_whole(code, 0, keyword.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_lines(path: &str, text: &str) -> Vec<usize> {
        let lines = TestLines::find(path, &Source::new(text));
        (1..=text.lines().count()).filter(|line| lines.contains(*line)).collect()
    }

    #[test]
    fn a_test_module_is_test_code_to_its_closing_brace() {
        let text = "fn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        assert_eq!(test_lines("a.rs", text), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn items_without_braces_end_at_their_mark() {
        assert_eq!(test_lines("a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n"), [1, 2]);
        assert_eq!(test_lines("a.rs", "struct A {\n#[cfg(test)]\nb: u8,\nc: u8,\n}\n"), [2, 3]);
        assert_eq!(test_lines("a.rs", "#[cfg(test)]\nfn a<A,\nB>() {\n}\nfn b() {}\n"), [1, 2, 3, 4]);
    }

    #[test]
    fn only_conditions_that_need_test_count() {
        for (condition, expected) in [
            ("cfg(test)", 1),
            ("cfg(all(test, unix))", 1),
            ("test", 1),
            ("cfg(not(test))", 0),
            ("cfg(any(test, unix))", 0),
            ("cfg(latest)", 0),
        ] {
            assert_eq!(
                test_lines("a.rs", &format!("#[{condition}] fn a() {{}}\n")).len(),
                expected,
                "{condition}"
            );
        }
    }

    #[test]
    fn test_files_are_test_code_throughout() {
        for path in ["crates/x/tests/a.rs", "crates/x/src/y/tests.rs"] {
            assert_eq!(test_lines(path, "fn a() {}\n"), [1]);
        }
        assert_eq!(test_lines("src/latests.rs", "#![cfg(test)]\nfn a() {}\n"), [1, 2]);
        assert!(test_lines("src/latests.rs", "fn a() {}\n").is_empty());
    }
}
