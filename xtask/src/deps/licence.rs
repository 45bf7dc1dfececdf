//! Licence terms in SPDX form, and whether the ones we accept satisfy them.
//!
//! ```text
//! any  = all { ("OR" | "/") all }
//! all  = term { "AND" term }
//! term = "(" any ")" | licence [ "WITH" exception ]
//! ```

const ACCEPTED: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
];

/// Whether a choice among these terms exists that we accept. Terms that cannot
/// be read are not acceptable.
pub(super) fn is_acceptable(terms: &str) -> bool {
    let spaced = terms.replace('(', " ( ").replace(')', " ) ").replace('/', " / ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words };
    reader.any() == Some(true) && reader.words.is_empty()
}

/// Reads terms from the left; `None` when they are ill-formed.
struct Reader<'a> {
    words: &'a [&'a str],
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut acceptable = self.all()?;
        while self.take("OR") || self.take("/") {
            acceptable |= self.all()?;
        }
        Some(acceptable)
    }

    fn all(&mut self) -> Option<bool> {
        let mut acceptable = self.term()?;
        while self.take("AND") {
            acceptable &= self.term()?;
        }
        Some(acceptable)
    }

    fn term(&mut self) -> Option<bool> {
        if self.take("(") {
            let acceptable = self.any()?;
            return self.take(")").then_some(acceptable);
        }
        let licence = self.name()?;
        if self.take("WITH") {
            let terms = format!("{licence} WITH {}", self.name()?);
            return Some(ACCEPTED.contains(&terms.as_str()));
        }
        Some(ACCEPTED.contains(&licence))
    }

    fn name(&mut self) -> Option<&'a str> {
        let (word, rest) = self.words.split_first()?;
        let is_name = !["OR", "AND", "WITH", "(", ")", "/"].contains(word);
        self.words = rest;
        is_name.then_some(*word)
    }

    fn take(&mut self, expected: &str) -> bool {
        let taken = self.words.first() == Some(&expected);
        if taken {
            self.words = &self.words[1..];
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_with_an_acceptable_choice_are_accepted() {
        for terms in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-2.0/Apache-2.0",
            "Apache-2.0 / MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "GPL-3.0 AND GPL-2.0 OR MIT",
        ] {
            assert!(is_acceptable(terms), "{terms}");
        }
    }

    #[test]
    fn all_other_terms_are_refused() {
        for terms in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT WITH LLVM-exception",
            "(MIT OR Apache-2.0) AND OpenSSL",
            "MIT AND (GPL-2.0 OR GPL-3.0)",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT MIT",
            "LGPL-2.1-or-later",
        ] {
            assert!(!is_acceptable(terms), "{terms}");
        }
    }
}
