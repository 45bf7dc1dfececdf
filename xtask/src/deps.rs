//! `cargo xtask deps`: what we depend on, and on what terms.
//!
//! * every external package has a licence we can accept, and comes from crates.io;
//! * every external crate in the root manifest says what it is for;
//! * the program's own tree stays small and holds no crate in two
//!   incompatible versions. Windows-only dependencies do not count.

mod licence;
mod manifest;
mod tree;

use std::fs;

use serde_json::Value;

use crate::process;

/// Source of the packages that come from crates.io, in cargo's words.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The package whose tree is kept small.
const PROGRAM: &str = "evenkeel-cli";

/// External packages that the program may be built from, dev-dependencies left out. Six of them are SQLite and what
/// finds a C compiler for it, so that a journal can be asked in SQL.
const PROGRAM_PACKAGES_MAX: usize = 70;

/// Checks all dependencies and prints what is wrong with them.
///
/// # Errors
/// When something was found, or cargo could not describe the workspace.
pub(crate) fn run() -> Result<(), String> {
    let metadata = process::output(process::cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata = serde_json::from_slice(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let manifest_path = process::root().join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest_path).map_err(|error| format!("Cargo.toml: {error}"))?;

    let mut findings = package_findings(&metadata);
    findings.extend(manifest::unexplained(&manifest));
    let program = tree::normal_tree(&metadata, PROGRAM)?;
    findings.extend(tree_findings(&program, PROGRAM_PACKAGES_MAX));
    println!(
        "   {PROGRAM} is built from {} external packages, at most {PROGRAM_PACKAGES_MAX}",
        program.len()
    );
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings", findings.len())) }
}

/// Packages with a licence or a source that we do not accept.
fn package_findings(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in
        metadata["packages"].as_array().into_iter().flatten().filter(|package| !is_member(metadata, package))
    {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        match package["license"].as_str() {
            None => findings.push(format!("{name}: states no licence")),
            Some(terms) if !licence::is_acceptable(terms) => {
                findings.push(format!("{name}: licence `{terms}` is not one we accept"));
            }
            Some(_) => {}
        }
        if let Some(source) = package["source"].as_str().filter(|source| *source != REGISTRY) {
            findings.push(format!("{name}: comes from {source}, not from crates.io"));
        }
    }
    findings
}

fn tree_findings(program: &tree::Packages, packages_max: usize) -> Vec<String> {
    let mut findings = tree::incompatible_versions(program);
    if program.len() > packages_max {
        let count = program.len();
        findings.push(format!("{PROGRAM} is built from {count} external packages, at most {packages_max}"));
    }
    findings
}

fn is_member(metadata: &Value, package: &Value) -> bool {
    metadata["workspace_members"].as_array().is_some_and(|members| members.contains(&package["id"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bad_licences_and_sources_are_seen() {
        let metadata = json!({ "workspace_members": ["ours"], "packages": [
            { "id": "ours", "name": "ours", "version": "1.0.0", "license": null, "source": null },
            { "id": "a", "name": "a", "version": "1.0.0", "license": "MIT", "source": REGISTRY },
            { "id": "b", "name": "b", "version": "1.0.0", "license": "GPL-3.0", "source": REGISTRY },
            { "id": "c", "name": "c", "version": "1.0.0", "license": null, "source": null },
            { "id": "d", "name": "d", "version": "1.0.0", "license": "MIT", "source": "git+https://example.org/d" },
        ] });
        let findings = package_findings(&metadata);
        assert_eq!(findings.len(), 3, "{findings:?}");
        for (finding, start) in
            findings.iter().zip(["b 1.0.0: licence", "c 1.0.0: states no", "d 1.0.0: comes from"])
        {
            assert!(finding.starts_with(start), "{finding}");
        }
    }

    #[test]
    fn a_tree_over_its_ceiling_is_seen() {
        let program = tree::Packages::from([
            ("a".to_owned(), "1.0.0".to_owned()),
            ("b".to_owned(), "1.0.0".to_owned()),
        ]);
        assert_eq!(tree_findings(&program, 2), Vec::<String>::new());
        assert_eq!(tree_findings(&program, 1), ["evenkeel-cli is built from 2 external packages, at most 1"]);
    }
}
