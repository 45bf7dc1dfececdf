//! `ARCHITECTURE.md`: every test that a numbered invariant names must exist.
//!
//! An invariant is a numbered list item that ends in its tests, over as many
//! lines as it needs:
//!
//! ```text
//! 3. A sealed segment never changes (held by `log::seal::tests::sealed_is_final`,
//!    `reopened_is_refused`).
//! ```

use std::collections::BTreeSet;

use super::{Findings, TextFile};

/// Checks the numbered items of one page against the functions of the tree.
pub(super) fn check(page: &TextFile, function_names: &BTreeSet<String>, findings: &mut Findings) {
    for item in numbered_items(&page.text) {
        for name in tests_named(&item.text) {
            let function = name.rsplit("::").next().unwrap_or(name);
            if !function_names.contains(function) {
                findings.add(
                    &page.path,
                    item.line,
                    format!("no function `{function}` to hold this (`{name}`)"),
                );
            }
        }
    }
}

struct Item {
    line: usize,
    text: String,
}

/// Items `N. ..` with the lines that go on with them, up to a blank line, a
/// heading or the next item; nothing inside a fenced block.
fn numbered_items(page: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut open = false;
    let mut fenced = false;
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            open = false;
        } else if fenced {
        } else if starts_item(line) {
            items.push(Item { line: index + 1, text: line.to_owned() });
            open = true;
        } else if line.trim().is_empty() || line.starts_with('#') {
            open = false;
        } else if let Some(item) = items.last_mut().filter(|_| open) {
            item.text.push(' ');
            item.text.push_str(line.trim());
        }
    }
    items
}

fn starts_item(line: &str) -> bool {
    let rest = line.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && rest[digits..].starts_with(". ")
}

/// The names in backticks behind each `held by`, up to what is neither a name
/// nor a comma, `and`, or a line's end.
fn tests_named(item: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, marker) in item.match_indices("held by") {
        let mut rest = item[at + marker.len()..].trim_start();
        while let Some((name, after)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            names.push(name);
            rest = after.trim_start_matches([',', ' ']);
            rest = rest.strip_prefix("and ").unwrap_or(rest).trim_start();
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(page: &str, functions: &[&str]) -> Vec<(usize, String)> {
        let page = TextFile { path: "ARCHITECTURE.md".to_owned(), text: page.to_owned() };
        let functions = functions.iter().map(|name| (*name).to_owned()).collect();
        let mut findings = Findings::default();
        check(&page, &functions, &mut findings);
        findings.0.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn a_missing_test_is_named_with_its_line() {
        let page = "# A\n\n1. Kept (held by `here`).\n2. Lost (held by `x::tests::gone`).\n";
        assert_eq!(
            findings(page, &["here"]),
            [(4, "no function `gone` to hold this (`x::tests::gone`)".to_owned())]
        );
    }

    #[test]
    fn lists_go_on_over_lines() {
        let page = "1. Long words that\n   wrap (held by `a`,\n   `m::b` and `c`).\n\n`d` is not in it.\n";
        assert!(findings(page, &["a", "b", "c"]).is_empty());
        assert_eq!(findings(page, &["a"]).len(), 2);
    }

    #[test]
    fn other_backticks_and_fences_are_left_alone() {
        let page = "1. `NoTest` is here, held by the compiler: `forbid`.\n```\n1. x (held by `y`)\n```\n";
        assert!(findings(page, &[]).is_empty());
    }
}
