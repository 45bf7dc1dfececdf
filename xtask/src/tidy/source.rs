//! A Rust file split into what is code and what is comment.
//!
//! Both views have the length of the text, byte for byte, with blanks where the
//! other one, or a literal, stands; line breaks stay in both. So an offset means
//! the same place in all three, and a plain search in a view cannot be fooled by
//! a string. It is a scanner, not a parser: it knows strings, raw strings,
//! character literals, lifetimes and nested comments, and nothing more.

/// The text of a Rust file and its two views.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// Code only; literals and comments are blank, other than ASCII is `_`.
    pub(super) code: String,
    /// Comments only, with their slashes.
    pub(super) comments: String,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Scans a file. Never fails: an unended literal reaches to the end.
    pub(super) fn new(text: &'a str) -> Self {
        let mut scanner =
            Scanner { text: text.as_bytes(), position: 0, code: Vec::new(), comments: Vec::new() };
        scanner.scan();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let view = |bytes: Vec<u8>| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        assert_eq!(scanner.code.len(), text.len(), "the code view covers the text");
        assert_eq!(scanner.comments.len(), text.len(), "the comment view covers the text");
        Self { text, code: view(scanner.code), comments: view(scanner.comments), line_starts }
    }

    /// The line of an offset, counted from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The offset after the brace, bracket or parenthesis that closes the one at `open`.
    pub(super) fn end_of_group(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.code.len()
    }

    /// Every place where `word` stands in the code as a whole word.
    pub(super) fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |at| is_whole(&self.code, *at, word.len()))
    }
}

/// Whether the `length` bytes at `at` are not part of a longer word.
pub(super) fn is_whole(text: &str, at: usize, length: usize) -> bool {
    let bytes = text.as_bytes();
    let before = at.checked_sub(1).map(|before| bytes[before]);
    let after = bytes.get(at + length).copied();
    !before.is_some_and(is_word_byte) && !after.is_some_and(is_word_byte)
}

/// Whether a byte can stand in an identifier.
pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// What the bytes being passed are.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

struct Scanner<'a> {
    text: &'a [u8],
    position: usize,
    code: Vec<u8>,
    comments: Vec<u8>,
}

impl Scanner<'_> {
    fn scan(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'/' if self.peek(1) == Some(b'/') => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => self.block_comment(),
                b'"' => self.string(),
                b'\'' => self.quote(),
                b'r' | b'b' | b'c' if self.raw_string_hashes().is_some() => self.raw_string(),
                _ => self.pass(1, Kind::Code),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.position + ahead).copied()
    }

    /// Moves over `count` bytes (or what is left) into the views.
    fn pass(&mut self, count: usize, kind: Kind) {
        let end = (self.position + count).min(self.text.len());
        for &byte in &self.text[self.position..end] {
            let ascii = if byte.is_ascii() { byte } else { b'_' };
            let blank = if byte == b'\n' { b'\n' } else { b' ' };
            self.code.push(if kind == Kind::Code { ascii } else { blank });
            self.comments.push(if kind == Kind::Comment { ascii } else { blank });
        }
        self.position = end;
    }

    fn line_comment(&mut self) {
        let rest = &self.text[self.position..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.pass(length, Kind::Comment);
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek(0) {
            match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => depth += 1,
                (b'*', Some(b'/')) => depth -= 1,
                _ => {
                    self.pass(1, Kind::Comment);
                    continue;
                }
            }
            self.pass(2, Kind::Comment);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.pass(1, Kind::Literal);
        while let Some(byte) = self.peek(0) {
            self.pass(if byte == b'\\' { 2 } else { 1 }, Kind::Literal);
            if byte == b'"' {
                return;
            }
        }
    }

    /// A character literal, or the mark of a lifetime or label.
    fn quote(&mut self) {
        if self.peek(1) == Some(b'\\') {
            self.pass(3, Kind::Literal); // the quote, the backslash and what it escapes
            while let Some(byte) = self.peek(0) {
                self.pass(1, Kind::Literal);
                if byte == b'\'' {
                    return;
                }
            }
            return;
        }
        let width = self.peek(1).map_or(1, utf8_width);
        let closes = self.peek(1 + width) == Some(b'\'') && self.peek(1) != Some(b'\'');
        if closes { self.pass(width + 2, Kind::Literal) } else { self.pass(1, Kind::Code) }
    }

    /// The number of hashes when a raw string starts here: `r`, `br` or `cr`,
    /// hashes, a quotation mark. A raw identifier has no quotation mark.
    fn raw_string_hashes(&self) -> Option<(usize, usize)> {
        let after_word = self.position.checked_sub(1).is_some_and(|before| is_word_byte(self.text[before]));
        if after_word {
            return None;
        }
        let prefix = if self.peek(0) == Some(b'r') { 1 } else { 2 };
        if prefix == 2 && self.peek(1) != Some(b'r') {
            return None;
        }
        let hashes = self.text[self.position + prefix..].iter().take_while(|byte| **byte == b'#').count();
        (self.peek(prefix + hashes) == Some(b'"')).then_some((prefix, hashes))
    }

    fn raw_string(&mut self) {
        let Some((prefix, hashes)) = self.raw_string_hashes() else { return };
        self.pass(prefix + hashes + 1, Kind::Literal);
        let mut closing = vec![b'"'];
        closing.resize(1 + hashes, b'#');
        let rest = &self.text[self.position..];
        let found = rest.windows(closing.len()).position(|window| window == closing);
        self.pass(found.map_or(rest.len(), |at| at + closing.len()), Kind::Literal);
    }
}

fn utf8_width(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> String {
        Source::new(text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn strings_and_comments_are_not_code() {
        assert_eq!(code_of(r#"a("{ \" }", b"}"); // }"#), "a( , b );");
        assert_eq!(code_of("a /* { /* } */ { */ b"), "a b");
        assert_eq!(code_of("let s = \"\\\\\"; b"), "let s = ; b");
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(code_of("x(r#\"} \"{\" \"#, br\"{\\\", r#type) y"), "x( , , r#type) y");
        assert_eq!(code_of("for\"{\""), "for");
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(code_of("fn a<'a>(x: &'a str) -> char { '{' }"), "fn a<'a>(x: &'a str) -> char { }");
        assert_eq!(code_of(r"['\'', '\\', '\u{7d}', 'é', b'}', '\x7b'] z"), "[ , , , , b , ] z");
    }

    #[test]
    fn unended_literals_reach_the_end() {
        for text in ["a \"b", "a r#\"b\"", "a /* b", "a '\\", "a '"] {
            assert!(!code_of(text).contains('b'), "{text}");
        }
    }

    #[test]
    fn comments_and_lines_are_kept_in_place() {
        let source = Source::new("é\n\"// no\" // yes\n");
        assert_eq!(source.comments.trim(), "// yes");
        assert_eq!(source.comments.find("// yes"), source.text.find("// yes"));
        assert_eq!(source.line_of(0), 1);
        assert_eq!(source.line_of(source.text.find("yes").unwrap()), 2);
    }

    #[test]
    fn groups_end_where_they_close() {
        let source = Source::new("{ (a[0]) { '}' } } b");
        assert_eq!(&source.text[source.end_of_group(0)..], " b");
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("fn fnord my_fn fn");
        assert_eq!(source.words("fn").collect::<Vec<_>>(), [0, 15]);
    }
}
