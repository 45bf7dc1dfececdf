//! What does not compile, and that it is for the reason it should be.
//!
//! Each file in `rejected/` is a program. Its lines `//~ TEXT` are what the compiler must say, in that
//! order; a line `//+ FEATURE` builds it with a feature of the package below. They are built, not only checked, since one reason is found after monomorphisation.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of its own that has the programs as binaries.
fn package() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rejected");
    fs::create_dir_all(package.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"rejected\"\nversion = \"0.0.0\"\nedition = \"2024\"\nautobins = true\n\
         [dependencies]\nevenkeel-locks = {{ path = {here:?} }}\n\
         parking_lot = {{ version = \"0.12\", default-features = false }}\n\
         [features]\nsend_guard = [\"parking_lot/send_guard\"]\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let bins = package.join("src/bin");
    let _ = fs::remove_dir_all(&bins);
    fs::create_dir_all(&bins).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    package
}

/// What the compiler says of one program, in one text; `Ok` if it takes it.
fn compile(package: &Path, name: &str, features: &str) -> Result<String, String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--bin", name, "--features", features])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cargo.stderr).into_owned();
    if cargo.status.success() { Ok(said) } else { Err(said) }
}

/// The first of these texts that is missing.
fn missing<'a>(wanted: &[&'a str], said: &str) -> Option<&'a str> {
    wanted.iter().copied().find(|wanted| !said.contains(wanted))
}

// REQ T1
#[test]
fn what_breaks_the_order_does_not_compile_and_the_message_says_why() {
    let package = package();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rejected");
    let mut findings = Vec::new();
    let mut count = 0;
    for program in fs::read_dir(programs).unwrap() {
        let path = program.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let wanted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        fs::write(package.join("src/bin").join(format!("{name}.rs")), &text).unwrap();
        count += 1;
        let features = text.lines().find_map(|line| line.strip_prefix("//+ ")).unwrap_or_default();
        match compile(&package, name, features) {
            Ok(_) if wanted == ["compiles"] => {}
            Ok(_) => findings.push(format!("{name}: compiled")),
            Err(said) => {
                if let Some(missing) = missing(&wanted, &said) {
                    findings.push(format!("{name}: nothing of `{missing}` in\n{said}"));
                }
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(count >= 42, "{count} programs");
}

#[test]
fn a_text_that_is_not_said_is_missing() {
    assert_eq!(missing(&["one", "three"], "one two"), Some("three"));
    assert_eq!(missing(&["one"], "one two"), None);
}
