//! The root manifest: every external crate says what it is for.

/// Entries of `[workspace.dependencies]` with no `path` and no comment behind
/// them, as findings.
pub(super) fn unexplained(manifest: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for entry in entries(manifest) {
        let is_ours = entry.value.contains("path =") || entry.value.contains("path=");
        if !is_ours && entry.comment.is_empty() {
            let (name, line) = (&entry.name, entry.line);
            findings.push(format!("Cargo.toml:{line}: `{name}` has no comment that says what it is for"));
        }
    }
    findings
}

#[derive(Default)]
struct Entry {
    name: String,
    line: usize,
    value: String,
    comment: String,
}

/// The entries of the table, over as many lines as each needs. A table of its
/// own, `[workspace.dependencies.NAME]`, is an entry too.
fn entries(manifest: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut inside = false;
    let mut open_groups = 0_i64;
    for (index, line) in manifest.lines().enumerate() {
        let (value, comment) = split_comment(line);
        if open_groups == 0 && value.starts_with('[') {
            inside = value == "[workspace.dependencies]";
            if let Some(name) = value.strip_prefix("[workspace.dependencies.") {
                let name = name.trim_end_matches(']').to_owned();
                entries.push(Entry {
                    name,
                    line: index + 1,
                    comment: comment.to_owned(),
                    ..Entry::default()
                });
            }
            continue;
        }
        if !inside || value.is_empty() {
            continue;
        }
        if open_groups == 0 {
            let name = value.split(['=', '.']).next().unwrap_or(value).trim().to_owned();
            entries.push(Entry { name, line: index + 1, ..Entry::default() });
        }
        open_groups += balance(value);
        if let Some(entry) = entries.last_mut() {
            entry.value.push_str(value);
            entry.comment.push_str(comment);
        }
    }
    entries
}

/// A line without its comment, and the comment without its mark.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return (line[..at].trim(), line[at + 1..].trim()),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    (line.trim(), "")
}

/// Opened less closed braces and brackets.
fn balance(value: &str) -> i64 {
    value.chars().fold(0, |depth, c| match c {
        '{' | '[' => depth + 1,
        '}' | ']' => depth - 1,
        _ => depth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(manifest: &str) -> Vec<String> {
        unexplained(manifest)
            .iter()
            .map(|finding| finding.split('`').nth(1).unwrap_or("").to_owned())
            .collect()
    }

    #[test]
    fn crates_without_a_reason_are_seen() {
        let manifest = "[workspace]\nx = 1\n\n[workspace.dependencies]\nours = { path = \"a\" }\n# Heading.\n\
                        good = \"1\" # reads\nbad = { version = \"1\", features = [\"#\"] }\nempty = \"1\" #\n\
                        [workspace.lints.rust]\nother = \"warn\"\n";
        assert_eq!(names(manifest), ["bad", "empty"]);
        assert!(unexplained(manifest)[0].starts_with("Cargo.toml:8: "));
    }

    #[test]
    fn entries_may_take_several_lines() {
        let manifest = "[workspace.dependencies]\ngood = { version = \"1\", features = [\n  \"a\",\n] } # reads\n\
                        bad = { version = \"1\", features = [\n  \"a\",\n] }\n[workspace.dependencies.table]\n";
        assert_eq!(names(manifest), ["bad", "table"]);
    }
}
