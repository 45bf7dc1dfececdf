//! Every lock of the house is on the hierarchy: no other kind stands in the crates' own code.
//!
//! `evenkeel-locks` is made of others, the benchmarks stand beside others, and tests may use what they like.

use super::Findings;
use super::regions::TestLines;
use super::source::{Source, is_word_byte};

/// Crates that need other locks.
const EXEMPT: [&str; 2] = ["evenkeel-locks", "evenkeel-bench"];
/// What blocks, of the standard library's.
const STD_LOCKS: [&str; 3] = ["Mutex", "RwLock", "Condvar"];

/// Checks one Rust file.
pub(super) fn check(path: &str, source: &Source<'_>, tests: &TestLines, findings: &mut Findings) {
    if !is_checked(path) {
        return;
    }
    let std_locks = std_sync(source).into_iter().filter_map(|(at, name)| {
        let lock = STD_LOCKS.iter().find(|lock| name == **lock)?;
        Some((at, format!("`std::sync::{lock}`")))
    });
    let others = source.words("parking_lot").map(|at| (at, "`parking_lot`".to_owned()));
    for (at, what) in std_locks.chain(others) {
        let line = source.line_of(at);
        if !tests.contains(line) {
            let message = format!("{what}: a lock of the house is on a level of `evenkeel-hierarchy`");
            findings.add(path, line, message);
        }
    }
}

fn is_checked(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates")
        && parts.next().is_some_and(|name| !EXEMPT.contains(&name))
        && parts.next() == Some("src")
}

/// Every name that is taken out of `std::sync`, and where: `std::sync::A`, and each of `std::sync::{A, B}`,
/// also below `std::{..}`.
fn std_sync<'s>(source: &'s Source<'_>) -> Vec<(usize, &'s str)> {
    let mut names = Vec::new();
    for at in source.words("std") {
        taken(source, at + "std".len(), &["sync"], &mut names);
    }
    names
}

/// The names behind `at`, after the path that is still to come.
fn taken<'s>(source: &'s Source<'_>, at: usize, path: &[&str], names: &mut Vec<(usize, &'s str)>) {
    let Some(at) = skip(source, at, "::") else { return };
    let code = &source.code;
    if code[at..].starts_with('{') {
        let end = source.end_of_group(at) - 1;
        for item in items(source, at + 1, end) {
            step(source, item, path, names);
        }
    } else {
        step(source, at, path, names);
    }
}

/// One item: the next word of the path, or a name at its end.
fn step<'s>(source: &'s Source<'_>, at: usize, path: &[&str], names: &mut Vec<(usize, &'s str)>) {
    let at = skip_blanks(source, at);
    let word = word_at(&source.code, at);
    match path.split_first() {
        Some((next, rest)) if word == *next => taken(source, at + word.len(), rest, names),
        Some(_) => {}
        None => names.push((at, word)),
    }
}

/// Where the items of a group begin: behind its brace, and behind each comma that is in no group inside.
fn items(source: &Source<'_>, from: usize, end: usize) -> Vec<usize> {
    let (mut starts, mut depth) = (vec![from], 0_usize);
    for (offset, byte) in source.code.bytes().enumerate().take(end).skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => starts.push(offset + 1),
            _ => {}
        }
    }
    starts
}

fn skip_blanks(source: &Source<'_>, at: usize) -> usize {
    at + source.code[at..].bytes().take_while(u8::is_ascii_whitespace).count()
}

/// The offset behind `mark`, and the blanks around it; `None` where something else stands.
fn skip(source: &Source<'_>, at: usize, mark: &str) -> Option<usize> {
    let at = skip_blanks(source, at);
    source.code[at..].starts_with(mark).then(|| skip_blanks(source, at + mark.len()))
}

fn word_at(code: &str, at: usize) -> &str {
    let length = code[at..].bytes().take_while(|byte| is_word_byte(*byte)).count();
    &code[at..at + length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let (source, mut findings) = (Source::new(text), Findings::default());
        check(path, &source, &TestLines::find(path, &source), &mut findings);
        findings.0.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    fn lines(path: &str, text: &str) -> Vec<usize> {
        found(path, text).into_iter().map(|(line, _)| line).collect()
    }

    const FILE: &str = "crates/evenkeel/src/a.rs";
    const NONE: [usize; 0] = [];

    // REQ T1
    #[test]
    fn locks_that_are_not_on_the_hierarchy_are_seen() {
        assert_eq!(lines(FILE, "use a::B;\nuse std::sync::Mutex;\n"), [2]);
        assert_eq!(
            lines(FILE, "use std::sync::{\n    Arc,\n    RwLock,\n    atomic::{AtomicU64, Ordering},\n};\n"),
            [3]
        );
        assert_eq!(lines(FILE, "use std::sync::{atomic::{AtomicU64, Ordering}, Condvar};\n"), [1]);
        assert_eq!(lines(FILE, "use std::{\n    io,\n    sync::{Arc, Mutex},\n};\n"), [3]);
        assert_eq!(lines(FILE, "fn a() {\n    let b = ::std::sync::Mutex::new(1);\n}\n"), [2]);
        assert_eq!(lines(FILE, "use parking_lot::Mutex;\n"), [1]);
        let (_, message) = found(FILE, "use std::sync::Mutex as M;\n").remove(0);
        assert_eq!(message, "`std::sync::Mutex`: a lock of the house is on a level of `evenkeel-hierarchy`");
    }

    // REQ T1
    #[test]
    fn other_things_and_other_places_are_not() {
        let clean =
            "use std::sync::{Arc, OnceLock, MutexGuard};\nuse evenkeel_hierarchy::{Mutex, Condvar};\n";
        assert_eq!(lines(FILE, clean), NONE);
        assert_eq!(
            lines(FILE, "// std::sync::Mutex\nlet a = \"parking_lot\"; use my_std::sync::Mutex;\n"),
            NONE
        );
        for path in [
            "crates/evenkeel-locks/src/a.rs",
            "crates/evenkeel-bench/src/a.rs",
            "crates/evenkeel/tests/a.rs",
            "crates/evenkeel/src/a/tests.rs",
            "xtask/src/a.rs",
        ] {
            assert_eq!(lines(path, "use std::sync::Mutex;\nuse parking_lot::RwLock;\n"), NONE, "{path}");
        }
        assert_eq!(lines(FILE, "#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}\n"), NONE);
    }
}
