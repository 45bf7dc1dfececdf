//! The packages that a program is built from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{is_member, text};

/// Name and version of each package.
pub(super) type Packages = BTreeSet<(String, String)>;

/// The external packages that `program` is built from: its normal and build
/// dependencies and theirs, without those for Windows only.
///
/// # Errors
/// When the metadata does not hold the package.
pub(super) fn normal_tree(metadata: &Value, program: &str) -> Result<Packages, String> {
    let packages = by_id(&metadata["packages"]);
    let nodes = by_id(&metadata["resolve"]["nodes"]);
    let start = packages.iter().find(|(_, package)| package["name"] == program).map(|(id, _)| *id);
    let start = start.ok_or_else(|| format!("the workspace has no package `{program}`"))?;

    let mut reached = BTreeSet::from([start]);
    let mut pending = vec![start];
    while let Some(id) = pending.pop() {
        let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array());
        for dependency in dependencies.into_iter().flatten().filter(|dependency| is_built(dependency)) {
            let id = text(&dependency["pkg"]);
            if reached.insert(id) {
                pending.push(id);
            }
        }
    }
    let external =
        reached.iter().filter_map(|id| packages.get(id)).filter(|package| !is_member(metadata, package));
    Ok(external
        .map(|package| (text(&package["name"]).to_owned(), text(&package["version"]).to_owned()))
        .collect())
}

/// A finding for each crate that is there in versions incompatible by semver.
pub(super) fn incompatible_versions(packages: &Packages) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    for (name, version) in packages {
        versions.entry(name).or_default().insert(compatible_range(version), version);
    }
    let several = versions.iter().filter(|(_, ranges)| ranges.len() > 1);
    several
        .map(|(name, ranges)| {
            let versions = ranges.values().copied().collect::<Vec<_>>().join(" and ");
            format!("`{name}` is there in incompatible versions: {versions}")
        })
        .collect()
}

/// The part of a version that compatible versions share: up to and including
/// the first number that is not 0.
fn compatible_range(version: &str) -> String {
    let numbers = version.split(['-', '+']).next().unwrap_or(version);
    let mut range: Vec<&str> = Vec::new();
    for number in numbers.split('.') {
        range.push(number);
        if number != "0" {
            break;
        }
    }
    range.join(".")
}

/// Whether an edge of the graph matters to a build that is not for Windows.
fn is_built(dependency: &Value) -> bool {
    dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| {
        let target = kind["target"].as_str().unwrap_or("");
        let windows_only = target.contains("windows") && !target.contains("not(") && !target.contains("any(");
        kind["kind"] != "dev" && !windows_only
    })
}

fn by_id(list: &Value) -> BTreeMap<&str, &Value> {
    list.as_array().into_iter().flatten().map(|entry| (text(&entry["id"]), entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edge(package: &str, kind: Option<&str>, target: Option<&str>) -> Value {
        json!({ "pkg": package, "dep_kinds": [{ "kind": kind, "target": target }] })
    }

    fn planted() -> Value {
        let package = |id: &str, version: &str| json!({ "id": id, "name": id.trim_end_matches('2'), "version": version });
        json!({
            "workspace_members": ["program", "library"],
            "packages": [package("program", "1.0.0"), package("library", "1.0.0"), package("a", "1.2.0"),
                         package("a2", "2.0.0"), package("tests", "1.0.0"), package("windows", "1.0.0"),
                         package("build", "1.0.0"), package("unix", "1.0.0")],
            "resolve": { "nodes": [
                { "id": "program", "deps": [edge("library", None, None), edge("a", None, None),
                                            edge("tests", Some("dev"), None)] },
                { "id": "library", "deps": [edge("build", Some("build"), None),
                                            edge("windows", None, Some("cfg(windows)")),
                                            edge("unix", None, Some("cfg(not(windows))"))] },
                { "id": "unix", "deps": [edge("a2", None, None), edge("unix", None, None)] },
                { "id": "tests", "deps": [] },
            ] },
        })
    }

    #[test]
    fn the_tree_leaves_out_tests_windows_and_members() {
        let tree = normal_tree(&planted(), "program").unwrap();
        let names: Vec<&str> = tree.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "a", "build", "unix"]);
        assert!(normal_tree(&planted(), "nobody").is_err());
    }

    #[test]
    fn incompatible_versions_are_seen() {
        let tree = normal_tree(&planted(), "program").unwrap();
        assert_eq!(incompatible_versions(&tree), ["`a` is there in incompatible versions: 1.2.0 and 2.0.0"]);
    }

    #[test]
    fn compatibility_follows_the_first_number_that_counts() {
        for (version, range) in [
            ("1.2.3", "1"),
            ("0.3.14", "0.3"),
            ("0.0.7", "0.0.7"),
            ("2.0.0-rc.1", "2"),
            ("0.11.1+wasi-0.2", "0.11"),
        ] {
            assert_eq!(compatible_range(version), range);
        }
    }
}
