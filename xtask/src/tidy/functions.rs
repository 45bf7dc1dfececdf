//! The functions of a Rust file: their names and their lengths.

use super::source::{Source, is_word_byte};

/// A function with a body.
#[derive(Debug, PartialEq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// The line of its `fn`, counted from 1.
    pub(super) line: usize,
    /// From the line of its `fn` to the line of its closing brace, both included.
    pub(super) line_count: usize,
}

/// The names of all functions, with or without a body.
pub(super) fn names(source: &Source<'_>) -> Vec<String> {
    source.words("fn").filter_map(|at| name_after(source, at)).map(|(name, _)| name.to_owned()).collect()
}

/// All functions that have a body, nested ones for themselves too.
pub(super) fn with_body<'s>(source: &'s Source<'_>) -> Vec<Function<'s>> {
    let mut functions = Vec::new();
    for at in source.words("fn") {
        let Some((name, after_name)) = name_after(source, at) else { continue };
        let Some(open) = body_after(source, after_name) else { continue };
        let line = source.line_of(at);
        let line_count = source.line_of(source.end_of_group(open) - 1) - line + 1;
        functions.push(Function { name, line, line_count });
    }
    functions
}

/// The name behind the `fn` at `at`, and the offset after it; nothing for the
/// type `fn(..)`. A macro's `$name` is a name.
fn name_after<'s>(source: &'s Source<'_>, at: usize) -> Option<(&'s str, usize)> {
    let rest = &source.code[at + 2..];
    let start = at + 2 + rest.len() - rest.trim_start().len();
    let is_name = |byte: u8| is_word_byte(byte) || byte == b'$' || byte == b'#';
    let length = source.code[start..].bytes().take_while(|byte| is_name(*byte)).count();
    let name = &source.code[start..start + length];
    (length > 0).then_some((name.trim_start_matches("r#"), start + length))
}

/// The offset of the brace that opens the body, if there is a body.
fn body_after(source: &Source<'_>, from: usize) -> Option<usize> {
    let bytes = source.code.as_bytes();
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' => return Some(at),
            b';' | b'}' => return None,
            b'(' | b'[' => at = source.end_of_group(at),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_measured_from_fn_to_brace() {
        let text =
            "/// Doc.\npub fn a<T>(x: [u8; { 3 }])\nwhere\n    T: Fn(),\n{\n    \"}\";\n}\nfn b() {}\n";
        let source = Source::new(text);
        let expected =
            [Function { name: "a", line: 2, line_count: 6 }, Function { name: "b", line: 8, line_count: 1 }];
        assert_eq!(with_body(&source), expected);
    }

    #[test]
    fn declarations_types_and_comments_have_no_body() {
        let source = Source::new("trait T { fn a(&self); }\ntype F = fn(u8) -> u8;\n// fn b() {}\n");
        assert_eq!(with_body(&source), []);
        assert_eq!(names(&source), ["a"]);
    }

    #[test]
    fn nested_and_macro_functions_are_seen() {
        let source =
            Source::new("fn a() {\n    fn r#b() {\n    }\n}\nmacro_rules! m { () => { fn $c() {} } }\n");
        let lengths: Vec<_> = with_body(&source).iter().map(|f| (f.name, f.line_count)).collect();
        assert_eq!(lengths, [("a", 4), ("b", 2), ("$c", 1)]);
    }
}
