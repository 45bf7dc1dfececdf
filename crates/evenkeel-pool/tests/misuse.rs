//! What cannot be done with a buffer: it does not compile, or is refused by name.
//!
//! Each file in `rejected/` is a program. Its lines `//~ TEXT` are what the compiler must say, in that order.

#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

use evenkeel_pool::{Limits, Pool};
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
         [dependencies]\nevenkeel-pool = {{ path = {here:?} }}\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let bins = package.join("src/bin");
    let _ = fs::remove_dir_all(&bins);
    fs::create_dir_all(&bins).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    package
}

/// What the compiler says of one program; `Ok` if it takes it.
fn compile(package: &Path, name: &str) -> Result<String, String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--bin", name])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cargo.stderr).into_owned();
    if cargo.status.success() { Ok(said) } else { Err(said) }
}

/// The first of these texts that does not come after the one before it.
fn missing<'a>(wanted: &[&'a str], said: &str) -> Option<&'a str> {
    let mut rest = said;
    wanted.iter().copied().find(|wanted| match rest.split_once(wanted) {
        Some((_, behind)) => {
            rest = behind;
            false
        }
        None => true,
    })
}

// REQ R4, REQ R6: double release, use after release, another channel's handle.
#[test]
#[cfg_attr(miri, ignore = "runs the compiler")]
fn what_must_not_be_done_with_a_buffer_does_not_compile() {
    let package = package();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rejected");
    let (mut findings, mut count) = (Vec::new(), 0);
    for program in fs::read_dir(programs).unwrap() {
        let path = program.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let wanted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
        fs::write(package.join("src/bin").join(format!("{name}.rs")), &text).unwrap();
        count += 1;
        match compile(&package, name) {
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
    assert!(count >= 12, "{count} programs");
}

#[test]
fn a_text_that_is_not_said_in_its_order_is_missing() {
    assert_eq!(missing(&["one", "three"], "one two"), Some("three"));
    assert_eq!(missing(&["two", "one"], "one two"), Some("one"));
    assert_eq!(missing(&["one", "two"], "one two"), None);
}

// REQ R4, REQ C12
#[test]
fn what_is_another_channels_is_refused_by_name() {
    let pool = Pool::builder().build().unwrap();
    let (left, right) = (
        pool.channel("left", &Limits::default()).unwrap(),
        pool.channel("right", &Limits::default()).unwrap(),
    );
    let (mic, disk) = (left.component("mic", 1 << 20).unwrap(), right.component("disk", 1 << 20).unwrap());
    let (buffer, slice) = (mic.take(10).unwrap(), mic.take(10).unwrap().freeze());
    let chain = mic.take_chain(5_000).unwrap();
    assert!(
        left.accepts(&buffer)
            .and(left.accepts(&slice))
            .and(left.accepts(&chain))
            .and(left.accepts(&mic))
            .is_ok()
    );
    for refused in [right.accepts(&buffer), right.accepts(&slice), right.accepts(&chain), right.accepts(&mic)]
    {
        let refused = refused.unwrap_err();
        assert_eq!((refused.held_by.as_str(), refused.component.as_str()), ("left", "mic"));
        assert_eq!((refused.asked.as_str(), refused.of_another_pool), ("right", false));
        let said = refused.to_string();
        assert!(said.contains("of channel left (component mic) is not channel right's"), "{said}");
    }
    // The same slot, when the other has it, is the other's.
    drop(buffer);
    let all: Vec<_> = (0..400).map_while(|_| disk.take(10).ok()).collect();
    assert!(all.iter().all(|buffer| right.accepts(buffer).is_ok() && left.accepts(buffer).is_err()));
    // Of another pool, though its channel has the same name and the same number.
    let other = Pool::builder().build().unwrap();
    let stranger = other.channel("left", &Limits::default()).unwrap();
    assert!(left.accepts(&stranger.component("mic", 1 << 20).unwrap()).unwrap_err().of_another_pool);
    assert!(stranger.accepts(&slice).unwrap_err().to_string().contains("of another pool"));
}
